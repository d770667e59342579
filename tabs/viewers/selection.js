// The head of the inspector: what is selected, its figures, what was measured, and what can be done. Takes
// {"kicker", "from": {"token": record, "label"}, "to" (null for a node), "facts": [{"label", "value"}],
// "measured": {"rows": [{"label", "value"}], "text"}, "actions": [{"name", "label"}], "note"}. Triggers
// the name of the pressed action: "verify", "verify_head" (of one head only) or "root".
const { button, chip, make, mount, phrase, recordChip, refill, t } = lens;

function end({ token, label }) {
  const words = phrase(label);
  return make("span", "end", token ? recordChip(token) : null, token && words ? " " : null, words ? make("span", "label", words) : null);
}

function subject({ from, to }) {
  const box = make("p", "subject", end(from));
  if (!to) return box;
  const arrow = make("span", "arrow", "→");
  arrow.setAttribute("role", "img");
  arrow.setAttribute("aria-label", t("selection.to"));
  box.append(" ", arrow, " ", end(to));
  return box;
}

// A text, or a token with a text behind it.
function amount(value) {
  return value?.entry ? make("dd", "", chip(value.entry), " ", value.text) : make("dd", "", phrase(value));
}

function facts(rows) {
  if (!rows?.length) return null;
  return make("dl", "facts", ...rows.map(({ label, value }) => make("div", "fact", make("dt", "", phrase(label)), amount(value))));
}

function measuredOf(measured) {
  if (!measured) return null;
  const text = measured.text ? make("p", "text", phrase(measured.text)) : null;
  return make("div", "measured", make("h3", "", t("selection.measured")), facts(measured.rows), text);
}

function actionsOf(actions, trigger) {
  if (!actions?.length) return null;
  const buttons = actions.map(({ name, label }) => button("action", phrase(label), () => trigger(name, {}), { focus: name }));
  return make("div", "actions", ...buttons);
}

lens.viewers.selection = ({ element, props, watch, trigger }) => {
  const said = make("div", "spoken");
  said.setAttribute("role", "status");
  mount(element, props, watch, (root, value) => {
    const note = value.note ? make("p", "note", phrase(value.note)) : null;
    const lost = refill(root, make("h2", "kicker", phrase(value.kicker)), subject(value), facts(value.facts),
      measuredOf(value.measured), actionsOf(value.actions, trigger), note, said);
    said.textContent = phrase(value.measured?.text); // the answer to a button
    // What was measured took the place of its button.
    if (lost) root.querySelector(".action")?.focus({ preventScroll: true });
  });
};
