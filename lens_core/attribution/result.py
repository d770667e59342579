"""How much each part of a prompt matters to a prediction (schema lens_core/attribution/1)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core.attribution.features import Feature
from lens_core.bounds import LARGEST_GAP
from lens_core.errors import InputError
from lens_core.records import plain

SCHEMA = "lens_core/attribution/1"


@dataclass(frozen=True, eq=False)
class AttributionStep:
    """How far an attribution is."""

    done: int
    total: int
    """Of variants to run, or of passes through the gradient; may grow where accuracy asks for
    more."""
    scores: Float[np.ndarray, " feature"]
    """As far as they are known; NaN elsewhere."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """What two features do together that neither does alone.

    I_ij = f(x) - f(x without i) - f(x without j) + f(x without both).
    """

    features: Int[np.ndarray, " k"]
    """Indices of the features with the largest scores."""
    values: Float[np.ndarray, "k k"]
    """Symmetric, in the unit of the scores; NaN on the diagonal."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """One score for every feature of a prompt, and how far to trust them."""

    header: Mapping[str, Any]
    vocab: Mapping[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs."""
    method: str
    score: str
    """log_p (nats), contrast (logits), kl (nats) or flip (0 or 1)."""
    params: Mapping[str, Any]
    """The options of the method, with those it chose itself."""
    query: int
    """The target is predicted after this position."""
    target_ids: Int[np.ndarray, " target"]
    foil: int | None
    target_log_p: Float[np.ndarray, " target"]
    """Of the unchanged prompt, in nats."""
    features: tuple[Feature, ...]
    scores: Float[np.ndarray, " feature"]
    """Positive where the feature speaks for the target. 0 behind the query."""
    token_scores: Float[np.ndarray, "target feature"] | None
    """The scores of every target token; they sum to `scores`. None where the method has one value
    only."""
    kl: Float[np.ndarray, " feature"] | None
    """KL(original || without the feature) of the next token, in nats; with occlusion only."""
    flips: Bool[np.ndarray, " feature"] | None
    """Whether the next token is another one without the feature; with occlusion only."""
    standard_errors: Float[np.ndarray, " feature"] | None
    """Of sampled scores."""
    interactions: Interactions | None
    value: float
    """f(x): the score's value of the unchanged prompt."""
    baseline_value: float | None
    """f without any feature; None where that cannot be run."""
    forwards: int
    """Rows that went through the model."""

    @property
    def completeness_gap(self) -> float | None:
        """Sum of the scores minus (value - baseline_value), in the unit of the scores."""
        if self.baseline_value is None:
            return None
        return float(self.scores.sum(dtype=np.float64)) - (self.value - self.baseline_value)

    @property
    def relative_gap(self) -> float | None:
        """The size of the gap in units of |value - baseline_value|; None where that is 0."""
        gap = self.completeness_gap
        if gap is None or self.baseline_value is None or self.value == self.baseline_value:
            return None
        return abs(gap) / abs(self.value - self.baseline_value)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, ready for `json.dumps(..., allow_nan=False)`."""
        pairs = self.interactions
        return {
            **plain(self.header),
            "vocab": dict(self.vocab),
            "method": self.method,
            "score": self.score,
            "params": plain(self.params),
            "query": self.query,
            "target": {
                "ids": plain(self.target_ids),
                "foil": self.foil,
                "log_p": plain(self.target_log_p),
            },
            "features": [feature.to_json() for feature in self.features],
            "scores": plain(self.scores),
            "token_scores": plain(self.token_scores),
            "kl": plain(self.kl),
            "flips": plain(self.flips),
            "standard_errors": plain(self.standard_errors),
            "interactions": None
            if pairs is None
            else {"features": plain(pairs.features), "values": plain(pairs.values)},
            "value": plain(self.value),
            "baseline_value": plain(self.baseline_value),
            "completeness_gap": {
                "absolute": plain(self.completeness_gap),
                "relative": plain(self.relative_gap),
                "large": None if self.relative_gap is None else self.relative_gap > LARGEST_GAP,
            },
            "forwards": self.forwards,
        }

    def to_csv(self) -> str:
        """One row a feature: its place, text and scores, then one column a target token.

        Texts are JSON strings: every character shows, and none starts a formula in a spreadsheet.
        Numbers are exact; what was not measured is empty.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        targets = [] if self.token_scores is None else list(self.token_scores)
        names = [f"target_{index}" for index in range(len(targets))]
        head = ("feature", "start", "stop", "text", "score", "standard_error", "kl", "flip")
        writer.writerow([*head, *names])
        for index, feature in enumerate(self.features):
            columns = [self.scores, self.standard_errors, self.kl, self.flips, *targets]
            text = json.dumps(feature.text, ensure_ascii=False)
            numbers = [_cell(column, index) for column in columns]
            writer.writerow([index, feature.start, feature.stop, text, *numbers])
        return out.getvalue()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Attribution:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; an attribution has {SCHEMA!r}."
            )
        own = {"vocab", "method", "score", "params", "query", "target", "features", "scores"}
        own |= {"token_scores", "kl", "flips", "standard_errors", "interactions", "value"}
        own |= {"baseline_value", "completeness_gap", "forwards"}
        pairs, target = record["interactions"], record["target"]
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            vocab=record["vocab"],
            method=record["method"],
            score=record["score"],
            params=record["params"],
            query=record["query"],
            target_ids=np.array(target["ids"], dtype=np.int64),
            foil=target["foil"],
            target_log_p=floats(target["log_p"]),
            features=tuple(Feature(**item) for item in record["features"]),
            scores=floats(record["scores"]),
            token_scores=_given(record["token_scores"]),
            kl=_given(record["kl"]),
            flips=None if record["flips"] is None else np.array(record["flips"], dtype=bool),
            standard_errors=_given(record["standard_errors"]),
            interactions=None
            if pairs is None
            else Interactions(np.array(pairs["features"], dtype=np.int64), floats(pairs["values"])),
            value=record["value"],
            baseline_value=record["baseline_value"],
            forwards=record["forwards"],
        )


def floats(values: Any) -> np.ndarray:
    """Numbers as float32; None as NaN."""
    return np.array(values, dtype=np.float32)


def _given(values: Any) -> np.ndarray | None:
    return None if values is None else floats(values)


def _cell(values: np.ndarray | None, index: int) -> str:
    """The exact value, empty where there is none."""
    if values is None:
        return ""
    value = values[index].item()
    return repr(value) if math.isfinite(value) else ""
