"""Figures of a command as files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lens_core.cli.output import writing

if TYPE_CHECKING:
    import plotly.graph_objects as go


def write_pictures(figures: Sequence[go.Figure], *, png: str | None, html: str | None) -> None:
    """The first figure as a picture, all of them as one page.

    Raises:
        InputError: a file cannot be written.
    """
    from lens_core.figures import save_html, save_png

    if png is not None:
        with writing(png):
            save_png(figures[0], png)
    if html is not None:
        with writing(html):
            save_html(figures, html)
