"""What is reported of operations on layers: statistics, texts, classes of tokens, JSON, export."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import numpy as np
import pytest
from families import loaded
from scipy import stats
from test_edits import random_edit
from test_layer_operations import TEXTS

from lens_core import InputError, LoadedModel, load_model
from lens_core.edits import applied
from lens_core.patching import (
    LayerOperations,
    LayerOperationsStep,
    Operation,
    layer_operations,
    layer_operations_steps,
)
from lens_core.patching.change_statistics import mcnemar, mean_interval
from lens_core.patching.token_classes import token_class


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def test_statistics_of_a_change_by_hand() -> None:
    model = loaded("gpt2")
    result = layer_operations(model, TEXTS)
    assert result.tokens is not None
    assert [score.name for score in result.scores] == [
        "original", "remove 0", "remove 1", "remove 2", "exchange 0, 1", "exchange 1, 2",
    ]  # fmt: skip
    table = result.tokens
    assert table.nll.shape == (6, result.n_targets)
    for variant, score in enumerate(result.scores):
        right = table.predicted[variant] == table.targets
        assert score.accuracy == pytest.approx(right.mean())
        assert score.median_nll == pytest.approx(np.median(table.nll[variant]), abs=1e-5)
        assert score.p95_nll == pytest.approx(np.quantile(table.nll[variant], 0.95), abs=1e-5)
        if score.change is None:
            continue
        was = table.predicted[0] == table.targets
        assert score.change.new_errors == (was & ~right).sum()
        assert score.change.fixed_errors == (~was & right).sum()
        parts = [slice(*table.starts[i : i + 2]) for i in range(len(TEXTS))]
        after, before = ([table.nll[v, p].mean() for p in parts] for v in (variant, 0))
        wanted = stats.ttest_rel(after, before).confidence_interval(0.95)
        assert (score.change.lo, score.change.hi) == pytest.approx(tuple(wanted), abs=1e-4)
        assert score.change.mean == pytest.approx(np.mean(after) - np.mean(before), abs=1e-5)
    assert result.score("exchange", 1, 2) is result.scores[5]
    with pytest.raises(InputError, match="There is no repeat"):
        result.score("repeat", 0)


def test_mcnemar_and_intervals_against_their_definitions() -> None:
    for new, fixed in ((0, 0), (5, 0), (1, 9), (6, 6), (12, 3)):
        total, less = new + fixed, min(new, fixed)
        tail = sum(math.comb(total, k) for k in range(less + 1)) / 2**total
        assert mcnemar(new, fixed) == pytest.approx(min(1.0, 2 * tail))
        assert mcnemar(fixed, new) == mcnemar(new, fixed)
    values = np.array([0.3, -0.1, 0.7, 0.2, 0.9])
    test = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((0.4, test.low, test.high))
    assert mean_interval(np.full(4, 0.25)) == (0.25, 0.25, 0.25)
    mean, lo, hi = mean_interval(np.array([0.5]))
    assert mean == 0.5
    assert math.isnan(lo)
    assert math.isnan(hi)


def test_bad_texts_are_listed_and_the_others_are_whole() -> None:
    model = loaded("llama")
    texts = [TEXTS[0], [7], [], [1, 200], "text", [1.5, 2.0], {"ids": 3}, list(range(40)), TEXTS[1]]
    result = layer_operations(model, texts, operations=["remove"], layers=[0], max_tokens=20)
    assert [text["index"] for text in result.texts] == [0, 8]
    reasons = {text["index"]: text["reason"] for text in result.skipped}
    assert "1 token" in reasons[1]
    assert "0 tokens" in reasons[2]
    assert "outside this model's vocabulary" in reasons[3]
    assert "without a tokenizer" in reasons[4]
    assert "whole numbers" in reasons[5]
    assert "dict" in reasons[6]
    assert "the limit is 20" in reasons[7]
    assert "7 texts could not be scored" in result.header["warnings"][-1]
    with pytest.raises(InputError, match="None of the 1 texts"):
        layer_operations(model, [[7]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"operations": []}, "operations is"),
        ({"operations": ["delete"]}, "operation is 'delete'"),
        ({"operations": ["skip_range"]}, "name them"),
        ({"operations": ["exchange"], "layers": [1]}, "needs two"),
        ({"operations": ["remove"], "layers": [3]}, "layers is 3"),
        ({"operations": [Operation("exchange", (1, 1))]}, "twice"),
        ({"operations": [Operation("remove", (1, 2))]}, "takes 1"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        layer_operations(loaded("llama"), TEXTS, **options)


def test_steps_and_json() -> None:
    model = loaded("gpt2")
    *steps, result = layer_operations_steps(model, TEXTS, layers=[0, 2], batch_tokens=20)
    assert isinstance(result, LayerOperations)
    counts = [(s.done, s.total, s.operation) for s in steps if isinstance(s, LayerOperationsStep)]
    assert counts[-1] == (16, 16, "exchange 0, 2")
    assert counts[0][2] == "original"
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/layer_operations/1"
    again = LayerOperations.from_json(record)
    assert json.dumps(again.to_json()) == json.dumps(record)
    assert again.to_original() == result.to_original()
    short = LayerOperations.from_json(result.to_json(tokens=False))
    assert short.tokens is None
    assert json.dumps(short.to_json()["scores"]) == json.dumps(record["scores"])
    with pytest.raises(InputError, match="without the losses"):
        short.to_original()
    with pytest.raises(InputError, match="schema"):
        LayerOperations.from_json({**record, "schema": "lens_core/lens/1"})
    one = layer_operations(model, TEXTS[:1], operations=["remove"], layers=[0])
    json.dumps(one.to_json(), allow_nan=False)
    assert LayerOperations.from_json(one.to_json()).scores[1].change is not None


def test_two_threads_get_what_one_gets() -> None:
    model = loaded("gemma2")
    expected = [layer_operations(model, TEXTS, operations=[k]) for k in ("remove", "exchange")]
    found: dict[int, LayerOperations] = {}

    def work(index: int) -> None:
        kind = ("remove", "exchange")[index % 2]
        found[index] = layer_operations(model, TEXTS, operations=[kind])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, result in found.items():
        tables = result.tokens, expected[index % 2].tokens
        assert tables[0] is not None
        assert tables[1] is not None
        np.testing.assert_array_equal(tables[0].nll, tables[1].nll)
    assert len(found) == 4


def test_edits_hold_for_all_operations() -> None:
    model = loaded("llama")
    with applied(model, random_edit(model, {1: [0, 3]})):
        running = layer_operations_steps(model, TEXTS, batch_tokens=8)
        next(running)
    with pytest.raises(InputError, match="edits have changed"):
        next(running)


def test_texts_with_a_tokenizer_have_classes_and_the_original_export(demo: LoadedModel) -> None:
    texts = ["The capital of France is Paris.", "2 + 3 = 5", ""]
    result = layer_operations(demo, texts, layers=[0, 1])
    assert [text["index"] for text in result.skipped] == [2]
    change = result.score("remove", 0).change
    assert change is not None
    kinds = {c.name: c for c in change.classes if c.group == "kind"}
    assert sum(c.tokens for c in kinds.values()) == result.n_targets
    assert {"word_initial", "punctuation", "digit"} <= set(kinds)
    assert {c.name for c in change.classes if c.group == "script"} == {"Latin"}
    assert result.score("remove", 0).nll > result.score("original").nll
    export = json.loads(json.dumps(result.to_original(), allow_nan=False))
    assert set(export) == {"original", "removed", "exchanged"}
    assert set(export["removed"]) == {"layer_0", "layer_1"}
    assert set(export["exchanged"]) == {"layer_0_with_1"}
    sample = export["original"]["text_level_results"]["sample_0"]
    assert sample["original_text"] == texts[0]
    tokens = export["original"]["token_level_results"]["sample_0"]
    assert len(tokens) == sample["total_predictions"] == len(result.texts[0]["ids"]) - 1
    assert sample["correct_predictions"] == sum(token["is_correct"] for token in tokens.values())
    mean = np.mean([math.log(token["ppl"]) for token in tokens.values()])
    assert sample["avg_ppl"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert set(tokens["token_0"]) == {
        "current_token", "actual_next_token", "predicted_next_token", "is_correct", "ppl",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "before", "kind", "script"),
    [
        (" Paris", "f", "word_initial", "Latin"),
        ("The", "", "word_initial", "Latin"),
        ("ing", "s", "continuation", "Latin"),
        ("我", "", "unspaced", "Han"),
        ("カ", "", "unspaced", "Katakana"),
        ("слово", " ", "word_initial", "Cyrillic"),
        ("ა", "", "word_initial", "Other"),
        ("42", "", "digit", ""),
        (" 7.", "", "digit", ""),
        (",", "a", "punctuation", ""),
        (" +", "a", "punctuation", ""),
        ("  ", "a", "space", ""),
        ("\n", "a", "space", ""),
        ("", "a", "partial", ""),
        ("\u0301", "a", "other", ""),
    ],
)
def test_the_class_of_a_token(text: str, before: str, kind: str, script: str) -> None:
    assert token_class(text, "normal", before) == (kind, script)


def test_special_and_partial_tokens_have_classes_of_their_own() -> None:
    assert token_class("<s>", "special", "") == ("special", "")
    assert token_class("", "partial", "a") == ("partial", "")
    assert token_class("我", "partial", "") == ("unspaced", "Han")
