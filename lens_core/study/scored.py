"""One text as one model scored it, and the metrics that its tokens have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.study.occurrences import Occurrence, occurrence_logprobs

_TAG = re.compile(r"<(/?)think>")


@dataclass(frozen=True, eq=False)
class ScoredText:
    """The answer part of one row, read by one model; the prompt is not in it."""

    model: str
    row: Any
    """Which query it is: the unit of the statistics, the same for all models."""
    text_source: str
    """shared, own, or the model whose text it is."""
    tokens: tuple[str, ...]
    """The characters that every token completes; together the text."""
    ids: Int[np.ndarray, " position"]
    logprob: Float[np.ndarray, " position"]
    """Nats, of the token given those before it; NaN where nothing is before it."""
    entropy: Float[np.ndarray, " position"]
    """Nats, of the prediction of the token."""
    p_targets: Float[np.ndarray, "position target"]
    """Probability that the next token at its place was one of the target's; NaN for targets
    without single ids."""
    targets: tuple[str, ...] = ()
    """The names of the columns of `p_targets`."""
    occurrences: tuple[Occurrence, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the row: level, correct, any other."""
    starts_thinking: bool = False
    """The prompt ends inside of `<think>`."""
    extra: Mapping[str, Float[np.ndarray, " position"]] = field(default_factory=dict)
    """Further metrics by name, such as rank, margin or kl."""

    def __post_init__(self) -> None:
        """What whoever fills it promises."""
        assert len(self.tokens) == len(self.ids), "a text for every token"
        assert len(self.targets) == self.p_targets.shape[1], "a name for every column"

    def think_states(self) -> Int[np.ndarray, " position"]:
        """0 inside of `<think>…</think>`, 1 outside, -1 for the tags themselves."""
        lengths = np.array([len(token) for token in self.tokens], np.int64)
        ends = np.cumsum(lengths)
        text = "".join(self.tokens)
        tags = list(_TAG.finditer(text))
        # An end without a beginning: the template began to think.
        inside = self.starts_thinking or bool(tags and tags[0][1])
        found = np.full(len(self.tokens), 0 if inside else 1)
        for tag in tags:
            first = int(np.searchsorted(ends, tag.start(), side="right"))
            last = int(np.searchsorted(ends, tag.end(), side="left"))
            found[last + 1 :] = 1 if tag[1] else 0
            found[first : last + 1] = -1
        return found


def metric_values(text: ScoredText, metric: str) -> Float[np.ndarray, " position"]:
    """One metric at every position; NaN where it has no value.

    "entropy", "logprob"; "p:wait" (probability of the target "wait"), "hits:wait" (1 where an
    occurrence begins, so that the sum is the number of occurrences), "occurrence_logprob:wait"
    (log-probability of the whole occurrence where one begins); or a name in `extra`.

    Raises:
        InputError: the text has no such metric.
    """
    kind, _, target = metric.partition(":")
    if metric in ("entropy", "logprob"):
        return getattr(text, metric)
    if metric in text.extra:
        return text.extra[metric]
    if kind in ("p", "hits", "occurrence_logprob") and target in text.targets:
        if kind == "p":
            return text.p_targets[:, text.targets.index(target)]
        return _of_occurrences(text, target, hits=kind == "hits")
    known = ["entropy", "logprob", *text.extra, *(f"p:{name}" for name in text.targets)]
    raise InputError(f'There is no metric "{metric}"; there are {", ".join(known)}.')


def _of_occurrences(text: ScoredText, target: str, *, hits: bool) -> np.ndarray:
    found = [one for one in text.occurrences if one.group == target]
    first = np.array([one.tokens[0] for one in found], np.int64)
    counts = np.bincount(first, minlength=len(text.ids)).astype(np.float64)
    if hits:
        return counts
    values = np.full(len(text.ids), np.nan)
    values[first] = occurrence_logprobs(found, text.logprob)
    return values
