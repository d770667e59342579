"""One row of logits as a distribution: its most likely tokens, how sure it is, what it wastes.

Everything is worked out in float64 and kept in float32, so that a cumulative probability over a
large vocabulary does not exceed 1 by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0


@dataclass(frozen=True, eq=False)
class Distribution:
    """The most likely tokens of one row at one temperature, and numbers about all of it."""

    ids: Int[np.ndarray, " k"]
    """Most likely first; the order is the same at every temperature."""
    p: Float[np.ndarray, " k"]
    log_p: Float[np.ndarray, " k"]
    """Nats."""
    logit: Float[np.ndarray, " k"]
    """The model's own, before the temperature."""
    cumulative: Float[np.ndarray, " k"]
    """Probability of this token and all more likely ones, at most 1."""
    entropy: float
    """Nats, 0 to the logarithm of the vocabulary's size."""
    nucleus_size: int
    """The fewest tokens that hold the wanted share of the probability."""
    unused_p: float
    """Probability of rows that stand for no token."""


def distribution(
    row: Float[np.ndarray, " d_vocab"],
    *,
    k: int,
    temperature: float,
    nucleus: float,
    unused: Int[np.ndarray, " unused"],
) -> Distribution:
    """The distribution softmax(row / temperature); the arguments are checked already."""
    log_p = log_probs(row, temperature)
    p = np.exp(log_p)
    cumulative = np.minimum(np.sort(p)[::-1].cumsum(), 1.0)
    ids = _largest(row, k)
    # 0 * log(0) is 0: a token that cannot come adds nothing.
    terms = np.where(p > 0, p * np.where(p > 0, log_p, 0.0), 0.0)
    return Distribution(
        ids=ids,
        p=p[ids].astype(np.float32),
        log_p=log_p[ids].astype(np.float32),
        logit=row[ids].astype(np.float32),
        cumulative=cumulative[:k].astype(np.float32),
        entropy=max(0.0, float(-terms.sum())),
        nucleus_size=_nucleus_size(cumulative, nucleus),
        unused_p=float(p[unused].sum()),
    )


def log_probs(
    row: Float[np.ndarray, "*row d_vocab"], temperature: float = 1.0
) -> Float[np.ndarray, "*row d_vocab"]:
    """Natural logarithms of softmax(row / temperature), in float64."""
    scaled = row.astype(np.float64) / temperature
    scaled -= scaled.max(-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))


def _largest(row: Float[np.ndarray, " d_vocab"], k: int) -> Int[np.ndarray, " k"]:
    """The k largest in order, the smaller id first among equals; sorting all would take longer."""
    least = np.partition(row, len(row) - k)[len(row) - k]
    found = np.flatnonzero(row >= least)
    return found[np.argsort(-row[found], kind="stable")][:k]


def _nucleus_size(cumulative: Float[np.ndarray, " d_vocab"], nucleus: float) -> int:
    """Rounding may leave the sum of all just below 1, and then all are needed."""
    return min(int(np.searchsorted(cumulative, nucleus)) + 1, len(cumulative))


def checked_temperature(temperature: float) -> float:
    """The temperature of a distribution, which has to be above 0.

    Raises:
        InputError: it is outside its range.
    """
    if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise InputError(
            f"temperature is {temperature}; it can be {MIN_TEMPERATURE} to {MAX_TEMPERATURE:g}."
        )
    return float(temperature)


def checked_nucleus(nucleus: float) -> float:
    """The share of the probability that the nucleus holds.

    Raises:
        InputError: it is outside its range.
    """
    if not 0.0 < nucleus <= 1.0:
        raise InputError(f"nucleus is {nucleus}; it must be above 0 and at most 1.")
    return float(nucleus)
