"""What a module does, found by trying it: is it a norm, is it linear, what are its gain and bias.

Names are not used, because they mislead: `post_attention_layernorm` is the norm before the MLP in
Llama and the norm after the attention in Gemma-2.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from lens_core.anatomy.calls import Call

LARGE = 1000.0
"""Large enough that a norm's epsilon vanishes beside the square of it."""

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest relative error at which two ways of computing one thing count as equal; states are
compared in float32, whatever the model computes in."""


def tolerance(dtype: torch.dtype) -> float:
    """The bound for one dtype; that of bfloat16 for anything coarser."""
    return TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])


@dataclass(frozen=True, eq=False)
class NormFacts:
    """A normalising module as `gain * (x - mean(x) if centred) / scale(x) + bias`.

    The scale is not stored: it is solved from what went in and what came out, so no epsilon has
    to be read from anywhere.
    """

    module: nn.Module
    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centred: bool

    def __call__(self, state: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """The norm itself, computed in its own dtype, as float32."""
        dtype = next((p.dtype for p in self.module.parameters()), state.dtype)
        return self.module(state.to(dtype)).float()

    def linear(self, part: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """`gain * (part - mean)`: what the norm does to a part before dividing by the scale."""
        gain = self.gain.to(part.device)
        return gain * (part - part.mean(-1, keepdim=True)) if self.centred else gain * part

    def transpose(self, rows: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """The adjoint of `linear`: <rows, linear(x)> = <transpose(rows), x>."""
        scaled = self.gain.to(rows.device) * rows
        return scaled - scaled.mean(-1, keepdim=True) if self.centred else scaled

    def inverse_scale(
        self, before: Float[Tensor, "*row d_model"], after: Float[Tensor, "*row d_model"]
    ) -> Float[Tensor, "*row 1"]:
        """1 / scale of each row, from what went in and what came out (0 for a row of zeros)."""
        moved = self.linear(before)
        square = moved.square().sum(-1, keepdim=True)
        answer = (moved * (after - self.bias.to(after.device))).sum(-1, keepdim=True)
        return torch.where(square > 0, answer / square.clamp_min(1e-45), 0.0)


def norm_facts(call: Call) -> NormFacts | None:
    """The gain, bias and centring of the module behind a call; None when it is no norm.

    With a = (+1, -1, +1, ...): bias = N(0), gain = (N(1000 a) - bias) * a, centred when adding a
    constant changes nothing. A norm forgets the size of its input; an identity does not.
    """
    seen, answer = call.input, call.output
    if seen is None or answer is None or seen.shape != answer.shape or len(call.inputs) != 1:
        return None
    if any(p.dim() > 1 for p in call.module.parameters()) or seen.shape[-1] < 2:
        return None
    width = seen.shape[-1]
    norm, device = _in_float32(call.module), seen.device
    signs = torch.ones(width, device=device)
    signs[1::2] = -1.0
    if width % 2:
        signs[-1] = 0.0
    try:
        bias = norm(torch.zeros(1, width, device=device))[0]
        large, larger = norm(torch.stack([LARGE * signs, 2 * LARGE * signs]))
        shifted = norm((LARGE * signs + LARGE / 2)[None])[0]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError):
        # A module that cannot take one row of its own width, such as a rotary embedding.
        return None
    if not torch.allclose(large, larger, rtol=1e-4, atol=1e-6):
        return None
    gain = _fill_odd(norm, (large - bias) * signs, signs, bias)
    facts = NormFacts(call.module, gain, bias, bool(torch.allclose(large, shifted, atol=1e-4)))
    return facts if _reproduces(facts, seen.float(), answer) else None


def _fill_odd(norm: nn.Module, gain: Tensor, signs: Tensor, bias: Tensor) -> Tensor:
    """An odd width leaves the last sign 0; probe it again with the first one 0 instead.

    A row with a zero has a smaller root mean square; both probes share it, so it divides out.
    """
    width = len(gain)
    if width % 2 == 0:
        return gain
    rolled = signs.roll(1)
    gain_rolled = (norm((LARGE * rolled)[None])[0] - bias) * rolled
    gain = torch.where(signs == 0, gain_rolled, gain)
    return gain * ((width - 1) / width) ** 0.5


def _reproduces(facts: NormFacts, seen: Tensor, answer: Tensor) -> bool:
    after = answer.float()
    again = facts.linear(seen) * facts.inverse_scale(seen, after) + facts.bias
    bound = max(tolerance(answer.dtype), 1e-5)
    return bool((again - after).abs().max() <= bound * after.abs().max())


def _in_float32(module: nn.Module) -> nn.Module:
    """The module itself, or a float32 copy of it: a gain read in bfloat16 loses bits."""
    if all(p.dtype == torch.float32 for p in module.parameters()):
        return module
    return copy.deepcopy(module).float()


def is_linear(module: nn.Module, width: int, like: Tensor) -> bool:
    """Whether the module is affine: P(a + b) - P(a) - P(b) + P(0) = 0 for two random rows."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, width, generator=generator).to(like)
    batch = torch.stack([rows[0] + rows[1], rows[0], rows[1], torch.zeros_like(rows[0])])
    try:
        out = module(batch)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError):
        # Not a function of one tensor of rows.
        return False
    if not isinstance(out, torch.Tensor) or out.dim() != 2:
        return False
    both, first, second, zero = out.float()
    gap = (both - first - second + zero).abs().max()
    return bool(gap <= 2 * tolerance(like.dtype) * out.float().abs().max())
