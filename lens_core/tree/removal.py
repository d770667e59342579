"""What has to change in a forward pass so that one part of one state is missing from it.

A part is removed where it is added up, never by changing weights: what a head moves is taken out
of the input of the output projection, a neuron out of the input of the down projection, what an
MLP adds out of its output. Everything behind it, norms included, is worked out anew by the model.
Only one state changes at first, so what was recorded of its parts still holds when it is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.errors import InputError, NotExactError
from lens_core.experts import expert_neurons
from lens_core.lens.options import whole_number
from lens_core.tree.neurons import SHARED
from lens_core.weights import projection_matrix

if TYPE_CHECKING:
    from lens_core.anatomy import AddMap, LayerParts
    from lens_core.anatomy.calls import Call
    from lens_core.models import LoadedModel
    from lens_core.tree.parts import Place
    from lens_core.tree.run import GraphRun

INPUT, OUTPUT, LAST_INPUT = "input", "output", "last input"
"""Which tensor of a call is changed: the first or the last floating-point argument, or the first
one of the answer."""


@dataclass(frozen=True, eq=False)
class Change:
    """One change of what a module reads or answers, at one position."""

    module: nn.Module
    tensor: str
    position: int
    minus: Float[Tensor, " column"] | None = None
    """Subtracted from the columns."""
    put: Float[Tensor, " column"] | None = None
    """Put in their place; without either they become 0."""
    columns: slice | Int[Tensor, " column"] | None = None
    block: int = 0
    """Which block of rows, where a module lays out experts x positions as rows."""


@dataclass(frozen=True)
class Cut:
    """The values of one position are 0 in every attention from the registry."""

    position: int


Removal: TypeAlias = "tuple[Change | Cut, ...]"
"""Everything that removes one part; nothing leaves a pass as it is."""


@torch.no_grad()
def removal(loaded: LoadedModel, run: GraphRun, place: Place) -> Removal:
    """The changes that remove a part; the caller holds the model's lock.

    Raises:
        InputError: a neuron or an expert that does not exist, or was not used.
        NotExactError: the part cannot be removed exactly in this model.
    """
    parts = loaded.anatomy.layers[place.dst.layer]
    if place.kind == "token":
        return _token(loaded, run, place.dst.position)
    if place.kind == "attention":
        return _attention(run, place, parts)
    if place.kind == "ffn":
        return _mlp(loaded, run, place, parts)
    if place.kind == "residual":
        return _residual(loaded, run, place, parts)
    if place.kind == "bias":
        return _bias(place, parts)
    return (Change(_add(parts.attn_add).tap, OUTPUT, place.dst.position),)


def _add(add: AddMap | None) -> AddMap:
    assert add is not None
    return add


def _attention(run: GraphRun, place: Place, parts: LayerParts) -> Removal:
    """Pattern times values times gate, out of what the output projection reads."""
    attention = run.attention[place.dst.layer]
    assert attention is not None
    assert parts.attn_proj is not None
    at, head = place.dst.position, place.part.head
    heads = len(attention.pattern)
    width = attention.mixed.shape[-1] // heads
    columns = None if head is None else slice(head * width, (head + 1) * width)
    others = (
        attention.pattern[:, at].clone() if head is None else attention.pattern[head, at].clone()
    )
    if place.source is not None:
        others[..., place.source] = 0
    if place.source is None or not others.any():
        # Set to 0, not subtracted: a norm behind the projection would blow up what rounding leaves.
        return (Change(parts.attn_proj, INPUT, at, columns=columns),)
    values = attention.values[:, place.source].repeat_interleave(heads // len(attention.values), 0)
    moved = (attention.pattern[:, at, place.source, None] * values).flatten()
    if attention.gate is not None:
        moved = moved * attention.gate[at]
    kept = moved if columns is None else moved[columns]
    return (Change(parts.attn_proj, INPUT, at, kept, columns=columns),)


def _mlp(loaded: LoadedModel, run: GraphRun, place: Place, parts: LayerParts) -> Removal:
    """All that the MLP adds, one neuron, or one expert."""
    at, part = place.dst.position, place.part
    if part.neuron is None and part.expert is None:
        return (Change(_add(parts.mlp_add).tap, OUTPUT, at),)
    loaded.require("neurons")
    where = f"layer {place.dst.layer} of {loaded.facts.id}"
    calls = run.dissection(loaded, position=at).calls
    if parts.mlp_proj is not None:
        if part.expert is not None:
            raise InputError(f"expert is {part.expert}, and {where} has one MLP and no experts.")
        return (_neuron(parts.mlp_proj, calls.of(parts.mlp_proj)[0], place),)
    assert parts.experts is not None
    if part.expert is None:
        raise InputError(f"neuron is {part.neuron}, and {where} has experts: name one, too.")
    if part.expert != SHARED:
        return (_routed(parts.experts.routed, calls.of(parts.experts.routed)[0], place),)
    shared = parts.experts.shared_proj
    if shared is None:
        raise InputError(f"expert is {SHARED}, and {where} has no shared expert.")
    if part.neuron is None:
        return (Change(shared, OUTPUT, at),)
    return (_neuron(shared, calls.of(shared)[0], place),)


def _neuron(projection: nn.Module, call: Call, place: Place) -> Change:
    """One neuron out of what a down projection reads."""
    assert call.input is not None
    index = whole_number("neuron", place.part.neuron, 0, call.input.shape[-1] - 1)
    return Change(projection, INPUT, place.dst.position, columns=slice(index, index + 1))


def _routed(module: nn.Module, call: Call, place: Place) -> Change:
    """One routed expert, or one neuron of it.

    The expert loses its router's weight; those of the others stay as they are.
    """
    at, expert = place.dst.position, place.part.expert
    assert expert is not None
    chosen = next((t for t in call.inputs if not t.is_floating_point()), None)
    assert call.input is not None
    # Without a list of experts the module runs all of them, one block of rows each.
    used = list(range(len(call.input))) if chosen is None else chosen.flatten().tolist()
    if expert not in used:
        named = ", ".join(str(one) for one in sorted(used))
        raise InputError(f"expert is {expert}; position {at} was sent to {named}.")
    slot = used.index(expert)
    if place.part.neuron is not None:
        return _expert_neuron(module, call, place, slot)
    if chosen is None:
        return Change(module, INPUT, at, block=slot)
    # The router's weights come by slot or by expert.
    column = slot if call.inputs[-1].numel() == len(used) else expert
    return Change(module, LAST_INPUT, at, columns=slice(column, column + 1))


def _expert_neuron(module: nn.Module, call: Call, place: Place, slot: int) -> Change:
    """What one neuron of a routed expert adds, out of the sum of the experts."""
    found = expert_neurons(call, 0, 1)
    assert found is not None
    index = whole_number("neuron", place.part.neuron, 0, found.activations.shape[1] - 1)
    minus = found.activations[slot, index] * found.weights[slot, index]
    return Change(module, OUTPUT, place.dst.position, minus)


def _residual(loaded: LoadedModel, run: GraphRun, place: Place, parts: LayerParts) -> Removal:
    """The state carried on, out of what attention or the MLP adds to it.

    Raises:
        NotExactError: beside it the rest of the sum is lost in rounding.
    """
    layer, at = place.dst.layer, place.dst.position
    second = place.dst.letter == "I" and parts.has_mid
    add = _add(parts.mlp_add if second else parts.attn_add)
    before = run.trace.resid_mid if second else run.trace.resid_pre
    carried = before[layer, at]
    if add.base_norm is not None:
        carried = add.base_norm(carried)
    total = (run.trace.resid_mid if parts.has_mid and not second else run.trace.resid_post)[
        layer, at
    ]
    if add.sum_norm is not None:
        (call,) = run.dissection(loaded, position=at).calls.of(add.sum_norm.module)
        assert call.input is not None
        total = call.input.reshape(-1).float()
    _check_rounding(loaded, place, carried, total - carried)
    return (Change(add.tap, OUTPUT, at, carried / add.scale),)


def _check_rounding(loaded: LoadedModel, place: Place, carried: Tensor, rest: Tensor) -> None:
    """Refuse to take out a state beside which the rest of the sum would be lost in rounding.

    Raises:
        NotExactError: with the error, relative to the largest entry of the rest, and the bound.
    """
    half_a_unit = torch.finfo(loaded.model.dtype).eps / 2
    sizes = [float(part.abs().max()) for part in (carried, rest)]
    error, bound = half_a_unit * sizes[0] / max(sizes[1], 1e-30), loaded.self_check.bound
    if error > bound:
        raise NotExactError(
            f"The state carried on to {place.dst.id} is so much larger than what is added to it "
            f"that in {loaded.facts.dtype} taking it out leaves an error of {error:.1e} in the "
            f"rest; the bound is {bound:.0e}. Load the model in float32, or remove other parts."
        )


def _bias(place: Place, parts: LayerParts) -> Removal:
    """The biases of the output projection and of the norms on the way into the stream."""
    add, at = _add(parts.attn_add), place.dst.position
    assert parts.attn_proj is not None
    _, own = projection_matrix(parts.attn_proj)
    found = [] if own is None else [Change(parts.attn_proj, OUTPUT, at, own)]
    for norm in (add.post_norm, add.sum_norm):
        if norm is not None and bool(norm.bias.any()):
            found.append(Change(norm.module, OUTPUT, at, norm.bias))
    return tuple(found)


def _token(loaded: LoadedModel, run: GraphRun, position: int) -> Removal:
    """All that other positions read of this one, in every layer; its own states stay.

    Its values become 0, and after each block its state is put back, since that has lost what the
    position reads of itself. Its keys stay: the others look at it as before, and get nothing.

    Raises:
        NotExactError: a layer mixes positions without a pattern.
    """
    if loaded.self_check.layers_without_attention:
        raise NotExactError(
            f"Layer {loaded.self_check.layers_without_attention[0]} of {loaded.facts.id} mixes "
            "tokens without an attention pattern, so what it reads of one token cannot be taken "
            "out; remove other parts."
        )
    own = [
        Change(source.projection, OUTPUT, position, columns=source.columns.unique())
        for source in loaded.anatomy.values
        if source is not None
    ]
    states = run.trace.resid_post[:, position]
    kept = [
        Change(parts.block, OUTPUT, position, put=state)
        for parts, state in zip(loaded.anatomy.layers, states, strict=True)
    ]
    return (Cut(position), *own, *kept)
