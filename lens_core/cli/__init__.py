"""The command line. Starting it imports neither torch nor transformers; commands do."""

from lens_core.cli.commands import app, main

__all__ = ["app", "main"]
