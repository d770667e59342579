"""Rows with names, notes, rules and whiskers: what figures of attributions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lens_core.figures.style import FONT, Palette, axis, frame
from lens_core.figures.text import escape, width

COLUMNS = 24
"""Names of features and methods are cut at so many columns."""


def notes(texts: Sequence[str], start: int, colours: Palette) -> dict[str, Any]:
    """Escaped texts to the right of the zero line."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": [0] * len(texts),
        "y": list(range(start, start + len(texts))),
        "text": list(texts),
        "textposition": "middle right",
        "textfont": {"family": FONT, "size": 12, "color": colours.text},
        "hoverinfo": "skip",
        "meta": {"role": "note"},
    }


def named_rows(
    labels: Sequence[str], colours: Palette, title: str | None, row: int, **axes: Any
) -> dict[str, Any]:
    """Rows from the top down with their names."""
    lines = [line for label in labels for line in label.split("\n")]
    top = 12 if not title else 44
    return frame(
        colours,
        title=escape(title) if title else None,
        width=max(720, round(8.5 * width(title or "")) + 24),
        height=top + row * len(labels) + 8,
        margin={"l": 20 + round(6.8 * max(map(width, lines))), "r": 12, "t": top, "b": 8},
        yaxis=axis(
            colours,
            range=[len(labels) - 0.5, -0.5],
            tickmode="array",
            tickvals=list(range(len(labels))),
            ticktext=[escape(label).replace("\n", "<br>") for label in labels],
            ticklabelstandoff=6,
        ),
        uirevision=f"attribution {len(labels)}",
        **axes,
    )


def rule(y: float, colours: Palette) -> dict[str, Any]:
    """A hairline between two rows."""
    return {
        "type": "line",
        "name": "rule",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": y,
        "y1": y,
        "line": {"color": colours.rule, "width": 1},
    }


def whiskers(errors: Sequence[float | None], colours: Palette) -> dict[str, Any]:
    """Standard errors at the ends of bars; nothing where none is known."""
    if all(error is None for error in errors):
        return {}
    # Grey reads on the bars and on the ground of both themes.
    look = {"color": colours.stream, "thickness": 1.5, "width": 4}
    return {"error_x": {"type": "data", "array": [error or 0.0 for error in errors], **look}}
