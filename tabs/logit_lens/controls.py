"""The controls of the logit lens, and the part of a request that they make."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component

from tabs.logit_lens.choices import Chosen
from tabs.shell import Shell
from tabs.words import text

READ_AT = ("resid_post", "resid_mid", "attn_out", "mlp_out")
COLOURS = ("probability", "target", "rank", "entropy", "kl_final")
STRIDES = ("1", "2", "4", "8")
CRITERIA = ("kl_drop", "prob", "js", "top1_change", "target_enters_topk")
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Controls:
    """What can be chosen, in the order in which handlers take the values."""

    view: gr.Radio
    colour: gr.Radio
    read_at: gr.Radio
    side: gr.Radio
    k: gr.Slider
    stride: gr.Dropdown
    target: gr.Textbox
    generate: gr.Slider
    temperature: gr.Slider
    top_p: gr.Slider
    seed: gr.Number
    important: gr.Dropdown
    threshold: gr.Textbox
    only_important: gr.Checkbox
    scale: gr.Dropdown

    def all(self) -> list[Component]:
        """Every control."""
        return [getattr(self, field.name) for field in fields(self)]


FIRST = Chosen()


def toolbar(shell: Shell) -> dict[str, Component]:
    """The choices above the heat map."""
    with gr.Row(elem_classes="lens-toolbar"):
        return {
            "view": shell.option("view", _segments("view", ("grid", "ranks"))),
            "colour": shell.option("colour", _segments("colour", COLOURS)),
            "read_at": shell.option("read_at", _segments("read_at", READ_AT)),
            "side": _segments("side", ("after", "before"), visible=False),
        }


def more(shell: Shell) -> dict[str, Component]:
    """The choices that are folded away."""
    limit = MAX_NEW_TOKENS
    with gr.Accordion(text("lens.more"), open=False, elem_classes="lens-more"):
        with gr.Row():
            found: dict[str, Component] = {
                "target": _text("target"),
                "k": gr.Slider(1, 20, FIRST.k, step=1, label=text("lens.k")),
                "stride": _picker("stride", STRIDES, labels=False),
            }
        with gr.Row():
            found["generate"] = gr.Slider(
                0, limit, FIRST.generate, step=1, label=text("lens.generate")
            )
            found["temperature"] = gr.Slider(
                0, 2, FIRST.temperature, step=0.1, label=text("lens.temperature")
            )
            found["top_p"] = gr.Slider(0.05, 1, FIRST.top_p, step=0.05, label=text("lens.top_p"))
            found["seed"] = gr.Number(FIRST.seed, label=text("lens.seed"), precision=0, minimum=0)
        with gr.Row():
            found["important"] = _picker("important", CRITERIA)
            found["threshold"] = _text("threshold")
            found["only_important"] = gr.Checkbox(
                FIRST.only_important, label=text("lens.only_important")
            )
        with gr.Row():
            found["scale"] = _picker("scale", ("final", "local", "own"))
    for name, component in found.items():
        shell.option(name, component)
    return found


def _segments(name: str, values: tuple[str, ...], **options: Any) -> gr.Radio:
    """A row of choices that share a border."""
    choices = [(text(f"lens.{name}_{value}"), value) for value in values]
    label = text(f"lens.{name}")
    return gr.Radio(
        choices,
        value=getattr(FIRST, name),
        label=label,
        elem_classes=f"lens-segments lens-choose-{name}",
        **options,
    )


def _picker(name: str, values: tuple[str, ...], *, labels: bool = True) -> gr.Dropdown:
    choices = [(text(f"lens.{name}_{value}") if labels else value, value) for value in values]
    return gr.Dropdown(choices, value=getattr(FIRST, name), label=text(f"lens.{name}"))


def _text(name: str) -> gr.Textbox:
    label, hint = text(f"lens.{name}"), text(f"lens.{name}_hint")
    return gr.Textbox(
        getattr(FIRST, name), label=label, placeholder=hint, max_lines=1, elem_classes="lens-mono"
    )
