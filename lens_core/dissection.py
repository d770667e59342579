"""One pass with everything that is needed to take blocks apart into heads and neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.anatomy.calls import Call, Recording, recording
from lens_core.attention_capture import AttentionCapture, LayerAttention, capture_attention
from lens_core.decomposition import FrozenAdd, HeadParts, NeuronParts
from lens_core.experts import expert_neurons
from lens_core.network import input_device
from lens_core.trace import SITES, Trace, capture_streams
from lens_core.weights import projection_matrix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.anatomy import AddMap, Anatomy, LayerParts


@dataclass(frozen=True, eq=False)
class Dissection:
    """Stream, attention and activations of one and the same pass.

    Its parts are worked out when they are asked for, from the weights as they are then: ask while
    holding the model's lock, with the same edits applied as during the pass.
    """

    anatomy: Anatomy
    trace: Trace
    attention: AttentionCapture
    calls: Recording
    """Of the norms on the way into the stream, the down projections and the experts."""

    @torch.no_grad()
    def heads(self, layer: int) -> HeadParts | None:
        """The attention of a layer by (source, head); None where it has no pattern.

        The whole is the state after attention, in a parallel layer the block's output, to which
        the MLP is a further part.
        """
        parts, attention = self.anatomy.layers[layer], self.attention.layers[layer]
        if attention is None or parts.attn_proj is None or parts.attn_add is None:
            return None
        frozen = self._frozen(parts.attn_add)
        before = self.trace.resid_pre[layer]
        whole = self.trace.resid_mid[layer] if parts.has_mid else self.trace.resid_post[layer]
        residual = frozen.carried(before)
        return _head_parts(attention, parts.attn_proj, frozen, whole=whole, residual=residual)

    @torch.no_grad()
    def mlp(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Whole, what the MLP adds, and what the stream itself contributes, [position, d_model]."""
        parts = self.anatomy.layers[layer]
        assert parts.mlp_add is not None
        whole, before = self.trace.resid_post[layer], self.trace.resid_pre[layer]
        if not parts.has_mid:
            return whole, self.trace.mlp_out[layer], before
        frozen = self._frozen(parts.mlp_add)
        residual = frozen.carried(self.trace.resid_mid[layer])
        return whole, whole - residual, residual

    @torch.no_grad()
    def neurons(self, layer: int) -> NeuronParts | None:
        """The MLP of a layer by neuron; None where the neurons cannot be caught."""
        parts = self.anatomy.layers[layer]
        if parts.mlp_add is None:
            return None
        frozen = self._frozen(parts.mlp_add)
        like = self.trace.resid_post[layer]
        if parts.mlp_proj is not None:
            matrix, bias = _projection(parts.mlp_proj, like)
            rows = self._call(parts.mlp_proj).input
            assert rows is not None
            active = rows.reshape(len(like), -1).float()
            weights = (frozen.fixed(matrix),)
            return NeuronParts(active, weights, frozen.factor(like), frozen.constant(bias, like))
        return self._expert_neurons(parts, frozen, like)

    def _expert_neurons(
        self, parts: LayerParts, frozen: FrozenAdd, like: Tensor
    ) -> NeuronParts | None:
        if parts.experts is None:
            return None
        call = self._call(parts.experts.routed)
        shared = self._shared(parts, len(like))
        active, weights, biases = [], [], []
        for position in range(len(like)):
            found = expert_neurons(call, position, len(like))
            if found is None:
                return None
            rows, matrix = found.activations.flatten(), found.weights.flatten(0, 1)
            bias = found.bias
            if shared is not None:
                rows = torch.cat([rows, shared[0][position]])
                matrix = torch.cat([matrix, shared[1]])
                bias = bias + shared[2][position]
            active.append(rows)
            weights.append(frozen.fixed(matrix))
            biases.append(bias)
        constant = frozen.bias(like) + frozen(torch.stack(biases))
        return NeuronParts(torch.stack(active), tuple(weights), frozen.factor(like), constant)

    def _shared(self, parts: LayerParts, length: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """Activations times gate, matrix and gated bias of the shared expert."""
        assert parts.experts is not None
        if parts.experts.shared_proj is None:
            return None
        call = self._call(parts.experts.shared_proj)
        outs = [call.output, self._call(parts.experts.wrapper).output]
        routed = self._call(parts.experts.routed).output
        assert call.input is not None
        assert routed is not None
        own, total = (out.reshape(length, -1).float() for out in outs if out is not None)
        rest = total - routed.reshape(-1, length, routed.shape[-1]).sum(0).float()
        gate = (rest * own).sum(-1, keepdim=True) / own.square().sum(-1, keepdim=True).clamp_min(
            1e-30
        )
        active = call.input.reshape(length, -1).float() * gate
        matrix, bias = _projection(parts.experts.shared_proj, own)
        fixed = torch.zeros_like(own) if bias is None else bias * gate
        return active, matrix, fixed

    def _frozen(self, add: AddMap) -> FrozenAdd:
        post, total = (
            None if norm is None else self._inverse_scale(norm.module)
            for norm in (add.post_norm, add.sum_norm)
        )
        return FrozenAdd(add, post, total)

    def _inverse_scale(self, module: nn.Module) -> Float[Tensor, "position 1"]:
        call = self._call(module)
        assert call.input is not None
        assert call.output is not None
        norm = next(
            norm
            for parts in self.anatomy.layers
            for add in (parts.attn_add, parts.mlp_add)
            if add is not None
            for norm in (add.post_norm, add.sum_norm)
            if norm is not None and norm.module is module
        )
        rows = (t.reshape(-1, self.anatomy.d_model).float() for t in (call.input, call.output))
        return norm.inverse_scale(*rows)

    def _call(self, module: nn.Module) -> Call:
        return self.calls.of(module)[0]


def _head_parts(
    attention: LayerAttention,
    projection: nn.Module,
    frozen: FrozenAdd,
    *,
    whole: Float[Tensor, "query d_model"],
    residual: Float[Tensor, "query d_model"],
) -> HeadParts:
    heads = len(attention.pattern)
    matrix, bias = _projection(projection, whole)
    weight = frozen.fixed(matrix).reshape(heads, -1, matrix.shape[-1])
    gate = attention.gate
    return HeadParts(
        attention.pattern,
        attention.values,
        None if gate is None else gate.reshape(len(whole), heads, -1),
        weight,
        frozen.factor(whole),
        whole,
        residual,
        frozen.constant(bias, whole),
    )


def _projection(module: nn.Module, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """Matrix and bias of a projection, where the states are."""
    matrix, bias = projection_matrix(module)
    return matrix.to(like.device), None if bias is None else bias.to(like.device)


@torch.no_grad()
def dissect(
    model: PreTrainedModel,
    anatomy: Anatomy,
    ids: Int[Tensor, " position"],
) -> Dissection:
    """Run once with attention recorded and every part kept; the caller holds the lock."""
    found: list[AttentionCapture] = []

    def run() -> Tensor:
        found.append(capture_attention(model, anatomy, ids))
        return found[0].logits

    with recording(_watched(anatomy), device=input_device(model)) as calls:
        trace = capture_streams(model, anatomy, ids, SITES, forward_pass=run)
    return Dissection(anatomy, trace, found[0], calls)


def _watched(anatomy: Anatomy) -> list[nn.Module]:
    """The modules whose inputs or outputs a dissection needs, each once."""
    modules: dict[nn.Module, None] = {}
    for parts in anatomy.layers:
        for add in (parts.attn_add, parts.mlp_add):
            for norm in () if add is None else (add.post_norm, add.sum_norm):
                if norm is not None:
                    modules[norm.module] = None
        if parts.mlp_proj is not None:
            modules[parts.mlp_proj] = None
        if parts.experts is not None:
            named = (parts.experts.routed, parts.experts.shared_proj, parts.experts.wrapper)
            modules.update({module: None for module in named if module is not None})
    return list(modules)
