r"""Chinese and Japanese numerals in digits: 一百六十五 is 165, 三又二分之一 is 3\frac{1}{2}."""

from __future__ import annotations

import re

MAX_NUMERALS = 40
"""The longest number in numerals; a longer run is none."""

_FORMS = ("零〇", "一壹", "二两兩贰", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖")
_DIGITS = {char: value for value, chars in enumerate(_FORMS) for char in chars}
_TENS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_NUMERAL = "[零〇一壹二两兩贰三叁四肆五伍六陆七柒八捌九玖十拾百佰万萬亿億]|[千仟](?![克米瓦卡])"
# Not beside digits: 3千 would become 31000.
_HAN = re.compile(rf"(?<![0-9.])((?:{_NUMERAL})+)(?:[点點]([零〇一二三四五六七八九]+))?(?![0-9])")
_SIGN = re.compile(r"^(?:负|負|マイナス|minus |negative )")
_HALF = re.compile("^1半$")
_PERCENT = re.compile(r"100分[之の]([0-9.]+)")
_MIXED = re.compile(r"(?<=[0-9])[又と](?=\\frac)")
_PART = re.compile(r"([0-9]+)分[之の]([0-9.]+)")


def in_digits(text: str) -> str:
    """The text with its numerals in digits, and fractions and percent as signs."""
    text = _SIGN.sub("-", text)
    if text.isascii():
        return text
    text = _HAN.sub(_arabic, text)
    text = _HALF.sub(r"\\frac{1}{2}", text)
    text = _PERCENT.sub(r"\1%", text)
    text = _PART.sub(r"\\frac{\2}{\1}", text)
    return _MIXED.sub("", text)


def _arabic(match: re.Match[str]) -> str:
    """A run of numerals in digits; what spells no number stays as it is."""
    whole, decimals = match.groups()
    value = _han_value(whole)
    if value is None:
        return match.group()
    tail = "" if decimals is None else "." + "".join(str(_DIGITS[char]) for char in decimals)
    return f"{value}{tail}"


def _han_value(text: str) -> int | str | None:
    """The value of numerals; digits alone are read as digits, so that 二〇二四 is 2024."""
    if len(text) > MAX_NUMERALS:
        return None
    if all(char in _DIGITS for char in text):
        return "".join(str(_DIGITS[char]) for char in text)
    total = section = 0
    digit: int | None = None
    for char in text:
        if char in _DIGITS:
            if digit:  # 三五十 is no number
                return None
            digit = _DIGITS[char]
        elif char in _TENS:
            section += (1 if digit is None else digit) * _TENS[char]
            digit = None
        else:
            section += digit or 0
            larger = char in "亿億"
            if not section and not (larger and total):  # a multiple behind digits, as in 3万
                return None
            if larger:
                total, section = (total + section) * _MYRIADS[char], 0
            else:
                total, section = total + section * _MYRIADS[char], 0
            digit = None
    return total + section + (digit or 0)
