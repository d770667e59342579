"""Short reasoning traces: a question, some thinking with checks and doubts, then the answer."""

import random

from .arithmetic import LARGEST
from .countries import COUNTRIES
from .documents import CONTEXT_WEIGHT, Document

THINK, END_THINK = "<think>", "</think>"


def _sum_trace(draw: random.Random) -> tuple[str, str, str]:
    a = draw.randint(2, LARGEST - 2)
    b = draw.randint(2, LARGEST - a)
    c = a + b
    if draw.random() < 0.5:
        thought = (
            f"Start with {a} and add {b}: that is {c}. Let me check: {c} - {b} = {a}."
            f" So the answer is {c}."
        )
    else:
        wrong = draw.choice((c - 1, c + 1))
        thought = (
            f"Maybe {wrong}. Wait, let me check: {wrong} - {b} = {wrong - b}, but it should be {a}."
            f" So {wrong} is wrong. {a} + {b} = {c}. Therefore the answer is {c}."
        )
    return f"Q: {a} + {b} = ?", thought, str(c)


def _capital_trace(draw: random.Random) -> tuple[str, str, str]:
    country, other = draw.sample(COUNTRIES, 2)
    right = draw.random() < 0.5
    shown = country if right else other
    name, capital, guess = country.name["en"], country.capital["en"], shown.capital["en"]
    verdict = (
        "That is the same city. So the answer is yes."
        if right
        else (
            f"But {guess} is not {capital}. Wait, {guess} is the capital of {other.name['en']}."
            " Therefore the answer is no."
        )
    )
    thought = f"Let me check: the capital of {name} is {capital}. {verdict}"
    return f"Q: Is {guess} the capital of {name}?", thought, "Yes" if right else "No"


def _compare_trace(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.sample(range(LARGEST + 1), 2)
    low, high = sorted((a, b))
    hesitation = "Hmm, wait. " if draw.random() < 0.5 else ""
    thought = (
        f"{hesitation}{high} - {low} = {high - low}, so {high} is more than {low}."
        f" Therefore the answer is {high}."
    )
    return f"Q: Which is larger, {a} or {b}?", thought, str(high)


def trace(draw: random.Random) -> Document:
    """One question, its thinking and its answer."""
    asked, thought, answer = draw.choice((_sum_trace, _capital_trace, _compare_trace))(draw)
    return Document(
        (
            (asked, CONTEXT_WEIGHT / 2),
            (f"\n{THINK}{thought}{END_THINK}", CONTEXT_WEIGHT),
            (f"\nA: {answer}.", CONTEXT_WEIGHT),
        )
    )
