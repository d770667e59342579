"""The full attention pattern and the values, from the family's own eager function.

The function is looked up in the model's own file and registered under a private name together
with the mask function of "eager": without that mask attention silently stops being causal. So
sinks, softcaps, ALiBi and sliding windows are the model's. Families that bypass the registry
(Falcon, Bloom, MPT, GPT-J, GPT-Neo) hand out their pattern when asked, and their values are
columns of a projection, found with prompts of one token, where attention is the identity.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lens_core.anatomy import ValueColumns
from lens_core.anatomy.behaviour import tolerance
from lens_core.anatomy.calls import Call, recording
from lens_core.anatomy.probe import PROBE_TOKENS, block_inputs
from lens_core.trace import inputs_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn
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
    out, pattern = _own_eager(module)(module, *args, **kwargs)
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


def _own_eager(module: nn.Module) -> Any:
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
        ALL_ATTENTION_FUNCTIONS.register(NAME, _recording_attention)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def uses_registry(model: PreTrainedModel) -> bool:
    """Whether the family takes its attention function from the registry."""
    return bool(model._can_set_attn_implementation())


@contextmanager
def recording_attention(
    model: PreTrainedModel, *, multiply: bool = False
) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Attention runs through the family's eager function and is written down, for the block."""
    _register()
    recorder = _Recorder({}, multiply)
    token = _recorder.set(recorder)
    try:
        with _attention_set_to(model, NAME):
            yield recorder.seen
    finally:
        _recorder.reset(token)


@contextmanager
def _attention_set_to(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Every configuration of the model names another attention function, for the block."""
    found = (getattr(module, "config", None) for module in model.modules())
    configs = {id(c): c for c in found if hasattr(c, "_attn_implementation_internal")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation_internal = name
        yield
    finally:
        for config, old in before:
            config._attn_implementation_internal = old


@torch.no_grad()
def capture_attention(
    model: PreTrainedModel,
    anatomy: Anatomy,
    ids: Int[Tensor, " position"],
) -> AttentionCapture:
    """Run once with attention written down; the caller holds the model's lock."""
    device = model.get_input_embeddings().weight.device
    with _projection_inputs(anatomy, len(ids)) as mixed:
        if uses_registry(model):
            with recording_attention(model) as seen, torch.inference_mode():
                logits = model(input_ids=ids[None].to(device), use_cache=False).logits[0]
            found = _by_layer(anatomy, seen)
        else:
            logits, found = _ask(model, ids.to(device), anatomy.values)
    bound = tolerance(model.dtype)
    layers = tuple(
        _layer_attention(*found[layer], mixed[layer], bound) if layer in found else None
        for layer in range(len(anatomy.layers))
    )
    return AttentionCapture(layers, logits.to(torch.float32, copy=True))


@contextmanager
def _projection_inputs(anatomy: Anatomy, length: int) -> Iterator[dict[int, Tensor]]:
    """What each layer's output projection reads, by layer, [position, head x value]."""
    layers = {
        parts.attn_proj: layer
        for layer, parts in enumerate(anatomy.layers)
        if parts.attn_proj is not None
    }
    mixed: dict[int, Tensor] = {}

    def keep(module: nn.Module, state: Tensor) -> None:
        mixed[layers[module]] = state.detach().reshape(length, -1).float().clone()

    with inputs_of(list(layers), keep):
        yield mixed


@torch.no_grad()
def gate_rel_err(probe: Probe, anatomy: Anatomy) -> float:
    """How far what lies between attention and its output projection is from a factor.

    Attention's answer is multiplied by known factors while every block reads its own input of
    the probe; behind a gate exactly these factors must be found again.
    """
    model, length = probe.model, len(probe.ids)
    states = [(block.block, block.resid_pre) for block in probe.blocks]
    device = model.get_input_embeddings().weight.device
    found: list[dict[int, Tensor]] = []
    for multiply in (False, True):
        with _projection_inputs(anatomy, length) as mixed, block_inputs(states):
            with recording_attention(model, multiply=multiply), torch.inference_mode():
                model(input_ids=probe.ids[None].to(device), use_cache=False)
        found.append(mixed)
    plain, multiplied = found
    with_attention = [layer for layer in plain if not torch.equal(plain[layer], multiplied[layer])]
    errors = [0.0]
    for layer in with_attention:
        wanted = plain[layer] * _multiplier(plain[layer].shape[-1], plain[layer])
        errors.append(float((multiplied[layer] - wanted).abs().max() / wanted.abs().max()))
    return max(errors)


def _by_layer(
    anatomy: Anatomy, seen: dict[nn.Module, tuple[Tensor, Tensor]]
) -> dict[int, tuple[Tensor, Tensor]]:
    owner = {
        module: layer
        for layer, parts in enumerate(anatomy.layers)
        for module in parts.block.modules()
    }
    return {
        owner[module]: (pattern[0].float().clone(), value[0].float().clone())
        for module, (pattern, value) in seen.items()
    }


def _layer_attention(
    pattern: Tensor, values: Tensor, mixed: Tensor, bound: float
) -> LayerAttention:
    heads, groups = pattern.shape[0], values.shape[0]
    ungated = torch.einsum(
        "hqk,hkv->qhv", pattern, values.repeat_interleave(heads // groups, dim=0)
    ).reshape(mixed.shape)
    gate = None
    if (ungated - mixed).abs().max() > 3 * bound * mixed.abs().max():
        gate = torch.where(ungated != 0, mixed / ungated, 0.0)
    return LayerAttention(pattern, values, mixed, gate)


def _ask(
    model: PreTrainedModel,
    ids: Tensor,
    sources: tuple[ValueColumns | None, ...],
) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """Pattern from the attention module's answer, values from the columns of a projection."""
    kept = [source for source in sources if source is not None]
    modules = {source.projection for source in kept} | {source.attention for source in kept}
    # Set to eager, or Falcon builds no mask for its pattern and looks ahead (measured: logits off
    # by half of their size).
    with recording(list(modules)) as record, _attention_set_to(model, "eager"):
        with torch.inference_mode():
            logits = model(input_ids=ids[None], use_cache=False, output_attentions=True).logits[0]
    answers = {call.module: call for call in record.calls}
    found = {}
    for layer, source in enumerate(sources):
        if source is None:
            continue
        pattern = _pattern(answers[source.attention], len(ids))
        out = answers[source.projection].output
        if pattern is None or out is None:
            continue
        rows = out.reshape(len(ids), -1).float()[:, source.columns]
        # One value head for each query head: shared ones are simply repeated.
        values = rows.reshape(len(ids), pattern.shape[0], -1).transpose(0, 1)
        found[layer] = (pattern, values.clone())
    return logits, found


def _pattern(call: Call, length: int) -> Tensor | None:
    """The [1, head, query, key] tensor in an attention module's answer."""
    for tensor in call.outputs[1:]:
        if tensor.dim() == 4 and tensor.shape[-2:] == (length, length):
            return tensor[0].float()
    return None


@torch.no_grad()
def value_columns(model: PreTrainedModel, anatomy: Anatomy) -> tuple[ValueColumns | None, ...]:
    """For each layer of a family outside the registry, where pattern and values can be taken.

    In a prompt of one token the pattern is 1, so the output projection reads the values
    themselves: every entry is looked up among the projections' outputs, over several tokens.
    """
    if uses_registry(model):
        return ()
    embedding = model.get_input_embeddings().weight
    ids = (torch.arange(PROBE_TOKENS) % embedding.shape[0]).to(embedding.device)
    modules = [module for parts in anatomy.layers for module in parts.block.modules()]
    with torch.inference_mode():
        with recording(modules) as asked, _attention_set_to(model, "eager"):
            model(input_ids=ids[None], use_cache=False, output_attentions=True)
        with recording(modules) as single:
            model(input_ids=ids[:, None], use_cache=False)
    found = []
    for parts in anatomy.layers:
        attention = next(
            (c.module for c in asked.inside(parts.block) if _pattern(c, PROBE_TOKENS) is not None),
            None,
        )
        found.append(_find_columns(single.inside(parts.block), parts.attn_proj, attention))
    return tuple(found)


def _find_columns(
    calls: list[Call], projection: nn.Module | None, attention: nn.Module | None
) -> ValueColumns | None:
    reader = next((call for call in calls if call.module is projection), None)
    if reader is None or reader.input is None or attention is None:
        return None
    wanted = reader.input.reshape(PROBE_TOKENS, -1)
    for call in calls:
        out = call.output
        if call.ended > reader.order or out is None or out.numel() % PROBE_TOKENS:
            continue
        rows = out.reshape(PROBE_TOKENS, -1)
        same = torch.ones(wanted.shape[1], rows.shape[1], dtype=torch.bool, device=rows.device)
        for entry, row in zip(wanted, rows, strict=True):
            same &= entry[:, None] == row
        if bool(same.any(1).all()):
            return ValueColumns(call.module, same.to(torch.uint8).argmax(1), attention)
    return None
