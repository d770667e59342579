"""The difference of two graphs: of two prompts, or of one prompt before and after an edit.

The tokens of both prompts are put into common columns: what both begin with, what both end with,
what else they have in common, and the rest one by one from the left. Explained positions share a
column whatever their tokens are. Nodes are named by column, so I3_5 is the output of layer 3 at
column 5. Nothing is measured anew: an edge that one side does not have counts 0 there, also where
it just missed the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from lens_core import records
from lens_core.errors import InputError
from lens_core.tree.difference import NONE, OPTIONS, DifferenceEdges, GraphDifference, Sides
from lens_core.tree.nodes import Codes, Node
from lens_core.tree.options import pruning
from lens_core.tree.result import ContributionGraph

SAME_MODEL = ("class", "n_layers", "weights_sha256", "dtype", "quantization", "tokenizer_sha256")
"""What has to be the same in the "model" of two headers for their numbers to be compared."""
_REST = ("bias", "mixer", "lost")
_KIND_BITS = 3
_SRC_SHIFT = 33
"""An edge as one number: 30 bits for each of its ends, 3 for its kind."""


def graph_difference(
    a: ContributionGraph, b: ContributionGraph, *, max_edges: int | None = None
) -> GraphDifference:
    """What graph B has more than graph A, node by node and edge by edge.

    Args:
        a: a graph of `contribution_graph`, not pruned.
        b: another one of the same model and with the same options: of another prompt, or under
            other edits.
        max_edges: list so many edges at most, those whose influence differs most.

    Raises:
        InputError: graphs of different models, options, kinds of root, or pruned ones.
    """
    _check_alike(a, b)
    pruning(None, max_edges)
    columns = aligned(_ids(a), _ids(b), meet=_meeting(a, b))
    codes = Codes(len(columns[0]))
    coded = [_Coded.of(graph, codes, at) for graph, at in zip((a, b), columns, strict=True)]
    keys = np.unique(np.concatenate([side.keys for side in coded]))
    flow = Sides(*(_spread(keys, side.keys, side.graph.edges.influence) for side in coded))
    listed = _largest(flow.difference, max_edges)
    weight = Sides(*(_spread(keys, side.keys, side.graph.edges.weight) for side in coded))
    src, dst, kind = _ends(keys[listed])
    order = np.lexsort((kind, src, -dst))
    roots = np.unique(np.concatenate([side.roots for side in coded]))
    nodes = np.unique(np.concatenate([roots, src, dst]))
    return GraphDifference(
        header=_header(a, b),
        vocab={**a.vocab, **b.vocab},
        options=_options(a, b, max_edges),
        positions_a=columns[0],
        positions_b=columns[1],
        roots=tuple(codes.node(code).id for code in roots.tolist()),
        node_ids=tuple(codes.node(code).id for code in nodes.tolist()),
        node_influence=Sides(
            *(_spread(nodes, side.nodes, side.graph.nodes.influence) for side in coded)
        ),
        edges=DifferenceEdges(
            np.searchsorted(nodes, src[order]),
            np.searchsorted(nodes, dst[order]),
            kind[order],
            weight.take(listed).take(order),
            flow.take(listed).take(order),
        ),
        n_edges=len(keys),
        token_influence=Sides(*(_by_column(side.graph, side.positions) for side in coded)),
        rest={name: tuple(getattr(g, f"{name}_influence") for g in (a, b)) for name in _REST},
        final_ids=(int(a.final_ids[_end(a)]), int(b.final_ids[_end(b)])),
        final_p=(float(a.final_p[_end(a)]), float(b.final_p[_end(b)])),
    )


def aligned(
    a: Sequence[int], b: Sequence[int], *, meet: tuple[int, int] | None = None
) -> tuple[Int[np.ndarray, " column"], Int[np.ndarray, " column"]]:
    """The positions of two prompts in common columns; -1 where a column has none.

    `meet` names a position of each that share a column in any case.
    """
    if meet is None:
        pairs = _paired(a, b)
    else:
        at_a, at_b = meet
        pairs = [*_paired(a[:at_a], b[:at_b]), meet]
        after = _paired(a[at_a + 1 :], b[at_b + 1 :])
        pairs += [(_moved(i, at_a + 1), _moved(j, at_b + 1)) for i, j in after]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _paired(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Prefix, suffix, what else is the same in both, and the rest one by one from the left."""
    short = min(len(a), len(b))
    start = 0
    while start < short and a[start] == b[start]:
        start += 1
    end = 0
    while end < short - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle = a[start : len(a) - end], b[start : len(b) - end]
    pairs = [(at, at) for at in range(start)]
    pairs += [(_moved(i, start), _moved(j, start)) for i, j in _middle(*middle)]
    return pairs + [(len(a) - end + at, len(b) - end + at) for at in range(end)]


def _middle(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    done_a = done_b = 0
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    for at_a, at_b, size in matcher.get_matching_blocks():
        between = range(done_a, at_a), range(done_b, at_b)
        pairs += zip_longest(*between, fillvalue=NONE)
        pairs += [(at_a + step, at_b + step) for step in range(size)]
        done_a, done_b = at_a + size, at_b + size
    return pairs


def _moved(position: int, by: int) -> int:
    return position if position == NONE else position + by


@dataclass(frozen=True, eq=False)
class _Coded:
    """One graph with its nodes and edges as numbers that both graphs share."""

    graph: ContributionGraph
    positions: Int[np.ndarray, " column"]
    roots: Int[np.ndarray, " root"]
    nodes: Int[np.ndarray, " node"]
    keys: Int[np.ndarray, " edge"]

    @staticmethod
    def of(graph: ContributionGraph, codes: Codes, positions: np.ndarray) -> _Coded:
        column_of = {at: column for column, at in enumerate(positions.tolist()) if at != NONE}

        def code(node: Node) -> int:
            return int(codes.of(node.letter, node.layer, column_of[node.position])[0])

        nodes = np.array([code(node) for node in graph.nodes], np.int64)
        roots = np.array([code(Node.of(name)) for name in graph.options["root"]["nodes"]])
        edges = graph.edges
        keys = (nodes[edges.src] << _SRC_SHIFT) + (nodes[edges.dst] << _KIND_BITS) + edges.kind
        return _Coded(graph, positions, roots, nodes, keys)


def _ends(keys: Int[np.ndarray, " edge"]) -> tuple[np.ndarray, ...]:
    """Source, destination and kind of edges."""
    dst = (keys & ((1 << _SRC_SHIFT) - 1)) >> _KIND_BITS
    return keys >> _SRC_SHIFT, dst, keys & ((1 << _KIND_BITS) - 1)


def _spread(
    keys: Int[np.ndarray, " n"], own: Int[np.ndarray, " m"], values: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """The values of one graph in the places of both; those that are not listed fall away."""
    found = np.zeros(len(keys), np.float32)
    if len(keys):
        at = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
        known = keys[at] == own
        found[at[known]] = values[known]
    return found


def _largest(
    values: Float[np.ndarray, " n"], count: int | None
) -> Int[np.ndarray, " listed"] | Bool[np.ndarray, " n"]:
    if count is None or len(values) <= count:
        return np.ones(len(values), bool)
    return np.sort(np.argsort(-np.abs(values), kind="stable")[:count])


def _by_column(
    graph: ContributionGraph, positions: Int[np.ndarray, " column"]
) -> Float[np.ndarray, " column"]:
    here = graph.token_influence[positions]
    return np.where(positions == NONE, np.float32(0), here)


def _ids(graph: ContributionGraph) -> list[int]:
    return graph.header["input"]["ids"]


def _meeting(a: ContributionGraph, b: ContributionGraph) -> tuple[int, int] | None:
    """The positions that both explain, where each graph explains a single one."""
    at_a, at_b = (graph.options["root"]["token"] for graph in (a, b))
    return None if at_a is None or at_b is None else (at_a, at_b)


def _end(graph: ContributionGraph) -> int:
    """The position whose prediction is told."""
    at = graph.options["root"]["token"]
    return -1 if at is None else at


def _check_alike(a: ContributionGraph, b: ContributionGraph) -> None:
    """Refuse two graphs whose numbers do not mean the same.

    Raises:
        InputError: names what differs, and what to do.
    """
    models = [graph.header["model"] for graph in (a, b)]
    for key in SAME_MODEL:
        if models[0].get(key) != models[1].get(key):
            raise InputError(
                f"The graphs are of different models: {_named(models[0], key)} and "
                f"{_named(models[1], key)}. Make both with the same model."
            )
    for key in OPTIONS:
        one, other = a.options[key], b.options[key]
        if one != other:
            raise InputError(
                f"The graphs were made with {key} {_said(one, other)} and {_said(other, one)}. "
                "Make both with the same options."
            )
    kinds = [_root_kinds(graph) for graph in (a, b)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"The graphs explain {', '.join(kinds[0])} and {', '.join(kinds[1])} (without "
            "positions). Choose roots of the same kind and layer."
        )
    for name, graph in zip("AB", (a, b), strict=True):
        if len(graph.edges) < graph.n_edges:
            raise InputError(
                f"Graph {name} lists {len(graph.edges)} of its {graph.n_edges} edges. Make it "
                "without prune and max_edges; graph_difference takes max_edges itself."
            )


def _named(model: Mapping[str, Any], key: str) -> str:
    value = model.get(key)
    shown = value[:12] if isinstance(value, str) and key.endswith("sha256") else value
    return f'"{model.get("id")}" ({key} {shown})'


def _said(value: Any, other: Any) -> str:
    """A value, or of a record what is different in it."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return ", ".join(f"{key} {value[key]}" for key in value if value[key] != other.get(key))
    return str(value)


def _root_kinds(graph: ContributionGraph) -> list[str]:
    nodes = [Node.of(name) for name in graph.options["root"]["nodes"]]
    return sorted({f"{node.letter}{node.layer}" for node in nodes})


def _options(a: ContributionGraph, b: ContributionGraph, max_edges: int | None) -> dict[str, Any]:
    own = {key: {"a": a.options[key], "b": b.options[key]} for key in ("root", "target")}
    return {key: a.options[key] for key in OPTIONS} | own | {"max_edges": max_edges}


def _header(a: ContributionGraph, b: ContributionGraph) -> dict[str, Any]:
    warnings = [f"{name}: {said}" for name, g in (("A", a), ("B", b)) for said in _new(g, a, name)]
    if a.options["target"] != b.options["target"]:
        warnings.append(
            "The shares are of the logits of different tokens: of each graph's own target."
        )
    header = records.header(
        "graph_difference",
        model=a.header["model"],
        self_check=a.header["self_check"],
        warnings=warnings,
    )
    header["input"] = {"a": a.header["input"], "b": b.header["input"]}
    header["edit"] = {"a": a.header["edit"], "b": b.header["edit"]}
    return header


def _new(graph: ContributionGraph, a: ContributionGraph, name: str) -> list[str]:
    """The warnings of a graph; those of B that A has too are said once."""
    said = graph.header["warnings"]
    return said if name == "A" else [one for one in said if one not in a.header["warnings"]]
