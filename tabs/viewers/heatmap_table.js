// The heat map as a table: cells can be read, copied and found by assistive technology.
const { make, phrase, t } = lens;
const { cellText, coloursOf, columnLabel, columnLabelled, columnText, idAt, isUndefined, labelled, numberOf, runsOf, summary, tokenOf } = lens.heat;

let tables = 0;

// What a cell holds for every token, made once and copied. Without an element around it: the cell
// itself keeps text that runs from right to left apart, and elements are what a large table costs.
function tokens(grid) {
  const made = new Map();
  return (id) => {
    if (!made.has(id)) {
      const content = document.createDocumentFragment();
      const width = widthOf(runsOf(content.appendChild(tokenOf(grid, id))));
      content.replaceChildren(...content.firstChild.childNodes);
      made.set(id, { content, width });
    }
    return made.get(id);
  };
}

// A guess that is never too small.
function widthOf(runs) {
  const letters = runs.flatMap(({ text }) => [...text]);
  return letters.reduce((sum, letter) => sum + (letter < "\u0100" ? 8 : 14), 0);
}

// What differs from quantity to quantity. Only a text that may be too long is cut off: a clip of its
// own for every cell takes a quarter of the time of a large table.
function dress(grid, layout, token, td, r, c) {
  const colours = coloursOf(grid, r, c);
  if (grid.value.undefined) td.classList.toggle("undefined", isUndefined(grid, r, c));
  td.style.cssText = colours ? `background:${colours.fill};color:${colours.text}` : "";
  const figure = layout.showNumber ? numberOf(grid, r, c) : "";
  if (figure) td.firstChild.firstChild.data = figure;
  const id = idAt(grid.value, r, c);
  if (!layout.showToken || id === null) return;
  const room = layout.cell - 12 - (figure ? 7 * figure.length + 4 : 0);
  td.classList.toggle("long", token(id).width > room);
}

function cellElement(grid, layout, token, r, c) {
  const td = document.createElement("td");
  if (!grid.present[r][c]) {
    td.className = "absent";
    return td;
  }
  const id = idAt(grid.value, r, c);
  // The number first: it floats to the right, and the token ends before it.
  if (layout.showNumber) td.append(make("span", "number", " "));
  if (layout.showToken && id !== null) td.append(token(id).content.cloneNode(true));
  if (grid.value.changed?.[r]?.[c]) td.className = "changed";
  dress(grid, layout, token, td, r, c);
  return td;
}

function bodyRow(grid, layout, token, r) {
  const { label, title } = grid.value.rows[r];
  const head = make("th", "", labelled(r, grid.rows, layout.rowStep) ? phrase(label) : "");
  head.scope = "row";
  if (title) head.title = phrase(title);
  return make("tr", "", head, ...grid.value.columns.map((_, c) => cellElement(grid, layout, token, r, c)));
}

function footRow(grid, layout) {
  const heads = grid.value.columns.map((column, c) => {
    const shown = columnLabelled(grid, layout, c);
    const head = make("th", column.token ? "token-head" : "", shown ? make("span", "", columnLabel(column)) : null);
    head.scope = "col";
    if (layout.columnStep > 1 && shown) head.firstChild.style.maxWidth = `${layout.columnStep * layout.pitch - 10}px`;
    head.title = column.token ? t("heatmap.at", { token: column.token.text, position: column.position }) : columnText(column);
    return head;
  });
  return make("tr", "", document.createElement("td"), ...heads);
}

function columnWidths(grid, layout) {
  const widths = [layout.label, ...Array(grid.columns).fill(layout.cell)];
  return make("colgroup", "", ...widths.map((width) => {
    const col = document.createElement("col");
    col.style.width = `${width}px`;
    return col;
  }));
}

// Draw the table; what is given back is what the viewer asks of any way of drawing.
function tableFace(grid, layout) {
  const token = tokens(grid);
  const caption = make("caption", "", make("span", "spoken", summary(grid)));
  const body = make("tbody", "", ...grid.value.rows.map((_, r) => bodyRow(grid, layout, token, r)));
  const table = make("table", grid.hasTokens ? "" : "plain", caption, columnWidths(grid, layout), body,
    make("tfoot", "", footRow(grid, layout)));
  const name = `lens-heatmap-${(tables += 1)}`;
  table.style.width = `${layout.total}px`;
  table.style.borderSpacing = `${layout.gap}px ${layout.rowGap}px`;
  table.style.setProperty("--row", `${layout.row}px`);
  table.classList.toggle("stepped", layout.columnStep > 1);
  if (grid.value.columns.at(-1)?.token && !grid.value.later) table.classList.add("ends");
  table.setAttribute("role", "grid");
  const scroller = make("div", "scroller", table);
  const tdAt = ([r, c]) => body.rows[r].cells[c + 1];

  function mark(kind, cell) {
    body.querySelector(`.${kind}`)?.classList.remove(kind);
    if (cell) tdAt(cell).classList.add(kind);
  }

  return {
    scroller,
    focusable: table,
    cellAt({ target }) {
      const td = target.closest?.("td");
      if (td?.parentNode.parentNode !== body) return null;
      return [td.parentNode.sectionRowIndex, td.cellIndex - 1];
    },
    boxOf: (cell) => tdAt(cell).getBoundingClientRect(),
    select: (cell) => mark("selected", cell),
    activate(cell) {
      mark("active", cell);
      if (!cell) return;
      const td = tdAt(cell);
      td.id ||= `${name}-${cell.join("-")}`;
      td.setAttribute("aria-label", cellText(grid, cell));
      table.setAttribute("aria-activedescendant", td.id);
    },
    recolour(changed) {
      grid = changed;
      caption.firstChild.textContent = summary(grid);
      grid.present.forEach((row, r) => row.forEach((present, c) => {
        if (!present) return;
        const td = tdAt([r, c]);
        dress(grid, layout, token, td, r, c);
        td.removeAttribute("aria-label");
      }));
    },
  };
}

Object.assign(lens.heat, { tableFace });
