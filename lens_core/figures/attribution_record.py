"""What the figures read of attributions and of their faithfulness, in their JSON forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lens_core.errors import InputError
from lens_core.figures.attention_record import span_name
from lens_core.figures.record import token_text

if TYPE_CHECKING:
    from lens_core.attribution import Attribution, Faithfulness

Scores: TypeAlias = "Attribution | Mapping[str, Any]"
Trust: TypeAlias = "Faithfulness | Mapping[str, Any]"
"""Results, or what their `to_json` wrote."""

SCHEMA = "lens_core/attribution/1"
TRUST_SCHEMA = "lens_core/faithfulness/1"
UNITS = {"log_p": "nats", "contrast": "logits", "kl": "nats", "flip": "flips"}
"""Of the scores; each has a word of the same name."""
METHODS = {
    "occlusion": "occlusion",
    "input_x_gradient": "input × gradient",
    "integrated_gradients": "integrated gradients",
    "gradient_shap": "gradient SHAP",
    "shapley": "Shapley values",
    "kernel_shap": "kernel SHAP",
}
"""How methods are called; other names are shown as they are."""


def as_scores(result: Scores) -> Mapping[str, Any]:
    """The JSON form of an attribution.

    Raises:
        InputError: a record of another kind.
    """
    return _of_kind(result, SCHEMA)


def as_trust(result: Trust) -> Mapping[str, Any]:
    """The JSON form of a faithfulness.

    Raises:
        InputError: a record of another kind.
    """
    return _of_kind(result, TRUST_SCHEMA)


def _of_kind(result: Any, schema: str) -> Mapping[str, Any]:
    record = result if isinstance(result, Mapping) else result.to_json()
    if record.get("schema") != schema:
        raise InputError(
            f"The record's schema is {record.get('schema')!r}; this figure takes {schema!r}."
        )
    return record


def method_name(name: str) -> str:
    """A method as a person reads it, not escaped."""
    return METHODS.get(name, name)


def target_name(record: Mapping[str, Any], over: str) -> str:
    """What the scores speak for, not escaped.

    Args:
        record: of an attribution.
        over: how a target and what it is held against are said: "{target} over {foil}".
    """
    target = record["target"]
    said = "".join(token_text(record, token) for token in target["ids"])
    if target["foil"] is None:
        return said
    return over.format(target=said, foil=token_text(record, target["foil"]))


def feature_names(record: Mapping[str, Any]) -> list[str]:
    """The features of an attribution as a person reads them, not escaped."""
    tokens = record["input"]["tokens"]
    return [span_name(tokens, one["start"], one["stop"]) for one in record["features"]]
