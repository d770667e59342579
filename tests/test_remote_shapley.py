"""Shapley values over an API: what they sum to, whom they treat alike, and what they cost."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from fake_endpoint import (
    Body,
    LocalModel,
    Refusal,
    Served,
    capital_model,
    chat,
    serving,
    user_text,
)
from test_command_line import run as command

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
from lens_core.cli.remote_report import remote_report
from lens_core.errors import InputError, LensError, ModelError
from lens_core.remote.orders import is_exact, most_sets, plan
from lens_core.remote.units import masked, masked_together, words

PROMPT = "The capital of France is"
SAMPLED = "one two three four five six"


def ask(served: Served, prompt: str = PROMPT, **options: Any) -> RemoteImportance:
    asked = {"method": "shapley", "first_wait_s": 0.001, **options}
    return remote_importance(Endpoint(served.url, "m"), prompt, **asked)


def of_texts(answer: Callable[[str], str]) -> Callable[[str, Body], Body]:
    """A chat that answers what a function makes of the prompt."""

    def model(path: str, body: Body) -> Body:
        if path != "chat/completions":
            raise Refusal(404, "no such function")
        return chat(answer(user_text(body)))

    return model


def weights(text: str) -> str:
    """So many words that the share of words which change adds up over the parts."""
    own = {"one": 1, "two": 2, "three": 3, "four": 4}
    count = 10 - sum(weight for word, weight in own.items() if word not in text)
    return " ".join(f"w{n}" for n in range(count))


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def test_tier_1_is_local_attribution_by_deletion(demo: LoadedModel) -> None:
    """The local method works on tokens, this one on text, also where nothing is left of it."""
    local = attribute(
        demo,
        demo.tokenize(PROMPT),
        method="shapley",
        target=" Paris",
        features="word",
        occluder="delete",
    )
    with serving(LocalModel(demo)) as served:
        found = ask(served, answer=" Paris", samples=7)
    assert [one.importance for one in found.features] == pytest.approx(local.scores, abs=1e-5)


@pytest.mark.parametrize("samples", [1, 7])
def test_shares_sum_to_what_there_is_to_share(demo: LoadedModel, samples: int) -> None:
    """Efficiency, sampled and exact; the value without any part is the answer's own loss."""
    model = LocalModel(demo)
    options = {"answer": " Paris", "mask": "…", "samples": samples}
    with serving(model) as served:
        found = ask(served, **options)
    assert found.sharing is not None
    assert (found.tier, found.sharing.orders) == (1, None if samples == 7 else 1)
    texts = [PROMPT + " Paris", " ".join("…" * 5) + " Paris"]
    whole, nothing = (math.fsum(v or 0 for v in model.scored(t)[1][-1:]) for t in texts)
    assert found.sharing.value - found.sharing.baseline_value == pytest.approx(whole - nothing)
    total = math.fsum(one.importance for one in found.features)
    assert total == pytest.approx(whole - nothing, abs=1e-6)
    assert found.sharing.completeness_gap == pytest.approx(0, abs=1e-12)


def test_additive_parts_get_what_they_do_alone() -> None:
    """Where nothing works together every order says the same, and so does occlusion."""
    with serving(of_texts(weights)) as served:
        found = ask(served, SAMPLED, tier=3, mask="_", samples=4)
        alone = ask(served, SAMPLED, tier=3, mask="_", method="occlusion")
    expected = pytest.approx([0.1, 0.2, 0.3, 0.4, 0, 0])
    assert [one.importance for one in found.features] == expected
    assert [one.importance for one in alone.features] == expected
    assert [one.standard_error for one in found.features] == pytest.approx([0] * 6, abs=1e-12)
    assert [one.above_noise for one in found.features] == [True] * 4 + [False] * 2


def test_what_two_parts_do_together_is_halved() -> None:
    """Symmetry, and nothing for parts without effect; occlusion would give each all of it."""
    with serving(capital_model) as served:
        found = ask(served, samples=7, tier=3, distance="exact", mask="_")
    scores = [one.importance for one in found.features]
    assert scores == pytest.approx([0, 0.5, 0, 0.5, 0])
    assert scores[1] == scores[3]
    assert [one.above_noise for one in found.features] == [False, True, False, True, False]
    assert [one.flip for one in found.features] == [False, True, False, True, False]
    for one in found.features:
        assert one.low == one.importance == one.high
        assert one.standard_error is None
        assert one.answer is not None


def test_orders_come_near_all_of_them() -> None:
    """Sampled values lie within a few of their own standard errors of the exact ones."""

    def needs_both(text: str) -> str:
        return "yes" if "one" in text and ("two" in text or "three" in text) else "no"

    options = {"tier": 3, "distance": "exact", "mask": "_", "max_requests": 2000}
    with serving(of_texts(needs_both)) as served:
        exact = ask(served, SAMPLED, samples=11, **options)
        drawn = ask(served, SAMPLED, samples=10, **options)
        again = ask(served, SAMPLED, samples=10, **options)
        other = ask(served, SAMPLED, samples=10, seed=1, **options)
    values = [one.importance for one in exact.features]
    assert values == pytest.approx([2 / 3, 1 / 6, 1 / 6, 0, 0, 0])
    assert (exact.sharing and exact.sharing.orders) is None
    for one, value in zip(drawn.features, values, strict=True):
        assert one.standard_error is not None
        assert abs(one.importance - value) <= 4 * one.standard_error + 1e-9
    assert again.features == drawn.features != other.features


def test_one_part_has_the_score_of_occlusion() -> None:
    """With its noise and bounds, too."""

    def asked(method: str) -> RemoteImportance:
        draw = random.Random(3)
        model = of_texts(lambda text: " ".join(draw.choices("abcdefgh", k=8)))
        with serving(model) as served:
            options = {"tier": 3, "mask": "_", "repeats": 6, "concurrency": 1}
            return ask(served, "word", method=method, **options)

    (shared,), (alone,) = asked("shapley").features, asked("occlusion").features
    assert shared.low < shared.importance < shared.high
    for name in ("importance", "low", "high", "above_noise", "flip", "answer"):
        assert getattr(shared, name) == pytest.approx(getattr(alone, name)), name


def test_noise_alone_is_not_important() -> None:
    draw = random.Random(0)
    model = of_texts(lambda text: " ".join(draw.choices("abcdefgh", k=8)))
    with serving(model) as served:
        found = ask(served, SAMPLED, tier=3, mask="_", repeats=10, concurrency=1)
    for one in found.features:
        assert one.high is not None
        assert one.low <= one.importance <= one.high
        assert one.p_value is None
    assert not any(one.above_noise for one in found.features)


def test_a_rerun_sends_nothing_and_the_estimate_holds() -> None:
    for samples in (3, 11):
        kept: dict[str, Any] = {}
        options = {"tier": 3, "mask": "_", "samples": samples}
        estimate = remote_estimate(SAMPLED, method="shapley", **options)
        with serving(capital_model) as served:
            first = ask(served, SAMPLED, cache=kept, **options)
            second = ask(served, SAMPLED, cache=kept, **options)
            assert len(served.asked) == first.requests <= estimate.requests
            bodies = [json.dumps(body) for _, body in served.asked]
        # The prompt itself is asked again for the noise; no other text is.
        assert len(bodies) - len(set(bodies)) == 3
        assert (second.requests, second.features) == (0, first.features)


def test_sets_that_look_alike_are_asked_once() -> None:
    with serving(capital_model) as served:
        found = ask(served, "a a a", tier=3, samples=3, repeats=0)
    assert found.sharing is not None
    assert found.sharing.sets == 8
    texts = {user_text(body) for _, body in served.asked}
    assert texts == {"a a a", " a a", "a a", " a", "a", ""}
    assert len(served.asked) == len(texts)


def test_steps_show_what_complete_orders_say() -> None:
    with serving(of_texts(weights)) as served:
        endpoint = Endpoint(served.url, "m")
        options = {"method": "shapley", "tier": 3, "mask": "_", "samples": 4, "concurrency": 1}
        *steps, last = remote_importance_steps(endpoint, SAMPLED, **options)
    assert isinstance(last, RemoteImportance)
    stages = [step.stage for step in steps if isinstance(step, RemoteStep)]
    assert stages[:5] == ["estimate", "connected", *["noise"] * 3]
    shown = [len(step.features) for step in steps if isinstance(step, RemoteStep)]
    assert set(shown) == {0, 6}
    assert shown == sorted(shown)
    final = steps[-1]
    assert isinstance(final, RemoteStep)
    assert (final.done, final.features) == (final.total, last.features)
    record = json.loads(json.dumps(final.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/remote_importance_step/1"
    assert record["features"] == last.to_json()["features"]


def test_neighbours_are_put_in_together() -> None:
    def model(path: str, body: Body) -> Body:
        if "One line for each" in user_text(body):
            return chat("1: Some\n2: city\n3: in\n4: Spain\n5: was")
        return capital_model(path, body)

    options = {"tier": 3, "mask": "neighbour", "samples": 2}
    with serving(model) as served:
        found = ask(served, **options)
        assert user_text(served.asked[5][1]) == "Some city in Spain was"
    assert found.requests <= remote_estimate(PROMPT, method="shapley", **options).requests
    assert [one.mask for one in found.features] == ["Some", "city", "in", "Spain", "was"]


def first_tokens(known: bool) -> Callable[[str, Body], Body]:
    """A chat whose first token stays on the list, or leaves it without France."""

    def model(path: str, body: Body) -> Body:
        if path != "chat/completions":
            raise Refusal(404, "no such function")
        france = "France" in user_text(body)
        return chat("x", {"a": 0.9, "b": 0.1} if france else {"b": 0.8, "a" if known else "c": 0.1})

    return model


def test_a_bound_is_no_value() -> None:
    """Tier 2 shares what is listed, says where it is not, and is not taken unasked."""
    with serving(first_tokens(known=True)) as served:
        found = ask(served, "of France", tier=2, repeats=0)
        assert ask(served, "of France", repeats=0).tier == 3
    scores = [one.importance for one in found.features]
    assert scores == pytest.approx([0, math.log(9)], abs=1e-9)
    with serving(first_tokens(known=False)) as served:
        with pytest.raises(ModelError, match=r"not a bound.*tier 3"):
            ask(served, "of France", tier=2, repeats=0)
        assert len(served.asked) == 2


def test_an_empty_prompt_that_is_refused_is_explained() -> None:
    def model(path: str, body: Body) -> Body:
        if not user_text(body):
            raise Refusal(400, "content is empty")
        return capital_model(path, body)

    with serving(model) as served:
        with pytest.raises(ModelError, match=r"content is empty.*every part.*mask"):
            ask(served, tier=3)
        assert ask(served, tier=3, mask="…").features


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"units": "hierarchical"}, "words or sentences"),
        ({"method": "lime"}, "'lime'.*occlusion, shapley"),
        ({"samples": 0}, "samples is 0"),
        ({"samples": 1001}, "from 1 to 1000"),
        ({"samples": 5, "max_requests": 20}, "max_requests is 20.*fewer samples"),
    ],
)
def test_wrong_arguments_send_nothing(options: dict[str, Any], said: str) -> None:
    with serving(capital_model) as served:
        with pytest.raises(InputError, match=said):
            ask(served, SAMPLED, **options)
        assert served.asked == []


def test_it_reads_back_and_so_does_a_record_of_before() -> None:
    with serving(capital_model) as served:
        found = ask(served, tier=3)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert RemoteImportance.from_json(record).to_json() == found.to_json()
    assert (record["method"]["method"], record["method"]["samples"]) == ("shapley", 5)
    del record["sharing"]
    for one in record["features"]:
        del one["standard_error"]
    assert RemoteImportance.from_json(record).sharing is None


@pytest.mark.parametrize("count", range(1, 9))
def test_a_plan_asks_for_no_more_than_was_said(count: int) -> None:
    for samples in (1, 2, 5, 40):
        planned = plan(count, samples=samples, seed=0)
        sets = planned.sets()
        assert (planned.orders is None) == is_exact(count, samples)
        assert (sets[0], sets[-1]) == (0, planned.full)
        assert len(set(sets)) == len(sets) <= most_sets(count, samples) + 1


def test_masking_together_is_masking_one_by_one_from_the_end() -> None:
    text = "Don't go, 東京 to Paris 2+2!"
    units = words(text)
    for mask in ("", "…"):
        one_by_one = text
        for unit in reversed(units):
            one_by_one = masked(one_by_one, unit, mask)
        assert masked_together(text, dict.fromkeys(units, mask)) == one_by_one


def test_the_command_shares_too() -> None:
    options = [
        "--model",
        "m",
        "--method",
        "shapley",
        "--samples",
        "2",
        "--tier",
        "3",
        "--json",
        "-",
    ]
    with serving(capital_model) as served:
        result = command("remote-importance", PROMPT, "--base-url", served.url, *options)
    record = json.loads(result.stdout)
    lines = list(remote_report(record, columns=100))
    assert any(line.startswith("Shapley values of 2 orders; they sum to") for line in lines)
    record["sharing"]["orders"] = None
    assert any("exact over" in line for line in remote_report(record, columns=100))


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(LensError, match="no address"):
        Endpoint("https://[bad/v1", "m")
