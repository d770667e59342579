"""Which modules of a block write into the stream, and what happens on the way.

Every answer is a hypothesis that reproduces the measured states: `out = in + scale * part`,
with or without a norm on the part, on the stream or on the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lens_core.anatomy.behaviour import NormFacts, is_linear, norm_facts, tolerance
from lens_core.anatomy.parts import AddMap, Experts, LayerParts
from lens_core.anatomy.probe import BlockProbe, position_rows

if TYPE_CHECKING:
    from lens_core.anatomy.calls import Call


@dataclass(eq=False)
class Seen:
    """A block's probe as float rows [position, d_model]."""

    probe: BlockProbe
    before: Tensor
    after: Tensor
    bound: float
    norms: list[tuple[Call, NormFacts]]
    constants: Sequence[float]
    """Numbers of the configuration: a measured multiplier is one of them, or 1."""

    def rows(self, tensor: Tensor | None) -> Tensor | None:
        """The tensor as rows of the stream's width, or None."""
        rows = position_rows(tensor)
        return rows.float() if rows is not None and rows.shape == self.before.shape else None

    def equal(self, first: Tensor | None, second: Tensor | None) -> bool:
        """Whether two sets of rows are the same up to rounding."""
        if first is None or second is None:
            return False
        return self.sums_to(second, first)

    def sums_to(self, total: Tensor, *terms: Tensor) -> bool:
        """Whether the terms add up to `total` up to rounding, entry by entry.

        Relative to the terms of the same entry: trained streams have a few entries a thousand
        times larger than the rest, beside which everything else would pass for rounding.
        """
        size = torch.stack([term.abs() for term in terms]).sum(0)
        return bool(((total - torch.stack(terms).sum(0)).abs() <= self.rounding * size).all())

    @property
    def rounding(self) -> float:
        """What two or three roundings can do in the dtype that the model computes in."""
        eps = torch.finfo(self.probe.resid_post.dtype).eps
        return 2 * max(eps, torch.finfo(torch.float32).eps)

    def shows(self, part: Tensor, total: Tensor) -> bool:
        """Whether a part is more than rounding in a fair share of the entries of the total."""
        visible = part.abs() > 4 * self.rounding * total.abs()
        return bool(visible.float().mean() > 0.05)


def layer_parts(probe: BlockProbe, constants: Sequence[float]) -> LayerParts:
    """The parts of one block; topology "opaque" where no hypothesis holds."""
    opaque = LayerParts(probe.block, "opaque")
    before, after = position_rows(probe.resid_pre), position_rows(probe.resid_post)
    if before is None or after is None or before.shape != after.shape:
        return opaque
    norms = [(call, facts) for call in probe.calls if (facts := norm_facts(call)) is not None]
    bound = tolerance(after.dtype)
    seen = Seen(probe, before.float(), after.float(), bound, norms, constants)
    projection = _mixing_projection(seen)
    if projection is None:
        return opaque
    found = _sequential(seen, projection) or _parallel(seen, projection) or _alone(seen, projection)
    return found or replace(opaque, attn_proj=projection.module)


def _mixing_projection(seen: Seen) -> Call | None:
    """The first linear map that reads something from an earlier position."""
    for call in seen.probe.calls:
        rows = position_rows(call.input)
        if call.order not in seen.probe.mixed or rows is None:
            continue
        if seen.rows(call.output) is not None and is_linear(call.module, rows.shape[-1], rows):
            return call
    return None


def _attention_adds(seen: Seen, projection: Call) -> Iterator[tuple[Call, NormFacts | None]]:
    """The calls whose output may be what attention adds: a norm of the projection, or itself."""
    out = seen.rows(projection.output)
    for call, facts in seen.norms:
        if call.order > projection.ended and seen.equal(seen.rows(call.input), out):
            yield call, facts
    yield projection, None


def _bases(seen: Seen, state: Tensor) -> Iterator[tuple[Tensor, NormFacts | None]]:
    """What may be added to: the state itself, or a norm of it."""
    yield state, None
    for call, facts in seen.norms:
        out = seen.rows(call.output)
        if out is not None and seen.equal(seen.rows(call.input), state):
            yield out, facts


def _sequential(seen: Seen, projection: Call) -> LayerParts | None:
    """Attention is added, and something reads the sum before the MLP is added."""
    out_norms = list(_attention_adds(seen, projection))
    for reader in seen.probe.calls:
        state = seen.rows(reader.input)
        if reader.order < projection.ended or state is None:
            continue
        if bool((state == seen.before).all()):
            continue
        for base, base_norm in _bases(seen, seen.before):
            for call, post_norm in out_norms:
                scale = _explains(seen, state, base, seen.rows(call.output))
                if scale is None:
                    continue
                add = AddMap(call.module, scale, post_norm, base_norm)
                found = _with_mlp(seen, projection, reader, state, add=add)
                if found is not None:
                    return found
    return None


def _with_mlp(
    seen: Seen, projection: Call, reader: Call, state: Tensor, *, add: AddMap
) -> LayerParts | None:
    """Complete a sequential block: find what the MLP adds, before or after a norm of the sum."""
    calls = [call for call in seen.probe.calls if call.order > projection.ended]
    for base, base_norm in _bases(seen, state):
        for call, scale in _adding_calls(seen, calls, seen.after, base):
            mlp = AddMap(call.module, scale, _norm_of(seen, call), base_norm)
            parts = LayerParts(
                seen.probe.block, "sequential", projection.module, add, reader.module
            )
            return _with_neurons(seen, replace(parts, mlp_add=mlp), call)
    for last, last_norm in seen.norms:
        total = seen.rows(last.input)
        if total is None or not seen.equal(seen.rows(last.output), seen.after):
            continue
        for base, first_norm in _bases(seen, state):
            if first_norm is None:
                continue
            for call, scale in _adding_calls(seen, calls, total, base):
                attn = replace(add, sum_norm=first_norm)
                mlp = AddMap(call.module, scale, _norm_of(seen, call), sum_norm=last_norm)
                parts = LayerParts(
                    seen.probe.block, "post-norm", projection.module, attn,
                    first_norm.module, True, mlp_add=mlp,
                )  # fmt: skip
                return _with_neurons(seen, parts, call)
    return None


def _parallel(seen: Seen, projection: Call) -> LayerParts | None:
    """Attention and MLP both read the block's input; one sum takes both."""
    around = {
        call.order
        for call in seen.probe.calls
        if call.order <= projection.order and call.ended >= projection.ended
    }
    for attn_call, attn_norm in _attention_adds(seen, projection):
        attn = seen.rows(attn_call.output)
        for call in sorted(seen.probe.calls, key=lambda call: call.ended):
            mlp = seen.rows(call.output)
            if call.order in around or call is attn_call or mlp is None or attn is None:
                continue
            scales = _explains_two(seen, seen.after, seen.before, (attn, mlp))
            if scales is None or _is_read(seen, projection, seen.before, scales[0] * attn):
                continue
            parts = LayerParts(
                seen.probe.block,
                "parallel",
                projection.module,
                AddMap(attn_call.module, scales[0], attn_norm),
                mlp_add=AddMap(call.module, scales[1], _norm_of(seen, call)),
            )
            return _with_neurons(seen, parts, call)
    return None


def _is_read(seen: Seen, projection: Call, *terms: Tensor) -> bool:
    """Whether something behind the projection reads the sum of the terms."""
    later = [call for call in seen.probe.calls if call.order > projection.ended]
    states = [rows for call in later if (rows := seen.rows(call.input)) is not None]
    return any(seen.sums_to(state, *terms) for state in states)


def _alone(seen: Seen, projection: Call) -> LayerParts | None:
    """A block that adds one thing only, such as a state-space mixer."""
    for call, norm in _attention_adds(seen, projection):
        scale = _explains(seen, seen.after, seen.before, seen.rows(call.output))
        if scale is not None:
            add = AddMap(call.module, scale, norm)
            return LayerParts(seen.probe.block, "mixer", projection.module, add)
    return None


def _adding_calls(
    seen: Seen, calls: Sequence[Call], total: Tensor, base: Tensor
) -> Iterator[tuple[Call, float]]:
    """The calls, innermost first, whose output times a scale is `total - base`."""
    for call in sorted(calls, key=lambda call: call.ended):
        scale = _explains(seen, total, base, seen.rows(call.output))
        if scale is not None:
            yield call, scale


def _norm_of(seen: Seen, call: Call) -> NormFacts | None:
    return next((facts for other, facts in seen.norms if other is call), None)


def _explains(seen: Seen, total: Tensor, base: Tensor, part: Tensor | None) -> float | None:
    """The scale with `total = base + scale * part`, or None when there is none."""
    if part is None or not bool(part.any()):
        return None
    # Weighted by the size of the sum, or the rounding of its few huge entries decides.
    weight = 1 / (base.abs() + part.abs()).clamp_min(1e-30)
    change, shape = (total - base) * weight, part * weight
    scale = _snapped(float((change * shape).sum() / shape.square().sum()), seen)
    if abs(scale) < 1e-3 or not seen.sums_to(total, base, scale * part):
        return None
    # A part too small to be seen in the sum proves nothing.
    return scale if seen.shows(scale * part, total) else None


def _explains_two(
    seen: Seen, total: Tensor, base: Tensor, pair: tuple[Tensor, Tensor]
) -> tuple[float, float] | None:
    """The scales with `total = base + scale_1 * first + scale_2 * second`, or None."""
    first, second = pair
    weight = 1 / (base.abs() + first.abs() + second.abs()).clamp_min(1e-30)
    columns = torch.stack([(first * weight).flatten(), (second * weight).flatten()], dim=1).double()
    change = ((total - base) * weight).flatten()[:, None].double()
    measured = torch.linalg.lstsq(columns.cpu(), change.cpu()).solution[:, 0].tolist()
    scale_1, scale_2 = (_snapped(value, seen) for value in measured)
    parts = (scale_1 * first, scale_2 * second)
    if min(abs(scale_1), abs(scale_2)) < 1e-3 or not seen.sums_to(total, base, *parts):
        return None
    return (scale_1, scale_2) if all(seen.shows(part, total) for part in parts) else None


def _snapped(measured: float, seen: Seen) -> float:
    """1 or the nearest number of the configuration, when the measured scale is that in rounding."""
    nearest = min((1.0, *seen.constants), key=lambda value: abs(measured - value))
    return nearest if abs(measured - nearest) <= seen.bound * abs(nearest) else measured


def _with_neurons(seen: Seen, parts: LayerParts, added: Call) -> LayerParts:
    """Add the down projection, or the experts, behind what the MLP adds."""
    norm = _norm_of(seen, added)
    source = seen.rows(added.input if norm is not None else added.output)
    for call in sorted(seen.probe.calls, key=lambda call: call.ended):
        rows = position_rows(call.input)
        if rows is None or call.module is parts.attn_proj:
            continue
        if seen.equal(seen.rows(call.output), source) and is_linear(
            call.module, rows.shape[-1], rows
        ):
            return replace(parts, mlp_proj=call.module)
    return replace(parts, experts=_experts(seen, source))


def _experts(seen: Seen, source: Tensor | None) -> Experts | None:
    """The routed experts and the shared one, inside the module whose output is `source`."""
    wrappers = [call for call in seen.probe.calls if seen.equal(seen.rows(call.output), source)]
    for wrapper in sorted(wrappers, key=lambda call: -call.ended):
        members = list(wrapper.module.modules())
        routed = [m for m in members if any(p.dim() == 3 for p in m.parameters(recurse=False))]
        if len(routed) != 1:
            continue
        inner = set(routed[0].modules())
        shared = [
            call.module
            for call in seen.probe.calls
            if call.module in members
            and call.module not in inner
            and call is not wrapper
            and seen.rows(call.output) is not None
            and (rows := position_rows(call.input)) is not None
            and is_linear(call.module, rows.shape[-1], rows)
        ]
        if len(shared) <= 1:
            return Experts(routed[0], shared[0] if shared else None, wrapper.module)
    return None
