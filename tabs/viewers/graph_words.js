// What a graph says in words: names of its places and links, how many there are, a summary.
const { gradient, make, number, percent, phrase, recordText, seen, signed, t, vocabText } = lens;

const word = (name, values) => t(`graph_view.${name}`, values);
const share = (value) => percent(Math.abs(value)).replace(/^/, value < 0 ? "−" : "");
const weight = (value, scene, digits = 3) => (scene.value.signed ? signed(value, digits) : number(value, digits));

// The token of a column, as a record; of a difference that of A where both have one.
const tokenOf = ({ value }, position) => value.tokens?.[position] ?? value.others?.[position] ?? null;

function tokenName(scene, position) {
  const token = tokenOf(scene, position);
  return token ? seen(recordText(token)) : "";
}

const nodeName = ({ layer, letter }) => word(`node_${letter}`, { layer });
const placeName = (node, scene) => word("at", { place: nodeName(node), token: tokenName(scene, node.position), position: node.position });
const kindName = ({ kind }) => word(`kind_${kind}`);

function linkName(link, scene) {
  return word("link", { kind: kindName(link), from: placeName(link.src, scene), to: placeName(link.dst, scene),
    weight: weight(link.w, scene), influence: share(link.influence) });
}

function itemName(item, scene) {
  if (item.link) return linkName(item.link, scene);
  const name = placeName(item.node, scene);
  return item.node.active ? word("node", { name, influence: share(item.node.influence) }) : word("unused", { name });
}

// "54 links shown, 0 hidden ..."
function counts({ links, value }) {
  const n = value.edges.src.length;
  const all = (count) => count.toLocaleString("en");
  const hidden = Math.max(0, value.n_edges - n);
  return word(hidden ? "counts_limited" : "counts", { shown: all(links.length), hidden: all(hidden), threshold: value.threshold });
}

// What the strip below the tokens says, with the shares that ended elsewhere.
function stripText({ value }) {
  if (!value.share) return null;
  if (value.difference) return word(value.others ? "strip_difference" : "strip_edit");
  const lost = value.signed ? "rest_cancelled" : "rest_lost";
  const keys = { bias: "rest_bias", mixer: "rest_mixer", lost };
  const ended = Object.keys(keys).filter((name) => Math.abs(value.rest?.[name] ?? 0) > 0.005)
    .map((name) => word(keys[name], { share: share(value.rest[name]) }));
  return [word(value.signed ? "strip_signed" : "strip"), ...ended, word(ended.length ? "sum_rest" : "sum")].join(" ");
}

// What is not drawn on purpose: the first column, layers that only carry on.
function leftOut({ hidden, hides, rows, value }, view) {
  const folded = rows.filter((row) => row.folded).reverse().map(lens.graph.rowName).join(", ");
  const token = hides ? tokenName({ value }, 0) : "";
  return [
    hides ? word("first_hidden", { token, links: hidden.links, influence: share(hidden.influence) }) : null,
    view.hideFirst && !hides ? word("first_kept") : null,
    folded ? word("carried", { layers: folded }) : null,
  ].filter(Boolean);
}

// The graph for those who cannot see it: what it explains, its strongest links, where it began.
function summary(scene) {
  const { links, value } = scene;
  const root = placeName(scene.place(value.roots[0]), scene);
  const said = [word(value.roots.length > 1 ? "summary_roots" : "summary", { title: phrase(value.title), root, count: value.roots.length })];
  if (value.prediction) {
    said.push(word("summary_prediction", { token: seen(vocabText(value.prediction.entry)), p: percent(value.prediction.p) }));
  }
  said.push(`${counts(scene)}.`);
  // An MLP is told once, by what it adds.
  const strongest = links.filter(({ dst, kind }) => kind !== "residual" && dst.letter !== "M")
    .sort((a, b) => Math.abs(b.influence) - Math.abs(a.influence)).slice(0, 5);
  if (strongest.length) said.push(word("summary_links", { links: strongest.map((link) => linkName(link, scene)).join("; ") }));
  if (value.share) {
    const order = scene.shown.slice().sort((a, b) => Math.abs(value.share[b]) - Math.abs(value.share[a])).slice(0, 3);
    said.push(word("summary_tokens", { tokens: order.map((at) => `${tokenName(scene, at)} ${share(value.share[at])}`).join(", ") }));
  }
  return said.join(" ");
}

const TONES = { more: "raises", less: "lowers", more_edit: "raises", less_edit: "lowers" };

// What the legend explains: the kinds of link that there are, or the two directions.
function legendKinds({ links, value }) {
  if (value.difference) return value.others ? ["more", "less"] : ["more_edit", "less_edit"];
  if (value.signed) return ["raises", "lowers"];
  const present = new Set(links.map(({ kind }) => kind));
  return ["residual", "attention", "ffn", ...["bias", "mixer"].filter((kind) => present.has(kind))];
}

function legendOf(scene) {
  const { value } = scene;
  const kinds = legendKinds(scene).map((kind) => make("span", "key", make("span", `mark ${TONES[kind] ?? kind}`), word(`legend_${kind}`)));
  const sides = value.others ? ["a", "b"].map((side) => make("span", "key", make("span", `mark side-${side}`), word(`legend_${side}`))) : [];
  const widths = [0.06, 0.35, 0.65, 1].map((w) => {
    const line = make("span", "width");
    line.style.height = `${1 + 6 * w}px`;
    return line;
  });
  const ramp = make("span", "gradient");
  ramp.style.background = gradient(value.signed ? "signed" : "amount");
  return make("div", "legend", ...kinds, ...sides,
    make("span", "key", make("b", "", word("weight")), value.threshold.toPrecision(2).replace(/\.?0+$/, ""), make("span", "widths", ...widths), "1"),
    make("span", "key", make("b", "", word("influence")), value.signed ? "−1" : "0", ramp, value.signed ? "+1" : "1"),
    make("span", "key", make("span", "mark selected"), word("legend_selected")));
}

Object.assign(lens.graph, { TONES, counts, itemName, kindName, leftOut, legendKinds, legendOf, nodeName, share, stripText, summary, tokenOf, weight, word });
