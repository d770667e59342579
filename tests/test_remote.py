"""Importance over an API: equal to the local one where it can be, and honest where it cannot."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
import torch
from fake_endpoint import (
    Body,
    LocalModel,
    Refusal,
    Served,
    capital_model,
    capitals,
    chat,
    serving,
    user_text,
)

from lens_core import (
    Endpoint,
    LoadedModel,
    RemoteImportance,
    RemoteStep,
    attribute,
    load_model,
    remote_estimate,
    remote_importance,
    remote_importance_steps,
)
from lens_core.errors import InputError, ModelError, PromptError
from lens_core.network import run
from lens_core.remote.units import masked, words

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def ask(served: Served, prompt: str = PROMPT, **options: Any) -> RemoteImportance:
    return remote_importance(Endpoint(served.url, "m"), prompt, first_wait_s=0.001, **options)


@pytest.mark.parametrize("form", ["echo", "echo1", "prompt_logprobs"])
def test_tier_1_is_local_occlusion(demo: LoadedModel, form: str) -> None:
    """Deleting a word over the API is deleting it here, token of the answer by token: I-17."""
    answer = " Paris,"
    with serving(LocalModel(demo, form)) as served:
        found = ask(served, answer=answer)
    assert (found.tier, found.noise.values) == (1, ())
    whole, _ = local_log_ps(demo, PROMPT, answer)
    assert found.answer["log_p"] == pytest.approx(whole, abs=1e-6)
    for one, unit in zip(found.features, words(PROMPT), strict=True):
        without, flips = local_log_ps(demo, masked(PROMPT, unit, ""), answer)
        each = [before - after for before, after in zip(whole, without, strict=True)]
        assert one.token_scores == pytest.approx(each, abs=1e-6)
        assert one.importance == one.low == one.high
        assert one.importance == pytest.approx(sum(each), abs=1e-6)
        assert one.flip == flips
        assert one.above_noise


def local_log_ps(loaded: LoadedModel, prompt: str, answer: str) -> tuple[list[float], bool]:
    """Log-probabilities of the answer's tokens, joined as ids, and whether another is likelier."""
    before, after = loaded.tokenize(prompt), loaded.tokenize(answer, special="none")
    both = torch.cat([before, after])
    rows = run(loaded.model, both[None]).logits[0, len(before) - 1 : -1].double().log_softmax(-1)
    chosen = rows.gather(-1, after[:, None])[:, 0]
    return chosen.tolist(), bool((rows.argmax(-1) != after).any())


def test_tier_1_is_attribution_by_deletion(demo: LoadedModel) -> None:
    """The local method works on tokens, this one on text."""
    ids = demo.tokenize(PROMPT)
    local = attribute(demo, ids, target=" Paris", features="word", occluder="delete")
    with serving(LocalModel(demo)) as served:
        found = ask(served, answer=" Paris")
    assert [one.importance for one in found.features] == pytest.approx(local.scores, abs=1e-5)


def test_the_answer_is_the_models_own(demo: LoadedModel) -> None:
    server = LocalModel(demo)
    with serving(server) as served:
        found = ask(served, answer_tokens=3)
        estimate = remote_estimate(PROMPT, answer_tokens=3)
    assert found.tier == 1
    assert found.answer["text"] == server.greedy(PROMPT, 3)
    assert found.requests <= estimate.requests


def first_token_model(path: str, body: Body) -> Body:
    """Three words have a weight each; 30 tokens share what is left."""
    if path != "chat/completions":
        raise Refusal(404, "no such function")
    if body["top_logprobs"] > 5:
        raise Refusal(400, "top_logprobs can be 5 at most")
    return chat(capitals(user_text(body)), listed(user_text(body), body["top_logprobs"]))


def whole(text: str) -> dict[str, float]:
    weights = {"France": 3.0, "capital": 1.0, "of": 0.1}
    logit = sum(weight for word, weight in weights.items() if word in text)
    # "It" falls behind the others without France.
    raw = {"It": math.exp(logit), **{f"w{n}": 3.0 * 0.9**n for n in range(30)}}
    total = sum(raw.values())
    return {token: value / total for token, value in raw.items()}


def listed(text: str, count: int) -> dict[str, float]:
    best = sorted(whole(text).items(), key=lambda item: -item[1])[:count]
    return dict(best)


def test_tier_2_sees_the_first_token() -> None:
    with serving(first_token_model) as served:
        found = ask(served)
    before = whole(PROMPT)
    assert (found.tier, found.answer["tokens"]) == (2, ["It"])
    assert found.method["score"] == "log_p_first"
    assert found.noise.values == pytest.approx([0, 0, 0], abs=1e-12)
    for one, unit in zip(found.features, words(PROMPT), strict=True):
        text = masked(PROMPT, unit, "")
        loss = math.log(before["It"]) - math.log(whole(text)["It"])
        assert one.js is not None
        assert one.js[0] - 1e-9 <= divergence(before, whole(text)) <= one.js[1] + 1e-9
        if "It" in listed(text, 5):
            assert one.importance == pytest.approx(loss, abs=1e-9)
            assert one.high == pytest.approx(loss, abs=1e-9)
        else:
            assert unit.text == "France"
            assert one.high is None
            assert 0 < one.importance <= loss
            assert one.flip
        assert one.above_noise == (unit.text in ("capital", "of", "France"))


def divergence(p: dict[str, float], q: dict[str, float]) -> float:
    middle = {token: (p[token] + q[token]) / 2 for token in p}
    return sum(0.5 * x[t] * math.log(x[t] / middle[t]) for x in (p, q) for t in p)


def test_tier_3_compares_answers() -> None:
    with serving(capital_model) as served:
        found = ask(served)
        estimate = remote_estimate(PROMPT)
    assert (found.tier, found.answer["text"]) == (3, "It is Paris, surely.")
    assert found.noise.values == (0, 0, 0)
    important = [one.text for one in found.features if one.above_noise]
    assert important == ["capital", "France"]
    for one in found.features:
        assert one.flip == one.above_noise
        assert one.distances is not None
        assert one.importance == one.distances["edit"]
        assert one.answer == capitals(PROMPT.replace(" " + one.text, ""))
    assert found.requests <= estimate.requests
    # One more asked whether there are log-probabilities.
    assert found.usage == {"prompt_tokens": 7 * 10, "completion_tokens": 10}


@pytest.mark.parametrize("distance", ["exact", "chrf"])
def test_other_distances(distance: str) -> None:
    with serving(capital_model) as served:
        found = ask(served, tier=3, distance=distance)
    assert [one.importance > 0 for one in found.features] == [False, True, False, True, False]


def test_embeddings_are_compared() -> None:
    def model(path: str, body: Body) -> Body:
        if path == "embeddings":
            return {"data": [{"embedding": [1.0, 0.0] if "Paris" in body["input"] else [0.0, 2.0]}]}
        return capital_model(path, body)

    options = {"tier": 3, "distance": "embedding", "embedding_model": "e"}
    with serving(model) as served:
        found = ask(served, **options)
    assert [one.importance for one in found.features] == pytest.approx([0, 1, 0, 1, 0])
    assert found.requests <= remote_estimate(PROMPT, **options).requests


def test_noise_alone_is_not_important() -> None:
    """Answers that have nothing to do with the prompt: I-18."""
    draw = random.Random(0)

    def model(path: str, body: Body) -> Body:
        return chat(" ".join(draw.choices("abcdefgh", k=8)))

    prompt = " ".join(f"word{n}" for n in range(40))
    with serving(model) as served:
        found = ask(served, prompt, tier=3, repeats=20, concurrency=1)
    above = [one for one in found.features if one.above_noise]
    assert len(above) <= 0.1 * len(found.features)
    assert all(one.p_value is not None and one.p_value > 0.04 for one in found.features)
    assert abs(sum(one.importance for one in found.features)) < 0.1 * len(found.features)
    assert found.to_json()["noise"]["chance"] == pytest.approx(1 / 21)


def test_a_real_effect_exceeds_the_noise() -> None:
    draw = random.Random(1)

    def model(path: str, body: Body) -> Body:
        end = draw.choice(["", " Yes.", " Indeed."])
        return chat(capitals(user_text(body)) + end)

    with serving(model) as served:
        found = ask(served, tier=3, repeats=10, concurrency=1)
    assert [one.text for one in found.features if one.above_noise] == ["capital", "France"]
    for one in found.features:
        assert one.high is not None
        assert one.low <= one.importance <= one.high


def test_words_are_looked_at_in_sentences_that_matter() -> None:
    prompt = "Please be kind. What is the capital of France? Thank you so much!"
    with serving(capital_model) as served:
        found = ask(served, prompt, units="hierarchical", tier=3)
        assert found.requests <= remote_estimate(prompt, units="hierarchical", tier=3).requests
        single = ask(served, "What is the capital of France?", units="hierarchical", tier=3)
    top = [one for one in found.features if one.parent is None]
    assert [one.text for one in top] == [
        "Please be kind.",
        "What is the capital of France?",
        "Thank you so much!",
    ]
    inner = [one for one in found.features if one.parent is not None]
    assert [one.text for one in inner] == ["What", "is", "the", "capital", "of", "France"]
    assert all(found.features[one.parent or 0].text == top[1].text for one in inner)
    assert [one.text for one in inner if one.above_noise] == ["capital", "France"]
    assert [one.text for one in single.features] == [one.text for one in inner]


def test_neighbours_are_proposed_once() -> None:
    def model(path: str, body: Body) -> Body:
        text = user_text(body)
        if "One line for each" in text:
            return chat('1. Some\n2: "city"\n\n4) Spain\nnonsense\n5: is')
        return capital_model(path, body)

    with serving(model) as served:
        found = ask(served, tier=3, mask="neighbour")
    assert [one.mask for one in found.features] == ["Some", "city", "…", "Spain", "…"]
    assert sum("One line" in user_text(body) for _, body in served.asked) == 1
    assert "2 of 5" in found.header["warnings"][0]
    assert any(user_text(body) == "The capital of Spain is" for _, body in served.asked)
    assert found.requests <= remote_estimate(PROMPT, tier=3, mask="neighbour").requests


@pytest.mark.parametrize("mask", ["…", "[MASK]"])
def test_masks_and_protected_parts(mask: str) -> None:
    system = "Answer in one word."
    with serving(capital_model) as served:
        found = ask(
            served, tier=3, mask=mask, system=system, protected=["The", (12, 14)], repeats=0
        )
    assert [one.text for one in found.features] == ["capital", "France", "is"]
    texts = {user_text(body) for _, body in served.asked}
    assert texts == {PROMPT, *(PROMPT.replace(word, mask) for word in ("capital", "France", "is"))}
    assert {body["messages"][0]["content"] for _, body in served.asked} == {system}


def test_endpoints_take_different_options() -> None:
    """What an endpoint complains of is left out from then on."""

    def model(path: str, body: Body) -> Body:
        if "max_tokens" in body:
            raise Refusal(400, "Use 'max_completion_tokens' instead of 'max_tokens'.")
        for name in ("temperature", "seed"):
            if name in body:
                raise Refusal(422, f"Unsupported value: '{name}'.")
        return capital_model(path, body)

    with serving(model) as served:
        found = ask(served, tier=3)
    assert found.requests == 3 + 1 + 3 + 5
    assert found.requests <= remote_estimate(PROMPT, tier=3).requests
    assert set(served.asked[-1][1]) == {"model", "messages", "max_completion_tokens"}


def test_an_endpoint_without_chat() -> None:
    def model(path: str, body: Body) -> Body:
        if path != "completions" or "echo" in body or "prompt_logprobs" in body:
            raise Refusal(404, "no such function")
        return {"choices": [{"text": capitals(body["prompt"])}]}

    with serving(model) as served:
        found = ask(served)
    assert found.tier == 3
    assert [one.text for one in found.features if one.above_noise] == ["capital", "France"]


def test_tiers_that_are_not_there_are_refused() -> None:
    cases: list[dict[str, Any]] = [{"tier": 1}, {"tier": 2}, {"answer": " Paris"}]
    with serving(capital_model) as served:
        for options in cases:
            with pytest.raises(ModelError, match="log-probabilities that tier"):
                ask(served, **options)


def test_steps_begin_with_the_estimate_and_end_with_the_result() -> None:
    with serving(capital_model) as served:
        steps = remote_importance_steps(Endpoint(served.url, "m"), PROMPT, tier=3)
        first = next(steps)
        assert isinstance(first, RemoteStep)
        assert (first.stage, first.requests, served.asked) == ("estimate", 0, [])
        assert first.estimate == remote_estimate(PROMPT, tier=3)
        *between, last = steps
    assert isinstance(last, RemoteImportance)
    stages = [step.stage for step in between if isinstance(step, RemoteStep)]
    assert stages == ["connected", *["noise"] * 3, *["features"] * 5]
    final = between[-1]
    assert isinstance(final, RemoteStep)
    assert (final.done, final.total, final.features) == (8, 8, last.features)


def test_dropping_the_steps_sends_nothing_more() -> None:
    with serving(capital_model) as served:
        endpoint = Endpoint(served.url, "m")
        steps = remote_importance_steps(endpoint, PROMPT * 20, tier=3, concurrency=1)
        for step in steps:
            if isinstance(step, RemoteStep) and step.stage == "features":
                break
        steps.close()
        sent = len(served.asked)
    assert sent <= 1 + 3 + 1 + 2


def test_json_and_csv_read_back(demo: LoadedModel) -> None:
    for model in (LocalModel(demo), first_token_model, capital_model):
        with serving(model) as served:
            found = ask(served)
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert RemoteImportance.from_json(record).to_json() == found.to_json()
        assert record["schema"] == "lens_core/remote_importance/1"
        assert len(found.to_csv().splitlines()) == 1 + len(found.features)
    with pytest.raises(InputError, match="schema"):
        RemoteImportance.from_json({})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tier": 4}, "tier"),
        ({"units": "letters"}, "units"),
        ({"distance": "bleu"}, "distance"),
        ({"distance": "embedding"}, "embedding_model"),
        ({"cjk": "word"}, "cjk"),
        ({"answer": ""}, "answer"),
        ({"tier": 1, "system": "x"}, "system"),
        ({"tier": 3, "answer": "x"}, "tier 1"),
        ({"repeats": -1}, "repeats"),
        ({"concurrency": 5}, "concurrency"),
        ({"floor": math.nan}, "floor"),
        ({"protected": ["Spain"]}, "Spain"),
        ({"units": [(0, 3), (2, 5)]}, "overlaps"),
        ({"units": [(0, 99)]}, "outside"),
        ({"max_requests": 5}, "max_requests is 5"),
    ],
)
def test_wrong_arguments_send_nothing(options: dict[str, Any], said: str) -> None:
    with serving(capital_model) as served:
        with pytest.raises(InputError, match=said):
            ask(served, **options)
        assert served.asked == []


def test_nothing_to_mask() -> None:
    for prompt in ("", "?!", " \n"):
        with pytest.raises(PromptError):
            remote_estimate(prompt)
