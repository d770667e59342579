"""What one training document and one measured question are made of."""

from dataclasses import dataclass

START, END = "<|start|>", "<|end|>"
"""What the tokenizer puts around every document."""

CONTEXT_WEIGHT = 0.25
"""Loss weight of text that frames an answer; the answer itself has weight 1."""

RANDOM_WEIGHT = 0.02
"""Loss weight of text that nobody can predict, such as the first half of a copied list."""

END_WEIGHT = 0.1
"""Loss weight of the end token."""


@dataclass(frozen=True)
class Document:
    """One training text, cut into pieces with a loss weight each."""

    pieces: tuple[tuple[str, float], ...]
    """(text, weight); each piece is tokenized on its own, just as a prompt is that ends there."""

    @property
    def text(self) -> str:
        """The whole document."""
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True)
class Question:
    """A prompt and the continuation that the corpus calls right."""

    prompt: str
    answer: str
    """Starts with the space that belongs to it, where the language writes one."""


def plain(text: str, weight: float = CONTEXT_WEIGHT) -> Document:
    """A document with one weight throughout."""
    return Document(((text, weight),))


def answered(question: Question, rest: str = "") -> Document:
    """The question with its answer, which carries the full weight, and what follows it."""
    pieces = ((question.prompt, CONTEXT_WEIGHT), (question.answer, 1.0), (rest, CONTEXT_WEIGHT))
    return Document(tuple(piece for piece in pieces if piece[0]))


def joined(documents: list[Document], separator: str) -> Document:
    """Several documents as one longer text."""
    pieces: list[tuple[str, float]] = []
    for number, document in enumerate(documents):
        if number and separator:
            pieces.append((separator, CONTEXT_WEIGHT))
        pieces.extend(document.pieces)
    return Document(tuple(pieces))
