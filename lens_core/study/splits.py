"""The parts of texts that a study compares: by level, by place in the answer, by what is near."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from lens_core.study.scored import ScoredText

UNKNOWN = "–"
"""The label of a text that does not have the field."""
DECILES = tuple(f"{10 * tenth}–{10 * tenth + 10} %" for tenth in range(10))
STARTS = ("1–16", "17–64", "65–256", "257–")
THINK = ("inside", "outside")
ENTROPY_CLASSES = ("forking", "rest")
FORKING_SHARE = 0.2
REACH = 20

Parts = Iterable[tuple[str, Int[np.ndarray, " some_positions"]]]


@dataclass(frozen=True)
class Split:
    """A way to divide texts into parts."""

    name: str
    parts: Callable[[ScoredText], Parts]
    """Labels and the positions that belong to each; a position may be in several parts."""
    labels: tuple[str, ...] = ()
    """Known beforehand, in order, and shown even when empty; () takes those that occur."""


def whole() -> Split:
    """All tokens of a text together."""
    return Split("all", lambda text: [("all", np.arange(len(text.ids)))], ("all",))


def by_field(name: str) -> Split:
    """By a field of the row, whatever its values are."""
    return Split(name, lambda text: _everything(text, label_of(text.fields.get(name))))


def by_level(name: str = "level") -> Split:
    """By difficulty: by default the field "level"."""
    return by_field(name)


def by_correct(name: str = "correct") -> Split:
    """By whether the answer is correct; neither true nor false is unknown."""
    names = {True: "correct", False: "wrong"}

    def parts(text: ScoredText) -> Parts:
        value = text.fields.get(name)
        return _everything(text, names[value] if isinstance(value, bool) else UNKNOWN)

    return Split(name, parts, ("correct", "wrong", UNKNOWN))


def by_decile() -> Split:
    """By tenth of the text; the lengths of short texts do not fill all of them."""

    def parts(text: ScoredText) -> Parts:
        n = len(text.ids)
        return _grouped(np.arange(n) * 10 // max(n, 1), DECILES)

    return Split("decile", parts, DECILES)


def by_start() -> Split:
    """By distance from the start of the text: 16 tokens, up to 64, up to 256, the rest."""

    def parts(text: ScoredText) -> Parts:
        return _grouped(np.searchsorted([16, 64, 256], np.arange(len(text.ids)), "right"), STARTS)

    return Split("start", parts, STARTS)


def by_think() -> Split:
    """Inside and outside of `<think>…</think>`; the tags themselves are in neither.

    A tag without its partner counts: reasoning that was cut off has no end, and templates may put
    its beginning into the prompt.
    """

    def parts(text: ScoredText) -> Parts:
        return _grouped(text.think_states(), THINK)

    return Split("think", parts, THINK)


def by_distance(target: str | None = None, *, reach: int = REACH) -> Split:
    """By the number of tokens from an occurrence of a target; 0 is the occurrence itself.

    Args:
        target: a group's name; None takes the occurrences of all.
        reach: how far before and after.
    """
    labels = tuple(f"{distance:+d}" if distance else "0" for distance in range(-reach, reach + 1))

    def parts(text: ScoredText) -> Parts:
        spans = [one.tokens for one in text.occurrences if target in (None, one.group)]
        n = len(text.ids)
        starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
        for distance, label in zip(range(-reach, reach + 1), labels, strict=True):
            if distance == 0:
                inside = [np.arange(start, end) for start, end in spans]
                at = np.concatenate([np.zeros(0, np.int64), *inside])
            else:
                at = starts + distance if distance < 0 else ends - 1 + distance
            # Once, also where targets overlap; an occurrence near the edge has no such neighbour.
            yield label, np.unique(at[(at >= 0) & (at < n)])

    return Split("distance" if target is None else f"distance:{target}", parts, labels)


def forking_thresholds(texts: Iterable[ScoredText]) -> dict[tuple[str, str], float]:
    """The entropy in nats above which 20 % of a model's tokens lie, by (model, source)."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for text in texts:
        known = text.entropy[np.isfinite(text.entropy)]
        found.setdefault((text.model, text.text_source), []).append(known)
    together = {key: np.concatenate(parts) for key, parts in found.items()}
    return {
        key: float(np.quantile(values, 1 - FORKING_SHARE)) if len(values) else math.inf
        for key, values in together.items()
    }


def by_entropy(thresholds: Mapping[tuple[str, str], float]) -> Split:
    """Tokens where the model was most uncertain (forking; Wang et al., 2025) and the rest.

    Args:
        thresholds: `forking_thresholds` of the same texts; each model has its own.
    """

    def parts(text: ScoredText) -> Parts:
        limit = thresholds[text.model, text.text_source]
        state = np.where(text.entropy > limit, 0, 1)
        return _grouped(np.where(np.isfinite(text.entropy), state, -1), ENTROPY_CLASSES)

    return Split("entropy_class", parts, ENTROPY_CLASSES)


def label_of(value: Any) -> str:
    """The label of a field's value; nothing, and what is no number, are `UNKNOWN`."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table that has an empty cell turns levels into 1.0, 2.0, ...
    return str(value).strip() or UNKNOWN


def _everything(text: ScoredText, label: str) -> Parts:
    return [(label, np.arange(len(text.ids)))]


def _grouped(codes: Int[np.ndarray, " position"], labels: Sequence[str]) -> Parts:
    """The positions of every label's number; other numbers are left out."""
    return [(label, np.flatnonzero(codes == code)) for code, label in enumerate(labels)]


def in_order(label: str) -> tuple[int, float, str]:
    """Numbers in their order, then words, then what is unknown."""
    if label == UNKNOWN:
        return 2, 0.0, label
    try:
        number = float(label)
    except ValueError:
        return 1, 0.0, label
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
