"""The command about models behind an API."""

from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import options as given
from lens_core.cli import remote_options as asked
from lens_core.cli.app import app, write
from lens_core.cli.opening import picked
from lens_core.cli.output import (
    STREAM,
    check_targets,
    prompt_text,
    reported,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from lens_core.remote import Endpoint, RemoteImportance

_OPTIONS = (
    "method",
    "samples",
    "answer",
    "system",
    "tier",
    "units",
    "cjk",
    "mask",
    "distance",
    "embedding_model",
)
_OPTIONS += ("answer_tokens", "repeats", "floor", "seed", "max_requests", "concurrency")
STOPPED = 130
"""Exit code after an interruption, as a shell gives it."""


@app.command("remote-importance")
def remote_importance_command(
    prompt: given.Prompt,
    base_url: asked.BaseUrl,
    model: asked.RemoteModel,
    api_key: asked.ApiKey = None,
    method: asked.Method = "occlusion",
    samples: asked.Samples = 5,
    answer: asked.Answer = None,
    system: asked.System = None,
    tier: asked.Tier = None,
    units: asked.Units = "words",
    cjk: asked.Cjk = "character",
    mask: asked.Mask = "",
    protect: asked.Protect = None,
    distance: asked.Distance = "edit",
    embedding_model: asked.EmbeddingModel = None,
    answer_tokens: asked.AnswerTokens = 16,
    repeats: asked.Repeats = None,
    floor: asked.Floor = 1e-6,
    seed: asked.Seed = 0,
    max_requests: asked.MaxRequests = 200,
    concurrency: asked.Concurrency = 4,
    cache: asked.CacheFolder = None,
    estimate: asked.EstimateOnly = False,
    json: asked.JsonFile = None,
    csv: asked.CsvFile = None,
) -> None:
    """Show which parts of a prompt matter to a model behind an API.

    Every part is masked once, and the change of the answer is its importance; or, with --method
    shapley, parts are masked together and share the change. What the same
    prompt changes when it is asked again is the noise; a star marks what exceeds it. The prompt
    goes to that API, and to nobody else.
    """
    arguments = locals()
    options = {**picked(arguments, _OPTIONS), "protected": tuple(protect or ())}
    with reported():
        check_targets(json, csv)
        from lens_core.cli.remote_report import estimate_line, remote_report
        from lens_core.remote import Endpoint, remote_estimate

        text = prompt_text(prompt)
        if estimate:
            write([estimate_line(remote_estimate(text, **options).to_json())])
            return
        endpoint = Endpoint(base_url, model, api_key or None)
        result = _asked(endpoint, text, options, cache)
        record = result.to_json()
        if json is not None:
            write_json(json, record)
        if csv is not None:
            write_text(csv, result.to_csv())
        if STREAM not in (json, csv):
            write(remote_report(record, columns=get_terminal_size((100, 24)).columns))


def _asked(
    endpoint: "Endpoint", prompt: str, options: dict[str, Any], cache: str | None
) -> "RemoteImportance":
    """The result; the estimate and how far it is are told on standard error."""
    from lens_core.cli.remote_report import estimate_line
    from lens_core.remote import RemoteImportance, remote_importance_steps

    stream = typer.get_text_stream("stderr")
    steps = remote_importance_steps(endpoint, prompt, cache=cache, **options)
    sent = 0
    try:
        for step in steps:
            if isinstance(step, RemoteImportance):
                if stream.isatty():
                    typer.echo("", err=True)
                return step
            sent = step.requests
            if step.stage == "estimate":
                typer.echo(estimate_line(step.estimate.to_json()), err=True)
            elif stream.isatty():
                said = f"\rtier {step.tier}: {step.done} of {step.total} answers "
                typer.echo(said, err=True, nl=False)
    except KeyboardInterrupt:
        kept = "the same command goes on from there" if cache else "--cache would keep them"
        typer.echo(f"\nStopped after {sent} requests; {kept}.", err=True)
        raise typer.Exit(STOPPED) from None
    raise AssertionError("the last step is the result")
