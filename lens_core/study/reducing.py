"""From rows of logits to the numbers that are kept of them.

All in float32 and relative to the largest logit of a row, so that rounding is relative to the
differences between logits: with z' = z - max z, log Z' = log sum exp z', the entropy is
H = log Z' - sum p z'. Probabilities are never clamped; a logit of minus infinity has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.lens.options import whole_number
from lens_core.lens.rows import SLICE_BYTES, top_of
from lens_core.next_token_prediction.reading import MAX_K, unused_rows
from lens_core.study.records import PositionRecords

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

LOGITS_BYTES = 40 * 2**20
"""Logits that are held at once, in float32."""
MAX_ROWS = 64
"""Rows of logits at once; where the vocabulary is small, as many as stay in a CPU's cache."""
_FLOATS = ("logprob", "entropy", "top1_logprob", "margin", "log_z", "unused_mass")


class Reducer:
    """Reduces rows of logits to records; knows the targets, and which rows stand for no token."""

    def __init__(
        self, loaded: LoadedModel, target_ids: Sequence[Sequence[int]] | None, k: int
    ) -> None:
        """Check the targets and k.

        Raises:
            InputError: an id outside the vocabulary, or k outside its range.
        """
        self.d_vocab = loaded.facts.vocab_size
        self.k = whole_number("k", k, 1, min(MAX_K, self.d_vocab))
        self.n_targets = len(target_ids or ())
        groups = [list(dict.fromkeys(int(one) for one in group)) for group in target_ids or ()]
        self._ids = torch.tensor([one for group in groups for one in group], dtype=torch.long)
        outside = self._ids[(self._ids < 0) | (self._ids >= self.d_vocab)]
        if len(outside):
            raise InputError(
                f"Target id {int(outside[0])} is outside this model's vocabulary, 0 to "
                f"{self.d_vocab - 1}."
            )
        self._member = torch.zeros(len(self._ids), self.n_targets)
        owner = [number for number, group in enumerate(groups) for _ in group]
        self._member[torch.arange(len(owner)), owner] = 1.0
        self._empty = torch.tensor([not group for group in groups], dtype=torch.bool)
        self._unused = torch.from_numpy(unused_rows(loaded))

    @property
    def rows_at_once(self) -> int:
        """How many rows of logits may be held at once."""
        few = LOGITS_BYTES // (4 * self.d_vocab)
        return max(1, min(few, max(MAX_ROWS, SLICE_BYTES // (4 * self.d_vocab))))

    def empty(self, ids: Sequence[int]) -> PositionRecords:
        """Records of a text, to be filled in."""
        return PositionRecords.empty(ids, n_targets=self.n_targets, k=self.k)

    def fill(
        self,
        into: Sequence[tuple[PositionRecords, int]],
        logits: Float[Tensor, "row d_vocab"],
    ) -> None:
        """Write what is kept of each row into (records, position); the logits are overwritten."""
        own = torch.tensor([int(records.ids[at]) for records, at in into], dtype=torch.long)
        floats, whole = self._numbers(logits, own)
        for row, (records, at) in enumerate(into):
            for name, value in zip(_FLOATS, floats[row], strict=False):
                getattr(records, name)[at] = value
            records.rank[at], records.top1_id[at] = whole[row, :2]
            records.p_targets[at] = floats[row, len(_FLOATS) : len(_FLOATS) + self.n_targets]
            records.topk_logprobs[at] = floats[row, len(_FLOATS) + self.n_targets :]
            records.topk_ids[at] = whole[row, 1:]

    def _numbers(
        self, logits: Float[Tensor, "row d_vocab"], own: Int[Tensor, " row"]
    ) -> tuple[Float[np.ndarray, "row column"], Int[np.ndarray, "row column"]]:
        """All floats and all whole numbers of some rows, each moved from the device once."""
        device = logits.device
        own, ids, unused = (one.to(device) for one in (own, self._ids, self._unused))
        on_cpu = device.type == "cpu"
        at_once = max(1, SLICE_BYTES // (4 * self.d_vocab)) if on_cpu else len(logits)
        member, empty = self._member.to(device), self._empty.to(device)
        found = [
            _reduced(some, wanted, k=self.k, ids=ids, unused=unused)
            for some, wanted in zip(logits.split(at_once), own.split(at_once), strict=True)
        ]
        columns, targets, top_logprob, rank, top_ids = map(torch.cat, zip(*found, strict=True))
        p_targets = (targets @ member).masked_fill(empty, torch.nan)
        floats = torch.cat([columns, p_targets, top_logprob], 1).cpu().numpy()
        return floats, torch.cat([rank[:, None], top_ids], 1).cpu().numpy()


def _reduced(
    logits: Float[Tensor, "row d_vocab"],
    own: Int[Tensor, " row"],
    *,
    k: int,
    ids: Int[Tensor, " id"],
    unused: Int[Tensor, " unused"],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Columns as in `_FLOATS`, probabilities of the ids, the most likely tokens, and the rank."""
    top, top_ids = ordered_top(logits, k)
    chosen = logits.gather(1, own[:, None])
    # Counted in float32, exact up to 2**24: adding up truth values is many times slower.
    scratch = torch.gt(logits, chosen, out=torch.empty_like(logits))
    rank = scratch.sum(1).long()
    largest = top[:, :1]
    below = logits.sub_(largest)
    weights = torch.exp(below, out=scratch)
    total = weights.sum(1, keepdim=True)
    wasted = weights[:, unused].sum(1, keepdim=True) / total
    targets = weights[:, ids] / total
    products = weights.mul_(below)
    mean = products.sum(1, keepdim=True)
    if not bool(mean.isfinite().all()):
        # 0 * log(0) is 0: a token that cannot come adds nothing. Logits that are not numbers show.
        mean = products.nansum(1, keepdim=True) + 0.0 * total
    log_total = total.log()
    logprobs = (top - largest) - log_total
    columns = [
        (chosen - largest) - log_total,
        log_total - mean / total,
        logprobs[:, :1],
        _margin(top),
        log_total + largest,
        wasted,
    ]
    return torch.cat(columns, 1), targets, logprobs[:, :k], rank, top_ids[:, :k]


def ordered_top(logits: Float[Tensor, "row d_vocab"], k: int) -> tuple[Tensor, Tensor]:
    """The k largest logits of each row, at least two, and their ids; the smaller id first."""
    values, ids = top_of(logits, max(k, 2))
    by_id = ids.argsort(1)
    values, ids = values.gather(1, by_id), ids.gather(1, by_id)
    order = values.argsort(1, descending=True, stable=True)
    return values.gather(1, order), ids.gather(1, order)


def _margin(top: Float[Tensor, "row k"]) -> Float[Tensor, "row 1"]:
    return top[:, :1] - top[:, 1:2]
