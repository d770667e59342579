"""Rows of a study from a file, from text, or from a Hugging Face data set, one by one.

One JSON object a line, a JSON list, or a table (CSV); which of them it is shows in the content, and
gzip is unpacked. Nothing but the row at hand is kept, so a file may be of any length. A row that
cannot be used is reported with its place, and reading goes on.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from lens_core.errors import InputError
from lens_core.lens.options import one_of, whole_number
from lens_core.study.rows import (
    Row,
    RowProblem,
    checked_fields,
    row_from_cells,
    row_from_record,
)
from lens_core.study.sampling import sampled
from lens_core.study.sources import MAX_ROW_CHARS, chunks, lines, list_items

FORMATS = ("jsonl", "json", "csv")
MAX_ROWS = 1_000_000
MAX_CHARS = 4_000_000_000
_MOST = 10**12
_KNOWN = "It can be one JSON object a line, a JSON list, or a table (CSV)."
_NO_JSON = (ValueError, RecursionError)
"""What `json.loads` raises: not only JSONDecodeError, for instance for a number of 5,000 digits."""


def read_rows(
    source: str | Path,
    *,
    fields: Mapping[str, str] | None = None,
    format: str | None = None,
    limit: int | None = None,
    per_level: int | None = None,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    max_chars: int = MAX_CHARS,
) -> Iterator[Row | RowProblem]:
    """The rows of a file or a text one by one: a `Row`, or a `RowProblem` for one that is bad.

    Args:
        source: a `Path` is a file, which may be gzipped; a `str` is the content itself, so that
            what a visitor types never names a file.
        fields: where the query, answer, response, level, is_correct and id of a row are, by the
            names of columns: {"query": "question"}. Others are read under their own names.
        format: jsonl, json or csv; None tells it by the content.
        limit: read on until there are so many good rows.
        per_level: choose so many rows of every level at random, out of those that `limit` leaves;
            they come when all have been read.
        seed: of that choice.
        max_rows: refuse to read more rows, bad ones included.
        max_chars: refuse longer contents, counted as they are unpacked.

    Raises:
        InputError: a wrong argument at once; no such file, no rows at all, none of the formats, or
            more than the limits when the place in the file is reached.
    """
    columns = checked_fields(fields)
    if format is not None:
        one_of("format", format, FORMATS)
    whole_number("max_chars", max_chars, 1, _MOST)
    found = _rows_of_source(source, format, columns, max_chars)
    return _chosen(found, limit, per_level, seed, max_rows)


def rows_from_dataset(
    dataset: Iterable[Any],
    *,
    fields: Mapping[str, str] | None = None,
    limit: int | None = None,
    per_level: int | None = None,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
) -> Iterator[Row | RowProblem]:
    """The rows of a split of a Hugging Face data set, streaming or not, or of any other dicts.

    Arguments are those of `read_rows`. Columns that are no JSON (pictures, dates) are left out.

    Raises:
        InputError: a wrong argument or a whole data set with several splits at once; no rows at
            all, or more than the limits when they are reached.
    """
    if isinstance(dataset, (str, Path, Mapping)):
        names = ", ".join(map(str, dataset)) if isinstance(dataset, Mapping) else repr(dataset)
        raise InputError(
            f"The data set is {names[:80]}; give one of its splits, such as dataset['train']. A "
            "file is read by read_rows."
        )
    columns = checked_fields(fields)
    found = (
        _tried(row_from_record, record, index, columns, f"row {index}")
        for index, record in enumerate(dataset)
    )
    return _chosen(found, limit, per_level, seed, max_rows)


def _chosen(
    found: Generator[Row | RowProblem, None, None],
    limit: int | None,
    per_level: int | None,
    seed: int,
    max_rows: int,
) -> Iterator[Row | RowProblem]:
    """The rows that were asked for; the arguments are checked before the first one is read."""
    whole_number("max_rows", max_rows, 1, _MOST)
    whole_number("seed", seed, -_MOST, _MOST)
    if limit is not None:
        whole_number("limit", limit, 1, _MOST)
    rows = _limited(found, limit, max_rows)
    if per_level is None:
        return rows
    return sampled(rows, per_level=whole_number("per_level", per_level, 1, _MOST), seed=seed)


def _limited(
    found: Generator[Row | RowProblem, None, None], limit: int | None, max_rows: int
) -> Iterator[Row | RowProblem]:
    """The rows up to the limit, unless there are none or too many; the file is closed behind."""
    number = good = 0
    with closing(found):
        for number, row in enumerate(found, 1):
            if number > max_rows:
                raise InputError(
                    f"There are more than {max_rows} rows; that is the limit. Give a limit, split "
                    "the file, or raise max_rows."
                )
            yield row
            good += isinstance(row, Row)
            if good == limit:
                return
    if number == 0:
        raise InputError(f"There are 0 rows in it; give at least one. {_KNOWN}")


def _rows_of_source(
    source: str | Path, format: str | None, columns: Mapping[str, str], max_chars: int
) -> Generator[Row | RowProblem, None, None]:
    if format is None:
        format = _format_of(source, max_chars)
    if format == "json":
        with closing(chunks(source, max_chars)) as pieces:
            yield from _json_list(pieces, columns)
        return
    with closing(lines(source, max_chars)) as text:
        yield from (_table if format == "csv" else _json_lines)(text, columns)


def _format_of(source: str | Path, max_chars: int) -> str:
    """The format that the first line with something in it shows."""
    # Not by lines: a JSON list may be one line of any length.
    with closing(chunks(source, max_chars)) as pieces:
        piece = next((piece for piece in pieces if piece.strip()), "")
    start = piece.lstrip().partition("\n")[0].strip()
    if not start:
        raise InputError(f"The content is empty (0 rows); give at least one. {_KNOWN}")
    if start == "{":
        raise InputError(
            'The first line is "{", so a row would be more than one line; write one JSON object '
            "a line, or put them into a list."
        )
    return "json" if start[0] == "[" else "jsonl" if start[0] == "{" else "csv"


def _json_lines(
    text: Iterator[str], columns: Mapping[str, str]
) -> Generator[Row | RowProblem, None, None]:
    """One row a line; blank lines do not count."""
    index = 0
    for number, line in enumerate(text, 1):
        if line.strip():
            yield _row_of_json(line, index, columns, f"line {number}")
            index += 1


def _json_list(
    pieces: Iterator[str], columns: Mapping[str, str]
) -> Generator[Row | RowProblem, None, None]:
    for index, (number, item) in enumerate(list_items(pieces)):
        yield _row_of_json(item, index, columns, f"line {number}, item {index + 1}")


def _row_of_json(text: str, index: int, columns: Mapping[str, str], place: str) -> Row | RowProblem:
    try:
        # NaN is no JSON, but tables with gaps are often written with it.
        record = json.loads(text, parse_constant=lambda _: None)
    except _NO_JSON as error:
        return RowProblem(place, f"it is no JSON ({error}).")
    return _tried(row_from_record, record, index, columns, place)


def _tried(
    make: Callable[[Any, int, Mapping[str, str]], Row],
    record: Any,
    index: int,
    columns: Mapping[str, str],
    place: str,
) -> Row | RowProblem:
    try:
        return make(record, index, columns)
    except InputError as error:
        return RowProblem(place, str(error))


def _table(
    text: Iterator[str], columns: Mapping[str, str]
) -> Generator[Row | RowProblem, None, None]:
    """A table with a head; the cells are divided by the sign that divides the head."""
    first = next(((n, line) for n, line in enumerate(text, 1) if line.strip()), (1, ""))
    head, delimiter = _head(first[1], columns.get("query", "query"))
    # A response is often longer than the 131,072 characters of a cell that the module begins with.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_CHARS))
    # strict: a cell whose quotes are wrong is reported instead of swallowing what follows.
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    index = 0
    while True:
        place = f"line {rows.line_num + first[0] + 1}"
        try:
            cells = next(rows, None)
            if cells is None:
                return
        except csv.Error as error:
            yield RowProblem(place, f"the table is damaged there ({error}).")
        else:
            if not any(cells):
                continue
            yield _row_of_cells(head, cells, index, columns, place)
        index += 1


def _row_of_cells(
    head: list[str], cells: list[str], index: int, columns: Mapping[str, str], place: str
) -> Row | RowProblem:
    if len(cells) > len(head):
        return RowProblem(
            place,
            f"the row has {len(cells)} cells and the head {len(head)}; put quotes around a cell "
            "that holds the dividing sign.",
        )
    record = dict(zip(head, cells, strict=False))
    return _tried(row_from_cells, record, index, columns, place)


def _head(line: str, query: str) -> tuple[list[str], str]:
    """The names of the columns, and the sign between them."""
    for delimiter in (",", ";", "\t"):
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        names = [cell.strip() for cell in cells]
        if query in names:
            return names, delimiter
    raise InputError(
        f'The first line is {line.strip()[:60]!r}; a table begins with its columns, and "{query}" '
        f'is none of them. Name it: fields={{"query": ...}}. {_KNOWN} A file is given as a '
        "pathlib.Path."
    )
