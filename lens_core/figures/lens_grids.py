"""Grids of the logit lens: every layer and position, or every part and rank at one position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.grid import Grid, grid_figure
from lens_core.figures.quantities import QUANTITIES, ends, share, written
from lens_core.figures.record import (
    Result,
    as_record,
    cells_of,
    column_of,
    in_words,
    row_label,
    token_text,
)
from lens_core.figures.style import palette
from lens_core.figures.text import cut, escape, in_bytes, shown

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS = 10
"""Token texts in cells are cut at so many columns, as in LogitLens4LLMs."""
PARTS = ("attn_out", "mlp_out")
ORDER = ("attn_out", "resid_mid", "mlp_out", "resid_post")
"""Within a layer, in the order of the computation."""


def heatmap(
    result: Result,
    component: str = "resid_post",
    quantity: str = "probability",
    *,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """Top token and one quantity of every layer and position, the last layer on top.

    Probabilities are coloured from 0 to 100 %; entropy and KL (nats) from 0 to the largest one;
    ranks on a logarithmic scale, 1 being the darkest; logits symmetrically around 0. Block outputs
    have the embedding below them where the result has it. A cell without a number is left out.
    `z` is the share of the scale; `customdata` is [layer, position, token id].

    Args:
        result: a logit lens, or its JSON form.
        component: one of the result's components.
        quantity: probability, target, rank, entropy or kl; logit for parts without probabilities.
        words: other words, see `figures.record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: an unknown quantity, or one that the component does not have.
    """
    record, said, colours = as_record(result), in_words(words), palette(dark=dark)
    if quantity not in QUANTITIES:
        raise InputError(f'quantity is "{quantity}"; it can be {", ".join(QUANTITIES)}.')
    chosen, names = QUANTITIES[quantity], [component]
    if component == "resid_post" and "embed" in record["cells"]:
        names = ["embed", component]
    rows = [row for name in names for row in _position_rows(record, name, quantity, said)]
    tokens = {token["i"]: _record_text(token) for token in record["input"]["tokens"]}
    texts = [tokens[at] for at in record["positions"]]
    grid = _grid(record, rows, chosen.form, chosen.scale, said[chosen.word], texts)
    clicks = [
        [[row.layer, at, top] for at, top in zip(record["positions"], row.ids, strict=True)]
        for row in rows
    ]
    columns = [cut(text, COLUMNS) for text in texts]
    return grid_figure([grid], [row.label for row in rows], columns, clicks, colours, title=title)


def ranks(
    result: Result,
    position: int = -1,
    *,
    important_only: bool = False,
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> go.Figure:
    """The k first tokens after every part of every layer at one position, as LogitLens4LLMs does.

    Four rows a layer: attention, the stream after it, MLP, the block's output. Streams are
    coloured by probability. What attention and MLP add has no probability (a part alone predicts
    nothing), so those rows show what each token's logit gains, with its sign, unless the result
    was made with `scale="own"`. Token texts are cut at 10 columns.

    Args:
        result: a logit lens with the components to show, or its JSON form.
        position: negative ones count from the end of the text.
        important_only: the layers the result found important at this position, and no others.
        words: other words, see `figures.record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.

    Raises:
        InputError: the position was not read, or its important layers are not known.
    """
    record, said, colours = as_record(result), in_words(words), palette(dark=dark)
    column = column_of(record, position)
    at = record["positions"][column]
    rows = _rank_rows(record, column, _important(record, at) if important_only else None, said)
    k = max((len(row.ids) for row in rows), default=0)
    columns = [said["rank"].format(rank=i + 1) for i in range(k)]
    grids = []
    for form, scale, word in (
        ("percent", "probability", said["probability_short"]),
        ("signed", "signed", said["added_short"]),
    ):
        own = [row if row.form == form else replace(row, values=[None] * k) for row in rows]
        if any(value is not None for row in own for value in row.values):
            grids.append(_grid(record, own, form, scale, word, columns))
    clicks = [[[row.layer, at, token] for token in row.ids] for row in rows]
    return grid_figure(grids, [row.label for row in rows], columns, clicks, colours, title=title)


@dataclass(frozen=True)
class _Row:
    """One row of cells."""

    label: str
    layer: int
    """-1 for the embedding."""
    ids: list[int]
    values: list[Any]
    form: str
    """Of the values: percent, number, rank or signed."""


def _important(record: Mapping[str, Any], position: int) -> set[int]:
    every = [record["important_layers"], *(step["important_layers"] for step in record["steps"])]
    for found in every:
        if found is not None and found["position"] == position:
            return {item["layer"] for item in found["layers"]}
    raise InputError(
        f"The important layers at position {position} are not known; run the lens with "
        f"track_position={position}."
    )


def _position_rows(
    record: Mapping[str, Any], component: str, quantity: str, words: Mapping[str, str]
) -> list[_Row]:
    """The top tokens of a component with one quantity, a column for every position."""
    cells, chosen = cells_of(record, component), QUANTITIES[quantity]
    if chosen.field not in cells:
        others = [name for name, other in QUANTITIES.items() if other.field in cells]
        raise InputError(f"{component} has no {quantity}; it has {', '.join(others)}.")
    rows = []
    for i, layer in enumerate(cells["layers"]):
        values = cells[chosen.field][i]
        if quantity == "logit":
            values = [logits[0] for logits in values]
        if chosen.form == "rank":
            values = [None if value is None or value < 0 else value for value in values]
        label, place = row_label(component, layer, words)
        rows.append(
            _Row(label, place, [ids[0] for ids in cells["top_ids"][i]], values, chosen.form)
        )
    return rows


def _rank_rows(
    record: Mapping[str, Any], column: int, kept: set[int] | None, words: Mapping[str, str]
) -> list[_Row]:
    """The parts of every layer at one position, from the bottom up; a column for every rank."""
    rows = []
    for layer in (-1, *record["layers"]):
        if kept is not None and layer not in kept:
            continue
        for name in ORDER if layer >= 0 else ("embed",):
            cells = record["cells"].get(name)
            # A parallel layer has no state between attention and MLP.
            if cells is None or max(layer, 0) not in cells["layers"]:
                continue
            i = cells["layers"].index(max(layer, 0))
            form = "percent" if "top_p" in cells else "signed"
            values = cells["top_p" if form == "percent" else "top_logit"][i][column]
            label = words["embed"] if layer < 0 else f"L{layer} {words[name]}"
            rows.append(_Row(label, layer, cells["top_ids"][i][column], values, form))
    return rows


def _grid(
    record: Mapping[str, Any],
    rows: Sequence[_Row],
    form: str,
    scale: str,
    word: str,
    columns: Sequence[str],
) -> Grid:
    """The cells of some rows; `columns` are named in the hover labels."""
    known = [value for row in rows for value in row.values if value is not None]
    high = max(map(abs, known), default=0) or 1

    def each(make: Callable[[_Row, int], Any], missing: Any) -> list[list[Any]]:
        return [
            [missing if value is None else make(row, i) for i, value in enumerate(row.values)]
            for row in rows
        ]

    def text(row: _Row, i: int) -> str:
        token = cut(token_text(record, row.ids[i]), COLUMNS)
        # The legend has the unit.
        return f"{token}\u2003{written(row.values[i], form, short=True)}"

    def hover(row: _Row, i: int) -> str:
        token = escape(cut(token_text(record, row.ids[i]), 4 * COLUMNS))
        place = escape(f"{row.label} · {cut(columns[i], 4 * COLUMNS)}")
        return f"<b>{token}</b><br>{place}<br>{escape(f'{word}: {written(row.values[i], form)}')}"

    shares = each(lambda row, i: share(row.values[i], high, form), None)
    return Grid(scale, shares, each(text, ""), each(hover, ""), ends(high, form), word)


def _record_text(token: Mapping[str, Any]) -> str:
    """A token of the prompt, from its record."""
    if token["kind"] == "partial" and token["bytes_hex"]:
        return in_bytes(token["bytes_hex"])
    return shown({"text": token["text"]})
