"""Two short forward passes that show how a model moves its data.

The first is written down whole. In the second every block sees its own input of the first pass
with position 0 changed, so whatever differs at a later position has crossed positions: the first
linear map that reads such a value is the output projection of the attention (or of the mixer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.anatomy.calls import Call, Recording, recording
from lens_core.errors import ModelError
from lens_core.network import embedding_rows, input_device, run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_TOKENS = 7


@dataclass(eq=False)
class BlockProbe:
    """What one decoder block did in the first pass."""

    block: nn.Module
    resid_pre: Tensor
    """As it came in: [1, position, d_model] in a plain transformer."""
    resid_post: Tensor
    calls: list[Call]
    mixed: set[int]
    """`order` of the calls whose input carries something from an earlier position."""


@dataclass(eq=False)
class Probe:
    """What the probe saw of a whole model."""

    model: PreTrainedModel
    ids: Int[Tensor, " position"]
    logits: Float[Tensor, "position d_vocab"]
    blocks: list[BlockProbe]
    tail: list[Call]
    """Calls after the last block: the final norm, the head and what lies between."""


def probe_ids(model: PreTrainedModel) -> Int[Tensor, " position"]:
    """A few different token ids, spread over the vocabulary, always the same for a model."""
    vocabulary = embedding_rows(model)
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randperm(max(vocabulary - 3, PROBE_TOKENS), generator=generator)[:PROBE_TOKENS]
        .add(min(3, max(vocabulary - PROBE_TOKENS, 0)))
        .clamp_max(vocabulary - 1)
    )


def run_probe(model: PreTrainedModel) -> Probe:
    """Run both passes.

    Raises:
        ModelError: the blocks cannot be found, or one of them was not run exactly once.
    """
    blocks = find_blocks(model)
    ids = probe_ids(model)
    device = input_device(model)
    with recording(list(model.modules()), device=device) as record:
        logits = run(model, ids[None]).logits[0].to(device=device, copy=True)
    calls = [_only_call(record, block) for block in blocks]
    probes = [_block_probe(record, call) for call in calls]
    _mark_mixed(model, ids, probes)
    tail = [call for call in record.calls if call.order > calls[-1].ended]
    return Probe(model, ids, logits, probes, tail)


def find_blocks(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder blocks: the outermost ModuleList as long as the config says the model is deep.

    Raises:
        ModelError: there is no such list.
    """
    config = model.config.get_text_config(decoder=True)
    depth = getattr(config, "num_hidden_layers", None)
    lists = [
        (name.count("."), module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth
    ]
    if not lists:
        raise ModelError(
            f"{type(model).__name__}: no list of {depth} decoder blocks was found; only models "
            "whose blocks are kept in one ModuleList can be read."
        )
    return list(min(lists, key=lambda entry: entry[0])[1])


def _only_call(record: Recording, block: nn.Module) -> Call:
    calls = record.of(block)
    if len(calls) != 1 or calls[0].input is None or calls[0].output is None:
        raise ModelError(
            f"A {type(block).__name__} ran {len(calls)} times in one forward pass; only models "
            "that run each block exactly once, on tensors, can be read."
        )
    return calls[0]


def _block_probe(record: Recording, call: Call) -> BlockProbe:
    assert call.input is not None
    assert call.output is not None
    return BlockProbe(call.module, call.input, call.output, record.inside(call.module), set())


def _mark_mixed(model: PreTrainedModel, ids: Tensor, probes: list[BlockProbe]) -> None:
    """The second pass: change position 0 of every block's input, see where it is felt later."""
    modules = [module for probe in probes for module in probe.block.modules()]
    inputs = []
    for probe in probes:
        state = probe.resid_pre.clone()
        # Rolled along its width, so the size stays that of a real state.
        state.select(-2, 0).copy_(probe.resid_pre.select(-2, 0).roll(1, -1))
        inputs.append((probe.block, state))
    with block_inputs(inputs), recording(modules, device=input_device(model)) as record:
        run(model, ids[None])
    for probe in probes:
        again = record.inside(probe.block)
        for before, after in zip(probe.calls, again, strict=False):
            if before.module is after.module and _later_positions_differ(before, after):
                probe.mixed.add(before.order)


@contextmanager
def block_inputs(states: Sequence[tuple[nn.Module, Tensor]]) -> Iterator[None]:
    """Every block reads the given state instead of what the block before it gave."""

    def reading(state: Tensor) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return _with_first_state(args, kwargs, state)

        return hook

    with ExitStack() as hooks:
        for block, state in states:
            handle = block.register_forward_pre_hook(reading(state), with_kwargs=True)
            hooks.callback(handle.remove)
        yield


def _with_first_state(args: tuple[Any, ...], kwargs: dict[str, Any], state: Tensor) -> Any:
    """The arguments with the first floating-point tensor replaced."""
    for index, value in enumerate(args):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return (*args[:index], state, *args[index + 1 :]), kwargs
    for name, value in kwargs.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return args, {**kwargs, name: state}
    raise ModelError("A decoder block was called without a hidden state.")


def _later_positions_differ(before: Call, after: Call) -> bool:
    first, second = position_rows(before.input), position_rows(after.input)
    if first is None or second is None or first.shape != second.shape:
        return False
    # Row by row the same arithmetic: anything above rounding has crossed positions.
    gap = (first[1:].float() - second[1:].float()).abs().max()
    return bool(gap > 1e-4 * first.float().abs().max())


def position_rows(tensor: Tensor | None) -> Tensor | None:
    """[position, width] of a tensor that has one row a probe token; None for any other."""
    if tensor is None or not tensor.is_floating_point():
        return None
    if tensor.dim() == 3 and tensor.shape[:2] == (1, PROBE_TOKENS):
        return tensor[0]
    if tensor.dim() == 2 and tensor.shape[0] == PROBE_TOKENS:
        return tensor
    return None
