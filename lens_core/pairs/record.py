"""A minimal pair, and which tokens of its two sides belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from lens_core.errors import InputError

Span = tuple[int, int]
"""Positions from the first to the one behind the last."""


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in one thing."""

    sentence1: str
    sentence2: str
    pair_id: str = ""
    type: str = ""
    subtype: str = ""
    lang: str = ""
    oriented: bool = False
    """The two sides mean something, such as correct and incorrect; signed statistics need it."""
    correct: Literal[1, 2] | None = None
    """Which side is the correct one."""
    edit: tuple[str, str] | None = None
    """The two strings that differ; pairs with the same edit are one unit of the statistics."""
    carrier: str | None = None
    """The rest of the text with `{}` where the edit is."""
    source: str = "user"
    """llm, local, template, user or blimp."""
    answer1: str | None = None
    """The continuation that side 1 should favour."""
    answer2: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain Python values: one line of a JSONL file."""
        record = asdict(self)
        return {**record, "edit": None if self.edit is None else list(self.edit)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Pair:
        """Read back what `to_json` wrote; unknown keys are left out.

        Raises:
            InputError: a side is missing or no text.
        """
        for name in ("sentence1", "sentence2"):
            if not isinstance(record.get(name), str):
                raise InputError(f"{name} is {record.get(name)!r}; a pair has two texts.")
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        edit = values.get("edit")
        return cls(**{**values, "edit": None if edit is None else tuple(edit)})

    def swapped(self) -> Pair:
        """The same pair with its sides exchanged."""
        return Pair(
            **{
                **asdict(self),
                "sentence1": self.sentence2,
                "sentence2": self.sentence1,
                "correct": None if self.correct is None else 3 - self.correct,
                "edit": None if self.edit is None else (self.edit[1], self.edit[0]),
                "answer1": self.answer2,
                "answer2": self.answer1,
            }
        )


@dataclass(frozen=True)
class Alignment:
    """Which positions of two texts belong together.

    Every position is in exactly one part: before `prefix` they are the same by causality, the
    `edits` are what differs, the rest is equal tokens that stand `shift` positions apart.
    """

    ids1: tuple[int, ...]
    ids2: tuple[int, ...]
    prefix: int
    """How many first positions are the same on both sides, start tokens included."""
    edits: tuple[tuple[Span, Span], ...]
    """Spans that differ, one pair of them an edit; usually one. A side may be empty."""
    common: tuple[tuple[int, int], ...]
    """(position in text 1, position in text 2) of equal tokens behind the first edit, in order."""
    flags: tuple[str, ...] = ()
    """"widened" (the edit was widened to whole words), "several_edits", "at_end" (nothing follows
    the last edit), "identical"."""

    @property
    def shift(self) -> int:
        """By how much the last tokens of the two texts are apart; 0 for texts of one length."""
        return len(self.ids2) - len(self.ids1)

    @property
    def last(self) -> tuple[int, int]:
        """The last positions of both sides, where the next token is read."""
        return len(self.ids1) - 1, len(self.ids2) - 1


@dataclass(frozen=True)
class Problem:
    """Something that became no pair."""

    place: str
    """Where it stands, such as "line 3"."""
    what: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True)
class PairFile:
    """The pairs of one source, and what in it is none."""

    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...] = ()
    """Bad rows in the order of the file; the rest was read all the same."""
    format: str = ""
    """original, jsonl, blimp or csv; empty for pairs that were made."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the original's file says about itself."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            "pairs": [pair.to_json() for pair in self.pairs],
            "problems": [asdict(problem) for problem in self.problems],
            "format": self.format,
            "metadata": dict(self.metadata),
        }
