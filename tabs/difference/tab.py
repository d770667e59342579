"""The tab of pairs: its layout, and which event does what."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from tabs.difference import controls, export
from tabs.difference.clicks import Clicks, first_pairs
from tabs.difference.controls import Controls
from tabs.difference.data_views import HEADERS, data_stack, table_rows
from tabs.difference.pair_views import EMPTY_LINES
from tabs.difference.session import Pairs, Session
from tabs.runtime import user_errors
from tabs.shell import Going, Shell
from tabs.viewers import viewer
from tabs.wiring import PRIVATE, with_session
from tabs.words import panel_head, phrase, text

PANEL = "lens-panel-difference"
SHOW = f"(part) => {{ document.querySelector('#{PANEL}').dataset.part = part; }}"
WIDTHS = ("28%", "28%", "11%", "10%", "8%", "8%", "7%")
"""Of the columns of the table."""
FILES = [".json", ".jsonl", ".csv", ".txt", ".gz"]


@dataclass(frozen=True)
class Parts:
    """What shows a result, in the order of a run's outputs."""

    lines: gr.HTML
    grid: gr.HTML
    restored: gr.HTML
    layers: gr.HTML
    dimensions: gr.HTML
    site: gr.Dropdown
    side: gr.Radio
    session: gr.State
    trace: gr.HTML
    report: gr.HTML

    @property
    def run(self) -> list[Any]:
        """All of them."""
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class Data:
    """What shows the pairs themselves, and what asks for others."""

    pairs: gr.State
    report: gr.HTML
    table: gr.Dataframe
    form: list[Any]
    make: gr.Button
    upload: gr.UploadButton
    take: gr.Button
    own: list[gr.Textbox]
    add: gr.Button
    back: gr.Button

    @property
    def outputs(self) -> list[Any]:
        """In the order in which new pairs are given out."""
        return [self.pairs, self.report, self.table]


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    found: dict[str, Any] = {}
    with gr.Column(elem_classes="lens-panel lens-result"):
        found |= controls.above_pair()
        shown: dict[str, Any] = {
            "lines": viewer("pair_lines", EMPTY_LINES, elem_id="lens-pair-lines")
        }
    with gr.Row(elem_classes="lens-charts lens-result"):
        with gr.Column(elem_classes="lens-panel", min_width=300):
            found |= controls.above_grid()
            shown["grid"] = viewer("heatmap", _empty(), elem_id="lens-pair-grid")
        with gr.Column(elem_classes="lens-panel", min_width=300):
            found |= controls.above_restored()
            shown["restored"] = viewer("heatmap", _waiting(), elem_id="lens-pair-restored")
    found |= controls.part_picker()
    with gr.Column(elem_id=PANEL, elem_classes="lens-parts"):
        shown |= _lay_results(found)
        trace, operations = _lay_trace(shown), _lay_operations()
        data = _lay_data()
        shown["report"] = data.report
        with _part("export"):
            panel_head("pairs.part_export", "pairs.export_how")
            saves = export.buttons()
    shown |= {name: found[name] for name in ("site", "side")}
    shown["session"] = gr.State(None)
    chosen, parts = Controls(**controls.linked(shell, found)), Parts(**shown)
    clicks = Clicks(shell.runtime)
    chosen.part.change(None, inputs=[chosen.part], js=SHOW, **PRIVATE)
    _wire_runs(shell, chosen, parts, data, clicks)
    _wire_looks(shell, chosen, parts, data, clicks)
    _wire_tasks(shell, parts, clicks, trace=trace, operations=operations)
    _wire_data(shell, data, clicks)
    _wire_export(shell, parts, data, clicks, saves)


def _empty() -> dict[str, Any]:
    return {"state": "empty", "title": phrase("pairs.grid"), "text": phrase("pairs.empty")}


def _waiting() -> dict[str, Any]:
    return {"state": "empty", "title": phrase("pairs.restored"), "text": phrase("pairs.empty")}


@contextmanager
def _part(name: str, *, result: bool = False) -> Iterator[None]:
    """A panel that is there while its part is chosen."""
    shown = " lens-result" if result else ""
    with gr.Column(elem_classes=f"lens-panel lens-part lens-part-{name}{shown}"):
        yield


def _lay_results(found: dict[str, Any]) -> dict[str, gr.HTML]:
    with _part("layers", result=True):
        found |= controls.above_layers()
        shown = {"layers": viewer("stack", elem_id="lens-pair-layers")}
    with _part("dimensions", result=True):
        found |= controls.above_dimensions()
        shown["dimensions"] = viewer("stack", elem_id="lens-pair-dimensions")
        found |= controls.how_compared()
    return shown


def _lay_trace(shown: dict[str, Any]) -> tuple[list[Any], gr.Button]:
    with _part("trace"):
        panel_head("pairs.part_trace", "pairs.trace_panel_how")
        form = controls.trace_form()
        button = gr.Button(text("pairs.trace_button"), variant="primary", elem_classes="lens-small")
        shown["trace"] = viewer("stack", elem_id="lens-pair-trace")
    return form, button


def _lay_operations() -> tuple[list[Any], gr.Button, gr.HTML]:
    with _part("operations"):
        panel_head("pairs.part_operations", "pairs.operations_panel_how")
        form = controls.operations_form()
        label = text("pairs.operations_button")
        button = gr.Button(label, variant="primary", elem_classes="lens-small")
        result = viewer("stack", elem_id="lens-pair-operations")
    return form, button, result


def _lay_data() -> Data:
    first = first_pairs()
    with _part("data"):
        panel_head("pairs.part_data", "pairs.data_how")
        form = controls.pairs_form()
        with gr.Row(elem_classes="lens-export-row"):
            make = gr.Button(text("pairs.make"), variant="primary", elem_classes="lens-small")
            upload = gr.UploadButton(
                text("pairs.upload"), file_types=FILES, elem_classes="lens-small"
            )
            back = gr.Button(text("pairs.back"), elem_classes="lens-small")
        with gr.Accordion(text("pairs.own"), open=False, elem_classes="lens-more"):
            with gr.Row():
                own = [_own(name) for name in ("a", "b", "answer_a", "answer_b")]
            add = gr.Button(text("pairs.add"), elem_classes="lens-small")
        report = viewer("stack", data_stack(first), elem_id="lens-pair-data")
        with gr.Accordion(text("pairs.edit_table"), open=False, elem_classes="lens-more"):
            table = gr.Dataframe(
                table_rows(first), headers=[*HEADERS], datatype="str", interactive=True,
                type="array", label=text("pairs.table_how"), column_widths=[*WIDTHS],
                max_height=360, elem_id="lens-pair-table",
            )  # fmt: skip
            take = gr.Button(text("pairs.take"), elem_classes="lens-small")
    return Data(gr.State(first), report, table, form, make, upload, take, own, add, back)


def _own(name: str) -> gr.Textbox:
    label, hint = text(f"pairs.own_{name}"), text(f"pairs.own_{name}_hint")
    return gr.Textbox("", label=label, placeholder=hint, max_lines=2, elem_classes="lens-mono")


def _wire_runs(shell: Shell, chosen: Controls, parts: Parts, data: Data, clicks: Clicks) -> None:
    """Run, and other pairs."""
    shell.on_run(
        "difference",
        clicks.run,
        options=[data.pairs, parts.session, *chosen.all()],
        outputs=parts.run,
        rerun=[data.pairs.change],
        reads=("model", "template", "edit"),
    )


def _wire_looks(shell: Shell, chosen: Controls, parts: Parts, data: Data, clicks: Clicks) -> None:
    """Clicks and choices that read what is there."""
    shell.on_detail(
        chosen.looks, clicks.look, inputs=[parts.session, *chosen.all()], outputs=parts.run
    )
    cells = [parts.grid, parts.restored, parts.session]
    for event, handler in (
        (parts.grid.select, clicks.cell),
        (parts.restored.select, clicks.cell),
        (shell.strip.difference, clicks.token),
        (parts.lines.choose, clicks.token),
    ):
        shell.on_detail(
            [event],
            with_session(handler, len(cells)),
            inputs=[parts.session],
            outputs=cells,
        )
    for event, handler in ((parts.lines.step, clicks.step), (data.report.choose, clicks.choose)):
        shell.on_detail(
            [event],
            with_session(handler, 5),
            inputs=[parts.session],
            outputs=[parts.lines, parts.grid, parts.restored, shell.strip, parts.session],
        )


def _wire_tasks(
    shell: Shell,
    parts: Parts,
    clicks: Clicks,
    *,
    trace: tuple[list[Any], gr.Button],
    operations: tuple[list[Any], gr.Button, gr.HTML],
) -> None:
    """What is worked out when it is asked for."""
    form, button = trace
    shell.on_task(button.click, clicks.trace, inputs=[parts.session, *form], outputs=[parts.trace])
    form, button, result = operations
    shell.on_task(
        button.click,
        _with_bar(shell, clicks.operate),
        inputs=[shell.edits, *shell.bar, *form],
        outputs=[result],
    )
    shell.on_task(
        parts.dimensions.act,
        clicks.effect,
        inputs=[parts.session],
        outputs=[parts.dimensions, parts.session],
    )


def _wire_data(shell: Shell, data: Data, clicks: Clicks) -> None:
    """Other pairs: made, of a file, of the table, typed, or the prepared ones."""
    bar = [shell.edits, *shell.bar]
    for event, task, inputs in (
        (data.make.click, clicks.make, data.form),
        (data.upload.upload, clicks.open_file, [data.upload]),
        (data.take.click, clicks.take_table, [data.table, data.pairs]),
        (data.add.click, clicks.add, [data.pairs, *data.own]),
        (data.back.click, clicks.back, []),
    ):
        shell.on_task(event, _with_bar(shell, task), inputs=[*bar, *inputs], outputs=data.outputs)


def _with_bar(
    shell: Shell, task: Callable[..., Generator[Going, None, tuple[Any, ...]]]
) -> Callable[..., Generator[Going, None, tuple[Any, ...]]]:
    """A task of what the bar says, without the prompt."""

    def asked(
        edits: dict[str, Any], model: str, prompt: str, template: str, edit: str, *values: Any
    ) -> Generator[Going, None, tuple[Any, ...]]:
        with user_errors():
            shared = shell.arguments((model, prompt, template, edit), edits)
        del shared["prompt"]
        return (yield from task(shared, *values))

    return asked


def _wire_export(
    shell: Shell, parts: Parts, data: Data, clicks: Clicks, saves: dict[str, gr.Button]
) -> None:
    saved = viewer("saved", elem_classes="lens-unseen")
    shell.on_task(saves.pop("zip").click, clicks.zip, inputs=[parts.session], outputs=[saved])
    for kind, button in saves.items():

        def save(session: Session | None, pairs: Pairs, kind: str = kind) -> tuple[str]:
            return (export.exported(kind, session, pairs),)

        shell.on_detail([button.click], save, inputs=[parts.session, data.pairs], outputs=[saved])
