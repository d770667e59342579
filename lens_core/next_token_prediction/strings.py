"""How likely a string is after a text, token by token: one forward pass over both together."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.models import LoadedModel, check_ids
from lens_core.network import last_logits_only, run
from lens_core.next_token_prediction.distribution import log_probs
from lens_core.next_token_prediction.reading import input_record, ticking
from lens_core.records import fields_from_json, fields_to_json, plain
from lens_core.tokens import vocab_entries

SCHEMA = "lens_core/string_probability/1"
_ROW_BYTES = 64 * 2**20
"""Logits that are turned into probabilities at once, in float64."""


@dataclass(frozen=True, eq=False)
class StringTokens:
    """The tokens of the string, each after those before it."""

    ids: Int[np.ndarray, " token"]
    log_p: Float[np.ndarray, " token"]
    """Nats."""
    rank: Int[np.ndarray, " token"]
    """How many tokens were more likely at that place."""
    best_ids: Int[np.ndarray, " token"]
    """What the model itself would have said there."""
    best_log_p: Float[np.ndarray, " token"]


@dataclass(frozen=True, eq=False)
class StringProbability:
    """How likely a string is after a text, as the tokens that its tokenizer makes of it."""

    header: dict[str, Any]
    vocab: dict[str, Any]
    tokens: StringTokens

    @property
    def log_p(self) -> float:
        """The logarithm of the probability of all of it, in nats."""
        return float(self.tokens.log_p.astype(np.float64).sum())

    @property
    def p(self) -> float:
        """The probability of all of it; that of a long string can be 0 in floating point."""
        return math.exp(self.log_p)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, ready for `json.dumps(..., allow_nan=False)`."""
        total = {"log_p": plain(self.log_p), "p": self.p}
        tokens = fields_to_json(self.tokens)
        return {**plain(self.header), "vocab": self.vocab, "tokens": tokens, "total": total}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> StringProbability:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; the probability of a string "
                f"has {SCHEMA!r}."
            )
        own = {"vocab", "tokens", "total"}
        header = {key: value for key, value in record.items() if key not in own}
        return cls(header, record["vocab"], fields_from_json(StringTokens, record["tokens"]))


def string_probability(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    text: str | Int[Tensor, " token"],
    *,
    max_tokens: int | None = None,
) -> StringProbability:
    """How likely a string is after a text: the product over its tokens, by teacher forcing.

    The string is tokenised by itself, without special tokens, and joined as ids. It is the
    probability of these tokens: the same characters cut in another way are another event, and a
    tokenizer may cut them so when both texts are typed as one.

    Args:
        loaded: the model.
        ids: token ids of the text [position].
        text: the string, exactly as it follows (mostly with a space in front), or its token ids.
        max_tokens: refuse longer texts, the string counted.

    Raises:
        PromptError: either cannot be read, or both together are too long.
    """
    started = time.perf_counter()
    before = check_ids(loaded, ids, max_tokens=max_tokens)
    after = loaded.tokenize(text, special="none", name="string") if isinstance(text, str) else text
    after = check_ids(loaded, after, name="string")
    both = check_ids(loaded, torch.cat([before, after]), max_tokens=max_tokens)
    with loaded.lock:
        tokens = _scored(loaded, both[:-1], after)
        header = loaded.header(
            "string_probability", timing={"forward_s": time.perf_counter() - started}
        )
    header["input"] = input_record(loaded, both.tolist(), len(before))
    entries = vocab_entries(loaded.tokenizer, [*both.tolist(), *tokens.best_ids.tolist()])
    return StringProbability(header, {str(token): e for token, e in entries.items()}, tokens)


def _scored(
    loaded: LoadedModel, read: Int[Tensor, " position"], wanted: Int[Tensor, " token"]
) -> StringTokens:
    """One pass over everything but the last token; only the rows of the string are asked for."""
    options = {name: len(wanted) for name in last_logits_only(loaded.model)}
    with ticking(loaded):
        rows = run(loaded.model, read[None], **options).logits[0, -len(wanted) :]
    at_once = max(1, _ROW_BYTES // (8 * rows.shape[-1]))
    parts = [
        _rows_scored(some.float().cpu().numpy(), ids.numpy())
        for some, ids in zip(rows.split(at_once), wanted.split(at_once), strict=True)
    ]
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return StringTokens(wanted.numpy(), *columns)


def _rows_scored(
    rows: Float[np.ndarray, "token d_vocab"], wanted: Int[np.ndarray, " token"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The log p and rank of the wanted tokens, and the best token of each row with its log p."""
    log_p, each = log_probs(rows), np.arange(len(rows))
    chosen, best = log_p[each, wanted], rows.argmax(-1)
    rank = (rows > rows[each, wanted][:, None]).sum(-1)
    return chosen.astype(np.float32), rank, best, log_p[each, best].astype(np.float32)
