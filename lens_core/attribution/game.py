"""What a prompt without some of its features still predicts: the value that methods share out.

With all features present the value is that of the prompt itself; removing features is one of the
occluders. Every set of features is run once, however often it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_core.attribution.occluders import Row, mean_row, occluded
from lens_core.attribution.passes import Passes
from lens_core.errors import InputError, NotExactError
from lens_core.models import LoadedModel
from lens_core.progress import tick

SCORES = ("log_p", "contrast", "kl", "flip")


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of a prompt: which prediction, measured how, without which tokens."""

    prompt: Int[Tensor, " prompt"]
    """Up to the query: the target is predicted after its last token."""
    wanted: Int[Tensor, " target"] | None
    """None for the token that is most likely after the prompt, before that is known."""
    foil: int | None
    score: str
    """One of `SCORES`."""
    features: tuple[tuple[int, ...], ...]
    """Positions of each feature, all of them in the prompt."""
    occluder: str
    replacement: int | None
    """None takes the mean row of the embedding."""

    @property
    def target(self) -> Int[Tensor, " target"]:
        """The wanted tokens, once they are known."""
        assert self.wanted is not None
        return self.wanted

    @property
    def ids(self) -> Int[Tensor, " position"]:
        """All that is run: prompt and target without its last token."""
        return self.prompt if self.wanted is None else torch.cat([self.prompt, self.wanted[:-1]])

    def settled(self, logits: Float[Tensor, "target d_vocab"]) -> Question:
        """The same question of the most likely token, where no other was wanted."""
        if self.wanted is not None:
            return self
        return replace(self, wanted=logits[0].argmax()[None].cpu())


@dataclass(frozen=True, eq=False)
class Measured:
    """The prediction of one variant."""

    values: Float[np.ndarray, " part"]
    """Log probability of every target token in nats; one value with any other score: the logit of
    target minus foil, -KL(original || variant) in nats, or whether the top token stays (1 or 0)."""
    kl: float
    """KL(original || variant) of the next token, in nats."""
    flip: bool
    """Whether the most likely next token is another one."""

    @property
    def value(self) -> float:
        """The sum of the values."""
        return float(self.values.sum())


class Game:
    """Values of sets of features."""

    def __init__(self, loaded: LoadedModel, question: Question, *, share: bool = True) -> None:
        """Run the original prompt.

        Args:
            loaded: the model.
            question: what is asked.
            share: read states before the first change again, where that is exact.

        Raises:
            NotExactError: hidden tokens still act on others in this model.
        """
        self.loaded = loaded
        self.edits = loaded.active_edits
        self._known: dict[bytes, Measured] = {}
        with loaded.lock:
            blanks = question.occluder == "mean" or question.replacement is None
            blank = mean_row(loaded) if blanks else None
            count = 1 if question.wanted is None else len(question.wanted)
            hide = question.occluder == "knock_out"
            self.passes = Passes(
                loaded, question.ids, n_targets=count, blank=blank, share=share, hide=hide
            )
            if not self.passes.hides:
                raise NotExactError(
                    f"In {loaded.facts.class_name} a token hidden by the attention mask still "
                    "acts on others, so it cannot be knocked out; use replace or mean."
                )
        self.question = question.settled(self.passes.original)
        self._base = self.passes.original[0].double().log_softmax(0)
        self.full = np.ones(len(question.features), dtype=bool)
        self._known[self.full.tobytes()] = self._measured(self.passes.original)

    @property
    def original(self) -> Measured:
        """With all features."""
        return self.of(self.full)

    @property
    def rows(self) -> int:
        """Variants run so far, the original and proofs among them."""
        return self.passes.rows_run

    def of(self, present: Bool[np.ndarray, " feature"]) -> Measured:
        """What was measured with some features present."""
        return self._known[present.tobytes()]

    def knows(self, present: Bool[np.ndarray, " feature"]) -> bool:
        """Whether a set has been measured."""
        return present.tobytes() in self._known

    def measuring(self, sets: Iterable[Bool[np.ndarray, " feature"]]) -> Iterator[tuple[int, int]]:
        """Measure sets of features, one group of variants a step: (sets done, sets in all).

        Raises:
            InputError: the edits have changed in between, or nothing of the prompt is left.
        """
        wanted = {present.tobytes(): present for present in sets}
        total = len(wanted)
        new = [present for key, present in wanted.items() if key not in self._known]
        rows = [self._row(present) for present in new]
        done = total - len(new)
        tick("row", done, max(total, 1))
        for group in self.passes.groups(rows):
            if self.loaded.active_edits != self.edits:
                raise InputError("The edits have changed since the first pass; keep them for all.")
            with self.loaded.lock:
                logits = self.passes.logits([rows[index] for index in group])
                for index, found in zip(group, logits, strict=True):
                    self._known[new[index].tobytes()] = self._measured(found)
            done += len(group)
            tick("row", done, total)
            yield done, total

    def measure(self, sets: Sequence[Bool[np.ndarray, " feature"]]) -> list[Measured]:
        """Measure sets of features at once.

        Raises:
            InputError: as `measuring`.
        """
        for _ in self.measuring(sets):
            pass
        return [self.of(present) for present in sets]

    def _row(self, present: np.ndarray) -> Row:
        question = self.question
        removed = torch.zeros(len(question.ids), dtype=torch.bool)
        for positions, kept in zip(question.features, present, strict=True):
            if not kept:
                removed[list(positions)] = True
        return occluded(
            question.ids,
            removed,
            query=len(question.prompt) - 1,
            occluder=question.occluder,
            replacement=question.replacement,
        )

    def _measured(self, logits: Float[Tensor, "target d_vocab"]) -> Measured:
        question = self.question
        first = logits[0].double().log_softmax(0)
        # A token that is impossible in both would give 0 * (inf - inf).
        terms = torch.where(self._base.exp() > 0, self._base.exp() * (self._base - first), 0.0)
        kl = max(float(terms.sum()), 0.0)
        flip = int(first.argmax()) != int(self._base.argmax())
        if question.score == "log_p":
            values = target_log_p(logits, question.target).cpu().numpy()
        elif question.score == "contrast":
            assert question.foil is not None
            values = [float(logits[0, question.target[0]] - logits[0, question.foil])]
        else:
            values = [-kl if question.score == "kl" else float(not flip)]
        return Measured(np.asarray(values, dtype=np.float64), kl, flip)


def target_log_p(
    logits: Float[Tensor, "*row target d_vocab"], target: Int[Tensor, " target"]
) -> Float[Tensor, "*row target"]:
    """The log probability of every target token, in nats and double precision."""
    chosen = target.to(logits.device).expand(logits.shape[:-1])[..., None]
    picked = logits.gather(-1, chosen)[..., 0].double()
    return picked - logits.double().logsumexp(-1)
