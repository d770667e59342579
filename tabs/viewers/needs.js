// Two sides of every part of a prompt: how much is looked there, and what the prediction loses without it.
// Takes {"title", "how", "tokens": [record], "rows": [{"at": [positions], "left", "right", "error" (standard),
// "before", "flip": the prediction is another one without it}], "left", "right": phrases of the two sides,
// "left_format": "percent" | "number" | "times", "target": vocabulary entry, "badge": {"state", "text"}, "notes": [phrase], "missing": phrase shown
// instead}. A row without numbers is behind the query. Triggers "choose" {position} and "measure" {}.
const { button, chip, heading, make, mount, number, percent, phrase, recordChip, refill, seen, signed, t, tokenText } = lens;

const [ROOM, CHARACTER] = [62, 7]; // px beside the bars at least, and of a figure
const LONGEST = 40; // rows; of more, the largest on either side

const size = ({ left, right }) => [Math.abs(left ?? 0), Math.abs(right ?? 0)];

function kept(rows) {
  if (rows.length <= LONGEST) return rows;
  const places = [0, 1].map((side) => [...rows].sort((a, b) => size(b)[side] - size(a)[side]).slice(0, LONGEST / 2));
  const chosen = new Set(places.flat());
  return rows.filter((row) => chosen.has(row));
}

const share = (value, most) => (most > 0 ? Math.min(1, Math.abs(value ?? 0) / most) : 0);

// Bars that start at the token, with the number at their tip.
function half(side, text, bars, most) {
  const shares = bars.map(([, value]) => share(value, most));
  const plot = make("span", "plot", ...bars.map(([className], i) => {
    const box = make("span", `bar ${className}`);
    box.style.width = `${(100 * shares[i]) / Math.max(...shares, 1e-9)}%`;
    return box;
  }));
  plot.style.setProperty("--share", Math.max(...shares, 0));
  return make("span", `half ${side}`, plot, make("span", "value", text));
}

function tokenOf({ tokens }, at) {
  if (at.length === 1) return recordChip(tokens[at[0]]);
  const [first] = at.map((i) => tokens[i]);
  const same = at.every((i) => tokens[i].cluster === first.cluster);
  return make("span", "chip", tokenText(same ? first.cluster_text : at.map((i) => tokens[i].text).join("")));
}

function rowOf(value, row, most, choose) {
  const write = (x) => lens.amount(value.left_format, x, 2);
  const { at, left, right, error, before, flip } = row;
  const spread = error ? ` ± ${number(error, 2)}` : "";
  const leftText = left === null ? "–" : write(left);
  const rightText = right === null ? "–" : `${signed(right, 2)}${spread}`;
  const name = tokenOf(value, at);
  const bars = right === null ? [] : [[right < 0 ? "lowers" : "raises", right]];
  if (before !== undefined && before !== null) bars.push(["before", before]);
  const box = button("need", [
    half("left", leftText, left ? [["looks", left]] : [], most.left), name,
    half("right", rightText, bars, most.right), make("span", "flip", flip ? "⇄" : ""),
  ], () => choose(at.at(-1)), { focus: `need-${at[0]}` });
  const facts = [seen(name), `${phrase(value.left)} ${leftText}`, `${phrase(value.right)} ${rightText}`];
  if (flip) facts.push(t("needs.flip"));
  box.title = facts.slice(1).join("\n");
  box.setAttribute("aria-label", facts.join(", "));
  return box;
}

function headOf(value) {
  const right = make("span", "", phrase(value.right));
  if (value.target) right.append(" · ", chip(value.target));
  return make("div", "need ends", make("span", "half left", make("span", "", phrase(value.left))), make("span"), make("span", "half right", right), make("span", "flip"));
}

lens.viewers.needs = ({ element, props, watch, trigger }) =>
  mount(element, props, watch, (root, value) => {
    const title = heading(value.title, value.how);
    if (value.missing) {
      const act = button("measure", t("needs.measure"), () => trigger("measure", {}), { focus: "measure" });
      return refill(root, title, make("p", "missing", phrase(value.missing)), act);
    }
    const rows = kept(value.rows);
    const largest = (name) => Math.max(0, ...rows.map((row) => Math.abs(row[name] ?? 0)));
    const most = { left: largest("left"), right: Math.max(largest("right"), largest("before")) };
    const list = make("div", "rows", ...rows.map((row) => rowOf(value, row, most, (position) => trigger("choose", { position }))));
    const longest = Math.max(0, ...[...list.querySelectorAll(".value")].map(({ textContent }) => textContent.length));
    list.style.setProperty("--room", `${Math.max(ROOM, CHARACTER * longest + 10)}px`);
    const left = value.rows.length - rows.length;
    const notes = [left ? t("needs.left_out", { count: left }) : null, rows.some(({ flip }) => flip) ? t("needs.flips") : null,
      ...(value.notes ?? []).map(phrase)].filter(Boolean);
    return refill(root, title, headOf(value), list, lens.badge(value.badge), make("div", "notes", ...notes.map((note) => make("span", "", note))));
  });
