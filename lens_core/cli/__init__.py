"""The command line. Starting it imports neither torch nor transformers; commands do."""

from lens_core.cli import commands, graph_commands, repair_commands  # noqa: F401 - they add their commands
from lens_core.cli.app import app, main

__all__ = ["app", "main"]
