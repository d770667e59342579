"""What the commands about pairs have in common: progress, stopping, folders, lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os.path import commonpath
from pathlib import Path
from shutil import get_terminal_size
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from lens_core.cli.output import writing
from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.pairs import Pair, Problem

STOPPED = 130
"""Exit code after an interruption, as a shell gives it."""

MOST_NAMED = 12
"""Files that are named one by one."""

R = TypeVar("R")


def finished(steps: Iterator[Any], result: type[R], said: Callable[[Any], str]) -> R:
    """The last of some steps, with a line on standard error until it is there.

    Args:
        steps: how far it is, and then the result.
        result: what the last item is.
        said: a step in words.
    """
    with progress_line() as show:
        for step in steps:
            if isinstance(step, result):
                return step
            show(said(step))
    raise AssertionError("the last step is the result")


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A line on standard error that is written anew; nothing where nobody looks at a terminal."""
    stream = typer.get_text_stream("stderr")
    longest = 0

    def show(text: str) -> None:
        nonlocal longest
        if stream.isatty():
            longest = max(longest, len(text))
            typer.echo(f"\r{text:<{longest}} ", err=True, nl=False)

    try:
        yield show
    finally:
        if longest:
            typer.echo("", err=True)


@contextmanager
def stoppable(kept: Callable[[], str]) -> Iterator[None]:
    """Ctrl+C ends the block with exit code 130, and `kept` says what is left of it."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. {kept()}", err=True)
        raise typer.Exit(STOPPED) from None


def read_dataset(
    path: str, format: str | None, most: int | None
) -> tuple[list[Pair], list[Problem]]:
    """The first pairs of a file, all of them for None, and the rows before that are none.

    Raises:
        InputError: the file cannot be read, or has no pair.
    """
    from lens_core.pairs import Pair, iter_pairs

    pairs: list[Pair] = []
    problems: list[Problem] = []
    for one in iter_pairs(Path(path), format=format):
        if not isinstance(one, Pair):
            problems.append(one)
            continue
        pairs.append(one)
        if len(pairs) == most:
            break
    if not pairs:
        raise InputError(
            f'None of the {len(problems)} rows of "{path}" is a pair. The first: {problems[0]}'
        )
    return pairs, problems


def made_folder(path: Path) -> Path:
    """A folder to write to.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'The folder "{path}" cannot be made: {error.strerror}. Give another place.'
        ) from error
    return path


@contextmanager
def whole_files(folder: Path, written: list[Path]) -> Iterator[Path]:
    """A place whose files go to `folder`, together, when the block has ended well.

    Until then the files of an earlier run stay; afterwards all are added to `written` and named.

    Raises:
        InputError: something cannot be written.
    """
    made_folder(folder)
    with writing(str(folder)), TemporaryDirectory(dir=folder, prefix="unfinished_") as place:
        yield Path(place)
        moved = []
        for path in sorted(one for one in Path(place).rglob("*") if one.is_file()):
            target = folder / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            moved.append(path.replace(target))
    said_written(moved)
    written += moved


def said_written(paths: Sequence[Path]) -> None:
    """Name finished files on standard error, or their folder where they are many."""
    if len(paths) > MOST_NAMED:
        typer.echo(f"Written: {len(paths)} files in {commonpath(paths)}", err=True)
        return
    for path in paths:
        typer.echo(f"Written: {path}", err=True)


def names(text: str) -> tuple[str, ...]:
    """The parts of a list such as "a,b"; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def terminal_columns() -> int:
    """How wide the terminal is."""
    return get_terminal_size((100, 24)).columns


def quantized(quantization: str | None, in_8bit: bool, in_4bit: bool) -> str | None:
    """The one quantization that is asked for.

    Raises:
        typer.BadParameter: there are several.
    """
    asked = {quantization, "8bit" if in_8bit else None, "4bit" if in_4bit else None} - {None}
    if len(asked) > 1:
        raise typer.BadParameter(
            "Give one of --load-in-8bit, --load-in-4bit and --quantization.",
            param_hint="--load-in-8bit",
        )
    return next(iter(asked), None)
