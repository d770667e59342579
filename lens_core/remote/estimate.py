"""What a run would send, said before anything is sent."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lens_core.errors import InputError, PromptError
from lens_core.prompts import check_whole
from lens_core.remote.options import NEIGHBOUR, RemoteOptions
from lens_core.remote.orders import most_sets
from lens_core.remote.units import Unit, own_units, sentences, unprotected, words

_PROBES = {None: 10, 1: 7, 2: 5, 3: 5}
"""Requests that may be needed to find out what an endpoint takes, the model's answer counted."""


@dataclass(frozen=True)
class Estimate:
    """The most that a run without failed tries sends.

    Mostly it is some less: what the endpoint takes is found sooner, and words are masked only in
    sentences that matter.
    """

    features: int
    """Parts that are masked."""
    requests: int
    prompt_tokens: int
    """Roughly: four letters or one Chinese or Japanese character each."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return asdict(self)


def first_units(prompt: str, options: RemoteOptions) -> list[Unit]:
    """The units that are masked first.

    Raises:
        PromptError: there is nothing to mask.
        InputError: a wrong span or protected text.
    """
    if not prompt:
        raise PromptError("The prompt is empty (0 characters); type at least one character.")
    check_whole(prompt, "prompt")
    if not isinstance(options.units, str):
        found = own_units(prompt, options.units)
    elif options.units == "words" or (options.units == "hierarchical" and _is_one(prompt)):
        found = words(prompt, cjk=options.cjk)
    else:
        found = sentences(prompt)
    found = unprotected(found, prompt, options.protected)
    if not found:
        raise PromptError(
            "The prompt has nothing to mask: no word or sentence that is not protected. Protect "
            "less, or choose other units."
        )
    return found


def goes_deeper(prompt: str, options: RemoteOptions) -> bool:
    """Whether words follow after sentences."""
    return options.units == "hierarchical" and not _is_one(prompt)


def inner_units(outer: Sequence[Unit], prompt: str, options: RemoteOptions) -> list[Unit]:
    """The words of sentences, which come in order."""
    starts = [unit.start for unit in outer]
    inside = []
    for word in words(prompt, cjk=options.cjk):
        at = bisect_right(starts, word.start) - 1
        if at >= 0 and word.end <= outer[at].end:
            inside.append(word)
    return unprotected(inside, prompt, options.protected)


def remote_estimate(prompt: str, options: RemoteOptions | None = None, **more: Any) -> Estimate:
    """How many requests and prompt tokens a run needs; nothing is sent.

    Args:
        prompt: the prompt.
        options: as for `remote_importance`; or its keyword arguments as `more`.

    Raises:
        PromptError: there is nothing to mask.
        InputError: an option outside its range.
    """
    options = RemoteOptions(**more) if options is None else options
    units = first_units(prompt, options)
    proposals = 0 if options.mask != NEIGHBOUR else 2
    if goes_deeper(prompt, options):
        proposals *= 1 + len(units)
        units = [*units, *inner_units(units, prompt, options)]
    repeats = options.repeats_in(options.tier or 3)
    each = 2 if options.distance == "embedding" else 1
    probes = _PROBES[options.tier] + proposals + (each - 1)
    asked = most_sets(len(units), options.samples) if options.shares else len(units)
    requests = each * (asked + repeats) + probes
    tokens = _tokens(prompt) + _tokens(options.system or "") + _tokens(options.answer or "")
    return Estimate(len(units), requests, requests * tokens)


def check_cap(estimate: Estimate, options: RemoteOptions) -> None:
    """Refuse a run that would send more than is allowed.

    Raises:
        InputError: names both numbers.
    """
    if estimate.requests > options.max_requests:
        fewer = "draw fewer samples, " if options.shares else ""
        raise InputError(
            f"This takes up to {estimate.requests} requests, about {estimate.prompt_tokens:,} "
            f"prompt tokens; max_requests is {options.max_requests}. Raise it, {fewer}protect "
            "parts of the prompt, or mask sentences.",
            remedy={
                "action": "raise",
                "requests": estimate.requests,
                "limit": options.max_requests,
            },
        )


def _is_one(prompt: str) -> bool:
    return len(sentences(prompt)) < 2


def _tokens(text: str) -> int:
    wide = sum(1 for char in text if ord(char) >= 0x2E80)
    return wide + math.ceil((len(text) - wide) / 4)
