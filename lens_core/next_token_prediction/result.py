"""The result of `next_token`, and its JSON form (schema lens_core/next_token/1)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.next_token_prediction.distribution import (
    Distribution,
    checked_nucleus,
    checked_temperature,
    distribution,
)
from lens_core.records import plain

SCHEMA = "lens_core/next_token/1"


@dataclass(frozen=True)
class Step:
    """One token that was appended to the prompt, as likely as it was when it was chosen."""

    id: int
    p: float
    log_p: float
    """Nats."""
    rank: int
    """How many tokens were more likely."""


@dataclass(frozen=True, eq=False)
class NextToken:
    """What comes next after a text: the most likely tokens, and how sure the model is."""

    header: dict[str, Any]
    vocab: dict[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs; rows that stand for no token read
    `<unused 151700>`."""
    position: int
    """The position whose next token this is."""
    temperature: float
    nucleus: float
    """The share of the probability that `top.nucleus_size` tokens hold."""
    top: Distribution
    unused: Int[np.ndarray, " unused"]
    """Rows of the vocabulary that stand for no token; their probability is `top.unused_p`."""
    steps: tuple[Step, ...] = ()
    """What was appended since the prompt."""
    logits: Float[np.ndarray, " d_vocab"] | None = None
    """The whole row, in float32; None after a JSON without it."""

    @property
    def entropy_bits(self) -> float:
        """The entropy in bits; `top.entropy` has it in nats."""
        return self.top.entropy / math.log(2)

    def at(self, temperature: float, *, nucleus: float | None = None) -> NextToken:
        """The same row at another temperature, without a forward pass.

        Raises:
            InputError: an argument outside its range, or the row was not kept in the JSON that
                this was read from.
        """
        if self.logits is None:
            raise InputError(
                "This result has no row of logits: it was read from a JSON without it. Write it "
                "with to_json(logits=True), or run next_token again."
            )
        temperature = checked_temperature(temperature)
        nucleus = self.nucleus if nucleus is None else checked_nucleus(nucleus)
        top = distribution(
            self.logits,
            k=len(self.top.ids),
            temperature=temperature,
            nucleus=nucleus,
            unused=self.unused,
        )
        return replace(self, temperature=temperature, nucleus=nucleus, top=top)

    def to_json(self, *, logits: bool = False) -> dict[str, Any]:
        """Plain Python values; `logits` adds the whole row, from which `at` can go on."""
        top = self.top
        record = {
            **plain(self.header),
            "vocab": self.vocab,
            "position": self.position,
            "temperature": self.temperature,
            "top": {
                "ids": plain(top.ids),
                "rank": list(range(len(top.ids))),
                "p": plain(top.p),
                "log_p": plain(top.log_p),
                "logit": plain(top.logit),
                "cumulative": plain(top.cumulative),
            },
            "entropy_nats": top.entropy,
            "entropy_bits": self.entropy_bits,
            "nucleus": {"p": self.nucleus, "size": top.nucleus_size},
            "unused": {"ids": plain(self.unused), "p": top.unused_p},
            "steps": [plain(asdict(step)) for step in self.steps],
        }
        if logits and self.logits is not None:
            record["logits"] = plain(self.logits)
        return record

    def to_csv(self) -> str:
        """One row for each of the most likely tokens.

        Columns: rank (from 0), id, token, p, log_p, logit, cumulative. Tokens are JSON strings:
        every character shows, and none starts a formula in a spreadsheet. Numbers are exact; the
        logarithm of 0 is empty.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        numbers = ("p", "log_p", "logit", "cumulative")
        writer.writerow(["rank", "id", "token", *numbers])
        columns = [getattr(self.top, name).tolist() for name in numbers]
        for rank, (token, *values) in enumerate(zip(self.top.ids.tolist(), *columns, strict=True)):
            text = json.dumps(self.vocab[str(token)]["text"], ensure_ascii=False)
            shown = [repr(value) if math.isfinite(value) else "" for value in values]
            writer.writerow([rank, token, text, *shown])
        return out.getvalue()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> NextToken:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; a next token has {SCHEMA!r}."
            )
        own = {"vocab", "position", "temperature", "top", "entropy_nats", "entropy_bits"}
        own |= {"nucleus", "unused", "steps", "logits"}
        row = record.get("logits")
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            vocab=record["vocab"],
            position=record["position"],
            temperature=record["temperature"],
            nucleus=record["nucleus"]["p"],
            top=_read_top(record),
            unused=np.array(record["unused"]["ids"], dtype=np.int64),
            steps=tuple(_read_step(step) for step in record["steps"]),
            logits=None if row is None else _floats(row),
        )


def _read_top(record: Mapping[str, Any]) -> Distribution:
    top = record["top"]
    return Distribution(
        ids=np.array(top["ids"], dtype=np.int64),
        entropy=record["entropy_nats"],
        nucleus_size=record["nucleus"]["size"],
        unused_p=record["unused"]["p"],
        **{name: _floats(top[name]) for name in ("p", "log_p", "logit", "cumulative")},
    )


def _read_step(record: Mapping[str, Any]) -> Step:
    # A token that could not come has no finite logarithm, which JSON writes as null.
    log_p = record["log_p"]
    return Step(
        record["id"], record["p"], -math.inf if log_p is None else log_p, rank=record["rank"]
    )


def _floats(values: list[float | None]) -> Float[np.ndarray, " n"]:
    """None is what JSON made of minus infinity."""
    return np.array([-np.inf if value is None else value for value in values], dtype=np.float32)
