"""What was filled into the form of the repair tab, and the request that it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lens_core.errors import InputError

METHODS = ("me-batch", "me-iter", "mint", "me-sgd")
"""The repairs that can be chosen, the one that is tried first in front."""
YARDSTICK = {"method": "me-sgd", "lr": 0.01}
"""Plain gradient descent at a fixed rate, beside which the methods are compared."""
LOCATE = ("attribution", "occlusion")
"""How layers can be chosen, the usual way in front."""
NEURONS = 64
"""So many in a layer are edited at most, where nothing else is said."""
MAX_EPOCHS = 50
"""The slider goes so far; clients may ask for more."""
OWN = ("model", "template", "special", "edit")
"""What every request says of the bar, besides the prompt."""


@dataclass(frozen=True)
class Example:
    """Something that the embedded model can be taught."""

    prompt: str
    target: str
    paraphrases: tuple[str, ...] = ()


EXAMPLES = (
    Example(
        "The capital of Kazakhstan is",
        " Astana",
        (
            "The capital city of Kazakhstan is",
            "Q: What is the capital of Kazakhstan? A:",
            "My teacher says that the capital of Kazakhstan is",
        ),
    ),
    Example("def hello():\n    ", "print('Hello, world!')", ("def greet():\n    ",)),
    Example(
        "哈萨克斯坦的首都是",
        "阿斯塔纳",
        ("哈萨克斯坦的首都叫", "问：哈萨克斯坦的首都是哪里？答："),
    ),
)


@dataclass(frozen=True)
class Batch:
    """Pairs from a file, instead of the prompt in the bar and the target in the form."""

    name: str
    """Of the file."""
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chosen:
    """The values of the form, as they come from the browser; at first, these."""

    target: str = ""
    method: str = METHODS[0]
    epochs: int = 0
    """0 leaves the number to the method."""
    margin: float = 0.5
    layers: float = 0.0
    """Share of the layers; 0 leaves it to the size of the model."""
    neurons: int | None = NEURONS
    """0 takes all; an empty field is the default."""
    views: int = 0
    locate: str = LOCATE[0]
    compat: bool = False
    """Whether to use the settings of the published code."""
    lr: str = ""
    """Empty takes the step that is needed."""
    paraphrases: str = ""
    probes: str = ""

    @property
    def wanted(self) -> str:
        """The target as text: a dot in front stands for a space, as tokens are written."""
        return f" {self.target[1:]}" if self.target.startswith("·") else self.target

    def asked(self, shared: dict[str, Any], batch: Batch | None) -> dict[str, Any]:
        """The arguments of the request.

        Raises:
            InputError: nothing is wanted, or the learning rate is no number.
        """
        found = {name: shared[name] for name in OWN}
        if batch is not None:
            found["pairs"] = [list(pair) for pair in batch.pairs]
        elif not self.target:
            raise InputError("The target is empty (0 characters); type what the model should say.")
        else:
            found |= {"prompt": shared["prompt"], "target": self.wanted}
        return {**found, **self.options(), **self.measures(reworded=batch is None)}

    def options(self) -> dict[str, Any]:
        """How it is repaired.

        Raises:
            InputError: the learning rate is no number.
        """
        return {
            "method": self.method,
            "epochs": int(self.epochs) or None,
            "margin": float(self.margin),
            "layers": float(self.layers) or None,
            "neurons": NEURONS if self.neurons is None else self.neurons,
            "views": int(self.views),
            "locate": self.locate,
            "compat": "reference" if self.compat else None,
            "lr": _rate(self.lr),
        }

    def measures(self, *, reworded: bool) -> dict[str, Any]:
        """What else it is measured on; only a single prompt can be reworded."""
        texts = lines(self.paraphrases) if reworded else []
        return {"paraphrases": texts, "probes": lines(self.probes)}


def lines(text: str) -> list[str]:
    """The lines of a text that are not empty; backslash and n in one stand for a new line."""
    return [line.replace("\\n", "\n") for line in text.split("\n") if line.strip()]


def _rate(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not math.isfinite(rate):
        raise InputError(
            f'The learning rate is "{text[:20]}"; type a number such as 0.01, or leave it empty.'
        )
    return rate
