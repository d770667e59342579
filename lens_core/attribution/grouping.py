"""Which variants go into one pass: what costs least, in units of one token's matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

from lens_core.attribution.occluders import Row
from lens_core.attribution.packing import new_tokens
from lens_core.memory import free_bytes
from lens_core.models import LoadedModel

CPU_TOKENS, GPU_TOKENS = 4096, 65536
"""Tokens of one pass."""
CPU_PASS, GPU_PASS = 48, 2048
"""What a pass costs however short it is, in tokens: reading the weights, or launching kernels."""
LOGITS_BYTES = 256 * 2**20
"""Logits of one pass, with the copies that are made of them."""
SCORES_BYTES = 64 * 2**20
"""Attention scores of one layer in a pack, of which most are masked."""
KEYS = 8
"""Looking at so many keys a unit of width costs as much as all else that is done to a token."""


@dataclass(frozen=True)
class Costs:
    """What passes cost, and how large they may be."""

    overhead: int
    """What a pass costs however short it is."""
    tokens: int
    """Tokens of a pass."""
    rows: int
    """Variants of a pass."""
    pairs: int
    """Pairs of token and key in a pack."""
    d_model: int

    @classmethod
    def of(cls, loaded: LoadedModel, *, length: int, n_targets: int) -> Costs:
        """Those of a model whose texts have so many tokens."""
        facts, on_cpu = loaded.facts, loaded.device.type == "cpu"
        states = 12 * facts.d_model + 4 * (facts.d_mlp or 4 * facts.d_model)
        cached = 4 * facts.n_layers * facts.n_kv_heads * facts.d_head
        # A quarter of the free memory is enough.
        free = free_bytes("cpu" if on_cpu else str(loaded.device))
        fitting = free // (16 * (states + cached + 4 * facts.n_heads * length))
        return cls(
            overhead=CPU_PASS if on_cpu else GPU_PASS,
            tokens=int(min(CPU_TOKENS if on_cpu else GPU_TOKENS, fitting)),
            rows=int(LOGITS_BYTES // (12 * n_targets * facts.vocab_size)),
            pairs=SCORES_BYTES // (4 * max(1, facts.n_heads)),
            d_model=facts.d_model,
        )

    def size(self, suffix: int) -> int:
        """How many variants of which so many tokens are new may run side by side."""
        return max(1, min(self.rows, self.tokens // suffix))

    def side_by_side(self, rows: int, suffix: int, length: int) -> float:
        """The cost of variants that are all run from the same position on."""
        passes = -(-rows // self.size(suffix))
        return rows * self._token(length) * suffix + self.overhead * passes

    def packed(self, tokens: int, prefix: int) -> float:
        """The cost of so many tokens behind one another; infinite where it is too many."""
        if tokens > self.tokens or tokens * (prefix + tokens) > self.pairs:
            return inf
        return tokens * self._token(prefix + tokens) + self.overhead

    def ranges(self, length: int, starts: Sequence[int], counts: Sequence[int]) -> list[range]:
        """The cheapest ranges of `starts` (ascending) to run side by side.

        Args:
            length: tokens of each variant.
            starts: from where on variants are new.
            counts: how many variants there are of each.
        """
        best, back = [0.0], [0]
        for stop in range(1, len(starts) + 1):
            rows, least, at = 0, inf, 0
            for first in range(stop - 1, -1, -1):
                rows += counts[first]
                cost = best[first] + self.side_by_side(rows, length - starts[first], length)
                if cost < least:
                    least, at = cost, first
            best.append(least)
            back.append(at)
        found, stop = [], len(starts)
        while stop:
            found.append(range(back[stop], stop))
            stop = back[stop]
        return found[::-1]

    def packs(self, tokens: Sequence[int], *, prefix: int, more: int) -> list[range]:
        """Consecutive variants that are packed together, in packs of about the same size.

        Args:
            tokens: new tokens of each variant.
            prefix: tokens of the original whose states are read.
            more: tokens that every pack has besides.
        """
        total = sum(tokens)
        best = min(sqrt(self.overhead * KEYS * self.d_model), self.tokens, sqrt(self.pairs) / 2)
        aim = total / max(1, round(total / best))
        found, first, inside, before = [], 0, more, 0
        for index, new in enumerate(tokens):
            full = before + new / 2 > aim * (len(found) + 1)
            unfit = self.packed(inside + new, prefix) == inf
            if index > first and (full or unfit or index - first >= self.rows):
                found.append(range(first, index))
                first, inside = index, more
            inside, before = inside + new, before + new
        return [*found, range(first, len(tokens))] if tokens else []

    def _token(self, keys: int) -> float:
        return 1 + keys / (KEYS * self.d_model)


def side_by_side(costs: Costs, rows: Sequence[Row], *, shared: bool) -> list[list[int]]:
    """The places of variants that are run from the same position on, equally long ones together.

    Args:
        costs: of passes.
        rows: the variants.
        shared: whether a variant is run from its first new token on, or from the beginning.
    """
    by_length: dict[int, dict[int, list[int]]] = {}
    for index, row in enumerate(rows):
        start = row.start if shared else 0
        by_length.setdefault(len(row.ids), {}).setdefault(start, []).append(index)
    found = []
    for length, by_start in by_length.items():
        starts = sorted(by_start)
        counts = [len(by_start[start]) for start in starts]
        for together in costs.ranges(length, starts, counts):
            places = [index for at in together for index in by_start[starts[at]]]
            size = costs.size(length - starts[together.start])
            found += [places[i : i + size] for i in range(0, len(places), size)]
    return found


def side_by_side_cost(costs: Costs, rows: Sequence[Row], *, shared: bool) -> float:
    """What one group costs; infinite where its variants are not equally long."""
    lengths = {len(row.ids) for row in rows}
    if len(lengths) > 1:
        return inf
    (length,) = lengths
    start = min(row.start for row in rows) if shared else 0
    return costs.side_by_side(len(rows), length - start, length)


def in_packs(costs: Costs, rows: Sequence[Row], *, prefix: int, more: int) -> list[list[int]]:
    """The places of variants that are packed together; `more` tokens are in every pack besides."""
    order = sorted(range(len(rows)), key=lambda index: rows[index].start)
    tokens = [new_tokens(rows[index]) for index in order]
    found = costs.packs(tokens, prefix=prefix, more=more)
    return [[order[at] for at in together] for together in found]


def pack_cost(costs: Costs, rows: Sequence[Row], *, prefix: int, more: int) -> float:
    """What one pack costs."""
    return costs.packed(sum(map(new_tokens, rows)) + more, prefix)
