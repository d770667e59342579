"""Text for a terminal: untrusted characters made harmless, and widths in columns.

A token may hold an escape sequence, which a terminal would obey, or characters that turn or hide
the text around them; nothing from a model or a file is written before `harmless` has seen it.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from lens_core.tokens import label

_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Control, invisible, turning, private and unknown characters, and line ends."""

_DOTTED_CIRCLE = "\u25cc"


def harmless(text: str) -> str:
    r"""`text` on one line, with everything that is not plainly visible as `\x1b`, `\u200b`, ..."""
    return "".join(char if _is_visible(char) else _escape(char) for char in text)


def _is_visible(char: str) -> bool:
    category = unicodedata.category(char)
    return category not in _ESCAPED and (category != "Zs" or char == " ")


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def token_label(entry: Mapping[str, Any]) -> str:
    """A vocabulary entry as a label: visible spaces, and bytes where they are no characters."""
    text, raw = entry["text"], entry["bytes"]
    if raw is not None and "\ufffd" in text:
        raw = base64.b64decode(raw)
        if raw != text.encode():
            return f"<{raw.hex(' ').upper()}>"
    shown = harmless(label(text))
    # An accent alone would land on whatever stands before it.
    return _DOTTED_CIRCLE + shown if shown and _char_width(shown[0]) == 0 else shown


def width(text: str) -> int:
    """How many columns of a terminal `text` takes up."""
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0  # accents, and the vowels that complete a Korean syllable
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def shortened(text: str, columns: int) -> str:
    """The start of `text`, with an ellipsis where it does not fit."""
    if width(text) <= columns:
        return text
    kept, used = "", 1
    for char in text:
        used += _char_width(char)
        if used > columns:
            break
        kept += char
    return kept + "\u2026"


def ending(text: str, columns: int) -> str:
    """The end of `text`, with an ellipsis where it does not fit."""
    if width(text) <= columns:
        return text
    kept, used = "", 1
    for char in reversed(text):
        used += _char_width(char)
        if used > columns:
            break
        kept = char + kept
    return "\u2026" + kept


def padded(text: str, columns: int) -> str:
    """`text` cut or filled with spaces to exactly so many columns."""
    text = shortened(text, columns)
    return text + " " * (columns - width(text))


def wrapped(items: Iterable[str], columns: int, *, head: str) -> list[str]:
    """Items two spaces apart, on as many lines as they need, under one another after `head`."""
    lines: list[str] = []
    line, indent = head, " " * width(head)
    empty = True
    for item in items:
        if not empty and width(line) + 2 + width(item) > columns:
            lines.append(line)
            line, empty = indent, True
        line += item if empty else f"  {item}"
        empty = False
    return [*lines, line]


def table(rows: Iterable[tuple[str, str]], *, indent: str = "  ") -> list[str]:
    """Names and values in two columns."""
    rows = list(rows)
    columns = max((width(name) for name, _ in rows), default=0)
    return [f"{indent}{padded(name, columns)}  {value}".rstrip() for name, value in rows]
