"""Forward passes in which changes are made, a different set of them in every row of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.attention_capture import NAME
from lens_core.attention_own import attention_set_to, uses_registry
from lens_core.network import last_logits_only, run
from lens_core.progress import tick
from lens_core.tree.removal import LAST_INPUT, OUTPUT, Change, Cut, Removal

if TYPE_CHECKING:
    from lens_core.models import LoadedModel


def knocked_out(
    loaded: LoadedModel, ids: Int[Tensor, " position"], rows: Sequence[Removal]
) -> tuple[Float[Tensor, "row d_vocab"], Float[Tensor, "row d_model"]]:
    """The logits after the last token, and its last state, in every row; under the model's lock.

    Attention runs as in the pass that the graph is drawn from: another kernel would round
    differently, and in some families mean something else.
    """
    batch = ids[None].expand(len(rows), -1)
    states: list[Tensor] = []
    cuts = tuple(
        (row, change.position)
        for row, every in enumerate(rows)
        for change in every
        if isinstance(change, Cut)
    )
    with _same_attention(loaded, cuts), ExitStack() as hooks:
        attached(hooks, rows, length=len(ids))
        _watch_blocks(hooks, loaded, states)
        options = last_logits_only(loaded.model)
        logits = run(loaded.model, batch, **options).logits[:, -1]
    return logits.float(), states[-1].reshape(len(rows), len(ids), -1)[:, -1].float()


_cuts: ContextVar[tuple[tuple[int, int], ...]] = ContextVar("cuts", default=())
"""(row, position) of the values that are 0, in the pass that is under way."""


def _cutting_attention(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The attention of `graph_run`, with some values at 0."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    cuts = _cuts.get()
    if cuts:
        value = (args[2] if len(args) > 2 else kwargs["value"]).clone()
        for row, position in cuts:
            value[row, :, position] = 0
        if len(args) > 2:
            args = (*args[:2], value, *args[3:])
        else:
            kwargs = {**kwargs, "value": value}
    return ALL_ATTENTION_FUNCTIONS[NAME](module, *args, **kwargs)


@contextmanager
def _same_attention(loaded: LoadedModel, cuts: tuple[tuple[int, int], ...]) -> Iterator[None]:
    """Attention as in `graph_run`, with some values at 0, for the block."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    name = "eager"
    if uses_registry(loaded.model):
        name = f"{NAME}_cut"
        # The mask first, as everywhere: without it attention is not causal.
        ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        ALL_ATTENTION_FUNCTIONS.register(name, _cutting_attention)
    token = _cuts.set(cuts)
    try:
        with attention_set_to(loaded.model, name):
            yield
    finally:
        _cuts.reset(token)


def _watch_blocks(hooks: ExitStack, loaded: LoadedModel, states: list[Tensor]) -> None:
    """Tick after every block, and keep the last state."""
    count = loaded.n_layers

    def watching(layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            tick("layer", layer + 1, count)
            if layer + 1 == count:
                states.append(_floating(output)[0])

        return hook

    for layer, parts in enumerate(loaded.anatomy.layers):
        hooks.callback(parts.block.register_forward_hook(watching(layer)).remove)


def attached(hooks: ExitStack, rows: Sequence[Removal], *, length: int) -> None:
    """Make the changes of every row in the passes that follow, until the stack is left."""
    for module, changed in _by_module(rows).items():
        _attach(hooks, module, changed, shape=(len(rows), length))


def _by_module(rows: Sequence[Removal]) -> dict[nn.Module, list[tuple[int, Change]]]:
    found: dict[nn.Module, list[tuple[int, Change]]] = {}
    for row, every in enumerate(rows):
        for change in every:
            if isinstance(change, Change):
                found.setdefault(change.module, []).append((row, change))
    return found


def _attach(
    hooks: ExitStack, module: nn.Module, changed: list[tuple[int, Change]], *, shape: Any
) -> None:
    """Make the changes of one module whenever it runs."""
    outputs = [(row, change) for row, change in changed if change.tensor == OUTPUT]
    inputs = [(row, change) for row, change in changed if change.tensor != OUTPUT]

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = {**dict(enumerate(args)), **kwargs}
        for last in (False, True):
            here = [(row, c) for row, c in inputs if (c.tensor == LAST_INPUT) == last]
            if here:
                name, state = _floating_items(given)[-1 if last else 0]
                given[name] = _changed(state, here, shape)
        return tuple(given[i] for i in range(len(args))), {name: given[name] for name in kwargs}

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return _changed(output, outputs, shape)
        items = list(output)
        at = next(i for i, item in enumerate(items) if item is _floating(items)[0])
        items[at] = _changed(items[at], outputs, shape)
        return tuple(items)

    if inputs:
        hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    if outputs:
        hooks.callback(module.register_forward_hook(after).remove)


def _floating_items(given: dict[Any, Any]) -> list[tuple[Any, Tensor]]:
    return [
        (name, value)
        for name, value in given.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    ]


def _floating(value: Any) -> list[Tensor]:
    """The floating-point tensors of an answer."""
    items = [value] if isinstance(value, torch.Tensor) else list(value)
    return [t for t in items if isinstance(t, torch.Tensor) and t.is_floating_point()]


def _changed(state: Tensor, changed: list[tuple[int, Change]], shape: tuple[int, int]) -> Tensor:
    """A copy with the changes made; its rows may be batch x position, or blocks of these."""
    state = state.clone()
    width = state.shape[-1]
    # A module that flattens its input lays out the positions of a row one after another.
    view = state.reshape(-1, *shape, width)
    for row, change in changed:
        entries = view[change.block, row, change.position]
        chosen = slice(None) if change.columns is None else change.columns
        if change.minus is not None:
            entries[chosen] -= change.minus.to(entries)
        else:
            entries[chosen] = 0 if change.put is None else change.put.to(entries)
    return view.reshape(state.shape)
