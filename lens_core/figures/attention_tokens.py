"""Bars of attention beside those of importance: looking is not the same as needing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_core.figures.attention_record import WORDS, Views, as_views, row_of, span_name
from lens_core.figures.attention_rows import Row, check_alike, longest, rows_of, weights_of
from lens_core.figures.attribution_frame import whiskers
from lens_core.figures.attribution_record import (
    UNITS,
    Scores,
    as_scores,
    method_name,
    target_name,
)
from lens_core.figures.record import in_words, token_text
from lens_core.figures.style import Palette, axis, figure, frame, palette
from lens_core.figures.text import cut, escape, number, percent, width

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDTH, ROW = 720, 24
TOP, BOTTOM, SIDE = 34, 12, 16
"""Pixels around the bars, without a title and a note."""
TITLE, NOTE = 32, 26
COLUMNS = 18
"""Names of tokens are cut at so many columns."""
MOST = 100
"""Rows, unless the caller says otherwise."""


def tokens(
    views: Views,
    *,
    layer: int,
    head: int | None = None,
    importance: Scores | None = None,
    join: bool = False,
    most: int = MOST,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """How much each token is looked at, left; and how much the prediction needs it, right.

    Attention is in per cent, importance in the unit of its scores, green where it raises and purple
    where it lowers. The tokens of a feature are one row with the sum of their attention, so rows
    sum to 100 % less what learned sinks take. Tokens after the query have no row. `customdata` is
    [layer, head, first position].

    Args:
        views: of attention from one position, or their JSON form.
        layer: negative ones count from the last layer of the model.
        head: one of the layer's heads; None takes their mean.
        importance: an attribution of the same text and query, or its JSON form.
        join: also make the tokens of one character one row.
        most: rows at the most; those with the shortest bars are left out and counted below.
        words: other words, see `figures.attention_record.WORDS`.
        title: plain text above the figure; None names the query, the prediction and the
            head, "" leaves it out.
        dark: the dark theme.

    Raises:
        InputError: a layer or head that the result does not have, or importance of something else.
    """
    record, said, colours = as_views(views), in_words(words, WORDS), palette(dark=dark)
    scores = None if importance is None else as_scores(importance)
    if scores is not None:
        check_alike(record, scores)
    weights, sink_mass = weights_of(record, layer, head)
    every = rows_of(record, weights, scores, join=join)
    kept = longest(every, most)
    place = [record["layers"][row_of(record, layer)], head]
    traces = [_attention(kept, place, colours, said, mirrored=scores is not None)]
    if scores is not None:
        traces.append(_importance(kept, place, colours, scores))
    notes = _notes(record, kept, said, sink_mass=sink_mass, count=len(every))
    if title is None:
        title = _title(record, place, said)
    layout = _layout(kept, colours, notes, title)
    layout |= _axes(kept, colours, said, scores)
    return figure(traces, layout)


def _attention(
    rows: Sequence[Row],
    place: list[Any],
    colours: Palette,
    said: Mapping[str, str],
    *,
    mirrored: bool,
) -> dict[str, Any]:
    texts = [percent(row.attention) for row in rows]
    return {
        **_bars(rows, place, [row.attention for row in rows], texts, said["attention"]),
        "marker": {"color": colours.attention},
        "textfont": {"color": colours.text},
        "xaxis": "x",
        "meta": {"role": "attention", "series": "attention", "line": 0, "mirrored": mirrored},
    }


def _importance(
    rows: Sequence[Row], place: list[Any], colours: Palette, scores: Mapping[str, Any]
) -> dict[str, Any]:
    values = [row.importance for row in rows]
    texts = [number(value, signed=True) for value in values]
    name = f"{method_name(scores['method'])}, {UNITS[scores['score']]}"
    return {
        **_bars(rows, place, values, texts, name),
        **whiskers([row.error for row in rows], colours),
        "marker": {
            "color": [colours.lowers if (value or 0) < 0 else colours.raises for value in values]
        },
        "textfont": {"color": colours.text},
        "xaxis": "x2",
        "meta": {"role": "signed", "line": 1},
    }


def _bars(
    rows: Sequence[Row],
    place: list[Any],
    values: list[float | None],
    texts: list[str],
    name: str,
) -> dict[str, Any]:
    def hover(row: Row, text: str) -> str:
        position = f"#{row.start}" if row.stop - row.start == 1 else f"#{row.start}–{row.stop - 1}"
        token = escape(cut(row.name, 3 * COLUMNS))
        return f"<b>{token}</b><br>{position}<br>{escape(f'{name}: {text}')}"

    return {
        "type": "bar",
        "orientation": "h",
        "name": escape(name),
        "y": list(range(len(rows))),
        "x": values,
        "text": [escape(text) for text in texts],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertext": [hover(row, text) for row, text in zip(rows, texts, strict=True)],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [[*place, row.start] for row in rows],
    }


def _title(record: Mapping[str, Any], place: list[Any], said: Mapping[str, str]) -> str:
    query, following = record["queries"][0], record["next"]
    layer, head = place
    where = said["heads" if head is None else "head"]
    return said["title"].format(
        query=cut(span_name(record["input"]["tokens"], query, query + 1), COLUMNS),
        token=cut(token_text(record, following["ids"][0][0]), COLUMNS),
        p=percent(following["p"][0][0]),
        place=where.format(layer=layer, head=head, heads=record["n_heads"]),
    )


def _notes(
    record: Mapping[str, Any],
    rows: Sequence[Row],
    said: Mapping[str, str],
    *,
    sink_mass: float | None,
    count: int,
) -> list[str]:
    """What the bars alone do not say, as sentences that are not escaped."""
    notes, sinks = [], set(record["views"]["sinks"]["positions"])
    named = [cut(row.name, COLUMNS) for row in rows if sinks & set(range(row.start, row.stop))]
    if named:
        notes.append(said["sinks"].format(tokens=", ".join(f"“{name}”" for name in named)))
    if sink_mass is not None:
        notes.append(said["sink_mass"].format(p=percent(sink_mass)))
    if len(rows) < count:
        notes.append(said["left_out"].format(shown=len(rows), count=count))
    return notes


def _layout(
    rows: Sequence[Row], colours: Palette, notes: Sequence[str], title: str
) -> dict[str, Any]:
    top = TOP + (TITLE if title else 0)
    bottom = BOTTOM + (NOTE if notes else 0)
    layout = frame(
        colours,
        title=escape(title) if title else None,
        width=WIDTH,
        height=top + ROW * len(rows) + bottom,
        margin={"l": SIDE, "r": SIDE, "t": top, "b": bottom, "autoexpand": False},
        bargap=0.3,
        uirevision=f"tokens {len(rows)}",
    )
    if notes:
        layout["annotations"] = [
            {
                "name": "subdued",
                "text": escape(" ".join(notes)),
                "x": 0,
                "xref": "paper",
                "y": len(rows) - 0.5,
                "xanchor": "left",
                "yanchor": "middle",
                "xshift": 0,
                "yshift": -22,
                "showarrow": False,
                "font": {"family": layout["font"]["family"], "size": 12, "color": colours.subdued},
            }
        ]
    return layout


def _axes(
    rows: Sequence[Row],
    colours: Palette,
    said: Mapping[str, str],
    scores: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The panels: tokens before their bars, or between those of attention and importance."""
    inner, names = WIDTH - 2 * SIDE, [cut(row.name, COLUMNS) for row in rows]
    label = (20 + 7.4 * max(map(width, names))) / inner
    reach = max((row.attention or 0.0 for row in rows), default=0.0) or 1.0
    attention = {"title": said["attention"], "range": [0.0, 1.16 * reach], "domain": [label, 1.0]}
    axes: dict[str, Any] = {}
    if scores is not None:
        middle = (1 - label) / 2
        attention |= {"range": [1.3 * reach, 0.0], "domain": [0.0, middle]}
        heading = said["importance"].format(
            target=cut(target_name(scores, said["over"]), 2 * COLUMNS),
            method=method_name(scores["method"]),
            unit=UNITS[scores["score"]],
        )
        axes["xaxis2"] = _axis(
            colours, title=heading, range=_signed_range(rows), domain=[middle + label, 1.0]
        )
    axes["xaxis"] = _axis(colours, **attention)
    axes["yaxis"] = axis(
        colours,
        range=[len(rows) - 0.5, -0.5],
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[escape(name) for name in names],
        ticklabelstandoff=6,
        anchor="x" if scores is None else "x2",
    )
    axes["yaxis"]["tickfont"] = {"size": 13, "color": colours.text}
    return axes


def _signed_range(rows: Sequence[Row]) -> list[float]:
    """All bars with their whiskers, and room for the numbers at their tips."""
    ends = [0.0]
    for row in rows:
        value, error = row.importance or 0.0, row.error or 0.0
        ends += [value - error if value < 0 else value + error]
    low, high = min(ends), max(ends)
    room = 0.24 * (high - low) or 1.0
    return [low - (room if low < 0 else 0.0), high + room]


def _axis(colours: Palette, *, title: str, **options: Any) -> dict[str, Any]:
    return axis(
        colours,
        side="top",
        title={
            "text": escape(title),
            "font": {"size": 12, "color": colours.subdued},
            "standoff": 6,
        },
        showticklabels=False,
        fixedrange=True,
        zeroline=True,
        zerolinecolor=colours.stream,
        zerolinewidth=1,
        **options,
    )
