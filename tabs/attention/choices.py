"""What was chosen in the controls of the attention tab, and the requests that it makes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from tabs.typed import typed_text

MEASURES = ("weight", "norm", "rollout", "ratio", "flow")
"""How what a token gives to the query is measured."""
THROUGH = ("rollout", "ratio", "flow")
"""Those that follow attention through all layers, whatever layer is chosen."""
LAYERS = ("one", "mean", "max")
CURVES = ("linear", "sqrt", "log")
PARTS = ("heads", "importance", "matrix", "compare", "details", "remote")
GRIDS = ("heads", "depth")
QUANTITIES = ("weight", "norm", "entropy", "effective_tokens")
METHODS = (
    "occlusion",
    "input_x_gradient",
    "integrated_gradients",
    "gradient_shap",
    "shapley",
    "kernel_shap",
)
GRADIENTS = METHODS[1:4]
FEATURES = ("cluster", "token", "word", "sentence", "spans")
SCORES = ("auto", "log_p", "kl", "flip")
OCCLUDERS = ("auto", "knock_out", "replace", "mean", "delete")
LAST = -1
"""Stands for the last layer until it is known how many there are."""


@dataclass(frozen=True)
class Look:
    """What of the attention is shown; at first, these."""

    part: str = "heads"
    """What is shown below the tokens."""
    measure: str = "weight"
    layer: int = LAST
    layers: str = "one"
    head: str = "mean"
    """"mean" and "max" of all heads, or the number of one."""
    join: bool = True
    without_sinks: bool = False
    curve: str = "linear"
    side: str = "after"
    quantity: str = "weight"
    grid: str = "heads"
    k: int = 10
    temperature: float = 1.0

    @property
    def one_head(self) -> int | None:
        """The head that is looked at alone."""
        return int(self.head) if self.head.isdecimal() else None


@dataclass(frozen=True)
class Asked:
    """What attribution is asked for; at first, these."""

    method: str = "occlusion"
    features: str = "cluster"
    spans: str = ""
    target: str = ""
    foil: str = ""
    score: str = "auto"
    occluder: str = "auto"
    replacement: str = ""
    window: int = 1
    interactions: int = 0
    samples: int = 0
    max_steps: int = 400
    specials: bool = False
    seed: int | None = 0
    trust: bool = True
    always: bool = True
    """Measure it with every run, where that takes little."""

    def request(self, target_ids: tuple[int, ...]) -> dict[str, Any]:
        """The arguments of an attribution; those that its method does not take are left out."""
        method, occlusion = self.method, self.method == "occlusion"
        found: dict[str, Any] = {
            "method": method,
            "features": _spans(self.spans) if self.features == "spans" else self.features,
            "target": _text(self.target) or (list(target_ids) or None),
            "foil": _text(self.foil),
            "score": None if self.score == "auto" else self.score,
            "replacement": _text(self.replacement),
            "specials": self.specials,
            "seed": self.seed or 0,
            "samples": self.samples or None,
        }
        if occlusion:
            found |= {"window": self.window, "interactions": self.interactions}
        if method not in GRADIENTS and self.occluder != "auto":
            found["occluder"] = self.occluder
        if method == "integrated_gradients":
            found["max_steps"] = self.max_steps
        return found


def split(values: tuple[Any, ...]) -> tuple[Look, Asked]:
    """The values of all controls, in their order."""
    count = len(fields(Look))
    look = Look(*values[:count])
    # Gradio gives a whole number without its point.
    return replace(look, temperature=float(look.temperature)), Asked(*values[count:])


def _text(typed: str) -> str | None:
    return typed_text(typed) or None


def _spans(typed: str) -> Any:
    """Runs of positions such as "0-2, 3, 5-6" as pairs; the text itself where it is none."""
    pairs = []
    for part in typed.replace(",", " ").split():
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            return typed
        pairs.append([int(first), int(last or first) + 1])
    return pairs or typed
