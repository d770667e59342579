"""What holding a set of dims at their mean does, as a result (schema lens_core/set_effect/1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.records import plain

SCHEMA = "lens_core/set_effect/1"
ABOVE = 0.95
"""The share of random sets that a set must exceed."""
_NUMBERS = ("kl_before", "kl_change", "log_p_before", "log_p_change")
_DRAWN = ("random_kl_change", "random_log_p_change")


@dataclass(frozen=True)
class SetEffectStep:
    """How far it is: sets that were tried."""

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class SetEffect:
    """A set of dims held at their mean, against random sets; all values are means over units."""

    header: dict[str, Any]
    layer: int
    dims: Int[np.ndarray, " n"]
    n_units: int
    kl_before: float
    """KL(correct side || erroneous side) of the next token in nats, nothing replaced."""
    kl_change: float
    """How much it grows when the set is held at its mean."""
    random_kl_change: Float[np.ndarray, " set"]
    log_p_before: float
    """Log-probability of the first token of the correct side's answer after the erroneous side;
    NaN where no pair has answers."""
    log_p_change: float
    random_log_p_change: Float[np.ndarray, " set"]

    @property
    def share_below(self) -> float:
        """Share of random sets that raise KL less."""
        return float((self.random_kl_change < np.float32(self.kl_change)).mean())

    @property
    def p_kl(self) -> float:
        """How often a random set raises KL as much; one-sided permutation p."""
        reached = int((self.random_kl_change >= np.float32(self.kl_change)).sum())
        return (1 + reached) / (1 + len(self.random_kl_change))

    @property
    def p_log_p(self) -> float:
        """How often a random set lowers the answer's log p as much; NaN without answers."""
        if math.isnan(self.log_p_change):
            return math.nan
        reached = int((self.random_log_p_change <= np.float32(self.log_p_change)).sum())
        return (1 + reached) / (1 + len(self.random_log_p_change))

    @property
    def contributes(self) -> bool:
        """Whether the set may be said to contribute to error correction."""
        return self.kl_change > 0 and self.share_below > ABOVE

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/set_effect/1."""
        names = ("layer", "dims", "n_units", *_NUMBERS, *_DRAWN)
        names += ("share_below", "p_kl", "p_log_p", "contributes")
        return {**plain(self.header), **{name: plain(getattr(self, name)) for name in names}}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> SetEffect:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; this one is {SCHEMA!r}."
            )
        own = {"layer", "dims", "n_units", *_NUMBERS, *_DRAWN}
        own |= {"share_below", "p_kl", "p_log_p", "contributes"}
        values: dict[str, Any] = {name: record[name] for name in _NUMBERS}
        values = {name: math.nan if one is None else one for name, one in values.items()}
        values |= {name: np.array(record[name], np.float32) for name in _DRAWN}
        return SetEffect(
            header={key: value for key, value in record.items() if key not in own},
            layer=record["layer"],
            dims=np.array(record["dims"], np.int64),
            n_units=record["n_units"],
            **values,
        )
