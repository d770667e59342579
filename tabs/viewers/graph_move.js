// How a graph is moved: dragged, pinched, scrolled and zoomed by one transform, and walked through with
// the arrow keys.
const { clamp } = lens.graph;

const SLIP = 4; // px that a press may move and still be a click
const LARGEST = 6;
const MARGIN = 40; // px that stay around what is moved into sight

// `extent` answers {room: [width, height], world: [width, height]} in px; `apply` is called with the
// view {k, x, y}, at most once a frame.
function mover(extent, apply) {
  const view = { k: 1, x: 0, y: 0, touched: false };
  let queued = false;

  function settle() {
    const { room, world } = extent();
    const least = Math.min(1, Math.max(0.25, Math.min(room[0] / world[0], room[1] / world[1])));
    view.k = clamp(view.k, least, LARGEST);
    const [width, height] = [world[0] * view.k, world[1] * view.k];
    view.x = width <= room[0] ? 0 : clamp(view.x, room[0] - width, 0);
    // A small graph stands on its tokens.
    view.y = height <= room[1] ? room[1] - height : clamp(view.y, room[1] - height, 0);
    return view;
  }

  function move(changes) {
    Object.assign(view, changes);
    settle();
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      apply(view);
    });
  }

  return {
    view, move,
    // Around a point of the columns, in px of the screen; their middle without one.
    zoom(factor, [px, py] = extent().room.map((size) => size / 2)) {
      const { k, x, y } = view;
      Object.assign(view, { k: k * factor, touched: true });
      const by = settle().k / k;
      move({ x: px - (px - x) * by, y: py - (py - y) * by });
    },
    // Answers how much of it there was no room for.
    pan(dx, dy) {
      const { x, y } = view;
      move({ x: x + dx, y: y + dy, touched: true });
      return [dx - (view.x - x), dy - (view.y - y)];
    },
    // As little as needed for a point of the scene to be seen.
    reveal([wx, wy]) {
      const { room } = extent();
      const { k, x, y } = view;
      const short = (at, size) => (at < MARGIN ? MARGIN - at : at > size - MARGIN ? size - MARGIN - at : 0);
      move({ touched: true, x: x + short(x + k * wx, room[0]), y: y + short(y + k * wy, room[1]) });
    },
    toScene: ([px, py]) => [(px - view.x) / view.k, (py - view.y) / view.k],
  };
}

const middle = ([a, b]) => [(a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2];
const apart = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;

// Drags and pinches of `surface`; `origin` answers where the columns begin on the screen. What a
// finger moves beyond the edge scrolls the page, which is never held.
function gestures(surface, moves, origin) {
  const down = new Map();
  let [start, dragged] = [null, false];
  const within = ([x, y]) => [x - origin()[0], y - origin()[1]];

  surface.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button) return;
    if (!down.size) [start, dragged] = [event, false];
    down.set(event.pointerId, event);
  });
  surface.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    if (down.size === 2) {
      const was = [...down.values()];
      down.set(event.pointerId, event);
      const now = [...down.values()];
      const [from, to] = [middle(was), middle(now)];
      moves.pan(to[0] - from[0], to[1] - from[1]);
      moves.zoom(apart(now) / apart(was), within(to));
      dragged = true;
      return;
    }
    if (!dragged && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) < SLIP) return;
    if (!dragged) surface.setPointerCapture(event.pointerId);
    dragged = true;
    surface.classList.add("dragged");
    const [, rest] = moves.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    if (event.pointerType === "touch" && rest) window.scrollBy(0, -rest);
    down.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    surface.addEventListener(name, ({ pointerId }) => {
      down.delete(pointerId);
      surface.classList.remove("dragged");
    });
  }
  surface.addEventListener("wheel", (event) => {
    const { ctrlKey, deltaMode, metaKey, shiftKey } = event;
    const unit = deltaMode === 1 ? 16 : 1;
    const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
    if (ctrlKey || metaKey || (surface.closest(".full") && !shiftKey && !dx)) {
      event.preventDefault();
      moves.zoom(Math.exp(-clamp(dy, -60, 60) * 0.006), within([event.clientX, event.clientY]));
      return;
    }
    const [x, y] = shiftKey && !dx ? [dy, 0] : [dx, dy];
    const [restX, restY] = Math.abs(x) > Math.abs(y) ? moves.pan(-x, 0) : moves.pan(0, -y);
    if (Math.abs(restX + restY) < Math.abs(Math.abs(x) > Math.abs(y) ? x : y)) event.preventDefault();
  }, { passive: false });
  return { get dragged() { return dragged; }, get busy() { return down.size > 0; } };
}

const strongest = (links) => [...links].sort((a, b) => Math.abs(b.w) - Math.abs(a.w))[0];

// The next place of the same row: states of every column, otherwise where the graph has one.
function beside(node, by, scene) {
  const every = "XAI".includes(node.letter);
  for (let at = scene.shown.indexOf(node.position) + by; at >= 0 && at < scene.shown.length; at += by) {
    const found = scene.place(`${node.letter}${node.layer}_${scene.shown[at]}`);
    if (every || found.active) return { node: found };
  }
  return null;
}

// Among the links that meet the same node, from left to right.
function sibling({ link, pivot }, by) {
  const below = pivot.id === link.dst.id;
  const links = [...(below ? pivot.incoming : pivot.outgoing)];
  const end = (one) => (below ? one.src.x : one.dst.x);
  links.sort((a, b) => end(a) - end(b) || a.order - b.order);
  const found = links[links.indexOf(link) + by];
  return found ? { link: found, pivot } : null;
}

// Where an arrow key leads: from a node along its strongest link, from a link to its end.
function walk(scene, item, key) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const { link, node } = item;
  if (link) return by ? sibling(item, by) : { node: key === "ArrowDown" ? link.src : link.dst };
  if (by) return beside(node, by, scene);
  const found = strongest((key === "ArrowDown" ? node.incoming : node.outgoing) ?? []);
  return found ? { link: found, pivot: node } : null;
}

Object.assign(lens.graph, { gestures, mover, walk });
