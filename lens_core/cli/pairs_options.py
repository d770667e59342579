"""The options of the commands about minimal pairs."""

from typing import Annotated, Any, Literal, TypeAlias

import typer

Model: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model",
        "--model-name",
        help="demo, a folder, a Hugging Face Hub id, or a name from the settings.",
    ),
]
OutputDir: TypeAlias = Annotated[
    str, typer.Option("--output-dir", metavar="FOLDER", help="Made where it is missing.")
]
Dataset: TypeAlias = Annotated[
    str,
    typer.Option(
        "--dataset-path",
        metavar="FILE",
        help="Pairs: the original's JSON, one JSON pair a line, a CSV table, or BLiMP; also .gz.",
        show_default=False,
    ),
]
Format: TypeAlias = Annotated[
    Literal["original", "json", "jsonl", "blimp", "csv"] | None,
    typer.Option(help="Of that file. Default: as its content shows."),
]
LoadIn8Bit: TypeAlias = Annotated[
    bool, typer.Option("--load-in-8bit", help="As --quantization 8bit.")
]
LoadIn4Bit: TypeAlias = Annotated[
    bool, typer.Option("--load-in-4bit", help="As --quantization 4bit.")
]
Seed: TypeAlias = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Of everything that is drawn.")
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help='Write it as JSON; "-" is standard output.'),
]

# make
NumPairs: TypeAlias = Annotated[
    int, typer.Option("--num-pairs", min=1, help="Of every category; of all for --source local.")
]
Categories: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="See --list; an API takes free text, too. Default: the six of the original.",
    ),
]
Lang: TypeAlias = Annotated[Literal["en", "ja", "zh"], typer.Option(help="Of the sentences.")]
Source: TypeAlias = Annotated[
    Literal["template", "local", "endpoint"],
    typer.Option(
        help="template: sentences that come along, no network. local: a model replaces words of "
        "--sentences. endpoint: a model behind an API writes them."
    ),
]
Maker: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "--model-name",
        help="Of --source local (default: demo), or the name that the API serves.",
    ),
]
Sentences: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help='Of --source local: one a line, or .jsonl with "text"; "-" reads stdin.',
    ),
]
UsesPerEdit: TypeAlias = Annotated[
    int,
    typer.Option(
        "--uses-per-edit", min=1, max=100, help="Pairs that may have the same change; not an API's."
    ),
]
BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Of an OpenAI-compatible API, such as https://host/v1; its key comes from the "
        "environment variable LENS_API_KEY.",
    ),
]


def _from_environment(context: Any, key: str | None) -> str | None:
    """Refuse a key that a shell would keep in its history."""
    source = context.get_parameter_source("api_key")
    if source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("Give the key in the environment variable LENS_API_KEY.")
    return key or None


ApiKey: TypeAlias = Annotated[
    str | None,
    typer.Option("--api-key", envvar="LENS_API_KEY", hidden=True, callback=_from_environment),
]
Tokenizer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Report how the sides align for this model; its weights stay unread."
    ),
]
EqualLength: TypeAlias = Annotated[
    bool,
    typer.Option("--equal-length", help="Keep only pairs of equally many tokens for that model."),
]
ListCategories: TypeAlias = Annotated[
    bool, typer.Option("--list", help="Only show the categories.")
]

# analyze
LayerIndices: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--layer-indices",
        "--layers",
        metavar="LIST",
        help="Such as 0,1,2; -1 is the embedding. Default: all, with the embedding.",
    ),
]
Threshold: TypeAlias = Annotated[
    float,
    typer.Option(help="Below it a difference is minimal in the original's files and figures."),
]
Visualize: TypeAlias = Annotated[
    bool, typer.Option("--visualize", help="Also draw the original's figures.")
]
TopN: TypeAlias = Annotated[
    int, typer.Option("--top-n", min=1, max=100, help="Dims shown in the report and figures.")
]
Normalization: TypeAlias = Annotated[
    Literal["none", "l2", "cosine"],
    typer.Option(help="Of the differences in the original's files; the tests need none."),
]
Readout: TypeAlias = Annotated[
    Literal["last", "edit", "edit_last", "suffix", "prefix"],
    typer.Option(help="Where both sides are read: last is where the next token is predicted."),
]
DiffComponents: TypeAlias = Annotated[
    str,
    typer.Option(
        "--components", metavar="LIST", help="Such as resid_post,attn_out; a wrong one lists all."
    ),
]
SamePositions: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--same-positions",
        help="Give what follows an edit the same positions on both sides, where a model can.",
    ),
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Keep what is finished in results/windows until all is, and go on from there after a "
        "stop.",
    ),
]
NoControl: TypeAlias = Annotated[
    bool,
    typer.Option("--no-control", help="Skip the negative control; nothing counts as found then."),
]
NoLens: TypeAlias = Annotated[
    bool, typer.Option("--no-lens", help="Skip reading every state as a prediction.")
]
HitShare: TypeAlias = Annotated[
    float, typer.Option("--q", help="Share of least responsive dims that counts as a hit.")
]
Alpha: TypeAlias = Annotated[float, typer.Option(help="Share of false discoveries allowed.")]
Correction: TypeAlias = Annotated[
    Literal["bh", "by"], typer.Option(help="by allows for any dependence between dims.")
]
MaxPairs: TypeAlias = Annotated[
    int | None, typer.Option("--max-pairs", min=1, help="Compare only the first so many.")
]
TestSets: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--set-effect",
        help="Hold the dims found in a layer at their mean, against random sets: do they matter?",
    ),
]
Original: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--original/--no-original",
        help="Write activation_results_*.json and minimal_diff_dimensions_*.json. Default: up to "
        "about 200 MB.",
        show_default=False,
    ),
]

# plot
ResultsDir: TypeAlias = Annotated[
    str, typer.Option("--results-dir", metavar="FOLDER", help="What analyze has written to.")
]
PlotDir: TypeAlias = Annotated[
    str | None,
    typer.Option("--output-dir", metavar="FOLDER", help="Default: the folder of the comparison."),
]
PlotType: TypeAlias = Annotated[
    str,
    typer.Option(
        "--plot-type",
        metavar="LIST",
        help="heatmap, bar: the original's of single pairs. scatter: how often a dim hardly "
        "responds. layers: a metric from layer to layer. profile: all dims of a site.",
    ),
]
PlotPairs: TypeAlias = Annotated[
    int, typer.Option("--pairs", min=0, help="Pairs with figures of their own.")
]
Sites: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Of scatter and profile, such as embed,layer_3. Default: where dims were found, or "
        "else the last one.",
    ),
]
Metric: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", help="Of layers, such as rel_l2, cos_dist, js_lens.")
]
By: TypeAlias = Annotated[
    Literal["all", "type", "subtype"], typer.Option(help="The lines of layers.")
]
Order: TypeAlias = Annotated[
    Literal["index", "ascending", "descending"], typer.Option(help="Of the dims of profile.")
]
PlotDims: TypeAlias = Annotated[
    int, typer.Option("--dims", min=1, max=1000, help="Of a heat map, the same in all layers.")
]
PlotOriginal: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--original", help="Also write the original's two JSON files, however large they are."
    ),
]
