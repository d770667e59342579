"""Pairs without a network: sentences with a gap, and what fills it, in English, Chinese, Japanese.

The words are data, `templates/<language>.yaml`: a category has groups, and in a group every filling
fits every sentence (`carriers`). `words` alone gives any two of them; `edits` lists two fillings
that belong together; `words` with a `frame` puts each word into both forms of the frame; `same`
gives the same word twice. Where a language has no such error, the category holds the nearest one
that it has, and its `note` says which: Chinese and Japanese have no articles, so measure words and
counters are wrong there.

Many errors turn on a word beside the one that changes ("an egg", "a egg"), and then the edit holds
both: pairs with the same edit are one unit of the statistics, and these are different cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lens_core.errors import InputError
from lens_core.pairs.record import Pair

LANGS = ("en", "ja", "zh")
USES_PER_EDIT = 2
_FOLDER = Path(__file__).with_name("templates")

Edit = tuple[str, str]


@dataclass(frozen=True)
class Category:
    """What the two sides of its pairs are."""

    name: str
    type: str
    description: str
    oriented: bool = False
    """Side 1 is the correct one."""


@dataclass(frozen=True)
class Filling:
    """Two strings that fill the same gaps."""

    edit: Edit
    carriers: tuple[str, ...]
    """Sentences with `{}` where the edit is."""
    ordered: bool
    """Whether the first belongs on side 1; of two words of a list either may."""


@cache
def known_categories() -> Mapping[str, Category]:
    """The categories that templates exist for, by name: the original's six come first."""
    content = _content("categories")
    return {name: Category(name, **fields) for name, fields in content.items()}


def note(category: str, lang: str) -> str:
    """What a category holds in a language that has no such thing; empty where it has.

    Raises:
        InputError: no such category or language.
    """
    return _category(category, lang).get("note", "")


def capacity(category: str, lang: str, *, uses_per_edit: int = USES_PER_EDIT) -> int:
    """How many distinct pairs the templates of a category give.

    Raises:
        InputError: no such category or language.
    """
    fillings = _fillings(category, lang)
    return sum(min(uses_per_edit, len(filling.carriers)) for filling in fillings)


def make_pairs(
    categories: Sequence[str],
    *,
    n: int,
    lang: str = "en",
    seed: int = 0,
    uses_per_edit: int = USES_PER_EDIT,
) -> list[Pair]:
    """`n` distinct pairs of every category, drawn without replacement.

    An edit comes a second time only when all others have come once, and in another sentence.

    Args:
        categories: keys of `known_categories()`.
        n: pairs for each of them.
        lang: en, ja or zh.
        seed: the same seed gives the same pairs, whatever other categories are asked for.
        uses_per_edit: how many pairs may have the same edit.

    Raises:
        InputError: no such category or language, or fewer pairs than `n`.
    """
    if isinstance(categories, str):
        categories = [categories]
    return [pair for name in categories for pair in _drawn(name, n, lang, seed, uses_per_edit)]


def _drawn(name: str, n: int, lang: str, seed: int, uses_per_edit: int) -> list[Pair]:
    most = capacity(name, lang, uses_per_edit=uses_per_edit)
    if not 1 <= n <= most:
        raise InputError(
            f'n is {n}; the templates of "{name}" in {lang} give 1 to {most} distinct pairs with '
            f"uses_per_edit {uses_per_edit}. Ask for fewer, or raise uses_per_edit."
        )
    drawn = _order(_fillings(name, lang), Random(f"{seed} {lang} {name}"), uses_per_edit)
    about = known_categories()[name]
    return [
        Pair(
            sentence1=carrier.replace("{}", edit[0]),
            sentence2=carrier.replace("{}", edit[1]),
            pair_id=f"{lang}_{name}_{number}",
            type=about.type,
            subtype=name,
            lang=lang,
            oriented=about.oriented,
            correct=1 if about.oriented else None,
            edit=edit,
            carrier=carrier,
            source="template",
        )
        for number, (edit, carrier) in zip(range(n), drawn, strict=False)
    ]


def _order(fillings: Sequence[Filling], random: Random, uses: int) -> Iterator[tuple[Edit, str]]:
    """Edits with their sentences in random order, each edit once before any comes again."""
    shuffled = random.sample(fillings, len(fillings))
    carriers = [random.sample(one.carriers, len(one.carriers)) for one in shuffled]
    for turn in range(uses):
        for filling, own in zip(shuffled, carriers, strict=True):
            first, second = filling.edit
            swapped = not filling.ordered and random.random() < 0.5
            if turn < len(own):
                yield (second, first) if swapped else (first, second), own[turn]


@cache
def _fillings(name: str, lang: str) -> tuple[Filling, ...]:
    """Every edit of a category once, with all the sentences that it fits."""
    found: dict[Edit, Filling] = {}
    for group in _category(name, lang)["groups"]:
        ordered = "edits" in group or "frame" in group
        for edit in _edits(group):
            key = min(edit, (edit[1], edit[0]))
            earlier = found[key].carriers if key in found else ()
            carriers = tuple(dict.fromkeys([*earlier, *group["carriers"]]))
            found[key] = Filling(edit, carriers, ordered)
    return tuple(found.values())


def _edits(group: Mapping[str, Any]) -> Iterator[Edit]:
    """The edits of a group; the module says what its keys mean."""
    if "edits" in group:
        yield from ((first, second) for first, second in group["edits"])
    elif group.get("same"):
        yield from ((word, word) for word in group["words"])
    elif "frame" in group:
        first, second = group["frame"]
        for word in group["words"]:
            yield first.replace("{}", word), second.replace("{}", word)
    else:
        yield from combinations(group["words"], 2)


def function_words() -> frozenset[str]:
    """Words that carry grammar rather than meaning, in small letters."""
    return frozenset(_content("function_words")["words"])


def _category(name: str, lang: str) -> Mapping[str, Any]:
    if lang not in LANGS:
        raise InputError(f'lang is "{lang}"; templates exist in {", ".join(LANGS)}.')
    content = _content(lang)
    if name not in content:
        raise InputError(
            f'There are no templates for "{name}"; there are for {", ".join(content)}. Other '
            "categories can be asked of a model."
        )
    return content[name]


@cache
def _content(name: str) -> dict[str, Any]:
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
