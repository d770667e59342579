// How wide and high everything is. Table, canvas and picture follow the same arithmetic.
const { phrase } = lens;

const TEXT = 12; // axis labels
const MONO = 13; // tokens
const WIDEST = 124;
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

function rowHeight(grid, phone) {
  if (grid.hasTokens) return phone ? 40 : grid.rows <= 14 ? 36 : grid.rows <= 24 ? 28 : 24;
  return Math.round(Math.max(3, Math.min(36, (grid.rows > 48 ? 640 : 480) / grid.rows)));
}

// How many columns (or rows) share one label, so that no label is narrower than `least`.
const stepOf = (least, pitch) => Math.max(1, Math.ceil(least / pitch));

// The sizes for a place of this width. `fit` shows every column, however narrow.
function layoutOf(grid, width, face, { fit = false, phone = width < 480 } = {}) {
  const label = labelWidth(grid, face);
  const most = WIDEST + 1.5;
  const all = (width - label - 1.5) / grid.columns;
  const least = !grid.hasTokens ? 14 : phone ? Math.floor((width - label - 1.5) / 4) : 73.5;
  const natural = Math.min(most, Math.max(least, all));
  const wanted = fit ? Math.min(most, Math.max(2, all)) : natural;
  const gap = wanted < 6 ? 0 : 1.5;
  const cell = fit && wanted < 12 ? wanted - gap : Math.floor(wanted - gap);
  const row = rowHeight(grid, phone);
  const rowGap = row < 6 ? 0 : 1.5;
  const showToken = grid.hasTokens && cell >= 28;
  const showNumber = grid.hasTokens ? cell >= 56 && !phone : cell >= 36 && row >= 14;
  return { label, cell, gap, row, rowGap, showToken, showNumber,
    pitch: cell + gap, rowPitch: row + rowGap, head: 28,
    total: label + gap + grid.columns * (cell + gap), height: rowGap + grid.rows * (row + rowGap),
    columnStep: stepOf(grid.hasTokens ? 46 : 28, cell + gap), rowStep: stepOf(14, row + rowGap),
    scrolls: label + 1.5 + grid.columns * natural > width + 1 };
}

// The label of a column stands when it is a whole number of steps from the last one, of a row likewise.
const labelled = (index, count, step) => (count - 1 - index) % step === 0;

Object.assign(lens.heat, { fonts, labelled, layoutOf });
