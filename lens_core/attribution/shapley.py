"""Shapley values: what a feature adds on average, over every order in which features can come.

Exact over all 2^N sets for few features; otherwise by sampled orders (Castro et al., 2009) or by
the weighted regression of KernelSHAP (Lundberg and Lee, 2017), both through Captum. Captum is given
sets of features as vectors of 0 and 1, so that it batches; its own wrapper for language models runs
one row at a time, and with its default settings reads cached tokens twice, which is wrong.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import factorial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.attribution.game import Game
from lens_core.attribution.occlusion import Found
from lens_core.attribution.result import AttributionStep, floats

EXACT = 10
"""Up to so many features all sets are measured."""
MAX_ROWS = 20_000
"""Variants that one call may run."""


def shapley(game: Game, *, samples: int, seed: int) -> Generator[AttributionStep, None, Found]:
    """Shapley values: exact up to `EXACT` features, else the mean over `samples` orders."""
    if len(game.full) <= EXACT:
        return (yield from _exact(game))
    return (yield from _sampled(game, samples, seed))


def _exact(game: Game) -> Generator[AttributionStep, None, Found]:
    count = len(game.full)
    codes = np.arange(2**count)
    sets = [(code >> np.arange(count) & 1).astype(bool) for code in codes]
    for done, total in game.measuring(sets):
        yield AttributionStep(done, total, np.full(count, np.nan, dtype=np.float32))
    values = np.array([game.of(present).values for present in sets])
    sizes = np.array([int(present.sum()) for present in sets])
    weights = np.array([factorial(s) * factorial(count - s - 1) for s in range(count)], dtype=float)
    weights /= factorial(count)
    scores = []
    for feature in range(count):
        without = codes[codes >> feature & 1 == 0]
        added = values[without | 1 << feature] - values[without]
        scores.append(weights[sizes[without]] @ added)
    return _found(game, np.array(scores).T, {"exact": True})


def _sampled(game: Game, samples: int, seed: int) -> Generator[AttributionStep, None, Found]:
    """One order a step, so that it can be watched and stopped, and its spread is known."""
    from captum.attr import ShapleyValueSampling

    count, random = len(game.full), np.random.default_rng(seed)
    method = ShapleyValueSampling(_by_target(game))

    def one_order(features: int, samples: int) -> Iterator[list[int]]:
        # Captum's own draws from the process's generator, which every thread shares.
        yield random.permutation(features).tolist()

    method.permutation_generator = one_order  # type: ignore[assignment]
    orders: list[np.ndarray] = []
    for index in range(samples):
        added = method.attribute(
            torch.ones(1, count),
            baselines=torch.zeros(1, count),
            n_samples=1,
            perturbations_per_eval=count,
        )
        orders.append(added[0].double().numpy())
        yield AttributionStep(index + 1, samples, floats(np.mean(orders, 0).sum(0)))
    found = np.array(orders)
    spread = found.sum(1).std(0, ddof=1) / samples**0.5 if samples > 1 else None
    errors = None if spread is None else floats(spread)
    return _found(game, found.mean(0), {"exact": False, "samples": samples}, errors=errors)


def kernel_shap(game: Game, *, samples: int, seed: int) -> Generator[AttributionStep, None, Found]:
    """The Shapley values that fit sampled sets best."""
    from captum.attr import KernelShap

    count = len(game.full)
    if count == 1:
        return (yield from _exact(game))  # Captum divides by the number of other features.
    values = _by_target(game)
    kernel: Any = KernelShap(lambda present: values(present).sum(1))
    kernel.interpretable_model = _LeastSquares()
    batch = max(1, min(samples, 256))
    with game.loaded.lock, seeded(seed):
        scores = kernel.attribute(
            torch.ones(1, count),
            baselines=torch.zeros(1, count),
            n_samples=samples,
            perturbations_per_eval=batch,
        )
    found = scores.double().numpy()
    yield AttributionStep(samples, samples, floats(found[0]))
    return _found(game, found, {"samples": samples}, splits=len(game.question.target) == 1)


def _found(
    game: Game,
    scores: np.ndarray,
    params: dict[str, Any],
    *,
    errors: np.ndarray | None = None,
    splits: bool = True,
) -> Found:
    empty = np.zeros_like(game.full)
    return Found(
        token_scores=scores,
        value=game.original.value,
        baseline_value=game.measure([empty])[0].value,
        forwards=game.rows,
        standard_errors=errors,
        splits=splits,
        params=params,
    )


def _by_target(game: Game) -> Any:
    """Values of sets as Captum asks for them: rows of 0 and 1 to values [row, part]."""

    def values(present: Float[Tensor, "row feature"]) -> Float[Tensor, "row part"]:
        found = game.measure([row > 0.5 for row in present.cpu().numpy()])
        return torch.from_numpy(np.array([one.values for one in found]))

    return values


class _LeastSquares:
    """Weighted least squares in double precision, where Captum would ask for scikit-learn."""

    def __init__(self) -> None:
        self._weights = torch.zeros(0)

    def fit(self, train_data: Any, **kwargs: object) -> None:
        """Solve for the values of the features; the set without any has a value of its own."""
        present, values, weights = (
            torch.cat([batch[i].double() for batch in train_data]) for i in range(3)
        )
        columns = torch.cat([present, torch.ones(len(present), 1).double()], 1)
        root = weights.sqrt()[:, None]
        solved = torch.linalg.lstsq(columns * root, values.reshape(-1, 1) * root)
        self._weights = solved.solution[:-1, 0]

    def representation(self) -> Float[Tensor, " feature"]:
        """The values of the features."""
        return self._weights


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` in the block, and leave the generators of the process as they were."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)
