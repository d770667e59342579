"""Parts of texts: every token where it belongs, one number a query, and nothing for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lens_core.errors import InputError
from lens_core.study.breakdowns import (
    MAX_LABELS,
    Breakdown,
    CellKey,
    PerQuery,
    breakdowns,
    paired,
)
from lens_core.study.occurrences import Occurrence
from lens_core.study.scored import ScoredText, metric_values
from lens_core.study.splits import (
    DECILES,
    STARTS,
    UNKNOWN,
    Split,
    by_correct,
    by_decile,
    by_distance,
    by_entropy,
    by_field,
    by_level,
    by_start,
    by_think,
    forking_thresholds,
    whole,
)


def text_of(
    row: Any,
    entropy: Any,
    *,
    model: str = "a",
    source: str = "own",
    tokens: tuple[str, ...] | None = None,
    spans: dict[str, list[tuple[int, int]]] | None = None,
    starts_thinking: bool = False,
    **fields: Any,
) -> ScoredText:
    """A text with these entropies, whose other metrics can be told from them."""
    entropy = np.asarray(entropy, np.float32)
    n = len(entropy)
    targets = ("wait", "check")
    some = [
        Occurrence(name, name, (0, 0), tokens)
        for name, all in (spans or {}).items()
        for tokens in all
    ]
    return ScoredText(
        model=model,
        row=row,
        text_source=source,
        tokens=tokens or ("x",) * n,
        ids=np.arange(n),
        logprob=-entropy,
        entropy=entropy,
        p_targets=np.stack([entropy / 10, np.full(n, np.nan, np.float32)], 1),
        targets=targets,
        occurrences=tuple(some),
        fields=fields,
        starts_thinking=starts_thinking,
        extra={"rank": np.arange(n, dtype=np.float32)},
    )


def one(texts: list[ScoredText], split: Split, metric: str = "entropy") -> Breakdown:
    return breakdowns(texts, [split], [metric])[split.name, metric]


def means(found: Breakdown, model: str = "a", source: str = "own") -> dict[str, list[float]]:
    """The values of the queries of every label."""
    return {
        label: found.cells[CellKey(model, source, label)].values.tolist() for label in found.labels
    }


def test_a_query_is_one_number_however_long_it_is() -> None:
    found = one([text_of(1, [1, 2, 3]), text_of(2, [5] * 100)], whole())
    cell = found.cells[CellKey("a", "own", "all")]
    assert (cell.rows, cell.values.tolist(), cell.n_tokens.tolist()) == ((1, 2), [2, 5], [3, 100])


def test_samples_of_a_query_count_together() -> None:
    found = one([text_of(1, [1, 2, 3]), text_of(1, [6])], whole())
    assert means(found) == {"all": [3.0]}


def test_levels_are_ordered_and_unknown_is_no_number() -> None:
    levels = ["10", 2, 2.0, "hard", None, float("nan"), "", True]
    found = one([text_of(row, [row], level=value) for row, value in enumerate(levels)], by_level())
    assert found.labels == ("2", "10", "hard", "true", UNKNOWN)
    assert means(found) == {
        "2": [1, 2],
        "10": [0],
        "hard": [3],
        "true": [7],
        UNKNOWN: [4, 5, 6],
    }
    assert means(one([text_of(0, [1])], by_field("subject"))) == {UNKNOWN: [1]}


def test_correct_wrong_and_unknown_are_always_shown() -> None:
    found = one([text_of(0, [1], correct=False), text_of(1, [2])], by_correct())
    assert means(found) == {"correct": [], "wrong": [1], UNKNOWN: [2]}


def test_empty_cells_have_no_value() -> None:
    texts = [text_of(0, [1], level=1), text_of(0, [1], level=2, model="b"), text_of(1, [], level=3)]
    found = one(texts, by_level())
    cell = found.cells[CellKey("b", "own", "1")]
    assert (cell.rows, len(cell.values), cell.n_tokens.sum()) == ((), 0, 0)
    assert set(found.cells) == {
        CellKey(model, "own", label) for model in "ab" for label in ("1", "2", "3")
    }
    # No single id, no probability; the metric is known all the same.
    assert means(one([text_of(0, [1])], whole(), "p:check")) == {"all": []}


@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 300, 1000])
@pytest.mark.parametrize("split", [by_decile(), by_start(), by_think()], ids=lambda one: one.name)
def test_every_position_is_in_one_part(n: int, split: Split) -> None:
    parts = [at for _, at in split.parts(text_of(0, np.zeros(n)))]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))


def test_tenths_and_starts() -> None:
    text = text_of(0, np.arange(300))
    assert [len(at) for _, at in by_decile().parts(text)] == [30] * 10
    assert [(label, at[0], at[-1]) for label, at in by_start().parts(text)] == [
        (STARTS[0], 0, 15),
        (STARTS[1], 16, 63),
        (STARTS[2], 64, 255),
        (STARTS[3], 256, 299),
    ]
    short = one([text_of(0, np.arange(5))], by_decile())
    assert [label for label in DECILES if means(short)[label]] == list(DECILES[::2])


def test_distance_counts_from_the_ends_of_an_occurrence() -> None:
    text = text_of(0, np.arange(10), spans={"wait": [(4, 6)], "check": [(9, 10)]})
    found = means(one([text], by_distance("wait", reach=3)))
    assert found == {"-3": [1], "-2": [2], "-1": [3], "0": [4.5], "+1": [6], "+2": [7], "+3": [8]}
    both = means(one([text], by_distance(reach=1)))
    assert both == {"-1": [(3 + 8) / 2], "0": [(4 + 5 + 9) / 3], "+1": [6]}
    assert set(map(tuple, means(one([text_of(0, [1])], by_distance())).values())) == {()}
    assert len(by_distance().labels) == 41


@pytest.mark.parametrize(
    ("tokens", "starts", "inside", "outside"),
    [
        (("<think>", "a", "b", "</think>", "c"), False, [1, 2], [4]),
        (("x", "<th", "ink>\n", "a", "</", "think>", "c"), False, [3], [0, 6]),
        (("a", "b", "</think>", "c"), False, [0, 1], [3]),  # the template began to think
        (("a", "<think>", "b"), False, [2], [0]),  # cut off
        (("a", "b"), True, [0, 1], []),
        (("a", "b"), False, [], [0, 1]),
        (("<think>", "", "我", "</think>", "<think>", "b", "</think>", "c"), False, [1, 2, 5], [7]),
        (("a", "</think>", "b"), True, [0], [2]),
    ],
)
def test_think_tags_may_be_cut_and_lack_a_partner(
    tokens: tuple[str, ...], starts: bool, inside: list[int], outside: list[int]
) -> None:
    text = text_of(0, np.zeros(len(tokens)), tokens=tokens, starts_thinking=starts)
    parts = {label: at.tolist() for label, at in by_think().parts(text)}
    assert parts == {"inside": inside, "outside": outside}


def test_forking_tokens_are_a_fifth_of_each_models_own() -> None:
    random = np.random.default_rng(0)
    texts = [
        text_of(row, scale * random.permutation(100), model=model)
        for model, scale in (("a", 1.0), ("b", 50.0))
        for row in range(2)
    ]
    texts[0].entropy[0] = np.nan
    split = by_entropy(forking_thresholds(texts))
    found = one(texts, split)
    for model in "ab":
        sizes = {
            label: found.cells[CellKey(model, "own", label)].n_tokens.sum()
            for label in found.labels
        }
        n = 200 - (model == "a")
        assert sizes["forking"] == n // 5
        assert sizes["rest"] == n - n // 5
    flat = [text_of(0, [1.0] * 10)]
    assert means(one(flat, by_entropy(forking_thresholds(flat))))["forking"] == []


def test_metrics_of_targets() -> None:
    text = text_of(0, [1, 2, 3, 4, 5], spans={"wait": [(1, 3), (4, 5)]})
    assert metric_values(text, "hits:wait").tolist() == [0, 1, 0, 0, 1]
    assert metric_values(text, "hits:check").tolist() == [0] * 5
    logprobs = metric_values(text, "occurrence_logprob:wait")
    assert logprobs[[1, 4]].tolist() == [-5, -5]
    assert np.isnan(logprobs[[0, 2, 3]]).all()
    hits = one([text], whole(), "hits:wait").cells[CellKey("a", "own", "all")]
    assert (hits.sums.tolist(), hits.n_tokens.tolist()) == ([2], [5])
    assert means(one([text], whole(), "p:wait"))["all"] == pytest.approx([0.3])
    assert means(one([text], whole(), "rank")) == {"all": [2]}
    with pytest.raises(InputError, match='no metric "p:aha"; there are entropy'):
        metric_values(text, "p:aha")


def test_a_token_without_a_value_is_not_counted() -> None:
    text = text_of(0, [1, 2, 3])
    text.logprob[0] = np.nan
    cell = one([text], whole(), "logprob").cells[CellKey("a", "own", "all")]
    assert (cell.values.tolist(), cell.n_tokens.tolist()) == ([-2.5], [2])


def test_one_pass_over_a_generator_fills_all_splits_and_metrics() -> None:
    texts = [text_of(row, [row, row + 1], level=row % 2) for row in range(4)]
    splits, metrics = [whole(), by_level(), by_decile()], ["entropy", "logprob", "hits:wait"]
    found = breakdowns(iter(texts), splits, metrics)
    assert set(found) == {(split.name, metric) for split in splits for metric in metrics}
    for (name, metric), got in found.items():
        split = next(one for one in splits if one.name == name)
        assert means(got) == means(one(texts, split, metric))


def test_queries_are_paired_by_what_they_are_not_by_their_place() -> None:
    texts = [text_of(row, [row]) for row in (1, 2, 3)]
    texts += [text_of(row, [10 * row], model="b") for row in (3, 1, 4)]
    cells = one(texts, whole()).cells
    first, second = paired(cells[CellKey("a", "own", "all")], cells[CellKey("b", "own", "all")])
    assert first.rows == second.rows == (1, 3)
    assert (10 * first.values).tolist() == second.values.tolist()
    nothing = paired(first, PerQuery((), np.zeros(0), np.zeros(0, np.int64)))
    assert [len(side.rows) for side in nothing] == [0, 0]


def test_fields_of_queries_are_kept_for_each_model() -> None:
    texts = [text_of(0, [1], correct=True), text_of(0, [1], model="b", correct=False)]
    found = one(texts, whole())
    assert found.column(CellKey("a", "own", "all"), "correct") == [True]
    assert found.column(CellKey("b", "own", "all"), "correct") == [False]
    assert found.column(CellKey("b", "own", "all"), "level") == [None]


def test_a_field_that_is_no_category_is_refused() -> None:
    texts = [text_of(row, [1], id=f"query {row}") for row in range(MAX_LABELS + 1)]
    with pytest.raises(InputError, match=f"more than {MAX_LABELS} different values"):
        one(texts, by_field("id"))
