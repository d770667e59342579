"""Pairs as they come in: aligned, or left out with the reason; and where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from lens_core.difference.running import Ids, Text
from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel, check_ids
from lens_core.pairs.aligning import aligned, shared_positions
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
    positions: tuple[Ids | None, Ids | None] = (None, None)
    """Where the tokens of each side stand; None for one after another."""

    @property
    def texts(self) -> tuple[Text, Text]:
        """What the model reads."""
        return Text(self.sides[0], self.positions[0]), Text(self.sides[1], self.positions[1])

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
    same_positions: bool = False,
) -> Iterator[ReadyPair | LeftOut]:
    """Every pair in order, as it comes in.

    With `same_positions`, what follows an edit stands at the same positions on both sides.

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
            ready = _ready(loaded, pair, alignment, readout, max_tokens)
            yield _placed(loaded, ready) if same_positions else ready
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


def _placed(loaded: LoadedModel, ready: ReadyPair) -> ReadyPair:
    """The pair with gaps in the positions of the shorter edits.

    Raises:
        PromptError: the gaps go beyond the positions that the model has.
    """
    positions = shared_positions(ready.alignment)
    last = max((places[-1] for places in positions if places is not None), default=-1)
    limit = loaded.facts.max_positions
    if limit is not None and last >= limit:
        raise PromptError(
            f"With what follows an edit at the same positions on both sides, the pair ends at "
            f"position {last}; the model's last one is {limit - 1}."
        )
    return replace(ready, positions=positions)


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
