"""The header every result carries, and strict JSON out and in."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np

__version__ = "0.1.0"


def software() -> dict[str, str]:
    """The versions that a result depends on."""
    return {
        "lens_core": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def header(
    kind: str,
    *,
    model: Mapping[str, Any],
    self_check: Mapping[str, Any],
    edit: Mapping[str, Any] | None = None,
    seed: int | None = None,
    timing: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The header of design.md section 2, as plain Python values.

    `input` is left empty for the analysis to fill; times are in seconds.
    """
    return {
        "schema": f"lens_core/{kind}/1",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": dict(model),
        "software": software(),
        "self_check": dict(self_check),
        "input": {},
        "edit": None if edit is None else dict(edit),
        "seed": seed,
        "timing": dict(timing or {}),
        "warnings": list(warnings),
    }


def plain(value: Any) -> Any:
    """`value` as plain Python values for strict JSON: exact floats, non-finite numbers as None.

    Takes NumPy arrays and scalars, and mappings and sequences of them, at any depth.
    """
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no plain JSON form")


def _plain_array(array: np.ndarray) -> Any:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        with_none = array.astype(object)
        with_none[~np.isfinite(array)] = None
        return with_none.tolist()
    return array.tolist()


def array(values: Any, dtype: Any = np.float32) -> np.ndarray:
    """The inverse of `plain` for one array: None becomes NaN in float arrays."""
    return np.array(values, dtype=dtype)


def dumps(record: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Strict JSON text (no NaN), UTF-8 characters kept as they are."""
    return json.dumps(record, allow_nan=False, ensure_ascii=False, indent=indent)
