"""The options of the command about models behind an API."""

from typing import Annotated, Literal, TypeAlias

import typer

BaseUrl: TypeAlias = Annotated[
    str,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Of an OpenAI-compatible API, such as https://host/v1.",
        show_default=False,
    ),
]
RemoteModel: TypeAlias = Annotated[
    str, typer.Option("--model", help="The name that the API serves.", show_default=False)
]
ApiKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="LENS_API_KEY",
        metavar="KEY",
        help="Better in the environment, where no history keeps it. Sent to that API only.",
        show_default=False,
    ),
]
Method: TypeAlias = Annotated[
    Literal["occlusion", "shapley"],
    typer.Option(
        help="occlusion: every part masked alone. shapley: parts share what several change."
    ),
]
Samples: TypeAlias = Annotated[
    int,
    typer.Option(
        min=1, max=1000, help="Of --method shapley: orders that are drawn; exact for few parts."
    ),
]
Answer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="The answer to follow, exactly as it comes after the prompt; needs tier 1. Default: "
        "the model's own.",
    ),
]
System: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TEXT", help="The system's turn, which is never masked.")
]
Tier: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=3,
        help="1: probability of a given answer, 2: of its first token, 3: answers alone. Default: "
        "the first that the API shows.",
    ),
]
Units: TypeAlias = Annotated[
    Literal["words", "sentences", "hierarchical"],
    typer.Option(help="hierarchical: sentences, then the words of those that matter."),
]
Cjk: TypeAlias = Annotated[
    Literal["character", "bigram"], typer.Option(help="What a Chinese or Japanese word is.")
]
Mask: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help='Replaces a part: "" deletes it, neighbour asks the model for another word.',
    ),
]
Protect: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--protect", metavar="TEXT", help="A text that is never masked; repeatable."),
]
Distance: TypeAlias = Annotated[
    Literal["edit", "exact", "chrf", "embedding"], typer.Option(help="Of answers, in tier 3.")
]
EmbeddingModel: TypeAlias = Annotated[
    str | None, typer.Option(help="Of --distance embedding: its name in the API.")
]
AnswerTokens: TypeAlias = Annotated[
    int, typer.Option(min=1, max=1024, help="The longest answer that is asked for.")
]
Repeats: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=100,
        help="How often the prompt itself is asked again, for the noise. Default: 3; 0 in tier 1.",
    ),
]
Floor: TypeAlias = Annotated[
    float, typer.Option(min=0.0, help="A change up to it never counts as above the noise.")
]
Seed: TypeAlias = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, help="Sent along where the API takes one.")
]
MaxRequests: TypeAlias = Annotated[
    int, typer.Option(min=1, max=10_000, help="Nothing is sent beyond it.")
]
Concurrency: TypeAlias = Annotated[int, typer.Option(min=1, max=4, help="Requests at once.")]
CacheFolder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Keep answers there: a stopped run goes on, a repeated one sends nothing.",
    ),
]
EstimateOnly: TypeAlias = Annotated[
    bool, typer.Option("--estimate", help="Only say how many requests it would take.")
]
JsonFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help='Write it as JSON; "-" is standard output.'),
]
CsvFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help='Write every part; "-" is standard output.'),
]
