"""The attention tab: its layout, and which event does what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from tabs.attention import comparing, controls, remote_panel
from tabs.attention.clicks import Clicks
from tabs.attention.controls import Controls
from tabs.attention.export import exported
from tabs.prompts import prepared
from tabs.shell import Shell
from tabs.viewers import viewer
from tabs.wiring import PRIVATE, with_session
from tabs.words import panel_head, phrase, text

PANEL = "lens-panel-attention"
SHOW = f"(part) => {{ document.querySelector('#{PANEL}').dataset.part = part; }}"


@dataclass(frozen=True)
class Parts:
    """What shows a result, in the order of a run's outputs."""

    tokens: gr.HTML
    grid: gr.HTML
    needs: gr.HTML
    token: gr.HTML
    matrix: gr.HTML
    next: gr.HTML
    importance: gr.HTML
    details: gr.HTML
    layer: gr.Slider
    head: gr.Dropdown
    side: gr.Radio
    string: gr.HTML
    session: gr.State

    @property
    def run(self) -> list[Any]:
        """All of them."""
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def looks(self) -> list[Any]:
        """What depends on the token, the layer and the head that are looked at."""
        return [self.tokens, self.grid, self.needs, self.token, self.matrix]


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    found: dict[str, Any] = {}
    shown: dict[str, Any] = {"session": gr.State(None)}
    with gr.Row(elem_classes="lens-grid"):
        with gr.Column(elem_classes="lens-main"):
            with gr.Column(elem_classes="lens-panel lens-result"):
                found |= controls.above_tokens()
                shown["tokens"] = viewer(
                    "attention_tokens", _empty(shell), elem_id="lens-attention-tokens"
                )
                found |= controls.below_tokens()
            found |= controls.part_picker()
            with gr.Column(elem_id=PANEL, elem_classes="lens-parts"):
                _lay_parts(shell, found, shown)
        with gr.Column(elem_classes="lens-inspector lens-result"):
            _lay_inspector(found, shown)
    shown |= {name: found[name] for name in ("layer", "head", "side")}
    chosen = Controls(**controls.linked(shell, found))
    typed, measure = shown.pop("typed"), shown.pop("measure")
    parts = Parts(**shown)
    clicks = Clicks(shell.runtime)
    chosen.part.change(None, inputs=[chosen.part], js=SHOW, **PRIVATE)
    _wire_runs(shell, chosen, parts, clicks)
    _wire_looks(shell, chosen, parts, clicks)
    _wire_details(shell, chosen, parts, clicks, typed=typed, measure=measure)


def _empty(shell: Shell) -> dict[str, Any]:
    examples = prepared(shell.runtime.settings)[:6]
    return {"state": "empty", "title": phrase("attention.title"), "examples": examples}


@contextmanager
def _part(name: str, *, result: bool = True) -> Iterator[None]:
    """A panel that is there while its part is chosen."""
    shown = " lens-result" if result else ""
    with gr.Column(elem_classes=f"lens-panel lens-part lens-part-{name}{shown}"):
        yield


def _lay_parts(shell: Shell, found: dict[str, Any], shown: dict[str, Any]) -> None:
    with gr.Row(elem_classes="lens-part lens-part-heads lens-pair lens-result"):
        with gr.Column(elem_classes="lens-panel", min_width=300):
            found |= controls.above_grid()
            shown["grid"] = viewer("heatmap", elem_id="lens-attention-grid")
        with gr.Column(elem_classes="lens-panel", min_width=300):
            shown["needs"] = viewer("needs", elem_id="lens-attention-needs")
    with _part("importance"):
        panel_head("attention.importance_panel", "attention.importance_how")
        found |= controls.importance_form()
        shown["measure"] = gr.Button(
            text("attention.measure_button"), variant="primary", elem_classes="lens-small"
        )
        shown["importance"] = viewer("stack", elem_id="lens-attention-importance")
    with _part("matrix"):
        shown["matrix"] = viewer("stack", elem_id="lens-attention-matrix")
    with _part("compare"):
        comparing.build(shell, found)
    with _part("details"):
        shown["details"] = viewer("stack", elem_id="lens-attention-details")
    with _part("remote", result=False):
        remote_panel.build(shell)


def _lay_inspector(found: dict[str, Any], shown: dict[str, Any]) -> None:
    with gr.Column(elem_classes="lens-panel"):
        shown["next"] = viewer("stack", elem_id="lens-attention-next")
        with gr.Accordion(text("attention.next_more"), open=False, elem_classes="lens-more"):
            found |= controls.beside_next()
            shown["typed"] = gr.Textbox(
                "",
                label=text("attention.string"),
                placeholder=text("attention.string_hint"),
                max_lines=1,
                elem_classes="lens-mono",
            )
            shown["string"] = viewer("stack", elem_id="lens-attention-string")
    with gr.Column(elem_classes="lens-panel"):
        shown["token"] = viewer("stack", elem_id="lens-attention-token")


def _wire_runs(shell: Shell, chosen: Controls, parts: Parts, clicks: Clicks) -> None:
    """Run, and what asks for another query, another target or one token more."""
    wish = gr.State(None)
    shell.on_run(
        "attention",
        clicks.run,
        options=[wish, parts.session, *chosen.all()],
        outputs=parts.run,
        rerun=[wish.change],
    )
    for event in (parts.next.act, parts.token.act):
        event(clicks.act, inputs=[parts.session], outputs=[wish, chosen.target], **PRIVATE)
    for event, handler in (
        (shell.strip.attention, clicks.look_from),
        (parts.matrix.choose, clicks.matrix_cell),
        (parts.matrix.select, clicks.matrix_cell),
    ):
        event(handler, inputs=[parts.session], outputs=[wish], **PRIVATE)
    shell.on_example(parts.tokens.example)


def _wire_looks(shell: Shell, chosen: Controls, parts: Parts, clicks: Clicks) -> None:
    """Clicks and choices that read what is there."""
    controls_too = [chosen.layer, chosen.head, chosen.layers, chosen.measure]
    outputs = [*parts.looks, *controls_too, parts.session]
    for event, handler, sheet in (
        (parts.tokens.choose, clicks.choose, True),
        (parts.needs.choose, clicks.choose, False),
        (parts.importance.choose, clicks.choose, False),
        (parts.grid.select, clicks.cell, False),
    ):
        shell.on_detail(
            [event],
            with_session(handler, len(outputs)),
            inputs=[parts.session],
            outputs=outputs,
            sheet=sheet,
        )
    shown = [*parts.looks, parts.next, parts.importance, parts.details, parts.session]
    shell.on_detail(chosen.looks, clicks.look, inputs=[parts.session, *chosen.all()], outputs=shown)
    shell.on_detail(
        [parts.next.choose],
        with_session(clicks.candidate, 2),
        inputs=[parts.session],
        outputs=[parts.next, parts.session],
    )


def _wire_details(
    shell: Shell,
    chosen: Controls,
    parts: Parts,
    clicks: Clicks,
    *,
    typed: gr.Textbox,
    measure: gr.Button,
) -> None:
    """What is measured or fetched when it is asked for."""
    for event in (measure.click, parts.needs.measure):
        shell.on_task(
            event, clicks.measure, inputs=[parts.session, *chosen.all()], outputs=parts.run
        )
    shell.on_detail(
        [typed.submit],
        with_session(clicks.string, 1),
        inputs=[parts.session, typed],
        outputs=[parts.string],
    )
    saved = viewer("saved", elem_classes="lens-unseen")
    shell.on_detail(
        [parts.tokens.export],
        with_session(exported, 1),
        inputs=[parts.session],
        outputs=[saved],
    )
