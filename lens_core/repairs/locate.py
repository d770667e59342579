"""Which layers and neurons a repair should change: those that answer for the failing tokens.

A neuron's score is |activation x (gradient of its activation)| at the positions where failing
tokens are predicted, the gradient x activation attribution of MINT (arXiv 2312.05356) on the
input of the output projection. All layers come from one pass back. Which layers count most can be
asked by occlusion, too, as in STAR (arXiv 2503.12899): the loss when a layer's FFN is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.edits import editable_projection
from lens_core.repairs.basis import RepairBasis
from lens_core.repairs.observed import Observed, observe
from lens_core.repairs.options import RepairOptions
from lens_core.repairs.search import Search

LEAST_LAYERS = 2


def neuron_scores(search: Search, seen: Observed) -> dict[int, Float[Tensor, " neuron"]]:
    """By layer, how much each neuron answers for the failing tokens: at least 0, in logits."""
    failing = seen.pushed
    scores = {}
    with search.held():
        for layer in range(search.loaded.n_layers):
            neurons, deltas = seen.neurons(layer)[failing], seen.deltas(layer)[failing]
            slopes = deltas @ search.weights(layer).float().T
            scores[layer] = (neurons * slopes).abs().sum(0)
    return scores


def skipped_losses(search: Search, seen: Observed, row: int | None) -> dict[int, float]:
    """By layer, the loss of the failing tokens where its FFN adds nothing, in nats; a pass each."""
    rows = search.rows if row is None else search.rows.only(int(search.rows.sequence[row]))
    losses = {}
    for layer in range(search.loaded.n_layers):
        module = editable_projection(search.loaded, layer)
        with search.held(), _silent(module):
            standing = observe(search.loaded, rows).standing
        search.forwards += 1
        losses[layer] = -float(standing.log_prob[seen.pushed].mean())
    return losses


@contextmanager
def _silent(module: nn.Module) -> Iterator[None]:
    """The module writes zeros for a block; the published code lets its input through instead."""

    def silence(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    hook = module.register_forward_hook(silence)
    try:
        yield
    finally:
        hook.remove()


def chosen_columns(
    scores: dict[int, Float[Tensor, " neuron"]],
    basis: RepairBasis,
    options: RepairOptions,
    losses: Mapping[int, float] | None = None,
) -> dict[int, Int[Tensor, " k"]]:
    """By layer, the neurons to change, in increasing order.

    Layers count by the sum of their scores, or by `losses` where these are given; neurons by
    their score beside their activity in unrelated text: what that hardly uses is cheap to change.
    """
    n_layers = len(scores)
    share = options.layer_share(n_layers)
    count = min(n_layers, max(LEAST_LAYERS, round(share * n_layers)))
    weights = {layer: float(one.sum()) for layer, one in scores.items()}
    by_layer = sorted(scores, key=(losses or weights).__getitem__, reverse=True)
    columns = {}
    for layer in sorted(by_layer[:count]):
        calm = scores[layer] / basis.calm(layer).to(scores[layer].device)
        k = min(options.neurons or len(calm), len(calm))
        columns[layer] = torch.sort(calm.topk(k).indices.cpu()).values
    return columns
