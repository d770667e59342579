"""Names at the ends of lines, pushed apart so that each can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lens_core.figures.style import MONO, Palette
from lens_core.figures.text import cut, escape

GAP = 15.0
"""Pixels between the labels."""
COLUMNS = 16
SIZE = 13


def end_labels(
    ends: Sequence[tuple[str, int | None, float]],
    x: int,
    room: int,
    axis: tuple[float, float],
    colours: Palette,
) -> list[dict[str, Any]]:
    """The names, each in the colour of its line.

    Args:
        ends: (name, series, last value) of each line.
        x: where the lines end.
        room: pixels of the y axis.
        axis: its range.
        colours: of the theme.
    """
    low, high = axis
    pixels = room / (high - low)
    order = sorted(range(len(ends)), key=lambda i: (ends[i][2], -i))
    wanted = [(ends[i][2] - low) * pixels for i in order]
    found = []
    for i, want, place in zip(
        order, wanted, pushed_apart(wanted, GAP, 2.0, room + 4.0), strict=True
    ):
        name, series, p = ends[i]
        shade = colours.subdued if series is None else colours.series[series - 1]
        found.append(
            {
                "name": "subdued" if series is None else f"series-{series}",
                "text": f"<b>{escape(cut(name, COLUMNS))}</b>",
                "x": x,
                "y": p,
                "xanchor": "left",
                "yanchor": "middle",
                "xshift": 8,
                "yshift": round(place - want, 1),
                "showarrow": False,
                "font": {"family": MONO, "size": SIZE, "color": shade},
            }
        )
    return found


def pushed_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least `gap` apart, in the same order, as near to the wanted ones as can be.

    Least squares by pooling neighbours that are too close; then moved as a whole into
    [low, high] where they fit.

    Args:
        wanted: in ascending order, in pixels.
        gap: the least distance.
        low: of the range.
        high: of the range.
    """
    pools: list[tuple[float, int]] = []
    for i, place in enumerate(wanted):
        mean, count = place - i * gap, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (other * size + mean * count) / (size + count), size + count
        pools.append((mean, count))
    bases = [mean for mean, count in pools for _ in range(count)]
    last = (len(bases) - 1) * gap
    # The same bounds for every base keep both the order and the gaps.
    most = max(low, high - last)
    return [min(most, max(low, base)) + i * gap for i, base in enumerate(bases)]
