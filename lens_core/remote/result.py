"""The result of `remote_importance`, and its JSON form (schema lens_core/remote_importance/1)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lens_core.errors import InputError
from lens_core.records import plain
from lens_core.remote.estimate import Estimate
from lens_core.remote.observing import Difference
from lens_core.remote.units import Unit

SCHEMA = "lens_core/remote_importance/1"
STEP_SCHEMA = "lens_core/remote_importance_step/1"
_ENOUGH = 10
"""Noise values from which a p-value is worth giving."""


@dataclass(frozen=True)
class Noise:
    """What the same prompt changes when it is asked again."""

    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """0 where it was not measured."""
        return sum(self.values) / len(self.values) if self.values else 0.0

    @property
    def most(self) -> float:
        """The largest change, its sign left out."""
        return max(map(abs, self.values), default=0.0)

    def p_value(self, difference: float) -> float | None:
        """How often noise alone changes as much (a permutation test); None below 10 values."""
        if len(self.values) < _ENOUGH:
            return None
        as_much = sum(abs(value) >= difference for value in self.values)
        return (1 + as_much) / (1 + len(self.values))

    def to_json(self) -> dict[str, Any]:
        """Plain Python values; `chance` is how often a part without effect exceeds the noise."""
        n = len(self.values)
        return {
            "n": n,
            "mean": self.mean,
            "max": self.most,
            "chance": 1 / (n + 1) if n else None,
            "values": list(self.values),
        }


@dataclass(frozen=True)
class RemoteFeature:
    """One part of the prompt, and what masking it changes."""

    text: str
    char_start: int
    char_end: int
    importance: float
    """The change less the mean of the noise: nats in tiers 1 and 2 (negative: the answer becomes
    likelier without the part), a distance in tier 3. With shapley the part's share of the change
    without any part; `flip` and `answer` are then of the part alone, where that was asked, and
    p_value, token_scores, js and distances stay empty."""
    low: float
    """The least that it is, by the noise that was seen."""
    high: float | None
    """The most; None where only a bound is known, and `importance` is the least it can be."""
    flip: bool | None
    """Whether the model says something else; None where that is not shown."""
    answer: str | None
    """What it says then; None in tier 1."""
    above_noise: bool
    """Whether the change is larger than any that was seen for the same prompt."""
    p_value: float | None = None
    parent: int | None = None
    """The sentence that this word is of, as its place in the list."""
    mask: str = ""
    token_scores: tuple[float, ...] | None = None
    js: tuple[float, float] | None = None
    distances: Mapping[str, float] | None = None
    standard_error: float | None = None
    """Of a sampled Shapley value, over its orders; in the unit of `importance`."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return plain(asdict(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RemoteFeature:
        """Read back what `to_json` wrote."""
        pairs = {name: record[name] for name in ("token_scores", "js")}
        read = {name: None if value is None else tuple(value) for name, value in pairs.items()}
        return cls(**{**record, **read})


def feature(
    unit: Unit,
    found: Difference,
    noise: Noise,
    *,
    floor: float,
    mask: str,
    parent: int | None = None,
) -> RemoteFeature:
    """What was found of a unit, with the noise taken off."""
    bounded = math.isinf(found.upper)
    # Of a bound only what it says for sure counts: "at least less than nothing" says nothing.
    change = found.value if bounded else abs(found.value)
    importance = found.value - noise.mean
    return RemoteFeature(
        text=unit.text,
        char_start=unit.start,
        char_end=unit.end,
        importance=importance,
        low=found.value - max(noise.values, default=0.0),
        high=None if bounded else found.upper - min(noise.values, default=0.0),
        flip=found.flip,
        answer=found.answer,
        above_noise=change > max(noise.most, floor),
        p_value=noise.p_value(change),
        parent=parent,
        mask=mask,
        token_scores=found.token_scores,
        js=found.js,
        distances=found.distances,
    )


@dataclass(frozen=True)
class RemoteStep:
    """How far a run is."""

    stage: str
    """estimate (nothing is sent yet), connected, noise or features."""
    done: int
    """Prompts of this run that were answered, of `total`."""
    total: int
    estimate: Estimate
    tier: int | None
    requests: int
    """Sent so far, failed tries counted."""
    cached: int
    """Answers so far that were kept from before."""
    features: tuple[RemoteFeature, ...]
    """Those that are done, by their places in the prompt."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, as they are streamed."""
        record = {one.name: getattr(self, one.name) for one in fields(self)}
        record["estimate"] = self.estimate.to_json()
        record["features"] = [one.to_json() for one in self.features]
        return {"schema": STEP_SCHEMA, **record}


@dataclass(frozen=True)
class Sharing:
    """How Shapley values were made, and whether they sum to what there is to share."""

    orders: int | None
    """Drawn at random; None where all sets were taken, and the values are exact."""
    sets: int
    """Sets of parts that have a value, the empty one and the full one counted."""
    value: float
    """Of the prompt itself: 0, since values are minus a change."""
    baseline_value: float
    """Of the prompt without any part."""
    completeness_gap: float
    """Sum of the scores minus (value - baseline_value), in the unit of the scores."""


@dataclass(frozen=True, eq=False)
class RemoteImportance:
    """What matters in a prompt to a model behind an API."""

    header: dict[str, Any]
    method: dict[str, Any]
    """How it was made: score, units, mask, temperature, ..."""
    tier: int
    answer: dict[str, Any]
    """What was compared with: text, and tokens and log_p (nats) where they are shown."""
    features: tuple[RemoteFeature, ...]
    """By their places in the prompt; the words of a sentence follow it."""
    noise: Noise
    requests: int
    """Sent, failed tries counted; 0 where everything was kept from before."""
    cached: int
    usage: dict[str, int]
    """Tokens that the endpoint counted, of what was sent."""
    estimate: Estimate
    sharing: Sharing | None = None
    """With shapley only."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, ready for `json.dumps(..., allow_nan=False)`."""
        return {
            **plain(self.header),
            "method": plain(self.method),
            "tier": self.tier,
            "answer": plain(self.answer),
            "features": [one.to_json() for one in self.features],
            "noise": plain(self.noise.to_json()),
            "requests": self.requests,
            "cached": self.cached,
            "usage": plain(self.usage),
            "estimate": self.estimate.to_json(),
            "sharing": None if self.sharing is None else asdict(self.sharing),
        }

    def to_csv(self) -> str:
        """One row a part of the prompt. Texts are JSON strings, so that none starts a formula."""
        return features_csv(self.features)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RemoteImportance:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; an importance has {SCHEMA!r}."
            )
        own = {"method", "tier", "answer", "features", "noise", "requests", "cached", "usage"}
        own |= {"estimate", "sharing"}
        sharing = record.get("sharing")
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            method=record["method"],
            tier=record["tier"],
            answer=record["answer"],
            features=tuple(RemoteFeature.from_json(one) for one in record["features"]),
            noise=Noise(tuple(record["noise"]["values"])),
            requests=record["requests"],
            cached=record["cached"],
            usage=record["usage"],
            estimate=Estimate(**record["estimate"]),
            sharing=None if sharing is None else Sharing(**sharing),
        )


_COLUMNS = ("char_start", "char_end", "text", "importance", "low", "high", "above_noise")
_COLUMNS += ("p_value", "flip", "answer", "parent", "mask", "standard_error")


def features_csv(features: Sequence[RemoteFeature]) -> str:
    """The table of `RemoteImportance.to_csv`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in features:
        record = one.to_json()
        for name in ("text", "answer", "mask"):
            if record[name] is not None:
                record[name] = json.dumps(record[name], ensure_ascii=False)
        writer.writerow(["" if record[name] is None else record[name] for name in _COLUMNS])
    return out.getvalue()
