"""Words and numbers inside figures.

Plotly reads text as a small HTML with links, and templates with `%{...}`; MathJax, where a page
has it, reads `$...$`. Token texts come from models and users, so every one goes through `escape`.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping
from typing import Any

from lens_core.tokens import label

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;", "$": "&#36;", "{": "&#123;"}
)
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of what takes no room or turns the line around."""


def escape(text: str) -> str:
    """`text` as Plotly shows it literally: no markup, no link, no template, no formula."""
    return text.translate(_ESCAPES)


def shown(entry: Mapping[str, Any]) -> str:
    """A vocabulary entry as a person reads it, not escaped yet.

    White space is visible, unseen characters are named by their code, and bytes that are no whole
    characters by their hexadecimal digits.
    """
    text, raw = entry["text"], entry.get("bytes")
    if raw and "\ufffd" in text:
        return in_bytes(base64.b64decode(raw).hex(" "))
    return "".join(_visible(character) for character in text)


def in_bytes(digits: str) -> str:
    """Bytes that are no whole characters; in brackets, so that they are no numbers."""
    return f"⟨{digits.upper()}⟩"


def _visible(character: str) -> str:
    marked = label(character)
    if marked != character:
        return marked
    if character == "\u3000":
        return "·"
    if unicodedata.category(character) in _UNSEEN:
        return f"U+{ord(character):04X}"
    return character


def cut(text: str, columns: int) -> str:
    """`text` in at most so many columns, its end replaced by an ellipsis where it is longer."""
    if width(text) <= columns:
        return text
    kept, used = "", 0
    for character in text:
        used += width(character)
        if used > columns - 1:
            break
        kept += character
    return kept + "…"


def width(text: str) -> int:
    """How many columns `text` takes in a fixed-width font: wide characters take two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def percent(p: float | None, digits: int = 1) -> str:
    """A probability as per cent, with the same rules as on the page."""
    if p is None:
        return "–"
    least = 10.0**-digits
    if 0 < 100 * p < least:
        return f"<{least:.{digits}f}%"
    return f"{100 * p:.{digits}f}%"


def number(value: float | int | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a real minus; with a sign in any case where `signed`."""
    if value is None:
        return "–"
    rounded = round(value, digits) + 0.0  # no "−0.00"
    return f"{rounded:{'+' if signed else ''}.{digits}f}".replace("-", "−")
