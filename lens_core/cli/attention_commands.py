"""The command about attention: where a model looks, with all that keeps it from being misread."""

from shutil import get_terminal_size
from typing import TYPE_CHECKING

from lens_core.cli import attention_options as attention
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
)
from lens_core.cli.pictures import write_pictures
from lens_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.attention import AttentionViews
    from lens_core.attribution import Attribution
    from lens_core.models import LoadedModel


@app.command("attention")
def attention_command(
    prompt: given.Prompt,
    model: given.Model = "demo",
    query: attention.Query = -1,
    layers: attention.Layers = None,
    flow: attention.Flow = False,
    top: attention.Top = 20,
    json: attention.JsonFile = None,
    csv: attention.CsvFile = None,
    png: attention.PngFile = None,
    html: attention.HtmlFile = None,
    layer: attention.Layer = -1,
    head: attention.Head = None,
    importance: attention.Importance = False,
    special: given.Special = "default",
    template: given.Template = None,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    max_tokens: attention.MaxTokens = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Show where the heads look from one position, and what is predicted there.

    Attention says where a layer looks, not what the prediction depends on. So the table also has
    how much is moved from each token, what comes through all layers (rollout) against attention
    that looks nowhere in particular, and which tokens are sinks.
    """
    loading = picked(locals(), LOADING)
    chosen_layers = whole_numbers("--layers", layers)
    with reported():
        check_targets(json, csv, files=(png, html))
        draws = png is not None or html is not None
        for name, is_given in (
            ("--importance", importance),
            ("--layer", layer != -1),
            ("--head", head is not None),
        ):
            if is_given and not draws:
                raise InputError(f"{name} is for the picture; give --png or --html as well.")
        text = prompt_text(prompt)
        chosen = read_settings(settings)
        from lens_core import attention_views
        from lens_core.cli.attention_report import attention_report

        loaded = load(chosen, model, loading)
        ids = loaded.tokenize(text, template=template, special=special)
        with edited(loaded, edit, strength):
            found = attention_views(
                loaded,
                ids,
                layers=chosen_layers,
                query=query,
                flow=flow,
                max_tokens=max_tokens or chosen.max_tokens.attention,
            )
            limit = max_tokens or chosen.max_tokens.attention
            scores = _scores(loaded, ids, found, limit) if importance else None
        record = found.to_json()
        if json is not None:
            write_json(json, record)
        if csv is not None:
            write_text(csv, found.to_csv())
        if draws:
            from lens_core.figures import attention_tokens

            figure = attention_tokens(record, layer=layer, head=head, importance=scores)
            write_pictures([figure], png=png, html=html)
        if STREAM not in (json, csv):
            columns = get_terminal_size((100, 24)).columns
            write(attention_report(record, top=top, columns=columns))


def _scores(
    loaded: "LoadedModel", ids: "Tensor", found: "AttentionViews", limit: int
) -> "Attribution":
    """How far the prediction at the query falls without each token."""
    from lens_core import attribute

    return attribute(loaded, ids, query=found.query, specials=True, max_tokens=limit)
