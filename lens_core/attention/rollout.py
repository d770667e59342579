"""Attention followed through all layers: rollout (Abnar and Zuidema, 2020) and its baseline.

A layer's matrix is its heads in one, plus the identity for the stream, each row divided by its
sum: half of each for the mean of heads that sum to 1. (Learned sinks and the maximum or minimum of
heads do not, which the division puts right, as the authors' code does.) The product of all layers
says how much of each token is mixed into a position, if attention moved whole states.

Even attention that looks nowhere in particular favours the first tokens, since every position sees
them: uniform attention over what each position may look at is rolled out too, to divide by.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_core.attention.options import block_rows
from lens_core.attention.probe import Look

FUSIONS: tuple[str, ...] = ("mean", "min", "max")
"""How the heads of a layer become one matrix."""


def with_stream(
    attention: Float[Tensor, "*fusion query key"],
) -> Float[Tensor, "*fusion query key"]:
    """Attention plus the identity, rows divided by their sum, so that they sum to 1."""
    identity = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
    mixed = attention + identity
    return mixed / mixed.sum(-1, keepdim=True)


def uniform(visible: Bool[Tensor, "query key"]) -> Float[Tensor, "query key"]:
    """Attention that spreads evenly over everything that each position may look at."""
    seen = visible.float()
    return seen / seen.sum(-1, keepdim=True)


def rollout(layers: Float[Tensor, "layer query key"]) -> Float[Tensor, "query source"]:
    """How much of every token is mixed into every position; rows sum to 1.

    Args:
        layers: attention of all layers, from the lowest up, the heads already in one.
    """
    rolled = torch.eye(layers.shape[-1], dtype=layers.dtype, device=layers.device)
    for attention in layers:
        rolled = with_stream(attention) @ rolled
    return rolled


def fused(look: Look, length: int, n_heads: int) -> Float[Tensor, "fusion query key"]:
    """The heads of a layer in one, by mean, minimum and maximum; worked out in blocks of rows."""
    size = block_rows(n_heads, length)
    found = []
    for start in range(0, length, size):
        pattern = look.pattern(torch.arange(start, min(start + size, length)))
        found.append(torch.stack([pattern.mean(0), pattern.amin(0), pattern.amax(0)]))
    return torch.cat(found, 1)


class Rollout:
    """Rolls out layer after layer while a pass is under way: a few [query, source] matrices."""

    N_MATRICES = 3 * len(FUSIONS) + 4
    """Matrices that exist at once at the worst, of 4 bytes a number."""

    def __init__(self, length: int, device: torch.device) -> None:
        self.rolled = torch.eye(length, device=device).repeat(len(FUSIONS), 1, 1)
        self.baseline = torch.eye(length, device=device)

    def add(self, layers: Float[Tensor, "fusion query key"], look: Look) -> None:
        """One more layer, the lowest first."""
        self.rolled = with_stream(layers) @ self.rolled
        visible = look.visible(torch.arange(layers.shape[-1]))
        self.baseline = with_stream(uniform(visible)) @ self.baseline

    def row(self, query: int) -> tuple[Float[Tensor, "fusion source"], Float[Tensor, " source"]]:
        """What is mixed into a position, and what uniform attention would mix into it."""
        return self.rolled[:, query], self.baseline[query]
