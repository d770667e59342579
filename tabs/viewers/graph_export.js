// A graph to take away: the menu, and a picture that needs nothing from anywhere.
const { download, make, menu, phrase, svg } = lens;
const { TONES, faceOf, fontOf, legendKinds, sceneOf, stripText, word } = lens.graph;

const FORMATS = ["png", "svg", "json", "graphml", "csv"];
const WIDTH = 1100; // px of the columns of a picture, more for more tokens
const MARGIN = 24;
const LINE = 20;
const SCALE = 2.5;
const LONGEST = 16000; // pixels; browsers draw nothing on longer canvases
const LARGEST = 100e6;
// What the page's styles give to marks, and a file must hold itself; all of it is inherited.
const STYLES = ["fill", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin",
  "font-family", "font-size", "font-weight", "text-anchor", "paint-order"];
const INVALID = /[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu; // in XML

// The styles as attributes, where they differ from those of what is around.
function inline(element, outer = {}) {
  const style = getComputedStyle(element);
  if (style.display === "none") return element.remove();
  const own = Object.fromEntries(STYLES.map((name) => [name, style.getPropertyValue(name)]));
  for (const name of STYLES) if (own[name] !== outer[name]) element.setAttribute(name, own[name]);
  if (style.opacity !== "1") element.setAttribute("opacity", style.opacity);
  for (const child of [...element.children]) inline(child, own);
  return undefined;
}

// Things side by side, in as many lines as they need. Answers the height.
function flow(group, parts, width) {
  let [x, y] = [0, 0];
  for (const { draw, wide } of parts) {
    if (x && x + wide > width) [x, y] = [0, y + LINE];
    group.append(...draw(x, y));
    x += wide;
  }
  return parts.length ? y + LINE : 0;
}

const context = document.createElement("canvas").getContext("2d");

function wordParts(text, className = "") {
  return (text ?? "").split(/(?<=\s)|(?<=[、。，；：])/u).filter(Boolean).map((part) => ({
    wide: context.measureText(part).width,
    draw: (x, y) => [svg("text", { x, y, class: className }, part)],
  }));
}

// A line in the colour of its kind, and its name.
function keyPart(kind) {
  const name = word(`legend_${kind}`);
  return { wide: 48 + context.measureText(name).width,
    draw: (x, y) => [svg("path", { class: `legend-line ${TONES[kind] ?? kind}`, d: `M${x} ${y - 4}h22` }), svg("text", { x: x + 28, y }, name)] };
}

// The whole graph with its title, shares and legend, in the theme of the page.
function pictureOf({ value }, root, view) {
  const scene = sceneOf(value, { ...view, fit: false }, { width: WIDTH, height: null, phone: false });
  scene.columns.room = Math.max(scene.columns.room, scene.width);
  const face = faceOf(scene, root, { whole: true });
  face.place({ k: 1, x: 0, y: 0 });
  const wide = Number(face.picture.getAttribute("width"));
  for (const triangle of face.picture.querySelectorAll(".triangle")) triangle.remove(); // nothing to press
  const { sans } = fontOf(root);
  const [head, foot] = [svg("g", { class: "title" }), svg("g", { class: "said" })];
  context.font = `600 16px ${sans}`;
  const above = flow(head, wordParts(phrase(value.title)), wide) + 8;
  context.font = `12px ${sans}`;
  const texts = [wordParts(stripText(scene)), legendKinds(scene).map(keyPart), wordParts(word("export_widths", { threshold: value.threshold }))];
  let below = 0;
  for (const parts of texts) {
    const group = svg("g", { transform: `translate(0 ${below})` });
    foot.append(group);
    below += flow(group, parts, wide);
  }
  const tall = Number(face.picture.getAttribute("height"));
  const [width, height] = [wide + 2 * MARGIN, above + tall + below + 2 * MARGIN + 12];
  head.setAttribute("transform", `translate(${MARGIN} ${MARGIN + 14})`);
  foot.setAttribute("transform", `translate(${MARGIN} ${MARGIN + above + tall + 24})`);
  face.picture.setAttribute("x", MARGIN);
  face.picture.setAttribute("y", MARGIN + above);
  const all = svg("svg", { class: "saved", width, height, viewBox: `0 0 ${width} ${height}` },
    svg("rect", { class: "page", width, height }), head, face.picture, foot);
  const box = make("div", `picture-box ${value.signed ? "signed" : ""}`, all);
  root.append(box);
  inline(all);
  box.remove();
  for (const one of all.querySelectorAll("[class]")) one.removeAttribute("class");
  return { all, width, height };
}

// Our typefaces within the file; without them it falls back to those of the system.
async function faces() {
  const rules = document.getElementById("lens-styles").textContent.match(/@font-face\s*\{[^}]*\}/g) ?? [];
  const inner = rules.map(async (rule) => {
    const url = /url\("([^"]+)"\)/.exec(rule)?.[1];
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    return rule.replace(url, `data:font/woff2;base64,${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))}`);
  });
  const loaded = await Promise.allSettled(inner);
  return loaded.filter(({ status }) => status === "fulfilled").map(({ value }) => value).join("\n");
}

async function save(format, scene, root, view) {
  const { all, width, height } = pictureOf(scene, root, view);
  all.prepend(svg("style", {}, await faces()));
  const text = new XMLSerializer().serializeToString(all).replace(INVALID, "");
  const { name } = scene.value;
  if (format === "svg") return download(`${name}.svg`, text, "image/svg+xml");
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  await image.decode();
  const scale = Math.min(SCALE, LONGEST / width, LONGEST / height, Math.sqrt(LARGEST / (width * height)));
  const canvas = Object.assign(document.createElement("canvas"), { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return canvas.toBlob((blob) => download(`${name}.png`, blob, "image/png"), "image/png");
}

function saveMenu(choose) {
  const items = FORMATS.map((format) => [format, word(`export_${format}`)]);
  return menu("export", word("export"), Object.fromEntries(items), choose);
}

Object.assign(lens.graph, { save, saveMenu });
