"""What the page and clients are told of a repair besides the core's own record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.repairs import Repair
    from lens_core.weight_edit import EditColumns

Holding = Callable[[], AbstractContextManager[None]]
"""Makes the context in which the edit holds."""
MAP_BINS = 256
"""Most columns of the map of neurons."""
FURTHER = 5
"""Pairs whose text is continued beyond the target."""
MORE_TOKENS = 16


def neuron_map(loaded: LoadedModel, result: Repair) -> dict[str, Any] | None:
    """How far the neurons of every layer were changed, beside the length of what they wrote."""
    from lens_core.edits import editable_projection
    from lens_core.weights import editable_weight

    if result.edit is None:
        return None
    sizes = [len(editable_weight(editable_projection(loaded, n))) for n in range(loaded.n_layers)]
    n_neurons = max(sizes)
    bins = min(n_neurons, MAP_BINS)
    parts = {part.layer: part for part in result.edit.layers}
    layers = [_map_row(layer, parts.get(layer), n_neurons, bins) for layer in range(len(sizes))]
    return {"n_neurons": n_neurons, "bins": bins, "layers": layers}


def _map_row(layer: int, part: EditColumns | None, n_neurons: int, bins: int) -> dict[str, Any]:
    """The largest relative change in each bin of a layer."""
    values = [0.0] * bins
    if part is None:
        return {"layer": layer, "columns": 0, "values": values}
    old, new = part.old.float(), part.new.float()
    changes = (new - old).norm(dim=1) / old.norm(dim=1).clamp_min(1e-30)
    for neuron, change in zip(part.columns.tolist(), changes.tolist(), strict=True):
        at = neuron * bins // n_neurons
        # Drawn, never computed with: four digits keep the record small.
        values[at] = max(values[at], float(f"{change:.4g}"))
    return {"layer": layer, "columns": len(part.columns), "values": values}


def with_texts(loaded: LoadedModel, record: dict[str, Any], holding: Holding) -> dict[str, Any]:
    """An evaluation with what was said also as text.

    Texts are decoded behind what precedes them: a character may begin in a prompt and end after it.
    """
    for wording in (*record["wanted"], *record["reworded"]):
        said = {side: wording[side]["greedy"] for side in ("before", "after")}
        wording |= _texts(loaded, wording["prompt"], wording["prompt_ids"], said)
    for effects in (record["locality"], record["near"]):
        for probe in () if effects is None else effects["probes"]:
            said = {side: probe[side] for side in ("before", "after")}
            probe |= _texts(loaded, probe["text"], probe["ids"], said)
    first = record["wanted"][:FURTHER]
    for wording in first:
        wording["before_more"] = _further(loaded, wording)
    with holding():
        for wording in first:
            wording["after_more"] = _further(loaded, wording)
    return record


def _texts(
    loaded: LoadedModel, prompt: str | None, ids: Sequence[int], said: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    read = {side: decoded(loaded, ids, after) for side, after in said.items()}
    return {
        "prompt_text": read["before"][0] if prompt is None else prompt,
        **{f"{side}_text": text for side, (_, text) in read.items()},
    }


def _further(loaded: LoadedModel, wording: Mapping[str, Any]) -> str:
    """How the text goes on behind as many tokens as the target has."""
    from lens_core.repairs.shown import continued

    ids, length = wording["prompt_ids"], len(wording["target_ids"])
    said = continued(loaded, ids, length + MORE_TOKENS)
    return decoded(loaded, [*ids, *said[:length]], said[length:])[1]


def decoded(loaded: LoadedModel, ids: Sequence[int], after: Sequence[int]) -> tuple[str, str]:
    """A text and what follows it, decoded together."""
    from lens_core.tokens import token_records

    records = token_records(loaded.tokenizer, [*ids, *after])
    return _plain_text(records[: len(ids)]), _plain_text(records[len(ids) :])


def _plain_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Without the tokens that begin or end a text, unless there is nothing else."""
    words = [record for record in records if record["kind"] not in ("special", "pad")]
    return "".join(record["text"] for record in words or records)
