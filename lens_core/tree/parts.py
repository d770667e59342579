"""Parts of the graph by name: what an edge, a head, an MLP, a neuron or an expert is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lens_core.errors import InputError
from lens_core.lens.options import one_of, whole_number
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Node
from lens_core.tree.options import check_node
from lens_core.tree.visiting import EDGE_KINDS

_KEYS = ("edge", "node", "kind", "head", "neuron", "expert")


@dataclass(frozen=True)
class Part:
    """Something that is added to one state, and can be taken out of it.

    An attention edge is all heads of one source, or one of them; without `src` it is what the
    head moves (without a head, what all heads move) from all sources. The MLP of a position is
    Part(None, "M3_5"), with `neuron` or `expert` one of its own. Part(None, "X0_3") is a token:
    all that later positions read of position 3, in every layer.
    """

    src: str | None
    dst: str
    kind: str | None = None
    """residual, attention, ffn, bias, mixer or token; None takes attention where it can be."""
    head: int | None = None
    neuron: int | None = None
    """Index within the MLP, or within its expert."""
    expert: int | None = None
    """-1 is the shared expert."""

    @staticmethod
    def of(record: Mapping[str, Any]) -> Part:
        """The part of {"edge": [src, dst], "kind"?, "head"?} or {"node", "head" | "neuron"?, ...}.

        Raises:
            InputError: the record is neither.
        """
        if not isinstance(record, Mapping):
            raise InputError(f'A part is {record!r}; write {{"edge": ["I1_3", "A2_5"]}}.')
        if unknown := sorted(set(record) - set(_KEYS)):
            raise InputError(f"A part has no {unknown[0]!r}; it can have {', '.join(_KEYS)}.")
        edge, node = record.get("edge"), record.get("node")
        if (edge is None) == (node is None):
            raise InputError('A part is an "edge": [src, dst] or a "node"; give one of them.')
        if node is not None:
            src, dst = None, node
        elif isinstance(edge, (list, tuple)) and len(edge) == 2:
            src, dst = edge
        else:
            raise InputError(f'"edge" is {edge!r}; it is a source and a destination.')
        rest = {name: record.get(name) for name in ("kind", "head", "neuron", "expert")}
        return Part(src, dst, **rest)

    def record(self) -> dict[str, Any]:
        """The record that `of` reads."""
        named = {"kind": self.kind, "head": self.head, "neuron": self.neuron, "expert": self.expert}
        place = {"node": self.dst} if self.src is None else {"edge": [self.src, self.dst]}
        return {**place, **{name: value for name, value in named.items() if value is not None}}


@dataclass(frozen=True)
class Place:
    """A part that this model has."""

    part: Part
    """With its kind filled in."""
    dst: Node
    """The state that it is added to: for an MLP the layer's output."""
    source: int | None
    """Position of the source of an attention edge; None for all of them."""

    @property
    def kind(self) -> str:
        """residual, attention, ffn, bias, mixer or token."""
        assert self.part.kind is not None
        return self.part.kind


def placed(loaded: LoadedModel, part: Part, length: int) -> Place:
    """A part, checked against the model and the length of the prompt.

    Raises:
        InputError: the model or the prompt has no such part.
    """
    dst = check_node(loaded, part.dst, length)
    if part.src is None:
        kind, source = _kind_of_node(loaded, dst, part.kind), None
    else:
        src = check_node(loaded, part.src, length)
        kind = edge_kind(loaded, src, dst, part.kind)
        source = src.position if kind == "attention" else None
    if part.head is not None:
        whole_number("head", part.head, 0, loaded.facts.n_heads - 1)
    _check_inner(part, kind)
    into = Node("I", dst.layer, dst.position) if dst.letter == "M" else dst
    return Place(replace(part, kind=kind), into, source)


def _check_inner(part: Part, kind: str) -> None:
    """Heads belong to attention, neurons and experts to an MLP."""
    inner = (("head", part.head), ("neuron", part.neuron), ("expert", part.expert))
    for name, value in inner:
        home = "attention" if name == "head" else "ffn"
        if value is not None and kind != home:
            raise InputError(f"{name} is {value}, and {part.dst} is reached by {kind} here.")


def _kind_of_node(loaded: LoadedModel, dst: Node, kind: str | None) -> str:
    """What is meant by a node alone: its MLP, attention, bias or mixer, or a token.

    Raises:
        InputError: nothing that can be taken out by itself.
    """
    first = "A" if loaded.anatomy.layers[dst.layer].has_mid else "I"
    opaque = dst.layer in loaded.self_check.layers_without_attention
    found = {"M": "ffn", "B": "bias", "S": "mixer", "X": "token"}.get(dst.letter)
    if dst.letter == first and not opaque:
        found = "attention"
    if found is None:
        raise InputError(
            f"{dst.id} is no part that can be taken out by itself; give an edge, an MLP such as "
            f"M{dst.layer}_{dst.position}, or a head of {first}{dst.layer}_{dst.position}."
        )
    if kind not in (None, found):
        raise InputError(f'{dst.id} stands for its {found}; kind is "{kind}". Leave it out.')
    return found


def edge_kind(loaded: LoadedModel, src: Node, dst: Node, kind: str | None) -> str:
    """What an edge between two nodes is.

    Raises:
        InputError: no graph of this model has such an edge.
    """
    found = _possible(loaded, src, dst)
    if kind is None and found:
        return found[0]
    if kind in found:
        return kind
    if kind is not None:
        one_of("kind", kind, EDGE_KINDS)
    said = f"only {' and '.join(found)}" if found else "none"
    wanted = f"{kind} edge" if kind else "edge"
    raise InputError(f"There is no {wanted} from {src.id} to {dst.id} in this model ({said}).")


def _possible(loaded: LoadedModel, src: Node, dst: Node) -> list[str]:
    """The kinds of edge between two nodes, attention first."""
    parts = loaded.anatomy.layers[dst.layer]
    first = "A" if parts.has_mid else "I"
    enters = (src.letter, src.layer) == (("I", dst.layer - 1) if dst.layer else ("X", 0))
    same = src.position == dst.position
    opaque = dst.layer in loaded.self_check.layers_without_attention
    found = []
    if dst.letter == first and enters:
        if src.position <= dst.position and not opaque:
            found.append("attention")
        if same:
            found.append("residual")
    inside = src.layer == dst.layer and same
    if inside and dst.letter == first and src.letter == "B" and not opaque:
        found.append("bias")
    if inside and dst.letter == first and src.letter == "S" and opaque:
        found.append("mixer")
    if inside and parts.has_mid and (src.letter, dst.letter) == ("A", "I"):
        found.append("residual")
    reads = enters and same if not parts.has_mid else inside and src.letter == "A"
    if (dst.letter == "M" and reads) or (inside and (src.letter, dst.letter) == ("M", "I")):
        found.append("ffn")
    return found
