"""What goes in and out: the prompt, the JSON file, and errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from lens_core.cli.terminal import harmless
from lens_core.errors import InputError, LensError, PromptError

STREAM = "-"
"""Stands for standard input as a prompt, for standard output as a file."""


@contextmanager
def reported() -> Iterator[None]:
    """What a user can put right becomes one line on standard error, and exit code 2."""
    try:
        yield
    except LensError as error:
        message = " ".join(str(error).split())
        typer.echo(f"Error: {harmless(message)}", err=True)
        raise typer.Exit(2) from error


def prompt_text(prompt: str) -> str:
    """The prompt itself, or standard input without its last line end for "-".

    Raises:
        PromptError: it is not UTF-8.
    """
    if prompt == STREAM:
        return _decoded(sys.stdin.buffer.read(), "The prompt")
    # Bytes of the command line that are no UTF-8 arrive as lone surrogates.
    return _decoded(prompt.encode("utf-8", errors="surrogateescape"), "The prompt", whole=True)


def file_text(name: str) -> str:
    """The text of a file without its last line end.

    Raises:
        InputError: the file cannot be read.
        PromptError: it is not UTF-8.
    """
    try:
        raw = Path(name).read_bytes()
    except OSError as error:
        raise InputError(f'The file "{name}" cannot be read: {error.strerror}.') from error
    return _decoded(raw, f'The file "{name}"')


def _decoded(raw: bytes, what: str, *, whole: bool = False) -> str:
    """UTF-8 as text, without its last line end unless it is to stay whole."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{what} is not UTF-8: byte {error.start} is 0x{raw[error.start]:02X}. "
            "Convert it to UTF-8."
        ) from error
    return text if whole else text.removesuffix("\n").removesuffix("\r")


def check_targets(*names: str | None, files: Collection[str | None] = ()) -> None:
    """Refuse files that cannot be written, before anything is computed.

    Args:
        names: files, one of which may be "-" for standard output.
        files: those that cannot go to standard output.

    Raises:
        InputError: a folder is missing, a name is a folder, or standard output is named twice.
    """
    if names.count(STREAM) > 1:
        raise InputError('"-" is given for two files; standard output can take one.')
    if STREAM in files:
        raise InputError('A picture or page cannot go to "-"; give the name of a file.')
    for name in (*names, *files):
        if name is not None and name != STREAM:
            _check_target(name)


def _check_target(name: str) -> None:
    path = Path(name)
    if not path.parent.is_dir():
        raise InputError(
            f'The file "{name}" cannot be written: there is no folder "{path.parent}". '
            "Make the folder first, or give another path."
        )
    if path.is_dir():
        raise InputError(f'"{name}" is a folder; give the name of a file to write.')


def write_json(name: str, record: Mapping[str, Any]) -> None:
    """Write strict JSON to a file, or to standard output for "-".

    Raises:
        InputError: the file cannot be written.
    """
    from lens_core.records import dumps

    write_text(name, dumps(record) + "\n")


def write_text(name: str, text: str) -> None:
    """Write UTF-8 text to a file, or to standard output for "-".

    Raises:
        InputError: the file cannot be written.
    """
    data = text.encode("utf-8")
    if name == STREAM:
        typer.echo(data, nl=False)
        return
    with writing(name):
        Path(name).write_bytes(data)


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Refuse a file that turns out not to be writable.

    Raises:
        InputError: says why.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f'The file "{name}" cannot be written: {error.strerror}.') from error


def whole_numbers(option: str, text: str | None) -> list[int] | None:
    """The numbers of a list such as "0,5,-1"; None for none.

    Raises:
        typer.BadParameter: something else is in the list.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no list of whole numbers such as 0,5,-1.", param_hint=option
        ) from error
