"""The difference of two graphs as a result, and its JSON form (lens_core/graph_difference/1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core import records
from lens_core.errors import InputError
from lens_core.records import plain
from lens_core.tree.exports import difference_table
from lens_core.tree.nodes import Node
from lens_core.tree.visiting import EDGE_KINDS

SCHEMA = "lens_core/graph_difference/1"
OPTIONS = ("metric", "granularity", "bias", "numerics", "threshold")
NONE = -1
"""The position of a column that has no token on this side."""


@dataclass(frozen=True, eq=False)
class Sides:
    """One quantity of both graphs; 0 where a graph does not have the node or edge."""

    a: Float[np.ndarray, " n"]
    b: Float[np.ndarray, " n"]

    @property
    def difference(self) -> Float[np.ndarray, " n"]:
        """What B has more than A."""
        return self.b - self.a

    def take(self, chosen: np.ndarray) -> Sides:
        """Some of the values, by mask or index."""
        return Sides(self.a[chosen], self.b[chosen])

    def to_json(self) -> dict[str, Any]:
        """{"a", "b", "difference"}, each a list."""
        found = {"a": self.a, "b": self.b, "difference": self.difference}
        return {name: plain(values) for name, values in found.items()}


@dataclass(frozen=True, eq=False)
class DifferenceEdges:
    """The edges of either graph as columns; `src` and `dst` are places in the list of nodes."""

    src: Int[np.ndarray, " edge"]
    dst: Int[np.ndarray, " edge"]
    kind: Int[np.ndarray, " edge"]
    """Place in `EDGE_KINDS`: residual, attention, ffn, bias, mixer."""
    weight: Sides
    """Contribution of the source to the destination."""
    influence: Sides
    """Share of the roots that comes through the edge."""

    def __len__(self) -> int:
        return len(self.src)


@dataclass(frozen=True, eq=False)
class GraphDifference:
    """Two graphs on common nodes: what each has, and what B has more than A."""

    header: dict[str, Any]
    """`input` and `edit` hold those of both graphs as {"a", "b"}."""
    vocab: dict[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs in either."""
    options: dict[str, Any]
    """metric, granularity, bias, numerics and threshold of both; root and target as {"a", "b"},
    roots by the positions of their own prompts; max_edges."""
    positions_a: Int[np.ndarray, " column"]
    """The position in prompt A that stands in each column; -1 where there is none."""
    positions_b: Int[np.ndarray, " column"]
    roots: tuple[str, ...]
    """The explained nodes of either, by column."""
    node_ids: tuple[str, ...]
    """By column, from bottom to top."""
    node_influence: Sides
    edges: DifferenceEdges
    n_edges: int
    """Edges of both graphs together; fewer are listed with `max_edges`."""
    token_influence: Sides
    """By column."""
    rest: dict[str, tuple[float, float]]
    """Shares that ended in biases, mixers, or were lost, each of A and B."""
    final_ids: tuple[int, int]
    """What the model predicts after A and B, at the root, or at the end where there are several."""
    final_p: tuple[float, float]

    def edge_list(self) -> list[dict[str, Any]]:
        """Every edge as {"src", "dst", "kind", "w", "w_a", "w_b", "influence", "influence_a", ...}.

        "w" and "influence" are B's less A's; 0 stands for an edge that a graph does not have.
        """
        ids, edges = self.node_ids, self.edges
        columns = {
            "w": edges.weight.difference,
            "w_a": edges.weight.a,
            "w_b": edges.weight.b,
            "influence": edges.influence.difference,
            "influence_a": edges.influence.a,
            "influence_b": edges.influence.b,
        }
        ends = zip(edges.src.tolist(), edges.dst.tolist(), edges.kind.tolist(), strict=True)
        values = zip(*(plain(column) for column in columns.values()), strict=True)
        return [
            {"src": ids[src], "dst": ids[dst], "kind": EDGE_KINDS[kind]}
            | dict(zip(columns, row, strict=True))
            for (src, dst, kind), row in zip(ends, values, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_difference/1."""
        influence = self.node_influence.to_json()
        nodes = [
            {
                "id": name,
                "kind": (node := Node.of(name)).kind,
                "layer": node.layer,
                "column": node.position,
                "influence": difference,
                "influence_a": a,
                "influence_b": b,
            }
            for name, a, b, difference in zip(
                self.node_ids, influence["a"], influence["b"], influence["difference"], strict=True
            )
        ]
        rest = {name: {"a": a, "b": b, "difference": b - a} for name, (a, b) in self.rest.items()}
        final = {
            side: {"id": token, "p": p}
            for side, token, p in zip("ab", self.final_ids, self.final_p, strict=True)
        }
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            **plain(self.options),
            "columns": {"a": _positions(self.positions_a), "b": _positions(self.positions_b)},
            "roots": list(self.roots),
            "nodes": nodes,
            "edges": self.edge_list(),
            "counts": {"edges": self.n_edges},
            "token_influence": self.token_influence.to_json(),
            "influence": plain(rest),
            "final": plain(final),
        }

    def to_csv(self) -> str:
        """One row an edge: its ends by column, their tokens in A and in B, weights and influences.

        Tokens are JSON texts, empty where a prompt has none; w and influence are B's less A's.
        """
        return difference_table(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> GraphDifference:
        """The difference that `to_json` gave; unknown keys are ignored.

        Raises:
            InputError: the record is of another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(f'The schema is "{record.get("schema")}"; this reads "{SCHEMA}".')
        header_keys = records.header("", model={}, self_check={})
        options = (*OPTIONS, "root", "target", "max_edges")
        final, tokens = record["final"], record["token_influence"]
        positions = [[NONE if at is None else at for at in record["columns"][s]] for s in "ab"]
        return GraphDifference(
            header={key: record[key] for key in header_keys if key in record},
            vocab=dict(record["vocab"]),
            options={key: record[key] for key in options if key in record},
            positions_a=np.array(positions[0], np.int64),
            positions_b=np.array(positions[1], np.int64),
            roots=tuple(record["roots"]),
            node_ids=tuple(node["id"] for node in record["nodes"]),
            node_influence=_read_sides(record["nodes"], "influence"),
            edges=_read_edges(record),
            n_edges=record["counts"]["edges"],
            token_influence=Sides(*(np.array(tokens[side], np.float32) for side in "ab")),
            rest={name: (one["a"], one["b"]) for name, one in record["influence"].items()},
            final_ids=(final["a"]["id"], final["b"]["id"]),
            final_p=(final["a"]["p"], final["b"]["p"]),
        )


def _positions(positions: Int[np.ndarray, " column"]) -> list[int | None]:
    return [None if at == NONE else at for at in positions.tolist()]


def _read_sides(items: Sequence[Mapping[str, Any]], name: str) -> Sides:
    return Sides(*(np.array([one[f"{name}_{s}"] for one in items], np.float32) for s in "ab"))


def _read_edges(record: Mapping[str, Any]) -> DifferenceEdges:
    places = {node["id"]: place for place, node in enumerate(record["nodes"])}
    edges = record["edges"]
    return DifferenceEdges(
        np.array([places[edge["src"]] for edge in edges], np.int64),
        np.array([places[edge["dst"]] for edge in edges], np.int64),
        np.array([EDGE_KINDS.index(edge["kind"]) for edge in edges], np.int64),
        _read_sides(edges, "w"),
        _read_sides(edges, "influence"),
    )
