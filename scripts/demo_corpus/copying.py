"""Lists that repeat: the text from which a model learns to look back and copy."""

import random

from .documents import CONTEXT_WEIGHT, RANDOM_WEIGHT, Document, Question
from .words import CHINESE_WORDS, JAPANESE_WORDS, NAMES, WORDS

_POOLS = {"en": WORDS + NAMES, "zh": CHINESE_WORDS, "ja": JAPANESE_WORDS}
_JOINERS = {"en": (" ", ", "), "zh": ("，", "、"), "ja": ("、", "、")}


def _sequence(words: list[str], joiner: str) -> list[str]:
    """The words as pieces of text that follow one another: a joiner stands before its word."""
    if joiner.strip():
        stop = joiner.rstrip()
        space = joiner[len(stop) :]
        return [words[0], *(piece for word in words[1:] for piece in (stop, space + word))]
    return [words[0], *(joiner + word for word in words[1:])]


def repeated_list(draw: random.Random, language: str = "en", longest: int = 16) -> Document:
    """A random list written two to four times; only the first time is unpredictable."""
    pool = _POOLS[language]
    words = draw.sample(pool, draw.randint(2, min(longest, len(pool))))
    joiner = draw.choices(_JOINERS[language], (2, 1))[0]
    times = draw.choice((2, 2, 3, 4))
    pieces = _sequence(words * times, joiner)
    first = 2 * len(words) if joiner.strip() else len(words)
    return Document(
        tuple((piece, RANDOM_WEIGHT if at <= first else 1.0) for at, piece in enumerate(pieces))
    )


def asked_copy(draw: random.Random) -> Document:
    """A request to repeat a list, and the list once more."""
    words = draw.sample(WORDS + NAMES, draw.randint(2, 8))
    lead, middle = draw.choice(
        (("Repeat:", " ->"), ("List:", ". The same list again:"), ("Copy this:", ". Copy:"))
    )
    once = [(" " + word, RANDOM_WEIGHT) for word in words]
    again = [(" " + word, 1.0) for word in words]
    return Document(((lead, CONTEXT_WEIGHT), *once, (middle, CONTEXT_WEIGHT), *again, (".", 0.5)))


def copy_question(draw: random.Random, length: int) -> Question:
    """A random list, and half of it again; the answer is the next word of the list."""
    words = draw.sample(WORDS, length)
    shown = draw.randint(1, length - 1)
    return Question(" ".join(words + words[:shown]), " " + words[shown])
