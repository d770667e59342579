"""The options of the commands that patch a pair, and that remove or move layers."""

from typing import Annotated, Literal, TypeAlias

import typer

# patch
Sentence1: TypeAlias = Annotated[
    str | None,
    typer.Option("--sentence1", metavar="TEXT", help="The clean side, which has the answer."),
]
Sentence2: TypeAlias = Annotated[
    str | None, typer.Option("--sentence2", metavar="TEXT", help="The corrupt side.")
]
Answer1: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--answer1", metavar="TEXT", help="What side 1 goes on with, mostly with a space in front."
    ),
]
Answer2: TypeAlias = Annotated[
    str | None, typer.Option("--answer2", metavar="TEXT", help="What side 2 goes on with.")
]
OnePairOf: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dataset-path", metavar="FILE", help="A file of pairs to take one from, with --pair."
    ),
]
PairNumber: TypeAlias = Annotated[
    int | None, typer.Option("--pair", min=0, help="Which pair of that file, from 0.")
]
TraceMetric: TypeAlias = Annotated[
    Literal["auto", "logit_difference", "log_p", "kl"],
    typer.Option(
        "--metric", help="auto: the logits of answer1 minus answer2, or kl without answers."
    ),
]
TraceComponents: TypeAlias = Annotated[
    str,
    typer.Option("--components", metavar="LIST", help="Of resid_post,attn_out,mlp_out,heads."),
]
Direction: TypeAlias = Annotated[
    Literal["both", "denoise", "noise"],
    typer.Option(help="denoise: clean states into the corrupt run. noise: the other way round."),
]
Window: TypeAlias = Annotated[
    int, typer.Option(help="Layers of attn_out or mlp_out patched together: 1, 3 or 5.")
]
TracePositions: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--positions",
        metavar="LIST",
        help="Of the clean text, such as 3,-1. Default: all for resid_post, else edit and last.",
    ),
]
Noise: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="In place of side 2: noise on the embeddings of the edit, in standard deviations."
    ),
]
NoiseSamples: TypeAlias = Annotated[
    int, typer.Option("--noise-samples", min=1, max=100, help="Draws of the noise.")
]
Approximate: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--approximate", help="Estimate all patches from one gradient, checked against some."
    ),
]
Checks: TypeAlias = Annotated[
    int, typer.Option(min=10, max=1000, help="Of --approximate: true patches beside estimates.")
]
TraceCsv: TypeAlias = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help='Write every patch; "-" is standard output.'),
]
TracePng: TypeAlias = Annotated[
    str | None, typer.Option("--png", metavar="FILE", help="Write the first grid as a picture.")
]
TraceHtml: TypeAlias = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="Write all grids as a web page.")
]

# layerops
Texts: TypeAlias = Annotated[
    str,
    typer.Option(
        "--dataset-path",
        metavar="FILE",
        help='Texts: one a line, or .jsonl with "text"; "-" reads standard input.',
        show_default=False,
    ),
]
MaxSamples: TypeAlias = Annotated[
    int, typer.Option("--max-samples", min=1, help="Read only the first so many texts.")
]
Experiment: TypeAlias = Annotated[
    Literal["removal", "exchange"] | None,
    typer.Option(help="The original's two; not with --operations. Default: both."),
]
Operations: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Of remove,exchange,repeat,zero_attention,zero_mlp,skip_range.",
    ),
]
NoTokens: TypeAlias = Annotated[
    bool, typer.Option("--no-tokens", help="Leave the loss of every token out of the JSON.")
]
LayerFigures: TypeAlias = Annotated[
    bool,
    typer.Option("--original", "--visualize", help="Also write the original's files and figures."),
]
