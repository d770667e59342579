"""From numbers of every token to one number a query, in the parts that a study compares.

The unit of every statistic of a study is the query, since the tokens of one text are not
independent. `breakdowns` adds up every metric in every part of every split (see `splits`), in one
pass over texts that may come from files one by one. A part without tokens is empty: it has n = 0
and no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.study.scored import ScoredText, metric_values
from lens_core.study.splits import Split, in_order

MAX_LABELS = 200


class CellKey(NamedTuple):
    """Where a cell stands."""

    model: str
    text_source: str
    label: str


@dataclass(frozen=True, eq=False)
class PerQuery:
    """One metric of one cell, query by query; queries without a value are not in it."""

    rows: tuple[Any, ...]
    sums: Float[np.ndarray, " query"]
    """Over the tokens (of all samples) of each query that have a value."""
    n_tokens: Int[np.ndarray, " query"]
    """How many they are, at least 1."""

    @property
    def values(self) -> Float[np.ndarray, " query"]:
        """Mean over the tokens of each query: the observations of the statistics."""
        return self.sums / self.n_tokens


EMPTY = PerQuery((), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Breakdown:
    """One metric by model, source of the text, and the parts of one split."""

    split: str
    metric: str
    labels: tuple[str, ...]
    cells: Mapping[CellKey, PerQuery]
    """Every label for every model and source, also the empty ones."""
    fields: Mapping[tuple[str, str], Mapping[Any, Mapping[str, Any]]] = field(default_factory=dict)
    """What each (model, source) knows of its queries, such as whether it answered correctly; of
    several samples, the first."""

    def column(self, key: CellKey, name: str) -> list[Any]:
        """One field of the queries of a cell, in their order; None where it is unknown."""
        known = self.fields[key.model, key.text_source]
        return [known[row].get(name) for row in self.cells[key].rows]


def breakdowns(
    texts: Iterable[ScoredText], splits: Sequence[Split], metrics: Sequence[str]
) -> dict[tuple[str, str], Breakdown]:
    """Every metric in every split, by (split, metric); reads the texts once and keeps none.

    Args:
        texts: any order; several of one (model, source, query) are its samples, whose tokens count
            together.
        splits: whose names differ.
        metrics: see `metric_values`.

    Raises:
        InputError: an unknown metric, or a field with more than `MAX_LABELS` values.
    """
    collected = {split.name: _Collected(split, len(metrics)) for split in splits}
    fields: dict[tuple[str, str], dict[Any, Mapping[str, Any]]] = {}
    for text in texts:
        fields.setdefault((text.model, text.text_source), {}).setdefault(text.row, text.fields)
        values = np.array([metric_values(text, metric) for metric in metrics], np.float64)
        values = values.reshape(len(metrics), len(text.ids))
        for one in collected.values():
            one.add(text, values)
    return {
        (name, metric): Breakdown(name, metric, *one.cells(index, tuple(fields)), fields)
        for name, one in collected.items()
        for index, metric in enumerate(metrics)
    }


class _Collected:
    """Sums and counts of the texts seen so far, in the parts of one split."""

    def __init__(self, split: Split, n_metrics: int) -> None:
        self.split = split
        self.n_metrics = n_metrics
        self.labels = dict.fromkeys(split.labels)
        self.totals: dict[CellKey, dict[Any, np.ndarray]] = {}

    def add(self, text: ScoredText, values: Float[np.ndarray, "metric position"]) -> None:
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        for label, at in self.split.parts(text):
            self.labels[label] = None
            if len(self.labels) > max(MAX_LABELS, len(self.split.labels)):
                raise InputError(
                    f'"{self.split.name}" has more than {MAX_LABELS} different values; that is '
                    "the limit. Choose a field with fewer."
                )
            cell = self.totals.setdefault(CellKey(text.model, text.text_source, label), {})
            total = cell.setdefault(text.row, np.zeros((2, self.n_metrics)))
            total[0] += filled[:, at].sum(1)
            total[1] += known[:, at].sum(1)

    def cells(
        self, metric: int, places: Sequence[tuple[str, str]]
    ) -> tuple[tuple[str, ...], dict[CellKey, PerQuery]]:
        labels = self.split.labels
        labels += tuple(sorted(set(self.labels) - set(labels), key=in_order))
        keys = [CellKey(*place, label) for place in places for label in labels]
        return labels, {key: _per_query(self.totals.get(key, {}), metric) for key in keys}


def _per_query(cell: Mapping[Any, np.ndarray], metric: int) -> PerQuery:
    rows = tuple(row for row, total in cell.items() if total[1, metric] > 0)
    if not rows:
        return EMPTY
    totals = np.array([cell[row][:, metric] for row in rows])
    return PerQuery(rows, totals[:, 0], totals[:, 1].astype(np.int64))


def paired(one: PerQuery, other: PerQuery) -> tuple[PerQuery, PerQuery]:
    """The queries that both have, in the same order: a query that failed shifts nothing."""
    place = {row: index for index, row in enumerate(other.rows)}
    both = [(index, place[row]) for index, row in enumerate(one.rows) if row in place]
    first, second = np.array(both, np.int64).reshape(-1, 2).T
    return _taken(one, first), _taken(other, second)


def _taken(queries: PerQuery, at: Int[np.ndarray, " query"]) -> PerQuery:
    rows = tuple(queries.rows[index] for index in at)
    return PerQuery(rows, queries.sums[at], queries.n_tokens[at])
