"""What is shown of attention and importance as a file: JSON, CSV, a page, a picture."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import gradio as gr

from lens_core.errors import InputError, NotExactError
from tabs.attention.choices import Look
from tabs.attention.session import Session
from tabs.runtime import UserError
from tabs.said import carried
from tabs.viewers import drawn

KINDS = {
    "json": "application/json",
    "csv": "text/csv",
    "html": "text/html",
    "png": "image/png",
}


def exported(event: gr.EventData, session: Session) -> tuple[str]:
    """The file that was asked for, for the browser to save."""
    name = carried(event).get("format")
    name = name if name in KINDS else "json"
    return (drawn({**_content(name, session), "serial": time.monotonic_ns()}),)


def _content(kind: str, session: Session) -> dict[str, Any]:
    file = {"name": f"attention.{kind}", "type": KINDS[kind]}
    if kind == "json":
        text = json.dumps(record(session), allow_nan=False, ensure_ascii=False, indent=1)
        return {**file, "text": f"{text}\n"}
    if kind == "csv":
        return {**file, "text": _table(session)}
    return {**file, **_drawing(kind, session)}


def record(session: Session) -> dict[str, Any]:
    """Everything that was found: attention, next token, importance, and how it fares."""
    side = session.shown
    following = side.looked.next.to_json()
    views = side.looked.views
    found = {**following, "views": None} if views is None else views.to_json()
    found["next_token"] = following
    importance = None if side.attributed is None else side.attributed.found.to_json()
    trust = None if side.attributed is None else side.attributed.trust
    faithfulness = None if trust is None else trust.to_json()
    return {**found, "importance": importance, "faithfulness": faithfulness}


def _check_drawable(look: Look) -> None:
    """Refuse a picture of something else than what is seen.

    Raises:
        UserError: the picture knows the attention of one layer only.
    """
    plain = look.measure == "weight" and look.layers == "one" and look.head != "max"
    if plain and not look.without_sinks:
        return
    raise UserError(
        InputError(
            f"A picture shows attention of one layer, by one head or the mean; the page shows "
            f"{look.measure}, layers: {look.layers}, head: {look.head}. Choose attention and one "
            "layer without rescaling, or save JSON or CSV, which have everything."
        )
    )


def _table(session: Session) -> str:
    """Every weight; the next tokens of a model without attention."""
    looked = session.shown.looked
    return looked.next.to_csv() if looked.views is None else looked.views.to_csv()


def _drawing(kind: str, session: Session) -> dict[str, str]:
    """The two sides, looking and needing, as a figure."""
    from lens_core.figures import save_html, save_png

    figure = _figure(session)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"attention.{kind}"
        if kind == "html":
            save_html(figure, path)
            return {"text": path.read_text(encoding="utf-8")}
        save_png(figure, path)
        return {"base64": base64.b64encode(path.read_bytes()).decode()}


def _figure(session: Session) -> Any:
    from lens_core.figures import attention_tokens, attribution_bars

    side, look = session.shown, session.look
    importance = None if side.attributed is None else side.attributed.found
    if side.looked.views is not None:
        _check_drawable(look)
        options: dict[str, Any] = {"layer": look.layer, "head": look.one_head, "join": look.join}
        return attention_tokens(side.looked.views, importance=importance, **options)
    if importance is None:
        raise UserError(
            NotExactError(f"{side.looked.reason} There is nothing to draw yet; measure importance.")
        )
    return attribution_bars(importance)
