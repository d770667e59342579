"""One row of a file as a pair, checked: what is wrong with a bad one is said in its own words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from lens_core.errors import InputError
from lens_core.pairs.record import Pair

IDENTITY = "identity"
"""The subtype whose sides are the same on purpose."""
_SIDES = ("sentence1", "sentence2")
_TEXTS = ("pair_id", "type", "subtype", "lang", "source")
_MAYBE_TEXTS = ("carrier", "answer1", "answer2")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


def pair_from_record(record: Any) -> Pair:
    """The pair of one JSON object; keys that a pair does not have are left out.

    Raises:
        InputError: what the row has instead of two different texts, or a field of a wrong type.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"the row is {_shown(record)}; a pair is an object with two sentences.")
    known = {one.name for one in fields(Pair)}
    # null stands for a field that is absent, as a table without its column does.
    given = {name: value for name, value in record.items() if value is not None and name in known}
    _check_sides(given)
    _check_fields(given)
    return Pair.from_json(given)


def pair_from_blimp(record: Any) -> Pair:
    """The pair of one BLiMP object, its acceptable sentence first.

    Raises:
        InputError: as `pair_from_record`.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"the row is {_shown(record)}; a BLiMP row is an object.")
    for name in ("sentence_good", "sentence_bad"):
        if name not in record:
            raise InputError(f"{name} is missing.")
    paradigm, number = str(record.get("UID") or ""), record.get("pairID")
    pair = {
        "sentence1": record["sentence_good"],
        "sentence2": record["sentence_bad"],
        "pair_id": "" if number is None else f"{paradigm}_{number}",
        "type": str(record.get("field") or ""),
        "subtype": paradigm,
        "lang": "en",
        "oriented": True,
        "correct": 1,
        "source": "blimp",
    }
    return pair_from_record(pair)


def pair_from_cells(cells: Mapping[str, str]) -> Pair:
    """The pair of one row of a table, where every value is text and an empty one is absent.

    Raises:
        InputError: as `pair_from_record`.
    """
    record: dict[str, Any] = {name: text for name, text in cells.items() if text or name in _SIDES}
    if "oriented" in record:
        record["oriented"] = _truth(record["oriented"])
    if "correct" in record:
        text = record["correct"].strip()
        record["correct"] = int(text) if text in ("1", "2") else text
    if "edit" in record:
        record["edit"] = _parsed(record["edit"])
    return pair_from_record(record)


def pairs_in_original(document: Any) -> Iterator[tuple[str, Pair | InputError]]:
    """(place, pair or what is wrong with it) for every pair of the original's nested file.

    Raises:
        InputError: the document has no "diff_token_type".
    """
    types = document.get("diff_token_type") if isinstance(document, Mapping) else None
    if not isinstance(types, Mapping):
        raise InputError(
            'The JSON has no "diff_token_type" with pairs in it; give the original\'s file, one '
            "pair a line, or a table."
        )
    for kind, subtypes in types.items():
        if not isinstance(subtypes, Mapping):
            yield kind, InputError(f"it holds {_shown(subtypes)} instead of subtypes.")
            continue
        for subtype, content in subtypes.items():
            yield from _pairs_of_subtype(kind, subtype, content)


def _pairs_of_subtype(
    kind: str, subtype: str, content: Any
) -> Iterator[tuple[str, Pair | InputError]]:
    place = f"{kind}/{subtype}"
    rows = content.get("sentence_pairs") if isinstance(content, Mapping) else None
    if not isinstance(rows, list):
        yield place, InputError('it has no list "sentence_pairs".')
        return
    for number, row in enumerate(rows):
        own = {"type": kind, "subtype": subtype, "pair_id": f"{subtype}_{number}"}
        record = {**own, **row} if isinstance(row, Mapping) else row
        yield f"{place}, pair {number}", _tried(record)


def pairs_in_list(document: Any) -> Iterator[tuple[str, Pair | InputError]]:
    """(place, pair or what is wrong with it) for every item of a JSON list of pairs.

    Raises:
        InputError: the document is no list.
    """
    if not isinstance(document, list):
        raise InputError(f"The JSON is {_shown(document)}; it must be a list of pairs.")
    for number, row in enumerate(document):
        yield f"pair {number}", _tried(row)


def _tried(record: Any) -> Pair | InputError:
    try:
        return pair_from_record(record)
    except InputError as error:
        return error


def _check_sides(record: Mapping[str, Any]) -> None:
    for name in _SIDES:
        text = record.get(name)
        if text is None:
            raise InputError(f"{name} is missing.")
        if not isinstance(text, str):
            raise InputError(f"{name} is {_shown(text)}; it must be text.")
        if not text.strip():
            raise InputError(f"{name} is empty.")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"{name} holds half a character; save the file as UTF-8.")
    same = record["sentence1"] == record["sentence2"]
    if same and record.get("subtype") != IDENTITY:
        raise InputError(
            f"both sides are {_shown(record['sentence1'])}; only pairs of the subtype "
            f'"{IDENTITY}" may be identical.'
        )


def _check_fields(record: Mapping[str, Any]) -> None:
    for name in (*_TEXTS, *_MAYBE_TEXTS):
        if not isinstance(record.get(name, ""), str):
            raise InputError(f"{name} is {_shown(record[name])}; it must be text.")
    if not isinstance(record.get("oriented", False), bool):
        raise InputError(f"oriented is {_shown(record['oriented'])}; it can be true or false.")
    correct = record.get("correct", 1)
    if type(correct) is not int or correct not in (1, 2):
        raise InputError(f"correct is {_shown(correct)}; it can be 1, 2 or absent.")
    edit = record.get("edit", ("", ""))
    two = isinstance(edit, (list, tuple)) and len(edit) == 2
    if not two or not all(isinstance(text, str) for text in edit):
        raise InputError(f"edit is {_shown(edit)}; it must be a list of two texts.")


def _truth(text: str) -> bool | str:
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _shown(value: Any) -> str:
    """A value in an error, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
