"""Activation differences over minimal pairs, and which dims change consistently little."""

from lens_core.difference.effect import set_effect, set_effect_steps
from lens_core.difference.effect_result import SetEffect, SetEffectStep
from lens_core.difference.original_files import write_original_results
from lens_core.difference.result import PairDifference, PairStep
from lens_core.difference.run import pair_difference, pair_difference_steps
from lens_core.difference.store import kept_site, read_kept

__all__ = [
    "PairDifference",
    "PairStep",
    "SetEffect",
    "SetEffectStep",
    "kept_site",
    "pair_difference",
    "pair_difference_steps",
    "read_kept",
    "set_effect",
    "set_effect_steps",
    "write_original_results",
]
