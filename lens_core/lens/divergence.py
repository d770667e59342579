"""How far apart the predictions of neighbouring layers are, by a second walk over the vocabulary.

Needs the normalisation of every row, which the first walk has found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.lens.rows import walk
from lens_core.progress import portion

if TYPE_CHECKING:
    from lens_core.readout import Readout


@dataclass(frozen=True, eq=False)
class Divergences:
    """Between each state and the final one, and between each state and the one before it."""

    kl_reverse: Float[Tensor, "depth position"]
    """KL(state || final) in nats."""
    js_previous: Float[Tensor, "depth position"]
    """Jensen-Shannon divergence from the state before, in nats, at most ln 2."""
    tv_previous: Float[Tensor, "depth position"]
    """Total variation distance from the state before, 0 to 1."""


@torch.no_grad()
def divergences(
    readout: Readout, states: Float[Tensor, "depth position d_model"], *, norm: bool = True
) -> Divergences:
    """All three for a stack of states whose last one is the final one.

    The first state has none before it: its distances from it are 0. The final prediction is
    always read through the final norm.
    """
    depth, positions, _ = states.shape
    final = readout.unembed_input(states[-1])
    hidden = torch.cat([readout.unembed_input(states.flatten(0, 1), norm=norm), final])
    total = torch.full((len(hidden),), -torch.inf, device=hidden.device)
    with portion(0, 2):
        for block in walk(readout, len(hidden)):
            logits = readout.block_logits(hidden, block)
            total = torch.logaddexp(total, logits.logsumexp(1))
    sums = torch.zeros(3, depth, positions, dtype=torch.float64, device=hidden.device)
    with portion(1, 2):
        for block in walk(readout, len(hidden)):
            log_p = readout.block_logits(hidden, block).sub_(total[:, None])
            _add_block(log_p.view(depth + 1, positions, -1), sums)
    kl, js, tv = sums.clamp_min(0.0).float()
    return Divergences(kl, js, tv)


def _add_block(log_p: Float[Tensor, "depth position token"], sums: Tensor) -> None:
    """Add one block of log-probabilities, the final ones last, to the three sums."""
    final, before = log_p[-1], log_p[0]
    for depth, state in enumerate(log_p[:-1]):
        p, q = state.exp(), before.exp()
        middle = torch.logaddexp(state, before) - torch.log(torch.tensor(2.0))
        sums[0, depth] += (p * (state - final)).sum(-1)
        sums[1, depth] += (p * (state - middle) + q * (before - middle)).sum(-1) / 2
        sums[2, depth] += (p - q).abs().sum(-1) / 2
        before = state
