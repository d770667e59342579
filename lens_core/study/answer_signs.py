r"""The signs of an answer made plain: full-width characters, LaTeX commands, damaged backslashes.

Nothing is computed here, and no two different numbers become the same text: spaces between letters
or digits stay, "2 1/3" is not "21/3".
"""

from __future__ import annotations

import re
import unicodedata

DOLLAR = "＄"
"""A dollar that is money, not the border of a formula."""
SET_OPEN, SET_CLOSE = "⦃", "⦄"
"""The braces of a set; those of LaTeX only group."""

_DAMAGE = (
    # "\b", "\f" and so on in a string literal that was meant to hold LaTeX.
    (re.compile("\x08(?=[A-Za-z])"), r"\\b"),
    (re.compile("\x0c(?=[A-Za-z])"), r"\\f"),
    (re.compile("\x07(?=[A-Za-z])"), r"\\a"),
    (re.compile("\x0b(?=[A-Za-z])"), r"\\v"),
    (re.compile("\t(?=(?:imes|ext|frac|heta|an)(?![a-z]))"), r"\\t"),
    (re.compile("\r(?=(?:ight|m)(?![a-z]))"), r"\\r"),
)
_CHARACTERS = str.maketrans(
    {
        **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) != DOLLAR},
        **dict.fromkeys(map(ord, "−–—‐‑‒﹣"), "-"),
        **dict.fromkeys(map(ord, "×✕✖⨯·⋅∙•∗"), "*"),
        **dict.fromkeys(map(ord, "÷∕⁄"), "/"),
        **dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2005\u2006\u2009\u202f\u3000"), " "),
        **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"), None),
        **dict.fromkeys(map(ord, "“”„"), '"'),
        # What stands between the items of a list; 1,234 without a space is one number.
        "、": ", ",
        "，": ", ",
        "﹪": "%",
        "∛": "√[3]",
        "∜": "√[4]",
        "℃": "°C",
        "º": "°",
        "∏": "π",
        "𝜋": "π",
    }
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_NAMED = {
    "dfrac": r"\frac",
    "tfrac": r"\frac",
    "cfrac": r"\frac",
    "frac": r"\frac",
    "fbox": r"\boxed",
    "sqrt": "√",
    "times": "*",
    "cdot": "*",
    "ast": "*",
    "div": "/",
    "pi": "π",
    "pm": "±",
    "infty": "∞",
    "cup": "∪",
    "cap": "∩",
    "in": "∈",
    "le": "≤",
    "leq": "≤",
    "leqslant": "≤",
    "ge": "≥",
    "geq": "≥",
    "geqslant": "≥",
    "ne": "≠",
    "neq": "≠",
    "circ": "°",
    "degree": "°",
    "emptyset": "∅",
    "varnothing": "∅",
    "lbrace": SET_OPEN,
    "rbrace": SET_CLOSE,
    "{": SET_OPEN,
    "}": SET_CLOSE,
    "%": "%",
    "$": DOLLAR,
    "&": "&",
    "#": "#",
    "_": "_",
    "(": "$",
    ")": "$",
    "[": "$",
    "]": "$",
    "\\": " ",
    " ": " ",
    "\n": " ",
    "quad": " ",
    "qquad": " ",
    **dict.fromkeys((",", ";", ":", "!", "thinspace", "displaystyle", "textstyle"), ""),
    **dict.fromkeys(("left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr"), ""),
}
_COMMAND = re.compile(r"\\([A-Za-z]+|[^A-Za-z])", re.DOTALL)
_WORDS = re.compile(
    r"\\(?:text|mathrm|mbox|textbf|mathbf|textit|mathit|textrm|mathsf|operatorname|bold)\s*"
    r"\{([^{}]*)\}"
)
_DEGREE = re.compile(r"\^\s*(?:°|\{\s*°\s*\})")
_SPACE = re.compile(r"\s+")
_LOOSE = re.compile(r"(?<![0-9A-Za-z,]) | (?![0-9A-Za-z])")
_WIDE_COMMA = re.compile("，(?=[０-９])")
_TYPED_ROOT = re.compile(r"\\sqrt(?=\s*[0-9][0-9.])")


def repaired(text: str) -> str:
    r"""The text with control characters that were once a backslash and a letter: \boxed, \frac."""
    for damage, command in _DAMAGE:
        text = damage.sub(command, text)
    return text


def plain(text: str) -> str:
    """The text with one sign for every meaning, and no spaces but between letters and digits.

    Time grows with the length of the text alone.
    """
    text = repaired(text)
    text = "".join(map(_composed, text)) if not text.isascii() else text
    text = _WIDE_COMMA.sub(",", text).translate(_CHARACTERS)
    # LaTeX takes one digit for the root, people mean them all: left as it is, it is no number.
    text = _TYPED_ROOT.sub(r"\\root", text)
    for _ in range(2):  # words in words, such as \textbf{\text{cm}}
        text = _WORDS.sub(r" \1 ", text)
    text = _COMMAND.sub(lambda match: _NAMED.get(match.group(1), match.group()), text)
    text = _DEGREE.sub("°", text.replace("~", " ").replace("{,}", ","))
    text = _SPACE.sub(" ", text).strip()
    return _LOOSE.sub("", text)


def _composed(char: str) -> str:
    """A character that stands for several, such as ½, ² or ㎡, as these."""
    code = ord(char)
    if char in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻":
        return f"^{{{char.translate(_RAISED)}}}"
    if char in "₀₁₂₃₄₅₆₇₈₉":
        return f"_{{{char.translate(_LOWERED)}}}"
    if 0xBC <= code <= 0xBE or 0x2150 <= code <= 0x215E:
        above, _, below = unicodedata.normalize("NFKC", char).partition("⁄")
        return rf"\frac{{{above}}}{{{below}}}"
    if 0x3300 <= code <= 0x33FF:
        return unicodedata.normalize("NFKC", char)
    return char
