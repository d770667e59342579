"""Prompts with tokens taken out of them, in four ways.

`knock_out` hides a token from all others and moves nothing; the token whose prediction is measured
cannot be hidden from itself, so another one is put there. `replace` puts another token in place of
every one, `mean` the mean row of the embedding, and `delete` leaves tokens out, so that what
follows moves up. Where a family counts positions by the attention mask (ALiBi in Bloom and Falcon),
what follows a hidden token moves up, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.models import LoadedModel

OCCLUDERS = ("knock_out", "replace", "mean", "delete")
_BLOCK = 4096
"""Rows of the embedding that are averaged at once."""


@dataclass(frozen=True, eq=False)
class Row:
    """One variant of the text that is run: the prompt, then the target without its last token."""

    ids: Int[Tensor, " position"]
    hidden: Bool[Tensor, " position"]
    """Positions that no token attends to."""
    blank: Bool[Tensor, " position"]
    """Positions whose embedding is the mean row."""
    start: int
    """The first position that is not as in the original run, so that states before it are known."""


def original_row(ids: Int[Tensor, " position"], start: int = 0) -> Row:
    """The text as it is."""
    none = torch.zeros(len(ids), dtype=torch.bool)
    return Row(ids, none, none, start)


def occluded(
    ids: Int[Tensor, " position"],
    removed: Bool[Tensor, " position"],
    *,
    query: int,
    occluder: str,
    replacement: int | None,
) -> Row:
    """The text without some tokens.

    Args:
        ids: prompt and target without its last token.
        removed: which tokens to take out; none of them behind `query`.
        query: the last position of the prompt, after which the target is predicted.
        occluder: one of `OCCLUDERS`.
        replacement: the token that `replace` puts there, and `knock_out` at the query; None takes
            the mean row.

    Raises:
        InputError: nothing would be left of the prompt.
    """
    none = torch.zeros_like(removed)
    if not removed.any():
        return Row(ids, none, none, query)
    first = int(removed.nonzero()[0, 0])
    if occluder == "mean":
        return Row(ids, none, removed, first)
    if occluder == "delete":
        left = int((~removed[: query + 1]).sum())
        if not left:
            raise InputError(
                "Nothing of the prompt would be left; use another occluder than delete, or keep "
                "some tokens out of the features."
            )
        kept = ids[~removed]
        return Row(kept, none[: len(kept)], none[: len(kept)], min(first, left - 1))
    hidden = removed.clone()
    if occluder == "replace":
        hidden[:] = False
    hidden[query] = False
    changed = removed & ~hidden
    start = min(first + 1, query) if occluder == "knock_out" else first
    if replacement is None:
        return Row(ids, hidden, changed, start)
    return Row(torch.where(changed, replacement, ids), hidden, none, start)


def neutral_token(loaded: LoadedModel) -> int | None:
    """The token that says least: end of text, else unknown, else a space; None without any."""
    tokenizer = loaded.tokenizer
    if tokenizer is not None:
        for token in (tokenizer.eos_token_id, tokenizer.unk_token_id):
            if isinstance(token, int):
                return token
        space = tokenizer.encode(" ", add_special_tokens=False)
        return int(space[0]) if len(space) == 1 else None
    config = loaded.model.config.get_text_config()
    token = getattr(config, "eos_token_id", None)
    token = token[0] if isinstance(token, list) and token else token
    return token if isinstance(token, int) and token < loaded.facts.vocab_size else None


@torch.no_grad()
def mean_row(loaded: LoadedModel) -> Float[Tensor, " d_embed"]:
    """The mean of what the embedding gives for every token of the vocabulary, in float32."""
    embedding = loaded.model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])  # type: ignore[union-attr]
    total = None
    for start in range(0, rows, _BLOCK):
        ids = torch.arange(start, min(start + _BLOCK, rows), device=loaded.device)
        part = embedding(ids).double().sum(0)
        total = part if total is None else total + part
    assert total is not None
    return (total / rows).float()
