"""The options of the commands about the contribution graph."""

from typing import Annotated, Literal, TypeAlias

import typer

Prompt: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help='The text, exactly as typed; "-" reads standard input. Or give --prompt-file.',
        show_default=False,
    ),
]
PromptFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--prompt-file", metavar="FILE", help="Read the prompt from a UTF-8 file."),
]
Prompts: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help='One prompt a line; in a .jsonl file one record a line, with the prompt in "prompt" '
        'or "text". Empty lines do not count. "-" reads standard input.',
    ),
]
Against: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="PROMPT",
        help="Show what PROMPT has more than this one; the roots share a column.",
    ),
]
Unedited: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--against-unedited", help="Show what the graph has more with --edit than without."
    ),
]
Root: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="What to explain: positions such as -1, nodes such as I3_5, or all.",
    ),
]
Threshold: TypeAlias = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Shares up to it are left out.")
]
Mode: TypeAlias = Annotated[
    Literal["per_part", "per_edge"],
    typer.Option(help="Compare each (source, head) with the threshold, or sums over heads."),
]
Metric: TypeAlias = Annotated[
    Literal["l1", "l2", "projection", "norm", "logit"],
    typer.Option(help="How a part's share in a state is measured."),
]
Bias: TypeAlias = Annotated[
    Literal["part", "ignore"], typer.Option(help="Whether what biases add gets a share.")
]
Numerics: TypeAlias = Annotated[
    Literal["clean", "compat"],
    typer.Option(help="compat: those of the LM Transparency Tool."),
]
Target: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Of metric logit: one token. Default: the prediction."),
]
Foil: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Of metric logit: a token whose logit is subtracted."),
]
MergeSelf: TypeAlias = Annotated[
    bool, typer.Option("--merge-self", help="Attention to the own position joins the residual.")
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help='Write it as JSON; "-" is standard output.'),
]
CsvFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help='Write every link; "-" is standard output.'),
]
GraphmlFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--graphml",
        metavar="FILE",
        help='Write it for networkx, Gephi, Cytoscape or igraph; "-" is standard output.',
    ),
]
TableFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help='Write every head and MLP; "-": standard output.'),
]
RowsFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Keep one JSON line a prompt here. If the file is there, its prompts are not read "
        "again: an interrupted run goes on where it stopped.",
    ),
]
Top: TypeAlias = Annotated[int, typer.Option(min=0, help="Links in the table.")]
TopComponents: TypeAlias = Annotated[
    int, typer.Option("--top", min=0, help="Heads and MLPs in the table.")
]
MaxTokens: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Longest prompt. Default: that of the settings.")
]
