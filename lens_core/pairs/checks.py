"""What a sentence pair must be before it is taken from a model: minimal, and in its language."""

from __future__ import annotations

from collections.abc import Callable

from lens_core.pairs.aligning import changes
from lens_core.pairs.record import Pair
from lens_core.pairs.words import is_word, pieces

LONGEST_RATIO = 2.0
"""Of the lengths of the two sides in characters."""
SEVERAL = ("word_order",)
"""Categories whose pairs differ in more than one place."""


def reason_against(pair: Pair) -> str | None:
    """Why a proposed pair is not taken; None when it is one."""
    first, second = pair.sentence1, pair.sentence2
    if not (first.strip() and second.strip()):
        return "a side is empty"
    if first == second:
        return "both sides are the same"
    longer, shorter = max(len(first), len(second)), min(len(first), len(second))
    if longer > LONGEST_RATIO * shorter:
        return f"its sides have {len(first)} and {len(second)} characters; one is too long"
    if not (is_in(first, pair.lang) and is_in(second, pair.lang)):
        return f'it is not in the language "{pair.lang}"'
    return _reason_against_edit(pair)


def _reason_against_edit(pair: Pair) -> str | None:
    count, kept = changes(pieces(pair.sentence1), pieces(pair.sentence2))
    if count > 1 and pair.subtype not in SEVERAL:
        return f"it differs in {count} places instead of one"
    if not any(is_word(piece) for piece in kept):
        return "the sides have no word in common"
    return None


def is_in(text: str, lang: str) -> bool:
    """Whether a text is written in the script of a language; True where that is not known."""
    test = _SCRIPTS.get(lang)
    return test is None or test(text)


def _is_kana(char: str) -> bool:
    return "\u3041" <= char <= "\u30ff" and char not in "・ー"


def _is_han(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff" or "\U00020000" <= char <= "\U0003ffff"


def _is_english(text: str) -> bool:
    # More letters of the alphabet than others: an accent or a Greek letter may occur.
    letters = [char for char in text if char.isalpha()]
    return 2 * sum(char.isascii() for char in letters) > len(letters)


def _is_japanese(text: str) -> bool:
    return any(map(_is_kana, text))


def _is_chinese(text: str) -> bool:
    return any(map(_is_han, text)) and not any(map(_is_kana, text))


_SCRIPTS: dict[str, Callable[[str], bool]] = {
    "en": _is_english,
    "ja": _is_japanese,
    "zh": _is_chinese,
}
