// A Plotly figure in the colours of the theme. Takes {"figure": {"data", "layout"} | null, "name",
// "summary", "height", "empty"}; a click on a point triggers "point" {curve, index, x, y, customdata}.
// plotly.js is larger than the page, so it is loaded when the first figure comes into view. What a
// trace stands for is in its `meta` (series, role, scale), of a shape or annotation in its `name`;
// texts were escaped where the figure was made, because Plotly reads them as markup.
const { colour, make, mount, number, percent, phrase, t } = lens;
const STEPS = Array.from({ length: 17 }, (_, i) => i / 16);
const CONFIG = { displayModeBar: false, responsive: false, showTips: false, doubleClick: "reset" };

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

function painted(trace, ink) {
  const { series, role, scale } = trace.meta ?? {};
  const word = role === "before" || role === "after" ? { word: t(`chart.${role}`) } : {};
  const meta = { ...trace.meta, ...word };
  if (role === "cell-text") {
    const shades = trace.customdata.map((share) => colour(scale, share).text);
    return { ...trace, textfont: { ...trace.textfont, family: ink.mono, color: shades } };
  }
  if (scale) {
    const font = { color: ink.subdued, family: ink.family };
    const title = { ...trace.colorbar?.title, font: { size: 12, color: ink.text } };
    const colorbar = { ...trace.colorbar, tickfont: font, title };
    return { ...trace, colorscale: STEPS.map((s) => [s, filled(scale, s)]), colorbar };
  }
  const textfont = { ...trace.textfont, color: ink.text, family: ink.family };
  if (role === "signed") {
    const shades = (trace.orientation === "h" ? trace.x : trace.y).map((v) => (v < 0 ? ink.lowers : ink.raises));
    return { ...trace, textfont, marker: { ...trace.marker, color: shades } };
  }
  const shade = ink[`series-${series}`] ?? ink.stream;
  const line = { ...trace.line, color: shade };
  // An interval, at 13% opacity.
  if (role === "band") return { ...trace, line, fillcolor: `${shade}21` };
  const marker = { ...trace.marker, color: role === "before" ? ink.panel : shade };
  marker.line = { ...marker.line, color: shade };
  const own = trace.type === "bar" ? { marker } : { line, marker };
  return { ...trace, ...own, meta, textfont };
}

function framed(layout, ink, size) {
  const axes = Object.entries(layout).filter(([name]) => /^[xy]axis\d*$/.test(name));
  const axis = (given) => {
    const tickfont = { ...given.tickfont, color: ink.subdued, family: given.tickfont?.family ? ink.mono : ink.family };
    return { ...given, tickfont, gridcolor: ink.rule, zerolinecolor: ink.stream, linecolor: ink.border };
  };
  const note = (given) => {
    const font = { ...given.font, color: ink[given.name] ?? ink.text, family: given.font?.family ? ink.mono : ink.family };
    return { ...given, font };
  };
  const shape = (given) => {
    const shade = ink[given.name] ?? ink.rule;
    return { ...given, fillcolor: given.fillcolor && shade, line: { ...given.line, color: shade } };
  };
  const font = { ...layout.font, color: ink.text, family: ink.family };
  return {
    ...layout,
    ...Object.fromEntries(axes.map(([name, given]) => [name, axis(given)])),
    ...size,
    font,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    annotations: (layout.annotations ?? []).map(note),
    shapes: (layout.shapes ?? []).map(shape),
    hoverlabel: { ...layout.hoverlabel, bgcolor: ink.panel, bordercolor: ink.border, font: { ...font, size: 13 } },
    // A finger on the chart scrolls the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : (layout.dragmode ?? "zoom"),
    transition: undefined,
  };
}

// The text that Plotly would show; it only ever becomes textContent.
const ENTITIES = { amp: "&", lt: "<", gt: ">", nbsp: "\u00a0" };
function plain(text) {
  const bare = String(text).replace(/<br>/g, ", ").replace(/<[^<>]*>/g, "");
  return bare.replace(/&(?:#(\d+)|(\w+));/g, (whole, code, name) =>
    code ? String.fromCodePoint(Number(code)) : (ENTITIES[name] ?? whole),
  );
}

const isNote = (trace) => trace.type === "scatter" && trace.mode === "text";
const isGrid = (trace) => trace.type === "heatmap";

// A place on an axis as a person reads it.
function placeText(axis, value) {
  const at = axis?.tickvals?.indexOf(value) ?? -1;
  if (at >= 0 && axis.ticktext) return plain(axis.ticktext[at]);
  if (typeof value !== "number") return plain(value ?? "");
  return axis?.tickformat?.endsWith("%") ? percent(value) : number(value);
}

// Every point as [row, column, text]: what the table shows and the keyboard visits.
function points(trace, layout, name) {
  const at = (i) => (Array.isArray(trace.text) ? trace.text[i] : null);
  if (isGrid(trace)) {
    const cells = trace.z.flatMap((row, y) => row.map((z, x) => [y, x, z]));
    const shown = cells.filter(([, , z]) => z !== null).reverse();
    return shown
      .sort(([a, b], [c, d]) => c - a || b - d)
      .map(([y, x]) => [placeText(layout.yaxis, y), placeText(layout.xaxis, x), plain(at(y)?.[x] ?? "")]);
  }
  const lying = trace.orientation === "h" || isNote(trace);
  const [rows, values, own] = lying
    ? [trace.y, trace.x, [layout.yaxis, layout.xaxis]]
    : [trace.x ?? trace.y.map((_, i) => i), trace.y, [layout.xaxis, layout.yaxis]];
  return values.map((value, i) => [
    placeText(own[0], rows[i]),
    name,
    value === null ? "–" : plain(at(i) ?? placeText(own[1], value)),
  ]);
}

function traceName(trace) {
  const { role } = trace.meta ?? {};
  const word = role === "before" || role === "after" ? ` (${t(`chart.${role}`)})` : "";
  return trace.name ? plain(trace.name) + word : t("chart.value");
}

function tableOf({ data, layout }, caption) {
  const traces = data.filter((trace) => trace.meta?.role !== "cell-text");
  const [rows, columns] = [new Map(), new Set()];
  traces.forEach((trace) => {
    for (const [row, column, text] of points(trace, layout, traceName(trace))) {
      if (!rows.has(row)) rows.set(row, new Map());
      rows.get(row).set(column, text);
      columns.add(column);
    }
  });
  const heading = (text, scope) => {
    const cell = make("th", "", text);
    cell.scope = scope;
    return cell;
  };
  const head = make("tr", "", make("td"), ...[...columns].map((text) => heading(text, "col")));
  const body = [...rows].map(([row, cells]) =>
    make("tr", "", heading(row, "row"), ...[...columns].map((column) => make("td", "", cells.get(column) ?? ""))),
  );
  return make("table", "", make("caption", "", caption), make("thead", "", head), make("tbody", "", ...body));
}

function button(text, act) {
  const made = make("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// Arrow keys go along a line and from line to line (over the cells of a grid); Esc leaves.
function steer(plot, shown, say, choose) {
  let [curve, row, column] = [0, 0, -1];
  const move = ([down, right]) => {
    const lines = shown().data.map((trace, i) => ({ trace, i })).filter(({ trace }) => trace.hoverinfo !== "skip");
    const grids = lines.filter(({ trace }) => isGrid(trace));
    const rows = grids.length ? grids[0].trace.z.length : lines.length;
    if (!rows) return;
    row = Math.min(rows - 1, Math.max(0, row + (grids.length ? -down : down)));
    const found = grids.find(({ trace }) => trace.z[row].some((z) => z !== null)) ?? grids[0] ?? lines[row];
    const across = grids.length ? found.trace.z[row].length : (found.trace.y ?? found.trace.x).length;
    curve = found.i;
    column = Math.min(across - 1, Math.max(0, column + right));
    const point = grids.length ? [row, column] : column;
    window.Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: point }]);
    const text = grids.length ? found.trace.hovertext?.[row]?.[column] : found.trace.hovertext?.[column];
    say(plain(text ?? ""));
  };
  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const leave = () => {
    if (plot._fullLayout) window.Plotly.Fx.unhover(plot);
    say("");
  };
  plot.addEventListener("keydown", (event) => {
    if (!plot._fullLayout) return;
    if (MOVES[event.key]) move(MOVES[event.key]);
    else if (event.key === "Escape") leave();
    else if (event.key === "Enter" && column >= 0) choose(curve, column, row);
    else return;
    event.preventDefault();
  });
  plot.addEventListener("blur", leave);
}

lens.viewers.chart = ({ element, props, watch, trigger }) => {
  let [value, width, visible, pending, bound] = [null, 0, false, false, false];
  const plot = make("div", "plot");
  const wait = make("div", "wait");
  const frame = make("div", "frame", plot, wait);
  const live = make("div", "unseen");
  const box = make("div", "table");
  const reset = button(t("chart.reset"), () => window.Plotly.relayout(plot, home()));
  const asTable = button(t("chart.table"), () => showTable(box.hidden));
  const tools = make("div", "tools", asTable, make("span", "quiet", save("png"), save("svg"), reset));
  const empty = make("p", "empty");
  Object.assign(plot, { tabIndex: 0, role: "img" });
  live.setAttribute("aria-live", "polite");
  box.hidden = reset.hidden = true;
  box.tabIndex = 0;

  const home = () => {
    const axes = Object.entries(value.figure.layout).filter(([name]) => /^[xy]axis/.test(name));
    return Object.fromEntries(axes.map(([name, { range }]) => (range ? [`${name}.range`, range] : [`${name}.autorange`, true])));
  };
  const point = (curve, index) => {
    const { x, y, customdata } = value.figure.data[curve];
    const at = (list) => (Array.isArray(index) ? list?.[index[0]]?.[index[1]] : list?.[index]) ?? null;
    const place = Array.isArray(index) ? { x: index[1], y: index[0] } : { x: at(x), y: at(y) };
    trigger("point", { curve, index, ...place, customdata: at(customdata) });
  };
  const say = (text) => live.replaceChildren(text);
  steer(plot, () => value.figure, say, (curve, column, row) =>
    point(curve, isGrid(value.figure.data[curve]) ? [row, column] : column),
  );

  function save(format) {
    return button(format.toUpperCase(), async () => {
      const ink = inks(frame);
      const layout = { ...plot.layout, paper_bgcolor: ink.panel };
      const size = { width: plot.layout.width, height: plot.layout.height, scale: 2 };
      const link = make("a");
      link.href = await window.Plotly.toImage({ data: plot.data, layout }, { format, ...size });
      link.download = `${value.name || "chart"}.${format}`;
      link.click();
    });
  }

  function showTable(open) {
    box.hidden = !open;
    asTable.setAttribute("aria-expanded", String(open));
    asTable.textContent = t(open ? "chart.hide" : "chart.table");
    if (open && value?.figure) box.replaceChildren(tableOf(value.figure, phrase(value.summary)));
  }

  function fail() {
    const again = button(t("chart.again"), show);
    const text = make("p", "", t("chart.failed"));
    text.setAttribute("role", "alert");
    wait.replaceChildren(text, again);
    wait.hidden = false;
  }

  async function show() {
    pending = true;
    if (!visible || !value?.figure) return;
    if (!bound) wait.replaceChildren(make("p", "soon", t("chart.loading")));
    frame.setAttribute("aria-busy", "true");
    const Plotly = await plotly().catch(() => null);
    if (!Plotly) return fail();
    // Meanwhile the tab may have been left, or the figure taken away; the observer comes back here.
    if (!element.clientWidth || !value?.figure || !pending) return;
    pending = false;
    const { data, layout } = value.figure;
    const ink = inks(frame);
    const size = { width: Math.max(width, layout.width ?? 0), height: heightOf(value) };
    await Plotly.react(plot, data.map((trace) => painted(trace, ink)), framed(layout, ink, size), CONFIG);
    if (!bound) bind();
    bound = true;
    wait.hidden = true;
    frame.removeAttribute("aria-busy");
    frame.dataset.drawn = String(Number(frame.dataset.drawn || 0) + 1);
  }

  function bind() {
    plot.on("plotly_click", ({ points: [{ curveNumber, pointNumber }] }) => point(curveNumber, pointNumber));
    plot.on("plotly_relayout", () => {
      const same = Object.entries(home()).every(([name, range]) => {
        const now = plot.layout[name.split(".")[0]];
        return range === true ? now.autorange !== false : range.every((end, i) => Math.abs(end - now.range[i]) < 1e-9);
      });
      reset.hidden = same;
    });
  }

  new IntersectionObserver(
    ([entry]) => {
      visible = entry.isIntersecting;
      if (visible && pending) show();
    },
    { rootMargin: "100px" },
  ).observe(frame);

  mount(element, props, watch, (root, given, wide) => {
    [value, width] = [given, wide];
    if (!frame.isConnected) root.replaceChildren(empty, frame, tools, box, live);
    const has = Boolean(value.figure);
    for (const part of [frame, tools]) part.hidden = !has;
    empty.hidden = has || !value.empty;
    empty.replaceChildren(phrase(value.empty));
    if (!has) return showTable(false);
    frame.style.height = `${heightOf(value)}px`;
    plot.setAttribute("aria-label", phrase(value.summary));
    showTable(!box.hidden);
    show();
  });
};

const heightOf = ({ height, figure }) => height || figure.layout.height || 260;
