"""How exact is exact: the errors, relative to the largest entry, up to which a feature is shown."""

from __future__ import annotations

BOUNDS = {"float32": 1e-5, "float64": 1e-5, "float16": 2e-3}

COARSE_BOUND = 2e-2
"""For bfloat16 and quantised weights."""

LARGEST_GAP = 0.05
"""Of scores that should sum to a change, relative to it; above it a result warns."""

CHANCE = 0.05
"""A ranking beats chance where a random one is as good no more often than this."""

LEAST_UNITS = 20
"""Distinct edits of pairs below which no dim is said to change consistently little."""


def bound_of(dtype: str, *, quantized: bool) -> float:
    """The bound of a model with this dtype ("float32", ...)."""
    return COARSE_BOUND if quantized else BOUNDS.get(dtype, COARSE_BOUND)
