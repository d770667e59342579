"""Arithmetic that stays exact where it can and small whatever it is given.

A result is a fraction, or floating point behind a root or π that is none. What would be too large
is refused before it is computed.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = Fraction | float

MAX_BITS = 20_000
"""Of a numerator or denominator: some 6,000 digits."""
MAX_FACTORIAL = 500
MAX_DEGREE = 64
"""Of a root."""


class NoNumber(Exception):
    """The text is no number that can be computed; the message says why."""


def bounded(value: Number) -> Number:
    """The value itself.

    Raises:
        NoNumber: it has too many digits, or is not finite.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoNumber("it is too large")
    elif _bits(value) > MAX_BITS:
        raise NoNumber("it is too large")
    return value


def combined(sign: str, left: Number, right: Number) -> Number:
    """`left` + - * or / `right`.

    Raises:
        NoNumber: a division by zero, or the result is too large.
    """
    try:
        if sign == "+":
            return bounded(left + right)
        if sign == "-":
            return bounded(left - right)
        return bounded(left * right if sign == "*" else left / right)
    except ZeroDivisionError as error:
        raise NoNumber("it divides by zero") from error
    except OverflowError as error:  # of a fraction that no float can hold
        raise NoNumber("it is too large") from error


def power(base: Number, exponent: Number) -> Number:
    """`base` to the power of `exponent`, a real number.

    Raises:
        NoNumber: there is no such real number, or it is too large.
    """
    if base == 0 and exponent <= 0:
        raise NoNumber("zero has no such power")
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if base in (0, 1):
            return base
        if exponent.denominator == 1:
            return _whole_power(base, exponent.numerator)
        if exponent.denominator <= MAX_DEGREE:
            return power(root(base, exponent.denominator), Fraction(exponent.numerator))
    if base < 0:
        raise NoNumber("a negative number has no such power")
    return _float_power(base, exponent)


def _whole_power(base: Fraction, exponent: int) -> Number:
    if _bits(base) * abs(exponent) <= MAX_BITS:
        return Fraction(base**exponent)
    sign = -1.0 if base < 0 and exponent % 2 else 1.0
    return sign * _float_power(abs(base), Fraction(exponent))


def _float_power(base: Number, exponent: Number) -> float:
    try:
        value = math.pow(float(base), float(exponent))
    except (OverflowError, ValueError) as error:
        raise NoNumber("it is too large") from error
    if value == 0:
        raise NoNumber("it is too small")
    return value


def root(value: Number, degree: int) -> Number:
    """The real root of a number.

    Raises:
        NoNumber: there is none, or its degree is not 2 to 64.
    """
    if not 2 <= degree <= MAX_DEGREE:
        raise NoNumber(f"the degree of a root can be 2 to {MAX_DEGREE}")
    if value < 0:
        if degree % 2 == 0:
            raise NoNumber("a negative number has no real root of this degree")
        return -root(-value, degree)
    if isinstance(value, Fraction):
        above, below = (_whole_root(n, degree) for n in (value.numerator, value.denominator))
        if above is not None and below is not None:
            return Fraction(above, below)
    try:
        return float(value) ** (1 / degree) if degree > 2 else math.sqrt(value)
    except OverflowError as error:
        raise NoNumber("it is too large") from error


def _whole_root(value: int, degree: int) -> int | None:
    """The root of a whole number where it is one."""
    if degree == 2:
        found = math.isqrt(value)
    elif value.bit_length() > 1000:
        return None
    else:
        found = round(value ** (1 / degree))
    return found if found**degree == value else None


def factorial(value: Number) -> Number:
    """n!, exact.

    Raises:
        NoNumber: n is no whole number from 0 to 500.
    """
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        raise NoNumber(f"a factorial is read of 0 to {MAX_FACTORIAL}")
    return Fraction(math.factorial(value.numerator))


def _bits(value: Fraction | int) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())
