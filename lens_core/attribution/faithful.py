"""Whether a ranking of features can be believed: what happens when its first ones are removed.

Comprehensiveness and sufficiency follow DeYoung et al. (2020), in log probability; the deletion
curve follows Samek et al. (2017). Any ranking looks good beside nothing, so random ones are
measured in the same way: a ranking that does not beat them says nothing about the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.attribution.game import Game, Question
from lens_core.attribution.occluders import neutral_token
from lens_core.attribution.result import Attribution, floats
from lens_core.errors import InputError
from lens_core.lens.options import one_of, target_id, whole_number
from lens_core.models import LoadedModel, check_ids
from lens_core.records import plain

SCHEMA = "lens_core/faithfulness/1"
DEFAULT_K = 5
SETS = 200
"""Sets of first features below which too many random rankings are as good by chance."""
OCCLUDERS = ("replace", "knock_out", "mean")


@dataclass(frozen=True, eq=False)
class Ranking:
    """What removing features in one order does to the log probability of the target, in nats."""

    name: str
    comprehensiveness: float
    """log p minus log p without the first k features; large where these matter."""
    sufficiency: float
    """log p minus log p with the first k features alone; small where these are enough."""
    deletion_area: float
    """The mean of log p minus log p over all shares of removed features, first ones first; large
    where the first ones matter most."""
    deletion_curve: Float[np.ndarray, " point"]
    """log p without the first 0, ..., all features."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            "name": self.name,
            "comprehensiveness": plain(self.comprehensiveness),
            "sufficiency": plain(self.sufficiency),
            "deletion_area": plain(self.deletion_area),
            "deletion_curve": plain(self.deletion_curve),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Ranking:
        """Read back what `to_json` wrote."""
        return cls(**{**record, "deletion_curve": floats(record["deletion_curve"])})


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How attributions of one prediction fare, beside random rankings."""

    header: Mapping[str, Any]
    k: int
    """How many first features are removed, or kept alone."""
    removed: Int[np.ndarray, " point"]
    """How many features are removed at each point of the curves."""
    occluder: str
    rankings: tuple[Ranking, ...]
    """One an attribution, in their order."""
    random: tuple[Ranking, ...]
    forwards: int
    """Rows that went through the model."""

    def beaten(self, ranking: Ranking) -> dict[str, float]:
        """The share of random rankings that one beats by each measure, 0 to 1; ties count half."""
        found = {}
        for name, sign in (("comprehensiveness", 1), ("sufficiency", -1), ("deletion_area", 1)):
            own = sign * getattr(ranking, name)
            others = np.array([sign * getattr(one, name) for one in self.random])
            found[name] = float(((own > others) + 0.5 * (own == others)).mean())
        return found

    @property
    def can_tell(self) -> bool:
        """Whether there are enough features that random rankings seldom tie at the first k."""
        return math.comb(int(self.removed[-1]), self.k) >= SETS

    def p_values(self, ranking: Ranking) -> dict[str, float]:
        """How likely a random ranking is as good by each measure (one-sided rank test).

        It counts itself among the random ones, so 19 of these are needed for 0.05.
        """
        count = len(self.random)
        return {
            name: (1 + count * (1 - share)) / (count + 1)
            for name, share in self.beaten(ranking).items()
        }

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, ready for `json.dumps(..., allow_nan=False)`."""
        return {
            **plain(self.header),
            "k": self.k,
            "can_tell": self.can_tell,
            "removed": plain(self.removed),
            "occluder": self.occluder,
            "rankings": [
                {**one.to_json(), "beaten": self.beaten(one), "p_value": self.p_values(one)}
                for one in self.rankings
            ],
            "random": [one.to_json() for one in self.random],
            "forwards": self.forwards,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Faithfulness:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; faithfulness has {SCHEMA!r}."
            )
        own = {"k", "can_tell", "removed", "occluder", "rankings", "random", "forwards"}
        measured = {"beaten", "p_value"}
        bare = [{k: v for k, v in one.items() if k not in measured} for one in record["rankings"]]
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            k=record["k"],
            removed=np.array(record["removed"], dtype=np.int64),
            occluder=record["occluder"],
            rankings=tuple(Ranking.from_json(one) for one in bare),
            random=tuple(Ranking.from_json(one) for one in record["random"]),
            forwards=record["forwards"],
        )


def faithfulness(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    attributions: Attribution | Sequence[Attribution],
    *,
    others: Mapping[str, Sequence[float]] | None = None,
    k: int | None = None,
    points: int = 10,
    n_random: int = 20,
    occluder: str = "replace",
    replacement: int | str | None = None,
    seed: int = 0,
) -> Faithfulness:
    """How rankings of the features fare when their first ones are removed, beside random ones.

    Args:
        loaded: the model.
        ids: the prompt of the attributions [position].
        attributions: one or several of the same features and target.
        others: more scores by name, one a feature, such as attention.
        k: features that are removed, or kept alone; None takes 5, or half of fewer than 10.
        points: steps of the deletion curve at most.
        n_random: random rankings.
        occluder: how features are removed: replace, knock_out or mean.
        replacement: the token that `replace` puts there; None takes a neutral one.
        seed: of the random rankings.

    Raises:
        InputError: attributions of another prompt, other features or targets, or an argument
            outside its range.
        NotExactError: the occluder is not exact in this model.
    """
    started = time.perf_counter()
    several = [attributions] if isinstance(attributions, Attribution) else list(attributions)
    prompt = check_ids(loaded, ids)
    _check_alike(several, prompt)
    first = several[0]
    one_of("occluder", occluder, OCCLUDERS)
    token = (
        neutral_token(loaded)
        if replacement is None
        else target_id(loaded, replacement, name="replacement")
    )
    if token is None and occluder == "replace":
        raise InputError('This model has no neutral token; give a replacement, or occluder="mean".')
    game = Game(loaded, _question(first, prompt, occluder, token))
    count = len(game.full)
    chosen = min(DEFAULT_K, max(1, count // 2)) if k is None else whole_number("k", k, 1, count)
    whole_number("points", points, 1, 1000)
    random = np.random.default_rng(whole_number("seed", seed, 0, 2**63 - 1))
    drawn = whole_number("n_random", n_random, 1, 1000)
    orders = {f"random {i}": random.permutation(count) for i in range(drawn)}
    named = _named(several, others or {}, first, count)
    removed = np.unique(np.linspace(0, count, min(points, count) + 1).round().astype(np.int64))
    found = _measured(game, {**named, **orders}, chosen, removed)
    with loaded.lock:
        header = loaded.header(
            "faithfulness", seed=seed, timing={"total_s": time.perf_counter() - started}
        )
    header["input"] = {"ids": prompt.tolist()}
    return Faithfulness(
        header, chosen, removed, occluder,
        tuple(found[: len(named)]), tuple(found[len(named) :]), game.rows,
    )  # fmt: skip


def _question(
    first: Attribution, prompt: Tensor, occluder: str, replacement: int | None
) -> Question:
    stop = first.query + 1
    places = tuple(
        tuple(range(feature.start, min(feature.stop, stop)))
        for feature in first.features
        if feature.start < stop
    )
    target = torch.from_numpy(first.target_ids)
    return Question(prompt[:stop], target, None, "log_p", places, occluder, replacement)


def _check_alike(several: Sequence[Attribution], prompt: Tensor) -> None:
    """Refuse attributions that do not answer the same question about this prompt."""
    if not several:
        raise InputError("There are 0 attributions; give at least one.")
    first = several[0]
    for one in several:
        problem = None
        if list(one.header["input"]["ids"]) != prompt.tolist():
            problem = "is of another prompt than the ids given"
        elif one.target_ids.tolist() != first.target_ids.tolist() or one.query != first.query:
            problem = "has another target or query than the first one"
        elif one.features != first.features:
            problem = "has other features than the first one"
        if problem is not None:
            raise InputError(f"The attribution by {one.method} {problem}; make it anew.")


def _named(
    several: Sequence[Attribution],
    others: Mapping[str, Sequence[float]],
    first: Attribution,
    count: int,
) -> dict[str, np.ndarray]:
    """The order of the features by name, largest score first."""
    found: dict[str, np.ndarray] = {}
    for one in several:
        name, number = one.method, 2
        while name in found:
            name, number = f"{one.method} {number}", number + 1
        found[name] = np.asarray(one.scores)
    for name, scores in others.items():
        if len(scores) != len(first.features):
            raise InputError(
                f'"{name}" has {len(scores)} scores; there are {len(first.features)} features.'
            )
        found[name] = np.asarray(scores, dtype=np.float64)
    # Features behind the query are not removed, and come last among those of a prompt.
    return {name: np.argsort(-scores[:count], kind="stable") for name, scores in found.items()}


def _measured(
    game: Game, orders: Mapping[str, np.ndarray], k: int, removed: np.ndarray
) -> list[Ranking]:
    """Every order measured, all variants together."""

    def without(order: np.ndarray, at: slice) -> np.ndarray:
        present = game.full.copy()
        present[order[at]] = False
        return present

    sets = [
        [without(order, slice(0, k)), without(order, slice(k, None))]
        + [without(order, slice(0, int(n))) for n in removed]
        for order in orders.values()
    ]
    game.measure([present for several in sets for present in several])
    value, share = game.original.value, removed / removed[-1]
    found = []
    for name, several in zip(orders, sets, strict=True):
        comprehensive, sufficient, *curve = (game.of(present).value for present in several)
        lost = value - np.array(curve)
        area = float(((lost[1:] + lost[:-1]) / 2 * np.diff(share)).sum())
        found.append(Ranking(name, value - comprehensive, value - sufficient, area, floats(curve)))
    return found
