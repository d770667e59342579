"""Answers kept by the hash of what was asked, so that a run that is repeated costs nothing.

What is kept is the answer alone: neither the request nor its headers.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from lens_core.errors import InputError
from lens_core.records import dumps


def request_key(url: str, body: Mapping[str, Any], repeat: int) -> str:
    """The hash of a request; the same one asked again for the noise is another."""
    text = json.dumps([url, body, repeat], sort_keys=True, ensure_ascii=True)
    return sha256(text.encode()).hexdigest()


class FolderCache(MutableMapping[str, Any]):
    """A folder with one JSON file an answer. A damaged file counts as none."""

    def __init__(self, folder: str | Path) -> None:
        """Use a folder, made where there is none.

        Raises:
            InputError: it cannot be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f'The folder "{folder}" cannot be used for a cache: {error.strerror}.'
            ) from error

    def __getitem__(self, key: str) -> Any:
        try:
            return json.loads(self._path(key).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise KeyError(key) from error

    def __setitem__(self, key: str, value: Any) -> None:
        """Keep an answer; another process sees all of it or nothing.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(dumps(value))
            os.replace(name, self._path(key))
        except OSError as error:
            raise InputError(
                f'The cache "{self.folder}" cannot be written: {error.strerror}. Make room, or '
                "give another folder."
            ) from error

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self.folder.glob("*.json"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
