"""The command that draws a finished comparison of pairs; no model is loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import pairs_options as asked
from lens_core.cli.opening import picked
from lens_core.cli.output import reported
from lens_core.cli.pairs_analyze import RESULT
from lens_core.cli.pairs_steps import names, said_written, stoppable, whole_files
from lens_core.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lens_core.difference import PairDifference

SHEETS = {
    "heatmap": ("_heatmap.png",),
    "bar": ("_top_minimal_dims.png", "_top_minimal_dims_table.png", "layer_statistics.png"),
}
"""What the names of the original's figures end with, by the type of plot."""
OURS = ("scatter", "layers", "profile")
PAGE = "pair_differences.html"


def pairs_plot_command(
    results_dir: asked.ResultsDir = "data",
    plot_type: asked.PlotType = "heatmap,bar,scatter,layers",
    output_dir: asked.PlotDir = None,
    pairs: asked.PlotPairs = 20,
    top_n: asked.TopN = 10,
    threshold: asked.Threshold = 0.01,
    dims: asked.PlotDims = 100,
    seed: asked.Seed = 0,
    sites: asked.Sites = None,
    metric: asked.Metric = "rel_l2",
    by: asked.By = "type",
    order: asked.Order = "ascending",
    original: asked.PlotOriginal = False,
    normalization: asked.Normalization = "none",
) -> None:
    """Draw what pairs analyze has found, without another run.

    Everything goes to figures/: heat maps and bars of single pairs as PNG under the original's
    names; scatter, layers and profile as PNG, and together as one web page.
    """
    arguments = locals()
    types = names(plot_type)
    if unknown := [one for one in types if one not in (*SHEETS, *OURS)]:
        raise typer.BadParameter(
            f"{unknown[0]!r} is none of {', '.join((*SHEETS, *OURS))}.", param_hint="--plot-type"
        )
    with reported(), stoppable(lambda: "The files named above are whole."):
        kept = results_folder(Path(results_dir))
        result = read_result(kept / RESULT)
        place = Path(output_dir) if output_dir is not None else _place(kept)
        suffixes = tuple(end for one in types for end in SHEETS.get(one, ()))
        if suffixes:
            _sheets(result, kept, place, suffixes, arguments)
        figures = dict(_figures(result, types, arguments))
        if figures:
            _draw(figures, place / "figures")
        if original:
            from lens_core.difference import write_original_results

            how = {"threshold": threshold, "normalization": normalization}
            said_written(list(write_original_results(result, kept, kept, **how)))


def results_folder(folder: Path) -> Path:
    """Where a finished comparison lies: the folder itself, or its `results`.

    Raises:
        InputError: there is none.
    """
    for place in (folder, folder / "results"):
        if (place / RESULT).is_file():
            return place
    raise InputError(
        f'"{folder}" has no {RESULT}, nor has its folder "results". Name the --output-dir of pairs '
        "analyze, and let that end first."
    )


def read_result(path: Path) -> "PairDifference":
    """A comparison as `pairs analyze` wrote it.

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    import json

    from lens_core.difference import PairDifference

    try:
        record = json.loads(path.read_text("utf-8"))
        return PairDifference.from_json(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'"{path}" is no finished comparison ({type(error).__name__}: {error}). Run pairs '
            "analyze again."
        ) from error


def _place(kept: Path) -> Path:
    """Where `pairs analyze` puts figures."""
    return kept.parent if kept.name == "results" else kept


def _sheets(
    result: "PairDifference",
    kept: Path,
    place: Path,
    suffixes: tuple[str, ...],
    arguments: dict[str, Any],
) -> None:
    """Write the original's figures of the types that are wanted."""
    from lens_core.figures import write_pair_figures

    how = picked(arguments, ("threshold", "top_n", "dims", "seed"))
    with whole_files(place, []) as folder:
        # All of them are drawn together.
        for path in write_pair_figures(result, kept, folder, max_pairs=arguments["pairs"], **how):
            if not path.name.endswith(suffixes):
                path.unlink()


def _figures(
    result: "PairDifference", types: tuple[str, ...], arguments: dict[str, Any]
) -> "Iterator[tuple[str, go.Figure]]":
    """Names and figures of the other types."""
    from lens_core.figures import pair_dimensions, pair_layers, pair_profile

    sites = _sites(result, arguments["sites"])
    if "layers" in types:
        how = picked(arguments, ("metric", "by"))
        yield f"layers_{how['metric']}", pair_layers(result, **how)
    for site in sites:
        if "scatter" in types:
            yield f"scatter_{site}", pair_dimensions(result, site)
        if "profile" in types:
            yield f"profile_{site}", pair_profile(result, site, arguments["order"])


def _sites(result: "PairDifference", chosen: str | None) -> tuple[str, ...]:
    """The sites that are named, or those with discoveries, or the last of the stream."""
    if chosen is not None:
        return names(chosen)
    found = {one.site for one in result.found}
    tested = {
        site: component
        for site, component in zip(result.sites, result.components, strict=True)
        if site in result.dims
    }
    stream = [site for site, component in tested.items() if component == "resid_post"]
    return tuple(site for site in tested if site in found) or tuple((stream or [*tested])[-1:])


def _draw(figures: "dict[str, go.Figure]", folder: Path) -> None:
    """Every figure as a picture, and all of them as a page."""
    from lens_core.figures import save_html, save_png

    with whole_files(folder, []) as place:
        for name, figure in figures.items():
            save_png(figure, place / f"{name}.png")
        save_html(list(figures.values()), place / PAGE)
