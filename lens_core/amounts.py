"""How much of a part is in its whole, for every part of an attention or an MLP.

The proximity of a part p to the whole w is max(|w| - |w - p|, 0) in the L1 norm (Ferrando & Voita,
2024, arXiv 2403.00824). Besides it, the amount of a part can be its projection on the whole, its
length, or what it adds to a logit. "compat" numerics add 1e-6 to every coordinate difference and
keep proximities above 1e-5, as the code of the LM Transparency Tool does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.decomposition import HeadParts, NeuronParts

NUMERICS = ("clean", "compat")
METRICS = ("l1", "l2", "projection", "norm", "logit")
COMPAT_SHIFT = 1e-6
COMPAT_FLOOR = 1e-5

CPU_BLOCK_BYTES = 2 << 20
"""Differences held at once on a CPU: so few that they stay in its cache from step to step."""
GPU_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Measure:
    """How the amount of a part in its whole is measured, before amounts become shares.

    l1, l2: the proximity. projection: <part, whole>, signed; over <whole, whole> it sums to 1.
    norm: the length of the part. logit: what the part adds to the logit of a token, or to the
    difference of two, with the final norm's scale frozen; signed.
    """

    metric: str = "l1"
    numerics: str = "clean"
    target: int | None = None
    foil: int | None = None
    """The token whose logit is subtracted; for "logit" only."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f'metric is "{self.metric}"; it can be {", ".join(METRICS)}.')
        _check_numerics(self.numerics)
        if self.numerics == "compat" and not self.is_proximity:
            raise InputError(f'numerics "compat" is for l1 and l2; the metric is "{self.metric}".')

    @property
    def is_proximity(self) -> bool:
        """Whether it is a distance, which has to be worked out for every part on its own."""
        return self.metric in ("l1", "l2")

    @property
    def signed(self) -> bool:
        """Whether parts can count negatively."""
        return self.metric in ("projection", "logit")

    @property
    def sees_future(self) -> bool:
        """Whether even parts that are zero get an amount."""
        return self.numerics == "compat"


def proximity(
    whole: Float[Tensor, "*#row d_model"],
    part: Float[Tensor, "*#row d_model"],
    *,
    order: int = 1,
    numerics: str = "clean",
) -> Float[Tensor, "*row"]:
    """max(|whole| - |whole - part|, 0) of each row, in the L1 or L2 norm.

    Raises:
        InputError: another numerics than "clean" and "compat".
    """
    _check_numerics(numerics)
    whole, part = whole.float(), part.float()
    return _nearness(_shifted(whole, numerics), part, order=order, numerics=numerics)


def _check_numerics(numerics: str) -> None:
    if numerics not in NUMERICS:
        raise InputError(f'numerics is "{numerics}"; it can be "clean" or "compat".')


def _shifted(whole: Tensor, numerics: str) -> Tensor:
    """The whole as both distances see it: the one from zero, and the one from the part."""
    return whole if numerics == "clean" else whole + COMPAT_SHIFT


def _nearness(whole: Tensor, part: Tensor, *, order: int, numerics: str) -> Tensor:
    near = _length(whole.clone(), order) - _length(whole - part, order)
    return near.clamp_min(0.0 if numerics == "clean" else COMPAT_FLOOR)


def _length(rows: Tensor, order: int) -> Tensor:
    """The norm of each row, which is overwritten; several times faster than `torch.norm`."""
    return rows.abs_().sum(-1) if order == 1 else rows.square_().sum(-1).sqrt_()


def amounts(
    whole: Float[Tensor, "*#row d_model"],
    part: Float[Tensor, "*#row d_model"],
    measure: Measure,
    *,
    toward: Float[Tensor, "*#row d_model"] | None = None,
) -> Float[Tensor, "*row"]:
    """How much of each part is in its whole.

    `toward` is the direction of the logit in the stream, for the metric "logit".
    """
    if measure.metric == "norm":
        return part.float().norm(2, -1)
    if measure.signed:
        return (part * (whole if toward is None else toward)).sum(-1)
    order = 1 if measure.metric == "l1" else 2
    return proximity(whole, part, order=order, numerics=measure.numerics)


def head_amounts(
    parts: HeadParts,
    targets: Int[Tensor, " target"],
    measure: Measure,
    *,
    toward: Float[Tensor, "query d_model"] | None = None,
    targets_at_once: int | None = None,
) -> Float[Tensor, "target key head"]:
    """The amount of every (source, head) at some targets, in ascending order.

    Streamed by head and block of targets: no tensor of size position^2 x head x d_model exists.
    A source that a head does not look at counts 0, except in compat numerics.
    """
    heads, length, _ = parts.pattern.shape
    found = torch.zeros(len(targets), length, heads, device=parts.whole.device)
    if not len(targets):
        return found
    # As plain numbers: reading them one by one from a GPU would stop it each time.
    at = targets.tolist()
    seen = [length if measure.sees_future else position + 1 for position in at]
    whole = parts.whole[targets] if toward is None else toward[targets]
    for head in range(heads):
        one = _OneHead(
            parts.values[head * len(parts.values) // heads, : seen[-1]],
            parts.pattern[head, targets, : seen[-1]] * parts.factor[targets],
            None if parts.gate is None else parts.gate[targets, head],
            parts.weight[head],
        )
        if measure.signed:
            amount = one.products(whole)
        elif measure.metric == "norm":
            amount = one.lengths(targets_at_once)
        else:
            amount = one.proximities(whole, seen, measure, targets_at_once)
        found[:, : seen[-1], head] = amount
    return found


@dataclass(frozen=True, eq=False)
class _OneHead:
    """What one head moves from the first sources to some targets."""

    values: Float[Tensor, "key d_value"]
    weights: Float[Tensor, "target key"]
    gate: Float[Tensor, "target d_value"] | None
    matrix: Float[Tensor, "d_value d_model"]

    def products(self, whole: Float[Tensor, "target d_model"]) -> Float[Tensor, "target key"]:
        """<part, whole> of every part; the parts themselves are not needed."""
        wanted = whole @ self.matrix.T
        if self.gate is not None:
            wanted = wanted * self.gate
        return (wanted @ self.values.T) * self.weights

    def lengths(self, at_once: int | None) -> Float[Tensor, "target key"]:
        """The L2 norm of every part."""
        moved = self.moved()
        if moved is not None:
            return self.weights.abs() * moved.norm(2, -1)
        found = torch.empty_like(self.weights)
        for block in self._blocks(at_once):
            found[block] = self._vectors(block, None, len(self.values)).norm(2, -1)
        return found.mul_(self.weights.abs())

    def proximities(
        self,
        whole: Float[Tensor, "target d_model"],
        seen: Sequence[int],
        measure: Measure,
        at_once: int | None,
    ) -> Float[Tensor, "target key"]:
        """The proximity of every part, a block of targets at a time."""
        order, moved = 1 if measure.metric == "l1" else 2, self.moved()
        whole = _shifted(whole, measure.numerics)
        distance = torch.zeros_like(self.weights)
        blocks = [(block, seen[block.stop - 1]) for block in self._blocks(at_once)]
        # One room for all blocks: as tensors of growing size they would leave holes in the memory,
        # several times as large as the largest.
        room = whole.new_empty(max((b.stop - b.start) * n for b, n in blocks), whole.shape[-1])
        for block, last in blocks:
            rows = block.stop - block.start
            left = room[: rows * last].view(rows, last, -1)
            vectors = self._vectors(block, moved, last, out=left)
            weights = self.weights[block, :last, None]
            # One pass makes the difference, one its norm: the parts are never written down.
            torch.addcmul(whole[block, None], weights, vectors, value=-1, out=left)
            distance[block, :last] = _length(left, order)
        near = _length(whole.clone(), order)[:, None] - distance
        if measure.sees_future:
            return near.clamp_min_(COMPAT_FLOOR)
        return torch.where(self.weights != 0, near.clamp_min_(0.0), 0.0)

    def moved(self) -> Float[Tensor, "key d_model"] | None:
        """What would be moved with weight 1, the same for all targets unless there is a gate."""
        return self.values @ self.matrix if self.gate is None else None

    def _vectors(
        self, block: slice, moved: Tensor | None, last: int, *, out: Tensor | None = None
    ) -> Tensor:
        if moved is not None:
            return moved[None, :last]
        assert self.gate is not None
        return torch.matmul(self.gate[block, None] * self.values[:last], self.matrix, out=out)

    def _blocks(self, at_once: int | None) -> Iterator[slice]:
        """The targets in blocks whose differences fit into the cache."""
        row_bytes = 4 * len(self.values) * self.matrix.shape[-1]
        at_once = at_once or max(1, _block_bytes(self.values) // row_bytes)
        for start in range(0, len(self.weights), at_once):
            yield slice(start, min(start + at_once, len(self.weights)))


def _block_bytes(like: Tensor) -> int:
    return CPU_BLOCK_BYTES if like.device.type == "cpu" else GPU_BLOCK_BYTES


def _scaled_amounts(
    whole: Float[Tensor, "*#row d_model"],
    scale: Float[Tensor, "*row"],
    vectors: Float[Tensor, "*#row d_model"],
    measure: Measure,
) -> Float[Tensor, "*row"]:
    """The amounts of the parts scale * vector, by length or proximity."""
    if measure.metric == "norm":
        return scale.abs() * vectors.norm(2, -1)
    order = 1 if measure.metric == "l1" else 2
    whole = _shifted(whole, measure.numerics)
    # One pass makes the difference, one its norm: the parts are never written down.
    left = _length(torch.addcmul(whole, scale[..., None], vectors, value=-1), order)
    near = _length(whole.clone(), order) - left
    return near.clamp_min(COMPAT_FLOOR if measure.sees_future else 0.0)


def neuron_amounts(
    parts: NeuronParts,
    position: int,
    whole: Float[Tensor, " d_model"],
    measure: Measure,
    *,
    toward: Float[Tensor, " d_model"] | None = None,
) -> Float[Tensor, " neuron"]:
    """The amount of every neuron in the block's output at one position, in blocks of neurons."""
    matrix = parts.weights[0 if len(parts.weights) == 1 else position]
    scale = parts.activations[position] * parts.factor[position]
    if measure.signed:
        return scale * (matrix @ (whole if toward is None else toward))
    at_once = max(1, 4 * _block_bytes(whole) // (4 * len(whole)))
    blocks = zip(scale.split(at_once), matrix.split(at_once), strict=True)
    return torch.cat([_scaled_amounts(whole[None], s, rows, measure) for s, rows in blocks])
