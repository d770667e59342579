"""What a visitor's graph remembers between clicks: small, and never a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tabs.graph.choices import LAST, Chosen
from tabs.graph.difference_views import strongest as most_changed
from tabs.graph.views import key_of, place_of, selection_of, strongest

Of = dict[str, Any]
"""What a click is about: {"src", "dst", "kind"} or {"node"}, and what was chosen there."""


@dataclass(frozen=True)
class Session:
    """One run: what was asked, what it drew, and what is selected in it."""

    shared: dict[str, Any]
    """The arguments of the run that every detail of it repeats, the edit among them."""
    chosen: Chosen
    """The controls as they were for this run: a click does not read the next one's."""
    root: str
    tokens: list[dict[str, Any]]
    """The token records of the prompt."""
    weights: dict[str, list[float]]
    """"source destination kind" of every link that is drawn -> weight and influence."""
    nodes: dict[str, float]
    """Every node that is drawn -> its influence."""
    links: list[str]
    """The links in the order of the table, written as in `weights`."""
    selected: dict[str, str] | None = None
    columns: dict[str, list[int | None]] | None = None
    """Of a difference of two prompts: the position of each that stands in every column."""
    other_tokens: list[dict[str, Any]] | None = None
    """The token records of the other prompt."""

    @classmethod
    def of(cls, shared: dict[str, Any], chosen: Chosen, record: dict[str, Any]) -> Session:
        """The session right after a run."""
        difference = record["difference"]
        links = strongest(record) if difference is None else most_changed(difference)
        columns = other_tokens = None
        if difference is not None and chosen.other:
            columns, other_tokens = difference["columns"], difference["input"]["b"]["tokens"]
        return cls(
            columns=columns,
            other_tokens=other_tokens,
            shared=shared,
            chosen=chosen,
            root=record["root"]["nodes"][0],
            tokens=record["input"]["tokens"],
            weights={key_of(e): [e["w"], e["influence"]] for e in record["edges"]},
            nodes={node["id"]: node["influence"] for node in record["nodes"]},
            links=[key_of(edge) for edge in links],
            selected=selection_of(record["selected"]),
        )

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Session:
        """The session that a JSON file holds."""
        return cls(**{**record, "chosen": Chosen(**record["chosen"])})

    def is_old(self, shared: dict[str, Any], chosen: Chosen) -> bool:
        """Whether the root was chosen in another text than the one that is run now."""
        names = ("model", "prompt", "template", "special")
        moved_on = any(self.shared[name] != shared[name] for name in names)
        return moved_on and chosen.root == self.chosen.root != LAST

    def at(self, detail: dict[str, Any]) -> Session:
        """What a detail is about is selected."""
        return replace(self, selected=selection_of(detail))

    def located(self, of: Of) -> tuple[Session, Of]:
        """Where details of something are read: in this prompt, or the other one of a difference."""
        if self.columns is None:
            return self, of
        names = [name for name in ("src", "dst", "node") if name in of]
        for side in "ab":
            found = [moved(of[name], self.columns[side]) for name in names]
            if None not in found:
                session = self if side == "a" else self._other()
                return session, {**of, **dict(zip(names, found, strict=True)), "side": side}
        return self, of

    def column(self, position: int, side: str) -> int:
        """The column of a position of one prompt; without columns it is the position."""
        return position if self.columns is None else self.columns[side].index(position)

    def _other(self) -> Session:
        """The other prompt of a difference, on its own."""
        assert self.other_tokens is not None
        shared = {**self.shared, "prompt": self.chosen.other}
        tokens = self.other_tokens
        return replace(self, shared=shared, tokens=tokens, root=LAST, weights={}, nodes={})

    @property
    def is_difference(self) -> bool:
        """Whether two graphs are subtracted."""
        return bool(self.chosen.other) or self._subtracts_edit

    @property
    def _subtracts_edit(self) -> bool:
        return self.shared["edit"] is not None and self.chosen.side == "difference"

    def asked(self) -> dict[str, Any]:
        """The arguments of the graph, or of the difference, that is drawn."""
        two = {"other_prompt": self.chosen.other or None}
        return {**self.of_one_graph(), **two, "before_edit": self._subtracts_edit}

    def of_one_graph(self) -> dict[str, Any]:
        """The arguments of the graph of this prompt alone."""
        root = -1 if self.chosen.root == LAST else self.root
        return {**self._model(), **self.chosen.graph(), "root": root}

    def detail(self) -> dict[str, Any]:
        """The arguments that every detail takes."""
        measure = {**self.chosen.measure(), **self.chosen.tokens()}
        return {**self._model(), **measure, "root": _root(self.root), "k": self.chosen.k}

    def _model(self) -> dict[str, Any]:
        """The prompt and the model that is drawn, with the edit or without it."""
        return {**self.shared, **({"edit": None} if self.chosen.side == "before" else {})}


def _root(root: str) -> int | str:
    return -1 if root == LAST else root


def moved(node: str, positions: list[int | None]) -> str | None:
    """A node named by column, by its position in one prompt; None where it has none."""
    letter, layer, column = place_of(node)
    position = positions[column] if column < len(positions) else None
    return None if position is None else f"{letter}{layer}_{position}"
