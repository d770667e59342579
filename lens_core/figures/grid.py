"""Cells with a colour, a text and a legend: how every heat map is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.figures.style import (
    MONO,
    Palette,
    axis,
    colour,
    colourscale,
    figure,
    frame,
    palette,
    text_on,
)
from lens_core.figures.text import escape

if TYPE_CHECKING:
    import plotly.graph_objects as go

FOOT = 56
"""Pixels for the legend."""


@dataclass(frozen=True)
class Size:
    """Pixels of the parts of a figure of cells."""

    width: int = 104
    """Of a cell; cells are wider where all of them are less than `least`."""
    height: int = 26
    left: int = 150
    """For the labels of the rows."""
    under: int = 28
    """For the labels of the columns."""
    upright: bool = False
    """The labels of the columns are written upwards."""
    least: int = 312
    """Of all cells together."""
    written: bool = True
    """The texts of the cells are drawn; the table of the page has them in any case."""


@dataclass(frozen=True)
class Grid:
    """Cells that are coloured by one quantity; rows from the bottom up, None where there is none.

    Shares are 0 to 1 on the scale.
    """

    scale: str
    shares: list[list[float | None]]
    texts: list[list[str]]
    """What stands in the cell, not escaped."""
    hovers: list[list[str]]
    """Escaped."""
    ends: tuple[str, str]
    """The two ends of the legend."""
    title: str


def grid_figure(
    grids: Sequence[Grid],
    labels: Sequence[str],
    columns: Sequence[str],
    clicks: list[list[Any]],
    colours: Palette,
    *,
    title: str | None,
    size: Size = Size(),
) -> go.Figure:
    """Grids over the same places, each coloured by its own scale, as one figure.

    Args:
        grids: where one has a cell, the others have None.
        labels: of the rows, from the bottom up.
        columns: their labels.
        clicks: [row][column], what a click on a cell reports.
        colours: of the theme.
        title: plain text above.
        size: of the parts, in pixels.
    """
    top = 12 if title is None else 40
    traces = []
    for i, grid in enumerate(grids):
        traces.append(_coloured(grid, clicks, colours, i, size.under))
        if size.written:
            traces.append(_written(grid, colours))
    height, foot = size.height * len(labels), size.under + FOOT
    upright = {"tickangle": -90} if size.upright else {}
    layout = frame(
        colours,
        title=None if title is None else escape(title),
        width=size.left + max(size.width * len(columns), size.least) + 16,
        height=top + height + foot,
        # The legend is to take its own room, not that of the cells.
        margin={"l": size.left, "r": 16, "t": top, "b": foot, "autoexpand": False},
        xaxis=_ticks(
            columns, colours, range=[-0.5, len(columns) - 0.5], tickfont_family=MONO, **upright
        ),
        yaxis=_ticks(labels, colours, range=[-0.5, len(labels) - 0.5]),
        uirevision=f"grid {len(labels)} {len(columns)}",
    )
    return figure(traces, layout)


def _ticks(texts: Sequence[str], colours: Palette, **options: Any) -> dict[str, Any]:
    ticks = axis(
        colours,
        tickmode="array",
        tickvals=list(range(len(texts))),
        ticktext=[escape(text) for text in texts],
        ticklabelstandoff=4,
        **options,
    )
    if family := ticks.pop("tickfont_family", None):
        ticks["tickfont"] = {**ticks["tickfont"], "family": family}
    return ticks


def _coloured(
    grid: Grid, clicks: list[list[Any]], colours: Palette, place: int, under: int
) -> dict[str, Any]:
    dark = colours is palette(dark=True)
    return {
        "type": "heatmap",
        "z": grid.shares,
        "zmin": 0,
        "zmax": 1,
        "colorscale": colourscale(grid.scale, dark=dark),
        "xgap": 1.5,
        "ygap": 1.5,
        "text": [[escape(text) for text in row] for row in grid.texts],
        "hovertext": grid.hovers,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "hoverongaps": False,
        "customdata": clicks,
        "meta": {"scale": grid.scale, "role": "cells"},
        "colorbar": {
            "orientation": "h",
            "title": {"text": escape(grid.title), "side": "top", "font": {"size": 12}},
            "thickness": 10,
            "lenmode": "pixels",
            "len": 140,
            "x": 0.5 * place,
            "xanchor": "left",
            "xpad": 0,
            "y": 0,
            "yref": "paper",
            "yanchor": "top",
            "ypad": under + 6,
            "tickmode": "array",
            "tickvals": [0, 1],
            "ticktext": list(grid.ends),
            "tickangle": 0,
            "outlinewidth": 0,
            "tickfont": {"color": colours.subdued},
        },
    }


def _written(grid: Grid, colours: Palette) -> dict[str, Any]:
    """The texts of the cells as points: Plotly's own cell text is not always readable on them."""
    dark = colours is palette(dark=True)
    cells = [
        (x, y, grid.texts[y][x], share)
        for y, row in enumerate(grid.shares)
        for x, share in enumerate(row)
        if share is not None
    ]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x for x, *_ in cells],
        "y": [y for _, y, *_ in cells],
        "text": [escape(text) for _, _, text, _ in cells],
        "textfont": {
            "family": MONO,
            "size": 11,
            "color": [text_on(colour(grid.scale, share, dark=dark)) for *_, share in cells],
        },
        "customdata": [share for *_, share in cells],
        "hoverinfo": "skip",
        "meta": {"scale": grid.scale, "role": "cell-text"},
    }
