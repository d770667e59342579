"""What every dim of a site does over all pairs, worked out in blocks of dims.

Beside blocks of about 64 MiB this holds the responses of one site twice, of the pairs and of
their negative control, and copies of them while they are ranked: about 20 bytes a unit and dim,
for one site at a time; and 1000 signs a unit, a byte each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8

from lens_core.difference.metrics import massive_dims, top_share
from lens_core.difference.permutations import LEAST_FLIPPED, largest_flipped, t_values
from lens_core.difference.statistics import RankTest, rank_test, sketch
from lens_core.difference.units import MISMATCHES, Design, means_of_runs

_BYTES = 16 * 2**20
_ROWS = 256


@dataclass(frozen=True, eq=False)
class Profile:
    """Every dim of one site, described."""

    mean_abs: Float[np.ndarray, " dim"]
    """Of the difference, over distinct pairs."""
    median_abs: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    """Median difference of mismatched pairs; NaN where there is only one unit."""
    size: Float[np.ndarray, " dim"]
    """Median of the states themselves, without their sign."""
    mean: Float[np.ndarray, "side dim"]
    """Of the correct side (of sentence 1 where none is) and of the other one."""
    mean_diff: Float[np.ndarray, " dim"]
    """Mean signed difference of oriented pairs; NaN without any."""
    sign_agreement: Float[np.ndarray, " dim"]
    """Share of units with oriented pairs that have the commoner sign; NaN without any."""


@dataclass(frozen=True, eq=False)
class SiteTests:
    """The tests of one site, before all sites are corrected together."""

    profile: Profile
    test: RankTest
    halves: tuple[RankTest, RankTest] | None
    control: RankTest | None
    sketch: Float[np.ndarray, "unit quantile"]
    t: Float[np.ndarray, " dim"]
    """Mean signed difference over its standard error; NaN without enough oriented units."""
    largest: Float[np.ndarray, " permutation"] | None
    """The largest |t| under each pattern of signs."""


class SiteStates:
    """One site of all pairs, read as distinct pairs with their sides in order."""

    def __init__(self, states: np.ndarray, design: Design) -> None:
        self.states, self.design = states, design

    @property
    def width(self) -> int:
        """How many dims there are."""
        return self.states.shape[2]

    def sides(self, dims: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The correct side and the other one of every entry, some dims of them."""
        plan = self.design
        both = np.asarray(self.states[:, :, dims], np.float32)[plan.distinct]
        flipped = plan.flipped[:, None]
        return np.where(flipped, both[:, 1], both[:, 0]), np.where(flipped, both[:, 0], both[:, 1])

    def blocks(self) -> Iterator[slice]:
        """The dims in blocks whose mismatched differences fit."""
        bytes_a_dim = 4 * MISMATCHES * max(len(self.design.distinct), 1)
        at_once = max(1, _BYTES // bytes_a_dim)
        for start in range(0, self.width, at_once):
            yield slice(start, min(start + at_once, self.width))

    def responses(self, dims: slice | np.ndarray) -> Float[np.ndarray, "unit dim"]:
        """The mean |difference| over scale of every unit, of some dims."""
        first, second = self.sides(dims)
        scale = mismatched_scale(first, second, self.design)
        return self.design.unit_means(_over(np.abs(first - second), scale))


def mismatched_scale(
    first: Float[np.ndarray, "entry dim"], second: Float[np.ndarray, "entry dim"], design: Design
) -> Float[np.ndarray, " dim"]:
    """The median difference between a first side and the second side of another unit."""
    if not design.has_mismatches:
        return np.full(first.shape[1], np.nan, np.float32)
    gaps = np.abs(first[:, None] - second[design.partners])
    return np.median(gaps.reshape(-1, first.shape[1]), axis=0)


def site_tests(
    site: SiteStates,
    *,
    q: float,
    control: bool,
    halves: bool,
    signs: Int8[np.ndarray, "permutation unit"],
) -> SiteTests:
    """All that is found out about the dims of one site."""
    plan, width = site.design, site.width
    responses = np.empty((plan.n_units, width), np.float32)
    mismatched = np.empty_like(responses) if control and plan.has_mismatches else None
    profiles, t, largest = [], np.full(width, np.nan), None
    for dims in site.blocks():
        first, second = site.sides(dims)
        scale = mismatched_scale(first, second, plan)
        gap = np.abs(first - second)
        responses[:, dims] = plan.unit_means(_over(gap, scale))
        if mismatched is not None:
            other = np.abs(first - second[plan.control])
            mismatched[:, dims] = plan.unit_means(_over(other, scale))
        profile, signed = _profile(first, second, gap, scale, plan)
        profiles.append(profile)
        if len(signed) >= LEAST_FLIPPED:
            t[dims] = t_values(signed)
            found = largest_flipped(signed, signs[:, : len(signed)])
            largest = found if largest is None else np.maximum(largest, found)
    parts = _in_halves(responses, plan, q) if halves else None
    against = None if mismatched is None else rank_test(mismatched, q=q)
    return SiteTests(
        profile=_joined(profiles),
        test=rank_test(responses, q=q),
        halves=parts,
        control=against,
        sketch=sketch(responses),
        t=t,
        largest=largest,
    )


def top_shares(
    states: Float[np.ndarray, "pair side dim"], sizes: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, "metric pair"]:
    """top_share of every pair that came in, with massive dims and without them."""
    usual = ~massive_dims(sizes)
    found = np.empty((2, len(states)))
    for start in range(0, len(states), _ROWS):
        some = np.asarray(states[start : start + _ROWS])
        gap = some[:, 0] - some[:, 1]
        at = slice(start, start + len(gap))
        found[:, at] = top_share(gap), top_share(gap[:, usual])
    return found


def _profile(
    first: np.ndarray, second: np.ndarray, gap: np.ndarray, scale: np.ndarray, plan: Design
) -> tuple[Profile, np.ndarray]:
    """A block of dims described, and the signed difference of every unit with oriented pairs."""
    signed = _signed_means(first - second, plan)
    some = len(signed) > 0
    width = gap.shape[1]
    above, below = (signed > 0).sum(0), (signed < 0).sum(0)
    profile = Profile(
        mean_abs=gap.mean(0),
        median_abs=np.median(gap, axis=0),
        scale=scale,
        size=np.median(np.abs(np.concatenate([first, second])), axis=0),
        mean=np.stack([first.mean(0), second.mean(0)]),
        mean_diff=signed.mean(0) if some else np.full(width, np.nan, np.float32),
        sign_agreement=np.maximum(above, below) / len(signed) if some else np.full(width, np.nan),
    )
    return profile, signed


def _signed_means(gap: np.ndarray, plan: Design) -> np.ndarray:
    """The mean signed difference of every unit that has oriented pairs."""
    oriented = plan.sign != 0
    units, starts = np.unique(plan.unit[oriented], return_index=True)
    if len(units) == 0:
        return np.zeros((0, gap.shape[1]), np.float32)
    return means_of_runs(gap[oriented] * plan.sign[oriented, None], starts)


def _in_halves(responses: np.ndarray, plan: Design, q: float) -> tuple[RankTest, RankTest]:
    return rank_test(responses[plan.in_half], q=q), rank_test(responses[~plan.in_half], q=q)


def _over(gap: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Differences in units of their dim's scale; NaN where it has none."""
    out = np.full_like(gap, np.nan)
    return np.divide(gap, scale, out=out, where=scale > 0)


def _joined(profiles: list[Profile]) -> Profile:
    def join(name: str) -> np.ndarray:
        parts = [getattr(one, name) for one in profiles]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    return Profile(**{name: join(name) for name in Profile.__dataclass_fields__})
