"""Importance for a model behind an API: mask each part of the prompt, and see what changes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.components import Component

from tabs.attention.remote_views import estimate_stack, result_stack
from tabs.remote_requests import remote_request
from tabs.remote_running import REMOTE_QUEUE, estimated, remote_steps
from tabs.runtime import Runtime, user_errors
from tabs.shell import Going, Shell
from tabs.viewers import drawn, viewer
from tabs.words import panel_head, text

UNITS = ("words", "sentences", "hierarchical")
METHODS = ("occlusion", "shapley")
TIERS = ("auto", "1", "2", "3")
DISTANCES = ("edit", "exact", "chrf")
MASKS = ("", "…", "[MASK]", "neighbour")
UNLINKED = ("api_key", "base_url")
KEPT = 2000
"""Answers that a visitor's session keeps, so that the same run costs nothing again."""


def build(shell: Shell) -> None:
    """Lay it out in the current Gradio context and wire it."""
    panel_head("remote.title", "remote.how")
    fields = _address() | _masking() | _more()
    # A link carries no key, and must not choose where a visitor sends one.
    linked = {name: field for name, field in fields.items() if name not in UNLINKED}
    for name, field in linked.items():
        shell.option(f"remote_{name}", field)
    with gr.Row(elem_classes="lens-toolbar"):
        ask = gr.Button(text("remote.measure"), variant="primary", elem_classes="lens-small")
        count = gr.Button(text("remote.count"), elem_classes="lens-small")
    shown = viewer("stack", elem_id="lens-attention-remote")
    answers = gr.State({})
    names, runtime = list(fields), shell.runtime

    def measure(
        prompt: str, kept: dict[str, Any], *values: Any
    ) -> Generator[Going, None, tuple[Any, ...]]:
        return (yield from measured(runtime, asked(prompt, names, values), kept))

    def counted(prompt: str, *values: Any) -> tuple[str]:
        with user_errors():
            request = remote_request({**asked(prompt, names, values), "api_key": None})
        return (drawn(estimate_stack(estimated(runtime.settings, request).to_json())),)

    inputs = list(fields.values())
    shell.on_task(
        ask.click,
        measure,
        inputs=[shell.prompt, answers, *inputs],
        outputs=[shown, answers],
        queue=REMOTE_QUEUE,
    )
    shell.on_detail([count.click], counted, inputs=[shell.prompt, *inputs], outputs=[shown])


def asked(prompt: str, names: list[str], values: tuple[Any, ...]) -> dict[str, Any]:
    """The form as the arguments of a request; what was left empty takes its default."""
    given = dict(zip(names, values, strict=True))
    tier, protected = given.pop("tier"), given.pop("protected")
    repeats = given.pop("repeats")
    whole = ("samples", "answer_tokens", "max_requests")
    return {
        **given,
        **{name: int(given[name]) for name in whole},
        "prompt": prompt,
        "tier": None if tier == "auto" else int(tier),
        "repeats": None if repeats < 0 else int(repeats),
        "protected": [line for line in protected.splitlines() if line],
        **{name: given[name] or None for name in ("system", "answer", "api_key")},
    }


def measured(
    runtime: Runtime, arguments: dict[str, Any], kept: dict[str, Any]
) -> Generator[Going, None, tuple[Any, ...]]:
    """What is known on the way, then everything.

    Raises:
        UserError: the page does not allow it, or the API does not answer.
    """
    with user_errors():
        request = remote_request(arguments)
    if len(kept) > KEPT:
        kept = {}
    with closing(remote_steps(runtime.settings, request, cache=kept)) as steps:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                found = end.value.to_json()
                return drawn(result_stack(found)), kept
            step = progress.detail[-1].to_json()
            yield progress, (drawn(estimate_stack(step)), kept)


def _address() -> dict[str, Component]:
    with gr.Row(elem_classes="lens-form"):
        return {
            "base_url": _typed("base_url"),
            "model": _typed("model"),
            "api_key": gr.Textbox(
                "",
                label=text("remote.api_key"),
                placeholder=text("remote.api_key_hint"),
                type="password",
                max_lines=1,
            ),
        }


def _masking() -> dict[str, Component]:
    with gr.Row(elem_classes="lens-form"):
        return {
            "units": _picker("units", UNITS),
            "mask": gr.Dropdown(
                [(text(f"remote.mask_{name}"), value) for name, value in zip(
                    ("delete", "dots", "mask", "neighbour"), MASKS, strict=True)],
                value="", label=text("remote.mask"), allow_custom_value=True,
            ),
            "method": _picker("method", METHODS),
            "max_requests": gr.Slider(1, 200, 200, step=1, label=text("remote.max_requests")),
        }  # fmt: skip


def _more() -> dict[str, Component]:
    with gr.Accordion(text("attention.more"), open=False, elem_classes="lens-more"):
        with gr.Row():
            found: dict[str, Component] = {
                "tier": _picker("tier", TIERS),
                "distance": _picker("distance", DISTANCES),
                "repeats": gr.Slider(-1, 20, -1, step=1, label=text("remote.repeats")),
                "samples": gr.Slider(1, 50, 5, step=1, label=text("remote.samples")),
                "answer_tokens": gr.Slider(1, 256, 16, step=1, label=text("remote.answer_tokens")),
            }
        with gr.Row():
            found["answer"] = _typed("answer")
            found["system"] = _typed("system")
            found["protected"] = gr.Textbox(
                "",
                label=text("remote.protected"),
                placeholder=text("remote.protected_hint"),
                lines=2,
                max_lines=4,
                elem_classes="lens-mono",
            )
    return found


def _typed(name: str) -> gr.Textbox:
    label, hint = text(f"remote.{name}"), text(f"remote.{name}_hint")
    return gr.Textbox("", label=label, placeholder=hint, max_lines=1, elem_classes="lens-mono")


def _picker(name: str, values: tuple[str, ...]) -> gr.Dropdown:
    choices = [(text(f"remote.{name}_{value}"), value) for value in values]
    return gr.Dropdown(choices, value=values[0], label=text(f"remote.{name}"))
