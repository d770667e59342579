// The prompt as boxes, each filled by a value, and the predicted token after an arrow. Takes {"state":
// "empty", "title", "examples": [text]}, or {"state": "done", "title", "how", "tokens": [record], "n_prompt",
// "boxes": [{"at": [positions], "value": number or null (not part of it), "before", "parts": [number]}],
// "scale": "attention" | "signed", "high", "curve": "linear" | "sqrt" | "log", "format": "percent" |
// "number" | "times" | "signed", "legend", "query", "selected": position, "sinks": [positions], "sink": what
// goes to no token, "prediction": {"entry", "p", "top": [{"entry", "p"}]} or null, "missing": why there are
// no values, "notes": [phrase], "exports": whether it can be saved, "legend_hidden"}. Triggers "choose" {position},
// "example" {index} and "export" {format}.
const { bytesText, chip, colour, gradient, heading, make, menu, mount, number, percent, phrase, recordText, refill, seen, signed, svg, t, tokenText, vocabText } = lens;
const { factsOf, isSpecial, known, makeTip, operate } = lens.tokenList;

const DENSE = 48; // boxes above which they are small
const ROOM = 44; // px above the boxes for the lines
const EDGE = 6; // px around the box that has the focus
const ARCS = 40; // boxes up to which lines show where the query looks
const FORMATS = { json: "JSON", csv: "CSV", html: "HTML", png: "PNG" };
const CURVES = { linear: (x) => x, sqrt: Math.sqrt, log: (x) => Math.log1p(99 * x) / Math.log(100) };

const amount = ({ format }, value) => lens.amount(format, value);

// The same where there is little room.
const short = (value, x) => (value.format === "percent" && x >= 0.001 ? (100 * x).toFixed(1) : amount(value, x));

// Where a value lies on the colour scale, 0..1; what is larger than its end is at the end.
function shareOf({ scale, curve, high }, x) {
  if (scale === "signed") return 0.5 + 0.5 * Math.max(-1, Math.min(1, x / (high || 1)));
  return CURVES[curve](Math.max(0, Math.min(1, x / (high || 1))));
}

function paint(box, value, x) {
  if (x === null || x === undefined) return;
  const { fill, text } = colour(value.scale, shareOf(value, x));
  box.style.background = fill;
  box.style.color = text;
}

// What stands in a box: the character, and below it the bytes of each of its tokens.
function faceOf(tokens) {
  if (tokens.length === 1) {
    const [token] = tokens;
    if (token.kind === "partial" && token.bytes_hex) return [bytesText(token.bytes_hex, token.cluster_text)];
    return [recordText(token)];
  }
  const split = tokens.every(({ cluster }) => cluster === tokens[0].cluster);
  if (!split) return [tokenText(tokens.map(({ text }) => text).join(""))];
  const cells = tokens.map(({ bytes_hex: hex }) => make("span", "cell", (hex ?? "").toUpperCase()));
  return [tokenText(tokens[0].cluster_text), make("span", "cells", ...cells)];
}

// The line below a box: the number, then what it is.
function below(value, { at, value: x, before }) {
  const lines = [make("span", "amount", x === null ? "" : short(value, x))];
  if (before !== undefined && before !== null) lines.push(make("span", "was", short(value, before)));
  const plain = value.tokens[at[0]].id === null ? "" : `#${at[0]}`;
  const name = at.includes(value.query) ? t("attention_tokens.query") : at.length > 1 ? t("attention_tokens.count", { count: at.length }) : plain;
  lines.push(make("span", "place", name));
  return make("span", "below", ...lines);
}

function factLines(value, box, tokens) {
  const facts = [make("strong", "", seen(make("span", "", ...faceOf(tokens))))];
  if (box.value !== null) facts.push(`${phrase(value.legend)}: ${amount(value, box.value)}`);
  if (box.value !== null && box.at.length > 1) facts.push(...(box.parts ?? []).map((x, i) => `#${box.at[i]}: ${amount(value, x)}`));
  if (box.before !== undefined) facts.push(t("attention_tokens.before", { value: amount(value, box.before) }));
  if (box.value === null && !value.missing && value.scale === "attention") facts.push(t("attention_tokens.behind"));
  if (box.at.some((i) => value.sinks.includes(i))) facts.push(t("attention_tokens.sink"));
  for (const token of tokens) facts.push(...factsOf(token, null, token.i >= (value.n_prompt ?? Infinity)));
  return facts;
}

function boxOf(value, box) {
  const tokens = box.at.map((i) => value.tokens[i]);
  const fill = make("span", "fill", ...faceOf(tokens));
  paint(fill, value, box.value);
  const option = make("span", "token", fill, below(value, box));
  const facts = factLines(value, box, tokens);
  known.set(option, facts);
  option.dataset.position = box.at.at(-1);
  option.dataset.focus = `token-${box.at[0]}`;
  option.tabIndex = -1;
  option.setAttribute("role", "option");
  option.setAttribute("aria-label", facts.map((fact) => fact.textContent ?? fact).join(", "));
  option.setAttribute("aria-selected", String(box.at.includes(value.selected)));
  const marks = { query: box.at.includes(value.query), off: box.value === null, special: tokens.every(isSpecial),
    sink: box.at.some((i) => value.sinks.includes(i)), generated: box.at[0] >= (value.n_prompt ?? Infinity) };
  for (const [name, on] of Object.entries(marks)) option.classList.toggle(name, on);
  return option;
}

// What goes to a learned sink, which is no token.
function sinkBox(value) {
  if (value.sink === null || value.sink === undefined) return null;
  const fill = make("span", "fill", t("attention_tokens.no_token"));
  paint(fill, value, value.sink);
  const box = make("span", "token nowhere", fill, make("span", "below", make("span", "amount", short(value, value.sink))));
  box.title = t("attention_tokens.learned_sink");
  return box;
}

// The predicted token; what else it could have been opens on pointing, focus and touch.
function predictionOf(value, tip) {
  if (!value.prediction) return [];
  const { entry, p, top } = value.prediction;
  const text = vocabText(entry);
  const fill = make("span", "fill prediction", text);
  const box = make("span", "token next", fill, make("span", "below", make("span", "amount", percent(p)), make("span", "place", t("attention_tokens.predicted"))));
  const rows = top.map((one, i) => {
    const bar = make("span", "bar");
    bar.style.width = `${100 * one.p}%`;
    return make("span", "candidate", make("span", "rank", String(i + 1)), chip(one.entry), make("span", "rail", bar), make("span", "", percent(one.p)));
  });
  known.set(box, rows);
  box.tabIndex = 0;
  box.dataset.focus = "prediction";
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", t("attention_tokens.candidates", { list: top.map((one) => `${one.entry.text} ${percent(one.p)}`).join(", ") }));
  box.addEventListener("focus", () => tip.show(box));
  box.addEventListener("blur", tip.hide);
  box.addEventListener("click", () => tip.show(box));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && tip.hide()) event.stopPropagation();
  });
  const arrow = make("span", "arrow", "→");
  arrow.setAttribute("aria-hidden", "true");
  return [make("span", "leads", arrow, box)];
}

function legendOf(value) {
  const bar = make("span", "gradient");
  bar.style.background = gradient(value.scale);
  const ends = value.scale === "signed" ? [-value.high, value.high] : [0, value.high];
  const curve = value.curve === "linear" || value.scale === "signed" ? null : make("span", "", t(`attention_tokens.curve_${value.curve}`));
  const parts = [make("strong", "", phrase(value.legend)), make("span", "", amount(value, ends[0]).replace(/^0\.0+%?$/, "0")), bar, make("span", "", amount(value, ends[1])), curve];
  if (value.boxes.some(({ at }) => at.some((i) => value.sinks.includes(i)))) {
    parts.push(make("span", "swatch hatched"), make("span", "", t("attention_tokens.sink_mark")));
  }
  if (value.prediction) parts.push(make("span", "swatch"), make("span", "", t("attention_tokens.prediction")));
  return make("div", "legend", ...parts);
}

// Lines from what is looked at to the query, as wide as the value; only where all boxes stand in one row.
function arcsOf(row, value) {
  const boxes = [...row.querySelectorAll("[role=option]")];
  const to = boxes.find((box) => box.classList.contains("query"));
  const [frame, tops] = [row.getBoundingClientRect(), new Set(boxes.map((box) => Math.round(box.offsetTop)))];
  if (!to || tops.size > 1 || value.scale !== "attention" || boxes.length > ARCS) return null;
  const middle = (box) => box.getBoundingClientRect().left - frame.left + box.offsetWidth / 2;
  const [end, foot, top] = [middle(to), ROOM, 4];
  const drawn = svg("svg", { class: "arcs", width: row.scrollWidth, height: ROOM, "aria-hidden": "true" });
  value.boxes.forEach((box, i) => {
    if (!box.value || boxes[i] === to) return;
    const share = shareOf(value, box.value);
    if (share < 0.02) return;
    const start = middle(boxes[i]);
    const rise = top + (foot - top) * (1 - Math.min(1, 0.35 + Math.abs(end - start) / 500));
    const line = svg("path", { d: `M ${start} ${foot} C ${start} ${rise}, ${end} ${rise}, ${end} ${foot}`,
      "stroke-width": 1 + 5 * share, opacity: 0.25 + 0.6 * share });
    if (boxes[i].classList.contains("sink")) line.setAttribute("stroke-dasharray", "5 4");
    drawn.append(line);
  });
  return drawn;
}

function emptyOf(root, value, trigger) {
  const examples = (value.examples ?? []).map((example, index) =>
    lens.button("example", tokenText(example), () => trigger("example", { index })));
  refill(root, make("div", "empty", make("strong", "", phrase(value.title)), make("p", "", t("heatmap.empty")), make("div", "examples", ...examples)));
}

// Up and down within the row; the page stays where it is.
function keepInSight(row, box) {
  const [inner, outer] = [box.getBoundingClientRect(), row.getBoundingClientRect()];
  if (inner.top < outer.top + EDGE) row.scrollTop -= outer.top + EDGE - inner.top;
  else if (inner.bottom > outer.bottom - EDGE) row.scrollTop += inner.bottom - outer.bottom + EDGE;
}

// Copying takes the true text of the tokens, and nothing that stands around it.
function copyTrueText(event) {
  const selection = document.getSelection();
  if (selection.isCollapsed) return;
  const part = selection.getRangeAt(0).cloneContents();
  for (const drawn of part.querySelectorAll(".below, .cells, .leads, .nowhere, .arcs")) drawn.remove();
  event.clipboardData.setData("text/plain", part.textContent);
  event.preventDefault();
}

function doneOf(root, value, trigger) {
  const tip = makeTip(root);
  const list = make("div", "list", ...value.boxes.map((box) => boxOf(value, box)));
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-orientation", "horizontal");
  list.setAttribute("aria-label", phrase(value.title));
  list.setAttribute("aria-multiselectable", "false");
  const row = make("div", "row", list, sinkBox(value), ...predictionOf(value, tip));
  row.classList.toggle("dense", value.boxes.length > DENSE);
  const notes = [value.missing, ...(value.notes ?? [])].filter(Boolean).map((note) => make("span", "note", phrase(note)));
  const tools = value.exports ? menu("export", t("heatmap.export"), FORMATS, (format) => trigger("export", { format })) : null;
  const foot = make("div", "foot", value.missing || value.legend_hidden ? null : legendOf(value), tools);
  const scrolled = root.querySelector(".row")?.scrollTop ?? 0;
  refill(root, heading(value.title, value.how), row, foot.childElementCount ? foot : null, make("div", "notes", ...notes), tip.box);
  const arcs = arcsOf(row, value);
  row.classList.toggle("arched", arcs !== null);
  if (arcs) row.prepend(arcs);
  operate(list, tip, (position) => trigger("choose", { position }));
  row.scrollTop = scrolled;
  list.addEventListener("focusin", ({ target }) => keepInSight(row, target));
  row.addEventListener("copy", copyTrueText);
  for (const box of row.querySelectorAll(".token")) {
    if (!known.has(box)) continue;
    box.addEventListener("pointerenter", ({ pointerType }) => pointerType !== "touch" && tip.show(box));
    box.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && tip.hide());
  }
}

lens.viewers.attention_tokens = ({ element, props, watch, trigger }) =>
  mount(element, props, watch, (root, value) => {
    root.dataset.state = value.state;
    (value.state === "empty" ? emptyOf : doneOf)(root, value, trigger);
  });
