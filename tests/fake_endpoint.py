"""A local server that speaks the OpenAI-compatible protocol, with a model that tests know."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lens_core.models import LoadedModel

Body = dict[str, Any]


class Refusal(Exception):
    """An answer with an error's status."""

    def __init__(self, status: int, said: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(said)
        self.status = status
        self.headers = headers or {}


@dataclass(eq=False)
class Served:
    """The running server and what it was asked."""

    url: str
    asked: list[tuple[str, Body]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def serving(model: Callable[[str, Body], Any]) -> Iterator[Served]:
    """`model(path, body)` on a free port; it answers JSON or text, or raises a Refusal."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: the second would wait for a delayed ACK

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path = self.path.removeprefix("/v1/")
            served.asked.append((path, body))
            served.keys.append(self.headers.get("Authorization"))
            try:
                self.send(200, model(path, body), {})
            except Refusal as refusal:
                self.send(refusal.status, {"error": str(refusal)}, refusal.headers)

        def send(self, status: int, reply: Any, headers: dict[str, str]) -> None:
            data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def user_text(body: Body) -> str:
    """What the user says in a chat, or the plain prompt."""
    return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


def chat(text: str, first: dict[str, float] | None = None) -> Body:
    """A reply of a chat; `first` holds the probabilities of its first token, its own first."""
    choice: Body = {"message": {"content": text}, "logprobs": None}
    if first is not None:
        listed = [{"token": token, "logprob": math.log(p)} for token, p in first.items()]
        choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}


def capitals(text: str) -> str:
    """A model that only looks for two words."""
    return "It is Paris, surely." if "France" in text and "capital" in text else "I do not know."


def capital_model(path: str, body: Body) -> Body:
    """The same model as a chat without log-probabilities."""
    if path != "chat/completions":
        raise Refusal(404, "no such function")
    return chat(capitals(user_text(body)))


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A loaded model behind /completions, scored by a plain forward pass."""

    loaded: LoadedModel
    form: str = "echo"
    """echo (nothing generated), echo1 (at least one token), or prompt_logprobs."""

    def __call__(self, path: str, body: Body) -> Body:
        if path != "completions":
            raise Refusal(404, "no such function")
        if "prompt_logprobs" in body and self.form == "prompt_logprobs":
            return self.listed(body["prompt"])
        if body.get("echo") and self.form != "prompt_logprobs":
            if body["max_tokens"] == 0 and self.form == "echo1":
                raise Refusal(400, "max_tokens must be at least 1")
            return self.echoed(body["prompt"], body["max_tokens"])
        return {"choices": [{"text": self.greedy(body["prompt"], body["max_tokens"])}]}

    def greedy(self, prompt: str, tokens: int) -> str:
        import torch

        from lens_core.network import run
        from lens_core.tokens import token_records

        ids = self.loaded.tokenize(prompt)
        start = len(ids)
        for _ in range(tokens):
            best = run(self.loaded.model, ids[None]).logits[0, -1].argmax()
            ids = torch.cat([ids, best[None]])
        records = token_records(self.loaded.tokenizer, ids.tolist())
        return "".join(record["text"] for record in records[start:])

    def scored(self, text: str) -> tuple[list[str], list[float | None], list[int], list[float]]:
        """Texts, log-probabilities and ranks of the tokens, and the best log-probability."""
        from lens_core.network import run
        from lens_core.tokens import token_records

        ids = self.loaded.tokenize(text)
        with self.loaded.lock:
            rows = run(self.loaded.model, ids[None]).logits[0].double().log_softmax(-1)
        texts = [record["text"] for record in token_records(self.loaded.tokenizer, ids.tolist())]
        values: list[float | None] = [None]
        ranks, best = [0], [0.0]
        for place, token in enumerate(ids.tolist()[1:]):
            values.append(float(rows[place, token]))
            ranks.append(1 + int((rows[place] > rows[place, token]).sum()))
            best.append(float(rows[place].max()))
        return texts, values, ranks, best

    def echoed(self, text: str, generated: int) -> Body:
        texts, values, _, best = self.scored(text)
        offsets = [sum(map(len, texts[:at])) for at in range(len(texts))]
        tops: list[Any] = [None, *({"?": value} for value in best[1:])]
        if generated:
            texts, values, tops = [*texts, "next"], [*values, -0.1], [*tops, {"next": -0.1}]
            offsets = [*offsets, len(text)]
        logprobs = {"tokens": texts, "token_logprobs": values, "top_logprobs": tops}
        return {"choices": [{"text": text, "logprobs": {**logprobs, "text_offset": offsets}}]}

    def listed(self, text: str) -> Body:
        texts, values, ranks, _ = self.scored(text)
        entries: list[Any] = [None]
        for at in range(1, len(texts)):
            own = {"logprob": values[at], "rank": ranks[at], "decoded_token": texts[at]}
            other = {"logprob": -0.5, "rank": 1, "decoded_token": "?"}
            entries.append({"7": own, "8": other} if ranks[at] > 1 else {"7": own})
        return {"choices": [{"text": "x", "prompt_logprobs": entries}]}
