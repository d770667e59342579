"""The options of the command about the next token."""

from typing import Annotated, TypeAlias

import typer

K: TypeAlias = Annotated[int, typer.Option("--k", min=1, max=100, help="Tokens to list.")]
Temperature: TypeAlias = Annotated[
    float, typer.Option(help="Divides the logits, 0.01 to 100; 1 is the model's own.")
]
Nucleus: TypeAlias = Annotated[
    float, typer.Option(help="The share of the probability whose tokens are counted.")
]
Position: TypeAlias = Annotated[
    int, typer.Option(help="After which token of the prompt; -1 is the last.")
]
Text: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="STRING",
        help="Also how likely this string is there, exactly as it follows (mostly with a space in "
        "front).",
    ),
]
Append: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--append",
        metavar="TOKEN",
        help="Go on with this token first: a text of one token, or its id in digits; repeatable.",
    ),
]
Steps: TypeAlias = Annotated[
    int, typer.Option(min=0, max=256, help="Then go on so many times with the most likely token.")
]
CsvFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help='Write the listed tokens; "-" is standard output.'),
]
