"""What an edit does to texts that it is not about: divergence, fluency, other continuations.

Locality is KL(before || after) over all positions of neutral probes and of prompts near the
repaired one, and the share of positions whose most likely token is unchanged (specificity in the
words of CounterFact; Meng et al., 2022, arXiv 2202.05262). Fluency is the perplexity of ordinary
text, and the n-gram entropy of a continuation as in the same paper.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.models import LoadedModel
from lens_core.progress import tick, while_done
from lens_core.repairs.states import continuation
from lens_core.trace import forward

Holding = Callable[[], AbstractContextManager[None]]
"""Makes the context in which the edit holds."""


@dataclass(frozen=True)
class ProbeEffect:
    """What changed in one text."""

    text: str | None
    ids: tuple[int, ...]
    kl: float
    """Mean over positions of KL(before || after), in nats."""
    worst_kl: float
    same: float
    """Share of positions whose most likely token is unchanged."""
    before: tuple[int, ...] = ()
    """The greedy continuation."""
    after: tuple[int, ...] = ()

    @property
    def continues_same(self) -> bool:
        """Whether the greedy continuation is unchanged."""
        return self.before == self.after


@dataclass(frozen=True)
class Locality:
    """What changed in many texts."""

    probes: tuple[ProbeEffect, ...]
    """The most changed first."""
    kl: float
    """Mean over all positions of all texts, in nats."""
    kl_p95: float
    kl_max: float
    same: float
    """Share of all positions whose most likely token is unchanged."""
    changed_continuations: int
    """Texts whose greedy continuation changed."""


@dataclass(frozen=True)
class Fluency:
    """How ordinary text and free text fare."""

    perplexity_before: float
    """Of built-in text, per token."""
    perplexity_after: float
    entropy_before: float
    """Of the 2- and 3-grams of a continuation of the repaired prompt, in bits."""
    entropy_after: float
    repeated_before: int
    """Tokens of the longest span that comes twice in it."""
    repeated_after: int
    telling: bool = True
    """Whether the model predicts ordinary text better than any token by chance; where it does not,
    its perplexity says nothing about what an edit did."""

    @property
    def growth(self) -> float:
        """The ratio where it is telling, else 1."""
        return self.ratio if self.telling else 1.0

    @property
    def ratio(self) -> float:
        """Perplexity after by that before."""
        return self.perplexity_after / self.perplexity_before


def locality(
    loaded: LoadedModel,
    texts: Sequence[tuple[str | None, Tensor]],
    holding: Holding,
    *,
    new_tokens: int = 20,
) -> Locality:
    """What holding an edit changes in texts.

    Args:
        loaded: the model.
        texts: each with its token ids [position].
        holding: makes the context in which the edit holds.
        new_tokens: how far continuations are compared; 0 leaves them out.
    """
    found, divergences = [], []
    for index, (text, ids) in enumerate(texts):
        with while_done("probe", index, len(texts)), loaded.lock:
            known = _log_probs(loaded, ids)
            was = continuation(loaded, ids, new_tokens) if new_tokens else ids[:0]
            with holding():
                fresh = _log_probs(loaded, ids)
                now = continuation(loaded, ids, new_tokens) if new_tokens else ids[:0]
        # Rounding makes tiny negative numbers of zeros.
        kl = (known.exp() * (known - fresh)).sum(-1).clamp_min(0)
        same = known.argmax(-1) == fresh.argmax(-1)
        divergences.append((kl.cpu().numpy(), same.cpu().numpy()))
        found.append(
            ProbeEffect(
                text, tuple(ids.tolist()), float(kl.mean()), float(kl.max()),
                float(same.float().mean()), tuple(was.tolist()), tuple(now.tolist()),
            )
        )  # fmt: skip
        tick("probe", index + 1, len(texts))
    return _summed(found, divergences)


def _summed(
    found: Sequence[ProbeEffect], divergences: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Locality:
    kl = np.concatenate([values for values, _ in divergences]).astype(np.float64)
    same = np.concatenate([values for _, values in divergences])
    return Locality(
        probes=tuple(sorted(found, key=lambda probe: -probe.kl)),
        kl=float(kl.mean()),
        kl_p95=float(np.quantile(kl, 0.95)),
        kl_max=float(kl.max()),
        same=float(same.mean()),
        changed_continuations=sum(not probe.continues_same for probe in found),
    )


def _log_probs(
    loaded: LoadedModel, ids: Int[Tensor, " position"]
) -> Float[Tensor, "position d_vocab"]:
    return forward(loaded.model, ids).float().log_softmax(-1)


def fluency(
    loaded: LoadedModel,
    texts: Sequence[Tensor],
    prompt: Int[Tensor, " position"],
    holding: Holding,
    *,
    new_tokens: int = 64,
) -> Fluency:
    """Perplexity of ordinary texts and variety of a continuation, before and with the edit."""
    measured = []
    contexts: tuple[Holding, ...] = (nullcontext, holding)
    for index, context in enumerate(contexts):
        with while_done("fluency", index, len(contexts)), loaded.lock, context():
            said = continuation(loaded, prompt, new_tokens).tolist()
            measured.append((_perplexity(loaded, texts), _entropy(said), _longest_repeated(said)))
    before, after = measured
    values = (value for both in zip(before, after, strict=True) for value in both)
    return Fluency(*values, telling=before[0] < loaded.facts.vocab_size)


def _perplexity(loaded: LoadedModel, texts: Sequence[Tensor]) -> float:
    total, count = 0.0, 0
    for ids in texts:
        found = _log_probs(loaded, ids)[:-1]
        total -= float(found.gather(1, ids[1:, None].to(found.device)).sum())
        count += len(ids) - 1
    return math.exp(min(total / max(count, 1), 700.0))


def _entropy(ids: Sequence[int]) -> float:
    """2/3 of the entropy of the 2-grams and 4/3 of that of the 3-grams, halved, in bits."""
    found = [(2 / 3) * _gram_entropy(ids, 2), (4 / 3) * _gram_entropy(ids, 3)]
    return sum(found) / 2


def _gram_entropy(ids: Sequence[int], n: int) -> float:
    counts = Counter(_grams(ids, n))
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values()) if total else 0.0


def _grams(ids: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    for start in range(len(ids) - n + 1):
        yield tuple(ids[start : start + n])


def _longest_repeated(ids: Sequence[int]) -> int:
    """How many tokens the longest span has that occurs at two places."""
    for n in range(len(ids) - 1, 0, -1):
        if max(Counter(_grams(ids, n)).values(), default=0) > 1:
            return n
    return 0
