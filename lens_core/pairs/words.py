"""Words of any script, so that a change is shown and aligned by what a reader sees as one.

A word is a run of letters and digits, with the apostrophes inside it. Scripts that put no spaces
between words are taken character by character, except Katakana, whose runs spell one word.
Everything else, a space or an emoji say, is a piece of one character as a reader sees it.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any

_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"(?![{_SPACELESS}])[\p{{L}}\p{{N}}_]\p{{M}}*"
_PIECE = rf"[\p{{Katakana}}ー]+|(?:{_LETTER})+(?:['’](?:{_LETTER})+)*|\X"


@cache
def _pattern() -> Any:
    import regex

    return regex.compile(_PIECE)


def pieces(text: str) -> list[str]:
    """The words of a text and what stands between them; joined, they are the text."""
    return _pattern().findall(text)


def borders(text: str) -> set[int]:
    """The places between pieces, 0 and the length of the text included."""
    return {0, *accumulate(map(len, pieces(text)))}


def holds_together(text: str) -> bool:
    """Whether texts that share this between two changes are changed in two places.

    A space alone does not ("New York" and "Los Angeles"), nor one character of a script without
    spaces, which is mostly a part of both words by chance.
    """
    import regex

    shared = text.strip()
    return len(shared) > 1 or (bool(shared) and not regex.match(rf"[{_SPACELESS}]", shared))


def is_word(piece: str) -> bool:
    """Whether a piece is a word and not what stands between words."""
    return piece[:1].isalnum()
