"""How much a head moves from each source: the length of weight x value x output projection.

A token can be looked at hard and hand over next to nothing (a sink does); the length of the moved
vector shows that (Kobayashi et al., 2020). Post-norms on the way into the stream are linear at
their measured scale, so the lengths are those of what is really added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lens_core.anatomy import Anatomy
from lens_core.anatomy.behaviour import NormFacts, tolerance
from lens_core.anatomy.calls import Recording, recording
from lens_core.attention_capture import LayerAttention, layer_attention
from lens_core.decomposition import FrozenAdd
from lens_core.models import LoadedModel
from lens_core.trace import inputs_of
from lens_core.weights import projection_matrix


@dataclass(frozen=True, eq=False)
class Passage:
    """What a pass leaves behind about the way from the values of some layers into the stream."""

    mixed: dict[int, Float[Tensor, "query head_x_value"]]
    """What the output projection reads at the queries, by layer."""
    norms: Recording
    """The norms between projection and stream."""


@contextmanager
def passage_recorded(
    loaded: LoadedModel, layers: frozenset[int], queries: Tensor, *, length: int
) -> Iterator[Passage]:
    """Write down what `moved_lengths` needs while the block runs."""
    anatomy, device = loaded.anatomy, loaded.device
    projections: dict[nn.Module, int] = {}
    norms: dict[nn.Module, None] = {}
    for layer in sorted(layers):
        parts = anatomy.layers[layer]
        if parts.attn_proj is not None:
            projections[parts.attn_proj] = layer
        norms.update({norm.module: None for norm in _norms(anatomy, layer)})
    mixed: dict[int, Tensor] = {}

    def keep(module: nn.Module, state: Tensor) -> None:
        # A model that is asked for its pattern runs a second time, without it.
        if projections[module] in mixed:
            return
        rows = state.detach().reshape(length, -1)
        mixed[projections[module]] = rows[queries.to(rows.device)].to(device, torch.float32)

    with inputs_of(list(projections), keep), recording(list(norms), device=device) as calls:
        yield Passage(mixed, calls)


def _norms(anatomy: Anatomy, layer: int) -> list[NormFacts]:
    """The norms between a layer's output projection and the stream."""
    add = anatomy.layers[layer].attn_add
    found = () if add is None else (add.post_norm, add.sum_norm)
    return [norm for norm in found if norm is not None]


@torch.no_grad()
def moved_lengths(
    loaded: LoadedModel,
    passage: Passage,
    layer: int,
    *,
    pattern: Float[Tensor, "head query key"],
    values: Float[Tensor, "n_values key d_value"],
    queries: Tensor,
) -> Float[Tensor, "query head source"]:
    """L2 norm of what every head moves from every source to some queries.

    For models whose self-check allows heads; the caller holds the lock.
    """
    parts = loaded.anatomy.layers[layer]
    assert parts.attn_proj is not None
    assert parts.attn_add is not None
    bound = tolerance(loaded.model.dtype)
    attention = layer_attention(pattern, values, passage.mixed[layer], bound)
    add = parts.attn_add
    scales = [
        None if norm is None else _inverse_scale(norm, passage.norms, queries)
        for norm in (add.post_norm, add.sum_norm)
    ]
    frozen = FrozenAdd(add, *scales)
    matrix = projection_matrix(parts.attn_proj)[0].to(pattern.device)
    heads = len(pattern)
    weight = frozen.fixed(matrix).reshape(heads, -1, matrix.shape[-1])
    factor = frozen.factor(passage.mixed[layer])
    return _lengths(attention, weight, factor).transpose(0, 1)


def _inverse_scale(norm: NormFacts, calls: Recording, queries: Tensor) -> Float[Tensor, "query 1"]:
    call = calls.of(norm.module)[0]
    assert call.input is not None
    assert call.output is not None
    at = queries.to(call.input.device)
    rows = (t.reshape(-1, t.shape[-1])[at].float() for t in (call.input, call.output))
    return norm.inverse_scale(*rows)


def _lengths(
    attention: LayerAttention,
    weight: Float[Tensor, "head d_value d_model"],
    factor: Float[Tensor, "query 1"],
) -> Float[Tensor, "head query source"]:
    """Weight times the length of what a source would move at weight 1."""
    heads, n_queries = attention.pattern.shape[:2]
    groups = heads // len(attention.values)
    found = torch.empty_like(attention.pattern)
    for head in range(heads):
        values = attention.values[head // groups]
        if attention.gate is None:
            found[head] = (values @ weight[head]).norm(2, -1)
            continue
        gate = attention.gate.reshape(n_queries, heads, -1)[:, head]
        for query in range(n_queries):
            found[head, query] = ((gate[query] * values) @ weight[head]).norm(2, -1)
    return found * attention.pattern * factor.abs()[:, 0, None]
