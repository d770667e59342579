// What is being done, or what went wrong and what to do. Takes {"state", "title", "text", "done",
// "total", "actions": [{"name", "text", "limit"}], "ran": {"tab", "bar"}}. States: "loading" while the model
// stack comes up, then "ready"; "busy" during a run, which dims the results below; then "done",
// "stopped", "error", or "off" for a feature that would be wrong. Events: "stop", "shorten".
const { button, make, mount, phrase, refill, t } = lens;
const ICONS = { error: "✕", off: "▲", stale: "↻", stopped: "■" };
const LOUD = ["busy", "loading", "error", "off", "stale", "stopped"];
let began = null;
let latest = {};

const control = (text, act, className = "") => button(className, text, act, { focus: className || text });

function seconds(value) {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

// How far a run is: a bar where it can be told, the time it took and the time it will take.
function progress(root) {
  const clock = make("span", "clock");
  const tick = () => {
    if (!clock.isConnected && clock.dataset.drawn) return;
    clock.dataset.drawn = "1";
    const { done, total } = latest;
    const passed = (performance.now() - began) / 1000;
    const left = done ? (passed * (total - done)) / done : null;
    clock.textContent =
      left === null || left < 1
        ? t("status.passed", { seconds: seconds(passed) })
        : t("status.left", { seconds: seconds(passed), left: seconds(left) });
    setTimeout(tick, 250);
  };
  root.append(clock, make("div", "rail", make("span", "bar")));
  tick();
}

// The words and the bar of what is drawn already: Stop stays the button it was, under the pointer too.
function tell(root, { text, done, total }) {
  root.querySelector(".text").textContent = phrase(text);
  root.querySelector(".bar").style.width = `${(100 * (done ?? 0)) / (total || 1)}%`;
  root.querySelector(".rail").classList.toggle("unknown", !total);
}

function focusPrompt() {
  document.querySelector(".lens-prompt textarea")?.focus();
}

lens.viewers.status = ({ element, props, watch, trigger }) => {
  const ACTIONS = { shorten: ({ limit }) => trigger("shorten", { limit }), prompt: focusPrompt, run: () => lens.run() };

  function stop() {
    lens.shell.stopping = true;
    trigger("stop", {});
  }

  function draw(root, status) {
    const known = document.body.dataset.lensState;
    // The model stack may be ready while something else is being said already.
    if (["ready", "loading"].includes(status.state) && ![undefined, "loading"].includes(known)) return undefined;
    // What was still on its way when Stop was pressed.
    if (status.state === "busy" && lens.shell.stopping) return undefined;
    const waits = status.state === "busy" || status.state === "loading";
    if (waits && known !== status.state) began = performance.now();
    latest = status;
    if (waits && root.querySelector(`.status.${status.state}`)) {
      document.body.dataset.lensState = status.state;
      return tell(root, status);
    }
    if (status.ran) lens.setRan(status.ran.tab, status.ran.bar);
    const line = make("div", `status ${status.state}`);
    line.setAttribute("role", status.state === "error" ? "alert" : "status");
    line.append(make("span", "icon", ICONS[status.state] ?? ""));
    line.firstChild.setAttribute("aria-hidden", "true");
    const words = make("div", "words");
    if (status.title) words.append(make("strong", "", phrase(status.title)));
    words.append(make("span", "text", phrase(status.text)));
    line.append(words);
    const actions = (status.actions ?? []).map((action) => control(phrase(action.text), () => ACTIONS[action.name](action)));
    if (actions.length) words.append(make("div", "actions", ...actions));
    if (waits) progress(line);
    if (status.state === "busy") line.append(control(t("status.stop"), stop, "stop"));
    refill(root, line);
    if (waits) tell(root, status);
    root.classList.toggle("quiet", !LOUD.includes(status.state));
    root.dataset.state = status.state;
    // What belongs to the run before is not to be clicked.
    for (const viewer of document.querySelectorAll(".lens-result .lens-viewer")) viewer.inert = status.state === "busy";
    document.body.dataset.lensState = status.state;
    // The bar may have changed while it ran.
    if (status.state === "done" && document.body.dataset.lensStale) lens.refresh();
    return undefined;
  }

  mount(element, props, watch, draw);
  // The browser itself notices that the results below are of another prompt, model or edit.
  document.addEventListener("lens:stale", ({ detail: changed }) => {
    const state = document.body.dataset.lensState;
    if (state === "busy" || state === "loading" || state === "asked") return;
    const root = element.querySelector(".lens-viewer");
    if (!changed.length) {
      if (state === "stale") draw(root, { state: "done", text: "" });
      return;
    }
    const text = t(`status.stale_${changed.length > 1 ? "several" : changed[0]}`);
    draw(root, { state: "stale", text, actions: [{ name: "run", text: t("status.again") }] });
  });
};
