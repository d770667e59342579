// Text, tokens and numbers as a person reads them. Text reaches the page through textContent only.
// An element with a class and children; strings become text, never markup.
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// An element of a drawing, with its attributes.
function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Put `children` into `root`; what had the focus keeps it if its `data-focus` is still there. Answers
// the name of a focus that was lost.
function refill(root, ...children) {
  const active = root.contains(document.activeElement) ? document.activeElement : null;
  const name = active?.dataset.focus;
  root.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  if (!name || root.contains(document.activeElement)) return null;
  const again = [...root.querySelectorAll("[data-focus]")].find((one) => one.dataset.focus === name);
  again?.focus({ preventScroll: true });
  return again ? null : name;
}

const MARKS = { " ": "·", "\u3000": "·", "\n": "⏎", "\r": "␍", "\t": "⇥" };
// Characters that take no room, look like a space, turn the line around or have no picture anywhere;
// shown by their code.
const HIDDEN = /[\p{Cc}\p{Z}\p{Default_Ignorable_Code_Point}\p{Co}\p{Cs}\p{Cn}\u2800\ufff9-\ufffb]/u;
// They choose between two pictures of the character before them.
const VARIATION = /[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u;
const COMBINING = /\p{M}/u;
// Accents of no script of their own; fonts put them anywhere when nothing is below them.
const ACCENT = /\p{Script=Inherited}/u;

// What stands for a character that cannot be seen, null for one that can. `base`: it follows one on
// which a combining mark can sit.
function picture(character, base) {
  if (MARKS[character]) return MARKS[character];
  if (base && VARIATION.test(character)) return null;
  const lone = !base && COMBINING.test(character);
  if (HIDDEN.test(character) || (lone && ACCENT.test(character))) return codeName(character);
  return lone ? `◌${character}` : null;
}

function codeName(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function mark(text, shown) {
  const box = make("span", shown.startsWith("U+") ? "lens-mark lens-code" : "lens-mark", text);
  box.dataset.mark = shown;
  return box;
}

// Token text with visible spaces. Marks are pictures (data attributes), so copying gives the text.
function tokenText(text) {
  const box = make("bdi", "lens-text");
  let plain = "";
  for (const character of text) {
    const shown = picture(character, plain !== "");
    if (shown === null) {
      plain += character;
    } else {
      box.append(plain, mark(character, shown));
      plain = "";
    }
  }
  box.append(plain);
  return box;
}

// A token that is no whole character is named by its bytes, over the character it belongs to.
function bytesText(hex, whole) {
  const code = make("span", "lens-mark lens-code");
  code.dataset.mark = hex.toUpperCase();
  return make("bdi", "lens-text", whole, code);
}

const BRACKETS = /^(<[|｜]?)([^]+?)([|｜]?>)$/u;

// A special token, <|start|>, is shown as ⟨start⟩; copying gives its text.
function specialText(text) {
  const parts = BRACKETS.exec(text);
  if (!parts) return tokenText(text);
  const box = tokenText(parts[2]);
  box.prepend(mark(parts[1], "⟨"));
  box.append(mark(parts[3], "⟩"));
  return box;
}

// A token of the prompt, from its record.
function recordText(token) {
  if (token.kind === "partial" && token.bytes_hex) return bytesText(token.bytes_hex, token.cluster_text);
  return token.kind === "special" || token.kind === "pad" ? specialText(token.text) : tokenText(token.text);
}

// A token of the vocabulary, {"text", "bytes": base64 or null}; special and added ones have no bytes.
function vocabText({ text, bytes }) {
  if (!bytes) return specialText(text);
  if (!text.includes("\ufffd")) return tokenText(text);
  const hex = [...atob(bytes)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0"));
  return bytesText(hex.join(" "), "");
}

// The same on a chip, dashed for a special token.
function chip(entry) {
  const special = !entry.bytes && BRACKETS.test(entry.text);
  return make("span", special ? "chip special" : "chip", vocabText(entry));
}

// What a person sees of a token, as plain text for labels.
function seen(node) {
  if (node.dataset?.mark) return node.dataset.mark;
  return node.childNodes.length ? [...node.childNodes].map(seen).join("") : node.textContent;
}

// A title {"key", "values", "entry"} and how to read what is below. The chip of the entry comes where
// the words say {token}, otherwise at the end.
function heading(title, how) {
  const words = lens.phrase(title);
  const place = title?.entry ? words.indexOf("{token}") : -1;
  const name = make("h2", how ? "" : "small", place < 0 ? words : words.slice(0, place));
  if (title?.entry) name.append(place < 0 ? " " : "", vocabText(title.entry));
  if (place >= 0) name.append(words.slice(place + "{token}".length));
  if (!how) return name;
  return make("div", "heading", name, make("p", "how", make("b", "", lens.t("how.read")), " ", lens.phrase(how)));
}

// The same title as plain text.
const titleText = (title) => lens.phrase(title).replace("{token}", title?.entry ? seen(vocabText(title.entry)) : "");

function percent(p) {
  if (p === null || p === undefined) return "–";
  if (p > 0 && p < 0.001) return "<0.1%";
  return p < 1 && p > 0.999 ? ">99.9%" : `${(100 * p).toFixed(1)}%`;
}

// A number with two to three digits and a real minus.
function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

// A number that says its direction.
const signed = (value, digits = 2) => `${value > 0 ? "+" : ""}${number(value, digits)}`;

// A value of a row of attention: a share, a length, or how many times as much as usual.
function amount(format, value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (format === "percent") return percent(value);
  if (format === "signed") return signed(value, digits);
  return format === "times" ? `${number(value, 2)}×` : number(value, digits);
}

// A token of the prompt on a chip; also for the viewers after this one.
function recordChip(token) {
  const special = token.kind === "special" || token.kind === "pad";
  return make("span", special ? "chip special" : "chip", recordText(token));
}

Object.assign(lens, { amount, bytesText, chip, heading, make, number, percent, recordChip, recordText, refill, seen, signed, svg, titleText, tokenText, vocabText });
