// Text, tokens and numbers as a person reads them. Text reaches the page through textContent only.
// An element with a class and children; strings become text, never markup.
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const MARKS = { " ": "·", "\u3000": "·", "\n": "⏎", "\r": "␍", "\t": "⇥" };
// Characters that take no room or turn the line around; shown by their code.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/u;

// Token text with visible spaces. Marks are pictures (data attributes), so copying gives the text.
function tokenText(text) {
  const box = make("bdi", "lens-text");
  for (const character of text) {
    if (MARKS[character]) {
      const mark = make("span", "lens-mark", character);
      mark.dataset.mark = MARKS[character];
      box.append(mark);
    } else if (HIDDEN.test(character)) {
      const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      const mark = make("span", "lens-mark lens-code", character);
      mark.dataset.mark = `U+${code}`;
      box.append(mark);
    } else {
      box.append(character);
    }
  }
  return box;
}

// A token that is no whole character is named by its bytes, over the character it belongs to.
function bytesText(hex, whole) {
  const code = make("span", "lens-mark lens-code");
  code.dataset.mark = hex.toUpperCase();
  return make("bdi", "lens-text", whole, code);
}

// A token of the prompt, from its record.
function recordText(token) {
  if (token.kind === "partial" && token.bytes_hex) return bytesText(token.bytes_hex, token.cluster_text);
  return tokenText(token.text);
}

// A token of the vocabulary, {"text", "bytes": base64 or null}.
function vocabText({ text, bytes }) {
  if (!bytes || !text.includes("\ufffd")) return tokenText(text);
  const hex = [...atob(bytes)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0"));
  return bytesText(hex.join(" "), "");
}

function percent(p) {
  if (p === null || p === undefined) return "–";
  return p > 0 && p < 0.001 ? "<0.1%" : `${(100 * p).toFixed(1)}%`;
}

// A number with two to three digits and a real minus.
function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(digits).replace("-", "−");
}

Object.assign(lens, { bytesText, make, number, percent, recordText, tokenText, vocabText });
