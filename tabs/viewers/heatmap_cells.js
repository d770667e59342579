// What a heat map says: which cells there are, their colours, their texts. Nothing is drawn here.
const { colour, dark, make, number, percent, phrase, recordText, signed, t, vocabText } = lens;

const STEPS = 256;
const palettes = new Map();

// The colours of a scale in the theme of the page, worked out once.
function palette(scale) {
  const name = `${scale} ${dark()}`;
  if (!palettes.has(name)) {
    palettes.set(name, Array.from({ length: STEPS + 1 }, (_, i) => colour(scale, i / STEPS)));
  }
  return palettes.get(name);
}

// Where a value lies on the scale of its quantity, 0..1.
function share({ scale, format, low, high }, value) {
  if (format === "rank") return 1 - Math.log1p(value) / (Math.log1p(high) || 1);
  if (scale === "signed") return 0.5 + (0.5 * value) / (high || 1);
  return (value - low) / (high - low || 1);
}

// A value as it stands in a cell; `alone` where no token is beside it.
function shortText({ format }, value, alone) {
  if (value === null) return "–";
  if (format === "percent") return `${Math.round(100 * value)}${alone ? "%" : ""}`.replace("-", "−");
  if (format === "rank") return String(value + 1);
  if (alone && value === 0) return "0";
  return format === "signed" ? signed(value, alone ? 2 : 1) : number(value, alone ? 2 : 1);
}

// A value as it stands in a card or a sentence.
function longText(format, value, unit) {
  if (value === null || value === undefined) return "–";
  const texts = { percent, signed: (v) => signed(v, 2), rank: (v) => String(v + 1), number };
  const text = (texts[format] ?? number)(value).replace("-", "−");
  return unit ? `${text} ${phrase(unit)}` : text;
}

// What the two ends of the legend say.
function ends({ scale, format, low, high }) {
  if (format === "rank") return [String(high + 1), "1"];
  const from = scale === "signed" ? -high : low;
  if (format === "percent") return [from, high].map((v) => `${Math.round(100 * v)}%`.replace("-", "−"));
  const digits = Math.abs(high) >= 10 ? 1 : 2;
  return [from, high].map((v) => (v === 0 ? "0" : format === "signed" ? signed(v, digits) : number(v, digits)));
}

// The value, with what is asked of every cell worked out once.
function gridOf(value, key) {
  const known = (name) => value.quantities.find((one) => one.key === name);
  const quantity = known(key) ?? value.quantities[0];
  // A row may have a quantity of its own: logits beside probabilities.
  const byRow = value.rows.map((row) => known(row.quantity) ?? quantity);
  const [rows, columns] = [value.rows.length, value.columns.length];
  const present = value.rows.map((_, r) =>
    value.columns.map((_, c) => Boolean(value.undefined) || idAt(value, r, c) !== null || value.quantities.some((q) => at(q.values, r, c) !== null)),
  );
  const hasTokens = (value.tokens ?? []).some((row) => row.some((id) => id !== null));
  // Among columns that are tokens, those that are something else.
  const named = value.columns.map(({ label }) => Boolean(label) && value.columns.some(({ token }) => token));
  return { value, quantity, byRow, legends: [...new Set(byRow)], rows, columns, present, hasTokens, named };
}

const at = (values, r, c) => values?.[r]?.[c] ?? null;
const idAt = (value, r, c) => at(value.tokens, r, c);
const entryOf = (grid, id) => grid.value.vocab?.[id] ?? { text: String(id), bytes: null };

// The fill and the text colour of a cell; null where the quantity has no value.
function coloursOf(grid, r, c) {
  const quantity = grid.byRow[r];
  const value = at(quantity.values, r, c);
  if (value === null) return null;
  const step = Math.round(STEPS * Math.min(1, Math.max(0, share(quantity, value))));
  return palette(quantity.scale)[step];
}

// Whether a cell is there although its quantity has no value.
const isUndefined = (grid, r, c) => Boolean(grid.value.undefined) && at(grid.byRow[r].values, r, c) === null;
const hasUndefined = (grid) =>
  Boolean(grid.value.undefined) && grid.present.some((row, r) => row.some((_, c) => isUndefined(grid, r, c)));

const numberOf = (grid, r, c) => shortText(grid.byRow[r], at(grid.byRow[r].values, r, c), !grid.hasTokens);

// A token as an element, and as the runs of plain and faint text of that element (for a canvas).
const tokenOf = (grid, id) => vocabText(entryOf(grid, id));
const columnLabel = ({ token, label }) => (token ? recordText(token) : make("bdi", "lens-text", phrase(label)));
function runsOf(element) {
  return [...element.childNodes].map((node) =>
    node.nodeType === Node.TEXT_NODE
      ? { text: node.data, faint: false }
      : { text: node.dataset.mark ?? node.textContent, faint: Boolean(node.dataset.mark) },
  );
}

// The first present cell from (row, column) on in a direction, that cell itself left out.
function next(grid, [r, c], [down, right]) {
  for (r += down, c += right; r >= 0 && r < grid.rows && c >= 0 && c < grid.columns; r += down, c += right) {
    if (grid.present[r][c]) return [r, c];
  }
  return null;
}

// Where a person starts: the last column of the highest row that has cells.
function firstCell(grid) {
  for (let r = 0; r < grid.rows; r += 1) {
    const found = next(grid, [r, grid.columns], [0, -1]);
    if (found) return found;
  }
  return null;
}

const columnText = ({ token, label, title }) => (token ? token.text : phrase(title ?? label));

// A cell in words.
function cellText(grid, [r, c]) {
  const { value } = grid;
  const quantity = grid.byRow[r];
  const column = value.columns[c];
  const id = idAt(value, r, c);
  return t("heatmap.cell", {
    row: phrase(value.rows[r].title ?? value.rows[r].label),
    column: column.token ? t("heatmap.at", { token: column.token.text, position: column.position }) : columnText(column),
    token: id === null ? "" : entryOf(grid, id).text,
    quantity: phrase(quantity.label),
    value: longText(quantity.format, at(quantity.values, r, c)),
  });
}

// The whole in one sentence, for those who do not see it.
function summary(grid) {
  const { value, quantity, rows, columns } = grid;
  const size = t("heatmap.size", { title: lens.titleText(value.title), rows, columns, quantity: phrase(quantity.title) });
  let [low, high, where] = [null, null, null];
  quantity.values.forEach((row, r) => row.forEach((v, c) => {
    if (v === null) return;
    if (low === null || v < low) low = v;
    if (high === null || v > high) [high, where] = [v, [r, c]];
  }));
  const said = [...(value.notes ?? []), hasUndefined(grid) ? value.undefined : null].filter(Boolean).map(phrase);
  if (where === null) return [size, ...said].join(" ");
  const [from, to] = [low, high].map((v) => longText(quantity.format, v));
  const range = t("heatmap.range", { low: from, high: to, cell: cellText(grid, where) });
  return [size, range, ...said].join(" ");
}

lens.heat = { at, cellText, coloursOf, columnLabel, columnText, ends, entryOf, firstCell, gridOf, hasUndefined, idAt, isUndefined, longText, next, numberOf, palette, runsOf, summary, tokenOf };
