"""What a model is to say: pairs of prompt and target as token ids, and one row a target token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel, check_ids
from lens_core.prompts import prompt_ids
from lens_core.repairs.options import MAX_VIEWS, RepairOptions
from lens_core.tokens import token_records

_VIEWS = ("\n{}", "# \n{}", "Here is what I know. {}")
"""Rewordings of any prompt, by what stands before it."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A prompt and what should follow it, as token ids that are joined as they are."""

    prompt_ids: Int[Tensor, " prompt"]
    target_ids: Int[Tensor, " target"]
    prompt: str | None = None
    """None where ids were given."""
    target: str | None = None
    view_of: int | None = None
    """The pair that this one is only another wording of."""

    @property
    def ids(self) -> Int[Tensor, " position"]:
        """The prompt and, except for the last token, the target: all that is read."""
        return torch.cat([self.prompt_ids, self.target_ids[:-1]])


@dataclass(frozen=True, eq=False)
class Rows:
    """The tokens that several pairs want, one row each, in the order of the pairs."""

    pairs: tuple[Pair, ...]
    sequence: Int[Tensor, " token"]
    """Which pair each token belongs to."""
    position: Int[Tensor, " token"]
    """Where it is predicted: the position before it."""
    target: Int[Tensor, " token"]

    def __len__(self) -> int:
        return len(self.target)

    def of_pair(self, index: int) -> slice:
        """The rows of one pair."""
        rows = (self.sequence == index).nonzero()[:, 0]
        return slice(int(rows[0]), int(rows[-1]) + 1)

    def only(self, index: int) -> Rows:
        """One pair alone."""
        return rows_of([self.pairs[index]])

    def prefix(self, row: int) -> Rows:
        """One token alone, behind what precedes it."""
        pair, place = self.pairs[int(self.sequence[row])], int(self.position[row])
        alone = Pair(pair.ids[: place + 1], self.target[row : row + 1])
        return rows_of([alone])


def rows_of(pairs: Sequence[Pair]) -> Rows:
    """One row for each target token of each pair."""
    sequence, position = [], []
    for index, pair in enumerate(pairs):
        count, start = len(pair.target_ids), len(pair.prompt_ids) - 1
        sequence += [index] * count
        position += range(start, start + count)
    return Rows(
        tuple(pairs),
        torch.tensor(sequence),
        torch.tensor(position),
        torch.cat([pair.target_ids for pair in pairs]),
    )


def read_pair(
    loaded: LoadedModel, prompt: str | Tensor, target: str | Tensor, options: RepairOptions
) -> Pair:
    """A prompt and a target as ids.

    The target's tokens are its own: it is tokenised without special tokens and joined as ids.

    Raises:
        PromptError: either is empty, cannot be read, or both together are too long.
        InputError: they are neither text nor ids.
    """
    for name, value in (("prompt", prompt), ("target", target)):
        if not isinstance(value, (str, Tensor)):
            raise InputError(f"The {name} must be text or token ids; it is a {type(value)}.")
    before = _prompt_ids(loaded, prompt, options)
    after = _target_ids(loaded, target)
    check_ids(loaded, torch.cat([before, after]))
    prompt_text = prompt if isinstance(prompt, str) else None
    return Pair(before, after, prompt_text, target if isinstance(target, str) else None)


def _prompt_ids(loaded: LoadedModel, prompt: str | Tensor, options: RepairOptions) -> Tensor:
    if isinstance(prompt, str):
        return loaded.tokenize(prompt, template=options.template, special=options.special)
    return check_ids(loaded, prompt)


def _target_ids(loaded: LoadedModel, target: str | Tensor) -> Tensor:
    if not isinstance(target, str):
        return check_ids(loaded, target)
    if not target:
        raise PromptError("The target is empty (0 characters); type what the model should say.")
    if loaded.tokenizer is None:
        return loaded.tokenize(target)
    return torch.tensor(prompt_ids(loaded.tokenizer, target, template=None, special="none"))


def views_of(loaded: LoadedModel, pair: Pair, index: int, options: RepairOptions) -> list[Pair]:
    """Other wordings of a pair's prompt, to be repaired together with it."""
    if pair.prompt is None or not options.views:
        return []
    return [
        Pair(
            _prompt_ids(loaded, view.format(pair.prompt), options),
            pair.target_ids,
            view.format(pair.prompt),
            pair.target,
            view_of=index,
        )
        for view in _VIEWS[: options.views]
    ]


def automatic_views(prompt: str) -> list[str]:
    """A prompt in three other wordings that should change nothing."""
    return [view.format(prompt) for view in _VIEWS[:MAX_VIEWS]]


@dataclass(frozen=True)
class TargetPreview:
    """How a prompt and a target will be read, before anything is run."""

    prompt_tokens: tuple[dict[str, Any], ...]
    """Records as of `token_records`."""
    target_tokens: tuple[dict[str, Any], ...]
    as_written: bool
    """Whether the same text typed in one go has the same tokens."""
    add_space: bool
    """Whether a space before the target is probably missing."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            "prompt_tokens": list(self.prompt_tokens),
            "target_tokens": list(self.target_tokens),
            "as_written": self.as_written,
            "add_space": self.add_space,
        }


def preview_target(
    loaded: LoadedModel,
    prompt: str,
    target: str,
    *,
    template: str | None = None,
    special: str = "default",
) -> TargetPreview:
    """The tokens of a prompt and its target, and whether a space is missing between them.

    A leading space changes what a target means: " Paris" and "Paris" are different tokens.

    Raises:
        PromptError: either is empty or cannot be read.
    """
    options = RepairOptions(template=template, special=special)
    pair = read_pair(loaded, prompt, target, options)
    ids = [pair.prompt_ids.tolist(), pair.target_ids.tolist()]
    before, after = (tuple(token_records(loaded.tokenizer, one)) for one in ids)
    missing = (
        template is None
        and _needs_space(prompt, target)
        and _as_written(loaded, prompt, f" {target}", options)
    )
    return TargetPreview(before, after, _as_written(loaded, prompt, target, options), missing)


def _needs_space(prompt: str, target: str) -> bool:
    """Whether two words meet that a reader would keep apart (Chinese and Japanese would not)."""
    last, first = prompt[-1], target[0]
    wide = any(east_asian_width(char) in "WF" for char in (last, first))
    return not wide and first.isalnum() and (last.isalnum() or last in ".,:;?!")


def _as_written(loaded: LoadedModel, prompt: str, target: str, options: RepairOptions) -> bool:
    """Whether prompt and target, typed in one go, are cut where they are joined."""
    if options.template is not None:
        return True
    whole = _prompt_ids(loaded, prompt + target, options)
    pair = read_pair(loaded, prompt, target, options)
    return torch.equal(whole, torch.cat([pair.prompt_ids, pair.target_ids]))
