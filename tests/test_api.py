"""The endpoints as a client meets them: the same answer as the core, and clear refusals."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from conftest import Served
from gradio_client import Client
from gradio_client.exceptions import AppError

import lens_core
from lens_core.edits import applied, make_edit
from lens_core.errors import EditError, LensError, ModelError, PromptError
from lens_core.models import LoadedModel
from lens_core.settings import Settings
from tabs.requests import LogitLensRequest, Request
from tabs.runtime import MAX_EDIT_BYTES, Runtime, result_of

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    result_of(served.runtime.stack.steps())  # two threads must not import transformers at once
    return lens_core.load_model("demo")


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("created", "timing")}


@pytest.fixture(scope="module")
def api(client: Client) -> dict[str, Any]:
    described = client.view_api(return_format="dict", print_info=False)
    assert isinstance(described, dict)
    return described


def test_only_the_documented_endpoints_are_public(api: dict[str, Any]) -> None:
    graph = {"/graph", "/graph_node", "/graph_edge", "/graph_statistics"}
    repair = {"/repair", "/repair_evaluate", "/repair_compare"}
    attention = {"/attention", "/next_token", "/attribution"}
    pairs = {"/pairs", "/pair_difference", "/causal_trace", "/layer_operations"}
    others = {"/models", "/logit_lens", "/remote_importance"}
    assert set(api["named_endpoints"]) == {*others, *graph, *repair, *attention, *pairs}
    assert not api["unnamed_endpoints"]


def test_every_argument_of_an_endpoint_is_described(api: dict[str, Any]) -> None:
    for endpoint in api["named_endpoints"].values():
        for parameter in endpoint["parameters"]:
            assert parameter["python_type"]["type"] != "Any", parameter


def test_models_gives_facts_of_what_is_loaded(client: Client, demo: LoadedModel) -> None:
    client.predict(PROMPT, api_name="/logit_lens")
    (model,) = client.predict(api_name="/models")
    assert model["name"] == "demo"
    assert model["default"]
    assert model["loaded"]
    assert model["facts"]["n_parameters"] == demo.facts.n_parameters
    assert model["self_check"]["off"] == {}


def test_the_answer_is_that_of_the_core(client: Client, demo: LoadedModel) -> None:
    options = {"k": 3, "components": ["embed", "resid_post", "mlp_out"], "positions": [-1, 0]}
    answer = client.predict(prompt=PROMPT, **options, api_name="/logit_lens")
    direct = lens_core.logit_lens(demo, demo.tokenize(PROMPT), **options).to_json()
    assert timeless(answer) == timeless(direct)
    json.dumps(answer, allow_nan=False)


def test_an_edit_holds_for_one_call(client: Client, demo: LoadedModel) -> None:
    silenced = torch.zeros(2, demo.facts.d_model)
    edit = make_edit(demo, {0: (torch.tensor([0, 1]), silenced)})
    before = client.predict(PROMPT, api_name="/logit_lens")
    edited = client.predict(PROMPT, edit=edit.to_json(), api_name="/logit_lens")
    after = client.predict(PROMPT, api_name="/logit_lens")
    assert timeless(after) == timeless(before)
    assert edited["edit"]["id"] == edit.id
    assert edited["cells"] != before["cells"]
    with applied(demo, edit):
        direct = lens_core.logit_lens(demo, demo.tokenize(PROMPT)).to_json()
    assert timeless(edited) == timeless(direct)


def test_parallel_clients_do_not_get_each_others_answers(served: Served) -> None:
    prompts = [PROMPT, "法国的首都是", "7 + 5 =", "def f(x):\n    return"]
    alone = Client(served.url, verbose=False)
    expected = {p: timeless(alone.predict(p, api_name="/logit_lens")) for p in prompts}

    def ask(number: int) -> list[tuple[str, dict[str, Any]]]:
        own = Client(served.url, verbose=False)
        order = prompts[number:] + prompts[:number]
        return [(p, timeless(own.predict(p, api_name="/logit_lens"))) for p in order]

    with ThreadPoolExecutor(2) as threads:
        for answers in threads.map(ask, range(2)):
            for prompt, answer in answers:
                assert answer == expected[prompt]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"prompt": ""}, ["empty", "0 characters"]),
        ({"prompt": 5}, ["prompt", "5", "string"]),
        ({"prompt": None}, ["prompt", "None", "string"]),
        ({"prompt": "x" * 10_240}, ["tokens", "limit is 512", "Shorten"]),
        ({"prompt": "word " * 5000}, ["25000 characters", "limit is 20000", "Shorten"]),
        ({"model": "no-such-folder/at-all"}, ["no-such-folder/at-all"]),
        ({"model": "../../etc"}, ["../../etc"]),
        ({"model": 3}, ["model", "3", "string"]),
        ({"k": "zz"}, ["k", '"zz"', "integer"]),
        ({"k": 0}, ["k", "0", "greater than or equal to 1"]),
        ({"k": 51}, ["k", "51", "less than or equal to 50"]),
        ({"k": True}, ["k", "True", "integer"]),
        ({"k": 2.5}, ["k", "2.5", "integer"]),
        ({"components": ["logits"]}, ["components", '"logits"', "'resid_post'"]),
        ({"components": []}, ["components", "at least 1"]),
        ({"components": "resid_post"}, ["components", "list"]),
        ({"scale": "big"}, ["scale", '"big"', "'final'"]),
        ({"norm": 1}, ["norm", "1", "'none'"]),
        ({"positions": [99]}, ["99"]),
        ({"layers": [99]}, ["99"]),
        ({"layers": ["0"]}, ["layers", "integer"]),
        ({"targets": [10**9]}, [str(10**9)]),
        ({"targets": [" Paris Paris Paris"]}, ["Paris"]),
        ({"temperature": -1}, ["temperature", "-1"]),
        ({"top_p": 0}, ["top_p", "0"]),
        ({"generate": 10_000}, ["generate", "10000", "256"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"important": "vibes"}, ["important", '"vibes"', "'kl_drop'"]),
        ({"template": "poem"}, ["template", '"poem"', "'chat'"]),
        ({"special": "all"}, ["special", '"all"', "'bos'"]),
        ({"edit": "{"}, ["edit", "not JSON"]),
        ({"edit": "[1]"}, ["edit", "[1]", "dictionary"]),
        ({"edit": {"schema": "x"}}, ["edit"]),
        ({"edit": 5}, ["edit", "5"]),
    ],
)
def test_bad_input_is_answered_clearly(
    client: Client, arguments: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(**{"prompt": PROMPT, **arguments}, api_name="/logit_lens")
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    "prompt",
    [
        "   ",
        "\n",
        "🐛🎉👩‍👩‍👧",
        "<script>alert(1)</script>",
        "${HOME} {{value}} `ls`",
        "שלום עולם",
        "a\u200bb\u202ec",
    ],
)
def test_unusual_prompts_are_read_as_they_are(client: Client, prompt: str) -> None:
    answer = client.predict(prompt, api_name="/logit_lens")
    tokens = [t for t in answer["input"]["tokens"] if t["kind"] != "special"]
    assert bytes.fromhex("".join(t["bytes_hex"] for t in tokens)).decode() == prompt


def request(**arguments: Any) -> Request:
    return LogitLensRequest(**{"prompt": PROMPT, **arguments})


@pytest.mark.parametrize(
    ("kind", "arguments", "parts"),
    [
        (ModelError, {"model": "gpt2"}, ['"gpt2"', '"demo"', "your own machine"]),
        (ModelError, {"model": "/etc"}, ['"/etc"']),
        (PromptError, {"prompt": "x" * 101}, ["101", "100"]),
        (EditError, {"edit": {"data": "x" * (MAX_EDIT_BYTES + 1)}}, [str(MAX_EDIT_BYTES)]),
    ],
)
def test_a_public_page_refuses_before_a_model_is_touched(
    kind: type[LensError], arguments: dict[str, Any], parts: list[str]
) -> None:
    runtime = Runtime(Settings(public=True, max_prompt_chars=100))
    with pytest.raises(kind) as caught:
        runtime.check(request(**arguments))
    for part in parts:
        assert part in str(caught.value)
    runtime.check(request())
