"""What the stacks and tables of this tab are made of."""

from __future__ import annotations

from typing import Any

from tabs.words import phrase


def view(key: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    """One view of a stack."""
    return {"key": key, "name": name, "value": value}


def column(key: str, kind: str, *, phone: bool = False, **more: Any) -> dict[str, Any]:
    """A column of a table; `phone`: it stays on a narrow page."""
    label = phrase(f"attention.column_{key}")
    return {"key": key, "label": label, "kind": kind, "sortable": True, "phone": phone, **more}
