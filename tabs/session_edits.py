"""The edits of a session: made by a repair or opened from a file, and held while they are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from lens_core.errors import EditError
from tabs import said
from tabs.runtime import MAX_EDIT_BYTES, UserError, user_errors
from tabs.viewers import drawn
from tabs.wiring import PRIVATE
from tabs.words import text

ORIGINAL = "none"
"""The model as it is."""
OPEN = "open"
"""Not an edit: asks for a file."""
MAX_EDITS = 12
"""How many edits a session keeps."""
MAX_KEPT_BYTES = 4 * MAX_EDIT_BYTES
"""And how large they are together, as JSON text."""
FILE_INPUT = ".lens-edit-file input"
"""Where the browser is asked for a file."""
CHOOSE_FILE = f"""(edit, edits) => {{
  if (edit === "{OPEN}") document.querySelector("{FILE_INPUT}")?.click();
  return [edit, edits];
}}"""


@dataclass(frozen=True)
class KeptEdit:
    """One edit of a session."""

    edit: dict[str, Any]
    """A `WeightEdit` as JSON."""
    strength: float = 1.0
    on: bool = False
    """Whether it holds in every tab."""
    base: tuple[tuple[str, float], ...] = ()
    """(name, strength) of the edits that it was made on top of, which have to be on with it."""

    @property
    def id(self) -> str:
        """That of the weight edit."""
        return self.edit["id"]

    def __hash__(self) -> int:
        """Gradio tells by it whether a session's edits have changed."""
        return hash((self.id, self.strength, self.on, self.base))


Base: TypeAlias = "Sequence[tuple[str, float]]"
Edits: TypeAlias = "Mapping[str, KeptEdit]"
"""Name -> edit, in the order in which they are applied."""


def named(label: str, edit: Mapping[str, Any]) -> str:
    """The name of an edit in the session: what it is for, and the start of its id."""
    return f"{label} · {edit['id'][:6]}"


def with_edit(
    edits: Edits, name: str, edit: dict[str, Any], *, on: bool = False, base: Base = ()
) -> dict[str, KeptEdit]:
    """The edits with one more; where there is no room, the first that are off go.

    An edit that is there already, whatever its name, keeps its place and its strength.

    Args:
        edits: of the session.
        name: see `named`.
        edit: a `WeightEdit` as JSON.
        on: whether it holds from now on, with those that it was made on.
        base: (id, strength) of the edits that it was made on.

    Raises:
        EditError: all edits that are kept are on.
    """
    found = dict(edits)
    known = [other for other, kept in edits.items() if kept.id == edit["id"]]
    if not known:
        while len(found) >= MAX_EDITS or (found and _size(edit, *_records(found)) > MAX_KEPT_BYTES):
            found.pop(_spare(found))
        names = {kept.id: other for other, kept in found.items()}
        below = tuple((names[id_], strength) for id_, strength in base if id_ in names)
        found[name] = KeptEdit(edit, base=below)
    return switched(found, [*known, name][0], True)[0] if on else found


def _records(edits: Edits) -> list[dict[str, Any]]:
    return [kept.edit for kept in edits.values()]


def _size(*records: dict[str, Any]) -> int:
    return sum(len(record["safetensors"]) for record in records)


def _spare(edits: Edits) -> str:
    for name, kept in edits.items():
        if not kept.on and not _above(edits, name):
            return name
    raise EditError(
        f"This session keeps {len(edits)} edits of {_size(*_records(edits))} bytes, and all are in "
        f"use; the most is {MAX_EDITS} edits of {MAX_KEPT_BYTES} bytes. Undo one of them first."
    )


def _above(edits: Edits, name: str) -> list[str]:
    """The edits that were made on top of one."""
    return [other for other, kept in edits.items() if name in dict(kept.base)]


def switched(edits: Edits, name: str, on: bool) -> tuple[dict[str, KeptEdit], list[str]]:
    """One edit switched on, with those it was made on, or off, with those made on it.

    Those it was made on get the strength that they had then.

    Returns:
        The edits, and the names of the others that changed with it.
    """
    found = {**edits, name: replace(edits[name], on=on)}
    if on:
        for other, strength in edits[name].base:
            if other in edits:
                found[other] = replace(edits[other], on=True, strength=strength)
    else:
        found |= {other: replace(edits[other], on=False) for other in _above(edits, name)}
    return found, [other for other in edits if other != name and found[other] != edits[other]]


def with_strength(
    edits: Edits, name: str, strength: float
) -> tuple[dict[str, KeptEdit], list[str]]:
    """One edit at another strength, and the names of those made on it, which go off."""
    found = {**edits, name: replace(edits[name], strength=strength)}
    others = [other for other in _above(edits, name) if edits[other].on]
    return {**found, **{other: replace(edits[other], on=False) for other in others}}, others


def without(edits: Edits, name: str) -> tuple[dict[str, KeptEdit], list[str]]:
    """The edits without one, and the names of those made on it, which go with it."""
    gone = {name, *_above(edits, name)}
    kept = {other: edit for other, edit in edits.items() if other not in gone}
    return kept, sorted(gone - {name})


def active(edits: Edits) -> list[dict[str, Any]]:
    """What a request carries: the edits that are on, each with its strength."""
    return [_carried(kept) for kept in edits.values() if kept.on]


def _carried(kept: KeptEdit) -> dict[str, Any]:
    return {"edit": kept.edit, "strength": kept.strength}


def chosen(edits: Edits, value: str) -> list[dict[str, Any]] | None:
    """What a request carries for what the bar's picker says; None for the original model.

    Raises:
        EditError: the session has no such edit.
    """
    if value not in (ORIGINAL, said_active(edits), *edits):
        raise EditError(
            f'This session has no edit "{value}" any more. Choose one from the list, or open its '
            "file again."
        )
    return active(picked(edits, value)) or None


def said_active(edits: Edits) -> str:
    """What the picker says of the edits that are on: other edits or strengths, another text."""
    on = [(name, kept.strength) for name, kept in edits.items() if kept.on]
    shown = [name if strength == 1 else f"{name} × {strength:g}" for name, strength in on]
    return " + ".join(shown) or ORIGINAL


def picker(edits: Edits) -> gr.Dropdown:
    """The bar's list: the original, every edit alone, those that are on, and a file."""
    value = said_active(edits)
    names = [(name, name) for name in edits if name != value]
    together = [] if value == ORIGINAL else [(value, value)]
    offered = [(text("edit.none"), ORIGINAL), *names, *together, (text("edit.open"), OPEN)]
    return gr.Dropdown(choices=offered, value=value)


def picked(edits: Edits, value: str) -> dict[str, KeptEdit]:
    """The edits after a choice in the picker: only the one that was chosen is on."""
    if value == said_active(edits):
        return dict(edits)
    alone = {name: replace(kept, on=False) for name, kept in edits.items()}
    return switched(alone, value, True)[0] if value in alone else alone


def opened_edit(edit: gr.Dropdown, edits: gr.State, notice: gr.HTML, *, limited: bool) -> None:
    """Wire the picker: an edit that is chosen is switched on; "Open a file" asks for one."""
    file = gr.File(
        label=text("edit.file"),
        file_types=[".safetensors"],
        elem_classes="lens-unseen lens-edit-file",
    )
    max_bytes = MAX_EDIT_BYTES * 3 // 4 if limited else None  # as JSON it is a third larger

    def opened(path: str, edits: Edits) -> tuple[Any, Any, Any, None]:
        try:
            with user_errors():
                found = with_file(edits, path, max_bytes)
        except UserError as error:
            return gr.skip(), gr.skip(), drawn(said.remark(error)), None
        return picker(found), found, drawn({}), None

    def choose(value: str, edits: Edits) -> tuple[Any, Any]:
        found = dict(edits) if value == OPEN else picked(edits, value)
        return picker(found), found

    edit.input(choose, inputs=[edit, edits], outputs=[edit, edits], js=CHOOSE_FILE, **PRIVATE)
    file.upload(opened, inputs=[file, edits], outputs=[edit, edits, notice, file], **PRIVATE)


def with_file(edits: Edits, path: str, max_bytes: int | None) -> dict[str, KeptEdit]:
    """The session's edits with that of a file, which is switched on.

    Raises:
        EditError: the file is damaged or too large.
    """
    from lens_core.weight_edit import load_edit

    found = load_edit(path, max_bytes=max_bytes)
    record = found.to_json()
    name = named(Path(path).stem, record)
    return with_edit(edits, name, record, on=True, base=found.base)
