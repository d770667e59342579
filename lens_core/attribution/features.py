"""What is attributed to: runs of tokens of the prompt, from single tokens to sentences.

Words follow the Unicode rules for word boundaries (UAX #29), which make every Chinese character a
word; white space belongs to the word behind it. No feature cuts a character in two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from lens_core.errors import InputError, PromptError

KINDS = ("token", "cluster", "word", "sentence")
_ENDS = r"[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？｡]+[」』”’）]*|\n+"
"""Ends of sentences."""


@dataclass(frozen=True)
class Feature:
    """Adjacent tokens that are removed together."""

    start: int
    """The first position."""
    stop: int
    """The position behind the last."""
    text: str
    """U+FFFD where its tokens are not whole characters."""
    char_start: int | None
    char_end: int | None
    """Its place in the joined text of all tokens; None for special tokens."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return asdict(self)


def prompt_features(
    records: Sequence[Mapping[str, Any]],
    kind: str | Sequence[Sequence[int]],
    *,
    positions: Sequence[int] | None = None,
    specials: bool = False,
) -> tuple[Feature, ...]:
    """The features of a prompt, in order; they never overlap.

    Args:
        records: the `token_records` of the prompt.
        kind: "token", "cluster" (the tokens of one character), "word", "sentence", or own spans as
            pairs (first position, position behind the last).
        positions: leave out features that hold any other position; None takes all.
        specials: also take special tokens, each a feature of its own. Own spans may always hold
            them.

    Raises:
        InputError: an unknown kind, or spans that overlap or lie outside the prompt.
        PromptError: nothing is left to attribute to.
    """
    if isinstance(kind, str):
        if kind not in KINDS:
            raise InputError(
                f"features is {kind!r}; it can be {', '.join(KINDS)}, or a list of spans."
            )
        runs = [run for run in _runs(records, kind) if specials or not _special(records[run[0]])]
    else:
        runs = _spans(kind, len(records))
    if positions is not None:
        chosen = _chosen(positions, len(records))
        runs = [run for run in runs if chosen.issuperset(range(*run))]
    if not runs:
        raise PromptError(
            f"None of the {len(records)} tokens of the prompt is left to attribute to; include "
            "special tokens, or choose other positions."
        )
    return tuple(_feature(records, start, stop) for start, stop in runs)


def _special(record: Mapping[str, Any]) -> bool:
    return record["kind"] in ("special", "pad")


def _chosen(positions: Sequence[int], count: int) -> set[int]:
    wrong = [at for at in positions if not -count <= at < count]
    if wrong:
        raise InputError(f"position {wrong[0]} is outside the prompt; it can be 0 to {count - 1}.")
    return {at % count for at in positions}


def _spans(spans: Sequence[Sequence[int]], count: int) -> list[tuple[int, int]]:
    """Own spans in order.

    Raises:
        InputError: one of them is none, or two overlap.
    """
    found = []
    for span in spans:
        if isinstance(span, (str, int)) or len(span) != 2:
            raise InputError(f"The span {span!r} is no pair of a first position and an end.")
        start, stop = span
        if not 0 <= start < stop <= count:
            raise InputError(
                f"The span {start} to {stop} is empty or outside the prompt; spans lie between 0 "
                f"and {count}."
            )
        found.append((int(start), int(stop)))
    found.sort()
    for before, after in pairwise(found):
        if after[0] < before[1]:
            raise InputError(
                f"The spans {before[0]} to {before[1]} and {after[0]} to {after[1]} overlap; a "
                "token can belong to one."
            )
    return found


def _runs(records: Sequence[Mapping[str, Any]], kind: str) -> Iterator[tuple[int, int]]:
    """(start, stop) of every feature of a kind."""
    cuts = None if kind in ("token", "cluster") else _cuts(records, kind)
    start = 0
    for at in range(1, len(records) + 1):
        if at == len(records) or _splits(records[at - 1], records[at], kind, cuts):
            yield start, at
            start = at


def _splits(
    before: Mapping[str, Any], after: Mapping[str, Any], kind: str, cuts: set[int] | None
) -> bool:
    """Whether a feature ends between two neighbouring tokens."""
    if kind == "token":
        return True
    if before["cluster"] == after["cluster"]:
        return False
    if cuts is None or _special(before) or _special(after) or after["char_start"] is None:
        return True
    return after["char_start"] in cuts


def _cuts(records: Sequence[Mapping[str, Any]], kind: str) -> set[int]:
    """Where in the joined text a word or a sentence starts, white space before it included."""
    import regex

    text = "".join(record["text"] for record in records)
    if kind == "sentence":
        return {match.end() for match in regex.finditer(_ENDS, text)}
    starts = [match.start() for match in regex.finditer(r"(?wV1)\b", text)]
    words = [(a, b) for a, b in zip(starts, [*starts[1:], len(text)], strict=True) if b > a]
    cuts = {0}
    for index, (start, _) in enumerate(words):
        blank = index > 0 and text[slice(*words[index - 1])].isspace()
        # White space goes with the word behind it, so the cut is before the space.
        if not blank:
            cuts.add(start)
    return cuts


def _feature(records: Sequence[Mapping[str, Any]], start: int, stop: int) -> Feature:
    inside = records[start:stop]
    placed = [r for r in inside if r["char_start"] is not None]
    return Feature(
        start,
        stop,
        _text(records, start, stop),
        placed[0]["char_start"] if placed else None,
        placed[-1]["char_end"] if placed else None,
    )


def _text(records: Sequence[Mapping[str, Any]], start: int, stop: int) -> str:
    """The text of some tokens; a character that begins or ends outside is U+FFFD."""
    text, at = "", start
    while at < stop:
        cluster = records[at]["cluster"]
        members = [i for i, r in enumerate(records) if r["cluster"] == cluster]
        whole = members[0] >= start and members[-1] < stop
        text += records[at]["cluster_text"] if whole else "\ufffd"
        at = members[-1] + 1
    return text
