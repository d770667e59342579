"""Bars of the logit lens: who pushed a token up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.record import Result, as_record, in_words
from lens_core.figures.style import FONT, Palette, axis, figure, frame, palette
from lens_core.figures.text import escape, number

if TYPE_CHECKING:
    import plotly.graph_objects as go


def attribution(
    result: Result,
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """What every part of the stream adds to the target's logit, as bars that sum to it.

    Green raises, purple lowers; below the rule the sum of the parts and the model's own logit
    (both in logits, before a softcap). Direct logit attribution, Elhage et al. (2021).

    Args:
        result: a logit lens with an attribution, or its JSON form.
        words: other words, see `figures.record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: the result has no attribution.
    """
    record, said, colours = as_record(result), in_words(words), palette(dark=dark)
    found = record["attribution"]
    if found is None:
        raise InputError(
            "The result has no attribution; run the lens with a track_position on a model for "
            "which attribution is exact."
        )
    parts = _parts(found, said)
    sums = [(said["sum"], found["total"]), (said["logit"], found["logit"])]
    rows = len(parts) + len(sums)
    traces = [_bars(parts, colours), _sums(sums, len(parts), colours)]
    height = 22 * rows + 24 + (0 if title is None else 28)
    labels = [label for label, _ in [*parts, *sums]]
    values = [value for _, value in parts if value is not None] or [0.0]
    # Room for the values at the tips.
    room = 0.18 * (max(0.0, *values) - min(0.0, *values)) or 1.0
    layout = frame(
        colours,
        title=None if title is None else escape(title),
        height=height,
        margin={"l": 8, "r": 8, "t": 8 if title is None else 36, "b": 8},
        xaxis=axis(
            colours,
            showticklabels=False,
            zeroline=True,
            zerolinecolor=colours.stream,
            zerolinewidth=1,
            range=[min(0.0, *values) - room, max(0.0, *values) + room],
        ),
        yaxis=axis(
            colours,
            range=[rows - 0.4, -0.6],
            tickmode="array",
            tickvals=list(range(rows)),
            ticktext=[escape(label) for label in labels],
            ticklabelstandoff=6,
            automargin=True,
        ),
        bargap=0.3,
        shapes=[_rule(len(parts) - 0.5, colours)],
        uirevision=f"attribution {rows}",
    )
    return figure(traces, layout)


def _rule(y: float, colours: Palette) -> dict[str, Any]:
    return {
        "type": "line",
        "name": "rule",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": y,
        "y1": y,
        "line": {"color": colours.rule, "width": 1},
    }


def _parts(found: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, float | None]]:
    """(label, logits) in the order in which the parts are added."""
    parts = [(words["embedding"], found["embed"])]
    for layer, (attn, mlp) in enumerate(zip(found["attn"], found["mlp"], strict=True)):
        parts.append((words["attention"].format(layer=layer), attn))
        parts.append((words["mlp"].format(layer=layer), mlp))
    if found["constant"]:
        parts.append((words["constant"], found["constant"]))
    return parts


def _bars(parts: list[tuple[str, float | None]], colours: Palette) -> dict[str, Any]:
    values = [value for _, value in parts]
    texts = [number(value, signed=True) for value in values]
    return {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(parts))),
        "x": values,
        "text": texts,
        "textposition": "outside",
        "textfont": {"color": colours.text},
        "cliponaxis": False,
        "marker": {
            "color": [colours.lowers if (value or 0) < 0 else colours.raises for value in values]
        },
        "hovertext": [
            f"<b>{escape(label)}</b><br>{text}"
            for (label, _), text in zip(parts, texts, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "meta": {"role": "signed"},
    }


def _sums(sums: list[tuple[str, float | None]], start: int, colours: Palette) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "text",
        "x": [0] * len(sums),
        "y": list(range(start, start + len(sums))),
        "text": [f"\u2002{number(value)}" for _, value in sums],
        "textposition": "middle right",
        "textfont": {"family": FONT, "size": 12, "color": colours.text},
        "hoverinfo": "skip",
        "meta": {"role": "note"},
    }
