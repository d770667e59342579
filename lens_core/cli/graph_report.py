"""A contribution graph, or the difference of two, as text from the JSON record of the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typer import style

from lens_core.cli.record_text import error_size, per_cent, piece, text_of, token_of
from lens_core.cli.terminal import ending, harmless, padded, shortened, wrapped

WORDS = {
    "residual": "stream",
    "attention": "attention",
    "ffn": "MLP",
    "bias": "biases",
    "mixer": "mixer",
}
_REST = {"bias": "biases", "mixer": "opaque mixers", "lost": "lost"}
_TOKEN = 12
"""Columns of a token in the table."""


def graph_report(record: Mapping[str, Any], *, top: int, columns: int) -> Iterator[str]:
    """The lines of a report: the root, what of it comes from each token, and the strongest links.

    Args:
        record: a `ContributionGraph` as JSON.
        top: links to list.
        columns: the width of the terminal.
    """
    yield from _head(record)
    yield f"Prompt: {text_of(record, len(record['input']['ids']), columns - 8)}"
    yield from _notes(record)
    yield f"Root: {_roots(record['root'], record['input']['tokens'], columns)}"
    at = record["root"]["token"]
    if at is not None:
        token = f'"{token_of(record, record["final_ids"][at])}"'
        yield f"The model predicts {token} there ({per_cent(record['final_p'][at])})."
    yield ""
    yield style("Influence of each token on the root", bold=True)
    names = [piece(token) for token in record["input"]["tokens"]]
    shares = record["token_influence"]
    yield from wrapped(_shares(names, shares, record["influence"]), columns, head="  ")
    links = _links(record["edges"])
    if not record["edges"]:
        yield ""
        yield f"No link is above {record['threshold']['tau']:g}; try a lower --threshold."
    elif top and links:
        yield ""
        yield from _table(links, names, names, top=top, columns=columns)


def difference_report(record: Mapping[str, Any], *, top: int, columns: int) -> Iterator[str]:
    """The lines of a report on what one graph has more than another.

    Args:
        record: a `GraphDifference` as JSON; B is the prompt that was asked about.
        top: links to list.
        columns: the width of the terminal.
    """
    yield from _head(record)
    sides = record["input"]
    for name in "ab":
        side = {"input": sides[name], "vocab": record["vocab"]}
        yield f"{name.upper()}: {text_of(side, len(sides[name]['ids']), columns - 3)}"
        final = record["final"][name]
        told = f'predicts "{token_of(record, final["id"])}" ({per_cent(final["p"])})'
        yield f"   {told}; root {', '.join(record['root'][name]['nodes'][:8])}"
    yield from _notes(record)
    yield "Below, B less A; nodes are named by the column in which both prompts are aligned."
    yield ""
    yield style("Influence of each column on the root", bold=True)
    names = {side: _columns(record, side) for side in "ab"}
    both = [a if a == b else f"{a}|{b}" for a, b in zip(names["a"], names["b"], strict=True)]
    shares = record["token_influence"]["difference"]
    rest = {key: value["difference"] for key, value in record["influence"].items()}
    yield from wrapped(_shares(both, shares, rest, signed=True), columns, head="  ")
    links = _links(record["edges"])
    if top and links:
        yield ""
        yield from _table(links, names["a"], both, top=top, columns=columns, signed=True)


def _head(record: Mapping[str, Any]) -> Iterator[str]:
    model, heads = record["model"], record["self_check"].get("completeness_rel_err")
    threshold = record["threshold"]
    yield (
        f"{harmless(str(model['id']))}: {model['n_layers']} layers of {model['n_heads']} heads, "
        f"{model['dtype']}, parts exact to {error_size(heads)}; metric {record['metric']}, "
        f"{threshold['mode']} above {threshold['tau']:g}"
    )


def _notes(record: Mapping[str, Any]) -> Iterator[str]:
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"


def _roots(
    root: Mapping[str, Any],
    tokens: Sequence[Mapping[str, Any]],
    columns: int,
) -> str:
    named = [f'{node}, after "{piece(tokens[_place(node)])}"' for node in root["nodes"][:4]]
    more = len(root["nodes"]) - len(named)
    return ending("; ".join(named) + (f"; and {more} more" if more else ""), columns - 6)


def _place(node: str) -> int:
    return int(node.split("_")[1])


def _shares(
    names: Sequence[str],
    shares: Sequence[float],
    rest: Mapping[str, float],
    *,
    signed: bool = False,
) -> list[str]:
    """Every token with its share; what ends elsewhere where it shows at all."""
    found = [f"{name} {_share(share, signed)}" for name, share in zip(names, shares, strict=True)]
    ended = [(_REST[key], share) for key, share in rest.items() if abs(share) > 0.0005]
    return found + [f"({name} {_share(share, signed)})" for name, share in ended]


def _share(share: float, signed: bool) -> str:
    return f"{100 * share:+.1f} %" if signed else per_cent(share)


def _columns(record: Mapping[str, Any], side: str) -> list[str]:
    """The token of one side in every column."""
    tokens = record["input"][side]["tokens"]
    return ["-" if at is None else piece(tokens[at]) for at in record["columns"][side]]


def _links(edges: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What adds to the stream, by influence: without the stream itself, and an MLP once."""
    kept = [
        edge for edge in edges if edge["kind"] != "residual" and not edge["dst"].startswith("M")
    ]
    return sorted(kept, key=lambda edge: -abs(edge["influence"]))


def _table(
    links: Sequence[Mapping[str, Any]],
    sources: Sequence[str],
    destinations: Sequence[str],
    *,
    top: int,
    columns: int,
    signed: bool = False,
) -> Iterator[str]:
    many = f"{min(top, len(links))} of {len(links)}"
    yield style(f"What adds most to the stream, by influence on the root ({many})", bold=True)
    yield f"{'influence':>9}  {'weight':>6}  {'kind':9}  {'from':23}  {'to':23}  heads"
    for edge in links[:top]:
        heads = ", ".join(f"{head}: {weight:.3f}" for head, weight in edge.get("heads", ()))
        sign = "+" if signed else ""
        line = (
            f"{_share(edge['influence'], signed):>9}  {edge['w']:{sign}6.3f}  "
            f"{WORDS[edge['kind']]:9}  {_node(edge['src'], sources)}  "
            f"{_node(edge['dst'], destinations)}  {heads}"
        )
        yield shortened(line.rstrip(), columns)


def _node(name: str, tokens: Sequence[str]) -> str:
    return f"{name:10} {padded(tokens[_place(name)], _TOKEN)}"
