"""Pairs as they come in: aligned, or left out with the reason; and where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel, check_ids
from lens_core.pairs.aligning import aligned
from lens_core.pairs.record import Alignment, Pair

IDENTITY = "identity"
"""The type or subtype of pairs that are equal on purpose: everything must come out as 0."""

PairOrAligned = Pair | tuple[Pair, Alignment]

Group = tuple[int, ...]
"""Positions whose states are averaged; usually one."""


@dataclass(frozen=True)
class ReadyPair:
    """A pair that can be run."""

    pair: Pair
    alignment: Alignment
    groups: tuple[Group, Group]
    """Where each side is read."""

    @property
    def sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of both sides."""
        return self.alignment.ids1, self.alignment.ids2

    @property
    def same(self) -> bool:
        """Whether both sides are equal."""
        return self.alignment.ids1 == self.alignment.ids2


@dataclass(frozen=True)
class LeftOut:
    """A pair that was not compared."""

    index: int
    """Its place among the pairs that were handed in, from 0."""
    pair: Pair
    reason: str


def read_pairs(
    loaded: LoadedModel,
    pairs: Iterable[PairOrAligned],
    *,
    readout: str,
    max_tokens: int | None,
    template: str | None,
    special: str,
) -> Iterator[ReadyPair | LeftOut]:
    """Every pair in order, as it comes in.

    Raises:
        InputError: something that is no pair, or an unknown `template` or `special`.
    """
    for index, one in enumerate(pairs):
        pair = one[0] if isinstance(one, tuple) else one
        if not isinstance(pair, Pair):
            raise InputError(f"Pair {index} is a {type(pair).__name__}; give Pair records.")
        try:
            if isinstance(one, tuple):
                alignment = one[1]
            else:
                alignment = aligned(loaded, pair, template=template, special=special)
            yield _ready(loaded, pair, alignment, readout, max_tokens)
        except PromptError as error:
            yield LeftOut(index, pair, str(error))


def _ready(
    loaded: LoadedModel, pair: Pair, alignment: Alignment, readout: str, max_tokens: int | None
) -> ReadyPair:
    for ids in (alignment.ids1, alignment.ids2):
        check_ids(loaded, torch.tensor(ids, dtype=torch.long), max_tokens=max_tokens)
    same = alignment.ids1 == alignment.ids2
    if same and IDENTITY not in (pair.type, pair.subtype):
        raise PromptError(
            "Both sides have the same tokens, so there is no difference to measure; such pairs "
            f'are kept where their type is "{IDENTITY}".'
        )
    return ReadyPair(pair, alignment, _groups(alignment, readout, same))


def _groups(alignment: Alignment, readout: str, same: bool) -> tuple[Group, Group]:
    """Where both sides are read.

    Raises:
        PromptError: there is no such place.
    """
    first, second = alignment.last
    if readout == "last" or same:
        return (first,), (second,)
    if readout == "prefix":
        if alignment.prefix == 0:
            raise PromptError("The sides differ from the first token on: there is no prefix.")
        return (alignment.prefix - 1,), (alignment.prefix - 1,)
    if readout == "suffix" and alignment.common:
        return tuple(one for one, _ in alignment.common), tuple(two for _, two in alignment.common)
    spans = [_positions(alignment, side) for side in (0, 1)]
    if not all(spans):
        side = 1 + spans.index(())
        raise PromptError(f"Side {side} has no tokens in the edit, so it cannot be read there.")
    if readout == "edit":
        return spans[0], spans[1]
    # A suffix that is empty is read where the edit ends.
    return spans[0][-1:], spans[1][-1:]


def _positions(alignment: Alignment, side: int) -> Group:
    return tuple(at for edit in alignment.edits for at in range(*edit[side]))
