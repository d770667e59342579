"""Pairs that a model behind an API writes: asked for in batches, checked, asked again for the rest.

The reply should be JSON, and where the endpoint takes it, `response_format` says so. Models put
words around it all the same, so every object in a reply is looked at. A reply without pairs is
never passed over in silence: it is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lens_core.errors import InputError, ModelError
from lens_core.pairs.aligning import with_edit
from lens_core.pairs.checks import reason_against
from lens_core.pairs.record import Pair, PairFile, Problem
from lens_core.pairs.rows import IDENTITY
from lens_core.pairs.templates import Category, known_categories
from lens_core.progress import tick
from lens_core.remote.client import FIRST_WAIT_S, Client, Refused
from lens_core.remote.endpoint import Endpoint
from lens_core.remote.talking import CHAT, Dialect, first_choice, text_of

BATCH = 20
REFILLS = 5
MAX_N = 1000
TEMPERATURE = 0.7
_TOLD = 100
"""Earlier changes that a prompt lists as not to be repeated."""
_SHOWN = 400
"""Characters of a reply that an error repeats."""
_LANGUAGES = {"en": "English", "ja": "Japanese", "zh": "Chinese"}
_REQUEST = """Write {count} minimal pairs in {language}. A minimal pair is two sentences that are \
the same word for word except in one place.
The difference: {description}.
Write everyday sentences of 5 to 15 words, each pair about something else, and change other words \
in every pair.
Answer with JSON only: {{"pairs": [{{"sentence1": "...", "sentence2": "..."}}]}}
"""
_REPEATED = "Do not repeat these changes:\n{changes}\n"
_TEXT = {"type": "string"}
_PAIR = {
    "type": "object",
    "properties": {"sentence1": _TEXT, "sentence2": _TEXT},
    "required": ["sentence1", "sentence2"],
    "additionalProperties": False,
}
_SCHEMA = {
    "type": "object",
    "properties": {"pairs": {"type": "array", "items": _PAIR}},
    "required": ["pairs"],
    "additionalProperties": False,
}
_FORMATS: tuple[dict[str, Any] | None, ...] = (
    {"type": "json_schema", "json_schema": {"name": "pairs", "strict": True, "schema": _SCHEMA}},
    {"type": "json_object"},
    None,
)
"""What `response_format` says; an endpoint that refuses one is asked with the next."""


def ask_pairs(
    endpoint: Endpoint,
    categories: Sequence[str] | Mapping[str, str],
    *,
    n: int,
    lang: str = "en",
    cache: MutableMapping[str, Any] | None = None,
    seed: int = 0,
    max_requests: int = 200,
    first_wait_s: float = FIRST_WAIT_S,
) -> PairFile:
    """Up to `n` pairs of every category that a model writes, and what it wrote that is none.

    Args:
        endpoint: where the model is asked.
        categories: names of known categories or free text; or names with what the two sentences
            of such a pair differ in.
        n: pairs for each of them, 1 to 1000.
        lang: en, ja and zh are checked by their script; any other is named in the prompt.
        cache: keeps the answers, such as a `FolderCache`, so that a repeated run costs nothing.
        seed: sent with the requests, where the endpoint takes one.
        max_requests: nothing is sent beyond it, tries that failed counted.
        first_wait_s: before a busy endpoint is asked again.

    Raises:
        InputError: an argument outside its range.
        ModelError: the endpoint cannot be asked, or a category got no pair; the reply is shown.
    """
    wanted = _wanted(categories)
    if not 1 <= n <= MAX_N:
        raise InputError(f"n is {n}; it can be 1 to {MAX_N}.")
    rounds = -(-n // BATCH) + REFILLS
    pairs: list[Pair] = []
    problems: list[Problem] = []
    kept = {} if cache is None else cache
    with Client(
        endpoint, max_requests=max_requests, cache=kept, first_wait_s=first_wait_s
    ) as client:
        writer = _Writer(client, seed)
        for index, category in enumerate(wanted):
            search = _Search(writer, category, n, lang)
            for done in search.rounds(rounds):
                tick("request", index * rounds + done, len(wanted) * rounds)
            pairs += search.pairs
            problems += search.problems
    return PairFile(tuple(pairs), tuple(problems))


def _wanted(categories: Sequence[str] | Mapping[str, str]) -> list[Category]:
    """The categories with what is said of them; free text speaks for itself."""
    if isinstance(categories, str):
        categories = [categories]
    if not categories or not all(name.strip() for name in categories):
        raise InputError("There are no categories, or one is empty; name at least one.")
    if IDENTITY in categories:
        raise InputError(f'"{IDENTITY}" needs no model; take the templates.')
    if isinstance(categories, Mapping):
        return [Category(name, "user", text) for name, text in categories.items()]
    known = known_categories()
    return [known.get(name) or Category(name, "user", name) for name in categories]


class _Writer:
    """Asks for text, and drops the optional parts that the endpoint refuses."""

    def __init__(self, client: Client, seed: int) -> None:
        self.client = client
        self._dialect = Dialect(seed)
        self._format = 0

    def text(self, prompt: str, *, tokens: int, repeat: int) -> str:
        """What the model answers."""
        while True:
            body = self._body(prompt, tokens, repeat)
            try:
                return text_of(first_choice(self.client.ask(CHAT, body, repeat=repeat)))
            except Refused as refused:
                if refused.status not in (400, 422) or not self._simplified(refused.said):
                    raise

    def _body(self, prompt: str, tokens: int, repeat: int) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": prompt}], **self._dialect.body(tokens)}
        if "temperature" in body:
            body["temperature"] = TEMPERATURE
        if "seed" in body:
            body["seed"] += repeat
        if _FORMATS[self._format] is not None:
            body["response_format"] = _FORMATS[self._format]
        return body

    def _simplified(self, said: str) -> bool:
        """Whether something is left out now that the endpoint may have complained of."""
        spoken = self._dialect.after(said)
        if spoken is not None:
            self._dialect = spoken
            return True
        self._format += 1
        return self._format < len(_FORMATS)


@dataclass(eq=False)
class _Search:
    """The pairs of one category, round by round."""

    writer: _Writer
    category: Category
    n: int
    lang: str
    pairs: list[Pair] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _seen: set[tuple[frozenset[str], str | None]] = field(default_factory=set)

    def rounds(self, most: int) -> Iterator[int]:
        """Ask until there are enough pairs, at most so often; yields how often it did.

        Raises:
            ModelError: no reply had a pair.
        """
        said, asked = "", 0
        while asked < most and len(self.pairs) < self.n:
            count = min(BATCH, self.n - len(self.pairs))
            said = self.writer.text(self._prompt(count), tokens=150 * count + 500, repeat=asked)
            asked += 1
            self._take(said, asked)
            yield asked
        if not self.pairs:
            raise ModelError(self._nothing(asked, said))
        if len(self.pairs) < self.n:
            short = f"{len(self.pairs)} of {self.n} pairs after {asked} requests; the last reply"
            self.problems.append(Problem(self.category.name, f"{short} was {_shown(said)!r}"))

    def _prompt(self, count: int) -> str:
        text = _REQUEST.format(
            count=count,
            language=_LANGUAGES.get(self.lang, self.lang),
            description=self.category.description,
        )
        edits = [pair.edit for pair in self.pairs[-_TOLD:] if pair.edit is not None]
        changes = "\n".join(f"- {first!r} / {second!r}" for first, second in edits)
        return text + _REPEATED.format(changes=changes) if changes else text

    def _take(self, said: str, reply: int) -> None:
        """Keep the good pairs of a reply, and say what is wrong with the others."""
        found = list(sentence_pairs(said))
        place = f"{self.category.name}, reply {reply}"
        if not found:
            self.problems.append(Problem(place, f"it holds no pair: {_shown(said)!r}"))
        for first, second in found:
            pair = self._pair(first, second)
            reason = reason_against(pair) or self._repeated(pair)
            if reason:
                self.problems.append(Problem(place, f"{reason}: {first!r} / {second!r}"))
            elif len(self.pairs) < self.n:
                self._seen.add(_key(pair))
                self.pairs.append(pair)

    def _repeated(self, pair: Pair) -> str | None:
        return "it was there before" if _key(pair) in self._seen else None

    def _pair(self, first: str, second: str) -> Pair:
        about = self.category
        pair = Pair(
            sentence1=first,
            sentence2=second,
            pair_id=f"{self.lang}_{about.name}_{len(self.pairs)}",
            type=about.type,
            subtype=about.name,
            lang=self.lang,
            oriented=about.oriented,
            correct=1 if about.oriented else None,
            source="llm",
        )
        return with_edit(pair)

    def _nothing(self, asked: int, said: str) -> str:
        host, first = self.writer.client.endpoint.host, self.problems[0]
        return (
            f'{host} gave no pair for "{self.category.name}" in {asked} replies. The first problem '
            f"is {first}. The last reply was {_shown(said)!r}. Take another model or category, or "
            "the templates."
        )


def _key(pair: Pair) -> tuple[frozenset[str], str | None]:
    """What makes two pairs the same one, whichever side is first."""
    return frozenset(pair.edit or ()), pair.carrier


def sentence_pairs(text: str) -> Iterator[tuple[str, str]]:
    """All (sentence1, sentence2) in the JSON objects of a text, whatever stands around them.

    A list that was cut off gives the objects before the cut; the thoughts that some models write
    down first, between `<think>` marks, are left out.
    """
    text = re.sub(r"<think>.*?(</think>|\Z)", "", text, flags=re.DOTALL)
    decoder = json.JSONDecoder(strict=False)
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
            yield from _pairs_in(value)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
        place = text.find("{", end)


def _pairs_in(value: Any) -> Iterator[tuple[str, str]]:
    """The pairs anywhere in a JSON value."""
    if isinstance(value, list):
        for item in value:
            yield from _pairs_in(item)
    elif isinstance(value, dict):
        sides = value.get("sentence1"), value.get("sentence2")
        if isinstance(sides[0], str) and isinstance(sides[1], str):
            yield sides[0].strip(), sides[1].strip()
        else:
            yield from _pairs_in(list(value.values()))


def _shown(text: str) -> str:
    """The start of a reply, on one line."""
    text = " ".join(text.split())
    return text[:_SHOWN] + "…" if len(text) > _SHOWN else text
