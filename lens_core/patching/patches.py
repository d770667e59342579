"""One patch: some activations of one run are put in the place of those of the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.patching.columns import Column
from lens_core.patching.sides import Place, Side, module_of
from lens_core.tree.removal import Change, Removal

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

DIRECTIONS = ("denoise", "noise")
"""Clean activations in the corrupt run, and corrupt ones in the clean run."""


@dataclass(frozen=True)
class Patch:
    """What is put in the place of what."""

    places: tuple[Place, ...]
    columns: tuple[Column, ...]
    head: int | None = None
    """Of heads: which of them; None for all."""


def changes(loaded: LoadedModel, patch: Patch, *, giver: Side, taker: Side) -> Removal | None:
    """The changes in the taker's run that make a patch.

    None where the patch cannot be made: a layer without the component, or an edit that is empty on
    one side. Nothing is changed (an empty answer) where the giver has exactly what the taker has.
    """
    found: list[Change] = []
    for place in patch.places:
        target = module_of(loaded, place)
        if target is None:
            return None
        chosen = head_slice(loaded, place, patch.head, giver)
        for column in patch.columns:
            if not column.patchable:
                return None
            for position, values in _values(place, column, giver, taker):
                put = values if chosen is None else values[chosen]
                own = taker.activations[place][position]
                if not torch.equal(put, own if chosen is None else own[chosen]):
                    found.append(Change(*target, position, put=put, columns=chosen))
    return tuple(found)


def head_slice(loaded: LoadedModel, place: Place, head: int | None, side: Side) -> slice | None:
    """Which entries of what the output projection reads belong to a query head."""
    if head is None:
        return None
    width = side.activations[place].shape[-1] // loaded.facts.n_heads
    return slice(head * width, (head + 1) * width)


def _values(
    place: Place, column: Column, giver: Side, taker: Side
) -> Iterator[tuple[int, Float[Tensor, " width"]]]:
    """What is put at each position of the taker's span; a column's first span is the giver's."""
    rows = given_rows(column, giver.activations[place])
    yield from zip(range(*column.corrupt), rows, strict=True)


def given_rows(
    column: Column, activations: Float[Tensor, "position width"]
) -> Float[Tensor, "place width"]:
    """A row for every position of the taker's span: position by position, or the span's mean."""
    rows = activations[slice(*column.clean)]
    if not column.by_mean:
        return rows
    count = column.corrupt[1] - column.corrupt[0]
    return rows.float().mean(0).to(rows.dtype).expand(count, -1)


def window_of(layer: int, window: int, n_layers: int) -> tuple[int, ...]:
    """The layers around one, fewer at the ends."""
    half = window // 2
    return tuple(range(max(0, layer - half), min(n_layers, layer + half + 1)))
