// A table that can be sorted and whose rows can be chosen. Takes {"title", "how", "caption" (for screen
// readers), "columns": [{"key", "label", "kind": "text" | "mono" | "token" | "tokens" | "place" | "number" |
// "signed" | "percent" | "rank" | "change", "digits", "sortable", "phone": kept on a narrow page}], "rows":
// [[cell]], "sort": {"key", "down"}, "selected": index of a row, "more": rows that are not sent, "page": rows
// shown at first, "empty", "selectable"}. A cell is a phrase or {"text", "tone"} (with "good", "check" and
// "poor" a pill), a text of a model ("mono"), a vocabulary entry or a list of them, {"label", "token":
// record}, or a number; null is blank. Triggers "choose" {index of the row as sent}.
const { button, chip, heading, make, mount, number, percent, phrase, recordChip, refill, signed, t } = lens;

const ON_PHONE = 3; // columns, where none is named
const PAGE = 10; // rows that Page Up and Page Down pass
const FIGURES = ["number", "signed", "percent", "rank", "change"];
const ICONS = { good: "✓", check: "▲", poor: "✕" };
const collator = new Intl.Collator(lens.language, { numeric: true, sensitivity: "base" });

function share(value, digits) {
  const text = digits === null || digits === undefined ? percent(value) : `${(100 * value).toFixed(digits)}%`;
  return text.replace("-", "−");
}

// What became of something: an icon and a word. Without a tone it is only a word on a chip.
function pill(tone, said) {
  const icon = tone in ICONS ? make("span", "", `${ICONS[tone]} `) : null;
  icon?.setAttribute("aria-hidden", "true");
  return make("span", `pill ${tone in ICONS ? tone : ""}`, icon, phrase(said));
}

function text(cell) {
  if (!cell.tone) return phrase(cell.text ?? cell);
  if (cell.tone in ICONS) return pill(cell.tone, cell.text);
  return make("span", `tone ${cell.tone}`, phrase(cell.text));
}

function place({ label, token }) {
  const words = phrase(label);
  const box = make("span", "place", words);
  if (token) box.append(words ? " " : "", recordChip(token));
  return box;
}

// How far a rank rose or fell.
function change(ranks) {
  if (!ranks) return mark("same", t("table.same"), "=");
  const [way, arrow] = ranks > 0 ? ["up", "▲"] : ["down", "▼"];
  const n = Math.abs(ranks).toLocaleString("en");
  return mark(way, t(`table.${way}`, { n }), make("span", "arrow", arrow), ` ${n}`);
}

function mark(className, said, ...shown) {
  const box = make("span", `change ${className}`, ...shown);
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", said);
  return box;
}

const DRAW = {
  text,
  place,
  change,
  mono: (said) => make("bdi", "", said),
  token: chip,
  tokens: (entries) => make("span", "chips", ...entries.map(chip)),
  number: (value, { digits }) => number(value, digits ?? 2),
  signed: (value, { digits }) => signed(value, digits ?? 2),
  percent: (value, { digits }) => share(value, digits),
  rank: (value) => value.toLocaleString("en"),
};

// What a cell is sorted by: numbers, or texts as a reader orders them.
function keyOf(cell, { kind }) {
  if (cell === null || cell === undefined || cell === "") return null;
  if (FIGURES.includes(kind)) return cell;
  if (kind === "token") return cell.text;
  if (kind === "tokens") return cell[0]?.text ?? null;
  return kind === "place" ? `${phrase(cell.label)} ${cell.token?.i ?? ""}` : phrase(cell.text ?? cell);
}

// The rows in the order of a column, as indices; blank ones stay at the end, equal ones as they were.
function ordered({ columns, rows }, sort) {
  const indices = rows.map((_, index) => index);
  const column = columns.findIndex(({ key }) => key === sort?.key);
  if (column < 0) return indices;
  const keys = rows.map((row) => keyOf(row[column], columns[column]));
  const compare = FIGURES.includes(columns[column].kind) ? (a, b) => a - b : collator.compare;
  const sign = sort.down ? -1 : 1;
  return indices.sort((a, b) => {
    if (keys[a] === null || keys[b] === null) return (keys[a] === null) - (keys[b] === null) || a - b;
    return sign * compare(keys[a], keys[b]) || a - b;
  });
}

function classOf(column, index, columns) {
  const named = columns.some(({ phone }) => phone);
  const kept = named ? column.phone : index < ON_PHONE;
  return `${FIGURES.includes(column.kind) ? "figure" : "words"} ${column.kind}${kept ? "" : " wide"}`;
}

// The head of a column: a button that sorts, with an arrow while it does.
function headOf(column, index, columns, sort, act) {
  const label = phrase(column.label);
  const head = make("th", classOf(column, index, columns));
  head.scope = "col";
  if (!column.sortable) {
    head.append(label);
    return head;
  }
  const sorted = sort?.key === column.key ? (sort.down ? "descending" : "ascending") : "none";
  head.setAttribute("aria-sort", sorted);
  head.append(button("sort", label, () => act(column), { focus: `sort-${column.key}` }));
  return head;
}

function cellOf(cell, column, index, columns) {
  // The first column names the row.
  const box = make(index ? "td" : "th", classOf(column, index, columns));
  if (!index) box.scope = "row";
  if (cell !== null && cell !== undefined) box.append(DRAW[column.kind](cell, column));
  return box;
}

function rowOf({ columns, rows, selectable }, index) {
  const row = make("tr", "", ...columns.map((column, at) => cellOf(rows[index][at], column, at, columns)));
  row.dataset.index = index;
  if (!selectable) return row;
  row.dataset.focus = `row-${index}`;
  row.tabIndex = -1;
  return row;
}

function tableOf(value, rows, sort, sortBy) {
  const { caption, columns, selectable, title } = value;
  const heads = columns.map((column, index) => headOf(column, index, columns, sort, sortBy));
  const table = make("table", selectable ? "selectable" : "", make("thead", "", make("tr", "", ...heads)), make("tbody", "", ...rows));
  table.setAttribute("aria-label", phrase(caption ?? title));
  if (!selectable) return table;
  table.setAttribute("role", "grid");
  table.setAttribute("aria-description", t("table.keys"));
  return table;
}

// Below the rows: what is hidden, what was never sent, and the buttons that show more.
function footOf(value, shown, view, toggle) {
  const { columns, more, page, rows } = value;
  const parts = [];
  if (page && rows.length > page) {
    const words = view.all ? t("table.show_first", { count: page }) : t("table.show_all", { count: rows.length });
    const box = button("more", words, () => toggle("all"), { focus: "all" });
    box.setAttribute("aria-expanded", String(view.all));
    parts.push(box);
  }
  if (columns.some((column, index) => classOf(column, index, columns).endsWith("wide"))) {
    const box = button("more columns", t("table.all_columns"), () => toggle("wide"), { focus: "wide" });
    box.setAttribute("aria-pressed", String(view.wide));
    parts.push(box);
  }
  if (more) parts.push(make("span", "note", t("table.not_listed", { count: more.toLocaleString("en") })));
  return parts.length ? make("div", "foot", ...parts) : null;
}

// The keys of a table whose rows can be chosen: one Tab stop, arrows from row to row.
function target(rows, at, key) {
  const last = rows.length - 1;
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last, PageDown: at + PAGE, PageUp: at - PAGE }[key];
  return to === undefined ? null : rows[Math.min(last, Math.max(0, to))];
}

lens.viewers.table = ({ element, props, watch, trigger }) => {
  const root = element.querySelector(".lens-viewer");
  // Of the person, kept while the columns stay the same ones: order, fold, the row with the Tab stop.
  const view = { taken: null, columns: null, given: null, sort: null, selected: null, active: null, all: false, wide: false };
  const said = make("div", "spoken");
  said.setAttribute("aria-live", "polite");
  let value = null;
  let made = []; // the rows of the value by index, since another order needs no new ones

  const rows = () => [...root.querySelectorAll("tbody tr")];

  function activate(row) {
    for (const one of root.querySelectorAll("tbody tr[tabindex='0']")) one.tabIndex = -1;
    if (!row) return;
    row.tabIndex = 0;
    view.active = Number(row.dataset.index);
  }

  function select(index) {
    view.selected = index;
    made.forEach((row, at) => row.setAttribute("aria-selected", String(at === index)));
  }

  function choose(row) {
    select(Number(row.dataset.index));
    activate(row);
    trigger("choose", { index: view.selected });
  }

  // Figures start with the largest, texts with the first.
  function sortBy({ key, kind, label }) {
    const down = view.sort?.key === key ? !view.sort.down : FIGURES.includes(kind);
    view.sort = { key, down };
    fill();
    said.textContent = t(down ? "table.sorted_down" : "table.sorted_up", { column: phrase(label) });
  }

  function toggle(name) {
    view[name] = !view[name];
    fill();
  }

  function listenTo(table) {
    table.addEventListener("click", ({ target: pressed }) => {
      const row = pressed.closest("tbody tr");
      // A drag over the text is for copying it.
      if (row && document.getSelection().isCollapsed) choose(row);
    });
    table.addEventListener("keydown", (event) => {
      const row = event.target.closest("tbody tr");
      if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
      const next = target(rows(), rows().indexOf(row), event.key);
      if (next) {
        activate(next);
        next.focus({ preventScroll: true });
        next.scrollIntoView({ block: "nearest" });
      } else if (event.key === "Enter" || event.key === " ") choose(row);
      else return;
      event.preventDefault();
    });
    table.addEventListener("focusin", ({ target: focused }) => focused.matches("tbody tr") && activate(focused));
  }

  function fill() {
    const order = ordered(value, view.sort);
    const indices = value.page && !view.all ? order.slice(0, value.page) : order;
    for (const index of indices) made[index] ??= rowOf(value, index);
    const table = tableOf(value, indices.map((index) => made[index]), view.sort, sortBy);
    if (value.selectable) {
      listenTo(table);
      select(view.selected);
    }
    const scroller = make("div", "scroller", table);
    root.classList.toggle("all-columns", view.wide);
    const lost = refill(root, value.title ? heading(value.title, value.how) : null, scroller, footOf(value, indices, view, toggle), said);
    if (!value.selectable) return;
    const at = [view.active, view.selected, indices[0]].find((index) => indices.includes(index));
    const row = rows().find((one) => Number(one.dataset.index) === at);
    activate(row);
    if (lost?.startsWith("row-")) row?.focus({ preventScroll: true });
  }

  // A new value brings its own order where it names another one than before, or other columns.
  function take() {
    const columns = JSON.stringify(value.columns.map(({ key, kind }) => [key, kind]));
    const given = JSON.stringify(value.sort ?? null);
    if (columns !== view.columns) Object.assign(view, { all: false, active: null });
    if (columns !== view.columns || given !== view.given) view.sort = value.sort ?? null;
    Object.assign(view, { taken: props.value, columns, given, selected: value.selected ?? null });
    const place = ordered(value, view.sort).indexOf(view.selected);
    if (value.page && place >= value.page) view.all = true;
    said.textContent = "";
  }

  mount(element, props, watch, (_, drawn) => {
    [value, made] = [drawn, []];
    if (props.value !== view.taken) take();
    if (value.rows.length) fill();
    else refill(root, value.title ? heading(value.title, value.how) : null, value.empty ? make("p", "empty", phrase(value.empty)) : null);
  });
};

Object.assign(lens, { pill });
