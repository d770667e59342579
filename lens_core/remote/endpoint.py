"""Where a model is asked, and the key that is sent there and goes nowhere else."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lens_core.errors import InputError

_HIDDEN = "[key]"
_SHORTEST = 8
"""Characters of a key from which it is secret; local servers take "EMPTY" or "x", and these are
words that an answer may hold."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint, such as `https://host/v1`, and a model that it serves.

    The key is in no result, log, cache or error, and not in this object's `repr`.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be asked, or would show the key.

        Raises:
            InputError: no http address, one with a password or a query, no model, or a key with
                characters that a header cannot hold.
        """
        try:
            parts = urlsplit(self.base_url)
        except ValueError:  # brackets that hold no IPv6 address
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                "base_url is no address of an API; give one such as https://host/v1, which "
                "continues with /chat/completions."
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InputError(
                "base_url holds a password, a query or a fragment; give the plain address, and "
                "the key as api_key."
            )
        if not self.model.strip():
            raise InputError("model is empty; give the name that the endpoint serves.")
        if self.api_key is not None and not _is_header(self.api_key):
            raise InputError(
                "api_key is empty or holds a space, a line end or another character that no key "
                "has; copy it again."
            )

    @property
    def host(self) -> str:
        """The address without a path, for messages."""
        return urlsplit(self.base_url).netloc

    @property
    def sends_key_openly(self) -> bool:
        """Whether the key travels over a network without encryption."""
        parts = urlsplit(self.base_url)
        return self.api_key is not None and parts.scheme == "http" and not _is_here(parts.hostname)

    def url(self, path: str) -> str:
        """The address of one of its functions, such as "chat/completions"."""
        return f"{self.base_url.rstrip('/')}/{path}"

    def headers(self) -> dict[str, str]:
        """What identifies the user."""
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}

    def redacted(self, text: str) -> str:
        """`text` without the key, which a server may repeat in what it answers."""
        if self.api_key is None or len(self.api_key) < _SHORTEST:
            return text
        # As it is, and as JSON spells it.
        for spelling in (self.api_key, json.dumps(self.api_key)[1:-1]):
            text = text.replace(spelling, _HIDDEN)
        return text


def _is_header(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def _is_here(host: str | None) -> bool:
    """Whether an address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:  # a name
        return False
