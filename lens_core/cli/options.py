"""The options of the commands: their types, limits and help texts."""

from typing import Annotated, Literal, TypeAlias

import typer

Prompt: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="PROMPT", help='The text, exactly as typed; "-" reads standard input.'),
]
Model: TypeAlias = Annotated[
    str,
    typer.Option(help="demo, a folder, a Hugging Face Hub id, or a name from the settings."),
]
ModelName: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="demo, a folder, a Hugging Face Hub id, or a name from the settings."
    ),
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help='Write everything as JSON; "-" is standard output.'
    ),
]
CsvFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--csv", metavar="FILE", help='Write the tokens of every cell; "-" is standard output.'
    ),
]
PngFile: TypeAlias = Annotated[
    str | None, typer.Option("--png", metavar="FILE", help="Write the heat map as a picture.")
]
HtmlFile: TypeAlias = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="Write the heat map as a web page.")
]
SettingsFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--settings", metavar="FILE", help="A YAML file that names models and limits."),
]
Revision: TypeAlias = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
Dtype: TypeAlias = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"] | None,
    typer.Option(help="Default: float32; bfloat16 on a GPU above 2 billion weights."),
]
Device: TypeAlias = Annotated[
    str | None, typer.Option(help="cpu, cuda, or auto for several GPUs. Default: a GPU if any.")
]
Quantization: TypeAlias = Annotated[
    Literal["8bit", "4bit"] | None, typer.Option(help="Needs a GPU and bitsandbytes.")
]
TrustRemoteCode: TypeAlias = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with the model."),
]
K: TypeAlias = Annotated[int, typer.Option("--k", min=1, max=50, help="Tokens kept a cell.")]
Components: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Of embed,resid_mid,resid_post,attn_out,mlp_out. Default: resid_post, and attn_out "
        "and mlp_out where they are exact.",
    ),
]
Layers: TypeAlias = Annotated[
    str | None, typer.Option(metavar="LIST", help="Such as 0,5,-1. Default: all.")
]
LayerStep: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--layer-step", min=1, metavar="N", help="Read every Nth layer and the last; not --layers."
    ),
]
Positions: TypeAlias = Annotated[
    str | None, typer.Option(metavar="LIST", help="Such as 0,5,-1. Default: all.")
]
Scale: TypeAlias = Annotated[
    Literal["final", "local", "own"],
    typer.Option(help="Of the norm for attention and MLP; own gives probabilities."),
]
Norm: TypeAlias = Annotated[
    Literal["final", "none"], typer.Option(help="none leaves the final norm out.")
]
Targets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="TEXT", help="A text of one token to follow; repeatable."),
]
TargetIds: TypeAlias = Annotated[
    list[int] | None,
    typer.Option("--target-id", metavar="ID", help="A token id to follow; repeatable."),
]
Track: TypeAlias = Annotated[
    int, typer.Option("--track-position", help="The position that is explained.")
]
Generate: TypeAlias = Annotated[
    int, typer.Option(min=0, max=256, help="Tokens to generate first, and read too.")
]
Temperature: TypeAlias = Annotated[
    float, typer.Option(min=0.0, max=10.0, help="0 takes the most likely token.")
]
TopP: TypeAlias = Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus to sample from.")]
TopK: TypeAlias = Annotated[int, typer.Option(min=0, help="Sample among so many; 0 for all.")]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the sampling.")]
Important: TypeAlias = Annotated[
    Literal["prob", "kl_drop", "js", "top1_change", "target_enters_topk"],
    typer.Option(help="What makes a layer important."),
]
Threshold: TypeAlias = Annotated[
    float | None, typer.Option(help="Of that criterion. Default: its own.")
]
Compat: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--compat", help="Cut probabilities to whole per cent in prob, as LogitLens4LLMs."
    ),
]
Divergences: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--divergences", help="Also compare each layer with the one before, for the JSON."
    ),
]
Special: TypeAlias = Annotated[
    Literal["default", "none", "bos"], typer.Option(help="Special tokens added to the prompt.")
]
Template: TypeAlias = Annotated[
    Literal["chat"] | None, typer.Option(help="chat: the prompt is one turn of the user.")
]
EditFile: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--edit", metavar="FILE", help="A weight edit to hold for the run; repeatable."),
]
Strength: TypeAlias = Annotated[float, typer.Option(help="Of the edits, 0 to 1.5.")]
MaxTokens: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Longest prompt. Default: that of the settings, 1024.")
]
