"""The command that makes minimal pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lens_core.cli import options as given
from lens_core.cli import pairs_options as asked
from lens_core.cli import remote_options
from lens_core.cli.app import write
from lens_core.cli.opening import LOADING, opened, picked, read_settings
from lens_core.cli.output import reported
from lens_core.cli.pairs_steps import made_folder, names, progress_line, said_written, stoppable

if TYPE_CHECKING:
    from lens_core.pairs import Alignment, Pair, PairFile

ORIGINAL_SIX = 6
"""How many of the known categories, the first ones, are the original's."""
_DRAWN = ("num_pairs", "lang", "seed", "uses_per_edit", "equal_length")


def pairs_make_command(
    output_dir: asked.OutputDir = "data",
    num_pairs: asked.NumPairs = 17,
    categories: asked.Categories = None,
    lang: asked.Lang = "en",
    source: asked.Source = "template",
    model: asked.Maker = None,
    sentences: asked.Sentences = None,
    base_url: asked.BaseUrl = None,
    api_key: asked.ApiKey = None,
    max_requests: remote_options.MaxRequests = 200,
    cache: remote_options.CacheFolder = None,
    seed: remote_options.Seed = 0,
    uses_per_edit: asked.UsesPerEdit = 2,
    tokenizer: asked.Tokenizer = None,
    equal_length: asked.EqualLength = False,
    list_categories: asked.ListCategories = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    quantization: given.Quantization = None,
    revision: given.Revision = None,
    trust_remote_code: given.TrustRemoteCode = False,
    settings: given.SettingsFile = None,
) -> None:
    """Make minimal pairs: sentences that differ in one thing.

    Writes sentence_pairs_DATE_TIME.json, in the original's form, and the same pairs as .jsonl with
    all that is known of them. Nothing is written where no pair could be made.
    """
    arguments = locals()
    from lens_core.pairs import known_categories

    if list_categories:
        from lens_core.cli.pairs_report import category_report

        write(category_report(lang))
        return
    _check(arguments)
    if categories is None and source != "local":
        arguments["categories"] = ",".join([*known_categories()][:ORIGINAL_SIX])
    with reported(), stoppable(lambda: _lost(source, cache)):
        folder = made_folder(Path(output_dir))
        made = _made(arguments)
        aligned = _aligned(made.pairs, tokenizer, settings)
        if equal_length:
            made, aligned = _of_equal_length(made, aligned, num_pairs)
        _report(made, aligned, tokenizer)
        said_written(_written(made.pairs, folder, arguments))


def _check(arguments: dict[str, Any]) -> None:
    """Refuse arguments that do not go together.

    Raises:
        typer.BadParameter: says which.
    """
    source = arguments["source"]
    wanted = {
        "local": ("sentences", "--sentences"),
        "endpoint": ("base_url", "--base-url"),
    }
    for one, (name, option) in wanted.items():
        if (arguments[name] is not None) != (source == one):
            verb = "needs" if source == one else "does not take"
            raise typer.BadParameter(f"--source {source} {verb} {option}.", param_hint=option)
    if source == "local" and arguments["categories"] is not None:
        raise typer.BadParameter(
            "A local model replaces words of any kind, so its pairs have no category; take "
            "--source template or endpoint.",
            param_hint="--categories",
        )
    if source == "endpoint" and arguments["model"] is None:
        raise typer.BadParameter("Name the model that the API serves.", param_hint="--model")
    if source == "template" and arguments["model"] is not None:
        raise typer.BadParameter(
            "Templates need no model; --tokenizer reports lengths.", param_hint="--model"
        )
    if arguments["equal_length"] and arguments["tokenizer"] is None:
        raise typer.BadParameter(
            "What is of equal length depends on the tokenizer; give --tokenizer MODEL.",
            param_hint="--equal-length",
        )


def _lost(source: str, cache: str | None) -> str:
    if source != "endpoint":
        return "Nothing was written."
    if cache is not None:
        return "No pairs were written; the same command goes on from the answers in the cache."
    return "No pairs were written; --cache would keep the answers."


def _made(arguments: dict[str, Any]) -> "PairFile":
    """The pairs of one source, and what became none.

    Raises:
        LensError: there is no pair, or an argument is outside its range.
    """
    makers = {"template": _from_templates, "local": _proposed, "endpoint": _asked_for}
    return makers[arguments["source"]](arguments)


def _from_templates(arguments: dict[str, Any]) -> "PairFile":
    from lens_core.pairs import PairFile, make_pairs
    from lens_core.pairs.templates import capacity

    how = picked(arguments, ("lang", "uses_per_edit"))
    pairs: list[Pair] = []
    for name in names(arguments["categories"]):
        wanted = arguments["num_pairs"]
        if arguments["equal_length"]:
            # The first of them are the same, and those behind stand in for the unequal ones.
            wanted = max(wanted, capacity(name, **how))
        pairs += make_pairs([name], n=wanted, seed=arguments["seed"], **how)
    return PairFile(tuple(pairs))


def _proposed(arguments: dict[str, Any]) -> "PairFile":
    from lens_core.cli.statistics_rows import read_prompts
    from lens_core.pairs import propose_pairs

    texts = read_prompts(arguments["sentences"])
    how = picked(arguments, ("lang", "seed", "uses_per_edit"))
    model, loading = arguments["model"] or "demo", picked(arguments, LOADING)
    with opened(model, loading, settings=arguments["settings"]) as (loaded, _):
        return propose_pairs(loaded, texts, n=arguments["num_pairs"], **how)


def _asked_for(arguments: dict[str, Any]) -> "PairFile":
    from lens_core import progress
    from lens_core.pairs import ask_pairs
    from lens_core.remote import Endpoint
    from lens_core.remote.cache import FolderCache

    endpoint = Endpoint(arguments["base_url"], arguments["model"], arguments["api_key"])
    cache = None if arguments["cache"] is None else FolderCache(arguments["cache"])
    how = picked(arguments, ("lang", "seed", "max_requests"))
    with progress_line() as show:

        def listen(what: str, done: int, total: int) -> None:
            show(f"{done} of at most {total} requests")

        with progress.reported(listen):
            wanted = names(arguments["categories"])
            return ask_pairs(endpoint, wanted, n=arguments["num_pairs"], cache=cache, **how)


def _aligned(
    pairs: "Sequence[Pair]", tokenizer: str | None, settings: str | None
) -> "list[Alignment | str] | None":
    if tokenizer is None:
        return None
    from lens_core.cli.pairs_tokenizer import alignments, tokenizer_alone

    return alignments(
        tokenizer_alone(read_settings(settings).models.get(tokenizer) or tokenizer), pairs
    )


def _of_equal_length(
    made: "PairFile", aligned: "list[Alignment | str] | None", most: int
) -> "tuple[PairFile, list[Alignment | str]]":
    """The pairs of equally many tokens, the first ones of every category.

    Raises:
        InputError: there is none.
    """
    from lens_core.errors import InputError

    assert aligned is not None
    counts: Counter[str] = Counter()
    kept = []
    for at, (pair, one) in enumerate(zip(made.pairs, aligned, strict=True)):
        if not isinstance(one, str) and one.shift == 0 and counts[pair.subtype] < most:
            counts[pair.subtype] += 1
            kept.append(at)
    if not kept:
        raise InputError(
            f"None of {len(aligned)} pairs has sides of equally many tokens for this tokenizer. "
            "Leave --equal-length out: sides of any length are aligned."
        )
    pairs = tuple(made.pairs[at] for at in kept)
    return replace(made, pairs=pairs), [aligned[at] for at in kept]


def _report(
    made: "PairFile", aligned: "list[Alignment | str] | None", tokenizer: str | None
) -> None:
    from lens_core.cli.pairs_report import alignment_lines, made_report, problem_report

    write(problem_report(made.problems))
    write(made_report(made.pairs))
    if aligned is not None:
        write(alignment_lines(aligned, f"For the tokenizer of {tokenizer}"))


def _written(pairs: "Sequence[Pair]", folder: Path, arguments: dict[str, Any]) -> list[Path]:
    from lens_core.pairs import write_original, write_pairs

    now = datetime.now()
    stem = folder / f"sentence_pairs_{now:%Y%m%d_%H%M%S}"
    model = {"template": "lens_core templates", "local": arguments["model"] or "demo"}
    metadata = {
        "created_at": now.isoformat(timespec="seconds"),
        "model": model.get(arguments["source"], arguments["model"]),
        "tokenizer": arguments["tokenizer"],
        "num_pairs_per_type": arguments["num_pairs"],
        **picked(arguments, ("source", "lang", "seed")),
    }
    return [
        write_original(pairs, stem.with_suffix(".json"), metadata=metadata),
        write_pairs(pairs, stem.with_suffix(".jsonl")),
    ]
