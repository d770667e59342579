"""Which heads and MLPs take part in the tree of one prompt, and how much passes through them.

A head is active at a state when one of its parts there is above the threshold: its part of the
edge with "per_edge", where whole edges are compared. Its weight there is the sum over sources, and
its influence what of the root passes through it; both count only where it is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core.tree.influence import Influence
from lens_core.tree.nodes import LETTERS, Codes
from lens_core.tree.options import Weighing
from lens_core.tree.visiting import ATTENTION, FFN, Visit

REST = ("bias", "mixer", "lost", "first_token")
"""Where influence can end besides the later tokens."""


@dataclass(frozen=True, eq=False)
class Active:
    """Heads [layer, head] or MLPs [layer] of one prompt."""

    states: Int[np.ndarray, "*component"]
    """At how many states of the tree it is active."""
    weight: Float[np.ndarray, "*component"]
    """Its mean contribution to these states; 0 where there is none."""
    influence: Float[np.ndarray, "*component"]
    """Share of the root that passes through it."""

    def to_json(self) -> list[list[int | float]]:
        """Those that are active: their place, states, weight and influence."""
        columns = (self.states, self.weight, self.influence)
        return [
            [*place, *(values[place].item() for values in columns)]
            for place in map(tuple, np.argwhere(self.states).tolist())
        ]

    @staticmethod
    def from_json(rows: list[list[int | float]], shape: tuple[int, ...]) -> Active:
        """What `to_json` gave."""
        found = Active(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))
        for *place, states, weight, influence in rows:
            at = tuple(map(int, place))
            found.states[at] = states
            found.weight[at], found.influence[at] = weight, influence
        return found


@dataclass(frozen=True, eq=False)
class PromptActivity:
    """One prompt of many: what is active in its tree, or why it was left out."""

    index: int
    """Its place among the prompts."""
    n_tokens: int
    skipped: str | None
    """Why it was left out; then the rest is empty."""
    heads: Active
    mlps: Active
    rest: Mapping[str, float]
    """Shares of the root that end in biases, mixers, the first token, or are lost."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, a few kilobytes: only what is active is listed."""
        if self.skipped is not None:
            return {"index": self.index, "skipped": self.skipped}
        return {
            "index": self.index,
            "n_tokens": self.n_tokens,
            "heads": self.heads.to_json(),
            "mlps": self.mlps.to_json(),
            "rest": dict(self.rest),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any], *, n_layers: int, n_heads: int) -> PromptActivity:
        """What `to_json` gave, for a model of this size."""
        return PromptActivity(
            record["index"],
            record.get("n_tokens", 0),
            record.get("skipped"),
            Active.from_json(record.get("heads", []), (n_layers, n_heads)),
            Active.from_json(record.get("mlps", []), (n_layers,)),
            dict(record.get("rest", {})),
        )


def skipped(index: int, reason: str, *, n_layers: int, n_heads: int) -> PromptActivity:
    """A prompt that was left out."""
    record = {"index": index, "skipped": reason}
    return PromptActivity.from_json(record, n_layers=n_layers, n_heads=n_heads)


def prompt_activity(
    index: int,
    visit: Visit,
    flow: Influence,
    *,
    options: Weighing,
    codes: Codes,
    n_layers: int,
    n_heads: int,
) -> PromptActivity:
    """What is active in one tree, whose edges list all their heads."""
    rest = (flow.bias, flow.mixer, flow.lost, float(flow.tokens[0]))
    return PromptActivity(
        index,
        codes.n_positions,
        None,
        _heads(visit, flow, options, codes, shape=(n_layers, n_heads)),
        _mlps(visit, flow, codes, n_layers),
        dict(zip(REST, rest, strict=True)),
    )


def _heads(
    visit: Visit, flow: Influence, options: Weighing, codes: Codes, *, shape: tuple[int, int]
) -> Active:
    edges = visit.edges.take(visit.edges.kind == ATTENTION)
    states, at = np.unique(edges.dst, return_inverse=True)
    edge, slot = np.nonzero(edges.heads >= 0)
    place = at[edge], edges.heads[edge, slot]
    part = edges.head_weight[edge, slot].astype(np.float64)
    weight, active = np.zeros((len(states), shape[1])), np.zeros((len(states), shape[1]), bool)
    np.add.at(weight, place, part)
    # What "per_part" leaves has been above the threshold, even if it was rescaled since.
    least = options.threshold if options.mode == "per_edge" else 0.0
    np.logical_or.at(active, place, np.abs(part) > least)
    held = flow.nodes[np.searchsorted(flow.codes, states)].astype(np.float64)
    size = np.zeros_like(weight)
    np.add.at(size, place, np.abs(part) if options.measure.metric == "logit" else part)
    layer = codes.level(states) // len(LETTERS)
    return _by_layer(layer, active, weight, size * held[:, None], shape=shape)


def _mlps(visit: Visit, flow: Influence, codes: Codes, n_layers: int) -> Active:
    edges = visit.edges
    level = codes.level(edges.src)
    chosen = (edges.kind == FFN) & (level % len(LETTERS) == LETTERS.index("M"))
    weight = edges.weight[chosen].astype(np.float64)
    passed = flow.edges[chosen].astype(np.float64)
    layer = level[chosen] // len(LETTERS)
    return _by_layer(layer, np.ones(len(weight), bool), weight, passed, shape=(n_layers,))


def _by_layer(
    layer: Int[np.ndarray, " state"],
    active: Bool[np.ndarray, "state ..."],
    weight: Float[np.ndarray, "state ..."],
    influence: Float[np.ndarray, "state ..."],
    *,
    shape: tuple[int, ...],
) -> Active:
    """States as counts, mean weights and summed influence of each layer."""
    states, sums, through = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    np.add.at(states, layer, active)
    np.add.at(sums, layer, np.where(active, weight, 0.0))
    np.add.at(through, layer, np.where(active, influence, 0.0))
    return Active(states, sums / np.maximum(states, 1), through)
