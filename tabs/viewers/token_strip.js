// The prompt as the model read it, one chip a token. Takes {"tokens": [token records], "limit": count,
// "prediction": {"text", "p"} or null, "badge": {"state": "good" | "poor", "text", "detail"},
// "facts": [text]}.
const { make, mount, percent, tokenText } = lens;

// One chip a cluster: a split character shows its glyph over the bytes of each token.
function chip(tokens) {
  const [first] = tokens;
  const box = make("span", `chip ${first.kind}`);
  if (tokens.length === 1) {
    box.append(first.text === "" ? make("span", "lens-mark lens-code", "∅") : tokenText(first.text));
  } else {
    const bytes = tokens.map((token) => make("span", "bytes", token.bytes_hex ?? ""));
    box.append(tokenText(first.cluster_text), make("span", "cells", ...bytes));
  }
  box.title = tokens.map((token) => `position ${token.i}, id ${token.id}`).join("\n");
  return box;
}

function clusters(tokens) {
  const groups = [];
  for (const token of tokens) {
    const last = groups[groups.length - 1];
    if (last && last[0].cluster === token.cluster) last.push(token);
    else groups.push([token]);
  }
  return groups;
}

lens.viewers.token_strip = ({ element, props, watch }) =>
  mount(element, props, watch, (root, value) => {
    const strip = make("div", "strip");
    strip.tabIndex = 0;
    strip.setAttribute("role", "group");
    strip.setAttribute("aria-label", "The prompt as tokens");
    strip.append(...clusters(value.tokens).map(chip));
    if (value.prediction) {
      const next = make("span", "chip prediction", tokenText(value.prediction.text));
      next.title = "The model's most likely next token";
      strip.append(make("span", "arrow", "→"), next, make("span", "p", percent(value.prediction.p)));
    }
    const badge = make("span", `badge ${value.badge.state}`, value.badge.text);
    badge.title = value.badge.detail;
    const count = make("span", "count", `${value.tokens.length} / ${value.limit} tokens`);
    const facts = make("span", "facts", value.facts.join(" · "));
    root.replaceChildren(strip, make("div", "side", count, badge, facts));
    strip.scrollLeft = strip.scrollWidth;
  });
