"""Occlusion: what the prediction loses without each feature (Zeiler and Fergus, 2014)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.attribution.game import Game
from lens_core.attribution.result import AttributionStep, Interactions, floats


@dataclass(frozen=True, eq=False)
class Found:
    """The scores of a method, before they are put beside the features of the whole prompt."""

    token_scores: Float[np.ndarray, "part feature"]
    """One row a value of the score, such as one a target token."""
    value: float
    baseline_value: float | None
    forwards: int
    splits: bool = True
    """Whether the rows are the target's tokens, where there are several."""
    kl: np.ndarray | None = None
    flips: np.ndarray | None = None
    standard_errors: np.ndarray | None = None
    interactions: Interactions | None = None
    params: dict[str, Any] = field(default_factory=dict)
    """What the method chose itself."""
    warnings: tuple[str, ...] = ()


def occlusion(
    game: Game, *, window: int, interactions: int
) -> Generator[AttributionStep, None, Found]:
    """The value with everything minus the value without each window of features.

    With a window wider than 1, a feature has the mean over the windows that hold it.

    Args:
        game: the values of sets of features.
        window: adjacent features that are removed together, at every place.
        interactions: of how many features, those with the largest scores, pairs are measured.
    """
    count = len(game.full)
    window = min(window, count)
    sets = [_without(game, range(start, start + window)) for start in range(count - window + 1)]
    empty = np.zeros_like(game.full)
    nothing = [empty] if _can_run(game, empty) else []
    for done, total in game.measuring([*sets, *nothing]):
        yield AttributionStep(done, total, _so_far(game, sets, window))
    members = np.array([[s <= f < s + window for f in range(count)] for s in range(len(sets))])
    share = members / members.sum(0)
    found = [game.of(one) for one in sets]
    lost = np.array([game.original.values - one.values for one in found])
    scores = lost.T @ share
    pairs = None
    if interactions > 1:
        pairs = yield from _interactions(game, scores.sum(0), min(interactions, count))
    return Found(
        token_scores=scores,
        value=game.original.value,
        baseline_value=game.of(empty).value if nothing else None,
        forwards=game.rows,
        kl=floats(np.array([one.kl for one in found]) @ share),
        flips=np.array([any(one.flip for one, m in zip(found, members.T[f], strict=True) if m)
                        for f in range(count)]),
        interactions=pairs,
    )  # fmt: skip


def _without(game: Game, features: range | tuple[int, ...]) -> np.ndarray:
    present = game.full.copy()
    present[list(features)] = False
    return present


def _can_run(game: Game, present: np.ndarray) -> bool:
    """Whether anything of the prompt is left; with most occluders something always is."""
    question = game.question
    left = zip(question.features, present, strict=True)
    removed = sum(len(positions) for positions, kept in left if not kept)
    return question.occluder != "delete" or removed < len(question.prompt)


def _so_far(game: Game, sets: list[np.ndarray], window: int) -> np.ndarray:
    """The mean over the windows measured by now; NaN where there is none."""
    total, seen = np.zeros(len(game.full)), np.zeros(len(game.full))
    for start, present in enumerate(sets):
        if game.knows(present):
            lost = game.original.value - game.of(present).value
            total[start : start + window] += lost
            seen[start : start + window] += 1
    return floats(np.where(seen > 0, total / np.maximum(seen, 1), np.nan))


def _interactions(
    game: Game, scores: np.ndarray, count: int
) -> Generator[AttributionStep, None, Interactions]:
    """The interactions of the features with the largest scores."""
    top = np.sort(np.argsort(-np.abs(scores), kind="stable")[:count])
    pairs = list(combinations(range(count), 2))
    single = [_without(game, (int(f),)) for f in top]
    double = [_without(game, (int(top[a]), int(top[b]))) for a, b in pairs]
    for done, total in game.measuring([*single, *double]):
        yield AttributionStep(done, total, floats(scores))
    values = np.full((count, count), np.nan)
    for (a, b), both in zip(pairs, double, strict=True):
        alone = game.of(single[a]).value + game.of(single[b]).value
        values[a, b] = values[b, a] = game.original.value - alone + game.of(both).value
    return Interactions(top.astype(np.int64), floats(values))
