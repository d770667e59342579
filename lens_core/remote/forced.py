"""The log-probabilities of a given text, in the forms in which endpoints give them.

The answer's tokens are the last ones; where its first token also holds the end of the prompt, it
counts as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lens_core.errors import ModelError
from lens_core.remote.client import Client
from lens_core.remote.talking import PLAIN, first_choice


@dataclass(frozen=True)
class Form:
    """One way to ask for them."""

    body: Mapping[str, Any]
    generated: int
    """Tokens that have to be generated behind the text, and are not looked at."""


FORMS = (
    Form({"echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}, 0),
    Form({"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}, 1),
    Form({"prompt_logprobs": 0, "max_tokens": 1, "temperature": 0}, 0),
)
"""The original one, the same where at least one token must be generated, and vLLM's."""


@dataclass(frozen=True)
class Scored:
    """An answer as the endpoint's tokens."""

    tokens: tuple[str, ...]
    log_p: tuple[float, ...]
    """Nats."""
    flips: bool | None
    """Whether some other token was likelier somewhere; None where it is not shown."""

    @property
    def total(self) -> float:
        """The logarithm of the probability of all of it."""
        return sum(self.log_p)


@dataclass(frozen=True)
class _Tokens:
    """All tokens of a text as a reply shows them."""

    texts: Sequence[str]
    log_p: Sequence[float | None]
    best: Sequence[bool | None]
    """Whether each was the likeliest."""
    offsets: Sequence[int] | None
    """Where each starts, in characters."""


def score(
    client: Client, form: Form, prompt: str, answer: str, *, repeat: int = 0
) -> Scored | None:
    """How likely the answer is after the prompt; None where the reply does not show it.

    Raises:
        Refused: the endpoint does not take this form.
        ModelError: as `Client.ask`, or a token of the answer has no probability.
    """
    body = {"prompt": prompt + answer, **form.body}
    reply = client.ask(PLAIN, body, repeat=repeat)
    try:
        read = _listed(reply) if "prompt_logprobs" in form.body else _echoed(reply, form.generated)
        start = _start(read, prompt, answer)
    except (KeyError, IndexError, TypeError, ValueError, StopIteration):
        return None  # not the reply that was asked for: the endpoint ignores the form
    if start is None:
        return None
    log_p = [value for value in read.log_p[start:] if value is not None]
    if len(log_p) < len(read.texts) - start:
        raise ModelError(
            "The endpoint gives no probability for a token of the answer; choose another answer."
        )
    best = read.best[start:]
    flips = None if None in best else not all(best)
    return Scored(tuple(read.texts[start:]), tuple(map(float, log_p)), flips)


def _echoed(reply: Mapping[str, Any], generated: int) -> _Tokens:
    """The text that came back, without what was generated behind it."""
    logprobs = first_choice(reply)["logprobs"]
    end = len(logprobs["tokens"]) - generated
    texts, log_p = logprobs["tokens"][:end], logprobs["token_logprobs"][:end]
    tops = logprobs.get("top_logprobs") or [None] * end
    best = [_is_best(*pair) for pair in zip(log_p, tops[:end], strict=True)]
    offsets = logprobs.get("text_offset")
    return _Tokens(texts, log_p, best, offsets[:end] if offsets else None)


def _is_best(log_p: float | None, top: Mapping[str, float] | None) -> bool | None:
    if log_p is None or not top:
        return None
    return log_p >= max(top.values())


def _listed(reply: Mapping[str, Any]) -> _Tokens:
    """The prompt's tokens as vLLM gives them: by id, the token itself first."""
    choice = first_choice(reply)
    places = choice.get("prompt_logprobs") or reply["prompt_logprobs"]
    entries = [{} if place is None else next(iter(place.values())) for place in places]
    return _Tokens(
        [entry.get("decoded_token") or "" for entry in entries],
        [entry.get("logprob") for entry in entries],
        [entry["rank"] == 1 if entry.get("rank") else None for entry in entries],
        None,
    )


def _start(read: _Tokens, prompt: str, answer: str) -> int | None:
    """The first of the answer's tokens."""
    joined = ""
    for at in range(len(read.texts) - 1, -1, -1):
        joined = read.texts[at] + joined
        if len(joined) >= len(answer):
            if joined.endswith(answer):
                return at
            break
    if not read.offsets:
        return None
    # Parts of characters cannot be compared as text; where they start can.
    inside = [at for at, offset in enumerate(read.offsets) if offset >= len(prompt)]
    if not inside:
        return None
    first = inside[0]
    return first if read.offsets[first] == len(prompt) or first == 0 else first - 1
