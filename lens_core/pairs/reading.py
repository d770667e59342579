"""Pairs from a file or from text: the original's JSON, one pair a line, tables, and BLiMP.

Which of them it is shows in the content; gzip is unpacked. A row that is no pair is reported with
its place, and reading goes on. All but the original's nested JSON and a JSON list, which have to
be read whole, is read row by row.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lens_core.errors import InputError
from lens_core.pairs.record import Pair, PairFile, Problem
from lens_core.pairs.rows import (
    pair_from_blimp,
    pair_from_cells,
    pair_from_record,
    pairs_in_list,
    pairs_in_original,
)

FORMATS = ("original", "json", "jsonl", "blimp", "csv")
MAX_PAIRS = 100_000
MAX_CHARS = 100_000_000
_NAME = re.compile(r"\S+\.(json|jsonl|csv|tsv|txt)(\.gz)?")
"""What looks like the name of a file rather than its content."""
_PROBE = 50
"""Lines that are looked at to tell the formats apart."""
_KNOWN = "It can be the original's JSON, one JSON pair a line, a table (CSV) or BLiMP."


def read_pairs(
    source: str | Path,
    *,
    format: str | None = None,
    max_pairs: int = MAX_PAIRS,
    max_chars: int = MAX_CHARS,
) -> PairFile:
    """All pairs of a file or a text, and what in it is no pair.

    Args:
        source: a `Path` is a file, which may be gzipped; a `str` is the content itself, so that
            what a visitor types never names a file.
        format: original, json (a list of pairs), jsonl, blimp or csv; None tells it by the content.
        max_pairs: refuse more rows.
        max_chars: refuse longer contents, counted as they are unpacked.

    Raises:
        InputError: no such file, no pairs at all, none of the formats, or more than the limits.
    """
    with closing(_lines(source, max_chars)) as lines:
        kind, lines = _told_apart(lines, format)
        metadata: dict[str, Any] = {}
        found = list(_limited(_rows(kind, lines, metadata), max_pairs))
    return PairFile(
        pairs=tuple(one for one in found if isinstance(one, Pair)),
        problems=tuple(one for one in found if isinstance(one, Problem)),
        format=kind,
        metadata=metadata,
    )


def iter_pairs(
    source: str | Path,
    *,
    format: str | None = None,
    max_pairs: int = MAX_PAIRS,
    max_chars: int = MAX_CHARS,
) -> Iterator[Pair | Problem]:
    """`read_pairs` one by one: a `Pair` for a good row, a `Problem` for another.

    Raises:
        InputError: as `read_pairs`, when the place in the file is reached.
    """
    with closing(_lines(source, max_chars)) as lines:
        kind, lines = _told_apart(lines, format)
        yield from _limited(_rows(kind, lines, {}), max_pairs)


def _limited(rows: Iterator[Pair | Problem], max_pairs: int) -> Iterator[Pair | Problem]:
    """The rows, unless there are none or too many."""
    number = 0
    for number, row in enumerate(rows, 1):
        if number > max_pairs:
            raise InputError(
                f"There are more than {max_pairs} rows; that is the limit. Split the file, or "
                "raise max_pairs."
            )
        yield row
    if number == 0:
        raise InputError(f"There are 0 pairs in it; give at least one. {_KNOWN}")


def _lines(source: str | Path, max_chars: int) -> Generator[str, None, None]:
    """The lines of a source, with their ends."""
    total = 0
    with _opened(source) as stream:
        try:
            # One character beyond the limit is enough to know, however long the line is.
            while line := stream.readline(max_chars - total + 1):
                total += len(line)
                if total > max_chars:
                    raise InputError(
                        f"The content has more than {max_chars} characters; that is the limit. "
                        "Split it, or raise max_chars."
                    )
                yield line
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


def _told_apart(lines: Iterator[str], format: str | None) -> tuple[str, Iterator[str]]:
    """The format, and the same lines again."""
    if format is not None:
        if format not in FORMATS:
            raise InputError(f'format is "{format}"; it can be {", ".join(FORMATS)}.')
        return format, lines
    probe = list(islice(lines, _PROBE))
    return _format_of(probe), chain(probe, lines)


def _format_of(probe: list[str]) -> str:
    """The format that the first lines show."""
    start = next((line.lstrip() for line in probe if line.strip()), "")
    if not start:
        raise InputError(f"The content is empty (no pairs); give at least one. {_KNOWN}")
    records = [record for record in map(_json, probe) if isinstance(record, dict)]
    if start[0] == "[":
        return "json"
    unfinished = start[0] == "{" and not records and not start.rstrip().endswith("}")
    if unfinished or any('"diff_token_type":' in line for line in probe):
        return "original"
    if any("sentence_good" in record or "sentence_bad" in record for record in records):
        return "blimp"
    return "jsonl" if records or start[0] == "{" else "csv"


def _json(text: str) -> Any:
    """The value that a line spells, None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _rows(kind: str, lines: Iterator[str], metadata: dict[str, Any]) -> Iterator[Pair | Problem]:
    if kind == "csv":
        return _table(lines)
    if kind in ("original", "json"):
        return _document(lines, kind, metadata)
    return _json_lines(lines, pair_from_blimp if kind == "blimp" else pair_from_record)


def _json_lines(lines: Iterator[str], pair_of: Callable[[Any], Pair]) -> Iterator[Pair | Problem]:
    """One pair a line; blank lines do not count."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield pair_of(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            yield Problem(f"line {number}", f"it is no JSON ({error}).")
        except InputError as error:
            yield Problem(f"line {number}", str(error))


def _document(
    lines: Iterator[str], kind: str, metadata: dict[str, Any]
) -> Iterator[Pair | Problem]:
    """A JSON that is read whole; what the original's says of itself goes to `metadata`."""
    try:
        document = json.loads("".join(lines))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"The file is no JSON: {error}. Write it again.") from error
    if isinstance(document, dict) and isinstance(document.get("metadata"), dict):
        metadata.update(document["metadata"])
    found = pairs_in_list(document) if kind == "json" else pairs_in_original(document)
    for place, pair in found:
        yield Problem(place, str(pair)) if isinstance(pair, InputError) else pair


def _table(lines: Iterator[str]) -> Iterator[Pair | Problem]:
    """A table with a head; the cells are divided by the sign that divides the head."""
    head, delimiter = _head(next(lines, ""))
    # strict: a cell whose quotes are wrong is reported instead of swallowing what follows.
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        place = f"line {rows.line_num + 2}"
        try:
            cells = next(rows, None)
            if cells is None:
                return
            if any(cells):
                yield _pair_of_cells(head, cells)
        except csv.Error as error:
            yield Problem(place, f"the table is damaged there ({error}).")
        except InputError as error:
            yield Problem(place, str(error))


def _head(line: str) -> tuple[list[str], str]:
    """The names of the columns, and the sign between them."""
    for delimiter in (",", ";", "\t"):
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        names = [cell.strip().lower() for cell in cells]
        if {"sentence1", "sentence2"} <= set(names):
            return names, delimiter
    shown = line.strip()[:60]
    named = " From Python, a file is given as a pathlib.Path." if _NAME.fullmatch(shown) else ""
    raise InputError(
        f"The first line is {shown!r}; a table begins with the columns sentence1 and sentence2. "
        f"{_KNOWN}{named}"
    )


def _pair_of_cells(head: list[str], cells: list[str]) -> Pair:
    if len(cells) > len(head):
        raise InputError(
            f"the row has {len(cells)} cells and the head {len(head)}; put quotes around a "
            "sentence that holds the dividing sign."
        )
    return pair_from_cells(dict(zip(head, cells, strict=False)))
