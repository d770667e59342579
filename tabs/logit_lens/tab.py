"""The logit lens tab: its layout, and which event does what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tabs.logit_lens.clicks import Clicks
from tabs.logit_lens.controls import Controls, more, toolbar
from tabs.logit_lens.session import Session
from tabs.prompts import prepared
from tabs.shell import Shell
from tabs.viewers import viewer
from tabs.wiring import PRIVATE, with_session
from tabs.words import panel_head, phrase, text

GRID, RANKS = "lens-heatmap", "lens-ranks"
"""The elements of the two heat maps in the page."""


@dataclass(frozen=True)
class Parts:
    """What shows a result."""

    heatmap: gr.HTML
    step: gr.Slider
    side: gr.Radio
    head: gr.HTML
    """The title of one position, which names its token."""
    ranks: gr.HTML
    prediction: gr.HTML
    attribution: gr.HTML
    followed: gr.HTML
    chart: gr.HTML
    session: gr.State

    @property
    def detail(self) -> list[Any]:
        """Those that show one position."""
        bars = [self.prediction, self.attribution]
        return [self.head, self.ranks, *bars, self.followed, self.chart, self.session]

    @property
    def run(self) -> list[Any]:
        """All of them, in the order of a run's outputs."""
        return [self.heatmap, self.step, self.side, *self.detail]


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    controls, parts = _layout(shell)
    saved = viewer("saved", elem_classes="lens-unseen")
    clicks = Clicks(shell.runtime)
    _wire_runs(shell, controls, parts, clicks)
    _wire_clicks(shell, controls, parts, clicks)
    shell.on_detail(
        [parts.heatmap.export],
        with_session(clicks.export, 1),
        inputs=[parts.session],
        outputs=[saved],
    )
    _wire_looks(controls)


def _layout(shell: Shell) -> tuple[Controls, Parts]:
    example = shell.first.get("logit_lens", {})
    first = example.get("viewers", {})
    with gr.Row(elem_classes="lens-grid"):
        with gr.Column(elem_classes="lens-main lens-result"):
            with gr.Column(elem_classes="lens-panel", elem_id="lens-panel-map"):
                panel_head("lens.title", "lens.how", elem_classes="lens-view-grid")
                head = viewer("heading", first.get("head"), elem_classes="lens-view-ranks")
                choices = toolbar(shell)
                heatmap = _map(GRID, "grid", first.get("heatmap") or _empty(shell))
                ranks = _map(RANKS, "ranks", first.get("ranks"))
                step = gr.Slider(1, 2, 1, step=1, label=text("lens.step"), visible=False)
                choices |= more(shell)
            with gr.Column(elem_classes="lens-panel"):
                followed = viewer("followed", first.get("followed"))
                chart = viewer("chart", first.get("chart"))
        with gr.Column(elem_classes="lens-inspector lens-result"):
            with gr.Column(elem_classes="lens-panel"):
                prediction = viewer("bars", first.get("prediction"))
            with gr.Column(elem_classes="lens-panel"):
                attribution = viewer("bars", first.get("attribution"))
    session = gr.State(Session.from_json(example["session"]) if example else None)
    controls = Controls(**choices)  # pyright: ignore[reportArgumentType]
    side = controls.side
    shown = (heatmap, step, side, head, ranks, prediction, attribution, followed, chart)
    return controls, Parts(*shown, session)


def _map(name: str, view: str, value: dict[str, Any] | None) -> gr.HTML:
    return viewer("heatmap", value, elem_id=name, elem_classes=f"lens-view-{view}")


def _empty(shell: Shell) -> dict[str, Any]:
    examples = prepared(shell.runtime.settings)[:6]
    return {"state": "empty", "title": phrase("lens.title"), "examples": examples}


def _wire_runs(shell: Shell, controls: Controls, parts: Parts, clicks: Clicks) -> None:
    window = gr.State(None)
    shell.on_run(
        "logit_lens",
        clicks.run,
        options=[window, parts.session, *controls.all()],
        outputs=parts.run,
        rerun=[
            controls.read_at.input,
            controls.side.input,
            controls.k.release,
            controls.stride.input,
            controls.target.submit,
            controls.scale.input,
            controls.generate.release,
            controls.temperature.release,
            controls.top_p.release,
            controls.seed.submit,
            window.change,
        ],
        shown=shell.first.get("bar"),
    )
    parts.heatmap.window(clicks.window, inputs=[parts.session], outputs=[window], **PRIVATE)

    shell.on_example(parts.heatmap.example)


def _wire_clicks(shell: Shell, controls: Controls, parts: Parts, clicks: Clicks) -> None:
    again = [parts.session, *controls.all()]
    for event, handler in (
        (parts.heatmap.select, clicks.cell),
        (parts.heatmap.token, clicks.token),
        (parts.ranks.select, clicks.rank),
        (parts.ranks.token, clicks.token),
        (parts.prediction.choose, clicks.predicted),
        (shell.strip.logit_lens, clicks.position),
        (parts.followed.pin, clicks.token),
        (parts.followed.follow, clicks.add),
        (parts.followed.remove, clicks.remove),
        (parts.followed.join, clicks.join),
        (parts.followed.split, clicks.split),
        (controls.important.input, clicks.again),
        (controls.threshold.submit, clicks.again),
        (controls.only_important.input, clicks.again),
    ):
        shell.on_detail(
            [event],
            with_session(handler, len(parts.detail)),
            # Few inputs: Gradio looks at every one of them before a click is sent.
            inputs=again if handler == clicks.again else [parts.session],
            outputs=parts.detail,
            sheet=handler in (clicks.cell, clicks.position),
        )

    def stepped(step: int, session: Session | None) -> tuple[Any, ...]:
        nothing = (gr.skip(),) * len(parts.detail)
        return nothing if session is None else clicks.step(step, session)

    shell.on_detail(
        [parts.step.release], stepped, inputs=[parts.step, parts.session], outputs=parts.detail
    )


def _wire_looks(controls: Controls) -> None:
    """Choices that the browser answers by itself."""
    colour = f"(key) => {json.dumps([GRID, RANKS])}.forEach((id) => lens.tell(id, 'quantity', key))"
    controls.colour.change(None, inputs=[controls.colour], js=colour, **PRIVATE)
    read = "(value) => { document.querySelector('#lens-panel-map').dataset.read = value; }"
    controls.read_at.change(None, inputs=[controls.read_at], js=read, **PRIVATE)
    show = "(value) => { document.querySelector('#lens-panel-map').dataset.view = value; }"
    controls.view.change(None, inputs=[controls.view], js=show, **PRIVATE)
