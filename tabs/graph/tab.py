"""The graph tab: its layout, and which event does what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tabs.graph.clicks import GRAPH, Clicks
from tabs.graph.controls import Controls, more, toolbar
from tabs.graph.session import Session
from tabs.prompts import prepared
from tabs.shell import Shell
from tabs.viewers import viewer
from tabs.wiring import AGAIN, PRIVATE, with_session
from tabs.words import panel_head, phrase, text


@dataclass(frozen=True)
class Parts:
    """What shows a result."""

    graph: gr.HTML
    links: gr.HTML
    detail: gr.HTML
    root: gr.HTML
    side: gr.Radio
    asked_root: gr.Textbox
    session: gr.State
    measure: gr.Button
    agreement: gr.HTML

    @property
    def run(self) -> list[Any]:
        """All of them, in the order of a run's outputs."""
        viewers = [self.graph, self.links, self.detail, self.root, self.agreement]
        return [*viewers, self.side, self.asked_root, self.session]


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    controls, parts = _layout(shell)
    saved = viewer("saved", elem_classes="lens-unseen")
    clicks = Clicks(shell.runtime)
    _wire_runs(shell, controls, parts, clicks)
    _wire_roots(shell, controls, parts, clicks)
    _wire_clicks(shell, parts, clicks)
    shell.on_task(
        parts.measure.click,
        clicks.measure,
        inputs=[parts.session],
        outputs=[parts.links, parts.agreement],
    )
    _statistics(shell, controls, clicks)
    shell.on_detail(
        [parts.graph.export],
        with_session(clicks.export, 1),
        inputs=[parts.session],
        outputs=[saved],
    )
    _wire_looks(controls)


def _layout(shell: Shell) -> tuple[Controls, Parts]:
    first = shell.first.get("graph", {})
    shown = first.get("viewers", {})
    with gr.Row(elem_classes="lens-grid"):
        with gr.Column(elem_classes="lens-main lens-result"):
            with gr.Column(elem_classes="lens-panel", elem_id="lens-panel-graph"):
                panel_head("graph.title", "graph.how")
                choices = toolbar(shell)
                graph = viewer("graph", shown.get("graph") or _empty(shell), elem_id=GRAPH)
                choices |= more(shell)
            with gr.Column(elem_classes="lens-panel"):
                links = viewer("table", shown.get("links"))
                measure = gr.Button(text("graph.measure"), elem_classes="lens-small")
                agreement = viewer("stack")
        with gr.Column(elem_classes="lens-inspector lens-result"):
            with gr.Column(elem_classes="lens-panel"):
                detail = viewer("stack", shown.get("detail"))
            with gr.Column(elem_classes="lens-panel"):
                root = viewer("stack", shown.get("root"))
    session = gr.State(Session.from_json(first["session"]) if first else None)
    controls = Controls(**choices)  # pyright: ignore[reportArgumentType]
    shows = (graph, links, detail, root, controls.side, controls.root, session)
    return controls, Parts(*shows, measure, agreement)


def _statistics(shell: Shell, controls: Controls, clicks: Clicks) -> None:
    """Counts over many sentences, below the graph."""
    with gr.Accordion(text("graph.statistics_fold"), open=False, elem_classes="lens-panel"):
        panel_head("graph.statistics", "graph.statistics_how")
        examples = "\n".join(prepared(shell.runtime.settings))
        sentences = gr.Textbox(
            examples, label=text("graph.sentences"), lines=5, max_lines=12, elem_classes="lens-mono"
        )
        count = gr.Button(text("graph.count"), elem_classes="lens-small")
        counted = viewer("heatmap", elem_id="lens-graph-statistics")

    def task(
        edits: dict[str, Any], model: str, prompt: str, template: str, edit: str, *values: Any
    ) -> Any:
        shared = shell.arguments((model, prompt, template, edit), edits)
        return (yield from clicks.count(shared, *values))

    shell.on_task(
        count.click,
        task,
        inputs=[shell.edits, *shell.bar, sentences, *controls.all()],
        outputs=[counted],
    )


def _empty(shell: Shell) -> dict[str, Any]:
    examples = prepared(shell.runtime.settings)[:6]
    return {"state": "empty", "title": phrase("graph.title"), "examples": examples}


def _wire_runs(shell: Shell, controls: Controls, parts: Parts, clicks: Clicks) -> None:
    shell.on_run(
        "graph",
        clicks.run,
        options=[parts.session, *controls.all()],
        outputs=parts.run,
        rerun=[
            controls.threshold.release,
            controls.rescale.input,
            controls.side.input,
            controls.mode.input,
            controls.metric.input,
            controls.biases.input,
            controls.granularity.input,
            controls.keep.release,
            controls.other.submit,
            controls.target.submit,
            controls.foil.submit,
            controls.normalise.input,
            controls.k.release,
        ],
        shown=shell.first.get("bar"),
    )

    shell.on_example(parts.graph.example)


def _wire_roots(shell: Shell, controls: Controls, parts: Parts, clicks: Clicks) -> None:
    """Another root, and another threshold where the one that was asked for leaves nothing."""
    for event, handler, inputs, output in (
        (parts.graph.root, clicks.root, [], controls.root),
        (parts.detail.root, clicks.root, [], controls.root),
        (shell.strip.graph, clicks.position, [parts.session], controls.root),
        (parts.graph.threshold, clicks.threshold, [], controls.threshold),
    ):
        event(handler, inputs=inputs, outputs=[output], trigger_mode="multiple", **PRIVATE).success(
            None, inputs=shell.bar, js=AGAIN, **PRIVATE
        )


def _wire_clicks(shell: Shell, parts: Parts, clicks: Clicks) -> None:
    for event, handler in (
        (parts.graph.edge, clicks.edge),
        (parts.graph.node, clicks.node),
        (parts.links.choose, clicks.link),
        (parts.detail.choose, clicks.choose),
        (parts.detail.verify, clicks.verify),
        (parts.detail.verify_head, clicks.verify_head),
    ):
        shell.on_detail(
            [event],
            with_session(handler, 2),
            inputs=[parts.session],
            outputs=[parts.detail, parts.session],
            sheet=handler in (clicks.edge, clicks.node, clicks.link),
        )


def _wire_looks(controls: Controls) -> None:
    """Choices that the browser answers by itself."""
    for name in ("hide_first", "collapse"):
        control = getattr(controls, name)
        tell = f"(value) => lens.tell({json.dumps(GRAPH)}, {json.dumps(name)}, value)"
        control.change(None, inputs=[control], js=tell, **PRIVATE)
