"""Figures as PNG by Matplotlib: sharp at any resolution, without a browser.

Draws what this package puts into figures (cells, lines, bars, texts), not any Plotly figure.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.errors import InputError
from lens_core.figures.fonts import FontChoice, choose_fonts
from lens_core.figures.lens_grids import heatmap
from lens_core.figures.output import figure_json
from lens_core.figures.record import Result
from lens_core.figures.style import MONO
from lens_core.figures.text import width as columns_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 720, 260
"""Pixels of a figure that names no size; there are 96 to an inch."""
MAX_PIXELS = 40_000_000
"""Of the picture: 160 MB while it is drawn."""
_SYMBOLS = {"circle": "o", "diamond": "D"}
_TAG = re.compile(r"<[^<>]*>")


def save_png(
    source: Result | go.Figure,
    path: str | Path,
    *,
    component: str = "resid_post",
    quantity: str = "probability",
    dpi: int = 300,
) -> Path:
    """Write a figure, or the heat map of a result, as a PNG file.

    Chinese, Japanese and every other script are drawn with the first installed font that has the
    character; one that no font has becomes an empty box. Emoji that exist only in colour fonts
    are such boxes: Matplotlib cannot draw them. Pictures of more than 40 million pixels get
    fewer dots per inch.

    Args:
        source: a figure of this package, or a logit lens (or its JSON form).
        path: of the file, which is replaced.
        component: of the heat map of a result.
        quantity: of the heat map of a result.
        dpi: dots per inch, 30 to 1200; a figure has 96 of its pixels to an inch.

    Raises:
        InputError: a dpi outside its range, or a heat map that the result does not have.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not 30 <= dpi <= 1200:
        raise InputError(f"dpi is {dpi}; it can be 30 to 1200.")
    made: Any = source
    if not hasattr(source, "to_plotly_json"):
        made = heatmap(made, component, quantity)
    drawing = figure_json(made)
    layout = drawing["layout"]
    width, height = layout.get("width", WIDTH), layout.get("height", HEIGHT)
    sheet = Figure(figsize=(width / 96, height / 96), facecolor=layout["paper_bgcolor"])
    canvas = FigureCanvasAgg(sheet)
    _Drawer(sheet, drawing, float(width), float(height)).draw()
    largest = math.sqrt(MAX_PIXELS / (width * height)) * 96
    path = Path(path)
    canvas.print_figure(
        str(path), dpi=min(dpi, largest), format="png", facecolor=sheet.get_facecolor()
    )
    return path


class _Drawer:
    """One figure on one sheet."""

    def __init__(self, sheet: Figure, drawing: Mapping[str, Any], width: float, height: float):
        self.sheet, self.width, self.height = sheet, width, height
        self.traces, self.layout = drawing["data"], drawing["layout"]
        self.fonts: FontChoice = choose_fonts("".join(_texts(drawing)))
        margin = self.layout["margin"]
        left = max(margin["l"], self._label_room())
        inner = width - left - margin["r"], height - margin["t"] - margin["b"]
        self.left, self.bottom = left, margin["b"]
        self.axes: Axes = sheet.add_axes(
            (left / width, margin["b"] / height, inner[0] / width, inner[1] / height)
        )

    def draw(self) -> None:
        """Draw everything."""
        self.axes.set_facecolor("none")
        for side in self.axes.spines.values():
            side.set_visible(False)
        self._axis("x", self.axes.xaxis)
        self._axis("y", self.axes.yaxis)
        self._shapes()
        for trace in self.traces:
            getattr(self, f"_{trace['type']}")(trace)
        for note in self.layout.get("annotations", ()):
            self._annotation(note)
        if title := self.layout.get("title", {}).get("text"):
            self._text(
                self.sheet, self.left / self.width, 1 - 8 / self.height, title, size=16, va="top"
            )

    def _label_room(self) -> float:
        """Pixels for the labels of the rows, where the figure leaves that to Plotly."""
        if not self.layout["yaxis"].get("automargin"):
            return 0.0
        labels = self.layout["yaxis"]["ticktext"]
        return 16 + 6.5 * max((columns_of(_plain(label)) for label in labels), default=0)

    def _axis(self, name: str, axis: Any) -> None:
        options = self.layout[f"{name}axis"]
        low, high = options["range"]
        (self.axes.set_xlim if name == "x" else self.axes.set_ylim)(low, high)
        places, labels = self._ticks(name, options)
        axis.set_ticks(places)
        axis.set_ticklabels([self.fonts.drawable(label) for label in labels])
        axis.set_tick_params(length=0, pad=4)
        for label in axis.get_ticklabels():
            label.set(**self._font(options["tickfont"]))
        if options.get("showgrid"):
            axis.grid(True, color=options["gridcolor"], linewidth=0.75, zorder=0)
        if options.get("zeroline"):
            line = self.axes.axhline if name == "y" else self.axes.axvline
            line(0, color=options["zerolinecolor"], linewidth=0.75, zorder=1)

    def _ticks(self, name: str, options: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
        if not options.get("showticklabels", True):
            return [], []
        if options.get("type") == "category":
            labels = [_plain(text) for text in self.traces[0][name]] if self.traces else []
            step = max(1, math.ceil(len(labels) * 40 / self.width))
            return list(range(0, len(labels), step)), labels[::step]
        if "dtick" in options:
            steps = [i * options["dtick"] for i in range(round(1 / options["dtick"]) + 1)]
            return steps, [f"{step:.0%}" for step in steps]
        return options["tickvals"], [_plain(text) for text in options["ticktext"]]

    def _shapes(self) -> None:
        for shape in self.layout.get("shapes", ()):
            if shape["type"] == "rect":
                self.axes.axvspan(shape["x0"], shape["x1"], color=shape["fillcolor"], zorder=0)
            else:
                line = shape["line"]
                self.axes.axhline(shape["y0"], color=line["color"], linewidth=0.75 * line["width"])

    def _heatmap(self, trace: Mapping[str, Any]) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        shares = np.array(
            [[math.nan if v is None else v for v in row] for row in trace["z"]], dtype=float
        )
        rows, columns = shares.shape
        scale = LinearSegmentedColormap.from_list("scale", [tuple(s) for s in trace["colorscale"]])
        self.axes.pcolormesh(
            np.arange(columns + 1) - 0.5,
            np.arange(rows + 1) - 0.5,
            np.ma.masked_invalid(shares),
            cmap=scale,
            vmin=0,
            vmax=1,
            edgecolors=self.layout["paper_bgcolor"],
            linewidth=0.75 * trace["xgap"],
        )
        self._legend(trace["colorbar"], scale)

    def _legend(self, bar: Mapping[str, Any], scale: Any) -> None:
        """The colours of the cells with both ends."""
        inner = self.width - self.left - self.layout["margin"]["r"]
        x, y = self.left + bar["x"] * inner, self.bottom - bar["ypad"] - 22
        wide, high = bar["len"] / self.width, 10 / self.height
        strip = self.sheet.add_axes((x / self.width, y / self.height, wide, high))
        strip.imshow(np.linspace(0, 1, 256)[None], cmap=scale, aspect="auto")
        strip.set_axis_off()
        ink = self.layout["font"]["color"]
        above = (y + 15) / self.height
        self._text(self.sheet, x / self.width, above, bar["title"]["text"], color=ink)
        for text, at in zip(bar["ticktext"], (0.0, 1.0), strict=True):
            edge = (x + at * bar["len"]) / self.width
            place: dict[str, Any] = {"ha": "center", "va": "top", "color": bar["tickfont"]["color"]}
            self._text(self.sheet, edge, (y - 4) / self.height, text, **place)

    def _scatter(self, trace: Mapping[str, Any]) -> None:
        if trace["mode"] == "text":
            font = trace["textfont"]
            colours = font["color"]
            right = trace.get("textposition") == "middle right"
            for i, (x, y, text) in enumerate(
                zip(trace["x"], trace["y"], trace["text"], strict=True)
            ):
                shade = colours if isinstance(colours, str) else colours[i]
                place: dict[str, Any] = {"ha": "left" if right else "center", "va": "center"}
                self._text(
                    self.axes,
                    x,
                    y,
                    text,
                    color=shade,
                    size=font["size"],
                    mono=font["family"] == MONO,
                    **place,
                )
            return
        line, marker = trace["line"], trace["marker"]
        edge = marker.get("line", {})
        self.axes.plot(
            range(len(trace["y"])),
            [math.nan if y is None else y for y in trace["y"]],
            color=line["color"],
            linewidth=0.75 * line["width"],
            linestyle=_dash(line),
            marker=_SYMBOLS[marker["symbol"]] if "markers" in trace["mode"] else "",
            markersize=0.75 * marker["size"],
            markerfacecolor=marker["color"],
            markeredgecolor=edge.get("color", marker["color"]),
            markeredgewidth=0.75 * edge.get("width", 0),
            clip_on=False,
            zorder=3,
        )

    def _bar(self, trace: Mapping[str, Any]) -> None:
        values = [0.0 if value is None else value for value in trace["x"]]
        self.axes.barh(trace["y"], values, height=0.7, color=trace["marker"]["color"], zorder=2)
        for y, value, text in zip(trace["y"], values, trace["text"], strict=True):
            place: dict[str, Any] = {"ha": "right" if value < 0 else "left", "va": "center"}
            space = " " if value >= 0 else ""
            shade = trace["textfont"]["color"]
            self._text(
                self.axes, value, y, space + text + (" " if value < 0 else ""), color=shade, **place
            )

    def _annotation(self, note: Mapping[str, Any]) -> None:
        text = self.fonts.drawable(_plain(note["text"]))
        self.axes.annotate(
            text,
            (note["x"], note["y"]),
            (0.75 * note["xshift"], 0.75 * note["yshift"]),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            parse_math=False,
            color=note["font"]["color"],
            fontfamily=self.fonts.families(mono=True),
            fontsize=0.75 * note["font"]["size"],
        )

    def _text(
        self,
        on: Any,
        x: float | int,
        y: float | int,
        text: str,
        *,
        size: int = 12,
        mono: bool = False,
        color: str | None = None,
        **place: str,
    ) -> None:
        on.text(
            x,
            y,
            self.fonts.drawable(_plain(text)),
            color=color or self.layout["font"]["color"],
            fontsize=0.75 * size,
            fontfamily=self.fonts.families(mono=mono),
            # A token such as "$x$" is no formula.
            parse_math=False,
            **place,
        )

    def _font(self, font: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "color": font["color"],
            "fontsize": 0.75 * font["size"],
            "fontfamily": self.fonts.families(mono=font.get("family") == MONO),
            "parse_math": False,
        }


def _dash(line: Mapping[str, Any]) -> Any:
    """Matplotlib counts dashes in line widths."""
    if line["dash"] == "solid":
        return "-"
    return 0, tuple(float(part[:-2]) / line["width"] for part in line["dash"].split(","))


def _plain(text: str) -> str:
    """The text that Plotly would show."""
    return html.unescape(_TAG.sub("", text))


def _texts(value: Any) -> Sequence[str]:
    """Every text anywhere in a figure."""
    if isinstance(value, str):
        return [_plain(value)]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []
