"""The statistics of many trees as a result, and its JSON form (lens_core/graph_statistics/1)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core import records
from lens_core.amounts import Measure
from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.records import plain
from lens_core.tree.activity import REST, Active, PromptActivity
from lens_core.tree.intervals import NORMAL

SCHEMA = "lens_core/graph_statistics/1"
_MEASURES = ("weight_active", "weight", "influence_active", "influence")
_OPTIONS = ("root", "metric", "granularity", "bias", "numerics", "threshold", "template", "special")


@dataclass(frozen=True, eq=False)
class Estimate:
    """A frequency or mean with the ends of its 95 % interval; NaN where there is none.

    In float64, unlike results of a single run: a variance is the small difference of large sums
    over many prompts, and a few numbers for each head take no room that is worth rounding them.
    """

    mean: Float[np.ndarray, "*component"]
    low: Float[np.ndarray, "*component"]
    high: Float[np.ndarray, "*component"]

    def to_json(self) -> dict[str, Any]:
        """{"mean", "low", "high"}."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Estimate:
        """What `to_json` gave."""
        fields = Estimate.__dataclass_fields__
        return Estimate(*(np.array(record[name], np.float64) for name in fields))


@dataclass(frozen=True, eq=False)
class ComponentStatistics:
    """All heads [layer, head], or all MLPs [layer]."""

    active: Int[np.ndarray, "*component"]
    """In how many prompts."""
    frequency: Estimate
    """Share of the prompts in which it is active, 0 to 1."""
    weight_active: Estimate
    """Mean contribution to the states at which it is active, over the prompts in which it is."""
    weight: Estimate
    """The same over all prompts, 0 where it is not active."""
    influence_active: Estimate
    """Mean share of the root that passes through it, over the prompts in which it is active."""
    influence: Estimate
    """The same over all prompts."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, by name."""
        estimates = {name: getattr(self, name).to_json() for name in ("frequency", *_MEASURES)}
        return {"active": self.active.tolist(), **estimates}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> ComponentStatistics:
        """What `to_json` gave."""
        names = ("frequency", *_MEASURES)
        return ComponentStatistics(
            np.array(record["active"], np.int64),
            *(Estimate.from_json(record[name]) for name in names),
        )


@dataclass(frozen=True, eq=False)
class GraphStatistics:
    """How often heads and MLPs are active in the trees of many prompts, and how much they add."""

    header: dict[str, Any]
    options: dict[str, Any]
    """root, metric, granularity, bias, numerics, threshold {tau, mode, renormalise, merge_self},
    template and special, as they were used."""
    n_prompts: int
    """Prompts that were read; those left out are not among them."""
    n_tokens: int
    """Of these prompts together."""
    skipped: tuple[tuple[int, str], ...]
    """Prompts that were left out, by place among all, and why."""
    heads: ComponentStatistics
    """[layer, head]; NaN in layers without an attention pattern."""
    mlps: ComponentStatistics
    """[layer]; NaN in layers without an MLP."""
    rest: Estimate
    """Mean shares of the root that end in `REST`: biases, mixers, lost, the first token."""

    def component_list(self) -> list[dict[str, Any]]:
        """Every head and MLP as one flat record, the largest mean influence first.

        {"component": "head" or "mlp", "layer", "head" (None for an MLP), "active", "frequency",
        "frequency_low", "frequency_high", "weight_active", ...}
        """
        found = [
            {"component": kind, "layer": place[0], "head": place[1] if len(place) > 1 else None}
            | {"active": int(group.active[place])}
            | _flat(group, place)
            for kind, group in (("head", self.heads), ("mlp", self.mlps))
            for place in np.ndindex(group.active.shape)
            if not math.isnan(group.frequency.mean[place])
        ]
        return sorted(found, key=lambda one: -abs(one["influence"]))

    def to_csv(self) -> str:
        """`component_list` as CSV, one row a head or MLP; numbers are exact, empty for none."""
        out = io.StringIO()
        rows = self.component_list()
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
        return out.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_statistics/1."""
        return {
            **plain(self.header),
            **plain(self.options),
            "counts": {"prompts": self.n_prompts, "tokens": self.n_tokens},
            "skipped": [{"index": index, "reason": reason} for index, reason in self.skipped],
            "heads": self.heads.to_json(),
            "mlps": self.mlps.to_json(),
            "rest": {"kinds": list(REST), **self.rest.to_json()},
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> GraphStatistics:
        """The statistics that `to_json` gave; unknown keys are ignored.

        Raises:
            InputError: the record is of another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(f'The schema is "{record.get("schema")}"; this reads "{SCHEMA}".')
        header = records.header("", model={}, self_check={})
        return GraphStatistics(
            header={key: record[key] for key in header if key in record},
            options={key: record[key] for key in _OPTIONS if key in record},
            n_prompts=record["counts"]["prompts"],
            n_tokens=record["counts"]["tokens"],
            skipped=tuple((one["index"], one["reason"]) for one in record["skipped"]),
            heads=ComponentStatistics.from_json(record["heads"]),
            mlps=ComponentStatistics.from_json(record["mlps"]),
            rest=Estimate.from_json(record["rest"]),
        )


class Sums:
    """The sums that the statistics need, so that no prompt has to be kept."""

    def __init__(self, n_layers: int, n_heads: int) -> None:
        self.seen: set[int] = set()
        """Places of the prompts that were added, those left out included."""
        self._tokens: list[int] = []
        self._skipped: dict[int, str] = {}
        self._heads = _Totals((n_layers, n_heads))
        self._mlps = _Totals((n_layers,))
        self._rest: list[list[float]] = []

    def add(self, activity: PromptActivity) -> None:
        """Count one more prompt."""
        self.seen.add(activity.index)
        if activity.skipped is not None:
            self._skipped[activity.index] = activity.skipped
            return
        self._tokens.append(activity.n_tokens)
        self._heads.add(activity.heads)
        self._mlps.add(activity.mlps)
        self._rest.append([activity.rest[name] for name in REST])

    def result(
        self, loaded: LoadedModel, options: dict[str, Any], timing: Mapping[str, float]
    ) -> GraphStatistics:
        """The statistics of all prompts that were added.

        Raises:
            InputError: all of them were left out.
        """
        count = len(self._tokens)
        if not count:
            first = min(self._skipped)
            raise InputError(
                f"None of {len(self._skipped)} prompts can be read. The first: "
                f"{self._skipped[first]}"
            )
        layers = loaded.anatomy.layers
        opaque = loaded.self_check.layers_without_attention
        no_mlp = [at for at, layer in enumerate(layers) if layer.mlp_add is None]
        signed = Measure(options["metric"]).signed
        rest = np.array(self._rest)
        shares = _mean(rest.sum(0), (rest**2).sum(0), np.full(len(REST), count), signed=signed)
        header = loaded.header("graph_statistics", timing=timing)
        header["input"] = {"prompts": len(self.seen)}
        return GraphStatistics(
            header=header,
            options=options,
            n_prompts=count,
            n_tokens=sum(self._tokens),
            skipped=tuple(sorted(self._skipped.items())),
            heads=self._heads.statistics(count, opaque, signed=signed),
            mlps=self._mlps.statistics(count, no_mlp, signed=signed),
            rest=shares,
        )


class _Totals:
    """Counts, sums and sums of squares of heads or MLPs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.active = np.zeros(shape, np.int64)
        self.sums = {name: (np.zeros(shape), np.zeros(shape)) for name in ("weight", "influence")}

    def add(self, found: Active) -> None:
        self.active += found.states > 0
        for name, (total, squares) in self.sums.items():
            values = getattr(found, name)
            total += values
            squares += values**2

    def statistics(self, count: int, without: Any, *, signed: bool) -> ComponentStatistics:
        """The estimates; NaN in the layers that have no such component."""
        found = {"frequency": _frequency(self.active, count)}
        every = np.full(self.active.shape, count)
        for name, (total, squares) in self.sums.items():
            found[f"{name}_active"] = _mean(total, squares, self.active, signed=signed)
            found[name] = _mean(total, squares, every, signed=signed)
        for estimate in found.values():
            for values in (estimate.mean, estimate.low, estimate.high):
                values[list(without)] = np.nan
        return ComponentStatistics(self.active, **found)


def _frequency(active: Int[np.ndarray, "*component"], count: int) -> Estimate:
    """Wilson's interval, which stays within 0 and 1 and has a width even at its ends."""
    share, square = active / count, NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    half = NORMAL * spread / (1 + square / count)
    return Estimate(share, np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0))


def _mean(
    total: Float[np.ndarray, "*component"],
    squares: Float[np.ndarray, "*component"],
    count: Int[np.ndarray, "*component"],
    *,
    signed: bool,
) -> Estimate:
    """Student's interval; a single value has none, and no value has no mean either.

    Values without signs lie between 0 and 1, and so does their interval.
    """
    # Here, for importing it takes longer than a graph.
    from scipy.special import stdtrit

    one, two = np.maximum(count, 1), np.maximum(count, 2)
    mean = np.where(count > 0, total / one, np.nan)
    variance = np.maximum(squares - total**2 / one, 0.0) / (two - 1)
    half = stdtrit(two - 1, 0.975) * np.sqrt(variance / two)
    half = np.where(count > 1, half, np.nan)
    low, high = mean - half, mean + half
    if not signed:
        low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    return Estimate(mean, low, high)


def _flat(group: ComponentStatistics, place: tuple[int, ...]) -> dict[str, float]:
    """The estimates of one component by name."""
    found = {}
    for name in ("frequency", *_MEASURES):
        estimate: Estimate = getattr(group, name)
        found[name] = float(estimate.mean[place])
        found[f"{name}_low"] = float(estimate.low[place])
        found[f"{name}_high"] = float(estimate.high[place])
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return value
