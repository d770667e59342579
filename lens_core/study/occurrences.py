"""Where the words of a study stand in a text: in characters, and in tokens by their bytes.

A word is looked for in the decoded text, not in single tokens, so that it does not matter how it
was cut: "Wait" as one token, as two, or as a part of one, and Chinese characters whose bytes lie
in several tokens. Markup such as `<think>` is not searched.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import regex
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.study.target_groups import UNSPACED, TargetGroup

# Without variation selectors and keycaps, which are marks on signs and no parts of words.
_MARKS = r"[\p{M}--[\uFE00-\uFE0F\u20D0-\u20FF]]"
_LETTERS = rf"[\p{{L}}{_MARKS}]"
_MARKUP = regex.compile(r"</?think>")


@dataclass(frozen=True)
class Occurrence:
    """One occurrence of a target."""

    group: str
    form: str
    chars: tuple[int, int]
    """From its first character to the one behind its last."""
    tokens: tuple[int, int]
    """From the first token that holds a byte of it to the one behind the last that does."""


def occurrences(
    text: str, records: Sequence[dict[str, Any]], groups: Sequence[TargetGroup]
) -> list[Occurrence]:
    """Every occurrence of every group, in the order of the text.

    Inside a group the longest spelling that begins at a place is taken, and what it covers is not
    counted again; groups do not know of each other.

    Args:
        text: what the tokens decode to.
        records: `token_records` of its ids; without a tokenizer there is no text to search.
        groups: what to look for.

    Raises:
        InputError: the text is not that of the tokens.
    """
    joined = "".join(record["text"] for record in records)
    if joined != text:
        raise InputError(
            f"The text has {len(text)} characters and is not what its {len(records)} tokens "
            f"decode to ({len(joined)} characters); give the decoded text."
        )
    if any(record["char_start"] is None and record["kind"] == "normal" for record in records):
        return []
    searched = _without_markup(text, records)
    found = [
        (match.span(), place, group.name, spelled[match[0]])
        for place, group in enumerate(groups)
        for pattern, spelled in [_pattern(group)]
        for match in pattern.finditer(searched)
    ]
    if not found:
        return []
    found.sort(key=lambda one: one[:2])
    spans = _token_spans(text, records, np.array([chars for chars, *_ in found]))
    return [
        Occurrence(name, form, chars, (int(first), int(end)))
        for (chars, _, name, form), (first, end) in zip(found, spans, strict=True)
    ]


def occurrence_logprobs(
    found: Sequence[Occurrence], logprob: Float[np.ndarray, " position"]
) -> Float[np.ndarray, " occurrence"]:
    """The log-probability of each occurrence in nats: the sum over its tokens.

    A token that also holds other characters counts whole. NaN where one of its tokens has none,
    as the first of a text.
    """
    sums = [logprob[slice(*one.tokens)].sum(dtype=np.float64) for one in found]
    return np.array(sums, np.float64)


@lru_cache(maxsize=256)
def _pattern(group: TargetGroup) -> tuple[Any, dict[str, str]]:
    """What finds a group, and the form of each spelling that it can find."""
    spelled: dict[str, str] = {}
    for spelling, form in group.spellings().items():
        for normal in ("NFC", "NFD"):
            spelled.setdefault(unicodedata.normalize(normal, spelling), form)
    # The longest first: an alternation takes the first that fits. Literals with one character of
    # context cannot backtrack, whatever the text.
    ordered = sorted(spelled, key=len, reverse=True)
    together = groupby(ordered, key=lambda one: _bounds(one, boundary=group.boundary))
    parts = [
        f"{before}(?:{'|'.join(regex.escape(one, special_only=False) for one in some)}){after}"
        for (before, after), some in together
    ]
    return regex.compile("|".join(parts), regex.VERSION1), spelled


def _bounds(spelling: str, *, boundary: bool) -> tuple[str, str]:
    """What may stand before and behind a spelling; an accent would make it another letter."""
    before, after = "", f"(?!{_MARKS})"
    if boundary:
        first, last = _joined_to(spelling[0]), _joined_to(spelling[-1])
        before = f"(?<!{first})" if first else ""
        after += f"(?!{last})" if last else ""
    return before, after


def _joined_to(edge: str) -> str:
    """The class of characters that make a longer word together with the edge of a spelling.

    Scripts without spaces are no part of a word of one with them: 我check一下 has "check".
    """
    if regex.match(rf"[{UNSPACED}]", edge):
        return _LETTERS
    if regex.match(r"\p{N}", edge):
        return rf"[\p{{N}}{_LETTERS}]"
    if regex.match(_LETTERS, edge, regex.VERSION1):
        return rf"[{_LETTERS}--[{UNSPACED}]]"
    return ""  # "hmm..." ends by itself


def _without_markup(text: str, records: Sequence[dict[str, Any]]) -> str:
    """The text with control tokens and think tags blanked, every character in its place."""
    parts = []
    for record in records:
        own = record["text"]
        literal = record["bytes_hex"] is None
        control = record["kind"] in ("special", "pad") or (literal and own.startswith("<"))
        parts.append("\0" * len(own) if control else own)
    return _MARKUP.sub(lambda match: "\0" * len(match[0]), "".join(parts))


def _token_spans(
    text: str, records: Sequence[dict[str, Any]], chars: Int[np.ndarray, "occurrence 2"]
) -> Int[np.ndarray, "occurrence 2"]:
    """The tokens that share a byte with each span of characters."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    at = np.concatenate([[0], np.cumsum(sizes)])
    starts, ends = _byte_ranges(records)
    first = np.searchsorted(ends, at[chars[:, 0]], side="right")
    end = np.searchsorted(starts, at[chars[:, 1]], side="left")
    return np.stack([first, end], 1)


def _byte_ranges(records: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Where the bytes of every token begin and end in the UTF-8 of the text.

    Where bytes are no characters (U+FFFD), a token is taken for its whole cluster.
    """
    ranges, base = [], 0
    for _, members in groupby(records, key=lambda record: record["cluster"]):
        cluster = list(members)
        text = cluster[0]["cluster_text"].encode()
        raw = [_bytes_of(record) for record in cluster]
        exact, place = b"".join(raw) == text, base
        for own in raw:
            ranges.append((place, place + len(own)) if exact else (base, base + len(text)))
            place += len(own)
        base += len(text)
    starts, ends = np.array(ranges, np.int64).reshape(-1, 2).T
    return starts, ends


def _bytes_of(record: dict[str, Any]) -> bytes:
    spelled = record["bytes_hex"]
    return record["text"].encode() if spelled is None else bytes.fromhex(spelled)
