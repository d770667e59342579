"""Plain gradient descent on every FFN output projection: what the other methods are held against.

One failing token after another, up to three times over the target; each stops as soon as its
margin is reached. Without a learning rate the step is Polyak's, as large as the missing margin
asks for; with one it descends the cross-entropy, as the reference of STAR does with 0.01.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lens_core.repairs.result import RepairStep
from lens_core.repairs.search import Search

PASSES = 3


def descend(search: Search) -> Iterator[RepairStep]:
    """Change all columns of all layers against the gradient, one failing token at a time."""
    sizes = {layer: len(one) for layer, one in search.basis.activity.items()}
    search.take({layer: torch.arange(size) for layer, size in sizes.items()})
    for _ in range(PASSES):
        for row in search.failing():
            yield from _descend_for(search, row)


def _descend_for(search: Search, row: int) -> Iterator[RepairStep]:
    objective = "margin" if search.options.lr is None else "cross_entropy"
    seen = search.pushed(row, objective=objective)
    for _ in range(search.options.most_epochs):
        if not seen.backward:
            return
        every = slice(None)
        slopes = {layer: seen.gradient(layer, every) for layer in search.trial}
        gain = sum(float(slope.square().sum()) for slope in slopes.values())
        rate = search.rate(seen, gain)
        if rate is None:
            return
        for layer, slope in slopes.items():
            search.trial[layer].value -= rate * slope
        seen = search.pushed(row, objective=objective)
        yield search.step("gradient", row=row, rate=rate)
