"""The endpoints of pairs, tracing and layer operations: the core's answers, clear refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from conftest import Served
from fake_endpoint import serving
from gradio_client import Client
from gradio_client.exceptions import AppError

import lens_core
from lens_core.edits import applied
from lens_core.models import LoadedModel
from lens_core.pairs import make_pairs, original_json
from lens_core.settings import Settings
from tabs.pairs_api import PairsEndpoints
from tabs.pairs_requests import PUBLIC_PAIRS
from tabs.runtime import Runtime, UserError, result_of

pytestmark = pytest.mark.slow

PAIR = {
    "sentence1": "The capital of France is",
    "sentence2": "The capital of Italy is",
    "answer1": " Paris",
    "answer2": " Rome",
}


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    result_of(served.runtime.stack.steps())
    return lens_core.load_model("demo")


@pytest.fixture(scope="module")
def made(client: Client) -> dict[str, Any]:
    return client.predict(categories=["tense_errors"], n=24, api_name="/pairs")


def alike(one: Any, other: Any) -> bool:
    """Whether two records say the same but for what they took and rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - {"created", "timing"}
        return keys <= other.keys() and all(alike(one[key], other[key]) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return one == other


def streamed(client: Client, name: str, **arguments: Any) -> list[dict[str, Any]]:
    """Everything that an endpoint gives, the result last."""
    job = client.submit(**arguments, api_name=name)
    job.result()
    outputs: list[Any] = job.outputs()
    return outputs


def test_pairs_of_templates_are_the_core_s_and_every_one_is_aligned(made: dict[str, Any]) -> None:
    assert made["schema"] == "lens_core/pairs/1"
    assert made["pairs"] == [pair.to_json() for pair in make_pairs(["tense_errors"], n=24)]
    report = made["report"]
    assert report["pairs"] == report["aligned"] + report["refused"] == 24
    assert report["aligned"] == report["equal_length"] + report["shifted"]
    equal = [one for one in made["alignments"] if one["shift"] == 0]
    assert all(one["n_tok"][0] == one["n_tok"][1] for one in equal)


def test_a_file_is_read_with_its_bad_rows_named(client: Client) -> None:
    lines = [json.dumps(PAIR), '{"sentence1": 3}', "no JSON", json.dumps(PAIR)]
    found = client.predict(source="text", content="\n".join(lines), api_name="/pairs")
    assert [one["sentence1"] for one in found["pairs"]] == [PAIR["sentence1"]] * 2
    assert [one["place"] for one in found["problems"]] == ["line 2", "line 3"]
    original = original_json(make_pairs(["tense_errors"], n=3))
    again = client.predict(source="text", content=json.dumps(original), api_name="/pairs")
    assert again["format"] == "original"
    assert len(again["pairs"]) == 3


def test_the_model_itself_proposes_pairs(client: Client) -> None:
    sentences = ["The capital of France is Paris.", "The opposite of hot is cold."]
    found = client.predict(source="local", sentences=sentences, n=4, api_name="/pairs")
    assert len(found["pairs"]) == 4
    assert {one["sentence1"] for one in found["pairs"]} == set(sentences)
    assert all(one["sentence1"] != one["sentence2"] for one in found["pairs"])


def test_only_sides_of_one_length_where_asked(client: Client) -> None:
    options: dict[str, Any] = {"categories": ["subject_differences"], "n": 20}
    found = client.predict(**options, same_length=True, api_name="/pairs")
    assert {one["shift"] for one in found["alignments"]} == {0}
    every = client.predict(**options, api_name="/pairs")["report"]
    assert len(found["pairs"]) == every["equal_length"] < every["pairs"]


def test_a_model_behind_an_api_writes_pairs_and_its_key_stays_hidden(served: Served) -> None:
    def model(path: str, body: dict[str, Any]) -> Any:
        words = ["cat", "dog", "cow"]
        written = [
            {
                "sentence1": f"The {word} sat on the mat.",
                "sentence2": f"The {word}s sat on the mat.",
            }
            for word in words
        ]
        text = json.dumps({"pairs": written})
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}

    endpoints = PairsEndpoints(served.runtime)
    with serving(model) as server:
        found = endpoints.pairs(
            source="api", categories=["number"], n=3, base_url=server.url, remote_model="m",
            api_key="secret-key-1234",
        )  # fmt: skip
        assert len(found["pairs"]) == 3
        assert server.keys[0] == "Bearer secret-key-1234"
    assert "secret-key" not in json.dumps(found)
    with pytest.raises(UserError, match="max_requests is 1") as raised:
        endpoints.pairs(
            source="api", categories=["number"], n=3, base_url=server.url, remote_model="m",
            api_key="secret-key-1234", max_requests=1,
        )  # fmt: skip
    assert "secret-key" not in str(raised.value)


def test_differences_are_the_core_s_and_progress_is_told(
    client: Client, demo: LoadedModel, made: dict[str, Any]
) -> None:
    pairs = [lens_core.Pair.from_json(one) for one in made["pairs"]]
    direct = lens_core.pair_difference(demo, pairs, max_tokens=512).to_json()
    *steps, record = streamed(client, "/pair_difference", pairs=made["pairs"], sites=["layer_3"])
    assert {step["stage"] for step in steps} == {"pairs", "dimensions"}
    assert list(record["dims"]) == ["layer_3"]
    kept = direct | {"dims": {"layer_3": direct["dims"]["layer_3"]}}
    kept["input"]["options"] = record["input"]["options"]
    assert alike(kept, record)
    json.dumps(record, allow_nan=False)


def test_with_an_edit_both_models_are_compared(client: Client, demo: LoadedModel) -> None:
    edit = lens_core.repair(demo, PAIR["sentence1"], " Rome").edit
    assert edit is not None
    pairs = [one.to_json() for one in make_pairs(["tense_errors"], n=4)]
    given: dict[str, Any] = {"pairs": pairs, "sites": []}
    *_, plain = streamed(client, "/pair_difference", **given)
    *_, both = streamed(client, "/pair_difference", **given, edit=edit.to_json(), before_edit=True)
    assert alike(both["before_edit"]["metrics"], plain["metrics"])
    assert not alike(both["metrics"], plain["metrics"])
    listed = [lens_core.Pair.from_json(one) for one in pairs]
    with applied(demo, edit):
        direct = lens_core.pair_difference(demo, listed).to_json()
    assert alike(direct["metrics"], both["metrics"])


def test_tracing_is_the_core_s(client: Client, demo: LoadedModel) -> None:
    record = client.predict(pair=PAIR, window=3, api_name="/causal_trace")
    direct = lens_core.causal_trace(demo, lens_core.Pair.from_json(PAIR), window=3).to_json()
    assert alike(direct, record)
    grid = np.array(record["grids"][0]["effect"])
    assert grid[-1, -1] == pytest.approx(1, abs=1e-5)
    bare = {name: PAIR[name] for name in ("sentence1", "sentence2")}
    own = client.predict(pair=bare, own_answers=True, window=3, api_name="/causal_trace")
    assert alike(own["grids"], record["grids"])
    estimate = client.predict(pair=PAIR, approximate=True, api_name="/causal_trace")
    assert estimate["approximate"] is True
    errors = [abs(one["estimate"] - one["true"]) for one in estimate["checks"]]
    assert estimate["error"]["largest"] == pytest.approx(max(errors), rel=1e-5)


def test_layer_operations_are_the_core_s(client: Client, demo: LoadedModel) -> None:
    texts = ["The capital of France is Paris.", "", "red blue green red blue green"]
    *steps, record = streamed(client, "/layer_operations", data=texts, operations=["remove"])
    direct = lens_core.layer_operations(demo, texts, operations=["remove"], max_tokens=512)
    assert alike(direct.to_json(tokens=False), record)
    assert steps[-1]["done"] == steps[-1]["total"]
    assert [one["index"] for one in record["skipped"]] == [1]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("/pairs", {"categories": ["no_such"]}, "no_such"),
        ("/pairs", {"source": "text", "content": " "}, "content is empty"),
        ("/pairs", {"source": "local"}, "sentences is empty"),
        ("/pairs", {"n": 100_000}, "n is 100000"),
        (
            "/pairs",
            {"source": "api", "base_url": "ftp://x", "remote_model": "m"},
            "base_url is no address",
        ),
        ("/pair_difference", {"pairs": []}, "pairs is"),
        ("/pair_difference", {"pairs": [{"sentence1": "a"}]}, "sentence2 is missing"),
        ("/pair_difference", {"pairs": [PAIR], "readout": "middle"}, "readout is"),
        ("/pair_difference", {"pairs": [PAIR], "layers": [99]}, "99"),
        ("/pair_difference", {"pairs": [PAIR], "before_edit": True}, "give an edit"),
        ("/pair_difference", {"pairs": [PAIR], "sites": ["layer_77"]}, "layer_77"),
        ("/pair_difference", {"pairs": [PAIR], "set_effect": "layer_2"}, "No dims were found"),
        ("/causal_trace", {"pair": PAIR, "window": 2}, "window is 2"),
        ("/causal_trace", {"pair": PAIR, "positions": [77]}, "77"),
        ("/layer_operations", {"data": []}, "data is"),
        ("/layer_operations", {"data": ["a b"], "operations": ["explode"]}, "explode"),
        ("/layer_operations", {"data": ["a b c"], "layers": [50]}, "50"),
    ],
)
def test_bad_input_is_named(
    client: Client, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(AppError, match=said):
        client.submit(**arguments, api_name=name).result()


def test_a_public_page_has_limits(demo: LoadedModel) -> None:
    endpoints = PairsEndpoints(Runtime(Settings(public=True)))
    with pytest.raises(UserError, match=f"pairs comes to {PUBLIC_PAIRS + 1}"):
        list(endpoints.pair_difference([PAIR] * (PUBLIC_PAIRS + 1)))
    with pytest.raises(UserError, match="data comes to 101"):
        list(endpoints.layer_operations(["a b"] * 101))
    with pytest.raises(UserError, match="/etc"):
        endpoints.causal_trace(PAIR, model="/etc")
    with pytest.raises(UserError, match="base_url is at"):
        endpoints.pairs(source="api", base_url="https://10.0.0.1/v1", remote_model="m", n=1)
