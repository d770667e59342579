"""Metrics over pairs: means with intervals over units, and groups against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from lens_core.difference.permutations import group_test, holm_families
from lens_core.difference.reading import IDENTITY
from lens_core.difference.units import Design
from lens_core.pairs.record import Pair

COMPARED = "rel_l2"
LEAST_IN_GROUP = 5
"""Units that each of two groups must have to be compared."""


@dataclass(frozen=True, eq=False)
class Spread:
    """One metric of one group, at every site; each unit counts once."""

    mean: Float[np.ndarray, " site"]
    lo: Float[np.ndarray, " site"]
    """95 % interval of the mean (Student's t over units); NaN with one unit."""
    hi: Float[np.ndarray, " site"]
    median: Float[np.ndarray, " site"]
    q1: Float[np.ndarray, " site"]
    q3: Float[np.ndarray, " site"]


@dataclass(frozen=True, eq=False)
class Group:
    """All pairs, those of a type, or those of a type and subtype."""

    type: str | None
    """None for all, pairs of equal sides left out."""
    subtype: str | None
    n_pairs: int
    """Copies left out."""
    n_units: int
    metrics: dict[str, Spread]


@dataclass(frozen=True, eq=False)
class Comparison:
    """rel_l2 of two types, by exchanging units between them."""

    types: tuple[str, str]
    difference: Float[np.ndarray, " site"]
    """Mean of the first minus mean of the second."""
    p: Float[np.ndarray, " site"]
    p_holm: Float[np.ndarray, " site"]
    """Holds for all comparisons and sites together: the largest of any site under each exchange
    (Westfall and Young, 1993), then Holm (1979) over the comparisons. NaN where a value is none."""


def unit_means(
    values: Float[np.ndarray, "entry site"], units: Int[np.ndarray, " entry"]
) -> Float[np.ndarray, "unit site"]:
    """The mean of every unit, of what is known of it; NaN where nothing is."""
    _, place = np.unique(units, return_inverse=True)
    known = np.isfinite(values)
    shape = (int(place.max(initial=-1)) + 1, values.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, place, np.where(known, values, 0.0))
    np.add.at(counts, place, known)
    return _over(sums, counts)


def spread(values: Float[np.ndarray, "unit site"]) -> Spread:
    """The spread of units at every site."""
    known = np.isfinite(values)
    count = known.sum(0)
    mean = _over(np.where(known, values, 0.0).sum(0), count)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(0)
    error = np.sqrt(_over(_over(squares, count - 1), count))
    half = stats.t.ppf(0.975, np.maximum(count - 1, 1)) * error
    # A column without any value would make nanquantile warn.
    filled = np.where(count > 0, values, 0.0)
    quarters = [
        np.where(count > 0, q, np.nan) for q in np.nanquantile(filled, [0.25, 0.5, 0.75], 0)
    ]
    q1, median, q3 = quarters
    columns = (mean, mean - half, mean + half, median, q1, q3)
    return Spread(*(column.astype(np.float32) for column in columns))


def groups_of(
    metrics: Mapping[str, Float[np.ndarray, "pair site"]],
    pairs: Sequence[Pair],
    plan: Design,
) -> tuple[Group, ...]:
    """All pairs, then every type, then every subtype of one that has several."""
    members = _members(pairs, plan)
    found = []
    for (kind, subtype), entries in members.items():
        if not len(entries):
            continue
        units = plan.of_pair[entries]
        spreads = {
            name: spread(unit_means(values[entries].astype(np.float64), units))
            for name, values in metrics.items()
        }
        found.append(Group(kind, subtype, len(entries), len(np.unique(units)), spreads))
    return tuple(found)


def comparisons_of(
    values: Float[np.ndarray, "pair site"], pairs: Sequence[Pair], plan: Design, *, seed: int
) -> tuple[Comparison, ...]:
    """Every two types that have enough units each."""
    members = {
        kind: unit_means(values[entries].astype(np.float64), plan.of_pair[entries])
        for (kind, subtype), entries in _members(pairs, plan).items()
        if kind is not None and subtype is None and kind != IDENTITY
    }
    enough = {kind: units for kind, units in members.items() if len(units) >= LEAST_IN_GROUP}
    couples = list(combinations(enough, 2))
    tests = [group_test(enough[one], enough[two], seed=seed) for one, two in couples]
    rows = holm_families(np.stack([test.p_sites for test in tests])) if tests else []
    return tuple(
        Comparison(
            (one, two),
            (enough[one].mean(0) - enough[two].mean(0)).astype(np.float32),
            tests[index].p.astype(np.float32),
            rows[index].astype(np.float32),
        )
        for index, (one, two) in enumerate(couples)
    )


def _members(
    pairs: Sequence[Pair], plan: Design
) -> dict[tuple[str | None, str | None], np.ndarray]:
    """Which pairs are in which group: distinct ones, and those of equal sides in their own."""
    same = np.flatnonzero(plan.of_pair >= plan.n_units)
    every = [*plan.distinct.tolist(), *same.tolist()]
    types: dict[str, list[int]] = {}
    subtypes: dict[tuple[str, str], list[int]] = {}
    for index in every:
        pair = pairs[index]
        if pair.type:
            types.setdefault(pair.type, []).append(index)
        if pair.subtype:
            subtypes.setdefault((pair.type, pair.subtype), []).append(index)
    found: dict[tuple[str | None, str | None], list[int]] = {(None, None): plan.distinct.tolist()}
    found |= {(kind, None): types[kind] for kind in sorted(types)}
    found |= {key: subtypes[key] for key in sorted(subtypes)}
    return {key: np.array(entries, np.int64) for key, entries in found.items()}


def _over(value: np.ndarray, by: np.ndarray) -> np.ndarray:
    out = np.full(value.shape, np.nan)
    return np.divide(value, by, out=out, where=by > 0)
