"""How much each part of a state has contributed to it.

A whole w is the sum of parts p_k. The proximity of a part is max(|w| - |w - p_k|, 0) in the L1
norm, its contribution the share of the proximities (Ferrando & Voita, 2024, arXiv 2403.00824;
Tufanov et al., 2024, arXiv 2404.07004). Departures from their code: value biases are counted once,
biases are a part of their own, and a whole that no part approaches is flagged, not made uniform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_core.amounts import Measure, head_amounts, proximity
from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.decomposition import HeadParts


@dataclass(frozen=True, eq=False)
class Shares:
    """The contributions to one whole at each position; they sum to 1 unless degenerate."""

    parts: Float[Tensor, "position ..."]
    residual: Float[Tensor, " position"]
    bias: Float[Tensor, " position"]
    """0 everywhere when biases are ignored."""
    degenerate: Bool[Tensor, " position"]
    """No part is nearer to the whole than zero is; all contributions are 0."""
    mlp: Float[Tensor, " position"] | None = None
    """That of the MLP where it enters the same sum (parallel layers)."""


def normalised(
    near: Float[Tensor, "position ..."],
    residual: Float[Tensor, " position"],
    bias: Float[Tensor, " position"],
    mlp: Float[Tensor, " position"] | None = None,
) -> Shares:
    """Proximities as shares of their joint sum; 0 and flagged where that sum is 0."""
    total = near.flatten(1).sum(1) + residual + bias
    if mlp is not None:
        total = total + mlp
    degenerate = total <= 0
    divisor = torch.where(degenerate, torch.ones_like(total), total)
    shape = (-1,) + (1,) * (near.dim() - 1)
    return Shares(
        near / divisor.view(shape),
        residual / divisor,
        bias / divisor,
        degenerate,
        None if mlp is None else mlp / divisor,
    )


def attention_shares(
    parts: HeadParts,
    *,
    order: int = 1,
    numerics: str = "clean",
    bias: str = "part",
    mlp_out: Float[Tensor, "position d_model"] | None = None,
    targets_at_once: int | None = None,
) -> Shares:
    """Contributions of every (source, head) to the state after attention: [position, source, head].

    In a parallel layer `mlp_out` enters the same sum and shares in it. Streamed by head and block
    of targets: no tensor of size position^2 x head x d_model exists. Future sources are skipped
    in clean numerics; in compat numerics they get the floor.
    """
    _check_bias(bias)
    measure = Measure(f"l{order}", numerics)
    every = torch.arange(len(parts.whole), device=parts.whole.device)
    near = head_amounts(parts, every, measure, targets_at_once=targets_at_once)
    near_mlp = None
    if mlp_out is not None:
        near_mlp = proximity(parts.whole, mlp_out, order=order, numerics=numerics)
    return _with_rest(
        parts.whole,
        near,
        residual=parts.residual,
        bias_part=parts.bias if bias == "part" else None,
        near_mlp=near_mlp,
        order=order,
        numerics=numerics,
    )


def mlp_shares(
    whole: Float[Tensor, "position d_model"],
    mlp_out: Float[Tensor, "position d_model"],
    residual: Float[Tensor, "position d_model"],
    *,
    order: int = 1,
    numerics: str = "clean",
) -> Shares:
    """Contributions of the MLP (bias included) and of the stream to the block's output."""
    near = proximity(whole, mlp_out, order=order, numerics=numerics)[:, None]
    return _with_rest(whole, near, residual=residual, order=order, numerics=numerics)


def neuron_shares(
    whole: Float[Tensor, " d_model"],
    neurons: Float[Tensor, "neuron d_model"],
    residual: Float[Tensor, " d_model"],
    bias_part: Float[Tensor, " d_model"],
    *,
    order: int = 1,
    numerics: str = "clean",
    bias: str = "part",
) -> Shares:
    """Contributions of single neurons to the block's output at one position: [1, neuron]."""
    _check_bias(bias)
    near = proximity(whole, neurons, order=order, numerics=numerics)[None]
    return _with_rest(
        whole[None],
        near,
        residual=residual[None],
        bias_part=bias_part[None] if bias == "part" else None,
        order=order,
        numerics=numerics,
    )


def _with_rest(
    whole: Tensor,
    near: Tensor,
    *,
    residual: Tensor,
    bias_part: Tensor | None = None,
    near_mlp: Tensor | None = None,
    order: int,
    numerics: str,
) -> Shares:
    """The shares of parts whose proximities are known, with those of the rest of the sum."""
    near_residual = proximity(whole, residual, order=order, numerics=numerics)
    near_bias = torch.zeros_like(near_residual)
    if bias_part is not None:
        near_bias = proximity(whole, bias_part, order=order, numerics=numerics)
    return normalised(near, near_residual, near_bias, near_mlp)


def _check_bias(bias: str) -> None:
    if bias not in ("part", "ignore"):
        raise InputError(f'bias is "{bias}"; it can be "part" or "ignore".')
