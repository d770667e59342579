"""Whether the order of an attribution is better than chance, as points beside random orders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_core.bounds import CHANCE
from lens_core.figures.attribution_frame import COLUMNS, named_rows, notes, rule
from lens_core.figures.attribution_record import Trust, as_trust, method_name
from lens_core.figures.record import in_words
from lens_core.figures.style import MARKERS, Palette, axis, figure, palette
from lens_core.figures.text import cut, escape, number

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "comprehensiveness": "Comprehensiveness",
    "sufficiency": "Sufficiency",
    "deletion_area": "Deletion curve",
    "comprehensiveness_is": "top {k} removed, more is better",
    "sufficiency_is": "top {k} alone, less is better",
    "deletion_area_is": "mean of all steps, more is better",
    "lost": "Lost log-probability of the target (nats)",
    "random": "{count} random orders, mean and range",
    "value": "{value}",
    "better": "✓ better than chance",
    "chance": "▲ within chance",
    "worse": "✕ worse than chance",
    "few": "▲ too few random orders to tell",
    "few_parts": "▲ too few parts to tell",
    "beats": "beats {beaten} of {count}",
}
"""The words in the strip; the function takes others for some or all of them."""
MEASURES = ("comprehensiveness", "sufficiency", "deletion_area")
STRIP = 46
"""Pixels of a measure."""


def strip(
    trust: Trust,
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """Each measure of each order as a point, beside the mean and the range of random orders.

    The words say how many random orders it beats and whether that is more than chance: whether at
    most 5 % of all orders, itself counted among the random ones, are as good (ties count half).
    With fewer than 19 random orders no order can be. `customdata` is [measure, index of the
    order], the latter None for the random ones.

    Args:
        trust: a faithfulness, or its JSON form.
        words: other words, see `figures.faithfulness.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: a record of another kind.
    """
    record, said, colours = as_trust(trust), in_words(words, WORDS), palette(dark=dark)
    places = [(measure, i) for measure in MEASURES for i in range(len(record["rankings"]))]
    names = [f" · {cut(method_name(one['name']), COLUMNS)}" for one in record["rankings"]]
    labels = [
        f"{said[name]}{names[i] if len(names) > 1 else ''}\n"
        + said[f"{name}_is"].format(k=record["k"])
        for name, i in places
    ]
    traces = [_random(record, places, said, colours)]
    for i in range(len(record["rankings"])):
        traces.append(_order(record, places, i, colours))
    verdicts = [verdict(record, measure, i, said) for measure, i in places]
    traces.append({**notes(verdicts, 0, colours), "xaxis": "x2"})
    below = [said["lost"], f"◇ {said['random'].format(count=len(record['random']))}"]
    layout = named_rows(
        labels, colours, title, STRIP,
        xaxis=_strip_axis(colours, "<br>".join(map(escape, below)), _reach(record)),
        xaxis2=axis(colours, domain=[0.66, 1.0], range=[0, 1], showticklabels=False),
    )  # fmt: skip
    layout["margin"]["b"] += 58
    layout["height"] += 58
    layout["shapes"] = [
        rule(place - 0.5, colours) for place in range(1, len(places)) if places[place][1] == 0
    ]
    return figure(traces, layout)


def verdict(record: Mapping[str, Any], measure: str, place: int, said: Mapping[str, str]) -> str:
    """Two lines about one order by one measure, escaped."""
    ranking, random = record["rankings"][place], record["random"]
    count = len(random)
    beaten = ranking["beaten"][measure] * count
    if 1 / (count + 1) > CHANCE:
        word = "few"
    elif not record["can_tell"] and ranking["p_value"][measure] > CHANCE:
        word = "few_parts"
    elif ranking["p_value"][measure] <= CHANCE:
        word = "better"
    else:
        word = "worse" if (1 + beaten) / (count + 1) <= CHANCE else "chance"
    told = said["value"].format(value=number(ranking[measure]))
    beats = said["beats"].format(beaten=f"{beaten:g}", count=count)
    return f"<b>{escape(said[word])}</b><br>{escape(f'{told} · {beats}')}"


def _random(
    record: Mapping[str, Any],
    places: Sequence[tuple[str, int]],
    said: Mapping[str, str],
    colours: Palette,
) -> dict[str, Any]:
    """Mean and range of the random orders."""
    found = {name: [one[name] for one in record["random"]] for name in MEASURES}
    means = {name: math.fsum(values) / len(values) for name, values in found.items()}
    word = said["random"].format(count=len(record["random"]))

    def hover(name: str) -> str:
        low, high = number(min(found[name])), number(max(found[name]))
        return f"<b>{escape(word)}</b><br>{escape(f'{number(means[name])} ({low} – {high})')}"

    return {
        **_points([means[name] for name, _ in places], list(range(len(places))), word),
        "hovertext": [hover(name) for name, _ in places],
        "customdata": [[name, None] for name, _ in places],
        "marker": {
            "symbol": "diamond", "size": 8, "color": colours.panel,
            "line": {"color": colours.stream, "width": 1.5},
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(found[name]) - means[name] for name, _ in places],
            "arrayminus": [means[name] - min(found[name]) for name, _ in places],
            "color": colours.stream,
            "thickness": 1.5,
            "width": 5,
        },
        "meta": {"role": "random", "line": 0},
    }  # fmt: skip


def _order(
    record: Mapping[str, Any], places: Sequence[tuple[str, int]], place: int, colours: Palette
) -> dict[str, Any]:
    """The points of one order."""
    ranking, series = record["rankings"][place], place % len(MARKERS)
    name = method_name(ranking["name"])
    rows = [row for row, (_, i) in enumerate(places) if i == place]
    values = [ranking[places[row][0]] for row in rows]
    return {
        **_points(values, rows, name),
        "hovertext": [f"<b>{escape(name)}</b><br>{number(value)}" for value in values],
        "customdata": [[places[row][0], place] for row in rows],
        "marker": {
            "symbol": MARKERS[series], "size": 11, "color": colours.series[series],
            "line": {"color": colours.series[series], "width": 0},
        },
        "meta": {"role": "order", "series": series + 1, "line": place + 1},
    }  # fmt: skip


def _points(values: list[Any], rows: list[int], name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        # Values lie along the x axis; the table of the page reads it.
        "orientation": "h",
        "mode": "markers",
        "name": escape(name),
        "x": values,
        "y": rows,
        "cliponaxis": False,
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _reach(record: Mapping[str, Any]) -> tuple[float, float]:
    every = [one[name] for one in (*record["rankings"], *record["random"]) for name in MEASURES]
    low, high = min(0.0, *every), max(0.0, *every)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _strip_axis(colours: Palette, title: str, ends: tuple[float, float]) -> dict[str, Any]:
    low, high = ends
    step = _step((high - low) / 4)
    ticks = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return axis(
        colours,
        domain=[0.0, 0.62],
        range=[low, high],
        title={"text": title, "font": {"size": 12, "color": colours.subdued}, "standoff": 8},
        tickmode="array",
        tickvals=ticks,
        ticktext=[f"{tick:g}".replace("-", "−") for tick in ticks],
        ticklabelstandoff=4,
        fixedrange=True,
        zeroline=True,
        zerolinecolor=colours.stream,
        zerolinewidth=1,
    )


def _step(least: float) -> float:
    """1, 2 or 5 of a power of ten, not below `least`."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(step * unit for step in (1, 2, 5, 10) if step * unit >= least * (1 - 1e-9))
