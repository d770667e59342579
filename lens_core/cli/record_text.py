"""Tokens and numbers of a result's JSON record as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lens_core.cli.terminal import ending, harmless, token_label


def text_of(record: Mapping[str, Any], stop: int, columns: int) -> str:
    """The end of the text of the first `stop` tokens, without special tokens."""
    tokens = record["input"]["tokens"][:stop]
    text = "".join(token["text"] for token in tokens if token["kind"] not in ("special", "pad"))
    return ending(harmless(text.replace("\n", "\u23ce")), max(columns, 20))


def token_of(record: Mapping[str, Any], token: int) -> str:
    """A token of the vocabulary."""
    return token_label(record["vocab"][str(token)])


def piece(token: Mapping[str, Any]) -> str:
    """A token of the text: its bytes where it is a part of a character."""
    if token["kind"] == "partial" and token["bytes_hex"] is not None:
        return f"<{token['bytes_hex']}>"
    return token_label({"text": token["text"], "bytes": None})


def per_cent(p: float | None) -> str:
    """A probability in per cent; a dash where it is no finite number."""
    return "-" if p is None else f"{100 * p:.1f} %"


def error_size(value: float | None) -> str:
    """The size of an error, such as 3e-07."""
    return "-" if value is None else f"{value:.0e}"
