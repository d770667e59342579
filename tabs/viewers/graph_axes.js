// What stands around the columns of a graph: layers, triangles, the prediction, tokens, shares. It stays
// in sight and keeps its size while the columns move.
const { percent, recordText, svg, vocabText } = lens;
const { clamp } = lens.graph;

const HEAD = 42; // px above the columns, for triangles and the prediction
const CHIP = { height: 24, padding: 6 };
const NARROW = 40; // px of a column below which its token is written upwards
const UPRIGHT = 72; // px that such a token may take
const SHARE = 24; // px of an upright bar that stands for everything
const PAUSE = 80; // ms without zooming after which texts are written again
const FONTS = { wide: 13, narrow: 10.5 };

const context = document.createElement("canvas").getContext("2d");

function fontOf(root) {
  const style = getComputedStyle(root);
  return { sans: style.fontFamily, mono: style.getPropertyValue("--font-mono") || "monospace" };
}

// The runs of a text that fit, as parts of an SVG text: marks of spaces are fainter.
function written(runs, room, size, family) {
  context.font = `${size}px ${family}`;
  const fitted = lens.heat.fitted(context, runs, room);
  const parts = fitted.runs.map(({ faint, text }) => svg("tspan", faint ? { "fill-opacity": 0.55 } : {}, text));
  return { parts, width: fitted.width };
}

const rowName = ({ folded, from, to }) => (folded && from !== to ? `L${from}–L${to}` : `L${to}`);

// Layer labels, in the middle of what is in sight of their rows.
function labelsOf(scene) {
  const texts = scene.rows.map((row) => svg("text", { class: row.folded ? "folded" : "", dy: "0.36em" }, rowName(row)));
  const group = svg("g", { class: "labels" }, ...texts);
  return { group, place({ k, y }, height) {
    let last = -Infinity;
    // From below, so that the first layer keeps its label.
    for (let i = texts.length - 1; i >= 0; i -= 1) {
      const row = scene.rows[i];
      const middle = y + k * (row.top + row.height / 2);
      const fits = middle > 4 && middle < height - 4 && Math.abs(middle - last) >= 14;
      texts[i].style.display = fits ? "" : "none";
      if (!fits) continue;
      last = middle;
      texts[i].setAttribute("transform", `translate(${scene.columns.gutter - 12} ${HEAD + middle})`);
    }
  } };
}

// Triangles that choose another root, and the prediction above the root it belongs to.
function headOf(scene, fonts) {
  const { prediction, roots } = scene.value;
  const root = scene.place(roots[0]);
  const other = scene.shown.filter((position) => !(prediction && position === root.position));
  const triangles = other.map((position) => svg("path", { class: "triangle", d: "M0 -5L5.5 4.5H-5.5Z" }));
  const chip = svg("g", { class: "prediction" });
  let width = 0;
  if (prediction) {
    const share = ` ${prediction.p < 0.995 ? `${Math.round(100 * prediction.p)}%` : percent(prediction.p)}`;
    const token = written(lens.heat.runsOf(vocabText(prediction.entry)), 150, FONTS.wide, fonts.mono);
    width = token.width + context.measureText(share).width + 20;
    chip.append(svg("path", { class: "stem" }), svg("rect", { y: 4, width, height: 26, rx: 5 }),
      svg("text", { x: width / 2, y: 17, dy: "0.36em" }, ...token.parts, svg("tspan", {}, share)));
  }
  const row = svg("g", {}, ...triangles);
  let drawnAt = null;
  return { group: svg("g", {}, row, chip), place({ k, x, y }) {
    const { pitch, room, xOf } = scene.columns;
    row.setAttribute("transform", `translate(${x} 22)`);
    const step = Math.ceil(14 / (pitch * k));
    if (drawnAt !== k) other.forEach((position, i) => triangles[i].setAttribute("transform", `translate(${k * xOf(position)} 0)`));
    drawnAt = k;
    const middle = x + k * root.x;
    const left = prediction ? clamp(middle - width / 2, 0, Math.max(0, room - width - 1)) : Infinity;
    other.forEach((position, i) => {
      const at = x + k * xOf(position);
      const covered = at < 0 || at > room || (at > left - 6 && at < left + width + 6);
      const shown = covered || (scene.count - position) % step ? "none" : "";
      if (triangles[i].style.display !== shown) triangles[i].style.display = shown;
    });
    if (!prediction) return;
    chip.style.display = middle < -8 || middle > room + 8 ? "none" : "";
    chip.setAttribute("transform", `translate(${left} 0)`);
    const end = HEAD + y + k * (root.y - root.r - 5);
    chip.firstChild.setAttribute("d", `M${middle - left} 30V${Math.max(30, end)}`);
  } };
}

// Whole per cents that still sum to 100: the largest remainders are rounded up.
function wholes(shares) {
  const exact = shares.map((share) => 100 * share);
  const found = exact.map(Math.floor);
  let left = Math.round(exact.reduce((a, b) => a + b, 0)) - found.reduce((a, b) => a + b, 0);
  const order = exact.map((_, i) => i).sort((a, b) => exact[b] - found[b] - (exact[a] - found[a]));
  for (const i of order) if (left-- > 0) found[i] += 1;
  return found;
}

// What each column began with, by row: one token, or that of A and that of B.
function tokenRows({ others, tokens }) {
  if (!others) return [tokens];
  const differs = tokens.some((token, i) => token?.id !== others[i]?.id || !token);
  return differs ? [tokens, others.map((token, i) => (token && tokens[i]?.id === token.id ? null : token))] : [tokens];
}

function tokenPart(token, row, several) {
  if (!token) return null;
  const special = token.kind === "special" || token.kind === "pad";
  const side = several ? (row ? " side-b" : " side-a") : "";
  const group = svg("g", { class: `token${special ? " special" : ""}${side}` }, svg("rect", { rx: 4 }), svg("text", {}));
  return { group, runs: lens.heat.runsOf(recordText(token)) };
}

function placeToken({ group, runs }, pixels, fonts) {
  const [rect, text] = group.children;
  const upright = pixels < NARROW;
  const size = pixels < 64 ? FONTS.narrow : FONTS.wide;
  const padding = pixels < 64 ? 3 : pixels < 80 ? 4 : CHIP.padding;
  const { parts, width } = written(runs, upright ? UPRIGHT - 8 : pixels - 3 - 2 * padding, size, fonts.mono);
  const whole = upright ? 0 : Math.min(pixels - 3, Math.max(width + 2 * padding, 22));
  rect.setAttribute("x", -whole / 2);
  rect.setAttribute("width", whole);
  rect.setAttribute("height", upright ? 0 : CHIP.height);
  text.style.fontSize = `${size}px`;
  text.setAttribute("text-anchor", upright ? "end" : "middle");
  text.setAttribute("transform", upright ? "translate(0 4) rotate(-90)" : `translate(0 ${CHIP.height / 2})`);
  text.setAttribute("dy", "0.34em");
  text.replaceChildren(...parts);
}

function shareParts(value, whole, high) {
  const text = value.signed ? `${whole > 0 ? "+" : ""}${whole}%`.replace("-", "−") : `${whole}%`;
  const strong = Math.abs(whole) >= 10 ? " strong" : "";
  return svg("g", { class: "share" }, svg("rect", { class: "rail", rx: 1.5 }),
    svg("rect", { class: `bar ${value.signed ? (whole < 0 ? "lowers" : "raises") : ""}`, rx: 1.5 }),
    svg("text", { class: strong.trim(), y: 22 }, text));
}

function placeShare(group, share, signed, pixels) {
  const [rail, bar, text] = group.children;
  const narrow = pixels < 26; // then upright, without a number
  const whole = narrow ? SHARE : clamp(pixels - 12, 3, 56);
  const length = Math.min(1, Math.abs(share)) * (signed ? whole / 2 : whole);
  const start = signed ? (share < 0 ? -length : 0) : -whole / 2;
  for (const [rect, from, long] of [[rail, -whole / 2, whole], [bar, start, length]]) {
    const [across, thick] = narrow ? [whole / 2 - from - long, Math.max(2, pixels - 4)] : [from, 7];
    const box = narrow ? { x: -thick / 2, y: across, width: thick, height: long } : { x: across, y: 0, width: long, height: thick };
    for (const [name, size] of Object.entries(box)) rect.setAttribute(name, size);
  }
  text.style.display = narrow ? "none" : "";
}

// Tokens and the share of the prediction that began at each of them.
function footOf(scene, fonts) {
  const { value } = scene;
  const rows = tokenRows(value);
  const all = value.share ? (value.signed ? value.share.map((share) => Math.round(100 * share)) : wholes(value.share)) : null;
  const items = scene.shown.map((position) => {
    const tokens = rows.map((row, r) => tokenPart(row[position], r, rows.length > 1));
    const share = all ? shareParts(value, all[position]) : null;
    const faint = !scene.nodes.has(`X0_${position}`) && !value.difference ? " unused" : "";
    const groups = [...tokens.map((one) => one?.group), share].filter(Boolean);
    return { position, tokens, share, group: svg("g", { class: `token-column${faint}` }, ...groups) };
  });
  const group = svg("g", {}, ...items.map((item) => item.group));
  const upright = scene.columns.pitch < NARROW;
  const longest = () => Math.max(...items.flatMap(({ tokens }) => tokens).map((one) => (one ? written(one.runs, UPRIGHT - 8, FONTS.narrow, fonts.mono).width : 0)));
  const token = upright ? longest() + 14 : rows.length * (CHIP.height + 3) + 7;
  let [drawnAt, waiting] = [null, null];
  // The texts, as long as their columns are wide.
  const write = (pixels) => {
    const step = Math.ceil(11 / pixels);
    for (const { position, share, tokens } of items) {
      tokens.forEach((one, row) => {
        if (!one) return;
        placeToken(one, pixels, fonts);
        one.group.setAttribute("transform", `translate(0 ${row * (CHIP.height + 3)})`);
        one.group.style.display = (scene.count - position - 1) % step ? "none" : "";
      });
      if (!share) continue;
      share.setAttribute("transform", `translate(0 ${token})`);
      placeShare(share, value.share[position], value.signed, pixels);
    }
  };
  return { group, height: token + (all ? 30 : 2), place({ k, x }) {
    group.setAttribute("transform", `translate(${x} 0)`);
    if (drawnAt === k) return;
    for (const { group: column, position } of items) column.setAttribute("transform", `translate(${k * scene.columns.xOf(position)} 0)`);
    // While it is zoomed, texts wait: they take most of the time.
    clearTimeout(waiting);
    const pixels = scene.columns.pitch * k;
    if (drawnAt === null) write(pixels);
    else waiting = setTimeout(write, PAUSE, pixels);
    drawnAt = k;
  } };
}

Object.assign(lens.graph, { HEAD, footOf, fontOf, headOf, labelsOf, rowName });
