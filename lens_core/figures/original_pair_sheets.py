"""How the figures of llm-error-correction are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from lens_core.figures.sheet import captions, legend, named_ticks, panel, sheet, short
from lens_core.figures.style import LIGHT
from lens_core.figures.text import cut, number, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lens_core.pairs.record import Pair

COLUMNS = 60
"""Sentences are cut at so many columns."""
HEADER = ("Layer", "Dimension", "Difference", "Sentence 1", "Sentence 2")


@dataclass(frozen=True)
class MinimalDim:
    """A small difference of a pair."""

    layer: int
    dim: int
    difference: float
    sides: tuple[float, float]
    """The activations themselves."""


def heatmap_sheet(
    gap: Float[np.ndarray, "layer dim"],
    layers: Sequence[int],
    dims: Int[np.ndarray, " dim"],
    pair: Pair,
    threshold: float | int,
) -> Figure:
    """Layers, the last on top, by some dims; the darker, the larger the difference."""
    made = sheet(1400, 150 + max(160, 26 * len(layers)))
    axes = panel(made)
    axes.grid(visible=False)
    high = max(2 * threshold, float(np.nanmax(gap, initial=0.0)))
    cells = np.ma.masked_invalid(gap)
    drawn = axes.pcolormesh(cells, cmap="viridis_r", vmin=0, vmax=high)
    captions(axes, f"Activation differences\n{_sentences(pair)}", "Dimension", "Layer")
    named_ticks(axes, np.arange(len(dims)) + 0.5, [str(dim) for dim in dims], most=34)
    step = max(1, len(layers) // 24)
    axes.set_yticks(np.arange(0, len(layers), step) + 0.5, [f"L{one}" for one in layers[::step]])
    bar = made.colorbar(drawn, ax=axes, pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=9, labelcolor=LIGHT.subdued)
    bar.set_label("Activation difference", fontsize=10, color=LIGHT.subdued)
    return made


def bars_sheet(
    least: Sequence[MinimalDim], below: int, pair: Pair, threshold: float | int
) -> Figure:
    """One bar for each of the smallest differences, and the threshold as a line."""
    made = sheet(max(900, 62 * len(least)), 560)
    axes = panel(made)
    heights = [one.difference for one in least]
    places = np.arange(len(least))
    axes.bar(places, heights, 0.7, color=LIGHT.series[0])
    axes.axhline(
        threshold,
        color=LIGHT.lowers,
        linestyle="--",
        linewidth=1.5,
        label=f"Threshold {threshold:g}",
    )
    for place, height in zip(places, heights, strict=True):
        axes.annotate(
            _digits(height), (place, height), (0, 3), textcoords="offset points",
            ha="center", fontsize=9, color=LIGHT.text,
        )  # fmt: skip
    title = f"{_counted(least, below, threshold)}\n{_sentences(pair)}"
    captions(axes, title, "Layer / dimension", "Activation difference")
    axes.set_ylim(0, 1.12 * max([threshold, *heights]))
    named_ticks(axes, places, [f"L{one.layer} / {one.dim}" for one in least])
    legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made


def table_sheet(
    least: Sequence[MinimalDim], below: int, pair: Pair, threshold: float | int
) -> Figure:
    """The same as a table: layer, dimension, difference and both activations."""
    rows = [
        (f"L{one.layer}", str(one.dim), _digits(one.difference), *(_digits(s) for s in one.sides))
        for one in least
    ]
    made = sheet(900, 110 + 30 * (len(rows) + 1))
    axes = panel(made)
    axes.set_axis_off()
    title = f"{_counted(least, below, threshold)}\n{_sentences(pair)}"
    axes.set_title(title, fontsize=12, color=LIGHT.text, loc="left", pad=10)
    axes.set_xlim(0, len(HEADER))
    axes.set_ylim(len(rows) + 1, 0)
    for row, cells in enumerate((HEADER, *rows)):
        for column, text in enumerate(cells):
            # Figures right, the name of the layer left.
            x, side = (0.05, "left") if column == 0 else (column + 0.95, "right")
            ink = LIGHT.subdued if row == 0 else LIGHT.text
            axes.text(x, row + 0.5, text, ha=side, va="center", fontsize=10, color=ink)
        axes.axhline(row + 1, color=LIGHT.border, linewidth=0.75)
    return made


def statistics_sheet(
    layers: Sequence[int], values: Float[np.ndarray, "statistic layer"], count: int
) -> Figure:
    """Three bars a layer: mean, smallest and largest difference."""
    made = sheet(max(900, 46 * len(layers) + 200), 560)
    axes = panel(made)
    places = np.arange(len(layers))
    names = ("Mean difference", "Smallest difference", "Largest difference")
    fills = (LIGHT.series[0], LIGHT.series[1], LIGHT.series[2])
    for at, (name, row, fill) in enumerate(zip(names, values, fills, strict=True)):
        bars = axes.bar(places + 0.27 * (at - 1), row, 0.25, label=name, color=fill)
        if len(layers) <= 16:
            texts = [short(float(value)) for value in row]
            axes.bar_label(bars, texts, padding=2, fontsize=7, color=LIGHT.text)
    captions(
        axes,
        f"Activation differences by layer, mean over {count} pairs",
        "Layer",
        "Activation difference",
    )
    named_ticks(axes, places, [f"L{layer}" for layer in layers], most=40)
    legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made


def _counted(least: Sequence[MinimalDim], below: int, threshold: float | int) -> str:
    few = f"The {len(least)} smallest activation differences"
    if below == 0:
        return f"{few}; none is below {threshold:g}"
    return f"{few}; {below} of all layers are below {threshold:g}"


def _sentences(pair: Pair) -> str:
    sides = (pair.sentence1, pair.sentence2)
    return "\n".join(f"{i}: {_told(side)}" for i, side in enumerate(sides, 1))


def _told(sentence: str) -> str:
    """As a person reads it: spaces as they are, other white space and unseen characters marked."""
    return cut(" ".join(shown({"text": part}) for part in sentence.split(" ")), COLUMNS)


def _digits(value: float) -> str:
    return number(value, 6)
