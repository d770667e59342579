"""Dims held at their mean, against random ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from families import loaded
from test_difference import items

from lens_core import capture, load_model
from lens_core.difference import (
    SetEffect,
    SetEffectStep,
    pair_difference,
    set_effect,
    set_effect_steps,
)
from lens_core.errors import InputError
from lens_core.network import run
from lens_core.pairs.record import Pair
from lens_core.records import dumps


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_before_anything_is_replaced_kl_is_that_of_the_plain_runs(name: str) -> None:
    model, pairs = loaded(name), items(6)
    found = set_effect(model, [(replace(p, correct=2), a) for p, a in pairs], 1, [3, 5])
    kl = []
    for _, alignment in pairs:
        wrong, right = (
            run(model.model, torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            for ids in (alignment.ids1, alignment.ids2)
        )
        kl.append(float((right.exp() * (right - wrong)).sum()))
    assert found.kl_before == pytest.approx(np.mean(kl), rel=1e-3)
    assert np.isnan(found.log_p_before)
    assert found.n_units == 6
    assert 1 / 51 <= found.p_kl <= 1


def test_a_set_is_held_at_its_mean_at_the_last_position() -> None:
    model, pairs, dims = loaded("llama"), items(4), [0, 7, 9]
    found = set_effect(model, [(replace(p, correct=1), a) for p, a in pairs], 2, dims)
    # After the last layer nothing follows, so the readout of the changed state is the prediction.
    traces = [
        [capture(model, torch.tensor(ids), sites=()).stream[-1, -1] for ids in (a.ids1, a.ids2)]
        for _, a in pairs
    ]
    mean = torch.stack([state for both in traces for state in both]).mean(0)
    kl = []
    for right, wrong in traces:
        changed = wrong.clone()
        changed[dims] = mean[dims]
        log_p, log_q = (
            model.readout.logits(torch.stack([right, changed])).detach().double().log_softmax(-1)
        )
        kl.append(float((log_p.exp() * (log_p - log_q)).sum()))
    assert found.kl_before + found.kl_change == pytest.approx(np.mean(kl), rel=1e-3)


def test_batches_and_order_change_nothing_and_the_record_reads_back() -> None:
    model, pairs = loaded("gpt2"), items(3)
    steps = list(set_effect_steps(model, pairs, -1, [1, 2], batch_tokens=1))
    one, many = steps[-1], set_effect(model, pairs[::-1], 2, [2, 1])
    assert isinstance(one, SetEffect)
    assert steps[0] == SetEffectStep(1, 51)
    np.testing.assert_allclose(one.random_kl_change, many.random_kl_change, 1e-3, 1e-5)
    text = dumps(one.to_json())
    assert dumps(SetEffect.from_json(json.loads(text)).to_json()) == text


def test_what_cannot_be_asked() -> None:
    model = loaded("gpt2")
    options: dict[str, Any]
    for layer, dims, options in (
        (3, [1], {}),
        (1, [], {}),
        (1, [32], {}),
        (1, list(range(17)), {}),
        (1, [1], {"n_random": 49}),
    ):
        with pytest.raises(InputError):
            set_effect(model, items(2), layer, dims, **options)
    with pytest.raises(InputError, match="None of 0"):
        set_effect(model, [], 1, [1])


def test_texts_are_aligned_and_answers_followed() -> None:
    model = load_model("demo")
    texts = [
        ("The capital of France is", "The capital of Japan is"),
        ("We know that the capital of Japan is", "We know that the capital of France is"),
        ("The capital of Italy is", "The capital of the old Spain is"),
    ]
    pairs = [Pair(*both, correct=1, oriented=True, answer1=" Paris") for both in texts]
    found = pair_difference(model, [*pairs, Pair("", "x"), Pair("same", "same")])
    # France and Japan are one edit, in whichever direction.
    assert found.n_units == 2
    assert [one.unit for one in found.pairs] == [0, 0, 1]
    assert [one.index for one in found.left_out] == [3, 4]
    assert found.prefix_rel_err is not None
    assert found.prefix_rel_err <= 1e-5
    effect = set_effect(model, pairs, 1, [0, 1])
    answer = int(model.tokenize(" Paris", special="none")[0])
    log_p = []
    for _, wrong in texts:
        logits = run(model.model, model.tokenize(wrong)[None]).logits[0, -1]
        log_p.append(float(logits.double().log_softmax(-1)[answer]))
    wanted = (np.mean(log_p[:2]) + log_p[2]) / 2
    assert effect.log_p_before == pytest.approx(wanted, rel=1e-4)
    assert 1 / 51 <= effect.p_log_p <= 1
