"""Names of files and folders from texts of users and models."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 60
"""Bytes of a name, its check sum included."""
_UNSAFE = re.compile(r"[^\w.\-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names that Windows keeps for devices."""


def file_names(texts: Iterable[str], *, empty: str = "unnamed") -> dict[str, str]:
    """One name for every text: safe on every system, no two alike even where case is ignored.

    Letters and digits of all scripts stay, other characters become "_". A name that is not its
    text, or is like another one, ends with a check sum of the text.

    Args:
        texts: any strings; copies count once.
        empty: the name of the empty text.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for text in dict.fromkeys(texts):
        name = _cleaned(text) if text else empty
        if (text and name != text) or name.casefold() in taken:
            name = _with_sum(name, text)
        taken.add(name.casefold())
        found[text] = name
    return found


def file_name(text: str, *, empty: str = "unnamed") -> str:
    """The name of one text, see `file_names`."""
    return file_names([text], empty=empty)[text]


def _cleaned(text: str) -> str:
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", text)).strip(".")
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    return _cut(name, LONGEST)


def _with_sum(name: str, text: str) -> str:
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_cut(name, LONGEST - 9)}-{digits}"


def _cut(name: str, most: int) -> str:
    """At most so many bytes; a character is never parted."""
    return name.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")
