"""Make a weight edit of a model, and hold edits in a model for the length of a block.

The weights of a loaded model are shared by all its users and read-only. `applied` alone writes
them, under the model's lock, and puts every old value back bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.errors import EditError
from lens_core.records import plain
from lens_core.weight_edit import (
    MAX_BYTES,
    SCHEMA,
    EditColumns,
    WeightEdit,
    load_edit,
    save_edit,
)
from lens_core.weights import columns as read_columns
from lens_core.weights import editable_weight, write_columns_

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from lens_core.models import LoadedModel

__all__ = [
    "MAX_BYTES",
    "MAX_STRENGTH",
    "SCHEMA",
    "EditColumns",
    "WeightEdit",
    "applied",
    "columns_held",
    "editable_projection",
    "load_edit",
    "make_edit",
    "own_columns",
    "save_edit",
]

MAX_STRENGTH = 1.5


def make_edit(
    loaded: LoadedModel,
    changes: Mapping[int, tuple[Tensor, Tensor]],
    *,
    notes: Mapping[str, Any] | None = None,
) -> WeightEdit:
    """The edit that gives neurons new output vectors; the model itself stays as it is.

    Args:
        loaded: the model. Edits that hold at the moment count as its old values.
        changes: by layer, which neurons [k] and their new vectors [k, d_model], in any order and
            float type; they are rounded to the model's dtype.
        notes: plain values to keep with the edit: method, prompt, target, metrics.

    Raises:
        EditError: a layer that cannot be edited, neurons outside it, or values that do not fit.
    """
    with loaded.lock:
        layers = [_new_columns(loaded, layer, *changes[layer]) for layer in sorted(changes)]
        return WeightEdit(
            model=loaded.facts.id,
            weights_sha256=loaded.facts.weights_sha256,
            layers=tuple(layers),
            notes=plain(notes or {}),
            base=loaded.active_edits,
        )


def _new_columns(
    loaded: LoadedModel,
    layer: int,
    columns: Int[Tensor, " k"],
    new: Float[Tensor, "k d_model"],
) -> EditColumns:
    import torch

    module = editable_projection(loaded, layer)
    columns, order = columns.detach().cpu().long().sort()
    _check_columns(module, layer, columns)
    old = read_columns(module, columns)
    if new.shape != old.shape:
        raise EditError(
            f"Layer {layer} needs new values of shape {list(old.shape)}; these are "
            f"{list(new.shape)}."
        )
    rounded = new.detach().to("cpu", old.dtype, copy=True)[order]
    # Tensors made under inference_mode could be read by nobody else: keep ordinary ones.
    with torch.inference_mode(False):
        return EditColumns(layer, columns.clone(), old.clone(), rounded.clone())


@contextmanager
def columns_held(
    loaded: LoadedModel, values: Mapping[int, tuple[Tensor, Tensor]]
) -> Iterator[None]:
    """Run the block with trial values in some columns, then put the old ones back bit for bit.

    For the search of a repair, which tries values before there is an edit. The model's lock is
    held for the block; edits that hold already stay, and are what is put back.

    Args:
        loaded: the model.
        values: by layer, distinct neurons [k] and their vectors [k, d_model], in any float type.

    Raises:
        EditError: a layer that cannot be edited.
    """
    with loaded.lock:
        held = [(editable_projection(loaded, layer), *values[layer]) for layer in values]
        originals = [own_columns(module, columns) for module, columns, _ in held]
        try:
            for (module, columns, new), original in zip(held, originals, strict=True):
                write_columns_(module, columns, new.to(original.dtype))
            yield
        finally:
            for (module, columns, _), original in zip(held, originals, strict=True):
                write_columns_(module, columns, original)


def own_columns(module: nn.Module, columns: Int[Tensor, " k"]) -> Float[Tensor, "k d_model"]:
    """A copy of what some neurons write, on the weights' own device and in their dtype."""
    weight = editable_weight(module)
    return weight[columns.to(weight.device)]


@contextmanager
def applied(
    loaded: LoadedModel, *edits: WeightEdit, strength: int | float | Sequence[int | float] = 1.0
) -> Iterator[None]:
    """Run the block with edits in the weights, then put the old weights back bit for bit.

    A column becomes old + strength * (new - old): exactly `new` at 1 and exactly `old` at 0. Edits
    are applied in the order given. Where an earlier one of them has changed a column already, a
    later one that was made without it adds its own difference: current + strength * (new - old).
    A later edit that was made on top of the earlier one finds its old values and replaces them.

    The model's lock is held for the block, so other threads wait and never see the edits.

    Args:
        loaded: the model.
        edits: one or several; none leaves the model as it is.
        strength: 0 to 1.5, one for all of them or one for each.

    Raises:
        EditError: an edit was made for other weights (names the layer that differs), a layer cannot
            be edited, an edit is there twice, or the strength is out of range. Then nothing was
            changed.
    """
    strengths = _strengths(edits, strength)
    with loaded.lock:
        before = loaded.active_edits
        _check_once([*(name for name, _ in before), *(edit.id for edit in edits)])
        swaps = _plan(loaded, edits, strengths)
        try:
            for swap in swaps:
                write_columns_(swap.module, swap.columns, swap.edited)
            ids = (edit.id for edit in edits)
            loaded.active_edits = (*before, *zip(ids, strengths, strict=True))
            yield
        finally:
            # Copied back, not subtracted: x + d - d is not always x in floating point.
            for swap in reversed(swaps):
                write_columns_(swap.module, swap.columns, swap.original)
            loaded.active_edits = before


@dataclass(frozen=True, eq=False)
class _Swap:
    """All columns of one layer that a block changes."""

    module: nn.Module
    columns: Int[Tensor, " k"]
    original: Float[Tensor, "k d_model"]
    edited: Float[Tensor, "k d_model"]


def _plan(
    loaded: LoadedModel, edits: Sequence[WeightEdit], strengths: Sequence[float]
) -> list[_Swap]:
    """What to write in every layer; all edits are checked before anything is written."""
    import torch

    swaps = []
    for layer in sorted({part.layer for edit in edits for part in edit.layers}):
        parts = [
            (edit, part, strength)
            for edit, strength in zip(edits, strengths, strict=True)
            for part in edit.layers
            if part.layer == layer
        ]
        module = editable_projection(loaded, layer)
        for edit, part, _ in parts:
            _check_fit(loaded, edit, part, module)
        columns = torch.cat([part.columns for _, part, _ in parts]).unique()
        original = read_columns(module, columns)
        edited = original.clone()
        for edit, part, strength in parts:
            rows = torch.searchsorted(columns, part.columns)
            _check_old(loaded, edit, part, original[rows], current=edited[rows])
            edited[rows] = _mixed(part, edited[rows], strength)
        if not bool(torch.isfinite(edited).all()):
            raise EditError(
                f"Layer {layer} has values beyond the range of {original.dtype} at strength "
                f"{max(strengths)}; choose a lower strength."
            )
        swaps.append(_Swap(module, columns, original, edited))
    return swaps


def _mixed(
    part: EditColumns, current: Float[Tensor, "k d_model"], strength: int | float
) -> Float[Tensor, "k d_model"]:
    """The columns with the edit on them, computed in at least float32."""
    import torch

    wide = torch.float64 if part.old.dtype == torch.float64 else torch.float32
    delta = strength * (part.new.to(wide) - part.old.to(wide))
    moved = (current.to(wide) + delta).to(part.old.dtype)
    exact = {0.0: part.old, 1.0: part.new}.get(float(strength), moved)
    return torch.where(_same(current, part.old)[:, None], exact, moved)


def _check_old(
    loaded: LoadedModel,
    edit: WeightEdit,
    part: EditColumns,
    original: Float[Tensor, "k d_model"],
    *,
    current: Float[Tensor, "k d_model"],
) -> None:
    """Refuse an edit whose old values are neither the model's nor those of the edits before it."""
    known = _same(original, part.old) | _same(current, part.old)
    if bool(known.all()):
        return
    largest = float((original.double() - part.old.double()).abs().max())
    made_on = ""
    if edit.base:
        names = ", ".join(f"{key} at strength {strength}" for key, strength in edit.base)
        made_on = f" It was made on top of {names}; apply that first, in the same call."
    elif loaded.active_edits:
        made_on = " Another edit is active; apply both in one call."
    raise EditError(
        f'The edit was made for "{edit.model}" and does not fit "{loaded.facts.id}": layer '
        f"{part.layer} differs in {int((~known).sum())} of {len(known)} columns, by up to "
        f"{largest:.3g}.{made_on}"
    )


def _check_fit(loaded: LoadedModel, edit: WeightEdit, part: EditColumns, module: nn.Module) -> None:
    """Refuse an edit for a model of another shape or dtype."""
    weight = editable_weight(module)
    found = (weight.dtype, weight.shape[1])
    made_for = (part.old.dtype, part.old.shape[1])
    if found != made_for:
        raise EditError(
            f'The edit was made for "{edit.model}" and does not fit "{loaded.facts.id}": layer '
            f"{part.layer} has {found[1]} dimensions of {found[0]}, the edit {made_for[1]} of "
            f"{made_for[0]}. Load the model that the edit was made for, in its dtype."
        )
    _check_columns(module, part.layer, part.columns)


def _check_columns(module: nn.Module, layer: int, columns: Int[Tensor, " k"]) -> None:
    n_neurons = len(editable_weight(module))
    if len(columns) and (int(columns[0]) < 0 or int(columns[-1]) >= n_neurons):
        wrong = int(columns[0]) if int(columns[0]) < 0 else int(columns[-1])
        raise EditError(f"Layer {layer} has neurons 0 to {n_neurons - 1}; the edit names {wrong}.")


def editable_projection(loaded: LoadedModel, layer: int) -> nn.Module:
    """The FFN output projection of a layer, known to be editable.

    Raises:
        EditError: there is no such layer, it has no single projection, or its weights cannot be
            written.
    """
    parts = loaded.anatomy.layers
    if not 0 <= layer < len(parts):
        raise EditError(
            f'The edit changes layer {layer}; "{loaded.facts.id}" has layers 0 to {len(parts) - 1}.'
        )
    module = parts[layer].mlp_proj
    if module is None:
        raise EditError(
            f'Layer {layer} of "{loaded.facts.id}" has no single FFN output projection (a mixture '
            "of experts, or a block that cannot be taken apart), so it cannot be edited."
        )
    try:
        editable_weight(module)
    except EditError as error:
        raise EditError(f'Layer {layer} of "{loaded.facts.id}": {error}') from error
    for other, part in enumerate(parts):
        if other != layer and getattr(part.mlp_proj, "weight", None) is module.weight:
            raise EditError(
                f'Layer {layer} of "{loaded.facts.id}" shares its FFN weights with layer {other}, '
                "so it cannot be edited alone."
            )
    return module


def _check_once(names: Sequence[str]) -> None:
    """Refuse an edit that would hold twice, beyond any strength."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EditError(
            f"The edit {twice[0]} would be applied {names.count(twice[0])} times; the limit is 1. "
            "Give it once, with the strength that it should have."
        )


def _strengths(
    edits: Sequence[WeightEdit], strength: int | float | Sequence[int | float]
) -> list[float]:
    """One strength for each edit."""
    several = isinstance(strength, (list, tuple))
    given: list[Any] = list(strength) if several else [strength] * len(edits)  # pyright: ignore[reportArgumentType]
    if len(given) != len(edits):
        raise EditError(f"There are {len(edits)} edits and {len(given)} strengths; give one each.")
    for one in given if several else [strength]:
        _check_strength(one)
    return [float(one) for one in given]


def _check_strength(strength: Any) -> None:
    number = isinstance(strength, (int, float)) and not isinstance(strength, bool)
    if not number or not math.isfinite(strength) or not 0 <= strength <= MAX_STRENGTH:
        raise EditError(f"The strength is {strength!r}; it can be 0 to {MAX_STRENGTH}.")


def _same(first: Float[Tensor, "k d_model"], second: Float[Tensor, "k d_model"]) -> Tensor:
    """For each row, whether all bits agree (0.0 and -0.0 do not)."""
    import torch

    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[first.itemsize]
    return (first.view(whole) == second.view(whole)).all(dim=1)
