"""What the figures read of pairs, causal traces and layer operations: their JSON forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.difference import PairDifference
    from lens_core.patching import AttributionPatching, CausalTrace, LayerOperations

Differences: TypeAlias = "PairDifference | Mapping[str, Any]"
Trace: TypeAlias = "CausalTrace | AttributionPatching | Mapping[str, Any]"
Operations: TypeAlias = "LayerOperations | Mapping[str, Any]"
"""Results, or what their `to_json` wrote."""

DIFFERENCE = "lens_core/pair_difference/1"
TRACES = ("lens_core/causal_trace/1", "lens_core/attribution_patching/1")
OPERATIONS = "lens_core/layer_operations/1"


def record_of(result: Any, *schemas: str) -> Mapping[str, Any]:
    """The JSON form of a result of one of these kinds.

    Raises:
        InputError: it is of another kind.
    """
    record = result if isinstance(result, Mapping) else result.to_json()
    if record.get("schema") not in schemas:
        raise InputError(
            f"The record's schema is {record.get('schema')!r}; this figure takes "
            f"{' or '.join(map(repr, schemas))}."
        )
    return record


def check_known(what: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a word that is not one of the allowed ones.

    Raises:
        InputError: with those that are.
    """
    if value not in (known := list(allowed)):
        raise InputError(f"{what} is {value!r}; it can be {', '.join(known)}.")


def dims_of(record: Mapping[str, Any], site: str) -> Mapping[str, Any]:
    """Every dim of one site of a comparison of pairs.

    Raises:
        InputError: it was not compared.
    """
    if site not in record["dims"]:
        known = ", ".join(record["dims"]) or "none, since all pairs have equal sides"
        raise InputError(f'site is "{site}"; the dims of these were looked at: {known}.')
    return record["dims"][site]


def row_name(layer: int, embed: str) -> str:
    """How a layer is called, -1 being the embedding."""
    return embed if layer < 0 else f"L{layer}"
