"""STAR: the semantic direction of each failing token, solved for on the neurons that carry it.

After "Semantic Targeting for Analytical Repair" (arXiv 2503.12899). Every failing token asks the
FFN for its steer S = D / IQR(D) (`basis.py`); the prior is the least change P of the chosen
columns with Z P = S, where Z holds the neurons at the positions that predict the tokens, in a
norm that makes busy neurons dear. The gate of STAR keeps the size of each entry and takes the
sign that lowers the loss. Departures: neurons are what enters the output projection; margins and
rivals are measured anew before every update; the step closes a given share of the missing
margin instead of a fixed rate, which depends on the scale of the weights; a token is pushed against
all its close rivals; and where gating cannot satisfy all tokens at once, ungated updates follow on
the same columns, which are halved when they overshoot and give way to the gradient then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.repairs.basis import Directions, steer_of
from lens_core.repairs.locate import chosen_columns, neuron_scores, skipped_losses
from lens_core.repairs.observed import Observed
from lens_core.repairs.result import RepairStep
from lens_core.repairs.search import LEAST_MISSING, Search

POLISH_EPOCHS = 20
PASSES = 2
HALVINGS = 3


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
    seen = search.pushed(row, columns, "close")
    phase = "joint" if not gate else "gated" if row is None else "token"
    steep = False
    for _ in range(epochs):
        if not seen.backward:
            return
        if columns is None:
            columns = _chosen(search, seen, row)
            search.take(columns)
        slopes = {layer: seen.gradient(layer, chosen) for layer, chosen in columns.items()}
        if steep:
            change = _steepest(search, slopes, columns)
        else:
            change = _prior(search, seen, directions, columns, row=row, gate=gate)
        if gate:
            # A gradient of exactly zero leaves the entry alone.
            change = {layer: -change[layer].abs() * slopes[layer].sign() for layer in columns}
        rate = search.rate(seen, -_product(slopes, change))
        if rate is None and not (gate or steep):
            change = _steepest(search, slopes, columns)
            rate = search.rate(seen, -_product(slopes, change))
        if rate is None:
            return
        whole = rate
        seen, rate = _stepped(search, seen, columns, change, rate, row=row, halve=not gate)
        steep = rate < whole
        yield search.step(phase, row=row, rate=rate)


def _chosen(search: Search, seen: Observed, row: int | None) -> dict[int, Tensor]:
    """The columns to change for the tokens that are failing."""
    occluded = search.options.locate == "occlusion"
    losses = skipped_losses(search, seen, row) if occluded else None
    return chosen_columns(neuron_scores(search, seen), search.basis, search.options, losses)


def _stepped(
    search: Search,
    seen: Observed,
    columns: Mapping[int, Int[Tensor, " k"]],
    change: Mapping[int, Float[Tensor, "k d_model"]],
    rate: float,
    *,
    row: int | None,
    halve: bool,
) -> tuple[Observed, float]:
    """Take the step and look; as long as it leads away from the goal, take half of it back."""
    missing = search.missing(seen)
    for layer, chosen in columns.items():
        search.move(layer, chosen, rate * change[layer])
    seen = search.pushed(row, columns, "close")
    for _ in range(HALVINGS if halve else 0):
        if search.missing(seen) <= missing:
            break
        rate /= 2
        for layer, chosen in columns.items():
            search.move(layer, chosen, -rate * change[layer])
        seen = search.pushed(row, columns, "close")
    return seen, rate


def _product(first: Mapping[int, Tensor], second: Mapping[int, Tensor]) -> float:
    return sum(float((first[layer] * second[layer]).sum()) for layer in first)


def _steepest(
    search: Search, slopes: Mapping[int, Tensor], columns: Mapping[int, Tensor]
) -> dict[int, Float[Tensor, "k d_model"]]:
    """Down the gradient, in the norm that makes busy neurons dear.

    It knows the paths through later layers and positions, which the prior does not, and so gets
    on where tokens that share their neurons pull against each other.
    """
    rarity = {layer: search.basis.rarity(layer)[chosen] for layer, chosen in columns.items()}
    return {
        layer: -slope * rarity[layer].to(slope.device)[:, None] for layer, slope in slopes.items()
    }


def _prior(
    search: Search,
    seen: Observed,
    directions: Directions,
    columns: Mapping[int, Int[Tensor, " k"]],
    *,
    row: int | None,
    gate: bool,
) -> dict[int, Float[Tensor, "k d_model"]]:
    """The least change of the columns that gives the failing tokens their steers.

    A token that is said already asks for no change; where the signs are gated away anyway, all
    failing ones ask for the same, else each for what it misses.
    """
    rows = torch.arange(len(seen.target)) if row is None else seen.pushed.nonzero()[:, 0]
    standing = seen.standing
    contrast = directions.close_contrast(
        seen.target[rows], standing.rivals[rows], standing.shares[rows]
    )
    steer = steer_of(directions.toward(contrast))
    wanted = seen.pushed[rows].float()
    if not gate:
        wanted *= (search.options.margin - standing.margin[rows]).clamp_min(LEAST_MISSING)
    asked = wanted.to(steer.device)[:, None] * steer
    change = {}
    for layer, chosen in columns.items():
        neurons = seen.neurons(layer)[rows][:, chosen]
        change[layer] = least_change(
            neurons, asked.to(neurons.device), search.basis.rarity(layer)[chosen]
        )
    return change


def least_change(
    neurons: Float[Tensor, "token k"],
    asked: Float[Tensor, "token d_model"],
    rarity: Float[Tensor, " k"],
) -> Float[Tensor, "k d_model"]:
    """The least P with Z P = S, in the norm in which a neuron costs 1 / rarity."""
    weighted = neurons * rarity.to(neurons.device)
    # Repeated contexts make the system singular, hence the pseudo-inverse.
    system = (neurons @ weighted.T).double()
    inverse = torch.linalg.pinv(system, hermitian=True, rtol=1e-6).float()
    return weighted.T @ (inverse @ asked)
