"""What an endpoint shows of a change, in three tiers: the first that it has is taken.

Tier 1 scores a fixed answer (echoed log-probabilities), tier 2 sees the likeliest first tokens of
an answer, tier 3 only answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from lens_core.errors import ModelError
from lens_core.remote.client import Client, Refused
from lens_core.remote.distances import (
    answer_distances,
    cosine_distance,
    js_bounds,
    unlisted_log_p,
)
from lens_core.remote.forced import FORMS, Form, Scored, score
from lens_core.remote.options import RemoteOptions
from lens_core.remote.talking import CHAT, PLAIN, Talker, text_of

_LISTED = (20, 5)
"""How many first tokens are asked for; some endpoints list five at most."""


@dataclass(frozen=True)
class Difference:
    """What another prompt changes, before the noise is taken off."""

    value: float
    """Nats that the answer loses in tiers 1 and 2, a distance of answers in tier 3."""
    upper: float
    """The most that it can be; infinite where only a bound is known."""
    flip: bool | None
    """Whether the model would say something else; None where it is not shown."""
    answer: str | None = None
    token_scores: tuple[float, ...] | None = None
    """The loss of each token of the answer, in tier 1."""
    js: tuple[float, float] | None = None
    """Bounds of the Jensen-Shannon divergence of the first tokens, in tier 2; nats."""
    distances: Mapping[str, float] | None = None
    """All distances of the answers, in tier 3."""


@dataclass(frozen=True)
class ForcedAnswer:
    """Tier 1: how much log-probability a fixed answer loses."""

    talker: Talker
    form: Form
    answer: str
    original: Scored
    tier: ClassVar[int] = 1
    score: str = "log_p"
    path: str = PLAIN

    def difference(self, prompt: str, *, repeat: int = 0) -> Difference:
        """The loss of the answer, and of each of its tokens where they are the same ones."""
        found = score(self.talker.client, self.form, prompt, self.answer, repeat=repeat)
        if found is None:
            raise ModelError("The endpoint left the log-probabilities out of one of its replies.")
        loss, each = self.original.total - found.total, None
        if found.tokens == self.original.tokens:
            pairs = zip(self.original.log_p, found.log_p, strict=True)
            each = tuple(before - after for before, after in pairs)
        return Difference(loss, loss, found.flips, token_scores=each)

    def reference(self) -> dict[str, Any]:
        """The answer, its tokens, and how likely each was."""
        tokens, log_p = list(self.original.tokens), list(self.original.log_p)
        return {"text": self.answer, "tokens": tokens, "log_p": log_p}


@dataclass(frozen=True)
class FirstToken:
    """Tier 2: how much log-probability the first token of the answer loses."""

    talker: Talker
    listed: int
    tokens: int
    answer: str
    token: str
    log_ps: Mapping[str, float]
    tier: ClassVar[int] = 2
    score: str = "log_p_first"
    path: str = CHAT

    def difference(self, prompt: str, *, repeat: int = 0) -> Difference:
        """The loss, or the least that it can be where the token is not listed any more."""
        choice = first_tokens(self.talker, prompt, self.listed, self.tokens, repeat=repeat)
        found = listed_log_ps(choice) or {}
        before = self.log_ps[self.token]
        known = self.token in found
        loss = before - (found[self.token] if known else unlisted_log_p(found))
        first = max(found, key=lambda token: found[token], default=None)
        return Difference(
            loss,
            loss if known else math.inf,
            first != self.token,
            text_of(choice),
            js=js_bounds(self.log_ps, found),
        )

    def reference(self) -> dict[str, Any]:
        """The answer, its first token, and how likely that was."""
        log_p = [self.log_ps[self.token]]
        return {"text": self.answer, "tokens": [self.token], "log_p": log_p}


@dataclass(frozen=True)
class AnswerText:
    """Tier 3: how far the answer is from the one to the unmasked prompt."""

    talker: Talker
    path: str
    options: RemoteOptions
    answer: str
    tier: ClassVar[int] = 3

    @property
    def score(self) -> str:
        """The distance by its name."""
        return self.options.distance

    def difference(self, prompt: str, *, repeat: int = 0) -> Difference:
        """The distance of the answers."""
        tokens = self.options.answer_tokens
        choice = self.talker.reply(self.path, prompt, tokens=tokens, repeat=repeat)
        said = text_of(choice)
        distances = answer_distances(self.answer, said)
        if self.options.distance == "embedding":
            distances["embedding"] = self._embedded(said)
        value = distances[self.options.distance]
        return Difference(value, value, bool(distances["exact"]), said, distances=distances)

    def _embedded(self, said: str) -> float:
        # An empty text has no embedding with most endpoints.
        first, second = (self._embedding(text or " ") for text in (self.answer, said))
        return cosine_distance(first, second)

    def _embedding(self, text: str) -> list[float]:
        body = {"model": self.options.embedding_model, "input": text}
        reply = self.talker.client.ask("embeddings", body)
        try:
            return [float(value) for value in reply["data"][0]["embedding"]]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError("The endpoint's reply for an embedding holds none.") from error

    def reference(self) -> dict[str, Any]:
        """The answer; its tokens are not known."""
        return {"text": self.answer, "tokens": None, "log_p": None}


Observer: TypeAlias = ForcedAnswer | FirstToken | AnswerText
"""One tier, with what the unmasked prompt gave."""


def connected(client: Client, prompt: str, options: RemoteOptions) -> Observer:
    """The tier that is asked for, or the first that the endpoint has.

    Raises:
        ModelError: the endpoint has none of them, or cannot be asked.
    """
    talker = Talker(client, options)
    tiers = [options.tier] if options.tier else [1, 2, 3]
    if options.tier is None and options.system is not None:
        tiers = [2, 3]
    if options.tier is None and options.answer is not None:
        tiers = [1]
    if options.tier is None and options.shares:
        tiers = [tier for tier in tiers if tier != 2]  # its bounds are no values to share
    refused = None
    for tier in tiers:
        try:
            observer = _TIERS[tier](talker, prompt, options)
        except Refused as error:
            refused, observer = error, None
        if observer is not None:
            return observer
    if refused is not None and tiers[-1] == 3:
        raise refused
    raise ModelError(
        f"{client.endpoint.host} does not show the log-probabilities that tier {tiers[-1]} needs. "
        "Leave tier and answer out to take what it has."
    )


def _forced(talker: Talker, prompt: str, options: RemoteOptions) -> Observer | None:
    answer = options.answer
    if answer is None:
        answer = text_of(talker.reply(PLAIN, prompt, tokens=options.answer_tokens))
        if not answer:
            return None
    for form in FORMS:
        try:
            found = score(talker.client, form, prompt, answer)
        except Refused:
            continue
        if found is not None:
            return ForcedAnswer(talker, form, answer, found)
    return None


def _first(talker: Talker, prompt: str, options: RemoteOptions) -> Observer | None:
    for listed in _LISTED:
        try:
            choice = first_tokens(talker, prompt, listed, options.answer_tokens)
        except Refused:
            continue
        found = listed_log_ps(choice)
        if found is None:
            return None
        token = token_name(choice["logprobs"]["content"][0])
        return FirstToken(talker, listed, options.answer_tokens, text_of(choice), token, found)
    return None


def _answered(talker: Talker, prompt: str, options: RemoteOptions) -> Observer | None:
    path = CHAT
    try:
        choice = talker.reply(CHAT, prompt, tokens=options.answer_tokens)
    except Refused:
        if options.system is not None:
            raise
        path = PLAIN
        choice = talker.reply(PLAIN, prompt, tokens=options.answer_tokens)
    return AnswerText(talker, path, options, text_of(choice))


_TIERS = {1: _forced, 2: _first, 3: _answered}


def first_tokens(
    talker: Talker, prompt: str, listed: int, tokens: int, *, repeat: int = 0
) -> dict[str, Any]:
    """The choice of a chat with the likeliest tokens at every place."""
    more = {"logprobs": True, "top_logprobs": listed}
    return talker.reply(CHAT, prompt, tokens=tokens, repeat=repeat, **more)


def listed_log_ps(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """The first tokens that a reply lists, with their log-probabilities; None where it has none."""
    try:
        first = choice["logprobs"]["content"][0]
        entries = [*first["top_logprobs"], first]
        found = {token_name(entry): float(entry["logprob"]) for entry in entries}
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return {token: min(value, 0.0) for token, value in found.items()}


def token_name(entry: Mapping[str, Any]) -> str:
    """The text of a token, with its bytes where it is a part of a character."""
    token, raw = str(entry["token"]), entry.get("bytes")
    return f"{token} <{bytes(raw).hex(' ').upper()}>" if raw and "\ufffd" in token else token
