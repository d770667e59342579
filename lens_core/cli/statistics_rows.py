"""The prompts of a file, and the file of what was found for each, from which a run goes on.

The first line of the rows holds the model and the options, every further one a prompt. Lines are
written whole and flushed, so that whatever ends a run costs one prompt at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lens_core.cli.output import file_text, prompt_text, writing
from lens_core.errors import InputError
from lens_core.records import dumps, plain
from lens_core.tree.activity import PromptActivity
from lens_core.tree.comparing import SAME_MODEL

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

KIND = "graph_statistics_rows"


@dataclass(eq=False)
class RowsFile:
    """The rows of prompts, known ones and those to come; without a path they are not kept."""

    path: str | None
    texts: Sequence[str]
    known: list[PromptActivity]
    file: IO[str] | None = None

    def add(self, activity: PromptActivity) -> None:
        """Write one more prompt.

        Raises:
            InputError: the file cannot be written.
        """
        if self.file is None or self.path is None:
            return
        record = plain(activity.to_json())
        row = {"index": activity.index, "sha256": _digest(self.texts[activity.index]), **record}
        with writing(self.path):
            self.file.write(dumps(row) + "\n")
            self.file.flush()


def read_prompts(name: str) -> list[str]:
    """The prompts of a file, or of standard input for "-".

    Raises:
        InputError: the file cannot be read, or a line is no record with a prompt.
        PromptError: it is not UTF-8.
    """
    text = prompt_text(name) if name == "-" else file_text(name)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not name.endswith(".jsonl"):
        found = [line for line in lines if line.strip()]
    else:
        found = [_prompt_of(name, at, line) for at, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError(f'"{name}" has no prompts; write one on each line.')
    return found


def _prompt_of(name: str, number: int, line: str) -> str:
    record = _parsed(line)
    if isinstance(record, dict):
        record = record.get("prompt", record.get("text"))
    if not isinstance(record, str):
        raise InputError(
            f'Line {number} of "{name}" is no JSON record with a text in "prompt" or "text".'
        )
    return record


@contextmanager
def opened_rows(
    path: str | None, loaded: LoadedModel, options: Mapping[str, Any], texts: Sequence[str]
) -> Iterator[RowsFile]:
    """The rows at a path, to be continued for a block; a new file where there is none.

    Raises:
        InputError: the file is of another model, other options or other prompts, or no such file.
    """
    if path is None:
        yield RowsFile(None, texts, [])
        return
    header = {**loaded.header(KIND), "options": plain(dict(options))}
    known = []
    with writing(path):
        lines = _whole_lines(Path(path))
    if lines:
        _check_header(path, _parsed(lines[0]), header)
        known = [_row(path, line, loaded, texts) for line in lines[1:]]
    with writing(path), Path(path).open("a", encoding="utf-8", newline="\n") as file:
        file.write("" if lines else dumps(header) + "\n")
    with Path(path).open("a", encoding="utf-8", newline="\n") as file:
        yield RowsFile(path, texts, known, file)


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file; what an interrupted run wrote of another one is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data) and whole:
        with path.open("r+b") as file:
            file.truncate(whole)
    kept = data[:whole] if whole else data
    if not kept:
        return []
    return kept.decode("utf-8", errors="replace").removesuffix("\n").split("\n")


def _check_header(path: str, found: Any, header: Mapping[str, Any]) -> None:
    """Refuse a file that another run has written.

    Raises:
        InputError: says what differs.
    """
    other = "Give another --out, or the same arguments as before."
    if not isinstance(found, dict) or found.get("schema") != header["schema"]:
        raise InputError(f'"{path}" is no file of graph-statistics rows. Give another --out.')
    for key in SAME_MODEL:
        old, new = found["model"].get(key), header["model"][key]
        if old != new:
            raise InputError(
                f'"{path}" is of the model "{found["model"].get("id")}" ({key} {old}), and this '
                f'is "{header["model"]["id"]}" ({key} {new}). {other}'
            )
    pairs = [(key, found["options"].get(key), new) for key, new in header["options"].items()]
    for key, old, new in [*pairs, ("edit", found["edit"], header["edit"])]:
        if old != new:
            raise InputError(f'"{path}" was begun with {key} {old}, and now it is {new}. {other}')


def _row(path: str, line: str, loaded: LoadedModel, texts: Sequence[str]) -> PromptActivity:
    record = _parsed(line)
    if not isinstance(record, dict) or not isinstance(record.get("index"), int):
        raise InputError(f'"{path}" has a damaged line: {line[:40]!r}. Remove it and try again.')
    index: int = record["index"]
    if index >= len(texts) or record.get("sha256") != _digest(texts[index]):
        raise InputError(
            f'Prompt {index + 1} is another one than when "{path}" was written. Give another '
            "--out; prompts may be added at the end only."
        )
    return PromptActivity.from_json(record, n_layers=loaded.n_layers, n_heads=loaded.facts.n_heads)


def _parsed(line: str) -> Any:
    """The value of a line of JSON, None for anything else."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
