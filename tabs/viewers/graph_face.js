// The parts of the graph's page: the drawing with what surrounds it, and what stands in its place where
// there is nothing to draw.
const { button, make, number, svg, tokenText } = lens;
const { HEAD, counts, drawGround, drawLinks, drawNodes, drawWeights, footOf, fontOf, headOf, labelsOf, word } = lens.graph;

const STEP = 1.3; // by which + and − zoom
const TALLEST = 860; // px of the columns; more are moved through
const AROUND = 210; // px that a full screen needs beside the columns

const action = (name, label, act, title) => button(name, label, act, { focus: name, title });

// A faint graph, a sentence, and prompts to start from.
function drawEmpty(root, { examples }, trigger) {
  const dots = [0, 1, 2, 3, 4].flatMap((c) => [0, 1, 2, 3].map((r) => svg("circle", { cx: 30 + 60 * c, cy: 24 + 34 * r, r: c === 4 ? 6 : 2 })));
  const curves = [[0, 1], [2, 3], [3, 3], [1, 3]].map(([c, r]) => svg("path", { d: `M${30 + 60 * c} ${24 + 34 * r}C${30 + 60 * c} ${4 + 34 * r} ${200} ${4 + 34 * r} 270 ${34 * r - 10}` }));
  const ghost = svg("svg", { class: "ghost", viewBox: "0 0 300 150", "aria-hidden": "true" }, svg("path", { d: "M270 24V126" }), ...curves, ...dots);
  const buttons = (examples ?? []).map((example, index) => action("example", tokenText(example), () => trigger("example", { index })));
  root.replaceChildren(make("div", "empty", ghost, make("p", "", word("empty")), make("div", "examples", ...buttons)));
}

// A threshold with two figures that the strongest link passes.
function below(strongest) {
  const unit = 10 ** (Math.floor(Math.log10(strongest)) - 1);
  return Number(((Math.ceil(strongest / unit - 1e-9) - 1) * unit).toPrecision(2));
}

function nothing({ strongest, threshold }, trigger) {
  const said = word("nothing", { threshold: number(threshold), strongest: number(strongest) });
  const value = below(strongest);
  return make("div", "nothing", make("p", "", said), action("lower", word("lower", { value }), () => trigger("threshold", { value })));
}

// The drawing: the columns move by one transform, what surrounds them follows.
function faceOf(scene, root, { full, whole }) {
  const fonts = fontOf(root);
  const [labels, head, foot] = [labelsOf(scene), headOf(scene, fonts), footOf(scene, fonts)];
  const { gutter, room } = scene.columns;
  const height = full ? Math.max(200, window.innerHeight - AROUND - foot.height) : Math.min(scene.height, whole ? Infinity : TALLEST);
  const [front, marks] = [svg("g", { class: "front" }), svg("g", { class: "marks" })];
  const world = svg("g", { class: "world" }, ...drawGround(scene), drawLinks(scene), front, marks, drawNodes(scene), drawWeights(scene));
  const part = (y, tall, name, ...children) => svg("svg", { class: name, x: gutter, y, width: room, height: tall }, ...children);
  const above = part(0, HEAD, "above", head.group);
  above.setAttribute("overflow", "visible"); // the stem of the prediction reaches into the columns
  const picture = svg("svg", { class: scene.value.signed ? "picture signed" : "picture", width: gutter + room, height: HEAD + height + foot.height, role: "img" },
    part(HEAD, height, "plot", world), above, part(HEAD + height, foot.height, "below", foot.group), labels.group);
  return { picture, front, marks, height,
    place(view) {
      world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
      for (const one of [labels, head, foot]) one.place(view, height);
    } };
}

// The buttons above the drawing; `acts` by their names.
function toolsOf(scene, { fit, full }, acts) {
  const whole = action("fit", word("fit"), acts.fit);
  if (scene.columns.overflow) whole.setAttribute("aria-pressed", String(fit));
  return make("div", "tools", make("span", "counts", counts(scene)),
    action("out", "−", () => acts.zoom(1 / STEP), word("zoom_out")), action("in", "+", () => acts.zoom(STEP), word("zoom_in")), whole,
    action("whole", word(full ? "full_off" : "full"), acts.full), lens.graph.saveMenu(acts.save));
}

Object.assign(lens.graph, { AROUND, STEP, drawEmpty, faceOf, nothing, toolsOf });
