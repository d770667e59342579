"""The command about attention: where a model looks, with all that keeps it from being misread."""

from shutil import get_terminal_size

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
        check_targets(json, csv)
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
        record = found.to_json()
        if json is not None:
            write_json(json, record)
        if csv is not None:
            write_text(csv, found.to_csv())
        if STREAM not in (json, csv):
            columns = get_terminal_size((100, 24)).columns
            write(attention_report(record, top=top, columns=columns))
