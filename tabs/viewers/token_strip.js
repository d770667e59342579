// The prompt as the model read it, one chip a token. Takes {"tokens": [token records], "limit",
// "prediction": {"entry" or "text", "p"} or null, "badge": {"state", "text", "detail": [lines]}, "facts",
// "n_prompt" (later tokens are generated), "selected": position or null}. Triggers "select" {position}.
const { make, mount, percent, phrase, recordText, refill, seen, t, tokenText, vocabText } = lens;
const { factsOf, isSpecial, known, makeTip, operate, reveal } = lens.tokenList;
const ICONS = { good: "✓", check: "▲", poor: "✕" };
const NEAR = 0.9;

function clusters(tokens) {
  const groups = [];
  for (const token of tokens) {
    const last = groups[groups.length - 1];
    if (last && last[0].cluster === token.cluster) last.push(token);
    else groups.push([token]);
  }
  return groups;
}

// Make `box` the one that stands for a token: it can be reached, named and selected.
function asToken(box, token, whole, value) {
  const generated = token.i >= (value.n_prompt ?? Infinity);
  const facts = factsOf(token, whole, generated);
  known.set(box, facts);
  box.title = [token.text, ...facts].join("\n");
  box.dataset.position = token.i;
  box.dataset.focus = `token-${token.i}`;
  box.tabIndex = -1;
  box.setAttribute("role", "option");
  box.setAttribute("aria-label", [seen(box), ...facts].join(", "));
  box.setAttribute("aria-selected", String(token.i === value.selected));
  box.classList.toggle("generated", generated);
  return box;
}

// A character over several tokens: its picture above, and the bytes of each token below.
function splitChip(tokens, value) {
  const whole = tokens[0].cluster_text;
  const glyph = tokenText(whole);
  const cells = tokens.map((token) => {
    const cell = make("span", "cell");
    cell.dataset.bytes = token.bytes_hex ?? "";
    return asToken(cell, token, seen(glyph), value);
  });
  const box = make("span", "chip split", glyph, make("span", "cells", ...cells));
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", seen(glyph));
  return box;
}

function chipOf(tokens, value) {
  if (tokens.length > 1) return splitChip(tokens, value);
  const [token] = tokens;
  const text = recordText(token);
  if (token.text === "" && !text.firstElementChild) text.dataset.empty = "∅";
  return asToken(make("span", isSpecial(token) ? "chip special" : "chip", text), token, null, value);
}

function arrow() {
  const box = make("span", "arrow");
  box.setAttribute("aria-hidden", "true");
  return box;
}

function chipsOf(value) {
  const list = make("span", "chips");
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-orientation", "horizontal");
  list.setAttribute("aria-label", `${t("token_strip.label")}: ${countText(value)}`);
  for (const tokens of clusters(value.tokens)) {
    if (tokens[0].i === value.n_prompt && tokens[0].i > 0) list.append(arrow());
    list.append(chipOf(tokens, value));
  }
  return list;
}

function predictionOf(prediction) {
  if (!prediction) return null;
  const text = prediction.entry ? vocabText(prediction.entry) : tokenText(prediction.text);
  const chip = make("span", "chip prediction", text);
  const box = make("span", "next", arrow(), chip, make("span", "p", percent(prediction.p)));
  const label = t("token_strip.prediction", { token: seen(text), p: percent(prediction.p) });
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", label);
  box.title = label;
  return box;
}

function countText({ tokens, limit }) {
  const count = tokens.length;
  return limit ? t("token_strip.count", { count, limit }) : t("token_strip.count_only", { count });
}

function countOf(value) {
  const { length } = value.tokens;
  const { limit } = value;
  const state = !limit || length < NEAR * limit ? "" : length > limit ? "poor" : "check";
  const box = make("span", `count ${state}`, state ? `${ICONS[state]} ` : "", countText(value));
  if (state === "check") box.append(` · ${t("token_strip.near", { limit })}`);
  if (state === "poor") box.append(` · ${t("token_strip.over", { count: length - limit })}`);
  return box;
}

// The badge opens its details below itself; the browser closes them on Esc or a click elsewhere.
function badgeOf(badge) {
  if (!badge) return [];
  const icon = make("span", "", `${ICONS[badge.state] ?? ""} `);
  icon.setAttribute("aria-hidden", "true");
  const lines = [badge.detail ?? []].flat().map((line) => make("li", "", phrase(line)));
  if (!lines.length) return [make("span", `badge ${badge.state}`, icon, phrase(badge.text))];
  const button = make("button", `badge ${badge.state}`, icon, phrase(badge.text));
  const detail = make("div", "detail", make("strong", "", phrase(badge.text)), make("ul", "", ...lines));
  button.type = "button";
  button.dataset.focus = "badge";
  button.setAttribute("aria-expanded", "false");
  detail.popover = "auto";
  detail.tabIndex = -1;
  detail.setAttribute("role", "dialog");
  detail.setAttribute("aria-label", phrase(badge.text));
  button.popoverTargetElement = detail;
  detail.addEventListener("toggle", ({ newState }) => {
    const open = newState === "open";
    button.setAttribute("aria-expanded", String(open));
    if (open) below(detail, button);
    if (open) detail.focus({ preventScroll: true });
  });
  return [button, detail];
}

// Below the button, within the page, and moving with it.
function below(box, button) {
  const place = button.getBoundingClientRect();
  const most = document.documentElement.clientWidth - box.offsetWidth - 12;
  box.style.left = `${Math.max(12, Math.min(place.left, most)) + window.scrollX}px`;
  box.style.top = `${place.bottom + 6 + window.scrollY}px`;
}

// Fade the sides on which there is more. True at the end.
function fade(strip) {
  const rest = strip.scrollWidth - strip.clientWidth - strip.scrollLeft;
  strip.classList.toggle("more-before", strip.scrollLeft > 1);
  strip.classList.toggle("more-after", rest > 1);
  return rest <= 1;
}

// Copying takes the true text and nothing of what is drawn around it.
function copyTrueText(strip) {
  strip.addEventListener("copy", (event) => {
    const selection = document.getSelection();
    if (selection.isCollapsed) return;
    const range = selection.getRangeAt(0);
    if (!strip.contains(range.commonAncestorContainer)) return;
    const part = range.cloneContents();
    for (const drawn of part.querySelectorAll(".next")) drawn.remove();
    event.clipboardData.setData("text/plain", part.textContent);
    event.preventDefault();
  });
}

lens.viewers.token_strip = ({ element, props, watch, trigger }) => {
  let before = { tokens: null, selected: null, scrolled: 0 };
  mount(element, props, watch, (root, value) => {
    const tip = makeTip(root);
    const strip = make("div", "strip", chipsOf(value), predictionOf(value.prediction));
    const facts = make("span", "facts", (value.facts ?? []).map(phrase).join(" · "));
    const side = make("div", "side", countOf(value), ...badgeOf(value.badge), facts);
    refill(root, strip, side, tip.box);
    const tokens = JSON.stringify(value.tokens);
    strip.scrollLeft = tokens === before.tokens ? before.scrolled : strip.scrollWidth;
    const chosen = strip.querySelector('[aria-selected="true"]');
    if (chosen && value.selected !== before.selected) reveal(strip, chosen);
    before = { tokens, selected: value.selected, scrolled: strip.scrollLeft };
    let atEnd = fade(strip);
    strip.addEventListener("scroll", () => {
      before.scrolled = strip.scrollLeft;
      atEnd = fade(strip);
      tip.move();
    });
    // Fonts arrive after the first drawing and make the chips wider.
    new ResizeObserver(() => {
      if (atEnd) strip.scrollLeft = strip.scrollWidth;
      fade(strip);
    }).observe(strip.firstChild);
    operate(strip, tip, (position) => trigger(lens.shell.tab, { position }));
    copyTrueText(strip);
  });
};
