"""The command that lays what layers are worth in several models together, by part of speech."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from lens_core.cli import pairs_options as shared
from lens_core.cli.output import reported
from lens_core.cli.pairs_steps import made_folder, said_written

Files: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "--json-files",
        metavar="FILE",
        help="A pos_tag_ppl_analysis.json of `pairs layerops --visualize`; once for every model.",
    ),
]
Experiment: TypeAlias = Annotated[
    str, typer.Option(help="removal, exchange, or another operation that the files are of.")
]


def pairs_compare_command(
    json_files: Files, experiment: Experiment = "removal", output_dir: shared.OutputDir = "data"
) -> None:
    """Draw the token classes of several models side by side, in English and Japanese.

    Writes figures/pos_tag_comparison_EXPERIMENT_MODELS_{en,ja}.png.
    """
    with reported():
        from lens_core.figures import write_comparison

        folder = made_folder(Path(output_dir) / "figures")
        said_written(write_comparison(json_files, folder, experiment))
