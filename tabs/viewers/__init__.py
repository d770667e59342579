"""What draws: a fixed template, one JSON string as its value, and a small script with its styles.

Gradio evaluates templates as code, so text of users, tokenizers and models never enters one: it
travels in the value, and the script writes it with `textContent`. One string, because a nested
value makes every later event on the page several times slower. Each script says what it takes.

Every script defines `lens.viewers.<name>`; all of them are in the page's head once, however many
viewers there are. Plain `gr.HTML` and no subclasses: Gradio writes a .pyi file beside every
subclass it meets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

FOLDER = Path(__file__).parent
BASE = ("colour", "words", "text", "button", "mount", "page")
"""What all viewers use, in the order in which it is loaded."""

EVENTS = {
    "heading": (),
    "notice": (),
    "fold": (),
    "examples": ("example",),
    "header": ("link", "language", "open", "restore", "arrive"),
    "runner": ("run",),
    "status": ("stop", "shorten"),
    "token_strip": ("graph", "logit_lens", "attention", "difference", "repair"),
    "heatmap": ("select", "token", "example", "window", "export"),
    "bars": ("choose",),
    "followed": ("follow", "pin", "remove", "join", "split"),
    "chart": ("point",),
    "saved": (),
    "graph": ("edge", "node", "root", "example", "threshold", "export"),
    "table": ("choose",),
    "pushed": (),
    "maps": ("choose",),
    "selection": ("verify", "verify_head", "root"),
    "log_slider": ("release",),
    "stack": ("choose", "select", "verify", "verify_head", "root", "act"),
    "target": ("space",),
    "outcome": ("use", "save", "undo"),
    "neuron_map": ("choose",),
    "attention_tokens": ("choose", "example", "export"),
    "needs": ("choose", "measure"),
    "facts": ("act",),
    "edit_list": ("switch", "strength", "undo", "save", "open"),
    "pair_lines": ("choose", "step", "example"),
}
"""The viewers, and the events that each can trigger."""

PARTS = (
    "token_list",
    *(f"heatmap_{part}" for part in ("cells", "layout", "table", "canvas", "card", "export")),
    *(f"graph_{part}" for part in ("place", "links", "nodes", "axes", "words")),
    *(f"graph_{part}" for part in ("face", "point", "card", "move", "export")),
)
"""What larger viewers are made of, in the order in which it is loaded, before the viewers."""


def scripts() -> str:
    """The JavaScript of the page: what all viewers use, then every viewer."""
    files = [FOLDER / "base" / f"{name}.js" for name in BASE]
    files += [FOLDER / f"{name}.js" for name in (*PARTS, *EVENTS)]
    # A scope of its own for each file; `lens` is all that they share.
    return "\n".join(f"(() => {{\n{_code(path)}\n}})();" for path in files)


def _code(path: Path) -> str:
    """A script without the lines that are only a comment: a fifth of what is sent."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("//"))


def styles() -> str:
    """The style sheet of the page and of every viewer."""
    files = [path for name in (*EVENTS, *PARTS) if (path := FOLDER / f"{name}.css").is_file()]
    rules = "\n".join(path.read_text(encoding="utf-8") for path in files)
    # Nested, so that they count for more than Gradio's own, whichever comes first.
    page = (FOLDER / "page.css").read_text(encoding="utf-8")
    return f"{page}\n.gradio-container.gradio-container {{\n{rules}\n}}"


def viewer(name: str, value: Any = None, **options: Any) -> gr.HTML:
    """A component that draws its value with the script of that name."""
    events = json.dumps(EVENTS[name])
    return gr.HTML(
        None if value is None else drawn(value),
        html_template=f'<div class="lens-viewer lens-{name.replace("_", "-")}"></div>',
        # Gradio offers an event when its name stands in this text, in quotes.
        js_on_load=f"lens.viewers.{name}({{ element, props, watch, trigger, events: {events} }});",
        apply_default_css=False,
        **options,
    )


def drawn(value: Any) -> str:
    """What a viewer takes: strict JSON without `<`, since the first value is part of the page."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
