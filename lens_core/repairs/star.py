"""STAR: the semantic direction of each failing token, solved for on the neurons that carry it.

After "Semantic Targeting for Analytical Repair" (arXiv 2503.12899). Every failing token asks the
FFN for its steer S = D / IQR(D) (`basis.py`); the prior is the least change P of the chosen
columns with Z P = S, where Z holds the neurons at the positions that predict the tokens, in a
norm that makes busy neurons dear. The gate of STAR keeps the size of each entry and takes the
sign that lowers the loss. Departures: neurons are what enters the output projection; margins and
rivals are measured anew before every update; the step closes a given share of the missing
margin instead of a fixed rate, which depends on the scale of the weights; and where gating
cannot satisfy all tokens at once, ungated updates follow on the same columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.repairs.basis import Directions
from lens_core.repairs.locate import chosen_columns, neuron_scores
from lens_core.repairs.observed import Observed
from lens_core.repairs.result import RepairStep
from lens_core.repairs.search import Search

POLISH_EPOCHS = 20
PASSES = 2
_TINY = 1e-8


def star_batch(search: Search) -> Iterator[RepairStep]:
    """All tokens together: one pass there and back for an update, however many they are."""
    directions = Directions(search.loaded, search.basis, search.options.mu)
    gated, joint = search.options.phases()
    yield from _updates(search, directions, gated, gate=True)
    yield from _updates(search, directions, joint, gate=False)


def star_each(search: Search) -> Iterator[RepairStep]:
    """One failing token after another, then all together for what that has undone."""
    directions = Directions(search.loaded, search.basis, search.options.mu)
    epochs = search.options.most_epochs
    for _ in range(PASSES):
        for row in search.failing():
            yield from _updates(search, directions, epochs, gate=True, row=row)
    yield from _updates(search, directions, POLISH_EPOCHS, gate=False)


def _updates(
    search: Search, directions: Directions, epochs: int, *, gate: bool, row: int | None = None
) -> Iterator[RepairStep]:
    """Up to `epochs` updates for one token or for all, on columns that are chosen once."""
    together = row is None and bool(search.trial)
    columns = {layer: part.columns for layer, part in search.trial.items()} if together else None
    seen = search.pushed(row, columns)
    phase = "joint" if not gate else "gated" if row is None else "token"
    for _ in range(epochs):
        if not seen.backward:
            return
        if columns is None:
            columns = chosen_columns(neuron_scores(search, seen), search.basis, search.options)
            search.take(columns)
        rows = torch.arange(len(seen.target)) if row is None else seen.pushed.nonzero()[:, 0]
        change = _prior(search, seen, directions, columns, rows)
        slopes = {layer: seen.gradient(layer, chosen) for layer, chosen in columns.items()}
        if gate:
            # A gradient of exactly zero leaves the entry alone.
            change = {layer: -change[layer].abs() * slopes[layer].sign() for layer in columns}
        gain = -sum(float((slopes[layer] * change[layer]).sum()) for layer in columns)
        rate = search.rate(seen, gain)
        if rate is None:
            return
        for layer, chosen in columns.items():
            search.move(layer, chosen, rate * change[layer])
        seen = search.pushed(row, columns)
        yield search.step(phase, row=row, rate=rate)


def _prior(
    search: Search,
    seen: Observed,
    directions: Directions,
    columns: Mapping[int, Int[Tensor, " k"]],
    rows: Int[Tensor, " asked"],
) -> dict[int, Float[Tensor, "k d_model"]]:
    """The least change of the columns that gives every failing token among `rows` its steer."""
    steer = directions.toward(seen.target[rows], seen.standing.rival[rows])
    quartiles = torch.tensor([0.25, 0.75], device=steer.device)
    low, high = torch.quantile(steer, quartiles, dim=1)
    # A token that is said already asks for no change.
    asked = (seen.pushed[rows].to(steer.device) / (high - low + _TINY))[:, None] * steer
    change = {}
    for layer, chosen in columns.items():
        neurons = seen.neurons(layer)[rows][:, chosen]
        weighted = neurons * search.basis.rarity(layer)[chosen].to(neurons.device)
        # Repeated contexts make the system singular, hence the pseudo-inverse.
        system = (neurons @ weighted.T).double()
        inverse = torch.linalg.pinv(system, hermitian=True, rtol=1e-6).float()
        change[layer] = weighted.T @ (inverse @ asked.to(neurons.device))
    return change
