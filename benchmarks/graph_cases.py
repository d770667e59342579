"""What is measured of the contribution graph, beside an implementation that builds all parts.

All cases but two begin at a pass that is captured already, without any row of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lens_core import contribution_graph, graph_run
from lens_core.amounts import Measure, proximity
from lens_core.contributions import mlp_shares, normalised
from lens_core.tree.rows import RowSource
from lens_core.tree.run import RowStore

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Run
    from lens_core.contributions import Shares
    from lens_core.dissection import Dissection
    from lens_core.models import LoadedModel
    from lens_core.tree import GraphRun

THRESHOLD = 0.04
MOVED, WIDE = 0.08, 0.001


def capture(loaded: LoadedModel, ids: Tensor) -> Run:
    """The forward pass with patterns, values and all five points kept."""
    return lambda: graph_run(loaded, ids)


def every_row(loaded: LoadedModel, ids: Tensor) -> Run:
    """The amounts of every (source, head), MLP and residual in every state of every layer."""
    run = graph_run(loaded, ids)

    def rows() -> object:
        source = RowSource(loaded, _without_rows(run), Measure())
        for layer in range(loaded.n_layers):
            for letter in "AI" if source.has_mid(layer) else "I":
                source.rows(layer, letter, range(len(ids)))
        return source.run.rows

    return rows


def every_root(loaded: LoadedModel, ids: Tensor) -> Run:
    """The finished graph below the outputs of all positions: edges, influence, texts."""
    run = graph_run(loaded, ids)
    return lambda: contribution_graph(
        loaded, ids, run=_without_rows(run), root="all", threshold=THRESHOLD
    )


def tree(loaded: LoadedModel, ids: Tensor) -> Run:
    """The finished graph below the last output, as the first view of a prompt shows it."""
    run = graph_run(loaded, ids)
    return lambda: contribution_graph(loaded, ids, run=_without_rows(run), threshold=THRESHOLD)


def wide_tree(loaded: LoadedModel, ids: Tensor) -> Run:
    """The same at 0.001, which leads to most rows; random weights give narrow trees at 0.04."""
    run = graph_run(loaded, ids)
    return lambda: contribution_graph(loaded, ids, run=_without_rows(run), threshold=WIDE)


def moved_threshold(loaded: LoadedModel, ids: Tensor) -> Run:
    """The same at another threshold, with the rows that are there."""
    run = graph_run(loaded, ids)
    contribution_graph(loaded, ids, run=run, threshold=THRESHOLD)
    return lambda: contribution_graph(loaded, ids, run=run, threshold=MOVED)


def command(loaded: LoadedModel, ids: Tensor) -> Run:
    """`contribution_graph` as it is called: forward pass and tree."""
    return lambda: contribution_graph(loaded, ids, threshold=THRESHOLD)


def all_parts(loaded: LoadedModel, ids: Tensor) -> Run:
    """A peer: the same shares from a tensor of all parts [target, source, head, d_model] a layer.

    One of the differences and one of the parts: what the usual two lines need at least.
    """
    found = graph_run(loaded, ids).dissection(loaded)

    @torch.no_grad()
    def run() -> object:
        return [materialised(found, layer) for layer in range(loaded.n_layers)]

    return run


def materialised(found: Dissection, layer: int) -> tuple[Shares, Shares]:
    """The shares of one layer of a dissection: of the state after attention, and of its output."""
    heads = found.heads(layer)
    assert heads is not None
    parts = heads.all_parts()
    near = proximity(heads.whole[:, None, None], parts)
    del parts
    residual = proximity(heads.whole, heads.residual)
    attention = normalised(near, residual, proximity(heads.whole, heads.bias))
    return attention, mlp_shares(*found.mlp(layer))


GRAPH_CASES: dict[str, Callable[[LoadedModel, Tensor], Run]] = {
    "graph: capture": capture,
    "graph: all rows of all layers": every_row,
    "graph: root all, 0.04": every_root,
    "graph: tree of the last token, 0.04": tree,
    "graph: tree of the last token, 0.001": wide_tree,
    "graph: threshold moved": moved_threshold,
    "graph: contribution_graph() as called": command,
    "peer: all parts of a layer at once": all_parts,
}


def _without_rows(run: GraphRun) -> GraphRun:
    """The run as it was before anything was asked of it."""
    return replace(run, rows=RowStore(run.rows.max_bytes))
