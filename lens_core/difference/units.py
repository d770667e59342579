"""What counts as one observation, and which pairs are mismatched on purpose.

A difference is driven by what was edited, so pairs with the same edit (in either direction) are
one unit; where the edit is not known, pairs with the same carrier are. Copies of a pair count
once. Everything here is drawn in an order of its own, by the contents of the pairs, so that the
order in which they come in changes nothing, nor does adding every pair again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core.difference.reading import ReadyPair
from lens_core.models import LoadedModel

MISMATCHES = 8
"""Mismatched partners of every pair, that the scale of a dim is the median over."""


@dataclass(frozen=True)
class PairKey:
    """What a pair is to the statistics."""

    unit: str
    carrier: str
    ids: tuple[tuple[int, ...], tuple[int, ...]]
    """Of the correct side and the other one; of unoriented pairs the smaller ids first."""
    flipped: bool
    """Whether the second sentence comes first in `ids`."""
    sign: int
    """+1 or -1: what turns first minus second into the signed difference; 0 where unoriented."""
    same: bool
    """Both sides are equal on purpose."""


@dataclass(frozen=True, eq=False)
class Design:
    """The distinct pairs, sorted by unit, and with which others they are mismatched."""

    of_pair: Int[np.ndarray, " pair"]
    """The unit of every pair that came in; equal sides have units of their own, behind these."""
    distinct: Int[np.ndarray, " entry"]
    """Which pairs are distinct, copies and equal sides left out."""
    flipped: Bool[np.ndarray, " entry"]
    sign: Float[np.ndarray, " entry"]
    unit: Int[np.ndarray, " entry"]
    starts: Int[np.ndarray, " unit"]
    """Where each unit's entries start."""
    partners: Int[np.ndarray, "entry mismatch"]
    """Entries of other units, with the same carrier where there are any; none for one unit."""
    control: Int[np.ndarray, " entry"]
    """For each entry one of another unit, whose second side stands in for its own; the entry itself
    where there is no other unit."""
    in_half: Bool[np.ndarray, " unit"]
    """Whether a unit is in half A."""

    @property
    def has_mismatches(self) -> bool:
        """Whether there are other units to mismatch with."""
        return self.partners.shape[1] > 0

    @property
    def n_units(self) -> int:
        """How many observations there are."""
        return len(self.starts)

    def unit_means(self, values: np.ndarray) -> np.ndarray:
        """The mean of every unit's entries, [entry, ...] to [unit, ...]."""
        return means_of_runs(values, self.starts)


def means_of_runs(values: np.ndarray, starts: Int[np.ndarray, " unit"]) -> np.ndarray:
    """The means of runs of entries that begin at `starts`, [entry, ...] to [unit, ...]."""
    if not len(starts):
        return values[:0]
    sizes = np.diff(np.append(starts, len(values)))
    sums = np.add.reduceat(values, starts, axis=0)
    return sums / sizes.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.dtype)


def pair_key(loaded: LoadedModel, ready: ReadyPair) -> PairKey:
    """What a pair is to the statistics."""
    pair, (ids1, ids2) = ready.pair, ready.sides
    flipped = ids2 < ids1 if pair.correct is None else pair.correct == 2
    sign = (-1 if flipped and pair.correct is None else 1) if pair.oriented else 0
    edit = _edit(loaded, ready)
    carrier = pair.carrier if pair.carrier is not None else _carrier(ready)
    unit = repr(("edit", *sorted(edit))) if any(edit) else repr(("carrier", carrier))
    return PairKey(
        unit, carrier, (ids2, ids1) if flipped else (ids1, ids2), flipped, sign, ready.same
    )


def _edit(loaded: LoadedModel, ready: ReadyPair) -> tuple[str, str]:
    """The strings that differ."""
    if ready.pair.edit is not None:
        one, two = ready.pair.edit
        return one.strip(), two.strip()
    sides = []
    for side, ids in enumerate(ready.sides):
        found = [ids[slice(*edit[side])] for edit in ready.alignment.edits]
        sides.append(" ".join(_text(loaded, some) for some in found).strip())
    return sides[0], sides[1]


def _text(loaded: LoadedModel, ids: tuple[int, ...]) -> str:
    if loaded.tokenizer is None:
        return ",".join(map(str, ids))
    return str(loaded.tokenizer.decode(list(ids))).strip()


def _carrier(ready: ReadyPair) -> str:
    """The rest of the text, as ids."""
    ids, edits = list(ready.alignment.ids1), ready.alignment.edits
    for (start, end), _ in reversed(edits):
        ids[start:end] = [-1]
    return ",".join(map(str, ids))


def design(keys: Sequence[PairKey], *, seed: int) -> Design:
    """Units, mismatched partners and halves, the same for every order of the pairs."""
    first: dict[tuple, int] = {}
    for index, key in enumerate(keys):
        if not key.same:
            first.setdefault((key.unit, key.carrier, key.ids, key.sign), index)
    order = [first[key] for key in sorted(first)]
    names = sorted({keys[index].unit for index in order})
    place = {name: number for number, name in enumerate(names)}
    unit = np.array([place[keys[index].unit] for index in order], np.int64)
    carriers = [keys[index].carrier for index in order]
    generator = np.random.default_rng(seed)
    partners, control = _mismatched(unit, carriers, generator)
    half = np.zeros(len(names), bool)
    half[generator.permutation(len(names))[: len(names) // 2]] = True
    return Design(
        of_pair=_units_of(keys, place),
        distinct=np.array(order, np.int64),
        flipped=np.array([keys[index].flipped for index in order], bool),
        sign=np.array([keys[index].sign for index in order], np.float32),
        unit=unit,
        starts=np.searchsorted(unit, np.arange(len(names))),
        partners=partners,
        control=control,
        in_half=half,
    )


def _units_of(keys: Sequence[PairKey], place: dict[str, int]) -> np.ndarray:
    same: dict[tuple, int] = {}
    found = []
    for key in keys:
        if key.same:
            found.append(len(place) + same.setdefault(key.ids, len(same)))
        else:
            found.append(place[key.unit])
    return np.array(found, np.int64)


def _mismatched(
    unit: np.ndarray, carriers: Sequence[str], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Partners of every entry, and the one of its control; each serves about equally often."""
    count = len(unit)
    if count == 0 or (unit == unit[0]).all():
        return np.zeros((count, 0), np.int64), np.arange(count)
    together: dict[str, list[int]] = {}
    for entry, carrier in enumerate(carriers):
        together.setdefault(carrier, []).append(entry)
    groups = {carrier: np.array(entries) for carrier, entries in together.items()}
    partners, control = np.zeros((count, MISMATCHES), np.int64), np.zeros(count, np.int64)
    used = np.zeros(count)
    for entry, carrier in enumerate(carriers):
        candidates = groups[carrier][unit[groups[carrier]] != unit[entry]]
        if len(candidates) == 0:
            candidates = np.flatnonzero(unit != unit[entry])
        enough = len(candidates) >= MISMATCHES
        partners[entry] = generator.choice(candidates, MISMATCHES, replace=not enough)
        # Ties are broken at random: entries next to each other have much in common.
        least = candidates[used[candidates] == used[candidates].min()]
        control[entry] = generator.choice(least)
        used[control[entry]] += 1
    return partners, control
