"""What may be asked about minimal pairs, checked before any model runs."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tabs.requests import Request

MAX_SHOWN_PAIRS = 10_000
"""Pairs that one request may hold."""
MAX_TEXTS = 2_000
"""Texts on which layers are measured."""
PUBLIC_PAIRS, PUBLIC_TEXTS, PUBLIC_CHARS = 1_000, 100, 4_000_000
"""The most that a public page takes."""

Source = Literal["template", "local", "text", "given"]
Readout = Literal["last", "edit", "edit_last", "suffix", "prefix"]
Place = Literal[
    "resid_post", "attn_out", "mlp_out", "resid_mid", "mlp_act", "heads", "final_norm", "logits"
]
Patched = Literal["resid_post", "attn_out", "mlp_out", "heads"]
Kind = Literal["remove", "exchange", "repeat", "zero_attention", "zero_mlp", "skip_range"]


class PairRecord(BaseModel):
    """Two texts that differ in one thing; `lens_core.Pair` says what each field means."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    sentence1: str
    sentence2: str
    pair_id: str = ""
    type: str = ""
    subtype: str = ""
    lang: str = ""
    oriented: bool = False
    correct: Literal[1, 2] | None = None
    edit: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    carrier: str | None = None
    source: str = "user"
    answer1: str | None = None
    answer2: str | None = None

    @property
    def texts(self) -> list[str]:
        """Both sides."""
        return [self.sentence1, self.sentence2]


class PairsRequest(Request):
    """Pairs made or read, and how their sides align for a model."""

    source: Source = "template"
    categories: list[str] = Field(
        default=["subject_differences", "location_differences", "adjective_differences",
                 "tense_errors", "article_errors", "preposition_errors"],
        max_length=100,
    )  # fmt: skip
    n: int = Field(default=17, ge=1, le=1000)
    """Of every category; of all sentences together with the source local."""
    lang: Literal["en", "ja", "zh"] = "en"
    seed: int = Field(default=0, ge=0, lt=2**31)
    uses_per_edit: int = Field(default=2, ge=1, le=100)
    sentences: list[str] = Field(default=[], max_length=1000)
    content: str = ""
    """A file's text, for the source text."""
    pairs: list[PairRecord] = Field(default=[], max_length=MAX_SHOWN_PAIRS)
    """For the source given."""
    format: Literal["original", "json", "jsonl", "blimp", "csv"] | None = None
    same_length: bool = False
    """Keep only pairs whose sides have equally many tokens."""

    @model_validator(mode="after")
    def _has_material(self) -> "PairsRequest":
        if self.source == "text" and not self.content.strip():
            raise ValueError("content is empty; give the text of a file of pairs")
        if self.source == "given" and not self.pairs:
            raise ValueError("pairs is empty; give at least one")
        if self.source == "local" and not self.sentences:
            raise ValueError("sentences is empty; give sentences of which the model changes a word")
        if self.source == "template" and not self.categories:
            raise ValueError("categories is empty; name at least one")
        return self

    @property
    def texts(self) -> list[str]:
        """What the model is to read; files are checked row by row."""
        return [*self.sentences, *(text for pair in self.pairs for text in pair.texts if text)]

    @property
    def public_limits(self) -> dict[str, tuple[int, int]]:
        """A file, and how many pairs."""
        made = self.n * (len(self.categories) if self.source == "template" else 1)
        return {
            "content": (len(self.content), PUBLIC_CHARS),
            "n": (made, PUBLIC_PAIRS),
            "pairs": (len(self.pairs), PUBLIC_PAIRS),
        }


class PairsOfRequest(Request):
    """Pairs that are there already."""

    pairs: list[PairRecord] = Field(min_length=1, max_length=MAX_SHOWN_PAIRS)

    @property
    def texts(self) -> list[str]:
        """All sides; what is empty is listed with the result."""
        return [text for pair in self.pairs for text in pair.texts if text]

    @property
    def public_limits(self) -> dict[str, tuple[int, int]]:
        """How many pairs."""
        return {"pairs": (len(self.pairs), PUBLIC_PAIRS)}


class PairDifferenceRequest(PairsOfRequest):
    """How the activations of pairs differ; `lens_core.pair_difference` says what options mean."""

    layers: list[int] | None = Field(default=None, min_length=1)
    readout: Readout = "last"
    components: list[Place] = Field(default=["resid_post"], min_length=1)
    control: bool = True
    halves: bool = True
    lens: bool = True
    q: float = Field(default=0.1, gt=0, lt=0.5)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    correction: Literal["bh", "by"] = "bh"
    seed: int = Field(default=0, ge=0, lt=2**31)
    same_positions: bool = False
    sites: list[str] | None = None
    """Give the dims of these sites only, such as ["layer_3"]; of all when null."""
    set_effect: str | None = None
    """Also hold the dims that were found at this site at their mean, and measure what that does."""
    before_edit: bool = False
    """Also of the model without the edit."""

    @model_validator(mode="after")
    def _two_models(self) -> "PairDifferenceRequest":
        if self.before_edit and self.edit is None:
            raise ValueError("before_edit compares with the model without the edit; give an edit")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `pair_difference`."""
        names = ("layers", "readout", "components", "control", "halves", "lens", "q", "alpha")
        names += ("correction", "seed", "template", "special", "same_positions")
        return {name: getattr(self, name) for name in names}


class PairExportRequest(PairDifferenceRequest):
    """The files of the original tool, its figures too."""

    threshold: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    top_n: int = Field(default=10, ge=1, le=100)
    normalization: Literal["none", "l2", "cosine"] = "none"
    figures: int = Field(default=20, ge=0, le=100)
    """Of so many pairs."""


class PairViewRequest(Request):
    """One pair token by token, for the page."""

    pair: PairRecord
    k: int = Field(default=10, ge=1, le=100)
    trace: bool = True
    """Also which states restore the answer."""

    @property
    def texts(self) -> list[str]:
        """Both sides."""
        return self.pair.texts


class CausalTraceRequest(Request):
    """Which activations carry the difference of a pair; see `lens_core.causal_trace`."""

    pair: PairRecord
    metric: Literal["auto", "logit_difference", "log_p", "kl"] = "auto"
    components: list[Patched] = Field(
        default=["resid_post", "attn_out", "mlp_out", "heads"], min_length=1
    )
    direction: Literal["both", "denoise", "noise"] = "both"
    window: Literal[1, 3, 5] = 1
    positions: list[int] | None = Field(default=None, min_length=1)
    noise: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    noise_samples: int = Field(default=10, ge=1, le=100)
    seed: int = Field(default=0, ge=0, lt=2**31)
    own_answers: bool = False
    """Take what either side predicts as its answer, where the pair names none."""
    approximate: bool = False
    """To first order from one gradient, with true patches beside it to say how wrong that is."""

    @property
    def texts(self) -> list[str]:
        """Both sides."""
        return self.pair.texts

    @property
    def wanted_texts(self) -> list[str]:
        """The answers."""
        return [text for text in (self.pair.answer1, self.pair.answer2) if text is not None]

    @property
    def shared_options(self) -> dict[str, Any]:
        """What tracing and attribution patching both take."""
        names = ("metric", "components", "positions", "template", "special")
        return {name: getattr(self, name) for name in names}

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `causal_trace`."""
        names = ("direction", "window", "noise", "noise_samples", "seed")
        return self.shared_options | {name: getattr(self, name) for name in names}


class LayerOperationsRequest(Request):
    """What a model loses without a block; `lens_core.layer_operations` says what options mean."""

    data: list[str] = Field(min_length=1, max_length=MAX_TEXTS)
    operations: list[Kind] = Field(default=["remove", "exchange"], min_length=1)
    layers: list[int] | None = Field(default=None, min_length=1)
    tokens: bool = False
    """With the loss of every token."""
    before_edit: bool = False
    """Also of the model without the edit."""

    @model_validator(mode="after")
    def _two_models(self) -> "LayerOperationsRequest":
        if self.before_edit and self.edit is None:
            raise ValueError("before_edit compares with the model without the edit; give an edit")
        return self

    @property
    def texts(self) -> list[str]:
        """All texts; what is empty is listed with the result."""
        return [text for text in self.data if text]

    @property
    def public_limits(self) -> dict[str, tuple[int, int]]:
        """How many texts."""
        return {"data": (len(self.data), PUBLIC_TEXTS)}
