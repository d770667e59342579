// The edits of a session: switched on and off, made stronger or weaker, saved, removed. Takes {"title", "how",
// "items": [{"name", "label": text, "facts": [phrase], "pill": {"tone", "text"} or null, "on", "strength",
// "holds": phrase or null, "new": whether it has just been made}], "total": phrase or null, "banner":
// {"tone", "text"} or null (what all of them together do), "empty": phrase}. The items are drawn in the order
// in which they come. Triggers "switch" {index, name, on}, "strength" {index, name, value} when a change is over,
// "save" and "undo" {index, name}, and "open" {}; the name says which edit, whatever else has come meanwhile.
const { button, heading, make, mount, phrase, pill, refill, t } = lens;

const MOST = 1.5;
const STEP = 0.05;
const SETTLED = 300; // ms after the last key
const ICONS = { good: "✓", check: "▲", poor: "✕" };

const said = (strength) => `${Math.round(100 * strength)}%`;

function bannerOf(banner) {
  if (!banner) return null;
  const icon = make("span", "icon", ICONS[banner.tone] ?? "");
  icon.setAttribute("aria-hidden", "true");
  const box = make("p", `banner ${banner.tone}`, icon, make("span", "", phrase(banner.text)));
  box.setAttribute("role", "status");
  return box;
}

function headOf({ label, new: isNew, pill: state }) {
  const name = make("h3", "", make("bdi", "", label));
  if (isNew) name.append(" ", make("span", "new", t("edit_list.new")));
  return make("div", "head", name, state ? pill(state.tone, state.text) : null);
}

function switchOf({ label, name, on }, act) {
  const words = make("span", "words", t("edit_list.use"));
  const box = button("switch", [make("span", "knob"), words], () => act(!on), { focus: `switch-${name}` });
  box.setAttribute("role", "switch");
  box.setAttribute("aria-checked", String(on));
  box.setAttribute("aria-description", label);
  return box;
}

// A button of one edit; to those who do not see it, it says which.
function toolOf(kind, { label, name }, act) {
  const box = button("tool", t(`edit_list.${kind}`), act, { focus: `${kind}-${name}` });
  box.setAttribute("aria-description", label);
  return box;
}

lens.viewers.edit_list = ({ element, props, watch, trigger }) => {
  const root = element.querySelector(".lens-viewer");
  // `moving`: the slider that is being moved. A value that comes meanwhile waits, so that it is not torn away.
  let [shown, moving, late, waiting] = [null, null, null, null];

  // Shown at once; the component has it, too, so that an answer which says otherwise is another value.
  function change(index, changes) {
    const items = shown.items.map((item, at) => (at === index ? { ...item, ...changes } : item));
    props.value = JSON.stringify({ ...shown, items });
  }

  function settle() {
    clearTimeout(waiting);
    const { name, sent, track } = moving;
    const value = Number(track.value);
    if (late) draw(late);
    [moving, waiting, late] = [null, null, null];
    const index = shown.items.findIndex((item) => item.name === name);
    if (value === sent || index < 0) return;
    change(index, { strength: value });
    trigger("strength", { index, name, value });
  }

  function sliderOf({ label, name, strength }) {
    const track = make("input", "track");
    const output = make("output", "value");
    Object.assign(track, { type: "range", min: 0, max: MOST, step: STEP, value: strength });
    track.dataset.focus = `strength-${name}`;
    track.setAttribute("aria-description", label);
    const show = () => {
      const value = Number(track.value);
      track.style.setProperty("--share", value / MOST);
      track.setAttribute("aria-valuetext", said(value));
      output.textContent = said(value);
    };
    const begin = () => {
      if (moving?.track !== track) moving = { name, sent: strength, track };
    };
    track.addEventListener("pointerdown", begin);
    track.addEventListener("input", () => {
      begin();
      show();
    });
    // Each key is a change of its own: the keys of one movement are one event.
    track.addEventListener("change", () => {
      begin();
      clearTimeout(waiting);
      waiting = setTimeout(settle, SETTLED);
    });
    // Pressed and let go without a change.
    for (const end of ["pointerup", "pointercancel", "blur"]) {
      track.addEventListener(end, () => setTimeout(() => moving?.track === track && (end === "blur" || waiting === null) && settle()));
    }
    show();
    const words = make("label", "strength", make("span", "words", t("edit_list.strength")), track);
    return make("div", "slider", words, output);
  }

  function itemOf(item, index) {
    const { name } = item;
    const facts = item.facts?.length ? make("p", "facts", item.facts.map(phrase).join(" · ")) : null;
    const holds = item.holds ? make("p", "holds", phrase(item.holds)) : null;
    const use = switchOf(item, (on) => {
      change(index, { on });
      trigger("switch", { index, name, on });
    });
    const tools = ["save", "undo"].map((kind) => toolOf(kind, item, () => trigger(kind, { index, name })));
    const box = make("li", item.on ? "edit on" : "edit", headOf(item), facts, holds,
      sliderOf(item), make("div", "controls", use, make("div", "tools", ...tools)));
    box.setAttribute("aria-label", item.label);
    return box;
  }

  function listOf(items) {
    if (!items.length) return null;
    return make("ul", "edits", ...items.map(itemOf));
  }

  // The nearest control of one that is gone: the same one of the first edit, or the button below.
  function refocus(lost) {
    const kind = lost.split("-")[0];
    const next = root.querySelector(`[data-focus^="${kind}-"]`) ?? root.querySelector(".open");
    next.focus({ preventScroll: true });
  }

  function draw(value) {
    shown = value;
    const empty = value.items.length ? null : make("p", "empty", phrase(value.empty));
    const total = value.total && value.items.length ? make("p", "total", phrase(value.total)) : null;
    const open = button("tool open", t("edit_list.open"), () => trigger("open", {}), { focus: "open" });
    const lost = refill(root, value.title ? heading(value.title, value.how) : null, bannerOf(value.banner), empty,
      listOf(value.items), make("div", "foot", total, open));
    if (lost) refocus(lost);
  }

  mount(element, props, watch, (_, value) => {
    if (moving) late = value;
    else draw(value);
  });
};
