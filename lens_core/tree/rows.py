"""The rows of the graph: what every part of one state amounts to, before anything is left out.

A row belongs to one layer and position. In a sequential layer there are two: parts of the state
after attention, and parts of the layer's output. A parallel layer adds attention and MLP at once,
so it has one. Rows are worked out for all positions of a layer that are asked for together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.amounts import Measure, amounts, head_amounts
from lens_core.tree.sources import source_amounts

if TYPE_CHECKING:
    from lens_core.decomposition import HeadParts
    from lens_core.dissection import Dissection
    from lens_core.models import LoadedModel
    from lens_core.readout import Readout
    from lens_core.tree.run import GraphRun

AFTER_ATTENTION, OUTPUT = "A", "I"
"""The letter of the node whose parts a row holds."""


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """Amounts of the parts of one state, not yet shares."""

    heads: Float[np.ndarray, "source head"] | None
    """Up to the row's own position; None where there is no attention to take apart. One column
    for all heads when sources are measured whole."""
    residual: float
    bias: float = 0.0
    mlp: float | None = None
    mixer: float | None = None
    whole: float = 0.0
    """<whole, whole>, the divisor of the metric "projection"."""
    unattributed: float = 0.0
    """Length of what the parts leave over, relative to that of the whole."""

    @property
    def nbytes(self) -> int:
        """Its size in memory, its numbers included."""
        return 256 + (0 if self.heads is None else self.heads.nbytes)


class RowSource:
    """Hands out the rows of a run; what is not held is worked out, from the layer's weights.

    Whoever uses it holds the model's lock.
    """

    def __init__(
        self, loaded: LoadedModel, run: GraphRun, measure: Measure, granularity: str = "head"
    ) -> None:
        self.run = run
        self.anatomy = loaded.anatomy
        self.measure = measure
        self.granularity = granularity
        self._loaded = loaded
        self._dissection: Dissection | None = None
        self._toward: Tensor | None = None

    def has_mid(self, layer: int) -> bool:
        """Whether the layer has a state after attention."""
        return self.anatomy.layers[layer].has_mid

    def rows(self, layer: int, letter: str, positions: Sequence[int]) -> list[Row]:
        """The rows of one layer that end at nodes of one letter, in the order of `positions`."""
        store = self.run.rows
        keys = {at: (layer, letter, at, self.measure, self.granularity) for at in positions}
        found = {at: store.get(key) for at, key in keys.items()}
        missing = sorted(at for at, row in found.items() if row is None)
        if missing:
            for at, row in zip(missing, self._worked_out(layer, letter, missing), strict=True):
                store.put(keys[at], row)
                found[at] = row
        return [row for at in positions if (row := found[at]) is not None]

    @torch.no_grad()
    def _worked_out(self, layer: int, letter: str, positions: list[int]) -> list[Row]:
        at = torch.tensor(positions, device=self.run.trace.stream.device)
        if letter == OUTPUT and self.has_mid(layer):
            return self._mlp_rows(layer, at)
        heads = self.dissection.heads(layer)
        return self._mixer_rows(layer, at) if heads is None else self._head_rows(layer, heads, at)

    @property
    def dissection(self) -> Dissection:
        """The run, taken apart when it is asked for."""
        if self._dissection is None:
            self._dissection = self.run.dissection(self._loaded)
        return self._dissection

    @property
    def toward(self) -> Float[Tensor, "position d_model"] | None:
        """The direction of the logit at each position, for the metric "logit"."""
        if self.measure.metric == "logit" and self._toward is None:
            self._toward = logit_direction(
                self._loaded.readout, self.run.trace.stream[-1], self.measure
            )
        return self._toward

    def amount(self, whole: Tensor, part: Tensor, at: Tensor) -> Float[Tensor, " target"]:
        """The amounts of one part at some positions; `whole` and `part` are [position, d_model]."""
        toward = None if self.toward is None else self.toward[at]
        return amounts(whole[at], part[at], self.measure, toward=toward)

    def _head_rows(self, layer: int, parts: HeadParts, at: Tensor) -> list[Row]:
        trace, whole = self.run.trace, parts.whole
        if self.granularity == "head":
            heads = head_amounts(parts, at, self.measure, toward=self.toward)
        else:
            heads = source_amounts(parts, at, self.measure, toward=self.toward)[..., None]
        mlp = None
        if not self.has_mid(layer) and self.anatomy.layers[layer].mlp_add is not None:
            mlp = trace.mlp_out[layer]
        over = _left_over(parts, mlp, at)
        columns = {
            "residual": self.amount(whole, parts.residual, at),
            "bias": self.amount(whole, parts.bias, at),
            "whole": whole[at].square().sum(-1),
            "unattributed": over,
        }
        if mlp is not None:
            columns["mlp"] = self.amount(whole, mlp, at)
        sources = heads.cpu().numpy()
        seen = [len(sources[0]) if self.measure.sees_future else t + 1 for t in at.tolist()]
        # Together in one array: views would keep the room of all future sources as well.
        packed = np.concatenate([row[:n] for row, n in zip(sources, seen, strict=True)])
        ends = np.cumsum(seen)[:-1]
        rows = zip(np.split(packed, ends), _numbers(columns), strict=True)
        return [Row(heads=own, **row) for own, row in rows]

    def _mixer_rows(self, layer: int, at: Tensor) -> list[Row]:
        """A layer whose mixer has no pattern: what it adds is one part."""
        trace = self.run.trace
        whole = trace.resid_mid[layer] if self.has_mid(layer) else trace.resid_post[layer]
        columns = {
            "residual": self.amount(whole, trace.resid_pre[layer], at),
            "mixer": self.amount(whole, trace.attn_out[layer], at),
            "whole": whole[at].square().sum(-1),
        }
        if not self.has_mid(layer) and self.anatomy.layers[layer].mlp_add is not None:
            columns["mlp"] = self.amount(whole, trace.mlp_out[layer], at)
        return [Row(heads=None, **row) for row in _numbers(columns)]

    def _mlp_rows(self, layer: int, at: Tensor) -> list[Row]:
        whole, mlp, residual = self.dissection.mlp(layer)
        columns = {
            "residual": self.amount(whole, residual, at),
            "mlp": self.amount(whole, mlp, at),
            "whole": whole[at].square().sum(-1),
        }
        return [Row(heads=None, **row) for row in _numbers(columns)]


def _numbers(columns: dict[str, Tensor]) -> list[dict[str, float]]:
    """One record a target from tensors [target], fetched from the device at once."""
    table = torch.stack(list(columns.values()), 1).cpu().tolist()
    return [dict(zip(columns, row, strict=True)) for row in table]


def _left_over(parts: HeadParts, mlp: Tensor | None, at: Tensor) -> Float[Tensor, " target"]:
    """Length of the whole minus all its parts, relative to the whole."""
    heads = len(parts.pattern)
    values = parts.values.repeat_interleave(heads // len(parts.values), 0)
    moved = (parts.pattern[:, at] @ values).transpose(0, 1)
    if parts.gate is not None:
        moved = moved * parts.gate[at]
    # One product with the whole projection: as an einsum it takes several times as long.
    total = moved.flatten(1) @ parts.weight.flatten(0, 1) * parts.factor[at]
    total = total + parts.residual[at] + parts.bias[at]
    if mlp is not None:
        total = total + mlp[at]
    whole = parts.whole[at]
    return (whole - total).norm(2, -1) / whole.norm(2, -1).clamp_min(1e-30)


def logit_direction(
    readout: Readout, states: Float[Tensor, "position d_model"], measure: Measure
) -> Float[Tensor, "position d_model"]:
    """The vectors whose product with a part is what the part adds to the logit at a position.

    The final norm's scale is frozen at `states`. With a foil it is the difference of two logits.
    """
    assert readout.linear_steps is not None
    weight: Tensor = readout.unembed.weight  # type: ignore[assignment]
    row = weight[measure.target].float()
    if measure.foil is not None:
        row = row - weight[measure.foil].float()
    row = row.to(states.device) * (readout.scale * readout.input_scale)
    for matrix in reversed(readout.linear_steps):
        row = row @ matrix.to(row.device).T
    if readout.norm is None:
        return row.expand(len(states), -1)
    return readout.norm.transpose(row) * readout.inverse_scale(states).to(row.device)
