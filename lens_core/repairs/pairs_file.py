"""Read pairs of prompt and target from a CSV or JSONL file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from lens_core.errors import InputError

MAX_PAIRS = 1000


def read_pairs(text: str, *, lines: bool) -> list[tuple[str, str]]:
    """The pairs of a file's text.

    Args:
        text: CSV with a header row that names `prompt` and `target`, or JSONL with these keys.
        lines: whether it is JSONL.

    Raises:
        InputError: a row without both, too many rows, or none; says which row.
    """
    rows = _records(text) if lines else _cells(text)
    pairs = []
    for number, row in rows:
        prompt, target = row.get("prompt"), row.get("target")
        if not isinstance(prompt, str) or not isinstance(target, str) or not prompt or not target:
            raise InputError(f'Row {number} has no "prompt" and "target"; each row needs both.')
        pairs.append((prompt, target))
        if len(pairs) > MAX_PAIRS:
            raise InputError(f"There are more than {MAX_PAIRS} pairs; split the file.")
    if not pairs:
        raise InputError('There are no pairs; the file needs rows with "prompt" and "target".')
    return pairs


def _records(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines(): a record may hold other characters that end a line, such as U+2028.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"Row {number} is no JSON ({error}).") from error
        if not isinstance(record, dict):
            raise InputError(f"Row {number} is a {type(record).__name__}, not an object.")
        yield number, record


def _cells(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from enumerate(csv.DictReader(io.StringIO(text, newline="")), start=2)
    except csv.Error as error:
        raise InputError(f"The file is no CSV ({error}).") from error
