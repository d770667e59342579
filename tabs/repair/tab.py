"""The repair tab: its layout, and which event does what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lens_core.settings import EMBEDDED_MODEL
from tabs import said
from tabs.repair import edit_clicks
from tabs.repair.choices import EXAMPLES, Batch, Example
from tabs.repair.clicks import NOTHING, Clicks, neuron_chosen
from tabs.repair.controls import Controls, File, form
from tabs.repair.edit_views import edit_list
from tabs.repair.views import empty_outcome, hint
from tabs.runtime import UserError
from tabs.shell import Shell
from tabs.viewers import drawn, viewer
from tabs.wiring import PRIVATE, RUN
from tabs.words import phrase, text

OPEN_FILE = '() => document.querySelector(".lens-edit-file input")?.click()'

LATER = "() => new Promise((done) => setTimeout(done, 600))"
"""What was on its way when Stop was pressed still arrives."""


@dataclass(frozen=True)
class Parts:
    """What shows a result, and what asks for more about it."""

    live: gr.HTML
    """A repair while it goes on; what was there before stays below it."""
    outcome: gr.HTML
    run_chart: gr.HTML
    tokens: gr.HTML
    lens: gr.HTML
    effects: gr.HTML
    neurons: gr.HTML
    comparison: gr.HTML
    strengths: gr.HTML
    together: gr.HTML
    compare: gr.Button
    try_strengths: gr.Button
    check: gr.Button
    lora: gr.Button
    edits: gr.HTML
    session: gr.State
    made: gr.State
    checked: gr.State
    """What was found of the edits together, until the session has it."""
    saved: gr.HTML

    @property
    def run(self) -> list[Any]:
        """In the order of a run's outputs."""
        shown = [self.live, self.outcome, self.run_chart, self.tokens, self.lens]
        shown += [self.effects, self.neurons, self.comparison, self.strengths, self.together]
        return [*shown, self.session, self.made]


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    with gr.Row(elem_classes="lens-repair-grid"):
        with gr.Column(scale=4, min_width=320, elem_classes="lens-repair-form"):
            with gr.Column(elem_classes="lens-panel"):
                viewer("heading", {"title": phrase("repair.form"), "how": None})
                controls, preview, file, button = form(shell)
                examples = _examples(shell)
            with gr.Column(elem_classes="lens-panel lens-repair-later"):
                edits = viewer("edit_list", edit_list({}, None))
            with gr.Column(elem_classes="lens-panel lens-result lens-filled lens-repair-later"):
                neurons = viewer("stack")
        with gr.Column(scale=9, min_width=320, elem_classes="lens-repair-result"):
            shown = _results()
            studies = _studies()
    states: dict[str, Any] = {name: gr.State(None) for name in ("session", "made", "checked")}
    saved = viewer("saved", elem_classes="lens-unseen")
    made = {**shown, **studies, **states, "neurons": neurons, "edits": edits, "saved": saved}
    parts = Parts(**made)
    clicks = Clicks(shell.runtime)
    shell.on_run(
        "repair",
        clicks.run,
        options=[parts.session, file.pairs, *controls.all()],
        outputs=parts.run,
        rerun=[button.click, controls.target.submit],
        reads=("model", "prompt", "template"),
        asks=True,
    )
    shell.status.stop(None, js=LATER, **PRIVATE).then(
        lambda: drawn(NOTHING), outputs=[parts.live], **PRIVATE
    )
    _wire_form(shell, controls, preview, file, clicks)
    for example, chosen in examples:
        _wire_example(shell, controls, file, example, chosen)
    _wire_edits(shell, parts)
    _wire_studies(shell, parts, clicks)


def _results() -> dict[str, gr.HTML]:
    """The right side: what came of it, how, and what else changed."""
    with gr.Column(elem_classes="lens-panel lens-filled lens-live"):
        shown = {"live": viewer("stack")}
    with gr.Column(elem_classes="lens-panel lens-result", elem_id="lens-panel-outcome"):
        shown |= {"outcome": viewer("outcome", empty_outcome(), elem_id="lens-outcome")}
        shown["tokens"] = viewer("table")
    with gr.Row(elem_classes="lens-charts"):
        for name in ("run_chart", "lens"):
            with gr.Column(min_width=320, elem_classes="lens-panel lens-result lens-filled"):
                shown[name] = viewer("stack")
    with gr.Column(elem_classes="lens-panel lens-result lens-filled"):
        shown["effects"] = viewer("stack")
    return shown


def _studies() -> dict[str, Any]:
    """What is measured when it is asked for."""
    with gr.Column(elem_classes="lens-panel lens-after-run"):
        viewer("heading", {"title": phrase("repair.studies"), "how": None})
        viewer("target", hint(phrase("repair.studies_how")))
        with gr.Row(elem_classes="lens-toolbar"):
            buttons = {
                name: gr.Button(text(f"repair.{name}"), elem_classes="lens-small")
                for name in ("compare", "try_strengths", "check", "lora")
            }
        viewer("target", hint(phrase("repair.lora_how")))
        with gr.Column(elem_classes="lens-result"):
            views = {name: viewer("stack") for name in ("comparison", "strengths", "together")}
    return {**buttons, **views}


def _examples(shell: Shell) -> list[tuple[Example, gr.Button]]:
    """What the embedded model can be taught at once, where it is among the models."""
    if EMBEDDED_MODEL not in shell.runtime.settings.model_names:
        return []
    viewer("target", hint(phrase("repair.examples")))
    with gr.Column(elem_classes="lens-repair-examples"):
        return [
            (
                example,
                gr.Button(_shown(example), elem_classes="lens-small lens-mono"),
            )
            for example in EXAMPLES
        ]


def _shown(example: Example) -> str:
    prompt = " ".join(example.prompt.replace("\n", " ⏎ ").split())
    return f"{prompt} → {example.target.strip()}"


def _wire_form(
    shell: Shell, controls: Controls, preview: gr.HTML, file: File, clicks: Clicks
) -> None:
    """The preview follows the form and the bar; a file takes the place of both."""

    def previewed(model: str, prompt: str, template: str, target: str, batch: Batch | None) -> str:
        shared = shell.arguments((model, prompt, template, "none"), {})
        return clicks.preview(shared, target, batch)

    def read(path: str) -> tuple[Any, Any, Any]:
        try:
            return *clicks.read_file(path), drawn({})
        except UserError as error:
            return gr.skip(), gr.skip(), drawn(said.remark(error))

    for event in (
        controls.target.change,
        shell.prompt.blur,
        shell.prompt.submit,
        shell.model.change,
        shell.template.change,
        file.pairs.change,
        controls.target.focus,
    ):
        event(
            previewed,
            inputs=[shell.model, shell.prompt, shell.template, controls.target, file.pairs],
            outputs=[preview],
            trigger_mode="always_last",
            **PRIVATE,
            **shell.runtime.detail_queue,
        )
    preview.space(
        lambda target: f" {target}", inputs=[controls.target], outputs=[controls.target], **PRIVATE
    )
    file.upload.upload(
        read, inputs=[file.upload], outputs=[file.pairs, file.drop, shell.notice], **PRIVATE
    )
    file.drop.click(
        lambda: (None, gr.Button(visible=False)), outputs=[file.pairs, file.drop], **PRIVATE
    )


def _wire_example(
    shell: Shell, controls: Controls, file: File, example: Example, chosen: gr.Button
) -> None:
    """Fill in and run one example."""
    values = (
        EMBEDDED_MODEL, example.prompt, "plain", example.target, "\n".join(example.paraphrases),
        None, gr.Button(visible=False),
    )  # fmt: skip
    fields = [shell.model, shell.prompt, shell.template, controls.target, controls.paraphrases]
    chosen.click(lambda: values, outputs=[*fields, file.pairs, file.drop], **PRIVATE).success(
        None, inputs=shell.bar, js=RUN, **PRIVATE
    )


def _redraw(shell: Shell, parts: Parts) -> dict[str, Any]:
    """The arguments of an event that draws the list of edits, and the outcome's buttons, anew."""
    return {
        "fn": edit_clicks.listed,
        "inputs": [shell.edits, parts.session, parts.outcome],
        "outputs": [parts.edits, parts.outcome],
        **PRIVATE,
    }


def _wire_edits(shell: Shell, parts: Parts) -> None:
    """The edit that was made joins those of the session; the list and the outcome follow."""
    kept = [shell.edits, shell.edit, shell.notice]
    redraw = _redraw(shell, parts)
    parts.made.change(
        edit_clicks.keep, inputs=[parts.made, shell.edits], outputs=kept, **PRIVATE
    ).then(**redraw)
    shell.edit.change(**redraw)  # another file or another choice in the bar
    for event, handler in (
        (parts.edits.switch, edit_clicks.switch),
        (parts.edits.strength, edit_clicks.weaken),
        (parts.edits.undo, edit_clicks.remove),
    ):
        done = event(
            handler, inputs=[shell.edits], outputs=kept, trigger_mode="multiple", **PRIVATE
        )
        done.then(**redraw)
    own = [shell.edits, parts.session]
    for event, handler in (
        (parts.outcome.use, edit_clicks.use),
        (parts.outcome.undo, edit_clicks.undo),
    ):
        event(handler, inputs=own, outputs=kept, **PRIVATE).then(**redraw)
    parts.outcome.save(edit_clicks.save, inputs=own, outputs=[parts.saved], **PRIVATE)
    parts.edits.save(
        edit_clicks.save_listed, inputs=[shell.edits], outputs=[parts.saved], **PRIVATE
    )
    parts.edits.open(None, js=OPEN_FILE, **PRIVATE)


def _wire_studies(shell: Shell, parts: Parts, clicks: Clicks) -> None:
    own = [parts.session, shell.edits]
    for button, task, inputs, outputs in (
        (parts.compare, clicks.compare, [parts.session], [parts.comparison]),
        (parts.try_strengths, clicks.strengths, own, [parts.strengths]),
        (parts.lora, clicks.lora, own, [parts.saved]),
    ):
        shell.on_task(button.click, task, inputs=inputs, outputs=outputs)
    # A repair may have ended meanwhile: what was found goes into the session as it is by then.
    shell.on_task(
        parts.check.click, clicks.together, inputs=own, outputs=[parts.together, parts.checked]
    ).then(
        edit_clicks.note,
        inputs=[parts.checked, parts.session],
        outputs=[parts.session, parts.checked],
        **PRIVATE,
    ).then(**_redraw(shell, parts))
    parts.neurons.choose(
        neuron_chosen,
        inputs=[parts.neurons],
        outputs=[parts.neurons],
        trigger_mode="multiple",
        **PRIVATE,
    )
