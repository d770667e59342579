"""What operations on layers cost, as points with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.attribution_frame import named_rows, notes, rule
from lens_core.figures.pairs_record import OPERATIONS, Operations, record_of
from lens_core.figures.record import in_words
from lens_core.figures.style import MARKERS, Palette, axis, figure, palette
from lens_core.figures.text import escape, number
from lens_core.figures.ticks import number_axis, round_ticks

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "remove": "remove L{0}",
    "exchange": "exchange L{0}, L{1}",
    "repeat": "repeat L{0}",
    "zero_attention": "L{0} without attention",
    "zero_mlp": "L{0} without MLP",
    "skip_range": "skip L{0} to L{1}",
    "change": "Change of the loss of a token (nats), mean over texts and 95 % interval",
    "texts": "{texts} texts, {targets} tokens; to the right is worse",
    "interval": "Change (nats)",
    "errors": "{new} new errors, {fixed} fixed",
    "not_finite": "loss is not finite",
}
"""The words in the figure; the function takes others for some or all of them."""
ROW = 24
"""Pixels of an operation."""


def change(
    result: Operations,
    *,
    kind: str | None = None,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """One point for every operation: by how much the loss of a token changes, with its interval.

    Whiskers are 95 % intervals over texts (Student's t, paired), absent with one text. To the
    right, how many tokens are no longer predicted rightly, and how many are for the first time.
    `customdata` is the index among the scores.

    Args:
        result: layer operations, or their JSON form (its tokens may be left out).
        kind: remove, exchange, ...; None shows all that were run.
        words: other words, see `figures.layer_change.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: an operation that was not run.
    """
    record, said, colours = (
        record_of(result, OPERATIONS),
        in_words(words, WORDS),
        palette(dark=dark),
    )
    every = [(at, one) for at, one in enumerate(record["scores"]) if one["operation"] is not None]
    kinds = list(dict.fromkeys(one["operation"]["kind"] for _, one in every))
    if kind is not None and kind not in kinds:
        raise InputError(f'kind is "{kind}"; the operations are {", ".join(kinds)}.')
    # Rows of one kind stand together, in the order of their layers.
    chosen = sorted(
        (one for one in every if kind in (None, one[1]["operation"]["kind"])),
        key=lambda one: (kinds.index(one[1]["operation"]["kind"]), one[1]["operation"]["layers"]),
    )
    labels = [_label(one["operation"], said) for _, one in chosen]
    ends = [0.0, *(end for _, one in chosen for end in _ends(one["change"]))]
    ticks = round_ticks(min(ends), max(ends))
    count = len(record["texts"])
    targets = sum(len(text["ids"]) - 1 for text in record["texts"])
    below = f"{said['change']}\n{said['texts'].format(texts=count, targets=targets)}"
    traces = [
        {
            **_points([one for one in enumerate(chosen) if _kind(one[1][1]) == name], labels),
            **_look(kinds.index(name), colours),
            "name": escape(said["interval"]),
        }
        for name in kinds
        if kind in (None, name)
    ]
    for trace in traces:
        trace["error_x"] |= {"color": trace["marker"]["color"], "thickness": 1.5, "width": 5}
    told = [escape(_errors(one["change"], said)) for _, one in chosen]
    traces.append({**notes(told, 0, colours), "xaxis": "x2"})
    layout = named_rows(
        labels, colours, title, ROW,
        xaxis=number_axis(
            colours, ticks, title=below, domain=[0.0, 0.58], fixedrange=True,
            showgrid=True, gridcolor=colours.rule,
        ),
        xaxis2=axis(colours, domain=[0.61, 1.0], range=[0, 1], showticklabels=False),
    )  # fmt: skip
    layout["margin"]["b"] += 62
    layout["height"] += 62
    breaks = [
        row for row in range(1, len(chosen))
        if len({one["operation"]["kind"] for _, one in chosen[row - 1 : row + 1]}) > 1
    ]  # fmt: skip
    layout["shapes"] = [rule(row - 0.5, colours) for row in breaks]
    return figure(traces, layout)


def _label(operation: Mapping[str, Any], said: Mapping[str, str]) -> str:
    return said[operation["kind"]].format(*operation["layers"])


def _ends(change: Mapping[str, Any]) -> list[float]:
    """How far a point and its interval reach."""
    return [change[name] for name in ("mean", "lo", "hi") if change[name] is not None]


def _errors(change: Mapping[str, Any], said: Mapping[str, str]) -> str:
    if change["mean"] is None:
        return said["not_finite"]
    errors = said["errors"].format(new=change["new_errors"], fixed=change["fixed_errors"])
    return f"{number(change['mean'], 3, signed=True)} · {errors}"


def _kind(score: Mapping[str, Any]) -> str:
    return score["operation"]["kind"]


def _look(place: int, colours: Palette) -> dict[str, Any]:
    """Marker and colour of one kind of operation."""
    series = place % len(MARKERS)
    shade = colours.series[series]
    marker = {"symbol": MARKERS[series], "size": 9, "color": shade}
    return {
        "marker": {**marker, "line": {"color": shade, "width": 0}},
        "meta": {"role": "change", "series": series + 1, "line": place},
    }


def _points(
    rows: Sequence[tuple[int, tuple[int, Mapping[str, Any]]]], labels: Sequence[str]
) -> dict[str, Any]:
    """The operations of one kind; a change that is not finite has no point."""
    known = [one for one in rows if one[1][1]["change"]["mean"] is not None]
    changes = [score["change"] for _, (_, score) in known]
    told = [_told(found) for found in changes]
    return {
        "type": "scatter",
        "orientation": "h",
        "mode": "markers",
        "x": [found["mean"] for found in changes],
        "y": [row for row, _ in known],
        "text": [escape(text) for text in told],
        "hovertext": [
            f"<b>{escape(labels[row])}</b><br>{escape(text)}"
            for (row, _), text in zip(known, told, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [at for _, (at, _) in known],
        "cliponaxis": False,
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_reach(found, "hi") for found in changes],
            "arrayminus": [_reach(found, "lo") for found in changes],
        },
    }


def _told(change: Mapping[str, Any]) -> str:
    told = number(change["mean"], 4, signed=True)
    if change["lo"] is None:
        return told
    ends = [number(change[name], 4, signed=True) for name in ("lo", "hi")]
    return f"{told} ({' – '.join(ends)})"


def _reach(found: Mapping[str, Any], end: str) -> float | None:
    return None if found[end] is None else abs(found[end] - found["mean"])
