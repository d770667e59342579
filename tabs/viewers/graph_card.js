// The card of a link or a place: what it is, how much it weighs, who carries it.
const { button, closeButton, make, recordText } = lens;
const { kindName, nodeName, share, tokenOf, weight, word } = lens.graph;

const LISTED = 5;

function tokenChip(scene, position) {
  const token = tokenOf(scene, position);
  return token ? make("span", token.kind === "special" ? "chip special" : "chip", recordText(token)) : null;
}

const fact = (label, value) => make("div", "fact", make("dt", "", label), make("dd", "", value));

// Parts as bars, the longest of them full.
function bars(parts, scene) {
  const largest = Math.max(...parts.map(({ w }) => Math.abs(w)), 1e-9);
  return make("ul", "bars", ...parts.map(({ label, tone, w }) => {
    const bar = make("span", `bar ${scene.value.signed ? (w < 0 ? "lowers" : "raises") : tone}`);
    bar.style.width = `${(100 * Math.abs(w)) / largest}%`;
    return make("li", "", make("span", "label", ...label), make("span", "rail", bar), make("span", "value", weight(w, scene)));
  }));
}

const end = (node, scene) => make("span", "end", make("span", "", nodeName(node)), tokenChip(scene, node.position));

function linkCard(link, scene) {
  const heads = [...(link.heads ?? [])].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const parts = heads.slice(0, LISTED).map(([head, w]) => ({ label: [word("head", { head })], tone: "attention", w }));
  const more = heads.length > LISTED ? make("p", "note", word("more_heads", { count: heads.length - LISTED })) : null;
  return [
    make("div", "head", make("span", `mark ${scene.value.signed ? (link.w < 0 ? "lowers" : "raises") : link.kind}`), make("strong", "", kindName(link))),
    make("div", "ends", end(link.src, scene), make("span", "end", make("span", "arrow", "→"), end(link.dst, scene))),
    make("dl", "facts", fact(word("card_weight"), weight(link.w, scene)), fact(word("card_influence"), share(link.influence))),
    parts.length ? make("p", "note", word("heads")) : null,
    parts.length ? bars(parts, scene) : null, more,
  ];
}

// A state is made of what enters it.
function madeOf(node, scene) {
  const entering = [...(node.incoming ?? [])].sort((a, b) => Math.abs(b.w) - Math.abs(a.w)).slice(0, LISTED);
  if (!entering.length || node.letter === "M") return [];
  const parts = entering.map((link) => ({ w: link.w, tone: link.kind,
    label: link.kind === "attention" ? [`${word("legend_attention")} `, tokenChip(scene, link.src.position)] : [kindName(link)] }));
  return [make("p", "note", word("made_of")), bars(parts, scene)];
}

function nodeCard(node, scene, root) {
  const isRoot = scene.value.roots.includes(node.id);
  const facts = node.active ? make("dl", "facts", fact(word("card_influence"), share(node.influence)))
    : make("p", "note", word("nothing_here"));
  const use = root && !isRoot && !"BS".includes(node.letter) ? button("use-root", word("use_root"), () => root(node.id)) : null;
  return [
    make("div", "head", make("strong", "", nodeName(node)), tokenChip(scene, node.position),
      make("span", "position", word("position", { position: node.position }))),
    isRoot ? make("p", "note", word("is_root")) : null, facts, ...madeOf(node, scene), use,
  ];
}

function rootCard(position, scene) {
  return [make("div", "head", make("strong", "", word("root_here")), tokenChip(scene, position))];
}

// `root`: what "Use as root" does where the card stays, so that its button can be pressed; `close`: what
// closes a card at the foot of a phone.
function cardOf(item, scene, { close, root }) {
  const parts = item.link ? linkCard(item.link, scene)
    : item.node ? nodeCard(item.node, scene, root) : rootCard(item.root, scene);
  const box = make("div", `card${root ? " pinned" : ""}${item.root === undefined ? "" : " brief"}`, ...parts);
  box.tabIndex = -1; // a tap on it keeps it open
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", word("card"));
  const hint = close ? "hint_tap" : root || item.root !== undefined ? null : "hint_click";
  if (hint) box.append(make("p", "hint", word(hint)));
  if (close) box.append(closeButton(close));
  return box;
}

Object.assign(lens.graph, { cardOf });
