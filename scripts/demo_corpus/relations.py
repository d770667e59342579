"""What a relation is: rows of facts and the phrasings that state them."""

from collections.abc import Iterator
from dataclasses import dataclass

from .documents import Question


@dataclass(frozen=True)
class Relation:
    """One kind of fact in one language, with trained and held-out ways to say it."""

    name: str
    language: str
    facts: tuple[tuple[str, str], ...]
    """(subject, answer)."""
    trained: tuple[str, ...]
    """Phrasings that training text uses."""
    held_out: tuple[str, ...]
    """Phrasings that only the measurement uses; they end at the answer."""
    reworded: tuple[str, ...] = ()
    """Trained phrasings that join in the last stage."""
    inverse: tuple[str, ...] = ()
    """Trained phrasings that say the answer first and end in the subject."""


def question(phrasing: str, subject: str, answer: str) -> tuple[Question, str]:
    """The phrasing as a question, and the text that follows the answer.

    A space before the answer moves from the prompt into the answer: users type none at the end.
    """
    before, after = phrasing.split("{answer}")
    prompt = before.format(subject=subject)
    prompt = prompt[0].upper() + prompt[1:]
    bare = prompt.rstrip(" ")
    return Question(bare, prompt[len(bare) :] + answer), after


def inverse_question(phrasing: str, subject: str, answer: str) -> tuple[Question, str]:
    """Like `question`, for a phrasing that asks for the subject."""
    swapped = phrasing.replace("{answer}", "\0").replace("{subject}", "{answer}")
    return question(swapped.replace("\0", "{subject}"), answer, subject)


def held_out_questions(relation: Relation) -> Iterator[Question]:
    """Every fact of the relation in every held-out phrasing."""
    for phrasing in relation.held_out:
        for subject, answer in relation.facts:
            yield question(phrasing, subject, answer)[0]


def trained_questions(relation: Relation) -> Iterator[Question]:
    """Every fact of the relation in its first trained phrasing, the one that users type."""
    for subject, answer in relation.facts:
        yield question(relation.trained[0], subject, answer)[0]
