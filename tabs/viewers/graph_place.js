// Where everything of a graph stands: rows and columns, places, lines, and what is near a point.
// A scene is in its own pixels: (0, 0) is the top left corner of the columns.
const KINDS = ["residual", "attention", "ffn", "bias", "mixer"];
const STREAM = KINDS.indexOf("residual");
const DRAWN = [0, 2, 3, 4, 1]; // kinds from back to front
const STEPS = 16; // points in which a curve is kept, to measure distances
const ABOVE = 24; // px above the highest row, for the ring of the root
const BELOW = 26; // px between the lowest row and the tokens, where attention fans out
const FOLDED = 24;

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

function partsOf(id) {
  const [layer, position] = id.slice(1).split("_").map(Number);
  return { id, letter: id[0], layer, position };
}

// The rows from the top: one for every layer, or one for several that only carried the stream on.
function rowsOf({ n_layers: count, nodes, edges, roots }, collapse, height) {
  const busy = new Set(roots.map((id) => partsOf(id).layer));
  edges.kind.forEach((kind, i) => {
    if (kind !== STREAM) busy.add(partsOf(nodes.ids[edges.dst[i]]).layer);
  });
  const rows = [];
  for (let layer = count - 1; layer >= 0; layer -= 1) {
    const folded = collapse && !busy.has(layer);
    if (folded && rows.at(-1)?.folded) rows.at(-1).from = layer;
    else rows.push({ from: layer, to: layer, folded });
  }
  const open = rows.filter(({ folded }) => !folded).length;
  const room = (height ?? 620) - (rows.length - open) * FOLDED;
  const pitch = clamp(room / Math.max(open, 1), 28, height ? 120 : 66);
  let y = ABOVE;
  for (const row of rows) {
    Object.assign(row, { top: y, height: row.folded ? FOLDED : pitch });
    y += row.height;
  }
  return { rows, pitch, bottom: y };
}

// How wide the columns are, and how large what stands in them. `fit` shows all of them.
function columnsOf(count, width, rows, { fit, phone }) {
  const gutter = phone ? 36 : 58;
  const room = width - gutter;
  const margin = phone || fit ? 0 : 16; // for the last column's weights
  const natural = clamp((room - margin) / count, phone ? 42 : 48, 160);
  const pitch = fit ? Math.min(natural, room / count) : natural;
  const size = clamp(Math.min(pitch / 36, rows / 40), 0.3, 1);
  const beside = clamp(pitch * 0.24, 3, 24);
  return { gutter, room, pitch, beside, margin, overflow: natural * count + margin > room + 1,
    radius: { I: 6.5 * size, A: 5 * size, M: 6 * size, B: 5 * size, S: 8 * size, X: 0 } };
}

function curve(from, controls, to) {
  const points = [from, ...controls, to];
  const path = `M${from.map(round)}${["", "L", "Q", "C"][points.length - 1]}${points.slice(1).flat().map(round).join(" ")}`;
  const steps = points.length === 2 ? 1 : STEPS;
  return { path, points: Array.from({ length: steps + 1 }, (_, i) => on(points, i / steps)) };
}

const round = (value) => Math.round(10 * value) / 10;

// A point of a Bézier curve by de Casteljau's construction.
function on(points, share) {
  let left = points;
  while (left.length > 1) {
    left = left.slice(1).map(([x, y], i) => [left[i][0] + (x - left[i][0]) * share, left[i][1] + (y - left[i][1]) * share]);
  }
  return left[0];
}

// Attention leaves its source upwards and fans into its target; to its own column it is an arc.
function attentionCurve(a, b, { beside, pitch }) {
  const [dx, rise] = [b.x - a.x, a.y - b.y];
  if (!dx) {
    const aside = a.x - Math.min(0.4 * pitch, beside + 8);
    return curve([a.x, a.y], [[aside, a.y - 0.15 * rise], [aside, b.y + 0.15 * rise]], [b.x, b.y]);
  }
  const far = Math.min(1, Math.abs(dx) / (7 * pitch));
  const lift = rise * (0.42 - 0.34 * far);
  const reach = Math.sign(dx) * Math.min(Math.abs(dx) * 0.5, 260);
  return curve([a.x, a.y], [[a.x, a.y - 0.92 * rise], [b.x - reach, b.y + lift]], [b.x, b.y]);
}

function lineOf(kind, a, b, columns) {
  if (kind === "attention") return attentionCurve(a, b, columns);
  if (b.letter === "M") return curve([a.x, a.y], [[b.x, a.y]], [b.x, b.y]);
  if (a.letter === "M" || a.letter === "S") return curve([a.x, a.y], [[a.x, b.y]], [b.x, b.y]);
  return curve([a.x, a.y], [], [b.x, b.y]);
}

// Where every node stands, by its id; also of places without influence.
function placesOf(value, columns, { rows, pitch, bottom }) {
  const rowOf = [];
  for (const row of rows) for (let layer = row.from; layer <= row.to; layer += 1) rowOf[layer] = row;
  const state = (layer, after) => {
    if (layer < 0) return bottom + BELOW;
    const row = rowOf[layer];
    if (!row.folded) return row.top + row.height * (after ? 0.16 : 0.66);
    // Within a folded row the stream passes all of its states.
    const [step, count] = [2 * (layer - row.from) + (after ? 1 : 0), 2 * (row.to - row.from + 1)];
    return row.top + row.height * (1 - (step + 0.5) / count);
  };
  const heights = {
    X: () => state(-1),
    I: (layer) => state(layer, true),
    A: (layer) => state(layer, false),
    M: (layer) => (state(layer, true) + (value.mids[layer] ? state(layer, false) : state(layer - 1, true))) / 2,
    B: (layer) => state(layer, !value.mids[layer]) + 0.16 * pitch,
    S: (layer) => state(layer, !value.mids[layer]) + 0.34 * pitch,
  };
  const aside = { M: columns.beside, B: -columns.beside, S: -columns.beside };
  return (id) => {
    const parts = partsOf(id);
    const { letter, layer, position } = parts;
    const x = columns.xOf(position) + (aside[letter] ?? 0);
    return { ...parts, x, y: heights[letter](layer), r: columns.radius[letter], active: false, influence: 0,
      folded: letter !== "X" && rowOf[layer].folded };
  };
}

// The dots: states that the graph does not use, and that can still be asked about.
function dotsOf(value, shown, rows, nodes, place) {
  const dots = [];
  for (const row of rows) {
    if (row.folded) continue;
    const letters = value.mids[row.from] ? ["I", "A"] : ["I"];
    for (const position of shown) {
      for (const letter of letters) {
        const id = `${letter}${row.from}_${position}`;
        if (!nodes.has(id)) dots.push(place(id));
      }
    }
  }
  return dots;
}

// Everything that is drawn. `view`: {hideFirst, collapse, fit}; `size`: {width, height or null, phone}.
function sceneOf(value, view, size) {
  const tokens = value.others ?? value.tokens;
  // A root in the first column keeps it in sight.
  const hides = view.hideFirst && tokens.length > 1 && !value.roots.some((id) => partsOf(id).position === 0);
  const first = hides ? 1 : 0;
  const shown = Array.from({ length: tokens.length - first }, (_, i) => i + first);
  const layers = rowsOf(value, view.collapse, size.height);
  const columns = columnsOf(shown.length, size.width, layers.pitch, { fit: view.fit, phone: size.phone });
  columns.xOf = (position) => (position - first + 0.5) * columns.pitch;
  const place = placesOf(value, columns, layers);

  const nodes = new Map();
  value.nodes.ids.forEach((id, i) => {
    const node = { ...place(id), active: true, influence: value.nodes.influence[i], incoming: [], outgoing: [] };
    if (node.position >= first) nodes.set(id, node);
  });
  const links = [];
  const hidden = { links: 0, influence: 0 };
  const { edges } = value;
  edges.src.forEach((from, i) => {
    const [src, dst] = [nodes.get(value.nodes.ids[from]), nodes.get(value.nodes.ids[edges.dst[i]])];
    if (!src || !dst) {
      hidden.links += 1;
      // What came through the column: its links to others.
      if (dst) hidden.influence += Math.abs(edges.influence[i]);
      return;
    }
    const link = { src, dst, kind: KINDS[edges.kind[i]], w: edges.w[i], influence: edges.influence[i], heads: edges.heads[i] };
    Object.assign(link, lineOf(link.kind, src, dst, columns), { order: DRAWN.indexOf(edges.kind[i]),
      width: 1 + 6 * Math.min(1, Math.abs(link.w)), opacity: 0.28 + 0.72 * Math.sqrt(Math.min(1, Math.abs(link.influence))) });
    dst.incoming.push(link);
    src.outgoing.push(link);
    links.push(link);
  });
  // Within a kind the strongest in front.
  links.sort((a, b) => a.order - b.order || Math.abs(a.influence) - Math.abs(b.influence));
  const dots = dotsOf(value, shown, layers.rows, nodes, place);
  return { value, columns, hides, rows: layers.rows, shown, count: tokens.length, nodes, links, dots, hidden, phone: size.phone,
    place: (id) => nodes.get(id) ?? place(id), width: shown.length * columns.pitch + columns.margin, height: layers.bottom + BELOW };
}

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const share = clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1), 0, 1);
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

function nearest(things, away, reach) {
  let [best, least] = [null, reach];
  for (const thing of things) {
    const d = away(thing);
    if (d <= least) [best, least] = [thing, d];
  }
  return best;
}

// The node or the link at a point, {node} or {link}; `slack` px beside it count as well.
function hit(scene, point, slack) {
  const apart = (node) => Math.hypot(point[0] - node.x, point[1] - node.y) - node.r;
  const visible = [...scene.nodes.values()].filter(({ folded, letter }) => !folded && letter !== "X");
  const close = nearest(visible, apart, Math.min(2, slack));
  if (close) return { node: close };
  // Where several lines cross, the one whose middle is nearest.
  const link = nearest(scene.links, (one) => {
    const [from, to] = [one.points[0], one.points.at(-1)];
    const margin = slack + 8;
    if (point[1] > from[1] + margin || point[1] < to[1] - margin) return Infinity;
    let least = Infinity;
    for (let i = 1; i < one.points.length; i += 1) least = Math.min(least, distance(point, one.points[i - 1], one.points[i]));
    return least - one.width / 2;
  }, slack);
  if (link) return { link };
  const node = nearest(visible, apart, 1.5 * slack) ?? nearest(scene.dots, apart, 2 * slack);
  return node ? { node } : null;
}

lens.graph = { clamp, hit, partsOf, sceneOf };
