"""What a visitor types where the page shows spaces as dots."""

from __future__ import annotations

SPACE = "·"


def typed_text(typed: str) -> str:
    """The text, with spaces for the dots at its ends; one in the middle is a character."""
    inner = typed.strip(SPACE)
    if not inner:
        return " " * len(typed)
    start = typed.index(inner)
    return " " * start + inner + " " * (len(typed) - start - len(inner))
