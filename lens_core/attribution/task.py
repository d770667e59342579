"""What is asked of a prompt, read from the arguments of `attribute`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.attribution.features import Feature, prompt_features
from lens_core.attribution.game import Question
from lens_core.attribution.occluders import neutral_token
from lens_core.attribution.options import Options, Target, checked, wanted_ids
from lens_core.errors import InputError, PromptError
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel, check_ids
from lens_core.tokens import token_records


@dataclass(frozen=True, eq=False)
class Task:
    """A prompt with what is asked of it."""

    options: Options
    ids: Int[Tensor, " position"]
    records: list[dict[str, Any]]
    query: int
    features: tuple[Feature, ...]
    inside: tuple[int, ...]
    """Features that begin before or at the query; the others cannot act on it."""
    question: Question


def read_task(
    loaded: LoadedModel,
    ids: Tensor,
    *,
    target: Target,
    query: int,
    features: str | Sequence[Sequence[int]],
    positions: Sequence[int] | None,
    specials: bool,
    max_tokens: int | None,
    **chosen: Any,
) -> Task:
    """The arguments of `attribute`, checked.

    Raises:
        PromptError: ids that the model cannot take, or nothing to attribute to.
        InputError: an argument outside its range, or two that do not go together.
    """
    options = checked(loaded, **chosen)
    prompt = check_ids(loaded, ids, max_tokens=max_tokens)
    last = whole_number("query", query, -len(prompt), len(prompt) - 1) % len(prompt)
    wanted = wanted_ids(loaded, target)
    if options.foil is not None and wanted is not None and len(wanted) > 1:
        raise InputError(
            f"The target has {len(wanted)} tokens; a contrast takes one. Give a target of one "
            "token, or leave the foil out."
        )
    if wanted is not None and options.foil in wanted.tolist():
        raise InputError(
            f"foil and target are the same token, {options.foil}; nothing sets them apart. Give "
            "another foil."
        )
    before = prompt[: last + 1]
    if wanted is not None:
        check_ids(loaded, torch.cat([before, wanted]))
    records = token_records(loaded.tokenizer, prompt.tolist())
    found = prompt_features(records, features, positions=positions, specials=specials)
    inside = tuple(index for index, feature in enumerate(found) if feature.start <= last)
    if not inside:
        raise PromptError(
            f"No feature begins before position {last}, after which the target comes; choose a "
            "later query."
        )
    places = tuple(tuple(range(found[i].start, min(found[i].stop, last + 1))) for i in inside)
    replacement = options.replacement
    question = Question(
        before, wanted, options.foil, options.score, places, options.occluder or "knock_out",
        neutral_token(loaded) if replacement is None else replacement,
    )  # fmt: skip
    return Task(options, prompt, records, last, found, inside, question)
