"""Pictures that are drawn by Matplotlib alone: the files of the original projects.

Text is plain on them: no formulas, every script in the first installed font that has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.errors import InputError
from lens_core.figures.fonts import choose_fonts
from lens_core.figures.style import LIGHT
from lens_core.figures.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

DPI = 150
MAX_PIXELS = 40_000_000
"""Of a picture: 160 MB while it is drawn."""


def sheet(width: int, height: int) -> Figure:
    """An empty sheet of so many pixels, 96 to an inch; its panels make room for their labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 96, height / 96), facecolor=LIGHT.panel, layout="constrained")


def panel(on: Figure, rows: int = 1, columns: int = 1, place: int = 1) -> Axes:
    """One of a grid of panels, numbered from 1: no frame, horizontal rules."""
    axes = on.add_subplot(rows, columns, place)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=9, labelcolor=LIGHT.subdued, pad=4)
    axes.tick_params(which="minor", length=0, labelsize=8, labelcolor=LIGHT.subdued)
    axes.grid(visible=True, axis="y", color=LIGHT.border, linewidth=0.75)
    return axes


def captions(axes: Axes, title: str, x: str, y: str) -> None:
    """The title of a panel and the names of its axes."""
    axes.set_title(title, fontsize=12, color=LIGHT.text, loc="left", pad=10)
    axes.set_xlabel(x, fontsize=10, color=LIGHT.subdued, labelpad=6)
    axes.set_ylabel(y, fontsize=10, color=LIGHT.subdued, labelpad=6)


def named_ticks(
    axes: Axes, places: ArrayLike, names: Sequence[str], *, most: int | None = None
) -> None:
    """Names along the x axis, slanted where they are long; only every so many where crowded."""
    step = max(1, math.ceil(len(names) / most)) if most else 1
    shown = list(names[::step])
    axes.set_xticks(np.asarray(places, dtype=float)[::step].tolist(), shown)
    made: Any = axes.figure
    inches = axes.get_position().width * made.get_figwidth()
    if sum(len(name) + 2 for name in shown) > 14 * inches:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def legend(axes: Axes, **options: Any) -> None:
    """The names of what is drawn, without a frame."""
    axes.legend(frameon=False, fontsize=9, labelcolor=LIGHT.text, **options)


def log_scale(axes: Axes, values: Sequence[float | int]) -> None:
    """A logarithmic y axis around some values, with numbers a person reads."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = min(known), max(known)
    room = max((high / low) ** 0.08, 1.05)
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    # Within one power of ten its halves would be all the numbers there are.
    fine = high / low < 30
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if fine else (1,), numticks=9)
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if not any(low / room <= tick <= high * room for tick in axes.get_yticks()):
        axes.set_yticks([low, high] if high > low else [low])


def short(value: float | int) -> str:
    """A number of any size in a few characters."""
    if value == 0 or 0.001 <= abs(value) < 1e5:
        digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        text = number(value, digits)
        return text.rstrip("0").rstrip(".") if "." in text else text
    # As 1.5e6: a tick has little room.
    head, _, power = f"{value:.2g}".partition("e")
    return f"{head}e{int(power)}".replace("-", "−") if power else head.replace("-", "−")


def save_sheet(made: Figure, path: Path, *, dpi: int = DPI) -> Path:
    """Write a sheet as PNG, its folder made where it is missing.

    Raises:
        InputError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    texts = [one for one in made.findobj(Text) if isinstance(one, Text)]
    fonts = choose_fonts("".join(one.get_text() for one in texts))
    for one in texts:
        one.set_parse_math(False)
        one.set_fontfamily(fonts.families())
        one.set_text(fonts.drawable(one.get_text()))
    width, height = made.get_size_inches()
    largest = math.sqrt(MAX_PIXELS / (width * height))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(made).print_figure(
            str(path), dpi=min(dpi, largest), format="png", facecolor=made.get_facecolor()
        )
    except OSError as error:
        raise InputError(
            f'The picture "{path}" cannot be written: {error.strerror}. Give another place.'
        ) from error
    return path
