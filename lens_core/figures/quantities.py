"""What heat maps colour by: its field, its scale, and how its numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lens_core.figures.text import number, percent


@dataclass(frozen=True)
class Quantity:
    """What a heat map colours by."""

    field: str
    """Of the cells."""
    scale: str
    word: str
    form: str
    """percent, number, rank or signed."""


QUANTITIES = {
    "probability": Quantity("max_p", "probability", "probability", "percent"),
    "target": Quantity("target_p", "probability", "target", "percent"),
    "rank": Quantity("target_rank", "probability", "target_rank", "rank"),
    "entropy": Quantity("entropy", "amount", "entropy", "number"),
    "kl": Quantity("kl_final", "amount", "kl", "number"),
    "logit": Quantity("top_logit", "signed", "added", "signed"),
}


def share(value: float | int, high: float | int, form: str) -> float:
    """Where a value lies on its scale, 0 to 1; `high` is the largest there is."""
    if form == "percent":
        return float(value)
    if form == "rank":
        return 1 - math.log1p(value) / math.log1p(high)
    return 0.5 + 0.5 * value / high if form == "signed" else value / high


def ends(high: float | int, form: str) -> tuple[str, str]:
    """The two ends of the legend."""
    if form == "percent":
        return "0", "100%"
    if form == "rank":
        return str(int(high) + 1), "1"
    if form == "signed":
        return number(-high, 1), number(high, 1, signed=True)
    return "0", number(high, 1)


def written(value: float | int, form: str, *, short: bool = False) -> str:
    """A value as it stands in the hover label, or without its unit in a cell."""
    if form == "percent":
        return f"{100 * value:.0f}" if short else percent(value)
    if form == "rank":
        return f"{value + 1:.0f}"
    return number(value, 1 if short else 2, signed=form == "signed")
