"""What the views of this tab are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.words import phrase

__all__ = ["cells", "chart", "column", "short", "site_name", "table", "view"]


SITES = {
    "layer_": "L",
    "attn_out_": "attn L",
    "mlp_out_": "MLP L",
    "resid_mid_": "mid L",
    "mlp_act_": "neurons L",
    "heads_": "heads L",
}
"""What sites of layers are called beside a row."""


def view(key: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    """One view of a stack."""
    return {"key": key, "name": name, "value": value}


def column(key: str, kind: str, *, phone: bool = False, **more: Any) -> dict[str, Any]:
    """A column of a table; `phone`: it stays on a narrow page."""
    label = phrase(f"pairs.column_{key}")
    return {"key": key, "label": label, "kind": kind, "sortable": True, "phone": phone, **more}


def chart(figure: Any, name: str, summary: dict[str, Any], *, height: int = 320) -> dict[str, Any]:
    """A figure of the core, in the colours of the page."""
    from lens_core.figures import figure_json

    return {
        "figure": None if figure is None else figure_json(figure),
        "name": name,
        "summary": summary,
        "height": height,
        "empty": None,
    }


def cells(values: np.ndarray, *, digits: int = 4) -> list[Any]:
    """Rows of numbers from the last one up; None where there is none."""
    rows = values[::-1].astype(float).tolist()
    return [[short(value, digits) if np.isfinite(value) else None for value in row] for row in rows]


def site_name(site: str) -> str:
    """A site as it stands beside a row: embed, L3, attn L3."""
    for prefix, short_name in SITES.items():
        if site.startswith(prefix):
            return short_name + site.removeprefix(prefix)
    return site.replace("_", " ")
