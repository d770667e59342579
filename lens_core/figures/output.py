"""Figures as JSON for the page, and as files that need nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go


def figure_json(figure: go.Figure) -> dict[str, Any]:
    """`{"data", "layout"}` of a figure as plain Python values, ready for `json.dumps`."""
    written: dict[str, Any] = json.loads(figure.to_json(validate=False) or "{}")
    return {"data": written.get("data", []), "layout": written.get("layout", {})}


def save_html(figures: go.Figure | Sequence[go.Figure], path: str | Path) -> Path:
    """Write a page of its own that needs no network: plotly.js (4.8 MB) is inside.

    Args:
        figures: a figure of this package, or several, one below the other.
        path: of the file, which is replaced.
    """
    path = Path(path)
    several = list(figures) if isinstance(figures, Sequence) else [figures]
    config = {"displaylogo": False, "responsive": True}
    if len(several) == 1:
        page = several[0].to_html(include_plotlyjs=True, full_html=True, config=config)
    else:
        parts = [
            one.to_html(include_plotlyjs=i == 0, full_html=False, config=config)
            for i, one in enumerate(several)
        ]
        ground = several[0].layout.paper_bgcolor if several else "#ffffff"
        head = f'<meta charset="utf-8" /><style>body {{ background: {ground} }}</style>'
        page = f"<html><head>{head}</head><body>{''.join(parts)}</body></html>"
    path.write_text(page, encoding="utf-8")
    return path
