"""The block outputs that a comparison kept, pair by pair, as the original project counts them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lens_core.difference.result import PairDifference
from lens_core.difference.sites import UNTESTED
from lens_core.difference.store import first_sites, read_kept
from lens_core.errors import InputError
from lens_core.lens.options import one_of
from lens_core.pairs.record import Pair

NORMALIZATIONS = ("none", "l2", "cosine")


@dataclass(frozen=True, eq=False)
class KeptPairs:
    """Both sides of every pair after each block, read where they are asked for."""

    stored: Float[np.ndarray, "pair side site d_model"]
    """As it lies on disk, in float16."""
    scale: Float[np.ndarray, " site"]
    """A state is the stored number times this."""
    sites: tuple[int, ...]
    """Which of the sites are block outputs, in the order of the layers."""
    layers: tuple[int, ...]
    """Their layers, ascending."""
    pairs: tuple[Pair, ...]

    def states(self, index: int) -> Float[np.ndarray, "side layer d_model"]:
        """One pair, in double precision."""
        sites = list(self.sites)
        return self.stored[index][:, sites].astype(np.float64) * self.scale[sites][:, None]

    def numbered(self) -> dict[tuple[str, str], list[int]]:
        """The pairs of every type and subtype, in the order in which both first occur.

        The n-th of them is `pair_n` in the original's files.
        """
        found: dict[str, dict[str, list[int]]] = {}
        for index, pair in enumerate(self.pairs):
            found.setdefault(pair.type, {}).setdefault(pair.subtype, []).append(index)
        return {(kind, sub): rows for kind, subs in found.items() for sub, rows in subs.items()}


def open_kept(result: PairDifference, kept: str | Path) -> KeptPairs:
    """The states that `pair_difference(keep=kept)` wrote beside its result.

    Raises:
        InputError: the folder holds no states, those of another comparison, or no block outputs.
    """
    stored, index = read_kept(kept)
    pairs = tuple(one.pair for one in result.pairs)
    places = zip(result.sites, result.components, strict=True)
    sites = [site for site, component in places if component not in UNTESTED]
    same = index["sites"] == sites and index["model"] == result.header["model"]
    if not same or index["pairs"] != [pair.to_json() for pair in pairs]:
        raise InputError(
            f"The states in {str(kept)!r} are of another comparison (another model, other layers "
            "or other pairs); give the folder that this result was made with."
        )
    places = zip(result.layers, result.components, strict=True)
    blocks = [
        (layer, site)
        for site, (layer, component) in enumerate(places)
        if component == "resid_post" and layer >= 0
    ]
    if not blocks:
        raise InputError(
            f"The comparison has no block outputs, only {', '.join(result.sites)}; run it with "
            "resid_post among its components and at least one layer from 0."
        )
    layers, rows = zip(*sorted(blocks), strict=True)
    found = first_sites(stored, index)
    scale = np.array(index["scale"])[: found.shape[2]]
    return KeptPairs(found, scale, rows, layers, pairs)


def differences(
    states: Float[np.ndarray, "side layer d_model"], normalization: str = "none"
) -> Float[np.ndarray, "layer d_model"]:
    """|a - b| of every dim; with "l2" of the states divided by their lengths.

    "cosine" takes the states as they are: what it adds is a number a layer, see `cosines`.

    Raises:
        InputError: another normalization.
    """
    one_of("normalization", normalization, NORMALIZATIONS)
    if normalization == "l2":
        lengths = np.linalg.norm(states, axis=-1, keepdims=True)
        states = np.divide(states, lengths, out=np.zeros_like(states), where=lengths > 0)
    return np.abs(states[0] - states[1])


def cosines(states: Float[np.ndarray, "side layer d_model"]) -> Float[np.ndarray, " layer"]:
    """The cosine between the sides after every block; NaN where a side is 0."""
    lengths = np.linalg.norm(states, axis=-1).prod(0)
    out = np.full(lengths.shape, np.nan)
    return np.divide((states[0] * states[1]).sum(-1), lengths, out=out, where=lengths > 0)
