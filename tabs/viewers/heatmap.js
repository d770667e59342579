// Layers x positions, a token in every cell. Takes {"state": "empty", "examples": [text]}, or
// {"state": "done", "component": name, "hidden": count, "result": the result's JSON}, where `hidden`
// counts the earlier positions that were not read. A click on an example triggers "example" with
// {index}.
const { colour, download, gradient, make, mount, number, percent, recordText, tokenText, vocabText } = lens;

const PARTS = ["attn_out", "mlp_out"]; // these add to logits; they have no probabilities
const WHERE = {
  embed: "the embedding",
  resid_mid: "the stream after attention",
  resid_post: "the block's output",
  attn_out: "what attention adds",
  mlp_out: "what the MLP adds",
};
const COLOURS = {
  probability: { label: "Probability", title: "Probability of the top token, in per cent", scale: "probability" },
  entropy: { label: "Entropy", title: "Entropy (nats)", scale: "amount" },
  kl_final: { label: "KL to final", title: "KL to the final answer (nats)", scale: "amount" },
};
lens.viewers.heatmap = ({ element, props, watch, trigger }) => {
let colourBy = "probability";
let drawAgain = () => {};

// One row a layer, last layer first; the embedding at the bottom.
function rowsOf(result, component) {
  const layers = result.cells[component]?.layers ?? [];
  const rows = layers.map((layer, index) => ({ layer, index, component, label: `L${layer}` }));
  rows.reverse();
  if (result.cells.embed) rows.push({ layer: null, index: 0, component: "embed", label: "embed" });
  return rows;
}

// Everything that a cell shows, read once from the result's columns.
function cellOf(result, row, column) {
  const cells = result.cells[row.component];
  const at = (name) => cells[name]?.[row.index]?.[column] ?? null;
  const entry = (id) => result.vocab[id] ?? { text: String(id), bytes: null };
  const tokens = (ids, amounts) =>
    (at(ids) ?? []).map((id, rank) => ({ entry: entry(id), amount: at(amounts)?.[rank] ?? null }));
  return {
    isPart: PARTS.includes(row.component) && !cells.top_p,
    top: tokens("top_ids", cells.top_p ? "top_p" : "top_logit"),
    bottom: tokens("bottom_ids", "bottom_logit"),
    entropy: at("entropy"),
    kl_final: at("kl_final"),
    rank: at("target_rank"),
    probability: at("max_p"),
  };
}

function share(cell, maximum) {
  if (cell.isPart) return 0.5 + (0.5 * (cell.top[0]?.amount ?? 0)) / (maximum || 1);
  if (colourBy === "probability") return cell.probability ?? 0;
  return (cell[colourBy] ?? 0) / (maximum || 1);
}

const scaleOf = (cell) => (cell.isPart ? "signed" : COLOURS[colourBy].scale);

function shown(cell) {
  if (cell.isPart) return `+${number(cell.top[0]?.amount, 1)}`.replace("+−", "−");
  if (colourBy === "probability") {
    return cell.probability === null ? "–" : String(Math.round(100 * cell.probability));
  }
  return number(cell[colourBy], 1);
}

function bars(tokens, isPart) {
  const largest = Math.max(...tokens.map(({ amount }) => Math.abs(amount ?? 0)), 1e-9);
  const list = make("ul", "bars");
  for (const { entry, amount } of tokens) {
    const bar = make("span", !isPart ? "bar" : amount < 0 ? "bar lowers" : "bar raises");
    bar.style.width = `${100 * (isPart ? Math.abs(amount ?? 0) / largest : (amount ?? 0))}%`;
    const value = isPart ? `${amount > 0 ? "+" : ""}${number(amount)}` : percent(amount);
    list.append(
      make("li", "", make("span", "token", vocabText(entry)), make("span", "rail", bar), make("span", "value", value)),
    );
  }
  return list;
}

function fact(label, value) {
  return make("div", "fact", make("dt", "", label), make("dd", "", value));
}

function card(cell, row, token, position) {
  const box = make("div", "card");
  const place = row.layer === null ? "Embedding of " : `L${row.layer} after `;
  box.append(
    make("div", "head", make("strong", "", place, make("span", "token", recordText(token))),
      make("span", "position", `position ${position}`)),
  );
  box.append(bars(cell.top, cell.isPart));
  if (cell.isPart) box.append(make("p", "note", "Added to the logit. Lowered most:"), bars(cell.bottom, true));
  const facts = make("dl", "facts");
  if (cell.entropy !== null) facts.append(fact("Entropy", `${number(cell.entropy)} nats`));
  if (cell.kl_final !== null) facts.append(fact("KL to the final answer", `${number(cell.kl_final)} nats`));
  if (cell.rank !== null) facts.append(fact("Final token, rank here", String(cell.rank + 1)));
  if (facts.children.length) box.append(facts);
  return box;
}

function legend(first, maximum) {
  const isPart = first.isPart;
  const bar = make("span", "gradient");
  bar.style.background = gradient(scaleOf(first));
  let low = "0";
  let high = "100%";
  if (isPart) [low, high] = [`−${number(maximum, 1)}`, `+${number(maximum, 1)}`];
  else if (colourBy !== "probability") high = number(maximum);
  const title = isPart ? "Most raised token, by how much (logit)" : COLOURS[colourBy].title;
  return make("div", "legend", make("strong", "", title), make("span", "", low), bar, make("span", "", high));
}

function toolbar(result, isPart) {
  const bar = make("div", "toolbar");
  if (!isPart) {
    const group = make("div", "choices");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "Colour by");
    for (const [name, { label }] of Object.entries(COLOURS)) {
      const button = make("button", "", label);
      button.type = "button";
      button.setAttribute("aria-pressed", String(name === colourBy));
      button.addEventListener("click", () => {
        colourBy = name;
        drawAgain();
        element.querySelector("[aria-pressed='true']").focus();
      });
      group.append(button);
    }
    bar.append(make("span", "label", "Colour"), group);
  }
  const save = make("button", "save", "Download JSON");
  save.type = "button";
  save.addEventListener("click", () => download("logit-lens.json", `${JSON.stringify(result, null, 1)}\n`));
  bar.append(save);
  return bar;
}

function drawEmpty(root, value) {
  const list = make("div", "examples");
  value.examples.forEach((example, index) => {
    const button = make("button", "example", tokenText(example));
    button.type = "button";
    button.addEventListener("click", () => trigger("example", { index }));
    list.append(button);
  });
  const ghost = make("div", "ghost");
  ghost.append(...Array.from({ length: 30 }, () => make("span", "")));
  ghost.setAttribute("aria-hidden", "true");
  root.replaceChildren(ghost, make("p", "empty", "Press Run to read the prompt, or try one of these:"), list);
}

// The card of the cell in `td`, beside it on a wide page, at the foot of a narrow one.
function showCard(root, td, content) {
  root.querySelector(".card")?.remove();
  root.append(content);
  if (window.innerWidth <= 640) return;
  const [outer, cell] = [root.getBoundingClientRect(), td.getBoundingClientRect()];
  const right = cell.right - outer.left + 8;
  const fits = right + content.offsetWidth <= outer.width;
  content.style.left = `${fits ? right : Math.max(0, cell.left - outer.left - content.offsetWidth - 8)}px`;
  const top = cell.top - outer.top - 24;
  content.style.top = `${Math.max(0, Math.min(top, outer.height - content.offsetHeight))}px`;
}

// Cards on hover, focus and tap; arrows move, one Tab stop, Esc closes.
function listen(root, table, cards) {
  const open = (td) => td && showCard(root, td, cards.get(td)());
  const close = () => root.querySelector(".card")?.remove();
  table.addEventListener("mouseover", (event) => open(event.target.closest("td")));
  table.addEventListener("mouseleave", close);
  table.addEventListener("focusin", (event) => open(event.target.closest("td")));
  table.addEventListener("focusout", close);
  table.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const td = event.target.closest("td");
    if (!step || !td) return;
    event.preventDefault();
    const row = table.tBodies[0].rows[td.parentNode.rowIndex + step[0]];
    const next = row?.cells[td.cellIndex + step[1]];
    if (next?.tagName !== "TD") return;
    td.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function cellElement(cell, maximum, withNumber) {
  const td = make("td", "", make("span", "token", cell.top.length ? vocabText(cell.top[0].entry) : ""));
  if (withNumber) td.append(make("span", "number", shown(cell)));
  const { fill, text } = colour(scaleOf(cell), share(cell, maximum));
  td.style.background = fill;
  td.style.color = text;
  td.tabIndex = -1;
  return td;
}

function drawTable(root, result, rows, width) {
  const narrow = width < 640;
  const grid = rows.map((row) => result.positions.map((_, column) => cellOf(result, row, column)));
  const all = grid.flat();
  const amount = (cell) => (cell.isPart ? Math.abs(cell.top[0]?.amount ?? 0) : (cell[colourBy] ?? 0));
  const main = all.filter((cell) => cell.isPart === grid[0][0].isPart);
  const maximum = Math.max(...main.map(amount), 1e-9);
  const cards = new Map();
  const table = make("table", narrow ? "narrow" : "");
  const body = table.createTBody();
  rows.forEach((row, r) => {
    const tr = body.insertRow();
    tr.append(make("th", "", row.label));
    result.positions.forEach((position, column) => {
      const cell = grid[r][column];
      const td = cellElement(cell, maximum, !narrow);
      const token = result.input.tokens[position];
      td.setAttribute("aria-label", `${row.label}, position ${position}: ${cell.top[0]?.entry.text ?? ""} ${shown(cell)}`);
      cards.set(td, () => card(cell, row, token, position));
      tr.append(td);
    });
  });
  const foot = table.createTFoot().insertRow();
  foot.append(make("th", ""));
  for (const position of result.positions) {
    foot.append(make("th", "", recordText(result.input.tokens[position])));
  }
  const last = body.rows[0]?.cells[result.positions.length];
  if (last) last.tabIndex = 0;
  listen(root, table, cards);
  // Fixed columns: at least four positions on a phone, and enough for a token elsewhere.
  const least = narrow ? (width - 60) / 4 : 96;
  table.style.minWidth = `${52 + least * result.positions.length}px`;
  table.style.maxWidth = `${52 + 168 * result.positions.length}px`;
  const scroller = make("div", "scroller", table);
  return { scroller, legend: legend(grid[0][0], maximum) };
}

function draw(root, value, width) {
  root.dataset.state = value.state;
  if (value.state === "empty") return drawEmpty(root, value);
  drawAgain = () => draw(root, value, width);
  const { result, component } = value;
  const rows = rowsOf(result, component);
  const isPart = PARTS.includes(component);
  if (!rows.some((row) => row.component === component)) {
    const note = `This model has no such place: ${WHERE[component]}. Read at another one.`;
    return root.replaceChildren(make("p", "empty", note));
  }
  const { scroller, legend: scale } = drawTable(root, result, rows, width);
  const notes = make("div", "notes", scale);
  const settled = result.settled?.at(-1);
  if (component === "resid_post" && Number.isInteger(settled) && settled >= 0) {
    const last = result.layers.at(-1);
    const text = settled < last ? `the top token stays the same from L${settled} on` : "the top token changes up to the last layer";
    notes.append(make("span", "", `After the last token, ${text}`));
  }
  if (value.hidden) {
    notes.append(make("span", "", `The last ${result.positions.length} of ${result.input.tokens.length} positions are read here; the API reads all.`));
  }
  if (result.warnings.length) notes.append(make("span", "warning", result.warnings.join(" ")));
  root.replaceChildren(toolbar(result, isPart), scroller, notes);
  scroller.scrollLeft = scroller.scrollWidth; // the last positions first
}

mount(element, props, watch, draw);
};
