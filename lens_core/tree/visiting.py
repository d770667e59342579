"""Which rows a tree needs, layer by layer from the top, and the edges that they give.

Weights are local, so a state is reached when any path of edges leads from it to a root. Only rows
of reached states are worked out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from lens_core.progress import tick
from lens_core.tree.nodes import Codes, Node
from lens_core.tree.options import Weighing
from lens_core.tree.rows import AFTER_ATTENTION, OUTPUT, Row, RowSource
from lens_core.tree.weighing import Weights, weigh

EDGE_KINDS = ("residual", "attention", "ffn", "bias", "mixer")
RESIDUAL, ATTENTION, FFN, BIAS, MIXER = range(len(EDGE_KINDS))

MAX_HEADS = 8
"""Heads that are listed with an edge, the largest ones; its details hold them all."""


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """All edges, as columns. Nodes are numbers of `Codes`."""

    src: Int[np.ndarray, " edge"]
    dst: Int[np.ndarray, " edge"]
    kind: Int[np.ndarray, " edge"]
    """Place in `EDGE_KINDS`."""
    weight: Float[np.ndarray, " edge"]
    heads: Int[np.ndarray, "edge listed"]
    """The heads that carry most of an attention edge, largest first; -1 where there are fewer."""
    head_weight: Float[np.ndarray, "edge listed"]

    def __len__(self) -> int:
        return len(self.src)

    def take(self, chosen: np.ndarray) -> EdgeTable:
        """Some of the edges, by mask or index."""
        return EdgeTable(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Visit:
    """What was found below the roots."""

    roots: Int[np.ndarray, " root"]
    edges: EdgeTable
    degenerate: tuple[Node, ...]
    """States that no part is nearer to than zero is."""
    empty: tuple[Node, ...]
    """States whose every part is below the threshold."""
    unattributed: float
    """The largest length of what a state's parts leave over, relative to the state."""
    n_rows: int


@dataclass(eq=False)
class _Columns:
    """Edges as they are found."""

    codes: Codes
    listed: int
    src: list[np.ndarray] = field(default_factory=list)
    dst: list[np.ndarray] = field(default_factory=list)
    kind: list[np.ndarray] = field(default_factory=list)
    weight: list[np.ndarray] = field(default_factory=list)
    heads: list[np.ndarray] = field(default_factory=list)
    head_weight: list[np.ndarray] = field(default_factory=list)

    def add(self, kind: int, src: np.ndarray, dst: np.ndarray, weight: float | np.ndarray) -> None:
        """Edges of one kind into one node, without heads."""
        none = np.full((len(src), self.listed), -1)
        nothing = np.zeros(none.shape, np.float32)
        self.add_heads(kind, src, dst, weight, heads=none, head_weight=nothing)

    def add_heads(
        self,
        kind: int,
        src: np.ndarray,
        dst: np.ndarray,
        weight: float | np.ndarray,
        *,
        heads: np.ndarray,
        head_weight: np.ndarray,
    ) -> None:
        """Edges of one kind into one node, with their heads."""
        self.src.append(src)
        self.dst.append(np.broadcast_to(dst, src.shape))
        self.kind.append(np.full(len(src), kind))
        self.weight.append(np.broadcast_to(np.asarray(weight, np.float32), src.shape))
        self.heads.append(heads)
        self.head_weight.append(head_weight)

    def table(self) -> EdgeTable:
        whole = np.zeros(0, np.int64)
        none = np.zeros((0, self.listed))
        return EdgeTable(
            np.concatenate([whole, *self.src]),
            np.concatenate([whole, *self.dst]),
            np.concatenate([whole, *self.kind]),
            np.concatenate([np.zeros(0, np.float32), *self.weight]),
            np.concatenate([none.astype(np.int64), *self.heads]),
            np.concatenate([none.astype(np.float32), *self.head_weight]),
        )


def visit(
    source: RowSource, options: Weighing, roots: Iterable[Node], *, max_heads: int = MAX_HEADS
) -> Visit:
    """Every edge that leads to a root, with weights above the threshold and its largest heads."""
    return _Visitor(source, options, max_heads).down_from(tuple(roots))


class _Visitor:
    """Walks down the layers with the positions that were reached."""

    def __init__(self, source: RowSource, options: Weighing, max_heads: int) -> None:
        self.source = source
        self.options = options
        self.codes = Codes(len(source.run.ids))
        self.columns = _Columns(self.codes, min(max_heads, source.run.facts.n_heads))
        self.degenerate: list[Node] = []
        self.empty: list[Node] = []
        self.unattributed = 0.0
        self.n_rows = 0

    def down_from(self, roots: tuple[Node, ...]) -> Visit:
        """Visit all layers, the last one first."""
        layers = len(self.source.anatomy.layers)
        outputs: set[int] = set()
        for done, layer in enumerate(reversed(range(layers)), 1):
            here = [node for node in roots if node.layer == layer]
            outputs |= {node.position for node in here if node.letter == "I"}
            between = {node.position for node in here if node.letter == "A"}
            mlps = {node.position for node in here if node.letter == "M"}
            visit_layer = self._split if self.source.has_mid(layer) else self._joint
            outputs = visit_layer(layer, outputs, between, mlps)
            tick("layer", done, layers)
        codes = [self.codes.of(node.letter, node.layer, node.position)[0] for node in roots]
        return Visit(
            np.array(codes),
            self.columns.table(),
            tuple(self.degenerate),
            tuple(self.empty),
            self.unattributed,
            self.n_rows,
        )

    def _split(self, layer: int, outputs: set[int], between: set[int], mlps: set[int]) -> set[int]:
        """A layer with a state between attention and MLP; answers what its input must explain."""
        for at, weights in self._weighed(layer, OUTPUT, outputs):
            into, middle = self.codes.of("I", layer, at), self.codes.of("A", layer, at)
            if weights.residual:
                self.columns.add(RESIDUAL, middle, into, weights.residual)
                between.add(at)
            if weights.mlp:
                self.columns.add(FFN, self.codes.of("M", layer, at), into, weights.mlp)
                self._feed_mlp(layer, at, middle, weights.mlp)
                between.add(at)
                mlps.discard(at)
        for at in sorted(mlps):
            # A root: its own share in the output is not asked for.
            self._feed_mlp(layer, at, self.codes.of("A", layer, at), 1.0)
            between.add(at)
        inputs: set[int] = set()
        for at, weights in self._weighed(layer, AFTER_ATTENTION, between):
            inputs |= self._add_sources(layer, at, self.codes.of("A", layer, at), weights)
        return inputs

    def _joint(self, layer: int, outputs: set[int], _: set[int], mlps: set[int]) -> set[int]:
        """A layer that adds attention and MLP at once."""
        inputs: set[int] = set()
        for at, weights in self._weighed(layer, OUTPUT, outputs):
            into = self.codes.of("I", layer, at)
            inputs |= self._add_sources(layer, at, into, weights)
            if weights.mlp:
                self.columns.add(FFN, self.codes.of("M", layer, at), into, weights.mlp)
                self._feed_mlp(layer, at, self.codes.input(layer, at), weights.mlp)
                inputs.add(at)
                mlps.discard(at)
        for at in sorted(mlps):
            self._feed_mlp(layer, at, self.codes.input(layer, at), 1.0)
            inputs.add(at)
        return inputs

    def _feed_mlp(self, layer: int, at: int, reads: np.ndarray, weight: float) -> None:
        """The edge from what an MLP reads; both edges of an MLP carry its contribution."""
        self.columns.add(FFN, reads, self.codes.of("M", layer, at), weight)

    def _add_sources(self, layer: int, at: int, into: np.ndarray, weights: Weights) -> set[int]:
        """The edges of stream, attention, bias and mixer; answers the positions they come from."""
        found: set[int] = set()
        if weights.residual:
            self.columns.add(RESIDUAL, self.codes.input(layer, at), into, weights.residual)
            found.add(at)
        if weights.bias:
            self.columns.add(BIAS, self.codes.of("B", layer, at), into, weights.bias)
        if weights.mixer:
            self.columns.add(MIXER, self.codes.of("S", layer, at), into, weights.mixer)
        (sources,) = np.nonzero(weights.edges)
        if len(sources) and weights.heads is not None:
            heads, listed = _largest(weights.heads[sources], self.columns.listed)
            self.columns.add_heads(
                ATTENTION,
                self.codes.input(layer, sources),
                into,
                weights.edges[sources],
                heads=heads,
                head_weight=listed,
            )
            found.update(sources.tolist())
        return found

    def _weighed(self, layer: int, letter: str, at: set[int]) -> list[tuple[int, Weights]]:
        """The weights of all rows of one kind in a layer, the last position first."""
        positions = sorted(at, reverse=True)
        rows = self.source.rows(layer, letter, positions) if positions else []
        found = []
        for position, row in zip(positions, rows, strict=True):
            weights = weigh(row, self.options, position)
            self._note(Node(letter, layer, position), row, weights)
            found.append((position, weights))
        return found

    def _note(self, node: Node, row: Row, weights: Weights) -> None:
        self.n_rows += 1
        self.unattributed = max(self.unattributed, row.unattributed)
        if weights.degenerate:
            self.degenerate.append(node)
        elif weights.empty:
            self.empty.append(node)


def _largest(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The heads with the largest weights in each row of [edge, head]; -1 where the weight is 0."""
    order = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :count]
    found = np.take_along_axis(weights, order, axis=1).astype(np.float32)
    order = np.where(found != 0, order, -1)
    missing = count - order.shape[1]
    if missing > 0:
        order = np.pad(order, ((0, 0), (0, missing)), constant_values=-1)
        found = np.pad(found, ((0, 0), (0, missing)))
    return order, found
