"""What an answer is: a number with a unit, a choice, yes or no, a list, or other text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from lens_core.study.answer_arithmetic import NoNumber, Number
from lens_core.study.answer_numbers import number_before
from lens_core.study.answer_signs import DOLLAR, SET_CLOSE, SET_OPEN, plain
from lens_core.study.answer_units import PERCENT, Unit, currency_of, unit_of

MAX_ITEMS = 50
"""Items of a list that are compared one by one."""
MAX_ANSWER = 2000
"""Characters of an answer that are looked at."""

_BOX = re.compile(r"^\\boxed\{(.*)\}$", re.DOTALL)
_CHOICE = re.compile(r"^(?:选项?|選択肢|option|choice)? ?\(?([A-J])\)?$", re.IGNORECASE)
_VARIABLE = re.compile(r"^([A-Za-zα-ωΑ-Ω](?:_\{?[0-9A-Za-z]{1,3}\}?)?)(?:=|∈)(?=.)")
_OR = re.compile(
    r"(?: |(?<=[)}π%°]))(?:or|and)(?: |(?=[-+(√\\]))"
    r"|(?<=[0-9)}])(?:或者?|和|与|または|と)(?=[-0-9A-Za-z(√\\])"
)
_CURRENCY = re.compile(rf"^(-?)(?:[Uu][Ss] ?)?([$¥€£{DOLLAR}])")
_CLOSED = {
    "yes": "yes 是 对 正确 真 true はい 正しい ✓",
    "no": "no 否 不是 不对 错 错误 假 false いいえ ✗",
}
_YES_NO = {word: said for said, words in _CLOSED.items() for word in words.split()}
_PAIRS = {"(": ")", "[": "]", "{": "}", SET_OPEN: SET_CLOSE}
_SPACED_COMMA = re.compile(r", (?![0-9]{3}(?![0-9]))")


@dataclass(frozen=True)
class Form:
    """One answer as it was read."""

    kind: Literal["number", "choice", "yes_no", "list", "text"]
    text: str
    """Its signs made plain, without what surrounds it."""
    value: Number | None = None
    unit: Unit | None = None
    """None where it has none."""
    variable: str = ""
    """The x of x = 5."""
    items: tuple[Form, ...] = ()
    brackets: str = ""
    """The brackets of a list, "" without."""
    ordered: bool = True
    """Whether the order of a list matters."""
    reason: str = ""
    """Why a text is no number."""


def bare(answer: str) -> str:
    r"""An answer with its signs made plain, and without box, $, ** and the stop at its end."""
    text = plain(answer)
    for _ in range(8):
        before = text
        text = text.strip().strip("`\"'").rstrip("。.,;:?？").strip()
        if text.count("$") % 2 == 0:
            text = text.replace("$", "")
        if text[:2] == text[-2:] == "**":
            text = text[2:-2]
        if (box := _BOX.match(text)) and _closes_at_end(text, text.index("{")):
            text = box.group(1)
        if text[:1] == "{" and _closes_at_end(text, 0) and "," not in text:
            text = text[1:-1]
        if text == before:
            break
    return text


def read_form(answer: str) -> Form:
    """What an answer is; nothing of it is ever run as a program."""
    if len(answer) > MAX_ANSWER:
        reason = f"it has {len(answer)} characters, more than {MAX_ANSWER}"
        return Form("text", answer.strip(), reason=reason)
    return _form(bare(answer), depth=0)


def normalise(answer: str) -> str:
    r"""One way of writing an answer: 165种 is 165, \frac{3}{4} and 0.75 are 3/4, 50% stays 50%.

    Numbers that are not exact, and what is no number, keep their text with plain signs.
    """
    form = read_form(answer)
    if form.kind == "number" and isinstance(form.value, Fraction) and not form.variable:
        try:
            return f"{form.value}{'%' if form.unit == PERCENT else ''}"
        except ValueError:  # Python writes no number of more than 4,300 digits
            return form.text
    return form.text


def key(form: Form) -> str:
    """What two answers share if they are the same text, whatever the spaces between list items."""
    return _SPACED_COMMA.sub(",", form.text)


def _form(text: str, depth: int) -> Form:
    """The form of a bare text; lists may hold lists, twice."""
    if match := _CHOICE.match(text):
        return Form("choice", match.group(1).upper())
    if (said := _YES_NO.get(text.lower())) is not None:
        return Form("yes_no", said)
    if depth < 3 and (found := _bracketed(text, depth)) is not None:
        return found
    if variable := _VARIABLE.match(text):
        inner = _form(text[variable.end() :], depth + 1) if depth < 3 else None
        names = inner is not None and any(item.variable for item in (inner, *inner.items))
        if inner is not None and inner.kind in ("number", "list") and not names:
            return replace(inner, text=text, variable=variable.group(1))
    if "±" in text and depth < 3 and (found := _both_signs(text, depth)) is not None:
        return found
    reason = "it is empty"
    if text:
        try:
            return _number(text)
        except NoNumber as error:
            reason = str(error)
    if depth < 3 and (found := _separated(text, depth)) is not None:
        return found
    return Form("text", text, reason=reason)


def _number(text: str) -> Form:
    """A number and its unit.

    Raises:
        NoNumber: it is none, or what follows is no unit.
    """
    rest, unit = text, None
    if currency := _CURRENCY.match(text):
        sign, name = currency.groups()
        rest, unit = sign + text[currency.end() :].lstrip(), currency_of(name)
    value, behind = number_before(rest)
    if behind.strip() and (unit is not None or (unit := unit_of(behind)) is None):
        raise NoNumber(f"what {behind.strip()[:20]!r} means behind a number is not known")
    return Form("number", text, value=value, unit=unit)


def _bracketed(text: str, depth: int) -> Form | None:
    """A tuple, an interval or a set; one number in parentheses is that number."""
    if text in ("∅", SET_OPEN + SET_CLOSE):
        return Form("list", "∅", brackets=SET_OPEN + SET_CLOSE, ordered=False)
    opened, closed = text[:1], text[-1:]
    if opened not in _PAIRS or closed not in ")]}" + SET_CLOSE:
        return None
    if not _closes_at_end(text, 0):
        return None
    parts = _split(text[1:-1])
    is_set = opened == SET_OPEN or (opened == "{" and len(parts) > 1)
    if len(parts) == 1 and not is_set:
        return None
    brackets = SET_OPEN + SET_CLOSE if is_set else opened + closed
    return _list(text, parts, depth, brackets=brackets, ordered=not is_set)


def _separated(text: str, depth: int) -> Form | None:
    """A list without brackets: "2, 3", "2 or 3", "x=1, x=2"."""
    parts = _split(text)
    if len(parts) == 1:
        parts = [part.strip() for part in _OR.split(text)]
        if len(parts) == 1:
            return None
        return _list(text, parts, depth, ordered=False)
    return _list(text, parts, depth)


def _both_signs(text: str, depth: int) -> Form | None:
    """±3 as the two numbers that it means."""
    if text.count("±") > 1:
        return None
    items = tuple(_form(text.replace("±", sign), depth + 3) for sign in "+-")
    if any(item.kind != "number" for item in items):
        return None
    return Form("list", text, items=items, ordered=False)


def _list(
    text: str, parts: list[str], depth: int, *, brackets: str = "", ordered: bool = True
) -> Form | None:
    if len(parts) > MAX_ITEMS or not all(parts):
        return None
    items = tuple(_form(part, depth + 1) for part in parts)
    return Form("list", text, items=items, brackets=brackets, ordered=ordered)


def _split(text: str) -> list[str]:
    """The text cut at commas and semicolons outside brackets; 1,234 is two items here."""
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        if char in _PAIRS:
            depth += 1
        elif char in _PAIRS.values():
            depth -= 1
        elif char in ",;" and depth <= 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def _closes_at_end(text: str, start: int) -> bool:
    """Whether the bracket at `start` is closed by the last character; [0,1) counts as one pair."""
    depth = 0
    for place in range(start, len(text)):
        if text[place] in _PAIRS:
            depth += 1
        elif text[place] in _PAIRS.values():
            depth -= 1
            if depth == 0:
                return place == len(text) - 1
    return False
