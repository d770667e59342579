"""The statistics of pairs on arrays whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lens_core.difference.dimensions import SiteStates, site_tests
from lens_core.difference.findings import Findings, findings
from lens_core.difference.matching import matched_sets
from lens_core.difference.metrics import recovery, state_metrics, top_share
from lens_core.difference.options import Options
from lens_core.difference.permutations import (
    group_test,
    holm,
    holm_families,
    largest_flipped,
    layer_test,
    max_t_p,
    sign_flips,
    t_values,
)
from lens_core.difference.statistics import RHO, rank_test, rho_intervals, sketch, small_change
from lens_core.difference.summary import spread, unit_means
from lens_core.difference.units import PairKey, design

OPTIONS = Options(
    sites=(("resid_post", 0),),
    readout="last",
    control=True,
    halves=True,
    lens=False,
    q=0.1,
    alpha=0.05,
    correction="bh",
    seed=0,
    batch_tokens=1,
    keep=None,
    resume=None,
    max_tokens=None,
    template=None,
    special="default",
)
WIDTH, PLANTED = 256, np.arange(5) * 40


def keys(count: int, *, unit: Any = str, sign: int = 1) -> list[PairKey]:
    """Keys of pairs, one unit each unless `unit` says otherwise."""
    return [
        PairKey(unit(at), "", ((at,), (at + count,)), False, sign, False) for at in range(count)
    ]


def states(n: int, *, factor: float = 1.0, seed: int = 0) -> np.ndarray:
    """Both sides of n pairs; differences have heavy tails, dims are unequal and some planted."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(0.3 * rng.standard_normal(WIDTH))
    base = rng.standard_normal((n, WIDTH)) * sizes
    strength = np.exp(0.5 * rng.standard_normal((n, 1)))
    change = 0.5 * rng.standard_t(4, (n, WIDTH)) * sizes * strength
    change[:, PLANTED] *= factor
    return np.stack([base, base + change], 1).astype(np.float32)


def found(both: np.ndarray, of: list[PairKey], **options: Any) -> Findings:
    plan = design(of, seed=0)
    site = SiteStates(both, plan)
    signs = sign_flips(plan.n_units, seed=0)
    tests = site_tests(site, q=0.1, control=True, halves=True, signs=signs)
    return findings(lambda at: site, [tests], replace(OPTIONS, **options))


def test_dims_that_change_little_are_found_and_the_control_finds_none() -> None:
    counts, false = [], []
    for seed in range(4):
        said = found(states(60, factor=0.3, seed=seed), keys(60))
        dims = {one.dim for one in said.found}
        counts.append(len(dims & set(PLANTED)))
        false.append(len(dims - set(PLANTED)))
        assert said.control is not None
        assert said.control.supported
        assert said.control.found_per_site[0] <= 1
        assert "control" in said.verdict
        for one in said.found:
            assert one.rho <= RHO
            assert one.rho_lo <= one.rho <= one.rho_hi
    assert sum(counts) >= 0.5 * len(PLANTED) * 4
    assert sum(false) <= 4


def test_where_nothing_is_planted_next_to_nothing_is_found() -> None:
    discoveries = [len(found(states(60, seed=seed), keys(60)).found) for seed in range(6)]
    assert sum(discoveries) <= 3


def test_what_half_of_the_units_find_the_other_half_confirms() -> None:
    said = found(states(200, factor=0.2), keys(200))
    assert said.replication is not None
    assert said.replication.found[0] >= 3
    assert said.replication.replicated[0] == said.replication.found[0]
    assert found(states(30), keys(30)).replication is None


def test_pairs_that_share_an_edit_are_one_unit_and_copies_are_one_pair() -> None:
    both = states(60, factor=0.3)
    of = keys(60, unit=lambda at: str(at // 2))
    once, twice = found(both, of), found(np.concatenate([both, both]), [*of, *of])
    plan = design(of, seed=0)
    assert plan.n_units == 30
    assert (design([*of, *of], seed=0).distinct == plan.distinct).all()
    order = np.random.default_rng(1).permutation(60)
    mixed = found(both[order], [of[at] for at in order])
    assert once.control is not None
    for other in (twice, mixed):
        assert other.control is not None
        for name in ("p", "q", "hit_rate", "rho", "t", "t_p", "scale"):
            one, two = (getattr(said.dims["layer_0"], name) for said in (once, other))
            np.testing.assert_array_equal(one, two, name)
        assert other.found == once.found
        assert (other.control.found_per_site == once.control.found_per_site).all()


def test_mismatched_pairs_are_of_other_units_and_of_the_same_carrier() -> None:
    of = [
        replace(key, carrier=str(at % 3))
        for at, key in enumerate(keys(30, unit=lambda a: str(a // 2)))
    ]
    plan = design(of, seed=0)
    carriers = np.array([of[at].carrier for at in plan.distinct])
    assert (plan.unit[plan.partners] != plan.unit[:, None]).all()
    assert (carriers[plan.partners] == carriers[:, None]).all()
    assert (plan.unit[plan.control] != plan.unit).all()
    assert np.bincount(plan.control, minlength=30).max() <= 3
    assert design(keys(3, unit=lambda at: "one"), seed=0).partners.shape == (3, 0)


def test_a_hit_is_binomial() -> None:
    rng = np.random.default_rng(0)
    responses = rng.random((50, 200))
    test = rank_test(responses, q=0.1)
    lowest = np.argsort(responses, axis=1)[:, :20]
    assert (test.hits == np.bincount(lowest.ravel(), minlength=200)).all()
    for dim in (0, 7):
        wanted = stats.binomtest(int(test.hits[dim]), 50, 0.1, alternative="greater").pvalue
        assert test.p[dim] == pytest.approx(wanted, rel=1e-9)
    assert test.rho == pytest.approx(np.median(responses, 0) / np.median(responses))


def test_units_in_which_nothing_differs_hit_nothing() -> None:
    responses = np.random.default_rng(0).random((30, 64))
    responses[:10] = 0.0
    assert rank_test(responses, q=0.1).hits.sum() == 20 * 6
    still = rank_test(np.zeros((30, 64)), q=0.1)
    assert not still.tested.any()
    assert np.isnan(still.p).all()


def test_dims_without_a_scale_are_not_tested() -> None:
    responses = np.random.default_rng(0).random((30, 64))
    responses[:, 3] = np.nan
    test = rank_test(responses, q=0.1)
    assert not test.tested[3]
    assert np.isnan([test.p[3], test.rho[3]]).all()
    assert test.tested.sum() == 63


def test_by_is_stricter_than_bh_and_few_units_decide_nothing() -> None:
    responses = np.random.default_rng(0).random((40, 100))
    responses[:, :3] *= 0.2
    bh, by = (small_change([responses], correction=name)[0] for name in ("bh", "by"))
    assert set(by.found) <= set(bh.found)
    assert len(bh.found) >= 2
    np.testing.assert_allclose(by.q, np.minimum(bh.q * sum(1 / i for i in range(1, 101)), 1))
    assert not len(small_change([responses[:19]])[0].found)


def test_the_interval_of_rho_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(0)
    responses = np.exp(rng.standard_normal((60, 80)))
    responses[:, 0] *= 0.4
    lo, hi = rho_intervals(responses[:, :1], sketch(responses), seed=0)[:, 0]
    draws = []
    for _ in range(400):
        some = responses[rng.integers(0, 60, 60)]
        draws.append(np.median(some[:, 0]) / np.median(some))
    assert [lo, hi] == pytest.approx(np.quantile(draws, [0.025, 0.975]), rel=0.15)


def test_a_direction_that_most_units_share_is_found_by_max_t() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 100)).astype(np.float32)
    values[:, 3] += 1.0
    t = t_values(values)
    assert t == pytest.approx(stats.ttest_1samp(values, 0)[0], rel=1e-3)
    p = max_t_p(t, largest_flipped(values, sign_flips(40, seed=0)))
    assert p[3] <= 0.01
    assert (np.delete(p, 3) > 0.05).all()
    assert max_t_p(-t, largest_flipped(-values, sign_flips(40, seed=0))) == pytest.approx(p)


def test_a_layer_below_its_neighbours_is_found() -> None:
    rng = np.random.default_rng(0)
    rel = 1 + 0.1 * rng.standard_normal((30, 6))
    rel[:, 3] -= 0.2
    test = layer_test(rel, [-1, 0, 1, 2, 3, None], seed=0)
    assert np.isnan(test.p[[0, 4, 5]]).all()
    assert test.p_holm[3] <= 0.01
    assert (test.p_holm[[1, 2]] > 0.05).all()
    assert np.isnan(layer_test(rel[:9], [-1, 0, 1, 2, 3, None], seed=0).p).all()


def test_holm_and_labels() -> None:
    assert holm(np.array([0.01, np.nan, 0.04, 0.03])) == pytest.approx(
        [0.03, math.nan, 0.06, 0.06], nan_ok=True
    )
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((20, 3)), rng.standard_normal((25, 3))
    first[:, 1] += 3
    p = group_test(first, second, seed=0).p
    assert p[1] <= 0.01
    assert p[0] > 0.05


def test_the_spread_is_students() -> None:
    values = np.random.default_rng(0).standard_normal((12, 2))
    values[:, 1] = np.nan
    found = spread(values)
    lo, hi = stats.t.interval(
        0.95, 11, values[:, 0].mean(), values[:, 0].std(ddof=1) / math.sqrt(12)
    )
    assert [found.lo[0], found.hi[0]] == pytest.approx([lo, hi], rel=1e-5)
    assert np.isnan([found.mean[1], found.lo[1], found.q1[1]]).all()
    assert np.isnan(spread(values[:1]).lo).all()
    units = unit_means(np.array([[1.0], [3.0], [np.nan], [5.0]]), np.array([0, 0, 1, 1]))
    assert units.tolist() == [[2.0], [5.0]]


def test_metrics_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 300)).astype(np.float32)
    found = state_metrics(a, b)
    x, y = a.astype(float), b.astype(float)
    norms = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    assert found["cos_dist"] == pytest.approx(1 - (x * y).sum(1) / norms[0] / norms[1])
    assert found["rel_l2"] == pytest.approx(2 * np.linalg.norm(x - y, axis=1) / sum(norms))
    assert found["norm_ratio"] == pytest.approx(norms[0] / norms[1])
    largest = np.sort((x - y) ** 2, 1)[:, -3:].sum(1)
    assert top_share(a - b) == pytest.approx(largest / ((x - y) ** 2).sum(1), rel=1e-5)
    assert recovery(np.array([[0.0, 2.0, 1.0, 4.0]])).tolist()[0][1:] == [1.0, 0.5, 1.0]


def test_random_sets_are_disjoint_from_the_set_and_of_its_size() -> None:
    sizes = np.exp(np.random.default_rng(0).standard_normal(200))
    dims = np.argsort(sizes)[[10, 100, 180]]
    sets = matched_sets(dims, sizes, count=50, seed=0)
    assert sets.shape == (50, 3)
    assert not set(sets.ravel()) & set(dims.tolist())
    assert all(len(set(row)) == 3 for row in sets.tolist())
    assert np.median(sizes[sets], 0) == pytest.approx(sizes[dims], rel=0.25)


def test_groups_that_differ_at_one_site_are_told_apart_there_alone() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(12, 30)), rng.normal(size=(9, 30))
    second[:, 7] += 4
    found = group_test(first, second, seed=0)
    assert found.p_sites[7] < 0.01
    assert (np.delete(found.p_sites, 7) > 0.05).all()
    assert (found.p_sites >= found.p).all()


def test_families_are_corrected_like_single_tests_where_each_has_one() -> None:
    p = np.random.default_rng(0).uniform(size=12)
    np.testing.assert_allclose(holm_families(p[:, None])[:, 0], holm(p))
    two = np.array([[0.01, 0.5], [0.04, 0.9]])
    np.testing.assert_allclose(holm_families(two), [[0.02, 1.0], [0.08, 1.0]])
    # A family that is out of the way altogether lets the others have its share.
    two = np.array([[0.01, 0.02], [0.04, 0.9]])
    np.testing.assert_allclose(holm_families(two), [[0.02, 0.04], [0.04, 0.9]])
    gone = np.array([[np.nan, np.nan], [0.03, np.nan]])
    np.testing.assert_allclose(holm_families(gone), [[np.nan, np.nan], [0.03, np.nan]])


@pytest.mark.slow
def test_all_sites_together_are_rarely_called_different_by_chance() -> None:
    rng, wrong = np.random.default_rng(1), 0
    for seed in range(60):
        groups = [rng.normal(size=(6, 10)) for _ in range(3)]
        couples = [(0, 1), (0, 2), (1, 2)]
        tests = [group_test(groups[a], groups[b], seed=seed).p_sites for a, b in couples]
        wrong += bool((holm_families(np.stack(tests)) < 0.05).any())
    assert wrong <= 8  # 3 of 60 are expected; 9 or more would come in one run of 300


@pytest.mark.slow
def test_a_null_beside_a_real_difference_is_no_easier_to_call_different() -> None:
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(4000):
        p = rng.uniform(size=(10, 2))
        p[:, 0] = 1e-9  # every family has a real difference at its first site
        wrong += bool((holm_families(p)[:, 1] < 0.05).any())
    assert wrong / 4000 < 0.06


@pytest.mark.slow
def test_unequal_spreads_and_sizes_do_not_make_equal_means_differ() -> None:
    rng = np.random.default_rng(3)
    wide, narrow = rng.normal(0, 4, (15, 200)), rng.normal(0, 1, (60, 200))
    found = group_test(wide, narrow, seed=0)
    assert (found.p < 0.05).mean() < 0.1  # a third without the standard errors


def test_a_value_that_is_none_takes_nothing_from_the_other_sites() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(12, 4)), rng.normal(size=(12, 4)) + 3
    whole = group_test(first, second, seed=0)
    first[2, 1] = np.nan
    found = group_test(first, second, seed=0)
    assert np.isnan([found.p[1], found.p_sites[1]]).all()
    rest = [0, 2, 3]
    np.testing.assert_allclose(found.p[rest], whole.p[rest])
    rel = np.abs(rng.normal(size=(12, 5)))
    rel[4, 2] = np.nan
    tested = layer_test(rel, [0, 1, 2, 3, 4], seed=0)
    assert np.isnan(tested.p[1:4]).all()
