"""The graph as a result, and its JSON form (schema lens_core/contribution_graph/1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.records import plain
from lens_core.tree.exports import csv_table, graphml
from lens_core.tree.nodes import Node
from lens_core.tree.visiting import EDGE_KINDS

SCHEMA = "lens_core/contribution_graph/1"
_OPTIONS = ("root", "metric", "granularity", "bias", "numerics", "threshold", "target", "pruning")


@dataclass(frozen=True, eq=False)
class GraphNodes:
    """The nodes, from bottom to top."""

    ids: tuple[str, ...]
    influence: Float[np.ndarray, " node"]
    """Share of the roots that comes through the node."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Node]:
        return map(Node.of, self.ids)


@dataclass(frozen=True, eq=False)
class GraphEdges:
    """The edges as columns; `src` and `dst` are places in the list of nodes."""

    src: Int[np.ndarray, " edge"]
    dst: Int[np.ndarray, " edge"]
    kind: Int[np.ndarray, " edge"]
    """Place in `EDGE_KINDS`: residual, attention, ffn, bias, mixer."""
    weight: Float[np.ndarray, " edge"]
    """Contribution of the source to the destination."""
    influence: Float[np.ndarray, " edge"]
    """Share of the roots that comes through the edge."""
    heads: Int[np.ndarray, "edge listed"]
    """The heads with the largest part in an attention edge, largest first; -1 for none."""
    head_weight: Float[np.ndarray, "edge listed"]

    def __len__(self) -> int:
        return len(self.src)


@dataclass(frozen=True, eq=False)
class ContributionGraph:
    """What each state was made of, from the roots down to the tokens."""

    header: dict[str, Any]
    vocab: dict[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs; ids are the keys, never strings."""
    options: dict[str, Any]
    """root {token, nodes}, metric, granularity, bias, numerics, threshold {tau, mode, renormalise,
    merge_self}, target and pruning, as they were used."""
    nodes: GraphNodes
    edges: GraphEdges
    token_influence: Float[np.ndarray, " position"]
    """Share of the roots that comes from each token; sums to 1 with the next three."""
    bias_influence: float
    mixer_influence: float
    lost_influence: float
    degenerate: tuple[str, ...]
    """States that no part is nearer to than zero is: they have no edges."""
    all_below_threshold: tuple[str, ...]
    """States whose every part is below the threshold: they have no edges."""
    unattributed: float
    """The largest length of what the parts of a state leave over, relative to the state."""
    n_rows: int
    """How many states were taken apart."""
    n_edges: int
    n_nodes: int
    """Of the whole tree; fewer are listed when it was pruned."""
    final_ids: Int[np.ndarray, " position"]
    """The model's own prediction after each position."""
    final_p: Float[np.ndarray, " position"]

    def edge_list(self) -> list[dict[str, Any]]:
        """Every edge as {"src", "dst", "kind", "w", "influence"}, with "heads" [[head, weight]]."""
        ids, edges = self.nodes.ids, self.edges
        columns = (edges.src, edges.dst, edges.kind, edges.weight, edges.influence)
        found = []
        for src, dst, kind, weight, flow in zip(*(c.tolist() for c in columns), strict=True):
            edge = {"src": ids[src], "dst": ids[dst], "kind": EDGE_KINDS[kind], "w": weight}
            found.append({**edge, "influence": flow})
        for index in np.flatnonzero((edges.heads >= 0).any(1)):
            pairs = zip(edges.heads[index], edges.head_weight[index], strict=True)
            found[index]["heads"] = [[int(h), float(w)] for h, w in pairs if h >= 0]
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/contribution_graph/1."""
        influences = self.nodes.influence.tolist()
        nodes = [
            {
                "id": node.id,
                "kind": node.kind,
                "layer": node.layer,
                "pos": node.position,
                "influence": value,
            }
            for node, value in zip(self.nodes, influences, strict=True)
        ]
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            **plain(self.options),
            "nodes": nodes,
            "edges": self.edge_list(),
            "heads_listed": self.edges.heads.shape[1],
            "token_influence": plain(self.token_influence),
            "influence": {
                "bias": self.bias_influence,
                "mixer": self.mixer_influence,
                "lost": self.lost_influence,
            },
            "residuals": {
                "unattributed_max": plain(self.unattributed),
                "degenerate_rows": list(self.degenerate),
                "all_below_threshold": list(self.all_below_threshold),
            },
            "counts": {"rows": self.n_rows, "nodes": self.n_nodes, "edges": self.n_edges},
            "final_ids": self.final_ids.tolist(),
            "final_p": plain(self.final_p),
        }

    def to_csv(self) -> str:
        """The edges as CSV, from top to bottom.

        Columns: src, dst, kind; layer of the destination; position and token of both ends; weight
        and influence, exact; heads as "3:0.125 0:0.0625", the largest eight. Tokens are JSON
        strings: every character shows, and none starts a formula in a spreadsheet.
        """
        return csv_table(self)

    def to_graphml(self) -> str:
        """GraphML of a directed multigraph, for networkx, Gephi, Cytoscape or igraph.

        Nodes have kind, label, layer, position, token_id and influence; edges kind, weight,
        influence and heads. Edges of two kinds that join the same nodes stay apart.
        """
        return graphml(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> ContributionGraph:
        """The graph that `to_json` gave; unknown keys are ignored.

        Raises:
            InputError: the record is of another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(f'The schema is "{record.get("schema")}"; this reads "{SCHEMA}".')
        header_keys = (
            "schema", "created", "model", "software", "self_check", "input", "edit", "seed",
            "timing", "warnings",
        )  # fmt: skip
        nodes = record["nodes"]
        residuals, counts, rest = record["residuals"], record["counts"], record["influence"]
        return ContributionGraph(
            header={key: record[key] for key in header_keys if key in record},
            vocab=dict(record["vocab"]),
            options={key: record[key] for key in _OPTIONS if key in record},
            nodes=GraphNodes(
                tuple(node["id"] for node in nodes),
                _floats(node["influence"] for node in nodes),
            ),
            edges=_read_edges(record),
            token_influence=_floats(record["token_influence"]),
            bias_influence=rest["bias"],
            mixer_influence=rest["mixer"],
            lost_influence=rest["lost"],
            degenerate=tuple(residuals["degenerate_rows"]),
            all_below_threshold=tuple(residuals["all_below_threshold"]),
            unattributed=residuals["unattributed_max"],
            n_rows=counts["rows"],
            n_edges=counts["edges"],
            n_nodes=counts["nodes"],
            final_ids=np.array(record["final_ids"], np.int64),
            final_p=_floats(record["final_p"]),
        )


def _read_edges(record: Mapping[str, Any]) -> GraphEdges:
    places = {node["id"]: place for place, node in enumerate(record["nodes"])}
    edges, listed = record["edges"], int(record["heads_listed"])
    heads = np.full((len(edges), listed), -1, np.int64)
    head_weight = np.zeros((len(edges), listed), np.float32)
    for index, edge in enumerate(edges):
        for column, (head, weight) in enumerate(edge.get("heads", ())):
            heads[index, column], head_weight[index, column] = head, weight
    return GraphEdges(
        np.array([places[edge["src"]] for edge in edges], np.int64),
        np.array([places[edge["dst"]] for edge in edges], np.int64),
        np.array([EDGE_KINDS.index(edge["kind"]) for edge in edges], np.int64),
        _floats(edge["w"] for edge in edges),
        _floats(edge["influence"] for edge in edges),
        heads,
        head_weight,
    )


def _floats(values: Any) -> Float[np.ndarray, " n"]:
    return np.array(list(values), np.float32)
