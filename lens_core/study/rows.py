"""One row of a study: a question, perhaps its answer and a text to score, and what else is known.

What is wrong with a bad row is said in its own words; reading goes on behind it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lens_core.errors import InputError

COLUMNS = ("id", "query", "answer", "response", "level", "is_correct")
"""What a study knows of a row by name; everything else of a row is one of its further fields."""
_HALF = re.compile("[\ud800-\udfff]")
_TRUE, _FALSE, _EMPTY = ("true", "1", "yes"), ("false", "0", "no"), ("", "null", "none", "nan")


@dataclass(frozen=True)
class Row:
    """One question of a study."""

    index: int
    """Its place among the rows of the input, from 0; bad ones and those left out count too."""
    id: str
    """Its own name, or its index; whether names repeat is not looked at."""
    query: str
    answer: str | None = None
    """The reference answer."""
    response: str | None = None
    """A text that models are compared on."""
    level: Any | None = None
    """What rows are grouped by: text, a number or a truth value; None where it is unknown."""
    is_correct: bool | None = None
    """Whether `response` is right, as the data says."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Every other field, plain JSON values."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values; further fields are kept under `fields`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Row:
        """Read back what `to_json` wrote."""
        return cls(**{**record, "fields": dict(record["fields"])})


@dataclass(frozen=True)
class RowProblem:
    """A row that cannot be used."""

    place: str
    """Where it stands, such as "line 17"."""
    what: str
    """What is wrong with it, as a sentence."""


def checked_fields(fields: Mapping[str, str] | None) -> dict[str, str]:
    """Which column every known field is read from: its own name unless another one is given.

    Raises:
        InputError: a field that a row does not have, or no name of a column.
    """
    given = dict(fields or {})
    for name, column in given.items():
        if name not in COLUMNS:
            raise InputError(f'fields has "{name}"; it can have {", ".join(COLUMNS)}.')
        if not isinstance(column, str) or not column:
            raise InputError(f'fields["{name}"] is {column!r}; give the name of a column.')
    # A column that was given away is not read under its own name as well.
    taken = set(given.values())
    own = {name: name for name in COLUMNS if name not in given and name not in taken}
    return {**own, **given}


def row_from_record(record: Any, index: int, columns: Mapping[str, str]) -> Row:
    """The row of one JSON object; `columns` says where its fields are, see `checked_fields`.

    Numbers are taken as answers and names; an empty answer or response is none. A level such as
    3.0 is 3, since tables with gaps write it so. Values that are no JSON are left out.

    Raises:
        InputError: no query, half a character, or a value of a wrong type.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"the row is {_shown(record)}; a row is an object with a query.")
    used = set(columns.values())
    values = {name: _plain(record.get(column)) for name, column in columns.items()}
    row = Row(
        index=index,
        id=_text(values, columns, "id") or str(index),
        query=_query(values.get("query"), columns.get("query", "query"), record),
        answer=_text(values, columns, "answer"),
        response=_text(values, columns, "response"),
        level=_level(values.get("level"), columns),
        is_correct=_truth(values.get("is_correct"), columns),
        fields={
            str(name): plain
            for name, value in record.items()
            if name not in used and ((plain := _plain(value)) is not None or value is None)
        },
    )
    _check_whole(row)
    return row


def row_from_cells(cells: Mapping[str, str], index: int, columns: Mapping[str, str]) -> Row:
    """The row of a table, where every value is text; numbers as levels are read as such.

    Raises:
        InputError: as `row_from_record`.
    """
    record: dict[str, Any] = dict(cells)
    level = columns.get("level", "level")
    if level in record:
        record[level] = _number_or_text(record[level])
    return row_from_record(record, index, columns)


def _query(value: Any, column: str, record: Mapping[Any, Any]) -> str:
    if value is None:
        names = ", ".join(str(name) for name in record)[:80]
        raise InputError(
            f'"{column}" is missing; the row has {names or "nothing"}. Name the column of the '
            'question: fields={"query": ...}.'
        )
    if not isinstance(value, str):
        raise InputError(f'"{column}" is {_shown(value)}; it must be text.')
    if not value.strip():
        raise InputError(f'"{column}" is empty; a row needs a question.')
    return value


def _text(values: Mapping[str, Any], columns: Mapping[str, str], name: str) -> str | None:
    """A field that is text or a number, None where it says nothing."""
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InputError(f'"{columns[name]}" is {_shown(value)}; it must be text.')
    return value if value.strip() else None


def _level(value: Any, columns: Mapping[str, str]) -> Any | None:
    if isinstance(value, (list, dict)):
        what = f'"{columns["level"]}" is {_shown(value)}'
        raise InputError(f"{what}; a level is text, a number or a truth value.")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None if value == "" else value


def _truth(value: Any, columns: Mapping[str, str]) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower().removesuffix(".0")
    if word in _EMPTY:
        return None
    if word not in (*_TRUE, *_FALSE):
        raise InputError(
            f'"{columns["is_correct"]}" is {_shown(value)}; it can be true, false or absent.'
        )
    return word in _TRUE


def _plain(value: Any) -> Any | None:
    """A JSON value as it is, None for what JSON does not have: NaN, dates, arrays, pictures."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, (list, tuple, Mapping)):
        return None
    try:
        # NaN inside a list is what `parse_constant` is for; a row of a file cannot be deeper than
        # what was parsed.
        return json.loads(json.dumps(value), parse_constant=lambda _: None)
    except (TypeError, ValueError, RecursionError):
        return None


def _check_whole(row: Row) -> None:
    """Refuse half characters, which no tokenizer takes and no file can hold."""
    known = [row.id, row.query, row.answer, row.response, row.level, row.fields]
    for text in _texts(known):
        if half := _HALF.search(text):
            raise InputError(
                f"the row holds half a character (U+{ord(half.group()):04X}) in {_shown(text)}; "
                "save the file as UTF-8."
            )


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included; not recursive, as values may be deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one


def _number_or_text(text: str) -> Any:
    """A number where a cell holds one, else its text."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number) or "_" in text:
        return None if math.isnan(number) else text
    # Not int(number): a long name made of digits would be rounded.
    return int(text) if text.strip().lstrip("+-").isdecimal() else number


def _shown(value: Any) -> str:
    """A value in an error, not longer than a line, and writable."""
    text = repr(value)
    text = ascii(value) if _HALF.search(text) else text
    return text if len(text) <= 60 else text[:59] + "…"
