"""Two blocks in each other's place.

A block takes along what it reads by its place. Of that, the loop over the blocks looks up the kind
of attention in the configuration (`config.layer_types`), for masks and for rotations; these are
exchanged with it. That nothing else is read by place is measured on a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from lens_core.anatomy.calls import tensors_of
from lens_core.errors import NotExactError
from lens_core.network import run
from lens_core.trace import first_state

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

PROOF_TOKENS = 64


def check_exchange(loaded: LoadedModel, one: int, other: int) -> None:
    """Refuse an exchange that cannot be made.

    Raises:
        NotExactError: the blocks are in no list, or their kinds cannot be moved.
    """
    with loaded.lock:  # another thread may have exchanged blocks at this moment
        _block_list(loaded)
        _configs(loaded, one, other)


def prove_exchange(
    loaded: LoadedModel, one: int, other: int, ids: Int[Tensor, " position"]
) -> None:
    """Refuse an exchange after which a block reads other things beside the stream than before.

    Gemma-4, for instance, gives every place an embedding of its own.

    Raises:
        NotExactError: with the layer.
    """
    blocks = [loaded.anatomy.layers[layer].block for layer in (one, other)]
    with loaded.lock:
        before = _beside_the_stream(loaded, blocks, ids)
        with exchanged(loaded, one, other):
            after = _beside_the_stream(loaded, blocks, ids)
    for layer, was, now in zip((one, other), before, after, strict=True):
        alike = len(was) == len(now) and all(
            a.shape == b.shape and torch.equal(a, b) for a, b in zip(was, now, strict=True)
        )
        if not alike:
            raise NotExactError(
                f"Block {layer} of {loaded.facts.class_name} reads more than the stream by its "
                "place, which cannot be moved along, so blocks cannot be exchanged; remove them "
                "instead."
            )


def _beside_the_stream(
    loaded: LoadedModel, blocks: list[nn.Module], ids: Int[Tensor, " position"]
) -> list[list[Tensor]]:
    """All tensors but the state that each block is given."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args, *(kwargs[name] for name in sorted(kwargs)))
        state = first_state((*args, *kwargs.values()))
        found = [tensor for value in given for tensor in tensors_of(value)]
        seen[module] = [tensor.cpu().clone() for tensor in found if tensor is not state]

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
        run(loaded.model, ids[None, :PROOF_TOKENS])
    return [seen[block] for block in blocks]


@contextmanager
def exchanged(loaded: LoadedModel, one: int, other: int) -> Iterator[None]:
    """Two blocks in each other's place, with the kind of attention that each of them has.

    The loop over the blocks looks their masks up by place (`config.layer_types`), so that the
    types move along: otherwise a block with a sliding window would be run with a full mask.
    """
    blocks = _block_list(loaded)
    types = [(config, config.layer_types) for config in _configs(loaded, one, other)]
    moved = list(range(loaded.n_layers))
    moved[one], moved[other] = other, one
    before = list(blocks)
    try:
        blocks[one], blocks[other] = before[other], before[one]
        for config, kinds in types:
            config.layer_types = [kinds[layer] for layer in moved]
        yield
    finally:
        blocks[one], blocks[other] = before[one], before[other]
        for config, kinds in types:
            config.layer_types = kinds


def _block_list(loaded: LoadedModel) -> nn.ModuleList:
    """Where the model keeps its blocks in order.

    Raises:
        NotExactError: they are in no list.
    """
    wanted = [parts.block for parts in loaded.anatomy.layers]
    for module in loaded.model.modules():
        if isinstance(module, nn.ModuleList) and list(module) == wanted:
            return module
    raise NotExactError(
        f"The blocks of {loaded.facts.class_name} are in no list of modules, so they cannot be "
        "exchanged; remove them instead."
    )


def _configs(loaded: LoadedModel, one: int, other: int) -> list[Any]:
    """The configurations that say that two layers have different kinds of attention, each once.

    Raises:
        NotExactError: a configuration that works the kinds out, so that they cannot be moved.
    """
    found: list[Any] = [getattr(module, "config", None) for module in loaded.model.modules()]
    differing = []
    for config in {id(config): config for config in found}.values():
        types = getattr(config, "layer_types", None) or ()
        if len(types) != loaded.n_layers or types[one] == types[other]:
            continue
        fixed = getattr(type(config), "layer_types", None)
        if isinstance(fixed, property) and fixed.fset is None:
            raise NotExactError(
                f"Layers {one} and {other} of {loaded.facts.class_name} are {types[one]} and "
                f"{types[other]}, and its configuration cannot say it the other way round, so "
                "they cannot be exchanged; remove them instead."
            )
        differing.append(config)
    return differing
