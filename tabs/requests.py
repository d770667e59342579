"""What a browser or a client may ask, checked before any model runs."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lens_core.errors import InputError
from lens_core.settings import EMBEDDED_MODEL, complaint

Component = Literal["embed", "resid_mid", "resid_post", "attn_out", "mlp_out"]


def _record(edit: Any) -> Any:
    """An edit as a JSON object, also from its text."""
    if not isinstance(edit, str):
        return edit
    try:
        return json.loads(edit)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON, {error}; pass what WeightEdit gave") from error


Edit = Annotated[dict[str, Any] | None, BeforeValidator(_record)]


class Request(BaseModel):
    """What every analysis of one prompt needs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: str
    model: str = EMBEDDED_MODEL
    template: Literal["chat"] | None = None
    special: Literal["default", "none", "bos"] = "default"
    edit: Edit = None
    """A `WeightEdit` as JSON, held for this run only."""


class ShortenRequest(Request):
    """The longest end of the prompt with at most so many tokens."""

    limit: int = Field(ge=1)


class LogitLensRequest(Request):
    """One reading of the logit lens; `lens_core.logit_lens` says what each option means."""

    k: int = Field(default=5, ge=1, le=50)
    components: list[Component] = Field(default=["resid_post"], min_length=1)
    positions: list[int] | None = Field(default=None, min_length=1)
    layers: list[int] | None = Field(default=None, min_length=1)
    ids: list[int] | None = Field(default=None, min_length=1)
    """Exactly these tokens instead of the prompt's."""
    last: int | None = Field(default=None, ge=1)
    """Read so many positions up to `end`; instead of `positions`."""
    end: int | None = Field(default=None, ge=1)
    """The position after the last one that `last` counts; the end of the text when null."""
    stride: int | None = Field(default=None, ge=1)
    """Read every so many layers, counted from the last; instead of `layers`."""
    available: bool = False
    """Leave out the components that would not be exact in this model, instead of refusing."""
    scale: Literal["final", "local", "own"] = "final"
    norm: Literal["final", "none"] = "final"
    targets: list[int | str] = []
    track_position: int | None = -1
    generate: int = Field(default=0, ge=0, le=256)
    temperature: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**63)
    important: Literal["prob", "kl_drop", "js", "top1_change", "target_enters_topk"] = "kl_drop"
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    compat: bool = False


Asked = TypeVar("Asked", bound=Request)


def checked(kind: type[Asked], arguments: dict[str, Any]) -> Asked:
    """The arguments as a request of this kind.

    Raises:
        InputError: every argument that has the wrong type or lies outside its range.
    """
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        raise InputError(complaint(error, kind)) from error
