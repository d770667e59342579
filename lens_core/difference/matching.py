"""Random sets of dims that resemble a given one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_NEAREST = 20
"""Dims of about the same size among which one is drawn, while there are so many."""


def matched_sets(
    dims: Int[np.ndarray, " n"],
    sizes: Float[np.ndarray, " dim"],
    *,
    count: int,
    seed: int,
) -> Int[np.ndarray, "set n"]:
    """Sets of other dims, each dim of about the same median size as the one it stands for.

    Every set has different dims, none of which is in `dims`; at most half of all dims can be asked
    for.
    """
    assert 2 * len(dims) <= len(sizes)
    generator = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(len(sizes)), dims)
    # In the order of their distance; the nearest unused ones are drawn from.
    order = [others[np.argsort(np.abs(sizes[others] - sizes[dim]))] for dim in dims]
    found = np.zeros((count, len(dims)), np.int64)
    for row in range(count):
        used = np.zeros(len(sizes), bool)
        for at in generator.permutation(len(dims)):
            free = order[at][~used[order[at]]][:_NEAREST]
            found[row, at] = generator.choice(free)
            used[found[row, at]] = True
    return found
