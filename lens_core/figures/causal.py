"""Grids of a causal trace: which patched states restore the answer, layer by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.attention_record import span_name
from lens_core.figures.grid import Grid, Size, grid_figure
from lens_core.figures.pairs_record import TRACES, Trace, record_of
from lens_core.figures.record import in_words
from lens_core.figures.style import palette
from lens_core.figures.text import cut, escape, width

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "denoise": "Answer restored",
    "noise": "Answer kept",
    "estimate": "Answer restored (estimate)",
    "undefined": "not defined",
    "heads": "heads at “{token}”",
    "resid_post": "block output",
    "attn_out": "attention",
    "mlp_out": "MLP",
    "title": "{component}, {metric}",
    "logit_difference": "difference of logits",
    "log_p": "log-probability",
    "kl": "KL to the clean run",
    "patched": "{clean} for {corrupt}",
    "nothing": "∅",
}
"""The words in a grid; the function takes others for some or all of them."""
WIDE, MANY = 9, 40
"""Columns up to which cells are wide, and up to which they have room for their number."""
COLUMNS = 14
"""Names of columns are cut at so many columns."""
_GREY = {False: "#dfe2e6", True: "#3a3f48"}
"""Of cells that are not defined, by whether the theme is dark."""

_Values = list[list[float | None]]


def grid(
    trace: Trace,
    component: str = "resid_post",
    direction: str = "denoise",
    *,
    column: int | None = None,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """The effect of every patch: layers by places of the text, the last layer on top.

    Green is what the clean run has more of the metric (100 % is all of it), purple the other way;
    the scale is symmetric and reaches at least 100 %. Cells are grey where the effect is not
    defined. `customdata` is [layer, head, column], head being None except for heads and column an
    index into the columns of the trace.

    Args:
        trace: a causal trace or an attribution patching, or the JSON form of one.
        component: resid_post, attn_out, mlp_out, or heads (layers by heads at one place).
        direction: denoise (clean states in the corrupt run) or noise (the other way round).
        column: for heads, the index of the place; None takes the last one that was patched.
        words: other words, see `figures.causal.WORDS`.
        title: plain text above the figure; None names component and metric, "" leaves it out.
        dark: the dark theme.

    Raises:
        InputError: a component or direction that was not traced, or heads at no such place.
    """
    record, said = record_of(trace, *TRACES), in_words(words, WORDS)
    chosen = _chosen(record, component, direction)
    names = [_name(record, record["contrast"]["columns"][at], said) for at in chosen["columns"]]
    effect, places, heads = chosen["effect"], chosen["columns"], component == "heads"
    word = said["estimate" if record.get("approximate") else direction]
    if heads:
        at = _place(places, column)
        effect = [[head[at] for head in layer] for layer in effect]
        clicks = [
            [[layer, head, places[at]] for head in range(len(row))]
            for layer, row in enumerate(effect)
        ]
        labels = [f"H{head}" for head in range(len(effect[0]))]
        named = said["heads"].format(token=cut(names[at], COLUMNS))
    else:
        clicks = [[[layer, None, one] for one in places] for layer in range(len(effect))]
        labels = [cut(name, COLUMNS) for name in names]
        named = said[component]
    told = [[_place_name(c, names, places, said, heads=heads) for c in row] for row in clicks]
    if title is None:
        metric = said[record["contrast"]["metric"]]
        title = said["title"].format(component=named, metric=metric)
    made = grid_figure(
        _grids(effect, told, (word, said["undefined"])),
        [f"L{layer}" for layer in range(len(effect))],
        labels, clicks, palette(dark=dark), title=title or None,
        size=_size(labels, title, word, said["undefined"]),
    )  # fmt: skip
    return _with_grey(made, _GREY[dark])


def _chosen(record: Mapping[str, Any], component: str, direction: str) -> Mapping[str, Any]:
    for one in record["grids"]:
        if (one["component"], one["direction"]) == (component, direction):
            return one
    known = ", ".join(f"{one['component']} ({one['direction']})" for one in record["grids"])
    raise InputError(f'There is no grid of "{component}" ({direction}); there are {known}.')


def _place(places: Sequence[int], column: int | None) -> int:
    """Where a column of the trace stands in the grid."""
    if column is None:
        return len(places) - 1
    if column not in places:
        raise InputError(
            f"column is {column}; heads were patched at {', '.join(map(str, places))}."
        )
    return places.index(column)


def _name(record: Mapping[str, Any], column: Mapping[str, Any], said: Mapping[str, str]) -> str:
    """The tokens of a column; both sides of an edit, the clean one first."""
    clean, corrupt = (
        span_name(record["input"][side], *column[side]) or said["nothing"]
        for side in ("clean", "corrupt")
    )
    return clean if clean == corrupt else f"{clean}|{corrupt}"


def _place_name(
    click: Sequence[Any],
    names: Sequence[str],
    places: Sequence[int],
    said: Mapping[str, str],
    *,
    heads: bool,
) -> str:
    """What a hover label says of a cell, escaped."""
    layer, head, column = click
    name = names[places.index(column)]
    clean, bar, corrupt = name.partition("|")
    patched = said["patched"].format(clean=clean, corrupt=corrupt) if bar else name
    where = f"L{layer} H{head}" if heads else f"L{layer}"
    return f"<b>{escape(cut(patched, 4 * COLUMNS))}</b><br>{escape(where)} · #{column}"


def _grids(effect: _Values, told: list[list[str]], words: tuple[str, str]) -> list[Grid]:
    """The defined cells by their sign, and those that are not."""
    known = [value for row in effect for value in row if value is not None]
    high = max([1.0, *(abs(value) for value in known)])
    ends = (_percent(-high), _percent(high))
    shares = [[None if v is None else 0.5 + 0.5 * v / high for v in row] for row in effect]
    texts = [["" if v is None else _percent(v) for v in row] for row in effect]
    cells = zip(effect, told, strict=True)
    hovers = [
        ["" if v is None else f"{t}<br>{escape(words[0])} {escape(_percent(v))}" for v, t in
         zip(*row, strict=True)]
        for row in cells
    ]  # fmt: skip
    grids = [Grid("signed", shares, texts, hovers, ends, words[0])]
    if all(value is not None for row in effect for value in row):
        return grids
    empty = [[0.5 if v is None else None for v in row] for row in effect]
    lines = [["–" if v is None else "" for v in row] for row in effect]
    hovers = [[f"{t}<br>{escape(words[1])}" for t in row] for row in told]
    return [*grids, Grid("amount", empty, lines, hovers, ("", ""), words[1])]


def _percent(value: float) -> str:
    return f"{round(100 * value) + 0:d}%".replace("-", "−")


def _size(labels: Sequence[str], title: str, *words: str) -> Size:
    """Cells with their number, unless there are too many."""
    count, longest = len(labels), max(map(width, labels))
    wide = count <= WIDE
    # Both legends stand side by side, each at most half of the cells wide.
    legends = 2 * max(160, *(round(7.2 * width(word)) for word in words))
    return Size(
        width=max(64, 8 * longest) if wide else 44 if count <= MANY else 24,
        height=26 if count <= MANY else 22,
        left=48,
        least=max(legends, round(8.5 * width(title))),
        written=count <= MANY,
        upright=not wide,
        under=28 if wide else 16 + round(7.3 * longest),
    )


def _with_grey(made: go.Figure, grey: str) -> go.Figure:
    """Cells of the second grid, and its legend, in one grey."""
    traces: Any = made.data
    for trace in [one for one in traces if one.type == "heatmap"][1:]:
        trace.colorscale = [[0, grey], [1, grey]]
    return made
