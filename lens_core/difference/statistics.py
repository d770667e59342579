"""Which dims react less than the others of their layer, again and again (the small-change test).

The responses of a unit are ranked within the layer; a dim scores a hit where it is in the lowest
share q. A dim of ordinary responsiveness does so one time in 1/q, so its hits are binomial, which
needs no threshold on the differences themselves. All (site, dim) are corrected together
(Benjamini and Hochberg, 1995; or Benjamini and Yekutieli, 2001). A discovery must also be smaller
by a margin: its median response is at most `RHO` of the layer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from lens_core.bounds import LEAST_UNITS

RHO = 0.7
"""The largest relative effect of a discovery."""
RESAMPLES = 500
"""Of the interval of a relative effect."""
_ROWS = 512
"""Units ranked at once."""
_BYTES = 16 * 2**20
_QUANTILES = 9
"""Values that stand for a unit's responses where the median of all is drawn again."""


@dataclass(frozen=True, eq=False)
class RankTest:
    """Hits of one site."""

    n: int
    """Units."""
    q: float
    hits: Int[np.ndarray, " dim"]
    tested: Bool[np.ndarray, " dim"]
    """Dims with a scale, at sites where anything differs."""
    rho: Float[np.ndarray, " dim"]
    """Median response over the median of all dims' responses; NaN where not tested."""

    @property
    def p(self) -> Float[np.ndarray, " dim"]:
        """One-sided: that many hits or more, where q of them are expected."""
        found = np.full(len(self.hits), np.nan)
        if self.n:
            found[self.tested] = stats.binom.sf(self.hits[self.tested] - 1, self.n, self.q)
        return found

    @property
    def hit_rate(self) -> Float[np.ndarray, " dim"]:
        """Hits a unit; NaN where not tested."""
        return np.where(self.tested, self.hits / max(self.n, 1), np.nan)


def rank_test(responses: Float[np.ndarray, "unit dim"], *, q: float) -> RankTest:
    """Count the hits of every dim, and its relative effect.

    Equal responses share their mean rank, so that units in which nothing differs hit nothing.
    """
    n, width = responses.shape
    tested = np.isfinite(responses).all(0) & (n > 0)
    some = responses if tested.all() else responses[:, tested]
    if some.size == 0 or not some.any():
        return RankTest(n, q, np.zeros(width, np.int64), np.zeros(width, bool), _nans(width))
    hits, rho = np.zeros(width, np.int64), _nans(width)
    for start in range(0, n, _ROWS):
        ranks = stats.rankdata(some[start : start + _ROWS], axis=1)
        hits[tested] += (ranks <= q * some.shape[1]).sum(0)
    middle = float(np.median(some))
    if middle > 0:
        rho[tested] = np.median(some, axis=0) / middle
    return RankTest(n, q, hits, tested, rho)


@dataclass(frozen=True, eq=False)
class Decision:
    """What the hits of one site say, all sites together considered."""

    p: Float[np.ndarray, " dim"]
    q: Float[np.ndarray, " dim"]
    """p corrected for the number of tests: the share of false discoveries up to this dim."""
    found: Int[np.ndarray, " n"]


def decide(tests: Sequence[RankTest], *, alpha: float, correction: str) -> list[Decision]:
    """Correct all tests together and name the discoveries; none with fewer than 20 units."""
    values = [test.p for test in tests]
    if any(test.n < LEAST_UNITS for test in tests):
        values = [np.full_like(p, np.nan) for p in values]
    every = np.concatenate(values) if values else np.zeros(0)
    corrected = _nans(len(every))
    known = np.isfinite(every)
    if known.any():
        corrected[known] = stats.false_discovery_control(every[known], method=correction)
    decisions, start = [], 0
    for test, p in zip(tests, values, strict=True):
        q = corrected[start : start + len(p)]
        start += len(p)
        # Comparisons with NaN are false, which is what is meant.
        decisions.append(Decision(p, q, np.flatnonzero((q <= alpha) & (test.rho <= RHO))))
    return decisions


def small_change(
    responses: Sequence[Float[np.ndarray, "unit dim"]],
    *,
    q: float = 0.1,
    alpha: float = 0.05,
    correction: str = "bh",
) -> list[Decision]:
    """The whole test on the responses of some sites."""
    return decide([rank_test(one, q=q) for one in responses], alpha=alpha, correction=correction)


def sketch(responses: Float[np.ndarray, "unit dim"]) -> Float[np.ndarray, "unit quantile"]:
    """A few quantiles of each unit's responses, of the dims that have any."""
    some = responses[:, np.isfinite(responses).all(0)]
    if some.shape[1] == 0:
        return np.full((len(responses), _QUANTILES), np.nan)
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.quantile(some, levels, axis=1).T


def rho_intervals(
    responses: Float[np.ndarray, "unit dim"],
    every: Float[np.ndarray, "unit quantile"],
    *,
    seed: int,
) -> Float[np.ndarray, "bound dim"]:
    """95 % bootstrap intervals of the relative effects of a few dims, units drawn again.

    `every` stands for the responses of all dims, see `sketch`.
    """
    units = len(responses)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(units, np.full(units, 1 / units), RESAMPLES)
    owner = np.repeat(np.arange(units), every.shape[1])
    middle = _weighted_medians(every.ravel(), owner, weights)
    found = np.full((2, responses.shape[1]), np.nan)
    for dim, values in enumerate(responses.T):
        ratios = _weighted_medians(values, np.arange(units), weights) / middle
        found[:, dim] = np.quantile(ratios, [0.025, 0.975])
    return found


def _weighted_medians(values: np.ndarray, owner: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of values that count as often as their owner was drawn, one a draw."""
    order = np.argsort(values)
    found = np.empty(len(weights))
    at_once = max(1, _BYTES // (8 * len(values)))
    for start in range(0, len(weights), at_once):
        some = slice(start, start + at_once)
        running = np.cumsum(weights[some, owner[order]], axis=1)
        found[some] = values[order][(running < running[:, -1:] / 2).sum(1)]
    return found


def _nans(width: int) -> np.ndarray:
    return np.full(width, np.nan)
