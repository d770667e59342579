"""What was chosen in the controls of the graph, and the part of a request that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tabs.typed import typed_text

SIGNED = ("projection", "logit")
"""Metrics whose shares have signs, so that what is left of them cannot be rescaled."""
LAST = "-1"
"""The root that is the last token."""
LOW, HIGH = 0.001, 0.2
"""Thresholds that the slider reaches."""
MAX_EDGES = 1500
"""More links than this are not drawn, but counted."""


@dataclass(frozen=True)
class Chosen:
    """The values of the controls, as they come from the browser; at first, these."""

    root: str = LAST
    threshold: str = "0.04"
    rescale: bool = True
    hide_first: bool = False
    side: str = "after"
    mode: str = "per_part"
    metric: str = "l1"
    biases: bool = True
    granularity: str = "head"
    keep: float = 1.0
    target: str = ""
    foil: str = ""
    other: str = ""
    normalise: bool = True
    k: int = 10
    collapse: bool = False

    @property
    def root_place(self) -> int | str:
        """The root as a position, or as the name of a node."""
        try:
            return int(self.root)
        except ValueError:
            return self.root or -1

    def tokens(self) -> dict[str, str | None]:
        """The token whose logit is looked at, and the one it is compared with."""
        typed = {"target": self.target, "foil": self.foil}
        return {name: typed_text(text) if text else None for name, text in typed.items()}

    def measure(self) -> dict[str, Any]:
        """How contributions are measured."""
        tokens = self.tokens() if self.metric == "logit" else {}
        return {"metric": self.metric, "bias": "part" if self.biases else "ignore", **tokens}

    def graph(self) -> dict[str, Any]:
        """What decides which graph there is."""
        whole = self.keep >= 1
        return {
            **self.measure(),
            "root": self.root_place,
            "threshold": float(self.threshold),
            "mode": self.mode,
            "renormalise": None if self.metric in SIGNED else self.rescale,
            "granularity": self.granularity,
            "prune": None if whole else [1.0, float(self.keep)],
            "max_edges": MAX_EDGES,
        }

    def view(self) -> dict[str, Any]:
        """What the page shows of it."""
        shown = {"normalise": self.normalise, "k": self.k, "side": self.side}
        return {**self.graph(), **shown, "other_prompt": self.other or None}
