// Which tokens something promotes and suppresses, as two columns of bars on one scale. Takes {"title",
// "how", "promoted": [{"entry", "value"}], "suppressed": [...], "unit": of the values}.
const { chip, heading, make, mount, phrase, refill, signed, t } = lens;
const SIDES = { promoted: "▲", suppressed: "▼" };

// Small values with as many digits as the largest of them needs.
function digitsOf(largest) {
  return largest > 0 ? Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(largest)))) : 2;
}

function rowOf({ entry, value }, largest) {
  const bar = make("span", "bar");
  bar.style.width = `${(100 * Math.abs(value)) / (largest || 1)}%`;
  return make("li", "row", chip(entry), make("span", "rail", bar), make("span", "value", signed(value, digitsOf(largest))));
}

function sideOf(name, rows, unit, largest) {
  const icon = make("span", "arrow", SIDES[name]);
  icon.setAttribute("aria-hidden", "true");
  const words = t(`pushed.${name}`);
  const title = make("h3", "", icon, " ", words);
  const list = make("ul", "rows", ...rows.map((row) => rowOf(row, largest)));
  list.setAttribute("aria-label", `${words}, ${unit}`);
  return make("div", `side ${name}`, make("div", "head", title, make("span", "unit", unit)), list);
}

lens.viewers.pushed = ({ element, props, watch }) => {
  mount(element, props, watch, (root, value) => {
    const sides = Object.keys(SIDES).filter((name) => value[name].length);
    const largest = Math.max(0, ...sides.flatMap((name) => value[name].map((row) => Math.abs(row.value))));
    const drawn = sides.map((name) => sideOf(name, value[name], phrase(value.unit), largest));
    refill(root, heading(value.title, value.how), make("div", "sides", ...drawn));
  });
};
