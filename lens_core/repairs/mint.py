"""MINT: a few neurons, changed one at a time, each after it was tried.

After "Neuron-level patching of language models" (arXiv 2312.05356): attribution gives a small pool
of neurons, every one of them is tried alone, and the best is changed along the semantic direction
of the failing token; a token that cannot be repaired so is left as it was. Departures: the step
is worked out from the missing margin and the signed activation; what must not move are the
margins of the tokens that are said already; and a cap keeps each change in proportion to the
layer's other neurons, raised only where nothing else helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.repairs.basis import Directions
from lens_core.repairs.observed import Observed, observe
from lens_core.repairs.result import RepairStep
from lens_core.repairs.search import Search, Trial

PASSES = 2
POOL = 10
CAPS = (2.0, 4.0, 8.0, float("inf"))
"""Largest change of a neuron, in median norms of its layer's neurons; one after another."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One neuron with the change that would repair the token, as far as the cap allows."""

    layer: int
    neuron: int
    amount: float
    score: float


def change_neurons(search: Search) -> Iterator[RepairStep]:
    """Repair one failing token after another with as few neurons as possible."""
    directions = Directions(search.loaded, search.basis, search.options.mu)
    half = range(search.loaded.n_layers // 2, search.loaded.n_layers)
    with search.held():
        norms = {layer: search.weights(layer).float().norm(dim=1) for layer in half}
    medians = {layer: float(norm.median()) for layer, norm in norms.items()}
    for cap in CAPS:
        limits = {layer: cap * median for layer, median in medians.items()}
        for _ in range(PASSES):
            for row in search.failing():
                search.cap = cap
                yield from _repair_token(search, directions, row, limits)
        if not search.failing():
            return


def _repair_token(
    search: Search, directions: Directions, row: int, limits: Mapping[int, float]
) -> Iterator[RepairStep]:
    """Up to `epochs` changes for one token; without success all of them are taken back."""
    before = {layer: part.copy() for layer, part in search.trial.items()}
    counts = dict(search.edits)
    seen = search.pushed(row, limits)
    for _ in range(search.options.most_epochs):
        if not seen.backward:
            return
        local = int(seen.pushed.nonzero()[0, 0])
        direction = _direction(directions, seen, local)
        pool = _candidates(search, seen, local, direction, limits)
        best = _tried(search, row, pool, direction)
        if best is None:
            break
        search.trial = _with(search, best, direction)
        place = (best.layer, best.neuron)
        search.edits[place] = search.edits.get(place, 0) + 1
        seen = search.pushed(row, limits)
        yield search.step("neuron", row=row, rate=best.amount)
    if row in search.failing():
        search.trial, search.edits = before, counts


def _direction(directions: Directions, seen: Observed, local: int) -> Float[Tensor, " d_model"]:
    """The direction of the token's contrast that leaves those of the tokens said alone."""
    others = (seen.standing.margin > 0).nonzero()[:, 0].tolist()
    rows = torch.tensor([local, *(row for row in others if row != local)])
    return directions.protecting(directions.contrast(seen.target[rows], seen.standing.rival[rows]))


def _candidates(
    search: Search, seen: Observed, local: int, direction: Tensor, limits: Mapping[int, float]
) -> list[_Candidate]:
    """The neurons that close the largest share of the gap for the least disturbance."""
    missing = search.options.margin - float(seen.standing.margin[local])
    length = float(direction.norm())
    found = []
    for layer, limit in limits.items():
        # The objective falls along the gradient of what the layer adds.
        slope = -float(seen.deltas(layer)[local] @ direction.to(seen.deltas(layer).device))
        if slope <= 0:
            continue
        neurons = seen.neurons(layer)[local].cpu()
        needed = missing / (neurons * slope)
        amounts = needed.clamp(-limit / length, limit / length)
        cost = needed.abs() * search.basis.calm(layer).cpu()
        scores = (amounts / needed).abs() / cost
        # A silent neuron would have to change infinitely.
        scores = torch.where(torch.isfinite(needed), scores, 0.0)
        best = scores.topk(min(POOL, len(scores)))
        found += [
            _Candidate(layer, neuron, float(amounts[neuron]), score)
            for neuron, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            if score > 0
        ]
    return sorted(found, key=lambda candidate: -candidate.score)[:POOL]


def _tried(
    search: Search, row: int, pool: list[_Candidate], direction: Tensor
) -> _Candidate | None:
    """The first candidate that repairs the token, or else the one that comes closest."""
    prefix = search.rows.prefix(row)
    best, most = None, -float("inf")
    for candidate in pool:
        with search.held(_with(search, candidate, direction)):
            margin = float(observe(search.loaded, prefix).standing.margin[0])
        search.forwards += 1
        if margin >= search.options.margin:
            return candidate
        if margin > most:
            best, most = candidate, margin
    return best


def _with(search: Search, candidate: _Candidate, direction: Tensor) -> Trial:
    """The trial with one more neuron changed; the search keeps its own."""
    own, search.trial = search.trial, {k: part.copy() for k, part in search.trial.items()}
    try:
        column = torch.tensor([candidate.neuron])
        search.take({candidate.layer: column})
        search.move(candidate.layer, column, candidate.amount * direction[None])
        return search.trial
    finally:
        search.trial = own
