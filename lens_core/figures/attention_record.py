"""What the figures read of attention: the JSON form of its views, and of attributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from lens_core.errors import InputError
from lens_core.figures.text import in_bytes, shown

if TYPE_CHECKING:
    from lens_core.attention import AttentionViews

Views: TypeAlias = "AttentionViews | Mapping[str, Any]"
"""A result, or what its `to_json` wrote."""

SCHEMA = "lens_core/attention/1"

WORDS = {
    "mean": "mean",
    "strongest": "strongest",
    "before": "before",
    "after": "after",
    "weight": "Attention to “{token}”",
    "most": "Largest attention of the head",
    "norm": "Moved from “{token}” (length)",
    "norm_most": "Most that the head moves from one token (length)",
    "entropy": "Entropy of the row (nats)",
    "effective_tokens": "Tokens that the head spreads over",
    "depth": "Attention from “{query}”, mean of heads",
    "attention": "Attention",
    "importance": "Importance for “{target}” ({method}, {unit})",
    "over": "{target}” over “{foil}",
    "position": "position {position}",
    "tokens": "{count} tokens",
    "kv_head": "reads key-value head {head}",
    "head": "layer {layer}, head {head}",
    "heads": "layer {layer}, mean of {heads} heads",
    "title": "From “{query}”, predicted “{token}” ({p}) · {place}",
    "sinks": "Sink, a resting place whatever is asked: {tokens}.",
    "sink_mass": "Learned sinks, which are no tokens, take {p}.",
    "left_out": "The {shown} of {count} rows with the largest bars.",
}
"""The words in figures of attention; every function takes others for some or all of them."""


def as_views(result: Views) -> Mapping[str, Any]:
    """The JSON form of the views of attention.

    Raises:
        InputError: a record of another kind, or one with rows alone.
    """
    record = result if isinstance(result, Mapping) else result.to_json()
    if record.get("schema") != SCHEMA:
        raise InputError(
            f"The record's schema is {record.get('schema')!r}; this figure takes {SCHEMA!r}."
        )
    if record.get("views") is None:
        raise InputError("The record has rows alone; make it with attention_views.")
    return record


def source_of(record: Mapping[str, Any], source: int) -> int:
    """A position that the query can look at; negative ones count from the end of the text.

    Raises:
        InputError: it is outside the text or after the query.
    """
    count, query = len(record["input"]["ids"]), record["queries"][0]
    at = source + count if source < 0 else source
    if not 0 <= at <= query:
        raise InputError(
            f"source is {source}; position {query} can look at 0 to {query}. Choose one of them, "
            "or a later query."
        )
    return at


def row_of(record: Mapping[str, Any], layer: int) -> int:
    """Where a layer stands in the rows; negative ones count from the last layer of the model.

    Raises:
        InputError: it was not read, or has no attention.
    """
    count, layers = record["model"]["n_layers"], record["layers"]
    wanted = layer + count if layer < 0 else layer
    if wanted not in layers:
        known = ", ".join(map(str, layers))
        raise InputError(f"layer is {layer}; the result has attention of the layers {known}.")
    return layers.index(wanted)


def measured(record: Mapping[str, Any], measure: str) -> list[list[list[float | None]]]:
    """Weights or norms [layer][head][source] of the query.

    Raises:
        InputError: another measure, or norms that the result does not have.
    """
    if measure == "weight":
        return [row[0] for row in record["rows"]]
    if measure != "norm":
        raise InputError(f'measure is "{measure}"; it can be weight or norm.')
    norms = record["views"]["norms"]
    if norms is None:
        reason = record["views"]["left_out"].get("norms", "they were not asked for")
        raise InputError(f"The result has no norms: {reason}. Choose the weights instead.")
    return norms


def token_name(token: Mapping[str, Any]) -> str:
    """A token of the text as a person reads it; a part of a character with the whole of it.

    Not escaped. The bytes tell the parts of one character apart.
    """
    if token["kind"] != "partial" or not token["bytes_hex"]:
        return shown({"text": token["text"]})
    whole = token["cluster_text"]
    digits = in_bytes(token["bytes_hex"])
    return digits if "\ufffd" in whole or not whole else f"{shown({'text': whole})} {digits}"


def span_name(tokens: Sequence[Mapping[str, Any]], start: int, stop: int) -> str:
    """Adjacent tokens as a person reads them, not escaped."""
    if stop - start == 1:
        return token_name(tokens[start])
    name, done = "", None
    for token in tokens[start:stop]:
        if token["cluster"] != done:
            done = token["cluster"]
            # Special tokens have no characters of a cluster.
            name += shown({"text": token["cluster_text"] or token["text"]})
    return name
