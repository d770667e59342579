"""The options of the command about attention."""

from typing import Annotated, TypeAlias

import typer

Query: TypeAlias = Annotated[
    int, typer.Option(help="The position that is looked from; negative ones from the end.")
]
Layers: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Whose heads are shown, such as 0,5,-1. Default: all. Sinks, rollout and flow are "
        "always of all layers.",
    ),
]
Flow: TypeAlias = Annotated[
    bool, typer.Option("--flow", help="Also the maximum flow from each token; up to 32 tokens.")
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help='Write everything as JSON; "-": standard output.'),
]
CsvFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help='Write the weights of every head; "-": standard output.',
    ),
]
Top: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Tokens in the table: those that are looked at most.")
]
MaxTokens: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Longest prompt. Default: that of the settings, 1024.")
]
PngFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--png", metavar="FILE", help="Write how much each token is looked at as a picture."
    ),
]
HtmlFile: TypeAlias = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="Write the same as a web page.")
]
Layer: TypeAlias = Annotated[
    int, typer.Option("--layer", help="Of the picture; negative ones from the last layer.")
]
Head: TypeAlias = Annotated[
    int | None, typer.Option("--head", help="Of the picture. Default: the mean of heads.")
]
Importance: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--importance",
        help="Beside it in the picture, how far the prediction falls without each token.",
    ),
]
