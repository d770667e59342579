"""Requests to an endpoint: counted, kept, tried again where that helps, the key never shown.

Several threads ask at once. A refusal for load (408, 409, 429, 5xx) or a lost connection is tried
again after a wait that doubles and is jittered, or that the server names (Retry-After).
"""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter
from collections.abc import Mapping, MutableMapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx

from lens_core.errors import ModelError
from lens_core.progress import Stopped
from lens_core.remote.cache import request_key
from lens_core.remote.endpoint import Endpoint

TIMEOUT_S = 60.0
RETRIES = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
MAX_REPLY = 4 * 2**20
"""Bytes of a reply: log-probabilities of 20 tokens at 1,024 places take 2 MB."""
_AGAIN = (408, 409, 429)
_SHOWN = 300
"""Characters of an answer that an error repeats."""


class Refused(ModelError):
    """The endpoint does not take such a request; another form of it may do."""

    def __init__(self, message: str, status: int, said: str) -> None:
        super().__init__(message)
        self.status = status
        self.said = said
        """What it said about it."""


class Halted(Stopped):
    """The run ended while a request waited; nobody reads its answer."""


class Client:
    """An endpoint that is asked, up to a number of requests; close it when the run ends."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_requests: int,
        cache: MutableMapping[str, Any],
        first_wait_s: float = FIRST_WAIT_S,
        halted: threading.Event | None = None,
    ) -> None:
        """Ask nothing yet; nothing is sent any more once `halted` is set."""
        self.endpoint = endpoint
        self.requests = 0
        """Sent so far, failed tries counted."""
        self.cached = 0
        """Answers that were not sent for."""
        self.usage: Counter[str] = Counter()
        """Tokens that the endpoint counted."""
        self._max_requests = max_requests
        self._cache = cache
        self._first_wait_s = first_wait_s
        self._lock = threading.Lock()
        self._halted = threading.Event() if halted is None else halted
        self._http = httpx.Client(timeout=TIMEOUT_S, headers=endpoint.headers())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def halt(self) -> None:
        """Let threads that wait give up, and send nothing more."""
        self._halted.set()

    def ask(self, path: str, body: Mapping[str, Any], *, repeat: int = 0) -> dict[str, Any]:
        """The answer to a request, kept or fetched.

        Args:
            path: such as "chat/completions".
            body: the request without the model's name.
            repeat: other numbers ask the same again.

        Raises:
            Refused: the endpoint does not take the request.
            ModelError: it cannot be reached, refuses the key, stays busy, or answers no JSON; or
                the number of requests is used up.
        """
        url, full = self.endpoint.url(path), {"model": self.endpoint.model, **body}
        key = request_key(url, full, repeat)
        with self._lock:
            kept = self._cache.get(key)
            if kept is not None:
                self.cached += 1
                return kept
        answer = self._fetched(url, full)
        with self._lock:
            self._cache[key] = answer
            self._count(answer)
        return answer

    def _count(self, answer: Mapping[str, Any]) -> None:
        usage = answer.get("usage")
        for name, value in (usage if isinstance(usage, dict) else {}).items():
            if isinstance(value, int) and name.endswith("_tokens"):
                self.usage[name] += value

    def _fetched(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        host, problem = self.endpoint.host, ""
        for attempt in range(RETRIES + 1):
            response, problem = self._sent(url, body)
            if response is not None and response.status_code < 300:
                return self._parsed(response)
            if response is not None and response.status_code < 400:
                raise ModelError(
                    f"{host} sends elsewhere ({response.status_code}), which is not followed; give "
                    "the address itself as base_url."
                )
            if response is not None and not _is_passing(response.status_code):
                raise self._refused(response)
            if response is not None:
                problem = f"{response.status_code}: {self._said(response)}"
            if attempt < RETRIES:
                self._wait(response, attempt)
        raise ModelError(
            f"{host} failed {RETRIES + 1} times, the last time with {problem}. Run it again later; "
            "with the same cache it goes on where it stopped."
        )

    def _sent(self, url: str, body: Mapping[str, Any]) -> tuple[httpx.Response | None, str]:
        """The response, or None and what went wrong on the way."""
        with self._lock:
            if self._halted.is_set():
                raise Halted
            if self.requests >= self._max_requests:
                raise ModelError(
                    f"{self.requests} requests were sent, failed tries counted; max_requests is "
                    f"{self._max_requests}. Raise it and run it again; with the same cache it "
                    "goes on where it stopped."
                )
            self.requests += 1
        try:
            return self._received(url, body), ""
        except httpx.InvalidURL as error:
            raise ModelError(f"{self.endpoint.host} is no address: {error}.") from None
        except httpx.TransportError as error:
            # Not chained: what httpx raises holds the request with its headers.
            return None, self.endpoint.redacted(f"{type(error).__name__}: {error}")

    def _received(self, url: str, body: Mapping[str, Any]) -> httpx.Response:
        """The response, which is read up to a limit.

        Raises:
            ModelError: it is longer.
        """
        with self._http.stream("POST", url, json=body) as response:
            parts, size = [], 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_REPLY:
                    raise ModelError(
                        f"{self.endpoint.host} answers with more than {MAX_REPLY / 2**20:.0f} MiB; "
                        "that is no answer of a few tokens. Check base_url and model."
                    )
            headers = [(k, v) for k, v in response.headers.items() if k != "content-encoding"]
            return httpx.Response(response.status_code, headers=headers, content=b"".join(parts))

    def _wait(self, response: httpx.Response | None, attempt: int) -> None:
        asked = None if response is None else _retry_after(response)
        if asked is not None and asked > LONGEST_WAIT_S:
            raise ModelError(
                f"{self.endpoint.host} asks to wait {asked:.0f} seconds; the longest wait is "
                f"{LONGEST_WAIT_S:.0f}. Run it again then; with the same cache it goes on where "
                "it stopped."
            )
        # Jittered, so that threads that were refused together do not come back together.
        wait = self._first_wait_s * 2**attempt * random.uniform(0.5, 1.5)
        if self._halted.wait(asked if asked is not None else min(wait, LONGEST_WAIT_S)):
            raise Halted

    def _refused(self, response: httpx.Response) -> ModelError:
        status, said = response.status_code, self._said(response)
        if status in (401, 403):
            return ModelError(
                f"{self.endpoint.host} refuses the key ({status}: {said}). Give another api_key."
            )
        if status in (402,):
            return ModelError(f"{self.endpoint.host} wants to be paid first ({status}: {said}).")
        message = f"{self.endpoint.host} does not take the request ({status}: {said})."
        return Refused(message + " Check base_url and model.", status, said)

    def _parsed(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = json.loads(self.endpoint.redacted(response.text), parse_constant=_no_number)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
        raise ModelError(
            f"{self.endpoint.host} answers no JSON object: {self._said(response)!r}. Check that "
            "base_url is that of the API, mostly ending in /v1."
        )

    def _said(self, response: httpx.Response) -> str:
        """The start of what a response says, on one line."""
        text = " ".join(self.endpoint.redacted(response.text).split())
        return text[:_SHOWN] + "…" if len(text) > _SHOWN else text or "no text"


def _no_number(text: str) -> None:
    """Infinity and NaN are no JSON, and yet some servers send them for an impossible token."""


def _is_passing(status: int) -> bool:
    return status in _AGAIN or status >= 500


def _retry_after(response: httpx.Response) -> float | None:
    """The wait in seconds that a server asks for, as a number or as a date."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        seconds = (when - datetime.now(timezone.utc)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
