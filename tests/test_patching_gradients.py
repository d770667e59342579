"""Estimates of patches by gradients: the slope is right, the error is measured, nothing is left."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from families import N_LAYERS, loaded
from test_patching import EQUAL, LONGER, answers, hooks_left, traced

from lens_core import InputError, NotExactError
from lens_core.patching import AttributionPatching, attribution_patching, causal_trace
from lens_core.patching.gradients import gradients
from lens_core.patching.sides import COMPONENTS, logits_of, module_of
from lens_core.tree.removal import Change, Removal
from lens_core.weights import model_sha256

STEP = 0.01


@pytest.mark.parametrize(
    "name", ["llama", "gemma2", "falcon_7b", "gpt_neox_par", "opt_postln", "bloom", "gpt_oss"]
)
def test_the_gradient_is_the_slope_of_true_patches(name: str) -> None:
    model = loaded(name)
    tracing = traced(model)
    slopes = gradients(tracing, COMPONENTS)
    assert len(slopes) == len(COMPONENTS) * N_LAYERS
    found, rows = [], []
    for component in COMPONENTS:
        for layer in range(N_LAYERS):
            place = (component, layer)
            target = module_of(model, place)
            assert target is not None
            own = tracing.corrupt.activations[place][4]
            moved = tracing.clean.activations[place][4] - own
            moved = moved / moved.norm().clamp_min(1e-6) * own.norm()
            for step in (STEP, -STEP):
                change: Removal = (Change(*target, 4, put=own + step * moved),)
                rows.append(change)
            found.append(float(slopes[place][4] @ moved))
    values = tracing.measure(logits_of(model, tracing.corrupt.text, rows, n_read=1))
    wanted = (values[::2] - values[1::2]) / (2 * STEP)
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02 * np.abs(wanted).max())


def test_estimates_stand_beside_true_patches() -> None:
    model = loaded("llama")
    wanted = answers(model)
    before = model_sha256(model.model), hooks_left(model)
    result = attribution_patching(model, EQUAL, answers=wanted)
    assert (model_sha256(model.model), hooks_left(model)) == before
    assert all(p.grad is None for p in model.model.parameters())
    true = causal_trace(model, EQUAL, answers=wanted, direction="denoise")
    assert result.approximate
    assert len(result.checks) >= 10
    for check in result.checks:
        grid = true.grids[check.grid]
        assert grid.effect.shape == result.grids[check.grid].effect.shape
        assert check.true == pytest.approx(float(grid.effect[check.index]), abs=1e-5)
        assert check.estimate == float(result.grids[check.grid].effect[check.index])
    sizes = [abs(check.estimate) for check in result.checks]
    assert sizes == sorted(sizes, reverse=True)
    assert result.worst_error is not None
    assert result.worst_error == pytest.approx(float(np.abs(result.errors).max()))
    assert any(warning.startswith("Approximate") for warning in result.header["warnings"])
    # Nothing lies between the last state and the logits but the norm and the head.
    np.testing.assert_allclose(result.grid("resid_post").effect[-1, :-1], 0, atol=1e-6)


def test_heads_sum_to_their_attention_and_means_are_taken() -> None:
    model = loaded("gpt2")
    for alignment in (EQUAL, LONGER):
        result = attribution_patching(model, alignment, answers=answers(model, alignment))
        heads, whole = result.grid("heads"), result.grid("attn_out")
        np.testing.assert_allclose(heads.effect.sum(1), whole.effect, rtol=0, atol=1e-5)


def test_json_reads_back_and_twins_are_grey() -> None:
    model = loaded("llama")
    result = attribution_patching(model, EQUAL, answers=answers(model), components=["resid_post"])
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/attribution_patching/1"
    assert json.dumps(AttributionPatching.from_json(record).to_json()) == json.dumps(record)
    twins = type(EQUAL)(EQUAL.ids1, EQUAL.ids1, 7, (), ())
    grey = attribution_patching(model, twins, answers=(3, 4))
    assert grey.checks == ()
    assert grey.worst_error is None
    assert np.isnan(grey.grid("mlp_out").effect).all()
    assert json.loads(json.dumps(grey.to_json(), allow_nan=False))["error"]["largest"] is None


def test_a_gradient_that_is_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("llama")
    with pytest.raises(InputError, match="checks is 3"):
        attribution_patching(model, EQUAL, checks=3)

    tracing = traced(model)
    for spoil in (lambda output: output.detach(), lambda output: output * float("nan")):

        def cut(module: Any, args: Any, output: torch.Tensor, spoil: Any = spoil) -> Any:
            return spoil(output)

        handle = model.anatomy.layers[-1].block.register_forward_hook(cut)
        try:
            with pytest.raises(NotExactError, match="zero or not finite"):
                gradients(tracing, COMPONENTS)
        finally:
            handle.remove()
