"""Figures as PNG by Matplotlib: sharp at any resolution, without a browser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.drawing import Drawer
from lens_core.figures.lens_grids import heatmap
from lens_core.figures.output import figure_json
from lens_core.figures.record import Result

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDTH, HEIGHT = 720, 260
"""Pixels of a figure that names no size; there are 96 to an inch."""
MAX_PIXELS = 40_000_000
"""Of the picture: 160 MB while it is drawn."""


def save_png(
    source: Result | go.Figure,
    path: str | Path,
    *,
    component: str = "resid_post",
    quantity: str = "probability",
    dpi: int = 300,
) -> Path:
    """Write a figure, or the heat map of a result, as a PNG file.

    Chinese, Japanese and every other script are drawn with the first installed font that has the
    character; one that no font has becomes an empty box. Emoji that exist only in colour fonts
    are such boxes: Matplotlib cannot draw them. Pictures of more than 40 million pixels get
    fewer dots per inch.

    Args:
        source: a figure of this package, or a logit lens (or its JSON form).
        path: of the file, which is replaced.
        component: of the heat map of a result.
        quantity: of the heat map of a result.
        dpi: dots per inch, 30 to 1200; a figure has 96 of its pixels to an inch.

    Raises:
        InputError: a dpi outside its range, or a heat map that the result does not have.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not 30 <= dpi <= 1200:
        raise InputError(f"dpi is {dpi}; it can be 30 to 1200.")
    made: Any = source
    if not hasattr(source, "to_plotly_json"):
        made = heatmap(made, component, quantity)
    drawing = figure_json(made)
    layout = drawing["layout"]
    width, height = layout.get("width", WIDTH), layout.get("height", HEIGHT)
    sheet = Figure(figsize=(width / 96, height / 96), facecolor=layout["paper_bgcolor"])
    canvas = FigureCanvasAgg(sheet)
    Drawer(sheet, drawing, float(width), float(height)).draw()
    largest = math.sqrt(MAX_PIXELS / (width * height)) * 96
    path = Path(path)
    canvas.print_figure(
        str(path), dpi=min(dpi, largest), format="png", facecolor=sheet.get_facecolor()
    )
    return path
