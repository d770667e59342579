"""What repairs know of a model beforehand: directions of tokens, and how busy its neurons are.

The direction follows MINT and STAR (arXiv 2312.05356, 2503.12899), which take rows of the pseudo-
inverse of the unembedding: their difference is (W^T W)^-1 (w_t - w_a). Here the rows are folded
with the gain and centring of the final norm, and a ridge is added, which does less harm elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.edits import editable_projection
from lens_core.models import LoadedModel
from lens_core.network import run
from lens_core.readout import Readout
from lens_core.repairs.texts import REFERENCES
from lens_core.trace import inputs_of
from lens_core.weights import editable_weight

_JITTER = 1e-6
"""Ridge that keeps the system solvable where none is wanted."""
_TINY = 1e-8
_GRAM_ROWS = 8192
_PROTECTED_RIDGE = 1e-4
_RARE = 1e-3
"""Of the mean: the least activity that a neuron is given, so that silent ones are not free."""


@dataclass(frozen=True, eq=False)
class RepairBasis:
    """What repairs of one model share; made once, it serves any number of them."""

    gram: Float[Tensor, "d_model d_model"] | None
    """Sum over the vocabulary of a_v a_v^T, where a_v is the folded row of token v; None where
    the readout is not exact, so that only `me-sgd` can run."""
    activity: dict[int, Float[Tensor, " neuron"]]
    """By layer, the root mean square of each neuron over the reference texts; ones where the
    model has no tokenizer and no texts were given."""

    def rarity(self, layer: int) -> Float[Tensor, " neuron"]:
        """1 / (r^2 + a little): high for neurons that unrelated text hardly uses."""
        square = self.activity[layer].square()
        return 1 / (square + _RARE * square.mean()).clamp_min(1e-30)

    def calm(self, layer: int) -> Float[Tensor, " neuron"]:
        """The activity of each neuron with a floor, to divide by."""
        activity = self.activity[layer]
        return (activity + _RARE * activity.mean()).clamp_min(1e-15)


def repair_basis(
    loaded: LoadedModel, references: Sequence[Int[Tensor, " position"]] | None = None
) -> RepairBasis:
    """What repairs need of a model: the Gram matrix of its vocabulary and its neurons' activity.

    Args:
        loaded: the model.
        references: token ids of texts that stand for everything else; by default forty short
            ones, none of which is among those that side effects are measured on.

    Raises:
        EditError: a layer cannot be edited: experts, quantised or offloaded weights.
    """
    for layer in range(loaded.n_layers):
        editable_projection(loaded, layer)
    exact = loaded.self_check.reason_off("attribution") is None
    with loaded.lock, torch.inference_mode(False), torch.no_grad():
        gram = _gram(loaded.readout) if exact else None
        return RepairBasis(gram, _activity(loaded, _reference_ids(loaded, references)))


def _reference_ids(loaded: LoadedModel, references: Sequence[Tensor] | None) -> list[Tensor]:
    if references is not None:
        return list(references)
    if loaded.tokenizer is None:
        return []
    limit = loaded.facts.max_positions
    return [loaded.tokenize(text)[:limit] for text in REFERENCES]


def _gram(readout: Readout) -> Float[Tensor, "d_model d_model"]:
    total: Tensor | float = 0.0
    for block in readout.blocks(_GRAM_ROWS):
        tokens = torch.arange(block.start, block.stop)
        rows = folded_rows(readout, tokens)
        total = total + rows.T @ rows
    assert isinstance(total, Tensor)
    return total


@torch.no_grad()
def folded_rows(readout: Readout, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n d_model"]:
    """Covectors a_v in float32: a part x of the last state adds a_v . x / scale to logit v."""
    weight: Tensor = readout.unembed.weight  # type: ignore[assignment]
    rows = weight.detach()[tokens.to(weight.device)].float()
    for matrix in reversed(readout.linear_steps or ()):
        rows = rows @ matrix.to(rows.device).T
    rows = rows * (readout.input_scale * readout.scale)
    return rows if readout.norm is None else readout.norm.transpose(rows)


def _activity(loaded: LoadedModel, texts: Sequence[Tensor]) -> dict[int, Tensor]:
    """Root mean square of the neurons over all positions of the texts."""
    projections = [editable_projection(loaded, layer) for layer in range(loaded.n_layers)]
    sums = {id(module): torch.zeros(()) for module in projections}
    seen = 0

    def keep(module: torch.nn.Module, state: Tensor) -> None:
        rows = state.float().reshape(-1, state.shape[-1])
        sums[id(module)] = sums[id(module)].to(rows.device) + rows.square().sum(0)

    for ids in texts:
        with inputs_of(projections, keep):
            run(loaded.model, ids[None])
        seen += len(ids)
    if not seen:
        sizes = [len(editable_weight(module)) for module in projections]
        return {layer: torch.ones(size) for layer, size in enumerate(sizes)}
    means = (sums[id(module)] / seen for module in projections)
    # Not the tensors of inference mode themselves, which no gradient could pass through.
    return {layer: mean.clone().sqrt() for layer, mean in enumerate(means)}


def steer_of(directions: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_model"]:
    """S = D / IQR(D), the direction of each token at STAR's scale."""
    quartiles = torch.tensor([0.25, 0.75], device=directions.device)
    low, high = torch.quantile(directions, quartiles, dim=1, keepdim=True)
    return directions / (high - low + _TINY)


class Directions:
    """Semantic directions of one model at one ridge."""

    def __init__(self, loaded: LoadedModel, basis: RepairBasis, mu: float) -> None:
        """Factor the system once.

        Raises:
            NotExactError: the readout of this model is not exact.
        """
        loaded.require("readout")
        loaded.require("attribution")
        assert basis.gram is not None
        self._readout = loaded.readout
        self._factor = None
        if not math.isinf(mu):
            gram = basis.gram.double()
            ridge = max(mu, _JITTER) * float(gram.diagonal().mean())
            eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            self._factor = torch.linalg.cholesky(gram + ridge * eye)

    def contrast(
        self, target: Int[Tensor, " token"], rival: Int[Tensor, " token"]
    ) -> Float[Tensor, "token d_model"]:
        """The rows a_t - a_a: along it the target gains on its rival, before the norm's scale."""
        return folded_rows(self._readout, target) - folded_rows(self._readout, rival)

    def close_contrast(
        self,
        target: Int[Tensor, " token"],
        rivals: Int[Tensor, "token rival"],
        shares: Float[Tensor, "token rival"],
    ) -> Float[Tensor, "token d_model"]:
        """The rows a_t - sum of share x a_a: the target gains on all close rivals together."""
        others = folded_rows(self._readout, rivals.flatten()).unflatten(0, rivals.shape)
        mean = (shares.to(others.device)[..., None] * others).sum(1)
        return folded_rows(self._readout, target) - mean

    def _solved(self, rows: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        if self._factor is None:
            return rows
        return torch.cholesky_solve(rows.T.double(), self._factor).T.float()

    def toward(self, contrast: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_model"]:
        """D = (G + mu mean(diag G) I)^-1 c for each contrast c, scaled so that c . D = 1."""
        rows = self._solved(contrast)
        return rows / (contrast * rows).sum(-1, keepdim=True)

    def protecting(self, contrasts: Float[Tensor, "n d_model"]) -> Float[Tensor, " d_model"]:
        """D for the first contrast that moves the others by (nearly) nothing."""
        solved = self._solved(contrasts)
        products = contrasts @ solved.T
        ridge = _PROTECTED_RIDGE * products.diagonal().mean()
        first = torch.zeros(len(contrasts), 1, device=contrasts.device)
        first[0] = 1.0
        weights = torch.linalg.solve(products + ridge * torch.eye(len(first)).to(first), first)
        row = (solved.T @ weights)[:, 0]
        return row / (contrasts[0] @ row)
