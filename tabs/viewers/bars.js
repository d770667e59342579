// Values as bars from zero: shares on a rail ("share"), or what raises and lowers ("signed"), with the
// sums they must reach. Takes {"title", "how", "kind", "rows": [{"entry" or "label", "value", "before"}],
// "high", "format": "percent" | "signed" | "number", "sums": [{"label", "value"}], "badge", "empty", "chooses",
// "selected": index, "tone": "attention"}. A row with a token and a share is a button, as every row is with "chooses": it triggers
// "choose" {index}.
const { chip, heading, make, mount, number, percent, phrase, refill, seen, signed, t } = lens;
const LONGEST = 26;
const CHARACTER = 7; // px of a figure at 13 px, with some room

const size = ({ value, before }) => Math.max(Math.abs(value ?? 0), Math.abs(before ?? 0));

// How the values are written: small ones with as many digits as the largest of them needs.
function writer({ format, rows }) {
  if (format === "percent") return percent;
  const largest = Math.max(...rows.map(size), 0);
  const digits = largest > 0 ? Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(largest)))) : 2;
  const write = format === "signed" ? signed : number;
  return (value) => (value === null ? "–" : write(value, digits));
}

// The rows to draw, in their order; of a long list the largest.
function kept(rows, all) {
  const indices = rows.map((_, index) => index);
  if (all || rows.length <= LONGEST) return indices;
  const largest = [...indices].sort((a, b) => size(rows[b]) - size(rows[a])).slice(0, LONGEST);
  return largest.sort((a, b) => a - b);
}

// Where the values lie between the left and the right end of the bars, 0..100.
function scaleOf({ kind, rows, high }) {
  const values = rows.flatMap(({ value, before }) => [value ?? 0, before ?? 0]);
  const least = Math.min(0, ...values);
  const most = kind === "share" ? (high ?? 1) : Math.max(high ?? 0, 0, ...values);
  const span = most - least || 1;
  return (value) => Math.min(100, Math.max(0, (100 * (value - least)) / span));
}

function bar(className, value, at) {
  const [start, end] = [at(Math.min(0, value)), at(Math.max(0, value))];
  const box = make("span", `${className} ${value < 0 ? "lowers" : "raises"}`);
  box.style.left = `${start}%`;
  box.style.width = `${end - start}%`;
  return box;
}

function bars({ value, before }, at) {
  const plot = make("span", "plot");
  plot.style.setProperty("--zero", `${at(0)}%`);
  if (value) plot.append(bar("bar", value, at));
  if (before) plot.append(bar("bar before", before, at));
  return plot;
}

function valueText({ value, before }, write) {
  if (before === undefined || before === null) return make("span", "value", write(value));
  return make("span", "value", make("span", "was", write(before)), " → ", write(value));
}

// A signed value stands at the tip of its bar, on its side of zero.
function tip(row, at, write) {
  const text = valueText(row, write);
  const lowers = (row.value ?? 0) < 0;
  const ends = [row.value ?? 0, row.before ?? 0].filter((value) => value < 0 === lowers);
  const end = at(lowers ? Math.min(...ends) : Math.max(0, ...ends));
  if (lowers) text.style.right = `calc(${100 - end}% + 6px)`;
  else text.style.left = `calc(${end}% + 6px)`;
  return text;
}

function rowOf(row, index, value, at, write, choose) {
  const name = row.entry ? chip(row.entry) : make("span", "label", phrase(row.label));
  name.title = row.entry ? row.entry.text : phrase(row.label);
  const plot = bars(row, at);
  const share = value.kind === "share";
  if (!share) plot.append(tip(row, at, write));
  const cells = share ? [name, plot, valueText(row, write)] : [name, plot];
  if (!value.chooses && (!share || !row.entry)) return make("li", "", make("span", "row", ...cells));
  const button = make("button", "row", ...cells);
  button.type = "button";
  if (value.chooses) button.setAttribute("aria-pressed", String(index === value.selected));
  button.dataset.focus = `row-${index}`;
  button.setAttribute("aria-label", t("bars.choose", { token: seen(name), value: write(row.value) }));
  button.addEventListener("click", () => choose(index));
  return make("li", "", button);
}

// Room beside the bars for the longest value on either side.
function leaveRoom(list, rows, write) {
  const room = (some) => Math.max(0, ...some.map((row) => seen(valueText(row, write)).length * CHARACTER + 8));
  list.style.setProperty("--left", `${room(rows.filter(({ value }) => value < 0))}px`);
  list.style.setProperty("--right", `${room(rows.filter(({ value }) => !(value < 0)))}px`);
}

function sumsOf({ sums, format }) {
  if (!sums?.length) return null;
  const write = format === "percent" ? percent : number;
  const lines = sums.flatMap(({ label, value }) => [make("dt", "", phrase(label)), make("dd", "", write(value))]);
  return make("dl", "sums", ...lines);
}

// What a long list leaves out, and the button that shows it.
function foldOf(rows, shown, all, write, toggle) {
  if (rows.length <= LONGEST) return null;
  const hidden = rows.filter((_, index) => !shown.includes(index));
  const sum = write(hidden.reduce((total, { value }) => total + (value ?? 0), 0));
  const words = all ? t("bars.show_largest", { count: LONGEST }) : t("bars.show_all", { count: rows.length });
  const button = make("button", "fold", words);
  button.type = "button";
  button.dataset.focus = "fold";
  button.setAttribute("aria-expanded", String(all));
  button.addEventListener("click", toggle);
  const left = all ? null : make("span", "left", t("bars.left_out", { count: hidden.length, sum }));
  return make("div", "folding", left, button);
}

lens.viewers.bars = ({ element, props, watch, trigger }) => {
  let all = false;
  const draw = (root, value) => {
    const { rows } = value;
    const title = heading(value.title, value.how);
    if (!rows.length) {
      refill(root, title, value.empty ? make("p", "empty", phrase(value.empty)) : null);
      return;
    }
    const [write, at, shown] = [writer(value), scaleOf(value), kept(rows, all)];
    const choose = (index) => trigger("choose", { index });
    const list = make("ul", `rows ${value.kind} ${value.tone ?? ""}`);
    list.setAttribute("aria-label", seen(title.querySelector("h2") ?? title));
    list.append(...shown.map((index) => rowOf(rows[index], index, value, at, write, choose)));
    if (value.kind === "signed") leaveRoom(list, rows, write);
    const edited = rows.some(({ before }) => before !== undefined && before !== null);
    const legend = edited ? make("p", "legend", t("bars.before")) : null;
    const toggle = () => {
      all = !all;
      draw(root, value);
    };
    const fold = foldOf(rows, shown, all, write, toggle);
    refill(root, title, list, legend, fold, sumsOf(value), lens.badge(value.badge));
  };
  mount(element, props, watch, draw);
};
