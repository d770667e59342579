// A Plotly figure in the colours of the theme. Takes {"figure": {"data", "layout"} | null, "name",
// "summary", "height", "empty"}; a click on a point triggers "point" {curve, index, x, y, customdata}.
// plotly.js is larger than the page, so it is loaded when the first figure comes into view. What a
// trace stands for is in its `meta` (series: 1 to 4 or a colour's role, role, scale, line), of a shape or annotation in its
// `name`. Texts were escaped where the figure was made, because Plotly reads them as markup.
const { colour, make, mount, number, percent, phrase, t } = lens;
const STEPS = Array.from({ length: 17 }, (_, i) => i / 16);
const CONFIG = { displayModeBar: false, responsive: false, showTips: false, doubleClick: "reset" };
const ENTITIES = { amp: "&", lt: "<", gt: ">", nbsp: "\u00a0" };
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

let loading = null;

// plotly.js, loaded once for all charts; a failure can be tried again.
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = make("script");
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      loading = null;
      script.remove();
      reject(new Error("plotly.js did not load"));
    });
    script.src = lens.options.plotly;
    document.head.append(script);
  });
  return loading;
}

// Labels were pushed apart for the figure's own height.
const heightOf = ({ height, figure }) => figure.layout.height || height || 260;
const DRAWN_ONLY = ["cell-text", "band", "bound", "chance"]; // says nothing that is not in the other traces
const isCloud = (role) => role === "unmarked" || role === "marked";
const isNote = (trace) => trace.type === "scatter" && trace.mode === "text";
const isGrid = (trace) => trace.type === "heatmap";
const isChange = (role) => role === "before" || role === "after";
const axesOf = (layout) => Object.entries(layout).filter(([name]) => /^[xy]axis\d*$/.test(name));
const inOrder = (data) => [...data].sort((a, b) => (a.meta?.line ?? 0) - (b.meta?.line ?? 0));

// The colours and fonts of the theme.
function inks(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  const names = ["panel", "rule", "stream", "raises", "lowers", "attention", "mlp"];
  const series = [1, 2, 3, 4].map((i) => `series-${i}`);
  return {
    ...Object.fromEntries([...names, ...series].map((name) => [name, read(`--lens-${name}`)])),
    text: read("--body-text-color"),
    subdued: read("--body-text-color-subdued"),
    border: read("--border-color-primary"),
    "accent-soft": read("--color-accent-soft"),
    family: style.fontFamily,
    mono: read("--font-mono") || "monospace",
  };
}

// Plotly knows rgb() with commas only.
const filled = (scale, share) => colour(scale, share).fill.replace(/(\d)\s+(?=\d)/g, "$1,");
const font = (given, ink, shade) => ({ ...given, color: shade, family: given?.family?.includes("mono") ? ink.mono : ink.family });

function painted(trace, ink) {
  const { series, role, scale } = trace.meta ?? {};
  const meta = { ...trace.meta, ...(isChange(role) ? { word: t(`chart.${role}`) } : {}) };
  if (role === "cell-text") {
    const shades = trace.customdata.map((share) => colour(scale, share).text);
    return { ...trace, textfont: font(trace.textfont, ink, shades) };
  }
  if (scale) {
    const { title, ...bar } = trace.colorbar ?? {};
    const colorbar = { ...bar, tickfont: font(bar.tickfont, ink, ink.subdued), title: { ...title, font: font(title?.font, ink, ink.text) } };
    return { ...trace, colorscale: STEPS.map((step) => [step, filled(scale, step)]), colorbar };
  }
  const textfont = font(trace.textfont, ink, ink.text);
  if (role === "signed") {
    const values = trace.orientation === "h" ? trace.x : trace.y;
    return { ...trace, textfont, marker: { ...trace.marker, color: values.map((v) => (v < 0 ? ink.lowers : ink.raises)) } };
  }
  const shade = ink[`series-${series}`] ?? ink[series] ?? ink.stream;
  const line = { ...trace.line, color: shade };
  // An interval, at 13% opacity.
  if (role === "band") return { ...trace, line, fillcolor: `${shade}21` };
  const marker = { ...trace.marker, color: ["before", "random", "unmarked"].includes(role) ? ink.panel : shade, line: { ...trace.marker?.line, color: shade } };
  return trace.type === "bar" ? { ...trace, meta, marker, textfont } : { ...trace, meta, line, marker, textfont };
}

function framed(layout, ink, size) {
  const axis = (given) => ({
    ...given,
    tickfont: font(given.tickfont, ink, ink.subdued),
    gridcolor: ink.rule,
    zerolinecolor: ink.stream,
    linecolor: ink.border,
  });
  const shape = (given) => {
    const shade = ink[given.name] ?? ink.rule;
    return { ...given, fillcolor: given.fillcolor && shade, line: { ...given.line, color: shade } };
  };
  const words = font(layout.font, ink, ink.text);
  return {
    ...layout,
    ...Object.fromEntries(axesOf(layout).map(([name, given]) => [name, axis(given)])),
    ...size,
    font: words,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    annotations: (layout.annotations ?? []).map((given) => ({ ...given, font: font(given.font, ink, ink[given.name] ?? ink.text) })),
    shapes: (layout.shapes ?? []).map(shape),
    hoverlabel: { ...layout.hoverlabel, bgcolor: ink.panel, bordercolor: ink.border, font: { ...words, size: 13 } },
    // A finger on the chart scrolls the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : (layout.dragmode ?? "zoom"),
    transition: undefined, // nothing moves by itself
  };
}

// The text that Plotly would show; it only ever becomes textContent.
function plain(text) {
  const bare = String(text).replace(/<br>/g, ", ").replace(/<[^<>]*>/g, "");
  return bare.replace(/&(?:#(\d+)|(\w+));/g, (whole, code, name) =>
    code ? String.fromCodePoint(Number(code)) : (ENTITIES[name] ?? whole),
  );
}

// A place on an axis as a person reads it.
function placeText(axis, value) {
  const at = axis?.tickvals?.indexOf(value) ?? -1;
  if (at >= 0 && axis.ticktext) return plain(axis.ticktext[at]);
  if (typeof value !== "number") return plain(value ?? "");
  return axis?.tickformat?.endsWith("%") ? percent(value) : number(value);
}

// Every point as [row, column, text], rows from the top down.
function points(trace, { xaxis, yaxis }) {
  const { role } = trace.meta ?? {};
  const column = trace.name ? plain(trace.name) + (isChange(role) ? ` (${t(`chart.${role}`)})` : "") : t("chart.value");
  if (isGrid(trace)) {
    const rows = trace.z.map((row, y) =>
      row.map((z, x) => [placeText(yaxis, y), placeText(xaxis, x), z === null ? "" : plain(trace.text?.[y]?.[x] ?? number(z))]),
    );
    return rows.reverse().flat().filter(([, , text]) => text);
  }
  const lying = trace.orientation === "h" || isNote(trace);
  const [places, values] = lying ? [trace.y, trace.x] : [trace.x ?? trace.y.map((_, i) => i), trace.y];
  const [along, across] = lying ? [yaxis, xaxis] : [xaxis, yaxis];
  const textAt = (i) => plain((Array.isArray(trace.text) && trace.text[i]) || placeText(across, values[i]));
  // A cloud of points has a row for every one: two may stand at the same place.
  const named = isCloud(role) ? (i) => plain(trace.hovertext[i].split("<br>")[0]) : (i) => placeText(along, places[i]);
  return values.map((value, i) => [named(i), column, value === null ? "–" : textAt(i)]);
}

function tableOf({ data, layout }, caption) {
  const [rows, columns] = [new Map(), new Set()];
  for (const trace of inOrder(data).filter((one) => !DRAWN_ONLY.includes(one.meta?.role))) {
    for (const [row, column, text] of points(trace, layout)) {
      if (!rows.has(row)) rows.set(row, new Map());
      rows.get(row).set(column, text);
      columns.add(column);
    }
  }
  const heading = (text, scope) => Object.assign(make("th", "", text), { scope });
  const head = make("tr", "", make("td"), ...[...columns].map((text) => heading(text, "col")));
  const line = ([row, cells]) => make("tr", "", heading(row, "row"), ...[...columns].map((column) => make("td", "", cells.get(column) ?? "")));
  return make("table", "", make("caption", "", caption), make("thead", "", head), make("tbody", "", ...[...rows].map(line)));
}

// Arrow keys go along a line and from line to line, or over the cells of a grid; Esc leaves.
function steer(plot, figure, say, choose) {
  let [curve, row, column] = [0, 0, -1];
  const move = ([down, right]) => {
    const { data } = figure();
    const grids = data.filter(isGrid);
    const lines = inOrder(data).filter((trace) => trace.hoverinfo !== "skip");
    const last = (grids.length ? grids[0].z.length : lines.length) - 1;
    row = Math.min(last, Math.max(0, row + (grids.length ? -down : down)));
    const trace = grids.find(({ z }) => z[row].some((share) => share !== null)) ?? grids[0] ?? lines[row];
    const cells = grids.length ? trace.z[row] : trace.y;
    column = Math.min(cells.length - 1, Math.max(0, column + right));
    curve = data.indexOf(trace);
    window.Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: grids.length ? [row, column] : column }]);
    const texts = grids.length ? trace.hovertext?.[row] : trace.hovertext;
    say(plain(texts?.[column] ?? ""));
  };
  const leave = () => {
    if (plot._fullLayout) window.Plotly.Fx.unhover(plot);
    say("");
  };
  plot.addEventListener("keydown", (event) => {
    if (!plot._fullLayout) return;
    if (MOVES[event.key]) move(MOVES[event.key]);
    else if (event.key === "Escape") leave();
    else if (event.key === "Enter" && column >= 0) choose(curve, isGrid(figure().data[curve]) ? [row, column] : column);
    else return;
    event.preventDefault();
  });
  plot.addEventListener("blur", leave);
}

function button(text, act, title = text) {
  const made = Object.assign(make("button", "", text), { type: "button", title });
  made.setAttribute("aria-label", title);
  made.addEventListener("click", act);
  return made;
}

lens.viewers.chart = ({ element, props, watch, trigger }) => {
  let [value, width, visible, pending, bound] = [null, 0, false, false, false];
  const plot = Object.assign(make("div", "plot"), { tabIndex: 0, role: "img" });
  const wait = make("div", "wait");
  const frame = make("div", "frame", plot, wait);
  const live = make("div", "unseen");
  const box = Object.assign(make("div", "table"), { hidden: true, tabIndex: 0 });
  const reset = button(t("chart.reset"), () => window.Plotly.relayout(plot, home()));
  const asTable = make("button", "", t("chart.table"));
  const saves = ["png", "svg"].map((format) => button(format.toUpperCase(), () => save(format), t("chart.save", { format: format.toUpperCase() })));
  const tools = make("div", "tools", asTable, make("span", "quiet", ...saves, reset));
  const empty = make("p", "empty");
  reset.hidden = true;
  asTable.type = "button";
  asTable.addEventListener("click", () => showTable(box.hidden));
  live.setAttribute("aria-live", "polite");

  // The ranges before any zoom.
  const home = () => Object.fromEntries(axesOf(value.figure.layout).filter(([, { range }]) => range).map(([name, { range }]) => [`${name}.range`, range]));

  const choose = (curve, index) => {
    const { x, y, customdata } = value.figure.data[curve];
    const cell = Array.isArray(index);
    const at = (list) => (cell ? list?.[index[0]]?.[index[1]] : list?.[index]) ?? null;
    trigger("point", { curve, index, x: cell ? index[1] : at(x), y: cell ? index[0] : at(y), customdata: at(customdata) });
  };
  steer(plot, () => value.figure, (text) => live.replaceChildren(text), choose);

  async function save(format) {
    if (!bound) return;
    const layout = { ...plot.layout, paper_bgcolor: inks(frame).panel };
    const size = { width: layout.width, height: layout.height, scale: 2 };
    const link = make("a");
    link.href = await window.Plotly.toImage({ data: plot.data, layout }, { format, ...size });
    link.download = `${value.name || "chart"}.${format}`;
    link.click();
  }

  function showTable(open) {
    box.hidden = !open;
    asTable.setAttribute("aria-expanded", String(open));
    asTable.textContent = t(open ? "chart.hide" : "chart.table");
    if (open) box.replaceChildren(tableOf(value.figure, phrase(value.summary)));
  }

  function fail() {
    const text = make("p", "", t("chart.failed"));
    text.setAttribute("role", "alert");
    wait.replaceChildren(text, button(t("chart.again"), show));
    frame.removeAttribute("aria-busy");
  }

  function bind() {
    bound = true;
    wait.hidden = true;
    plot.on("plotly_click", ({ points: [{ curveNumber, pointNumber }] }) => choose(curveNumber, pointNumber));
    plot.on("plotly_relayout", () => {
      const near = ([name, range]) => range.every((end, i) => Math.abs(end - plot.layout[name.split(".")[0]].range[i]) < 1e-9);
      reset.hidden = Object.entries(home()).every(near);
    });
  }

  async function show() {
    pending = true;
    if (!visible || !value?.figure) return;
    if (!bound) wait.replaceChildren(make("p", "soon", t("chart.loading")));
    frame.setAttribute("aria-busy", "true");
    const Plotly = await plotly().catch(() => null);
    if (!Plotly) return fail();
    // Meanwhile the tab may have been left, or the figure taken away; the observer comes back here.
    if (!pending || !element.clientWidth || !value.figure) return;
    pending = false;
    const { data, layout } = structuredClone(value.figure); // Plotly writes into its ranges
    const ink = inks(frame);
    const size = { width: Math.max(width, layout.width ?? 0), height: heightOf(value) };
    await Plotly.react(plot, data.map((trace) => painted(trace, ink)), framed(layout, ink, size), CONFIG);
    if (!bound) bind();
    frame.removeAttribute("aria-busy");
    frame.dataset.drawn = String(Number(frame.dataset.drawn || 0) + 1);
  }

  const seen = (entries) => {
    visible = entries.at(-1).isIntersecting; // on a busy page several come at once
    if (visible && pending) show();
  };
  new IntersectionObserver(seen, { rootMargin: "100px" }).observe(frame);

  mount(element, props, watch, (root, given, wide) => {
    [value, width] = [given, wide];
    if (!frame.isConnected) root.replaceChildren(empty, frame, tools, box, live);
    const has = Boolean(value.figure);
    frame.hidden = tools.hidden = !has;
    empty.hidden = has || !value.empty;
    empty.replaceChildren(phrase(value.empty));
    if (!has) {
      box.hidden = true;
      return;
    }
    frame.style.height = `${heightOf(value)}px`;
    plot.setAttribute("aria-label", phrase(value.summary));
    showTable(!box.hidden);
    show();
  });
};
