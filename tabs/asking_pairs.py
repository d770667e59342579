"""Pairs that a model behind an API writes, within what the page allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from lens_core.errors import InputError
from tabs.background import in_background
from tabs.pairs_requests import PUBLIC_PAIRS
from tabs.remote_requests import with_key
from tabs.remote_running import PUBLIC_LIMITS, check_address
from tabs.runtime import Steps, user_errors

if TYPE_CHECKING:
    from lens_core.pairs import PairFile
    from lens_core.settings import Settings


class AskPairsRequest(BaseModel):
    """What a model behind an API is to write; `lens_core.pairs.ask_pairs` says what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    base_url: str
    remote_model: str = Field(min_length=1)
    """The name that the API serves."""
    api_key: SecretStr | None = None
    categories: list[str] = Field(min_length=1, max_length=100)
    n: int = Field(ge=1, le=1000)
    lang: Literal["en", "ja", "zh"] = "en"
    seed: int = Field(default=0, ge=0, lt=2**31)
    max_requests: int = Field(default=200, ge=1, le=10_000)

    @field_validator("api_key")
    @classmethod
    def _none_where_empty(cls, key: SecretStr | None) -> SecretStr | None:
        return key or None


def asked_pairs(settings: Settings, arguments: Mapping[str, Any]) -> Steps:
    """Progress of asking; returns the `PairFile`. Closing it ends it after the next answer.

    Raises:
        UserError: the page does not allow it, or the API gives no pairs.
    """
    from lens_core.remote import Endpoint

    with user_errors():
        request = with_key(AskPairsRequest, arguments)
        _check(settings, request)
        key = None if request.api_key is None else request.api_key.get_secret_value()
        endpoint = Endpoint(request.base_url, request.remote_model, key)
        check_address(settings, endpoint)

        def work() -> PairFile:
            from lens_core.pairs import ask_pairs

            names = ("n", "lang", "seed", "max_requests")
            options = {name: getattr(request, name) for name in names}
            return ask_pairs(endpoint, request.categories, **options)

        return (yield from in_background(work))


def _check(settings: Settings, request: AskPairsRequest) -> None:
    """Refuse what a public page does not take.

    Raises:
        InputError: more pairs or requests than the limit, or a long category.
    """
    if not settings.public:
        return
    counted = {"n": (request.n * len(request.categories), PUBLIC_PAIRS)}
    counted["max_requests"] = (request.max_requests, PUBLIC_LIMITS["max_requests"])
    counted["categories"] = (max(map(len, request.categories)), settings.max_prompt_chars)
    for name, (size, most) in counted.items():
        if size > most:
            raise InputError(
                f"{name} comes to {size}; the limit of this page is {most}. Ask for fewer, or run "
                "LM Lens on your own machine."
            )
