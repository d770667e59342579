// How wide and high everything is. Table, canvas and picture follow the same arithmetic.
const { phrase } = lens;

const TEXT = 12; // axis labels
const MONO = 13; // tokens
const WIDEST = 124;
const NARROWEST = 96; // a word and its number
const TIGHT = 84; // rather this than to scroll for the last few pixels
// Whole pixels: browsers round the spacing of a table down to them.
const GAP = 2;
const IN_VIEW = 4; // columns with tokens on a phone
const RING = 3; // room for the ring around the last column
const measuring = document.createElement("canvas").getContext("2d");

// The page's own typefaces, as a canvas takes them.
function fonts(element) {
  const style = getComputedStyle(element);
  const mono = style.getPropertyValue("--font-mono") || "monospace";
  return { label: `${TEXT}px ${style.fontFamily}`, number: `11.5px ${style.fontFamily}`, token: `${MONO}px ${mono}`,
    bold: `600 ${MONO}px ${mono}`, title: `600 16px ${style.fontFamily}`, strong: `600 ${TEXT}px ${style.fontFamily}` };
}

function labelWidth(grid, face) {
  measuring.font = face.label;
  const widths = grid.value.rows.map(({ label }) => measuring.measureText(phrase(label)).width);
  return Math.ceil(Math.min(140, Math.max(34, ...widths))) + 10;
}

// Labels of tokens are wide; where one is no token, all are shown, cut off, as long as there is any room.
function leastLabel({ named, value }) {
  if (!value.columns.some(({ token }) => token)) return 28;
  return named.includes(true) ? 44 : 64;
}

function rowHeight(grid, phone) {
  if (grid.hasTokens) return phone ? 40 : grid.rows <= 14 ? 36 : grid.rows <= 24 ? 28 : 24;
  return Math.round(Math.max(3, Math.min(36, (grid.rows > 48 ? 640 : 480) / grid.rows)));
}

const gapOf = (size) => (size < 6 ? 0 : size < 12 ? 1 : GAP);

// How many columns (or rows) share one label, so that no label is narrower than `least`.
const stepOf = (least, pitch) => Math.max(1, Math.ceil(least / pitch));

// The sizes for a place of this width. `fit` shows every column, however narrow.
function layoutOf(grid, width, face, { fit = false, phone = width < 480 } = {}) {
  const wish = labelWidth(grid, face);
  const most = WIDEST + GAP;
  const place = width - RING - wish - 2 * GAP;
  const all = place / grid.columns;
  const least = !grid.hasTokens ? 8 : phone ? Math.floor(place / IN_VIEW) : all < TIGHT ? NARROWEST + GAP : TIGHT;
  const natural = Math.min(most, Math.max(least, all));
  const wanted = fit ? Math.min(most, Math.max(2, all)) : natural;
  const gap = gapOf(wanted);
  const cell = fit && wanted < 12 ? wanted - gap : Math.floor(wanted - gap);
  // On a phone whole columns are in view: what four of them leave over goes to the labels.
  const over = grid.hasTokens && phone && !fit ? Math.max(0, place + gap - IN_VIEW * (cell + gap)) : 0;
  const label = wish + (grid.columns > IN_VIEW ? over : 0);
  const row = rowHeight(grid, phone);
  const rowGap = gapOf(row);
  const showToken = grid.hasTokens && cell >= 28;
  const showNumber = grid.hasTokens ? cell >= 56 && !phone : cell >= 36 && row >= 14;
  return { label, cell, gap, row, rowGap, showToken, showNumber,
    pitch: cell + gap, rowPitch: row + rowGap, head: 28,
    left: label + 2 * gap, total: label + 2 * gap + grid.columns * (cell + gap), height: rowGap + grid.rows * (row + rowGap),
    columnStep: stepOf(leastLabel(grid), cell + gap), rowStep: stepOf(14, row + rowGap),
    scrolls: grid.columns * natural > place + 1 };
}

// A label stands at every so many rows or columns, counted from the last one, where there is room.
const labelled = (index, count, step) => (count - 1 - index) % step === 0 && (step === 1 || index >= step - 1);

// The same of columns; one that is no token has its label before its neighbours.
function columnLabelled({ columns, named }, { columnStep: step }, c) {
  if (step === 1) return true;
  const isNear = (from, to) => named.slice(Math.max(0, from), to).includes(true);
  return named[c] ? !isNear(c + 1, c + step) : labelled(c, columns, step) && !isNear(c - step + 1, c + step);
}

Object.assign(lens.heat, { columnLabelled, fonts, labelled, layoutOf });
