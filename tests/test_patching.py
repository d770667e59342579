"""Patched activations: fixed values on many families, an oracle, and nothing left behind."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES as EVERY_FAMILY
from families import IDS, N_LAYERS, loaded
from torch import Tensor, nn

from lens_core import LoadedModel, capture
from lens_core.network import run as forward
from lens_core.pairs import Alignment
from lens_core.patching import causal_trace, causal_trace_steps
from lens_core.patching.columns import columns_of, edit_and_last
from lens_core.patching.patches import Patch
from lens_core.patching.question import Question, read_question
from lens_core.patching.sides import COMPONENTS, logits_of, module_of
from lens_core.patching.tracing import Tracing
from lens_core.progress import Stopped, reported
from lens_core.tree.removal import Change, Removal
from lens_core.weights import model_sha256

FAMILIES = (
    "llama", "gpt2", "gemma2", "gpt_neox_par", "falcon_7b", "mixtral", "gpt_oss", "granite",
    "opt_postln", "bloom", "qwen3_next", "deepseek_v3",
)  # fmt: skip
CLEAN = tuple(IDS.tolist())
CORRUPT = (*CLEAN[:2], 50, *CLEAN[3:])
EQUAL = Alignment(CLEAN, CORRUPT, 2, (((2, 3), (2, 3)),), tuple((i, i) for i in range(3, 7)))
LONGER = Alignment(
    CLEAN,
    (*CLEAN[:2], 50, 61, 62, *CLEAN[4:]),
    2,
    (((2, 4), (2, 5)),),
    tuple((i, i + 1) for i in range(4, 7)),
)
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=FAMILIES)
def tracing(request: pytest.FixtureRequest) -> Tracing:
    return kept(request.param)


@cache
def kept(name: str) -> Tracing:
    return traced(loaded(name))


def answers(model: LoadedModel, alignment: Alignment = EQUAL) -> tuple[int, int]:
    """The two tokens whose logits the sides differ most in."""
    first, second = (
        capture(model, torch.tensor(ids), logits="last").logits
        for ids in (alignment.ids1, alignment.ids2)
    )
    assert first is not None
    assert second is not None
    change = (first - second)[0]
    return int(change.argmax()), int(change.argmin())


def question_of(model: LoadedModel, alignment: Alignment = EQUAL, **options: Any) -> Question:
    plain = {"metric": "auto", "answers": answers(model, alignment), "max_tokens": None}
    return read_question(
        model, alignment, **{**plain, "template": None, "special": "default", **options}
    )


def traced(model: LoadedModel, alignment: Alignment = EQUAL, **options: Any) -> Tracing:
    components = [name for name in COMPONENTS if name != "heads" or "heads" not in off(model)]
    return Tracing(model, question_of(model, alignment), components, **options)


def off(model: LoadedModel) -> Any:
    return model.self_check.off


def effects(tracing: Tracing, direction: str, patches: list[Patch]) -> np.ndarray:
    """The effects of some patches, none of them left out."""
    rows = []
    for patch in patches:
        changed = tracing.changes(direction, patch)
        assert changed is not None
        rows.append(changed)
    values = np.concatenate([values for _, values in tracing.values(direction, rows)])
    return (values - tracing.corrupt_value) / (tracing.clean_value - tracing.corrupt_value)


def test_all_positions_after_block_0_restore_and_take_everything(tracing: Tracing) -> None:
    patch = Patch((("resid_post", 0),), tracing.question.columns)
    np.testing.assert_allclose(effects(tracing, "denoise", [patch]), 1, **CLOSE)
    np.testing.assert_allclose(effects(tracing, "noise", [patch]), 0, **CLOSE)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAMILIES else pytest.mark.slow)
        for name in (*FAMILIES, *(other for other in EVERY_FAMILY if other not in FAMILIES))
    ],
)
def test_fixed_values_of_the_residual_grid(name: str) -> None:
    model = loaded(name)
    result = causal_trace(model, EQUAL, answers=answers(model), components=("resid_post",))
    if not result.contrast.defined:
        assert name not in FAMILIES
        return
    denoised = result.grid("resid_post").effect
    noised = result.grid("resid_post", "noise").effect
    assert denoised.shape == (N_LAYERS, len(CLEAN))
    np.testing.assert_allclose(denoised[-1, -1], 1, **CLOSE)
    np.testing.assert_allclose(denoised[-1, :-1], 0, **CLOSE)
    np.testing.assert_allclose(denoised[:, :2], 0, **CLOSE)
    np.testing.assert_allclose(noised[-1, -1], 0, **CLOSE)
    np.testing.assert_allclose(noised[-1, :-1], 1, **CLOSE)
    np.testing.assert_allclose(noised[:, :2], 1, **CLOSE)
    assert np.abs(denoised[:-1, 2:]).max() > 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_of_patches_equals_the_loop(name: str) -> None:
    model = loaded(name)
    wanted = answers(model)
    options: dict[str, Any] = {"answers": wanted, "positions": [-1], "direction": "denoise"}
    together = causal_trace(model, EQUAL, **options)
    alone = causal_trace(model, EQUAL, **options, batch_tokens=1)
    assert {grid.component for grid in together.grids} == set(COMPONENTS)
    for one, other in zip(together.grids, alone.grids, strict=True):
        np.testing.assert_allclose(one.effect, other.effect, **CLOSE)


def test_the_runs_own_activations_change_nothing(tracing: Tracing) -> None:
    model, side = tracing.loaded, tracing.corrupt
    rows: list[Removal] = []
    for place, states in side.activations.items():
        target = module_of(model, place)
        assert target is not None
        rows += [
            tuple(Change(*target, position, put=states[position]) for position in (2, 4, 6)),
            (Change(*target, 6, put=states[6, :3], columns=slice(0, 3)),),
        ]
    assert len(rows) >= 6 * N_LAYERS
    found = logits_of(model, side.text, rows, n_read=1)
    torch.testing.assert_close(found, side.logits.expand_as(found), **CLOSE)
    own = Patch((("resid_post", 1),), tracing.question.columns)
    assert tracing.changes("denoise", own)
    same = Tracing(model, replace(tracing.question, corrupt=tracing.question.clean), COMPONENTS[:1])
    assert same.changes("denoise", own) == ()


def test_all_heads_of_a_layer_together_are_its_attention(tracing: Tracing) -> None:
    model, columns = tracing.loaded, tracing.question.columns
    for layer in range(N_LAYERS):
        if layer in model.self_check.layers_without_attention:
            continue
        place = ("heads", layer)
        single = [
            tracing.changes("denoise", Patch((place,), columns[2:], head))
            for head in range(model.facts.n_heads)
        ]
        rows: list[Any] = [
            tuple(change for changes in single for change in changes or ()),
            tracing.changes("denoise", Patch((place,), columns[2:])),
            tracing.changes("denoise", Patch((("attn_out", layer),), columns[2:])),
        ]
        assert rows[0]
        found = logits_of(model, tracing.corrupt.text, rows, n_read=1)
        torch.testing.assert_close(found[0], found[2], rtol=0, atol=3e-5)
        torch.testing.assert_close(found[1], found[2], rtol=0, atol=3e-5)


def patched_by_hand(
    model: LoadedModel, module: nn.Module, position: int, values: Tensor, ids: tuple[int, ...]
) -> Tensor:
    """The last logits with one row of a module's output overwritten."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[0, position] = values
        return output

    with ExitStack() as hooks:
        hooks.callback(module.register_forward_hook(hook).remove)
        return forward(model.model, torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("component", ["resid_post", "mlp_out"])
def test_a_cell_is_what_a_plain_hook_gives(component: str) -> None:
    model = loaded("llama")
    wanted = answers(model)
    trace = capture(model, torch.tensor(CLEAN))
    states = trace.resid_post if component == "resid_post" else trace.mlp_out
    found = causal_trace(
        model, EQUAL, answers=wanted, components=(component,), positions=[3], direction="denoise"
    )
    blocks = model.model.model.layers
    plain = [forward(model.model, torch.tensor([ids])).logits[0, -1] for ids in (CLEAN, CORRUPT)]
    clean, corrupt = (float(logits[wanted[0]] - logits[wanted[1]]) for logits in plain)
    for layer in range(N_LAYERS):
        module = blocks[layer] if component == "resid_post" else blocks[layer].mlp
        logits = patched_by_hand(model, module, 3, states[layer, 3], CORRUPT)
        value = float(logits[wanted[0]] - logits[wanted[1]])
        effect = found.grid(component).effect[layer, 0]
        assert effect == pytest.approx((value - corrupt) / (clean - corrupt), abs=1e-5)


def test_a_window_patches_the_layers_around() -> None:
    model = loaded("llama")
    wanted = answers(model)
    result = causal_trace(model, EQUAL, answers=wanted, components=("mlp_out",), window=3)
    tracing = traced(model)
    columns = [tracing.question.columns[i] for i in result.grid("mlp_out").columns]
    for layer, places in enumerate(((0, 1), (0, 1, 2), (1, 2))):
        patches = [Patch(tuple(("mlp_out", i) for i in places), (column,)) for column in columns]
        found = effects(tracing, "denoise", patches)
        np.testing.assert_allclose(result.grid("mlp_out").effect[layer], found, **CLOSE)


def test_an_edit_of_another_length_is_one_column_patched_by_its_mean() -> None:
    model = loaded("llama")
    wanted = answers(model, LONGER)
    result = causal_trace(model, LONGER, answers=wanted)
    kinds = [column.kind for column in result.contrast.columns]
    assert kinds == ["prefix", "prefix", "edit", "suffix", "suffix", "suffix"]
    assert result.contrast.columns[-1].corrupt == (7, 8)
    np.testing.assert_allclose(result.grid("resid_post").effect[-1, -1], 1, **CLOSE)
    assert any("mean of its span" in warning for warning in result.header["warnings"])
    tracing = traced(model, LONGER)
    mean = tracing.clean.activations[("resid_post", 0)][2:4].mean(0)
    block = model.anatomy.layers[0].block
    rows: list[Removal] = [tuple(Change(block, "output", at, put=mean) for at in (2, 3, 4))]
    value = tracing.measure(logits_of(model, tracing.corrupt.text, rows, n_read=1))[0]
    effect = (value - tracing.corrupt_value) / (tracing.clean_value - tracing.corrupt_value)
    assert result.grid("resid_post").effect[0, 2] == pytest.approx(effect, abs=1e-5)


def test_an_edit_that_is_empty_on_one_side_cannot_be_patched() -> None:
    model = loaded("llama")
    common = tuple((i, i - 1) for i in range(3, 7))
    shorter = Alignment(CLEAN, (*CLEAN[:2], *CLEAN[3:]), 2, (((2, 3), (2, 2)),), common)
    result = causal_trace(model, shorter, answers=answers(model, shorter))
    assert np.isnan(result.grid("resid_post").effect[:, 2]).all()
    assert np.isfinite(result.grid("resid_post").effect[:, 3:]).all()
    assert any("empty on one side" in warning for warning in result.header["warnings"])


def test_an_edit_of_several_tokens_of_one_length_has_a_column_each() -> None:
    both = Alignment((1, 2, 3, 4), (1, 5, 6, 4), 1, (((1, 3), (1, 3)),), ((3, 3),))
    columns = columns_of(both, clean_side=1)
    assert [column.clean for column in columns] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert edit_and_last(columns) == (1, 2, 3)
    appended = columns_of(both, clean_side=2, appended=2)
    assert [column.kind for column in appended[-2:]] == ["answer", "answer"]
    assert edit_and_last(appended) == (1, 2, 3, 5)


def test_a_pair_of_twins_is_grey_and_runs_nothing() -> None:
    model = loaded("llama")
    twins = Alignment(CLEAN, CLEAN, len(CLEAN), (), (), ("identical",))
    asked: list[dict[str, Any]] = [{"answers": (3, 4)}, {"metric": "kl"}]
    for options in asked:
        result = causal_trace(model, twins, **options)
        assert not result.contrast.defined
        assert result.forwards == 2
        assert all(np.isnan(grid.effect).all() for grid in result.grids)
        text = json.dumps(result.to_json(), allow_nan=False)
        assert json.loads(text)["grids"][0]["effect"][0][0] is None
        assert any("undefined below 0.1" in warning for warning in result.header["warnings"])


def hooks_left(model: LoadedModel) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.model.modules()
    )


def test_the_model_is_left_as_it_was() -> None:
    model = loaded("gemma2")
    before = model_sha256(model.model), hooks_left(model), model.model.config.to_dict()
    logits = forward(model.model, IDS[None]).logits
    causal_trace(model, EQUAL, answers=answers(model), noise=3.0, noise_samples=2)

    def stop(what: str, done: int, total: int) -> None:
        raise Stopped

    with reported(stop), pytest.raises(Stopped):
        causal_trace(model, EQUAL)
    next(iter(causal_trace_steps(model, EQUAL)))
    assert (model_sha256(model.model), hooks_left(model), model.model.config.to_dict()) == before
    assert all(p.grad is None for p in model.model.parameters())
    assert torch.equal(forward(model.model, IDS[None]).logits, logits)
