"""The commands that read a prompt through the lens, and those about models."""

from dataclasses import asdict
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import options as given
from lens_core.cli.app import app, write
from lens_core.cli.opening import LOADING, edited, load, picked, read_settings
from lens_core.cli.output import (
    STREAM,
    check_targets,
    prompt_text,
    reported,
    whole_numbers,
    write_json,
    write_text,
    writing,
)

if TYPE_CHECKING:
    from lens_core.lens import LogitLens
    from lens_core.models import LoadedModel


@app.command("logit-lens")
def logit_lens_command(
    prompt: given.Prompt,
    model: given.Model = "demo",
    json: given.JsonFile = None,
    csv: given.CsvFile = None,
    png: given.PngFile = None,
    html: given.HtmlFile = None,
    k: given.K = 5,
    components: given.Components = None,
    layers: given.Layers = None,
    layer_step: given.LayerStep = None,
    positions: given.Positions = None,
    scale: given.Scale = "final",
    norm: given.Norm = "final",
    target: given.Targets = None,
    target_id: given.TargetIds = None,
    track_position: given.Track = -1,
    generate: given.Generate = 0,
    temperature: given.Temperature = 0.0,
    top_p: given.TopP = 1.0,
    top_k: given.TopK = 0,
    seed: given.Seed = 0,
    important: given.Important = "kl_drop",
    threshold: given.Threshold = None,
    compat: given.Compat = False,
    divergences: given.Divergences = False,
    special: given.Special = "default",
    template: given.Template = None,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    max_tokens: given.MaxTokens = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Read the model's next token after each layer.

    The important layers with their top tokens: block outputs as probabilities, attention and MLP
    as the logits they add; then the top token of every layer at the last positions.
    """
    loading = picked(locals(), LOADING)
    if layers is not None and layer_step is not None:
        raise typer.BadParameter("Give --layers or --layer-step.", param_hint="--layer-step")
    from lens_core import logit_lens
    from lens_core.cli.lens_report import lens_report

    options: dict[str, Any] = {
        "k": k,
        "layers": whole_numbers("--layers", layers),
        "positions": whole_numbers("--positions", positions),
        "scale": scale,
        "norm": norm,
        "targets": [*(target or ()), *(target_id or ())],
        "track_position": track_position,
        "generate": generate,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
        "important": important,
        "threshold": threshold,
        "compat": compat,
        "divergences": divergences,
    }
    with reported():
        check_targets(json, csv, files=(png, html))
        text = prompt_text(prompt)
        chosen = read_settings(settings)
        options["max_tokens"] = max_tokens or chosen.max_tokens.logit_lens
        loaded = load(chosen, model, loading)
        options["components"] = _components(loaded, components)
        if layer_step is not None:
            options["layers"] = _every(layer_step, loaded.n_layers)
        ids = loaded.tokenize(text, template=template, special=special)
        with edited(loaded, edit, strength):
            result = logit_lens(loaded, ids, **options)
        _write_lens(result, json=json, csv=csv)
        _draw_lens(result, png=png, html=html)
        if STREAM not in (json, csv):
            record, columns = result.to_json(), get_terminal_size((100, 24)).columns
            write(lens_report(record, columns=columns))


@app.command("models")
def models_command(json: given.JsonFile = None, settings: given.SettingsFile = None) -> None:
    """List the models of the settings.

    Says what is known of each without loading it; nothing is downloaded.
    """
    from lens_core.cli.model_report import listed_models, model_list

    with reported():
        check_targets(json)
        records = listed_models(read_settings(settings))
        if json is not None:
            write_json(json, {"schema": "lens_core/models/1", "models": records})
        if json != STREAM:
            write(model_list(records))


@app.command("check")
def check_command(
    model: given.ModelName,
    json: given.JsonFile = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Load a model and print its facts.

    With the errors that the self-check measured, and the features that it allows.
    """
    loading = picked(locals(), LOADING)
    from lens_core.cli.model_report import facts_report

    with reported():
        check_targets(json)
        loaded = load(read_settings(settings), model, loading)
        check = loaded.self_check.to_json()
        record = {**loaded.header("check"), "facts": asdict(loaded.facts), "measured": check}
        if json is not None:
            write_json(json, record)
        if json != STREAM:
            write(facts_report(record["facts"], check))


def _components(loaded: "LoadedModel", chosen: str | None) -> tuple[str, ...]:
    """The components to read; by default those of the report that are exact for this model."""
    if chosen is not None:
        return tuple(part.strip() for part in chosen.split(","))
    off = [loaded.self_check.reason_off(feature) for feature in ("streams", "attribution")]
    return ("resid_post",) if any(off) else ("resid_post", "attn_out", "mlp_out")


def _every(step: int, count: int) -> list[int]:
    """Every so many layers, and the last."""
    return sorted({*range(0, count, step), count - 1})


def _write_lens(result: "LogitLens", *, json: str | None, csv: str | None) -> None:
    if json is not None:
        write_json(json, result.to_json())
    if csv is not None:
        write_text(csv, result.to_csv())


def _draw_lens(result: "LogitLens", *, png: str | None, html: str | None) -> None:
    """The heat map of the block outputs, or of the first component where they are left out."""
    if png is None and html is None:
        return
    from lens_core.figures import lens_heatmap, save_html, save_png

    name = "resid_post" if "resid_post" in result.cells else next(iter(result.cells))
    quantity = "logit" if result.cells[name].top_p is None else "probability"
    figure = lens_heatmap(result, name, quantity)
    for file, save in ((png, save_png), (html, save_html)):
        if file is not None:
            with writing(file):
                save(figure, file)
