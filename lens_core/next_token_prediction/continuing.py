"""Going on from a text, one chosen token after the other, and back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.lens.options import target_id, whole_number
from lens_core.models import LoadedModel, check_ids
from lens_core.next_token_prediction.cached import CachedRows
from lens_core.next_token_prediction.distribution import log_probs
from lens_core.next_token_prediction.reading import checked_shown, described
from lens_core.next_token_prediction.result import NextToken, Step


@dataclass(frozen=True, eq=False)
class _Place:
    """The text so far, and what comes next."""

    ids: Int[Tensor, " position"]
    next: NextToken


class Continuation:
    """A text that grows by chosen tokens and can go back; `next` says what would come.

    The edits that are applied when it begins must hold whenever it grows. One thread at a time:
    a step changes the object.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        ids: Int[Tensor, " position"],
        *,
        k: int = 10,
        temperature: float = 1.0,
        nucleus: float = 0.9,
        max_tokens: int | None = None,
    ) -> None:
        """Begin after a prompt; the arguments are those of `next_token`.

        Raises:
            PromptError: ids that the model cannot take.
            InputError: an argument outside its range.
        """
        self._loaded, self._max_tokens = loaded, max_tokens
        self._shown = checked_shown(loaded, k, temperature, nucleus)
        self._rows = CachedRows(loaded)
        prompt = check_ids(loaded, ids, max_tokens=max_tokens)
        with loaded.lock:
            self._edits = loaded.active_edits
            self._places = [self._read(prompt, ())]

    @property
    def ids(self) -> Int[Tensor, " position"]:
        """Prompt and appended tokens."""
        return self._places[-1].ids

    @property
    def next(self) -> NextToken:
        """What comes next now."""
        return self._places[-1].next

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was appended, in order."""
        return self.next.steps

    @property
    def fresh_reason(self) -> str | None:
        """Why every step reads the whole text again; None while the cache is exact or untried."""
        return self._rows.fresh_reason

    def append(self, token: int | str | None = None) -> NextToken:
        """Append a token and say what comes after it.

        Args:
            token: an id, or a text of exactly one token; None takes the most likely token.

        Raises:
            InputError: no such token, or other edits are applied than at the beginning.
            PromptError: the text would be longer than the model or `max_tokens` allows.
        """
        chosen = (
            int(self.next.top.ids[0])
            if token is None
            else target_id(self._loaded, token, name="appended token")
        )
        ids = torch.cat([self.ids, torch.tensor([chosen])])
        ids = check_ids(self._loaded, ids, max_tokens=self._max_tokens)
        with self._loaded.lock:
            self._check_edits()
            self._places.append(self._read(ids, (*self.steps, _step(self.next, chosen))))
        return self.next

    def undo(self, count: int = 1) -> NextToken:
        """Take the last tokens back; nothing is run.

        Raises:
            InputError: fewer were appended.
        """
        if not self.steps:
            raise InputError("Nothing was appended that could be taken back.")
        del self._places[-whole_number("count", count, 1, len(self.steps)) :]
        return self.next

    def _check_edits(self) -> None:
        if self._loaded.active_edits == self._edits:
            return
        first, now = (
            ", ".join(f"{name} at strength {strength}" for name, strength in edits) or "none"
            for edits in (self._edits, self._loaded.active_edits)
        )
        raise InputError(
            f"The continuation began under the edits {first}; now {now} hold. Begin a new one."
        )

    def _read(self, ids: Tensor, steps: tuple[Step, ...]) -> _Place:
        started = time.perf_counter()
        row = self._rows.row(ids)
        reason = self._rows.fresh_reason
        found = described(
            self._loaded,
            ids,
            row,
            self._shown,
            position=len(ids) - 1,
            steps=steps,
            timing={"forward_s": time.perf_counter() - started},
            warnings=() if reason is None else (reason,),
        )
        return _Place(ids, found)


def _step(here: NextToken, token: int) -> Step:
    """The token as likely as it was at the temperature that is shown."""
    assert here.logits is not None
    log_p = log_probs(here.logits, here.temperature)
    rank = int((here.logits > here.logits[token]).sum())
    value = float(log_p[token])
    return Step(token, math.exp(value), value, rank)
