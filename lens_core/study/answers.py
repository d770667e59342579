r"""Whether an answer is right: numbers by their value, everything else by its text, or not at all.

The answer is found in a response (`extract_answer`), both sides are read (`read_form`), and then
compared. Where a person would have to decide, the verdict is "unknown" with a reason, never a
guess; and it is the same whichever side is the reference. No text is run as a program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from lens_core.study.answer_arithmetic import Number
from lens_core.study.answer_extracting import extract_answer, innermost
from lens_core.study.answer_forms import Form, key, normalise, read_form
from lens_core.study.answer_signs import SET_OPEN
from lens_core.study.answer_units import COUNT, PERCENT

__all__ = ["Verdict", "check_answer", "extract_answer", "normalise"]

State: TypeAlias = Literal["true", "false", "unknown"]
TOLERANCE = 1e-6
"""Relative, between numbers of which one is not exact."""
_ZERO = 1e-12
"""Below it the rounding of what was subtracted decides."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and why."""

    state: State
    reason: str
    said: str | None
    """The answer as it was compared, None where there is none."""
    reference: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return asdict(self)


def check_answer(said: str | None, reference: str | None) -> Verdict:
    r"""Whether two answers are the same.

    Args:
        said: an answer, such as `extract_answer` found; of a text with a \boxed{} or #### the
            answer in it.
        reference: what it should be, read in the same way.
    """
    if said is None or not said.strip():
        return Verdict("unknown", "no answer was found", None, reference)
    if reference is None or not reference.strip():
        return Verdict("unknown", "there is no reference answer", said, None)
    if said.strip() == reference.strip():
        same = normalise(innermost(said))
        return Verdict("true", "they are the same text", same, same)
    left, right = read_form(innermost(said)), read_form(innermost(reference))
    state, reason = _compared(left, right)
    return Verdict(state, reason, left.text, right.text)


def _compared(left: Form, right: Form) -> tuple[State, str]:
    if key(left) == key(right) and left.kind == right.kind:
        return "true", "they are the same text"
    if left.variable and right.variable and left.variable != right.variable:
        return "unknown", f"one is {left.variable}, the other {right.variable}"
    kinds = {left.kind, right.kind}
    if kinds == {"number"}:
        return _quantities(left, right)
    if kinds <= {"choice", "yes_no"} and len(kinds) == 1:
        return "false", f"{left.text} is not {right.text}"
    if kinds == {"list"}:
        return _lists(left, right)
    if kinds == {"list", "number"}:
        several = left if left.kind == "list" else right
        if all(item.kind == "number" for item in several.items):
            return "false", f"one is a number, the other {len(several.items)}"
    return _texts(left, right)


def _texts(left: Form, right: Form) -> tuple[State, str]:
    """Words in other case are the same, other differences of text say nothing."""
    same = left.text.casefold() == right.text.casefold()
    # Letters that stand alone are variables, and x is not X.
    if same and all(len(word) > 1 for word in _letters(left.text)):
        return "true", "they are the same words"
    why = [form.reason for form in (left, right) if form.kind == "text" and form.reason]
    return "unknown", f"they cannot be compared: {why[0] if why else 'they are of two kinds'}"


def _letters(text: str) -> list[str]:
    return "".join(char if char.isalpha() else " " for char in text).split()


def _quantities(left: Form, right: Form) -> tuple[State, str]:
    """Two numbers; a unit that one of them lacks is taken to be the other's."""
    assert left.value is not None
    assert right.value is not None
    if left.unit is None or right.unit is None:
        percent = PERCENT in (left.unit, right.unit)
        return _maybe_percent(left, right) if percent else _numbers(left.value, right.value)
    if left.unit.dimension != right.unit.dimension:
        if _numbers(left.value, right.value)[0] == "false" or COUNT not in (left.unit, right.unit):
            return "false", "they are of different units"
        return "unknown", "the numbers are the same, the units are not"
    if left.unit == right.unit:
        return _numbers(left.value, right.value)
    return _numbers(_times(left.value, left.unit.factor), _times(right.value, right.unit.factor))


def _maybe_percent(left: Form, right: Form) -> tuple[State, str]:
    """50% and 0.5 are the same; 50% and 50 may be, where a question asks for percent."""
    assert left.value is not None
    assert right.value is not None
    left_share = _times(left.value, Fraction(1, 100)) if left.unit == PERCENT else left.value
    right_share = _times(right.value, Fraction(1, 100)) if right.unit == PERCENT else right.value
    state, reason = _numbers(left_share, right_share)
    if state == "false" and _numbers(left.value, right.value)[0] != "false":
        return "unknown", "one is percent, and the other may be"
    return state, reason


def _times(value: Number, factor: Fraction) -> Number:
    return value * factor if isinstance(value, Fraction) else value * float(factor)


def _numbers(left: Number, right: Number) -> tuple[State, str]:
    """Two numbers: exactly, or within the tolerance where a root or π makes one inexact."""
    if left == right:
        return "true", "they are the same number"
    close = _close(left, right)
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        if close and _ends(left) != _ends(right):
            return "unknown", "one may be the other, rounded"
        return "false", "they are different numbers"
    if close:
        return "true", f"they are the same number to within {TOLERANCE:g}"
    if abs(_float(left)) < _ZERO and abs(_float(right)) < _ZERO:
        return "unknown", "both are too close to zero"
    return "false", "they are different numbers"


def _close(left: Number, right: Number) -> bool:
    return math.isclose(_float(left), _float(right), rel_tol=TOLERANCE)


def _float(value: Number) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _ends(value: Fraction) -> bool:
    """Whether a fraction is a decimal that ends."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _lists(left: Form, right: Form) -> tuple[State, str]:
    """Tuples and intervals item by item, sets in any order."""
    if len(left.items) != len(right.items):
        sizes = f"one has {len(left.items)} items, the other {len(right.items)}"
        return ("unknown" if _has_text(left) or _has_text(right) else "false"), sizes
    if left.brackets and right.brackets and left.brackets != right.brackets:
        kind: State = "unknown" if SET_OPEN in left.brackets + right.brackets else "false"
        return kind, f"one stands in {left.brackets}, the other in {right.brackets}"
    named = all(item.variable for item in (*left.items, *right.items))
    if left.ordered and right.ordered and not named:
        return _in_order(left, right)
    return _in_any_order(left, right)


def _in_order(left: Form, right: Form) -> tuple[State, str]:
    pairs = list(zip(left.items, right.items, strict=True))
    found = [_compared(one, other)[0] for one, other in pairs]
    if all(state == "true" for state in found):
        return "true", "every item is the same"
    if not left.brackets or not right.brackets:
        # Without brackets it is not known whether the order counts.
        state = _in_any_order(left, right)[0]
        return ("false" if state == "false" else "unknown"), "not every item is the same"
    return ("false" if "false" in found else "unknown"), "not every item is the same"


def _in_any_order(left: Form, right: Form) -> tuple[State, str]:
    # Without indices: x_1 and x_2 are two values of x.
    names = [{item.variable[:1] for item in form.items} for form in (left, right)]
    if names[0] != names[1] and max(map(len, names)) > 1:
        return "unknown", "one names its items, the other does not"
    waiting = list(right.items)
    for item in left.items:
        match = _position(item, waiting)
        if match is None:
            some = _has_text(left) or _has_text(right)
            return ("unknown" if some else "false"), f"{item.text} is in one of them only"
        del waiting[match]
    return "true", "they have the same items"


def _position(item: Form, others: Sequence[Form]) -> int | None:
    """Where the item is among others, None where it is not."""
    found = (place for place, other in enumerate(others) if _compared(item, other)[0] == "true")
    return next(found, None)


def _has_text(form: Form) -> bool:
    return any(item.kind == "text" or _has_text(item) for item in form.items)
