"""Attention as text, from the JSON record of its views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typer import style

from lens_core.cli.record_text import per_cent, piece, text_of, token_of
from lens_core.cli.terminal import harmless, padded, shortened, wrapped

_TOKEN = 14
"""Columns of a token."""


def attention_report(record: Mapping[str, Any], *, top: int, columns: int) -> Iterator[str]:
    """The lines of a report: the prediction, the tokens that are looked at, and every layer.

    Args:
        record: `AttentionViews` as JSON.
        top: tokens to list.
        columns: the width of the terminal.
    """
    model = record["model"]
    yield (
        f"{harmless(str(model['id']))}: {model['n_layers']} layers of {record['n_heads']} heads, "
        f"{model['dtype']}"
    )
    yield f"Prompt: {text_of(record, len(record['input']['ids']), columns - 8)}"
    for note in (*record["warnings"], *record["views"]["left_out"].values(), record["note"]):
        yield f"Note: {harmless(note)}"
    if record["layers_without_attention"]:
        named = ", ".join(map(str, record["layers_without_attention"]))
        yield f"Note: Without attention: layers {named}."
    query, following = record["queries"][0], record["next"]
    yield ""
    yield style(f'From position {query}, "{piece(record["input"]["tokens"][query])}"', bold=True)
    pairs = zip(following["ids"][0], following["p"][0], strict=True)
    shown = [f"{token_of(record, token)} {per_cent(p)}" for token, p in pairs]
    yield from wrapped(shown, columns, head="next token: ")
    yield ""
    yield from _tokens(record, top=top, columns=columns)
    yield ""
    yield from _layers(record, columns)


def _tokens(record: Mapping[str, Any], *, top: int, columns: int) -> Iterator[str]:
    """Every token that can be looked at, or those that are looked at most, in their order."""
    query, views = record["queries"][0], record["views"]
    measures = _measures(record)
    means = views["head_mean"]
    average = _mean(means)
    most = sorted(range(query + 1), key=lambda at: -max(means[-1][at], average[at]))
    listed = sorted(most[:top])
    many = "" if len(listed) > query else f", the {len(listed)} of {query + 1} looked at most"
    yield style(f"Tokens (weights are means of heads{many})", bold=True)
    heads = "".join(f"{name:>12}" for name in measures)
    yield f"{'':>5}  {padded('token', _TOKEN)}{heads}"
    for at in listed:
        name = padded(piece(record["input"]["tokens"][at]), _TOKEN)
        values = "".join(f"{_number(values[at]):>12}" for values in measures.values())
        sink = "  sink" if at in views["sinks"]["positions"] else ""
        yield shortened(f"{at:>5}  {name}{values}{sink}", columns)


def _measures(record: Mapping[str, Any]) -> dict[str, Sequence[float | None]]:
    """The columns of the table of tokens."""
    views = record["views"]
    means, rolled = views["head_mean"], views["rollout"]
    found: dict[str, Sequence[float | None]] = {
        f"layer {record['layers'][-1]}": means[-1],
        "all layers": _mean(means),
    }
    if views["norms"] is not None:
        by_layer = [
            [sum(column) for column in zip(*heads, strict=True)] for heads in views["norms"]
        ]
        whole = [sum(row) or 1.0 for row in by_layer]
        shares = [[v / total for v in row] for row, total in zip(by_layer, whole, strict=True)]
        found["moved"] = _mean(shares)
    if rolled is not None:
        found |= {"rollout": rolled["shares"]["mean"], "x uniform": rolled["ratio"]["mean"]}
    if views["flow"] is not None:
        found["flow"] = views["flow"]
    return found


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _layers(record: Mapping[str, Any], columns: int) -> Iterator[str]:
    """How far each layer spreads, what its sinks take, and where it looks besides."""
    views, query = record["views"], record["queries"][0]
    sinks = set(views["sinks"]["positions"])
    yield style("Layers (means of heads)", bold=True)
    yield f"{'':>5}  {'spread over':>11}  {'sinks take':>10}  looks most at, sinks aside"
    for row, layer in enumerate(record["layers"]):
        spread, taken = (
            sum(values) / len(values)
            for values in (views["effective_tokens"][row], views["sinks"]["removed_mass"][row])
        )
        weights = views["head_mean"][row]
        others = [at for at in range(query + 1) if at not in sinks]
        best = sorted(others, key=lambda at: -weights[at])[:3]
        tokens = record["input"]["tokens"]
        named = "  ".join(f"{piece(tokens[at])} {per_cent(weights[at])}" for at in best)
        line = f"{layer:>5}  {spread:>11.1f}  {per_cent(taken):>10}  {named}"
        yield shortened(line.rstrip(), columns)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
