"""Round numbers along the axes of charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lens_core.figures.style import Palette, axis
from lens_core.figures.text import escape


def round_ticks(low: float | int, high: float | int, *, least: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 of a power of ten that span from `low` to `high`.

    Args:
        low: the least value; the first tick is not above it.
        high: the largest value; the last tick is not below it.
        least: about how many there are.
    """
    reach = high - low if high > low else abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(reach / least))
    step = next(size * unit for size in (1, 2, 5, 10) if size * unit >= reach / least * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, max(last, first + 1) + 1)]


def written(tick: float | int) -> str:
    """A tick as it stands at the axis, with a real minus."""
    return f"{tick:.6g}".replace("-", "−")


def number_axis(
    colours: Palette,
    ticks: Sequence[float | int],
    *,
    title: str | None = None,
    zero: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """An axis from the first tick to the last, with its name where it has one (not escaped)."""
    low, high = ticks[0], ticks[-1]
    room = 0.025 * (high - low)
    named: Mapping[str, Any] = {}
    if title is not None:
        lines = "<br>".join(escape(line) for line in title.split("\n"))
        font = {"size": 12, "color": colours.subdued}
        named = {"title": {"text": lines, "font": font, "standoff": 8}}
    given: dict[str, Any] = {
        "range": [low - room, high + room],
        "tickmode": "array",
        "tickvals": list(ticks),
        "ticktext": [escape(written(tick)) for tick in ticks],
        "ticklabelstandoff": 4,
        "zeroline": zero,
        "zerolinecolor": colours.stream,
        "zerolinewidth": 1,
        **named,
        **options,
    }
    return axis(colours, **given)
