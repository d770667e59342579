"""The arguments of `remote_importance`, checked: a wrong one is named with what it can be.

Nothing here needs a model of one's own, so PyTorch is not loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lens_core.errors import InputError
from lens_core.prompts import check_whole

METHODS = ("occlusion", "shapley")
UNITS = ("words", "sentences", "hierarchical")
CJK = ("character", "bigram")
DISTANCES = ("edit", "exact", "chrf", "embedding")
NEIGHBOUR = "neighbour"
"""The mask that asks the model itself for another word."""
MAX_REQUESTS = 10_000
MAX_SAMPLES = 1000


@dataclass(frozen=True)
class RemoteOptions:
    """What is masked, how, and how the answers are compared."""

    method: str = "occlusion"
    """occlusion masks every part alone; shapley shares among them what masking several together
    changes, and takes tier 2 only where it is asked for, since bounds are no values to share."""
    samples: int = 5
    """With shapley: orders of the parts that are drawn. All sets of parts are taken instead where
    they are no more than `samples` times the number of parts."""
    answer: str | None = None
    """The answer whose probability is followed, in tier 1; None takes the model's own."""
    system: str | None = None
    """Sent before the prompt as the system's turn, and never masked; needs a chat."""
    tier: int | None = None
    """1: log-probabilities of a given answer; 2: of the first token of an answer; 3: answers
    alone; None takes the first that the endpoint has."""
    units: str | Sequence[tuple[int, int]] = "words"
    """words, sentences, hierarchical (sentences, then the words of those that matter), or spans of
    characters of one's own."""
    cjk: str = "character"
    """Chinese and Japanese words are a character each, or a "bigram"."""
    mask: str = ""
    """What replaces a unit: "" deletes it; "neighbour" asks the model once for other words; any
    other text stands for itself, such as "…" or "[MASK]"."""
    protected: Sequence[str | tuple[int, int]] = ()
    """Texts (everywhere they occur) and spans of characters that are never masked."""
    distance: str = "edit"
    """Of answers in tier 3."""
    answer_tokens: int = 16
    """The longest answer that is asked for."""
    repeats: int | None = None
    """How often the unmasked prompt is asked again for the noise; None: 3, and 0 in tier 1."""
    floor: float = 1e-6
    """A change up to it never counts as above the noise."""
    embedding_model: str | None = None
    """For distance "embedding": the model behind /embeddings."""
    seed: int = 0
    """Sent with every request, where the endpoint takes one; the temperature is 0."""
    max_requests: int = 200
    """Nothing is sent beyond it, tries that failed counted."""
    concurrency: int = 4

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            InputError: one of them is none of its values, or outside its range.
        """
        if isinstance(self.units, str):
            _one_of("units", self.units, UNITS)
        _one_of("method", self.method, METHODS)
        _one_of("cjk", self.cjk, CJK)
        _one_of("distance", self.distance, DISTANCES)
        if self.tier is not None:
            _check_number("tier", self.tier, 1, 3)
        for name, least, most in (
            ("answer_tokens", 1, 1024),
            ("max_requests", 1, MAX_REQUESTS),
            ("concurrency", 1, 4),
            ("seed", 0, 2**31 - 1),
            ("samples", 1, MAX_SAMPLES),
        ):
            _check_number(name, getattr(self, name), least, most)
        if self.repeats is not None:
            _check_number("repeats", self.repeats, 0, 100)
        if not (math.isfinite(self.floor) and self.floor >= 0):
            raise InputError(f"floor is {self.floor}; it must be 0 or more.")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse options that do not go together."""
        for name in ("system", "answer", "mask"):
            check_whole(getattr(self, name) or "", name)
        if self.shares and self.units == "hierarchical":
            raise InputError(
                'units is "hierarchical"; with method "shapley" all parts share at once. Take '
                "words or sentences."
            )
        if self.answer == "":
            raise InputError("answer is empty; give the text that is followed, or leave it out.")
        if self.tier == 1 and self.system is not None:
            raise InputError(
                "Tier 1 sends plain text, which has no system turn; put it into the prompt and "
                "protect it, or take tier 2 or 3."
            )
        if self.answer is not None and self.tier in (2, 3):
            raise InputError(
                f"Tier {self.tier} compares the model's own answers; an answer of one's own needs "
                "tier 1."
            )
        if (self.distance == "embedding") != (self.embedding_model is not None):
            raise InputError('distance="embedding" and embedding_model need each other.')

    @property
    def shares(self) -> bool:
        """Whether parts share what several of them change together."""
        return self.method == "shapley"

    def repeats_in(self, tier: int) -> int:
        """How often the unmasked prompt is asked again; tier 1 is exact."""
        if self.repeats is not None:
            return self.repeats
        return 0 if tier == 1 else 3

    def to_json(self) -> dict[str, Any]:
        """What a result says of how it was made; the texts that were sent are its `input`."""
        units: Any = self.units if isinstance(self.units, str) else [list(s) for s in self.units]
        return {
            "method": self.method,
            "samples": self.samples if self.shares else None,
            "units": units,
            "cjk": self.cjk,
            "mask": self.mask,
            "distance": self.distance,
            "answer_tokens": self.answer_tokens,
            "temperature": 0,
            "floor": self.floor,
            "embedding_model": self.embedding_model,
        }


def _one_of(what: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{what} is {value!r}; it can be {', '.join(allowed)}.")


def _check_number(what: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{what} is {value!r}; it can be a whole number from {least} to {most}.")
