"""Causal tracing as it is asked for: metrics, noise, arguments, steps, JSON, two at once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from families import N_LAYERS, loaded
from test_edits import random_edit
from test_patching import CLEAN, CLOSE, CORRUPT, EQUAL, LONGER, answers, effects, question_of
from torch import Tensor

from lens_core import InputError, LoadedModel, NotExactError, PromptError, load_model
from lens_core.edits import applied
from lens_core.network import run as forward
from lens_core.pairs import Pair
from lens_core.patching import (
    CausalTrace,
    CausalTraceStep,
    Contrast,
    causal_trace,
    causal_trace_steps,
)
from lens_core.patching.patches import Patch
from lens_core.patching.sides import Text, logits_of
from lens_core.patching.tracing import Tracing, noises, with_noise


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def last_log_probs(model: LoadedModel, ids: tuple[int, ...]) -> Tensor:
    return forward(model.model, torch.tensor([ids])).logits[0].double().log_softmax(-1)


def test_metrics_are_those_of_plain_runs() -> None:
    model = loaded("gemma2")
    clean, corrupt = (last_log_probs(model, ids)[-1] for ids in (CLEAN, CORRUPT))
    kl = causal_trace(model, EQUAL)
    assert kl.contrast.metric == "kl"
    assert kl.contrast.clean_value == 0
    wanted = -float((clean.exp() * (clean - corrupt)).sum())
    assert kl.contrast.corrupt_value == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_allclose(kl.grid("resid_post").effect[-1, -1], 1, **CLOSE)

    result = causal_trace(model, EQUAL, metric="log_p", answers=([7, 8, 9], None))
    value = last_log_probs(model, (*CLEAN, 7, 8))[-3:]
    wanted = float(sum(row[token] for row, token in zip(value, (7, 8, 9), strict=True)))
    assert result.contrast.clean_value == pytest.approx(wanted, abs=1e-5)
    assert [column.kind for column in result.contrast.columns[-2:]] == ["answer", "answer"]

    shared = causal_trace(model, EQUAL, answers=([7, 8], [7, 9, 3]))
    logits = last_log_probs(model, (*CLEAN, 7))[-1]
    assert (shared.contrast.wanted, shared.contrast.other) == ((8,), (9,))
    assert shared.contrast.clean_value == pytest.approx(float(logits[8] - logits[9]), abs=1e-5)
    tracing = Tracing(model, question_of(model, answers=([7, 8], [7, 9])), ("resid_post",))
    patch = Patch((("resid_post", 0),), tracing.question.columns)
    np.testing.assert_allclose(effects(tracing, "denoise", [patch]), 1, **CLOSE)


def test_noise_in_place_of_the_other_side() -> None:
    model = loaded("llama")
    wanted = answers(model)
    options: dict[str, Any] = {"answers": wanted, "noise": 3.0, "noise_samples": 3}
    first, second, other = (causal_trace(model, EQUAL, **options, seed=seed) for seed in (0, 0, 1))
    assert json.dumps(first.to_json()["grids"]) == json.dumps(second.to_json()["grids"])
    assert not np.array_equal(first.grids[0].effect, other.grids[0].effect)
    assert first.noise is not None
    assert first.noise["samples"] == 3
    assert first.header["seed"] == 0
    np.testing.assert_allclose(first.grid("resid_post").effect[-1, -1], 1, **CLOSE)
    np.testing.assert_allclose(first.grid("resid_post").effect[:, :2], 0, **CLOSE)
    question = with_noise(question_of(model))
    spread, (noise,) = noises(model, question, scale=2.0, samples=1, seed=0)
    assert noise.positions == (2,)
    weight: Any = model.model.get_input_embeddings().weight
    assert spread == pytest.approx(2 * float(weight.detach().std()), rel=1e-5)
    tracing = Tracing(model, question, ("resid_post",), noise=noise)
    patch = Patch((("resid_post", 0),), question.columns)
    np.testing.assert_allclose(effects(tracing, "denoise", [patch]), 1, **CLOSE)
    clean = logits_of(model, Text(question.clean), [()], n_read=1)[0]
    assert torch.equal(clean, tracing.clean.logits)


def test_what_is_not_exact_is_left_out_with_the_reason() -> None:
    model = loaded("mamba")
    result = causal_trace(model, EQUAL, answers=answers(model), components=("resid_post", "heads"))
    assert [grid.component for grid in result.grids] == ["resid_post"] * 2
    assert "opaque" in result.left_out["heads"]
    np.testing.assert_allclose(result.grid("resid_post").effect[-1, -1], 1, **CLOSE)
    with pytest.raises(NotExactError, match="opaque"):
        causal_trace(model, EQUAL, components=("heads",))
    with pytest.raises(NotExactError, match="no single stream"):
        causal_trace(loaded("gemma3n"), EQUAL)
    hybrid = causal_trace(loaded("qwen3_next"), EQUAL, answers=answers(loaded("qwen3_next")))
    assert np.isnan(hybrid.grid("heads").effect[0]).all()
    assert np.isfinite(hybrid.grid("heads").effect[1:]).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "logit_difference"}, "needs what side 1"),
        ({"metric": "log_p", "answers": (3,)}, "give two"),
        ({"metric": "log_p", "answers": (None, 3)}, "needs what side 1"),
        ({"answers": ([7, 8], [7])}, "in which they differ"),
        ({"metric": "margin"}, "metric is"),
        ({"direction": "up"}, "direction is"),
        ({"window": 2}, "1, 3 or 5"),
        ({"components": ()}, "components is"),
        ({"components": ("resid_pre",)}, "component is"),
        ({"positions": []}, "positions is empty"),
        ({"positions": [7]}, "position is 7"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
        ({"noise": -1.0}, "noise is"),
        ({"noise": 3.0, "noise_samples": 0}, "noise_samples is 0"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        causal_trace(loaded("llama"), EQUAL, **options)


def test_positions_choose_the_columns_of_every_grid() -> None:
    model = loaded("llama")
    result = causal_trace(model, EQUAL, answers=answers(model), positions=[-1, 4])
    assert {grid.columns for grid in result.grids} == {(4, 6)}
    assert result.grid("heads", "noise").effect.shape == (N_LAYERS, model.facts.n_heads, 2)
    with pytest.raises(InputError, match="There is no grid"):
        result.grid("embed")


def test_steps_count_to_the_end_and_json_reads_back() -> None:
    model = loaded("gpt2")
    *steps, result = causal_trace_steps(model, EQUAL, answers=answers(model), batch_tokens=40)
    assert isinstance(result, CausalTrace)
    done = [step.done for step in steps if isinstance(step, CausalTraceStep)]
    assert done == sorted(done)
    assert isinstance(steps[-1], CausalTraceStep)
    assert done[-1] == steps[-1].total == sum(grid.effect.size for grid in result.grids)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/causal_trace/1"
    again = CausalTrace.from_json(record)
    assert json.dumps(again.to_json()) == json.dumps(record)
    np.testing.assert_array_equal(again.grids[0].effect, result.grids[0].effect)
    with pytest.raises(InputError, match="schema"):
        CausalTrace.from_json({**record, "schema": "lens_core/lens/1"})
    contrast = Contrast.from_json({**record["contrast"], "clean_value": None})
    assert np.isnan(contrast.change)


def test_two_threads_get_what_one_gets() -> None:
    model = loaded("llama")
    wanted = answers(model)
    alignments = [EQUAL, LONGER]
    expected = [causal_trace(model, one, answers=wanted) for one in alignments]
    found: dict[int, CausalTrace] = {}

    def work(index: int) -> None:
        found[index] = causal_trace(model, alignments[index % 2], answers=wanted)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, result in found.items():
        for one, other in zip(result.grids, expected[index % 2].grids, strict=True):
            np.testing.assert_array_equal(one.effect, other.effect)
    assert len(found) == 4


def test_edits_hold_for_the_whole_trace() -> None:
    model = loaded("llama")
    wanted = answers(model)
    edit = random_edit(model, {1: [0, 3]})
    plain = causal_trace(model, EQUAL, answers=wanted)
    with applied(model, edit):
        edited = causal_trace(model, EQUAL, answers=wanted)
        running = causal_trace_steps(model, EQUAL, answers=wanted, batch_tokens=30)
        next(running)
    assert edited.header["edit"]["id"] == edit.id
    assert not np.allclose(edited.grids[0].effect, plain.grids[0].effect)
    with pytest.raises(InputError, match="edits have changed"):
        next(running)


def test_a_pair_of_texts_with_its_own_answers(demo: LoadedModel) -> None:
    pair = Pair(
        "The capital of France is", "The capital of Italy is", correct=1, answer1=" Paris",
        answer2=" Rome",
    )  # fmt: skip
    result = causal_trace(demo, pair)
    assert result.contrast.metric == "logit_difference"
    assert result.contrast.clean_value > 0 > result.contrast.corrupt_value
    assert result.header["input"]["pair"]["answer2"] == " Rome"
    assert result.header["input"]["clean"][4]["text"] == " France"
    mirrored = causal_trace(demo, pair.swapped())
    assert mirrored.contrast.clean_side == 2
    for one, other in zip(result.grids, mirrored.grids, strict=True):
        np.testing.assert_array_equal(one.effect, other.effect)
    assert causal_trace(demo, replace(pair, answer2=None)).contrast.metric == "kl"
    with pytest.raises(PromptError, match="the limit is 3"):
        causal_trace(demo, pair, max_tokens=3)
