"""Tests that flip signs or exchange labels, with units as the observations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8
from scipy import stats

PERMUTATIONS = 1000
EXCHANGES = 10_000
"""Of units between two groups; many, since every two of the groups are compared."""
LEAST_FLIPPED = 10
"""Fewer observations have too few patterns of signs."""
_BYTES = 32 * 2**20


def sign_flips(units: int, *, seed: int) -> Int8[np.ndarray, "permutation unit"]:
    """Random signs, a byte each."""
    found = np.random.default_rng(seed).integers(0, 2, (PERMUTATIONS, units), dtype=np.int8)
    return found * np.int8(2) - np.int8(1)


def _flipped_means(
    values: Float[np.ndarray, "unit dim"], signs: Int8[np.ndarray, "permutation unit"]
) -> Iterator[tuple[slice, Float[np.ndarray, "some_permutations dim"]]]:
    """The means under each pattern of signs, some patterns at a time."""
    exact = values.astype(np.float64)
    at_once = max(1, _BYTES // (16 * max(*values.shape, 1)))
    for start in range(0, len(signs), at_once):
        some = slice(start, start + at_once)
        yield some, signs[some].astype(np.float64) @ exact / len(values)


def t_values(values: Float[np.ndarray, "unit dim"]) -> Float[np.ndarray, " dim"]:
    """Mean over standard error; 0 where everything is 0."""
    mean = values.mean(0, dtype=np.float64)
    return _t(mean, _mean_square(values), len(values))


def largest_flipped(
    values: Float[np.ndarray, "unit dim"], signs: Int8[np.ndarray, "permutation unit"]
) -> Float[np.ndarray, " permutation"]:
    """The largest |t| of any dim under each pattern of signs."""
    square, found = _mean_square(values), np.zeros(len(signs))
    for some, means in _flipped_means(values, signs):
        found[some] = np.abs(_t(means, square, len(values))).max(1, initial=0.0)
    return found


def max_t_p(t: np.ndarray, largest: Float[np.ndarray, " permutation"]) -> np.ndarray:
    """p-values that hold for all dims together (Westfall and Young, 1993)."""
    ordered = np.sort(largest)
    reached = len(ordered) - np.searchsorted(ordered, np.abs(t) * (1 - 1e-12), side="left")
    return (1 + reached) / (1 + len(ordered))


def _mean_square(values: np.ndarray) -> np.ndarray:
    """Signs do not change it."""
    return (values.astype(np.float64) ** 2).mean(0)


def _t(mean: np.ndarray, square: np.ndarray, n: int) -> np.ndarray:
    variance = np.maximum(square - mean**2, 1e-24 * square) / max(n - 1, 1)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0)


@dataclass(frozen=True, eq=False)
class LayerTest:
    """Whether a layer's rel_l2 is smaller than the mean of its two neighbours'."""

    gap: Float[np.ndarray, " site"]
    """Mean over units of rel_l2 minus that of the neighbours; NaN where there is no pair of
    neighbours, or too few units."""
    p: Float[np.ndarray, " site"]
    """One-sided, by flipping the signs of whole units."""
    p_holm: Float[np.ndarray, " site"]
    """Corrected for the number of layers (Holm, 1979)."""


def layer_test(
    rel_l2: Float[np.ndarray, "unit site"], layers: Sequence[int | None], *, seed: int
) -> LayerTest:
    """Compare every layer with its neighbours; `layers` is None at sites outside of the stream."""
    units, sites = rel_l2.shape
    gap, p = np.full(sites, np.nan), np.full(sites, np.nan)
    place = {layer: site for site, layer in enumerate(layers) if layer is not None}
    inner = [
        (site, place[layer - 1], place[layer + 1])
        for layer, site in place.items()
        if layer - 1 in place and layer + 1 in place
    ]
    if inner and units >= LEAST_FLIPPED:
        at, before, after = (list(one) for one in zip(*inner, strict=True))
        values = rel_l2[:, at] - (rel_l2[:, before] + rel_l2[:, after]) / 2
        gap[at] = values.mean(0)
        most = gap[at] + 1e-12 * np.abs(gap[at])
        blocks = _flipped_means(values, sign_flips(units, seed=seed))
        reached = sum((means <= most).sum(0) for _, means in blocks)
        # Comparisons with NaN are false, which must not count as none reached.
        p[at] = np.where(np.isfinite(gap[at]), (1 + reached) / (1 + PERMUTATIONS), np.nan)
    return LayerTest(*(one.astype(np.float32) for one in (gap, p, holm(p))))


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """p-values that hold for all tests together; NaN stays out."""
    found = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * (len(order) - np.arange(len(order)))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return found


@dataclass(frozen=True, eq=False)
class GroupTest:
    """Whether the means of two groups differ, at every site; two-sided."""

    p: Float[np.ndarray, " site"]
    p_sites: Float[np.ndarray, " site"]
    """Holds for all sites together (Westfall and Young, 1993)."""


def group_test(
    first: Float[np.ndarray, "unit site"],
    second: Float[np.ndarray, "other_unit site"],
    *,
    seed: int,
) -> GroupTest:
    """Compare the means of two groups by exchanging units between them.

    Differences are over their standard error (Welch's t): the largest of any site can be compared
    with that of each site, and groups of unequal spread and size can be compared with each other
    (Janssen, 1997), the more exactly the larger they are; with 5 units of a spread 4 times that of
    50 others, 16 instead of 5 of 100 equal means differ at 5 %. NaN where a value is none.
    """
    known = np.asarray(np.isfinite(np.concatenate([first, second])).all(0))
    p, p_sites = np.full(len(known), np.nan), np.full(len(known), np.nan)
    if known.any():
        p[known], p_sites[known] = _exchanged(first[:, known], second[:, known], seed)
    return GroupTest(p, p_sites)


def _exchanged(
    first: Float[np.ndarray, "unit site"],
    second: Float[np.ndarray, "other_unit site"],
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    size = 8 * (len(first) + len(second)) * first.shape[1]
    # Groups without any spread still have a difference.
    least = 1e-12 * (np.concatenate([first, second]) ** 2).mean(0) + 1e-300

    def welch(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        errors = [one.var(axis, ddof=1) / one.shape[axis] for one in (a, b)]
        return (a.mean(axis) - b.mean(axis)) / np.sqrt(np.maximum(errors[0] + errors[1], least))

    found = stats.permutation_test(
        (first, second),
        welch,
        vectorized=True,
        n_resamples=EXCHANGES - 1,
        batch=max(1, _BYTES // max(size, 1)),
        axis=0,
        rng=np.random.default_rng(seed),
    )
    sites = first.shape[1]
    drawn = np.abs(np.asarray(found.null_distribution).reshape(-1, sites)).max(1, initial=0.0)
    seen = np.abs(np.asarray(found.statistic, np.float64).reshape(sites))
    p = np.asarray(found.pvalue, np.float64).reshape(sites)
    return p, np.maximum(p, max_t_p(seen, drawn))


def holm_families(p: Float[np.ndarray, "family test"]) -> Float[np.ndarray, "family test"]:
    """p-values that hold for all tests of all families, where each holds for its own family.

    Holm's procedure (1979) over families: one no longer counts only when all of its tests are
    significant. With the smallest p in place of the largest, a true null beside a real difference
    would be tested as if its family were out of the way.
    """
    known = ~np.isnan(p).all(1)
    if not known.all():
        found = np.full_like(p, np.nan)
        if known.any():
            found[known] = holm_families(p[known])
        return found
    largest = np.nanmax(p, 1) if len(p) else np.zeros(0)
    order = np.argsort(largest, kind="stable")
    count = len(p)
    # What it takes to be rid of the first k families.
    steps = np.maximum.accumulate(largest[order] * (count - np.arange(count)))
    found = np.empty_like(p)
    for rank, family in enumerate(order):
        ways = [
            np.maximum(p[family] * (count - k), steps[k - 1] if k else 0.0) for k in range(rank + 1)
        ]
        found[family] = np.min(ways, axis=0)
    return np.minimum(found, 1.0)
