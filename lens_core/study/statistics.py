"""Means and rates with their intervals, with queries as the observations.

Tokens of one text are not independent: an interval over tokens covers the truth a fifth of the
time instead of 95 %. So every number here is over one value a query. The unit of a rate is the
query too: whole queries are drawn again, with their tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from lens_core.study.breakdowns import Breakdown, CellKey, PerQuery

CONFIDENCE = 0.95
LEAST = 8
"""Queries below which a cell is greyed and nothing is starred."""
PER = 1000
"""Tokens that rates are given for."""
RESAMPLES = 2000
LEAST_BCA, MOST_BCA = 20, 5000
"""Queries for which the bootstrap is corrected: few do not tell its correction, many do not need
it, and it takes time that grows with their square."""
_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Cell:
    """One number of a table; None where there is none."""

    n_queries: int
    n_tokens: int
    mean: float | None
    lo: float | None
    """95 % interval; None with one query, or where nothing is known of it."""
    hi: float | None
    method: str | None = None
    """Of the interval: t, bca, percentile or wilson."""

    @property
    def grey(self) -> bool:
        """Whether there are too few queries to rely on it."""
        return self.n_queries < LEAST

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {**asdict(self), "grey": self.grey}


def t_intervals(
    values: Float[np.ndarray, "*table query"],
) -> Float[np.ndarray, " 3 *table"]:
    """Mean and bounds of Student's t interval over the last axis; NaN where there are none.

    Values that are all the same have an interval of no width.
    """
    n = values.shape[-1]
    if n == 0:
        return np.full((3, *values.shape[:-1]), np.nan)
    first = values[..., :1].astype(np.float64)
    # Around the first value: the mean of equal numbers is exactly that number.
    apart = values - first
    mean = first[..., 0] + apart.mean(-1)
    if n == 1:
        return np.stack([mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)])
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * apart.std(-1, ddof=1) / n**0.5
    return np.stack([mean, mean - half, mean + half])


def mean_cell(values: Float[np.ndarray, " query"], n_tokens: int) -> Cell:
    """The mean over queries with Student's t interval; queries without a value are left out."""
    known = values[np.isfinite(values)]
    mean, lo, hi = (maybe(one) for one in t_intervals(known))
    return Cell(
        len(known), n_tokens if len(known) else 0, mean, lo, hi, "t" if lo is not None else None
    )


def share_cell(n_true: int, n_queries: int, n_tokens: int) -> Cell:
    """A share of queries, such as those answered correctly, with Wilson's interval.

    Unlike Student's t it stays within 0 and 1, and says something when all are correct.
    """
    if n_queries == 0:
        return Cell(0, 0, None, None, None)
    interval = stats.binomtest(n_true, n_queries).proportion_ci(CONFIDENCE, method="wilson")
    mean = n_true / n_queries
    return Cell(n_queries, n_tokens, mean, float(interval.low), float(interval.high), "wilson")


def rate_cell(
    counts: Float[np.ndarray, " query"], n_tokens: Int[np.ndarray, " query"], *, seed: int
) -> Cell:
    """How often in 1,000 tokens: the ratio of the sums, with a cluster bootstrap over queries.

    BCa (Efron, 1987) from 20 queries on, percentiles below. Where nothing was counted, the
    bootstrap knows no interval.
    """
    some = n_tokens > 0
    counts, n_tokens = counts[some].astype(np.float64), n_tokens[some]
    n = len(counts)
    if n == 0:
        return Cell(0, 0, None, None, None)
    mean = PER * float(counts.sum() / n_tokens.sum())
    if n == 1 or not counts.any():
        return Cell(n, int(n_tokens.sum()), mean, None, None)
    lo, hi, method = _rate_interval(counts, n_tokens.astype(np.float64), seed=seed)
    return Cell(n, int(n_tokens.sum()), mean, lo, hi, method)


def _rate_interval(
    counts: np.ndarray, tokens: np.ndarray, *, seed: int
) -> tuple[float, float, str]:
    rates = counts / tokens
    if np.ptp(rates) == 0:
        return PER * float(rates[0]), PER * float(rates[0]), "percentile"
    methods = ["percentile"]
    if LEAST_BCA <= len(counts) <= MOST_BCA:
        methods.insert(0, "bca")
    for method in methods:
        lo, hi = rate_bounds(counts, tokens, method=method, seed=seed)
        if np.isfinite([lo, hi]).all():  # BCa has none where all resamples are on one side
            return float(lo), float(hi), method
    raise AssertionError("percentiles of finite rates are finite")


def rate_bounds(
    counts: Float[np.ndarray, "*table query"],
    tokens: Float[np.ndarray, "*table query"],
    *,
    method: str,
    seed: int,
) -> Float[np.ndarray, " 2 *table"]:
    """Bounds of the rates of one or many tables by drawing whole queries again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (counts, tokens),
            lambda count, token, axis: PER * count.sum(axis) / token.sum(axis),
            paired=True,
            vectorized=True,
            axis=-1,
            n_resamples=RESAMPLES,
            batch=max(1, _BYTES // (16 * counts.size)),
            method=method,
            confidence_level=CONFIDENCE,
            rng=np.random.default_rng(seed),
        )
    return np.stack([found.confidence_interval.low, found.confidence_interval.high])


def cell_of(metric: str, queries: PerQuery, *, seed: int) -> Cell:
    """The cell of one metric: a rate per 1,000 tokens for "hits:…", else the mean over queries."""
    if metric.startswith("hits:"):
        return rate_cell(queries.sums, queries.n_tokens, seed=seed)
    return mean_cell(queries.values, int(queries.n_tokens.sum()))


def cells_of(breakdown: Breakdown, *, seed: int) -> Mapping[CellKey, Cell]:
    """Every cell of a breakdown, the empty ones too."""
    metric = breakdown.metric
    return {key: cell_of(metric, one, seed=seed) for key, one in breakdown.cells.items()}


def maybe(value: Any) -> float | None:
    """A number, or None for what is none."""
    return float(value) if np.isfinite(value) else None
