"""The logit lens: what the model would say at each layer, at every position."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tabs.requests import LogitLensRequest
from tabs.shell import PRIVATE, Shell
from tabs.viewers import viewer

TITLE = "Logit lens"
HOW = (
    "<h2>What the model would say at each layer</h2>"
    "<p><b>How to read:</b> one column per token, one row per layer; read a column upwards to see "
    "where the next word is decided. Point at a cell for its candidates.</p>"
)
READ_AT = {
    "Block output": "resid_post",
    "After attention": "resid_mid",
    "Attention adds": "attn_out",
    "MLP adds": "mlp_out",
}
SHOWN_POSITIONS = 64
"""How many positions the page draws, the last ones; the endpoint reads all."""


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    with gr.Column(elem_classes="lens-panel"):
        gr.HTML(HOW, elem_classes="lens-how", apply_default_css=False)
        with gr.Row(elem_classes="lens-options"):
            read_at = gr.Radio(list(READ_AT), value="Block output", label="Read at", scale=3)
            k = gr.Slider(1, 20, value=5, step=1, label="Tokens per cell", scale=1, min_width=200)
        heatmap = viewer(
            "heatmap",
            {"state": "empty", "examples": shell.examples},
            elem_classes="lens-result",
        )
    chosen = heatmap.example(shell.take_example, outputs=[shell.prompt], **PRIVATE)
    shell.on_run(
        "logit_lens",
        ask,
        show,
        kind=LogitLensRequest,
        options=[read_at, k],
        picture=heatmap,
        rerun=[read_at.input, k.release],
        after=[chosen],
    )


def ask(read_at: str, k: int) -> dict[str, Any]:
    """The request's own arguments for the chosen controls."""
    component = READ_AT.get(read_at, read_at)
    components = [component] if component != "resid_post" else ["embed", component]
    return {"components": components, "k": k, "last": SHOWN_POSITIONS}


def show(result: dict[str, Any], read_at: str, k: int) -> dict[str, Any]:
    """The heat map of a result, as its viewer takes it."""
    del k
    hidden = len(result["input"]["tokens"]) - len(result["positions"])
    return {
        "state": "done",
        "component": READ_AT[read_at],
        "hidden": hidden,
        "result": result,
    }
