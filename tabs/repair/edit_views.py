"""What the list of the session's edits shows of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabs.repair.session import Session
from tabs.repair.views import LIGHTS, TONES, in_bytes, said
from tabs.session_edits import KeptEdit
from tabs.words import phrase

LAYERS = 6
"""More layers than this are only counted."""


def edit_list(edits: Mapping[str, KeptEdit], session: Session | None) -> dict[str, Any]:
    """The edits of the session, the newest first."""
    items = [_item(name, kept, session) for name, kept in edits.items()][::-1]
    on = {kept.id for kept in edits.values() if kept.on}
    banner = None
    if session is not None and session.damaging and on.issuperset(session.damaging):
        banner = said(phrase("repair.collapse"), "poor")
    return {
        "title": phrase("repair.edits"),
        "how": phrase("repair.edits_how"),
        "items": items,
        "total": phrase("repair.edits_on", n=len(on)) if len(on) > 1 else None,
        "banner": banner,
        "empty": phrase("repair.edits_none"),
    }


def _item(name: str, kept: KeptEdit, session: Session | None) -> dict[str, Any]:
    edit, known = kept.edit, session or Session({}, None)
    share, measured_at = known.holds.get(kept.id, (None, None))
    return {
        "name": name,
        "label": name,
        "facts": _facts(edit),
        "pill": _pill(edit, known),
        "on": kept.on,
        "strength": kept.strength,
        "holds": phrase("repair.still", share=share_text(share))
        if share is not None and kept.strength == measured_at
        else None,
        "new": kept.id == known.edit_id,
    }


def _facts(edit: Mapping[str, Any]) -> list[Any]:
    layers = [part["layer"] for part in edit["layers"]]
    columns = sum(part["columns"] for part in edit["layers"])
    named = ", ".join(f"L{layer}" for layer in layers)
    where = named if len(layers) <= LAYERS else phrase("repair.n_layers", n=len(layers))
    size = in_bytes(len(edit["safetensors"]) * 3 / 4)
    many = phrase("repair.fact_columns", n=columns)
    return [phrase("repair.fact_column") if columns == 1 else many, where, size, edit["model"]]


def _pill(edit: Mapping[str, Any], known: Session) -> dict[str, Any]:
    """How it went and what else it changed; of an edit from a file only that."""
    light = known.lights.get(edit["id"])
    status = known.made.get(edit["id"])
    if status is None:
        return said(phrase("repair.from_file"), "")
    if status == "repaired" and light is not None:
        return said(phrase(f"repair.light_{light}"), LIGHTS[light])
    return said(phrase(f"repair.status_{status}"), TONES[status])


def share_text(share: float | None) -> Any:
    """How much of what an edit is for still comes out."""
    return phrase("repair.share_unknown") if share is None else f"{100 * share:.0f}%"
