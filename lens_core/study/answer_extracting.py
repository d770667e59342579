r"""The answer in a response: its last \boxed{}, what it calls the answer, or its last number.

Time grows with the length of the response alone, whatever brackets it opens and never closes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from lens_core.study.answer_forms import bare, read_form
from lens_core.study.answer_signs import repaired

MAX_SAID = 300
"""Characters behind "the answer is" that are looked at."""
_TRIED = 20
"""Places that call something the answer, from the last, that are looked at."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_SINGLE_BOX = re.compile(r"\\boxed ?([0-9A-Za-z])(?![0-9A-Za-z])")
_HASHES = re.compile(r"#{4}[ \t]*([^\n]+)")
_IS = r"(?:应该|应当|应|就|便|則|则)?(?:[是为為]|等于|[:：=＝])+"
_CALLED = re.compile(
    r"\banswers?\b(?: to [^\n.:]{1,60}?)?[*_`\s]*"
    r"(?:(?:is|are|was|should be|must be|will be|would be|[:：=])[*_`\s]*)+"
    rf"|(?:答案|最[终終后後]结果|正确选项)[*_\s]*{_IS}|(?:故|应|所以|因此)选(?:择)?[:：]?|答[:：]"
    r"|(?:答え|解答|正解|回答|答)[*_\s]*(?:は|が|[:：=])[、,:：]?",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^(?:(?:therefore|thus|then|simply|just|clearly|indeed|exactly)\b[, ]*|约为?|約)",
    re.IGNORECASE,
)
_TRAILING = re.compile(r"(?:です|でした|である|だ|になります|となります)$")
_END = re.compile(r"[。！？!?；\n]|\.(?=\s|$)|\.(?=[*_`]+(?:\s|$))")
_CLAUSE = re.compile(
    r",? (?:because|since|as|so|which|when|if|for|where|but)\b|，|, (?=[A-Za-z]{2})"
    r"|[,，]?(?:因为|所以|なぜなら)"
)
_SOME = re.compile(r"\S")
_FORMULA = re.compile(r"\$([^$\n]+)\$|\\\((.+?)\\\)")
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z)\]}])-)?(?:\\d?frac\{[0-9]+\}\{[0-9]+\}|(?<![0-9A-Za-z.])"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:/[0-9]+)?(?:\s?[%％])?)"
)


def extract_answer(text: str) -> str | None:
    r"""The answer that a response ends in, None where there is none.

    What follows `</think>` is looked at first. A box that is never closed is none.
    """
    text = repaired(text)
    thought, mark, said = text.rpartition("</think>")
    if mark and (found := _extracted(said)) is not None:
        return found
    return _extracted(thought if mark else text)


def innermost(answer: str) -> str:
    r"""What stands in the last \boxed{} of an answer or behind its ####, else the answer itself."""
    answer = repaired(answer)
    return _marked(answer) or answer


def _extracted(text: str) -> str | None:
    return _marked(text) or _called(text) or _last_number(text)


def _marked(text: str) -> str | None:
    """What is marked as the answer by a sign that means nothing else."""
    box = _last_box(text)
    if box is not None:
        return box
    # Four hashes are also a heading, of which few are numbers.
    for content in reversed(_HASHES.findall(text)[-_TRIED:]):
        if read_form(content).kind != "text":
            return content.strip()
    return None


def _last_box(text: str) -> str | None:
    r"""The content of the \boxed{} that closes last, with its braces balanced."""
    opened: list[int] = []
    """Where the content of an open brace begins; of one that is no box, minus that."""
    found: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        sign = match.group()
        if sign == "}":
            start = opened.pop() if opened else -1
            if start > 0 and _SOME.search(text, start, match.start()):
                found = (start, match.start())
        elif sign[-1] == "{" and sign != "\\{":
            opened.append(match.end() if len(sign) > 1 else -match.end())
    if found is not None:
        return text[slice(*found)].strip()
    single = _SINGLE_BOX.findall(text)
    return single[-1] if single else None


def _called(text: str) -> str | None:
    """What the response calls the answer, from its end: the first that reads as one."""
    places = [match.end() for match in _CALLED.finditer(text)][-_TRIED:]
    spoken = None
    for place in reversed(places):
        sentence = _sentence(text[place : place + MAX_SAID])
        if not sentence:
            continue
        for candidate in _candidates(sentence):
            if read_form(candidate).kind != "text":
                return candidate
        spoken = spoken or sentence
    return spoken


def _sentence(text: str) -> str:
    """The first sentence of a text, or what is left of it."""
    text = text.lstrip(" \t\r\n*_`:：、")
    end = _END.search(text)
    sentence = text[: end.start()] if end else text
    sentence = _LEADING.sub("", sentence.strip().strip("*_`").strip())
    return _TRAILING.sub("", sentence).strip()


def _candidates(sentence: str) -> Iterator[str]:
    """The sentence and what in it may be the answer."""
    yield sentence
    formulas = [one or other for one, other in _FORMULA.findall(sentence)]
    if len(formulas) == 1:
        yield formulas[0]
    clause = _CLAUSE.split(sentence, maxsplit=1)[0].strip()
    if clause and clause != sentence:
        yield clause
    if "=" in clause:
        yield clause.rpartition("=")[2].strip()
    numbers = _NUMBER.findall(bare(clause))
    if len(numbers) == 1:
        yield numbers[0].strip()


def _last_number(text: str) -> str | None:
    numbers = deque(_NUMBER.finditer(text), maxlen=1)
    return numbers[0].group().strip() if numbers else None
