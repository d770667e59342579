"""What was chosen in the controls of the logit lens, and the part of a request that it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from tabs.typed import typed_text


@dataclass(frozen=True)
class Chosen:
    """The values of the controls, as they come from the browser; at first, these."""

    view: str = "grid"
    colour: str = "probability"
    read_at: str = "resid_post"
    side: str = "after"
    k: int = 5
    stride: str = "1"
    target: str = ""
    generate: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = 0
    important: str = "kl_drop"
    threshold: str = ""
    only_important: bool = False
    scale: str = "final"

    def run(self) -> dict[str, Any]:
        """What decides which tokens there are, and how all of them are read."""
        return {
            "generate": self.generate,
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "seed": self.seed or 0,
            "scale": self.scale,
        }

    def judged_by(self, other: Chosen) -> Chosen:
        """The same, with the other's choice of which layers matter."""
        names = ("important", "threshold", "only_important")
        return replace(self, **{name: getattr(other, name) for name in names})

    def limit(self) -> float | None:
        """The threshold as a number; None where none was typed."""
        try:
            number = float(self.threshold)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def grid(self) -> dict[str, Any]:
        """What all positions are read with."""
        component = self.read_at
        return {
            **self.run(),
            "k": self.k,
            "components": ["embed", component] if component == "resid_post" else [component],
            "stride": int(self.stride),
            "targets": [typed_text(self.target)] if self.target else [],
            "track_position": None,
        }

    def position(self) -> dict[str, Any]:
        """What one position is read with, besides what the run was."""
        return {
            "k": max(self.k, 6),
            "components": ["embed", "resid_post", "resid_mid", "attn_out", "mlp_out"],
            "available": True,
            "important": self.important,
            "threshold": self.limit(),
        }
