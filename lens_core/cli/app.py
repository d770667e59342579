"""The application that the commands belong to."""

import sys
from collections.abc import Iterable
from io import TextIOWrapper

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    # A LensError becomes one line in `reported`; anything else is a bug and keeps its traceback.
    pretty_exceptions_enable=False,
    help="A microscope for Hugging Face causal language models.",
)


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character gets its number instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="python -m lens_core")


def write(lines: Iterable[str]) -> None:
    """Write lines; styles are left out where nobody looks at a terminal."""
    for line in lines:
        typer.echo(line)
