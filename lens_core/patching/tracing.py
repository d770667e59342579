"""A pair in a model: both runs, and the metric of any patch between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.errors import InputError
from lens_core.patching.batches import Batches
from lens_core.patching.columns import Column
from lens_core.patching.patches import Patch, changes
from lens_core.patching.question import Question
from lens_core.patching.sides import Noise, Side, Text, embedding_spread, run_side
from lens_core.tree.removal import Removal

if TYPE_CHECKING:
    from lens_core.models import LoadedModel


class Tracing:
    """Both runs of a question."""

    def __init__(
        self,
        loaded: LoadedModel,
        question: Question,
        components: Collection[str],
        *,
        noise: Noise | None = None,
        clean: Side | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        """Run both sides.

        Args:
            loaded: the model.
            question: what is asked.
            components: whose activations are written down.
            noise: on the embeddings of the corrupt run.
            clean: the clean run, where it is known.
            batch_tokens: how many tokens may run at once.
        """
        self.loaded = loaded
        self.question = question
        self.batch_tokens = batch_tokens
        self.forwards = 1 if clean is not None else 2
        n_read = question.n_read
        with loaded.lock:
            self.edits = loaded.active_edits
            self.clean = clean or run_side(loaded, Text(question.clean), components, n_read=n_read)
            text = Text(question.corrupt, noise)
            self.corrupt = run_side(loaded, text, components, n_read=n_read)
        self.clean_value, self.corrupt_value = (
            float(self.measure(side.logits[None])[0]) for side in (self.clean, self.corrupt)
        )

    def sides(self, direction: str) -> tuple[Side, Side]:
        """Whose activations are put, and into whose run."""
        if direction == "denoise":
            return self.clean, self.corrupt
        return self.corrupt, self.clean

    def measure(self, logits: Float[Tensor, "row read d_vocab"]) -> Float[np.ndarray, " row"]:
        """The metric of some runs, in double precision."""
        return self.question.measure(logits, self.clean.logits).cpu().numpy()

    def changes(self, direction: str, patch: Patch) -> Removal | None:
        """What a patch changes; None where it cannot be made, nothing where it changes nothing."""
        giver, taker = self.sides(direction)
        return changes(self.loaded, patch, giver=giver, taker=taker)

    def batches(self, direction: str) -> Batches:
        """For the patches of one direction."""
        _, taker = self.sides(direction)
        n_read = self.question.n_read
        return Batches(self.loaded, taker, n_read=n_read, batch_tokens=self.batch_tokens)

    def values(
        self, direction: str, rows: Sequence[Removal]
    ) -> Iterator[tuple[slice, Float[np.ndarray, " row"]]]:
        """The metric with each set of changes, some of them at a time.

        Raises:
            InputError: the edits have changed since the first run.
        """
        batches = self.batches(direction)
        for part in batches.slices(len(rows)):
            with self.running():
                logits = batches.logits(rows[part])
            self.forwards += batches.rows_run
            batches.rows_run = 0
            yield part, self.measure(logits)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model's lock, with the edits of the first run.

        Raises:
            InputError: the edits have changed since.
        """
        with self.loaded.lock:
            if self.loaded.active_edits != self.edits:
                raise InputError("The edits have changed since the first run; keep them for all.")
            yield


def with_noise(question: Question) -> Question:
    """The same question with the clean text on both sides, for noise in place of the other text."""
    columns = []
    for column in question.columns:
        for i in range(*column.clean):
            columns.append(Column(column.kind, (i, i + 1), (i, i + 1)))
    return replace(question, corrupt=question.clean, columns=tuple(columns))


def noises(
    loaded: LoadedModel, question: Question, *, scale: float, samples: int, seed: int
) -> tuple[float, list[Noise]]:
    """Standard deviation of the noise on the edit's embeddings, and its samples.

    Raises:
        InputError: there is no edit in the clean text.
    """
    at = tuple(
        i for column in question.columns if column.kind == "edit" for i in range(*column.clean)
    )
    if not at:
        raise InputError(
            "The clean text has 0 tokens in its edit, so there is nothing to put noise on; leave "
            "noise out, or give a pair whose clean side has the words that differ."
        )
    with loaded.lock, torch.no_grad():
        spread = scale * embedding_spread(loaded, question.clean)
        width = loaded.model.get_input_embeddings()(question.clean[:1].to(loaded.device)).shape[-1]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((samples, len(at), width), generator=generator) * spread
    return spread, [Noise(at, values) for values in drawn]
