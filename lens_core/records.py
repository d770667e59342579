"""The header every result carries, and strict JSON out and in."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np

__version__ = "0.1.0"

T = TypeVar("T")

# Asked for with every result, and read from a file each time.
_version = cache(version)


def software() -> dict[str, str]:
    """The versions that a result depends on."""
    return {
        "lens_core": __version__,
        "python": platform.python_version(),
        "torch": _version("torch"),
        "transformers": _version("transformers"),
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
    """The header that every result carries, as plain Python values.

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


def fields_to_json(record: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values; a field that is None is left out."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: plain(value) for name, value in values.items() if value is not None}


def fields_from_json(kind: type[T], record: Mapping[str, Any]) -> T:
    """The dataclass `kind` from `fields_to_json`; lists become arrays, unknown keys are ignored."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            name: to_array(value) if isinstance(value, list) else value
            for name, value in record.items()
            if name in known
        }
    )


def to_array(values: list[Any]) -> np.ndarray:
    """Nested lists as an array: whole numbers int64, others float32, None as NaN."""
    found = np.array(values)
    if found.dtype.kind in "iub":
        return found.astype(np.int64) if found.dtype.kind != "b" else found
    return found.astype(np.float32)


def dumps(record: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Strict JSON text (no NaN), UTF-8 characters kept as they are."""
    return json.dumps(record, allow_nan=False, ensure_ascii=False, indent=indent)
