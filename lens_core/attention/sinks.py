"""Tokens that heads look at without need (Xiao et al., 2023): their weights say little.

Heads that have nothing to do look at one token, often the first, whose values are then small. A
sink keeps its true number; views may leave it out of the colours, or show the rest without it and
how much was taken out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.attention.options import block_rows
from lens_core.attention.probe import Look

LOOKED_AT = 0.3
"""Mean weight from which on a token is a sink, or is one for a head."""
LATER = 4
"""Later positions that a mean needs: one row alone says nothing about a habit."""
SHARE_OF_HEADS = 0.25
"""So many heads are enough for the first token and the start token."""


@dataclass(frozen=True, eq=False)
class Sinks:
    """The tokens that count as sinks, and by what."""

    positions: tuple[int, ...]
    looked_at: Float[np.ndarray, " source"]
    """Mean weight over later positions, layers and heads; 0 for the last token."""
    head_share: Float[np.ndarray, " source"]
    """Share of all heads whose mean weight over later positions is at least 0.3."""


def columns(look: Look, length: int, n_heads: int) -> Float[Tensor, "head source"]:
    """Mean weight of every head on every token over all later positions; 0 for the last token."""
    size = block_rows(n_heads, length)
    keys = torch.arange(length)
    total: Float[Tensor, "head source"] | None = None
    for start in range(0, length, size):
        at = keys[start : start + size]
        pattern = look.pattern(at)
        later = (keys < at[:, None]).to(pattern.device)
        found = (pattern * later).sum(1)
        total = found if total is None else total + found
    assert total is not None
    return total / (length - 1 - keys).clamp_min(1).to(total.device)


def find_sinks(
    means: Float[np.ndarray, "head_of_layer source"], starts: Float[np.ndarray, " source"]
) -> Sinks:
    """The sinks among some tokens.

    Args:
        means: mean weight over later positions, one row for every head of every layer.
        starts: 1 for the first token and for start tokens, else 0.
    """
    looked_at = means.mean(0)
    share = (means >= LOOKED_AT).mean(0, dtype=np.float32)
    enough = np.arange(len(looked_at))[::-1] >= LATER
    found = enough & ((looked_at >= LOOKED_AT) | ((starts > 0) & (share >= SHARE_OF_HEADS)))
    return Sinks(tuple(np.flatnonzero(found).tolist()), looked_at, share)
