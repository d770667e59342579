"""The command that compares minimal pairs inside a model."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from lens_core.cli import options as given
from lens_core.cli import pairs_options as asked
from lens_core.cli.app import write
from lens_core.cli.opening import LOADING, opened, picked
from lens_core.cli.output import reported, whole_numbers, write_json, write_text
from lens_core.cli.pairs_steps import (
    finished,
    made_folder,
    names,
    quantized,
    read_dataset,
    said_written,
    stoppable,
    whole_files,
)
from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.difference import PairDifference, SetEffect
    from lens_core.models import LoadedModel
    from lens_core.pairs import Pair, Problem

ASKED = ("readout", "q", "alpha", "correction", "seed", "template", "special", "same_positions")
"""The arguments that are handed on by their names in `pair_difference`."""
RESULT, GROUPS, EFFECTS = "pairdiff.json", "groups.csv", "set_effect.json"
WINDOWS = "windows"
"""A folder for what is finished of a comparison that is not."""
DIM_BYTES = 120
"""Of one dim of one pair in the original's JSON, about; 113 were measured."""
LARGE = 200_000_000
"""Bytes up to which that JSON is written without being asked for."""


@dataclass(frozen=True)
class Extras:
    """What is wanted beside the comparison itself."""

    threshold: float
    top_n: int
    normalization: str
    original: bool | None
    visualize: bool
    set_effect: bool


def pairs_analyze_command(
    dataset_path: asked.Dataset,
    model: asked.Model = "demo",
    layer_indices: asked.LayerIndices = None,
    threshold: asked.Threshold = 0.01,
    output_dir: asked.OutputDir = "data",
    visualize: asked.Visualize = False,
    top_n: asked.TopN = 10,
    normalization: asked.Normalization = "none",
    original: asked.Original = None,
    readout: asked.Readout = "last",
    same_positions: asked.SamePositions = False,
    components: asked.DiffComponents = "resid_post",
    no_control: asked.NoControl = False,
    no_lens: asked.NoLens = False,
    q: asked.HitShare = 0.1,
    alpha: asked.Alpha = 0.05,
    correction: asked.Correction = "bh",
    set_effect: asked.TestSets = False,
    format: asked.Format = None,
    max_pairs: asked.MaxPairs = None,
    resume: asked.Resume = True,
    seed: asked.Seed = 0,
    special: given.Special = "default",
    template: given.Template = None,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    max_tokens: given.MaxTokens = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    load_in_8bit: asked.LoadIn8Bit = False,
    load_in_4bit: asked.LoadIn4Bit = False,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Compare what the two sides of minimal pairs do inside a model, layer by layer and dim by dim.

    Writes results/pairdiff.json, results/groups.csv and the states (results/acts.*) when the
    comparison has ended, in place of those of an earlier run; then what else is asked for. After a
    stop the same command goes on where it was.
    """
    arguments = locals()
    loading = picked(arguments, LOADING)
    loading["quantization"] = quantized(quantization, load_in_8bit, load_in_4bit)
    options = {
        **picked(arguments, ASKED),
        "layers": whole_numbers("--layer-indices", layer_indices),
        "components": names(components),
        "control": not no_control,
        "lens": not no_lens,
        "resume": None,
    }
    extras = Extras(**picked(arguments, Extras.__dataclass_fields__))
    written: list[Path] = []
    with reported(), stoppable(lambda: _left(written, options["resume"])):
        _check(options, extras)
        results = made_folder(Path(output_dir) / "results")
        options["resume"] = results / WINDOWS if resume else None
        pairs, problems = read_dataset(dataset_path, format, max_pairs)
        _report_problems(problems)
        with opened(model, loading, settings=settings, edits=edit, strength=strength) as (
            loaded,
            chosen,
        ):
            options["max_tokens"] = max_tokens or chosen.max_tokens.difference
            result = _compared(loaded, pairs, options, results, written)
            effects = _effects(loaded, pairs, result, options) if set_effect else None
        if effects:
            _keep_effects(effects, results, written)
        _report(result, extras, effects)
        _draw(result, results, extras, written)


def _check(options: dict[str, Any], extras: Extras) -> None:
    """Refuse what would fail only after the run.

    Raises:
        InputError: says what.
    """
    from lens_core.difference.original_files import check_threshold

    check_threshold(extras.threshold)
    layers = options["layers"]
    blocks = "resid_post" in options["components"] and (layers is None or max(layers) >= 0)
    if not blocks and (extras.original or extras.visualize):
        raise InputError(
            f"The original's files and figures are of block outputs, and components is "
            f"{','.join(options['components'])} with layers {layers}. Add resid_post and a layer "
            "from 0, or leave --original and --visualize out."
        )


def _compared(
    loaded: "LoadedModel",
    pairs: "Sequence[Pair]",
    options: dict[str, Any],
    results: Path,
    written: list[Path],
) -> "PairDifference":
    """The comparison, in its files once it is whole: until then an earlier one stays."""
    from lens_core.difference import PairDifference, PairStep, pair_difference_steps

    def said(step: PairStep) -> str:
        total = "?" if step.total is None else step.total
        return f"{step.stage}: {step.done} of {total}"

    started = time() - 1  # some file systems count in whole seconds
    with whole_files(results, written) as place:
        steps = pair_difference_steps(loaded, pairs, keep=place, **options)
        result = finished(steps, PairDifference, said)
        write_text(str(place / GROUPS), result.to_csv())
        write_json(str(place / RESULT), result.to_json())
        (results / EFFECTS).unlink(missing_ok=True)
    if options["resume"] is not None:
        _drop_windows(options["resume"], started)
    return result


def _drop_windows(folder: Path, started: float) -> None:
    """Delete what a comparison has used on its way; other stopped ones keep theirs."""
    for path in folder.glob("*.npz"):
        if path.stat().st_mtime >= started:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # others are there
        folder.rmdir()


def _effects(
    loaded: "LoadedModel",
    pairs: "Sequence[Pair]",
    result: "PairDifference",
    options: dict[str, Any],
) -> "list[SetEffect]":
    """What the dims found in every block's output do, each layer by itself."""
    from lens_core.difference import SetEffect, set_effect_steps

    places = zip(result.sites, result.layers, result.components, strict=True)
    blocks = {
        site: layer for site, layer, component in places if component == "resid_post" and layer >= 0
    }
    sets: dict[int, list[int]] = {}
    for one in result.found:
        if one.site in blocks:
            sets.setdefault(blocks[one.site], []).append(one.dim)
    how = picked(options, ("seed", "max_tokens", "template", "special"))
    return [
        finished(
            set_effect_steps(loaded, pairs, layer, dims, **how),
            SetEffect,
            lambda step, layer=layer: (
                f"set effect, layer {layer}: {step.done} of {step.total} sets"
            ),
        )
        for layer, dims in sets.items()
    ]


def _keep_effects(effects: "Sequence[SetEffect]", results: Path, written: list[Path]) -> None:
    record = {"schema": "lens_core/set_effects/1", "effects": [one.to_json() for one in effects]}
    with whole_files(results, written) as place:
        write_json(str(place / EFFECTS), record)


def _draw(result: "PairDifference", results: Path, extras: Extras, written: list[Path]) -> None:
    """The original's files and figures, as far as they are wanted."""
    if _wants_original(result, extras.original):
        from lens_core.difference import write_original_results

        how = {"threshold": extras.threshold, "normalization": extras.normalization}
        stamp = f"{datetime.now():%Y%m%d_%H%M%S}"
        files = list(write_original_results(result, results, results, stamp=stamp, **how))
        said_written(files)
        written += files
    if extras.visualize:
        from lens_core.figures import write_pair_figures

        how = {"threshold": extras.threshold, "top_n": extras.top_n}
        figures = write_pair_figures(result, results, results.parent, **how)
        said_written(figures)
        written += figures


def original_bytes(result: "PairDifference") -> int:
    """How large the original's JSON of a comparison is, about."""
    places = zip(result.components, result.layers, strict=True)
    blocks = sum(component == "resid_post" and layer >= 0 for component, layer in places)
    d_model = result.header["model"]["d_model"]
    return len(result.pairs) * blocks * d_model * DIM_BYTES


def _wants_original(result: "PairDifference", asked_for: bool | None) -> bool:
    size = original_bytes(result)
    if asked_for is not None or size == 0:
        return bool(asked_for)
    if size > LARGE:
        write(
            [
                f"The original's JSON would take about {size / 1e6:.0f} MB, and {LARGE / 1e6:.0f} "
                "MB is the limit without --original: it was left out. pairs plot --original "
                "writes it from these results."
            ]
        )
    return size <= LARGE


def _left(written: Sequence[Path], windows: Path | None) -> str:
    if written:
        return (
            "The files named above are whole; pairs plot makes figures and the original's files "
            "from them without another run."
        )
    earlier = "Results of an earlier run are as they were."
    if windows is None:
        return f"{earlier} Of this one nothing is kept, as --no-resume says."
    return f"{earlier} The pairs that were finished are in {windows}: the same command goes on."


def _report_problems(problems: "Sequence[Problem]") -> None:
    from lens_core.cli.pairs_report import problem_report

    write(problem_report(problems))


def _report(
    result: "PairDifference", extras: Extras, effects: "Sequence[SetEffect] | None"
) -> None:
    from lens_core.cli.pairs_report import difference_report

    shown = None if effects is None else [one.to_json() for one in effects]
    write(difference_report(result.to_json(), top_n=extras.top_n, effects=shown))
