"""Grids of attention: every layer and head, or every layer and token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.attention_record import (
    WORDS,
    Views,
    as_views,
    measured,
    source_of,
    token_name,
)
from lens_core.figures.grid import Grid, Size, grid_figure
from lens_core.figures.record import in_words
from lens_core.figures.style import palette
from lens_core.figures.text import cut, escape, number, percent, width

if TYPE_CHECKING:
    import plotly.graph_objects as go

QUANTITIES = ("weight", "entropy", "effective_tokens", "norm")
WIDE = 9
"""Columns up to which cells are wide enough for their numbers."""
COLUMNS = 12
"""Names of tokens under columns and in legends are cut at so many columns."""

_Values = list[list[float | None]]


def heads(
    views: Views,
    source: int | None = None,
    quantity: str = "weight",
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """One quantity of every head: layers by heads, the last layer on top.

    Colours go from 0 to the largest value, from 1 on for effective_tokens; layers without
    attention have no row. `customdata` is [layer, head, source], source being the token that is
    looked at, None for quantities of whole rows.

    Args:
        views: of attention from one position, or their JSON form.
        source: the token that is looked at, negative ones from the end of the text. None shows
            what each head pays to the token that it looks at most. Entropy and effective_tokens
            are of whole rows and do not depend on it.
        quantity: weight (0 to 1), norm (length of what is moved), entropy (nats) or
            effective_tokens (1 and up).
        words: other words, see `figures.attention_record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: an unknown quantity, norms that were left out, or a source after the query.
    """
    if quantity not in QUANTITIES:
        raise InputError(f'quantity is "{quantity}"; it can be {", ".join(QUANTITIES)}.')
    record, said = as_views(views), in_words(words, WORDS)
    names = [token_name(token) for token in record["input"]["tokens"]]
    values, sources = _of_heads(record, source, quantity)
    layers, count = record["layers"], record["n_heads"]
    word = said[quantity]
    if quantity in ("weight", "norm"):
        at = None if source is None else source_of(record, source)
        most = said["most" if quantity == "weight" else "norm_most"]
        word = most if at is None else word.format(token=cut(names[at], COLUMNS))

    def hover(row: int, head: int) -> str:
        told = [f"<b>{escape(f'L{layers[row]} H{head}')}</b>", _told(values[row][head], quantity)]
        at = sources[row][head]
        if at is not None:
            told.append(escape(f"#{at} {cut(names[at], 4 * COLUMNS)}"))
        if record["model"]["n_kv_heads"] != count:
            told.append(escape(said["kv_head"].format(head=record["kv_head"][row][head])))
        return "<br>".join(told)

    clicks = [[[layer, h, sources[i][h]] for h in range(count)] for i, layer in enumerate(layers)]
    columns = [f"H{head}" for head in range(count)]
    wide = count <= WIDE
    size = Size(
        width=56 if wide else 30, height=24, left=48, least=max(336, _written_width(title, word)),
        written=wide,
    )  # fmt: skip
    return grid_figure(
        [_grid(values, quantity, word, hover)],
        [f"L{layer}" for layer in layers],
        columns, clicks, palette(dark=dark), title=title, size=size,
    )  # fmt: skip


def depth(
    views: Views,
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """What the mean of heads pays to each token: layers by tokens, the last layer on top.

    Tokens after the query have no column. Colours go from 0 to the largest value. `customdata` is
    [layer, None, source], as in `heads`.

    Args:
        views: of attention from one position, or their JSON form.
        words: other words, see `figures.attention_record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: a record of another kind.
    """
    record, said = as_views(views), in_words(words, WORDS)
    query, layers = record["queries"][0], record["layers"]
    names = [token_name(token) for token in record["input"]["tokens"]][: query + 1]
    values: _Values = [row[: query + 1] for row in record["views"]["head_mean"]]

    def hover(row: int, at: int) -> str:
        place = escape(f"L{layers[row]} · #{at}")
        name = escape(cut(names[at], 4 * COLUMNS))
        return f"<b>{name}</b><br>{place}<br>{_told(values[row][at], 'weight')}"

    word = said["depth"].format(query=cut(names[query], COLUMNS))
    columns = [cut(name, COLUMNS) for name in names]
    wide = len(columns) <= WIDE
    size = Size(
        width=84 if wide else 30, height=24, left=48, least=max(336, _written_width(title, word)),
        written=wide, upright=not wide,
        under=28 if wide else 16 + round(7.3 * max(map(width, columns))),
    )  # fmt: skip
    return grid_figure(
        [_grid(values, "weight", word, hover)],
        [f"L{layer}" for layer in layers],
        columns,
        [[[layer, None, at] for at in range(query + 1)] for layer in layers],
        palette(dark=dark), title=title, size=size,
    )  # fmt: skip


def _of_heads(
    record: Mapping[str, Any], source: int | None, quantity: str
) -> tuple[_Values, list[list[int | None]]]:
    """The values [layer][head], and the source that each is of."""
    count = record["n_heads"]
    if quantity in ("entropy", "effective_tokens"):
        values = record["views"][quantity]
        return values, [[None] * count for _ in values]
    rows = measured(record, quantity)
    if source is not None:
        at = source_of(record, source)
        return [[row[at] for row in layer] for layer in rows], [[at] * count for _ in rows]
    most = [[_largest(row) for row in layer] for layer in rows]
    return [
        [None if at is None else row[at] for row, at in zip(layer, places, strict=True)]
        for layer, places in zip(rows, most, strict=True)
    ], most


def _largest(row: list[float | None]) -> int | None:
    known = [(value, -at) for at, value in enumerate(row) if value is not None]
    return -max(known)[1] if known else None


def _grid(values: _Values, quantity: str, word: str, hover: Any) -> Grid:
    """The cells, coloured from the least possible value to the largest one there is."""
    low = 1.0 if quantity == "effective_tokens" else 0.0
    known = [value for row in values for value in row if value is not None]
    high = max(known, default=low)
    reach = high - low if high > low else 1.0
    places = [[(row, column) for column in range(len(line))] for row, line in enumerate(values)]

    def share(value: float | None) -> float | None:
        return None if value is None else max(0.0, value - low) / reach

    return Grid(
        "amount" if quantity in ("entropy", "effective_tokens") else "attention",
        [[share(value) for value in row] for row in values],
        [["" if v is None else _short(v, quantity) for v in row] for row in values],
        [["" if values[y][x] is None else hover(y, x) for y, x in row] for row in places],
        (f"{low:.0f}", escape(_short(low + reach, quantity, unit=True))),
        word,
    )


def _short(value: float, quantity: str, *, unit: bool = False) -> str:
    """A value in a cell; the legend has the unit."""
    if quantity != "weight":
        return number(value, 1 if quantity == "effective_tokens" else 2)
    return percent(value) if unit else f"{100 * value:.0f}"


def _told(value: float | None, quantity: str) -> str:
    return escape(percent(value) if quantity == "weight" else number(value, 3))


def _written_width(title: str | None, word: str) -> int:
    """Pixels that a title and the name of the legend take."""
    return round(max(8.5 * width(title or ""), 7.2 * width(word)))
