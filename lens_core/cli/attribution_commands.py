"""The command that says what in a prompt matters."""

from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import attribution_options as asked
from lens_core.cli import options as given
from lens_core.cli.app import app, write
from lens_core.cli.opening import LOADING, edited, load, picked, read_settings
from lens_core.cli.output import (
    STREAM,
    check_targets,
    prompt_text,
    reported,
    write_json,
    write_text,
)
from lens_core.cli.pictures import write_pictures

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from torch import Tensor

    from lens_core.attribution import Attribution
    from lens_core.models import LoadedModel

ASKED = (
    *("target", "foil", "score", "query", "features", "specials", "occluder", "replacement"),
    *("samples", "max_steps", "seed"),
)
"""The arguments that every method takes, by their names in `attribute`."""


@app.command("attribute")
def attribute_command(
    prompt: given.Prompt,
    model: given.Model = "demo",
    json: given.JsonFile = None,
    csv: asked.CsvFile = None,
    png: asked.PngFile = None,
    html: asked.HtmlFile = None,
    method: asked.Method = "occlusion",
    also: asked.Also = None,
    target: asked.Target = None,
    foil: asked.Foil = None,
    score: asked.Score = None,
    query: asked.Query = -1,
    features: asked.Features = "token",
    specials: asked.Specials = False,
    occluder: asked.Occluder = None,
    replacement: asked.Replacement = None,
    window: asked.Window = 1,
    interactions: asked.Interactions = 0,
    samples: asked.Samples = None,
    max_steps: asked.MaxSteps = 400,
    faithfulness: asked.Faithfulness = False,
    seed: given.Seed = 0,
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
    """Score how much each part of the prompt matters to what comes next.

    The gap says how far the scores are from adding up; --faithfulness holds their order against
    random ones.
    """
    loading, options = picked(locals(), LOADING), picked(locals(), ASKED)
    own = {"window": window, "interactions": interactions}
    with reported():
        check_targets(json, csv, files=(png, html))
        text = prompt_text(prompt)
        chosen = read_settings(settings)
        loaded = load(chosen, model, loading)
        options["max_tokens"] = max_tokens or chosen.max_tokens.logit_lens
        ids = loaded.tokenize(text, template=template, special=special)
        with edited(loaded, edit, strength):
            found = [_attributed(loaded, ids, one, options, own) for one in (method, *(also or ()))]
            trust = _trusted(loaded, ids, found, seed) if faithfulness else None
        record = found[0].to_json()
        record["also"] = [one.to_json() for one in found[1:]]
        record["faithfulness"] = trust
        if json is not None:
            write_json(json, record)
        if csv is not None:
            write_text(csv, found[0].to_csv())
        if png is not None or html is not None:
            write_pictures(_figures(record), png=png, html=html)
        if STREAM not in (json, csv):
            _report(record)


def _attributed(
    loaded: "LoadedModel",
    ids: "Tensor",
    method: str,
    options: dict[str, Any],
    own: dict[str, Any],
) -> "Attribution":
    """One method's scores, with a line on standard error while they are found."""
    from lens_core import attribute_steps
    from lens_core.attribution import Attribution

    stream = typer.get_text_stream("stderr")
    for step in attribute_steps(loaded, ids, method=method, **options, **own):
        if isinstance(step, Attribution):
            if stream.isatty():
                typer.echo("", err=True)
            return step
        if stream.isatty():
            typer.echo(f"\r{method}: {step.done} of {step.total} ", err=True, nl=False)
    raise AssertionError("the last step is the result")


def _trusted(
    loaded: "LoadedModel", ids: "Tensor", found: list["Attribution"], seed: int
) -> dict[str, Any]:
    from lens_core import faithfulness

    return faithfulness(loaded, ids, found, seed=seed).to_json()


def _figures(record: dict[str, Any]) -> "list[go.Figure]":
    """The bars of every method, then their faithfulness where it was measured."""
    from lens_core.figures import attribution_bars, faithfulness_strip

    figures = [attribution_bars(one) for one in (record, *record["also"])]
    if record["faithfulness"] is not None:
        title = "Are the orders better than chance?"
        figures.append(faithfulness_strip(record["faithfulness"], title=title))
    return figures


def _report(record: dict[str, Any]) -> None:
    from lens_core.cli.attribution_report import attribution_report, faithfulness_report

    columns = get_terminal_size((100, 24)).columns
    for one in (record, *record["also"]):
        write(attribution_report(one, columns=columns))
        write([""])
    if record["faithfulness"] is not None:
        write(faithfulness_report(record["faithfulness"]))
