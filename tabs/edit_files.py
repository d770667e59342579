"""The edits of a session: opened from a file, chosen in the bar, held for a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
MAX_EDITS = 4
"""How many edits a session keeps; the oldest goes when another comes."""
CHOOSE_FILE = """(edit) => {
  if (edit !== "open") return (lens.shell.edit = edit);
  document.querySelector(".lens-edit-file input")?.click();
  return lens.shell.edit ?? "none";
}"""
"""Choosing "Open a file" asks for one, and leaves the picker at what it was."""


def opened_edit(edit: gr.Dropdown, edits: gr.State, notice: gr.HTML, *, limited: bool) -> None:
    """Wire the picker: "Open a file" asks the browser for one, and what it holds is chosen."""
    file = gr.File(
        label=text("edit.file"),
        file_types=[".safetensors"],
        elem_classes="lens-unseen lens-edit-file",
    )
    max_bytes = MAX_EDIT_BYTES * 3 // 4 if limited else None  # as JSON it is a third larger

    def opened(path: str, edits: dict[str, Any]) -> tuple[Any, Any, Any, None]:
        try:
            with user_errors():
                edits, name = with_file(edits, path, max_bytes)
        except UserError as error:
            return gr.skip(), gr.skip(), drawn(said.remark(error)), None
        return _choices(edits, name), edits, drawn({}), None

    edit.input(None, inputs=[edit], outputs=[edit], js=CHOOSE_FILE, **PRIVATE)
    file.upload(opened, inputs=[file, edits], outputs=[edit, edits, notice, file], **PRIVATE)


def with_file(
    edits: Mapping[str, Any], path: str, max_bytes: int | None
) -> tuple[dict[str, Any], str]:
    """The session's edits with that of a file, and its name: the file's and the edit's own id.

    Raises:
        EditError: the file is damaged or too large.
    """
    from lens_core.weight_edit import load_edit

    found = load_edit(path, max_bytes=max_bytes).to_json()
    name = f"{Path(path).stem} · {found['id'][:6]}"
    kept = list({**edits, name: found}.items())[-MAX_EDITS:]
    return dict(kept), name


def named_edit(edits: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The edit of that name; None for the original model.

    Raises:
        EditError: the session has no such edit.
    """
    if name in edits:
        return edits[name]
    if name != ORIGINAL:
        raise EditError(
            f'This session has no edit "{name}"; it keeps the last {MAX_EDITS}. '
            "Open its file again."
        )
    return None


def _choices(edits: Mapping[str, Any], chosen: str) -> gr.Dropdown:
    """The picker: the original, the session's edits, and a file."""
    names = [(name, name) for name in edits]
    offered = [(text("edit.none"), ORIGINAL), *names, (text("edit.open"), OPEN)]
    return gr.Dropdown(choices=offered, value=chosen)
