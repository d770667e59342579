"""Grids of the logit lens: every layer and position, or every part and rank at one position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.grid import Grid, grid_figure
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
from lens_core.figures.text import cut, escape, in_bytes, number, percent, shown

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS = 10
"""Token texts in cells are cut at so many columns, as in LogitLens4LLMs."""
PARTS = ("attn_out", "mlp_out")
ORDER = ("attn_out", "resid_mid", "mlp_out", "resid_post")
"""Within a layer, in the order of the computation."""


@dataclass(frozen=True)
class Quantity:
    """What a heat map colours by."""

    field: str
    """Of the cells."""
    scale: str
    word: str
    form: str
    """percent, number, rank or signed."""


QUANTITIES = {
    "probability": Quantity("max_p", "probability", "probability", "percent"),
    "target": Quantity("target_p", "probability", "target", "percent"),
    "rank": Quantity("target_rank", "probability", "target_rank", "rank"),
    "entropy": Quantity("entropy", "amount", "entropy", "number"),
    "kl": Quantity("kl_final", "amount", "kl", "number"),
    "logit": Quantity("top_logit", "signed", "added", "signed"),
}


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
    chosen = QUANTITIES[quantity]
    names = [component]
    if component == "resid_post" and "embed" in record["cells"]:
        names = ["embed", component]
    rows: list[tuple[str, int, list[int], list[Any]]] = []
    for name in names:
        cells = cells_of(record, name)
        if chosen.field not in cells:
            other = "logit" if name in PARTS else ", ".join(k for k in QUANTITIES if k != quantity)
            raise InputError(f"{name} has no {quantity}; it has {other}.")
        for i, layer in enumerate(cells["layers"]):
            tops = [ids[0] for ids in cells["top_ids"][i]]
            values = cells[chosen.field][i]
            if quantity == "logit":
                values = [logits[0] for logits in values]
            rows.append((row_label(name, layer, said), layer, tops, values))
    grid = _quantity_grid(record, chosen, rows, said)
    tokens = {token["i"]: token for token in record["input"]["tokens"]}
    columns = [cut(_record_text(tokens[at]), COLUMNS) for at in record["positions"]]
    clicks = [
        [
            [-1 if label == said["embed"] else layer, at, top]
            for at, top in zip(record["positions"], tops, strict=True)
        ]
        for label, layer, tops, _ in rows
    ]
    return grid_figure([grid], [label for label, *_ in rows], columns, clicks, colours, title=title)


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
    kept = _important(record, record["positions"][column]) if important_only else None
    rows = _rank_rows(record, column, kept, said)
    k = max((len(ids) for *_, ids, _ in rows), default=0)
    grids = _rank_grids(record, rows, k, said)
    labels = [label for label, *_ in rows]
    clicks = [
        [[layer, record["positions"][column], token] for token in _filled(ids, k)]
        for _, layer, _, ids, _ in rows
    ]
    columns = [said["rank"].format(rank=i + 1) for i in range(k)]
    return grid_figure(grids, labels, columns, clicks, colours, title=title)


def _important(record: Mapping[str, Any], position: int) -> set[int]:
    every = [record["important_layers"], *(step["important_layers"] for step in record["steps"])]
    for found in every:
        if found is not None and found["position"] == position:
            return {item["layer"] for item in found["layers"]}
    raise InputError(
        f"The important layers at position {position} are not known; run the lens with "
        f"track_position={position}."
    )


def _rank_rows(
    record: Mapping[str, Any], column: int, kept: set[int] | None, words: Mapping[str, str]
) -> list[tuple[str, int, bool, list[int], list[Any]]]:
    """(label, layer, whether the values are logits, ids, values) from the bottom up."""
    rows = []
    cells = record["cells"]
    if "embed" in cells and kept is None:
        embed = cells["embed"]
        rows.append(
            (words["embed"], -1, False, embed["top_ids"][0][column], embed["top_p"][0][column])
        )
    for layer in record["layers"]:
        if kept is not None and layer not in kept:
            continue
        for name in ORDER:
            if name not in cells or layer not in cells[name]["layers"]:
                continue
            i = cells[name]["layers"].index(layer)
            is_logit = "top_p" not in cells[name]
            values = cells[name]["top_logit" if is_logit else "top_p"][i][column]
            label = f"L{layer} {words[name]}"
            rows.append((label, layer, is_logit, cells[name]["top_ids"][i][column], values))
    return rows


def _rank_grids(
    record: Mapping[str, Any],
    rows: Sequence[tuple[str, int, bool, list[int], list[Any]]],
    k: int,
    words: Mapping[str, str],
) -> list[Grid]:
    """A grid of the probabilities and one of the logits, each with nothing in the other's rows."""
    found = []
    for is_logit in (False, True):
        own = [[None] * k if row[2] != is_logit else _filled(row[4], k) for row in rows]
        known = [value for values in own for value in values if value is not None]
        if not known:
            continue
        high = max(map(abs, known)) or 1.0
        form = "signed" if is_logit else "percent"
        shares = [
            [None if v is None else 0.5 + 0.5 * v / high if is_logit else v for v in values]
            for values in own
        ]
        ids = [_filled(row[3], k) for row in rows]
        texts = [
            [_cell(record, token, v, form) for token, v in zip(tokens, values, strict=True)]
            for tokens, values in zip(ids, own, strict=True)
        ]
        hovers = [
            [
                _hover([row[0]], record, token, v, form, words["rank"].format(rank=i + 1))
                for i, (token, v) in enumerate(zip(tokens, values, strict=True))
            ]
            for row, tokens, values in zip(rows, ids, own, strict=True)
        ]
        ends = (number(-high, 1), number(high, 1, signed=True)) if is_logit else ("0", "100%")
        word = words["added_short" if is_logit else "probability_short"]
        found.append(
            Grid("signed" if is_logit else "probability", shares, texts, hovers, ends, word)
        )
    return found


def _quantity_grid(
    record: Mapping[str, Any],
    quantity: Quantity,
    rows: Sequence[tuple[str, int, list[int], list[Any]]],
    words: Mapping[str, str],
) -> Grid:
    values = [
        [None if v is None or (v < 0 and quantity.form == "rank") else v for v in row[3]]
        for row in rows
    ]
    known = [value for row in values for value in row if value is not None]
    high = max(map(abs, known), default=0) or 1
    tokens = {token["i"]: token for token in record["input"]["tokens"]}
    after = [_record_text(tokens[at]) for at in record["positions"]]
    return Grid(
        quantity.scale,
        [[None if v is None else _share(v, high, quantity.form) for v in row] for row in values],
        [
            [_cell(record, top, v, quantity.form) for top, v in zip(row[2], own, strict=True)]
            for row, own in zip(rows, values, strict=True)
        ],
        [
            [
                _hover([row[0], text], record, top, v, quantity.form, words[quantity.word])
                for text, top, v in zip(after, row[2], own, strict=True)
            ]
            for row, own in zip(rows, values, strict=True)
        ],
        _ends(high, quantity.form),
        words[quantity.word],
    )


def _share(value: float, high: float, form: str) -> float:
    if form == "percent":
        return value
    if form == "rank":
        return 1 - math.log1p(value) / math.log1p(high)
    return 0.5 + 0.5 * value / high if form == "signed" else value / high


def _ends(high: float, form: str) -> tuple[str, str]:
    if form == "percent":
        return "0", "100%"
    if form == "rank":
        return str(int(high) + 1), "1"
    return (
        (number(-high, 1), number(high, 1, signed=True))
        if form == "signed"
        else ("0", number(high, 1))
    )


def _cell(record: Mapping[str, Any], token: int | None, value: float | None, form: str) -> str:
    """Token and number, as they stand in a cell."""
    if token is None or value is None:
        return ""
    text = cut(token_text(record, token), COLUMNS)
    # The legend has the unit.
    short = {
        "percent": f"{100 * value:.0f}",
        "rank": f"{value + 1:.0f}",
        "number": number(value, 1),
        "signed": number(value, 1, signed=True),
    }[form]
    return f"{text}\u2003{short}"


def _hover(
    places: Sequence[str],
    record: Mapping[str, Any],
    token: int | None,
    value: float | None,
    form: str,
    word: str,
) -> str:
    if token is None or value is None:
        return ""
    text = {
        "percent": percent(value),
        "rank": f"{value + 1:.0f}",
        "number": number(value),
        "signed": number(value, signed=True),
    }[form]
    where = " · ".join(escape(cut(place, 4 * COLUMNS)) for place in places)
    name = escape(cut(token_text(record, token), 4 * COLUMNS))
    return f"<b>{name}</b><br>{where}<br>{escape(word)}: {escape(text)}"


def _record_text(token: Mapping[str, Any]) -> str:
    """A token of the prompt, from its record."""
    if token["kind"] == "partial" and token["bytes_hex"]:
        return in_bytes(token["bytes_hex"])
    return shown({"text": token["text"]})


def _filled(values: Sequence[Any], k: int) -> list[Any]:
    return [*values, *[None] * (k - len(values))]
