// Colour scales, low -> high in light and dark, interpolated in OKLab, and the text colour on them.
const SCALES = {
  probability: [
    ["#f3f7fb", "#c3dbef", "#7ab0da", "#2d75b5", "#0b3a6b"],
    ["#17202b", "#173f66", "#1f6bae", "#5fa9e6", "#d3eafc"],
  ],
  attention: [
    ["#fdf3f6", "#f8cad7", "#ec86a5", "#cc3568", "#7f0f3b"],
    ["#22181c", "#5a1f38", "#a42b5c", "#ec6a96", "#ffd6e1"],
  ],
  amount: [
    ["#f6f7f8", "#d5d9df", "#a3abb7", "#667085", "#2b3240"],
    ["#1b1d21", "#3a3f48", "#666e7c", "#a0a8b5", "#e6e9ee"],
  ],
  signed: [
    ["#532585", "#b59bd3", "#f5f5f6", "#93cba3", "#0f6231"],
    ["#c49bf0", "#6a4691", "#24262b", "#2b7142", "#6fd08c"],
  ],
};

const dark = () => document.body.classList.contains("dark");
const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const gamma = (c) => (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055);
const rgb = (hex) => [1, 3, 5].map((i) => linear(parseInt(hex.slice(i, i + 2), 16) / 255));

function oklab([r, g, b]) {
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromOklab([L, a, b]) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((c) => Math.min(1, Math.max(0, c)));
}

// The colour of a share in 0..1 on a scale, and the text colour with more contrast on it.
function colour(scale, share) {
  const stops = SCALES[scale][dark() ? 1 : 0];
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const [from, to] = [oklab(rgb(stops[i])), oklab(rgb(stops[i + 1]))];
  const mixed = fromOklab(from.map((c, j) => c + (to[j] - c) * (at - i)));
  const luminance = 0.2126 * mixed[0] + 0.7152 * mixed[1] + 0.0722 * mixed[2];
  const fill = `rgb(${mixed.map((c) => Math.round(255 * gamma(c))).join(" ")})`;
  return { fill, text: luminance > 0.179 ? "#000" : "#fff" };
}

const gradient = (scale) =>
  `linear-gradient(90deg in oklab, ${SCALES[scale][dark() ? 1 : 0].join(", ")})`;

Object.assign(lens, { colour, dark, gradient });
