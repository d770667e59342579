"""What was chosen in the controls of the tab, and the requests that it makes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from tabs.typed import typed_text

PARTS = ("layers", "dimensions", "trace", "operations", "data", "export")
METRICS = (
    *("rel_l2", "l2", "cos_dist", "mean_abs", "max_abs", "min_abs", "norm_ratio"),
    *("js_lens", "kl_lens_12", "kl_lens_21"),
    *("recovery", "top_share", "top_share_without_massive"),
)
GRID_METRICS = ("rel_l2", "cos_dist", "js_lens")
GROUPINGS = ("type", "subtype", "all")
ORDERS = ("index", "ascending", "descending")
SIDES = ("after", "before")
READOUTS = ("last", "edit", "edit_last", "suffix", "prefix")
PLACES = ("resid_post", "attn_out", "mlp_out", "resid_mid", "mlp_act")
PLACES += ("heads", "final_norm", "logits")
CORRECTIONS = ("bh", "by")
TRACE_METRICS = ("auto", "logit_difference", "log_p", "kl")
PATCHED = ("resid_post", "attn_out", "mlp_out", "heads")
DIRECTIONS = ("both", "denoise", "noise")
WINDOWS = (1, 3, 5)
OPERATIONS = ("remove", "exchange", "repeat", "zero_attention", "zero_mlp", "skip_range")
SOURCES = ("template", "local", "api")
LANGS = ("en", "zh", "ja")
DIGITS = 4
"""Of a layer that is typed."""
FIRST_SITE = "layer_3"


@dataclass(frozen=True)
class Look:
    """What of a result is shown; at first, these."""

    part: str = "layers"
    metric: str = "rel_l2"
    """Of the curves by layer."""
    by: str = "type"
    site: str = FIRST_SITE
    """Whose dims are shown."""
    order: str = "index"
    grid: str = "rel_l2"
    """What the grid of one pair shows."""
    direction: str = "denoise"
    """Of the patches that are shown for one pair."""
    side: str = "after"


@dataclass(frozen=True)
class Asked:
    """How pairs are compared; at first, so."""

    readout: str = "last"
    components: tuple[str, ...] = ("resid_post",)
    lens: bool = True
    correction: str = "bh"
    q: float = 0.1
    alpha: float = 0.05
    seed: int | None = 0
    same_positions: bool = False

    def request(self) -> dict[str, Any]:
        """The arguments of a comparison."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            **found,
            "components": list(self.components),
            "q": float(self.q),
            "alpha": float(self.alpha),
            "seed": int(self.seed or 0),
        }


@dataclass(frozen=True)
class Traced:
    """What causal tracing is asked; at first, this."""

    metric: str = "auto"
    components: tuple[str, ...] = PATCHED
    direction: str = "both"
    window: int = 1
    noise: float = 0.0
    """0 stands for none: the other side of the pair is the corruption."""
    approximate: bool = False

    def request(self) -> dict[str, Any]:
        """The arguments of a causal trace."""
        return {
            "metric": self.metric,
            "components": list(self.components),
            "direction": self.direction,
            "window": int(self.window),
            "noise": float(self.noise) or None,
            "approximate": self.approximate,
            "own_answers": self.metric in ("auto", "logit_difference"),
        }


@dataclass(frozen=True)
class Operated:
    """What layer operations are asked; at first, this."""

    texts: str = ""
    operations: tuple[str, ...] = ("remove",)
    layers: str = ""

    def request(self) -> dict[str, Any]:
        """The arguments of layer operations."""
        lines = [line for line in self.texts.splitlines() if line.strip()]
        return {
            "data": [typed_text(line) for line in lines],
            "operations": list(self.operations),
            "layers": whole_numbers(self.layers),
        }


@dataclass(frozen=True)
class Made:
    """Which pairs are made; at first, these."""

    source: str = "template"
    categories: tuple[str, ...] = ("subject_differences", "tense_errors")
    n: int = 20
    lang: str = "en"
    seed: int | None = 0
    same_length: bool = False
    sentences: str = ""
    base_url: str = ""
    remote_model: str = ""
    api_key: str = field(default="", repr=False)

    def request(self) -> dict[str, Any]:
        """The arguments of making pairs, those of an API apart."""
        lines = [line for line in self.sentences.splitlines() if line.strip()]
        return {
            "source": self.source,
            "categories": list(self.categories),
            "n": int(self.n),
            "lang": self.lang,
            "seed": int(self.seed or 0),
            "same_length": self.same_length,
            "sentences": lines if self.source == "local" else [],
        }

    def asked(self) -> dict[str, Any]:
        """The arguments for a model behind an API."""
        names = ("base_url", "remote_model", "api_key")
        shared = self.request()
        kept = {name: shared[name] for name in ("categories", "n", "lang", "seed")}
        return kept | {name: getattr(self, name) for name in names}


def split(values: tuple[Any, ...]) -> tuple[Look, Asked]:
    """The values of the controls of a run, in their order."""
    count = len(fields(Look))
    return Look(*values[:count]), Asked(*values[count:])


def whole_numbers(typed: str) -> Any:
    """Layers such as "0, 3-5" as numbers, None for an empty text; the text where it is none."""
    found: list[int] = []
    for part in typed.replace(",", " ").split():
        first, _, last = part.partition("-")
        ends = (first, last or first)
        if not all(end.isdecimal() and len(end) <= DIGITS for end in ends):
            return typed
        found += range(int(ends[0]), int(ends[1]) + 1)
    return found or None
