"""The command that repairs what a model says."""

from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import options as given
from lens_core.cli import repair_options as asked
from lens_core.cli.app import app, write
from lens_core.cli.opening import edited, load, read_settings
from lens_core.cli.output import (
    STREAM,
    check_targets,
    file_text,
    prompt_text,
    reported,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.repairs import Comparison, Repair

NOT_REPAIRED = 1
"""Exit code when the target does not come out."""


@app.command("repair")
def repair_command(
    prompt: asked.Prompt = None,
    target: asked.Target = None,
    pairs: asked.Pairs = None,
    model: given.Model = "demo",
    method: asked.Method = "me-batch",
    compare: asked.Compare = None,
    epochs: asked.Epochs = None,
    margin: asked.Margin = 0.5,
    lr: asked.Lr = "auto",
    mu: asked.Mu = 1.0,
    layers: asked.LayerShare = None,
    locate: asked.Locate = "attribution",
    neurons: asked.Neurons = 64,
    views: asked.Views = 0,
    compat: asked.Compat = None,
    paraphrase: asked.Paraphrases = None,
    probe: asked.Probes = None,
    no_evaluation: asked.NoEvaluation = False,
    out: asked.OutFile = None,
    merged: asked.MergedFolder = None,
    lora: asked.LoraFolder = None,
    json: asked.JsonFile = None,
    special: given.Special = "default",
    template: given.Template = None,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    device: given.Device = None,
    dtype: given.Dtype = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Find a small edit after which the model says the target, and measure what else it changed.

    The model's files stay as they are: --out keeps the edit, which other commands hold by --edit.
    Exit code 1 means that the target does not come out.
    """
    _check(prompt, target, pairs, compare, (out, merged, lora))
    options: dict[str, Any] = {
        "epochs": epochs,
        "margin": margin,
        "lr": _rate(lr),
        "mu": mu,
        "layers": layers,
        "locate": locate,
        "neurons": neurons,
        "views": views,
        "compat": compat,
        "template": template,
        "special": special,
    }
    loading = {
        "revision": revision,
        "dtype": dtype,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    with reported():
        check_targets(json, files=(out,))
        wanted = _wanted(prompt, target, pairs)
        loaded = load(read_settings(settings), model, loading)
        measures = {
            "paraphrases": [(text, wanted[0][1]) for text in paraphrase or ()],
            "probes": probe or (),
        }
        with edited(loaded, edit, strength):
            if compare is not None:
                _compare(loaded, wanted, _methods(compare), options, measures, json)
                return
            options["method"] = method
            asked_for = None if no_evaluation else {**measures, "template": template}
            result = _repair(loaded, wanted, options, asked_for, json)
        _keep(loaded, result, out=out, merged=merged, lora=lora)
        if result.status not in ("repaired", "already_correct"):
            raise typer.Exit(NOT_REPAIRED)


def _check(
    prompt: str | None,
    target: str | None,
    pairs: str | None,
    compare: str | None,
    kept: tuple[str | None, ...],
) -> None:
    """Refuse arguments that do not go together."""
    if (pairs is None) != (prompt is not None and target is not None):
        raise typer.BadParameter("Give a prompt and its target, or --pairs, and not both.")
    if pairs is not None and (prompt is not None or target is not None):
        raise typer.BadParameter("Give a prompt and its target, or --pairs, and not both.")
    if compare is not None and any(kept):
        raise typer.BadParameter("A comparison keeps no edit.", param_hint="--compare")


def _rate(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError as error:
        message = f"{text!r} is neither auto nor a number."
        raise typer.BadParameter(message, param_hint="--lr") from error


def _methods(text: str) -> list[Any]:
    from lens_core.repairs import METHODS

    if text == "all":
        return [*METHODS, {"method": "me-sgd", "lr": 0.01}]
    return [part.strip() for part in text.split(",")]


def _wanted(prompt: str | None, target: str | None, pairs: str | None) -> list[tuple[str, str]]:
    if pairs is not None:
        from lens_core.repairs.pairs_file import read_pairs

        return read_pairs(file_text(pairs), lines=pairs.endswith((".jsonl", ".ndjson")))
    assert prompt is not None
    assert target is not None
    return [(prompt_text(prompt), target)]


def _repair(
    loaded: "LoadedModel",
    wanted: list[tuple[str, str]],
    options: dict[str, Any],
    measures: dict[str, Any] | None,
    json: str | None,
) -> "Repair":
    """The repair, with its side effects where they are wanted, written as asked."""
    from lens_core import evaluate_repair
    from lens_core.cli.repair_report import evaluation_report, repair_report

    result = _searched(loaded, wanted, options)
    record = result.to_json()
    found = None
    if measures is not None and result.edit is not None:
        found = evaluate_repair(loaded, result, special=options["special"], **measures).to_json()
    if json is not None:
        write_json(json, {**record, "evaluation": found})
    if json != STREAM:
        columns = get_terminal_size((100, 24)).columns
        write(repair_report(record, columns=columns))
        if found is not None:
            write(["", *evaluation_report(found, columns=columns)])
    return result


def _searched(
    loaded: "LoadedModel", wanted: list[tuple[str, str]], options: dict[str, Any]
) -> "Repair":
    """The result, with a line on standard error while it is searched for."""
    from lens_core import Repair, repair_many_steps

    stream = typer.get_text_stream("stderr")
    for step in repair_many_steps(loaded, wanted, **options):
        if isinstance(step, Repair):
            if stream.isatty():
                typer.echo("", err=True)
            return step
        if stream.isatty():
            worst = float(step.margins.min())
            typer.echo(f"\rupdate {step.epoch}: worst margin {worst:8.2f} ", err=True, nl=False)
    raise AssertionError("the last step is the result")


def _compare(
    loaded: "LoadedModel",
    wanted: list[tuple[str, str]],
    methods: list[Any],
    options: dict[str, Any],
    measures: dict[str, Any],
    json: str | None,
) -> None:
    from lens_core import compare_repairs
    from lens_core.cli.repair_report import comparison_report

    own = {key: value for key, value in options.items() if key != "lr"}
    found: Comparison = compare_repairs(loaded, wanted, methods, evaluation=measures, **own)
    record = found.to_json()
    if json is not None:
        write_json(json, record)
    if json != STREAM:
        write(comparison_report(record))


def _keep(
    loaded: "LoadedModel",
    result: "Repair",
    *,
    out: str | None,
    merged: str | None,
    lora: str | None,
) -> None:
    """Write the edit in the forms that were asked for."""
    asked = [path for path in (out, merged, lora) if path is not None]
    if result.edit is None:
        for path in asked:
            typer.echo(f"There is no edit to keep; {path} was not written.", err=True)
        return
    from lens_core import save_lora, save_merged
    from lens_core.edits import save_edit

    if out is not None:
        with writing(out):
            save_edit(result.edit, out)
    if merged is not None:
        save_merged(loaded, result.edit, merged)
    if lora is not None:
        save_lora(loaded, result.edit, lora)
    for path in asked:
        typer.echo(f"Written: {path}", err=True)
