"""What may be asked about attention, the next token and what a prediction rests on."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tabs.requests import PromptRequest, Request

Appended = Annotated[list[int], Field(max_length=256)]
"""Token ids that follow the prompt."""

MAX_SHOWN = 100
"""How many next tokens there are to look at."""

MAX_FLOW = 32
"""Tokens up to which the flow is worked out."""

MAX_COMPARED = 8
"""How many prompts can be looked at side by side."""


class AttentionRequest(PromptRequest):
    """Where the heads look; `lens_core.attention_views` says what each option means."""

    query: int = -1
    layers: list[int] | None = Field(default=None, min_length=1)
    norms: bool = True
    rollout: bool = True
    flow: bool = False
    matrix: list[int | None] | None = Field(default=None, min_length=2, max_length=2)
    """[layer, head], or [layer, null] for the mean of its heads: its rows at all positions."""


class NextTokenRequest(PromptRequest):
    """What may come next; `lens_core.next_token` says what each option means."""

    k: int = Field(default=10, ge=1, le=MAX_SHOWN)
    temperature: float = Field(default=1.0, ge=0.01, le=100, allow_inf_nan=False)
    nucleus: float = Field(default=0.9, gt=0, le=1)
    position: int = -1
    append: Appended = Field(default=[])
    text: str | None = Field(default=None, min_length=1)
    """Also the probability of this string."""

    @property
    def wanted_texts(self) -> list[str]:
        """The string whose probability is asked for."""
        return [] if self.text is None else [self.text]


class AttributionRequest(PromptRequest):
    """What a prediction rests on; `lens_core.attribute` says what each option means."""

    method: Literal[
        "occlusion", "input_x_gradient", "integrated_gradients", "gradient_shap", "shapley",
        "kernel_shap",
    ] = "occlusion"  # fmt: skip
    target: int | str | list[int] | None = None
    foil: int | str | None = None
    score: Literal["log_p", "contrast", "kl", "flip"] | None = None
    query: int = -1
    features: Literal["token", "cluster", "word", "sentence"] | list[list[int]] = "token"
    positions: list[int] | None = Field(default=None, min_length=1)
    specials: bool = False
    occluder: Literal["knock_out", "replace", "mean", "delete"] | None = None
    replacement: int | str | None = None
    window: int = Field(default=1, ge=1, le=100)
    interactions: int = Field(default=0, ge=0, le=16)
    samples: int | None = Field(default=None, ge=1, le=1000)
    max_steps: int = Field(default=400, ge=50, le=800)
    seed: int = Field(default=0, ge=0, lt=2**31)
    faithfulness: bool = False
    """Also how its ranking fares against random ones."""

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `attribute`."""
        return self.model_dump(exclude={*PromptRequest.model_fields, "faithfulness"})


class AttentionViewRequest(PromptRequest):
    """What the page shows of attention from one position."""

    query: int = -1
    append: Appended = Field(default=[])
    flow: bool = False


class AttentionMatrixRequest(PromptRequest):
    """The rows of one head at all positions; of the mean of its layer's heads without a head."""

    layer: int
    head: int | None = None
    append: Appended = Field(default=[])


class AttentionCompareRequest(Request):
    """Where the last token of each of several prompts looks."""

    prompts: list[str] = Field(min_length=1, max_length=MAX_COMPARED)
    flow: bool = False
    """Also the flow of those that are short enough."""

    @property
    def texts(self) -> list[str]:
        """All prompts."""
        return self.prompts


class AttributionViewRequest(AttributionRequest):
    """What the page shows of what a prediction rests on, with what is known on the way."""

    append: Appended = Field(default=[])

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `attribute_steps`."""
        given = super().options
        del given["append"]
        return given
