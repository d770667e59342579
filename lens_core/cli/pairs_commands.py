"""The commands about minimal pairs, as a group: `python -m lens_core pairs ...`."""

import typer

from lens_core.cli.app import app
from lens_core.cli.pairs_analyze import pairs_analyze_command
from lens_core.cli.pairs_compare import pairs_compare_command
from lens_core.cli.pairs_layerops import pairs_layerops_command
from lens_core.cli.pairs_make import pairs_make_command
from lens_core.cli.pairs_patch import pairs_patch_command
from lens_core.cli.pairs_plot import pairs_plot_command


def hyphened(name: str) -> str:
    """The original programs write options with "_", this one with "-": both are understood."""
    return name.replace("_", "-")


pairs_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"token_normalize_func": hyphened},
    help="Minimal pairs: make them, compare what they do inside a model, patch one into the other. "
    "Options may be written with - or _.",
)
pairs_app.command("make")(pairs_make_command)
pairs_app.command("analyze")(pairs_analyze_command)
pairs_app.command("plot")(pairs_plot_command)
pairs_app.command("patch")(pairs_patch_command)
pairs_app.command("layerops")(pairs_layerops_command)
pairs_app.command("compare")(pairs_compare_command)
app.add_typer(pairs_app, name="pairs")
