"""One short forward pass, written down: which module saw what and answered what, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(eq=False)
class Call:
    """One call of one module: its tensors, cloned when they were seen.

    Cloned, because some families add the attention output to the MLP output in place.
    """

    module: nn.Module
    order: int
    """When the call began, counted over the whole forward pass."""
    inputs: tuple[Tensor, ...]
    """Every tensor among the arguments, positional first."""
    outputs: tuple[Tensor, ...] = ()
    """Every tensor in the answer, also from inside a tuple."""
    ended: int = -1
    """When the call returned, on the same count."""

    @property
    def input(self) -> Tensor | None:
        """The first floating-point argument."""
        return next((t for t in self.inputs if t.is_floating_point()), None)

    @property
    def output(self) -> Tensor | None:
        """The first tensor of the answer."""
        return self.outputs[0] if self.outputs else None


@dataclass(eq=False)
class Recording:
    """The calls of one forward pass, with those inside one module easily found."""

    calls: list[Call] = field(default_factory=list)
    ticks: int = 0

    def inside(self, module: nn.Module) -> list[Call]:
        """The calls of `module`'s own children at any depth, in the order they began."""
        members = set(module.modules()) - {module}
        return [call for call in self.calls if call.module in members]

    def of(self, module: nn.Module) -> list[Call]:
        """The calls of this very module."""
        return [call for call in self.calls if call.module is module]


def tensors_of(value: Any) -> tuple[Tensor, ...]:
    """The tensors in an argument or an answer, one level of tuples, lists and dicts deep."""
    if isinstance(value, torch.Tensor):
        return (value,)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(item for item in value if isinstance(item, torch.Tensor))
    return ()


@contextmanager
def recording(
    modules: Sequence[nn.Module], *, device: torch.device | None = None
) -> Iterator[Recording]:
    """Write down every call of `modules` while the block runs; the hooks come off after it.

    With `device`, what was seen is brought there: a model may be spread over several.
    """
    record = Recording()

    def kept(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device=device or tensor.device, copy=True)

    open_calls: dict[nn.Module, list[Call]] = {}

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen = tuple(t for value in (*args, *kwargs.values()) for t in tensors_of(value))
        call = Call(module, record.ticks, tuple(kept(t) for t in seen))
        record.ticks += 1
        record.calls.append(call)
        open_calls.setdefault(module, []).append(call)

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = open_calls[module].pop()
        call.outputs = tuple(kept(t) for t in tensors_of(output))
        call.ended = record.ticks
        record.ticks += 1

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(after).remove)
        yield record
