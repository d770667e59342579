// A minimal pair as two rows of tokens; what belongs together stands one below the other. Takes {"state":
// "empty", "title", "note", "examples": [text]}, or {"state": "ready", "title": phrase or null, "sides": [A,
// B], each {"name", "tokens": [token records with "part": "prefix" | "edit" | "common" | "rest" and "column":
// number, the same for all tokens of an edit of unequal length; null stands behind the column before],
// "prediction": {"entry", "p"} or null, "correct"}, "facts": [phrase], "index" (from 0), "count", "buttons":
// whether another pair can be asked for, "selected": {"side": 0 | 1, "position"} or null, "note": phrase or
// null}. Triggers "choose" {side, position}, "step" {by: -1 | 1} and "example" {index}.
const { button, chip, heading, make, mount, percent, phrase, recordText, refill, seen, t, tokenText, vocabText } = lens;
const { factsOf, isSpecial, known, makeTip, operate, reveal } = lens.tokenList;

const NARROW = 600; // px below which the predictions stand under the tokens
const SIDES = ["a", "b"];
const EAST_ASIAN = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303f\uff01-\uffee]/u;

const textOf = (tokens) => tokens.filter((token) => !isSpecial(token)).map(({ text }) => text).join("");
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// The language of a text in Chinese characters, kana or hangul; fonts draw the same character differently.
function languageOf(text) {
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return "ja";
  if (/\p{Script=Hangul}/u.test(text)) return "ko";
  return lens.language === "ja" ? "ja" : "zh";
}

function inLanguage(box, text, language) {
  if (EAST_ASIAN.test(text)) box.lang = language;
  return box;
}

// What stands one below the other, from the left: [tokens of A, tokens of B].
function columnsOf(sides) {
  const found = new Map();
  sides.forEach(({ tokens }, side) => {
    let last = -1;
    for (const token of tokens) {
      const key = token.column ?? last + 0.5;
      last = token.column ?? last;
      if (!found.has(key)) found.set(key, [[], []]);
      found.get(key)[side].push(token);
    }
  });
  return [...found].sort(([a], [b]) => a - b).map(([, both]) => both);
}

// Where the same token stands on the other side, if it stands at another position there.
function movedTo(token, others) {
  if (token.part !== "common" || token.column === null || others.length !== 1) return null;
  return others[0].i === token.i ? null : others[0].i;
}

// Make `box` the one that stands for a token: it can be reached, named and selected.
function asToken(box, token, place, whole) {
  const { column, moved, names, selected, side } = place;
  const facts = factsOf(token, whole, false);
  if (token.part === "edit") facts.unshift(t("pair_lines.changed", { side: names[side] }));
  if (moved !== null) facts.push(t("pair_lines.moved", { side: names[1 - side], position: moved }));
  known.set(box, [make("strong", "", seen(box) || whole), ...facts]);
  box.dataset.position = token.i;
  box.dataset.column = column;
  box.dataset.focus = `pair-${side}-${token.i}`;
  box.tabIndex = -1;
  box.setAttribute("role", "option");
  box.setAttribute("aria-label", [seen(box) || whole, ...facts].join(", "));
  box.setAttribute("aria-selected", String(selected?.side === side && selected.position === token.i));
  return box;
}

// Tokens of one character that stand in one column.
function clustersOf(tokens) {
  const groups = [];
  for (const token of tokens) {
    const [last] = groups.at(-1) ?? [];
    if (last && last.cluster === token.cluster && last.part === token.part) groups.at(-1).push(token);
    else groups.push([token]);
  }
  return groups;
}

function chipOf(tokens, place) {
  const [token] = tokens;
  const marks = [isSpecial(token) ? "special" : "", token.part, place.moved === null ? "" : "moved"].filter(Boolean).join(" ");
  if (tokens.length === 1) {
    const text = recordText(token);
    if (token.text === "" && !text.textContent && !text.firstElementChild) text.dataset.empty = "∅";
    return inLanguage(asToken(make("span", `chip ${marks}`, text), token, place, null), token.cluster_text, place.language);
  }
  const glyph = tokenText(token.cluster_text);
  const cells = tokens.map((one) => {
    const cell = make("span", "byte");
    cell.dataset.bytes = (one.bytes_hex ?? "").toUpperCase();
    return asToken(cell, one, place, seen(glyph));
  });
  const box = make("span", `chip split ${marks}`, glyph, make("span", "bytes", ...cells));
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", seen(glyph));
  return inLanguage(box, token.cluster_text, place.language);
}

// What one side has in a column; where it has nothing of an edit, that is said.
function cellOf(both, column, given) {
  const [own, others] = [both[given.side], both[1 - given.side]];
  const place = { ...given, column };
  const chips = clustersOf(own).map((tokens) => chipOf(tokens, { ...place, moved: own.length === 1 ? movedTo(own[0], others) : null }));
  if (!chips.length && others.some(({ part }) => part === "edit")) {
    const gap = make("span", "chip gap");
    gap.title = t("pair_lines.no_token");
    chips.push(gap);
  }
  const cell = make("span", "cell", ...chips);
  cell.style.gridArea = `${given.side + 1} / ${column + 1}`;
  return cell;
}

function listOf(value, side, columns, selected) {
  const { name, tokens } = value.sides[side];
  const place = { side, names: value.sides.map((one) => one.name), language: languageOf(textOf(tokens)), selected };
  const list = make("span", `list ${SIDES[side]}`, ...columns.map((both, column) => cellOf(both, column, place)));
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-orientation", "horizontal");
  list.setAttribute("aria-label", t("pair_lines.label", { side: name }));
  return list;
}

function badgeOf(side, name) {
  const box = make("span", `letter ${SIDES[side]}`, name);
  box.setAttribute("aria-hidden", "true");
  return box;
}

function predicted({ prediction, tokens }) {
  if (!prediction) return null;
  const { entry, p } = prediction;
  const label = t("token_strip.prediction", { token: seen(vocabText(entry)), p: percent(p) });
  const shown = inLanguage(chip(entry), entry.text, languageOf(textOf(tokens) + entry.text));
  const box = make("span", "next", make("span", "arrow", "→"), shown, make("span", "p", percent(p)));
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", label);
  box.title = label;
  return box;
}

// The predicted token, and whether this is the side with the correct text.
function endOf(one, side) {
  const tick = make("span", "", "✓ ");
  tick.setAttribute("aria-hidden", "true");
  const correct = one.correct ? make("span", "correct", tick, t("pair_lines.correct")) : null;
  if (!one.prediction && !correct) return null;
  return make("span", `end ${SIDES[side]}`, badgeOf(side, one.name), predicted(one), correct);
}

function legendOf({ sides }, strip) {
  const item = (mark, words) => make("span", "item", make("span", `swatch ${mark}`), words);
  const has = (selector) => strip.querySelector(selector) !== null;
  const items = sides.map(({ name }, side) => has(`.${SIDES[side]} .edit`) && item(`edit ${SIDES[side]}`, t("pair_lines.changed", { side: name })));
  items.push(has(".moved") && item("moved", t("pair_lines.legend_moved")));
  items.push(has(".rest") && item("rest", t("pair_lines.legend_rest")));
  items.push(has(".gap") && item("gap", t("pair_lines.no_token")));
  items.push(has(".special") && item("special", t("token_strip.special")));
  return make("div", "legend", ...items.filter(Boolean));
}

const factsText = ({ count, facts, index }) =>
  [t("pair_lines.of", { n: index + 1, count }), ...(facts ?? []).map(phrase)].join(" · ");

// The whole in sentences, for those who do not see it.
function spoken(value) {
  const box = make("p", "spoken", `${factsText(value)}.`);
  for (const side of value.sides) {
    const { correct, name, prediction, tokens } = side;
    const language = languageOf(textOf(tokens));
    const quoted = (of) => inLanguage(make("bdi", "", seen(tokenText(textOf(of)))), textOf(of), language);
    const edits = tokens.filter(({ part }) => part === "edit");
    box.append(` ${t("pair_lines.label", { side: name })}: `, quoted(tokens), ".");
    if (edits.length) box.append(` ${t("pair_lines.changed", { side: name })}: `, quoted(edits), ".");
    if (prediction) box.append(` ${predicted(side).ariaLabel}.`);
    if (correct) box.append(` ${t("pair_lines.correct")}.`);
  }
  return box;
}

// A button that has nowhere to go keeps the focus.
function stepButton(by, name, blocked, trigger) {
  const box = button(name, t(`pair_lines.${name}`), () => blocked || trigger("step", { by }), { focus: name });
  if (blocked) box.setAttribute("aria-disabled", "true");
  return box;
}

function asideOf(value, trigger) {
  const { buttons, count, index } = value;
  const box = make("div", "aside", make("span", "facts", factsText(value)));
  if (buttons) {
    box.append(make("span", "steps", stepButton(-1, "previous", index <= 0, trigger), stepButton(1, "following", index >= count - 1, trigger)));
  }
  return box;
}

// The middle of the row, as far as it can be scrolled there.
function centre(strip, box) {
  const [inner, outer] = [box.getBoundingClientRect(), strip.getBoundingClientRect()];
  strip.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2;
}

// Fade the sides on which there is more.
function fade(strip) {
  strip.classList.toggle("more-before", strip.scrollLeft > 1);
  strip.classList.toggle("more-after", strip.scrollWidth - strip.clientWidth - strip.scrollLeft > 1);
}

// Copying takes the true text of the tokens, each side on a line of its own.
function copyTrueText(event) {
  const selection = document.getSelection();
  if (selection.isCollapsed) return;
  const part = selection.getRangeAt(0).cloneContents();
  const lists = [...part.querySelectorAll(".list")].map(({ textContent }) => textContent).filter(Boolean);
  event.clipboardData.setData("text/plain", lists.length ? lists.join("\n") : part.textContent);
  event.preventDefault();
}

// Up and down, to what stands in the same column on the other side, or nearest to it.
function crossOver(event, lists) {
  const from = event.target.closest("[role=option]");
  if (!from || !["ArrowUp", "ArrowDown"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const own = lists.findIndex((list) => list.contains(from));
  if (own === (event.key === "ArrowUp" ? 0 : 1)) return;
  const middle = (box) => box.getBoundingClientRect().left + box.offsetWidth / 2;
  const away = (box) => (box.dataset.column === from.dataset.column ? -1e6 : 0) + Math.abs(middle(box) - middle(from));
  const options = [...lists[1 - own].querySelectorAll("[role=option]")];
  options.sort((a, b) => away(a) - away(b))[0]?.focus({ preventScroll: true });
}

function emptyOf(root, value, trigger) {
  const examples = (value.examples ?? []).map((example, index) =>
    button("example", inLanguage(tokenText(example), example, languageOf(example)), () => trigger("example", { index })));
  const ghost = make("div", "ghost", ...Array.from({ length: 10 }, () => make("span")));
  ghost.setAttribute("aria-hidden", "true");
  const title = value.title ? make("strong", "", phrase(value.title)) : null;
  refill(root, make("div", "empty", ghost, title, make("p", "", value.note ? phrase(value.note) : t("pair_lines.empty")), make("div", "examples", ...examples)));
}

lens.viewers.pair_lines = ({ element, props, watch, trigger }) => {
  // What the person did is kept as long as the tokens are the same ones.
  let before = { tokens: null, selected: null, scrolled: 0, centred: true };

  function draw(root, value, width) {
    const tokens = JSON.stringify(value.sides.map((side) => side.tokens));
    const isSame = tokens === before.tokens;
    const selected = value.selected ?? (isSame ? before.selected : null);
    const columns = columnsOf(value.sides);
    const tip = makeTip(root);
    const lists = [0, 1].map((side) => listOf(value, side, columns, selected));
    const strip = make("div", "strip", ...lists);
    const letters = value.sides.map(({ name }, side) => badgeOf(side, name));
    const pair = make("div", "pair", ...letters, strip, ...value.sides.map(endOf));
    const aside = asideOf(value, trigger);
    pair.classList.toggle("narrow", width < NARROW);
    refill(root, spoken(value), value.title ? heading(value.title, null) : null, make("div", "top", pair, aside),
      legendOf(value, strip), value.note ? make("p", "note", phrase(value.note)) : null, tip.box);
    aside.classList.toggle("below", aside.offsetTop >= pair.offsetTop + pair.offsetHeight);
    strip.scrollLeft = isSame ? before.scrolled : 0;
    // What differs is in sight, until the person scrolls.
    const centred = (isSame ? before.centred : true) || !same(selected, before.selected);
    before = { tokens, selected, scrolled: strip.scrollLeft, centred };
    listen(strip, lists, tip);
  }

  function listen(strip, lists, tip) {
    lists.forEach((list, side) => operate(list, tip, (position) => {
      before.selected = { side, position };
      for (const other of lists[1 - side].querySelectorAll("[aria-selected=true]")) other.setAttribute("aria-selected", "false");
      trigger("choose", { side, position });
    }));
    strip.addEventListener("focusin", ({ target }) => reveal(strip, target));
    strip.addEventListener("keydown", (event) => crossOver(event, lists));
    strip.addEventListener("copy", copyTrueText);
    strip.addEventListener("scroll", () => {
      before.scrolled = strip.scrollLeft;
      fade(strip);
      tip.move();
    });
    for (const option of strip.querySelectorAll("[role=option]")) {
      option.addEventListener("pointerenter", ({ pointerType }) => pointerType !== "touch" && tip.show(option));
      option.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && tip.hide());
    }
    for (const event of ["pointerdown", "wheel", "keydown"]) strip.addEventListener(event, () => { before.centred = false; }, { passive: true });
    // Fonts arrive after the first drawing and make the chips wider.
    const settle = new ResizeObserver(() => {
      const first = before.centred && (strip.querySelector('[aria-selected="true"]') ?? strip.querySelector(".cell:has(.edit)"));
      if (first) centre(strip, first);
      fade(strip);
    });
    for (const box of [strip, ...strip.querySelectorAll(".cell")]) settle.observe(box);
  }

  mount(element, props, watch, (root, value, width) => {
    root.dataset.state = value.state;
    if (value.state === "empty") emptyOf(root, value, trigger);
    else draw(root, value, width);
  });
};
