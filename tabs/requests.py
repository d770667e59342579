"""What a browser or a client may ask, checked before any model runs."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from lens_core.errors import InputError
from lens_core.settings import EMBEDDED_MODEL, complaint

Metric = Literal["l1", "l2", "projection", "norm", "logit"]
Mode = Literal["per_part", "per_edge"]
Component = Literal["embed", "resid_mid", "resid_post", "attn_out", "mlp_out"]


class HeldEdit(BaseModel):
    """An edit that holds while an analysis runs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    edit: dict[str, Any]
    """A `WeightEdit` as JSON."""
    strength: float = Field(default=1.0, ge=0, le=1.5, allow_inf_nan=False)


def _held(edit: Any) -> Any:
    """One edit or several, bare or with a strength, also as text: a list, or None for none."""
    if isinstance(edit, str):
        try:
            edit = json.loads(edit)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"it is not JSON, {error}; pass what WeightEdit gave") from error
    if isinstance(edit, dict):
        edit = [edit]
    if not isinstance(edit, list):
        return edit
    return [_one_held(index, one) for index, one in enumerate(edit)] or None


def _one_held(index: int, edit: Any) -> Any:
    if isinstance(edit, HeldEdit):
        return edit  # of a request that another one is made from
    if not isinstance(edit, dict):
        raise ValueError(f"its entry {index} is {edit!r}; every edit is a dictionary")
    return edit if "edit" in edit else {"edit": edit}


Edits = Annotated[list[HeldEdit] | None, BeforeValidator(_held)]


class Request(BaseModel):
    """What every analysis needs."""

    # An edit in an error would fill the log.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    model: str = EMBEDDED_MODEL
    template: Literal["chat"] | None = None
    special: Literal["default", "none", "bos"] = "default"
    edit: Edits = None
    """Weight edits as JSON, in the order in which they are applied; held for this run only."""

    @property
    def texts(self) -> list[str]:
        """Everything that the model is to read."""
        raise NotImplementedError

    @property
    def wanted_texts(self) -> list[str]:
        """Everything that the model is to say."""
        return []

    @property
    def public_limits(self) -> dict[str, tuple[int, int]]:
        """Argument -> (how much it asks for, the most that a public page takes)."""
        return {}


class PromptRequest(Request):
    """What every analysis of one prompt needs."""

    prompt: str

    @property
    def texts(self) -> list[str]:
        """Everything that the model is to read."""
        return [self.prompt]


class ShortenRequest(PromptRequest):
    """The longest end of the prompt with at most so many tokens."""

    limit: int = Field(ge=1)


class LogitLensRequest(PromptRequest):
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


class MeasuredRequest(PromptRequest):
    """How the contributions of a graph are measured; `contribution_graph` says what it means."""

    metric: Metric = "l1"
    numerics: Literal["clean", "compat"] = "clean"
    bias: Literal["part", "ignore"] = "part"
    target: int | str | None = None
    """Token whose logit is looked at: by the metric "logit", and where parts are knocked out."""
    foil: int | str | None = None


class OneGraphRequest(MeasuredRequest):
    """One contribution graph; `contribution_graph` says what each option means."""

    root: int | str | list[int | str] = -1
    threshold: float = Field(default=0.04, ge=0, le=1, allow_inf_nan=False)
    mode: Mode = "per_part"
    renormalise: bool | None = None
    granularity: Literal["head", "source"] = "head"
    merge_self: bool = False
    prune: list[float] | None = Field(default=None, min_length=2, max_length=2)
    max_edges: int | None = Field(default=None, ge=1)


class GraphRequest(OneGraphRequest):
    """One contribution graph, or the difference of two."""

    other_prompt: str | None = None
    """Subtract the graph of `prompt` from that of this one."""
    before_edit: bool = False
    """Subtract the graph of the model without the edit from that with it."""

    @model_validator(mode="after")
    def _two_models(self) -> "GraphRequest":
        if self.before_edit and self.edit is None:
            raise ValueError("before_edit compares with the model without the edit; give an edit")
        return self

    @property
    def texts(self) -> list[str]:
        """Both prompts."""
        return [self.prompt, *([] if self.other_prompt is None else [self.other_prompt])]


class GraphNodeRequest(MeasuredRequest):
    """What one node of the graph says."""

    node: str
    k: int = Field(default=15, ge=1, le=50)
    n: int = Field(default=20, ge=1, le=200)
    """How many neurons of an MLP."""
    normalise: bool = True
    root: int | str = -1
    verify: bool = False
    """Knock it out, and measure what the target's logit loses at the root."""
    neuron: int | None = Field(default=None, ge=0)
    """Knock out this neuron of an MLP only."""
    expert: int | None = Field(default=None, ge=-1)

    @model_validator(mode="after")
    def _knocked_out(self) -> "GraphNodeRequest":
        if self.neuron is not None and not self.verify:
            raise ValueError(f"neuron {self.neuron} is what verify knocks out; set verify, too")
        return self


class GraphEdgeRequest(MeasuredRequest):
    """What one edge of the graph says."""

    src: str
    dst: str
    kind: Literal["residual", "attention", "ffn", "bias", "mixer"] | None = None
    head: int | Literal["strongest", "all"] = "strongest"
    k: int = Field(default=15, ge=1, le=50)
    maps: bool = True
    root: int | str = -1
    verify: Literal["all", "head"] | None = None
    """Knock all of it out, or the head alone, and measure what the target's logit loses."""


class GraphViewRequest(GraphRequest):
    """What the page shows of a graph: the graph, what is selected in it, and its root."""

    select: dict[str, Any] | None = None
    """{"src", "dst", "kind"} or {"node"}; the strongest attention edge when null."""
    normalise: bool = True
    k: int = Field(default=15, ge=1, le=50)
    side: Literal["after", "before", "difference"] = "after"


class GraphAgreementRequest(OneGraphRequest):
    """How well contributions agree with what knocking out changes."""

    n: int = Field(default=20, ge=2, le=200)
    measure: dict[Literal["target", "foil"], int | str | None] = {}
    """Token whose logit is measured, and the one that is subtracted."""


class GraphStatisticsRequest(Request):
    """Which heads and MLPs are active how often, over many prompts."""

    prompts: list[str] = Field(min_length=1, max_length=1000)
    root: int | str = -1
    threshold: float = Field(default=0.04, ge=0, le=1, allow_inf_nan=False)
    mode: Mode = "per_part"
    bias: Literal["part", "ignore"] = "part"
    metric: Metric = "l1"

    @property
    def texts(self) -> list[str]:
        """All prompts; the analysis itself leaves out what is empty, and says so."""
        return [prompt for prompt in self.prompts if prompt]


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
