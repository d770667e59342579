"""How many rows run at once, and batches that are held against a single run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.memory import free_bytes
from lens_core.patching.sides import Side, logits_of
from lens_core.self_check import relative_error
from lens_core.tree.removal import Removal

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

CPU_TOKENS, GPU_TOKENS = 1024, 16384
"""Tokens of one batch: more at once make nothing faster."""


def rows_at_once(
    loaded: LoadedModel, length: int, *, n_read: int, batch_tokens: int | None = None
) -> int:
    """How many rows of one length may run at once."""
    facts, cpu = loaded.facts, loaded.device.type == "cpu"
    wide = 12 * facts.d_model + 4 * (facts.d_mlp or 4 * facts.d_model)
    # The scores, their softmax and a copy, of the layer that is under way; then the logits.
    scores = 4 * facts.n_heads * length**2
    one = 4 * (length * wide + scores + 4 * n_read * facts.vocab_size)
    fitting = free_bytes("cpu" if cpu else str(loaded.device)) // (4 * one)
    wanted = batch_tokens or (CPU_TOKENS if cpu else GPU_TOKENS)
    return int(max(1, min(fitting, wanted // length)))


class Batches:
    """Runs many patches of one text, some of them at a time."""

    def __init__(
        self, loaded: LoadedModel, side: Side, *, n_read: int, batch_tokens: int | None
    ) -> None:
        self.loaded = loaded
        self.side = side
        self.n_read = n_read
        self.rows_run = 0
        self._size = rows_at_once(
            loaded, len(side.text.ids), n_read=n_read, batch_tokens=batch_tokens
        )

    def slices(self, count: int) -> Iterator[slice]:
        """Which rows to run together; one less than fit, since the unchanged run is with them.

        Asked again after every group, since a batch that is not exact makes the next ones single.
        """
        start = 0
        while start < count:
            end = min(count, start + max(1, self._size - 1))
            yield slice(start, end)
            start = end

    def logits(self, rows: Sequence[Removal]) -> Float[Tensor, "row read d_vocab"]:
        """The logits of some rows; the caller holds the lock.

        Where the unchanged run among them differs from the single one, they are run one by one,
        and so are all that follow.
        """
        if len(rows) > 1 and self._size > 1:
            found = self._run([(), *rows])
            if relative_error(found[0], self.side.logits) <= self.loaded.self_check.bound:
                return found[1:]
            self._size = 1
        return torch.cat([self._run([row]) for row in rows])

    def _run(self, rows: Sequence[Removal]) -> Tensor:
        self.rows_run += len(rows)
        return logits_of(self.loaded, self.side.text, rows, n_read=self.n_read)
