"""Which heads look at a token: layers x heads, or layers x tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tabs.attention.session import Session
from tabs.attention.strip_views import asked_entry
from tabs.logit_lens.views import short
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core.attention import AttentionViews

MAX_COLUMNS = 64
"""Tokens that the map of layers x tokens draws, the last ones up to the query."""
QUANTITIES = {
    "weight": ("attention", "percent"),
    "norm": ("attention", "number"),
    "entropy": ("amount", "number"),
    "effective_tokens": ("amount", "number"),
}


def grid(session: Session) -> dict[str, Any]:
    """The map that was chosen."""
    if session.shown.looked.views is None:
        text = session.shown.looked.reason
        return {"state": "empty", "title": phrase("attention.heads_title"), "text": text}
    if session.look.grid == "depth":
        return depth_map(session)
    return heads_map(session)


def heads_map(session: Session) -> dict[str, Any]:
    """What every head of every layer pays to the selected token."""
    views = session.shown.looked.views
    assert views is not None
    layers, tables = views.rows.layers, head_tables(views, session.group)
    cell = None
    if session.look.layers == "one" and session.look.one_head is not None:
        cell = [layers[::-1].index(session.look.layer), session.look.one_head]
    quantities = [_quantity(name, table) for name, table in tables.items()]
    return {
        **_frame(views),
        "title": {**phrase("attention.heads"), "entry": asked_entry(session)},
        "how": phrase("attention.heads_how"),
        "card": "attention.heads_card",
        "columns": [_head(views, head) for head in range(session.n_heads)],
        "tokens": [[None] * session.n_heads for _ in layers],
        "quantities": quantities,
        "quantity": session.look.quantity if session.look.quantity in tables else "weight",
        "facts": [_fact(name) for name in tables],
        "selected": cell,
        "notes": _groups_note(session, views),
    }


def head_tables(views: AttentionViews, group: list[int]) -> dict[str, np.ndarray]:
    """[layer, head] of every quantity, summed over the tokens; norms where there are any."""
    rows = views.rows
    found = {"weight": rows.rows[:, 0][..., group].sum(-1)}
    if views.norms is not None:
        found["norm"] = views.norms[..., group].sum(-1)
    return {
        **found,
        "entropy": rows.entropy[:, 0],
        "effective_tokens": rows.effective_tokens[:, 0],
    }


def depth_map(session: Session) -> dict[str, Any]:
    """Where attention goes with depth: the mean of the heads on every token, layer by layer."""
    views = session.shown.looked.views
    assert views is not None
    stop = session.query + 1
    columns = range(max(0, stop - MAX_COLUMNS), stop)
    table = views.head_max if session.look.head == "max" else views.head_mean
    tables = {"weight": table[:, columns.start : stop]}
    if views.norms is not None:
        tables["norm"] = views.norms.mean(1)[:, columns.start : stop]
    name = session.look.quantity if session.look.quantity in tables else "weight"
    cut = phrase("attention.depth_cut", first=columns.start) if columns.start else None
    return {
        **_frame(views),
        "title": phrase("attention.depth"),
        "how": phrase("attention.depth_how"),
        "card": "attention.depth_card",
        "columns": [{"token": session.tokens[at], "position": at} for at in columns],
        "tokens": [[None] * len(columns) for _ in views.rows.layers],
        "quantities": [_quantity(key, values) for key, values in tables.items()],
        "quantity": name,
        "facts": [_fact(key) for key in tables],
        "selected": None,
        "notes": [] if cut is None else [cut],
    }


def _frame(views: AttentionViews) -> dict[str, Any]:
    rows = [{"label": f"L{layer}", "title": f"L{layer}"} for layer in views.rows.layers[::-1]]
    return {
        "state": "done",
        "name": "attention-heads",
        "files": ["png", "html"],
        "rows": rows,
        "vocab": {},
        "earlier": 0,
        "later": 0,
    }


def _head(views: AttentionViews, head: int) -> dict[str, Any]:
    """The label of a head, and the key/value head that it reads."""
    groups = views.rows.kv_head[:, head]
    if len(np.unique(views.rows.kv_head)) == views.rows.rows.shape[2]:
        return {"label": f"H{head}", "title": phrase("attention.head", head=head)}
    title = phrase("attention.head_of_group", head=head, group=int(groups[0]))
    return {"label": f"H{head}", "title": title}


def _quantity(name: str, table: np.ndarray) -> dict[str, Any]:
    scale, kind = QUANTITIES[name]
    values = short(table[::-1].astype(float).tolist(), digits=4)
    high = float(np.nanmax(table)) if table.size else 1.0
    return {
        "key": name,
        "label": phrase(f"attention.quantity_{name}"),
        "title": phrase(f"attention.legend_{name}"),
        "scale": scale,
        "low": 0,
        "high": high or 1.0,
        "format": kind,
        "values": values,
    }


def _fact(name: str) -> dict[str, Any]:
    kind = QUANTITIES[name][1]
    unit = phrase("lens.nats") if name == "entropy" else None
    label = phrase(f"attention.quantity_{name}")
    return {"label": label, "unit": unit, "format": kind, "quantity": name}


def _groups_note(session: Session, views: AttentionViews) -> list[Any]:
    kinds = len(np.unique(views.rows.kv_head))
    if kinds == session.n_heads:
        return []
    return [phrase("attention.groups", heads=session.n_heads, groups=kinds)]
