"""Attribution by gradients, Captum as the oracle, and a guard on what Captum gets wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from families import IDS, loaded

import lens_core.attribution
from lens_core import Attribution, InputError, NotExactError, attribute, load_model
from lens_core.attribution.game import Question
from lens_core.attribution.gradients import (
    Surface,
    expected_gradients,
    input_x_gradient,
    integrated_gradients,
)
from lens_core.models import LoadedModel

METHODS = ("input_x_gradient", "integrated_gradients", "gradient_shap")
TEXT = "The capital of France is"
TARGET = " Paris, and"
SMOOTH = ("llama", "gpt2", "gemma2", "gpt_neox_par", "falcon_7b", "granite")
"""Families without experts, which a gradient cannot choose among."""


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def finished(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stopped:
            return stopped.value


@pytest.mark.parametrize("name", SMOOTH)
def test_integrated_gradients_add_up(name: str) -> None:
    found = attribute(loaded(name), IDS, method="integrated_gradients", target=[3])
    assert found.relative_gap is not None
    assert found.relative_gap <= 0.01
    assert 50 <= found.params["steps"] <= 400


def test_half_the_steps_give_the_same_scores(demo: LoadedModel) -> None:
    ids = demo.tokenize(TEXT)
    surface = Surface(demo, asked(demo, ids))
    halves = [
        IntegratedGradients(surface.values).attribute(
            surface.inputs, baselines=surface.with_row(surface.inputs[0, 0]), target=0, n_steps=n
        )
        for n in (100, 200)
    ]
    largest = float(halves[1].abs().max())
    torch.testing.assert_close(halves[0], halves[1], rtol=0, atol=0.01 * largest)


def test_a_baseline_like_the_prompt_gives_nothing() -> None:
    model = loaded("llama")
    ids = torch.tensor([5, 5, 5])
    found = attribute(model, ids, method="integrated_gradients", replacement=5)
    np.testing.assert_allclose(found.scores, 0, atol=1e-6)
    assert found.header["warnings"] == model.self_check.warnings


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_and_no_hook_is_left(model: LoadedModel, method: str) -> None:
    found = attribute(model, IDS, method=method, target=[3], max_steps=50)
    assert np.isfinite(found.scores).all()
    assert all(weight.grad is None for weight in model.model.parameters())
    embedding: Any = model.model.get_input_embeddings()
    assert not embedding._forward_hooks


class Linear(Surface):
    """A value that is linear in the embeddings, as with a head alone."""

    def values(self, embeddings: torch.Tensor) -> torch.Tensor:
        weight = torch.linspace(-1, 1, embeddings[0].numel()).view_as(embeddings[0])
        return (embeddings * weight).flatten(1).sum(1, keepdim=True)


def asked(model: LoadedModel, ids: torch.Tensor) -> Question:
    features = tuple((i,) for i in range(len(ids)))
    return Question(ids, torch.tensor([3]), None, "log_p", features, "replace", None)


def test_on_a_linear_value_gradients_are_exact_occlusion() -> None:
    """Input x gradient takes away the embedding; the others the difference to their baseline."""
    surface = Linear(loaded("llama"), asked(loaded("llama"), IDS))
    scores = finished(input_x_gradient(surface)).token_scores[0]
    for at in range(len(IDS)):
        without = surface.inputs.clone()
        without[:, at] = 0
        lost = surface.total(surface.inputs) - surface.total(without)
        assert scores[at] == pytest.approx(lost, abs=1e-5)
    both = [
        finished(integrated_gradients(surface, replacement=7, max_steps=50)),
        finished(expected_gradients(surface, replacement=7, samples=5, seed=0)),
    ]
    for found in both:
        change = found.value - found.baseline_value
        assert found.token_scores.sum() == pytest.approx(change, abs=1e-4)
    np.testing.assert_allclose(both[0].token_scores, both[1].token_scores, atol=1e-5)


def test_draws_follow_the_seed(demo: LoadedModel) -> None:
    ids = demo.tokenize(TEXT)
    runs = [attribute(demo, ids, method="gradient_shap", seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].scores, runs[1].scores)
    assert not np.array_equal(runs[0].scores, runs[2].scores)
    assert runs[0].standard_errors is not None
    assert runs[0].params["samples"] == 25


def test_the_foil_is_taken_off(demo: LoadedModel) -> None:
    ids = demo.tokenize(TEXT)
    found = attribute(demo, ids, method="integrated_gradients", target=" Paris", foil=" Lagos")
    assert found.score == "contrast"
    assert found.relative_gap is not None
    assert found.relative_gap <= 0.01


def test_scores_that_do_not_add_up_are_warned_of() -> None:
    """A choice among experts jumps where gradients see nothing."""
    found = attribute(loaded("mixtral"), IDS, method="integrated_gradients", target=[3])
    assert found.relative_gap is not None
    assert found.relative_gap > 0.05
    assert found.params["steps"] == 400
    assert any("do not trust single scores" in text for text in found.header["warnings"])


def test_a_gradient_of_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Surface.values
    monkeypatch.setattr(Surface, "values", lambda self, at: plain(self, at) * 0)
    with pytest.raises(NotExactError, match="is zero or not finite"):
        attribute(loaded("llama"), IDS, method="integrated_gradients")


def test_a_baseline_as_good_as_zero_is_refused() -> None:
    model = loaded("llama")
    embedding: Any = model.model.get_input_embeddings()
    row = embedding.weight.data[7].clone()
    embedding.weight.data[7] = 0
    try:
        with pytest.raises(InputError, match="as good as zero"):
            attribute(model, IDS, method="integrated_gradients", replacement=7)
    finally:
        embedding.weight.data[7] = row


@pytest.mark.parametrize("method", METHODS)
def test_the_record_reads_back(demo: LoadedModel, method: str) -> None:
    found = attribute(demo, demo.tokenize(TEXT), method=method, target=TARGET)
    assert found.token_scores is not None
    np.testing.assert_allclose(found.token_scores.sum(0), found.scores, rtol=1e-4, atol=1e-4)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Attribution.from_json(record).to_json() == record


def captum(model: LoadedModel, **flags: Any) -> np.ndarray:
    """What Captum's wrapper for language models gives for replacing each token by token 1."""
    tokenizer: Any = model.tokenizer
    text = TextTokenInput(TEXT, tokenizer, baselines=1)
    method = LLMAttribution(FeatureAblation(model.model), tokenizer)
    with torch.no_grad():
        found = method.attribute(text, target=TARGET, **flags)
    assert found.token_attr is not None
    return found.token_attr.cpu().numpy()


def test_occlusion_is_captum_with_its_right_settings(demo: LoadedModel) -> None:
    right = captum(demo, use_cached_outputs=False, forward_in_tokens=False)
    ids = demo.tokenize(TEXT)
    ours = attribute(
        demo, ids, target=TARGET, occluder="replace", replacement=1, specials=True
    ).token_scores
    np.testing.assert_allclose(ours, right, atol=1e-4)


def test_captum_is_still_wrong_where_it_was(demo: LoadedModel) -> None:
    """Its cached path reads tokens twice. When this fails, Captum was repaired; see gradients."""
    right = captum(demo, use_cached_outputs=False, forward_in_tokens=False)
    cached = captum(demo, use_cached_outputs=True, forward_in_tokens=True)
    np.testing.assert_allclose(cached[0], right[0], atol=1e-4)
    assert np.abs(cached[1:] - right[1:]).max() > 0.1


def test_integrated_gradients_are_captum_on_its_own_path(demo: LoadedModel) -> None:
    embedding: Any = demo.model.get_input_embeddings()
    tokenizer: Any = demo.tokenizer
    method = LLMGradientAttribution(LayerIntegratedGradients(demo.model, embedding), tokenizer)
    found = method.attribute(
        TextTokenInput(TEXT, tokenizer, baselines=1), target=TARGET, n_steps=100
    ).token_attr
    ours = attribute(
        demo, demo.tokenize(TEXT), method="integrated_gradients", target=TARGET, replacement=1,
        specials=True,
    ).token_scores  # fmt: skip
    assert found is not None
    assert ours is not None
    # The first token alone: for later ones Captum also replaces the target before them.
    np.testing.assert_allclose(found[0, : ours.shape[1]].cpu(), ours[0], atol=0.02)


def test_the_wrapper_with_wrong_defaults_is_not_used() -> None:
    folder = Path(lens_core.attribution.__file__).parent
    for path in folder.glob("*.py"):
        assert "LLMAttribution" not in path.read_text("utf-8"), path
        assert "riemann" not in path.read_text("utf-8"), path
