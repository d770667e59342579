"""Several prompts side by side: where the last token of each looks, on one colour scale."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import gradio as gr
from gradio.components import Component

from lens_core.errors import InputError
from tabs.attention.choices import Asked, Look
from tabs.attention.reading import groups, largest, reading
from tabs.attention.session import Session, Side, Wish, place_of
from tabs.attention.stacks import view
from tabs.attention.strip_views import strip
from tabs.attention_requests import MAX_COMPARED, AttentionCompareRequest
from tabs.requests import checked
from tabs.runtime import Runtime, user_errors
from tabs.shell import Going, Shell
from tabs.viewers import drawn, viewer
from tabs.words import panel_head, phrase, text

LOOKS = ("measure", "layer", "head", "join")
"""What of the choices above the tokens holds for all prompts."""


def build(shell: Shell, controls: dict[str, Component]) -> None:
    """Lay it out in the current Gradio context and wire it."""
    panel_head("attention.compare", "attention.compare_how")
    prompts = gr.Textbox(
        "",
        label=text("attention.compare_prompts"),
        placeholder=text("attention.compare_hint"),
        lines=3,
        max_lines=8,
        elem_classes="lens-mono",
    )
    shell.option("attention_prompts", prompts)
    button = gr.Button(text("attention.compare_button"), elem_classes="lens-small")
    with gr.Column(elem_classes="lens-result"):
        shown = viewer("stack", elem_id="lens-attention-compare")

    def compare(
        edits: dict[str, Any], model: str, prompt: str, template: str, edit: str, *values: Any
    ) -> Generator[Going, None, tuple[Any, ...]]:
        with user_errors():
            shared = shell.arguments((model, prompt, template, edit), edits)
        typed, *looks = values
        lines = [line for line in typed.splitlines() if line.strip()]
        look = Look(**dict(zip(LOOKS, looks, strict=True)))
        return (yield from compared(shell.runtime, shared, [prompt, *lines], look))

    shell.on_task(
        button.click,
        compare,
        inputs=[shell.edits, *shell.bar, prompts, *(controls[name] for name in LOOKS)],
        outputs=[shown],
    )


def compared(
    runtime: Runtime, shared: dict[str, Any], prompts: list[str], look: Look
) -> Generator[Going, None, tuple[str]]:
    """The strips of all prompts.

    Raises:
        UserError: one of them cannot be read, or there are too many or too few.
    """
    prompts = list(dict.fromkeys(prompts))
    with user_errors():
        if not 2 <= len(prompts) <= MAX_COMPARED:
            raise InputError(
                f"There are {len(prompts)} different prompts; 2 to {MAX_COMPARED} can be compared, "
                "the one in the bar counted. Type one a line."
            )
        given = {name: value for name, value in shared.items() if name != "prompt"}
        given |= {"prompts": prompts, "flow": look.measure == "flow"}
        request = checked(AttentionCompareRequest, given)
    found = yield from runtime.steps("attention_compare", request)
    sessions = []
    for prompt, looked in zip(prompts, found, strict=True):
        own = {**shared, "prompt": prompt}
        flow = None if looked.views is None else looked.views.flow
        known = {} if flow is None else {"after": flow}
        session = Session(own, Wish(place_of(own)), look, Asked(), Side(looked), flow=known)
        session = session.looking(look)
        sessions.append(session)
    return (drawn(strips(sessions)),)


def strips(sessions: list[Session]) -> dict[str, Any]:
    """One strip a prompt, all on the scale of the largest value."""
    highs = []
    for session in sessions:
        found = reading(session, session.shown)
        boxes = groups(session.tokens, join=session.look.join)
        highs.append(largest(session, found, boxes) if found.values is not None else 0.0)
    shared = max(highs) or 1.0
    views = []
    for number, session in enumerate(sessions):
        title = phrase("attention.compare_title", n=number + 1)
        value = {**strip(session), "title": title, "how": None, "exports": False, "high": shared}
        value["notes"] = value["notes"][1:]  # what attention is not is said once, above
        value["legend_hidden"] = number > 0
        value["selected"] = -1
        views.append(view(f"prompt_{number}", "attention_tokens", value))
    return {"views": views, "of": None}
