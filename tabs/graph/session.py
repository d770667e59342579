"""What a visitor's graph remembers between clicks: small, and never a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tabs.graph.choices import Chosen
from tabs.graph.views import key_of, selection_of, strongest


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

    @classmethod
    def of(cls, shared: dict[str, Any], chosen: Chosen, record: dict[str, Any]) -> Session:
        """The session right after a run."""
        return cls(
            shared=shared,
            chosen=chosen,
            root=record["root"]["nodes"][0],
            tokens=record["input"]["tokens"],
            weights={key_of(e): [e["w"], e["influence"]] for e in record["edges"]},
            nodes={node["id"]: node["influence"] for node in record["nodes"]},
            links=[key_of(edge) for edge in strongest(record)],
            selected=selection_of(record["selected"]),
        )

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Session:
        """The session that a JSON file holds."""
        return cls(**{**record, "chosen": Chosen(**record["chosen"])})

    def at(self, detail: dict[str, Any]) -> Session:
        """What a detail is about is selected."""
        return replace(self, selected=selection_of(detail))

    def asked(self) -> dict[str, Any]:
        """The arguments of the graph that is drawn."""
        before_edit = self.chosen.side == "difference"
        options = {**self.chosen.graph(), "root": self.root, "before_edit": before_edit}
        return {**self._model(), **options}

    def detail(self) -> dict[str, Any]:
        """The arguments that every detail takes."""
        measure = {**self.chosen.measure(), **self.chosen.tokens()}
        return {**self._model(), **measure, "root": self.root, "k": self.chosen.k}

    def _model(self) -> dict[str, Any]:
        """The prompt and the model that is drawn, with the edit or without it."""
        return {**self.shared, **({"edit": None} if self.chosen.side == "before" else {})}
