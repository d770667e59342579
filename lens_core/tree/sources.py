"""The amounts of whole sources: what all heads together move from one position to another.

Heads are added up before they are measured, so a row has one part a source instead of one a
(source, head). That is cheaper where many positions are taken apart (for 14 heads 0.4 times the
time; for a single position it is the same), and another decomposition: heads that cancel each
other vanish, so the sum of the heads' proximities is not the proximity of their sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.amounts import Measure, amounts, head_amounts

if TYPE_CHECKING:
    from lens_core.decomposition import HeadParts

BLOCK_BYTES = 1 << 20
"""Vectors of (target, source) that are held at once: so few that they stay in a cache."""
FEW = 2
"""Up to so many targets their vectors are projected one by one."""


def source_amounts(
    parts: HeadParts,
    targets: Int[Tensor, " target"],
    measure: Measure,
    *,
    toward: Float[Tensor, "query d_model"] | None = None,
) -> Float[Tensor, "target key"]:
    """The amount of every source at some targets, in ascending order; 0 for later sources.

    Streamed by block of sources and of targets, so that no tensor of size position^2 x d_model
    exists.
    """
    if measure.signed:
        # Linear: the amounts of the heads add up to that of their sum.
        return head_amounts(parts, targets, measure, toward=toward).sum(-1)
    heads, length, _ = parts.pattern.shape
    width = parts.whole.shape[-1]
    found = torch.zeros(len(targets), length, device=parts.whole.device)
    sources_at_once = max(1, BLOCK_BYTES // (4 * heads * width))
    targets_at_once = max(1, BLOCK_BYTES // (4 * sources_at_once * width))
    at = targets.tolist()
    for start in range(0, length, sources_at_once):
        keys = slice(start, min(start + sources_at_once, length))
        # Earlier targets see none of these sources.
        first = (
            0 if measure.sees_future else next((i for i, t in enumerate(at) if t >= start), None)
        )
        if first is None:
            break
        moved = None if len(at) - first <= FEW else _moved(parts, keys)
        for begin in range(first, len(at), targets_at_once):
            block = slice(begin, begin + targets_at_once)
            vectors = _vectors(parts, moved, targets[block], keys)
            whole = parts.whole[targets[block], None]
            found[block, keys] = amounts(whole, vectors, measure)
    if not measure.sees_future:
        later = torch.arange(length, device=targets.device) > targets[:, None]
        found.masked_fill_(later, 0.0)
    return found


def _moved(parts: HeadParts, keys: slice) -> Float[Tensor, "key head d_model"] | None:
    """What every head would move from some sources with weight 1; None where a gate differs."""
    if parts.gate is not None:
        return None
    groups = len(parts.pattern) // len(parts.values)
    values = parts.values[:, keys].repeat_interleave(groups, 0)
    return torch.bmm(values, parts.weight).transpose(0, 1).contiguous()


def _vectors(
    parts: HeadParts, moved: Tensor | None, targets: Tensor, keys: slice
) -> Float[Tensor, "target key d_model"]:
    """What all heads together move from some sources to some targets."""
    pattern = parts.pattern[:, targets, keys] * parts.factor[targets, 0, None]
    if moved is not None:
        return torch.bmm(pattern.permute(2, 1, 0), moved).transpose(0, 1)
    groups = len(parts.pattern) // len(parts.values)
    values = parts.values[:, keys].repeat_interleave(groups, 0)
    mixed = pattern.permute(1, 2, 0)[..., None] * values.transpose(0, 1)
    if parts.gate is not None:
        mixed = mixed * parts.gate[targets, None]
    return mixed.flatten(2) @ parts.weight.flatten(0, 1)
