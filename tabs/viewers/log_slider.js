// A number between `low` and `high` on a logarithmic track, with a field beside it. The value is the
// JSON text of a plain number, so the component can be the input of an event. `label` (words or their key), `low`, `high`
// and `digits` (significant ones) are keyword arguments of the component. Triggers "release" {value}
// when a change is over; the component has the new value by then.
const { make, mount, t } = lens;
const SETTLED = 200; // ms after the last key
const LEAP = 0.1; // of the track, for Page Up and Page Down
const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };

let made = 0;

// The numbers that the track holds, and where they are on it, 0..1.
function scaleOf({ low, high, digits = 2 }) {
  const rounded = (value) => Number(value.toPrecision(digits));
  const clamped = (value) => Math.min(high, Math.max(low, rounded(value)));
  const at = (value) => Math.log(value / low) / Math.log(high / low);
  const from = (share) => clamped(low * (high / low) ** share);
  // The next number of as many digits; going down from a power of ten, the steps are ten times finer.
  const next = (value, direction) => {
    const power = Math.floor(Math.log10(value) + 1e-9);
    const step = 10 ** (power - digits + 1);
    const finer = direction < 0 && value - step / 2 < 10 ** power ? step / 10 : step;
    return clamped(value + direction * finer);
  };
  return { at, clamped, from, high, low, next };
}

// Where a key leads; null for a key that does nothing.
function moved(scale, value, key) {
  if (key in STEPS) return scale.next(value, STEPS[key]);
  if (key === "Home") return scale.low;
  if (key === "End") return scale.high;
  const leap = { PageUp: LEAP, PageDown: -LEAP }[key];
  return leap ? scale.from(scale.at(value) + leap) : null;
}

// A typed number as the scale takes it, and what is to be said of it; a decimal comma is one as well.
function typed(scale, text) {
  const number = Number(text.trim().replace(",", ".") || NaN);
  if (!Number.isFinite(number)) return { said: t("log_slider.no_number", { text: text.trim() }) };
  const { low, high } = scale;
  const over = number < low ? "below" : number > high ? "above" : null;
  return { value: scale.clamped(number), said: over && t(`log_slider.${over}`, { value: text.trim(), low, high }) };
}

// The parts, made once: a new value only moves them, so that what has the focus keeps it.
function makeParts(label) {
  const name = make("label", "name", label);
  const track = make("input", "track");
  const field = make("input", "number");
  const said = make("span", "said");
  const id = `lens-log-slider-${(made += 1)}`;
  Object.assign(track, { type: "range", id, min: 0, max: 1, step: "any" });
  Object.assign(field, { type: "text", inputMode: "decimal", autocomplete: "off" });
  name.htmlFor = id;
  said.id = `${id}-said`;
  said.setAttribute("role", "status");
  field.setAttribute("aria-label", t("log_slider.field", { label }));
  field.setAttribute("aria-describedby", said.id);
  return { name, track, field, said };
}

lens.viewers.log_slider = ({ element, props, watch, trigger }) => {
  const scale = scaleOf(props);
  const parts = makeParts(t(props.label ?? ""));
  const { track, field, said } = parts;
  let [shown, sent, waiting] = [null, null, null];

  function show(value, { share = scale.at(value) } = {}) {
    shown = value;
    track.value = share;
    track.style.setProperty("--share", share);
    track.setAttribute("aria-valuetext", String(value));
    field.value = String(value);
  }

  function say(text) {
    said.textContent = text ?? "";
    field.setAttribute("aria-invalid", String(Boolean(text)));
  }

  function commit() {
    clearTimeout(waiting);
    waiting = null;
    if (shown === sent) return;
    sent = shown;
    props.value = JSON.stringify(sent);
    trigger("release", { value: sent });
  }

  function enter() {
    if (field.value === String(shown)) return;
    const found = typed(scale, field.value);
    show(found.value ?? shown);
    say(found.said);
    commit();
  }

  // While it is dragged the thumb stays under the pointer; it snaps to the number afterwards.
  track.addEventListener("input", () => {
    say(null);
    show(scale.from(Number(track.value)), { share: Number(track.value) });
  });
  track.addEventListener("change", () => {
    show(shown);
    commit();
  });
  track.addEventListener("keydown", (event) => {
    const { altKey, ctrlKey, key, metaKey } = event;
    const value = altKey || ctrlKey || metaKey ? null : moved(scale, shown, key);
    if (value === null) return;
    event.preventDefault();
    say(null);
    show(value);
    clearTimeout(waiting);
    waiting = setTimeout(commit, SETTLED);
  });
  track.addEventListener("blur", () => waiting && commit());
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) enter();
    if (event.key === "Escape") {
      show(shown);
      say(null);
    }
  });
  field.addEventListener("blur", enter);

  mount(element, props, watch, (root, value) => {
    if (!root.firstChild) root.append(...Object.values(parts));
    if (value === sent) return; // what was sent from here; the person may be further by now
    clearTimeout(waiting);
    sent = value;
    show(value);
    say(null);
  });
};
