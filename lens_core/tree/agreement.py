"""How far a graph can be trusted: its influences beside what really happens without the parts.

The edges and tokens with the most influence are removed one at a time, and their influence is
compared with the change of the prediction by Spearman's rank correlation, with the interval of
Bonett & Wright (2000).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.errors import InputError
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel
from lens_core.records import plain
from lens_core.tree.intervals import NORMAL
from lens_core.tree.knock_out import MAX_PARTS, Verification, verify
from lens_core.tree.nodes import Node
from lens_core.tree.parts import Part
from lens_core.tree.pushed import detail_header
from lens_core.tree.result import ContributionGraph
from lens_core.tree.run import GraphRun, check_run
from lens_core.tree.visiting import ATTENTION, FFN


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho of two columns; None where it is not defined."""

    rho: float | None
    low: float | None
    """Ends of the 95 % interval; None below 4 pairs."""
    high: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Agreement:
    """Influence and measured effect of the strongest edges and tokens of a graph."""

    header: Mapping[str, Any]
    metric: str
    edges: Verification | None
    """The attention and MLP edges with most influence, the largest first; None without any."""
    edge_influence: Float[np.ndarray, " edge"]
    tokens: Verification | None
    """The earlier tokens with most influence; None without any, or where they cannot be cut off."""
    token_influence: Float[np.ndarray, " token"]
    edges_logit: RankCorrelation
    """|influence| against |change of the target's logit|."""
    edges_kl: RankCorrelation
    """|influence| against KL(original || changed)."""
    tokens_logit: RankCorrelation
    tokens_kl: RankCorrelation
    top_source: int | None
    """The earlier token with most influence."""
    top_source_rank: int | None
    """Its place by measured KL among `tokens`, from 0: 0 says that it is confirmed."""

    @property
    def confirmed(self) -> bool | None:
        """Whether nothing earlier changes the prediction more than the top source."""
        return None if self.top_source_rank is None else self.top_source_rank == 0

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_agreement/1."""
        correlations = {
            name: vars(getattr(self, name))
            for name in ("edges_logit", "edges_kl", "tokens_logit", "tokens_kl")
        }
        return {
            **plain(self.header),
            "metric": self.metric,
            "edges": _rows(self.edges, self.edge_influence),
            "tokens": _rows(self.tokens, self.token_influence),
            "correlation": plain(correlations),
            "top_source": {
                "position": self.top_source,
                "rank": self.top_source_rank,
                "confirmed": self.confirmed,
            },
        }


def _rows(found: Verification | None, influence: np.ndarray) -> list[dict[str, Any]]:
    rows = [] if found is None else found.rows()
    return [{**row, "influence": value} for row, value in zip(rows, plain(influence), strict=True)]


def graph_agreement(
    loaded: LoadedModel,
    run: GraphRun,
    graph: ContributionGraph,
    *,
    n: int = 20,
    target: int | str | None = None,
    foil: int | str | None = None,
) -> Agreement:
    """Remove the n strongest edges and the n strongest earlier tokens, each for itself.

    Args:
        loaded: the model.
        run: the run that the graph was drawn from.
        graph: a graph of one root position.
        n: how many attention and MLP edges, and how many tokens before the root.
        target: token whose logit is measured; None takes that of the graph's metric "logit", or
            the model's own prediction.
        foil: subtract the logit of this token; None takes that of the graph.

    Raises:
        InputError: `n` outside 2 to 500, a graph of several positions, or of another prompt or
            model than the run.
    """
    n = whole_number("n", n, 2, MAX_PARTS // 2)
    root = _root(graph)
    named = graph.options.get("target") or {}
    target = named.get("id") if target is None else target
    foil = named.get("foil") if foil is None else foil
    edges, edge_influence = _strongest_edges(graph, n)
    tokens, token_influence = _strongest_tokens(graph, root, n)
    if loaded.self_check.layers_without_attention:
        tokens, token_influence = [], token_influence[:0]
    of_edges = of_tokens = None
    with loaded.lock:
        header = detail_header(loaded, "graph_agreement", run)
        _check_graph(loaded, run, graph, header)
        if edges or tokens:
            found = verify(loaded, run, edges + tokens, root=root, target=target, foil=foil)
            of_edges = found.take(slice(0, len(edges))) if edges else None
            of_tokens = found.take(slice(len(edges), None)) if tokens else None
    top, rank = _top_source(of_tokens)
    return Agreement(
        header=header,
        metric=graph.options["metric"],
        edges=of_edges,
        edge_influence=edge_influence,
        tokens=of_tokens,
        token_influence=token_influence,
        edges_logit=_correlation(edge_influence, of_edges, "logit_change"),
        edges_kl=_correlation(edge_influence, of_edges, "kl"),
        tokens_logit=_correlation(token_influence, of_tokens, "logit_change"),
        tokens_kl=_correlation(token_influence, of_tokens, "kl"),
        top_source=top,
        top_source_rank=rank,
    )


def _root(graph: ContributionGraph) -> int:
    position = graph.options["root"]["token"]
    if position is None:
        raise InputError(
            "The graph has roots at several positions; draw it for one to compare it with "
            "measured effects."
        )
    return int(position)


def _check_graph(
    loaded: LoadedModel, run: GraphRun, graph: ContributionGraph, header: Mapping[str, Any]
) -> None:
    """Refuse a run that does not fit the model, and a graph that does not fit the run.

    Raises:
        InputError: says what differs.
    """
    check_run(run, loaded, None)
    names = {"ids": "another prompt", "model": "another model", "edit": "other edits"}
    mine = {"ids": header["input"]["ids"], "model": header["model"], "edit": header["edit"]}
    drawn = graph.header
    theirs = {"ids": drawn["input"]["ids"], "model": drawn["model"], "edit": drawn["edit"]}
    for key, said in names.items():
        if plain(mine[key]) != plain(theirs[key]):
            raise InputError(
                f"The graph is of {said} than the run: {theirs[key]}, not {mine[key]}. Draw the "
                "graph from this run."
            )


def _strongest_edges(
    graph: ContributionGraph, n: int
) -> tuple[list[Part], Float[np.ndarray, " edge"]]:
    """Attention and MLP edges with most influence; an MLP counts once, by its upper edge."""
    ids, edges = graph.nodes.ids, graph.edges
    into_mlp = np.array([ids[dst][0] == "M" for dst in edges.dst.tolist()], bool)
    chosen = (edges.kind == ATTENTION) | ((edges.kind == FFN) & ~into_mlp)
    (places,) = np.nonzero(chosen)
    order = np.argsort(-np.abs(edges.influence[places]), kind="stable")[:n]
    places = places[order]
    parts = []
    for place in places.tolist():
        kind = "attention" if edges.kind[place] == ATTENTION else "ffn"
        parts.append(Part(ids[edges.src[place]], ids[edges.dst[place]], kind))
    return parts, edges.influence[places]


def _strongest_tokens(
    graph: ContributionGraph, root: int, n: int
) -> tuple[list[Part], Float[np.ndarray, " token"]]:
    """The tokens before the root with most influence."""
    influence = graph.token_influence[:root]
    order = np.argsort(-np.abs(influence), kind="stable")[:n]
    parts = [Part(None, Node("X", 0, position).id) for position in order.tolist()]
    return parts, influence[order]


def _top_source(tokens: Verification | None) -> tuple[int | None, int | None]:
    """The first of the tokens, and how many of them change the prediction more."""
    if tokens is None:
        return None, None
    rank = int((tokens.kl > tokens.kl[0]).sum())
    return Node.of(tokens.parts[0].dst).position, rank


def _correlation(
    influence: np.ndarray, measured: Verification | None, column: str
) -> RankCorrelation:
    effect = np.zeros(0) if measured is None else getattr(measured, column)
    return rank_correlation(np.abs(influence), np.abs(effect))


def rank_correlation(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]
) -> RankCorrelation:
    """Spearman's rho; ties share their mean rank.

    The interval is that of Bonett & Wright (2000), by Fisher's z with the variance
    (1 + rho^2 / 2) / (n - 3).
    """
    n = len(first)
    one, two = _ranks(first), _ranks(second)
    if n < 3 or not one.std() or not two.std():
        return RankCorrelation(None, None, None, n)
    # Rounded, or the rounding of equal ranks would show as a rho just below 1.
    rho = round(float(np.corrcoef(one, two)[0, 1]), 12)
    if n < 4:
        return RankCorrelation(rho, None, None, n)
    if abs(rho) == 1.0:
        return RankCorrelation(rho, rho, rho, n)
    half = NORMAL * math.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = math.atanh(rho)
    return RankCorrelation(rho, math.tanh(middle - half), math.tanh(middle + half), n)


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count + 1) / 2)[place]
