"""Dims of minimal pairs: which of them hardly move, and how much every one of them does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_core.figures.pairs_record import DIFFERENCE, Differences, check_known, dims_of, record_of
from lens_core.figures.record import in_words
from lens_core.figures.style import FONT, Palette, figure, frame, palette
from lens_core.figures.text import escape, number, percent, width
from lens_core.figures.ticks import number_axis, round_ticks

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "dims_title": "Dims that hardly move, {site}",
    "rho": "Size of the change, 1 is ordinary (ρ)",
    "hit_rate": "Share of units in which it hardly moves",
    "bound": "ρ ≤ {rho}",
    "chance": "chance",
    "found": "{count} found of {dims} dims, {units} units",
    "few": "Too few units to tell: {units}.",
    "control": "The negative control found {count} here, {share} of all dims.",
    "unsupported": "The control finds too much ({share}): the data do not support the test.",
    "uncontrolled": "Without its negative control the test finds nothing.",
    "dim": "dim {dim}",
    "unmarked": "dims",
    "marked": "found dims",
    "profile_title": "{value} of every dim, {site}",
    "index": "Dim",
    "ascending": "Dims, smallest first",
    "descending": "Dims, largest first",
    "mean_abs": "Mean difference",
    "median_abs": "Median difference",
    "mean_diff": "Mean signed difference",
    "scale": "Difference of mismatched pairs",
    "size": "Size of the state",
}
"""The words in both figures; the functions take others for some or all of them."""
VALUES = ("mean_abs", "median_abs", "mean_diff", "scale", "size")
ORDERS = ("index", "ascending", "descending")
HEIGHT, LEFT, RIGHT = 360, 64, 20
CROWDED = 512
"""Dims above which the line has no points."""


def dimensions(
    result: Differences,
    site: str,
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """Every tested dim of a site: how often it is among the least responsive against its ρ.

    Dims that were found are filled diamonds. What the negative control found is said below.
    `customdata` is the dim; `meta` of a trace its role (unmarked, marked, bound or chance).

    Args:
        result: a comparison of pairs, or its JSON form.
        site: such as "layer_3", see `PairDifference.sites`.
        words: other words, see `figures.pair_dims.WORDS`.
        title: plain text above the figure; None names the site, "" leaves it out.
        dark: the dark theme.
        height: in pixels.

    Raises:
        InputError: a site without tested dims.
    """
    from lens_core.difference.statistics import RHO

    record, said, colours = (
        record_of(result, DIFFERENCE),
        in_words(words, WORDS),
        palette(dark=dark),
    )
    values = dims_of(record, site)
    found = set(values["found"])
    known = [
        (dim, rho, hit)
        for dim, (rho, hit) in enumerate(zip(values["rho"], values["hit_rate"], strict=True))
        if rho is not None and hit is not None
    ]
    xticks = round_ticks(0.0, max([1.0, *(rho for _, rho, _ in known)]))
    yticks = round_ticks(0.0, max([0.2, *(hit for *_, hit in known)]))
    chance = record["input"]["options"]["q"]
    traces = [
        _rule([0.0, xticks[-1]], [chance, chance], "chance", said["chance"], colours),
        _rule([RHO, RHO], [0.0, yticks[-1]], "bound", said["bound"].format(rho=RHO), colours),
        _points([one for one in known if one[0] not in found], False, values, said, colours),
        _points([one for one in known if one[0] in found], True, values, said, colours),
    ]
    notes = [note for note in (said["rho"], *_verdict(record, site, said, len(known))) if note]
    if title is None:
        title = said["dims_title"].format(site=site)
    xaxis = number_axis(colours, xticks, title="\n".join(notes))
    layout = _layout(
        colours, (height, title), xaxis, yticks, said["hit_rate"], 34 + 16 * len(notes)
    )
    layout["annotations"] = [
        _label(
            said["chance"], (xticks[-1], chance), (-round(6.4 * width(said["chance"])), 9), colours
        ),
        _label(said["bound"].format(rho=RHO), (RHO, yticks[-1]), (5, 0), colours),
    ]
    return figure(traces, layout)


def profile(
    result: Differences,
    site: str,
    order: str = "index",
    *,
    value: str = "mean_abs",
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """One value of every dim of a site as a line, found dims marked.

    `customdata` of a point is its dim; dims without the value stand at the end, with a gap.

    Args:
        result: a comparison of pairs, or its JSON form.
        site: such as "layer_3", see `PairDifference.sites`.
        order: index (as they are numbered), ascending or descending (by the value).
        value: mean_abs, median_abs, mean_diff, scale or size.
        words: other words, see `figures.pair_dims.WORDS`.
        title: plain text above the figure; None names value and site, "" leaves it out.
        dark: the dark theme.
        height: in pixels.

    Raises:
        InputError: a site without dims, or an unknown order or value.
    """
    record, said, colours = (
        record_of(result, DIFFERENCE),
        in_words(words, WORDS),
        palette(dark=dark),
    )
    check_known("order", order, ORDERS)
    check_known("value", value, VALUES)
    values = dims_of(record, site)
    column = values[value]
    dims = _ordered(column, order)
    known = [one for one in column if one is not None]
    ticks = round_ticks(min([0.0, *known]), max([0.0, *known]))
    marked = set(values["found"])
    places = [place for place, dim in enumerate(dims) if dim in marked]
    traces = [
        _curve(dims, column, range(len(dims)), (said, value, colours), found=False),
        _curve(dims, column, places, (said, value, colours), found=True),
    ]
    if title is None:
        title = said["profile_title"].format(value=said[value], site=site)
    ends = [0, max(len(dims) - 1, 1)]
    xaxis = number_axis(colours, ends, title=said[order], zero=False)
    if order == "index":
        shown = [tick for tick in round_ticks(*ends) if tick <= ends[1]]
        xaxis |= {"tickvals": shown, "ticktext": [f"{tick:g}" for tick in shown]}
    else:
        xaxis |= {"tickvals": [], "ticktext": []}
    return figure(traces, _layout(colours, (height, title), xaxis, ticks, said[value], 50))


def _ordered(column: Sequence[float | None], order: str) -> list[int]:
    """The dims in their order; unknown values last, equal ones by their number."""
    dims = list(range(len(column)))
    if order == "index":
        return dims
    sign = 1 if order == "ascending" else -1
    return sorted(dims, key=lambda dim: (column[dim] is None, sign * (column[dim] or 0.0), dim))


def _curve(
    dims: Sequence[int],
    column: Sequence[float | None],
    places: Sequence[int] | range,
    look: tuple[Mapping[str, str], str, Palette],
    *,
    found: bool,
) -> dict[str, Any]:
    """All dims, or those that were found; `look` is the words, what is shown, and the colours."""
    said, value, colours = look
    shade = colours.series[0] if found else colours.stream
    every = "lines" if len(dims) > CROWDED else "lines+markers"
    names = [said["dim"].format(dim=dims[place]) for place in places]
    heights = [column[dims[place]] for place in places]
    return {
        "type": "scatter",
        "mode": "markers" if found else every,
        "name": escape(said["marked" if found else value]),
        "x": list(places),
        "y": heights,
        "hovertext": [
            f"<b>{escape(name)}</b><br>{escape(number(height, 4))}"
            for name, height in zip(names, heights, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [dims[place] for place in places],
        "line": {"color": shade, "width": 1, "dash": "solid"},
        "marker": {
            "symbol": "diamond" if found else "circle", "size": 9 if found else 3, "color": shade,
            "line": {"color": shade, "width": 0},
        },
        "cliponaxis": False,
        "meta": {"role": "found", "series": 1} if found else {"role": "dims"},
    }  # fmt: skip


def _points(
    known: Sequence[tuple[int, float, float]],
    found: bool,
    values: Mapping[str, Any],
    said: Mapping[str, str],
    colours: Palette,
) -> dict[str, Any]:
    shade = colours.series[0] if found else colours.stream

    def hover(dim: int, rho: float, hit: float) -> str:
        name = said["dim"].format(dim=dim)
        told = f"ρ {number(rho)} · {percent(hit)} · q {number(values['q'][dim], 3)}"
        return f"<b>{escape(name)}</b><br>{escape(told)}"

    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(said["marked" if found else "unmarked"]),
        "x": [rho for _, rho, _ in known],
        "y": [hit for *_, hit in known],
        "hovertext": [hover(*one) for one in known],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [dim for dim, *_ in known],
        "marker": {
            "symbol": "diamond" if found else "circle", "size": 10 if found else 6,
            "color": shade if found else colours.panel, "line": {"color": shade, "width": 1},
        },
        "cliponaxis": False,
        "meta": {"role": "marked", "series": 1} if found else {"role": "unmarked"},
    }  # fmt: skip


def _rule(x: list[float], y: list[float], role: str, name: str, colours: Palette) -> dict[str, Any]:
    """A dashed line."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name),
        "x": x,
        "y": y,
        "line": {"color": colours.stream, "width": 1, "dash": "4px,4px"},
        "marker": {"symbol": "circle", "size": 0, "color": colours.stream},
        "hoverinfo": "skip",
        "meta": {"role": role},
    }


def _label(
    text: str, place: tuple[float, float], shift: tuple[int, int], colours: Palette
) -> dict[str, Any]:
    """The name of a rule, so many pixels from one of its ends."""
    return {
        "name": "subdued",
        "text": escape(text),
        "x": place[0],
        "y": place[1],
        "xanchor": "left",
        "yanchor": "middle",
        "xshift": shift[0],
        "yshift": shift[1],
        "showarrow": False,
        "font": {"family": FONT, "size": 12, "color": colours.subdued},
    }


def _verdict(
    record: Mapping[str, Any], site: str, said: Mapping[str, str], tested: int
) -> list[str]:
    """What was found and what the control says of it."""
    found = len(record["dims"][site]["found"])
    lines = [said["found"].format(count=found, dims=tested, units=record["units"])]
    if all(p is None for p in record["dims"][site]["p"]):
        lines = [said["few"].format(units=record["units"])]
    control = record["control"]
    if control is None:
        return [*lines, said["uncontrolled"]]
    share = percent(control["share"])
    count = control["found_per_site"][list(record["sites"]).index(site)]
    lines.append(said["control"].format(count=count, share=share))
    if not control["supported"] and control["share"] is not None:
        lines.append(said["unsupported"].format(share=share))
    return lines


def _layout(
    colours: Palette,
    look: tuple[int, str],
    xaxis: dict[str, Any],
    ticks: Sequence[float],
    name: str,
    foot: int,
) -> dict[str, Any]:
    height, title = look
    below = foot + 8
    rules = {"showgrid": True, "gridcolor": colours.rule, "side": "left"}
    return frame(
        colours,
        title=escape(title) if title else None,
        height=height + below,
        margin={"l": LEFT, "r": RIGHT, "t": 44 if title else 16, "b": below},
        xaxis=xaxis,
        yaxis=number_axis(colours, ticks, title=name, ticklabelstandoff=8, **rules),
        uirevision=f"pair dims {name}",
    )
