// The language of the page, and its words. It is chosen here, before Gradio starts: ?lang= first,
// then the settings, then the browser; Gradio reads it from the navigator.
const LOCALES = { en: "en", zh: "zh-CN", ja: "ja" };

function chosenLanguage() {
  const asked = new URLSearchParams(location.search).get("lang");
  if (asked in LOCALES) return asked;
  if (lens.options.language in LOCALES) return lens.options.language;
  const known = (navigator.languages ?? []).map((tag) => tag.slice(0, 2).toLowerCase());
  return known.find((tag) => tag in LOCALES) ?? "en";
}

const language = chosenLanguage();
Object.defineProperty(navigator, "language", { get: () => LOCALES[language] });
Object.defineProperty(navigator, "languages", { get: () => [LOCALES[language]] });
document.documentElement.lang = LOCALES[language];

// The text of a key, with {name} replaced by values.name.
function t(key, values = {}) {
  const text = lens.words[language][key] ?? lens.words.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// A phrase {"key", "values"} from Python, whose values may be phrases; plain text stays as it is.
function phrase(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  const values = Object.entries(value.values ?? {}).map(([name, inner]) => [name, phrase(inner)]);
  return t(value.key, Object.fromEntries(values));
}

Object.assign(lens, { language, phrase, t });
