"""The controls of the attention tab, in the order in which handlers take their values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component

from tabs.attention.choices import (
    CURVES,
    FEATURES,
    GRIDS,
    LAYERS,
    MEASURES,
    METHODS,
    OCCLUDERS,
    PARTS,
    QUANTITIES,
    SCORES,
    Asked,
    Look,
)
from tabs.shell import Shell
from tabs.words import text

LOOK, ASKED = Look(), Asked()
DEMO_LAST = 5
"""The last layer of the embedded model, until a run says how many there are."""


@dataclass(frozen=True)
class Controls:
    """What can be chosen: the fields of `Look`, then those of `Asked`."""

    part: gr.Radio
    measure: gr.Dropdown
    layer: gr.Slider
    layers: gr.Dropdown
    head: gr.Dropdown
    join: gr.Checkbox
    without_sinks: gr.Checkbox
    curve: gr.Dropdown
    side: gr.Radio
    quantity: gr.Dropdown
    grid: gr.Radio
    k: gr.Slider
    temperature: gr.Slider
    method: gr.Dropdown
    features: gr.Dropdown
    spans: gr.Textbox
    target: gr.Textbox
    foil: gr.Textbox
    score: gr.Dropdown
    occluder: gr.Dropdown
    replacement: gr.Textbox
    window: gr.Slider
    interactions: gr.Slider
    samples: gr.Slider
    max_steps: gr.Dropdown
    specials: gr.Checkbox
    seed: gr.Number
    trust: gr.Checkbox
    always: gr.Checkbox

    def all(self) -> list[Component]:
        """Every control."""
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def looks(self) -> list[Any]:
        """Events after which the same rows are shown otherwise."""
        chosen = (self.part, self.measure, self.layers, self.head, self.join, self.without_sinks)
        chosen += (self.curve, self.side, self.quantity, self.grid)
        sliders = (self.layer, self.k, self.temperature)
        return [*(one.input for one in chosen), *(one.release for one in sliders)]


def linked(shell: Shell, found: dict[str, Component]) -> dict[str, Any]:
    """Put the controls into links, under names of this tab."""
    for name, component in found.items():
        if name != "side":
            shell.option(f"attention_{name}", component)
    return found


def part_picker() -> dict[str, Component]:
    """What is shown below the tokens."""
    return {
        "part": gr.Radio(
            [(text(f"attention.part_{name}"), name) for name in PARTS],
            value=LOOK.part,
            label=text("attention.part"),
            show_label=False,
            elem_classes="lens-segments lens-part-picker",
        )
    }


def above_tokens() -> dict[str, Component]:
    """Which layer and head, measured how."""
    with gr.Row(elem_classes="lens-toolbar lens-attention-bar"):
        return {
            "measure": _picker("measure", MEASURES, LOOK),
            "layer": gr.Slider(
                LOOK.layer, DEMO_LAST, LOOK.layer, step=1, label=text("attention.layer"),
                elem_classes="lens-layer",
            ),
            "head": gr.Dropdown(
                head_choices(0),
                value=LOOK.head, label=text("attention.head_choice"), allow_custom_value=True,
            ),
            "join": _check("join", LOOK),
            "side": gr.Radio(
                [(text(f"attention.side_{name}"), name) for name in ("after", "before")],
                value=LOOK.side, label=text("attention.side"), visible=False,
                elem_classes="lens-segments",
            ),
        }  # fmt: skip


def below_tokens() -> dict[str, Component]:
    """The choices that are folded away."""
    with gr.Accordion(text("attention.more"), open=False, elem_classes="lens-more"), gr.Row():
        return {
            "layers": _picker("layers", LAYERS, LOOK),
            "curve": _picker("curve", CURVES, LOOK),
            "without_sinks": _check("without_sinks", LOOK),
        }


def above_grid() -> dict[str, Component]:
    """What the map of heads shows."""
    with gr.Row(elem_classes="lens-toolbar"):
        return {
            "grid": gr.Radio(
                [(text(f"attention.grid_{name}"), name) for name in GRIDS],
                value=LOOK.grid, label=text("attention.grid"), elem_classes="lens-segments",
            ),
            "quantity": _picker("quantity", QUANTITIES, LOOK),
        }  # fmt: skip


def beside_next() -> dict[str, Component]:
    """How many next tokens, and at which temperature."""
    label = text("attention.temperature")
    return {
        "k": gr.Slider(1, 100, LOOK.k, step=1, label=text("attention.k")),
        "temperature": gr.Slider(0.1, 3, LOOK.temperature, step=0.1, label=label),
    }


def importance_form() -> dict[str, Component]:
    """The method of attribution and all of its options."""
    with gr.Row(elem_classes="lens-form"):
        found: dict[str, Component] = {
            "method": _picker("method", METHODS, ASKED),
            "features": _picker("features", FEATURES, ASKED),
            "target": _typed("target"),
            "foil": _typed("foil"),
        }
    with gr.Accordion(text("attention.more"), open=False, elem_classes="lens-more"):
        with gr.Row():
            found["score"] = _picker("score", SCORES, ASKED)
            found["occluder"] = _picker("occluder", OCCLUDERS, ASKED)
            found["replacement"] = _typed("replacement")
            found["spans"] = _typed("spans")
        with gr.Row():
            found["window"] = _slider("window", 1, 16)
            found["interactions"] = _slider("interactions", 0, 16)
            found["samples"] = _slider("samples", 0, 200, 5)
            found["max_steps"] = gr.Dropdown(
                [50, 100, 200, 400, 800],
                value=ASKED.max_steps,
                label=text("attention.max_steps"),
            )
        with gr.Row():
            found["seed"] = gr.Number(
                ASKED.seed, label=text("attention.seed"), precision=0, minimum=0
            )
            for name in ("specials", "trust", "always"):
                found[name] = _check(name, ASKED)
    return found


def _picker(name: str, values: tuple[str, ...], first: Look | Asked) -> gr.Dropdown:
    choices = [(text(f"attention.{name}_{value}"), value) for value in values]
    label = text(f"attention.{name}")
    return gr.Dropdown(choices, value=getattr(first, name), label=label)


def _check(name: str, first: Look | Asked) -> gr.Checkbox:
    label = text(f"attention.{name}")
    return gr.Checkbox(getattr(first, name), label=label, elem_classes="lens-check")


def _typed(name: str) -> gr.Textbox:
    return gr.Textbox(
        getattr(ASKED, name),
        label=text(f"attention.{name}"),
        placeholder=text(f"attention.{name}_hint"),
        max_lines=1,
        elem_classes="lens-mono",
    )


def _slider(name: str, low: int, high: int, step: int = 1) -> gr.Slider:
    label = text(f"attention.{name}")
    return gr.Slider(low, high, getattr(ASKED, name), step=step, label=label)


def head_choices(n_heads: int) -> list[tuple[Any, str]]:
    """All heads on average, the strongest, or one of them."""
    several = [(text(f"attention.head_{name}"), name) for name in ("mean", "max")]
    return [*several, *((f"H{head}", str(head)) for head in range(n_heads))]
