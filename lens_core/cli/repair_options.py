"""The options of the commands about repairs."""

from typing import Annotated, Literal, TypeAlias

import typer

Prompt: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="[PROMPT]",
        help='The text, exactly as typed; "-" reads standard input. Or give --pairs.',
        show_default=False,
    ),
]
Target: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="[TARGET]",
        help="What the model should say next, mostly with a space in front.",
        show_default=False,
    ),
]
Pairs: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--pairs",
        metavar="FILE",
        help="Repair many at once: CSV with columns prompt and target, or .jsonl with these keys.",
    ),
]
Method: TypeAlias = Annotated[
    Literal["me-batch", "me-iter", "mint", "me-sgd"],
    typer.Option(
        "--method",
        "--approach",
        help="STAR for all tokens at once or one by one, few neurons, or plain gradient descent.",
    ),
]
Compare: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--compare", metavar="LIST", help="Run these methods in turn, or all, and show a table."
    ),
]
Epochs: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, max=200, help="Most updates. Default: 30, 20, 20, 10 by method."),
]
Margin: TypeAlias = Annotated[
    float, typer.Option(min=0.0, max=100.0, help="Logits that the target must lead by.")
]
Lr: TypeAlias = Annotated[
    str, typer.Option("--lr", help="auto takes the step that is needed; or a number.")
]
Mu: TypeAlias = Annotated[
    float, typer.Option("--mu", min=0.0, help="Ridge of the semantic direction; 0 to inf.")
]
LayerShare: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--layers", min=0.01, max=1.0, help="Share of the layers. Default: all up to 8, or half."
    ),
]
Locate: TypeAlias = Annotated[
    Literal["attribution", "occlusion"],
    typer.Option(help="Choose layers by gradient x activation, or by the loss without each."),
]
Compat: TypeAlias = Annotated[
    Literal["reference"] | None,
    typer.Option(help="Use the settings of the published code of STAR, for comparison."),
]
Neurons: TypeAlias = Annotated[
    int, typer.Option("--neurons", min=0, help="Most neurons a layer; 0 takes all.")
]
Views: TypeAlias = Annotated[
    int,
    typer.Option("--views", min=0, max=3, help="Rewordings of each prompt to repair with it."),
]
Paraphrases: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--paraphrase", metavar="TEXT", help="Another wording, to be measured only; repeatable."
    ),
]
Probes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--probe", metavar="TEXT", help="A text that should not change; repeatable."),
]
NoEvaluation: TypeAlias = Annotated[
    bool, typer.Option("--no-evaluation", help="Skip the side effects, which take longest.")
]
OutFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--out", metavar="FILE", help="Write the edit, to be held later by --edit."),
]
MergedFolder: TypeAlias = Annotated[
    str | None,
    typer.Option("--merged", metavar="FOLDER", help="Write the repaired model as a new folder."),
]
LoraFolder: TypeAlias = Annotated[
    str | None, typer.Option("--lora", metavar="FOLDER", help="Write the edit as a PEFT adapter.")
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help='Write everything as JSON; "-" is standard output.'
    ),
]
