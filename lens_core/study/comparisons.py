"""Comparisons of a study: model with model, correct with wrong, level with level.

Queries are what is exchanged, flipped and counted. A finding is starred only where it holds for
the whole table that is shown (Benjamini and Hochberg, 1995) and rests on at least eight queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from lens_core.patching.change_statistics import mcnemar
from lens_core.study.breakdowns import Breakdown, CellKey, PerQuery, paired
from lens_core.study.statistics import CONFIDENCE, LEAST, PER, maybe, t_intervals

MOST_Q = 0.05
PERMUTATIONS = 9999
_LEAST_PERMUTATIONS = 999
_DRAWS = 100_000_000
"""Numbers drawn for one test; with very many queries there are fewer permutations."""
_MOST_EXACT = 13
"""Queries whose patterns of signs are fewer than the permutations."""
_BYTES = 32 * 2**20
_TIE = 1e-12
"""Relative; sums of the same numbers in another order are ties."""


@dataclass(frozen=True)
class Finding:
    """One comparison; None for what there is too little to know."""

    kind: str
    """difference (model A - B), accuracy (A - B), outcome (correct - wrong, within levels),
    outcome_length (within levels and tenths of length), trend (Spearman's rho over levels)."""
    n_queries: int
    """Those that tell something, without queries that have no counterpart."""
    n_tokens: int
    value: float | None
    lo: float | None = None
    """95 % interval."""
    hi: float | None = None
    p: float | None = None
    """Two-sided."""
    q: float | None = None
    """p corrected for the table that it is shown in; see `with_q`."""
    method: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What it was counted from."""

    @property
    def star(self) -> bool:
        """Whether it may be called a difference."""
        return self.q is not None and self.q < MOST_Q and self.n_queries >= LEAST

    @property
    def grey(self) -> bool:
        """Whether there are too few queries to rely on it."""
        return self.n_queries < LEAST

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {**asdict(self), "star": self.star, "grey": self.grey}


def with_q(table: Sequence[Finding]) -> list[Finding]:
    """The findings of one shown table with their q; those without a p stay without."""
    known = [index for index, one in enumerate(table) if one.p is not None]
    found = [replace(one, q=None) for one in table]
    if known:
        values = stats.false_discovery_control([table[index].p for index in known])
        for index, q in zip(known, values, strict=True):
            found[index] = replace(table[index], q=float(q))
    return found


def paired_difference(
    one: Float[np.ndarray, " query"],
    other: Float[np.ndarray, " query"],
    *,
    n_tokens: int,
    seed: int,
) -> Finding:
    """Mean of one - other over the same queries: t interval, p by flipping signs of queries."""
    gaps = one.astype(np.float64) - other
    gaps = gaps[np.isfinite(gaps)]
    mean, lo, hi = (maybe(bound) for bound in t_intervals(gaps))
    p = sign_flip_p(gaps, seed=seed) if len(gaps) > 1 else None
    method = "paired t interval, sign-flip permutations"
    return Finding("difference", len(gaps), n_tokens, mean, lo, hi, p, method=method)


def sign_flip_p(gaps: Float[np.ndarray, " query"], *, seed: int) -> float:
    """Two-sided p that the mean of at least two is 0; all patterns of signs where they are few."""
    if len(gaps) <= _MOST_EXACT:
        found = stats.permutation_test((gaps,), _mean, permutation_type="samples", vectorized=True)
        return float(found.pvalue)
    draws = _draws(len(gaps), seed)
    random = draws.pop("rng")

    def flipped(size: tuple[int, ...]) -> np.ndarray:
        return gaps * (2.0 * random.integers(0, 2, size, dtype=np.int8) - 1)

    # Not permutation_test: it draws orders of pairs, which takes twenty times as long.
    found = stats.monte_carlo_test(gaps, flipped, _mean, vectorized=True, axis=-1, **draws)
    return float(found.pvalue)


def _mean(values: np.ndarray, axis: int) -> Any:
    return values.mean(axis)


def model_differences(
    breakdown: Breakdown, one: str, other: str, *, seed: int
) -> dict[tuple[str, str], Finding]:
    """Model one - other in every (source, label) of a breakdown, corrected for all of them.

    Compared over the queries that both have; rates are per 1,000 tokens of each query, and tokens
    are those of both models together.
    """
    scale = PER if breakdown.metric.startswith("hits:") else 1
    found = {}
    sources = dict.fromkeys(key.text_source for key in breakdown.cells if key.model == one)
    for source in sources:
        for label in breakdown.labels:
            keys = CellKey(one, source, label), CellKey(other, source, label)
            if keys[1] not in breakdown.cells:
                continue
            first, second = paired(*(breakdown.cells[key] for key in keys))
            found[source, label] = paired_difference(
                scale * first.values,
                scale * second.values,
                n_tokens=int(first.n_tokens.sum() + second.n_tokens.sum()),
                seed=seed,
            )
    return dict(zip(found, with_q(list(found.values())), strict=True))


def accuracy_difference(
    one: Sequence[bool | None], other: Sequence[bool | None], *, n_tokens: int = 0
) -> Finding:
    """Accuracy of one - other on the queries where both are known: McNemar's exact test."""
    known = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    only_one = sum(a and not b for a, b in known)
    only_other = sum(b and not a for a, b in known)
    gaps = np.array([float(a) - float(b) for a, b in known])
    mean, lo, hi = (maybe(bound) for bound in t_intervals(gaps))
    return Finding(
        "accuracy",
        len(known),
        n_tokens,
        mean,
        lo,
        hi,
        mcnemar(only_one, only_other) if known else None,
        method="paired t interval, exact McNemar",
        counts={"only_one": only_one, "only_other": only_other},
    )


def outcome_differences(
    queries: PerQuery,
    correct: Sequence[bool | None],
    levels: Sequence[Any],
    *,
    seed: int,
    lengths: Int[np.ndarray, " query"] | None = None,
    scale: float = 1,
) -> tuple[Finding, Finding]:
    """Correct - wrong within levels, and within levels and tenths of length.

    Hard queries have more wrong answers and other texts, so that correct and wrong are compared
    only among queries of one level; the second line also compares texts of about one length.
    Groups with only correct or only wrong answers tell nothing and are left out.

    Args:
        queries: one value a query.
        correct: of each; None is left out.
        levels: of each, any values; None is a level of its own.
        seed: of the permutations.
        lengths: in tokens, where the metric has a value in some of them only.
        scale: `PER` for rates.
    """
    known = np.array([one is not None for one in correct], bool)
    truth = np.array([bool(one) for one in correct], bool)[known]
    values, tokens = scale * queries.values[known], queries.n_tokens[known]
    length = tokens if lengths is None else lengths[known]
    names = [str(level) for level, one in zip(levels, known, strict=True) if one]
    level = np.unique(names, return_inverse=True)[1].reshape(-1)
    return (
        within_groups(values, truth, level, tokens, seed=seed, kind="outcome"),
        within_groups(
            values, truth, level * 10 + tenths(length), tokens, seed=seed, kind="outcome_length"
        ),
    )


def tenths(lengths: Int[np.ndarray, " query"]) -> Int[np.ndarray, " query"]:
    """The tenth of the ordered lengths that each is in, 0 to 9; equal ones are in the same."""
    if not len(lengths):
        return np.zeros(0, np.int64)
    return ((stats.rankdata(lengths, method="min") - 1) * 10 // len(lengths)).astype(np.int64)


def within_groups(
    values: Float[np.ndarray, " query"],
    truth: np.ndarray,
    groups: Int[np.ndarray, " query"],
    n_tokens: Int[np.ndarray, " query"],
    *,
    seed: int,
    kind: str,
) -> Finding:
    """Mean of the true - mean of the false ones, inside groups.

    The coefficient of a regression with one mean per group: groups count by how much they tell,
    n_true n_false / n. Its p exchanges labels inside groups only.
    """
    mixed = [group for group in np.unique(groups) if np.ptp(truth[groups == group].astype(int))]
    # In the order of the groups: sorting random numbers then permutes inside of them.
    order = np.argsort(groups, kind="stable")
    order = order[np.isin(groups[order], mixed)]
    counts = {
        "correct": int(truth[order].sum()),
        "wrong": int((~truth[order]).sum()),
        "left_out": len(values) - len(order),
    }
    n, tokens = len(order), int(n_tokens[order].sum())
    if not n:
        return Finding(kind, 0, 0, None, counts=counts)
    code = np.unique(groups[order], return_inverse=True)[1].reshape(-1)
    value, label = _centred(values[order], code), _centred(truth[order].astype(np.float64), code)
    weight = float(label @ label)
    slope = float(label @ value / weight)
    p = _exchanged_p(value, label, code, seed=seed)
    half = _half_width(value - slope * label, weight, n - len(mixed) - 1)
    lo, hi = (None, None) if half is None else (slope - half, slope + half)
    return Finding(
        kind, n, tokens, slope, lo, hi, p, method="permutations within groups", counts=counts
    )


def _centred(values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Around the mean of each group; exactly 0 in a group whose values are all the same."""
    firsts = values[np.unique(code, return_index=True)[1]]
    apart = values - firsts[code]
    return apart - (np.bincount(code, apart) / np.bincount(code))[code]


def _half_width(rest: np.ndarray, weight: float, freedom: int) -> float | None:
    if freedom < 1:
        return None
    error = (rest @ rest / freedom / weight) ** 0.5
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error)


def _exchanged_p(value: np.ndarray, label: np.ndarray, code: np.ndarray, *, seed: int) -> float:
    """Two-sided p by exchanging labels inside groups, which scipy's permutation_test cannot."""
    n, random = len(value), np.random.default_rng(seed)
    draws = _draws(n, seed)
    seen = abs(label @ value)
    least = seen - _TIE * (np.abs(label) @ np.abs(value))
    reached, left = 0, draws["n_resamples"]
    while left:
        some = min(left, draws["batch"])
        # Whole parts keep a group together, fractions order its members at random.
        order = np.argsort(code + random.random((some, n)), axis=1)
        reached += int((np.abs(label[order] @ value) >= least).sum())
        left -= some
    return (1 + reached) / (1 + draws["n_resamples"])


def level_trend(
    values: Float[np.ndarray, " query"],
    levels: Float[np.ndarray, " query"],
    *,
    n_tokens: int,
    seed: int,
) -> Finding:
    """Spearman's rho of a value over levels as numbers, with p by permutations of queries."""
    known = np.isfinite(values) & np.isfinite(levels)
    n, spread = int(known.sum()), 0.0
    level = value = np.zeros(n)
    if n:
        level, value = (stats.rankdata(one[known]) - (n + 1) / 2 for one in (levels, values))
        spread = float((level @ level * (value @ value)) ** 0.5)
    if n < 3 or spread == 0:  # one level, or one value
        return Finding("trend", n, n_tokens, None, method="Spearman")
    found = stats.permutation_test(
        (level,),
        lambda permuted, axis: np.moveaxis(permuted, axis, -1) @ value,
        permutation_type="pairings",
        vectorized=True,
        **_draws(n, seed),
    )
    rho, p = float(level @ value) / spread, float(found.pvalue)
    return Finding("trend", n, n_tokens, rho, p=p, method="Spearman, permutations")


def numeric_levels(labels: Iterable[Any]) -> Float[np.ndarray, " query"]:
    """Levels as numbers for a trend; NaN for those that are none."""
    return np.array([_number(label) for label in labels], np.float64)


def _number(label: Any) -> float:
    if label is None or isinstance(label, bool):
        return float("nan")
    try:
        return float(label)
    except (TypeError, ValueError):
        return float("nan")


def _draws(n: int, seed: int) -> dict[str, Any]:
    """How many permutations of n queries are drawn, and how many at once."""
    return {
        "n_resamples": min(PERMUTATIONS, max(_LEAST_PERMUTATIONS, _DRAWS // max(n, 1))),
        "batch": max(1, _BYTES // (16 * max(n, 1))),
        "rng": np.random.default_rng(seed),
    }
