// The tokens whose lines the chart below shows. Takes {"title", "how", "lines": [{"entries": [vocabulary
// entry], "ids", "series": 1..4, or 0 in grey}], "suggested": [{"id", "entry"}], "error"}; a line of several tokens is
// the sum of their probabilities. Triggers "follow" {text} (as typed), "pin" {id}, and "remove", "join"
// (into the line before it) and "split", each {index}.
const { chip, heading, make, mount, phrase, refill, seen, svg, t } = lens;
const DASHES = { 1: "", 2: "6 3", 3: "1.5 3", 4: "7 3 1.5 3" };
const ICONS = {
  remove: "M3.5 3.5l7 7M10.5 3.5l-7 7",
  join: "M6 4H4.5a3 3 0 0 0 0 6H6M8 4h1.5a3 3 0 0 1 0 6H8M5 7h4",
  split: "M1.5 7H5l4-4h3.5M5 7l4 4h3.5",
};

// A piece of the line in the chart: its dash and its marker; lines after the fourth have none.
function seriesMark(series) {
  const line = svg("path", { d: "M1 6H31", "stroke-dasharray": DASHES[series] ?? "1.5 3" });
  const round = series === 1 || series === 3;
  const shape = round ? "M16 2.2a3.8 3.8 0 1 0 .01 0z" : "M16 1.4l4.6 4.6-4.6 4.6-4.6-4.6z";
  const marker = series in DASHES ? [svg("path", { d: shape, class: "marker" })] : [];
  return svg("svg", { viewBox: "0 0 32 12", class: `series series-${series}`, "aria-hidden": "true" }, line, ...marker);
}

function button(kind, index, label, act) {
  const icon = svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("path", { d: ICONS[kind] }));
  return lens.button(kind, icon, () => act(kind, { index }), { focus: `${kind}-${index}`, title: label });
}

// The chips of one line, joined by "+".
function group({ entries }) {
  const chips = entries.map(chip);
  chips.forEach((one, index) => {
    one.title = entries[index].text;
  });
  return make("span", "group", ...chips.flatMap((one, index) => (index ? [make("span", "plus", "+"), one] : [one])));
}

function lineOf(line, index, names, act) {
  const [name, before] = [names[index], names[index - 1]];
  const box = make("li", "line");
  if (index) box.append(button("join", index, t("followed.join", { name, before }), act));
  box.append(seriesMark(line.series), group(line));
  if (line.entries.length > 1) box.append(button("split", index, t("followed.split", { name }), act));
  box.append(button("remove", index, t("followed.remove", { name }), act));
  return box;
}

function suggestionsOf(suggested, act) {
  if (!suggested?.length) return null;
  const buttons = suggested.map(({ id, entry }) => {
    const token = chip(entry);
    const box = lens.button("suggestion", [make("span", "plus", "+"), token], () => act("pin", { id }), { focus: `pin-${id}` });
    box.setAttribute("aria-label", t("followed.pin", { name: seen(token) }));
    return box;
  });
  return make("div", "suggested", make("span", "quiet", t("followed.suggested")), ...buttons);
}

// The field is made once, so that a new value never disturbs what is being typed.
function makeForm(act) {
  const field = make("input", "field");
  const add = make("button", "add", t("followed.add_button"));
  const error = make("p", "error");
  const form = make("form", "", make("label", "", make("span", "quiet", t("followed.add")), field), add, error);
  error.id = `lens-followed-${Math.random().toString(36).slice(2)}`;
  error.setAttribute("role", "alert");
  field.type = "text";
  field.autocomplete = "off";
  field.spellcheck = false;
  field.placeholder = t("followed.example");
  field.setAttribute("autocapitalize", "off");
  field.setAttribute("aria-describedby", error.id);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value === "") return;
    form.dataset.asked = field.value;
    act("follow", { text: field.value });
  });
  // Enter that only ends the input of a Chinese or Japanese word adds nothing.
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.isComposing || event.keyCode === 229)) event.preventDefault();
  });
  return { form, field, error };
}

function answer({ form, field, error }, said) {
  error.textContent = said ? `✕ ${phrase(said)}` : "";
  field.setAttribute("aria-invalid", String(Boolean(said)));
  // Taken: the next token can be typed, unless that has begun already.
  if (!said && field.value === form.dataset.asked) field.value = "";
  delete form.dataset.asked;
}

// What the title of a button says under the pointer, a line beside the field says for the keyboard.
function assemble(root, shown, form) {
  const hint = make("span", "quiet hint");
  hint.setAttribute("aria-hidden", "true");
  form.append(hint);
  root.replaceChildren(shown, form);
  root.addEventListener("focusin", ({ target }) => {
    hint.textContent = target.matches("button:focus-visible") ? target.title : "";
  });
  root.addEventListener("focusout", () => hint.replaceChildren());
}

// The nearest control of one that is gone.
function refocus(root, name, field) {
  const index = Number(name.split("-")[1]);
  const near = [...root.querySelectorAll(".remove")];
  const next = near[Math.min(index, near.length - 1)];
  (name.startsWith("pin") ? root.querySelector(".suggestion") ?? field : next ?? field).focus({ preventScroll: true });
}

lens.viewers.followed = ({ element, props, watch, trigger }) => {
  const act = (name, data) => trigger(name, data);
  const entry = makeForm(act);
  const shown = make("div", "shown");
  mount(element, props, watch, (root, value) => {
    const names = value.lines.map((line) => line.entries.map((one) => seen(chip(one))).join(" + "));
    const title = heading(value.title, value.how);
    const list = make("ul", "lines");
    list.setAttribute("aria-label", t("followed.lines"));
    list.append(...value.lines.map((line, index) => lineOf(line, index, names, act)));
    const lost = refill(shown, title, list, suggestionsOf(value.suggested, act));
    answer(entry, value.error);
    if (!entry.form.isConnected) assemble(root, shown, entry.form);
    if (lost) refocus(root, lost, entry.field);
  });
};
