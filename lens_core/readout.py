"""From a state of the stream to logits, and from a part of it to the logits it adds.

The readout is found between the last block and the head, then proved: it must reproduce the
model's own logits on the probe. A part is read with the scale of the final norm frozen at the
state it belongs to (direct logit attribution; Elhage et al., 2021), so that the parts of a stream
sum to its logits before the softcap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from lens_core.anatomy.behaviour import NormFacts, is_linear, norm_facts, tolerance
from lens_core.anatomy.probe import position_rows
from lens_core.anatomy.search import config_numbers
from lens_core.weights import projection_matrix

if TYPE_CHECKING:
    from lens_core.anatomy import Probe
    from lens_core.anatomy.calls import Call


@dataclass(frozen=True, eq=False)
class Readout:
    """The end of a model: final norm, what lies behind it, head, logit multiplier, softcap."""

    steps: tuple[nn.Module, ...]
    """Modules between the last block and the head, in order."""
    norm: NormFacts | None
    """The first step, when it is a norm."""
    unembed: nn.Module
    input_scale: float = 1.0
    """Multiplies what goes into the head (MiniCPM divides it)."""
    scale: float = 1.0
    """Multiplies the logits (Cohere, Granite)."""
    softcap: float | None = None
    """cap * tanh(logits / cap) (Gemma-2)."""
    rel_err: float = float("nan")
    """Largest error against the model's own logits on the probe, relative to the largest logit."""
    linear_steps: tuple[Float[Tensor, "d_in d_out"], ...] | None = ()
    """Matrices of the steps behind the norm; None when one of them is not linear."""
    parts_rel_err: float = field(default=float("nan"))
    """The same error when the frozen norm reads whole states as parts."""

    @property
    def d_vocab(self) -> int:
        """Rows of the unembedding."""
        return int(self.unembed.weight.shape[0])  # type: ignore[union-attr]

    def unembed_input(
        self, states: Float[Tensor, "row d_model"], *, norm: bool = True
    ) -> Float[Tensor, "row d_unembed"]:
        """What the head reads, in the model's own dtype; `norm=False` leaves the final norm out."""
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        rows = states.to(device=weight.device, dtype=weight.dtype)
        for step in self.steps:
            if norm or self.norm is None or step is not self.norm.module:
                rows = step(rows)
        return rows * self.input_scale if self.input_scale != 1.0 else rows

    def part_input(
        self, parts: Float[Tensor, "*#row d_model"], inverse_scale: Float[Tensor, "*#row 1"]
    ) -> Float[Tensor, "... d_unembed"]:
        """What a part adds to what the head reads, with the norm's scale frozen."""
        assert self.linear_steps is not None
        rows = parts.float()
        if self.norm is not None:
            rows = self.norm.linear(rows) * inverse_scale
        for matrix in self.linear_steps:
            rows = rows @ matrix.to(rows.device)
        return rows * self.input_scale

    def inverse_scale(self, states: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row 1"]:
        """1 / scale of the final norm at each state; 1 where there is no norm."""
        if self.norm is None:
            return torch.ones_like(states[..., :1])
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        after = self.norm.module(states.to(device=weight.device, dtype=weight.dtype))
        return self.norm.inverse_scale(states.to(after.device).float(), after.float())

    def blocks(self, width: int) -> Iterator[slice]:
        """The vocabulary in blocks of `width` tokens."""
        for start in range(0, self.d_vocab, width):
            yield slice(start, min(start + width, self.d_vocab))

    def block_logits(
        self, hidden: Float[Tensor, "row d_unembed"], block: slice
    ) -> Float[Tensor, "row token"]:
        """Logits of one block of the vocabulary, after multiplier and softcap, in float32."""
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        bias: Tensor | None = getattr(self.unembed, "bias", None)
        out = linear(hidden, weight[block], None if bias is None else bias[block])
        return self.finish(out)

    def block_part_logits(
        self, hidden: Float[Tensor, "row d_unembed"], block: slice
    ) -> Float[Tensor, "row token"]:
        """Logits that parts add in one block: no bias, multiplier but no softcap, in float32."""
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        return linear(hidden.float(), weight[block].float()).mul_(self.scale)

    def logits(
        self, states: Float[Tensor, "row d_model"], *, norm: bool = True
    ) -> Float[Tensor, "row d_vocab"]:
        """All logits of a few states, in float32, as the model itself would give them."""
        return self.block_logits(self.unembed_input(states, norm=norm), slice(0, self.d_vocab))

    def token_logits(
        self, hidden: Float[Tensor, "row d_unembed"], tokens: Int[Tensor, "row n"]
    ) -> Float[Tensor, "row n"]:
        """The logits of some tokens, other ones for every row of `hidden`, in float32."""
        return self.finish(self._token_products(hidden, tokens))

    def raw_token_logits(
        self, hidden: Float[Tensor, "row d_unembed"], tokens: Int[Tensor, "row n"]
    ) -> Float[Tensor, "row n"]:
        """The same before a softcap."""
        return self._token_products(hidden, tokens).float() * self.scale

    def _token_products(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """What the head itself gives for some tokens, in its own dtype."""
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        bias: Tensor | None = getattr(self.unembed, "bias", None)
        out = torch.einsum("rd,rnd->rn", hidden.float(), weight[tokens].float())
        if bias is not None:
            out = out + bias[tokens].float()
        # Rounded as the head rounds, so that a token has one logit everywhere.
        return out.to(weight.dtype)

    def part_token_logits(
        self, hidden: Float[Tensor, "row d_unembed"], tokens: Int[Tensor, "row n"]
    ) -> Float[Tensor, "row n"]:
        """What parts add to the logits of some tokens: no bias, no softcap, in float32."""
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        return torch.einsum("rd,rnd->rn", hidden.float(), weight[tokens].float()) * self.scale

    def finish(self, logits: Float[Tensor, "row token"]) -> Float[Tensor, "row token"]:
        """Apply multiplier and softcap in place, in the dtype of the head; answers float32."""
        return _finished(logits, self.scale, self.softcap).float()

    def constant(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """What the final norm's bias and the head's bias add to each token's logit."""
        assert self.linear_steps is not None
        weight: Tensor = self.unembed.weight  # type: ignore[assignment]
        bias: Tensor | None = getattr(self.unembed, "bias", None)
        total = torch.zeros(len(tokens), device=weight.device)
        if self.norm is not None:
            rows = self.norm.bias.to(weight.device)
            for matrix in self.linear_steps:
                rows = rows @ matrix.to(rows.device)
            total = total + weight[tokens].float() @ rows * self.input_scale
        if bias is not None:
            total = total + bias[tokens].float()
        return total * self.scale


@torch.no_grad()
def calibrate(probe: Probe) -> Readout | None:
    """Find the end of the model and measure how well it reproduces the logits.

    None when no chain of modules leads from the last block to the head.
    """
    head = probe.model.get_output_embeddings()
    head_call = next((call for call in probe.tail if call.module is head), None)
    states = position_rows(probe.blocks[-1].resid_post)
    if head_call is None or states is None:
        return None
    target = position_rows(head_call.input)
    chain = None if target is None else _chain(probe.tail, states, target, head_call)
    if head is None or chain is None or not isinstance(getattr(head, "weight", None), torch.Tensor):
        return None
    calls, input_scale = chain
    norm = norm_facts(calls[0]) if calls else None
    raw = position_rows(head_call.output)
    assert raw is not None
    numbers = config_numbers(probe.model.config.to_dict())
    scale, softcap = _finish(raw, probe.logits, numbers)
    readout = Readout(
        tuple(call.module for call in calls),
        norm,
        head,
        input_scale,
        scale,
        softcap,
        linear_steps=_linear_steps(calls[1:] if norm is not None else calls),
    )
    return _measured(readout, states, probe.logits.float())


def _measured(readout: Readout, states: Tensor, logits: Tensor) -> Readout:
    error = _relative_error(readout.logits(states), logits)
    if readout.linear_steps is None:
        return replace(readout, rel_err=error)
    hidden = readout.part_input(states, readout.inverse_scale(states))
    every = torch.arange(readout.d_vocab, device=hidden.device)
    parts = readout.block_part_logits(hidden, slice(0, readout.d_vocab))
    parts = parts + readout.constant(every)
    if readout.softcap is not None:
        parts = readout.softcap * torch.tanh(parts / readout.softcap)
    return replace(readout, rel_err=error, parts_rel_err=_relative_error(parts, logits))


def _relative_error(found: Tensor, wanted: Tensor) -> float:
    wanted = wanted.to(found.device)
    return float((found - wanted).abs().max() / wanted.abs().max())


def _chain(
    tail: Sequence[Call], states: Tensor, target: Tensor, head_call: Call
) -> tuple[list[Call], float] | None:
    """The calls that lead from the last state to the head's input, and a factor on the way."""
    found: list[Call] = []
    current = states
    for call in tail:
        factor = _factor(current, target)
        if factor is not None:
            return found, factor
        rows, out = position_rows(call.input), position_rows(call.output)
        if call is head_call or rows is None or out is None or rows.shape != current.shape:
            continue
        if bool((rows == current).all()):
            found.append(call)
            current = out
    factor = _factor(current, target)
    return None if factor is None else (found, factor)


def _factor(current: Tensor, target: Tensor) -> float | None:
    """The number that `target` is of `current`, or None."""
    if current.shape != target.shape:
        return None
    if bool((current == target).all()):
        return 1.0
    first, second = current.float(), target.float()
    ratio = float((first * second).sum() / first.square().sum())
    close = (ratio * first - second).abs().max() <= tolerance(target.dtype) * second.abs().max()
    return ratio if bool(close) and abs(ratio) > 1e-6 else None


def _linear_steps(calls: Sequence[Call]) -> tuple[Tensor, ...] | None:
    """The matrices of the steps behind the norm; None when one is not a plain linear map."""
    matrices = []
    for call in calls:
        rows = position_rows(call.input)
        assert rows is not None
        if not is_linear(call.module, rows.shape[-1], rows):
            return None
        matrix, bias = projection_matrix(call.module)
        if bias is not None and bool(bias.any()):
            return None
        matrices.append(matrix)
    return tuple(matrices)


def _finished(raw: Tensor, scale: float, softcap: float | None) -> Tensor:
    """`raw` with multiplier and softcap applied, in place and in its own dtype."""
    if scale != 1.0:
        raw = raw.mul_(scale)
    return raw if softcap is None else raw.div_(softcap).tanh_().mul_(softcap)


def _finish(raw: Tensor, logits: Tensor, numbers: Sequence[float]) -> tuple[float, float | None]:
    """The multiplier and softcap between the head's output and the model's logits.

    Tried in the dtype of the model, whose rounding tells two caps apart that are nearly equal.
    """
    # The largest logits are where a cap shows.
    columns = logits.abs().amax(0).topk(min(256, logits.shape[-1])).indices.to(raw.device)
    raw, logits = raw[:, columns], logits[:, columns].to(raw.device)
    largest = float(logits.abs().max())
    ratio = float((raw.float() * logits.float()).sum() / raw.float().square().sum())
    nearest = min((1.0, *numbers), key=lambda number: abs(number - ratio))
    caps = [number for number in numbers if number >= largest]
    trials = [(1.0, None), (nearest, None), (ratio, None)]
    trials += [(scale, cap) for cap in caps for scale in (1.0, *numbers)]
    errors = {}
    for trial in trials:
        error = float((_finished(raw.clone(), *trial).float() - logits.float()).abs().max())
        if error <= 1e-6 * largest:
            return trial
        errors[trial] = error
    return min(errors, key=lambda trial: errors[trial])
