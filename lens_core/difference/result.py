"""Activation differences over minimal pairs as a result (schema lens_core/pair_difference/1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.difference.permutations import LayerTest
from lens_core.difference.reading import LeftOut
from lens_core.difference.summary import Comparison, Group
from lens_core.pairs.record import Alignment, Pair

SCHEMA = "lens_core/pair_difference/1"


@dataclass(frozen=True)
class PairStep:
    """How far a comparison of pairs is."""

    stage: str
    """What is counted: "pairs" while texts are run, "dimensions" while sites are tested."""
    done: int
    total: int | None
    """None while it is not known how many pairs come."""
    left_out: int = 0
    """Pairs that were not compared so far, while pairs are run."""


@dataclass(frozen=True)
class Compared:
    """A pair, how its sides were aligned, and its unit in the statistics."""

    pair: Pair
    alignment: Alignment
    unit: int


@dataclass(frozen=True, eq=False)
class Dimensions:
    """Every dim of one site; NaN where it could not be tested."""

    mean_abs: Float[np.ndarray, " dim"]
    """Mean |difference| over distinct pairs."""
    median_abs: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    """Median difference of mismatched pairs, with the same carrier where there are any."""
    size: Float[np.ndarray, " dim"]
    """Median of the states' own absolute values."""
    mean_diff: Float[np.ndarray, " dim"]
    """Correct side minus the other one (sentence 1 minus sentence 2), of oriented pairs."""
    sign_agreement: Float[np.ndarray, " dim"]
    """Share of units with the commoner sign of that difference, 0.5 to 1."""
    hit_rate: Float[np.ndarray, " dim"]
    """Share of units in which the dim is among the layer's least responsive."""
    rho: Float[np.ndarray, " dim"]
    """Median response over that of the layer: 1 is ordinary."""
    p: Float[np.ndarray, " dim"]
    q: Float[np.ndarray, " dim"]
    """p corrected for all sites and dims."""
    t: Float[np.ndarray, " dim"]
    """mean_diff over its standard error."""
    t_p: Float[np.ndarray, " dim"]
    """Two-sided, by flipping signs; holds for all sites and dims together."""
    found: Int[np.ndarray, " n"]
    """Dims that change consistently little."""


@dataclass(frozen=True)
class FoundDim:
    """A dim that changes consistently little."""

    site: str
    dim: int
    hit_rate: float
    rho: float
    rho_lo: float
    """95 % bootstrap interval over units."""
    rho_hi: float
    p: float
    q: float
    hit_rate_a: float | None
    """In the two halves of the units; None where there are too few."""
    hit_rate_b: float | None
    mean1: float
    """Mean activation of the correct side (of the first one where none is), and of the other."""
    mean2: float


@dataclass(frozen=True, eq=False)
class Control:
    """The same procedure with every second side replaced by that of another unit."""

    found_per_site: Int[np.ndarray, " site"]
    share: float
    """Of the tested dims; NaN where nothing could be tested."""
    supported: bool
    """Whether the control finds at most 1 % of the dims, so that discoveries mean something."""


@dataclass(frozen=True, eq=False)
class Replication:
    """The test on half of the units, looked at again in the other half."""

    found: Int[np.ndarray, " site"]
    """Discoveries in half A."""
    replicated: Int[np.ndarray, " site"]
    """Those of them that are hit more often than by chance in half B."""


@dataclass(frozen=True, eq=False)
class PairDifference:
    """How the activations of minimal pairs differ, by layer and by dim."""

    header: dict[str, Any]
    pairs: tuple[Compared, ...]
    left_out: tuple[LeftOut, ...]
    sites: tuple[str, ...]
    """Names of the rows: embed, layer_0, ..., attn_out_0, ..., mlp_out_0, ..."""
    layers: tuple[int, ...]
    """Of every site; -1 is the embedding. final_norm and logits count as the last layer's."""
    components: tuple[str, ...]
    """Of every site; see `lens_core.difference.sites`."""
    readout: str
    metrics: dict[str, Float[np.ndarray, "pair site"]]
    """By name, see `lens_core.difference.metrics`; NaN where one is not defined."""
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    layer_test: LayerTest
    dims: dict[str, Dimensions]
    """By site; logits have none."""
    found: tuple[FoundDim, ...]
    control: Control | None
    replication: Replication | None
    n_units: int
    verdict: str
    """What the small-change test says, in a sentence or two."""
    prefix_rel_err: float | None
    """The largest difference right before the edit, relative to the state: 0 by causality."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/pair_difference/1."""
        from lens_core.difference.json_form import to_json

        return to_json(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> PairDifference:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        from lens_core.difference.json_form import from_json

        return from_json(record)

    def to_csv(self) -> str:
        """The groups' metrics as CSV.

        Columns: site, component, layer, type, subtype, metric, n_pairs, n_units, mean, lo, hi,
        median, q1, q3. Texts are JSON strings, numbers exact, unknown ones empty.
        """
        from lens_core.difference.table import csv_table

        return csv_table(self)
