"""The controls of the graph."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component

from tabs.graph.choices import HIGH, LOW, Chosen
from tabs.shell import Shell
from tabs.viewers import viewer
from tabs.words import text

METRICS = ("l1", "l2", "projection", "norm", "logit")
IN_LINKS = {"threshold": "hide_below", "k": "graph_k", "target": "graph_target"}
"""Names in links of the options whose own name the logit lens has, too."""
FIRST = Chosen()


@dataclass(frozen=True)
class Controls:
    """What can be chosen, in the order in which handlers take the values."""

    root: gr.Textbox
    threshold: gr.HTML
    rescale: gr.Checkbox
    hide_first: gr.Checkbox
    side: gr.Radio
    mode: gr.Dropdown
    metric: gr.Dropdown
    biases: gr.Checkbox
    granularity: gr.Dropdown
    keep: gr.Slider
    target: gr.Textbox
    foil: gr.Textbox
    other: gr.Textbox
    normalise: gr.Checkbox
    k: gr.Slider
    collapse: gr.Checkbox

    def all(self) -> list[Component]:
        """Every control."""
        return [getattr(self, field.name) for field in fields(self)]


def toolbar(shell: Shell) -> dict[str, Component]:
    """The choices above the graph."""
    with gr.Row(elem_classes="lens-toolbar"):
        found: dict[str, Component] = {
            "threshold": _threshold(),
            "rescale": _check("rescale"),
            "hide_first": _check("hide_first"),
            "side": gr.Radio(
                [(text(f"graph.side_{side}"), side) for side in ("after", "before", "difference")],
                value=FIRST.side,
                label=text("graph.side"),
                elem_classes="lens-segments",
                visible=False,
            ),
        }
        root = gr.Textbox(FIRST.root, elem_classes="lens-unseen", show_label=False)
    found["root"] = root
    for name in ("threshold", "rescale", "hide_first", "root"):
        shell.option(IN_LINKS.get(name, name), found[name])
    return found


def _threshold() -> gr.HTML:
    """The threshold, on a logarithmic scale."""
    return viewer(
        "log_slider",
        float(FIRST.threshold),
        label=text("graph.threshold"),
        low=LOW,
        high=HIGH,
        digits=2,
        elem_classes="lens-threshold",
    )


def more(shell: Shell) -> dict[str, Component]:
    """The choices that are folded away."""
    with gr.Accordion(text("lens.more"), open=False, elem_classes="lens-more"):
        with gr.Row():
            found: dict[str, Component] = {
                "mode": _picker("mode", ("per_part", "per_edge")),
                "metric": _picker("metric", METRICS),
                "granularity": _picker("granularity", ("head", "source")),
            }
        with gr.Row():
            found["other"] = _text("other")
            found["target"] = _text("target")
            found["foil"] = _text("foil")
        with gr.Row():
            found["keep"] = gr.Slider(0.5, 1, FIRST.keep, step=0.01, label=text("graph.keep"))
            found["k"] = gr.Slider(5, 50, FIRST.k, step=1, label=text("graph.k"))
        with gr.Row():
            for name in ("biases", "normalise", "collapse"):
                found[name] = _check(name)
    for name, component in found.items():
        shell.option(IN_LINKS.get(name, name), component)
    return found


def _check(name: str) -> gr.Checkbox:
    return gr.Checkbox(
        getattr(FIRST, name),
        label=text(f"graph.{name}"),
        elem_classes="lens-check",
        container=False,
    )


def _picker(name: str, values: tuple[str, ...]) -> gr.Dropdown:
    choices: list[Any] = [(text(f"graph.{name}_{value}"), value) for value in values]
    return gr.Dropdown(choices, value=getattr(FIRST, name), label=text(f"graph.{name}"))


def _text(name: str) -> gr.Textbox:
    label, hint = text(f"graph.{name}"), text(f"graph.{name}_hint")
    return gr.Textbox(
        getattr(FIRST, name), label=label, placeholder=hint, max_lines=1, elem_classes="lens-mono"
    )
