// The heat map on a canvas: for more cells than a table should hold, and for the picture.
const { make, phrase, t } = lens;
const { cellText, coloursOf, columnLabel, columnLabelled, fonts, idAt, isUndefined, labelled, numberOf, runsOf, summary, tokenOf } = lens.heat;

const PADDING = 6;

// The colours of the page around the cells, and its typefaces.
function lookOf(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { fonts: fonts(element), panel: colour("--lens-panel"), text: colour("--body-text-color"),
    subdued: colour("--body-text-color-subdued"), accent: colour("--color-accent"), chip: colour("--lens-chip"), stream: colour("--lens-stream") };
}

// The runs of a text that fit into `room`, with an ellipsis where something is left out.
function fitted(context, runs, room) {
  const kept = [];
  let width = 0;
  for (const { text, faint } of runs) {
    const whole = context.measureText(text).width;
    if (width + whole <= room) {
      kept.push({ text, faint, width: whole });
      width += whole;
      continue;
    }
    const letters = [...text];
    const shortened = () => `${letters.join("")}…`;
    while (letters.length && width + context.measureText(shortened()).width > room) letters.pop();
    const last = context.measureText(shortened()).width;
    kept.push({ text: shortened(), faint, width: last });
    return { runs: kept, width: width + last };
  }
  return { runs: kept, width };
}

function write(context, { runs, width }, x, y, align = "left") {
  let at = align === "left" ? x : align === "right" ? x - width : x - width / 2;
  for (const run of runs) {
    context.globalAlpha = run.faint ? 0.5 : 1;
    context.fillText(run.text, at, y);
    at += run.width;
  }
  context.globalAlpha = 1;
}

function ring(context, x, y, width, height, line, colour, halo) {
  context.lineWidth = line + 3;
  context.strokeStyle = halo;
  context.strokeRect(x, y, width, height);
  context.lineWidth = line;
  context.strokeStyle = colour;
  context.strokeRect(x, y, width, height);
}

// Draws one grid again and again; shortened texts are kept between drawings.
function painter(grid, layout, look) {
  const shortened = new Map();

  // The text of a token beside a number of so many digits.
  function tokenRuns(context, id, digits) {
    const key = `${id} ${digits}`;
    if (!shortened.has(key)) {
      const room = layout.cell - 2 * PADDING - (digits ? 7 * digits + 3 : 0);
      shortened.set(key, fitted(context, runsOf(tokenOf(grid, id)), room));
    }
    return shortened.get(key);
  }

  function fillCell(context, x, y, colour) {
    context.fillStyle = colour;
    if (layout.cell < 12 || layout.row < 8) return context.fillRect(x, y, layout.cell, layout.row);
    context.beginPath();
    context.roundRect(x, y, layout.cell, layout.row, 2);
    return context.fill();
  }

  // As a cell that has no value is hatched in the table.
  function hatch(context, x, y) {
    context.save();
    context.beginPath();
    context.rect(x, y, layout.cell, layout.row);
    context.clip();
    context.globalAlpha = 0.45;
    context.strokeStyle = look.stream;
    context.lineWidth = 1;
    context.beginPath();
    for (let at = -layout.row; at < layout.cell; at += 7) {
      context.moveTo(x + at, y + layout.row);
      context.lineTo(x + at + layout.row, y);
    }
    context.stroke();
    context.restore();
  }

  function corner(context, x, y) {
    const right = x + layout.cell;
    const size = Math.min(8, layout.cell / 3);
    context.beginPath();
    context.moveTo(right - size, y);
    context.lineTo(right, y);
    context.lineTo(right, y + size);
    context.fill();
  }

  function cell(context, r, c, x, y) {
    if (!grid.present[r][c]) return;
    const colours = coloursOf(grid, r, c) ?? { fill: look.chip, text: look.text };
    fillCell(context, x, y, colours.fill);
    if (isUndefined(grid, r, c)) hatch(context, x, y);
    context.fillStyle = colours.text;
    const middle = y + layout.row / 2 + 1;
    const id = idAt(grid.value, r, c);
    const figure = layout.showNumber ? numberOf(grid, r, c) : "";
    if (layout.showToken && id !== null) {
      context.font = look.fonts.token;
      write(context, tokenRuns(context, id, figure.length), x + PADDING, middle);
    }
    if (layout.showNumber) {
      context.font = look.fonts.number;
      context.textAlign = grid.hasTokens ? "right" : "center";
      context.fillText(figure, grid.hasTokens ? x + layout.cell - PADDING : x + layout.cell / 2, middle);
      context.textAlign = "left";
    }
    if (grid.value.changed?.[r]?.[c]) corner(context, x, y);
  }

  const yOf = (r) => layout.rowGap + r * layout.rowPitch;
  const xOf = (c) => layout.left + c * layout.pitch;

  function rowLabels(context) {
    context.fillStyle = look.panel;
    context.fillRect(0, 0, layout.label, layout.height + layout.head);
    context.fillStyle = look.subdued;
    context.font = look.fonts.label;
    grid.value.rows.forEach(({ label }, r) => {
      if (!labelled(r, grid.rows, layout.rowStep)) return;
      const text = fitted(context, [{ text: phrase(label), faint: false }], layout.label - 8);
      write(context, text, layout.label - 8, yOf(r) + layout.row / 2 + 1, "right");
    });
  }

  function columnHead(context, c, x) {
    if (!columnLabelled(grid, layout, c)) return;
    const column = grid.value.columns[c];
    const isEnd = column.token && c === grid.columns - 1 && !grid.value.later;
    context.fillStyle = isEnd ? look.accent : column.token ? look.text : look.subdued;
    context.font = isEnd ? look.fonts.bold : column.token ? look.fonts.token : look.fonts.label;
    const text = fitted(context, runsOf(columnLabel(column)), layout.columnStep * layout.pitch - (layout.columnStep > 1 ? 10 : 4));
    const stepped = layout.columnStep > 1;
    write(context, text, stepped ? x + layout.cell : x + layout.cell / 2, layout.height + layout.head / 2 + 2, stepped ? "right" : "center");
  }

  // `from` is how far the columns are scrolled; `marks` are the cells with a ring.
  return function paint(context, { from = 0, width, marks = {} }) {
    context.fillStyle = look.panel;
    context.fillRect(0, 0, width, layout.height + layout.head);
    context.textBaseline = "middle";
    const first = Math.max(0, Math.floor(from / layout.pitch));
    const last = Math.min(grid.columns - 1, Math.floor((from + width - layout.left) / layout.pitch));
    for (let c = first; c <= last; c += 1) {
      const x = xOf(c) - from;
      for (let r = 0; r < grid.rows; r += 1) cell(context, r, c, x, yOf(r));
      columnHead(context, c, x);
    }
    const around = (at, line, colour) =>
      at && ring(context, xOf(at[1]) - from, yOf(at[0]), layout.cell, layout.row, line, colour, look.panel);
    around(marks.selected, 2.5, look.accent);
    around(marks.active, 2, look.text);
    rowLabels(context);
  };
}

function sharp(canvas, width, height, scale) {
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  canvas.style.cssText = `width:${width}px;height:${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return context;
}

// Only what is in view is drawn, so that a thousand columns cost no more than the twelve one sees.
function canvasFace(grid, layout, root, width) {
  const look = lookOf(root);
  const height = layout.height + layout.head;
  const shown = Math.min(width, Math.ceil(layout.total));
  const canvas = document.createElement("canvas");
  const context = sharp(canvas, shown, height, window.devicePixelRatio || 1);
  const live = make("div", "spoken");
  live.setAttribute("aria-live", "polite");
  const surface = make("div", "surface", canvas);
  surface.style.width = `${layout.total}px`;
  surface.tabIndex = 0;
  surface.setAttribute("role", "application");
  surface.setAttribute("aria-label", summary(grid));
  surface.setAttribute("aria-roledescription", t("heatmap.role"));
  const scroller = make("div", "scroller", surface, live);
  const marks = { selected: null, active: null };
  let paint = painter(grid, layout, look);
  let queued = false;

  function draw() {
    queued = false;
    paint(context, { from: scroller.scrollLeft, width: shown, marks: surface.matches(":focus-visible") ? marks : { selected: marks.selected } });
  }
  function later() {
    if (!queued) requestAnimationFrame(draw);
    queued = true;
  }
  for (const event of ["focus", "blur"]) surface.addEventListener(event, later);
  scroller.addEventListener("scroll", later, { passive: true });
  document.fonts.ready.then(later);
  later();

  return {
    scroller,
    focusable: surface,
    cellAt({ clientX, clientY }) {
      const box = canvas.getBoundingClientRect();
      const x = clientX - box.left;
      if (x < layout.label || x > shown) return null;
      const c = Math.floor((x + scroller.scrollLeft - layout.left) / layout.pitch);
      const r = Math.floor((clientY - box.top - layout.rowGap) / layout.rowPitch);
      return grid.present[r]?.[c] ? [r, c] : null;
    },
    boxOf([r, c]) {
      const box = canvas.getBoundingClientRect();
      const x = box.left + layout.left + c * layout.pitch - scroller.scrollLeft;
      return new DOMRect(x, box.top + layout.rowGap + r * layout.rowPitch, layout.cell, layout.row);
    },
    select(cell) {
      marks.selected = cell;
      later();
    },
    activate(cell) {
      marks.active = cell;
      if (cell && document.activeElement === surface) live.textContent = cellText(grid, cell);
      later();
    },
    recolour(changed) {
      grid = changed;
      surface.setAttribute("aria-label", summary(grid));
      paint = painter(grid, layout, look);
      later();
    },
  };
}

Object.assign(lens.heat, { canvasFace, fitted, lookOf, painter, sharp, write });
