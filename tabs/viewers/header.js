// The top of the page. Takes {"languages": {code: name}, "tabs": [name]}. Triggers "open" when the address
// names a tab, and once that is there "restore" when it asks for something, else "arrive". "link" and "language" are answered in the
// browser: the page hands the values of its controls to `lens.viewers.header.link` and `.language`.
const { language, link, go, make, mount, svg, t, whenOpen } = lens;
let said = null;
let asked = language;

// A magnifying glass over a small network.
function logo() {
  const lines = svg("path", { d: "M9 15l4-5 4 5M13 10v6", class: "wire" });
  const dots = [[9, 15, "a"], [13, 9.5, "b"], [17, 15, "c"], [13, 16.5, "b"]].map(([cx, cy, c]) =>
    svg("circle", { cx, cy, r: 1.9, class: `dot-${c}` }),
  );
  const glass = svg("circle", { cx: 13, cy: 13, r: 9.5, class: "glass" });
  const handle = svg("path", { d: "M20 20l7 7", class: "handle" });
  return svg("svg", { viewBox: "0 0 30 30", class: "logo", "aria-hidden": "true" }, glass, handle, lines, ...dots);
}

function picker(languages, choose) {
  const select = make("select", "language");
  select.setAttribute("aria-label", t("page.language"));
  for (const [code, name] of Object.entries(languages)) {
    const option = make("option", "", name);
    option.value = code;
    option.lang = code;
    option.selected = code === language;
    select.append(option);
  }
  select.addEventListener("change", () => choose(select.value));
  return select;
}

lens.viewers.header = ({ element, props, watch, trigger }) => {
  const address = new URLSearchParams(location.search);
  const plain = [...address.keys()].every((name) => ["lang", "__theme"].includes(name));
  const goal = JSON.parse(props.value).tabs.includes(address.get("tab")) ? address.get("tab") : null;
  const later = (name) => setTimeout(() => trigger(name, {}), 0);
  whenOpen(() => {
    if (goal) later("open");
    whenOpen(() => later(plain ? "arrive" : "restore"), goal);
  });
  mount(element, props, watch, (root, { languages }) => {
    const share = make("button", "share", t("page.share"));
    share.type = "button";
    share.addEventListener("click", () => trigger("link", {}));
    said = make("span", "said");
    said.setAttribute("role", "status");
    const choose = (code) => {
      asked = code;
      trigger("language", {});
    };
    const title = make("div", "title", logo(), make("h1", "", "LM Lens"), make("p", "", t("page.tagline")));
    root.replaceChildren(title, make("div", "tools", said, share, picker(languages, choose)));
  });
};

lens.viewers.header.language = (defaults, values) => go(defaults, values, asked);

// Copy the link; where the browser forbids it (in a frame), show it to be copied by hand.
lens.viewers.header.link = async (defaults, values) => {
  const address = link(defaults, values);
  try {
    await navigator.clipboard.writeText(address);
    said.replaceChildren(t("page.copied"));
  } catch {
    const field = make("input", "address");
    field.readOnly = true;
    field.value = address;
    field.setAttribute("aria-label", t("page.share"));
    said.replaceChildren(field);
    field.select();
  }
};
