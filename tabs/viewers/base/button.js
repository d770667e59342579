// Buttons, and the menus that some of them open.
const { make, phrase, t } = lens;
const ICONS = { good: "✓", check: "▲", poor: "✕" };

// A verdict, {"state", "text"}: an icon and words.
function badge(verdict) {
  if (!verdict) return null;
  const icon = make("span", "", `${ICONS[verdict.state]} `);
  icon.setAttribute("aria-hidden", "true");
  return make("span", `badge ${verdict.state}`, icon, phrase(verdict.text));
}

// `label`: a text, an element or several; `focus`: the name under which the focus comes back when the
// viewer is drawn again; `title`: what a sign means.
function button(className, label, act, { focus, title } = {}) {
  const box = make("button", className, ...[label].flat());
  box.type = "button";
  if (focus) box.dataset.focus = focus;
  if (title) {
    box.title = title;
    box.setAttribute("aria-label", title);
  }
  box.addEventListener("click", act);
  return box;
}

function closeButton(act, className = "close") {
  const box = button(className, "×", act);
  box.setAttribute("aria-label", t("page.close"));
  return box;
}

// A button with a menu; `items`: {name: text}. `choose` is called with the name of the pressed item.
function menu(className, label, items, choose) {
  const opener = button(className, [label, make("span", "arrow", "▾")], () => {
    show(list.hidden);
    if (!list.hidden) entries[0].focus();
  }, { focus: className });
  opener.setAttribute("aria-haspopup", "menu");
  const entries = Object.entries(items).map(([name, text]) => {
    const entry = button("", text, () => {
      close();
      choose(name);
    });
    entry.tabIndex = -1;
    entry.dataset.item = name;
    entry.setAttribute("role", "menuitem");
    return entry;
  });
  const list = make("div", "menu", ...entries);
  list.setAttribute("role", "menu");
  list.setAttribute("aria-label", label);

  function show(open) {
    list.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
  }
  function close() {
    show(false);
    opener.focus();
  }
  const step = (by) => entries.at((entries.indexOf(document.activeElement) + by) % entries.length).focus();
  const keys = { Escape: close, ArrowDown: () => step(1), ArrowUp: () => step(-1),
    Home: () => entries[0].focus(), End: () => entries.at(-1).focus() };

  show(false);
  const box = make("div", "menu-box", opener, list);
  box.addEventListener("keydown", (event) => {
    if (list.hidden || !keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  box.addEventListener("focusout", ({ relatedTarget }) => !box.contains(relatedTarget) && show(false));
  return box;
}

Object.assign(lens, { badge, button, closeButton, menu });
