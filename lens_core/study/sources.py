"""Text of any length, piece by piece: lines of a file, and the items of a JSON list.

Nothing longer than one row is ever held. A `Path` is a file, which may be gzipped; a `str` is the
content itself, so that what a visitor types never names a file.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from lens_core.errors import InputError

MAX_ROW_CHARS = 10_000_000
"""The longest row; a longer one is hardly a row, but a file without line ends."""
_CHUNK = 1 << 16
_OUTSIDE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
"""A whole string, or a sign; a quote by itself is a string that goes on in the next piece."""
_INSIDE = re.compile(r'"|\\.', re.DOTALL)


def lines(source: str | Path, max_chars: int) -> Generator[str, None, None]:
    """The lines of a source, with their ends.

    Raises:
        InputError: no such file, a damaged one, or more than the limits.
    """
    # One character beyond the limit is enough to know, however long the line is.
    found = _pieces(source, max_chars, lambda stream: stream.readline(MAX_ROW_CHARS + 1))
    with closing(found):
        for number, line in enumerate(found, 1):
            if len(line) > MAX_ROW_CHARS:
                raise InputError(
                    f"Line {number} has more than {MAX_ROW_CHARS} characters; that is the limit "
                    "for a row. Write one row a line."
                )
            yield line


def chunks(source: str | Path, max_chars: int) -> Generator[str, None, None]:
    """The same text in pieces that have nothing to do with lines.

    Raises:
        InputError: as `lines`.
    """
    return _pieces(source, max_chars, lambda stream: stream.read(_CHUNK))


def _pieces(
    source: str | Path, max_chars: int, read: Callable[[Any], str]
) -> Generator[str, None, None]:
    total = 0
    with _opened(source) as stream:
        try:
            while piece := read(stream):
                total += len(piece)
                if total > max_chars:
                    raise InputError(
                        f"The content has more than {max_chars} characters; that is the limit. "
                        "Split it, or raise max_chars."
                    )
                yield piece
        except (OSError, EOFError, UnicodeError, zlib.error) as error:  # mostly a damaged file
            raise InputError(f"The file cannot be read to its end: {error}.") from error


def _opened(source: str | Path) -> io.TextIOBase:
    """The text of a source; bytes that are no UTF-8 are kept and found out in their row."""
    if isinstance(source, str):
        # No translation of line ends: they may be part of a cell.
        return io.StringIO(source.removeprefix("\ufeff"), newline="")
    try:
        with source.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise InputError(f'The file "{source}" cannot be read: {error.strerror}.') from error
    encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    options: dict[str, Any] = {"encoding": encoding, "errors": "surrogateescape", "newline": ""}
    if start == b"\x1f\x8b":
        return io.TextIOWrapper(gzip.open(source), **options)
    return source.open(**options)


def list_items(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(line, text) of every item of a JSON list that comes in pieces; the items are not parsed.

    Only brackets, quotes and commas are looked at, so a damaged item does not hide the next one.

    Raises:
        InputError: text that is no list, a list that does not end, text behind it, or an item
            that is longer than a row may be.
    """
    depth, some, closed = 0, False, False
    item = _Item()
    for text, sign in _signs(pieces):
        item.add(text)
        if depth == 0:
            item.add(sign)
            if item.text() == "[" and not closed:
                depth, item = 1, _Item(item.end)
            elif item.text():
                raise InputError(
                    f"There is {item.text()[:40]!r} {'behind' if closed else 'before'} the list; "
                    "a JSON file of rows is one list and nothing else."
                )
        elif depth == 1 and sign in (",", "]"):
            # "[]" has no item, and "[1,]" has a second one, which is empty.
            if item.text() or some or sign == ",":
                yield item.begin, item.text()
            some, closed, item = True, sign == "]", _Item(item.end)
            depth = int(not closed)
        else:
            item.add(sign)
            depth = max(1, depth + (sign in ("[", "{")) - (sign in ("]", "}")))
    if not closed:
        raise InputError(
            f"The JSON list stops in line {item.end} without its ]; write the file again."
        )


class _Item:
    """The text of an item as far as it has been seen."""

    def __init__(self, line: int = 1) -> None:
        self.begin = self.end = line
        self._pieces: list[str] = []
        self._length = 0

    def add(self, text: str) -> None:
        if not self._pieces:
            text, space = text.lstrip(), text[: len(text) - len(text.lstrip())]
            self.begin += space.count("\n")
            self.end = self.begin
        if text:
            self._pieces.append(text)
            self._length += len(text)
            self.end += text.count("\n")
        if self._length > MAX_ROW_CHARS:
            raise InputError(
                f"The item that begins in line {self.begin} has more than {MAX_ROW_CHARS} "
                "characters; that is the limit for a row."
            )

    def text(self) -> str:
        return "".join(self._pieces).rstrip()


def _signs(pieces: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The text up to every bracket and comma outside strings, and that sign; "" at other ends."""
    quoted, held = False, ""
    for piece in pieces:
        piece, held = held + piece, ""
        if (len(piece) - len(piece.rstrip("\\"))) % 2:
            # A backslash and the character behind it are looked at together.
            piece, held = piece[:-1], "\\"
        start = place = 0
        while match := (_INSIDE if quoted else _OUTSIDE).search(piece, place):
            place, sign = match.end(), match.group()
            if sign == '"':
                quoted = not quoted
            elif not quoted and len(sign) == 1:
                yield piece[start : match.start()], sign
                start = place
        yield piece[start:], ""
    yield held, ""
