"""Statistics of a change: the same texts and tokens before and after.

The unit of the interval is the text, since the tokens of one text are not independent. Right and
wrong tokens are compared by McNemar's exact test on those that changed.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

LEVEL = 0.95


def mean_interval(values: Float[np.ndarray, " text"]) -> tuple[float, float, float]:
    """Mean and Student's t interval at 95 %; infinite bounds are NaN, as for fewer than 2 texts."""
    from scipy.stats import t

    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2 or not math.isfinite(mean):
        return mean, math.nan, math.nan
    half = float(t.ppf((1 + LEVEL) / 2, count - 1) * values.std(ddof=1) / count**0.5)
    return mean, mean - half, mean + half


def mcnemar(new_errors: int, fixed_errors: int) -> float:
    """Exact two-sided p that new and fixed errors are equally likely; 1 when nothing changed."""
    from scipy.stats import binomtest

    changed = new_errors + fixed_errors
    return float(binomtest(new_errors, changed, 0.5).pvalue) if changed else 1.0
