"""Bars of an attribution: what speaks for the target, and what against it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_core.figures.attribution_frame import COLUMNS, named_rows, notes, rule, whiskers
from lens_core.figures.attribution_record import (
    UNITS,
    Scores,
    as_scores,
    feature_names,
    method_name,
    target_name,
)
from lens_core.figures.record import in_words
from lens_core.figures.style import Palette, axis, figure, palette
from lens_core.figures.text import cut, escape, number

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "title": "What speaks for “{target}” ({method}, {unit})",
    "over": "{target}” over “{foil}",
    "sum": "Sum of the scores",
    "change": "Change without all of them",
}
"""The words in the bars; the function takes others for some or all of them."""
ROW = 24
"""Pixels of a bar."""


def bars(
    attribution: Scores,
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """One bar for every feature, green where it speaks for the target, purple against it.

    Whiskers are standard errors. Below the rule, where it is known, the sum of the scores beside
    the change that they are to explain. `customdata` is the index of the feature.

    Args:
        attribution: a result, or its JSON form.
        words: other words, see `figures.attribution.WORDS`.
        title: plain text above the figure; None names the target, the method and the
            unit, "" leaves it out.
        dark: the dark theme.

    Raises:
        InputError: a record of another kind.
    """
    record, said, colours = as_scores(attribution), in_words(words, WORDS), palette(dark=dark)
    names = [cut(name, COLUMNS) for name in feature_names(record)]
    values, count = record["scores"], len(names)
    errors = record["standard_errors"] or [None] * count
    sums = _sums(record, said)
    if title is None:
        title = said["title"].format(
            target=cut(target_name(record, said["over"]), 2 * COLUMNS),
            method=method_name(record["method"]),
            unit=UNITS[record["score"]],
        )
    traces = [_bars(names, values, errors, colours)]
    if sums:
        traces.append(notes([f"\u2002{number(value)}" for _, value in sums], count, colours))
    labels = [*names, *(label for label, _ in sums)]
    layout = named_rows(labels, colours, title, ROW, xaxis=_signed_axis(values, errors, colours))
    layout["bargap"] = 0.3
    if sums:
        layout["shapes"] = [rule(count - 0.5, colours)]
    return figure(traces, layout)


def _sums(record: Mapping[str, Any], said: Mapping[str, str]) -> list[tuple[str, float]]:
    """The sum of the scores and what it is held against, where the latter is known."""
    if record["baseline_value"] is None or record["value"] is None:
        return []
    change = record["value"] - record["baseline_value"]
    known = [score for score in record["scores"] if score is not None]
    return [(said["sum"], math.fsum(known)), (said["change"], change)]


def _bars(
    names: Sequence[str],
    values: Sequence[float | None],
    errors: Sequence[float | None],
    colours: Palette,
) -> dict[str, Any]:
    texts = [number(value, signed=True) for value in values]

    def hover(i: int) -> str:
        error = "" if errors[i] is None else f" ± {number(errors[i])}"
        return f"<b>{escape(names[i])}</b><br>{escape(texts[i] + error)}"

    return {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(names))),
        "x": list(values),
        "text": texts,
        "textposition": "outside",
        "textfont": {"color": colours.text},
        "cliponaxis": False,
        "marker": {
            "color": [colours.lowers if (value or 0) < 0 else colours.raises for value in values]
        },
        "hovertext": [hover(i) for i in range(len(names))],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": list(range(len(names))),
        "meta": {"role": "signed"},
        **whiskers(errors, colours),
    }


def _signed_axis(
    values: Sequence[float | None], errors: Sequence[float | None], colours: Palette
) -> dict[str, Any]:
    ends = [0.0]
    for value, error in zip(values, errors, strict=True):
        ends.append((value or 0.0) + math.copysign(error or 0.0, value or 0.0))
    low, high = min(ends), max(ends)
    # Room for the values at the tips.
    room = 0.12 * (high - low) or 1.0
    return axis(
        colours,
        showticklabels=False,
        zeroline=True,
        zerolinecolor=colours.stream,
        zerolinewidth=1,
        range=[low - (room if low < 0 else 0.0), high + room],
    )
