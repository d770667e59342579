"""The command that removes, exchanges or repeats layers, and measures what that does."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import options as given
from lens_core.cli import pairs_options as shared
from lens_core.cli import pairs_patching_options as asked
from lens_core.cli.app import write
from lens_core.cli.opening import LOADING, opened, picked
from lens_core.cli.output import reported, whole_numbers, write_json, write_text
from lens_core.cli.pairs_steps import (
    finished,
    made_folder,
    names,
    quantized,
    said_written,
    stoppable,
    whole_files,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lens_core.patching import LayerOperations

EXPERIMENTS = {None: ("remove", "exchange"), "removal": ("remove",), "exchange": ("exchange",)}
RESULT, TABLE = "layerops.json", "layerops.csv"


def pairs_layerops_command(
    dataset_path: asked.Texts,
    model: shared.Model = "demo",
    max_samples: asked.MaxSamples = 1000,
    experiment: asked.Experiment = None,
    operations: asked.Operations = None,
    layers: given.Layers = None,
    output_dir: shared.OutputDir = "data",
    no_tokens: asked.NoTokens = False,
    original: asked.LayerFigures = False,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    max_tokens: given.MaxTokens = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    load_in_8bit: shared.LoadIn8Bit = False,
    load_in_4bit: shared.LoadIn4Bit = False,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Measure the loss of a model on texts without a layer, or with layers exchanged.

    Writes results/layerops.json and results/layerops.csv when all of it is measured; no text is
    left out for its loss. Texts that are too long or have one token are listed with the reason.
    """
    arguments = locals()
    if experiment is not None and operations is not None:
        raise typer.BadParameter("Give --experiment or --operations.", param_hint="--operations")
    loading = picked(arguments, LOADING)
    loading["quantization"] = quantized(quantization, load_in_8bit, load_in_4bit)
    options: dict[str, Any] = {
        "operations": EXPERIMENTS[experiment] if operations is None else names(operations),
        "layers": whole_numbers("--layers", layers),
    }
    written: list[Path] = []
    with reported(), stoppable(lambda: _left(written)):
        results = made_folder(Path(output_dir) / "results")
        texts = _texts(dataset_path, max_samples)
        with opened(model, loading, settings=settings, edits=edit, strength=strength) as (
            loaded,
            chosen,
        ):
            options["max_tokens"] = max_tokens or chosen.max_tokens.difference
            from lens_core.patching import LayerOperations, layer_operations_steps

            steps = layer_operations_steps(loaded, texts, **options)
            result = finished(
                steps,
                LayerOperations,
                lambda step: f"{step.operation}: {step.done} of {step.total} texts",
            )
        _keep(result, results, written, tokens=not no_tokens)
        _report(result)
        if original:
            tags = _parts_of_speech(result, loaded.tokenizer)
            _draw(result, results.parent, Path(dataset_path).stem, tags)


def _texts(path: str, most: int) -> list[str]:
    from lens_core.cli.statistics_rows import read_prompts

    return read_prompts(path)[:most]


def _keep(result: "LayerOperations", results: Path, written: list[Path], *, tokens: bool) -> None:
    """Write the result, and its scores as a table."""
    from lens_core.cli.pairs_layer_report import scores_csv

    with whole_files(results, written) as place:
        write_json(str(place / RESULT), result.to_json(tokens=tokens))
        write_text(str(place / TABLE), scores_csv(result))


def _parts_of_speech(
    result: "LayerOperations", tokenizer: "PreTrainedTokenizerBase | None"
) -> list[list[str]] | None:
    """A tag for every token of every text; None where no tagger is installed."""
    from lens_core.patching.parts_of_speech import part_of_speech, tagged_text
    from lens_core.tokens import token_records

    if tokenizer is None:
        return None
    read = [tagged_text(token_records(tokenizer, text["ids"])) for text in result.texts]
    return part_of_speech([text for text, _ in read], [spans for _, spans in read])


def _draw(result: "LayerOperations", folder: Path, data: str, tags: list[list[str]] | None) -> None:
    from lens_core.figures import layer_change, save_html, write_layer_figures

    with whole_files(folder / "figures", []) as place:
        save_html(layer_change(result), place / "layer_change.html")
    said_written(write_layer_figures(result, folder, pos=tags, data=data))


def _report(result: "LayerOperations") -> None:
    from lens_core.cli.pairs_layer_report import layer_report

    write(layer_report(result.to_json(tokens=False)))


def _left(written: list[Path]) -> str:
    if written:
        return "The files named above are whole."
    return "The operations had not ended, so nothing was written; the same command starts again."
