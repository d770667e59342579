"""What may be asked of a repair, with the defaults of each method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lens_core.errors import InputError

METHODS = ("me-batch", "me-iter", "mint", "me-sgd")
"""STAR for all tokens together, STAR token by token, few neurons, and plain gradient descent."""

LOCATE = ("attribution", "occlusion")
MAX_EPOCHS = 200
REFERENCE_EPOCHS, REFERENCE_LR = 10, 1e-2
MAX_VIEWS = 3


@dataclass(frozen=True)
class RepairOptions:
    """The arguments of a repair; None stands for the default of the method and the model."""

    method: str = "me-batch"
    margin: float = 0.5
    """The logit of every target token must lead the best other one by so much."""
    epochs: int | None = None
    """Most updates: in all (me-batch), for one token in one pass (me-iter, me-sgd); one neuron
    after another for one token (mint). Default: 30, 20, 20 and 10."""
    lr: float | None = None
    """None takes the step that is needed; a number is a fixed learning rate (not for mint)."""
    pace: float = 0.5
    """How much of the missing margin one step should close, to first order."""
    mu: float = 1.0
    """Ridge of the semantic direction: 0 moves other logits least before the final norm, inf
    takes the shortest vector."""
    layers: float | None = None
    """Share of the layers that are edited, the most responsible first; None: all up to 8 layers,
    half of them above."""
    neurons: int = 64
    """Most neurons in a layer (me-batch, me-iter); 0 takes all."""
    views: int = 0
    """Automatic rewordings of each prompt that are repaired together with it, 0 to 3."""
    locate: str = "attribution"
    """How layers are chosen: by gradient x activation, or by "occlusion", the loss without each."""
    compat: str | None = None
    """"reference" reproduces the published code's settings (not for mint); see `reference.py`."""
    template: str | None = None
    special: str = "default"

    def __post_init__(self) -> None:
        """Refuse what no method can do.

        Raises:
            InputError: names the option, its value and its range.
        """
        if self.method not in METHODS:
            raise InputError(f'method is "{self.method}"; it can be {", ".join(METHODS)}.')
        if self.locate not in LOCATE:
            raise InputError(f'locate is "{self.locate}"; it can be {", ".join(LOCATE)}.')
        if self.compat not in (None, "reference"):
            raise InputError(f'compat is "{self.compat}"; it can be reference, or None.')
        if self.compat and self.method == "mint":
            raise InputError('compat is "reference"; mint has no such mode, the others have.')
        _check_number("margin", self.margin, 0.0, 100.0)
        _check_number("pace", self.pace, 0.05, 1.0)
        if not (isinstance(self.mu, (int, float)) and self.mu >= 0):
            raise InputError(f"mu is {self.mu!r}; it can be 0 or more, or inf.")
        if self.lr is not None:
            _check_number("lr", self.lr, 1e-8, 100.0)
        if self.layers is not None:
            _check_number("layers", self.layers, 0.01, 1.0)
        check_whole("neurons", self.neurons, 0, 1 << 20)
        check_whole("views", self.views, 0, MAX_VIEWS)
        if self.epochs is not None:
            check_whole("epochs", self.epochs, 1, MAX_EPOCHS)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> RepairOptions:
        """Options from keyword arguments.

        Raises:
            InputError: an unknown name, or a value outside its range.
        """
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(arguments) - known):
            raise InputError(
                f'A repair has no option "{unknown[0]}"; it has {", ".join(sorted(known))}.'
            )
        return cls(**arguments)

    @property
    def most_epochs(self) -> int:
        """`epochs`, or the method's own number."""
        if self.compat:
            return REFERENCE_EPOCHS if self.epochs is None else self.epochs
        own = {"me-batch": 30, "me-iter": 20, "me-sgd": 20, "mint": 10}
        return own[self.method] if self.epochs is None else self.epochs

    def phases(self) -> tuple[int, int]:
        """Gated and then ungated updates of me-batch: 10 and the rest, or 2 to 1 below 15."""
        total = self.most_epochs
        gated = 10 if total >= 15 else total - total // 3
        return gated, total - gated

    def layer_share(self, n_layers: int) -> float:
        """The share of the layers that is edited."""
        if self.layers is not None:
            return float(self.layers)
        return 1.0 if n_layers <= 8 else 0.5

    def to_json(self) -> dict[str, Any]:
        """Plain values; an infinite `mu` is the text "inf"."""
        record = {item.name: getattr(self, item.name) for item in fields(self)}
        return record | {"mu": "inf" if math.isinf(self.mu) else self.mu}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RepairOptions:
        """The inverse of `to_json`."""
        return cls(**{**record, "mu": float(record["mu"])})


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; it can be {least:g} to {most:g}.")


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuse what is not a whole number from `least` to `most`.

    Raises:
        InputError: names the option, its value and its range.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; it can be {least} to {most}.")
