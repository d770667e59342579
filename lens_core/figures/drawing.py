"""One figure drawn by Matplotlib.

Draws what this package puts into figures (cells, lines, points, bars, texts, one row of panels),
not any Plotly figure.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.figures.fonts import FontChoice, choose_fonts
from lens_core.figures.style import MONO
from lens_core.figures.text import width as columns_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SYMBOLS = {"circle": "o", "diamond": "D"}
_TAG = re.compile(r"<[^<>]*>")


class Drawer:
    """One figure on one sheet."""

    def __init__(self, sheet: Figure, drawing: Mapping[str, Any], width: float, height: float):
        self.sheet, self.width, self.height = sheet, width, height
        self.traces, self.layout = drawing["data"], drawing["layout"]
        self.fonts: FontChoice = choose_fonts("".join(_texts(drawing)))
        margin = self.layout["margin"]
        self.left, self.bottom = max(margin["l"], self._label_room()), margin["b"]
        self.panels = {
            name.replace("axis", ""): self._panel(self.layout[name])
            for name in self.layout
            if re.fullmatch(r"xaxis\d*", name)
        }
        """By the names that traces have for their x axis: x, x2, ..."""
        self.axes = self.panels["x"]

    def draw(self) -> None:
        """Draw everything."""
        labelled = self.layout["yaxis"].get("anchor", "x")
        for name, axes in self.panels.items():
            axes.set_facecolor("none")
            for side in axes.spines.values():
                side.set_visible(False)
            self._axis(axes, "x", self.layout[name.replace("x", "xaxis")])
            self._axis(axes, "y", self.layout["yaxis"], labelled=name == labelled)
        self._shapes()
        for trace in self.traces:
            getattr(self, f"_{trace['type']}")(trace)
        for note in self.layout.get("annotations", ()):
            self._annotation(note)
        if title := self.layout.get("title", {}).get("text"):
            self._text(
                self.sheet, self.left / self.width, 1 - 8 / self.height, title, size=16, va="top"
            )

    def _panel(self, options: Mapping[str, Any]) -> Axes:
        """The axes over the part of the width that an x axis has."""
        margin = self.layout["margin"]
        inner = self.width - self.left - margin["r"]
        tall = (self.height - margin["t"] - margin["b"]) / self.height
        low, high = options.get("domain", (0, 1))
        x, wide = (self.left + low * inner) / self.width, (high - low) * inner / self.width
        return self.sheet.add_axes((x, margin["b"] / self.height, wide, tall))

    def _axes_of(self, trace: Mapping[str, Any]) -> Axes:
        return self.panels[trace.get("xaxis", "x")]

    def _label_room(self) -> float:
        """Pixels for the labels of the rows, where the figure leaves that to Plotly."""
        if not self.layout["yaxis"].get("automargin"):
            return 0.0
        labels = [_plain(label) for label in self.layout["yaxis"]["ticktext"]]
        lines = [line for label in labels for line in label.split("\n")]
        return 16 + 6.5 * max(map(columns_of, lines), default=0)

    def _axis(
        self, axes: Axes, name: str, options: Mapping[str, Any], *, labelled: bool = True
    ) -> None:
        low, high = options["range"]
        (axes.set_xlim if name == "x" else axes.set_ylim)(low, high)
        axis: Any = axes.xaxis if name == "x" else axes.yaxis
        places, labels = self._ticks(name, options)
        axis.set_ticks(places)
        axis.set_ticklabels([self.fonts.drawable(label) if labelled else "" for label in labels])
        angle = -options.get("tickangle", 0)
        axis.set_tick_params(length=0, pad=4, labelrotation=angle)
        for label in axis.get_ticklabels():
            label.set(**self._font(options["tickfont"]))
        if title := options.get("title", {}).get("text"):
            axis.set_label_position(options.get("side", "bottom"))
            axis.set_label_text(self.fonts.drawable(_plain(title)))
            axis.label.set(**self._font({**options["title"]["font"]}))
        if options.get("showgrid"):
            axis.grid(True, color=options["gridcolor"], linewidth=0.75, zorder=0)
        if options.get("zeroline"):
            line = axes.axhline if name == "y" else axes.axvline
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
                continue
            line = shape["line"]
            for axes in self.panels.values():
                axes.axhline(shape["y0"], color=line["color"], linewidth=0.75 * line["width"])

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
            self._written(trace)
            return
        if trace.get("fill") == "toself":
            self._filled(trace)
            return
        marker, mode = trace["marker"], trace["mode"]
        edge, line = marker.get("line", {}), trace.get("line")
        # Names of layers are places in their order.
        numbers = all(isinstance(x, (int, float)) for x in trace["x"])
        x = trace["x"] if numbers else range(len(trace["y"]))
        if "error_x" in trace:
            self._whiskers(trace, x)
        self._axes_of(trace).plot(
            x,
            [math.nan if y is None else y for y in trace["y"]],
            color=line["color"] if line else marker["color"],
            linewidth=0.75 * line["width"] if line else 0,
            linestyle=_dash(line) if line and "lines" in mode else "",
            marker=_SYMBOLS[marker["symbol"]] if "markers" in mode else "",
            markersize=0.75 * marker["size"],
            markerfacecolor=marker["color"],
            markeredgecolor=edge.get("color", marker["color"]),
            markeredgewidth=0.75 * edge.get("width", 0),
            clip_on=False,
            zorder=3,
        )

    def _filled(self, trace: Mapping[str, Any]) -> None:
        """A band around a line, pale and without an edge."""
        places = {place: at for at, place in enumerate(dict.fromkeys(trace["x"]))}
        numbers = all(isinstance(x, (int, float)) for x in trace["x"])
        x = trace["x"] if numbers else [places[one] for one in trace["x"]]
        color = trace["line"]["color"]
        self._axes_of(trace).fill(x, trace["y"], color=color, alpha=0.3, linewidth=0, zorder=1)

    def _written(self, trace: Mapping[str, Any]) -> None:
        """Texts at their places."""
        font = trace["textfont"]
        colours = font["color"]
        right = trace.get("textposition") == "middle right"
        for i, (x, y, text) in enumerate(zip(trace["x"], trace["y"], trace["text"], strict=True)):
            shade = colours if isinstance(colours, str) else colours[i]
            place: dict[str, Any] = {"ha": "left" if right else "center", "va": "center"}
            mono, on = font["family"] == MONO, self._axes_of(trace)
            self._text(on, x, y, text, color=shade, size=font["size"], mono=mono, **place)

    def _bar(self, trace: Mapping[str, Any]) -> None:
        axes = self._axes_of(trace)
        if trace.get("orientation") != "h":
            shade = trace["marker"]["color"]
            axes.bar(trace["x"], trace["y"], width=trace["width"], color=shade, zorder=2)
            return
        values = [0.0 if value is None else value for value in trace["x"]]
        axes.barh(trace["y"], values, height=0.7, color=trace["marker"]["color"], zorder=2)
        tips = list(values)
        if "error_x" in trace:
            self._whiskers(trace, values)
            errors = trace["error_x"]["array"]
            tips = [
                value + math.copysign(error or 0.0, value)
                for value, error in zip(values, errors, strict=True)
            ]
        low, high = axes.get_xlim()
        for y, value, tip, text in zip(trace["y"], values, tips, trace["text"], strict=True):
            leftwards = (value < 0) != (low > high)
            place: dict[str, Any] = {"ha": "right" if leftwards else "left", "va": "center"}
            spaced = f"{text} " if leftwards else f" {text}"
            self._text(axes, tip, y, spaced, color=trace["textfont"]["color"], **place)

    def _whiskers(self, trace: Mapping[str, Any], x: Sequence[float]) -> None:
        """How far the true values may lie from the points or the ends of bars."""
        bars = trace["error_x"]
        above = [error or 0.0 for error in bars["array"]]
        below = [error or 0.0 for error in bars.get("arrayminus", bars["array"])]
        self._axes_of(trace).errorbar(
            x,
            trace["y"],
            xerr=[below, above],
            fmt="none",
            ecolor=bars["color"],
            elinewidth=0.75 * bars["thickness"],
            capsize=0.75 * bars["width"],
            capthick=0.75 * bars["thickness"],
            zorder=2.5,
        )

    def _annotation(self, note: Mapping[str, Any]) -> None:
        from matplotlib.transforms import blended_transform_factory

        text = self.fonts.drawable(_plain(note["text"]))
        x, places = note["x"], self.axes.transData
        if note.get("xref") == "paper":
            # The left end of all panels.
            x = self.left / self.width
            places = blended_transform_factory(self.sheet.transFigure, places)
        self.axes.annotate(
            text,
            (x, note["y"]),
            (0.75 * note["xshift"], 0.75 * note["yshift"]),
            xycoords=places,
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            parse_math=False,
            color=note["font"]["color"],
            fontfamily=self.fonts.families(mono=note["font"]["family"] == MONO),
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
    return html.unescape(_TAG.sub("", text.replace("<br>", "\n")))


def _texts(value: Any) -> Sequence[str]:
    """Every text anywhere in a figure."""
    if isinstance(value, str):
        return [_plain(value)]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []
