"""From the tests of single sites to what is found, all sites considered together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from lens_core.difference.dimensions import SiteStates, SiteTests
from lens_core.difference.options import Options, site_key
from lens_core.difference.permutations import max_t_p
from lens_core.difference.result import Control, Dimensions, FoundDim, Replication
from lens_core.difference.statistics import (
    LEAST_UNITS,
    Decision,
    decide,
    rho_intervals,
)

MOST_IN_CONTROL = 0.01
"""The share of dims that the negative control may find."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What the tests of all sites say."""

    dims: dict[str, Dimensions]
    found: tuple[FoundDim, ...]
    control: Control | None
    replication: Replication | None
    verdict: str


def findings(
    site_at: Callable[[int], SiteStates], tests: Sequence[SiteTests], options: Options
) -> Findings:
    """Correct all sites together, name the discoveries and say what they are worth.

    `site_at` reads a site again, where something was found.
    """
    keys = [site_key(site) for site in options.tested]
    ranked = [one.test for one in tests]
    # Without its control the test finds nothing.
    ranked = ranked if options.control else [replace(test, n=0) for test in ranked]
    decisions = decide(ranked, alpha=options.alpha, correction=options.correction)
    direction = _direction(tests)
    dims = {
        key: _dimensions(one, decision, t_p)
        for key, one, decision, t_p in zip(keys, tests, decisions, direction, strict=True)
    }
    found = tuple(
        dim
        for at, (key, one, decision) in enumerate(zip(keys, tests, decisions, strict=True))
        if len(decision.found)
        for dim in _found(key, site_at(at), one, decision, options.seed)
    )
    control = _control(tests, options)
    verdict = _verdict(tests, control, len(found))
    return Findings(dims, found, control, _replication(tests, options), verdict)


def _direction(tests: Sequence[SiteTests]) -> list[Float[np.ndarray, " dim"]]:
    """The p of the directional test, which holds for all sites together."""
    known = [one.largest for one in tests if one.largest is not None]
    if not known:
        return [np.full_like(one.t, np.nan) for one in tests]
    largest = np.max(known, axis=0)
    return [
        np.where(np.isfinite(one.t), max_t_p(np.nan_to_num(one.t), largest), np.nan)
        for one in tests
    ]


def _dimensions(one: SiteTests, decision: Decision, t_p: np.ndarray) -> Dimensions:
    profile = one.profile
    values = {
        "hit_rate": one.test.hit_rate,
        "rho": one.test.rho,
        "p": decision.p,
        "q": decision.q,
        "t": one.t,
        "t_p": t_p,
    }
    return Dimensions(
        mean_abs=profile.mean_abs,
        median_abs=profile.median_abs,
        scale=profile.scale,
        size=profile.size,
        mean_diff=profile.mean_diff,
        sign_agreement=profile.sign_agreement,
        found=decision.found,
        **{name: value.astype(np.float32) for name, value in values.items()},
    )


def _found(
    key: str, at: SiteStates, one: SiteTests, decision: Decision, seed: int
) -> list[FoundDim]:
    responses = at.responses(decision.found)
    intervals = rho_intervals(responses, one.sketch, seed=seed)
    halves = (None, None) if one.halves is None else one.halves
    found = []
    for place, dim in enumerate(decision.found.tolist()):
        rates = [None if half is None else float(half.hit_rate[dim]) for half in halves]
        found.append(
            FoundDim(
                site=key,
                dim=dim,
                hit_rate=float(one.test.hit_rate[dim]),
                rho=float(one.test.rho[dim]),
                rho_lo=float(intervals[0, place]),
                rho_hi=float(intervals[1, place]),
                p=float(decision.p[dim]),
                q=float(decision.q[dim]),
                hit_rate_a=rates[0],
                hit_rate_b=rates[1],
                mean1=float(one.profile.mean[0, dim]),
                mean2=float(one.profile.mean[1, dim]),
            )
        )
    return found


def _control(tests: Sequence[SiteTests], options: Options) -> Control | None:
    """What the same procedure finds where nothing is to be found."""
    ranked = [one.control for one in tests if one.control is not None]
    if not ranked or len(ranked) < len(tests) or ranked[0].n < LEAST_UNITS:
        return None  # with too few units it could find nothing anywhere
    decisions = decide(ranked, alpha=options.alpha, correction=options.correction)
    count = np.array([len(one.found) for one in decisions], np.int64)
    tested = sum(int(test.tested.sum()) for test in ranked)
    if not tested:
        return None
    share = float(count.sum() / tested)
    return Control(_by_site(count, options), share, bool(share <= MOST_IN_CONTROL))


def _replication(tests: Sequence[SiteTests], options: Options) -> Replication | None:
    halves = [one.halves for one in tests if one.halves is not None]
    if len(halves) < len(tests) or not halves or halves[0][0].n < LEAST_UNITS:
        return None
    first = [one for one, _ in halves]
    decisions = decide(first, alpha=options.alpha, correction=options.correction)
    again = [
        int((half.hit_rate[decision.found] > options.q).sum())
        for (_, half), decision in zip(halves, decisions, strict=True)
    ]
    count = np.array([len(one.found) for one in decisions], np.int64)
    return Replication(_by_site(count, options), _by_site(np.array(again, np.int64), options))


def _by_site(counts: Int[np.ndarray, " tested"], options: Options) -> Int[np.ndarray, " site"]:
    """Counts with 0 for the sites that are not tested, which are the last ones."""
    return np.pad(counts, (0, len(options.sites) - len(counts)))


def _verdict(tests: Sequence[SiteTests], control: Control | None, found: int) -> str:
    """What may be said."""
    units = tests[0].test.n
    if units < LEAST_UNITS:
        return (
            f"{units} units (distinct edits) are too few for the small-change test, which needs "
            f"{LEAST_UNITS}: nothing is reported as found. Add pairs with other edits."
        )
    tested = sum(int(one.test.tested.sum()) for one in tests)
    if control is None and not tested and tests[0].control is not None:
        return "No dim changes at all, so there is none to test."
    if control is None:
        return (
            "The small-change test was not run, since its negative control was left out: nothing "
            "is reported as found."
        )
    if not control.supported:
        return (
            f"The negative control finds {control.share:.1%} of the dims, and "
            f"{MOST_IN_CONTROL:.0%} is the limit: the data do not support the small-change test, "
            f"and its {found} discoveries mean nothing."
        )
    return (
        f"{found} of {tested} dims change consistently little over {units} units; the negative "
        f"control finds {int(control.found_per_site.sum())}."
    )
