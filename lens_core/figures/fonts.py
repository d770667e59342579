"""Which installed fonts have the characters of a figure, by the names Matplotlib needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"
"""Part of Matplotlib, so always there."""
MISSING = "□"
_WIDE = ("CJK", "HanSans", "PingFang", "Hiragino", "msyh", "YuGoth", "meiryo", "wqy", "ipag")
"""In the names of files with Chinese and Japanese; tried first, since they are wanted most."""


@dataclass(frozen=True)
class FontChoice:
    """Fonts that together have as many of the wanted characters as can be had."""

    names: tuple[str, ...]
    """Besides Matplotlib's own, in the order in which they are tried."""
    missing: frozenset[str]
    """Characters that no installed font has."""

    def families(self, *, mono: bool = False) -> list[str]:
        """The names to hand to Matplotlib."""
        return [*((MONO, SANS) if mono else (SANS,)), *self.names]

    def drawable(self, text: str) -> str:
        """`text` with a box for every character that cannot be drawn."""
        return "".join(MISSING if character in self.missing else character for character in text)


def choose_fonts(text: str) -> FontChoice:
    """Fonts for all characters of `text`; looks no further than needed."""
    from matplotlib.font_manager import findfont

    wanted = {character for character in text if not character.isspace()}
    wanted -= _found(findfont(SANS), wanted)[1]
    names: list[str] = []
    for path in _installed() if wanted else ():
        name, found = _found(path, wanted)
        if found:
            _make_known(path)
            names.append(name)
            wanted -= found
        if not wanted:
            break
    return FontChoice(tuple(names), frozenset(wanted))


def _installed() -> list[str]:
    """The font files of this machine, as they are now: Matplotlib's own list may be older."""
    from matplotlib.font_manager import findSystemFonts

    def order(path: str) -> tuple[bool, bool, str]:
        name = Path(path).stem
        wide = any(mark.lower() in name.lower() for mark in _WIDE)
        return not wide, "serif" in name.lower(), path

    return sorted(findSystemFonts(), key=order)


def _found(path: str, wanted: Iterable[str]) -> tuple[str, set[str]]:
    """The name of a font file and which of the characters it can draw upright and regular."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # damaged, or of a kind that FreeType does not read
        return "", set()
    # Fonts of coloured pictures have no outlines; a last resort has a box for everything.
    if not font.scalable or any(mark in font.family_name for mark in ("Color", "Resort")):
        return "", set()
    if font.style_name not in ("Regular", "Book", "Roman", "Normal", "Medium", "W3"):
        return "", set()
    return font.family_name, {c for c in wanted if font.get_char_index(ord(c))}


def _make_known(path: str) -> None:
    from matplotlib.font_manager import fontManager

    if all(font.fname != path for font in fontManager.ttflist):
        fontManager.addfont(path)
