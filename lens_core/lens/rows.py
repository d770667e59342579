"""Statistics of many states over the whole vocabulary, without ever holding all their logits.

All layers and positions are rows; the vocabulary is walked in blocks, so each block of the head
is read once, and a softmax that is kept up to date while walking (online softmax) gives entropy,
divergence, rank and the most likely tokens. Where everything is small there is one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from lens_core.readout import Readout

BLOCK_BYTES = 24 * 2**20
"""Logits held at once, in float32; a few tensors of this size exist at a time."""

GROUP = 64
"""Tokens whose maximum is looked at first: the k largest logits lie in the k best groups."""


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """One entry a row; in nats where a unit is needed."""

    top_ids: Int[Tensor, "row k"]
    top_logit: Float[Tensor, "row k"]
    log_total: Float[Tensor, " row"]
    """Logarithm of the sum of exponentials over the vocabulary."""
    entropy: Float[Tensor, " row"]
    kl_final: Float[Tensor, " row"]
    """KL(final || row), the final being the reference of the row's position."""
    target_logit: Float[Tensor, "row target"]
    target_rank: Int[Tensor, "row target"]
    """How many tokens have a strictly larger logit."""

    @property
    def top_p(self) -> Float[Tensor, "row k"]:
        """Probabilities of the most likely tokens."""
        return (self.top_logit - self.log_total[:, None]).exp()

    @property
    def target_p(self) -> Float[Tensor, "row target"]:
        """Probabilities of the targets."""
        return (self.target_logit - self.log_total[:, None]).exp()


class _Running:
    """Sums over the blocks seen so far, relative to the largest logit of each row."""

    def __init__(self, rows: int, positions: int, k: int, n_targets: int, device: torch.device):
        self.positions = positions
        self.k = k
        self.largest = torch.full((rows,), -torch.inf, device=device)
        sums = torch.zeros(3, rows, dtype=torch.float64, device=device)
        self.total, self.weighted, self.cross = sums
        self.top = torch.full((rows, k), -torch.inf, device=device)
        self.ids = torch.zeros(rows, k, dtype=torch.long, device=device)
        self.rank = torch.zeros(rows, n_targets, dtype=torch.long, device=device)

    def add(self, logits: Tensor, start: int, targets: Tensor, target_logit: Tensor) -> None:
        """Take one block of logits [row, token] in; the first rows are the final ones."""
        peak = self._merge_top(logits, start)
        self._count_larger(logits, start, targets, target_logit)
        largest = torch.maximum(self.largest, peak)
        shrink = (self.largest - largest).exp().double()
        weights = (logits - largest[:, None]).exp_()
        self.total = self.total * shrink + weights.sum(1)
        self.weighted = self.weighted * shrink + _dot(weights, logits)
        by_position = logits.view(-1, self.positions, logits.shape[1]).transpose(0, 1)
        final = weights[: self.positions, :, None]
        cross = torch.bmm(by_position, final)[..., 0].transpose(0, 1).reshape(-1)
        repeats = len(self.cross) // self.positions
        self.cross = self.cross * shrink[: self.positions].repeat(repeats) + cross
        self.largest = largest

    def _merge_top(self, logits: Tensor, start: int) -> Tensor:
        """Merge the block's largest logits in; answers the block's maximum of each row."""
        values, ids = top_of(logits, self.k)
        every = torch.cat([self.top, values], 1)
        self.top, order = every.topk(self.k, dim=1)
        self.ids = torch.cat([self.ids, ids + start], 1).gather(1, order)
        return values[:, 0]

    def _count_larger(
        self, logits: Tensor, start: int, targets: Tensor, target_logit: Tensor
    ) -> None:
        width = logits.shape[1]
        for index in range(targets.shape[1]):
            level = target_logit[:, index, None]
            larger = (logits > level).sum(1)
            # The target's own logit, rounded differently here, must not count against it.
            place = targets[:, index] - start
            inside = (place >= 0) & (place < width)
            own = logits.gather(1, place.clamp(0, width - 1)[:, None])[:, 0]
            self.rank[:, index] += larger - ((own > level[:, 0]) & inside).long()


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.bmm(first[:, None, :], second[:, :, None])[:, 0, 0]


def top_of(logits: Float[Tensor, "row token"], k: int) -> tuple[Tensor, Tensor]:
    """The k largest logits of each row and where they are, largest first.

    With fewer than k tokens the rest is minus infinity, at place 0.
    """
    rows, width = logits.shape
    groups = width // GROUP
    if groups < 4 * k:
        values, ids = logits.topk(min(k, width), dim=1)
    else:
        body = logits[:, : groups * GROUP].view(rows, groups, GROUP)
        best = body.amax(2).topk(k, dim=1).indices
        places = (best[:, :, None] * GROUP + torch.arange(GROUP, device=logits.device)).flatten(1)
        if groups * GROUP < width:
            rest = torch.arange(groups * GROUP, width, device=logits.device)
            places = torch.cat([places, rest.expand(rows, -1)], 1)
        values, order = logits.gather(1, places).topk(k, dim=1)
        ids = places.gather(1, order)
    if (missing := k - values.shape[1]) > 0:
        values = torch.nn.functional.pad(values, (0, missing), value=-torch.inf)
        ids = torch.nn.functional.pad(ids, (0, missing))
    return values, ids


@torch.no_grad()
def summarise(
    readout: Readout,
    states: Float[Tensor, "group position d_model"],
    *,
    k: int,
    targets: Int[Tensor, "position target"],
    norm: bool = True,
) -> RowStatistics:
    """Statistics of states read as predictions; group 0 holds the final states.

    Returns one row for every (group, position), in that order.
    """
    groups, positions, width = states.shape
    at_once = max(1, _rows_at_once(readout) // groups)
    pieces = [
        _summarise_piece(
            readout,
            states[:, start : start + at_once].reshape(-1, width),
            min(at_once, positions - start),
            k,
            targets[start : start + at_once],
            norm,
        )
        for start in range(0, positions, at_once)
    ]
    return pieces[0] if len(pieces) == 1 else _joined(pieces, groups)


def _rows_at_once(readout: Readout) -> int:
    """So many rows that a block of the vocabulary stays wide enough to be worth reading."""
    return BLOCK_BYTES // (4 * min(readout.d_vocab, 2048))


def _summarise_piece(
    readout: Readout, states: Tensor, positions: int, k: int, targets: Tensor, norm: bool
) -> RowStatistics:
    # The final states are always read as the model reads them.
    final = readout.hidden(states[:positions])
    hidden = torch.cat([final, readout.hidden(states[positions:], norm=norm)])
    rows = len(states)
    targets = targets.to(hidden.device).repeat(rows // positions, 1)
    target_logit = _target_logits(readout, hidden, targets)
    running = _Running(rows, positions, k, targets.shape[1], hidden.device)
    for block in readout.blocks(block_width(readout, rows)):
        logits = readout.block_logits(hidden, block)
        running.add(logits, block.start, targets, target_logit)
    total, mean = running.total, running.weighted / running.total
    log_total = total.log() + running.largest
    final_total = total[:positions].repeat(rows // positions)
    final_log = log_total[:positions].repeat(rows // positions)
    final_mean = mean[:positions].repeat(rows // positions)
    # KL = sum p_final (log p_final - log p_row); the sums cancel exactly for the final rows.
    divergence = (final_mean - final_log) - (running.cross / final_total - log_total)
    return RowStatistics(
        running.ids,
        running.top,
        log_total.float(),
        (log_total - mean).clamp_min(0.0).float(),
        divergence.clamp_min(0.0).float(),
        target_logit,
        running.rank,
    )


def block_width(readout: Readout, rows: int) -> int:
    """How many tokens of the vocabulary to take at once for so many rows."""
    fitting = BLOCK_BYTES // (4 * rows) // GROUP * GROUP
    return min(readout.d_vocab, max(fitting, 1024))


def _target_logits(readout: Readout, hidden: Tensor, targets: Tensor) -> Tensor:
    """Logits of a few tokens a row, from the head's rows alone."""
    if targets.shape[1] == 0:
        return torch.zeros(targets.shape, device=hidden.device)
    return readout.hidden_token_logits(hidden, targets)


def _joined(pieces: list[RowStatistics], groups: int) -> RowStatistics:
    """Pieces that each hold all groups of some positions, as rows (group, position)."""

    def join(name: str) -> Tensor:
        parts = [getattr(piece, name) for piece in pieces]
        shaped = [part.view(groups, -1, *part.shape[1:]) for part in parts]
        return torch.cat(shaped, dim=1).flatten(0, 1)

    return RowStatistics(**{name: join(name) for name in RowStatistics.__dataclass_fields__})


@torch.no_grad()
def extremes(
    readout: Readout, hidden: Float[Tensor, "row d_head_in"], k: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The k tokens whose logit a part raises most, and lowers most: ((logits, ids), ...)."""
    rows = len(hidden)
    best: list[tuple[Tensor, Tensor]] = []
    for block in readout.blocks(block_width(readout, rows)):
        logits = readout.block_part_logits(hidden, block)
        found = []
        for sign in (1.0, -1.0):
            values, ids = top_of(logits * sign if sign < 0 else logits, k)
            found.append((values, ids + block.start))
        best = found if not best else [_merged(a, b, k) for a, b in zip(best, found, strict=True)]
    (raised, raised_ids), (lowered, lowered_ids) = best
    return (raised, raised_ids), (-lowered, lowered_ids)


def _merged(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    values, order = torch.cat([first[0], second[0]], 1).topk(k, dim=1)
    return values, torch.cat([first[1], second[1]], 1).gather(1, order)
