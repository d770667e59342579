"""Requests to an endpoint: counted, kept, tried again, and the key stays where it belongs."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Body, Refusal, capital_model, serving

from lens_core import Endpoint, remote_importance
from lens_core.errors import InputError, LensError, ModelError
from lens_core.progress import Stopped, reported
from lens_core.remote.cache import FolderCache
from lens_core.remote.client import Client

KEY = 'sk-very"secret'
PROMPT = "The capital of France is"


def ask(url: str, **options: Any) -> Any:
    endpoint = Endpoint(url, "m", KEY)
    return remote_importance(endpoint, PROMPT, tier=3, first_wait_s=0.001, **options)


def failing(times: int, refusal: Callable[[], Refusal]) -> Callable[[str, Body], Body]:
    """The model of the tests, after so many failures."""
    left = [times]

    def model(path: str, body: Body) -> Body:
        left[0] -= 1
        if left[0] >= 0:
            raise refusal()
        return capital_model(path, body)

    return model


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_passing_refusals_are_tried_again(status: int) -> None:
    with serving(failing(3, lambda: Refusal(status, "busy", {"Retry-After": "0"}))) as served:
        found = ask(served.url)
    assert found.requests == len(served.asked) == 9 + 3


def test_a_lasting_refusal_is_told() -> None:
    with serving(failing(99, lambda: Refusal(503, "overloaded"))) as served:
        with pytest.raises(ModelError, match=r"failed 6 times.*503.*overloaded.*same cache"):
            ask(served.url)
        assert len(served.asked) == 6


@pytest.mark.parametrize("wait", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_long_wait_is_told(wait: str) -> None:
    with (
        serving(failing(1, lambda: Refusal(429, "slow", {"Retry-After": wait}))) as served,
        pytest.raises(ModelError, match="asks to wait"),
    ):
        ask(served.url)


@pytest.mark.parametrize("wait", ["soon", "nan", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_wait_that_means_nothing(wait: str) -> None:
    with serving(failing(1, lambda: Refusal(429, "slow", {"Retry-After": wait}))) as served:
        assert ask(served.url).requests == 10


@pytest.mark.parametrize(("status", "said"), [(401, "api_key"), (403, "api_key"), (402, "paid")])
def test_refusals_that_last_are_not_tried_again(status: int, said: str) -> None:
    with serving(failing(1, lambda: Refusal(status, "no"))) as served:
        with pytest.raises(ModelError, match=said):
            ask(served.url)
        assert len(served.asked) == 1


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match="failed 6 times, the last time with ConnectError"):
        ask(f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize("reply", ["<html>", "[1]", {}, {"choices": []}])
def test_another_server_is_told(reply: Any) -> None:
    with serving(lambda path, body: reply) as served, pytest.raises(ModelError, match="base_url"):
        ask(served.url)


def test_the_cap_counts_failed_tries() -> None:
    with serving(failing(5, lambda: Refusal(500, "x", {"Retry-After": "0"}))) as served:
        kept: dict[str, Any] = {}
        endpoint = Endpoint(served.url, "m")
        client = Client(endpoint, max_requests=4, cache=kept)
        with client, pytest.raises(ModelError, match="max_requests is 4"):
            client.ask("chat/completions", {"messages": [{"content": "x"}]})
        assert len(served.asked) == client.requests == 4
        assert kept == {}


def test_a_kept_answer_is_not_sent_for(tmp_path: Path) -> None:
    memory: dict[str, Any] = {}
    for cache in (memory, tmp_path / "answers"):
        with serving(capital_model) as served:
            first = ask(served.url, cache=cache)
            sent = len(served.asked)
            second = ask(served.url, cache=cache)
        assert (sent, len(served.asked)) == (first.requests, first.requests)
        assert (second.requests, second.cached, second.usage) == (0, sent, {})
        assert second.features == first.features
    files = list((tmp_path / "answers").iterdir())
    assert len(files) == sent
    for file in files:
        assert "messages" not in file.read_text("utf-8")


def test_repeats_are_asked_for_each(tmp_path: Path) -> None:
    """The noise must not be read from the cache of the first answer."""
    with serving(capital_model) as served:
        ask(served.url, repeats=4)
        same = [body for _, body in served.asked if body["messages"][-1]["content"] == PROMPT]
    assert len(same) == 5


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    asked = [0]

    def model(path: str, body: Body) -> Body:
        asked[0] += 1
        if asked[0] == 6:
            raise Refusal(402, "no credit")
        return capital_model(path, body)

    with serving(model) as served:
        options = {"cache": tmp_path, "concurrency": 1}
        with pytest.raises(ModelError, match="paid"):
            ask(served.url, **options)
        rest = ask(served.url, **options)
    assert (rest.cached, rest.requests) == (5, 4)
    assert rest.features == uninterrupted().features


def uninterrupted() -> Any:
    with serving(capital_model) as served:
        return ask(served.url)


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path)
    cache["a"] = {"x": 1}
    assert (list(cache), len(cache), cache["a"]) == (["a"], 1, {"x": 1})
    (tmp_path / "a.json").write_text('{"x":', "utf-8")
    assert cache.get("a") is None
    del cache["a"]
    with pytest.raises(KeyError):
        del cache["a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache"):
        FolderCache(tmp_path / "file")


def test_a_listener_can_stop_the_run() -> None:
    def stop(what: str, done: int, total: int) -> None:
        assert (what, total) == ("request", 8)
        if done == 4:
            raise Stopped

    with serving(capital_model) as served:
        with pytest.raises(Stopped), reported(stop):
            ask(served.url, concurrency=1)
        assert len(served.asked) < 9


REPEATING = [
    lambda: Refusal(400, f"what is {KEY}?"),
    lambda: Refusal(401, f"Incorrect API key provided: {KEY}"),
    lambda: Refusal(500, f"failed with {KEY}"),
]


@pytest.mark.parametrize("refusal", REPEATING)
def test_the_key_is_in_no_error(refusal: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        serving(failing(99, refusal)) as served,
        pytest.raises(LensError) as caught,
    ):
        ask(served.url)
    assert served.keys[0] == f"Bearer {KEY}"
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert "[key]" in str(caught.value)
    assert "secret" not in caplog.text


def test_the_key_is_in_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the server says it."""
    caplog.set_level(logging.DEBUG)

    def model(path: str, body: Body) -> Body:
        reply = capital_model(path, body)
        reply["choices"][0]["message"]["content"] += KEY
        return {**reply, KEY: KEY}

    with serving(model) as served:
        found = ask(served.url, cache=tmp_path)
    kept = [file.read_text("utf-8") for file in tmp_path.iterdir()]
    written = [json.dumps(found.to_json()), found.to_csv(), repr(found), caplog.text, *kept]
    assert not any("secret" in text for text in written)
    assert set(served.keys) == {f"Bearer {KEY}"}
    endpoint = Endpoint(served.url, "m", KEY)
    assert "secret" not in f"{endpoint} {endpoint!r}"
    assert endpoint == Endpoint(served.url, "m")


def test_placeholders_are_no_secrets() -> None:
    """Local servers want some key; an answer that holds the word stays as it is."""
    assert Endpoint("https://host/v1", "m", "EMPTY").redacted("an EMPTY box") == "an EMPTY box"


def test_a_key_without_encryption_is_told() -> None:
    assert not Endpoint("https://host/v1", "m", KEY).sends_key_openly
    assert not Endpoint("http://localhost:8000/v1", "m", KEY).sends_key_openly
    assert not Endpoint("http://[::1]:8000/v1", "m", KEY).sends_key_openly
    assert not Endpoint("http://host/v1", "m").sends_key_openly
    assert Endpoint("http://host/v1", "m", KEY).sends_key_openly
    assert Endpoint("http://192.168.0.3/v1", "m", KEY).sends_key_openly


@pytest.mark.parametrize(
    ("url", "model", "key"),
    [
        ("host/v1", "m", None),
        ("ftp://host/v1", "m", None),
        ("https://", "m", None),
        ("https://me:secret@host/v1", "m", None),
        ("https://host/v1?key=secret", "m", None),
        ("https://host/v1", " ", None),
        ("https://host/v1", "m", ""),
        ("https://host/v1", "m", "secret key"),
        ("https://host/v1", "m", "secret\n"),
        ("https://host/v1", "m", "秘密secret"),
    ],
)
def test_endpoints_that_cannot_be(url: str, model: str, key: str | None) -> None:
    with pytest.raises(InputError) as caught:
        Endpoint(url, model, key)
    assert "secret" not in str(caught.value)


def test_nothing_follows_a_redirect() -> None:
    """It could lead the key to another host."""
    with serving(capital_model) as other:

        def model(path: str, body: Body) -> Body:
            raise Refusal(307, "elsewhere", {"Location": f"{other.url}/chat/completions"})

        with serving(model) as served, pytest.raises(ModelError, match="sends elsewhere"):
            ask(served.url)
        assert other.asked == []
