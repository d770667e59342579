"""The options of the command about attribution."""

from typing import Annotated, Literal, TypeAlias

import typer

Target: TypeAlias = Annotated[
    str | None,
    typer.Option("--target", metavar="TEXT", help="What comes next. Default: the likeliest token."),
]
Foil: TypeAlias = Annotated[
    str | None,
    typer.Option("--foil", metavar="TEXT", help="A token that the target is held against."),
]
Score: TypeAlias = Annotated[
    Literal["log_p", "contrast", "kl", "flip"] | None,
    typer.Option(help="What is measured. Default: log_p, or contrast with a foil."),
]
Method: TypeAlias = Annotated[
    Literal[
        "occlusion",
        "input_x_gradient",
        "integrated_gradients",
        "gradient_shap",
        "shapley",
        "kernel_shap",
    ],
    typer.Option("--method", help="How scores are found."),
]
Also: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--also", metavar="METHOD", help="Another method to hold against it; repeatable."),
]
Features: TypeAlias = Annotated[
    Literal["token", "cluster", "word", "sentence"],
    typer.Option(help="What has a score; cluster is the tokens of one character."),
]
Specials: TypeAlias = Annotated[
    bool, typer.Option("--specials", help="Score special tokens as well.")
]
Occluder: TypeAlias = Annotated[
    Literal["knock_out", "replace", "mean", "delete"] | None,
    typer.Option(help="How tokens are removed. Default: knock_out where it is exact."),
]
Replacement: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="The token put there. Default: a neutral one."),
]
Window: TypeAlias = Annotated[
    int, typer.Option(min=1, max=1000, help="Adjacent features removed together.")
]
Interactions: TypeAlias = Annotated[
    int, typer.Option(min=0, max=16, help="Also pairs of so many features, with occlusion.")
]
Samples: TypeAlias = Annotated[
    int | None, typer.Option(min=1, max=5000, help="Of sampled methods. Default: their own.")
]
MaxSteps: TypeAlias = Annotated[
    int, typer.Option(min=10, max=3200, help="Most steps of integrated gradients.")
]
Query: TypeAlias = Annotated[
    int, typer.Option(help="The position after which the target comes; -1 is the last.")
]
Faithfulness: TypeAlias = Annotated[
    bool,
    typer.Option("--faithfulness", help="Also hold the rankings against random ones."),
]
CsvFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help='Write the features; "-" is standard output.'),
]
PngFile: TypeAlias = Annotated[
    str | None, typer.Option("--png", metavar="FILE", help="Write the bars as a picture.")
]
HtmlFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write the bars of every method, and how they fare beside chance, as a web page.",
    ),
]
