// A grid of coloured cells, with tokens, numbers and a card for every cell. Takes {"state": "empty",
// "title", "text", "examples": [text]}, or {"state": "done", "name" (of exports), "title", "how" (drawn with the title above the cells), "rows":
// [{"label", "title", "quantity": key of its own}] from the top, "columns": [{"token": record,
// "position"} or {"label", "title"}], "vocab", "tokens": [[id]], "quantities": [{"key", "label", "title",
// "scale", "low", "high", "format": "percent" | "number" | "rank" | "signed", "values": [[]]}],
// "quantity": key, "top" and "bottom": {"ids", "values", "format"} (bars of the card), "facts":
// [{"label", "unit", "format", "quantity": key or "values"}], "card": key of its head, "changed":
// [[0 | 1]], "other": [[id]], "other_values", "side": "before" | "after" (which the cells show),
// "undefined": what a cell without a value is, which makes it a hatched one, "selected": [row, column], "files": formats that can be saved (all when absent), "notes": [phrase], "earlier", "later": columns that are not drawn}.
// Labels and titles are phrases; a cell without token and values is not there. Triggers "select" {row, column},
// "token" {id}, "example" {index}, "window" {to} and "export" {format}.
const { button, gradient, make, mount, phrase, t, tokenText } = lens;
const { canvasFace, cardOf, ends, exportMenu, firstCell, fonts, gridOf, hasUndefined, layoutOf, next, place, savePage, savePicture, tableFace } = lens.heat;

const TABLE_CELLS = 3000; // more are drawn on a canvas
const INTENT = 150; // ms over another cell before its card replaces a pinned one
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const ENDS = { Home: 1, End: -1 };
const same = (a, b) => a && b && a[0] === b[0] && a[1] === b[1];
// How far it is scrolled; null where that is the end, which stays the end at any width.
const scrollOf = ({ clientWidth, scrollLeft, scrollWidth }) =>
  scrollLeft + clientWidth >= scrollWidth - 2 ? null : scrollLeft;
const onPhone = () => window.innerWidth <= 640;

function drawEmpty(root, value, trigger) {
  const ghost = make("div", "ghost", ...Array.from({ length: 30 }, () => make("span", "")));
  ghost.setAttribute("aria-hidden", "true");
  const examples = (value.examples ?? []).map((example, index) =>
    button("example", tokenText(example), () => trigger("example", { index })));
  const said = value.text ? phrase(value.text) : t("heatmap.empty");
  const title = value.title ? make("strong", "", phrase(value.title)) : null;
  root.replaceChildren(
    make("div", "empty", ghost, title, make("p", "", said), make("div", "examples", ...examples)),
  );
}

function legend(quantity) {
  const bar = make("span", "gradient");
  bar.style.background = gradient(quantity.scale);
  const [low, high] = ends(quantity);
  return make("div", "legend", make("strong", "", phrase(quantity.title)), make("span", "low", low), bar, make("span", "high", high));
}

const undefinedLegend = (grid) =>
  hasUndefined(grid) ? make("div", "legend", make("span", "swatch", "–"), make("span", "", phrase(grid.value.undefined))) : null;

const legends = (grid) => make("div", "legends", ...grid.legends.map(legend), undefinedLegend(grid));

lens.viewers.heatmap = ({ element, props, watch, trigger }) => {
  const root = element.querySelector(".lens-viewer");
  // Of the value: what it is drawn from. Of the person: everything else, kept when it is drawn again.
  const view = { text: null, cells: null, key: null, selected: null, active: null, shown: null,
    pinned: false, fit: false, toEnd: true };
  let [grid, face, pointer, waiting] = [null, null, "mouse", null];

  function hideCard() {
    root.querySelector(".card")?.remove();
    view.shown = null;
  }

  function showCard(cell) {
    const isSheet = onPhone();
    const isPinned = view.pinned && same(cell, view.selected);
    root.querySelector(".card")?.remove();
    const pick = (isPinned || isSheet) && !grid.value.readonly;
    const card = cardOf(grid, cell, { pick, close: isSheet ? release : null });
    view.shown = cell;
    face.scroller.after(card);
    if (!isSheet) return place(card, root, face.boxOf(cell));
    // The card at the foot must not cover the cell it is of.
    const hidden = root.getBoundingClientRect().top + face.boxOf(cell).bottom - card.getBoundingClientRect().top;
    if (hidden > 0) window.scrollBy({ top: hidden + 12 });
  }

  // The card that stays when nothing is pointed at: of the pinned cell, or of the one with focus.
  function settle() {
    clearTimeout(waiting);
    const kept = view.pinned ? view.selected : face.focusable.matches(":focus-visible") ? view.active : null;
    if (!kept) hideCard();
    else if (!same(kept, view.shown)) showCard(kept);
  }

  // The card goes with its cell, and is out of sight when that is.
  function follow() {
    const card = root.querySelector(".card");
    if (!card || onPhone()) return;
    const [box, outer] = [face.boxOf(view.shown), face.scroller.getBoundingClientRect()];
    card.hidden = box.right < outer.left + 20 || box.left > outer.right - 20;
    if (!card.hidden) place(card, root, box);
  }

  function point(cell) {
    clearTimeout(waiting);
    if (!cell) waiting = setTimeout(settle, INTENT); // a gap between two cells, or the labels
    else if (same(cell, view.shown)) return;
    else if (view.pinned) waiting = setTimeout(() => showCard(cell), INTENT);
    else showCard(cell);
  }

  function moveTo(cell) {
    view.active = cell;
    face.activate(cell);
    reveal(cell);
    if (!view.pinned || !same(cell, view.shown)) showCard(cell);
  }

  // Sideways within the viewer, past the labels that stay; up and down with the page.
  function reveal(cell) {
    const [box, outer] = [face.boxOf(cell), face.scroller.getBoundingClientRect()];
    const left = outer.left + Number(face.scroller.dataset.label);
    if (box.left < left) face.scroller.scrollLeft += box.left - left - 2;
    else if (box.right > outer.right) face.scroller.scrollLeft += box.right - outer.right + 4;
    if (box.top < 0) window.scrollBy(0, box.top - 8);
    else if (box.bottom > window.innerHeight) window.scrollBy(0, box.bottom - window.innerHeight + 8);
  }

  function select(cell) {
    [view.active, view.selected, view.pinned] = [cell, cell, true];
    face.activate(cell);
    face.select(cell);
    showCard(cell);
    if (!grid.value.readonly) trigger("select", { row: cell[0], column: cell[1] });
  }

  function release() {
    view.pinned = false;
    hideCard();
  }

  function cellAt(event) {
    const cell = face.cellAt(event);
    return cell && grid.present[cell[0]][cell[1]] ? cell : null;
  }

  function click(event) {
    const cell = cellAt(event);
    if (!cell) return release();
    if (pointer === "touch" && !same(cell, view.shown)) {
      view.pinned = false;
      view.active = cell;
      face.activate(cell);
      return showCard(cell);
    }
    if (view.pinned && same(cell, view.selected) && pointer !== "touch") return release();
    return select(cell);
  }

  function press(event) {
    const { ctrlKey, key, metaKey } = event;
    const cell = view.active;
    if (!cell || ctrlKey || metaKey) return;
    const found = MOVES[key] ? next(grid, cell, MOVES[key])
      : ENDS[key] ? next(grid, [cell[0], key === "Home" ? -1 : grid.columns], [0, ENDS[key]]) : null;
    if (key === "Escape") release();
    else if (key === "Enter" || key === " ") select(cell);
    else if (found) moveTo(found);
    if (MOVES[key] || ENDS[key] || key === "Enter" || key === " ") event.preventDefault();
  }

  function listenTo({ scroller, focusable }) {
    scroller.addEventListener("click", click);
    scroller.addEventListener("pointerdown", (event) => { pointer = event.pointerType; });
    scroller.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") point(cellAt(event));
    });
    scroller.addEventListener("pointerleave", ({ pointerType, relatedTarget }) => {
      if (pointerType !== "touch" && !relatedTarget?.closest?.(".card")) settle();
    });
    scroller.addEventListener("scroll", follow, { passive: true });
    focusable.addEventListener("keydown", press);
    focusable.addEventListener("focus", () => {
      if (!view.active) return;
      face.activate(view.active);
      if (focusable.matches(":focus-visible") && !view.pinned) showCard(view.active);
    });
    focusable.addEventListener("blur", ({ relatedTarget }) => {
      if (!view.pinned && !relatedTarget?.closest(".card")) hideCard();
    });
  }

  function save(format) {
    if (format === "png") savePicture(root, grid.value, view.key);
    else if (format === "html") savePage(grid.value, view.key);
    else trigger("export", { format });
  }

  function foot(layout, redraw) {
    const notes = (grid.value.notes ?? []).map((note) => make("span", "note", phrase(note)));
    const tools = make("div", "tools");
    if (layout.scrolls) {
      const fit = button("fit", t("heatmap.fit"), () => {
        view.fit = !view.fit;
        redraw();
      });
      fit.setAttribute("aria-pressed", String(view.fit));
      tools.append(fit);
    }
    if (!grid.value.readonly) tools.append(exportMenu(save, grid.value.files));
    return make("div", "foot", legends(grid), ...notes, tools);
  }

  function windows({ earlier, later, readonly }) {
    if (readonly || !(earlier || later)) return null;
    const part = (to, count) => count && button(to, t(`heatmap.${to}`, { n: count.toLocaleString("en") }), () => trigger("window", { to }));
    return make("div", "windows", part("earlier", earlier) || null, part("later", later) || null);
  }

  // What the person did is kept as long as the cells are the same ones.
  function take(value) {
    const cells = JSON.stringify([value.columns, value.rows]);
    const isSame = cells === view.cells;
    const selected = value.selected ?? (isSame ? view.selected : null);
    if (!isSame) Object.assign(view, { active: null, fit: false, toEnd: true });
    if (!isSame || !same(selected, view.selected)) view.pinned = false;
    Object.assign(view, { text: props.value, cells, key: value.quantity, selected });
  }

  function draw(_, value, width) {
    root.dataset.state = value.state;
    clearTimeout(waiting);
    if (value.state === "empty") {
      [grid, face] = [null, null];
      return drawEmpty(root, value, trigger);
    }
    if (view.text !== props.value) take(value);
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && ["fit", "export", "earlier", "later"].find((name) => focused.classList.contains(name));
    // The last positions first; other columns from their start.
    const start = value.columns.at(-1)?.token ? null : 0;
    const scrolled = view.toEnd || !face ? start : scrollOf(face.scroller);
    grid = gridOf(value, view.key);
    const layout = layoutOf(grid, width, fonts(root), { fit: view.fit });
    const isLarge = grid.rows * grid.columns > TABLE_CELLS;
    face = isLarge ? canvasFace(grid, layout, root, width) : tableFace(grid, layout);
    face.scroller.dataset.label = layout.label;
    face.focusable.setAttribute("aria-description", t("heatmap.keys"));
    face.focusable.tabIndex = 0;
    view.active ??= view.selected ?? firstCell(grid);
    listenTo(face);
    root.replaceChildren(...[value.how && !value.readonly ? lens.heading(value.title, value.how) : null, windows(value), face.scroller, foot(layout, () => draw(root, value, element.clientWidth))].filter(Boolean));
    face.scroller.scrollLeft = scrolled ?? face.scroller.scrollWidth;
    [view.toEnd, view.shown] = [false, null];
    face.select(view.selected);
    if (focused) (key ? root.querySelector(`.${key}`) ?? face.focusable : face.focusable).focus({ preventScroll: true });
    if (view.pinned) showCard(view.selected);
    return undefined;
  }

  // Another quantity: the same cells, other colours and numbers.
  function recolour(key) {
    if (!grid?.value.quantities.some((quantity) => quantity.key === key)) return;
    view.key = key;
    grid = gridOf(grid.value, key);
    face.recolour(grid);
    if (document.activeElement === face.focusable) face.activate(view.active);
    root.querySelector(".legends").replaceWith(legends(grid));
    if (view.shown) showCard(view.shown);
  }

  root.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && face && settle());
  root.addEventListener("pointerover", ({ target }) => target.closest(".card") && clearTimeout(waiting));
  root.addEventListener("click", ({ target }) => {
    const id = target.closest(".card [data-id]")?.dataset.id;
    if (id !== undefined) trigger("token", { id: Number(id) });
  });
  root.addEventListener("keydown", ({ key, target }) => {
    if (key !== "Escape" || !target.closest(".card")) return;
    face.focusable.focus({ preventScroll: true });
    release();
  });
  lens.listen?.(element, "quantity", recolour);
  mount(element, props, watch, draw);
};
