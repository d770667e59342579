"""What is asked of a pair: which side is clean, what belongs together, what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.attribution.game import target_log_p
from lens_core.attribution.options import wanted_ids
from lens_core.errors import InputError
from lens_core.lens.options import one_of
from lens_core.models import LoadedModel, check_ids
from lens_core.pairs.aligning import aligned
from lens_core.pairs.record import Alignment, Pair
from lens_core.patching.columns import Column, columns_of

METRICS = ("logit_difference", "log_p", "kl")
Answer = str | int | Sequence[int]
"""A text, a token id or token ids."""
Answers = Sequence[Answer | None]
"""What side 1 and what side 2 should go on with."""
LEAST_CHANGE = 0.1
"""Effects are relative to what the clean text changes; below this, in nats, they are undefined."""


@dataclass(frozen=True, eq=False)
class Question:
    """Two texts and a number that is measured behind them."""

    clean: Int[Tensor, " clean"]
    """The text with the wanted answer, and the tokens of an answer that are given with it."""
    corrupt: Int[Tensor, " corrupt"]
    columns: tuple[Column, ...]
    clean_side: int
    metric: str
    """logit_difference (wanted minus other answer), log_p (of the wanted answer, in nats) or kl
    (-KL(clean || run) of the next token, in nats)."""
    wanted: tuple[int, ...]
    """The token ids of the answers that the metric reads; of a logit difference the first ones in
    which they differ. Empty for kl."""
    other: tuple[int, ...]
    flags: tuple[str, ...] = ()

    @property
    def n_read(self) -> int:
        """At how many of the last positions a prediction is read."""
        return max(len(self.wanted), 1)

    def measure(
        self,
        logits: Float[Tensor, "row read d_vocab"],
        clean: Float[Tensor, "read d_vocab"] | None,
    ) -> Float[Tensor, " row"]:
        """The metric of some runs, in double precision; `clean` are the logits of the clean one."""
        if self.metric == "logit_difference":
            last = logits[:, -1]
            return last[:, self.wanted[0]].double() - last[:, self.other[0]].double()
        if self.metric == "log_p":
            return target_log_p(logits, torch.tensor(self.wanted)).sum(-1)
        assert clean is not None
        base = clean[-1].double().log_softmax(-1)
        found = logits[:, -1].double().log_softmax(-1)
        # A token that is impossible in both would give 0 * (inf - inf).
        terms = torch.where(base.exp() > 0, base.exp() * (base - found), 0.0)
        return -terms.sum(-1)


def read_question(
    loaded: LoadedModel,
    pair: Pair | Alignment,
    *,
    metric: str,
    answers: Answers | None,
    max_tokens: int | None,
    template: str | None,
    special: str,
) -> Question:
    """The question of a pair, checked.

    Raises:
        PromptError: a text that the model cannot take.
        InputError: a metric without the answers it needs, or answers that do not differ.
    """
    one_of("metric", metric, ("auto", *METRICS))
    alignment = pair
    if isinstance(pair, Pair):
        alignment = aligned(loaded, pair, template=template, special=special)
        if answers is None:
            answers = pair.answer1, pair.answer2
    if answers is None:
        answers = None, None
    if isinstance(answers, str) or len(answers) != 2:
        raise InputError(f"answers is {answers!r}; give two, of side 1 and of side 2.")
    assert isinstance(alignment, Alignment)
    clean_side = 2 if isinstance(pair, Pair) and pair.correct == 2 else 1
    if metric == "auto":
        metric = "kl" if any(one is None for one in answers) else "logit_difference"
    shared, wanted, other = _answers(loaded, metric, answers, clean_side)
    forced = [*shared, *wanted[:-1]]
    texts = [alignment.ids1, alignment.ids2]
    ids = [check_ids(loaded, torch.tensor([*t, *forced]), max_tokens=max_tokens) for t in texts]
    clean, corrupt = ids if clean_side == 1 else ids[::-1]
    columns = columns_of(alignment, clean_side=clean_side, appended=len(forced))
    return Question(
        clean, corrupt, columns, clean_side, metric, wanted, other, flags=alignment.flags
    )


def _answers(
    loaded: LoadedModel, metric: str, answers: Answers, clean_side: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """What both answers begin with, then the wanted and the other tokens that are measured.

    Raises:
        InputError: an answer is missing, or there is no token in which they differ.
    """
    if metric == "kl":
        return (), (), ()
    ordered = answers if clean_side == 1 else answers[::-1]
    wanted, other = (_ids(loaded, answer) for answer in ordered)
    if wanted is None or (other is None and metric != "log_p"):
        raise InputError(
            f'answers is {answers!r}; the metric "{metric}" needs what side {clean_side} should go '
            'on with, and a logit difference the other side\'s, too. Give them, or choose "kl".'
        )
    if metric == "log_p":
        return (), wanted, ()
    assert other is not None
    same = next((i for i, (a, b) in enumerate(zip(wanted, other, strict=False)) if a != b), None)
    if same is None:
        raise InputError(
            f"The answers are the tokens {list(wanted)} and {list(other)}: neither has a token in "
            'which they differ. Give others, or choose the metric "log_p".'
        )
    return wanted[:same], wanted[same : same + 1], other[same : same + 1]


def _ids(loaded: LoadedModel, answer: Answer | None) -> tuple[int, ...] | None:
    ids = wanted_ids(loaded, answer)
    return None if ids is None else tuple(ids.tolist())
