"""How far two states are apart: one number a pair and site."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from lens_core.progress import tick

if TYPE_CHECKING:
    from lens_core.readout import Readout

OF_STATES = ("mean_abs", "max_abs", "min_abs", "l2", "rel_l2", "cos_dist", "norm_ratio")
OF_LENS = ("kl_lens_12", "kl_lens_21", "js_lens")
OF_DATA = ("recovery", "top_share", "top_share_without_massive")
METRICS = (*OF_STATES, *OF_LENS, *OF_DATA)

TOP = 0.01
"""The share of dims whose part of the squared difference `top_share` is."""
MASSIVE = 50.0
"""A dim is massive where its median size is so many times the median of the layer's dims."""
LENS_BYTES = 64 * 2**20
"""Logits of both sides held at once, in float32."""


def state_metrics(
    first: Float[np.ndarray, "pair d_model"], second: Float[np.ndarray, "pair d_model"]
) -> dict[str, Float[np.ndarray, " pair"]]:
    """What can be said of two states alone.

    mean_abs, max_abs and min_abs of |a - b|; l2 = |a - b|; rel_l2 = 2 |a - b| / (|a| + |b|);
    cos_dist = 1 - cosine; norm_ratio = |a| / |b|.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    gap = np.abs(a - b)
    l2, size_a, size_b = (np.linalg.norm(one, axis=-1) for one in (gap, a, b))
    # Half the squared distance of the directions: 1 - cosine without its rounding near 0.
    apart = _over(a, size_a[:, None]) - _over(b, size_b[:, None])
    return {
        "mean_abs": gap.mean(-1),
        "max_abs": gap.max(-1),
        "min_abs": gap.min(-1),
        "l2": l2,
        "rel_l2": _over(2 * l2, size_a + size_b),
        "cos_dist": (apart**2).sum(-1) / 2,
        "norm_ratio": _over(size_a, size_b, otherwise=np.nan),
    }


def recovery(rel_l2: Float[np.ndarray, "pair layer"]) -> Float[np.ndarray, "pair layer"]:
    """rel_l2 over the largest one up to that layer: below 1, layers reduce the difference.

    NaN before the first difference.
    """
    return _over(rel_l2, np.maximum.accumulate(rel_l2, axis=1), otherwise=np.nan)


def massive_dims(sizes: Float[np.ndarray, " d_model"]) -> np.ndarray:
    """Which dims are massive, by their median sizes."""
    return sizes > MASSIVE * np.median(sizes)


def top_share(gap: Float[np.ndarray, "pair d_model"]) -> Float[np.ndarray, " pair"]:
    """The share of the squared difference in its largest hundredth of dims; NaN without any."""
    squares = gap.astype(np.float64) ** 2
    width = squares.shape[1]
    if width == 0:
        return np.full(len(squares), np.nan)
    top = math.ceil(TOP * width)
    largest = np.partition(squares, width - top, axis=1)[:, width - top :].sum(1)
    return _over(largest, squares.sum(1), otherwise=np.nan)


@torch.no_grad()
def lens_divergences(
    readout: Readout,
    first: Float[Tensor, "row d_model"],
    second: Float[Tensor, "row d_model"],
) -> Float[Tensor, "metric row"]:
    """KL(first || second), KL(second || first) and Jensen-Shannon of the next tokens, in nats.

    Both states are read by the final norm and the head, a few rows at a time.
    """
    at_once = max(1, LENS_BYTES // (8 * readout.d_vocab))
    found = torch.zeros(3, len(first))
    for start in range(0, len(first), at_once):
        some = slice(start, start + at_once)
        log_p, log_q = (log_probs(readout, states[some]) for states in (first, second))
        found[:, some] = _divergences(log_p, log_q).to(found.device)
        tick("readout", min(start + at_once, len(first)), len(first))
    return found


def log_probs(
    readout: Readout, states: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row d_vocab"]:
    """The log-probabilities of the next token that states are read as."""
    return readout.logits(states).log_softmax(-1)


def _divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    gap = log_p - log_q
    p, q = log_p.exp(), log_q.exp()
    one_way, other_way = (p * gap).sum(-1), -(q * gap).sum(-1)
    # log p - log((p + q) / 2) = log 2 - softplus(log q - log p), which is exactly 0 for equals.
    equal = softplus(torch.zeros((), device=gap.device))
    both = (p * (equal - softplus(-gap)) + q * (equal - softplus(gap))).sum(-1) / 2
    return torch.stack([one_way, other_way, both]).clamp_min(0.0)


def _over(value: np.ndarray, by: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """A quotient, and `otherwise` where the divisor is 0."""
    out = np.full(np.broadcast_shapes(value.shape, by.shape), otherwise, dtype=np.float64)
    return np.divide(value, by, out=out, where=by > 0)
