"""What an edge of the graph says: its heads, their maps, and the tokens that they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.amounts import Measure
from lens_core.decomposition import HeadParts
from lens_core.errors import InputError
from lens_core.lens.options import MAX_K, one_of, whole_number
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Node
from lens_core.tree.options import BIASES, Weighing, check_node
from lens_core.tree.parts import edge_kind
from lens_core.tree.pushed import Pushed, detail_header, detail_json, pushed, vocabulary
from lens_core.tree.rows import Row, RowSource
from lens_core.tree.run import GraphRun, check_run
from lens_core.tree.weighing import weigh

Edge = tuple[str, str]
"""The names of its source and its destination."""


@dataclass(frozen=True, eq=False)
class EdgeDetails:
    """One edge, with every head of an attention edge. Shares are those before any threshold."""

    header: Mapping[str, Any]
    src: str
    dst: str
    kind: str
    weight: float
    """Share of the source in the destination; heads added up."""
    contribution: Float[np.ndarray, " head"]
    """Share of each head; empty for edges without attention."""
    pattern: Float[np.ndarray, " head"]
    """How much each head looks from the destination to the source."""
    length: Float[np.ndarray, " head"]
    """L2 norm of what each head moves, as it is added to the stream."""
    moved: float
    """L2 norm of what all heads together move, so less than the sum of their lengths where they
    cancel each other; 0 for edges without attention."""
    kv_head: Int[np.ndarray, " head"]
    """The key/value head that each head reads."""
    kv_contribution: Float[np.ndarray, " kv_head"]
    """Shares added up by key/value head."""
    degenerate: bool
    """The destination has no shares: no part is nearer to it than zero is."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_edge/1."""
        return detail_json(self)


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """One head, or all heads of a layer, at all positions."""

    header: Mapping[str, Any]
    layer: int
    head: int | None
    """None for all heads together."""
    pattern: Float[np.ndarray, "query key"]
    """After the softmax; the mean of all heads."""
    contribution: Float[np.ndarray, "query key"]
    """Share of what is moved in the state of the query, before any threshold; the sum of all
    heads."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_head_maps/1."""
        return detail_json(self)


@dataclass(frozen=True, eq=False)
class HeadDetails:
    """What one head, or all heads of a layer together, write."""

    header: Mapping[str, Any]
    vocab: dict[str, Any]
    src: str
    dst: str
    head: int | None
    """None for all heads together."""
    pattern: float
    """How much it looks from the destination to the source; the mean of all heads."""
    on_edge: Pushed | None
    """Tokens promoted and suppressed by what is moved along this edge; None where parts cannot be
    read as logits."""
    in_all: Pushed | None
    """The same for what is moved from all positions together."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_head/1."""
        return detail_json(self)


@torch.no_grad()
def edge_details(
    loaded: LoadedModel,
    run: GraphRun,
    edge: Edge,
    *,
    kind: str | None = None,
    measure: Measure | None = None,
    bias: str = "part",
) -> EdgeDetails:
    """The heads that carry an edge.

    Args:
        loaded: the model.
        run: what `graph_run` gave for it.
        edge: source and destination, such as ("I1_3", "A2_5").
        kind: residual, attention, ffn, bias or mixer; None takes attention where it can be.
        measure: how amounts are measured; None is the L1 proximity.
        bias: "part" or "ignore", as in the graph.

    Raises:
        InputError: an edge that no graph of this model has, or a run that does not fit.
    """
    src, dst = (check_node(loaded, name, len(run.ids)) for name in edge)
    kind = edge_kind(loaded, src, dst, kind)
    options = _unthresholded(measure, bias)
    with loaded.lock:
        check_run(run, loaded, None)
        source = RowSource(loaded, run, options.measure)
        # Both edges of an MLP carry the share of the MLP in the layer's output.
        into = Node("I", dst.layer, dst.position) if dst.letter == "M" else dst
        (row,) = source.rows(into.layer, into.letter, [into.position])
        shares, weight, degenerate = _shares(row, options, kind, position=into.position, src=src)
        pattern = length = np.zeros(0, np.float32)
        moved = 0.0
        if kind == "attention":
            pattern, length, moved = _moved(source, into, src)
        header = detail_header(loaded, "graph_edge", run)
    groups = _groups(loaded) if kind == "attention" else np.zeros(0, np.int64)
    by_group = np.zeros(loaded.facts.n_kv_heads if len(groups) else 0, np.float32)
    np.add.at(by_group, groups, shares)
    return EdgeDetails(
        header=header,
        src=src.id,
        dst=dst.id,
        kind=kind,
        weight=weight,
        contribution=shares,
        pattern=pattern,
        length=length,
        moved=moved,
        kv_head=groups,
        kv_contribution=by_group,
        degenerate=degenerate,
    )


@torch.no_grad()
def head_maps(
    loaded: LoadedModel,
    run: GraphRun,
    layer: int,
    head: int | None,
    *,
    measure: Measure | None = None,
    bias: str = "part",
) -> HeadMaps:
    """Where a head (None for all of them) looks, and what it contributes, at all positions.

    Raises:
        InputError: a layer without a pattern, a head that does not exist, or a run that does not
            fit.
    """
    whole_number("layer", layer, 0, loaded.n_layers - 1)
    heads = _heads(loaded, head)
    options = _unthresholded(measure, bias)
    with loaded.lock:
        check_run(run, loaded, None)
        attention = run.attention[layer]
        if attention is None:
            raise InputError(f"Layer {layer} of {loaded.facts.id} has no attention pattern.")
        source = RowSource(loaded, run, options.measure)
        positions = list(range(len(run.ids)))
        rows = source.rows(layer, "A" if source.has_mid(layer) else "I", positions)
        found = np.zeros((len(positions), len(positions)), np.float32)
        for at, row in zip(positions, rows, strict=True):
            weights = weigh(row, options, at)
            if weights.heads is not None:
                found[at, : len(weights.heads)] = weights.heads[:, heads].sum(1)
        header = detail_header(loaded, "graph_head_maps", run)
    pattern = attention.pattern[heads].float().mean(0).cpu().numpy()
    return HeadMaps(header, layer, head, pattern, found)


@torch.no_grad()
def head_details(
    loaded: LoadedModel, run: GraphRun, edge: Edge, head: int | None, *, k: int = 15
) -> HeadDetails:
    """The tokens promoted and suppressed by what a head (None for all) moves along an edge.

    Raises:
        InputError: no attention edge, a head that does not exist, `k` outside 1 to 50, or a run
            that does not fit.
    """
    src, dst = (check_node(loaded, name, len(run.ids)) for name in edge)
    edge_kind(loaded, src, dst, "attention")
    heads = _heads(loaded, head)
    k = whole_number("k", k, 1, min(MAX_K, loaded.facts.vocab_size))
    with loaded.lock:
        check_run(run, loaded, None)
        parts = run.dissection(loaded).heads(dst.layer)
        assert parts is not None
        moved = torch.stack([_of_head(parts, one, dst.position) for one in heads]).sum(0)
        vectors = torch.stack([moved[src.position], moved.sum(0)])
        both = pushed(loaded, run, vectors, position=dst.position, k=k)
        header = detail_header(loaded, "graph_head", run)
        pattern = float(parts.pattern[heads, dst.position, src.position].float().mean())
    one, every = (None, None) if both is None else (_row(both, 0), _row(both, 1))
    vocab = vocabulary(loaded, () if both is None else both.ids)
    return HeadDetails(header, vocab, src.id, dst.id, head, pattern, one, every)


def _heads(loaded: LoadedModel, head: int | None) -> list[int]:
    """The head that is meant; all of them for None."""
    if head is None:
        return list(range(loaded.facts.n_heads))
    return [whole_number("head", head, 0, loaded.facts.n_heads - 1)]


def _unthresholded(measure: Measure | None, bias: str) -> Weighing:
    """The options under which every part keeps its share."""
    one_of("bias", bias, BIASES)
    return Weighing(measure or Measure(), bias, threshold=0.0, renormalise=False)


def _shares(
    row: Row, options: Weighing, kind: str, *, position: int, src: Node
) -> tuple[Float[np.ndarray, " head"], float, bool]:
    """The share of every head, of the whole edge, and whether there are shares at all."""
    weights = weigh(row, options, position)
    nothing = np.zeros(0, np.float32)
    if kind != "attention":
        name = {"ffn": "mlp"}.get(kind, kind)
        return nothing, float(getattr(weights, name)), weights.degenerate
    if weights.heads is None:
        heads = nothing if row.heads is None else np.zeros(row.heads.shape[1], np.float32)
        return heads, 0.0, weights.degenerate
    heads = weights.heads[src.position].astype(np.float32)
    return heads, float(heads.sum(dtype=np.float64)), weights.degenerate


def _moved(
    source: RowSource, dst: Node, src: Node
) -> tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"], float]:
    """Pattern and length of what every head moves along an edge, and the length of their sum."""
    parts = source.dissection.heads(dst.layer)
    assert parts is not None
    at, key = dst.position, src.position
    groups = len(parts.pattern) // len(parts.values)
    values = parts.values[:, key].repeat_interleave(groups, 0)
    if parts.gate is not None:
        values = values * parts.gate[at]
    pattern = parts.pattern[:, at, key]
    vectors = torch.einsum("hv,hvd->hd", values, parts.weight) * pattern[:, None]
    vectors = vectors * parts.factor[at]
    lengths = vectors.norm(2, -1).cpu().numpy()
    return pattern.cpu().numpy(), lengths, float(vectors.sum(0).norm())


def _of_head(parts: HeadParts, head: int, at: int) -> Float[Tensor, "key d_model"]:
    """What one head moves to a position from every earlier one."""
    return parts.part(head, slice(at, at + 1), at + 1)[0]


def _row(found: Pushed, index: int) -> Pushed:
    return Pushed(*(getattr(found, name)[index] for name in Pushed.__dataclass_fields__))


def _groups(loaded: LoadedModel) -> Int[np.ndarray, " head"]:
    """The key/value head of every head."""
    facts = loaded.facts
    return np.arange(facts.n_heads) * facts.n_kv_heads // facts.n_heads
