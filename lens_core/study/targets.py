"""The words a study looks for: groups of forms, how they are spelled, and their token ids.

A group such as "wait" is looked for in two ways. In the probabilities, by the ids of its variants:
every spelling, with and without a space before it, as the tokenizer writes it behind a line break
(which keeps a SentencePiece tokenizer from inventing a space). In the text, by its characters: see
`occurrences`. A group whose variants are single ids has an exact probability at every position;
the first ids of longer ones give an upper bound only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.study.target_groups import DEFAULT_GROUPS, TargetGroup, check_groups
from lens_core.tokens import label, token_records

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lens_core.models import LoadedModel

_CONTEXTS = ("\n", "\n\n", ":\n")
"""Left contexts; the first behind which the tokenizer does not join the word to it is taken."""


@dataclass(frozen=True)
class Variant:
    """One way in which a tokenizer writes a form of a group."""

    group: str
    form: str
    text: str
    """What its ids decode to."""
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    """The text that every id completes; "" for the beginning of a character."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values; `label` shows the spaces."""
        return {
            "form": self.form,
            "text": self.text,
            "label": label(self.text),
            "ids": list(self.ids),
            "tokens": list(self.tokens),
            "single": len(self.ids) == 1,
        }


@dataclass(frozen=True)
class TargetTable:
    """The groups as one tokenizer writes them."""

    groups: tuple[TargetGroup, ...]
    variants: tuple[Variant, ...]
    """In the order of the groups; inside a group no two have the same ids."""
    problems: tuple[str, ...] = ()
    """Spellings that this tokenizer cannot write."""

    @classmethod
    def of(cls, loaded: LoadedModel, groups: Sequence[TargetGroup] = DEFAULT_GROUPS) -> TargetTable:
        """The table of a loaded model.

        Raises:
            InputError: no tokenizer, no groups, too many, or two of one name.
        """
        if loaded.tokenizer is None:
            raise InputError(
                f"{loaded.facts.id} was wrapped without a tokenizer, so targets have no ids; wrap "
                "it again with its tokenizer."
            )
        return cls.of_tokenizer(loaded.tokenizer, groups)

    @classmethod
    def of_tokenizer(
        cls, tokenizer: PreTrainedTokenizerBase, groups: Sequence[TargetGroup] = DEFAULT_GROUPS
    ) -> TargetTable:
        """The table of a tokenizer.

        Raises:
            InputError: no groups, too many, or two of one name.
        """
        check_groups(groups)
        variants, problems = [], []
        for group in groups:
            found: dict[tuple[int, ...], Variant] = {}
            for spelling, form in _with_spaces(group):
                ids = _ids_of(tokenizer, spelling)
                if ids is None:
                    problems.append(f'The tokenizer cannot write "{spelling}" ({group.name}).')
                elif ids not in found:
                    found[ids] = _variant(tokenizer, group.name, form, ids)
            variants += found.values()
        return cls(tuple(groups), tuple(variants), tuple(problems))

    @property
    def names(self) -> tuple[str, ...]:
        """The groups in order: the columns of `p_targets`."""
        return tuple(group.name for group in self.groups)

    @property
    def single_ids(self) -> tuple[tuple[int, ...], ...]:
        """Ids of each group's variants that are one token; none: it has no exact probability."""
        return tuple(
            tuple(one.ids[0] for one in self.of_group(name) if len(one.ids) == 1)
            for name in self.names
        )

    @property
    def first_ids(self) -> tuple[tuple[int, ...], ...]:
        """First ids of all variants of each group: together at least as probable as the group."""
        return tuple(
            tuple(dict.fromkeys(one.ids[0] for one in self.of_group(name))) for name in self.names
        )

    def of_group(self, name: str) -> tuple[Variant, ...]:
        """The variants of one group."""
        return tuple(one for one in self.variants if one.group == name)

    @property
    def sha256(self) -> str:
        """Of all that decides what is counted and which ids are summed."""
        text = json.dumps(self.to_json(), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The table for display.

        `prefix` says that the probability is of a word that may go on (" check" as " checking"),
        `exact` that every variant is one id, so that nothing is missing from the probability.
        """
        ids = zip(self.groups, self.single_ids, self.first_ids, strict=True)
        groups = [
            {
                **group.to_json(),
                "prefix": group.boundary,
                "exact": all(len(one.ids) == 1 for one in self.of_group(group.name)),
                "single_ids": list(single),
                "first_ids": list(first),
                "table": [one.to_json() for one in self.of_group(group.name)],
            }
            for group, single, first in ids
        ]
        return {"groups": groups, "problems": list(self.problems)}


def _with_spaces(group: TargetGroup) -> Iterator[tuple[str, str]]:
    for spelling, form in group.spellings().items():
        yield spelling, form
        if group.variants.space:
            yield f" {spelling}", form


def _ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...] | None:
    """The ids of a text behind a line break; None where the tokenizer does not know it."""
    for context in _CONTEXTS:
        before, both = (
            list(tokenizer(one, add_special_tokens=False, verbose=False)["input_ids"])
            for one in (context, context + text)
        )
        own = both[len(before) :]
        if both[: len(before)] == before and own:
            unknown = tokenizer.unk_token_id
            return None if unknown is not None and unknown in own else tuple(own)
    return None


def _variant(
    tokenizer: PreTrainedTokenizerBase, group: str, form: str, ids: tuple[int, ...]
) -> Variant:
    tokens = tuple(record["text"] for record in token_records(tokenizer, ids))
    return Variant(group, form, "".join(tokens), ids, tokens)
