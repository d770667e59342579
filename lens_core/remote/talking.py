"""The OpenAI protocol: what is sent for an answer, and where in the reply it is.

Endpoints differ in the optional parts that they take. One that complains of a part is asked again
without it, and from then on it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lens_core.errors import ModelError
from lens_core.remote.client import Client, Refused
from lens_core.remote.options import RemoteOptions
from lens_core.remote.units import Unit

CHAT, PLAIN = "chat/completions", "completions"


LONGEST_ANSWER = 50_000
"""Characters; 1,024 tokens are some 5,000."""


@dataclass(frozen=True)
class Dialect:
    """The optional parts of a request that the endpoint takes."""

    seed: int | None
    limit: str = "max_tokens"
    temperature: bool = True

    def body(self, tokens: int) -> dict[str, Any]:
        """What goes with a request for so many tokens."""
        body: dict[str, Any] = {self.limit: tokens}
        if self.temperature:
            body["temperature"] = 0
        if self.seed is not None:
            body["seed"] = self.seed
        return body

    def after(self, complaint: str) -> Dialect | None:
        """The dialect without the part that is complained of; None when it is about none."""
        if "max_completion_tokens" in complaint and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if "temperature" in complaint and self.temperature:
            return replace(self, temperature=False)
        if "seed" in complaint and self.seed is not None:
            return replace(self, seed=None)
        return None


class Talker:
    """Asks a model for answers."""

    def __init__(self, client: Client, options: RemoteOptions) -> None:
        """Ask nothing yet."""
        self.client = client
        self._system = options.system
        self._dialect = Dialect(options.seed)

    def reply(
        self, path: str, prompt: str, *, tokens: int, repeat: int = 0, **more: Any
    ) -> dict[str, Any]:
        """The first choice of the reply to a prompt, sent as chat or as plain text.

        Raises:
            Refused: the endpoint does not take such a request.
            ModelError: as `Client.ask`, or the reply has no choice.
        """
        sent = {"prompt": prompt} if path == PLAIN else {"messages": self._messages(prompt)}
        while True:
            dialect = self._dialect
            try:
                body = {**sent, **dialect.body(tokens), **more}
                return first_choice(self.client.ask(path, body, repeat=repeat))
            except Refused as refused:
                spoken = dialect.after(refused.said)
                if refused.status not in (400, 422) or spoken is None:
                    raise
                self._dialect = spoken

    def _messages(self, prompt: str) -> list[dict[str, str]]:
        turns = [] if self._system is None else [{"role": "system", "content": self._system}]
        return [*turns, {"role": "user", "content": prompt}]


def first_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The only choice of a reply.

    Raises:
        ModelError: there is none.
    """
    choices = reply.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    held = ", ".join(reply) or "nothing"
    raise ModelError(f"The endpoint's reply has no choice (it holds {held}); check base_url.")


def text_of(choice: Mapping[str, Any]) -> str:
    """The text of a choice; empty where the model said nothing.

    Raises:
        ModelError: it is far longer than any that was asked for.
    """
    message = choice.get("message")
    said = message.get("content") if isinstance(message, dict) else choice.get("text")
    text = said if isinstance(said, str) else ""
    if len(text) > LONGEST_ANSWER:
        raise ModelError(
            f"The endpoint answers with {len(text)} characters; the limit is {LONGEST_ANSWER}. It "
            "does not keep to answer_tokens."
        )
    return text


_REQUEST = """Text:
{prompt}

For each of these parts of the text, give another word or phrase of the same kind that fits in its \
place and means something else. One line for each, as "number: word", nothing more.

{parts}
"""
_LINE = re.compile(r"\s*(\d+)\s*[:.)]\s*(.*\S)")


def neighbours(talker: Talker, path: str, prompt: str, units: Sequence[Unit]) -> dict[Unit, str]:
    """Another word for every unit, which the model proposes in one answer.

    Units for which it proposes none, or the same, are left out.
    """
    parts = "\n".join(f"{number}: {unit.text}" for number, unit in enumerate(units, 1))
    text = _REQUEST.format(prompt=prompt, parts=parts)
    said = text_of(talker.reply(path, text, tokens=16 * len(units) + 64))
    proposed = {int(m[1]): m[2].strip("\"'“”") for m in map(_LINE.match, said.splitlines()) if m}
    found = {unit: proposed.get(number, "") for number, unit in enumerate(units, 1)}
    return {unit: word for unit, word in found.items() if word and word != unit.text}
