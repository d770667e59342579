"""The settings of STAR's published code, for comparison: fixed steps and no way to stop early.

`me-iter`, `me-batch` and `me-sgd` with a rate of 0.01, 10 updates a token or in all, all neurons
of all layers, and directions from the pseudo-inverse of the unembedding without the final norm's
gain; what fails is measured once, and the cross-entropy gives the signs. What kept that code from
doing what its paper (arXiv 2503.12899) says is put right: neurons are what enters the output
projection, at the positions that predict the tokens, and dropout is off. Nothing is kept of a
better state on the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_core.repairs.basis import steer_of
from lens_core.repairs.observed import Observed
from lens_core.repairs.options import REFERENCE_LR
from lens_core.repairs.result import RepairStep
from lens_core.repairs.search import Search
from lens_core.repairs.star import least_change

_CUTOFF = 1e-6
"""Of the largest eigenvalue: directions of the vocabulary that are taken for none."""


def reproduce(search: Search) -> Iterator[RepairStep]:
    """All updates of a method at these settings."""
    options = search.options
    assert search.standing is not None
    failing = ~search.standing.said
    sizes = {layer: len(one) for layer, one in search.basis.activity.items()}
    search.take({layer: torch.arange(size) for layer, size in sizes.items()})
    rate = REFERENCE_LR if options.lr is None else options.lr
    steers = None
    if options.method != "me-sgd":
        steers = _steers(search) * failing[:, None]
    together = options.method == "me-batch"
    units = [None] if together else failing.nonzero()[:, 0].tolist()
    phase = {"me-batch": "gated", "me-iter": "token", "me-sgd": "gradient"}[options.method]
    for row in units:
        push = torch.ones(len(search.rows), dtype=torch.bool)
        if row is not None:
            push = torch.arange(len(search.rows)) == row
        for _ in range(options.most_epochs):
            _update(search, push, steers, rate)
            search.observe()
            yield search.step(phase, row=row, rate=rate)


def _update(
    search: Search, push: Bool[Tensor, " token"], steers: Tensor | None, rate: float
) -> None:
    """One update of all columns for the tokens that are pushed."""
    seen = search.observe(
        below=math.inf, layers=tuple(search.trial), push=push, objective="cross_entropy"
    )
    search.updates += push
    for layer, part in search.trial.items():
        slope = seen.gradient(layer, slice(None))
        if steers is None:
            part.value -= rate * slope
        else:
            prior = _prior(seen, layer, push, steers)
            part.value -= rate * prior.abs() * slope.sign()


def _prior(
    seen: Observed, layer: int, push: Tensor, steers: Tensor
) -> Float[Tensor, "neuron d_model"]:
    neurons = seen.neurons(layer)[push]
    every = torch.ones(neurons.shape[1], device=neurons.device)
    return least_change(neurons, steers[push].to(neurons.device), every)


def _steers(search: Search) -> Float[Tensor, "token d_model"]:
    """Differences of rows of the unembedding's pseudo-inverse, by their interquartile range."""
    assert search.standing is not None
    weight: Tensor = search.loaded.readout.unembed.weight  # type: ignore[assignment]
    with search.loaded.lock, torch.no_grad():
        weight = weight.detach().float()
        rows = weight[search.rows.target.to(weight.device)]
        rows = rows - weight[search.standing.rival.to(weight.device)]
        gram = (weight.T @ weight).double()
    inverse = torch.linalg.pinv(gram, hermitian=True, rtol=_CUTOFF).float()
    return steer_of(rows @ inverse)
