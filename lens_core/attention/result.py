"""Rows of attention as a result, and their JSON form (schema lens_core/attention/1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.attention.table import csv_table
from lens_core.errors import InputError
from lens_core.records import fields_from_json, fields_to_json, plain, to_array

SCHEMA = "lens_core/attention/1"
CAVEAT = (
    "Attention says where a layer looks, not what the prediction depends on: that is measured by "
    "attribution."
)
_OWN = ("vocab", "mode", "layers", "layers_without_attention", "queries", "n_heads", "kv_head")
_OWN += ("rows", "sink_mass", "next", "views", "note")


@dataclass(frozen=True, eq=False)
class NextTokens:
    """What the model predicts after each query."""

    ids: Int[np.ndarray, "query k"]
    """Most likely first."""
    p: Float[np.ndarray, "query k"]
    """Softmax over the whole vocabulary."""
    log_p: Float[np.ndarray, "query k"]
    """In nats."""
    logit: Float[np.ndarray, "query k"]
    entropy: Float[np.ndarray, " query"]
    """Of the whole vocabulary, in nats."""


@dataclass(frozen=True, eq=False)
class WithoutSinks:
    """Rows with some sources taken out, and the rest divided by its sum."""

    rows: Float[np.ndarray, "layer query head source"]
    """Sum to 1; all 0 where everything was taken out."""
    removed: Float[np.ndarray, "layer query head"]
    """How much was taken out, learned sinks included."""


@dataclass(frozen=True, eq=False)
class AttentionRows:
    """Where every head looks from some positions, and what the model predicts there."""

    header: dict[str, Any]
    vocab: dict[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs; ids are the keys, never strings."""
    mode: str
    """"sdpa" or "eager": worked out beside the model's own attention, in the very pass of the
    prediction; "asked": handed out by the model, in another pass."""
    layers: tuple[int, ...]
    layers_without_attention: tuple[int, ...]
    """Of those that were asked for: linear attention or state space."""
    queries: tuple[int, ...]
    kv_head: Int[np.ndarray, "layer head"]
    """The key/value head that each head reads."""
    rows: Float[np.ndarray, "layer query head source"]
    """After the softmax: not negative, 0 for later positions and outside of a window; a row sums
    to 1, or to 1 less its sink mass."""
    sink_mass: Float[np.ndarray, "layer query head"] | None
    """What goes to learned sinks, which are no tokens; None where a model has none."""
    next: NextTokens
    logits: Float[np.ndarray, "query d_vocab"] | None
    """The logits after each query; not in the JSON, so None when read back."""

    @property
    def entropy(self) -> Float[np.ndarray, "layer query head"]:
        """Entropy of each row in nats, from 0 to ln(tokens); learned sinks are left out."""
        total = self.rows.sum(-1, keepdims=True)
        share = np.divide(self.rows, total, out=np.zeros_like(self.rows), where=total > 0)
        logs = np.log(share, out=np.zeros_like(share), where=share > 0)
        return np.maximum(-(share * logs).sum(-1), 0.0)

    @property
    def effective_tokens(self) -> Float[np.ndarray, "layer query head"]:
        """exp(entropy): over how many tokens a head spreads, 1 to the number of tokens."""
        return np.exp(self.entropy)

    def without(self, sources: Sequence[int]) -> WithoutSinks:
        """The rows without some sources (the sinks), divided by what is left.

        Raises:
            InputError: a position that the prompt does not have.
        """
        length = self.rows.shape[-1]
        if outside := [at for at in sources if not 0 <= at < length]:
            raise InputError(f"Source {outside[0]} is not in the prompt, 0 to {length - 1}.")
        rows = self.rows.copy()
        rows[..., list(sources)] = 0.0
        left = rows.sum(-1, keepdims=True)
        rows = np.divide(rows, left, out=np.zeros_like(rows), where=left > 0)
        return WithoutSinks(rows, np.clip(1.0 - left[..., 0], 0.0, 1.0))

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/attention/1; logits are left out."""
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            "mode": self.mode,
            "layers": list(self.layers),
            "layers_without_attention": list(self.layers_without_attention),
            "queries": list(self.queries),
            "n_heads": self.rows.shape[2],
            "kv_head": self.kv_head.tolist(),
            "rows": plain(self.rows),
            "sink_mass": None if self.sink_mass is None else plain(self.sink_mass),
            "next": fields_to_json(self.next),
            "note": CAVEAT,
        }

    def to_csv(self) -> str:
        """Every weight as CSV.

        Columns: layer, head, kv_head, query, source, token, weight. Sources after the query are
        left out; tokens are JSON strings, numbers exact.
        """
        return csv_table(self, None)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> AttentionRows:
        """Read back what `to_json` wrote, or the rows of written views.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; attention has {SCHEMA!r}."
            )
        sink_mass = record["sink_mass"]
        return AttentionRows(
            header={key: value for key, value in record.items() if key not in _OWN},
            vocab=record["vocab"],
            mode=record["mode"],
            layers=tuple(record["layers"]),
            layers_without_attention=tuple(record["layers_without_attention"]),
            queries=tuple(record["queries"]),
            kv_head=to_array(record["kv_head"]),
            rows=np.array(record["rows"], np.float32),
            sink_mass=None if sink_mass is None else np.array(sink_mass, np.float32),
            next=fields_from_json(NextTokens, record["next"]),
            logits=None,
        )
