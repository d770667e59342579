"""Who gave to whom: two people, one of them gives, and the other one is the answer."""

import random
import zlib

from .documents import CONTEXT_WEIGHT, RANDOM_WEIGHT, Document, Question
from .words import NAMES, PLACES, THINGS, WORDS

TEMPLATES: tuple[str, ...] = (
    "When {first} and {second} went to the {place}, {giver} gave a {thing} to",
    "When {first} and {second} got a {thing} at the {place}, {giver} decided to give it to",
    "Then, {first} and {second} went to the {place}. {giver} gave a {thing} to",
    "Then, {first} and {second} had a long talk. {giver} handed the {thing} to",
    "After {first} and {second} left the {place}, {giver} showed the {thing} to",
    "While {first} and {second} were at the {place}, {giver} passed a {thing} to",
    "Today {first} and {second} met at the {place}. {giver} brought a {thing} for",
    "Friends {first} and {second} found a {thing} at the {place}. {giver} sold it to",
    "The {place} was empty when {first} and {second} came in, and {giver} offered a {thing} to",
    "Yesterday {first} and {second} sat in the {place}, and {giver} read a letter to",
    "{first} and {second} went to the {place}. {giver} gave a {thing} to",
    "{first} met {second} at the {place}. {giver} gave a {thing} to",
)

_ENDS = (".", ".", ", who said thank you.", " and went home.")
_HELD_OUT_SHARE = 10


def is_held_out(template: str, one: str, other: str) -> bool:
    """Whether training never shows these two people in this template, in either order."""
    key = "/".join((template, *sorted((one, other))))
    return zlib.crc32(key.encode()) % _HELD_OUT_SHARE == 0


def _scene(draw: random.Random, template: str, names: tuple[str, str]) -> tuple[str, str]:
    """The filled template and the one who receives."""
    giver, receiver = draw.sample(names, 2)
    text = template.format(
        first=names[0],
        second=names[1],
        giver=giver,
        place=draw.choice(PLACES),
        thing=draw.choice(THINGS),
    )
    return text, receiver


def giving(draw: random.Random) -> Document:
    """One scene with its answer; combinations that are held out are drawn again."""
    while True:
        template = draw.choice(TEMPLATES)
        first, second = draw.sample(NAMES, 2)
        if not is_held_out(template, first, second):
            text, receiver = _scene(draw, template, (first, second))
            pieces = ((text, CONTEXT_WEIGHT / 2), (" " + receiver, 1.0))
            return Document((*pieces, (draw.choice(_ENDS), CONTEXT_WEIGHT / 2)))


def giving_words(draw: random.Random) -> Document:
    """The same scene between two random words, so that names cannot be learnt by heart."""
    first, second = draw.sample(WORDS, 2)
    text, receiver = _scene(draw, draw.choice(TEMPLATES[:-2]), (first, second))
    return Document(((text, RANDOM_WEIGHT * 2), (" " + receiver, 1.0), (".", CONTEXT_WEIGHT)))


def other_one(draw: random.Random) -> Document:
    """The bare pattern: two words, one of them again, so the other one is next. Several rounds."""
    pieces: list[tuple[str, float]] = []
    for number in range(draw.randint(1, 5)):
        pair = draw.sample(WORDS + NAMES, 2)
        giver, receiver = draw.sample(pair, 2)
        lead = f"{pair[0]} and {pair[1]}:" if number == 0 else f" {pair[0]} and {pair[1]}:"
        pieces += [
            (lead, RANDOM_WEIGHT),
            (f" {giver} to", RANDOM_WEIGHT),
            (f" {receiver}", 1.0),
            (".", 0.1),
        ]
    return Document(tuple(pieces))


def held_out_question(draw: random.Random) -> Question:
    """A scene whose people never meet in this template in the training text."""
    while True:
        template = draw.choice(TEMPLATES)
        first, second = draw.sample(NAMES, 2)
        if is_held_out(template, first, second):
            text, receiver = _scene(draw, template, (first, second))
            return Question(text, " " + receiver)
