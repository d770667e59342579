"""The cells of the lens: every layer and position of a component, read at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_core.lens.divergence import divergences
from lens_core.lens.rows import RowStatistics, extremes, summarise
from lens_core.progress import portion

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.readout import Readout
    from lens_core.trace import Trace

PARTS = ("attn_out", "mlp_out")


@dataclass(frozen=True, eq=False)
class Grid:
    """Which layers and positions are read, and the tokens followed at each position."""

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    final_ids: Int[np.ndarray, " position"]
    """The model's own prediction after each position read."""
    targets: Int[Tensor, "position target"]
    sources: tuple[str, ...]
    """argmax, user or next, for each target."""
    k: int
    norm: bool = True

    @property
    def main_target(self) -> int:
        """The target whose probability and rank stand in the cells: the user's, or the argmax."""
        return self.sources.index("user") if "user" in self.sources else 0


@dataclass(frozen=True, eq=False)
class Cells:
    """One component. Probabilities are of the whole vocabulary; entropy and KL are in nats.

    Parts read with a frozen scale have logits (what they add) but no probabilities.
    """

    layers: Int[np.ndarray, " layer"]
    top_ids: Int[np.ndarray, "layer position k"]
    """Largest logit first."""
    top_logit: Float[np.ndarray, "layer position k"]
    target_logit: Float[np.ndarray, "layer position"]
    top_p: Float[np.ndarray, "layer position k"] | None = None
    entropy: Float[np.ndarray, "layer position"] | None = None
    kl_final: Float[np.ndarray, "layer position"] | None = None
    """KL(final || cell)."""
    max_p: Float[np.ndarray, "layer position"] | None = None
    target_p: Float[np.ndarray, "layer position"] | None = None
    target_logprob: Float[np.ndarray, "layer position"] | None = None
    target_rank: Int[np.ndarray, "layer position"] | None = None
    """Tokens with a strictly larger logit."""
    kl_reverse: Float[np.ndarray, "layer position"] | None = None
    """KL(cell || final), with `divergences`."""
    js_previous: Float[np.ndarray, "layer position"] | None = None
    """Jensen-Shannon divergence from the layer read before (the embedding before the first)."""
    tv_previous: Float[np.ndarray, "layer position"] | None = None
    """Total variation distance from the layer read before, 0 to 1."""
    bottom_ids: Int[np.ndarray, "layer position k"] | None = None
    """The tokens a part lowers most, most lowered first."""
    bottom_logit: Float[np.ndarray, "layer position k"] | None = None
    top_delta_p: Float[np.ndarray, "layer position k"] | None = None
    """Scale "local": how much the probability of each top token rose in this step."""
    delta_kl: Float[np.ndarray, "layer position"] | None = None
    """Scale "local": how much nearer this step brought the prediction to the final one."""


@dataclass(frozen=True, eq=False)
class TargetCells:
    """One followed token in one component."""

    logit: Float[np.ndarray, "layer position"]
    p: Float[np.ndarray, "layer position"]
    rank: Int[np.ndarray, "layer position"]

    def without(self, missing: Bool[np.ndarray, " position"]) -> TargetCells:
        """The same, with nothing (NaN, rank -1) at the positions that have no such token."""
        return TargetCells(
            np.where(missing, np.float32(np.nan), self.logit),
            np.where(missing, np.float32(np.nan), self.p),
            np.where(missing, -1, self.rank),
        )


@torch.no_grad()
def lens_cells(
    loaded: LoadedModel, trace: Trace, grid: Grid, components: Sequence[str], *, scale: str
) -> tuple[dict[str, Cells], list[dict[str, TargetCells]]]:
    """The cells of each component, resid_post always among them, and those of each target."""
    at, last = list(grid.positions), loaded.n_layers - 1
    states = [trace.stream[-1][at]]
    groups: dict[str, list[tuple[int, int]]] = {}
    for name, layer, state in _states(trace, grid, components, scale):
        if name == "resid_post" and layer == last and grid.norm:
            # The final states are there already, as the reference of every divergence.
            groups.setdefault(name, []).append((layer, 0))
            continue
        groups.setdefault(name, []).append((layer, len(states)))
        states.append(state[at])
    parts = [name for name in PARTS if scale != "own" and name in components]
    with portion(0, 1 + len(parts)):
        statistics = summarise(
            loaded.readout, torch.stack(states), k=grid.k, targets=grid.targets, norm=grid.norm
        )
    cells, followed = {}, [dict[str, TargetCells]() for _ in grid.sources]
    for name, places in groups.items():
        shaped = _shaped(statistics, [group for _, group in places], len(at))
        layers = np.array([layer for layer, _ in places])
        cells[name] = _state_cells(layers, shaped, grid.main_target)
        for index, target in enumerate(_target_cells(shaped, len(grid.sources))):
            followed[index][name] = target
    for index, name in enumerate(parts, 1):
        with portion(index, 1 + len(parts)):
            cells[name] = _part_cells(loaded, trace, grid, name, local=scale == "local")
    return cells, followed


def _states(
    trace: Trace, grid: Grid, components: Sequence[str], scale: str
) -> Iterator[tuple[str, int, Tensor]]:
    """(component, layer, [position, d_model]) of everything that is read as a state."""
    for layer in grid.layers:
        yield "resid_post", layer, trace.resid_post[layer]
    if "embed" in components:
        yield "embed", 0, trace.stream[0]
    if "resid_mid" in components:
        for layer in grid.layers:
            if trace.has_mid[layer]:
                yield "resid_mid", layer, trace.resid_mid[layer]
    for name in PARTS if scale == "own" else ():
        if name in components:
            for layer in grid.layers:
                yield name, layer, getattr(trace, name)[layer]


def _shaped(statistics: RowStatistics, groups: list[int], positions: int) -> RowStatistics:
    """Some groups of the rows, as [layer, position, ...]."""

    def pick(name: str) -> Tensor:
        rows = getattr(statistics, name)
        return rows.view(-1, positions, *rows.shape[1:])[groups]

    return RowStatistics(**{name: pick(name) for name in RowStatistics.__dataclass_fields__})


def _state_cells(layers: np.ndarray, found: RowStatistics, target: int) -> Cells:
    logprob = found.target_logprob
    return Cells(
        layers=layers,
        top_ids=_numpy(found.top_ids),
        top_logit=_numpy(found.top_logit),
        top_p=_numpy(found.top_p),
        entropy=_numpy(found.entropy),
        kl_final=_numpy(found.kl_final),
        max_p=_numpy(found.top_p[..., 0]),
        target_logit=_numpy(found.target_logit[..., target]),
        target_p=_numpy(logprob[..., target].exp()),
        target_logprob=_numpy(logprob[..., target]),
        target_rank=_numpy(found.target_rank[..., target]),
    )


def _target_cells(found: RowStatistics, count: int) -> list[TargetCells]:
    probs = found.target_logprob.exp()
    return [
        TargetCells(
            _numpy(found.target_logit[..., i]),
            _numpy(probs[..., i]),
            _numpy(found.target_rank[..., i]),
        )
        for i in range(count)
    ]


def with_divergences(loaded: LoadedModel, trace: Trace, grid: Grid, cells: Cells) -> Cells:
    """The cells of the block outputs, with their distances from their neighbours."""
    depths = [0, *(layer + 1 for layer in grid.layers)]
    if depths[-1] != loaded.n_layers:
        depths.append(loaded.n_layers)
    states = trace.stream[depths][:, list(grid.positions)]
    found = divergences(loaded.readout, states, norm=grid.norm)
    rows = slice(1, 1 + len(grid.layers))
    return replace(
        cells,
        kl_reverse=_numpy(found.kl_reverse[rows]),
        js_previous=_numpy(found.js_previous[rows]),
        tv_previous=_numpy(found.tv_previous[rows]),
    )


def _part_cells(loaded: LoadedModel, trace: Trace, grid: Grid, name: str, *, local: bool) -> Cells:
    """What attention or MLP adds, as logits, with the norm's scale frozen.

    The scale is that of the final state, or that of the state right after the addition (local).
    """
    readout, at, layers = loaded.readout, list(grid.positions), list(grid.layers)
    parts = getattr(trace, name)[:, at][layers]
    before, after = _around(trace, name, layers, at)
    reference = after if local else trace.stream[-1][at].expand_as(parts)
    hidden = readout.part_input(parts, _inverse_scales(readout, reference)).flatten(0, 1)
    with portion(0, 1 + local):
        (raised, raised_ids), (lowered, lowered_ids) = extremes(readout, hidden, grid.k)
    targets = grid.targets[:, grid.main_target].to(hidden.device).repeat(len(layers))
    target = readout.part_token_logits(hidden, targets[:, None])[:, 0]
    shape = (len(layers), len(at))
    cells = Cells(
        layers=np.array(layers),
        top_ids=_numpy(raised_ids.view(*shape, -1)),
        top_logit=_numpy(raised.view(*shape, -1)),
        target_logit=_numpy(target.view(shape)),
        bottom_ids=_numpy(lowered_ids.view(*shape, -1)),
        bottom_logit=_numpy(lowered.view(*shape, -1)),
    )
    if not local:
        return cells
    with portion(1, 2):
        return _with_change(readout, cells, before, after, final=trace.stream[-1][at])


def _around(trace: Trace, name: str, layers: list[int], at: list[int]) -> tuple[Tensor, Tensor]:
    """The stream right before and right after a part is added, [layer, position, d_model]."""
    has_mid = torch.tensor([trace.has_mid[layer] for layer in layers], device=trace.stream.device)
    # Positions first: a click reads one of many, in every layer.
    mid = trace.resid_mid[:, at][layers]
    pre, post = trace.resid_pre[:, at][layers], trace.resid_post[:, at][layers]
    choose = has_mid[:, None, None]
    # In a parallel layer both parts enter one sum.
    if name == "attn_out":
        return pre, torch.where(choose, mid, post)
    return torch.where(choose, mid, pre), post


def _with_change(
    readout: Readout, cells: Cells, before: Tensor, after: Tensor, *, final: Tensor
) -> Cells:
    """Add how the step changed the probabilities of its top tokens, and the distance to the end."""
    layers, positions, k = cells.top_ids.shape
    states = torch.cat([final[None], before, after])
    ids = torch.from_numpy(cells.top_ids).to(states.device).flatten(0, 1)
    none = torch.zeros(positions, 0, dtype=torch.long)
    found = summarise(readout, states, k=1, targets=none)
    rows = layers * positions
    probs = []
    for side, start in ((before, positions), (after, positions + rows)):
        hidden = readout.unembed_input(side.flatten(0, 1))
        log_total = found.log_total[start : start + rows, None]
        probs.append((readout.token_logits(hidden, ids) - log_total).exp())
    kl = found.kl_final[positions:].view(2, layers, positions)
    return replace(
        cells,
        top_delta_p=_numpy((probs[1] - probs[0]).view(layers, positions, k)),
        delta_kl=_numpy(kl[0] - kl[1]),
    )


def _inverse_scales(readout: Readout, states: Tensor) -> Tensor:
    return readout.inverse_scale(states.flatten(0, 1)).view(*states.shape[:2], 1)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
