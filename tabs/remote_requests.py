"""What may be asked of a model behind an API; the key is in no error, text or record."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from lens_core.errors import InputError
from lens_core.settings import complaint

Span = Annotated[list[int], Field(min_length=2, max_length=2)]
"""[first, behind last] of characters."""


class RemoteImportanceRequest(BaseModel):
    """What matters in a prompt to a model behind an API; `RemoteOptions` says what options mean."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    prompt: str
    base_url: str
    remote_model: str = Field(validation_alias=AliasChoices("model", "remote_model"))
    """The name that the API serves."""
    api_key: SecretStr | None = None
    """None and an empty text send none."""
    method: Literal["occlusion", "shapley"] = "occlusion"
    samples: int = 5
    answer: str | None = None
    system: str | None = None
    tier: int | None = None
    units: Literal["words", "sentences", "hierarchical"] | list[Span] = "words"
    cjk: Literal["character", "bigram"] = "character"
    mask: str = ""
    protected: list[str | Span] = Field(default=[], max_length=100)
    distance: Literal["edit", "exact", "chrf", "embedding"] = "edit"
    embedding_model: str | None = None
    answer_tokens: int = 16
    repeats: int | None = None
    floor: float = Field(default=1e-6, allow_inf_nan=False)
    seed: int = 0
    max_requests: int = 200
    concurrency: int = 4
    estimate_only: bool = False
    """Say what it would send, and send nothing."""

    @field_validator("api_key")
    @classmethod
    def _none_where_empty(cls, key: SecretStr | None) -> SecretStr | None:
        return key or None

    @property
    def texts(self) -> dict[str, str]:
        """Everything that is sent, by its name."""
        named = {name: getattr(self, name) for name in ("prompt", "system", "answer", "mask")}
        return {name: text for name, text in named.items() if text is not None}

    @property
    def options(self) -> dict[str, Any]:
        """The fields of `RemoteOptions`."""
        own = {"prompt", "base_url", "remote_model", "api_key", "estimate_only"}
        options = self.model_dump(exclude=own)
        for name in ("units", "protected"):
            if isinstance(options[name], list):
                spans = options[name]
                options[name] = [tuple(one) if isinstance(one, list) else one for one in spans]
        return options


Kind = TypeVar("Kind", bound=BaseModel)


def remote_request(arguments: Mapping[str, Any]) -> RemoteImportanceRequest:
    """The arguments as a request.

    Raises:
        InputError: every argument that has the wrong type; never with the key.
    """
    return with_key(RemoteImportanceRequest, arguments)


def with_key(kind: type[Kind], arguments: Mapping[str, Any]) -> Kind:
    """Arguments with an `api_key` as a request of this kind.

    Raises:
        InputError: every argument that has the wrong type; never with the key.
    """
    key = arguments.get("api_key")
    if isinstance(key, str):
        # Hidden before anything is checked: an error repeats what it was given.
        arguments = {**arguments, "api_key": SecretStr(key)}
    elif key is not None and not isinstance(key, SecretStr):
        raise InputError("api_key is no text; give the key as text, or leave it out.")
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        raise InputError(complaint(error, kind)) from error
