// Small maps of one head side by side, on the same tokens: rows read from columns. Takes {"title", "how",
// "tokens": [record], "maps": [{"label", "scale": "attention" | "signed", "high", "values": [[number]] (row
// t has t + 1 of them)}], "cell": [query, key] that is marked, "note"}. Triggers "choose" {query, key}.
const { colour, gradient, heading, make, mount, number, phrase, recordChip, recordText, refill, seen, signed, t } = lens;
const { place, sharp } = lens.heat;

const BETWEEN = 20; // px from map to map, as in the style sheet
const LARGEST = 28; // px from cell to cell
const SMALL = 240; // px of a map that has its card below it
const SHADES = 256;
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const same = (a, b) => a && b && a[0] === b[0] && a[1] === b[1];

function valueText({ scale }, value) {
  if (value === null || value === undefined) return "–";
  return scale === "signed" ? signed(value, 3) : number(value, 3);
}

const endText = (value) => String(Number(value.toPrecision(2))).replace("-", "−");

// Whole pixels of the screen from cell to cell, so that 128 tokens stay sharp; maps that would be
// narrower than a pixel a token go below each other.
function pitchOf(n, count, width) {
  const scale = window.devicePixelRatio || 1;
  const side = (width - BETWEEN * (count - 1)) / count;
  const room = side < n ? width : side;
  return Math.max(1, Math.floor(scale * Math.min(LARGEST, room / n))) / scale;
}

function shadesOf({ scale, high }) {
  const made = new Map();
  return (value) => {
    const share = scale === "signed" ? 0.5 + (0.5 * value) / (high || 1) : value / (high || 1);
    const step = Math.round(SHADES * Math.min(1, Math.max(0, share)));
    if (!made.has(step)) made.set(step, colour(scale, step / SHADES).fill);
    return made.get(step);
  };
}

function canvasOf(map, n, pitch) {
  const canvas = document.createElement("canvas");
  const context = sharp(canvas, n * pitch, n * pitch, window.devicePixelRatio || 1);
  const shade = shadesOf(map);
  const size = pitch - (pitch < 6 ? 0 : pitch < 12 ? 1 : 2);
  map.values.forEach((row, query) => row.forEach((value, key) => {
    if (value === null) return;
    context.fillStyle = shade(value);
    context.beginPath();
    context.roundRect(key * pitch, query * pitch, size, size, size < 10 ? 0 : 2);
    context.fill();
  }));
  return canvas;
}

function legend(map) {
  const bar = make("span", "gradient");
  bar.style.background = gradient(map.scale);
  const low = map.scale === "signed" ? endText(-map.high) : "0";
  return make("div", "legend", make("span", "", low), bar, make("span", "", endText(map.high)));
}

function figureOf(map, n, pitch) {
  const plot = make("div", "plot", canvasOf(map, n, pitch), make("span", "ring selected"), make("span", "ring active"));
  plot.style.cssText = `width:${n * pitch}px;height:${n * pitch}px`;
  return make("figure", "map", plot, make("figcaption", "", phrase(map.label)), legend(map));
}

// The largest value of a map, or of one row, as its cell.
function largestOf({ values }, rows = values.map((_, query) => query)) {
  const size = ([query, key]) => Math.abs(values[query][key] ?? 0);
  const cells = rows.flatMap((query) => values[query].map((_, key) => [query, key]));
  return cells.reduce((best, cell) => (size(cell) > size(best) ? cell : best));
}

function cellText({ maps, tokens }, [query, key]) {
  const name = (at) => t("heatmap.at", { token: seen(recordText(tokens[at])), position: at });
  const values = maps.map((map) => `${phrase(map.label)} ${valueText(map, map.values[query][key])}`);
  return t("maps.cell", { query: name(query), key: name(key), values: values.join(", ") });
}

function summary(value) {
  const highest = value.maps.map((map) => t("maps.highest", { label: phrase(map.label), cell: cellText({ ...value, maps: [map] }, largestOf(map)) }));
  return [phrase(value.title).replace("{token}", value.title?.entry?.text ?? ""), ...highest].join(". ");
}

function cardOf({ maps, tokens }, [query, key]) {
  const end = (at) => make("span", "end", recordChip(tokens[at]), make("span", "position", t("heatmap.position", { position: at })));
  const facts = maps.map((map) =>
    make("div", "fact", make("dt", "", phrase(map.label)), make("dd", "", valueText(map, map.values[query][key]))));
  return make("div", "card", make("div", "ends", end(key), make("span", "arrow", "→"), end(query)), make("dl", "", ...facts));
}

lens.viewers.maps = ({ element, props, watch, trigger }) => {
  const root = element.querySelector(".lens-viewer");
  const live = make("div", "spoken");
  live.setAttribute("aria-live", "polite");
  let [value, surface, pitch, shown, active, pointer] = [null, null, 1, null, null, "mouse"];

  function ring(kind, cell) {
    for (const one of surface.querySelectorAll(`.ring.${kind}`)) {
      one.hidden = !cell;
      if (cell) one.style.cssText = `left:${cell[1] * pitch}px;top:${cell[0] * pitch}px;--pitch:${pitch}px`;
    }
  }

  function hide() {
    root.querySelector(".card")?.remove();
    shown = null;
    ring("active", null);
  }

  // The card of a cell: below small maps, so that the same cell is seen in both, else beside the cell.
  function show(cell, plot = surface.querySelector(".plot")) {
    if (same(cell, shown)) return;
    hide();
    [shown, active] = [cell, cell];
    ring("active", cell);
    const card = cardOf(value, cell);
    root.append(card);
    const box = plot.getBoundingClientRect();
    place(card, root, new DOMRect(box.left + cell[1] * pitch, box.top + cell[0] * pitch, pitch, pitch));
    if (box.height <= SMALL) card.style.top = `${box.bottom - root.getBoundingClientRect().top + 6}px`;
  }

  function choose(cell) {
    ring("selected", cell);
    trigger("choose", { query: cell[0], key: cell[1] });
  }

  function cellAt({ clientX, clientY, target }) {
    const plot = target.closest?.(".plot");
    if (!plot) return {};
    const box = plot.getBoundingClientRect();
    const [query, key] = [Math.floor((clientY - box.top) / pitch), Math.floor((clientX - box.left) / pitch)];
    return value.maps[0].values[query]?.[key] === undefined ? {} : { cell: [query, key], plot };
  }

  function point(event) {
    const { cell, plot } = cellAt(event);
    if (cell) show(cell, plot);
    else hide();
  }

  // A tap shows the card; a second one on the same cell chooses it.
  function click(event) {
    const { cell } = cellAt(event);
    if (!cell) return hide();
    if (pointer !== "touch" || same(cell, shown)) return choose(cell);
    return point(event);
  }

  function next([query, key], { key: name }) {
    if (name === "Home" || name === "End") return [query, name === "Home" ? 0 : query];
    if (!MOVES[name]) return null;
    const row = Math.min(value.tokens.length - 1, Math.max(0, query + MOVES[name][0]));
    return [row, Math.min(row, Math.max(0, key + MOVES[name][1]))];
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = next(active, event);
    if (event.key === "Escape") hide();
    else if (event.key === "Enter" || event.key === " ") choose(active);
    else if (to) {
      show(to);
      live.textContent = cellText(value, to);
    } else return;
    event.preventDefault();
  }

  function listenTo() {
    surface.addEventListener("pointerdown", ({ pointerType }) => { pointer = pointerType; });
    surface.addEventListener("pointermove", (event) => event.pointerType !== "touch" && point(event));
    surface.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && hide());
    surface.addEventListener("click", click);
    surface.addEventListener("keydown", press);
    surface.addEventListener("focus", () => surface.matches(":focus-visible") && show(active));
    surface.addEventListener("blur", hide);
  }

  function surfaceOf(width) {
    const n = value.tokens.length;
    pitch = pitchOf(n, value.maps.length, width);
    const box = make("div", "surface", ...value.maps.map((map) => figureOf(map, n, pitch)));
    box.tabIndex = 0;
    box.dataset.focus = "maps";
    box.setAttribute("role", "application");
    box.setAttribute("aria-roledescription", t("heatmap.role"));
    box.setAttribute("aria-label", summary(value));
    box.setAttribute("aria-description", t("maps.keys"));
    return box;
  }

  mount(element, props, watch, (_, drawn, width) => {
    value = drawn;
    const last = value.tokens.length - 1;
    active = value.cell ?? (active?.[0] <= last ? active : largestOf(value.maps[0], [last]));
    shown = null;
    surface = surfaceOf(width);
    const note = value.note ? make("p", "note", phrase(value.note)) : null;
    live.textContent = "";
    ring("selected", value.cell);
    ring("active", null);
    listenTo();
    refill(root, heading(value.title, value.how), surface, note, live);
  });
};
