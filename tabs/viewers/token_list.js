// Tokens in a row, of which one is selected: reached with one Tab stop, named, and with a tip.
const { make, t } = lens;

// Element of a token -> what is known of it, one fact a line: text or elements.
const known = new WeakMap();

const isSpecial = ({ kind }) => kind === "special" || kind === "pad";

// What is known of a token, one fact a line; a part of a text that no tokenizer cut has no id.
function factsOf(token, whole, generated) {
  const lines = token.id === null ? [] : [t("token_strip.position", { position: token.i }), t("token_strip.id", { id: token.id })];
  if (token.bytes_hex) lines.push(t("token_strip.bytes", { bytes: token.bytes_hex.toUpperCase() }));
  if (whole !== null) lines.push(t("token_strip.part", { whole }));
  if (isSpecial(token)) lines.push(t("token_strip.special"));
  if (generated) lines.push(t("token_strip.generated"));
  return lines;
}

// Sideways only: the page stays where it is.
function reveal(strip, box) {
  const [inner, outer] = [box.getBoundingClientRect(), strip.getBoundingClientRect()];
  const edge = 28;
  if (inner.left < outer.left + edge) strip.scrollLeft -= outer.left + edge - inner.left;
  else if (inner.right > outer.right - edge) strip.scrollLeft += inner.right - outer.right + edge;
}

// One Tab stop; arrows move it, Enter and a click select.
function operate(strip, tip, select) {
  const options = [...strip.querySelectorAll("[role=option]")];
  if (!options.length) return;
  let current = options.find((one) => one.ariaSelected === "true") ?? options[options.length - 1];
  const rove = (next) => {
    current.tabIndex = -1;
    current = next;
    current.tabIndex = 0;
  };
  const choose = (option) => {
    for (const one of options) one.setAttribute("aria-selected", String(one === option));
    select(Number(option.dataset.position));
  };
  rove(current);
  strip.addEventListener("focusin", ({ target }) => {
    if (!options.includes(target)) return;
    rove(target);
    reveal(strip, target);
    if (target.matches(":focus-visible")) tip.show(target);
  });
  strip.addEventListener("focusout", tip.hide);
  strip.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    // The end of a drag that marked text to copy selects nothing.
    if (!option || !document.getSelection().isCollapsed) return;
    option.focus({ preventScroll: true });
    if (event.pointerType === "touch") tip.show(option);
    choose(option);
  });
  strip.addEventListener("keydown", (event) => {
    const at = options.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: options.length - 1 }[event.key];
    if (to !== undefined) options[Math.min(options.length - 1, Math.max(0, to))].focus({ preventScroll: true });
    else if (event.key === "Enter" || event.key === " ") choose(event.target);
    else if (event.key !== "Escape" || !tip.hide()) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// What the title of a token says under the pointer, this says on focus and on touch.
function makeTip(root) {
  const box = make("div", "tip");
  let owner = null;
  box.hidden = true;
  const move = () => {
    if (!owner) return;
    const [place, frame] = [owner.getBoundingClientRect(), root.getBoundingClientRect()];
    const most = frame.width - box.offsetWidth;
    box.style.left = `${Math.max(0, Math.min(place.left - frame.left, most))}px`;
    box.style.top = `${place.bottom - frame.top + 6}px`;
  };
  const show = (option) => {
    owner = option;
    box.replaceChildren(...known.get(option).map((line) => make("div", "", line)));
    box.hidden = false;
    move();
  };
  const hide = () => {
    const shown = owner !== null;
    owner = null;
    box.hidden = true;
    return shown;
  };
  return { box, hide, move, show };
}

lens.tokenList = { factsOf, isSpecial, known, makeTip, operate, reveal };
