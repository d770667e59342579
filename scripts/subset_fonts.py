"""Make the page's small fonts from those that Gradio carries: tabs/fonts/*.woff2.

Whole, the three faces are 236 KB of every first visit. Other scripts come from the visitor's own
fonts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gradio
from fontTools import subset
from fontTools.ttLib import TTFont

SOURCE = Path(gradio.__file__).parent / "templates" / "frontend" / "static" / "fonts"
TARGET = Path(__file__).parents[1] / "tabs" / "fonts"
FACES = {
    "LensSans-Regular": ("SourceSansPro/SourceSansPro-Regular", "Lens Sans"),
    "LensSans-Bold": ("SourceSansPro/SourceSansPro-Bold", "Lens Sans"),
    "LensMono-Regular": ("IBMPlexMono/IBMPlexMono-Regular", "Lens Mono"),
}
CHARACTERS = (
    "U+0020-017F,U+0192,U+02C6,U+02DC,U+0391-03C9,U+2009-2027,U+202F-203A,U+20AC,U+2122,"
    "U+2190-2199,U+21E5,U+2202,U+2206,U+220F,U+2211-2212,U+221A,U+221E,U+2248,U+2260-2265,U+23CE,"
    "U+25A0-25CF,U+2605,U+2713,U+2717"
)
FAMILY_NAMES = (1, 3, 4, 6, 16)
"""Fields of a font's name table; a changed font must not keep the reserved name."""


def main() -> None:
    """Write every face."""
    options = subset.Options(
        flavor="woff2", layout_features=["kern", "liga", "locl", "mark", "ccmp"]
    )
    for name, (source, family) in FACES.items():
        font = TTFont(SOURCE / f"{source}.woff2")
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=subset.parse_unicodes(CHARACTERS.replace("U+", "")))
        chosen.subset(font)
        for number in FAMILY_NAMES:
            for record in font["name"].names:
                if record.nameID == number:
                    named = family.replace(" ", "") if number == 6 else family
                    font["name"].setName(
                        named, number, record.platformID, record.platEncID, record.langID
                    )
        font.flavor = "woff2"
        path = TARGET / f"{name}.woff2"
        font.save(path)
        sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
