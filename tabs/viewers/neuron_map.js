// Which neurons an edit changed, one row a layer, the last layer on top. Takes {"title", "how", "n_neurons",
// "bins" (as many as neurons, or fewer of several neurons each), "layers": [{"layer", "columns": how many are
// changed, "values": [largest relative change in each bin, 0 for none]}], "high": the largest of them,
// "selected": {"layer", "bin"} or null, "marks": [[layer, neuron]] (those listed elsewhere)}. Triggers
// "choose" {layer, bin}.
const { colour, heading, make, mount, phrase, refill, t } = lens;
const { place, sharp } = lens.heat;

const WIDEST = 28; // px from cell to cell
const NARROWEST = 3; // px of a cell, however many there are
const GAP = 8; // px between the cells and what stands beside them
const REACH = { mouse: 8, touch: 20 }; // px from a cell within which it is meant
const FEW = 12; // layers, all of them drawn as high as the changed ones
const PALEST = 0.35; // of the scale: what is changed least is still seen
const SHADES = 64;
const MARK = 3; // px of the notch below a cell
const FACE = 12; // px of the text beside the rows
const measuring = document.createElement("canvas").getContext("2d");

const count = (n) => n.toLocaleString("en");
const same = (a, b) => a && b && a.row === b.row && a.bin === b.bin;

function times(value) {
  if (value > 0 && value < 0.01) return "<0.01×";
  return `${value >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(2))}×`;
}

// Of each layer from the top: its values, which bins are changed, in words how many neurons.
function rowsOf({ layers, n_neurons: neurons }) {
  const sorted = [...layers].sort((a, b) => b.layer - a.layer);
  return sorted.map(({ columns, layer, values }) => ({
    layer, columns, values, label: `L${layer}`,
    changed: values.flatMap((value, bin) => (value > 0 ? [bin] : [])),
    said: columns ? t("neuron_map.columns", { count: count(columns), all: count(neurons) }) : "–",
  }));
}

// The first and the last neuron of a bin.
function neuronsOf({ bins, n_neurons: neurons }, bin) {
  return [bin, bin + 1].map((edge, end) => Math.ceil((edge * neurons) / bins) - end);
}

const binOf = ({ bins, n_neurons: neurons }, neuron) => Math.floor((neuron * bins) / neurons);

// How high the rows are: of many layers those without a change are thin lines.
function heightsOf(rows) {
  const changed = rows.filter(({ columns }) => columns).length;
  if (rows.length <= FEW) return rows.map(() => ({ height: 18, pitch: 24 }));
  const pitch = Math.round(Math.max(16, Math.min(22, 560 / (changed || 1))));
  return rows.map(({ columns }) => (columns ? { height: pitch - 5, pitch } : { height: 4, pitch: 6 }));
}

function textWidth(root, texts) {
  measuring.font = `${FACE}px ${getComputedStyle(root).fontFamily}`;
  return Math.ceil(Math.max(...texts.map((text) => measuring.measureText(text).width)));
}

// Where everything is, in px.
function layoutOf(root, value, rows, width) {
  const left = textWidth(root, rows.map(({ label }) => label)) + GAP;
  const right = textWidth(root, rows.map(({ said }) => said)) + GAP;
  const room = Math.max(80, width - left - right);
  const pitch = Math.min(WIDEST, room / value.bins);
  const gap = pitch < 6 ? 0 : pitch < 12 ? 1 : 2;
  let top = 0;
  const heights = heightsOf(rows).map((row) => {
    const placed = { ...row, top };
    top += row.pitch;
    return placed;
  });
  return { left, pitch, heights, width: pitch * value.bins, height: top, cell: Math.max(NARROWEST, pitch - gap) };
}

// The place of a cell; one that is wider than its bin still ends within the row.
function boxOf(layout, { row, bin }) {
  const { cell, heights, pitch, width } = layout;
  const middle = bin * pitch + Math.min(pitch, cell) / 2;
  const x = cell <= pitch ? bin * pitch : Math.min(width - cell, Math.max(0, middle - cell / 2));
  return { x, y: heights[row].top, width: cell, height: heights[row].height };
}

function shadesOf(high) {
  const made = new Map();
  return (value) => {
    const step = Math.round(SHADES * Math.min(1, value / (high || 1)));
    if (!made.has(step)) made.set(step, colour("amount", PALEST + ((1 - PALEST) * step) / SHADES).fill);
    return made.get(step);
  };
}

// Each row on a rail as long as the layer is wide; cells that overlap show the one that changed more.
function paint(context, value, rows, layout, look) {
  const shade = shadesOf(value.high);
  const radius = layout.cell < 10 ? 1 : 2;
  const box = (x, y, width, height, fill) => {
    context.fillStyle = fill;
    context.beginPath();
    context.roundRect(x, y, width, height, radius);
    context.fill();
  };
  rows.forEach(({ changed, values }, row) => {
    const { height, top } = layout.heights[row];
    if (layout.pitch < 6) box(0, top, layout.width, height, look.rail);
    else values.forEach((_, bin) => box(bin * layout.pitch, top, layout.cell, height, look.rail));
    for (const bin of [...changed].sort((a, b) => values[a] - values[b])) {
      const { x, y, width } = boxOf(layout, { row, bin });
      box(x, y, width, height, shade(values[bin]));
    }
  });
  context.fillStyle = look.mark;
  for (const { x, y, width, height } of marked(value, rows, layout)) {
    context.fillRect(x + width / 2 - MARK / 2, y + height + 1, MARK, 2);
  }
}

// The places of the cells that are listed elsewhere.
function marked(value, rows, layout) {
  const cells = (value.marks ?? []).map(([layer, neuron]) => ({ row: rows.findIndex((row) => row.layer === layer), bin: binOf(value, neuron) }));
  return cells.filter(({ row }) => row >= 0).map((cell) => boxOf(layout, cell));
}

// The texts beside the rows. Thin rows have no room for them; `ends`: but the first and the last one, where
// others follow, say how far the layers go.
function side(className, rows, { heights }, textOf, { ends = false } = {}) {
  const isThin = (index) => heights[index]?.height < 10;
  const isEnd = (index) => (index ? index === rows.length - 1 && isThin(index - 2) : isThin(2));
  const texts = rows.map((row, index) => {
    const { height, top } = heights[index];
    const box = isThin(index) && !(ends && isEnd(index)) ? null : make("span", row.columns ? "" : "none", textOf(row));
    if (box) box.style.cssText = `top:${top}px;height:${height}px`;
    return box;
  });
  return make("div", className, ...texts);
}

function legendOf(value) {
  const shade = shadesOf(value.high);
  const bar = make("span", "gradient");
  const stops = [0, 1, 2, 3, 4].map((step) => shade((value.high * step) / 4));
  bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
  const parts = [make("span", "item", make("span", "swatch"), t("neuron_map.none"))];
  parts.push(make("span", "item", "0", bar, times(value.high)));
  if (value.marks?.length) parts.push(make("span", "item", make("span", "notch"), t("neuron_map.marked")));
  return make("div", "legend", ...parts);
}

function cellText(value, rows, { row, bin }) {
  const [first, last] = neuronsOf(value, bin);
  const said = { layer: rows[row].layer, first: count(first), last: count(last), times: times(rows[row].values[bin]) };
  return t(first === last ? "neuron_map.neuron" : "neuron_map.neurons", said);
}

function summary(value, rows) {
  const changed = rows.filter(({ columns }) => columns).map(({ label, said }) => `${label} ${said}`);
  return [phrase(value.title), changed.join(", ") || t("neuron_map.nothing")].join(": ");
}

// The changed cell of a row that is nearest to a bin; null where the row has none.
function nearest({ changed }, bin) {
  return changed.length ? changed.reduce((best, one) => (Math.abs(one - bin) < Math.abs(best - bin) ? one : best)) : null;
}

// Where a key leads: along the changed cells of a row, or to the nearest one of the next row that has any.
function next(rows, { row, bin }, key) {
  const { changed } = rows[row];
  const at = changed.indexOf(bin);
  const along = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: changed.length - 1 }[key];
  if (along !== undefined) return { row, bin: changed[Math.min(changed.length - 1, Math.max(0, along))] };
  const step = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (!step) return null;
  let to = row + step;
  while (rows[to] && !rows[to].changed.length) to += step;
  return rows[to] ? { row: to, bin: nearest(rows[to], bin) } : { row, bin };
}

// The cell that changed most.
function largest(rows) {
  let best = null;
  rows.forEach(({ changed, values }, row) => {
    for (const bin of changed) if (!best || values[bin] > rows[best.row].values[best.bin]) best = { row, bin };
  });
  return best;
}

lens.viewers.neuron_map = ({ element, props, watch, trigger }) => {
  const root = element.querySelector(".lens-viewer");
  const live = make("div", "spoken");
  live.setAttribute("aria-live", "polite");
  let [value, rows, layout, plot] = [null, [], null, null];
  let [shown, active, chosen, pointer] = [null, null, null, "mouse"];

  function ring(kind, cell) {
    const one = plot.querySelector(`.ring.${kind}`);
    one.hidden = !cell;
    if (!cell) return;
    const { x, y, width, height } = boxOf(layout, cell);
    one.style.cssText = `left:${x}px;top:${y}px;width:${width}px;height:${height}px`;
  }

  function hide() {
    root.querySelector(".card")?.remove();
    shown = null;
    ring("active", null);
  }

  function show(cell) {
    if (same(cell, shown)) return;
    hide();
    [shown, active] = [cell, cell];
    ring("active", cell);
    const card = make("div", "card", cellText(value, rows, cell));
    root.append(card);
    const [box, outer] = [boxOf(layout, cell), plot.getBoundingClientRect()];
    place(card, root, new DOMRect(outer.left + box.x, outer.top + box.y, box.width, box.height));
  }

  function choose(cell) {
    chosen = cell;
    ring("selected", cell);
    trigger("choose", { layer: rows[cell.row].layer, bin: cell.bin });
  }

  // The cell that is meant: the nearest one of the row, since many are narrower than a pointer.
  function cellAt({ clientX, clientY }) {
    const outer = plot.getBoundingClientRect();
    const [x, y] = [clientX - outer.left, clientY - outer.top];
    const row = layout.heights.findIndex(({ pitch, top }) => y >= top && y < top + pitch);
    const bin = row < 0 ? null : nearest(rows[row], x / layout.pitch - 0.5);
    if (bin === null) return null;
    const box = boxOf(layout, { row, bin });
    const reach = REACH[pointer] ?? REACH.mouse;
    return x >= box.x - reach && x <= box.x + box.width + reach ? { row, bin } : null;
  }

  function point(event) {
    const cell = cellAt(event);
    if (cell) show(cell);
    else hide();
  }

  // A tap shows the card; a second one on the same cell chooses it.
  function click(event) {
    const cell = cellAt(event);
    if (!cell) return hide();
    if (pointer !== "touch" || same(cell, shown)) return choose(cell);
    return show(cell);
  }

  function press(event) {
    if (!active || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = next(rows, active, event.key);
    if (event.key === "Escape") hide();
    else if (event.key === "Enter" || event.key === " ") choose(active);
    else if (to) {
      show(to);
      live.textContent = cellText(value, rows, to);
    } else return;
    event.preventDefault();
  }

  function listenTo(surface) {
    surface.addEventListener("pointerdown", ({ pointerType }) => { pointer = pointerType; });
    surface.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      pointer = event.pointerType;
      point(event);
    });
    surface.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && hide());
    surface.addEventListener("click", click);
    surface.addEventListener("keydown", press);
    surface.addEventListener("focus", () => active && surface.matches(":focus-visible") && show(active));
    surface.addEventListener("blur", hide);
  }

  function surfaceOf() {
    const style = getComputedStyle(root);
    const look = { rail: style.getPropertyValue("--rail").trim(), mark: style.color };
    const canvas = document.createElement("canvas");
    const context = sharp(canvas, layout.width, layout.height, window.devicePixelRatio || 1);
    paint(context, value, rows, layout, look);
    plot = make("div", "plot", canvas, make("span", "ring selected"), make("span", "ring active"));
    plot.style.cssText = `left:${layout.left}px;width:${layout.width}px;height:${layout.height}px`;
    const surface = make("div", "surface", side("names", rows, layout, ({ label }) => label, { ends: true }), plot,
      side("counts", rows, layout, ({ said }) => said));
    surface.style.cssText = `height:${layout.height}px;--left:${layout.left - GAP}px;--right:${layout.left + layout.width + GAP}px`;
    surface.tabIndex = 0;
    surface.dataset.focus = "map";
    surface.setAttribute("role", "application");
    surface.setAttribute("aria-roledescription", t("heatmap.role"));
    surface.setAttribute("aria-label", summary(value, rows));
    surface.setAttribute("aria-description", t("neuron_map.keys"));
    listenTo(surface);
    return surface;
  }

  function cellOf(selected) {
    const row = selected ? rows.findIndex(({ layer }) => layer === selected.layer) : -1;
    return row < 0 ? null : { row, bin: selected.bin };
  }

  mount(element, props, watch, (_, drawn, width) => {
    [value, rows] = [drawn, rowsOf(drawn)];
    layout = layoutOf(root, value, rows, width);
    chosen = cellOf(value.selected);
    // The place of the keyboard, as long as something was changed there.
    const kept = active && rows[active.row]?.changed.includes(active.bin) ? active : null;
    [active, shown] = [chosen ?? kept ?? largest(rows), null];
    const surface = surfaceOf();
    live.textContent = "";
    ring("selected", chosen);
    ring("active", null);
    refill(root, value.title ? heading(value.title, value.how) : null, surface, legendOf(value), live);
  });
};
