"""Groups of words that a study looks for, and how their forms may be spelled."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import regex

from lens_core.errors import InputError

CASES = ("lower", "title", "upper")
"""all small, first letter large and the rest as given, all large"""
MAX_GROUPS = 64
MAX_FORMS = 64
MAX_FORM_CHARS = 64
MAX_NAME_CHARS = 64

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no spaces between words."""


@dataclass(frozen=True)
class Variants:
    """How the forms of a group may be spelled."""

    space: bool = True
    """Also with a space before it."""
    case: tuple[str, ...] = CASES
    """Which of `CASES`; empty for the forms as they are."""


@dataclass(frozen=True)
class TargetGroup:
    """Words that count as one target."""

    name: str
    forms: tuple[str, ...]
    variants: Variants = Variants()
    boundary: bool = True
    """No letter may stand next to an occurrence, so that "await" has no "wait"."""
    lang: str = ""

    def __post_init__(self) -> None:
        """Check what a user may have typed."""
        _check_text("name", self.name, MAX_NAME_CHARS)
        if not 1 <= len(self.forms) <= MAX_FORMS:
            raise InputError(
                f'The target "{self.name}" has {len(self.forms)} forms; give 1 to {MAX_FORMS}.'
            )
        for form in self.forms:
            _check_text(f'form of the target "{self.name}"', form, MAX_FORM_CHARS)
        if unknown := [case for case in self.variants.case if case not in CASES]:
            raise InputError(
                f'The target "{self.name}" has the case "{unknown[0]}"; it can be '
                f"{', '.join(CASES)}."
            )

    @classmethod
    def of(cls, name: str, *forms: str) -> TargetGroup:
        """A group with the options that fit its script; without forms the name is the form.

        Scripts without spaces between words get no variants and no boundary.

        Raises:
            InputError: empty or too long.
        """
        forms = tuple(dict.fromkeys(_tidy(form) for form in forms or (name,)))
        together = "".join(forms)
        unspaced = regex.search(f"[{UNSPACED}]", together) is not None
        cased = together.lower() != together.upper()
        return cls(
            name=_tidy(name),
            forms=forms,
            variants=Variants(space=not unspaced, case=CASES if cased else ()),
            boundary=not unspaced,
            lang=_language(together),
        )

    def spellings(self) -> dict[str, str]:
        """Every spelling without a space before it, and the form that it spells."""
        found: dict[str, str] = {}
        for form in self.forms:
            for case in self.variants.case or ("",):
                found.setdefault(_cased(form, case), form)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, as a file of targets has them."""
        return {
            "name": self.name,
            "forms": list(self.forms),
            "variants": {"space": self.variants.space, "case": list(self.variants.case)},
            "boundary": self.boundary,
            "lang": self.lang,
        }


def check_groups(groups: Sequence[TargetGroup]) -> None:
    """Refuse a list that no study can use.

    Raises:
        InputError: no groups, too many, or two of one name.
    """
    if not 1 <= len(groups) <= MAX_GROUPS:
        raise InputError(f"There are {len(groups)} targets; give 1 to {MAX_GROUPS}.")
    names = [group.name for group in groups]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f'Two targets are called "{twice[0]}"; give them different names, or make them one '
            "target with several forms."
        )


def _cased(form: str, case: str) -> str:
    if case == "title":
        return form[:1].upper() + form[1:]  # not str.title(): "Let me", as a sentence begins
    return {"lower": form.lower(), "upper": form.upper()}.get(case, form)


def _language(text: str) -> str:
    if regex.search(r"[\p{Hiragana}\p{Katakana}]", text):
        return "ja"
    return "zh" if regex.search(r"\p{Han}", text) else ""


def _tidy(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _check_text(what: str, text: Any, limit: int) -> None:
    """One line of whole characters that is not empty."""
    if not isinstance(text, str):
        raise InputError(f"A {what} is {_shown(text)}; it must be text.")
    if not text.strip():
        raise InputError(f"A {what} is empty (0 characters); type at least one character.")
    if len(text) > limit:
        raise InputError(f"A {what} has {len(text)} characters; the limit is {limit}.")
    if text != text.strip():
        raise InputError(f"A {what} is {_shown(text)}; leave out the space around it.")
    if bad := regex.search(r"[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]", text):
        raise InputError(f"A {what} holds U+{ord(bad[0]):04X}, which no word has; remove it.")


def _shown(value: Any) -> str:
    return repr(value)[:60]


_ENGLISH = ("wait", "aha", "check", "think", "hmm", "let", "actually", "however", "so", "therefore")
_CHINESE = ("等等", "等一下", "检查", "确认", "我知道了")
_AS_IS = Variants(space=False, case=())
DEFAULT_GROUPS = (
    *(TargetGroup(word, (word,), lang="en") for word in _ENGLISH),
    *(TargetGroup(word, (word,), _AS_IS, boundary=False, lang="zh") for word in _CHINESE),
)
"""The words of both generations of the original study."""
