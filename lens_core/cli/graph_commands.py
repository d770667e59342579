"""The commands about the contribution graph: of one prompt, and over many."""

import re
from collections.abc import Mapping
from functools import partial
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import graph_options as graph
from lens_core.cli import options as given
from lens_core.cli.app import app, write
from lens_core.cli.opening import LOADING, edited, load, picked, read_settings
from lens_core.cli.output import (
    STREAM,
    check_targets,
    file_text,
    prompt_text,
    reported,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from lens_core.cli.statistics_rows import RowsFile
    from lens_core.models import LoadedModel
    from lens_core.tree import ContributionGraph, GraphStatistics

_COUNTED = ("threshold", "mode", "metric", "bias")
_DRAWN = (*_COUNTED, "target", "foil", "numerics", "merge_self")
"""The arguments that are handed on as they are."""

STOPPED = 130
"""Exit code after an interruption, as a shell gives it."""


@app.command("graph")
def graph_command(
    prompt: graph.Prompt = None,
    prompt_file: graph.PromptFile = None,
    against: graph.Against = None,
    against_unedited: graph.Unedited = False,
    model: given.Model = "demo",
    root: graph.Root = "-1",
    threshold: graph.Threshold = 0.04,
    mode: graph.Mode = "per_part",
    metric: graph.Metric = "l1",
    target: graph.Target = None,
    foil: graph.Foil = None,
    bias: graph.Bias = "part",
    numerics: graph.Numerics = "clean",
    merge_self: graph.MergeSelf = False,
    top: graph.Top = 20,
    json: graph.JsonFile = None,
    csv: graph.CsvFile = None,
    graphml: graph.GraphmlFile = None,
    special: given.Special = "default",
    template: given.Template = None,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    max_tokens: graph.MaxTokens = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Show what a prediction was made of, down to the tokens.

    Every state of the model is a sum of parts: the stream before it, what each attention head
    moved there from each position, the MLP, biases. A link is the share of a part in its state.
    The table lists the links that most of the root passes through (its influence). Contributions
    are no causes: they say what a state is made of, not what would happen without a part.
    """
    arguments = locals()
    difference = against is not None or against_unedited
    _check_together(arguments, difference=difference)
    with reported():
        check_targets(json, csv, graphml)
        text = prompt_text(prompt) if prompt is not None else file_text(prompt_file or "")
        chosen = read_settings(settings)
        options = {**picked(arguments, _DRAWN), "root": parsed_root(root)}
        options["max_tokens"] = max_tokens or chosen.max_tokens.graph
        loaded = load(chosen, model, picked(arguments, LOADING))
        draw = partial(_drawn, loaded, template=template, special=special, strength=strength)
        found, other = draw(text, edit, options=options), None
        if difference:
            edits = None if against_unedited else edit
            other = draw(against or text, edits, options=options)
        _write_graph(found, other, json=json, csv=csv, graphml=graphml, top=top)


def _check_together(arguments: Mapping[str, Any], *, difference: bool) -> None:
    """Refuse options that do not go together.

    Raises:
        typer.BadParameter: says which.
    """
    if (arguments["prompt"] is None) == (arguments["prompt_file"] is None):
        raise typer.BadParameter("Give a prompt or --prompt-file, and not both.")
    if difference and arguments["graphml"]:
        said = "GraphML holds one graph; write a difference as --json or --csv."
        raise typer.BadParameter(said, param_hint="--graphml")
    if arguments["against_unedited"] and not arguments["edit"]:
        raise typer.BadParameter("Give an --edit, too.", param_hint="--against-unedited")


def _drawn(
    loaded: "LoadedModel",
    prompt: str,
    edits: list[str] | None,
    *,
    options: dict[str, Any],
    template: str | None,
    special: str,
    strength: float,
) -> "ContributionGraph":
    """The graph of a prompt under the edits of some files."""
    from lens_core import contribution_graph

    ids = loaded.tokenize(prompt, template=template, special=special)
    with edited(loaded, edits, strength):
        return contribution_graph(loaded, ids, **options)


def _write_graph(
    found: "ContributionGraph",
    other: "ContributionGraph | None",
    *,
    json: str | None,
    csv: str | None,
    graphml: str | None,
    top: int,
) -> None:
    """The files that are asked for, and the report; of what the graph has more than another."""
    from lens_core import graph_difference
    from lens_core.cli.graph_report import difference_report, graph_report

    shown = found if other is None else graph_difference(other, found)
    record = shown.to_json()
    if json is not None:
        write_json(json, record)
    if csv is not None:
        write_text(csv, shown.to_csv())
    if graphml is not None:
        write_text(graphml, found.to_graphml())
    if STREAM not in (json, csv, graphml):
        report = graph_report if other is None else difference_report
        write(report(record, top=top, columns=get_terminal_size((100, 24)).columns))


@app.command("graph-statistics")
def graph_statistics_command(
    prompts: graph.Prompts,
    out: graph.RowsFile = None,
    model: given.Model = "demo",
    root: graph.Root = "-1",
    threshold: graph.Threshold = 0.04,
    mode: graph.Mode = "per_part",
    metric: graph.Metric = "l1",
    bias: graph.Bias = "part",
    top: graph.TopComponents = 20,
    json: graph.JsonFile = None,
    csv: graph.TableFile = None,
    special: given.Special = "default",
    template: given.Template = None,
    edit: given.EditFile = None,
    strength: given.Strength = 1.0,
    max_tokens: graph.MaxTokens = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Count how often every head and MLP is active over many prompts.

    A head or MLP is active in a prompt when its share in a state of the tree below the root is
    above the threshold. Intervals hold 95 %. Prompts that cannot be read are left out and named.
    """
    arguments = locals()
    options = {**picked(arguments, (*_COUNTED, "template", "special")), "root": parsed_root(root)}
    with reported():
        check_targets(json, csv, files=(out,))
        from lens_core.cli.statistics_report import statistics_report
        from lens_core.cli.statistics_rows import opened_rows, read_prompts

        texts = read_prompts(prompts)
        chosen = read_settings(settings)
        options["max_tokens"] = max_tokens or chosen.max_tokens.graph
        loaded = load(chosen, model, picked(arguments, LOADING))
        with edited(loaded, edit, strength), opened_rows(out, loaded, options, texts) as rows:
            result = _counted(loaded, texts, options, rows)
        record = result.to_json()
        if json is not None:
            write_json(json, record)
        if csv is not None:
            write_text(csv, result.to_csv())
        if STREAM not in (json, csv):
            write(statistics_report(result, top=top))


def parsed_root(text: str) -> Any:
    """The root of an option such as "-1", "I3_5", "2,I1_4" or "all"."""
    parts = [int(part) if re.fullmatch(r"-?\d+", part) else part for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts


def _counted(
    loaded: "LoadedModel", texts: list[str], options: dict[str, Any], rows: "RowsFile"
) -> "GraphStatistics":
    """The statistics, with a bar on standard error while they are counted."""
    from lens_core import GraphStatistics, graph_statistics_steps

    steps = graph_statistics_steps(loaded, texts, known=rows.known, **options)
    done = len(rows.known)
    with typer.progressbar(
        length=len(texts), label="Prompts", file=typer.get_text_stream("stderr")
    ) as bar:
        bar.update(done)
        try:
            for step in steps:
                if isinstance(step, GraphStatistics):
                    return step
                rows.add(step.activity)
                done = step.done
                bar.update(1)
        except KeyboardInterrupt:
            kept = "the same command goes on from there" if rows.path else "--out would keep them"
            typer.echo(f"\nStopped after {done} of {len(texts)} prompts; {kept}.", err=True)
            raise typer.Exit(STOPPED) from None
    raise AssertionError("the last step is the result")
