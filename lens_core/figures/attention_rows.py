"""Rows of the figure that holds attention against importance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lens_core.errors import InputError
from lens_core.figures.attention_record import row_of, span_name


@dataclass(frozen=True)
class Row:
    """One token, or several that are one feature or one character."""

    start: int
    stop: int
    name: str
    """Not escaped."""
    attention: float | None
    importance: float | None = None
    error: float | None = None


def check_alike(record: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Refuse importance that is not of the attention's text and query.

    Raises:
        InputError: it is of another one.
    """
    if scores["input"]["ids"] != record["input"]["ids"]:
        raise InputError("The importance is of another text than the attention; make both of one.")
    query = record["queries"][0]
    if scores["query"] != query:
        raise InputError(
            f"The importance is of what comes after position {scores['query']}, the attention is "
            f"from position {query}; choose the same query."
        )


def weights_of(
    record: Mapping[str, Any], layer: int, head: int | None
) -> tuple[list[float | None], float | None]:
    """What the query pays to each token, and to learned sinks."""
    row, count, sinks = row_of(record, layer), record["n_heads"], record["sink_mass"]
    if head is None:
        lost = None if sinks is None else math.fsum(sinks[row][0]) / count
        return record["views"]["head_mean"][row], lost
    if not 0 <= head < count:
        raise InputError(f"head is {head}; layer {layer} has heads 0 to {count - 1}.")
    return record["rows"][row][0][head], None if sinks is None else sinks[row][0][head]


def rows_of(
    record: Mapping[str, Any],
    weights: Sequence[float | None],
    scores: Mapping[str, Any] | None,
    *,
    join: bool,
) -> list[Row]:
    """Every token up to the query, those of a feature or a character together."""
    every, stop = record["input"]["tokens"], record["queries"][0] + 1
    features = (
        {} if scores is None else {one["start"]: i for i, one in enumerate(scores["features"])}
    )
    rows, at = [], 0
    while at < stop:
        i = features.get(at)
        end = at + 1 if scores is None or i is None else min(stop, scores["features"][i]["stop"])
        while join and end < stop and every[end]["cluster"] == every[at]["cluster"]:
            if i is not None or end in features:
                break
            end += 1
        known = [value for value in weights[at:end] if value is not None]
        paid = math.fsum(known) if len(known) == end - at else None
        more: dict[str, Any] = {}
        if scores is not None and i is not None:
            errors = scores["standard_errors"]
            more = {"importance": scores["scores"][i], "error": errors and errors[i]}
        rows.append(Row(at, end, span_name(every, at, end), paid, **more))
        at = end
    return rows


def longest(rows: list[Row], most: int) -> list[Row]:
    """The rows with the longest bars, in their order in the text."""
    if len(rows) <= most:
        return rows
    paid = max(row.attention or 0.0 for row in rows) or 1.0
    needed = max(abs(row.importance or 0.0) for row in rows) or 1.0

    def longest(row: Row) -> float:
        return max((row.attention or 0.0) / paid, abs(row.importance or 0.0) / needed)

    kept = sorted(rows, key=longest, reverse=True)[:most]
    return sorted(kept, key=lambda row: row.start)
