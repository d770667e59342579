"""The neurons that an edit changes: how far, and what each promotes before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.edits import editable_projection
from lens_core.models import LoadedModel
from lens_core.network import run
from lens_core.repairs.result import EditedNeuron
from lens_core.trace import inputs_of
from lens_core.weight_edit import EditColumns, WeightEdit

MOST = 64
"""Neurons of an edit that are looked at."""
PROMOTED = 5


def edited_neurons(
    loaded: LoadedModel,
    edit: WeightEdit,
    ids: Int[Tensor, " position"],
    *,
    counts: Mapping[tuple[int, int], int] | None = None,
    most: int = MOST,
) -> tuple[EditedNeuron, ...]:
    """The neurons whose change does most after the last of `ids`, the strongest first.

    Args:
        loaded: the model, without the edit.
        edit: the edit.
        ids: the text behind which they fire.
        counts: by (layer, neuron), how often each was changed; 1 where it is not named.
        most: how many.
    """
    counts = counts or {}
    fires = _activations(loaded, edit, ids)
    found = [
        (abs(neuron.activation) * neuron.change, neuron, old, new)
        for part in edit.layers
        for neuron, old, new in _neurons(part, fires[part.layer], counts)
    ]
    found.sort(key=lambda entry: -entry[0])
    return tuple(_explained(loaded, *entry[1:]) for entry in found[:most])


def _activations(loaded: LoadedModel, edit: WeightEdit, ids: Tensor) -> dict[int, Tensor]:
    """By layer, the edited neurons at the last position."""
    modules = {editable_projection(loaded, part.layer): part for part in edit.layers}
    found: dict[int, Tensor] = {}

    def keep(module: nn.Module, state: Tensor) -> None:
        part = modules[module]
        last = state.reshape(-1, state.shape[-1])[-1]
        found[part.layer] = last[part.columns.to(last.device)].float().cpu()

    with loaded.lock, inputs_of(list(modules), keep):
        run(loaded.model, ids[None])
    return found


def _neurons(
    part: EditColumns, fires: Float[Tensor, " k"], counts: Mapping[tuple[int, int], int]
) -> Iterator[tuple[EditedNeuron, Tensor, Tensor]]:
    old, new = part.old.float(), part.new.float()
    lengths, before = (new - old).norm(dim=1), old.norm(dim=1)
    for row, neuron in enumerate(part.columns.tolist()):
        yield (
            EditedNeuron(
                layer=part.layer,
                neuron=neuron,
                activation=float(fires[row]),
                edits=counts.get((part.layer, neuron), 1),
                change=float(lengths[row]),
                relative=float(lengths[row] / before[row].clamp_min(1e-30)),
            ),
            old[row],
            new[row],
        )


def _explained(loaded: LoadedModel, neuron: EditedNeuron, old: Tensor, new: Tensor) -> EditedNeuron:
    """The neuron with the tokens that it raises by firing as it does."""
    if loaded.self_check.reason_off("attribution") is not None:
        return neuron
    sign = -1.0 if neuron.activation < 0 else 1.0
    before, now = (_raised(loaded, sign * vector) for vector in (old, new))
    return EditedNeuron(
        **{**vars(neuron), "promoted_before": before, "promotes": now},
    )


@torch.no_grad()
def _raised(loaded: LoadedModel, vector: Float[Tensor, " d_model"]) -> tuple[int, ...]:
    """The tokens whose logits a vector in the last state raises most."""
    readout = loaded.readout
    weight: Tensor = readout.unembed.weight  # type: ignore[assignment]
    rows = vector[None].to(weight.device)
    hidden = readout.part_input(rows, torch.ones(1, 1, device=weight.device))
    logits = readout.block_part_logits(hidden, slice(0, readout.d_vocab))[0]
    return tuple(logits.topk(min(PROMOTED, len(logits))).indices.tolist())
