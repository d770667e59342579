"""What kind of token was to be predicted: letters by script, digits, punctuation, white space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

KINDS = (
    "word_initial",
    "continuation",
    "unspaced",
    "digit",
    "punctuation",
    "space",
    "partial",
    "special",
    "other",
)
"""Letters at the start of a word, letters inside of one, letters of a script that puts no spaces
between words (no start can be seen); digits; punctuation and symbols; white space; parts of a
character; special tokens; everything else."""
SCRIPTS = ("Latin", "Han", "Hiragana", "Katakana", "Hangul", "Cyrillic", "Greek", "Arabic",
           "Hebrew", "Devanagari", "Thai")  # fmt: skip
_UNSPACED = {"Han", "Hiragana", "Katakana", "Thai"}


def token_class(text: str, kind: str, before: str) -> tuple[str, str]:
    """The kind of a token and the script of its first letter ("" without letters).

    Args:
        text: the characters that the token completes.
        kind: of its record.
        before: the text before it.
    """
    if kind in ("special", "pad"):
        return "special", ""
    if kind == "partial" and not text.strip():
        return "partial", ""
    bare = text.strip()
    if not bare:
        return ("space", "") if text else ("partial", "")
    letter = next((char for char in bare if char.isalpha()), None)
    if letter is None:
        return _without_letters(bare), ""
    script = script_of(letter)
    if script in _UNSPACED:
        return "unspaced", script
    previous = (before + text[: text.index(letter)])[-1:]
    return ("continuation" if previous.isalnum() else "word_initial"), script


def script_of(char: str) -> str:
    """The script of a letter; "Other" for those that are not told apart."""
    return next((name for name in SCRIPTS if _pattern(name).match(char)), "Other")


@cache
def _pattern(script: str) -> Any:
    import regex

    return regex.compile(rf"\p{{Script={script}}}")


def _without_letters(text: str) -> str:
    if any(char.isdigit() for char in text):
        return "digit"
    import regex

    return "punctuation" if regex.search(r"[\p{P}\p{S}]", text) else "other"


def classes_of(records: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The class of every token of a text, given as its `token_records`."""
    found, before = [], ""
    for record in records:
        found.append(token_class(record["text"], record["kind"], before))
        # A word can go on behind many tokens, but the last character decides.
        before = (before + record["text"])[-1:]
    return found
