"""What the buttons of edits do: keep, switch, weaken, save and undo them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lens_core.errors import EditError
from tabs import said
from tabs.graph.clicks import sent, serial
from tabs.repair import views
from tabs.repair.edit_views import edit_list
from tabs.repair.session import Session
from tabs.runtime import UserError, user_errors
from tabs.session_edits import (
    KeptEdit,
    named,
    picker,
    switched,
    with_edit,
    with_strength,
    without,
)
from tabs.viewers import drawn
from tabs.words import phrase

MAX_STRENGTH = 1.5
Edits = Mapping[str, KeptEdit]
"""No alias in quotes: Gradio reads the types of handlers to see which take an event."""
Changed = tuple[Any, Any, Any]
"""The session's edits, the bar's list of them, and the notice."""


@dataclass(frozen=True, eq=False)
class Made:
    """An edit that a run has made, before it is among those of the session.

    Each is another one: the same edit made again is kept again where it was undone.
    """

    label: str
    edit: dict[str, Any]
    base: tuple[tuple[str, float], ...]
    """(id, strength) of the edits that it was made on top of."""


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found of the edits in use together, before the session knows it."""

    retained: tuple[dict[str, Any], ...]
    """By edit: its id, its strength, and the share of its targets that still comes out."""
    collapsed: bool


def note(found: Checked | None, session: Session | None) -> tuple[Any, None]:
    """The session as it is now with what was found; that is told once."""
    if found is None or session is None:
        return gr.skip(), None
    return session.checked(found.retained, collapsed=found.collapsed), None


def keep(made: Made | None, edits: Edits) -> Changed:
    """The new edit among those of the session, switched off."""
    if made is None:
        return gr.skip(), gr.skip(), gr.skip()
    name = named(made.label, made.edit)
    try:
        with user_errors():
            found = with_edit(edits, name, made.edit, base=made.base)
    except UserError as error:
        return gr.skip(), gr.skip(), drawn(said.remark(error))
    gone = [other for other in edits if other not in found]
    notice = {"text": phrase("repair.made_room", names=", ".join(gone))} if gone else {}
    return found, picker(found), drawn(notice)


def made_name(session: Session, edits: Edits) -> str:
    """The name of the edit that the last run made.

    Raises:
        UserError: there is none, or none any more.
    """
    for name, kept in edits.items():
        if kept.id == session.edit_id:
            return name
    with user_errors():
        raise EditError(
            "The last repair has 0 edits here: it made none, or was undone. Repair again."
        )


def use(edits: Edits, session: Session | None) -> Changed:
    """The new edit is switched on for every tab, or off again."""
    name = _own(edits, session)
    return _told(*switched(edits, name, not edits[name].on), key="switched")


def undo(edits: Edits, session: Session | None) -> Changed:
    """The new edit goes."""
    return _told(*without(edits, _own(edits, session)), key="gone")


def save(edits: Edits, session: Session | None) -> str:
    """The new edit as a file."""
    return file_of(edits, _own(edits, session))


def switch(event: gr.EventData, edits: Edits) -> Changed:
    """An edit of the list is switched on or off."""
    on = sent(event, "on")
    if not isinstance(on, bool):
        raise gr.Error(f"There is no switch {on!r} here.", print_exception=False)
    return _told(*switched(edits, _listed(event, edits), on), key="switched")


def weaken(event: gr.EventData, edits: Edits) -> Changed:
    """An edit of the list has another strength."""
    value = sent(event, "value")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= MAX_STRENGTH:
        raise gr.Error(f"There is no strength {value!r} here.", print_exception=False)
    found, others = with_strength(edits, _listed(event, edits), float(value))
    return _told(found, others, key="switched")


def remove(event: gr.EventData, edits: Edits) -> Changed:
    """An edit of the list goes."""
    return _told(*without(edits, _listed(event, edits)), key="gone")


def save_listed(event: gr.EventData, edits: Edits) -> str:
    """An edit of the list as a file."""
    return file_of(edits, _listed(event, edits))


def file_of(edits: Edits, name: str) -> str:
    """What the browser saves of an edit: the file that it holds as text."""
    stem = "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")
    return drawn(
        {
            "name": f"{stem or 'edit'}.safetensors",
            "type": "application/octet-stream",
            "base64": edits[name].edit["safetensors"],
            "serial": serial(),
        }
    )


def listed(edits: Edits, session: Session | None, outcome: str) -> tuple[str, str]:
    """The list of edits, and the outcome with what its edit is now and what can be done with it."""
    value = json.loads(outcome)
    if value["state"] == "done":
        own = [kept for kept in edits.values() if session and kept.id == session.edit_id]
        on = any(kept.on for kept in own)
        value = views.with_edit(value, kept=bool(own), on=on)
    return drawn(edit_list(edits, session)), drawn(value)


def _listed(event: gr.EventData, edits: Edits) -> str:
    """The edit that an event is about, by its name: a place changes when another is made."""
    name = sent(event, "name")
    if not isinstance(name, str) or name not in edits:
        raise gr.Error(f"There is no edit {name!r} here.", print_exception=False)
    return name


def _own(edits: Edits, session: Session | None) -> str:
    if session is None:
        raise gr.Error("There is no edit here.", print_exception=False)
    return made_name(session, edits)


def _told(edits: Edits, others: list[str], *, key: str) -> Changed:
    """The edits with what was said of others that had to follow."""
    notice = {"text": phrase(f"repair.also_{key}", names=", ".join(others))} if others else {}
    return edits, picker(edits), drawn(notice)
