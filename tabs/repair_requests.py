"""What a browser or a client may ask about repairs, checked before any model runs."""

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from tabs.requests import Asked, PromptRequest, Request


def _endless(value: Any) -> Any:
    """JSON has no infinity: "inf" stands for it."""
    return math.inf if value == "inf" else value


Texts = Annotated[list[str], Field(max_length=100)]
Pair = Annotated[list[str], Field(strict=False, min_length=2, max_length=2)]
"""A prompt and its target."""
Pairs = Annotated[list[Pair], Field(max_length=1000)]


def _edited(request: Asked) -> Asked:
    """Refuse a request about edits that has none."""
    if not request.edit:
        raise ValueError("edit is missing; give the weight_edit of a repair, or a list of them")
    return request


class SearchRequest(Request):
    """What should be said instead; `RepairOptions` says what each option means and can be."""

    prompt: str | None = None
    target: str | None = None
    pairs: Annotated[Pairs, Field(min_length=1)] | None = None
    """Several, repaired together; instead of the two above."""
    epochs: int | None = None
    margin: float = 0.5
    lr: float | None = None
    pace: float = 0.5
    mu: Annotated[float, BeforeValidator(_endless)] = 1.0
    layers: float | None = None
    neurons: int = 64
    views: int = 0
    locate: str = "attribution"
    compat: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "SearchRequest":
        missing = [self.prompt, self.target].count(None)
        if missing != (0 if self.pairs is None else 2):
            raise ValueError("give a prompt and its target, or pairs, and not both")
        return self

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """The pairs of prompt and target."""
        if self.pairs is not None:
            return [(prompt, target) for prompt, target in self.pairs]
        assert self.prompt is not None
        assert self.target is not None
        return [(self.prompt, self.target)]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `RepairOptions`."""
        names = ("epochs", "margin", "lr", "pace", "mu", "layers", "neurons", "views")
        others = ("locate", "compat", "template", "special")
        return {name: getattr(self, name) for name in (*names, *others)}

    @property
    def texts(self) -> list[str]:
        """All prompts."""
        return [prompt for prompt, _ in self.wanted]

    @property
    def wanted_texts(self) -> list[str]:
        """All targets."""
        return [target for _, target in self.wanted]


class RepairRequest(SearchRequest):
    """One repair."""

    method: str = "me-batch"
    watch: int = 0
    """On how many probes every update measures what else changes."""

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `RepairOptions`."""
        return {**super().options, "method": self.method}


class MeasuredSearchRequest(SearchRequest):
    """What its side effects are measured on besides the built-in texts."""

    paraphrases: Texts = Field(default=[])
    """Other wordings of the prompt, which are measured only."""
    probes: Texts = Field(default=[])
    neighbours: Texts = Field(default=[])

    @model_validator(mode="after")
    def _of_one_prompt(self) -> "MeasuredSearchRequest":
        if self.paraphrases and len(self.wanted) > 1:
            raise ValueError(
                f"paraphrases are of one prompt, and there are {len(self.wanted)} pairs; "
                "leave them out"
            )
        return self

    @property
    def measures(self) -> dict[str, Any]:
        """Arguments of `evaluate_repair`."""
        target = self.wanted[0][1]
        return {
            "paraphrases": [(text, target) for text in self.paraphrases],
            "probes": self.probes,
            "neighbours": self.neighbours,
        }

    @property
    def texts(self) -> list[str]:
        """Everything that the model is to read."""
        return [*super().texts, *self.paraphrases, *self.probes, *self.neighbours]


class RepairViewRequest(MeasuredSearchRequest, RepairRequest):
    """What the page shows of a repair: the repair, and what it changed."""

    watch: int = 4


class RepairCompareRequest(MeasuredSearchRequest):
    """Several methods on the same pairs."""

    methods: list[str | dict[str, Any]] = Field(
        default=["me-batch", "me-iter", "mint", "me-sgd"], min_length=1, max_length=8
    )
    """Names, or options of a run such as {"method": "me-sgd", "lr": 0.01}."""


class RepairEvaluateRequest(Request):
    """What edits do together; `check_stack` says what each argument means."""

    wanted: Annotated[Pairs, Field(min_length=1)] | None = None
    """What should be said; what the edits themselves were made for when null."""
    paraphrases: Pairs = Field(default=[])
    probes: Texts = Field(default=[])
    neighbours: Texts = Field(default=[])
    builtin: bool = True
    new_tokens: int = Field(default=20, ge=0, le=64)
    strengths: list[float] | None = Field(default=None, min_length=1, max_length=31)
    """Also measure the last edit at these, on top of the ones before it."""

    @model_validator(mode="after")
    def _some(self) -> "RepairEvaluateRequest":
        return _edited(self)

    @property
    def texts(self) -> list[str]:
        """Everything that the model is to read."""
        pairs = [*(self.wanted or ()), *self.paraphrases]
        return [*(pair[0] for pair in pairs), *self.probes, *self.neighbours]

    @property
    def wanted_texts(self) -> list[str]:
        """All targets."""
        return [pair[1] for pair in [*(self.wanted or ()), *self.paraphrases]]


class RepairStrengthsRequest(Request):
    """What the last of the edits does at other strengths, on top of the ones before it."""

    strengths: list[float] = Field(min_length=1, max_length=31)

    @model_validator(mode="after")
    def _some(self) -> "RepairStrengthsRequest":
        return _edited(self)

    @property
    def texts(self) -> list[str]:
        """Nothing but what the edits were made for, and the built-in probes."""
        return []


class RepairPreviewRequest(PromptRequest):
    """How a prompt and a target will be cut into tokens."""

    target: str

    @property
    def wanted_texts(self) -> list[str]:
        """The one target."""
        return [self.target]


class RepairExportRequest(Request):
    """The one edit as a LoRA adapter."""

    rank: int | None = Field(default=None, ge=1)
    """The highest rank of a layer; what is exact when null."""

    @model_validator(mode="after")
    def _some(self) -> "RepairExportRequest":
        return _edited(self)

    @property
    def texts(self) -> list[str]:
        """Nothing is read."""
        return []
