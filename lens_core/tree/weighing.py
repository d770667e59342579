"""From the amounts of a row to the weights of edges: shares, threshold, renormalisation.

The threshold is strict. "per_part" compares each (source, head) on its own, as the LM
Transparency Tool does with "renormalize" on; "per_edge" compares the sums over heads. Where
nothing is left the row is flagged and has no edges: dividing by 0 would give NaN, as theirs does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lens_core.tree.options import Weighing
from lens_core.tree.rows import Row

REST = ("residual", "bias", "mlp", "mixer")


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of the edges into one state."""

    heads: Float[np.ndarray, "source head"] | None
    """What is left of every (source, head)."""
    edges: Float[np.ndarray, " source"]
    """Sums over heads; 0 where there is no edge."""
    residual: float
    bias: float
    mlp: float
    mixer: float
    total: float
    """The divisor: share * total is the amount."""
    degenerate: bool = False
    """No part is nearer to the whole than zero is, so there are no shares."""
    empty: bool = False
    """Every part is below the threshold."""


def weigh(row: Row, options: Weighing, position: int) -> Weights:
    """The weights of the edges into the state of one row, which ends at `position`."""
    heads = np.zeros((1, 1), np.float32) if row.heads is None else row.heads
    rest = np.array(
        [row.residual, row.bias if options.bias == "part" else 0.0, row.mlp or 0, row.mixer or 0]
    )
    total = _total(row, heads, rest, options)
    if not total > 0:
        nothing = np.zeros(len(heads), np.float32)
        return Weights(None, nothing, 0.0, 0.0, 0.0, 0.0, 0.0, degenerate=True)
    heads, rest = heads / np.float32(total), rest / total
    if options.merge_self and row.heads is not None and options.mode == "per_edge":
        # They are one edge, so they pass the threshold or fail it together.
        rest[0] += heads[position].sum(dtype=np.float64)
        heads[position] = 0.0
    heads, rest = _thresholded(heads, rest, options)
    edges = heads.sum(1, dtype=np.float64)
    if options.mode == "per_edge":
        edges = np.where(np.abs(edges) > options.threshold, edges, 0.0)
        heads = np.where(edges[:, None] != 0, heads, np.float32(0))
    left = float(edges.sum() + rest.sum())
    empty = not (edges.any() or rest.any())
    if options.renormalise and left > 0:
        edges, rest, heads = edges / left, rest / left, heads / np.float32(left)
    if options.merge_self and row.heads is not None:
        rest[0] += edges[position]
        edges[position] = 0.0
    found = dict(zip(REST, rest.tolist(), strict=True))
    kept = None if row.heads is None else heads
    return Weights(kept, edges.astype(np.float32), **found, total=total, empty=empty)


def _total(
    row: Row, heads: Float[np.ndarray, "source head"], rest: np.ndarray, options: Weighing
) -> float:
    """What amounts are divided by to become shares."""
    if options.measure.metric == "projection":
        return row.whole
    if options.measure.metric == "logit":
        # Effects of both signs: shares of all the pushing, whichever way.
        return float(np.abs(heads).sum(dtype=np.float64) + np.abs(rest).sum())
    return float(heads.sum(dtype=np.float64) + rest.sum())


def _thresholded(
    heads: Float[np.ndarray, "source head"], rest: np.ndarray, options: Weighing
) -> tuple[Float[np.ndarray, "source head"], np.ndarray]:
    """The parts above the threshold; with "per_edge" only those that are edges by themselves."""
    rest = np.where(np.abs(rest) > options.threshold, rest, 0.0)
    if options.mode == "per_part":
        heads = np.where(np.abs(heads) > options.threshold, heads, np.float32(0))
    return heads, rest
