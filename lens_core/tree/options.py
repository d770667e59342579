"""The arguments of the graph, checked: a wrong one is named with what it can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lens_core.amounts import Measure
from lens_core.errors import InputError
from lens_core.lens.options import one_of, target_id
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Node
from lens_core.tree.run import GraphRun

MODES = ("per_part", "per_edge")
BIASES = ("part", "ignore")
GRANULARITIES = ("head", "source")
ALL = "all"
"""The root that stands for the outputs of all positions."""


@dataclass(frozen=True)
class Weighing:
    """How amounts become the weights of edges."""

    measure: Measure
    bias: str = "part"
    threshold: float = 0.04
    mode: str = "per_part"
    """What is compared with the threshold: each (source, head), or each edge."""
    renormalise: bool = True
    """Whether what is left is divided by its sum."""
    merge_self: bool = False
    """Whether attention to the own position and the residual are one edge."""
    granularity: str = "head"
    """What is a part of attention: each (source, head), or each source with its heads added up."""


@dataclass(frozen=True)
class Pruning:
    """Which part of a tree to show."""

    nodes: float = 1.0
    """Keep the most influential nodes until they hold this share of all influence."""
    edges: float = 1.0
    """The same for edges."""
    max_edges: int | None = None


def weighing(
    measure: Measure,
    *,
    bias: str,
    threshold: int | float,
    mode: str,
    renormalise: bool | None,
    merge_self: bool,
    granularity: str = "head",
) -> Weighing:
    """The options that turn amounts into weights.

    Raises:
        InputError: one of them is outside its range.
    """
    one_of("mode", mode, MODES)
    one_of("bias", bias, BIASES)
    one_of("granularity", granularity, GRANULARITIES)
    number("threshold", threshold, 0.0, 1.0)
    if renormalise and measure.signed:
        raise InputError(
            f'The shares of metric "{measure.metric}" have signs, so what is left after the '
            "threshold can sum to almost nothing; leave renormalise out."
        )
    if renormalise is None:
        renormalise = mode == "per_part" and not measure.signed
    return Weighing(
        measure, bias, float(threshold), mode, bool(renormalise), bool(merge_self), granularity
    )


def pruning(prune: Sequence[int | float] | None, max_edges: int | None) -> Pruning:
    """What of the tree to show.

    Raises:
        InputError: a share outside 0 to 1, or fewer than 1 edge.
    """
    shares = (1.0, 1.0) if prune is None else tuple(prune)
    if len(shares) != 2:
        raise InputError(f"prune is {shares}; give two shares, of nodes and of edges.")
    for share in shares:
        number("prune", share, 0.0, 1.0)
    if max_edges is not None and (isinstance(max_edges, bool) or max_edges < 1):
        raise InputError(f"max_edges is {max_edges!r}; it can be 1 or more, or None.")
    return Pruning(float(shares[0]), float(shares[1]), max_edges)


def number(what: str, value: Any, least: float, most: float) -> float:
    """`value` as a number in a range.

    Raises:
        InputError: it is none, or lies outside.
    """
    real = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not real or not math.isfinite(value):
        raise InputError(f"{what} is {value!r}; it must be a number.")
    if not least <= value <= most:
        raise InputError(f"{what} is {value}; it can be {least:g} to {most:g}.")
    return float(value)


def root_nodes(loaded: LoadedModel, root: Any, length: int) -> tuple[Node, ...]:
    """The nodes that a graph explains, without repetitions.

    Raises:
        InputError: a position outside the prompt, or a node that this model does not have.
    """
    if isinstance(root, str) and root == ALL:
        return tuple(Node("I", loaded.n_layers - 1, at) for at in range(length))
    several = isinstance(root, (list, tuple))
    if several and not root:
        raise InputError('root is empty; give a position, a node such as "I3_5", or "all".')
    chosen = root if several else [root]
    return tuple(dict.fromkeys(_root(loaded, one, length) for one in chosen))


def _root(loaded: LoadedModel, root: Any, length: int) -> Node:
    if isinstance(root, str):
        node = check_node(loaded, root, length)
        if node.letter in "BS":
            raise InputError(f"{root} has no parts to explain; choose an X, A, M or I node.")
        return node
    if isinstance(root, bool) or not isinstance(root, (int, np.integer)):
        raise InputError(f"root is {root!r}; give a position or a node such as I3_5.")
    if not -length <= root < length:
        raise InputError(f"root is {root}; the prompt has positions {-length} to {length - 1}.")
    return Node("I", loaded.n_layers - 1, int(root) % length)


def check_node(loaded: LoadedModel, name: str, length: int) -> Node:
    """The node of a name, when the model and the prompt have it.

    Raises:
        InputError: they do not.
    """
    node = Node.of(name)
    if node.layer >= loaded.n_layers:
        raise InputError(f"{name}: {loaded.facts.id} has layers 0 to {loaded.n_layers - 1}.")
    if node.position >= length:
        raise InputError(f"{name}: the prompt has positions 0 to {length - 1}.")
    parts = loaded.anatomy.layers[node.layer]
    if node.letter == "A" and not parts.has_mid:
        raise InputError(
            f"{name}: layer {node.layer} of {loaded.facts.id} adds attention and MLP at once, so "
            f"it has no state after attention; use I{node.layer}_{node.position}."
        )
    if node.letter == "M" and parts.mlp_add is None:
        raise InputError(f"{name}: layer {node.layer} of {loaded.facts.id} has no MLP.")
    if node.letter == "S" and node.layer not in loaded.self_check.layers_without_attention:
        raise InputError(f"{name}: layer {node.layer} of {loaded.facts.id} has no opaque mixer.")
    return node


def measured(
    loaded: LoadedModel,
    run: GraphRun,
    position: int | None,
    *,
    metric: str,
    numerics: str,
    target: int | str | None,
    foil: int | str | None,
) -> Measure:
    """The measure, with the model's own prediction at `position` as target where none is given.

    Raises:
        InputError: an argument outside its range, or a token that belongs to another metric.
        NotExactError: parts cannot be read as logits in this model.
    """
    if metric != "logit":
        if target is not None or foil is not None:
            raise InputError(f'target and foil belong to metric "logit"; it is "{metric}".')
        return Measure(metric, numerics)
    loaded.require("attribution")
    if target is None and position is None:
        raise InputError("The roots end at several positions; name the target of the logit.")
    wanted = run.prediction.ids[position] if target is None else target_id(loaded, target)
    against = None if foil is None else target_id(loaded, foil)
    return Measure(metric, numerics, int(wanted), against)
