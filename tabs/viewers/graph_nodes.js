// The nodes of a graph and the ground they stand on.
const { colour, svg } = lens;
const { clamp, directionOf } = lens.graph;

const fillOf = (influence, value) => (value.signed
  ? colour("signed", 0.5 + 0.5 * clamp(influence, -1, 1)).fill : colour("amount", clamp(influence, 0, 1)).fill);

function drawNode(node, value) {
  const { letter, r, x, y } = node;
  if (letter === "M") {
    const tone = value.signed ? directionOf(node.influence) : "";
    return svg("rect", { class: `ffn ${tone}`, x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: Math.min(2, r / 2) });
  }
  if (letter === "B") return svg("path", { class: "bias", d: `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z` });
  if (letter === "S") {
    const [h, w] = [r, 0.55 * r];
    return svg("path", { class: "mixer", d: `M${x - w} ${y - h}H${x + w}L${x + h} ${y}L${x + w} ${y + h}H${x - w}L${x - h} ${y}Z` });
  }
  return svg("circle", { class: "state", cx: x, cy: y, r, fill: fillOf(node.influence, value) });
}

function drawNodes(scene) {
  const { nodes, value } = scene;
  const seen = [...nodes.values()].filter(({ folded, letter }) => !folded && letter !== "X");
  const rings = value.roots.map(scene.place).map(({ r, x, y }) => svg("circle", { class: "ring", cx: x, cy: y, r: r + 4 }));
  return svg("g", { class: "nodes" }, ...seen.map((node) => {
    const mark = drawNode(node, value);
    mark.dataset.id = node.id;
    return mark;
  }), ...rings);
}

function drawGround({ columns, dots, rows, width }) {
  const stripes = rows.flatMap((row, i) => ((rows.length - i) % 2 ? [svg("rect", { class: "stripe", x: 0, y: row.top,
    width: Math.max(width, columns.room), height: row.height, rx: 6 })] : []));
  const path = dots.map(({ x, y }) => `M${x} ${y}h0`).join("");
  return [...stripes, svg("path", { class: "dots", d: path, "stroke-width": Math.max(1.5, 0.6 * columns.radius.I) })];
}

Object.assign(lens.graph, { drawGround, drawNodes });
