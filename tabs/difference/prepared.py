"""The pairs that the tab opens with: what the embedded model knows, and grammar that it does not.

All facts are in its corpus, and it answers both sides of each rightly.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from lens_core.pairs import Pair, make_pairs

CAPITALS = (
    ("France", "Paris", "Italy", "Rome"),
    ("Japan", "Tokyo", "Egypt", "Cairo"),
    ("Spain", "Madrid", "Greece", "Athens"),
    ("Norway", "Oslo", "Peru", "Lima"),
    ("China", "Beijing", "Kenya", "Nairobi"),
    ("Cuba", "Havana", "Poland", "Warsaw"),
    ("Germany", "Berlin", "Austria", "Vienna"),
    ("Sweden", "Stockholm", "Canada", "Ottawa"),
    ("Portugal", "Lisbon", "Ireland", "Dublin"),
    ("Russia", "Moscow", "Chile", "Santiago"),
)
OPPOSITES = (
    ("hot", "cold", "big", "small"),
    ("fast", "slow", "old", "young"),
    ("up", "down", "light", "dark"),
    ("rich", "poor", "open", "closed"),
    ("day", "night", "high", "low"),
)
SUMS = (
    ("3+4=", "7", "3+5=", "8"),
    ("9-2=", "7", "9-4=", "5"),
    ("12-5=", "7", "12-6=", "6"),
    ("2+2=", "4", "2+3=", "5"),
    ("8-7=", "1", "8-5=", "3"),
    ("6-4=", "2", "6-2=", "4"),
)
LISTS = (
    ("red blue {} red blue", "green", "white"),
    ("cat dog {} cat dog", "sun", "tree"),
    ("tea milk {} tea milk", "bread", "rice"),
    ("one two {} one two", "three", "ten"),
    ("sea hill {} sea hill", "moon", "road"),
)
GIVING = (
    ("Mary", "John", "store", "drink"),
    ("Tom", "Anna", "park", "book"),
    ("Alice", "Peter", "school", "letter"),
    ("Emma", "Paul", "market", "ball"),
    ("Kate", "David", "garden", "key"),
)
N_GRAMMAR = 10


@cache
def prepared_pairs() -> tuple[Pair, ...]:
    """All of them, the one that is shown first in front."""
    found = [
        *_facts("capital", "The capital of {} is", CAPITALS),
        *_facts("opposite", "The opposite of {} is", OPPOSITES),
        *(_pair("sum", a, b, answers=(x, y)) for a, x, b, y in SUMS),
        *(
            _pair("copy", text.format(a), text.format(b), answers=(f" {a}", f" {b}"))
            for text, a, b in LISTS
        ),
        *map(_given, GIVING),
        *make_pairs(["tense_errors"], n=N_GRAMMAR),
    ]
    return tuple(found)


def prepared_records() -> list[dict[str, Any]]:
    """The same as plain values."""
    return [pair.to_json() for pair in prepared_pairs()]


def _facts(kind: str, text: str, rows: tuple[tuple[str, ...], ...]) -> list[Pair]:
    return [
        _pair(kind, text.format(a), text.format(b), answers=(f" {x}", f" {y}"))
        for a, x, b, y in rows
    ]


def _given(names: tuple[str, ...]) -> Pair:
    """Who gets something is who did not give it."""
    first, second, place, thing = names
    text = f"When {first} and {second} went to the {place}, {{}} gave a {thing} to"
    sides = text.format(second), text.format(first)
    return _pair("giving", *sides, answers=(f" {first}", f" {second}"))


def _pair(kind: str, first: str, second: str, *, answers: tuple[str, str]) -> Pair:
    return Pair(
        first, second, type=kind, lang="en", source="user", answer1=answers[0], answer2=answers[1]
    )
