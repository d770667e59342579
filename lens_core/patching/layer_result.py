"""What operations on layers do to a corpus (schema lens_core/layer_operations/1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.patching.operations import Operation
from lens_core.records import plain

SCHEMA = "lens_core/layer_operations/1"


@dataclass(frozen=True)
class LayerOperationsStep:
    """How far the operations are."""

    done: int
    total: int
    """Of texts, once for the original and once for every operation."""
    operation: str
    """What is under way, "original" first."""


@dataclass(frozen=True)
class ClassChange:
    """The tokens of one class, before and after."""

    group: str
    """kind, script or pos: every token has one kind, letters have a script, too, and words have a
    part of speech where a tagger is installed."""
    name: str
    tokens: int
    nll_before: float
    nll_after: float
    """Means in nats."""
    accuracy_before: float
    accuracy_after: float


@dataclass(frozen=True, eq=False)
class Change:
    """What an operation changes, against the original model."""

    mean: float
    """Over texts: of the mean loss of a token, in nats; positive is worse."""
    lo: float
    hi: float
    """Student's t interval at 95 %, paired by text; NaN for fewer than two texts."""
    text_change: Float[np.ndarray, " text"]
    """That of every text."""
    new_errors: int
    """Tokens that were predicted rightly and no longer are."""
    fixed_errors: int
    p: float
    """McNemar's exact test: whether new and fixed errors could be equally likely."""
    classes: tuple[ClassChange, ...]


@dataclass(frozen=True, eq=False)
class Score:
    """How well one variant of the model predicts all targets; nothing is clipped or left out."""

    operation: Operation | None
    """None for the model as it is."""
    nll: float
    """Sum of the losses over the number of targets, in nats."""
    perplexity: float
    """exp of it."""
    median_nll: float
    p95_nll: float
    """Of single tokens."""
    accuracy: float
    """Share of targets that are the most likely token, by id."""
    change: Change | None
    """None for the model as it is."""

    @property
    def name(self) -> str:
        """Such as "original" or "remove 3"."""
        return "original" if self.operation is None else self.operation.name


@dataclass(frozen=True, eq=False)
class TokenTable:
    """All targets of all texts behind one another, with every variant's loss."""

    starts: Int[np.ndarray, " text_or_end"]
    """Where each text begins among the targets, and where the last one ends."""
    targets: Int[np.ndarray, " target"]
    kinds: tuple[str, ...]
    scripts: tuple[str, ...]
    nll: Float[np.ndarray, "variant target"]
    """In nats; the original comes first, then the operations in order."""
    predicted: Int[np.ndarray, "variant target"]
    """The most likely token."""
    tags: tuple[str, ...] | None = None
    """The part of speech of every target, "" for what is no part of a word; None where no tagger
    was installed, and in older records. `header["input"]["tagger"]` names it."""


@dataclass(frozen=True, eq=False)
class LayerOperations:
    """A corpus under the original model and under each operation."""

    header: Mapping[str, Any]
    vocab: Mapping[str, Any]
    """{"<id>": {"text", "bytes"}} of every token of the texts and every prediction."""
    texts: tuple[Mapping[str, Any], ...]
    """{index, ids, text} of those that were scored."""
    skipped: tuple[Mapping[str, Any], ...]
    """{index, reason} of those that could not be."""
    scores: tuple[Score, ...]
    """The original first."""
    tokens: TokenTable | None
    """None where a record was written without it."""

    @property
    def n_targets(self) -> int:
        """Tokens that were predicted."""
        return sum(len(text["ids"]) - 1 for text in self.texts)

    def score(self, kind: str, *layers: int) -> Score:
        """The score of one operation, or of the "original".

        Raises:
            InputError: it was not run.
        """
        for score in self.scores:
            operation = score.operation
            found = ("original", ()) if operation is None else (operation.kind, operation.layers)
            if found == (kind, layers):
                return score
        names = ", ".join(score.name for score in self.scores)
        raise InputError(f"There is no {kind} {list(layers)}; there are {names}.")

    def to_json(self, *, tokens: bool = True) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/layer_operations/1.

        Args:
            tokens: with the loss of every token, which grows with tokens times operations.
        """
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            "texts": plain(self.texts),
            "skipped": plain(self.skipped),
            "scores": [_score_to_json(score) for score in self.scores],
            "tokens": plain(_values(self.tokens)) if tokens and self.tokens is not None else None,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LayerOperations:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; layer operations have "
                f"{SCHEMA!r}."
            )
        own = {field.name for field in fields(cls)}
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            vocab=record["vocab"],
            texts=tuple(record["texts"]),
            skipped=tuple(record["skipped"]),
            scores=tuple(_score_from_json(score) for score in record["scores"]),
            tokens=None if record["tokens"] is None else _tokens_from_json(record["tokens"]),
        )

    def to_original(self) -> dict[str, Any]:
        """The JSON of llm-layer-exchange-analysis, by its keys; see `original_export`.

        Raises:
            InputError: the tokens were left out of the record.
        """
        from lens_core.patching.original_export import original_export

        return original_export(self)


def _values(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _score_to_json(score: Score) -> dict[str, Any]:
    values, change = _values(score), score.change
    if score.operation is not None:
        values["operation"] = _values(score.operation)
    if change is not None:
        values["change"] = {**_values(change), "classes": [_values(c) for c in change.classes]}
    return plain(values)


def _score_from_json(record: Mapping[str, Any]) -> Score:
    values, change = _numbers(record), record["change"]
    if record["operation"] is not None:
        operation = record["operation"]
        values["operation"] = Operation(operation["kind"], tuple(operation["layers"]))
    if change is not None:
        known = {
            "classes": tuple(ClassChange(**_numbers(c)) for c in change["classes"]),
            "text_change": np.array(change["text_change"], dtype=np.float32),
        }
        values["change"] = Change(**{**_numbers(change), **known})
    return Score(**values)


_NULLABLE = ("operation", "change")


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with NaN for a number that was none."""
    return {
        name: float("nan") if value is None and name not in _NULLABLE else value
        for name, value in record.items()
    }


def _tokens_from_json(record: Mapping[str, Any]) -> TokenTable:
    tags = record.get("tags")
    return TokenTable(
        starts=np.array(record["starts"], dtype=np.int64),
        targets=np.array(record["targets"], dtype=np.int64),
        kinds=tuple(record["kinds"]),
        scripts=tuple(record["scripts"]),
        nll=np.array(record["nll"], dtype=np.float32),
        predicted=np.array(record["predicted"], dtype=np.int64),
        tags=None if tags is None else tuple(tags),
    )
