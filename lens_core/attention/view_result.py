"""The views of attention as a result, and their JSON form (schema lens_core/attention/1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.attention.result import AttentionRows
from lens_core.attention.sinks import Sinks
from lens_core.attention.table import csv_table
from lens_core.errors import InputError
from lens_core.records import plain


@dataclass(frozen=True, eq=False)
class RolledOut:
    """How much of each token is mixed into the query, if attention moved whole states.

    By how the heads of a layer become one: "mean", "min" and "max".
    """

    shares: Mapping[str, Float[np.ndarray, " source"]]
    """Sum to 1."""
    ratio: Mapping[str, Float[np.ndarray, " source"]]
    """Shares over the baseline, 1 for attention that looks nowhere in particular; NaN where the
    baseline is 0, for tokens that cannot reach the query."""
    baseline: Float[np.ndarray, " source"]
    """The same of attention spread evenly over what each position may look at."""


@dataclass(frozen=True, eq=False)
class AttentionViews:
    """What is shown of attention from one position."""

    rows: AttentionRows
    """With one query."""
    norms: Float[np.ndarray, "layer head source"] | None
    """L2 norm of weight x value x output projection, as it is added to the stream."""
    rollout: RolledOut | None
    flow: Float[np.ndarray, " source"] | None
    """The maximum flow from each token to the query, 0 to 1 each."""
    sinks: Sinks
    left_out: Mapping[str, str]
    """Why "norms", "rollout" or "flow" were asked for and are not there."""

    @property
    def query(self) -> int:
        """The position that is looked from."""
        return self.rows.queries[0]

    @property
    def head_mean(self) -> Float[np.ndarray, "layer source"]:
        """Weights averaged over heads."""
        return self.rows.rows[:, 0].mean(1)

    @property
    def head_max(self) -> Float[np.ndarray, "layer source"]:
        """The largest weight that any head has."""
        return self.rows.rows[:, 0].max(1)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values: those of the rows, and "views"."""
        rolled = self.rollout
        views = {
            "entropy": self.rows.entropy[:, 0],
            "effective_tokens": self.rows.effective_tokens[:, 0],
            "head_mean": self.head_mean,
            "head_max": self.head_max,
            "norms": self.norms,
            "rollout": None
            if rolled is None
            else {"shares": rolled.shares, "ratio": rolled.ratio, "baseline": rolled.baseline},
            "flow": self.flow,
            "sinks": {
                "positions": self.sinks.positions,
                "looked_at": self.sinks.looked_at,
                "head_share": self.sinks.head_share,
                "removed_mass": self.rows.without(self.sinks.positions).removed[:, 0],
            },
            "left_out": self.left_out,
        }
        return {**self.rows.to_json(), "views": plain(views)}

    def to_csv(self) -> str:
        """The table of `AttentionRows.to_csv`, with a column norm where norms are known."""
        return csv_table(self.rows, None if self.norms is None else self.norms[:, None])

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> AttentionViews:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema, or rows without views.
        """
        rows = AttentionRows.from_json(record)
        views = record.get("views")
        if views is None:
            raise InputError("The record has rows alone; read it with AttentionRows.from_json.")
        rolled, sinks = views["rollout"], views["sinks"]
        found = {name: _array(sinks[name]) for name in ("looked_at", "head_share")}
        return AttentionViews(
            rows=rows,
            norms=None if views["norms"] is None else _array(views["norms"]),
            rollout=None if rolled is None else _rolled(rolled),
            flow=None if views["flow"] is None else _array(views["flow"]),
            sinks=Sinks(tuple(sinks["positions"]), **found),
            left_out=views["left_out"],
        )


def _array(values: list[Any]) -> Float[np.ndarray, ...]:
    return np.array(values, np.float32)


def _rolled(record: Mapping[str, Any]) -> RolledOut:
    shares, ratio = (
        {name: _array(values) for name, values in record[key].items()}
        for key in ("shares", "ratio")
    )
    return RolledOut(shares, ratio, _array(record["baseline"]))
