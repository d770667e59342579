"""Who pushed a token up: direct logit attribution with its sum row (Elhage et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.trace import Trace


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each part of the stream adds to one token's logit, in logits before a softcap."""

    position: int
    target: int
    embed: float
    attn: Float[np.ndarray, " layer"]
    mlp: Float[np.ndarray, " layer"]
    constant: float
    """What the biases of the final norm and the head add, whatever the prompt."""
    total: float
    """The sum of all of these."""
    logit: float
    """The model's own logit, before a softcap; `total` equals it up to the model's rounding."""


@torch.no_grad()
def attribute_logit(loaded: LoadedModel, trace: Trace, position: int, target: int) -> Attribution:
    """The logit of `target` after one position, as a sum over embedding, attention and MLP."""
    readout = loaded.readout
    final = trace.stream[-1][position]
    parts = torch.stack(
        [trace.stream[0][position], *trace.attn_out[:, position], *trace.mlp_out[:, position]]
    )
    tokens = torch.tensor([[target]], device=parts.device)
    hidden = readout.part_input(parts, readout.inverse_scale(final[None]))
    logits = readout.part_token_logits(hidden, tokens.expand(len(parts), 1))[:, 0].cpu()
    constant = float(readout.constant(tokens[0]))
    layers = trace.attn_out.shape[0]
    whole = readout.raw_token_logits(readout.unembed_input(final[None]), tokens)
    return Attribution(
        position,
        target,
        float(logits[0]),
        logits[1 : 1 + layers].numpy(),
        logits[1 + layers :].numpy(),
        constant,
        float(logits.double().sum()) + constant,
        float(whole[0, 0]),
    )
