"""From the loss of every token to what an operation changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core.patching.change_statistics import mcnemar, mean_interval
from lens_core.patching.layer_result import Change, ClassChange, Score, TokenTable
from lens_core.patching.operations import Operation


def scores_of(
    operations: Sequence[Operation], table: TokenTable, nll: Float[np.ndarray, "variant target"]
) -> tuple[Score, ...]:
    """The score of the original and of each operation; `nll` in double precision."""
    right = table.predicted == table.targets
    found = [_score(None, nll[0], right[0], None)]
    for variant, operation in enumerate(operations, 1):
        change = _change(table, (nll[0], nll[variant]), (right[0], right[variant]))
        found.append(_score(operation, nll[variant], right[variant], change))
    return tuple(found)


def _score(
    operation: Operation | None,
    nll: Float[np.ndarray, " target"],
    right: Bool[np.ndarray, " target"],
    change: Change | None,
) -> Score:
    mean = nll.sum() / len(nll)
    with np.errstate(over="ignore"):
        perplexity = float(np.exp(mean))
    median, high = np.quantile(nll, [0.5, 0.95])
    return Score(
        operation, float(mean), perplexity, float(median), float(high), float(right.mean()), change
    )


def _change(
    table: TokenTable,
    nll: tuple[Float[np.ndarray, " target"], Float[np.ndarray, " target"]],
    right: tuple[Bool[np.ndarray, " target"], Bool[np.ndarray, " target"]],
) -> Change:
    """Before and after, over texts, tokens and classes of tokens."""
    by_text = text_means(nll[1] - nll[0], table.starts)
    mean, lo, hi = mean_interval(by_text)
    new, fixed = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    return Change(
        mean=mean,
        lo=lo,
        hi=hi,
        text_change=by_text.astype(np.float32),
        new_errors=new,
        fixed_errors=fixed,
        p=mcnemar(new, fixed),
        classes=tuple(
            ClassChange(
                group,
                name,
                int(members.sum()),
                *(float(values[members].mean()) for values in (*nll, *right)),
            )
            for group, name, members in _classes(table)
        ),
    )


def text_means(
    values: Float[np.ndarray, " target"], starts: Int[np.ndarray, " text_or_end"]
) -> Float[np.ndarray, " text"]:
    """The mean over the targets of every text."""
    return np.add.reduceat(values, starts[:-1]) / np.diff(starts)


def _classes(table: TokenTable) -> Iterator[tuple[str, str, Bool[np.ndarray, " target"]]]:
    """Which targets belong to each class that occurs."""
    groups = {"kind": table.kinds, "script": table.scripts, "pos": table.tags or ()}
    for group, names in groups.items():
        every = np.array(names)
        for name in dict.fromkeys(names):
            if name:
                yield group, name, every == name
