"""Figures as JSON for the page, and as files that need nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go


def figure_json(figure: go.Figure) -> dict[str, Any]:
    """`{"data", "layout"}` of a figure as plain Python values, ready for `json.dumps`."""
    written: dict[str, Any] = json.loads(figure.to_json(validate=False) or "{}")
    return {"data": written.get("data", []), "layout": written.get("layout", {})}


def save_html(figure: go.Figure, path: str | Path) -> Path:
    """Write a page of its own that needs no network: plotly.js (4.8 MB) is inside.

    Args:
        figure: a figure of this package.
        path: of the file, which is replaced.
    """
    path = Path(path)
    config = {"displaylogo": False, "responsive": True}
    page = figure.to_html(include_plotlyjs=True, full_html=True, config=config)
    path.write_text(page, encoding="utf-8")
    return path
