"""The arguments of attribution, checked: a wrong one is named with what it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.attribution.game import SCORES
from lens_core.attribution.occluders import OCCLUDERS
from lens_core.errors import InputError, PromptError
from lens_core.lens.options import one_of, target_id, whole_number
from lens_core.models import LoadedModel, check_ids

METHODS = (
    "occlusion",
    "input_x_gradient",
    "integrated_gradients",
    "gradient_shap",
    "shapley",
    "kernel_shap",
)
GRADIENTS = METHODS[1:4]
MAX_TARGETS = 64
MAX_INTERACTIONS = 16

Target = int | str | Sequence[int] | Tensor | None


@dataclass(frozen=True)
class Options:
    """The arguments of `attribute` that do not depend on the prompt, checked."""

    method: str
    score: str
    foil: int | None
    occluder: str | None
    """None takes knock_out, or replace where tokens cannot be hidden."""
    replacement: int | None
    window: int
    interactions: int
    samples: int | None
    max_steps: int
    seed: int

    @property
    def gradient(self) -> bool:
        """Whether the method goes through the gradient."""
        return self.method in GRADIENTS

    @property
    def sampled(self) -> bool:
        """Whether the method draws at random."""
        return self.method in ("gradient_shap", "shapley", "kernel_shap")


def checked(
    loaded: LoadedModel,
    *,
    method: str,
    score: str | None,
    foil: int | str | None,
    occluder: str | None,
    replacement: int | str | None,
    window: int,
    interactions: int,
    samples: int | None,
    max_steps: int,
    seed: int,
) -> Options:
    """The options, or what is wrong with them.

    Raises:
        InputError: an argument outside its range, or two that do not go together.
    """
    one_of("method", method, METHODS)
    against = None if foil is None else target_id(loaded, foil, name="foil")
    score = ("log_p" if against is None else "contrast") if score is None else score
    one_of("score", score, SCORES)
    if (score == "contrast") != (against is not None):
        raise InputError(
            f"score is {score!r} and foil is {foil!r}; a contrast needs a foil, a token that the "
            "target is held against, and other scores have none."
        )
    if method in GRADIENTS and score not in ("log_p", "contrast"):
        raise InputError(f"score is {score!r}; {method} can use log_p and contrast.")
    if occluder is not None:
        one_of("occluder", occluder, OCCLUDERS)
    return Options(
        method,
        score,
        against,
        occluder,
        None if replacement is None else target_id(loaded, replacement, name="replacement"),
        whole_number("window", window, 1, 1000),
        whole_number("interactions", interactions, 0, MAX_INTERACTIONS),
        None if samples is None else whole_number("samples", samples, 1, 5000),
        whole_number("max_steps", max_steps, 10, 3200),
        whole_number("seed", seed, 0, 2**63 - 1),
    )


def wanted_ids(loaded: LoadedModel, target: Any) -> Int[Tensor, " target"] | None:
    """The ids of a target given as an id, ids, or text; None for the most likely token.

    Raises:
        InputError: it is none of these, or has too many tokens.
        PromptError: it is empty or cannot be read.
    """
    if target is None:
        return None
    if isinstance(target, str):
        if not target:
            raise PromptError("The target is empty (0 characters); type what should come next.")
        found = loaded.tokenize(target, special="none", name="target")
    elif isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        found = torch.tensor([int(target)])
    elif isinstance(target, (list, tuple, Tensor, np.ndarray)):
        found = torch.as_tensor(target)
        if not len(found):
            raise PromptError("The target is empty (0 token ids); give at least one.")
    else:
        raise InputError(f"target is {target!r}; give a text, a token id or token ids.")
    if len(found) > MAX_TARGETS:
        raise InputError(f"The target has {len(found)} tokens; the limit is {MAX_TARGETS}.")
    last = loaded.facts.vocab_size - 1
    for token in found.tolist():
        whole_number("target id", token, 0, last)
    return check_ids(loaded, found)
