// Facts as lines of a name and a value, and what can be done. Takes {"title", "rows": [{"label" or
// "entry": vocabulary entry, "value": text, phrase, or {"entries": [vocabulary entry], "token": record}}],
// "badge": {"state", "text"}, "buttons": [{"name", "label", "entry"}], "note": phrase}. Triggers "act" {name}.
const { button, chip, heading, make, mount, phrase, recordChip, refill } = lens;

function valueOf(value) {
  if (value === null || typeof value !== "object" || value.key) return phrase(value);
  if (value.token) return recordChip(value.token);
  return make("span", "chips", ...value.entries.map(chip));
}

lens.viewers.facts = ({ element, props, watch, trigger }) =>
  mount(element, props, watch, (root, { title, rows, badge, buttons, note }) => {
    const lines = rows.flatMap(({ label, entry, value }) =>
      [make("dt", "", entry ? chip(entry) : phrase(label)), make("dd", "", valueOf(value))]);
    const list = (buttons ?? []).map(({ name, label, entry }) =>
      button("", [phrase(label), entry ? " " : null, entry ? chip(entry) : null].filter(Boolean), () => trigger("act", { name }), { focus: name }));
    refill(root, title ? heading(title, null) : null, lines.length ? make("dl", "", ...lines) : null, lens.badge(badge),
      note ? make("p", "note", phrase(note)) : null, list.length ? make("div", "buttons", ...list) : null);
  });
