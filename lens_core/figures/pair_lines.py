"""Lines of minimal pairs: how far the sides are apart from layer to layer, by kind of pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.labels import SIZE, end_labels
from lens_core.figures.pairs_record import DIFFERENCE, Differences, check_known, record_of, row_name
from lens_core.figures.record import in_words
from lens_core.figures.style import DASHES, FONT, MARKERS, Palette, axis, figure, frame, palette
from lens_core.figures.text import cut, escape, number, shown, width
from lens_core.figures.ticks import number_axis, round_ticks

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "embed": "embed",
    "all": "all pairs",
    "mean_abs": "Mean difference of a dim",
    "max_abs": "Largest difference of a dim",
    "min_abs": "Smallest difference of a dim",
    "l2": "Distance",
    "rel_l2": "Relative distance",
    "cos_dist": "1 − cosine",
    "norm_ratio": "Ratio of lengths",
    "kl_lens_12": "KL of the predictions, 1 to 2 (nats)",
    "kl_lens_21": "KL of the predictions, 2 to 1 (nats)",
    "js_lens": "Divergence of the predictions (nats)",
    "recovery": "Share of the largest distance so far",
    "top_share": "Share of the largest hundredth of dims",
    "top_share_without_massive": "Share of the largest hundredth of dims, massive ones left out",
    "count": "{name} (n = {units})",
    "interval": "mean and 95 % interval over {units} units of {pairs} pairs",
    "quartiles": "median and quartiles over {units} units of {pairs} pairs",
    "none": "mean over {units} units of {pairs} pairs",
}
"""The words in the lines; the function takes others for some or all of them."""
BANDS = {"interval": ("mean", "lo", "hi"), "quartiles": ("median", "q1", "q3"), "none": ("mean",)}
"""What the line and the ends of the band are."""
GROUPINGS = ("all", "type", "subtype")
HEIGHT, TOP, BOTTOM, LEFT = 300, 12, 30, 64
COLUMNS = 28
"""Names of groups are cut at so many columns."""


@dataclass(frozen=True)
class _Course:
    """One group from layer to layer; None where a number is not known."""

    name: str
    note: str
    """What line and band are of."""
    group: tuple[str | None, str | None]
    columns: tuple[list[float | None], ...]
    """The line, and the ends of its band where it has one."""


def layers(
    result: Differences,
    *,
    metric: str = "rel_l2",
    by: str = "type",
    component: str = "resid_post",
    band: str = "interval",
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """One metric from layer to layer, a line and its band for every group of pairs.

    The first four groups have a colour, a dash and a marker of their own, the others are grey; n is
    the number of units. `customdata` of a point is its layer (-1 for the embedding), `meta` of a
    trace its role (line or band) and its group.

    Args:
        result: a comparison of pairs, or its JSON form.
        metric: which of its metrics.
        by: all (one line), type, or subtype (types that have none are left out); all where pairs
            have neither.
        component: one of those that were compared, such as resid_post or attn_out.
        band: interval (mean, 95 % interval of the mean), quartiles (median) or none.
        words: other words, see `figures.pair_lines.WORDS`.
        title: plain text above the figure; None names the metric, "" leaves it out.
        dark: the dark theme.
        height: in pixels.

    Raises:
        InputError: a metric, grouping or component that the result does not have.
    """
    record, said, colours = (
        record_of(result, DIFFERENCE),
        in_words(words, WORDS),
        palette(dark=dark),
    )
    check_known("by", by, GROUPINGS)
    check_known("band", band, BANDS)
    check_known("metric", metric, record["metrics"])
    rows = [at for at, name in enumerate(record["components"]) if name == component]
    if not rows:
        known = ", ".join(dict.fromkeys(record["components"]))
        raise InputError(f"component is {component!r}; the pairs were compared at {known}.")
    places = [record["layers"][row] for row in rows]
    courses = list(_courses(record, (metric, by, band), rows, said))
    courses = courses or list(_courses(record, (metric, "all", band), rows, said))
    every = [value for one in courses for column in one.columns for value in column]
    known = [value for value in every if value is not None]
    ticks = round_ticks(min([0.0, *known]), max(known, default=1.0))
    names = [row_name(layer, said["embed"]) for layer in places]
    bands = [
        trace for at, one in enumerate(courses) for trace in _bands(one, at, len(courses), colours)
    ]
    lines = [_line(one, at, (names, places), colours) for at, one in enumerate(courses)]
    title = said[metric] if title is None else title
    layout = _layout(names, ticks, courses, (colours, height, title))
    # The first line is drawn last, over the others.
    return figure([*bands[::-1], *lines[::-1]], layout)


def _courses(
    record: Mapping[str, Any],
    what: tuple[str, str, str],
    rows: Sequence[int],
    said: Mapping[str, str],
) -> Iterator[_Course]:
    """The groups that are asked for, in the order of the result."""
    metric, by, band = what
    for group in record["groups"]:
        kind, subtype = group["type"], group["subtype"]
        if by != ("all" if kind is None else "type" if subtype is None else "subtype"):
            continue
        name = said["all"] if kind is None else _shown(kind)
        if subtype is not None:
            name = f"{name} · {_shown(subtype)}" if kind else _shown(subtype)
        # Pairs of equal sides are one unit each, and that none differs is no estimate.
        counts = {"units": group["n_units"], "pairs": group["n_pairs"]}
        spread = group["metrics"][metric]
        columns = tuple([spread[part][row] for row in rows] for part in BANDS[band])
        label = said["count"].format(name=cut(name, COLUMNS), units=counts["units"])
        yield _Course(label, said[band].format(**counts), (kind, subtype), columns)


def _shown(text: str) -> str:
    return shown({"text": text}).replace("·", " ")


def _style(at: int, colours: Palette) -> tuple[str, str, str]:
    """Colour, dash and marker of a group; grey behind the fourth."""
    if at < len(DASHES):
        return colours.series[at], DASHES[at], MARKERS[at]
    return colours.stream, "solid", "circle"


def _line(
    course: _Course, at: int, rows: tuple[Sequence[str], Sequence[int]], colours: Palette
) -> dict[str, Any]:
    names, places = rows
    shade, dash, marker = _style(at, colours)
    values = course.columns[0]
    texts = [_told(course, depth) for depth in range(len(values))]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(course.name),
        "x": list(range(len(values))),
        "y": values,
        "text": [escape(text) for text in texts],
        "hovertext": [
            f"<b>{escape(course.name)}</b><br>{escape(name)} · {escape(text)}<br>"
            f"{escape(course.note)}"
            for name, text in zip(names, texts, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": list(places),
        "cliponaxis": False,
        "connectgaps": False,
        "line": {"color": shade, "width": 2, "dash": dash},
        "marker": {
            "symbol": marker, "size": 6, "color": shade, "line": {"color": shade, "width": 0},
        },
        "meta": {"role": "line", "line": at, "group": list(course.group), **_series(at)},
    }  # fmt: skip


def _told(course: _Course, depth: int) -> str:
    value, *ends = (column[depth] for column in course.columns)
    told = number(value, 3)
    if ends and None not in ends:
        told += f" ({number(ends[0], 3)} – {number(ends[1], 3)})"
    return told


def _series(at: int) -> dict[str, int]:
    return {"series": at + 1} if at < len(DASHES) else {}


def _bands(course: _Course, at: int, count: int, colours: Palette) -> Iterator[dict[str, Any]]:
    """The band as polygons, broken where an end is not known; none where lines are too many."""
    if len(course.columns) < 3 or (at >= len(DASHES) and count > len(DASHES)):
        return
    _, low, high = course.columns
    shade = _style(at, colours)[0]
    for run in _known_runs(low, high):
        corners = [*run, *reversed(run), run[0]]
        ends = [*(high[i] for i in run), *(low[i] for i in reversed(run)), high[run[0]]]
        yield {
            "type": "scatter",
            "mode": "lines",
            "name": escape(course.name),
            "x": corners,
            "y": ends,
            "fill": "toself",
            "fillcolor": _faint(shade),
            "line": {"color": _mixed(shade, colours.panel), "width": 0, "dash": "solid"},
            "marker": {"symbol": "circle", "size": 0, "color": shade},
            "hoverinfo": "skip",
            "cliponaxis": False,
            "meta": {"role": "band", "line": at, "group": list(course.group), **_series(at)},
        }


def _known_runs(low: Sequence[float | None], high: Sequence[float | None]) -> Iterator[list[int]]:
    run: list[int] = []
    for place, ends in enumerate(zip(low, high, strict=True)):
        if None not in ends:
            run.append(place)
            continue
        if run:
            yield run
        run = []
    if run:
        yield run


def _channels(shade: str) -> list[int]:
    return [int(shade[at : at + 2], 16) for at in (1, 3, 5)]


def _faint(shade: str) -> str:
    """A colour at 13 % opacity."""
    return f"rgba({','.join(map(str, _channels(shade)))},0.13)"


def _mixed(shade: str, ground: str, part: float = 0.4) -> str:
    """A colour on its way to the ground, for the edge of a band."""
    pairs = zip(_channels(shade), _channels(ground), strict=True)
    return "#" + "".join(f"{round(part * one + (1 - part) * two):02x}" for one, two in pairs)


def _layout(
    names: Sequence[str],
    ticks: Sequence[float],
    courses: Sequence[_Course],
    look: tuple[Palette, int, str],
) -> dict[str, Any]:
    colours, height, title = look
    above = TOP + (28 if title else 0)
    columns = max((width(one.name) for one in courses), default=0)
    last = max(len(names) - 1, 0)
    step = 1 + last // 24
    layout = frame(
        colours,
        title=escape(title) if title else None,
        height=height,
        margin={"l": LEFT, "r": 20 + round(0.6 * SIZE * columns), "t": above, "b": BOTTOM},
        xaxis=axis(
            colours,
            # One depth alone stands in the middle.
            range=[0, last] if last else [-1, 1],
            tickmode="array",
            tickvals=list(range(0, last + 1, step)),
            ticktext=[escape(name) for name in names[::step]],
            ticklabelstandoff=4,
        ),
        yaxis=number_axis(
            colours, ticks, ticklabelstandoff=8, showgrid=True, gridcolor=colours.rule,
            fixedrange=True,
        ),
        uirevision=f"pair layers {len(names)}",
    )  # fmt: skip
    low, high = layout["yaxis"]["range"]
    ends = [(one.name, at) for at, one in enumerate(courses) if one.columns[0][-1] is not None]
    said = [
        (name, at + 1 if at < len(DASHES) else None, courses[at].columns[0][-1] or 0.0)
        for name, at in ends
    ]
    notes = end_labels(said, last, height - above - BOTTOM, (low, high), colours)
    order = sorted(range(len(said)), key=lambda i: (said[i][2], -i))
    layout["annotations"] = [
        # The names are whole, in the font of words.
        {**note, "text": f"<b>{escape(said[i][0])}</b>", "font": {**note["font"], "family": FONT}}
        for i, note in zip(order, notes, strict=True)
    ]
    return layout
