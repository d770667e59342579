"""The full attention pattern and the values, from the family's own eager function.

The function is looked up in the model's own file and registered under a private name together
with the mask function of "eager": without that mask attention silently stops being causal. So
sinks, softcaps, ALiBi and sliding windows are the model's.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.anatomy.behaviour import tolerance
from lens_core.anatomy.probe import block_inputs
from lens_core.attention_own import ask_for_attention, attention_set_to, uses_registry
from lens_core.network import input_device, run
from lens_core.trace import inputs_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.anatomy import Anatomy, Probe

NAME = "lens_core"


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """What the attention of one layer did, all in float32."""

    pattern: Float[Tensor, "head query key"]
    """After the softmax; rows sum to 1, or to less where the model has sinks."""
    values: Float[Tensor, "kv_head key d_value"]
    """Query head h reads the values of head floor(h * n_kv_heads / n_heads)."""
    mixed: Float[Tensor, "query head_x_value"]
    """What the output projection reads: pattern times values, times the gate."""
    gate: Float[Tensor, "query head_x_value"] | None
    """The factor between pattern times values and `mixed`; None where it is 1."""


@dataclass(frozen=True, eq=False)
class AttentionCapture:
    """All layers of one pass with attention written down."""

    layers: tuple[LayerAttention | None, ...]
    """None where a layer has no attention pattern (linear attention, state space)."""
    logits: Float[Tensor, "position d_vocab"]
    """Of this very pass; the deviation from the default attention is measured against them."""


@dataclass(eq=False)
class _Recorder:
    """Pattern and values by attention module, in the pass that is under way."""

    seen: dict[nn.Module, tuple[Tensor, Tensor]]
    multiply: bool = False
    """Multiply what attention gives by `_multiplier`, to see what happens to it afterwards."""


_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)


def _recording_attention(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The family's own eager attention, with pattern and values kept."""
    out, pattern = own_eager(module)(module, *args, **kwargs)
    recorder = _recorder.get()
    value = args[2] if len(args) > 2 else kwargs["value"]
    if recorder is not None:
        recorder.seen[module] = (pattern.detach(), value.detach())
        if recorder.multiply:
            out = out * _multiplier(out[0, 0].numel(), out).reshape(out.shape[2:])
    return out, pattern


def _multiplier(width: int, like: Tensor) -> Float[Tensor, " width"]:
    """A factor between 0.5 and 1.5 for every entry, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(width, generator=generator).add_(0.5).to(like)


def own_eager(module: nn.Module) -> Any:
    """`eager_attention_forward` of the file that defines the attention class."""
    for kind in type(module).__mro__:
        function = getattr(sys.modules[kind.__module__], "eager_attention_forward", None)
        if function is not None:
            return function
    raise NotImplementedError(f"{type(module).__name__} has no eager attention in its file")


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        # The mask first: another thread that finds the attention function must find it too.
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        ALL_ATTENTION_FUNCTIONS.register(NAME, _recording_attention)


@contextmanager
def recording_attention(
    model: PreTrainedModel, *, multiply: bool = False
) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Attention runs through the family's eager function and is written down, for the block."""
    _register()
    recorder = _Recorder({}, multiply)
    token = _recorder.set(recorder)
    try:
        with attention_set_to(model, NAME):
            yield recorder.seen
    finally:
        _recorder.reset(token)


@torch.no_grad()
def capture_attention(
    model: PreTrainedModel,
    anatomy: Anatomy,
    ids: Int[Tensor, " position"],
) -> AttentionCapture:
    """Run once with attention written down; the caller holds the model's lock."""
    device = input_device(model)
    with _projection_inputs(anatomy, len(ids), device) as mixed:
        if uses_registry(model):
            with recording_attention(model) as seen:
                logits = run(model, ids[None]).logits[0]
            found = _by_layer(anatomy, seen, device)
        else:
            logits, found = ask_for_attention(model, ids, anatomy.values)
    bound = tolerance(model.dtype)
    layers = tuple(
        layer_attention(found[layer][0], found[layer][1], mixed[layer], bound)
        if layer in found
        else None
        for layer in range(len(anatomy.layers))
    )
    return AttentionCapture(layers, logits.to(torch.float32, copy=True))


@contextmanager
def _projection_inputs(
    anatomy: Anatomy, length: int, device: torch.device
) -> Iterator[dict[int, Tensor]]:
    """What each layer's output projection reads, by layer, [position, head x value]."""
    layers = {
        parts.attn_proj: layer
        for layer, parts in enumerate(anatomy.layers)
        if parts.attn_proj is not None
    }
    mixed: dict[int, Tensor] = {}

    def keep(module: nn.Module, state: Tensor) -> None:
        rows = state.detach().reshape(length, -1)
        mixed[layers[module]] = rows.to(device, torch.float32, copy=True)

    with inputs_of(list(layers), keep):
        yield mixed


@torch.no_grad()
def gate_rel_err(probe: Probe, anatomy: Anatomy, gated: Collection[int]) -> float:
    """How far what lies between attention and its output projection is from a factor.

    Attention's answer is multiplied by known factors while every block reads its own input of
    the probe; behind a gate exactly these factors must be found again in each layer of `gated`.
    Infinite where the factors cannot be put in.
    """
    if not uses_registry(probe.model):
        return float("inf")
    model, length = probe.model, len(probe.ids)
    states = [(block.block, block.resid_pre) for block in probe.blocks]
    found: list[dict[int, Tensor]] = []
    for multiply in (False, True):
        recorded = recording_attention(model, multiply=multiply)
        with (
            _projection_inputs(anatomy, length, input_device(model)) as mixed,
            block_inputs(states),
            recorded,
        ):
            run(model, probe.ids[None])
        found.append(mixed)
    plain, multiplied = found
    errors = []
    for layer in gated:
        wanted = plain[layer] * _multiplier(plain[layer].shape[-1], plain[layer])
        errors.append(float((multiplied[layer] - wanted).abs().max() / wanted.abs().max()))
    return max(errors)


def _by_layer(
    anatomy: Anatomy, seen: dict[nn.Module, tuple[Tensor, Tensor]], device: torch.device
) -> dict[int, tuple[Tensor, ...]]:
    owner = {
        module: layer
        for layer, parts in enumerate(anatomy.layers)
        for module in parts.block.modules()
    }
    return {
        owner[module]: tuple(t[0].to(device, torch.float32, copy=True) for t in found)
        for module, found in seen.items()
    }


def layer_attention(pattern: Tensor, values: Tensor, mixed: Tensor, bound: float) -> LayerAttention:
    """A layer's attention with its gate, found as what `mixed` has beside pattern times values.

    `pattern` and `mixed` may hold some of the queries alone; `bound` is the relative error up to
    which there is no gate.
    """
    heads, groups = pattern.shape[0], values.shape[0]
    ungated = torch.einsum(
        "hqk,hkv->qhv", pattern, values.repeat_interleave(heads // groups, dim=0)
    ).reshape(mixed.shape)
    gate = None
    if (ungated - mixed).abs().max() > 3 * bound * mixed.abs().max():
        gate = torch.where(ungated != 0, mixed / ungated, 0.0)
    return LayerAttention(pattern, values, mixed, gate)
