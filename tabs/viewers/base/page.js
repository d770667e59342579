// The page around the viewers: who has run what, links, messages between components, keys.
const BAR = ["model", "prompt", "template", "edit"];
const shell = { again: false, tab: null, bar: null, goal: null, ran: {}, tabs: {}, wanted: null, waiting: null };
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// A message from one component to the viewer whose elem_id it names; nothing goes to the server.
function tell(id, topic, data) {
  document.dispatchEvent(new CustomEvent(`lens:${topic}`, { detail: { id, data } }));
}

function listen(element, topic, act) {
  document.addEventListener(`lens:${topic}`, ({ detail }) => {
    if (element.closest(`#${CSS.escape(detail.id)}`)) act(detail.data);
  });
}

// What of the bar is not what a tab's result was made with, by name.
function changedSince(tab) {
  const [ran, reads] = [shell.ran[tab], shell.tabs[tab]?.reads ?? BAR];
  return ran && shell.bar ? BAR.filter((name, i) => reads.includes(name) && !same(ran[i], shell.bar[i])) : [];
}

// Results that belong to another prompt, model or edit than the bar shows are veiled.
function refresh() {
  const changed = changedSince(shell.tab);
  document.body.dataset.lensStale = changed.join(" ");
  document.dispatchEvent(new CustomEvent("lens:stale", { detail: changed }));
}

// Run the analysis of the tab that is open.
function run() {
  const open = shell.tabs[shell.tab];
  if (open) open.start();
  else shell.wanted = shell.tab;
}

// Run now, or as soon as what is running has ended.
function runAgain() {
  if (document.body.dataset.lensState === "busy") shell.again = true;
  else run();
}

// What the bar says now: [model, prompt, template, edit].
function setBar(values) {
  shell.bar = values;
  refresh();
}

// A tab was opened: what another one ran, this one has too.
function openTab(name) {
  shell.tab = name;
  refresh();
  if (!goOn()) catchUp();
}

// Run what another tab ran, once the open one is there to say what it shows already.
function catchUp() {
  const { bar, ran, tab, tabs } = shell;
  if (!bar || !tabs[tab] || tabs[tab].asks || (ran[tab] && !changedSince(tab).length)) return;
  if (Object.keys(ran).some((other) => other !== tab && !changedSince(other).length)) run();
}

// Do something as soon as a tab is there, the one that is named where one is; before, its controls take
// no values.
function whenOpen(act, goal = null) {
  Object.assign(shell, { goal, waiting: act });
  goOn();
}

// What waits for the tab that is to be open.
function goOn() {
  const { goal, tab, waiting } = shell;
  if (!waiting || !tab || (goal && (goal !== tab || !shell.tabs[tab]))) return false;
  Object.assign(shell, { goal: null, waiting: null });
  waiting();
  return true;
}

// The page is there, with what its address asked for: run it, or what the first tab lacks.
function arrive(names, values) {
  setBar(values);
  const asked = new URLSearchParams(location.search);
  whenOpen(() => {
    if (shell.tabs[shell.tab]?.asks) return;
    if (names.some((name) => asked.has(name)) || !same(shell.ran[shell.tab], shell.bar)) run();
  });
}

// A tab's own run trigger, known once the tab is mounted.
function register(name, { start, ran, reads, asks }) {
  shell.tabs[name] = { start, reads, asks };
  if (ran) shell.ran[name] = ran;
  shell.tab ??= name;
  refresh();
  if (goOn() || shell.tab !== name) return;
  if (shell.wanted !== name) return catchUp();
  shell.wanted = null;
  start();
}

function setRan(name, values) {
  shell.ran[name] = values;
  refresh();
  const { again } = shell;
  shell.again = false;
  if (again) setTimeout(run, 0); // once the result is drawn
}

// The address that brings back what the page shows: the values that are not the defaults, by name.
function link(defaults, values, extra = {}) {
  const query = new URLSearchParams();
  Object.entries(defaults).forEach(([name, usual], i) => {
    const value = values[i] ?? "";
    if (name === "prompt" || String(value) !== String(usual ?? "")) query.set(name, String(value));
  });
  if (shell.tab) query.set("tab", shell.tab);
  const kept = new URLSearchParams(location.search);
  for (const name of ["lang", "__theme"]) if (kept.has(name)) query.set(name, kept.get(name));
  for (const [name, value] of Object.entries(extra)) query.set(name, value);
  const base = lens.options.home ?? `${location.origin}${location.pathname}`;
  return `${base}?${query}`;
}

// After a run the address says what is shown, so that a reload brings it back.
function keep(defaults, values) {
  const query = link(defaults, values).split("?")[1];
  history.replaceState(history.state, "", `?${query}`);
}

function go(defaults, values, language) {
  const query = link(defaults, values, { lang: language }).split("?")[1];
  location.search = `?${query}`; // within a frame as well
}

// On a phone the inspector rises from the foot of the page when something is selected.
function openSheet() {
  if (window.innerWidth > 640) return;
  const inspector = [...document.querySelectorAll(".lens-inspector")].find((one) => one.clientWidth);
  if (!inspector) return;
  if (!inspector.querySelector(".lens-sheet-close")) {
    inspector.prepend(lens.closeButton(closeSheet, "lens-sheet-close"));
  }
  for (const card of document.querySelectorAll(":is(.lens-heatmap, .lens-graph) .card")) card.remove();
  document.body.dataset.lensSheet = "open";
}

function closeSheet() {
  delete document.body.dataset.lensSheet;
}

// On its way down, since what has the focus may keep the key to itself.
document.addEventListener("keydown", (event) => event.key === "Escape" && closeSheet(), true);

// Ctrl/Cmd+Enter anywhere runs; blur first, so that the prompt's value is committed.
document.addEventListener(
  "keydown",
  (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter") return;
    const button = document.querySelector("button.lens-run");
    if (!button || button.disabled) return;
    event.preventDefault();
    if (event.repeat) return event.stopPropagation(); // a key that is held runs once
    event.stopPropagation();
    if (event.target.blur) event.target.blur();
    setTimeout(() => button.click(), 0);
  },
  true,
);

Object.assign(lens, { arrive, go, keep, link, listen, openSheet, openTab, refresh, register, run, runAgain, setBar, setRan, shell, tell, whenOpen });
