"""Pattern and values of the families that keep their own attention code.

Falcon, Bloom, MPT, GPT-J and GPT-Neo bypass transformers' attention registry. They hand out their
pattern when asked, and their values are columns of a projection, found with prompts of one token,
where attention is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from lens_core.anatomy import ValueColumns
from lens_core.anatomy.calls import Call, recording
from lens_core.anatomy.probe import PROBE_TOKENS
from lens_core.network import embedding_rows, input_device, run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.anatomy import Anatomy


def uses_registry(model: PreTrainedModel) -> bool:
    """Whether the family takes its attention function from the registry."""
    return bool(model._can_set_attn_implementation())


@contextmanager
def attention_set_to(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Every configuration of the model names another attention function, for the block."""
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(c): c for c in found if hasattr(c, "_attn_implementation_internal")}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config, _ in before:
            config._attn_implementation_internal = name
        yield
    finally:
        for config, old in before:
            config._attn_implementation_internal = old


def ask_for_attention(
    model: PreTrainedModel,
    ids: Int[Tensor, " position"],
    sources: tuple[ValueColumns | None, ...],
) -> tuple[Tensor, dict[int, tuple[Tensor, ...]]]:
    """Pattern from the attention module's answer, values from the columns of a projection."""
    kept = [source for source in sources if source is not None]
    modules = {source.projection for source in kept} | {source.attention for source in kept}
    # Set to eager, or Falcon builds no mask for its pattern and looks ahead (measured: logits off
    # by half of their size).
    device = input_device(model)
    with recording(list(modules), device=device) as record, attention_set_to(model, "eager"):
        logits = run(model, ids[None], output_attentions=True).logits[0]
    answers = {call.module: call for call in record.calls}
    found = {}
    for layer, source in enumerate(sources):
        if source is None:
            continue
        pattern = _pattern(answers[source.attention], len(ids))
        out = answers[source.projection].output
        if pattern is None or out is None:
            continue
        rows = out.reshape(len(ids), -1).float()[:, source.columns.to(out.device)]
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
    ids = torch.arange(PROBE_TOKENS) % embedding_rows(model)
    modules = [module for parts in anatomy.layers for module in parts.block.modules()]
    with recording(modules) as asked, attention_set_to(model, "eager"):
        run(model, ids[None], output_attentions=True)
    with recording(modules) as single:
        run(model, ids[:, None])
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
