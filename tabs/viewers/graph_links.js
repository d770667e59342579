// The lines of a graph, the weights written on them, and the outline of what is chosen.
const { number, signed, svg } = lens;

const ALONG = [0.3, 0.4, 0.22, 0.5, 0.6, 0.14, 0.7]; // where on a line its weight may stand
const LABEL = { height: 15, digit: 6.4, padding: 7 };

const strokeOf = ({ path, width, opacity }) => ({ d: path, "stroke-width": width.toFixed(2), "stroke-opacity": opacity.toFixed(3) });
// What is the same on both sides of a difference has no direction.
const SAME = 0.0005;
const directionOf = (w) => (Math.abs(w) < SAME ? "residual" : w < 0 ? "lowers" : "raises");
const toneOf = ({ kind, w }, { value }) => (value.signed ? directionOf(w) : kind);

function drawLink(link, scene) {
  return svg("path", { class: toneOf(link, scene), ...strokeOf(link) });
}

const keyOf = ({ dst, kind, src }) => `${src.id} ${dst.id} ${kind}`;

function drawLinks(scene) {
  return svg("g", { class: "links" }, ...scene.links.map((link) => {
    const path = drawLink(link, scene);
    path.dataset.id = keyOf(link);
    return path;
  }));
}

const overlaps = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

// Where the weight of a link may stand: that of an MLP to the right of its square, that of attention to
// the own token to the left of its arc.
function spotsOf({ dst, kind, points, src }, columns) {
  if (kind === "ffn") {
    if (src.letter !== "M" || columns.pitch < 92) return [];
    return [{ x: src.x + src.r + 4, y: src.y, side: 1 }];
  }
  if (kind === "attention" && src.position === dst.position && columns.pitch >= 72) {
    const [x, y] = points[points.length >> 1];
    return [{ x: x - 5, y, side: -1 }];
  }
  return ALONG.map((share) => {
    const at = share * (points.length - 1);
    const [from, to] = [points[Math.floor(at)], points[Math.ceil(at)]];
    const rest = at - Math.floor(at);
    return { x: from[0] + (to[0] - from[0]) * rest, y: from[1] + (to[1] - from[1]) * rest };
  });
}

// Weights of at least 0.1 (0.2 on a phone) with 5% of the influence, where they cover nothing. The
// stream's is what the others leave of 1, so it is not written.
function weightsOf(scene) {
  const least = scene.phone ? 0.2 : 0.1;
  const taken = [...scene.nodes.values()].map(({ r, x, y }) => ({ x: x - r - 1, y: y - r - 1, width: 2 * r + 2, height: 2 * r + 2 }));
  const wanted = scene.links.filter(({ influence, kind, w }) =>
    kind !== "residual" && Math.abs(w) >= least && Math.abs(influence) >= 0.05);
  wanted.sort((a, b) => Math.abs(b.influence) - Math.abs(a.influence));
  const found = [];
  for (const link of wanted) {
    const text = scene.value.signed ? signed(link.w) : number(link.w);
    const width = text.length * LABEL.digit + LABEL.padding;
    for (const { x, y, side = 0 } of spotsOf(link, scene.columns)) {
      const box = { x: x + (side - 1) * (width / 2), y: y - LABEL.height / 2, width, height: LABEL.height };
      const inside = box.x >= 0 && box.x + width <= scene.width;
      if (!inside || taken.some((other) => overlaps(box, other))) continue;
      taken.push(box);
      found.push({ link, text, box });
      break;
    }
  }
  return found;
}

function drawWeights(scene) {
  const labels = weightsOf(scene).map(({ link, text, box: { x, y, width, height } }) =>
    svg("text", { class: toneOf(link, scene), x: x + width / 2, y: y + height / 2, dy: "0.36em" }, text));
  return svg("g", { class: "weights" }, ...labels);
}

// The outline around a chosen link or node; the link itself keeps its colour. Where the outline of
// one that the keyboard is at meets it, both are seen.
function outline({ link, node }, scene, className) {
  if (node) {
    const shape = (r, part) => (node.letter === "M"
      ? svg("rect", { class: part, x: node.x - r, y: node.y - r, width: 2 * r, height: 2 * r, rx: 4 })
      : svg("circle", { class: part, cx: node.x, cy: node.y, r }));
    const r = Math.max(node.r, 3) + (scene.value.roots.includes(node.id) ? 9 : 4.5);
    return svg("g", { class: `outline ${className}` }, shape(r, "halo"), shape(r, "line"));
  }
  const edge = (part, more) => svg("path", { class: part, d: link.path, "stroke-width": link.width + more });
  return svg("g", { class: `outline ${className}` }, edge("halo", 9), edge("line", 6), edge("gap", 2), drawLink(link, scene));
}

// What is pointed at, in front of the others, which fade.
function lift(group, links, scene) {
  group.replaceChildren(...links.map((link) => drawLink(link, scene)));
}

Object.assign(lens.graph, { directionOf, drawLinks, drawWeights, keyOf, lift, outline });
