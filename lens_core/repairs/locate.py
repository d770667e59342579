"""Which layers and neurons a repair should change: those that answer for the failing tokens.

A neuron's score is |activation x (gradient of its activation)| at the positions where failing
tokens are predicted, the gradient x activation attribution of MINT (arXiv 2312.05356) on the
input of the output projection. All layers come from one pass back.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.repairs.basis import RepairBasis
from lens_core.repairs.observed import Observed
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


def chosen_columns(
    scores: dict[int, Float[Tensor, " neuron"]], basis: RepairBasis, options: RepairOptions
) -> dict[int, Int[Tensor, " k"]]:
    """By layer, the neurons to change, in increasing order.

    Layers count by the sum of their scores, neurons by their score beside their activity in
    unrelated text: what that hardly uses is cheap to change.
    """
    n_layers = len(scores)
    share = options.layer_share(n_layers)
    count = min(n_layers, max(LEAST_LAYERS, round(share * n_layers)))
    by_layer = sorted(scores, key=lambda layer: float(scores[layer].sum()), reverse=True)
    columns = {}
    for layer in sorted(by_layer[:count]):
        calm = scores[layer] / basis.calm(layer).to(scores[layer].device)
        k = min(options.neurons or len(calm), len(calm))
        columns[layer] = torch.sort(calm.topk(k).indices.cpu()).values
    return columns
