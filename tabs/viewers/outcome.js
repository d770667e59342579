// What a repair did: what the model said before and says after, how sure that is, and what can be done with
// it. Takes {"state": "empty" | "running" | "done", "how": phrase, "pill": {"tone": "good" | "check" |
// "poor", "text"}, "facts": [phrase], "light": {"tone", "text"} or null (of everything else), "pairs":
// [{"prompt": text, "before": {"said", "more"}, "after": the same, or null while it is not known, "tone"}],
// "more_pairs": how many are not sent, "notes": [{"tone", "text"}], "actions": [{"name", "text",
// "primary"}]}. `said` is what stands in place of the target, `more` what follows it. Triggers the name of
// the pressed action, {}: "use", "save" or "undo".
const { button, make, mount, phrase, pill, refill, svg, t, tokenText } = lens;

const ICONS = { good: "✓", check: "▲", poor: "✕" };
const LONGEST = { one: 240, several: 110 }; // characters of a prompt that are shown
const WORD = 20; // characters within which a shortened prompt begins with a whole word
const PLAIN = " \u3000\n\t"; // what running text shows as it is

// A text of a person or a model as running text: spaces stay spaces, what nobody sees is named.
function running(text) {
  const box = tokenText(text);
  for (const mark of box.querySelectorAll(".lens-mark")) {
    if (PLAIN.includes(mark.textContent)) mark.replaceWith(mark.textContent);
  }
  return box;
}

// The end of a long prompt, which is what the model goes on from.
function endOf(prompt, most) {
  const letters = [...prompt];
  if (letters.length <= most) return running(prompt);
  const end = letters.slice(-most);
  const space = end.slice(0, WORD).findIndex((letter) => /\s/.test(letter));
  const box = make("span", "shortened", "…", running(end.slice(space + 1).join("")));
  box.title = prompt;
  return box;
}

// What was said in place of the target, with the blanks before it unmarked; of blanks alone their signs.
function saidOf(tag, text) {
  if (!text.trim()) return [make(tag, "said", tokenText(text))];
  const word = text.trimStart();
  return [text.slice(0, text.length - word.length), make(tag, "said", running(word))];
}

function sideOf(kind, prompt, words, { other, tone }) {
  const head = make("span", "label", t(`outcome.${kind}`));
  if (tone) head.append(verdict(tone));
  if (!words) {
    const ghost = make("span", "ghost", make("i", ""), make("i", ""));
    ghost.setAttribute("aria-hidden", "true");
    return make("div", `side ${kind}`, head, make("p", "text", prompt), ghost);
  }
  const isChanged = other && other.said !== words.said;
  const said = saidOf(isChanged ? { before: "del", after: "ins" }[kind] : "span", words.said);
  return make("div", `side ${kind}`, head, make("p", "text", prompt, ...said, running(words.more ?? "")));
}

// Whether this pair is repaired, where there are several.
function verdict(tone) {
  const box = make("span", `verdict ${tone}`, ICONS[tone]);
  const said = t(`outcome.${tone}`);
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", said);
  box.title = said;
  return box;
}

function arrow() {
  const box = make("span", "arrow");
  box.setAttribute("aria-hidden", "true");
  return box;
}

function pairOf({ after, before, prompt, tone }, count) {
  const most = count > 1 ? LONGEST.several : LONGEST.one;
  return make("li", "pair", sideOf("before", endOf(prompt, most), before, { other: after }), arrow(),
    sideOf("after", endOf(prompt, most), after, { other: before, tone: count > 1 && after ? tone : null }));
}

function pairsOf({ more_pairs: more, pairs }) {
  if (!pairs?.length) return null;
  const list = make("ul", "pairs", ...pairs.map((pair) => pairOf(pair, pairs.length)));
  return make("div", "", list, more ? make("p", "more", t("outcome.more_pairs", { count: more.toLocaleString("en") })) : null);
}

function headOf({ facts, light, pill: found }) {
  if (!found && !facts?.length && !light) return null;
  const told = facts?.length ? make("span", "facts", facts.map(phrase).join(" · ")) : null;
  const other = light ? pill(light.tone, light.text) : null;
  other?.classList.add("light");
  return make("div", "head", found ? pill(found.tone, found.text) : null, told, other);
}

function howOf({ how, state }) {
  if (!how) return null;
  if (state !== "done") return make("p", "how", phrase(how));
  return make("p", "how", make("b", "", t("how.read")), " ", phrase(how));
}

function notesOf(notes) {
  if (!notes?.length) return null;
  const lines = notes.map(({ text, tone }) => {
    const icon = make("span", "icon", ICONS[tone] ?? "·");
    icon.setAttribute("aria-hidden", "true");
    return make("li", tone in ICONS ? tone : "", icon, make("span", "", phrase(text)));
  });
  return make("ul", "notes", ...lines);
}

function actionsOf(actions, trigger) {
  if (!actions?.length) return null;
  const buttons = actions.map(({ name, primary, text }) =>
    button(primary ? "action primary" : "action", phrase(text), () => trigger(name, {}), { focus: name }));
  return make("div", "actions", ...buttons);
}

// Two lines of text of which the last words change, as they will be drawn.
function drawing() {
  const rest = (x, y, length) => svg("path", { class: "rest", d: `M${x} ${y}h${length}` });
  return svg("svg", { class: "drawing", viewBox: "0 0 316 60", "aria-hidden": "true" },
    svg("rect", { class: "was", x: 1, y: 1, width: 132, height: 58, rx: 6 }), rest(14, 20, 74), rest(14, 40, 34),
    svg("path", { class: "old", d: "M56 40h40" }), svg("path", { class: "strike", d: "M52 40h48" }),
    svg("path", { class: "to", d: "M148 30h19m-5-5 5 5-5 5" }),
    svg("rect", { class: "is", x: 183, y: 1, width: 132, height: 58, rx: 6 }), rest(196, 20, 74), rest(196, 40, 34),
    svg("path", { class: "new", d: "M238 40h40" }));
}

lens.viewers.outcome = ({ element, props, watch, trigger }) => {
  const said = make("div", "spoken");
  said.setAttribute("role", "status");
  mount(element, props, watch, (root, value) => {
    root.dataset.state = value.state;
    if (value.state === "empty") {
      refill(root, make("div", "empty", drawing(), make("p", "", phrase(value.how))), said);
      said.textContent = "";
      return;
    }
    const lost = refill(root, headOf(value), howOf(value), pairsOf(value), notesOf(value.notes), actionsOf(value.actions, trigger), said);
    const found = [value.pill, value.light].filter(Boolean).map(({ text }) => phrase(text)).join(". ");
    if (said.textContent !== found) said.textContent = found;
    // What was used or undone may have taken its button along.
    if (lost) root.querySelector(".action")?.focus({ preventScroll: true });
  });
};
