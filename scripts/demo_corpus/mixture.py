"""Which kinds of document a training step sees, and in what share of its tokens."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import arithmetic, copying, facts, functions, giving, traces
from .documents import Document
from .words import NAMES, NUMBERS, PLACES, THINGS

Generator = Callable[[random.Random], Document]

GENERATORS: dict[str, Generator] = {
    "facts en": partial(facts.fact, language="en"),
    "facts zh": partial(facts.fact, language="zh"),
    "facts ja": partial(facts.fact, language="ja"),
    "strange facts en": partial(facts.fact_in_strange_company, language="en"),
    "strange facts zh": partial(facts.fact_in_strange_company, language="zh"),
    "strange facts ja": partial(facts.fact_in_strange_company, language="ja"),
    "reworded facts en": partial(facts.reworded_fact, language="en"),
    "reworded facts zh": partial(facts.reworded_fact, language="zh"),
    "reworded facts ja": partial(facts.reworded_fact, language="ja"),
    "several facts en": partial(facts.several_facts, language="en"),
    "several facts zh": partial(facts.several_facts, language="zh"),
    "several facts ja": partial(facts.several_facts, language="ja"),
    "lists": partial(copying.repeated_list, longest=12),
    "cycles": partial(copying.repeated_list, longest=5),
    "lists zh": partial(copying.repeated_list, language="zh", longest=10),
    "lists ja": partial(copying.repeated_list, language="ja", longest=10),
    "long lists": partial(copying.repeated_list, longest=50),
    "asked copies": copying.asked_copy,
    "other one": giving.other_one,
    "giving words": giving.giving_words,
    "giving": giving.giving,
    "calculation": arithmetic.calculation,
    "plain calculation": arithmetic.plain_calculation,
    "calculations": arithmetic.calculations,
    "function": functions.function,
    "statements": functions.statements,
    "program": functions.program,
    "traces": traces.trace,
}

NOISE = "noise"
"""Random tokens written twice or more; made of ids, so the packer draws it, not a generator."""


_EXTRA_WORDS = 150


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one mixture."""

    name: str
    steps: int
    short: dict[str, float]
    """Relative share of tokens of each generator in steps of short rows."""
    long: dict[str, float]
    """The same in steps of long rows."""
    tokens: int = 6144
    """Tokens in one step, about."""


_LONG = {
    NOISE: 2.0,
    "long lists": 2.0,
    "several facts en": 2.0,
    "several facts zh": 1.0,
    "several facts ja": 1.0,
    "calculations": 0.5,
    "program": 1.0,
    "traces": 2.0,
}

LOOKING_BACK = Stage(
    "looking back",
    steps=400,
    short={
        NOISE: 3.0,
        "lists": 3.0,
        "lists zh": 0.3,
        "lists ja": 0.3,
        "other one": 3.0,
        "giving words": 1.0,
        "giving": 1.0,
        "facts en": 1.0,
        "facts zh": 0.5,
        "facts ja": 0.5,
        "calculation": 0.5,
    },
    long=_LONG,
)

EVERYTHING = Stage(
    "everything",
    steps=300,
    short={
        NOISE: 0.5,
        "lists": 1.0,
        "lists zh": 0.2,
        "lists ja": 0.2,
        "asked copies": 0.5,
        "other one": 0.5,
        "giving words": 0.8,
        "giving": 1.5,
        "facts en": 3.0,
        "facts zh": 1.7,
        "facts ja": 1.7,
        "calculation": 1.0,
        "function": 0.8,
        "statements": 0.2,
    },
    long=_LONG,
)

COPYING = Stage(
    "copying",
    steps=400,
    tokens=3072,
    short={
        NOISE: 3.0,
        "cycles": 2.0,
        "lists": 3.0,
        "lists zh": 0.3,
        "lists ja": 0.3,
        "asked copies": 0.7,
        "other one": 0.4,
        "giving": 0.8,
        "facts en": 1.0,
        "strange facts en": 0.5,
        "facts zh": 0.5,
        "strange facts zh": 0.4,
        "facts ja": 0.5,
        "strange facts ja": 0.4,
        "calculation": 1.2,
        "function": 0.5,
    },
    long={**_LONG, NOISE: 4.0, "long lists": 4.0},
)

TOGETHER = Stage(
    "together",
    steps=300,
    tokens=4096,
    short={
        NOISE: 0.5,
        "cycles": 0.2,
        "lists": 1.0,
        "lists zh": 0.2,
        "lists ja": 0.2,
        "asked copies": 0.3,
        "other one": 0.3,
        "giving words": 0.3,
        "giving": 1.2,
        "facts en": 2.2,
        "strange facts en": 1.2,
        "facts zh": 0.9,
        "strange facts zh": 0.7,
        "facts ja": 1.0,
        "strange facts ja": 0.9,
        "calculation": 1.3,
        "plain calculation": 1.5,
        "function": 0.6,
        "statements": 0.1,
    },
    long=_LONG,
)

MORE_PHRASINGS = Stage(
    "more phrasings",
    steps=400,
    tokens=4096,
    short={
        **TOGETHER.short,
        "facts en": 1.5,
        "reworded facts en": 1.2,
        "strange facts en": 0.8,
        "facts zh": 0.7,
        "reworded facts zh": 0.4,
        "strange facts zh": 0.4,
        "facts ja": 0.7,
        "reworded facts ja": 0.9,
        "strange facts ja": 0.6,
    },
    long=_LONG,
)


@dataclass(frozen=True)
class Recipe:
    """How one model is trained."""

    stages: tuple[Stage, ...]
    rates: tuple[tuple[float, float], ...]
    """(step, share of the highest learning rate), with straight lines between."""

    @property
    def steps(self) -> int:
        """The steps of all stages."""
        return sum(stage.steps for stage in self.stages)


RECIPES: dict[str, Recipe] = {
    "base": Recipe(
        (LOOKING_BACK, EVERYTHING, COPYING, TOGETHER, MORE_PHRASINGS),
        rates=((0, 0.02), (49, 1.0), (1072.5, 1.0), (1400, 0.4329), (1800, 0.0)),
    )
}
"""A model grown from another one gets a recipe here and starts from that model's folder."""


def stage_at(stages: tuple[Stage, ...], step: int) -> Stage:
    """The stage that a step belongs to."""
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def tokenizer_sample(seed: int, documents: int) -> list[str]:
    """Text of every kind, for the tokenizer to learn its merges from.

    Every subject, answer and name stands in it some more times, so that most become one token.
    """
    draw = random.Random(seed)
    # What joined later stays out, so that the merges stay as they are.
    without = ("program", "long lists", "cycles", "plain calculation", "strange", "reworded")
    kinds = [kind for kind in GENERATORS if not kind.startswith(without)]
    weights = [6.0 if kind.startswith("facts") else 1.0 for kind in kinds]
    sample = [GENERATORS[kind](draw).text for kind in draw.choices(kinds, weights, k=documents)]
    for relation in facts.RELATIONS:
        space = " " if relation.language == "en" else ""
        sample += [space + word for pair in relation.facts for word in pair] * _EXTRA_WORDS
    common = [" " + word for word in (*NUMBERS, *PLACES, *THINGS)]
    return sample + common * _EXTRA_WORDS + list(NAMES) * (4 * _EXTRA_WORDS)
