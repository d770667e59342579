"""The grids of a causal trace: which patches they hold, and what came out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_core.errors import InputError, NotExactError
from lens_core.patching.columns import Column, edit_and_last
from lens_core.patching.patches import DIRECTIONS, Patch, window_of
from lens_core.patching.sides import COMPONENTS, FEATURE
from lens_core.records import plain

if TYPE_CHECKING:
    from lens_core.models import LoadedModel


@dataclass(frozen=True, eq=False)
class Grid:
    """The effects of patching one component, everywhere it was patched."""

    component: str
    direction: str
    """denoise (clean activations in the corrupt run) or noise (corrupt ones in the clean run)."""
    window: int
    """How many layers were patched together, fewer at the ends."""
    columns: tuple[int, ...]
    """Which columns of the trace, by their indices."""
    effect: Float[np.ndarray, "layer *head column"]
    """(patched - corrupt) / (clean - corrupt) of the metric: 1 as in the clean run, 0 as in the
    corrupt one. NaN where it is undefined. Heads have an axis of their own."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            "component": self.component,
            "direction": self.direction,
            "window": self.window,
            "columns": list(self.columns),
            "effect": plain(self.effect),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Grid:
        """Read back what `to_json` wrote."""
        effect = np.array(record["effect"], dtype=np.float32)
        return cls(
            record["component"],
            record["direction"],
            record["window"],
            tuple(record["columns"]),
            effect,
        )

    def patches(
        self, columns: Sequence[Column], n_layers: int
    ) -> Iterator[tuple[tuple[int, ...], Patch]]:
        """Every cell by its index, with the patch that it stands for; the giver's span first."""
        for index in np.ndindex(self.effect.shape):
            column = columns[self.columns[index[-1]]]
            layers = window_of(index[0], self.window, n_layers)
            places = tuple((self.component, layer) for layer in layers)
            turned = column if self.direction == "denoise" else column.mirrored()
            yield index, Patch(places, (turned,), index[1] if len(index) == 3 else None)

    def filled(self, effect: np.ndarray) -> Grid:
        """The same grid with other effects."""
        return replace(self, effect=effect.astype(np.float32))


def empty_grids(
    loaded: LoadedModel,
    columns: Sequence[Column],
    components: Collection[str],
    *,
    direction: str,
    window: int,
    chosen: tuple[int, ...] | None,
) -> tuple[Grid, ...]:
    """The grids to be filled, NaN everywhere."""
    names = DIRECTIONS if direction == "both" else (direction,)
    found = []
    for component in components:
        everywhere = component == "resid_post"
        usual = tuple(range(len(columns))) if everywhere else edit_and_last(columns)
        places = usual if chosen is None else chosen
        heads = (loaded.facts.n_heads,) if component == "heads" else ()
        shape = (loaded.n_layers, *heads, len(places))
        for name in names:
            layers = window if component in ("attn_out", "mlp_out") else 1
            effect = np.full(shape, np.nan, dtype=np.float32)
            found.append(Grid(component, name, layers, places, effect))
    return tuple(found)


def checked_components(
    loaded: LoadedModel, components: Collection[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The components that are exact in this model, in order, and why the others are left out.

    Raises:
        InputError: none, or an unknown one.
        NotExactError: none of them is exact.
    """
    if isinstance(components, str) or not components:
        raise InputError(f"components is {components!r}; give a list of {', '.join(COMPONENTS)}.")
    if unknown := set(components) - set(COMPONENTS):
        raise InputError(f"A component is {min(unknown)!r}; it can be {', '.join(COMPONENTS)}.")
    reasons = {name: loaded.self_check.reason_off(FEATURE[name]) for name in components}
    exact = tuple(name for name in COMPONENTS if name in reasons and reasons[name] is None)
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    if not exact:
        raise NotExactError(next(iter(left_out.values())))
    return exact, left_out
