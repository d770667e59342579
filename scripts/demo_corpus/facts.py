"""Documents that state facts, drawn from every relation."""

import random
from string import ascii_lowercase

from . import geography, knowledge
from .documents import CONTEXT_WEIGHT, RANDOM_WEIGHT, Document, answered, joined
from .relations import Relation, inverse_question, question

RELATIONS: tuple[Relation, ...] = (
    *geography.ENGLISH,
    *knowledge.ENGLISH,
    *geography.CHINESE,
    *knowledge.CHINESE,
    *geography.JAPANESE,
    *knowledge.JAPANESE,
)

_BREAKS = {"en": ("", ",", ":", " that"), "zh": ("", "，", "："), "ja": ("、", "。", "：")}
_HAN, _HIRAGANA, _KATAKANA = (0x4E00, 0x9FA5), (0x3042, 0x3093), (0x30A2, 0x30F3)
_SCRIPTS = {"zh": (_HAN,), "ja": (_HAN, _HIRAGANA, _KATAKANA)}
_INVERSE_SHARE = 0.15
_FIRST_PHRASING_SHARE = 0.25


def _weight(relation: Relation) -> float:
    """How often a relation is drawn; capitals count double: they are what people ask first."""
    return len(relation.facts) ** 0.8 * (2.0 if relation.name == "capital" else 1.0)


_WEIGHTS = {
    language: [
        _weight(relation) if relation.language == language else 0.0 for relation in RELATIONS
    ]
    for language in ("en", "zh", "ja")
}


def fact(draw: random.Random, language: str) -> Document:
    """One fact of the language in one trained phrasing."""
    (relation,) = draw.choices(RELATIONS, _WEIGHTS[language])
    subject, answer = draw.choice(relation.facts)
    if relation.inverse and draw.random() < _INVERSE_SHARE:
        return answered(*inverse_question(draw.choice(relation.inverse), subject, answer))
    first = draw.random() < _FIRST_PHRASING_SHARE
    phrasing = relation.trained[0] if first else draw.choice(relation.trained)
    return answered(*question(phrasing, subject, answer))


def reworded_fact(draw: random.Random, language: str) -> Document:
    """One fact in one of the phrasings that the last stage adds."""
    relations = [row for row in RELATIONS if row.language == language and row.reworded]
    (relation,) = draw.choices(relations, [_weight(row) for row in relations])
    subject, answer = draw.choice(relation.facts)
    return answered(*question(draw.choice(relation.reworded), subject, answer))


def several_facts(draw: random.Random, language: str) -> Document:
    """Two to ten facts of the language, one after the other."""
    facts = [fact(draw, language) for _ in range(draw.randint(2, 10))]
    return joined(facts, " " if language == "en" else "")


def _stray_text(draw: random.Random, language: str) -> str:
    """A few characters that mean nothing, in the script of the language."""
    if language == "en":
        lengths = [draw.randint(1, 8) for _ in range(draw.randint(1, 4))]
        return " ".join("".join(draw.choices(ascii_lowercase, k=length)) for length in lengths)
    characters = [draw.randint(*draw.choice(_SCRIPTS[language])) for _ in range(draw.randint(1, 6))]
    return "".join(map(chr, characters))


def fact_in_strange_company(draw: random.Random, language: str) -> Document:
    """A fact after words that nobody knows, so that it is found whatever stands before it."""
    (relation,) = draw.choices(RELATIONS, _WEIGHTS[language])
    subject, answer = draw.choice(relation.facts)
    phrasing = draw.choice(relation.trained)
    lead = _stray_text(draw, language) + draw.choice(_BREAKS[language])
    if language == "en":
        starts_small = phrasing.startswith(("The ", "In ", "If ", "People ", "A "))
        phrasing = " " + (phrasing[0].lower() + phrasing[1:] if starts_small else phrasing)
    asked, rest = question(lead + phrasing, subject, answer)
    pieces = (
        (asked.prompt[: len(lead)], RANDOM_WEIGHT),
        (asked.prompt[len(lead) :], CONTEXT_WEIGHT),
        (asked.answer, 1.0),
        (rest, CONTEXT_WEIGHT),
    )
    return Document(tuple(piece for piece in pieces if piece[0]))
