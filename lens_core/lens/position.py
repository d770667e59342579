"""One position through all layers: candidates followed, and the layers that matter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.trace import Trace

CRITERIA = {"prob": 0.03, "kl_drop": 0.1, "js": 0.1, "top1_change": 0.0, "target_enters_topk": 0.0}
"""The criteria for important layers, each with its default threshold (kl_drop and js in nats)."""


@dataclass(frozen=True, eq=False)
class Tracked:
    """The course of some tokens through all layers at one position.

    Those are the user's targets, and the tokens that are among the top k at any layer.
    """

    position: int
    ids: Int[np.ndarray, " token"]
    """The targets in the order given; then the highest probability at any layer first, so that
    middle layers are not overlooked."""
    p: Float[np.ndarray, "token depth"]
    """Depth 0 is the embedding, depth l + 1 the output of layer l."""
    rank: Int[np.ndarray, "token depth"]

    def group(self, ids: Collection[int]) -> Float[np.ndarray, " depth"]:
        """The probability of saying any one of these tokens, which must all be followed.

        Raises:
            InputError: names the tokens that are not.
        """
        rows = {int(token): row for row, token in enumerate(self.ids)}
        if missing := sorted(set(ids) - set(rows)):
            raise InputError(
                f"Token {', '.join(map(str, missing))} is not followed at position "
                f"{self.position}; add it to the targets."
            )
        return self.p[[rows[token] for token in sorted(set(ids))]].sum(0)


@dataclass(frozen=True)
class ImportantLayers:
    """The layers at which a prediction takes shape, by one criterion."""

    criterion: str
    threshold: float
    position: int
    layers: tuple[dict[str, Any], ...]
    """{"layer", "score", "component"}, in the order of the layers."""


@dataclass(frozen=True, eq=False)
class Course:
    """The predictions at one position, from the embedding to the last layer."""

    position: int
    log_probs: Float[Tensor, "depth d_vocab"]
    """Depth 0 is the embedding, depth l + 1 the output of layer l."""
    final: Float[Tensor, " d_vocab"]
    """Log-probabilities of the model's own prediction."""
    norm: bool
    """Whether states were read through the final norm."""


@torch.no_grad()
def position_course(
    loaded: LoadedModel, trace: Trace, position: int, *, norm: bool = True
) -> Course:
    """Log-probabilities of the whole vocabulary at one position."""
    states = trace.stream[:, position]
    log_probs = loaded.readout.logits(states, norm=norm).log_softmax(-1)
    final = log_probs[-1] if norm else loaded.readout.logits(states[-1:]).log_softmax(-1)[0]
    return Course(position, log_probs, final, norm)


def track(course: Course, k: int, *, chosen: Sequence[int] = ()) -> Tracked:
    """Follow the chosen tokens, and every other one that is among the top k at any depth."""
    log_probs = course.log_probs
    first = torch.tensor(list(dict.fromkeys(chosen)), dtype=torch.long, device=log_probs.device)
    others = log_probs.topk(min(k, log_probs.shape[1]), dim=1).indices.flatten().unique()
    others = others[~torch.isin(others, first)]
    order = log_probs[:, others].amax(0).argsort(descending=True)
    ids = torch.cat([first, others[order]])
    found = log_probs[:, ids]
    ranks = torch.stack([(log_probs > found[:, i, None]).sum(1) for i in range(len(ids))])
    probs = found.exp().T.contiguous()
    return Tracked(course.position, ids.cpu().numpy(), probs.cpu().numpy(), ranks.cpu().numpy())


def important_layers(
    loaded: LoadedModel,
    trace: Trace,
    course: Course,
    *,
    criterion: str,
    threshold: float | None,
    target: int,
    k: int,
    compat: bool = False,
) -> ImportantLayers:
    """The layers whose score exceeds the threshold at one position.

    prob: the top-1 probability of the block's output, or of what attention or MLP adds read with
    its own scale (as LogitLens4LLMs does; `compat` cuts it to whole per cent first). kl_drop: how
    much nearer the final distribution the layer brings the prediction. js: Jensen-Shannon
    divergence from the layer before. top1_change: the top token differs from the layer before.
    target_enters_topk: the target enters the top k.

    Raises:
        InputError: an unknown criterion, or a threshold outside its range.
    """
    level = check_criterion(criterion, threshold)
    scores: list[tuple[int, float, str]]
    if criterion == "prob":
        scores = _prob_scores(loaded, trace, course, compat)
    else:
        values = _depth_scores(course, criterion, target, k)
        scores = [(layer, value, "resid_post") for layer, value in enumerate(values)]
    kept = tuple(
        {"layer": layer, "score": score, "component": component}
        for layer, score, component in scores
        if score > level
    )
    return ImportantLayers(criterion, level, course.position, kept)


def check_criterion(criterion: str, threshold: float | None) -> float:
    """The threshold of a criterion, its default when None.

    Raises:
        InputError: an unknown criterion, or a threshold that is no number from 0 to 100.
    """
    if criterion not in CRITERIA:
        raise InputError(f'important is "{criterion}"; it can be {", ".join(CRITERIA)}.')
    if threshold is None:
        return CRITERIA[criterion]
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise InputError(f"threshold is {threshold!r}; it must be a number.")
    if not 0 <= threshold <= 100:
        raise InputError(f"threshold is {threshold}; it can be 0 to 100.")
    return float(threshold)


def _depth_scores(course: Course, criterion: str, target: int, k: int) -> list[float]:
    log_probs, final = course.log_probs, course.final
    before, after = log_probs[:-1], log_probs[1:]
    if criterion == "kl_drop":
        kl = (final.exp() * (final - log_probs)).sum(1)
        return (kl[:-1] - kl[1:]).tolist()
    if criterion == "js":
        middle = torch.logaddexp(before, after) - torch.log(torch.tensor(2.0))
        sides = [(side.exp() * (side - middle)).sum(1) for side in (before, after)]
        return ((sides[0] + sides[1]) / 2).clamp_min(0.0).tolist()
    if criterion == "top1_change":
        return (before.argmax(1) != after.argmax(1)).float().tolist()
    ranks = (log_probs > log_probs[:, target, None]).sum(1)
    return ((ranks[:-1] >= k) & (ranks[1:] < k)).float().tolist()


def _prob_scores(
    loaded: LoadedModel, trace: Trace, course: Course, compat: bool
) -> list[tuple[int, float, str]]:
    """The largest top-1 probability of each layer, and the component that has it."""
    columns = {"resid_post": course.log_probs[1:].amax(1).exp()}
    if trace.attn is not None:
        for name in ("attn_out", "mlp_out"):
            states = getattr(trace, name)[:, course.position]
            logits = loaded.readout.logits(states, norm=course.norm)
            columns[name] = logits.softmax(-1).amax(1)
    best, which = torch.stack([column.cpu() for column in columns.values()]).max(0)
    if compat:
        best = (best * 100).floor() / 100
    names = list(columns)
    return [
        (layer, float(score), names[int(index)])
        for layer, (score, index) in enumerate(zip(best, which, strict=True))
    ]
