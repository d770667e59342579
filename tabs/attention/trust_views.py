"""Whether the ranking of an attribution can be believed: beside random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.bounds import CHANCE
from tabs.attention.stacks import column
from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import Faithfulness

TRUST = ("comprehensiveness", "sufficiency", "deletion_area")


def trust_table(trust: Faithfulness) -> dict[str, Any]:
    """Every ranking beside random ones."""
    columns = [
        column("ranking", "text", phone=True),
        *(column(name, "number", digits=2, phone=True) for name in TRUST),
        column("verdict", "text", phone=True),
    ]
    rows: list[list[Any]] = [
        [
            _ranking_name(ranking.name),
            *(short(float(getattr(ranking, name))) for name in TRUST),
            _verdict(trust.p_values(ranking), can_tell=trust.can_tell),
        ]
        for ranking in trust.rankings
    ]
    means = [float(np.mean([getattr(one, name) for one in trust.random])) for name in TRUST]
    name = phrase("attention.random", n=len(trust.random))
    rows.append([name, *map(short, means), None])
    how = phrase("attention.trust_how", k=trust.k)
    return table(phrase("attention.trust_title"), how, columns, rows)


def _ranking_name(name: str) -> Any:
    return phrase(f"attention.ranking_{name}")


def _verdict(p_values: dict[str, float], *, can_tell: bool) -> dict[str, Any]:
    """Better than chance by all three measures, by some, or by none, where that can be told."""
    won = sum(p <= CHANCE for p in p_values.values())
    if not (won or can_tell):
        return {"text": phrase("attention.trust_few"), "tone": "plain"}
    tone = "good" if won == len(TRUST) else "check" if won else "poor"
    return {"text": phrase(f"attention.trust_{tone}", won=won, n=len(TRUST)), "tone": tone}
