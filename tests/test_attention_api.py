"""The endpoints of attention, next token and attribution: the core's answers, clear refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from conftest import Served
from gradio_client import Client
from gradio_client.exceptions import AppError

import lens_core
from lens_core.edits import applied
from lens_core.models import LoadedModel
from tabs.runtime import result_of

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    result_of(served.runtime.stack.steps())
    return lens_core.load_model("demo")


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


def test_attention_is_the_core_s_with_a_matrix_where_asked(
    client: Client, demo: LoadedModel
) -> None:
    ids = demo.tokenize(PROMPT)
    direct = lens_core.attention_views(demo, ids, layers=[1, 3], flow=True).to_json()
    record = client.predict(
        prompt=PROMPT, layers=[1, 3], flow=True, matrix=[3, 0], api_name="/attention"
    )
    assert alike(direct, record)
    whole = lens_core.attention_matrix(demo, ids, 3, 0).to_json()
    assert alike({key: whole[key] for key in record["matrix"]}, record["matrix"])
    json.dumps(record, allow_nan=False)


def test_going_on_with_a_candidate_is_the_longer_prompt(client: Client, demo: LoadedModel) -> None:
    first = client.predict(prompt=PROMPT, k=3, text=" Paris.", api_name="/next_token")
    ids = demo.tokenize(PROMPT)
    assert alike(lens_core.next_token(demo, ids, k=3).to_json(), first)
    told = lens_core.string_probability(demo, ids, " Paris.").to_json()
    assert alike({key: told[key] for key in first["string"]}, first["string"])
    best = first["top"]["ids"][0]
    after = client.predict(prompt=PROMPT, append=[best], api_name="/next_token")
    typed = client.predict(prompt=f"{PROMPT} Paris", api_name="/next_token")
    assert alike(after["top"], typed["top"])


@pytest.mark.parametrize("method", ["occlusion", "input_x_gradient"])
def test_attribution_is_the_core_s_with_how_far_to_trust_it(
    client: Client, demo: LoadedModel, method: str
) -> None:
    ids = demo.tokenize(PROMPT)
    direct = lens_core.attribute(demo, ids, method=method)
    record = client.predict(
        prompt=PROMPT, method=method, faithfulness=True, api_name="/attribution"
    )
    assert alike(direct.to_json(), record)
    trust = lens_core.faithfulness(demo, ids, direct).to_json()
    assert alike({key: trust[key] for key in record["faithfulness"]}, record["faithfulness"])


def test_an_edit_holds_for_the_call_alone(client: Client, demo: LoadedModel) -> None:
    prompt = "The capital of Kazakhstan is"
    repaired = lens_core.repair(demo, prompt, " Astana")
    assert repaired.edit is not None
    edit = repaired.edit.to_json()
    asked: dict[str, Any] = {"prompt": prompt, "text": " Astana", "api_name": "/next_token"}
    before = client.predict(**asked)
    during = client.predict(**asked, edit=edit)
    with applied(demo, repaired.edit):
        ids = demo.tokenize(prompt)
        assert alike(lens_core.next_token(demo, ids).to_json()["top"], during["top"])
    assert during["string"]["total"]["p"] > before["string"]["total"]["p"]
    assert alike(before, client.predict(**asked))


@pytest.mark.parametrize(
    ("endpoint", "arguments", "parts"),
    [
        ("/attention", {"query": 99}, ["query", "99"]),
        ("/attention", {"layers": [99]}, ["99"]),
        ("/attention", {"matrix": [0]}, ["matrix"]),
        ("/attention", {"matrix": [0, 99]}, ["99"]),
        ("/attention", {"prompt": PROMPT * 9, "flow": True}, ["32"]),
        ("/next_token", {"k": 101}, ["k", "101", "100"]),
        ("/next_token", {"temperature": 0}, ["temperature", "0"]),
        ("/next_token", {"nucleus": 2}, ["nucleus", "2"]),
        ("/next_token", {"append": [10**9]}, [str(10**9)]),
        ("/attribution", {"method": "magic"}, ["method", '"magic"', "occlusion"]),
        ("/attribution", {"features": "letters"}, ["features"]),
        ("/attribution", {"target": ""}, ["target"]),
        ("/attribution", {"samples": 10**6}, ["samples", "1000"]),
        ("/attribution", {"prompt": ""}, ["prompt", "empty"]),
    ],
)
def test_bad_input_is_answered_clearly(
    client: Client, endpoint: str, arguments: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(**{"prompt": PROMPT, **arguments}, api_name=endpoint)
    for part in parts:
        assert part in str(caught.value)
    assert "Traceback" not in str(caught.value)
