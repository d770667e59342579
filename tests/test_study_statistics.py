"""Statistics of a study on numbers whose truth is known; queries, not tokens, are observed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_study_breakdowns import one, text_of

from lens_core.study import comparisons
from lens_core.study.breakdowns import EMPTY, CellKey, PerQuery
from lens_core.study.comparisons import (
    Finding,
    accuracy_difference,
    level_trend,
    model_differences,
    numeric_levels,
    outcome_differences,
    paired_difference,
    sign_flip_p,
    tenths,
    with_q,
    within_groups,
)
from lens_core.study.scored import ScoredText
from lens_core.study.splits import by_decile, by_distance, by_level, whole
from lens_core.study.statistics import (
    LEAST,
    PER,
    cell_of,
    cells_of,
    mean_cell,
    rate_bounds,
    rate_cell,
    share_cell,
    t_intervals,
)

REPEATS = 1000


def covered(lo: np.ndarray, hi: np.ndarray, truth: float) -> float:
    """The share of intervals that hold the truth."""
    return float(((lo <= truth) & (truth <= hi)).mean())


def per_query(values: Any) -> PerQuery:
    values = np.asarray(values, float)
    return PerQuery(tuple(range(len(values))), values, np.ones(len(values), np.int64))


# Intervals


@pytest.mark.parametrize("n", [20, 50, 100])
def test_intervals_over_queries_cover_the_mean(n: int) -> None:
    values = np.random.default_rng(n).gamma(4, 0.25, (REPEATS, n))
    assert 0.92 <= covered(*t_intervals(values)[1:], truth=1) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_two_models_whose_labels_were_shuffled_do_not_differ(n: int) -> None:
    random = np.random.default_rng(n)
    halves = random.gamma(4, 0.25, (2, REPEATS, n))
    shuffled = np.where(random.random((REPEATS, n)) < 0.5, halves, halves[::-1])
    _, lo, hi = t_intervals(shuffled[0] - shuffled[1])
    assert 0.92 <= covered(lo, hi, 0) <= 0.97


def test_correct_and_wrong_whose_labels_were_shuffled_do_not_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparisons, "PERMUTATIONS", 99)
    random = np.random.default_rng(0)
    found = []
    for seed in range(REPEATS):
        level = random.integers(0, 3, 40)
        values = level + random.gamma(4, 0.25, 40)
        truth = random.permutation(np.arange(40) < 20)
        tokens = np.ones(40, np.int64)
        found.append(within_groups(values, truth, level, tokens, seed=seed, kind="outcome"))
    lo, hi = (np.array([getattr(each, name) for each in found]) for name in ("lo", "hi"))
    assert 0.92 <= covered(lo, hi, 0) <= 0.97
    p = np.array([each.p for each in found])
    assert 0.03 <= (p <= 0.05).mean() <= 0.07


def test_rates_are_covered_when_whole_queries_are_drawn_again() -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(200, 2000, (REPEATS, 40)).astype(float)
    counts = random.poisson(random.gamma(4, 0.25, tokens.shape) * tokens * 0.004).astype(float)
    lo, hi = rate_bounds(counts, tokens, method="BCa", seed=0)
    assert 0.92 <= covered(lo, hi, 4) <= 0.97


def correlated(seed: int, n: int = 20, length: int = 50) -> list[ScoredText]:
    """Texts whose tokens are alike inside a query, around an entropy of 2."""
    random = np.random.default_rng(seed)
    return [
        text_of(row, 2 + random.normal() + 0.3 * random.normal(size=length)) for row in range(n)
    ]


def test_the_tokens_of_a_text_are_not_the_observations() -> None:
    found = [
        cells_of(one(correlated(seed), whole()), seed=0)[CellKey("a", "own", "all")]
        for seed in range(300)
    ]
    lo, hi = (np.array([getattr(cell, name) for cell in found]) for name in ("lo", "hi"))
    assert 0.92 <= covered(lo, hi, 2) <= 0.98
    tokens = [np.concatenate([text.entropy for text in correlated(seed)]) for seed in range(300)]
    _, lo, hi = t_intervals(np.array(tokens))
    assert covered(lo, hi, 2) < 0.4, "what the same check says of intervals over tokens"


@pytest.mark.parametrize("metric", ["entropy", "hits:wait"])
def test_more_tokens_of_the_same_queries_tell_nothing_new(metric: str) -> None:
    def cell(times: int) -> Any:
        random = np.random.default_rng(0)
        texts = []
        for row in range(20):
            entropy, hits = random.random(30), int(random.integers(0, 5))
            places = [30 * k + i for k in range(times) for i in range(hits)]
            spans = {"wait": [(at, at + 1) for at in places]}
            texts.append(text_of(row, np.tile(entropy, times), spans=spans))
        return cells_of(one(texts, whole(), metric), seed=0)[CellKey("a", "own", "all")]

    once, often = cell(1), cell(20)
    assert often.n_tokens == 20 * once.n_tokens
    assert (often.mean, often.lo, often.hi) == pytest.approx((once.mean, once.lo, once.hi))


def test_mean_agrees_with_scipy_and_constants_have_no_width() -> None:
    values = np.random.default_rng(0).normal(size=12)
    cell = mean_cell(values, 100)
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert (cell.mean, cell.lo, cell.hi) == pytest.approx((values.mean(), *interval))
    same = mean_cell(np.full(9, 0.1), 9)
    assert same.mean == same.lo == same.hi == 0.1


def test_empty_and_single_cells_have_no_numbers_that_are_not_there() -> None:
    for metric in ("entropy", "hits:wait"):
        cell = cell_of(metric, EMPTY, seed=0)
        assert (cell.n_queries, cell.n_tokens, cell.mean, cell.lo, cell.hi) == (
            *(0, 0),
            *(None, None, None),
        )
    single = mean_cell(np.array([3.0, np.nan]), 4)
    assert (single.n_queries, single.mean, single.lo, single.hi) == (1, 3, None, None)
    assert share_cell(0, 0, 0).mean is None
    assert [mean_cell(np.arange(n) * 1.0, n).grey for n in (LEAST - 1, LEAST)] == [True, False]
    json.dumps(single.to_json(), allow_nan=False)


def test_a_rate_is_the_ratio_of_the_sums() -> None:
    counts, tokens = np.array([3.0, 0, 5, 0]), np.array([1000, 10, 3000, 0])
    cell = rate_cell(counts, tokens, seed=0)
    assert cell.mean == pytest.approx(PER * 8 / 4010)
    assert (cell.n_queries, cell.n_tokens, cell.method) == (3, 4010, "percentile")
    assert cell.lo is not None
    assert cell.hi is not None
    assert cell.lo <= PER * 8 / 4010 <= cell.hi


def test_the_interval_of_a_rate_is_corrected_seeded_and_known_to_be_unknown() -> None:
    random = np.random.default_rng(0)
    counts, tokens = random.poisson(2, 20).astype(float), random.integers(100, 900, 20)
    cell = rate_cell(counts, tokens, seed=3)
    assert cell.method == "bca"
    assert cell == rate_cell(counts, tokens, seed=3)
    assert cell != rate_cell(counts, tokens, seed=4)
    assert rate_cell(counts[:19], tokens[:19], seed=3).method == "percentile"
    nothing = rate_cell(np.zeros(20), tokens, seed=0)
    assert (nothing.mean, nothing.lo, nothing.hi) == (0, None, None)
    same = rate_cell(np.arange(1.0, 21), 100 * np.arange(1, 21), seed=0)
    assert same.mean == same.lo == same.hi == 10
    one_hit = rate_cell(np.eye(20)[0], np.full(20, 100), seed=0)
    assert one_hit.hi is not None
    assert one_hit.hi > 0


def test_a_share_stays_between_0_and_1() -> None:
    cell = share_cell(20, 20, 100)
    assert (cell.mean, cell.hi) == (1, 1)
    assert cell.lo is not None
    assert 0.8 < cell.lo < 1


# Model with model


def study(model: str, shift: float = 0.0) -> list[ScoredText]:
    random = np.random.default_rng(0)
    texts = []
    for row in range(12):
        entropy = random.random(40) + row + shift * (1 + 0.1 * random.random())
        spans = {"wait": [(at, at + 2) for at in range(0, row, 3)]}
        texts.append(text_of(row, entropy, model=model, spans=spans, level=row % 3))
    return texts


@pytest.mark.parametrize("metric", ["entropy", "logprob", "p:wait", "hits:wait"])
@pytest.mark.parametrize(
    "split", [whole(), by_level(), by_decile(), by_distance("wait")], ids=lambda one: one.name
)
def test_a_model_does_not_differ_from_itself(split: Any, metric: str) -> None:
    found = model_differences(one(study("a") + study("b"), split, metric), "a", "b", seed=0)
    assert len(found) == len(split.labels or "123")
    for finding in found.values():
        assert not finding.star
        if finding.n_queries:
            assert (finding.value, finding.p or 1, finding.q or 1) == (0, 1, 1)
        if finding.n_queries > 1:
            assert (finding.lo, finding.hi) == (0, 0)


def test_a_model_that_differs_is_found_where_there_are_enough_queries() -> None:
    texts = study("a", shift=0.1) + study("b")
    found = model_differences(one(texts, by_decile()), "a", "b", seed=0)
    assert all(finding.star for finding in found.values())
    levels = model_differences(one(texts, by_level()), "a", "b", seed=0)
    assert all(one.grey and not one.star and one.n_queries == 4 for one in levels.values())


def test_models_are_compared_on_the_queries_that_both_have() -> None:
    texts = study("a") + [text for text in study("b") if text.row % 2][::-1]
    found = model_differences(one(texts, whole()), "a", "b", seed=0)["own", "all"]
    assert (found.n_queries, found.value, found.n_tokens) == (6, 0, 6 * 80)


def test_few_signs_are_all_tried_and_many_are_drawn() -> None:
    gaps = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    assert sign_flip_p(gaps, seed=0) == 2 / 2**8
    random = np.random.default_rng(0)
    many = random.normal(0.5, 1, 30)
    expected: Any = stats.ttest_1samp(many, 0)
    assert sign_flip_p(many, seed=0) == pytest.approx(expected.pvalue, abs=0.01)
    assert sign_flip_p(many, seed=0) == sign_flip_p(many, seed=0)
    assert paired_difference(np.ones(1), np.zeros(1), n_tokens=1, seed=0).p is None
    assert paired_difference(np.ones(0), np.zeros(0), n_tokens=0, seed=0).value is None


@pytest.mark.parametrize("n", [10, 30])
def test_p_is_uniform_where_nothing_differs(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "PERMUTATIONS", 1999)
    random = np.random.default_rng(n)
    values = random.normal(size=(400, n))
    flips = [sign_flip_p(gaps, seed=at) for at, gaps in enumerate(values)]
    assert stats.kstest(flips, "uniform").pvalue > 0.01
    levels = np.arange(n) % 5.0
    trends = [
        level_trend(one, levels, n_tokens=n, seed=at).p for at, one in enumerate(values[:100])
    ]
    assert stats.kstest(trends, "uniform").pvalue > 0.01


def test_accuracies_are_compared_on_queries_that_only_one_answers() -> None:
    one_of = [True] * 9 + [False] * 2 + [True, None]
    other = [False] * 8 + [True] + [True, False] + [None, True]
    found = accuracy_difference(one_of, other)
    assert (found.n_queries, found.counts) == (11, {"only_one": 8, "only_other": 1})
    assert found.value == pytest.approx(7 / 11)
    assert found.p == pytest.approx(stats.binomtest(8, 9).pvalue)
    same = accuracy_difference(one_of, one_of)
    assert (same.value, same.lo, same.hi, same.p) == (0, 0, 0, 1)
    assert accuracy_difference([None], [True]).p is None


# Correct with wrong, and levels


def outcomes(values: Any, correct: Any, levels: Any, **options: Any) -> tuple[Finding, Finding]:
    return outcome_differences(per_query(values), list(correct), list(levels), seed=0, **options)


def test_difficulty_alone_is_no_difference_between_correct_and_wrong() -> None:
    random = np.random.default_rng(0)
    level = np.repeat(np.arange(4), 25)
    values = level * 3 + random.normal(size=100)
    correct = (random.random(100) > (level + 0.5) / 4.5).tolist()
    means = [values[np.array(correct) == one].mean() for one in (True, False)]
    assert means[0] < means[1] - 2, "what a comparison over all levels would say"
    within, _ = outcomes(values, correct, level)
    assert within.value == pytest.approx(0, abs=0.5)
    assert within.p is not None
    assert within.p > 0.05


def test_length_alone_is_no_difference_between_texts_of_one_length() -> None:
    random = np.random.default_rng(0)
    lengths = random.permutation(np.arange(10, 210))
    correct = (random.random(200) < lengths / 210).tolist()
    values = lengths / 10 + random.normal(size=200)
    within, matched = outcomes(values, correct, [1] * 200, lengths=lengths)
    assert within.p is not None
    assert within.p < 0.001
    assert matched.value is not None
    assert within.value is not None
    assert abs(matched.value) < within.value / 5
    assert (within.kind, matched.kind) == ("outcome", "outcome_length")


def test_the_difference_within_levels_is_that_of_a_regression() -> None:
    random = np.random.default_rng(2)
    level, correct = random.integers(0, 3, 30), random.random(30) < 0.5
    values = random.normal(size=30) + correct
    columns = np.column_stack([correct, *(level == one for one in range(3))]).astype(float)
    coefficients, rest, *_ = np.linalg.lstsq(columns, values, rcond=None)
    error = np.sqrt(rest[0] / 26 * np.linalg.inv(columns.T @ columns)[0, 0])
    found, _ = outcomes(values, correct.tolist(), level)
    half = stats.t.ppf(0.975, 26) * error
    assert (found.value, found.lo, found.hi) == pytest.approx(
        (coefficients[0], coefficients[0] - half, coefficients[0] + half)
    )


def test_one_level_is_the_test_that_scipy_has() -> None:
    random = np.random.default_rng(3)
    values, correct = random.normal(size=9), [True] * 4 + [False] * 5
    found, _ = outcomes(values, correct, ["x"] * 9)
    exact = stats.permutation_test(
        (values[:4], values[4:]), lambda a, b, axis: np.abs(a.mean(axis) - b.mean(axis)),
        alternative="greater", vectorized=True,
    )  # fmt: skip
    assert found.p == pytest.approx(exact.pvalue, abs=0.01)
    assert found.value == pytest.approx(values[:4].mean() - values[4:].mean())


def test_groups_of_one_outcome_and_unknown_ones_tell_nothing() -> None:
    correct = [True, True, True, False, None, True]
    found, _ = outcomes([1, 2, 9, 4, 5, 6], correct, [1, 1, 2, 2, 2, None])
    assert found.counts == {"correct": 1, "wrong": 1, "left_out": 3}
    assert (found.n_queries, found.value, found.lo, found.p) == (2, 5, None, 1)
    nothing, matched = outcomes([], [], [])
    assert (nothing.value, matched.p) == (None, None)
    same, _ = outcomes([2] * 20, [True, False] * 10, [1] * 20)
    assert (same.value, same.lo, same.hi, same.p) == (0, 0, 0, 1)


def test_tenths_are_of_equal_size_and_equal_lengths_stay_together() -> None:
    assert np.bincount(tenths(np.random.default_rng(0).permutation(100))).tolist() == [10] * 10
    assert len(set(tenths(np.full(30, 7)))) == 1


def test_a_trend_is_spearmans_rho() -> None:
    random = np.random.default_rng(0)
    levels, values = np.arange(40) % 5.0, random.normal(size=40)
    values[3] = np.nan
    expected: Any = stats.spearmanr(np.delete(levels, 3), np.delete(values, 3))
    found = level_trend(values, levels, n_tokens=1, seed=0)
    assert found.n_queries == 39
    assert found.value == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    rising = level_trend(levels + 0.1 * values, levels, n_tokens=1, seed=0)
    assert rising.p is not None
    assert rising.p < 0.001
    for levels in (np.ones(40), np.full(40, np.nan)):
        flat = level_trend(values, levels, n_tokens=1, seed=0)
        assert (flat.value, flat.p) == (None, None)
    numbers = numeric_levels([1, "2", "hard", None, True, 2.5])
    assert np.array_equal(numbers, [1, 2, np.nan, np.nan, np.nan, 2.5], equal_nan=True)


# Many cells


def finding(p: float | None, n: int = 20) -> Finding:
    return Finding("difference", n, n, 1.0, p=p)


def test_q_is_of_the_table_that_is_shown() -> None:
    table = [finding(p) for p in (0.01, 0.04, None, 0.03, 0.9)]
    expected = stats.false_discovery_control([0.01, 0.04, 0.03, 0.9]).tolist()
    assert [one.q for one in with_q(table)] == [*expected[:2], None, *expected[2:]]
    assert with_q(table[1:2])[0].star
    assert not with_q(table)[1].star
    assert with_q([]) == []


def test_a_star_needs_eight_queries() -> None:
    assert [one.star for one in with_q([finding(0.001, n) for n in (7, 8)])] == [False, True]
    assert not finding(0.001).star, "not before it is corrected"


@pytest.mark.parametrize("make", [lambda: finding(0.01), lambda: outcomes([], [], [])[0]])
def test_findings_are_strict_json(make: Callable[[], Finding]) -> None:
    record = json.loads(json.dumps(make().to_json(), allow_nan=False))
    assert record["star"] is False
