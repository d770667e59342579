"""The command that patches activations of one side of a pair into the other."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import options as given
from lens_core.cli import pairs_options as shared
from lens_core.cli import pairs_patching_options as asked
from lens_core.cli.app import write
from lens_core.cli.opening import LOADING, opened, picked
from lens_core.cli.output import (
    STREAM,
    check_targets,
    reported,
    whole_numbers,
    write_json,
    write_text,
)
from lens_core.cli.pairs_steps import (
    finished,
    names,
    quantized,
    read_dataset,
    stoppable,
    terminal_columns,
)
from lens_core.cli.pictures import write_pictures
from lens_core.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lens_core.models import LoadedModel
    from lens_core.pairs import Pair
    from lens_core.patching import AttributionPatching, CausalTrace

BOTH = ("metric", "template", "special")
"""The arguments of both methods."""
PATCHED = {"direction": "both", "window": 1, "noise": None, "noise_samples": 10}
"""Those of true patches alone, with their defaults."""


def pairs_patch_command(
    sentence1: asked.Sentence1 = None,
    sentence2: asked.Sentence2 = None,
    answer1: asked.Answer1 = None,
    answer2: asked.Answer2 = None,
    dataset_path: asked.OnePairOf = None,
    pair: asked.PairNumber = None,
    format: shared.Format = None,
    model: shared.Model = "demo",
    metric: asked.TraceMetric = "auto",
    components: asked.TraceComponents = "resid_post,attn_out,mlp_out,heads",
    direction: asked.Direction = "both",
    window: asked.Window = 1,
    positions: asked.TracePositions = None,
    noise: asked.Noise = None,
    noise_samples: asked.NoiseSamples = 10,
    approximate: asked.Approximate = False,
    checks: asked.Checks = 10,
    json: shared.JsonFile = None,
    csv: asked.TraceCsv = None,
    png: asked.TracePng = None,
    html: asked.TraceHtml = None,
    seed: shared.Seed = 0,
    special: given.Special = "default",
    template: given.Template = None,
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
    """Trace which activations carry the difference between two sentences to the answer.

    Activations of one side are put into the run of the other, one place at a time. The effect is 1
    where the run then answers as the clean one, and 0 where it answers as the corrupt one.
    """
    arguments = locals()
    _check(arguments)
    loading = picked(arguments, LOADING)
    loading["quantization"] = quantized(quantization, load_in_8bit, load_in_4bit)
    options: dict[str, Any] = {
        **picked(arguments, BOTH),
        "components": names(components),
        "positions": whole_numbers("--positions", positions),
    }
    with reported(), stoppable(lambda: "The trace had not ended, so nothing was written."):
        check_targets(json, csv, files=(png, html))
        wanted = _pair(arguments)
        with opened(model, loading, settings=settings, edits=edit, strength=strength) as (
            loaded,
            chosen,
        ):
            options["max_tokens"] = max_tokens or chosen.max_tokens.difference
            if approximate:
                found = _estimated(loaded, wanted, {**options, "checks": checks})
            else:
                own = {**picked(arguments, PATCHED), "seed": seed}
                found = _traced(loaded, wanted, {**options, **own})
        _write(found.to_json(), json=json, csv=csv, png=png, html=html)


def _check(arguments: dict[str, Any]) -> None:
    """Refuse arguments that do not go together.

    Raises:
        typer.BadParameter: says which.
    """
    typed = [arguments[name] is not None for name in ("sentence1", "sentence2")]
    filed = [arguments[name] is not None for name in ("dataset_path", "pair")]
    if not (all(typed) and not any(filed)) and not (all(filed) and not any(typed)):
        raise typer.BadParameter(
            "Give --sentence1 and --sentence2, or --dataset-path and --pair, and not both.",
            param_hint="--sentence1",
        )
    if arguments["approximate"]:
        for name, default in PATCHED.items():
            if arguments[name] != default:
                option = f"--{name.replace('_', '-')}"
                raise typer.BadParameter(
                    "Estimates are of denoising by the other side, one layer at a time; leave "
                    f"{option} or --approximate out.",
                    param_hint=option,
                )


def _pair(arguments: dict[str, Any]) -> "Pair":
    """The pair that is typed, or one of a file with the answers that are typed.

    Raises:
        InputError: the file cannot be read, or has fewer pairs.
    """
    from lens_core.pairs import Pair

    answers = {
        name: arguments[name] for name in ("answer1", "answer2") if arguments[name] is not None
    }
    if arguments["dataset_path"] is None:
        return Pair(arguments["sentence1"], arguments["sentence2"], **answers)
    number = arguments["pair"]
    pairs, problems = read_dataset(arguments["dataset_path"], arguments["format"], number + 1)
    if number >= len(pairs):
        bad = f" ({len(problems)} other rows are none)" if problems else ""
        raise InputError(
            f'--pair is {number}; "{arguments["dataset_path"]}" has pairs 0 to {len(pairs) - 1}'
            f"{bad}."
        )
    return replace(pairs[number], **answers)


def _traced(loaded: "LoadedModel", pair: "Pair", options: dict[str, Any]) -> "CausalTrace":
    from lens_core.patching import CausalTrace, causal_trace_steps

    steps = causal_trace_steps(loaded, pair, **options)
    return finished(steps, CausalTrace, lambda step: f"{step.done} of {step.total} patches")


def _estimated(
    loaded: "LoadedModel", pair: "Pair", options: dict[str, Any]
) -> "AttributionPatching":
    from lens_core.patching import attribution_patching

    return attribution_patching(loaded, pair, **options)


def _write(
    record: dict[str, Any], *, json: str | None, csv: str | None, png: str | None, html: str | None
) -> None:
    """The files that are asked for, and the report."""
    from lens_core.cli.pairs_trace_report import trace_csv, trace_report

    if json is not None:
        write_json(json, record)
    if csv is not None:
        write_text(csv, trace_csv(record))
    if png is not None or html is not None:
        write_pictures(_figures(record), png=png, html=html)
    if STREAM not in (json, csv):
        write(trace_report(record, columns=terminal_columns()))


def _figures(record: dict[str, Any]) -> "list[go.Figure]":
    from lens_core.figures import causal_grid

    return [causal_grid(record, one["component"], one["direction"]) for one in record["grids"]]
