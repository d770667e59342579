"""How much of the roots every node and edge carries, and which of them to show.

The roots hold 1 together. A node passes its influence down in proportion to the weights of its
edges; an MLP passes on all of it, since both of its edges carry the same contribution. What
enters a bias, a mixer, or a state without parts ends there, so token_influence + bias + mixer +
lost = 1. Pruning keeps the nodes and then the edges that hold a given share of the influence, as
circuit-tracer does (Ameisen et al., 2025); it changes no number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core.tree.nodes import LETTERS, Codes
from lens_core.tree.options import Pruning
from lens_core.tree.visiting import EdgeTable, Visit


@dataclass(frozen=True, eq=False)
class Influence:
    """What reaches the roots from where. All in shares of the roots."""

    codes: Int[np.ndarray, " node"]
    """Every node of the tree, bottom to top."""
    nodes: Float[np.ndarray, " node"]
    edges: Float[np.ndarray, " edge"]
    """What flows through each edge."""
    tokens: Float[np.ndarray, " position"]
    bias: float
    mixer: float
    lost: float
    """Entered states without edges, was cut off by the threshold without rescaling, or, with
    "logit", cancelled between the heads of an edge."""


def influence(visit: Visit, n_positions: int, *, magnitude: bool = False) -> Influence:
    """The influence of all nodes and edges of a tree.

    `magnitude` counts negative weights by their size, where shares of a logit cancel each other.
    """
    edges, codes = visit.edges, Codes(n_positions)
    nodes = np.unique(np.concatenate([visit.roots, edges.src, edges.dst]))
    src, dst = np.searchsorted(nodes, edges.src), np.searchsorted(nodes, edges.dst)
    letter = codes.level(nodes) % len(LETTERS)
    weight = edges.weight.astype(np.float64)
    weight = np.abs(weight) if magnitude else weight
    weight[letter[dst] == LETTERS.index("M")] = 1.0
    held = np.zeros(len(nodes))
    held[np.searchsorted(nodes, visit.roots)] = 1.0 / len(visit.roots)
    flow = _flow_down(held, src, dst, weight, levels=codes.level(edges.dst))
    passed = np.zeros(len(nodes))
    np.add.at(passed, dst, flow)
    tokens, bias, mixer = (letter == LETTERS.index(name) for name in "XBS")
    by_position = np.zeros(n_positions)
    by_position[nodes[tokens] % n_positions] = held[tokens]
    inner = ~(tokens | bias | mixer)
    return Influence(
        codes=nodes,
        nodes=held.astype(np.float32),
        edges=flow.astype(np.float32),
        tokens=by_position.astype(np.float32),
        bias=float(held[bias].sum()),
        mixer=float(held[mixer].sum()),
        lost=float((held - passed)[inner].sum()),
    )


def _flow_down(
    held: Float[np.ndarray, " node"],
    src: Int[np.ndarray, " edge"],
    dst: Int[np.ndarray, " edge"],
    weight: Float[np.ndarray, " edge"],
    *,
    levels: Int[np.ndarray, " edge"],
) -> Float[np.ndarray, " edge"]:
    """Pass the influence down, one level after another; `held` grows on the way."""
    flow = np.zeros(len(src))
    order = np.argsort(-levels, kind="stable")
    starts = np.flatnonzero(np.diff(levels[order], prepend=-1))
    for chosen in np.split(order, starts[1:]):
        flow[chosen] = held[dst[chosen]] * weight[chosen]
        np.add.at(held, src[chosen], flow[chosen])
    return flow


def shown(visit: Visit, found: Influence, pruning: Pruning) -> Bool[np.ndarray, " edge"]:
    """The edges that pruning leaves, all of them connected with a root."""
    edges = visit.edges
    if pruning == Pruning():
        return np.ones(len(edges), bool)
    nodes = _largest_until(np.abs(found.nodes), pruning.nodes)
    nodes[np.searchsorted(found.codes, visit.roots)] = True
    src, dst = (np.searchsorted(found.codes, ends) for ends in (edges.src, edges.dst))
    kept = nodes[src] & nodes[dst]
    flow = np.where(kept, np.abs(found.edges), 0.0)
    kept &= _largest_until(flow, pruning.edges)
    if pruning.max_edges is not None and kept.sum() > pruning.max_edges:
        largest = np.argsort(-np.where(kept, flow, -1.0), kind="stable")[: pruning.max_edges]
        kept = np.zeros(len(edges), bool)
        kept[largest] = True
    return _connected(edges, kept, visit.roots)


def _largest_until(values: Float[np.ndarray, " n"], share: float) -> Bool[np.ndarray, " n"]:
    """The largest values that together hold a share of the sum."""
    if share >= 1.0:
        return np.ones(len(values), bool)
    order = np.argsort(-values, kind="stable")
    before = np.cumsum(values[order], dtype=np.float64) - values[order]
    chosen = np.zeros(len(values), bool)
    chosen[order] = before < share * values.sum(dtype=np.float64)
    return chosen


def _connected(
    edges: EdgeTable, kept: Bool[np.ndarray, " edge"], roots: Int[np.ndarray, " root"]
) -> Bool[np.ndarray, " edge"]:
    """The kept edges from which kept edges lead up to a root."""
    reached = set(roots.tolist())
    found = np.zeros(len(edges), bool)
    for index in np.argsort(-edges.dst, kind="stable"):
        if kept[index] and int(edges.dst[index]) in reached:
            found[index] = True
            reached.add(int(edges.src[index]))
    return found
