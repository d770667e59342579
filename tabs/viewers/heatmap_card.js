// The card of a cell: its head, an edit's before and after, top tokens as bars, facts.
const { button, closeButton, make, percent, phrase, recordText, t } = lens;
const { at, columnText, entryOf, idAt, isUndefined, longText, tokenOf } = lens.heat;

const SPACE = 6; // between cell and card

function head(grid, [r, c]) {
  const { card, columns, rows } = grid.value;
  const row = phrase(rows[r].label);
  const column = columns[c];
  const place = card ? t(card, { row, column: columnText(column) }) : row;
  const title = make("strong", "", place);
  if (column.token) title.append(" ", make("span", "chip", recordText(column.token)));
  else if (!card) title.append(` · ${columnText(column)}`);
  const position = column.position ?? column.token?.i;
  const where = position === undefined ? null : make("span", "position", t("heatmap.position", { position }));
  return make("div", "head", title, where);
}

// A token in the card: a button where it can be chosen.
function chip(grid, id, className, pick) {
  const element = make(pick ? "button" : "span", `chip ${className}`, tokenOf(grid, id));
  if (pick) {
    element.type = "button";
    element.dataset.id = id;
  }
  return element;
}

function bars(grid, { ids, values, format }, [r, c], largest, pick) {
  const list = make("ul", "bars");
  (at(ids, r, c) ?? []).forEach((id, rank) => {
    const value = at(values, r, c)?.[rank] ?? 0;
    const bar = make("span", format === "signed" ? `bar ${value < 0 ? "lowers" : "raises"}` : "bar");
    bar.style.width = `${(100 * Math.abs(value)) / largest}%`;
    const text = format === "percent" ? percent(value) : longText(format, value);
    list.append(make("li", "", chip(grid, id, "", pick), make("span", "rail", bar), make("span", "value", text)));
  });
  return list;
}

function largestOf({ top, bottom }, [r, c]) {
  if (top.format === "percent") return 1;
  const values = [...(at(top.values, r, c) ?? []), ...(at(bottom?.values, r, c) ?? [])];
  return Math.max(...values.map(Math.abs), 1e-9);
}

// What an edit replaced here: struck and dashed, then the new one; the cell shows one of the two.
function beforeAfter(grid, [r, c], pick) {
  const { other, other_values: values, changed, side, top } = grid.value;
  const id = at(other, r, c);
  if (!changed?.[r]?.[c] || id === null) return null;
  const format = top?.format ?? grid.byRow[r].format;
  const there = [id, at(values, r, c)];
  const here = [idAt(grid.value, r, c), (top ? at(top.values, r, c)?.[0] : at(grid.byRow[r].values, r, c)) ?? null];
  const [old, now] = side === "before" ? [here, there] : [there, here];
  const part = (name, id, value, className) => make("span", "side", make("span", "label", t(name)),
    chip(grid, id, className, pick), value === null ? null : make("span", "value", longText(format, value)));
  return make("div", "changed-token", part("heatmap.before", ...old, "old"), part("heatmap.after", ...now, ""));
}

const fact = (label, value) => make("div", "fact", make("dt", "", label), make("dd", "", value));

// Facts, or where there are no tokens the quantities themselves.
function facts(grid, [r, c]) {
  const { facts: given, quantities, top } = grid.value;
  const named = new Set((given ?? []).map((one) => one.quantity));
  const own = top ? [] : quantities.filter(({ key }) => !named.has(key));
  const told = (given ?? []).map((one) => ({ ...one, values: one.values ?? quantities.find(({ key }) => key === one.quantity)?.values }));
  const all = [...own, ...told].filter(({ values }) => at(values, r, c) !== null);
  if (!all.length) return null;
  return make("dl", "facts", ...all.map(({ label, format, values, unit }) =>
    fact(phrase(label), longText(format, at(values, r, c), unit))));
}

// `pick`: the tokens can be chosen; `close`: what closes it, where it has a button for it.
function cardOf(grid, cell, { pick, close }) {
  const { top, bottom } = grid.value;
  const box = make("div", pick ? "card pinned" : "card", head(grid, cell), beforeAfter(grid, cell, pick));
  box.tabIndex = -1; // a tap on it keeps it open
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", t("heatmap.card"));
  if (top) {
    const largest = largestOf(grid.value, cell);
    box.append(bars(grid, top, cell, largest, pick));
    if (bottom) box.append(make("p", "note", t("heatmap.lowered")), bars(grid, bottom, cell, largest, pick));
  }
  const known = facts(grid, cell);
  if (known) box.append(known);
  if (isUndefined(grid, ...cell)) box.append(make("p", "note", `– ${phrase(grid.value.undefined)}`));
  if (pick && top) box.append(make("p", "hint", t("heatmap.pick")));
  if (close) box.append(closeButton(close));
  return box;
}

const clamp = (value, low, high) => Math.max(low, Math.min(value, high));

// What the card may cover in one direction: the viewer, as far as the window shows it; the window
// where that is too little.
function room(low, high, limit, size) {
  const [from, to] = [Math.max(low, 4), Math.min(high, limit - 4)];
  return to - from >= size ? [from, to] : [4, limit - 4];
}

// Beside the cell; below or above it where neither side has room.
function place(card, root, cell) {
  const outer = root.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = card;
  const [left, right] = room(outer.left, outer.right, window.innerWidth, width);
  const [top, bottom] = room(outer.top, outer.bottom, window.innerHeight, height);
  let x = cell.right + SPACE;
  let y = cell.top - 24;
  if (x + width > right) x = cell.left - SPACE - width;
  if (x < left) {
    x = clamp(cell.left, left, right - width);
    y = cell.bottom + SPACE + height <= bottom ? cell.bottom + SPACE : cell.top - SPACE - height;
  }
  card.style.left = `${x - outer.left}px`;
  card.style.top = `${clamp(y, top, Math.max(top, bottom - height)) - outer.top}px`;
}

Object.assign(lens.heat, { cardOf, place });
