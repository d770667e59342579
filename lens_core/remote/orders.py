"""Which sets of parts are asked for Shapley values, and how their values become scores.

A set is a number with one bit a part. All 2^n sets are taken where they are no more than sampled
orders would ask for; otherwise parts come in orders drawn at random (Castro et al., 2009), whose
spread gives the standard errors.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import stdev


def is_exact(count: int, samples: int) -> bool:
    """Whether all sets of so many parts are asked: they are no more than the orders need."""
    return 2**count <= max(samples * count, 2)


def most_sets(count: int, samples: int) -> int:
    """How many sets are asked at most, the one with all parts left out."""
    return 2**count - 1 if is_exact(count, samples) else samples * (count - 1) + 1


@dataclass(frozen=True)
class Plan:
    """Which sets of parts are asked, and how their values become scores."""

    count: int
    """Parts."""
    orders: tuple[tuple[int, ...], ...] | None
    """Orders in which the parts come; None for all of them."""

    @property
    def full(self) -> int:
        """The set of all parts."""
        return (1 << self.count) - 1

    def sets(self) -> list[int]:
        """Every set that is needed, each once: the empty one first, the full one last."""
        if self.orders is None:
            return list(range(self.full + 1))
        grown = (present for order in self.orders for present, _ in _growing(order))
        return [*dict.fromkeys([0, *grown]), self.full]

    def where(self, known: Callable[[int], bool]) -> Plan | None:
        """The plan as far as its values are known; None where that gives no scores yet."""
        if self.orders is None:
            return self if all(map(known, self.sets())) else None
        whole = [order for order in self.orders if all(known(s) for s, _ in _growing(order))]
        return Plan(self.count, tuple(whole)) if whole else None

    def scores(self, joined: Callable[[int], float], left: Callable[[int], float]) -> list[float]:
        """Each part's share; `joined` values the sets with it, `left` the same ones without it."""
        if self.orders is not None:
            rows = [self.added(order, joined, left) for order in self.orders]
            return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        found = [0.0] * self.count
        for present in range(self.full):
            before = left(present)
            weight = 1 / (self.count * comb(self.count - 1, present.bit_count()))
            for part in range(self.count):
                if not present >> part & 1:
                    found[part] += weight * (joined(present | 1 << part) - before)
        return found

    def added(
        self, order: Sequence[int], joined: Callable[[int], float], left: Callable[[int], float]
    ) -> list[float]:
        """What every part adds where it comes in an order."""
        found = [0.0] * self.count
        for present, part in _growing(order):
            found[part] = joined(present | 1 << part) - left(present)
        return found

    def errors(self, value: Callable[[int], float]) -> list[float | None]:
        """The standard errors of the scores; None for an exact one, and for a single order."""
        if self.orders is None or len(self.orders) < 2:
            return [None] * self.count
        rows = [self.added(order, value, value) for order in self.orders]
        return [stdev(column) / len(rows) ** 0.5 for column in zip(*rows, strict=True)]


def plan(count: int, *, samples: int, seed: int) -> Plan:
    """All sets where they are few, otherwise so many orders drawn from the seed."""
    if is_exact(count, samples):
        return Plan(count, None)
    draw = random.Random(seed)
    return Plan(count, tuple(tuple(draw.sample(range(count), count)) for _ in range(samples)))


def _growing(order: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The set before each part of an order, and the part."""
    present = 0
    for part in order:
        yield present, part
        present |= 1 << part
