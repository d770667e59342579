"""The command that says what comes next, and how likely a string is."""

from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from lens_core.cli import next_token_options as asked
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
from lens_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.models import LoadedModel
    from lens_core.next_token_prediction import NextToken

SHOWN = ("k", "temperature", "nucleus")
"""The arguments that say what is shown, by their names in `next_token`."""


@app.command("next-token")
def next_token_command(
    prompt: given.Prompt,
    model: given.Model = "demo",
    k: asked.K = 10,
    temperature: asked.Temperature = 1.0,
    nucleus: asked.Nucleus = 0.9,
    position: asked.Position = -1,
    text: asked.Text = None,
    append: asked.Append = None,
    steps: asked.Steps = 0,
    json: given.JsonFile = None,
    csv: asked.CsvFile = None,
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
    """List the most likely next tokens.

    With the entropy of all tokens, how many of them share most of the probability, and on request
    how likely a string is. --append and --steps go on from the prompt.
    """
    loading, shown = picked(locals(), LOADING), picked(locals(), SHOWN)
    with reported():
        check_targets(json, csv)
        before = prompt_text(prompt)
        chosen = read_settings(settings)
        loaded = load(chosen, model, loading)
        shown["max_tokens"] = max_tokens or chosen.max_tokens.attention
        ids = loaded.tokenize(before, template=template, special=special)
        with edited(loaded, edit, strength):
            found = _predicted(loaded, ids, shown, position, [*(append or ()), *[None] * steps])
            record = found.to_json()
            record["string"] = None if text is None else _string(loaded, record, text, shown)
        if json is not None:
            write_json(json, record)
        if csv is not None:
            write_text(csv, found.to_csv())
        if STREAM not in (json, csv):
            from lens_core.cli.next_token_report import next_token_report

            write(next_token_report(record, columns=get_terminal_size((100, 24)).columns))


def _predicted(
    loaded: "LoadedModel",
    ids: "Tensor",
    shown: dict[str, Any],
    position: int,
    tokens: list[str | None],
) -> "NextToken":
    """What comes after a position, or after some more tokens; None is the most likely one.

    Raises:
        InputError: tokens are to be appended behind a position that is not the last.
    """
    from lens_core import Continuation, next_token

    if not tokens:
        return next_token(loaded, ids, position=position, **shown)
    if position not in (-1, len(ids) - 1):
        raise InputError(
            f"--position is {position}, but --append and --steps go on from the end of the prompt, "
            f"position {len(ids) - 1}. Leave --position out, or shorten the prompt."
        )
    text = Continuation(loaded, ids, **shown)
    for token in tokens:
        # A token whose text is a number has to be given by its id.
        text.append(int(token) if token is not None and _is_id(token) else token)
    return text.next


def _is_id(token: str) -> bool:
    return token.isascii() and token.isdigit()


def _string(
    loaded: "LoadedModel", record: dict[str, Any], text: str, shown: dict[str, Any]
) -> dict[str, Any]:
    """How likely a string is after the position that is shown."""
    import torch

    from lens_core import string_probability

    read = torch.tensor(record["input"]["ids"][: record["position"] + 1])
    return string_probability(loaded, read, text, max_tokens=shown["max_tokens"]).to_json()
