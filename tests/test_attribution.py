"""Occlusion and Shapley values: identities, oracles, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from families import IDS, loaded

from lens_core import (
    Attribution,
    InputError,
    NotExactError,
    PromptError,
    applied,
    attribute,
    attribute_steps,
    load_model,
)
from lens_core.attribution import AttributionStep
from lens_core.attribution.features import prompt_features
from lens_core.attribution.game import Game, Measured, Question
from lens_core.attribution.passes import Passes
from lens_core.attribution.shapley import kernel_shap, shapley
from lens_core.edits import make_edit
from lens_core.models import LoadedModel
from lens_core.network import run
from lens_core.progress import Stopped, reported
from lens_core.tokens import token_records

OCCLUDERS = ("knock_out", "replace", "mean", "delete")
TARGET = torch.tensor([3, 50])


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def question(occluder: str, **changed: Any) -> Question:
    features = tuple((i,) for i in range(1, len(IDS)))
    given = {"wanted": TARGET, "foil": None, "score": "log_p", "replacement": 7, **changed}
    return Question(IDS, features=features, occluder=occluder, **given)


def some_sets(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    single = list(~np.eye(count, dtype=bool))
    return [*single, *(random.random((8, count)) < 0.5), np.zeros(count, dtype=bool)]


def log_p(model: LoadedModel, ids: torch.Tensor, target: torch.Tensor, **options: Any) -> Any:
    """Teacher forcing, one plain forward pass."""
    whole = torch.cat([ids, target[:-1]])[None]
    logits = run(model.model, whole, **options).logits[0, -len(target) :].double()
    return logits.log_softmax(-1).gather(1, target[:, None])[:, 0].numpy()


@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_shared_passes_equal_single_ones(model: LoadedModel, occluder: str) -> None:
    """Known states read again and rows put together change nothing, on every family."""
    sets = some_sets(len(IDS) - 1)
    together = Game(model, question(occluder))
    found = [one.values for one in together.measure(sets)]
    alone = Game(model, question(occluder), share=False)
    singly = [alone.measure([present])[0].values for present in sets]
    np.testing.assert_allclose(found, singly, atol=2e-5)
    assert np.isfinite(found).all()
    attention = not model.self_check.layers_without_attention
    assert together.passes.shares == attention


def test_removing_is_what_it_says(model: LoadedModel) -> None:
    """Deleted and replaced tokens against plain runs of the changed text."""
    scores = {
        name: attribute(model, IDS, target=TARGET, occluder=name, replacement=7, features=[(2, 3)])
        for name in ("delete", "replace")
    }
    whole = log_p(model, IDS, TARGET)
    replaced = IDS.clone()
    replaced[2] = 7
    for name, ids in (("delete", IDS[[0, 1, 3, 4, 5, 6]]), ("replace", replaced)):
        found = scores[name]
        assert found.token_scores is not None
        np.testing.assert_allclose(
            found.token_scores[:, 0], whole - log_p(model, ids, TARGET), atol=2e-5
        )
        np.testing.assert_allclose(found.target_log_p, whole, atol=1e-5)


def test_a_knocked_out_token_has_no_say(model: LoadedModel) -> None:
    """Whatever its id is, the prediction without it is the same (I-9)."""
    other = IDS.clone()
    other[3] = 60
    values = []
    for ids in (IDS, other):
        game = Game(model, Question(ids, TARGET, None, "log_p", ((3,),), "knock_out", None))
        values.append(game.measure([np.array([False])])[0].values)
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)


def test_the_mean_row_is_what_every_token_gives() -> None:
    model = loaded("llama")
    found = attribute(model, IDS, target=TARGET, occluder="mean", features=[(0, 7)])
    assert found.scores.shape == (1,)
    embedding: Any = model.model.get_input_embeddings()
    rows = embedding(torch.cat([IDS, TARGET[:-1]])).detach()
    rows[:7] = embedding.weight.detach().mean(0)
    with torch.inference_mode():
        network: Any = model.model
        logits = network(inputs_embeds=rows[None]).logits[0, -2:].double()
    wanted = logits.log_softmax(-1).gather(1, TARGET[:, None]).sum()
    assert found.baseline_value == pytest.approx(float(wanted), abs=1e-5)


def test_a_token_that_replaces_itself_changes_nothing() -> None:
    found = attribute(loaded("gpt2"), IDS, occluder="replace", replacement=16, features=[(2, 3)])
    assert abs(found.scores[0]) < 1e-5
    assert found.flips is not None
    assert not found.flips[0]


def test_scores_are_those_of_plain_logits() -> None:
    """log p, contrast, KL and flip from one pair of plain runs."""
    model = loaded("llama")
    logits = run(model.model, torch.stack([IDS, IDS.where(IDS != 42, 7)])).logits[:, -1].double()
    before, after = logits.log_softmax(-1)
    found = {
        score: attribute(
            model, IDS, target=3, foil=9 if score == "contrast" else None, score=score,
            occluder="replace", replacement=7, features=[(4, 5)],
        )
        for score in ("log_p", "contrast", "kl", "flip")
    }  # fmt: skip
    kl = float((before.exp() * (before - after)).sum())
    flip = int(before.argmax()) != int(after.argmax())
    wanted = {
        "log_p": float(before[3] - after[3]),
        "contrast": float(before[3] - before[9] - after[3] + after[9]),
        "kl": kl,
        "flip": float(flip),
    }
    for score, one in found.items():
        assert one.scores[0] == pytest.approx(wanted[score], abs=1e-5), score
        assert one.kl is not None
        assert one.kl[0] == pytest.approx(kl, abs=1e-5)
        assert one.flips is not None
        assert bool(one.flips[0]) == flip


def test_the_target_is_the_likeliest_token_unless_another_is_wanted() -> None:
    model = loaded("mixtral")
    best = int(run(model.model, IDS[None]).logits[0, -1].argmax())
    free, fixed = attribute(model, IDS), attribute(model, IDS, target=best)
    assert free.target_ids.tolist() == [best]
    np.testing.assert_array_equal(free.scores, fixed.scores)


def test_what_lies_behind_the_query_counts_nothing() -> None:
    model = loaded("llama")
    found = attribute(model, IDS, query=3, features=[(0, 2), (3, 5), (5, 7)])
    short = attribute(model, IDS[:4], features=[(0, 2), (3, 4)])
    np.testing.assert_array_equal(found.scores, [*short.scores, 0.0])
    # It is so in the model, too.
    logits = [run(model.model, ids[None]).logits[0, 3] for ids in (IDS, IDS[:4])]
    torch.testing.assert_close(logits[0], logits[1])


def test_a_window_is_the_mean_of_the_windows_over_a_feature() -> None:
    model = loaded("llama")
    wide = attribute(model, IDS, window=2, features=[(1, 2), (2, 3), (3, 4)])
    pairs = [attribute(model, IDS, features=[span]).scores[0] for span in ((1, 3), (2, 4))]
    np.testing.assert_allclose(
        wide.scores, [pairs[0], (pairs[0] + pairs[1]) / 2, pairs[1]], atol=1e-5
    )


def test_interactions_complete_the_pair() -> None:
    model = loaded("llama")
    found = attribute(model, IDS, interactions=3, features=[(1, 2), (3, 4), (4, 5), (5, 6)])
    pairs = found.interactions
    assert pairs is not None
    left_out = set(range(4)) - set(pairs.features.tolist())
    assert [int(np.abs(found.scores).argmin())] == list(left_out)
    a, b = (found.features[i] for i in pairs.features[:2])
    game = Game(
        model,
        Question(IDS, torch.from_numpy(found.target_ids), None, "log_p",
                 ((a.start,), (b.start,)), "knock_out", None),
    )  # fmt: skip
    sets = [np.array(s) for s in ([True, True], [False, True], [True, False], [False, False])]
    whole, i, j, both = (one.value for one in game.measure(sets))
    assert pairs.values[0, 1] == pytest.approx(whole - i - j + both, abs=1e-5)
    assert pairs.values[1, 0] == pairs.values[0, 1]


class Toy(Game):
    """A game with a value of one's own instead of a model."""

    def __init__(self, count: int) -> None:
        self.loaded = loaded("llama")
        self.question = Question(
            IDS, TARGET, None, "log_p", tuple((i,) for i in range(count)), "replace", 0
        )
        self.full = np.ones(count, dtype=bool)
        self.asked: set[bytes] = set()

    @property
    def rows(self) -> int:
        return len(self.asked)

    def of(self, present: np.ndarray) -> Measured:
        """Features 0 and 1 count alike, together more; 2 counts nothing; the rest add up."""
        a, b, _, *rest = present.astype(float)
        values = np.array([2 * a + 2 * b + 3 * a * b, a * b + float(np.arange(len(rest)) @ rest)])
        return Measured(values, 0.0, False)

    def measuring(self, sets: Iterable[np.ndarray]) -> Iterator[tuple[int, int]]:
        self.asked |= {present.tobytes() for present in sets}
        yield 1, 1


def finished(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stopped:
            return stopped.value


def by_orders(count: int) -> np.ndarray:
    """Shapley values by their definition, over all orders."""
    toy, total = Toy(count), np.zeros((2, count))
    orders = list(permutations(range(count)))
    for order in orders:
        present = np.zeros(count, dtype=bool)
        for feature in order:
            before = toy.of(present).values
            present[feature] = True
            total[:, feature] += toy.of(present).values - before
    return total / len(orders)


def test_exact_shapley_values_are_their_definition() -> None:
    toy = Toy(5)
    found = finished(shapley(toy, samples=1, seed=0)).token_scores
    np.testing.assert_allclose(found, by_orders(5), atol=1e-12)
    assert toy.rows == 2**5
    np.testing.assert_allclose(found[:, 0], found[:, 1])
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-12)


def test_sampled_shapley_values_agree_with_the_exact_ones() -> None:
    exact = np.array([3.5 + 0.5, 3.5 + 0.5, 0, *range(9)])
    found = finished(shapley(Toy(12), samples=40, seed=1))
    again = finished(shapley(Toy(12), samples=40, seed=1))
    np.testing.assert_array_equal(found.token_scores, again.token_scores)
    errors = np.maximum(found.standard_errors, 1e-6)
    assert (np.abs(found.token_scores.sum(0) - exact) <= 3 * errors).all()
    assert found.token_scores.sum() == pytest.approx(exact.sum())


def test_kernel_shap_converges_to_the_exact_values_and_restores_the_generators() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    wanted = (torch.rand(2), np.random.rand(2))
    torch.manual_seed(5)
    np.random.seed(5)
    found = finished(kernel_shap(Toy(6), samples=4000, seed=0))
    torch.testing.assert_close(torch.rand(2), wanted[0])
    np.testing.assert_array_equal(np.random.rand(2), wanted[1])
    np.testing.assert_allclose(found.token_scores[0], by_orders(6).sum(0), atol=0.15)
    alone = finished(kernel_shap(Toy(3), samples=400, seed=0)).token_scores[0]
    assert alone.sum() == pytest.approx(Toy(3).original.value, abs=1e-3)


def test_shapley_values_of_a_model_add_up(demo: LoadedModel) -> None:
    ids = demo.tokenize("The capital of France is")
    for method in ("shapley", "kernel_shap"):
        found = attribute(demo, ids, method=method, target=" Paris, and")
        assert found.completeness_gap == pytest.approx(0, abs=2e-3)
        assert found.header["seed"] == 0


def test_features_follow_the_text(demo: LoadedModel) -> None:
    text = "The cat's mat. 我爱中国。ok 👨‍👩‍👧 end"
    records = token_records(demo.tokenizer, demo.tokenize(text, special="none").tolist())
    for kind in ("token", "cluster", "word", "sentence"):
        found = prompt_features(records, kind)
        assert [f.start for f in found] == [0, *(f.stop for f in found[:-1])]
        assert found[-1].stop == len(records)
        if kind != "token":
            assert "".join(f.text for f in found) == text
            assert all(text[f.char_start : f.char_end] == f.text for f in found)
    words = [f.text for f in prompt_features(records, "word")]
    assert words[:4] == ["The", " cat's", " mat", "."]
    assert " 👨‍👩‍👧" in words
    assert [f.text for f in prompt_features(records, "sentence")][1] == " 我爱中国。"
    assert "\ufffd" in prompt_features(records, "token")[8].text


def test_special_tokens_are_left_out_unless_asked_for(demo: LoadedModel) -> None:
    ids = demo.tokenize("The capital of France is", special="bos")
    assert [f.start for f in attribute(demo, ids).features] == [1, 2, 3, 4, 5]
    assert [f.start for f in attribute(demo, ids, specials=True).features] == list(range(6))
    assert [f.start for f in attribute(demo, ids, positions=[2, -1]).features] == [2, 5]


def test_a_model_that_cannot_hide_tokens_says_so() -> None:
    model = loaded("rwkv")
    with pytest.raises(NotExactError, match="cannot be knocked out; use replace"):
        attribute(model, IDS, occluder="knock_out")
    found = attribute(model, IDS)
    assert found.params["occluder"] == "replace"
    assert any("Here replace was used" in warning for warning in found.header["warnings"])
    replaced = attribute(model, IDS, occluder="replace")
    np.testing.assert_array_equal(found.scores, replaced.scores)


def test_a_cache_that_is_not_exact_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("llama")
    plain = Passes._states

    def spoiled(self: Passes, start: int, rows: int) -> Any:
        cache: Any = plain(self, start, rows)
        cache.layers[0].keys = cache.layers[0].keys + 1
        return cache

    wanted = attribute(model, IDS).scores
    monkeypatch.setattr(Passes, "_states", spoiled)
    assert not Game(model, question("knock_out")).passes.shares
    np.testing.assert_allclose(attribute(model, IDS).scores, wanted, atol=1e-5)


def test_nothing_is_left_behind_and_steps_lead_to_the_result() -> None:
    model = loaded("gemma2")
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    *steps, last = attribute_steps(model, IDS, occluder="mean", interactions=4)
    assert isinstance(last, Attribution)
    assert all(isinstance(step, AttributionStep) for step in steps)
    np.testing.assert_allclose(steps[-1].scores, last.scores, atol=1e-6)
    for name, weight in model.model.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
    embedding = model.model.get_input_embeddings()
    assert embedding is not None
    assert not embedding._forward_hooks
    abandoned = attribute_steps(model, IDS)
    next(abandoned)
    del abandoned
    assert model.lock.acquire(blocking=False)
    model.lock.release()


def test_ticks_count_rows_and_may_stop_a_run() -> None:
    seen: list[tuple[str, int, int]] = []

    def listener(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))
        if len(seen) == 2:
            raise Stopped

    with pytest.raises(Stopped), reported(listener):
        attribute(loaded("llama"), IDS)
    assert [what for what, _, _ in seen] == ["row", "row"]
    assert attribute(loaded("llama"), IDS).scores.shape == (7,)


def test_edits_must_hold_to_the_last_step() -> None:
    model = loaded("llama")
    edit = make_edit(model, {0: (torch.tensor([1]), torch.ones(1, 32))})
    with applied(model, edit):
        steps = attribute_steps(model, IDS, interactions=4)
        next(steps)
        edited = attribute(model, IDS)
    with pytest.raises(InputError, match="edits have changed"):
        list(steps)
    assert edited.header["edit"]["id"] == edit.id


@pytest.mark.parametrize("method", ["occlusion", "shapley"])
def test_the_record_reads_back(demo: LoadedModel, method: str) -> None:
    ids = demo.tokenize("The capital of France is")
    found = attribute(demo, ids, method=method, target=" Paris, and", interactions=3)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Attribution.from_json(record).to_json() == record
    assert record["schema"] == "lens_core/attribution/1"
    assert all(str(token) in record["vocab"] for token in [*ids.tolist(), *found.target_ids])
    lines = found.to_csv().splitlines()
    assert len(lines) == len(found.features) + 1
    assert lines[0].endswith(",target_0,target_1,target_2")
    with pytest.raises(InputError, match="schema"):
        Attribution.from_json({**record, "schema": "x"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "deep_lift"}, "method is 'deep_lift'; it can be occlusion"),
        ({"occluder": "noise"}, "occluder is 'noise'"),
        ({"score": "contrast"}, "a contrast needs a foil"),
        ({"foil": 3, "score": "kl"}, "a contrast needs a foil"),
        ({"foil": 3, "target": [4, 5]}, "target has 2 tokens; a contrast takes one"),
        ({"method": "input_x_gradient", "score": "kl"}, "can use log_p and contrast"),
        ({"features": "line"}, "features is 'line'"),
        ({"features": [(0, 3), (2, 4)]}, "overlap"),
        ({"features": [(3, 3)]}, "empty or outside"),
        ({"features": [(1, 2, 3)]}, "no pair"),
        ({"positions": [9]}, "position 9 is outside"),
        ({"query": 7}, "query is 7"),
        ({"window": 0}, "window is 0"),
        ({"target": 97}, "0 to 96"),
        ({"target": [3] * 65}, "65 tokens; the limit is 64"),
        ({"occluder": "delete", "method": "shapley"}, "Nothing of the prompt would be left"),
        ({"method": "kernel_shap", "samples": 0}, "samples is 0"),
    ],
)
def test_what_cannot_be_asked_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attribute(loaded("llama"), IDS, **arguments)


def test_nothing_to_attribute_to_is_named() -> None:
    with pytest.raises(PromptError, match="None of the 7 tokens"):
        attribute(loaded("llama"), IDS, positions=[])
    with pytest.raises(PromptError, match="No feature begins before position 1"):
        attribute(loaded("llama"), IDS, query=1, features=[(3, 4)])
    with pytest.raises(InputError, match="give a replacement"):
        attribute(loaded("gpt2"), IDS, occluder="replace")
    ids = torch.arange(12) + 3
    with pytest.raises(InputError, match="the limit is 20000"):
        attribute(loaded("llama"), ids, method="shapley", samples=2000)


def test_one_token_is_enough() -> None:
    """Its own row is replaced, since it cannot be hidden from itself."""
    found = attribute(loaded("llama"), IDS[:1], method="kernel_shap")
    assert found.completeness_gap == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="Nothing of the prompt would be left"):
        attribute(loaded("llama"), IDS[:1], occluder="delete")


def test_a_baseline_that_cannot_be_run_is_not_known() -> None:
    found = attribute(loaded("llama"), IDS, occluder="delete", features=[(0, 3), (3, 7)])
    assert found.baseline_value is None
    assert found.completeness_gap is None
    nothing = {"absolute": None, "relative": None, "large": None}
    assert found.to_json()["completeness_gap"] == nothing
