"""Operations on whole blocks: taken out, exchanged, run twice, without attention or MLP.

Nothing is copied and no weight is written, so quantised models take part, too. An operation holds
for a block of code under the model's lock, and is undone on the way out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lens_core.errors import InputError, NotExactError
from lens_core.lens.options import chosen_indices, one_of, whole_number
from lens_core.patching.exchange import check_exchange, exchanged
from lens_core.trace import first_state

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

KINDS = ("remove", "exchange", "repeat", "zero_attention", "zero_mlp", "skip_range")
_BRANCHES = {"zero_attention": "attn_add", "zero_mlp": "mlp_add"}


@dataclass(frozen=True)
class Operation:
    """What is done to a model."""

    kind: str
    """remove (the block's output is its input), exchange (two blocks change places), repeat (the
    block runs twice), zero_attention, zero_mlp (a branch adds nothing) or skip_range (all blocks
    from the first to the last layer are removed)."""
    layers: tuple[int, ...]
    """One layer; two for exchange and skip_range."""

    @property
    def name(self) -> str:
        """Such as "remove 3" or "exchange 3, 4"."""
        return f"{self.kind} {', '.join(str(layer) for layer in self.layers)}"


def planned(
    loaded: LoadedModel,
    operations: Sequence[str | Operation],
    layers: Sequence[int] | None,
) -> tuple[Operation, ...]:
    """Every single operation, once each.

    Raises:
        InputError: none, an unknown one, or layers that do not exist or are too few for it.
        NotExactError: one that would not be exact in this model.
    """
    if isinstance(operations, str) or not operations:
        raise InputError(f"operations is {operations!r}; give a list of {', '.join(KINDS)}.")
    chosen = chosen_indices("layers", layers, loaded.n_layers)
    found: dict[Operation, None] = {}
    for one in operations:
        if isinstance(one, Operation):
            found[_checked(loaded, one)] = None
            continue
        kind = one_of("operation", one, KINDS)
        if kind == "skip_range" and layers is None:
            raise InputError(
                "skip_range takes out all blocks from the first to the last of the layers, and "
                "layers is None; name them."
            )
        found.update(dict.fromkeys(_expanded(kind, chosen)))
    for operation in found:
        _require(loaded, operation)
    if not found:
        raise InputError(f"layers is {list(chosen)}; an exchange needs two of them.")
    return tuple(found)


def _expanded(kind: str, chosen: tuple[int, ...]) -> list[Operation]:
    """An operation on every chosen layer, or on every two that follow one another."""
    if kind == "exchange":
        return [Operation(kind, pair) for pair in itertools.pairwise(chosen)]
    if kind == "skip_range":
        return [Operation(kind, (chosen[0], chosen[-1]))]
    return [Operation(kind, (layer,)) for layer in chosen]


def _checked(loaded: LoadedModel, operation: Operation) -> Operation:
    one_of("operation", operation.kind, KINDS)
    wanted = 2 if operation.kind in ("exchange", "skip_range") else 1
    if len(operation.layers) != wanted:
        raise InputError(
            f"{operation.name} names {len(operation.layers)} layers; {operation.kind} takes "
            f"{wanted}."
        )
    last = loaded.n_layers - 1
    layers = tuple(sorted(whole_number("layer", n, 0, last) for n in operation.layers))
    if operation.kind == "exchange" and layers[0] == layers[1]:
        raise InputError(f"{operation.name} names one layer twice; name two.")
    return Operation(operation.kind, layers)


def _require(loaded: LoadedModel, operation: Operation) -> None:
    """Refuse what is not exact in this model.

    Raises:
        NotExactError: with the reason.
    """
    loaded.require("states")
    if operation.kind == "exchange":
        check_exchange(loaded, *operation.layers)
    branch = _BRANCHES.get(operation.kind)
    if branch is None:
        return
    loaded.require("streams")
    layer = operation.layers[0]
    if getattr(loaded.anatomy.layers[layer], branch) is None:
        part = "MLP" if branch == "mlp_add" else "attention"
        raise NotExactError(f"Layer {layer} of {loaded.facts.id} has no {part} of its own.")


@contextmanager
def operated(loaded: LoadedModel, operation: Operation | None) -> Iterator[None]:
    """The model with an operation on it, for the block; None leaves it as it is.

    Runs inside the block must not use a cache (`network.run` does not), since exchanged blocks
    write to each other's places. The model's lock is held.
    """
    with loaded.lock, ExitStack() as undo:
        if operation is None:
            yield
            return
        first, last = operation.layers[0], operation.layers[-1]
        if operation.kind == "exchange":
            undo.enter_context(exchanged(loaded, first, last))
        elif operation.kind in _BRANCHES:
            add = getattr(loaded.anatomy.layers[first], _BRANCHES[operation.kind])
            undo.callback(add.tap.register_forward_hook(_nothing).remove)
        else:
            change = _again if operation.kind == "repeat" else _passed_on
            for layer in range(first, last + 1):
                change(undo, loaded.anatomy.layers[layer].block)
        yield


def _passed_on(undo: ExitStack, block: nn.Module) -> None:
    """The block answers with what it read."""
    read: list[Tensor] = []

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A copy, since some families change the state in place.
        read[:] = [first_state((*args, *kwargs.values())).clone()]

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return _with_state(output, lambda _: read.pop())

    undo.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
    undo.callback(block.register_forward_hook(after).remove)


def _again(undo: ExitStack, block: nn.Module) -> None:
    """The block runs once more on its own answer."""

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
        read = first_state(tuple(given.values()))
        name = next(name for name, value in given.items() if value is read)
        given[name] = first_state(output)
        # Not the module itself, which would come back here.
        positional = [given[i] for i in range(len(args))]
        return module.forward(*positional, **{name: given[name] for name in kwargs})

    undo.callback(block.register_forward_hook(after, with_kwargs=True).remove)


def _nothing(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    return _with_state(output, torch.zeros_like)


def _with_state(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A module's answer with another state in it."""
    if isinstance(output, torch.Tensor):
        return change(output)
    state = first_state(output)
    return type(output)(change(item) if item is state else item for item in output)
