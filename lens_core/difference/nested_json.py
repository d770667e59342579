"""JSON objects inside objects, written to a file as they come: none of them is whole in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from lens_core.errors import InputError
from lens_core.records import plain


class NestedJson:
    """A JSON object whose members are written one after another."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._empty = True

    @contextmanager
    def inside(self, key: str) -> Iterator[None]:
        """What is written in the block are members of an object by this name."""
        self._file.write(f"{self._before()}{_text(key)}: {{")
        self._empty = True
        yield
        self._file.write("}")
        self._empty = False

    def put(self, key: str, value: Any) -> None:
        """One whole member."""
        self._file.write(f"{self._before()}{_text(key)}: {_text(plain(value))}")

    def _before(self) -> str:
        first, self._empty = self._empty, False
        return "\n" if first else ",\n"


@contextmanager
def nested_json(path: Path) -> Iterator[NestedJson]:
    """A file with one object; it has its name only once it is whole.

    Raises:
        InputError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write("{")
            yield NestedJson(file)
            file.write("}\n")
        part.replace(path)
    except OSError as error:
        raise InputError(
            f'The file "{path}" cannot be written: {error.strerror}. Give another place.'
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _text(value: Any) -> str:
    """Strict JSON that keeps every character as it is."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
