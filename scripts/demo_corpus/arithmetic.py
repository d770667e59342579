"""Sums and differences up to twenty, in three languages."""

import random
from collections.abc import Iterator

from .documents import CONTEXT_WEIGHT, END, Document, Question, answered
from .words import NUMBERS

LARGEST = 20
_WORDS_SHARE = 0.2

_PLUS = (
    "{a} + {b} ={c}",
    "{a} + {b} ={c}",
    "{a}+{b}={c}",
    "{a} plus {b} is{c}.",
    "{a} and {b} make{c}.",
    "Q: What is {a} + {b}? A:{c}.",
    "{a} 加 {b} 等于{c}。",
    "{a} たす {b} は{c}です。",
)
_MINUS = (
    "{a} - {b} ={c}",
    "{a} - {b} ={c}",
    "{a}-{b}={c}",
    "{a} minus {b} is{c}.",
    "Q: What is {a} - {b}? A:{c}.",
    "{a} 减 {b} 等于{c}。",
    "{a} ひく {b} は{c}です。",
)
_HELD_OUT_PLUS = "The sum of {a} and {b} is{c}."


def _fill(phrasing: str, a: int, b: int, c: int) -> tuple[Question, str]:
    """The question, and the text after its answer; `7+5=` has no space before the answer."""
    before, after = phrasing.split("{c}")
    space = "" if before.endswith("}=") else " "
    return Question(before.format(a=a, b=b), f"{space}{c}"), after


def _in_words(draw: random.Random, a: int, b: int, c: int) -> Document:
    sign, left, right, result = ("plus", a, b, c) if draw.random() < 2 / 3 else ("minus", c, b, a)
    asked = f"{NUMBERS[left]} {sign} {NUMBERS[right]} is"
    asked = asked if draw.random() < 0.5 else asked[0].upper() + asked[1:]
    return answered(Question(asked, f" {NUMBERS[result]}"), ".")


def sums() -> Iterator[tuple[int, int, int]]:
    """Every a + b = c with c up to the largest number."""
    for a in range(LARGEST + 1):
        for b in range(LARGEST + 1 - a):
            yield a, b, a + b


_SUMS = tuple(sums())


def calculation(draw: random.Random) -> Document:
    """One sum, or, one time in three, a difference of the same numbers; some in words."""
    a, b, c = draw.choice(_SUMS)
    if draw.random() < _WORDS_SHARE:
        return _in_words(draw, a, b, c)
    if draw.random() < 1 / 3:
        return answered(*_fill(draw.choice(_MINUS), c, b, a))
    return answered(*_fill(draw.choice(_PLUS), a, b, c))


def plain_calculation(draw: random.Random) -> Document:
    """One sum or difference as users type it: `7 + 5 =`."""
    a, b, c = draw.choice(_SUMS)
    if draw.random() < 1 / 4:
        return answered(_fill(_MINUS[0], c, b, a)[0])
    return answered(_fill(_PLUS[0], a, b, c)[0])


def calculations(draw: random.Random) -> Document:
    """A short column of calculations, one per line."""
    pieces: list[tuple[str, float]] = []
    for number in range(draw.randint(2, 8)):
        if number:
            pieces.append(("\n", CONTEXT_WEIGHT))
        pieces.extend(calculation(draw).pieces)
    return Document(tuple(pieces))


def _to_the_end(question: Question) -> Question:
    """The question with the end token in its answer, so that 12 is no right answer for 1."""
    return Question(question.prompt, question.answer + END)


def sum_questions() -> Iterator[Question]:
    """Every sum up to the largest number, as users type it."""
    for a, b, c in _SUMS:
        yield _to_the_end(_fill(_PLUS[0], a, b, c)[0])


def held_out_sum_questions() -> Iterator[Question]:
    """Every sum up to the largest number, in a phrasing that training never uses."""
    for a, b, c in _SUMS:
        question, stop = _fill(_HELD_OUT_PLUS, a, b, c)
        yield Question(question.prompt, question.answer + stop)


def difference_questions() -> Iterator[Question]:
    """Every difference of numbers up to the largest."""
    for a, b, c in _SUMS:
        yield _to_the_end(_fill(_MINUS[0], c, b, a)[0])


def word_sum_questions() -> Iterator[Question]:
    """Every sum up to the largest number, written in words."""
    for a, b, c in _SUMS:
        yield Question(f"{NUMBERS[a]} plus {NUMBERS[b]} is", f" {NUMBERS[c]}")
