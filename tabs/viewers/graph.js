// The contribution graph: columns of tokens, rows of layers, links as wide as they weigh. Takes
// {"state": "empty", "examples": [text]} or {"state": "done", "name" (of exports), "title": phrase,
// "n_layers", "mids" and "mlps": [bool per layer], "tokens": [record], "others": [record or null] of a
// difference, "share": [per token], "rest": {"bias", "mixer", "lost"}, "roots": [id], "prediction":
// {"entry", "p"}, "nodes": {"ids", "influence"}, "edges": {"src", "dst" (places in nodes), "kind", "w",
// "influence", "heads": [[[head, weight]]]}, "signed", "difference", "threshold", "n_edges",
// "strongest", "notes": [phrase], "selected": {"src", "dst", "kind"} or {"node"}}. Listens to
// "hide_first", "collapse" (bool) and "select". Triggers "edge" {src, dst, kind}, "node" {id}, "root"
// {id}, "example" {index}, "threshold" {value} and "export" {format}.
const { listen, make, mount, phrase, refill } = lens;
const { AROUND, STEP, boxAt, cardOf, centre, dataOf, drawEmpty, faceOf, gestures, itemAt, itemName, itemOf, leftOut, legendOf,
  lift, mover, nameOf, nothing, originOf, outline, save, sceneOf, stripText, summary, toolsOf, walk } = lens.graph;

const INTENT = 150; // ms over another mark before its card replaces a pinned one
const onPhone = () => window.innerWidth <= 640;
let count = 0;

lens.viewers.graph = ({ element, props, watch, trigger }) => {
  const root = element.querySelector(".lens-viewer");
  const name = `lens-graph-${(count += 1)}`;
  // Of the person, kept when it is drawn again.
  const view = { columns: null, roots: null, chosen: null, pivot: null, hideFirst: false, collapse: false, fit: false, selected: null, active: null, pinned: false };
  let [value, scene, face, stage, shown, pointer, waiting, hand] = [null, null, null, null, null, "mouse", null, null];

  const edges = ["left", "right"].map((side) => make("div", `edge ${side}`));

  // The transform of the columns, and everything that goes with them.
  function show(now) {
    face.place(now);
    const right = now.x + scene.width * now.k - scene.columns.room;
    [now.x < -4, right > 4].forEach((more, i) => { edges[i].style.opacity = more ? 1 : 0; });
    const touch = scene.height * now.k > face.height + 1 ? "none" : "pan-y";
    if (stage.style.touchAction !== touch) stage.style.touchAction = touch;
    const card = root.querySelector(".card");
    if (card && shown && !onPhone()) lens.heat.place(card, root, boxOf(shown));
  }

  const moves = mover(() => ({ room: [scene.columns.room, face.height], world: [scene.width, scene.height] }), show);

  const here = () => ({ scene, face, moves });
  const boxOf = (item) => boxAt(item, here());

  function hideCard() {
    root.querySelector(".card")?.remove();
    shown = null;
    face.picture.classList.remove("fading");
    lift(face.front, [], scene);
  }

  function showCard(item) {
    const isSheet = onPhone();
    const isPinned = view.pinned && nameOf(item) === nameOf(itemOf(scene, view.selected));
    root.querySelector(".card")?.remove();
    const card = cardOf(item, scene, { root: isPinned || isSheet ? useRoot : null, close: isSheet ? hideCard : null });
    shown = item;
    const links = item.link ? [item.link] : item.node ? [...(item.node.incoming ?? []), ...(item.node.outgoing ?? [])] : [];
    face.picture.classList.toggle("fading", links.length > 0 && !isPinned);
    lift(face.front, isPinned ? [] : links, scene);
    stage.after(card);
    if (!isSheet) return lens.heat.place(card, root, boxOf(item));
    // The card at the foot must not cover what it is of.
    const hidden = boxOf(item).bottom - card.getBoundingClientRect().top;
    return hidden > 0 ? window.scrollBy({ top: hidden + 12 }) : undefined;
  }

  const useRoot = (id) => trigger("root", { id });

  const focused = () => stage.matches(":focus-visible") && view.active;

  // The card that stays when nothing is pointed at.
  function settle() {
    clearTimeout(waiting);
    const kept = view.pinned ? itemOf(scene, view.selected) : focused() ? itemOf(scene, view.active) : null;
    if (!kept) hideCard();
    else if (nameOf(kept) !== nameOf(shown)) showCard(kept);
  }

  function point(item) {
    clearTimeout(waiting);
    stage.classList.toggle("over", Boolean(item));
    if (!item) waiting = setTimeout(settle, INTENT);
    else if (nameOf(item) === nameOf(shown)) return;
    else if (view.pinned) waiting = setTimeout(() => showCard(item), INTENT);
    else showCard(item);
  }

  // The outlines of what is selected and of what the keyboard is at.
  function mark() {
    const [active, selected] = [focused() ? itemOf(scene, view.active) : null, itemOf(scene, view.selected)];
    face.marks.replaceChildren(
      ...(selected ? [outline(selected, scene, "selected")] : []),
      ...(active && nameOf(active) !== nameOf(selected) ? [outline(active, scene, "active")] : []));
  }

  function moveTo(item) {
    view.active = dataOf(item);
    view.pivot = item.pivot?.id ?? null;
    moves.reveal(centre(item));
    mark();
    root.querySelector(".said").textContent = itemName(item, scene);
    showCard(item);
    const { bottom, top } = boxOf(item);
    if (top < 0) window.scrollBy(0, top - 40);
    else if (bottom > window.innerHeight) window.scrollBy(0, bottom - window.innerHeight + 40);
  }

  function open(item) {
    if (item.root !== undefined) return useRoot(`I${value.n_layers - 1}_${item.root}`);
    Object.assign(view, { active: dataOf(item), selected: dataOf(item), pinned: true });
    mark();
    if (onPhone()) hideCard(); // the details rise where the card was
    else showCard(item);
    return item.node ? trigger("node", { id: item.node.id }) : trigger("edge", view.selected);
  }

  function clear() {
    Object.assign(view, { pinned: false, selected: null });
    mark();
    hideCard();
  }

  function click(event) {
    if (hand.dragged) return undefined;
    const touch = pointer === "touch";
    const item = itemAt(event, here(), touch);
    if (!item) return clear();
    if (touch && nameOf(item) !== nameOf(shown)) {
      view.pinned = false;
      return showCard(item);
    }
    return open(item);
  }

  // What the keyboard is at, with the node whose links it goes through.
  function active() {
    const item = itemOf(scene, view.active) ?? { node: scene.place(value.roots[0]) };
    if (item.link && view.pivot) item.pivot = scene.place(view.pivot);
    return item;
  }

  const keys = {
    Enter: () => open(active()), " ": () => open(active()), Escape: clear,
    "+": () => moves.zoom(STEP), "=": () => moves.zoom(STEP), "-": () => moves.zoom(1 / STEP),
    0: fitAll, Home: () => moveTo({ node: scene.place(value.roots[0]) }),
  };

  function press(event) {
    const { altKey, ctrlKey, key, metaKey } = event;
    if (altKey || ctrlKey || metaKey) return;
    const found = key.startsWith("Arrow") ? walk(scene, active(), key) : null;
    if (found) moveTo(found);
    else keys[key]?.();
    if (keys[key] || key.startsWith("Arrow")) event.preventDefault();
  }

  function fitAll() {
    view.fit = scene.columns.overflow && !(view.fit && moves.view.k === 1);
    moves.view.touched = false;
    redraw();
  }

  const isFull = () => root.classList.contains("full");

  function setFull(full) {
    root.classList.toggle("full", full);
    moves.view.touched = false;
    if (scene) redraw();
  }

  async function toggleFull() {
    if (document.fullscreenElement) return document.exitFullscreen();
    if (isFull()) return setFull(false);
    try {
      await root.requestFullscreen();
    } catch {
      setFull(true); // a frame may forbid it; then as large as the frame
    }
    return undefined;
  }

  const tools = {
    fit: fitAll, full: toggleFull, zoom: (factor) => moves.zoom(factor),
    save: (format) => (format === "svg" || format === "png" ? save(format, scene, root, view) : trigger("export", { format })),
  };

  function listenTo() {
    hand = gestures(stage, moves, () => originOf(here()));
    stage.addEventListener("click", click);
    stage.addEventListener("pointerdown", ({ pointerType }) => { pointer = pointerType; });
    stage.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch" && !hand.busy) point(itemAt(event, here(), false));
    });
    stage.addEventListener("pointerleave", ({ pointerType, relatedTarget }) => {
      if (pointerType !== "touch" && !relatedTarget?.closest?.(".card")) settle();
    });
    stage.addEventListener("keydown", press);
    stage.addEventListener("focus", () => stage.matches(":focus-visible") && !view.pinned && moveTo(active()));
    stage.addEventListener("blur", ({ relatedTarget }) => {
      mark();
      if (!view.pinned && !relatedTarget?.closest(".card")) hideCard();
    });
  }

  function draw(_, given, width) {
    value = given;
    root.dataset.state = value.state;
    clearTimeout(waiting);
    if (value.state === "empty") {
      [scene, face] = [null, null];
      return drawEmpty(root, value, trigger);
    }
    const size = { width: isFull() ? root.clientWidth - 32 : width, phone: width < 480, height: isFull() ? window.innerHeight - AROUND - 150 : null };
    scene = sceneOf(value, view, size);
    face = faceOf(scene, root, { full: isFull() });
    edges[0].style.left = `${scene.columns.gutter}px`;
    stage = make("div", "stage", face.picture, ...edges);
    stage.tabIndex = 0;
    stage.dataset.focus = "stage";
    stage.setAttribute("role", "application");
    for (const one of [stage, face.picture]) {
      one.setAttribute("aria-label", phrase(value.title));
      one.setAttribute("aria-describedby", name);
    }
    stage.setAttribute("aria-description", lens.graph.word("keys"));
    const said = make("span", "spoken said");
    said.setAttribute("aria-live", "polite");
    const spoken = make("p", "spoken", summary(scene));
    spoken.id = name;
    const notes = [...leftOut(scene, view), ...(value.notes ?? []).map(phrase)].map((note) => make("p", "note", note));
    const strip = stripText(scene);
    const missing = !scene.links.length && value.strongest !== null && value.strongest !== undefined;
    refill(root, toolsOf(scene, { fit: view.fit, full: isFull() }, tools), stage, missing ? nothing(value, trigger) : null, strip ? make("p", "strip", strip) : null,
      legendOf(scene), ...notes, make("p", "hint keys", lens.graph.word("keys_short")), spoken, said);
    settleView();
    listenTo(); // not before: the focus that comes back moves nothing
    mark();
    shown = null;
    settle();
    return undefined;
  }

  // What was moved stays where it is, with another root in sight; everything else starts at the root.
  function settleView() {
    const { touched } = moves.view;
    const root = scene.place(value.roots[0]);
    const { pitch, room } = scene.columns;
    if (!touched) Object.assign(moves.view, { k: 1, x: room - root.x - 1.5 * pitch, y: face.height / 3 - root.y });
    moves.move({});
    if (touched && String(value.roots) !== view.roots) moves.reveal([root.x, root.y]);
    view.roots = String(value.roots);
    show(moves.view);
  }

  const redraw = () => draw(root, value, element.clientWidth);

  // Other tokens or layers forget what was moved and chosen; another selection is what Python says.
  function take(_, given, width) {
    const columns = JSON.stringify([given.n_layers, (given.others ?? given.tokens)?.map((token) => token?.id)]);
    const chosen = JSON.stringify(given.selected ?? null);
    if (columns !== view.columns) {
      Object.assign(view, { columns, active: null, pivot: null, selected: null, pinned: false, chosen: null });
      moves.view.touched = false;
    }
    if (chosen !== view.chosen) Object.assign(view, { chosen, selected: given.selected, pinned: false });
    draw(_, given, width);
  }

  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !event.target.closest(".card")) return;
    stage.focus({ preventScroll: true });
    clear();
  });
  root.addEventListener("pointerover", ({ target }) => target.closest(".card") && clearTimeout(waiting));
  root.addEventListener("fullscreenchange", () => setFull(document.fullscreenElement === root));
  const listenFor = (topic, act) => listen(element, topic, (data) => {
    act(data);
    if (scene) redraw();
  });
  listenFor("hide_first", (on) => { view.hideFirst = on; });
  listenFor("collapse", (on) => { view.collapse = on; });
  listen(element, "select", (data) => {
    Object.assign(view, { selected: data, pinned: false });
    const item = scene && itemOf(scene, data);
    if (!scene) return;
    hideCard();
    mark();
    if (item) moves.reveal(centre(item));
  });
  mount(element, props, watch, take);
};
