"""What draws: a fixed template, one JSON string as its value, and a small script with its styles.

Gradio evaluates templates as code, so text of users, tokenizers and models never enters one: it
travels in the value, and the script writes it with `textContent`. One string, because a nested
value makes every later event on the page several times slower. Each script says what it takes.

Plain `gr.HTML` and no subclasses: Gradio writes a .pyi file beside every subclass it meets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import gradio as gr

FOLDER = Path(__file__).parent
TEMPLATE = '<div class="lens-viewer"></div>'


def asset(name: str) -> str:
    """The text of a script or style sheet beside this file."""
    return (FOLDER / name).read_text(encoding="utf-8")


def page_script() -> str:
    """Defines `window.lens`, which every viewer's script uses; belongs in the page's head."""
    return f"<script>{asset('page.js')}</script>"


def page_css() -> str:
    """The layout of the page, and what all viewers share."""
    return asset("page.css")


def viewer(
    name: Literal["heatmap", "status", "token_strip"],
    value: dict[str, Any] | None = None,
    **options: Any,
) -> gr.HTML:
    """A component that draws its value with the script and styles of that name."""
    return gr.HTML(
        None if value is None else drawn(value),
        html_template=TEMPLATE,
        css_template=asset(f"{name}.css"),
        js_on_load=asset(f"{name}.js"),
        apply_default_css=False,
        **options,
    )


def drawn(value: dict[str, Any]) -> str:
    """What a viewer takes: strict JSON without `<`, since the first value is part of the page."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
