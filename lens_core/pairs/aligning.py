"""Which tokens of the two sides of a pair belong together.

What both sides begin with is the same by causality; what they end with is the same tokens, moved
by the difference in length. Between them lies the edit. Byte-pair merges may cut the words around
a change in another way, so all of this goes by whole words: a word is equal, or it belongs to an
edit. Only a pair of one length that differs in one token needs no words: there, position i belongs
to position i.

Several edits come from difflib's longest common runs of words, without its rule of thumb about
frequent ones. Its choice among runs of one length depends on the side it starts from; here it
starts from the same side for a pair and for its mirror image. A run that is a mere space, or one
Chinese character, parts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from lens_core.errors import PromptError
from lens_core.pairs.record import Alignment, Pair, Span
from lens_core.pairs.words import borders, holds_together, pieces
from lens_core.tokens import token_records

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

Run = tuple[int, int, int]
"""Where a run of equal things starts on side 1 and on side 2, and its length."""


class Unit(NamedTuple):
    """The tokens of one word, or of what stands between words, which align together."""

    ids: tuple[int, ...]
    text: str


def aligned(
    loaded: LoadedModel, pair: Pair, *, template: str | None = None, special: str = "default"
) -> Alignment:
    """Which positions of a pair's sides belong together, as this model's tokenizer reads them.

    Args:
        loaded: the model; it is not run.
        pair: two texts of any length.
        template: as in `LoadedModel.tokenize`, the same for both sides.
        special: as in `LoadedModel.tokenize`.

    Raises:
        PromptError: a side is empty, or the model has no tokenizer or no chat template.
        InputError: an unknown `template` or `special`.
    """
    sides = []
    for name, text in (("sentence1", pair.sentence1), ("sentence2", pair.sentence2)):
        if not text:
            raise PromptError(f"{name} is empty (0 characters); a pair has two texts.")
        ids = loaded.tokenize(text, template=template, special=special).tolist()
        sides.append(token_records(loaded.tokenizer, ids))
    return aligned_records(*sides)


def aligned_records(
    records1: Sequence[dict[str, Any]], records2: Sequence[dict[str, Any]]
) -> Alignment:
    """The alignment of two rows of tokens, given as their `token_records`."""
    ids1 = tuple(record["id"] for record in records1)
    ids2 = tuple(record["id"] for record in records2)
    if ids1 == ids2:
        return Alignment(ids1, ids2, len(ids1), (), (), ("identical",))
    if _differ_in_one(ids1, ids2):
        runs = _common_ends(ids1, ids2)
    else:
        units1, units2 = _units(records1), _units(records2)
        runs = [_in_tokens(run, units1, units2) for run in _common_runs(units1, units2)]
    return _alignment(ids1, ids2, runs)


def shared_positions(
    alignment: Alignment,
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Positions of both sides such that aligned tokens stand at the same one.

    Behind an edit, the side on which it is shorter has a gap. None for a side without one.
    """
    found = []
    for side, ids in enumerate((alignment.ids1, alignment.ids2)):
        places = list(range(len(ids)))
        for edit in alignment.edits:
            lengths = [end - start for start, end in edit]
            gap = max(lengths) - lengths[side]
            end = edit[side][1]
            places[end:] = [place + gap for place in places[end:]]
        found.append(None if places == list(range(len(ids))) else tuple(places))
    return found[0], found[1]


def _differ_in_one(ids1: Sequence[int], ids2: Sequence[int]) -> bool:
    """Whether the two rows have one length and one differing token."""
    if len(ids1) != len(ids2):
        return False
    return sum(one != other for one, other in zip(ids1, ids2, strict=True)) == 1


def _units(records: Sequence[dict[str, Any]]) -> list[Unit]:
    """The shortest runs of tokens that start and end at a border of words."""
    whole = borders_of_tokens(records)
    cuts = [i for i in range(len(records)) if i in whole] + [len(records)]
    units = []
    for start, end in pairwise(cuts):
        run = records[start:end]
        units.append(Unit(tuple(r["id"] for r in run), "".join(r["text"] for r in run)))
    return units


def borders_of_tokens(records: Sequence[dict[str, Any]]) -> set[int]:
    """The indices of tokens that start a word or what stands between words.

    An added token, such as the start of the text, is a word of its own.
    """
    found: set[int] = set()
    start = 0
    for i, record in enumerate(records):
        if record["bytes_hex"] is None:
            found |= _borders_of_run(records, start, i) | {i}
            start = i + 1
    return found | _borders_of_run(records, start, len(records))


def _borders_of_run(records: Sequence[dict[str, Any]], start: int, end: int) -> set[int]:
    """`borders_of_tokens` of a run of tokens that are made of bytes."""
    words = borders("".join(record["text"] for record in records[start:end]))
    found, place, cluster = set(), 0, None
    for i in range(start, end):
        # Tokens of one character share its place; the first of them is its border.
        if records[i]["cluster"] != cluster and place in words:
            found.add(i)
        cluster = records[i]["cluster"]
        place += len(records[i]["text"])
    return found


def _common_ends(side1: Sequence[Any], side2: Sequence[Any]) -> list[Run]:
    """What both sides begin with and what they end with, two runs that may be empty."""
    least = min(len(side1), len(side2))
    prefix = 0
    while prefix < least and side1[prefix] == side2[prefix]:
        prefix += 1
    suffix = 0
    while suffix < least - prefix and side1[-1 - suffix] == side2[-1 - suffix]:
        suffix += 1
    return [(0, 0, prefix), (len(side1) - suffix, len(side2) - suffix, suffix)]


def _common_runs(side1: Sequence[Unit], side2: Sequence[Unit]) -> list[Run]:
    """The runs of equal units: the first starts both sides, the last ends them."""
    first, last = _common_ends(side1, side2)
    start = first[2]
    middle1, middle2 = side1[start : last[0]], side2[start : last[1]]
    inner = [(start + i, start + j, n) for i, j, n in _matches(middle1, middle2)]
    return [first, *inner, last]


def _matches(middle1: Sequence[Unit], middle2: Sequence[Unit]) -> Iterator[Run]:
    """Equal runs between the ends, the same for both orders of the sides."""
    mirrored = (len(middle1), middle1) > (len(middle2), middle2)
    sides = (middle2, middle1) if mirrored else (middle1, middle2)
    for i, j, n in SequenceMatcher(None, *sides, autojunk=False).get_matching_blocks():
        if holds_together("".join(unit.text for unit in sides[0][i : i + n])):
            yield (j, i, n) if mirrored else (i, j, n)


def changes(pieces1: Sequence[str], pieces2: Sequence[str]) -> tuple[int, list[str]]:
    """In how many places two texts differ, and the pieces that they have in common."""
    side1, side2 = ([Unit((), piece) for piece in side] for side in (pieces1, pieces2))
    runs = _common_runs(side1, side2)
    places = sum((i1 + n1, j1 + n1) != (i2, j2) for (i1, j1, n1), (i2, j2, _) in pairwise(runs))
    return places, [piece for i, _, n in runs for piece in pieces1[i : i + n]]


def _in_tokens(run: Run, units1: Sequence[Unit], units2: Sequence[Unit]) -> Run:
    """A run of units as a run of tokens."""
    i, j, n = run
    return _tokens(units1[:i]), _tokens(units2[:j]), _tokens(units1[i : i + n])


def _tokens(units: Sequence[Unit]) -> int:
    return sum(len(unit.ids) for unit in units)


def _alignment(ids1: tuple[int, ...], ids2: tuple[int, ...], runs: list[Run]) -> Alignment:
    """The alignment whose equal parts are these runs; what lies between them is edited."""
    edits: list[tuple[Span, Span]] = []
    for (i1, j1, n1), (i2, j2, _) in pairwise(runs):
        edit = ((i1 + n1, i2), (j1 + n1, j2))
        if edit[0][0] < edit[0][1] or edit[1][0] < edit[1][1]:
            edits.append(edit)
    common = tuple((i + k, j + k) for i, j, n in runs[1:] for k in range(n))
    ends = _common_ends(ids1, ids2)
    found = {
        "widened": runs[0][2] < ends[0][2] or runs[-1][2] < ends[1][2],
        "several_edits": len(edits) > 1,
        "at_end": runs[-1][2] == 0,
    }
    flags = tuple(name for name, holds in found.items() if holds)
    return Alignment(ids1, ids2, runs[0][2], tuple(edits), common, flags)


def with_edit(pair: Pair) -> Pair:
    """The pair with `edit` and `carrier` filled in from its texts where they are absent.

    Both are of whole words, and `carrier` with its `{}` replaced gives either side back; where a
    pair differs in several places, one edit reaches from the first to the last. A given edit is
    kept. A pair of identical sides has no edit and stays as it is.
    """
    if pair.sentence1 == pair.sentence2 or (pair.edit is not None and pair.carrier is not None):
        return pair
    words1, words2 = pieces(pair.sentence1), pieces(pair.sentence2)
    (_, _, prefix), (end1, end2, _) = _common_ends(words1, words2)
    edit = ("".join(words1[prefix:end1]), "".join(words2[prefix:end2]))
    carrier = "".join([*words1[:prefix], "{}", *words1[end1:]])
    if pair.edit is not None:
        return replace(pair, carrier=_carrier(pair, pair.edit) or carrier)
    return replace(pair, edit=edit, carrier=pair.carrier or carrier)


def _carrier(pair: Pair, edit: tuple[str, str]) -> str | None:
    """The rest of the text around a given edit; None where it is not what differs."""
    start = pair.sentence1.find(edit[0])
    while start >= 0:
        before, after = pair.sentence1[:start], pair.sentence1[start + len(edit[0]) :]
        if before + edit[1] + after == pair.sentence2:
            return before + "{}" + after
        start = pair.sentence1.find(edit[0], start + 1)
    return None
