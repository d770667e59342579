"""The numbers that are shown, one a token: which layers, which heads, measured how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tabs.attention.choices import Look
from tabs.attention.session import Session, Side
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core.attention import AttentionViews

FORMATS = {
    "weight": "percent",
    "norm": "number",
    "rollout": "percent",
    "ratio": "times",
    "flow": "percent",
}


@dataclass(frozen=True, eq=False)
class Reading:
    """What every token gives to the query."""

    values: Float[np.ndarray, " source"] | None
    """None where the measure is not there; NaN where a token has no value."""
    reason: Any = None
    """Why it is not there."""
    sink: float | None = None
    """What goes to learned sinks, which are no tokens."""
    removed: float | None = None
    """What was taken out with the sinks."""
    divisor: Float[np.ndarray, " source"] | None = None
    """Where the values are ratios, what they were divided by."""

    def joined(self, at: list[int]) -> float | None:
        """The value of several tokens as one: their sum, or the ratio of sums."""
        assert self.values is not None
        part = self.values[at]
        if self.divisor is not None:
            below = self.divisor[at]
            total = float(below.sum())
            part = np.array([(part * below).sum() / total if total > 0 else np.nan])
        total = float(part.sum(dtype=np.float64))
        return total if np.isfinite(total) else None


def reading(session: Session, side: Side) -> Reading:
    """The chosen numbers of one side."""
    look, views = session.look, side.looked.views
    if views is None:
        return Reading(None, side.looked.reason)
    if look.measure == "weight":
        return _weights(views, look)
    if look.measure == "norm":
        if views.norms is None:
            return Reading(None, views.left_out.get("norms"))
        return Reading(_reduced(views.norms, views, look))
    if look.measure == "flow":
        name = "after" if side is session.after else "before"
        found = session.flow.get(name)
        if found is None:
            return Reading(None, phrase("attention.no_flow"))
        return Reading(found)
    rolled = views.rollout
    if rolled is None:
        return Reading(None, views.left_out.get("rollout"))
    fusion = "max" if look.head == "max" else "mean"
    if look.measure == "rollout":
        return Reading(rolled.shares[fusion])
    return Reading(rolled.ratio[fusion], divisor=rolled.baseline)


def _weights(views: AttentionViews, look: Look) -> Reading:
    """Weights of the chosen heads, with or without the tokens that are sinks."""
    rows, removed = views.rows.rows[:, 0], None
    if look.without_sinks and views.sinks.positions:
        rest = views.rows.without(views.sinks.positions)
        rows, removed = (
            rest.rows[:, 0],
            float(_reduced(rest.removed[:, 0, :, None], views, look)[0]),
        )
    mass = views.rows.sink_mass
    sink = None
    if mass is not None and removed is None:
        sink = float(_reduced(mass[:, 0, :, None], views, look)[0])
    return Reading(_reduced(rows, views, look), sink=sink, removed=removed)


def _reduced(
    values: Float[np.ndarray, "layer head source"], views: AttentionViews, look: Look
) -> Float[np.ndarray, " source"]:
    """One number a source: the chosen head, then the chosen layer."""
    if look.one_head is not None:
        by_layer = values[:, look.one_head]
    else:
        by_layer = values.max(1) if look.head == "max" else values.mean(1)
    if look.layers == "one":
        return by_layer[views.rows.layers.index(look.layer)]
    return by_layer.max(0) if look.layers == "max" else by_layer.mean(0)


def largest(session: Session, found: Reading, boxes: list[list[int]]) -> float:
    """The end of the colour scale: the largest value of what is no sink."""
    assert found.values is not None
    sinks = sinks_of(session.shown)
    plain = [at for at in boxes if not sinks.intersection(at)] or boxes
    known = [value for at in plain if (value := found.joined(at)) is not None]
    return max(known, default=0.0)


def sinks_of(side: Side) -> set[int]:
    """The tokens where heads rest that have nothing to do."""
    views = side.looked.views
    return set() if views is None else set(views.sinks.positions)


def groups(tokens: list[dict[str, Any]], *, join: bool) -> list[list[int]]:
    """Positions that are one box: the tokens of a character where they are joined."""
    found: list[list[int]] = []
    for token in tokens:
        same = found and tokens[found[-1][0]]["cluster"] == token["cluster"]
        if join and same:
            found[-1].append(token["i"])
        else:
            found.append([token["i"]])
    return found
