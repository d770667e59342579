"""What the page and clients are told of a repair besides the core's own record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from lens_core.models import LoadedModel
    from lens_core.repairs import Repair
    from lens_core.repairs.result import RepairedToken
    from lens_core.weight_edit import EditColumns

Holding = Callable[[], AbstractContextManager[None]]
"""Makes the context in which the edit holds."""
MAP_BINS = 256
"""Most columns of the map of neurons."""
FURTHER = 5
"""Pairs whose text is continued beyond the target."""
MORE_TOKENS = 16


def lens_courses(loaded: LoadedModel, result: Repair) -> dict[str, Any] | None:
    """Both words at the first repaired token, layer by layer, before and with the edit.

    None where nothing was changed, or states cannot be read exactly.
    """
    from lens_core import applied

    token = _repaired_token(result)
    if result.edit is None or token is None or loaded.self_check.reason_off("readout"):
        return None
    words = {"target": token.target, "said": token.before.said}
    ids = _prefix(result, token)
    before = _courses(loaded, ids, words)
    with applied(loaded, result.edit):
        after = _courses(loaded, ids, words)
    return {
        **words,
        "pair": token.pair,
        "index": token.index,
        "places": ["embed", *range(loaded.n_layers)],
        "before": before,
        "after": after,
        "edited": [part.layer for part in result.edit.layers],
    }


def _repaired_token(result: Repair) -> RepairedToken | None:
    """The first that was repaired; where none was, the first that should have been."""
    own = [token for token in result.tokens if result.pairs[token.pair].view_of is None]
    wrong = [token for token in own if token.before.margin <= 0]
    return next((token for token in wrong if token.action == "repaired"), next(iter(wrong), None))


def _prefix(result: Repair, token: RepairedToken) -> Tensor:
    """What is read before a token is predicted."""
    import torch

    pair = result.pairs[token.pair]
    return torch.tensor([*pair.prompt_ids, *pair.target_ids[: token.index]])


def _courses(
    loaded: LoadedModel, ids: Tensor, words: Mapping[str, int]
) -> dict[str, list[float | None]]:
    """The probability of each word after the embedding and after every layer, at the last token."""
    from lens_core import logit_lens
    from lens_core.lens import lens_run
    from lens_core.records import plain

    found = logit_lens(
        loaded,
        ids,
        k=1,
        components=["embed", "resid_post"],
        positions=[-1],
        targets=list(words.values()),
        track_position=None,
        run=lens_run(loaded, ids, parts=False),
    )
    own = [target.cells for target in found.targets if target.source == "user"]
    return {
        name: [plain(p) for part in ("embed", "resid_post") for p in cells[part].p[:, 0]]
        for name, cells in zip(words, own, strict=True)
    }


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
    import torch

    from lens_core.repairs.states import continuation

    ids, length = wording["prompt_ids"], len(wording["target_ids"])
    said = continuation(loaded, torch.tensor(ids), length + MORE_TOKENS).tolist()
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
