// A heat map to take away: the menu, a picture, and a page that opens without network.
const { download, language, menu, phrase, t } = lens;
const { ends, fitted, gridOf, hasUndefined, layoutOf, lookOf, painter, palette, sharp, write } = lens.heat;

const FORMATS = ["png", "html", "csv", "json"];
const SCALE = 3;
const LONGEST = 16000; // pixels; browsers draw nothing on longer canvases
const LARGEST = 120e6;
const MARGIN = 24;

// What `read` finds while the page has the light or the dark theme; put back before it is painted.
function inTheme(isDark, read) {
  const { classList } = document.body;
  const was = classList.contains("dark");
  classList.toggle("dark", isDark);
  try {
    return read();
  } finally {
    classList.toggle("dark", was);
  }
}

// Words broken into lines that fit.
function lines(context, text, room) {
  const found = [""];
  for (const word of text.split(/(?<=\s)|(?<=[、。，；：])/u)) {
    if (context.measureText(found.at(-1) + word).width > room && found.at(-1)) found.push("");
    found[found.length - 1] += word;
  }
  return found;
}

function legendLine(context, quantity, look, x, y) {
  const plain = (text, font, colour) => {
    context.font = font;
    context.fillStyle = colour;
    context.fillText(text, x, y);
    x += context.measureText(text).width + 8;
  };
  const [low, high] = ends(quantity);
  plain(phrase(quantity.title), look.fonts.strong, look.text);
  plain(low, look.fonts.label, look.subdued);
  const colours = palette(quantity.scale);
  const step = 104 / colours.length;
  colours.forEach(({ fill }, i) => {
    context.fillStyle = fill;
    context.fillRect(x + i * step, y - 5, step + 0.5, 8);
  });
  x += 112;
  plain(high, look.fonts.label, look.subdued);
  return x + 16;
}

// The whole grid with title, labels and legend, in the light theme.
function picture(root, value, key) {
  return inTheme(false, () => {
    const [grid, look] = [gridOf(value, key), lookOf(root)];
    const layout = layoutOf(grid, 1200, look.fonts, { phone: false });
    const width = Math.max(480, layout.total) + 2 * MARGIN;
    const canvas = document.createElement("canvas");
    const notes = (context) => {
      context.font = look.fonts.label;
      const said = (value.notes ?? []).map(phrase);
      if (hasUndefined(grid)) said.push(`– ${phrase(value.undefined)}`);
      return said.flatMap((note) => lines(context, note, width - 2 * MARGIN));
    };
    const texts = notes(canvas.getContext("2d"));
    const body = layout.height + layout.head;
    const height = 2 * MARGIN + 36 + body + 34 + 18 * texts.length;
    const scale = Math.min(SCALE, LONGEST / width, LONGEST / height, Math.sqrt(LARGEST / (width * height)));
    const context = sharp(canvas, width, height, scale);
    context.fillStyle = look.panel;
    context.fillRect(0, 0, width, height);
    context.translate(MARGIN, MARGIN + 36);
    painter(grid, layout, look)(context, { width: layout.total });
    context.font = look.fonts.title;
    context.fillStyle = look.text;
    write(context, fitted(context, [{ text: lens.titleText(value.title), faint: false }], width - 2 * MARGIN), 0, -26);
    grid.legends.reduce((x, quantity) => legendLine(context, quantity, look, x, body + 20), 0);
    context.font = look.fonts.label;
    context.fillStyle = look.subdued;
    texts.forEach((text, i) => context.fillText(text, 0, body + 46 + 18 * i));
    return canvas;
  });
}

function savePicture(root, value, key) {
  const name = `${value.name}.png`;
  picture(root, value, key).toBlob((blob) => download(name, blob, "image/png"), "image/png");
}

// The variables of Gradio's theme that our styles use, with their values in one theme.
function variables(styles, isDark) {
  const used = new Set([...styles.matchAll(/var\((--[\w-]+)/g)].map(([, name]) => name));
  const own = new Set([...styles.matchAll(/(--lens-[\w-]+)\s*:/g)].map(([, name]) => name));
  return inTheme(isDark, () => {
    const style = getComputedStyle(document.body);
    const given = [...used].filter((name) => !own.has(name) && style.getPropertyValue(name).trim());
    return given.map((name) => `${name}: ${style.getPropertyValue(name).trim()};`).join(" ");
  });
}

const json = (value) => JSON.stringify(value).replace(/</g, "\\u003c");

// Runs before our scripts: they are to speak the language of the page that was saved.
const before = () => `Object.defineProperty(window, "lens", { configurable: true, set(page) {
  page.options.language = ${json(language)};
  Object.defineProperty(window, "lens", { value: page });
} });`;

const AFTER = `const wanted = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.body.classList.toggle("dark", wanted.matches);
follow();
wanted.addEventListener("change", follow);
lens.viewers.heatmap({ element: document.getElementById("saved"), watch() {}, trigger() {},
  props: { value: document.getElementById("value").textContent } });`;

const ALONE = `*, ::before, ::after { box-sizing: border-box; }
body { margin: 0; line-height: 1.5; background: var(--lens-panel); color: var(--body-text-color);
  font-family: ui-sans-serif, system-ui, sans-serif; } h1 { font-size: 20px; margin: 0 0 16px; }`;

// One file with our scripts, our styles and the value; it asks for nothing from anywhere.
function savedPage(value, key) {
  const page = document.implementation.createHTMLDocument(lens.titleText(value.title));
  const element = (tag, attributes, text) => {
    const made = page.createElement(tag);
    for (const [name, given] of Object.entries(attributes)) made.setAttribute(name, given);
    if (text) made.textContent = text;
    return made;
  };
  // Without our typefaces: they are files of the server.
  const styles = document.getElementById("lens-styles").textContent.replace(/@font-face\s*\{[^}]*\}/g, "");
  const theme = `:root { ${variables(styles, false)} }\n.dark { ${variables(styles, true)} }`;
  const policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";
  page.documentElement.lang = document.documentElement.lang;
  page.head.prepend(element("meta", { charset: "utf-8" }),
    element("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    element("meta", { name: "viewport", content: "width=device-width" }));
  page.head.append(element("style", {}, theme), element("style", {}, styles), element("style", {}, ALONE),
    element("script", {}, before()), element("script", {}, document.getElementById("lens-scripts").textContent));
  const main = element("main", { class: "gradio-container" });
  const place = element("div", { id: "saved" });
  place.append(element("div", { class: "lens-viewer lens-heatmap" }));
  main.append(element("h1", {}, lens.titleText(value.title)), place);
  page.body.append(main, element("script", { type: "application/json", id: "value" },
    json({ ...value, quantity: key, readonly: true })), element("script", {}, AFTER));
  return `<!doctype html>\n${page.documentElement.outerHTML}\n`;
}

const savePage = (value, key) => download(`${value.name}.html`, savedPage(value, key), "text/html");

// `choose` is called with one of the formats.
function exportMenu(choose, formats = FORMATS) {
  const items = FORMATS.filter((format) => formats.includes(format)).map((format) => [format, t(`heatmap.export_${format}`)]);
  return menu("export", t("heatmap.export"), Object.fromEntries(items), choose);
}

Object.assign(lens.heat, { exportMenu, savePage, savePicture });
