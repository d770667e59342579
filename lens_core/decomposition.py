"""What attention and MLP add, taken apart into heads, sources and neurons.

Everything a projection's output goes through on its way into the stream (post-norm, multiplier,
a norm of the sum) is linear once the norm's scale is frozen at its measured value, so the parts
sum exactly to what is added. What is added by biases is a part of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from lens_core.anatomy import AddMap


@dataclass(frozen=True, eq=False)
class FrozenAdd:
    """An `AddMap` with its norms frozen at the scales of one run: linear in every part."""

    add: AddMap
    post_scale: Float[Tensor, "position 1"] | None
    sum_scale: Float[Tensor, "position 1"] | None

    def fixed(self, rows: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """The part of the map that is the same at every position."""
        if self.add.post_norm is not None:
            rows = self.add.post_norm.linear(rows)
        if self.add.sum_norm is not None:
            rows = self.add.sum_norm.linear(rows)
        return rows * self.add.scale if self.add.scale != 1.0 else rows

    def factor(self, like: Tensor) -> Float[Tensor, "position 1"]:
        """The factor that differs from position to position."""
        factor = torch.ones(1, 1, device=like.device)
        for scale in (self.post_scale, self.sum_scale):
            factor = factor if scale is None else factor * scale
        return factor.expand(like.shape[0], 1)

    def __call__(
        self, rows: Float[Tensor, "position d_model"]
    ) -> Float[Tensor, "position d_model"]:
        """What is added for one projected row a position."""
        return self.fixed(rows) * self.factor(rows)

    def bias(self, like: Float[Tensor, "position d_model"]) -> Float[Tensor, "position d_model"]:
        """What the norms on the way add by their own biases."""
        total = torch.zeros_like(like)
        if self.add.post_norm is not None:
            total = total + self.add.post_norm.bias.to(like.device) * self.add.scale
        if self.add.sum_norm is not None:
            assert self.sum_scale is not None
            own = self.add.sum_norm.bias.to(like.device)
            total = self.add.sum_norm.linear(total) * self.sum_scale + own
        return total

    def constant(
        self, bias: Float[Tensor, "*row d_model"] | None, like: Float[Tensor, "position d_model"]
    ) -> Float[Tensor, "position d_model"]:
        """What a bias of the projection and those of the norms add together."""
        fixed = self.bias(like)
        return fixed if bias is None else fixed + self(bias.expand_as(like))

    def carried(
        self, state: Float[Tensor, "position d_model"]
    ) -> Float[Tensor, "position d_model"]:
        """What the stream itself contributes to the sum: `state`, or what norms leave of it."""
        rows = state if self.add.base_norm is None else self.add.base_norm(state)
        if self.add.sum_norm is not None:
            assert self.sum_scale is not None
            rows = self.add.sum_norm.linear(rows) * self.sum_scale
        return rows


@dataclass(frozen=True, eq=False)
class HeadParts:
    """The state after attention as residual + bias + one part a (source, head)."""

    pattern: Float[Tensor, "head query key"]
    values: Float[Tensor, "kv_head key d_value"]
    gate: Float[Tensor, "query head d_value"] | None
    weight: Float[Tensor, "head d_value d_model"]
    """The output projection by head, mapped to the stream."""
    factor: Float[Tensor, "query 1"]
    whole: Float[Tensor, "query d_model"]
    residual: Float[Tensor, "query d_model"]
    bias: Float[Tensor, "query d_model"]

    def part(self, head: int, targets: slice, n_sources: int) -> Float[Tensor, "query key d_model"]:
        """The vectors one head moves from the first sources to some targets."""
        values = self.values[head * len(self.values) // len(self.pattern), :n_sources]
        amount = self.pattern[head, targets, :n_sources] * self.factor[targets]
        if self.gate is None:
            return amount[..., None] * (values @ self.weight[head])
        gated = self.gate[targets, None, head] * values
        return amount[..., None] * (gated @ self.weight[head])

    def head_sum(self) -> Float[Tensor, "query head d_model"]:
        """What each head adds, over all sources."""
        heads = len(self.pattern)
        values = self.values.repeat_interleave(heads // len(self.values), dim=0)
        moved = torch.einsum("hqk,hkv->qhv", self.pattern, values)
        if self.gate is not None:
            moved = moved * self.gate
        return torch.einsum("qhv,hvd->qhd", moved, self.weight) * self.factor[:, :, None]

    def all_parts(self) -> Float[Tensor, "query key head d_model"]:
        """Every part at once; only for short prompts, since it grows with position^2."""
        length = self.pattern.shape[1]
        heads = range(len(self.pattern))
        return torch.stack([self.part(h, slice(0, length), length) for h in heads], dim=2)


@dataclass(frozen=True, eq=False)
class NeuronParts:
    """What the MLP adds at each position as bias + one part a neuron.

    For a mixture of experts the neurons are those of the routed experts in the router's order,
    then those of the shared expert, and each position has its own matrix.
    """

    activations: Float[Tensor, "position neuron"]
    """Signed; for experts already times the router's weight."""
    weights: tuple[Float[Tensor, "neuron d_model"], ...]
    """One matrix for all positions, or one for each, mapped to the stream."""
    factor: Float[Tensor, "position 1"]
    bias: Float[Tensor, "position d_model"]

    def weight(self, position: int) -> Float[Tensor, "neuron d_model"]:
        """The vector each neuron writes at activation 1."""
        return self.weights[0 if len(self.weights) == 1 else position] * self.factor[position]

    def part(self, position: int) -> Float[Tensor, "neuron d_model"]:
        """What each neuron adds at one position."""
        return self.activations[position, :, None] * self.weight(position)

    def total(self) -> Float[Tensor, "position d_model"]:
        """The sum of all neurons, without the bias."""
        if len(self.weights) == 1:
            return self.activations @ self.weights[0] * self.factor
        rows = [a @ w for a, w in zip(self.activations, self.weights, strict=True)]
        return torch.stack(rows) * self.factor
