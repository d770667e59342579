"""The endpoint of models behind an API: the core's answers, what a public page refuses, the key."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from fake_endpoint import Body, Refusal, capital_model, serving
from gradio_client import Client
from pydantic import SecretStr

from lens_core import Endpoint, remote_estimate, remote_importance
from lens_core.errors import InputError
from lens_core.remote import RemoteStep
from lens_core.settings import Settings
from tabs.background import Progress
from tabs.remote_api import RemoteEndpoints
from tabs.remote_requests import RemoteImportanceRequest, remote_request
from tabs.remote_running import REMOTE_QUEUE, remote_steps
from tabs.runtime import Runtime, UserError, result_of

KEY = 'sk-very"secret'
PROMPT = "The capital of France is"
STEP = "lens_core/remote_importance_step/1"
LONG = 10.0


def call(settings: Settings, **arguments: Any) -> Iterator[dict[str, Any]]:
    """The endpoint as a function, without a server."""
    return RemoteEndpoints(Runtime(settings)).remote_importance(**{"prompt": PROMPT, **arguments})


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("created", "timing")}


@pytest.fixture(scope="module")
def page() -> Iterator[Client]:
    """A page with this endpoint alone."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        RemoteEndpoints(Runtime(Settings())).register()
    _, url, _ = blocks.queue().launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield Client(url, verbose=False)
    blocks.close()


@pytest.mark.parametrize("method", ["occlusion", "shapley"])
def test_a_client_gets_what_the_core_gives(page: Client, method: str) -> None:
    options: dict[str, Any] = {"method": method, "tier": 3, "mask": "…", "units": [[4, 11]]}
    with serving(capital_model) as served:
        direct = remote_importance(
            Endpoint(served.url, "m"), PROMPT, **{**options, "units": [(4, 11)]}
        )
        job = page.submit(
            prompt=PROMPT,
            base_url=served.url,
            model="m",
            api_key=KEY,
            api_name="/remote_importance",
            **options,
        )
        answer = job.result()
        assert set(served.keys[-4:]) == {f"Bearer {KEY}"}
    assert timeless(answer) == timeless(direct.to_json())
    outputs: list[dict[str, Any]] = job.outputs()  # type: ignore[assignment]
    *steps, last = outputs
    assert last == answer
    assert {step["schema"] for step in steps} == {STEP}
    assert steps[0]["stage"] == "estimate"
    assert steps[0]["estimate"] == answer["estimate"]
    assert (steps[-1]["done"], steps[-1]["features"]) == (steps[-1]["total"], answer["features"])
    assert "secret" not in json.dumps(outputs)


def test_the_endpoint_is_described(page: Client) -> None:
    described = page.view_api(return_format="dict", print_info=False)
    assert isinstance(described, dict)
    parameters = described["named_endpoints"]["/remote_importance"]["parameters"]
    names = [parameter["parameter_name"] for parameter in parameters]
    assert names[:4] == ["prompt", "base_url", "model", "api_key"]
    fields = RemoteImportanceRequest.model_fields
    assert set(names) == {*fields, "model"} - {"remote_model"}
    for parameter in parameters:
        assert parameter["python_type"]["type"] != "Any", parameter
        if parameter["parameter_has_default"] and parameter["parameter_name"] != "api_key":
            default = fields[parameter["parameter_name"]].default
            assert parameter["parameter_default"] == default, parameter


def test_it_never_waits_for_a_model() -> None:
    runtime = Runtime(Settings())
    assert REMOTE_QUEUE["concurrency_id"] not in (
        runtime.run_queue["concurrency_id"],
        runtime.detail_queue["concurrency_id"],
    )
    with serving(capital_model) as served:
        list(call(Settings(), base_url=served.url, model="m", tier=3))
    assert not runtime.stack.ready


def test_an_estimate_sends_nothing() -> None:
    with serving(capital_model) as served:
        given = {"base_url": served.url, "model": "m", "method": "shapley"}
        (step,) = call(Settings(), estimate_only=True, max_requests=1, **given)
        assert served.asked == []
    expected = remote_estimate(PROMPT, method="shapley").to_json()
    assert (step["schema"], step["stage"], step["estimate"]) == (STEP, "estimate", expected)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.openai.com/v1",
        "https://localhost/v1",
        "https://127.0.0.1/v1",
        "https://[::1]/v1",
        "https://2130706433/v1",
        "https://169.254.169.254/latest",
        "https://intranet/v1",
        "https://example.com/v1",
        "https://api.openai.com.example.com/v1",
        "https://example.com/api.openai.com",
        "https://api.openai.com./v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com:/v1",
        "https://me:secret@api.openai.com/v1",
        "https://api.openai.com@example.com/v1",
        "https://example.com\\.api.openai.com/v1",
        "https://api.openai.com\\.example.com/v1",
        "https://api.open\nai.com/v1",
        "https://api.openai.com/v1\t",
        " https://api.openai.com/v1",
        "https://api.openai.com/v1?to=http://localhost",
        "https://api.openai.com/v1#x",
        "https://api.openai.com/%2e%2e/v1",
        "https://ａpi.openai.com/v1",
        "https://[api.openai.com]/v1",
        "https:api.openai.com/v1",
        "//api.openai.com/v1",
        "https://user-secret.example.com/v1/secret-in-a-path",
    ],
)
def test_a_public_page_asks_known_hosts_only(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(*_: Any, **__: Any) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setattr("httpx.Client.stream", sent)
    with pytest.raises(UserError) as caught:
        list(call(Settings(public=True), base_url=base_url, model="m", api_key=KEY))
    said = str(caught.value.message)
    assert "base_url" in said
    assert KEY not in said
    assert "secret-in-a-path" not in said
    assert "me:secret" not in said
    if "plain" not in said and "no address" not in said:
        assert "api.openai.com, openrouter.ai" in said
        assert "run LM Lens on your own machine" in said


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.openai.com/v1",
        "https://API.OpenAI.com:443/v1/",
        "https://openrouter.ai/api/v1",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "https://api.deepseek.com",
    ],
)
def test_a_public_page_asks_these(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def stream(client: Any, _method: str, url: str, **_: Any) -> Any:
        assert not client.follow_redirects
        asked.append(url)
        raise InputError("that far")

    monkeypatch.setattr("httpx.Client.stream", stream)
    with pytest.raises(UserError, match="that far"):
        list(call(Settings(public=True), base_url=base_url, model="m"))
    assert asked == [f"{base_url.rstrip('/')}/completions"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"max_requests": 201}, ["max_requests", "201", "200"]),
        ({"answer_tokens": 257}, ["answer_tokens", "257", "256"]),
        ({"repeats": 21}, ["repeats", "21", "20"]),
        ({"prompt": "x" * 101}, ["prompt", "101", "100", "Shorten"]),
        ({"system": "x" * 101}, ["system", "101", "100"]),
        ({"prompt": "a b " * 20, "method": "shapley", "samples": 9}, ["requests", "200"]),
    ],
)
def test_a_public_page_has_limits(arguments: dict[str, Any], parts: list[str]) -> None:
    given = {"base_url": "https://api.openai.com/v1", "model": "m", **arguments}
    with pytest.raises(UserError) as caught:
        list(call(Settings(public=True, max_prompt_chars=100), **given))
    for part in parts:
        assert part in str(caught.value.message)


def test_the_settings_say_which_hosts() -> None:
    settings = Settings(public=True, remote_hosts=["LLM.Example.org"])
    assert settings.remote_hosts == ["llm.example.org"]
    with pytest.raises(UserError, match=r"asks llm\.example\.org"):
        list(call(settings, base_url="https://api.openai.com/v1", model="m"))
    nowhere = Settings(public=True, remote_hosts=[])
    with pytest.raises(UserError, match="asks no host"):
        list(call(nowhere, base_url="https://api.openai.com/v1", model="m"))
    for wrong in ("https://host.org", "host.org:80", "localhost", "*.org", ""):
        with pytest.raises(ValueError, match="no name of a host"):
            Settings(remote_hosts=[wrong])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"prompt": ""}, ["prompt", "empty"]),
        ({"prompt": 5}, ["prompt", "5", "string"]),
        ({"model": 5}, ["model", "5", "string"]),
        ({"model": " "}, ["model is empty"]),
        ({"method": "magic"}, ["method", '"magic"', "shapley"]),
        ({"tier": 4}, ["tier", "4", "3"]),
        ({"units": [[1]]}, ["units"]),
        ({"units": [[0, 99]]}, ["0 to 99", "24 characters"]),
        ({"protected": ["Spain"]}, ["'Spain'"]),
        ({"samples": 2.5}, ["samples", "2.5", "integer"]),
        ({"floor": float("nan")}, ["floor", "finite"]),
        ({"base_url": "host/v1"}, ["base_url", "no address"]),
        ({"api_key": ["very", "secret"]}, ["api_key", "text"]),
        ({"api_key": "very secret"}, ["api_key", "space"]),
    ],
)
def test_bad_input_is_answered_clearly(arguments: dict[str, Any], parts: list[str]) -> None:
    given = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "api_key": KEY, **arguments}
    with pytest.raises(UserError) as caught:
        list(call(Settings(), **given))
    for part in parts:
        assert part in str(caught.value.message)
    assert "secret" not in everything(caught.value)


def everything(error: BaseException | None) -> str:
    """What an error and those behind it could show, with what pydantic keeps."""
    said = ""
    while error is not None:
        said += f"{error} {error!r} {vars(error)}"
        said += str(getattr(error, "errors", list)())
        error = error.__cause__ or error.__context__
    return said


def test_the_key_is_nowhere(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in what is given nor in what fails nor in the log, even where the server says it."""
    caplog.set_level(logging.DEBUG)

    def telling(path: str, body: Body) -> Body:
        reply = capital_model(path, body)
        reply["choices"][0]["message"]["content"] += KEY
        return reply

    def refusing(path: str, body: Body) -> Body:
        raise Refusal(401, f"the key {KEY} is no good")

    request = remote_request(
        {"prompt": PROMPT, "base_url": "https://h/v1", "model": "m", "api_key": KEY}
    )
    assert isinstance(request.api_key, SecretStr)
    shown = [repr(request), str(request), str(request.model_dump()), request.model_dump_json()]
    with serving(telling) as served:
        given = {"base_url": served.url, "model": "m", "tier": 3, "api_key": KEY}
        shown += [json.dumps(item) for item in call(Settings(), **given)]
        own = remote_request({"prompt": PROMPT, **given})
        shown += [repr(progress) for progress in remote_steps(Settings(), own)]
    with serving(refusing) as served, pytest.raises(UserError) as caught:
        list(call(Settings(), **{**given, "base_url": served.url}))
    assert "[key]" in str(caught.value.message)
    shown += [everything(caught.value), caplog.text, *capsys.readouterr()]
    assert not any("secret" in text for text in shown)


def test_an_empty_key_is_none() -> None:
    with serving(capital_model) as served:
        list(call(Settings(), base_url=served.url, model="m", api_key="", tier=3))
        assert set(served.keys) == {None}


def asked_of(url: str, **arguments: Any) -> RemoteImportanceRequest:
    given = {"prompt": PROMPT, "base_url": url, "model": "m", "tier": 3, **arguments}
    return remote_request(given)


def test_progress_counts_answers_and_carries_steps() -> None:
    kept: dict[str, Any] = {}
    with serving(capital_model) as served:
        steps = remote_steps(Settings(), asked_of(served.url), cache=kept)
        said: list[Progress] = []
        while True:
            try:
                said.append(next(steps))
            except StopIteration as end:
                result = end.value
                break
        again = result_of(remote_steps(Settings(), asked_of(served.url), cache=kept))
    details = [step for progress in said for step in progress.detail]
    assert all(isinstance(step, RemoteStep) for step in details)
    assert [step.stage for step in details] == [
        "estimate",
        "connected",
        *["noise"] * 3,
        *["features"] * 5,
    ]
    assert said[-1].key == "status.request"
    assert said[-1].values == {"done": 8, "total": 8}
    assert (said[-1].done, said[-1].total) == (8, 8)
    assert (again.requests, again.features) == (0, result.features)


def test_dropping_it_sends_nothing_more() -> None:
    """Also while an answer is waited for."""
    go = threading.Event()

    def model(path: str, body: Body) -> Body:
        if len(served.asked) > 2:
            assert go.wait(LONG)
        return capital_model(path, body)

    with serving(model) as served:
        steps = remote_steps(Settings(), asked_of(served.url, prompt=PROMPT * 8, concurrency=2))
        while not any(step.stage == "connected" for step in next(steps).detail):
            pass
        while len(served.asked) < 4:  # two are under way
            time.sleep(0.01)
        steps.close()
        go.set()
        time.sleep(0.2)
        assert len(served.asked) == 4
