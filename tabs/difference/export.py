"""What was found about pairs as files: JSON, tables, the pairs, and the original tool's own."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import gradio as gr

from lens_core.errors import InputError
from tabs.difference.session import Pairs, Session
from tabs.runtime import UserError
from tabs.viewers import drawn

KINDS = {
    "json": ("pairdiff.json", "application/json"),
    "csv": ("groups.csv", "text/csv"),
    "html": ("pair_layers.html", "text/html"),
    "jsonl": ("pairs.jsonl", "application/jsonl"),
    "original": ("sentence_pairs.json", "application/json"),
}
"""What is saved at once; the zip takes another run."""
ZIP = ("pairs.zip", "application/zip")


def exported(kind: str, session: Session | None, pairs: Pairs) -> str:
    """The file that was asked for, for the browser to save.

    Raises:
        UserError: there is no result yet.
    """
    name, mime = KINDS[kind]
    return saved(name, mime, text=_content(kind, session, pairs))


def saved(name: str, mime: str, **content: str) -> str:
    """A file as the viewer that saves it takes it."""
    return drawn({"name": name, "type": mime, "serial": time.monotonic_ns(), **content})


def zip_file(content: bytes) -> str:
    """The zip, for the browser to save."""
    return saved(*ZIP, base64=base64.b64encode(content).decode())


def _content(kind: str, session: Session | None, pairs: Pairs) -> str:
    from lens_core.pairs import Pair, jsonl, original_json

    listed = [Pair.from_json(record) for record in pairs.records]
    if kind == "jsonl":
        return jsonl(listed)
    if kind == "original":
        return json.dumps(original_json(listed), ensure_ascii=False, indent=1) + "\n"
    found = None if session is None else session.shown
    if found is None:
        raise UserError(InputError("There is no result yet; press Run first."))
    if kind == "csv":
        return found.to_csv()
    if kind == "html":
        return _page(session, found)
    record: Any = found.to_json()
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _page(session: Session | None, found: Any) -> str:
    import tempfile
    from pathlib import Path

    from lens_core.figures import pair_layers, save_html

    assert session is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.html"
        save_html(pair_layers(found, metric=session.look.metric, by=session.look.by), path)
        return path.read_text(encoding="utf-8")


def buttons() -> dict[str, gr.Button]:
    """One button a file; laid out in the current context."""
    from tabs.words import text

    with gr.Row(elem_classes="lens-export-row"):
        return {
            kind: gr.Button(text(f"pairs.save_{kind}"), elem_classes="lens-small")
            for kind in (*KINDS, "zip")
        }
