"""The edits of a session: opened from a file, chosen in the bar, held for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from tabs import said
from tabs.runtime import MAX_EDIT_BYTES, UserError, user_errors
from tabs.viewers import drawn
from tabs.words import text

ORIGINAL = "none"
"""The model as it is."""
OPEN = "open"
"""Not an edit: asks for a file."""
CHOOSE_FILE = (
    "(edit) => edit === 'open' && document.querySelector('.lens-edit-file input')?.click()"
)


def opened_edit(edit: gr.Dropdown, edits: gr.State, status: gr.HTML) -> None:
    """Wire the picker: "Open a file" asks the browser for one, and what it holds is chosen."""
    file = gr.File(
        label=text("edit.file"),
        file_types=[".safetensors"],
        elem_classes="lens-unseen lens-edit-file",
    )
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    edit.input(None, inputs=[edit], js=CHOOSE_FILE, **private)
    file.upload(_read, inputs=[file, edits], outputs=[edit, edits, status, file], **private)


def _read(path: str, edits: dict[str, Any]) -> tuple[Any, Any, Any, None]:
    """The picker with the file's edit chosen, or what is wrong with the file."""
    from lens_core.weight_edit import load_edit

    try:
        with user_errors():
            found = load_edit(path, max_bytes=MAX_EDIT_BYTES).to_json()
    except UserError as error:
        return gr.Dropdown(value=ORIGINAL), gr.skip(), drawn(said.failure(error)), None
    edits = {**edits, Path(path).stem: found}
    return choices(edits, Path(path).stem), edits, gr.skip(), None


def choices(edits: dict[str, Any], chosen: str) -> gr.Dropdown:
    """The picker's choices: the original, the session's edits, and a file."""
    names = [(name, name) for name in edits]
    offered = [(text("edit.none"), ORIGINAL), *names, (text("edit.open"), OPEN)]
    return gr.Dropdown(choices=offered, value=chosen)
