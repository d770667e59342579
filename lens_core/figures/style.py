"""How every figure looks: colours by role in both themes, scales, series, the empty frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

FONT = "Lens Sans, Source Sans 3, ui-sans-serif, system-ui, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, as #rrggbb."""

    panel: str
    text: str
    subdued: str
    rule: str
    border: str
    stream: str
    raises: str
    lowers: str
    attention: str
    accent_soft: str
    series: tuple[str, str, str, str]


LIGHT = Palette(
    panel="#ffffff",
    text="#1f2328",
    subdued="#57606a",
    rule="#eceef1",
    border="#e1e4e8",
    stream="#838d9a",
    raises="#12703a",
    lowers="#6b3fa0",
    attention="#9d174d",
    accent_soft="#fff3ea",
    series=("#1f5fa8", "#8a6a00", "#0f8378", "#3d4450"),
)
DARK = Palette(
    panel="#17191d",
    text="#eceef1",
    subdued="#a8b0bb",
    rule="#22262c",
    border="#2c3038",
    stream="#848d9a",
    raises="#6fd08c",
    lowers="#c49bf0",
    attention="#f0528a",
    accent_soft="#33200f",
    series=("#6db3f2", "#e0b84a", "#5fe0cf", "#d5dae1"),
)

DASHES = ("solid", "6px,3px", "2px,3px", "8px,3px,2px,3px")
MARKERS = ("circle", "diamond", "circle", "diamond")
"""Of series 1 to 4: a series is never told by its colour alone."""
BEFORE = "5px,4px"
"""The dash of what was before an edit."""

SCALES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "probability": (
        ("#f3f7fb", "#c3dbef", "#7ab0da", "#2d75b5", "#0b3a6b"),
        ("#17202b", "#173f66", "#1f6bae", "#5fa9e6", "#d3eafc"),
    ),
    "attention": (
        ("#fdf3f6", "#f8cad7", "#ec86a5", "#cc3568", "#7f0f3b"),
        ("#22181c", "#5a1f38", "#a42b5c", "#ec6a96", "#ffd6e1"),
    ),
    "amount": (
        ("#f6f7f8", "#d5d9df", "#a3abb7", "#667085", "#2b3240"),
        ("#1b1d21", "#3a3f48", "#666e7c", "#a0a8b5", "#e6e9ee"),
    ),
    "signed": (
        ("#532585", "#b59bd3", "#f5f5f6", "#93cba3", "#0f6231"),
        ("#c49bf0", "#6a4691", "#24262b", "#2b7142", "#6fd08c"),
    ),
}
"""Low to high, in the light and in the dark theme; in between they are mixed in OKLab."""

SAMPLES = 17
"""Stops of a Plotly scale: Plotly mixes linearly in sRGB, so it is given OKLab's path densely."""

# Ottosson (2020), "A perceptual color space for image processing".
_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_FROM_LAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_FROM_LMS = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


def palette(*, dark: bool = False) -> Palette:
    """The colours of a theme."""
    return DARK if dark else LIGHT


def colour(scale: str, share: float, *, dark: bool = False) -> str:
    """The colour of a share 0..1 on a scale, as #rrggbb."""
    stops = SCALES[scale][dark]
    at = min(1.0, max(0.0, share)) * (len(stops) - 1)
    i = min(len(stops) - 2, int(at))
    ends = zip(_oklab(stops[i]), _oklab(stops[i + 1]), strict=True)
    lms = _times(_FROM_LAB, [low + (high - low) * (at - i) for low, high in ends])
    channels = _times(_FROM_LMS, [part**3 for part in lms])
    return "#" + "".join(f"{round(255 * _encoded(c)):02x}" for c in channels)


def colourscale(scale: str, *, dark: bool = False) -> list[list[Any]]:
    """A scale as Plotly takes it: [[share, colour], ...]."""
    shares = [i / (SAMPLES - 1) for i in range(SAMPLES)]
    return [[share, colour(scale, share, dark=dark)] for share in shares]


def text_on(fill: str) -> str:
    """Black or white, whichever contrasts more with `fill`; at least 4.5 to 1."""
    red, green, blue = _linear(fill)
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"


def frame(colours: Palette, *, title: str | None = None, **layout: Any) -> dict[str, Any]:
    """The layout that all figures share: no frame, no legend, nothing that moves by itself.

    Args:
        colours: of the theme.
        title: already escaped.
        layout: what is added to it.
    """
    shared: dict[str, Any] = {
        "paper_bgcolor": colours.panel,
        "plot_bgcolor": colours.panel,
        "font": {"family": FONT, "size": 12, "color": colours.text},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": colours.panel,
            "bordercolor": colours.border,
            "font": {"family": FONT, "size": 13, "color": colours.text},
            "align": "left",
        },
    }
    if title is not None:
        shared["title"] = {"text": title, "font": {"size": 16}, "x": 0, "xref": "paper"}
    return {**shared, **layout}


def axis(colours: Palette, **options: Any) -> dict[str, Any]:
    """An axis without line, ticks or grid."""
    plain = {
        "showline": False,
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"size": 12, "color": colours.subdued},
    }
    return {**plain, **options}


def figure(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> go.Figure:
    """A Plotly figure; the one place that imports Plotly to make one."""
    import plotly.graph_objects as go

    made = go.Figure(data=list(traces), layout=dict(layout))
    # Plotly's default template is larger than most figures, and coloured otherwise.
    made.layout.template = None
    return made


def _oklab(colour_hex: str) -> list[float]:
    return _times(_TO_LAB, [part ** (1 / 3) for part in _times(_TO_LMS, _linear(colour_hex))])


def _linear(colour_hex: str) -> list[float]:
    shares = [int(colour_hex[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]


def _encoded(channel: float) -> float:
    c = min(1.0, max(0.0, channel))
    return 12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
