// How a prompt and the words it should be followed by are read, before anything runs. Takes {"prompt": [token
// records] or null, "target": [token records], "as_written": whether the whole typed in one go has the same
// tokens, "add_space": whether a space between the two is probably missing, "text": a hint or an error that
// is shown instead, "tone": "check" or "poor" of that text}. Triggers "space" {}.
const { button, make, mount, phrase, recordChip, refill, t } = lens;

const BEFORE = 16; // tokens of the prompt: its end is what counts
const LONGEST = 48; // tokens of the target
const ICONS = { check: "▲", poor: "✕" };

function chipOf(token) {
  const box = recordChip(token);
  const lines = [token.text, t("token_strip.id", { id: token.id })];
  if (token.bytes_hex) lines.push(t("token_strip.bytes", { bytes: token.bytes_hex.toUpperCase() }));
  box.title = lines.join("\n");
  return box;
}

// A word that says what the tokens are, the tokens, and what stands before or behind them.
function line(kind, name, tokens, { before = null, behind = null }) {
  const chips = make("span", "chips", before, ...tokens.map(chipOf), behind);
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", name);
  return make("div", `line ${kind}`, make("span", "name", name), chips);
}

const note = (text) => make("span", "note", text);
const countText = ({ length }) => t(length === 1 ? "target.one" : "target.count", { count: length });

function promptLine(tokens) {
  const hidden = tokens.length - BEFORE;
  const before = hidden > 0 ? note(t("target.earlier", { count: hidden })) : null;
  return line("prompt", t("target.after"), tokens.slice(-BEFORE), { before });
}

function targetLine(tokens) {
  const hidden = tokens.length - LONGEST;
  const behind = make("span", "behind", hidden > 0 ? note(t("target.later", { count: hidden })) : null, note(countText(tokens)));
  return line("target", t("target.say"), tokens.slice(0, LONGEST), { behind });
}

// What there is to know, with the button that mends it.
function remark(tone, text, ...more) {
  const icon = tone in ICONS ? make("span", "icon", ICONS[tone]) : null;
  icon?.setAttribute("aria-hidden", "true");
  return make("div", `remark ${tone}`, make("p", "", icon, text), ...more);
}

lens.viewers.target = ({ element, props, watch, trigger }) => {
  const said = make("div", "spoken");
  said.setAttribute("role", "status");
  mount(element, props, watch, (root, value) => {
    const { add_space: noSpace, as_written: asWritten, prompt, target, text, tone } = value;
    if (text || !prompt) {
      refill(root, text ? remark(tone in ICONS ? tone : "quiet", phrase(text)) : null, said);
      said.textContent = phrase(text);
      return;
    }
    const missing = noSpace ? t("target.no_space") : "";
    const split = asWritten || noSpace ? "" : t("target.other_tokens");
    const add = () => button("add", t("target.add_space"), () => trigger("space", {}), { focus: "space" });
    refill(root, make("div", "lines", promptLine(prompt), targetLine(target)), missing ? remark("check", missing, add()) : null,
      split ? remark("quiet", split) : null, said);
    // Said once it is read, not with every letter that is typed.
    said.textContent = [countText(target), missing, split].filter(Boolean).join(". ");
  });
};
