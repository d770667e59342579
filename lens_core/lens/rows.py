"""Statistics of many states over the whole vocabulary, without ever holding all their logits.

All layers and positions are rows; the vocabulary is walked in blocks, so each block of the head
is read once, and a softmax that is kept up to date while walking (online softmax) gives entropy,
divergence, rank and the most likely tokens. Where everything is small there is one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.progress import portion, tick

if TYPE_CHECKING:
    from lens_core.readout import Readout

BLOCK_BYTES = 16 * 2**20
"""Logits held at once, in float32."""

SLICE_BYTES = 4 * 2**20
"""Logits worked on at once on a CPU: so few that they stay in its cache from step to step."""

GROUP = 64
"""Tokens whose maximum is looked at first: the k largest logits lie in the k best groups."""


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """One entry a row; in nats where a unit is needed."""

    top_ids: Int[Tensor, "*row k"]
    top_logit: Float[Tensor, "*row k"]
    log_total: Float[Tensor, "*row"]
    """Logarithm of the sum of exponentials over the vocabulary."""
    entropy: Float[Tensor, "*row"]
    kl_final: Float[Tensor, "*row"]
    """KL(final || row), the final being the reference of the row's position."""
    target_logit: Float[Tensor, "*row target"]
    target_rank: Int[Tensor, "*row target"]
    """How many tokens have a strictly larger logit."""

    @property
    def top_p(self) -> Float[Tensor, "*row k"]:
        """Probabilities of the most likely tokens."""
        return (self.top_logit - self.log_total[..., None]).exp()

    @property
    def target_logprob(self) -> Float[Tensor, "*row target"]:
        """Log-probabilities of the targets."""
        return self.target_logit - self.log_total[..., None]


class _Running:
    """Sums over the blocks seen so far, `[position, group]`; group 0 is the final state.

    Logits enter them relative to the largest one of their row, so that rounding is relative to
    the differences between logits, whatever their size.
    """

    def __init__(
        self,
        targets: Int[Tensor, "position target"],
        target_logit: Float[Tensor, "position group target"],
        k: int,
    ):
        shape, device = target_logit.shape[:2], target_logit.device
        self.targets = targets
        self.target_logit = target_logit
        self.k = k
        # Finite, so that 0 * (largest - new largest) is 0 at the first block.
        lowest = torch.finfo(torch.float32).min
        self.largest = torch.full(shape, lowest, device=device)
        sums = torch.zeros(3, *shape, dtype=torch.float64, device=device)
        self.total, self.weighted, self.cross = sums
        self.top = torch.full((*shape, k), -torch.inf, device=device)
        self.ids = torch.zeros(*shape, k, dtype=torch.long, device=device)
        self.rank = torch.zeros(target_logit.shape, dtype=torch.long, device=device)

    def add(self, logits: Float[Tensor, "position group token"], start: int) -> None:
        """Take one block of logits in, which are overwritten."""
        positions, groups, width = logits.shape
        self._rebase(self._merge_top(logits, start))
        self._discount_own(logits, start)
        on_cpu = logits.device.type == "cpu"
        at_once = max(1, SLICE_BYTES // (4 * groups * width)) if on_cpu else positions
        scratch = torch.empty(min(at_once, positions), groups, width, device=logits.device)
        for first in range(0, positions, at_once):
            part = logits[first : first + at_once]
            self._add_slice(part, slice(first, first + len(part)), scratch[: len(part)])

    def _merge_top(self, logits: Tensor, start: int) -> Tensor:
        """Merge the block's largest logits in; answers the block's maximum of each row."""
        values, ids = (found.view_as(self.top) for found in top_of(logits.flatten(0, 1), self.k))
        every = torch.cat([self.top, values], 2)
        self.top, order = every.topk(self.k, dim=2)
        self.ids = torch.cat([self.ids, ids + start], 2).gather(2, order)
        return values[..., 0]

    def _rebase(self, peak: Tensor) -> None:
        """Make the sums relative to the largest logit seen with this block."""
        largest = torch.maximum(self.largest, peak)
        drop = (self.largest - largest).double()
        shrink = drop.exp()
        self.weighted = shrink * (self.weighted + drop * self.total)
        self.cross = shrink[:, :1] * (self.cross + drop * self.total[:, :1])
        self.total = shrink * self.total
        self.largest = largest

    def _discount_own(self, logits: Tensor, start: int) -> None:
        """A target's own logit, rounded differently in the block, must not count against it."""
        place = self.targets - start
        inside = (place >= 0) & (place < logits.shape[2])
        place = place.clamp(0, logits.shape[2] - 1)[:, None].expand_as(self.rank)
        own = logits.gather(2, place)
        self.rank -= ((own > self.target_logit) & inside[:, None]).long()

    def _add_slice(self, logits: Tensor, at: slice, scratch: Tensor) -> None:
        for target in range(self.rank.shape[2]):
            # Counted in float32, exact up to 2**24: adding up truth values is many times slower.
            torch.gt(logits, self.target_logit[at, :, target, None], out=scratch)
            self.rank[at, :, target] += scratch.sum(2).long()
        below = logits.sub_(self.largest[at, :, None])
        weights = torch.exp(below, out=scratch)
        self.total[at] += weights.sum(2)
        finals = zip(below, weights[:, 0], strict=True)
        # One product a position: together, as a batch, they take twenty times as long on a CPU.
        self.cross[at] += torch.stack([rows @ final for rows, final in finals])
        self.weighted[at] += weights.mul_(below).sum(2)


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
    at_once = max(1, _rows_at_once(readout) // len(states))
    count = math.ceil(states.shape[1] / at_once)
    pieces = []
    both = zip(states.tensor_split(count, dim=1), targets.tensor_split(count), strict=True)
    for index, (some, wanted) in enumerate(both):
        with portion(index, count):
            pieces.append(_summarise_piece(readout, some, wanted, k=k, norm=norm))

    def join(name: str) -> Tensor:
        return torch.cat([getattr(piece, name) for piece in pieces]).transpose(0, 1).flatten(0, 1)

    return RowStatistics(**{name: join(name) for name in RowStatistics.__dataclass_fields__})


def _rows_at_once(readout: Readout) -> int:
    """So many rows that a block of the vocabulary stays wide: each costs some work a row."""
    return BLOCK_BYTES // (4 * min(readout.d_vocab, 4096))


def _summarise_piece(
    readout: Readout, states: Tensor, targets: Tensor, *, k: int, norm: bool
) -> RowStatistics:
    """Statistics of all groups of some positions, `[position, group, ...]`."""
    groups, positions, width = states.shape
    hidden = readout.unembed_input(states.transpose(0, 1).reshape(-1, width), norm=norm)
    if not norm:
        # The final states are always read as the model reads them.
        final = readout.unembed_input(states[0])[:, None]
        others = hidden.view(positions, groups, -1)[:, 1:]
        hidden = torch.cat([final, others], 1).flatten(0, 1)
    targets = targets.to(hidden.device)
    target_logit = _target_logits(readout, hidden, targets.repeat_interleave(groups, 0))
    running = _Running(targets, target_logit.view(positions, groups, targets.shape[1]), k)
    for block in walk(readout, len(hidden)):
        # Not kept in a variable: the next block is computed after this one is freed.
        running.add(readout.block_logits(hidden, block).view(positions, groups, -1), block.start)
    return _finished(running)


def _finished(running: _Running) -> RowStatistics:
    log_total, mean = running.total.log(), running.weighted / running.total
    # KL = sum p_final (log p_final - log p_row)
    expected = running.cross / running.total[:, :1] - log_total
    divergence = expected[:, :1] - expected
    return RowStatistics(
        running.ids,
        running.top,
        (log_total + running.largest).float(),
        (log_total - mean).clamp_min(0.0).float(),
        divergence.clamp_min(0.0).float(),
        running.target_logit,
        running.rank,
    )


def walk(readout: Readout, rows: int) -> Iterator[slice]:
    """The vocabulary in blocks that are wide enough for so many rows; each ticks when done."""
    blocks = list(readout.blocks(_block_width(readout, rows)))
    for done, block in enumerate(blocks, 1):
        yield block
        tick("readout", done, len(blocks))


def _block_width(readout: Readout, rows: int) -> int:
    """How many tokens of the vocabulary to take at once for so many rows."""
    fitting = BLOCK_BYTES // (4 * rows) // GROUP * GROUP
    return min(readout.d_vocab, max(fitting, 1024))


def _target_logits(readout: Readout, hidden: Tensor, targets: Tensor) -> Tensor:
    """Logits of a few tokens a row, from the head's rows alone."""
    if targets.shape[1] == 0:
        return torch.zeros(targets.shape, device=hidden.device)
    return readout.token_logits(hidden, targets)


@torch.no_grad()
def extremes(
    readout: Readout, hidden: Float[Tensor, "row d_unembed"], k: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The k tokens whose logit a part raises most, and lowers most: ((logits, ids), ...)."""
    best: list[tuple[Tensor, Tensor]] = []
    for block in walk(readout, len(hidden)):
        logits = readout.block_part_logits(hidden, block)
        found = []
        for lowest in (False, True):
            values, ids = top_of(logits.neg_() if lowest else logits, k)
            found.append((values, ids + block.start))
        best = found if not best else [_merged(a, b, k) for a, b in zip(best, found, strict=True)]
    (raised, raised_ids), (lowered, lowered_ids) = best
    return (raised, raised_ids), (-lowered, lowered_ids)


def _merged(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    values, order = torch.cat([first[0], second[0]], 1).topk(k, dim=1)
    return values, torch.cat([first[1], second[1]], 1).gather(1, order)
