"""Minimal pairs: two texts that differ in one thing, read, made and aligned."""

from lens_core.pairs.record import Alignment, Pair

__all__ = ["Alignment", "Pair"]
