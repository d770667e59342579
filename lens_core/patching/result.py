"""What patching a pair gives, with its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.patching.columns import Column
from lens_core.patching.grids import Grid
from lens_core.records import plain


@dataclass(frozen=True)
class CausalTraceStep:
    """How far a causal trace is."""

    done: int
    total: int
    """Of patches; those that change nothing are not run."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """The two runs of a pair, and what is measured behind them."""

    clean_side: int
    """Which side of the pair, 1 or 2, has the wanted answer."""
    clean_ids: Int[np.ndarray, " clean"]
    """With the tokens of an answer that are given with the text."""
    corrupt_ids: Int[np.ndarray, " corrupt"]
    columns: tuple[Column, ...]
    metric: str
    """logit_difference, log_p (nats) or kl (minus the divergence from the clean run, in nats)."""
    wanted: tuple[int, ...]
    """Token ids that the metric reads."""
    other: tuple[int, ...]
    clean_value: float
    corrupt_value: float
    """With noise the mean over its samples."""
    defined: bool
    """Whether the metric changes by 0.1 nat or more; otherwise all effects are NaN."""

    @property
    def change(self) -> float:
        """By how much the clean run has more of the metric."""
        return self.clean_value - self.corrupt_value

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain({**values, "columns": [column.to_json() for column in self.columns]})

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Contrast:
        """Read back what `to_json` wrote."""
        values = {field.name: record[field.name] for field in fields(cls)}
        for name in ("clean_ids", "corrupt_ids"):
            values[name] = np.array(values[name], dtype=np.int64)
        for name in ("wanted", "other"):
            values[name] = tuple(values[name])
        for name in ("clean_value", "corrupt_value"):
            values[name] = float("nan") if values[name] is None else values[name]
        values["columns"] = tuple(Column.from_json(column) for column in values["columns"])
        return cls(**values)


@dataclass(frozen=True, eq=False)
class CausalTrace:
    """Which activations carry the difference between the two sides of a pair to the answer."""

    header: Mapping[str, Any]
    vocab: Mapping[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs."""
    contrast: Contrast
    grids: tuple[Grid, ...]
    left_out: Mapping[str, str]
    """Components that are not exact in this model, and why."""
    noise: Mapping[str, Any] | None
    """scale, samples and standard deviation of the noise in place of the other side, if any."""
    forwards: int
    """Rows that went through the model."""

    SCHEMA = "lens_core/causal_trace/1"

    def grid(self, component: str, direction: str = "denoise") -> Grid:
        """The grid of a component.

        Raises:
            InputError: it was not traced.
        """
        return _grid(self.grids, component, direction)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/causal_trace/1."""
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            "contrast": self.contrast.to_json(),
            "grids": [grid.to_json() for grid in self.grids],
            "left_out": dict(self.left_out),
            "noise": plain(self.noise),
            "forwards": self.forwards,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CausalTrace:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        _check_schema(record, cls.SCHEMA)
        own = {field.name for field in fields(cls)}
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            vocab=record["vocab"],
            contrast=Contrast.from_json(record["contrast"]),
            grids=tuple(Grid.from_json(grid) for grid in record["grids"]),
            left_out=record["left_out"],
            noise=record["noise"],
            forwards=record["forwards"],
        )


@dataclass(frozen=True)
class Check:
    """One estimate beside the effect of the true patch."""

    grid: int
    index: tuple[int, ...]
    """[layer, column] or [layer, head, column] in that grid."""
    estimate: float
    true: float


@dataclass(frozen=True, eq=False)
class AttributionPatching:
    """The effects of all patches at once, to first order, and how wrong that is."""

    header: Mapping[str, Any]
    vocab: Mapping[str, Any]
    contrast: Contrast
    grids: tuple[Grid, ...]
    """Estimates of the effects in the corrupt run."""
    left_out: Mapping[str, str]
    checks: tuple[Check, ...]
    """Estimates of all sizes, largest first, beside true patches."""
    approximate: bool = True
    """Always: the model is not linear."""

    SCHEMA = "lens_core/attribution_patching/1"

    @property
    def errors(self) -> Float[np.ndarray, " check"]:
        """Estimate minus true effect of every check."""
        return np.array([c.estimate - c.true for c in self.checks], dtype=np.float32)

    @property
    def worst_error(self) -> float | None:
        """The largest of these errors; None where effects are undefined."""
        return float(np.abs(self.errors).max()) if self.checks else None

    @property
    def mean_error(self) -> float | None:
        """The mean size of these errors; None where effects are undefined."""
        return float(np.abs(self.errors).mean()) if self.checks else None

    def grid(self, component: str) -> Grid:
        """The grid of a component.

        Raises:
            InputError: it was not estimated.
        """
        return _grid(self.grids, component, "denoise")

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/attribution_patching/1."""
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            "approximate": self.approximate,
            "contrast": self.contrast.to_json(),
            "grids": [grid.to_json() for grid in self.grids],
            "left_out": dict(self.left_out),
            "checks": [
                {"grid": c.grid, "index": list(c.index), "estimate": c.estimate, "true": c.true}
                for c in self.checks
            ],
            "error": plain({"largest": self.worst_error, "mean": self.mean_error}),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> AttributionPatching:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        _check_schema(record, cls.SCHEMA)
        own = {field.name for field in fields(cls)} | {"error"}
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            vocab=record["vocab"],
            contrast=Contrast.from_json(record["contrast"]),
            grids=tuple(Grid.from_json(grid) for grid in record["grids"]),
            left_out=record["left_out"],
            checks=tuple(
                Check(c["grid"], tuple(c["index"]), c["estimate"], c["true"])
                for c in record["checks"]
            ),
        )


def _grid(grids: tuple[Grid, ...], component: str, direction: str) -> Grid:
    for grid in grids:
        if (grid.component, grid.direction) == (component, direction):
            return grid
    known = ", ".join(f"{grid.component} ({grid.direction})" for grid in grids)
    raise InputError(f'There is no grid of "{component}" ({direction}); there are {known}.')


def _check_schema(record: Mapping[str, Any], schema: str) -> None:
    if record.get("schema") != schema:
        raise InputError(f"The record's schema is {record.get('schema')!r}; it must be {schema!r}.")
