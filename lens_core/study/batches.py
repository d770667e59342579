"""Which texts run together: texts of about one length, with little padding and in few passes.

A pass costs something whatever is in it, and padding costs what tokens cost. Of all ways to cut the
texts, sorted by length, into batches, the one is taken that costs least; where it pads too much, a
pass counts less. It depends on nothing but the lengths, so that a run can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_PADDING = 0.08
"""Of the tokens that are run, how many more may be padding."""
PASS_TOKENS = 64
"""What a pass costs by itself, in tokens: measured on a small model, where it shows."""


def batches_of(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """The texts, by their places, in batches of at most so many tokens, padding included.

    A text that is longer than that runs alone. The longest of a batch is its last.
    """
    order = sorted(range(len(lengths)), key=lambda place: (lengths[place], place))
    ordered = [lengths[place] for place in order]
    price = PASS_TOKENS
    while True:
        ends = _cheapest(ordered, batch_tokens, price)
        if price == 0 or padding(ordered, ends) <= MAX_PADDING * sum(ordered):
            break
        price //= 2
    starts = [0, *ends[:-1]]
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def padding(ordered: Sequence[int], ends: Sequence[int]) -> int:
    """Tokens of padding where batches of sorted lengths end there."""
    starts = [0, *ends[:-1]]
    padded = [(end - start) * ordered[end - 1] for start, end in zip(starts, ends, strict=True)]
    return sum(padded) - sum(ordered)


def _cheapest(ordered: Sequence[int], batch_tokens: int, price: int) -> list[int]:
    """Where the batches end, at the least sum of padded tokens and passes."""
    best = [0]
    begins = [0]
    for end in range(1, len(ordered) + 1):
        longest = ordered[end - 1]
        starts = [s for s in range(end) if s == end - 1 or (end - s) * longest <= batch_tokens]
        costs = [best[start] + (end - start) * longest + price for start in starts]
        # The first of equals: the larger batch.
        best.append(min(costs))
        begins.append(starts[costs.index(min(costs))])
    ends: list[int] = []
    end = len(ordered)
    while end:
        ends.append(end)
        end = begins[end]
    return ends[::-1]
