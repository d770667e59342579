"""The arguments of the lens, checked: a wrong one is named with what it can be."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lens_core.errors import InputError
from lens_core.lens.cells import PARTS
from lens_core.models import LoadedModel
from lens_core.tokens import vocab_entries

COMPONENTS = ("embed", "resid_mid", "resid_post", "attn_out", "mlp_out")
SCALES = ("final", "local", "own")
MAX_K = 50
MAX_TARGETS = 50
_LISTED = 8
"""Tokens that are named of a text that is more than one."""


@dataclass(frozen=True)
class Options:
    """The arguments of `logit_lens` that do not depend on the prompt, checked."""

    k: int
    components: tuple[str, ...]
    scale: str
    norm: str
    followed: tuple[int, ...]
    """Token ids of the user's targets."""
    important: str
    threshold: float
    compat: bool
    track_position: int | None
    divergences: bool

    @property
    def reads_norm(self) -> bool:
        """Whether states are read through the final norm."""
        return self.norm == "final"

    def needs_parts(self, loaded: LoadedModel) -> bool:
        """Whether anything that is asked reads what attention and MLP add."""
        if set(self.components) & {"resid_mid", *PARTS}:
            return True
        feature = "streams" if self.important == "prob" else "attribution"
        exact = loaded.self_check.reason_off(feature) is None
        return self.track_position is not None and exact


def checked_components(
    loaded: LoadedModel, components: Collection[str], scale: str, norm: str
) -> tuple[str, ...]:
    """The components in their usual order, refused where they would not be exact.

    Raises:
        InputError: an unknown component, or one that cannot be read with these options.
        NotExactError: a component that is not exact in this model.
    """
    loaded.require("readout")
    loaded.require("states")
    if isinstance(components, str) or not components:
        raise InputError(f"components is {components!r}; give a list of {', '.join(COMPONENTS)}.")
    for name in components:
        one_of("component", name, COMPONENTS)
    if set(components) & {"resid_mid", *PARTS}:
        loaded.require("streams")
    if set(components) & set(PARTS) and scale != "own":
        loaded.require("attribution")
        if norm == "none":
            raise InputError(
                'norm is "none", which leaves no scale to freeze for attn_out and mlp_out; read '
                'them with scale="own", or keep norm="final".'
            )
    return tuple(name for name in COMPONENTS if name in components)


def target_ids(loaded: LoadedModel, targets: Sequence[int | str]) -> tuple[int, ...]:
    """The token ids of targets given as ids or as texts.

    Raises:
        InputError: too many of them, an id outside the vocabulary, or a text that is not exactly
            one token.
    """
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        raise InputError(f"targets is {targets!r}; give a list of token ids and texts.")
    if len(targets) > MAX_TARGETS:
        raise InputError(f"targets has {len(targets)} tokens; it can have {MAX_TARGETS}.")
    return tuple(target_id(loaded, target) for target in targets)


def target_id(loaded: LoadedModel, target: int | str, *, name: str = "target") -> int:
    """The token id of a target given as an id or as text, which is taken exactly as it is.

    Raises:
        InputError: an id outside the vocabulary, or a text that is not exactly one token; its
            remedy then names the tokens to choose from.
    """
    if target == "":
        raise InputError(f"The {name} is empty (0 characters); give a text of one token or an id.")
    if isinstance(target, str):
        ids = loaded.tokenize(target, special="none", name=name).tolist()
        if len(ids) != 1:
            raise InputError(
                f"The {name} {_quoted(target)} is {len(ids)} tokens here: {_listed(loaded, ids)}. "
                "Give one of them, or a text of one token (often with a leading space).",
                remedy={"action": "choose_token", "ids": ids[:_LISTED]},
            )
        return ids[0]
    if isinstance(target, bool) or not isinstance(target, (int, np.integer)):
        raise InputError(
            f"The {name} is {target!r}; give a token id (a whole number) or a text of one token."
        )
    return whole_number(f"{name} id", target, 0, loaded.facts.vocab_size - 1)


def _listed(loaded: LoadedModel, ids: list[int]) -> str:
    """The first tokens of a text, each with its id."""
    entries = vocab_entries(loaded.tokenizer, ids[:_LISTED])
    named = [f"{_quoted(entries[token]['text'])} ({token})" for token in ids[:_LISTED]]
    return ", ".join(named) + (", ..." if len(ids) > _LISTED else "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def chosen_indices(what: str, chosen: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The chosen indices from 0, in ascending order and once each; all of them for None.

    Raises:
        InputError: no index, or one outside the range.
    """
    if chosen is None:
        return tuple(range(count))
    found = {whole_number(what, index, -count, count - 1) % count for index in chosen}
    if not found:
        raise InputError(f"{what} is empty; choose at least one from 0 to {count - 1}.")
    return tuple(sorted(found))


def whole_number(what: str, value: Any, least: int, most: int) -> int:
    """`value` as a whole number in a range.

    Raises:
        InputError: it is none, or lies outside.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{what} is {value!r}; it must be a whole number.")
    if not least <= value <= most:
        raise InputError(f"{what} is {value}; it can be {least} to {most}.")
    return int(value)


def one_of(what: str, value: Any, allowed: Sequence[str]) -> str:
    """`value`, which must be one of the allowed words.

    Raises:
        InputError: it is another one.
    """
    if value not in allowed:
        raise InputError(f"{what} is {value!r}; it can be {', '.join(allowed)}.")
    return str(value)
