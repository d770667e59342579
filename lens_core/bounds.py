"""How exact is exact: the errors, relative to the largest entry, up to which a feature is shown."""

from __future__ import annotations

BOUNDS = {"float32": 1e-5, "float64": 1e-5, "float16": 2e-3}

COARSE_BOUND = 2e-2
"""For bfloat16 and quantised weights."""


def bound_of(dtype: str, *, quantized: bool) -> float:
    """The bound of a model with this dtype ("float32", ...)."""
    return COARSE_BOUND if quantized else BOUNDS.get(dtype, COARSE_BOUND)
