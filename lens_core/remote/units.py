"""The parts of a prompt that are masked: words, Chinese and Japanese characters, sentences.

A model behind an API has a tokenizer that we do not know, so parts are found by their characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lens_core.errors import InputError

_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}ー]"
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}_]--{_CJK}]"
# A sign that is more than punctuation: +, =, €, and whole emoji (flags, families, skin colours).
_SIGN = r"(?=[\p{S}\p{Extended_Pictographic}])\X"
_WORD = rf"{_LETTER}(?:{_LETTER}|['’\-](?={_LETTER}))*|{_SIGN}"
_CHARACTERS = {"character": rf"{_CJK}\p{{M}}*", "bigram": rf"(?:{_CJK}\p{{M}}*){{1,2}}"}
_SENTENCE = r"(?s).+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[」』”’）]*|(?=\n)|$)"


@dataclass(frozen=True)
class Unit:
    """A part of the prompt, by characters."""

    text: str
    start: int
    end: int


def words(text: str, *, cjk: str = "character") -> list[Unit]:
    """Words with their apostrophes and hyphens, CJK characters or pairs of them, signs, emoji.

    Punctuation belongs to no unit and always stays.
    """
    import regex

    pattern = f"(?V1){_CHARACTERS[cjk]}|{_WORD}"
    return [Unit(m.group(), m.start(), m.end()) for m in regex.finditer(pattern, text)]


def sentences(text: str) -> list[Unit]:
    """Sentences and lines, without the white space around them."""
    import regex

    found = []
    for match in regex.finditer(_SENTENCE, text):
        whole = match.group()
        start = match.start() + len(whole) - len(whole.lstrip())
        if inner := whole.strip():
            found.append(Unit(inner, start, start + len(inner)))
    return found


def own_units(text: str, spans: Sequence[tuple[int, int]]) -> list[Unit]:
    """The parts at spans of characters.

    Raises:
        InputError: a span that is empty or lies outside, or two that overlap.
    """
    found = []
    last = 0
    for start, end in sorted(tuple(span) for span in spans):
        if not 0 <= start < end <= len(text):
            raise InputError(
                f"The span {start} to {end} is empty or outside the prompt, which has "
                f"{len(text)} characters."
            )
        if start < last:
            raise InputError(f"The span {start} to {end} overlaps the one before it.")
        last = end
        found.append(Unit(text[start:end], start, end))
    return found


def unprotected(
    units: Iterable[Unit], text: str, protected: Iterable[str | tuple[int, int]]
) -> list[Unit]:
    """The units that touch nothing that is protected.

    Raises:
        InputError: a protected text that is not in the prompt.
    """
    kept = bytearray(len(text))  # one mark a character: prompts and lists of texts can be long
    for one in protected:
        for start, end in _spans(text, one):
            start, end = max(start, 0), min(end, len(text))
            kept[start:end] = b"\1" * (end - start)
    return [unit for unit in units if not any(kept[unit.start : unit.end])]


def _spans(text: str, one: str | tuple[int, int]) -> Iterator[tuple[int, int]]:
    if not isinstance(one, str):
        yield one[0], one[1]
        return
    at = text.find(one) if one else -1
    if at < 0:
        raise InputError(f"The protected text {one!r} is not in the prompt; copy it from there.")
    while at >= 0:
        yield at, at + len(one)
        at = text.find(one, at + len(one))


def masked(text: str, unit: Unit, mask: str) -> str:
    """The prompt with one unit replaced.

    A unit that is deleted takes the space before it with it, as most tokenizers do; so deleting
    a word here is deleting its tokens in a model of one's own.
    """
    return masked_together(text, {unit: mask})


def masked_together(text: str, masks: Mapping[Unit, str]) -> str:
    """The prompt with several units replaced at once, each as `masked` does it alone."""
    pieces, at = [], 0
    for unit in sorted(masks, key=lambda unit: unit.start):
        before, mask = text[at : unit.start], masks[unit]
        pieces += [before, mask] if mask else [before.removesuffix(" ")]
        at = unit.end
    return "".join([*pieces, text[at:]])
