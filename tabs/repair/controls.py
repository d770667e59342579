"""The form of the repair tab."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component

from tabs.repair.choices import LOCATE, MAX_EPOCHS, METHODS, Chosen
from tabs.repair.views import hint
from tabs.shell import Shell
from tabs.viewers import drawn, viewer
from tabs.wiring import PRIVATE
from tabs.words import phrase, text

FIRST = Chosen()
IN_LINKS = {
    "target": "wanted",
    "layers": "repair_layers",
    "lr": "rate",
    "neurons": "repair_neurons",
}
"""Names in links of the options whose own name another tab has, too, or says little."""


@dataclass(frozen=True)
class Controls:
    """What can be filled in, in the order in which handlers take the values."""

    target: gr.Textbox
    method: gr.Radio
    epochs: gr.Slider
    margin: gr.Slider
    layers: gr.Slider
    neurons: gr.Number
    views: gr.Slider
    locate: gr.Dropdown
    compat: gr.Checkbox
    lr: gr.Textbox
    paraphrases: gr.Textbox
    probes: gr.Textbox

    def all(self) -> list[Component]:
        """Every control."""
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class File:
    """Where many pairs come from at once."""

    upload: gr.UploadButton
    drop: gr.Button
    pairs: gr.State
    """A `Batch`; None while the form is used."""


def form(shell: Shell) -> tuple[Controls, gr.HTML, File, gr.Button]:
    """Lay the form out: its controls, the preview, the file, and the button."""
    preview = viewer("target", hint(phrase("repair.target_hint")))
    found: dict[str, Component] = {"target": _target(), "method": _method()}
    found["paraphrases"] = _lines("paraphrases")
    found |= _more()
    with gr.Row(elem_classes="lens-repair-buttons"):
        button = gr.Button(text("repair.button"), variant="primary", elem_classes="lens-repair")
        upload = gr.UploadButton(
            text("repair.file"), file_types=[".csv", ".jsonl"], elem_classes="lens-small"
        )
        drop = gr.Button(text("repair.drop"), elem_classes="lens-small", visible=False)
    for name, component in found.items():
        shell.option(IN_LINKS.get(name, name), component)
    controls = Controls(**found)  # pyright: ignore[reportArgumentType]
    return controls, preview, File(upload, drop, gr.State(None)), button


def _target() -> gr.Textbox:
    return gr.Textbox(
        FIRST.target,
        label=text("repair.target"),
        placeholder=text("repair.target_example"),
        lines=1,
        max_lines=4,
        elem_classes="lens-mono lens-repair-target",
    )


def _method() -> gr.Radio:
    """The methods, and a sentence on the one that is chosen."""
    method = gr.Radio(
        list(METHODS),
        value=FIRST.method,
        label=text("repair.method"),
        elem_classes="lens-segments lens-choose-method",
    )
    about = {name: drawn(_about(name)) for name in METHODS}
    sentence = viewer("target", _about(FIRST.method))
    method.change(
        None,
        inputs=[method],
        outputs=[sentence],
        js=f"(name) => ({json.dumps(about)})[name]",
        **PRIVATE,
    )
    return method


def _about(method: str) -> dict[str, Any]:
    return hint(phrase(f"repair.about_{method.replace('-', '_')}"))


def _more() -> dict[str, Component]:
    """The options that are folded away."""
    with gr.Accordion(text("repair.more"), open=False, elem_classes="lens-more"):
        return {
            "epochs": _slider("epochs", 0, MAX_EPOCHS, 1),
            "margin": _slider("margin", 0, 5, 0.1),
            "layers": _slider("layers", 0, 1, 0.05),
            "neurons": gr.Number(
                FIRST.neurons, label=text("repair.neurons_most"), precision=0, minimum=0
            ),
            "views": _slider("views", 0, 3, 1),
            "locate": gr.Dropdown(
                [(text(f"repair.locate_{way}"), way) for way in LOCATE],
                value=FIRST.locate,
                label=text("repair.locate"),
            ),
            "compat": gr.Checkbox(FIRST.compat, label=text("repair.compat")),
            "lr": gr.Textbox(
                FIRST.lr,
                label=text("repair.lr"),
                placeholder=text("repair.lr_hint"),
                max_lines=1,
                elem_classes="lens-mono",
            ),
            "probes": _lines("probes"),
        }


def _slider(name: str, low: float, high: float, step: float) -> gr.Slider:
    return gr.Slider(low, high, getattr(FIRST, name), step=step, label=text(f"repair.{name}"))


def _lines(name: str) -> gr.Textbox:
    return gr.Textbox(
        getattr(FIRST, name),
        label=text(f"repair.{name}"),
        placeholder=text(f"repair.{name}_hint"),
        lines=2,
        max_lines=8,
        elem_classes="lens-mono",
    )
