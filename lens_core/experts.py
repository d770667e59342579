"""The neurons of a mixture of experts, by running its module again one position at a time.

The module keeps its experts as parameters of three dimensions. The last matrix product of each
expert reads the neurons, so it is caught in the act: no family's gating rule has to be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from lens_core.anatomy.calls import Call


@dataclass(frozen=True, eq=False)
class ExpertNeurons:
    """The neurons of the experts that one position was sent to, in the router's order."""

    activations: Float[Tensor, "slot neuron"]
    """Signed, times the router's weight."""
    weights: Float[Tensor, "slot neuron d_model"]
    bias: Float[Tensor, " d_model"]
    """Biases of the experts times the router's weights."""


class _Products(TorchFunctionMode):
    """Notes every product of a tensor with a slice of a three-dimensional parameter."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.parameters = {
            p.untyped_storage().data_ptr(): p
            for p in module.parameters(recurse=False)
            if p.dim() == 3
        }
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            self._note([a for a in args if isinstance(a, torch.Tensor)], out)
        return out

    def _note(self, args: list[Tensor], out: Tensor) -> None:
        if len(args) < 2 or out.untyped_storage().data_ptr() in self.parameters:
            return
        for weight, other in ((args[1], args[0]), (args[0], args[1])):
            parameter = self.parameters.get(weight.untyped_storage().data_ptr())
            if parameter is None or other.shape[-1:] == out.shape[-1:] == ():
                continue
            matrix = _read_by(other, weight, out)
            if matrix is None:
                return
            if matrix.dim() == 3:
                for expert in range(matrix.shape[0]):
                    self.seen[expert] = (other[expert], matrix[expert])
            else:
                offset = weight.storage_offset() - parameter.storage_offset()
                self.seen[offset // parameter.stride(0)] = (other, matrix)
            return


def _read_by(other: Tensor, weight: Tensor, out: Tensor) -> Tensor | None:
    """The weight as [..., neuron, d_out] with `other @ it` = `out`, or None for another product."""
    if other.dim() < 2 or other.shape[-1] not in weight.shape[-2:]:
        return None
    for matrix in (weight, weight.transpose(-1, -2)):
        if matrix.shape[-2:] == (other.shape[-1], out.shape[-1]):
            again = other @ matrix
            if again.shape == out.shape and torch.allclose(again, out, rtol=1e-3, atol=1e-4):
                return matrix
    return None


@contextmanager
def _eager(module: nn.Module) -> Iterator[None]:
    """The experts run one after another, in their plain form, for the block."""
    config = getattr(module, "config", None)
    before = getattr(config, "_experts_implementation", None)
    if config is None or before is None:
        yield
        return
    config._experts_implementation = "eager"
    try:
        yield
    finally:
        config._experts_implementation = before


@torch.no_grad()
def expert_neurons(call: Call, position: int, length: int) -> ExpertNeurons | None:
    """The neurons at one position of a recorded call; None when they cannot be caught.

    `length` is the number of positions; some families lay out all experts x positions as rows.
    """
    inputs = tuple(t[position::length] for t in call.inputs)
    products = _Products(call.module)
    with _eager(call.module), products:
        again = call.module(*inputs)
    answer = again.reshape(-1, again.shape[-1]).sum(0).float()
    if not products.seen:
        return None
    chosen, router = _routing(inputs, products.seen)
    rows = [products.seen[e][0].reshape(-1, products.seen[e][0].shape[-1]) for e in chosen]
    activations = torch.stack([row[0] for row in rows]).float()
    weights = torch.stack([products.seen[e][1] for e in chosen]).float()
    biases = _biases(call.module, chosen, weights.shape)
    best, least = None, torch.inf
    # Some families multiply by the router's weight before the experts, the others after them.
    for scale in (router, torch.ones_like(router)):
        scaled = activations * scale[:, None]
        bias = (biases * scale[:, None]).sum(0)
        total = torch.einsum("sn,snd->d", scaled, weights) + bias
        error = float((total - answer).abs().max())
        if error < least:
            best, least = ExpertNeurons(scaled, weights, bias), error
    return best


def _routing(
    inputs: tuple[Tensor, ...], seen: dict[int, Any]
) -> tuple[list[int], Float[Tensor, " slot"]]:
    """The experts in the router's order, and the router's weights."""
    indices = next((t for t in inputs if not t.is_floating_point()), None)
    if indices is None:
        chosen = sorted(seen)
        return chosen, torch.ones(len(chosen), device=inputs[0].device)
    slots = [int(index) for index in indices.flatten().tolist()]
    amounts = inputs[-1].float().flatten()
    by_slot = amounts if len(amounts) == len(slots) else amounts[torch.tensor(slots)]
    kept = [slot for slot, expert in enumerate(slots) if expert in seen]
    return [slots[slot] for slot in kept], by_slot[kept]


def _biases(module: nn.Module, chosen: list[int], shape: torch.Size) -> Float[Tensor, "slot d"]:
    """The output bias of each chosen expert; zeros where the family has none."""
    experts = next(p.shape[0] for p in module.parameters(recurse=False) if p.dim() == 3)
    found = [p for p in module.parameters(recurse=False) if tuple(p.shape) == (experts, shape[-1])]
    if not found:
        return torch.zeros(shape[0], shape[-1], device=next(module.parameters()).device)
    return found[-1][chosen].float()
