"""The command line. Starting it imports neither torch nor transformers; commands do."""

from lens_core.cli import (  # noqa: F401 - they add their commands
    attention_commands,
    attribution_commands,
    commands,
    graph_commands,
    next_token_commands,
    pairs_commands,
    remote_commands,
    repair_commands,
)
from lens_core.cli.app import app, main

__all__ = ["app", "main"]
