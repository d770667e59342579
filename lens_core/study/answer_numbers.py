r"""Numbers as people write them, computed by a parser of our own: never `eval`, never SymPy.

    sum     := term (("+" | "-") term)*
    term    := factor (("*" | "/" | nothing, before √ π ( { \frac) factor)*
    factor  := ("+" | "-") factor | power
    power   := postfix ("^" factor)?
    postfix := atom "!"?
    atom    := number | mixed number | π | "(" sum ")" | "{" sum "}" | √ atom | \frac atom atom

Results are exact fractions where they can be, and floating point behind roots and π. What hostile
text could make large is bounded: its length, its depth, and the digits of every result. Where a
text can be read in two ways, as 1/2π can, it is no number.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from lens_core.study.answer_arithmetic import NoNumber, Number, combined, factorial, power, root
from lens_core.study.answer_numerals import in_digits

MAX_LENGTH = 1000
"""Characters of a text that may be a number."""
MAX_DEPTH = 20
"""Of parentheses, signs and exponents in one another."""
MAX_EXPONENT = 1000
"""Of ten, in 1.5e3."""

_THOUSANDS = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])"
_LITERAL = re.compile(
    rf"(?P<digits>(?:{_THOUSANDS}|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE](?P<power>[+-]?[0-9]+))?"
)
_PROPER = re.compile(
    r" ?(?:\\frac\{([0-9]+)\}\{([0-9]+)\}|\\frac([0-9])([0-9])(?![0-9])"
    r"|(?<= )([0-9]+)/([0-9]+)(?![0-9.]| ?[√π({\\]))"
)
"""The fraction of a mixed number, which stands behind a whole one."""
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_ROOT = re.compile(r"(?<![A-Za-z\\])sqrt(?=[({])")
_SPELLED = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "万": 4,
    "萬": 4,
    "亿": 8,
    "億": 8,
}
_MULTIPLE = re.compile(r" ?(hundred|thousand|million|billion|trillion)(?![A-Za-z])|([万萬亿億])")


def number_before(text: str) -> tuple[Number, str]:
    """(number, what follows it) of a text whose signs `answer_signs.plain` made plain.

    Raises:
        NoNumber: it does not, or the number cannot be computed.
    """
    if len(text) > MAX_LENGTH:
        raise NoNumber(f"it has more than {MAX_LENGTH} characters")
    text = _ROOT.sub("√", _PI.sub("π", in_digits(text)))
    parser = _Parser(text)
    number = parser.sum()
    return number, parser.rest()


class _Parser:
    """One text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.depth = 0

    def rest(self) -> str:
        """What has not been read; its leading space tells whether it stood apart."""
        return self.text[self.place :]

    def sum(self) -> Number:
        """A sum, as far as it goes."""
        with _Deeper(self):
            total = self._term()
            while (sign := self._next("+-")) is not None:
                term = self._term()
                total = combined(sign, total, term)
            return total

    def _term(self) -> Number:
        product = self._factor()
        divided = False
        while True:
            if self._next("*") is not None:
                product, divided = combined("*", product, self._factor()), False
            elif self._next("/") is not None:
                product, divided = combined("/", product, self._factor()), True
            elif self._begins_factor():
                if divided:
                    raise NoNumber("what is divided by could end in two places; add parentheses")
                product = combined("*", product, self._power())
            else:
                return product

    def _begins_factor(self) -> bool:
        rest = self.text[self.place : self.place + 6].lstrip()
        return rest.startswith(("√", "π", "(", "{", r"\frac"))

    def _factor(self) -> Number:
        with _Deeper(self):
            sign = self._next("+-")
            if sign is None:
                return self._power()
            value = self._factor()
            return -value if sign == "-" else value

    def _power(self) -> Number:
        base = self._postfix()
        if self._next("^") is None:
            return base
        with _Deeper(self):
            exponent = self._factor()
        return power(base, exponent)

    def _postfix(self) -> Number:
        value = self._atom()
        if self._next("!") is None:
            return value
        if self._next("!") is not None:
            raise NoNumber("a double factorial is not read")
        return factorial(value)

    def _atom(self) -> Number:
        with _Deeper(self):
            if self._next("(") is not None:
                return self._closed(")")
            if self._next("{") is not None:
                return self._closed("}")
            if self._next("π") is not None:
                return math.pi
            if self._next("√") is not None:
                return self._root()
            if self._word(r"\frac"):
                return combined("/", self._argument(), self._argument())
            return self._number()

    def _closed(self, sign: str) -> Number:
        value = self.sum()
        if self._next(sign) is None:
            raise NoNumber(f'a "{sign}" is missing')
        return value

    def _root(self) -> Number:
        """The root of what follows: a group, or one number; √12 is that of 12."""
        degree: Number = Fraction(2)
        if self._next("[") is not None:
            degree = self._closed("]")
        if not isinstance(degree, Fraction) or degree.denominator != 1:
            raise NoNumber("the degree of a root is no whole number")
        return root(self._atom(), degree.numerator)

    def _argument(self) -> Number:
        r"""One argument of \frac: a group, or one digit, so that \frac12 is a half."""
        if self._next("{") is not None:
            return self._closed("}")
        digit = self.text[self.place : self.place + 1]
        if not digit.isdecimal():
            raise NoNumber("a fraction lacks a part")
        self.place += 1
        return Fraction(int(digit))

    def _number(self) -> Number:
        match = _LITERAL.match(self.text, self._skipped())
        if match is None:
            found = self.text[self.place : self.place + 12]
            raise NoNumber(f"{found!r} is no number" if found else "a number is missing")
        self.place = match.end()
        digits = match["digits"].replace(",", "")
        exponent = int(match["power"] or 0) if len(match["power"] or "") < 6 else MAX_EXPONENT + 1
        if abs(exponent) > MAX_EXPONENT:
            raise NoNumber("its exponent is too large")
        value = Fraction(digits) * Fraction(10) ** exponent
        if digits.isdecimal() and match["power"] is None:
            value += self._proper_fraction(match.start())
        return self._multiples(value)

    def _proper_fraction(self, start: int) -> Fraction:
        r"""The fraction behind a whole number, 0 where there is none: 2\frac{1}{3} is 7/3."""
        match = _PROPER.match(self.text, self.place)
        if match is None or self.text[:start].rstrip().endswith("/"):
            return Fraction(0)
        above, below = (int(part) for part in match.groups() if part is not None)
        if above >= below:
            return Fraction(0)
        self.place = match.end()
        return Fraction(above, below)

    def _multiples(self, value: Fraction) -> Fraction:
        match = _MULTIPLE.match(self.text, self.place)
        if match is None:
            return value
        self.place = match.end()
        return value * 10 ** _SPELLED[match.group(1) or match.group(2)]

    def _skipped(self) -> int:
        """The place behind a space."""
        while self.text[self.place : self.place + 1] == " ":
            self.place += 1
        return self.place

    def _next(self, signs: str) -> str | None:
        """The next sign, read, if it is one of these."""
        place = self.place
        while self.text[place : place + 1] == " ":
            place += 1
        found = self.text[place : place + 1]
        if not found or found not in signs:
            return None
        self.place = place + 1
        return found

    def _word(self, word: str) -> bool:
        if not self.text.startswith(word, self._skipped()):
            return False
        self.place += len(word)
        return True


class _Deeper:
    """One level deeper while the block lasts."""

    def __init__(self, parser: _Parser) -> None:
        self.parser = parser

    def __enter__(self) -> None:
        self.parser.depth += 1
        if self.parser.depth > 3 * MAX_DEPTH + 3:  # a pair of parentheses takes three levels
            raise NoNumber(f"it is nested more than {MAX_DEPTH} deep")

    def __exit__(self, *_: object) -> None:
        self.parser.depth -= 1
