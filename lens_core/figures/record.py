"""What the figures read of a logit lens: its JSON form, where a missing number is None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lens_core.errors import InputError
from lens_core.figures.text import shown

if TYPE_CHECKING:
    from lens_core.lens import LogitLens

Result: TypeAlias = "LogitLens | Mapping[str, Any]"
"""A result, or what its `to_json` wrote."""

SCHEMA = "lens_core/logit_lens/1"

WORDS = {
    "embed": "embed",
    "resid_post": "block output",
    "resid_mid": "after attention",
    "attn_out": "attention adds",
    "mlp_out": "MLP adds",
    "rank": "#{rank}",
    "before": "before",
    "after": "after",
    "embedding": "Embedding",
    "attention": "Attention L{layer}",
    "mlp": "MLP L{layer}",
    "constant": "Constant",
    "sum": "Sum of the parts",
    "logit": "Logit of the model",
    "probability": "Probability of the top token",
    "target": "Probability of the target",
    "target_rank": "Rank of the target",
    "entropy": "Entropy (nats)",
    "kl": "KL to the final answer (nats)",
    "added": "Added to the logit of the top token",
    "added_short": "Added to the logit",
    "probability_short": "Probability",
}
"""The words in figures; every function takes others for some or all of them."""


def as_record(result: Result) -> Mapping[str, Any]:
    """The JSON form of a result.

    Raises:
        InputError: a record of another kind.
    """
    record = result if isinstance(result, Mapping) else result.to_json()
    if record.get("schema") != SCHEMA:
        raise InputError(
            f"The record's schema is {record.get('schema')!r}; this figure takes {SCHEMA!r}."
        )
    return record


def in_words(words: Mapping[str, str] | None, known: Mapping[str, str] = WORDS) -> dict[str, str]:
    """The words of a figure, by default those of the logit lens.

    Raises:
        InputError: a word for something that the figure does not say.
    """
    unknown = set(words or {}) - set(known)
    if unknown:
        raise InputError(f"words has {sorted(unknown)}; it can have {', '.join(known)}.")
    return {**known, **(words or {})}


def token_text(record: Mapping[str, Any], token: int) -> str:
    """A token of the result as a person reads it, not escaped."""
    entry = record["vocab"].get(str(token))
    return str(token) if entry is None else shown(entry)


def row_label(component: str, layer: int, words: Mapping[str, str]) -> tuple[str, int]:
    """How a row is called, and its layer: -1 for the embedding."""
    return (words["embed"], -1) if component == "embed" else (f"L{layer}", layer)


def cells_of(record: Mapping[str, Any], component: str) -> Mapping[str, Any]:
    """The cells of a component.

    Raises:
        InputError: the result was made without it.
    """
    cells = record["cells"]
    if component not in cells:
        raise InputError(
            f"The result has no {component}; it has {', '.join(cells)}. "
            f'Run the lens with "{component}" among its components.'
        )
    return cells[component]


def column_of(record: Mapping[str, Any], position: int) -> int:
    """Where a position stands in the cells; negative ones count from the end of the text.

    Raises:
        InputError: the position was not read.
    """
    count, positions = len(record["input"]["ids"]), record["positions"]
    wanted = position + count if position < 0 else position
    if wanted not in positions:
        raise InputError(
            f"Position {position} was not read; the result has {positions[0]} to {positions[-1]}."
        )
    return positions.index(wanted)
