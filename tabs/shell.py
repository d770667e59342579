"""The shared bar above the tabs: model, prompt, template, Run, the token strip and the status."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from tabs.operations import Progress
from tabs.requests import Request, checked
from tabs.runtime import Runtime, Steps, title, user_errors
from tabs.viewers import drawn, viewer

HEADER = "<h1>LM Lens</h1><p>A microscope and repair bench for language models</p>"
ABOUT = (
    "LM Lens runs a language model on your prompt and shows what every layer makes of it. "
    "The prompt is not stored."
)
EXAMPLES = (
    "The capital of France is",
    "法国的首都是",
    "フランスの首都は",
    "7 + 5 =",
    "Mary and John went to the park. John gave a book to",
)
TEMPLATES: dict[str, dict[str, str | None]] = {
    "Plain text": {"template": None, "special": "default"},
    "Plain, with start token": {"template": None, "special": "bos"},
    "Plain, no special tokens": {"template": None, "special": "none"},
    "Chat template": {"template": "chat", "special": "default"},
}
"""What the template picker offers -> the arguments of a request."""


INEXACT = 2e-2
"""Relative error of a decomposition above which it is switched off at any precision."""


@dataclass
class Shell:
    """The components that all tabs share, and the one way to run an analysis from them."""

    runtime: Runtime
    model: gr.Dropdown
    prompt: gr.Textbox
    template: gr.Dropdown
    run: gr.Button
    stop: gr.Button
    strip: gr.HTML
    status: gr.HTML
    _runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def examples(self) -> list[str]:
        """The prepared prompts of the settings, or our own."""
        return self.runtime.settings.sentences or list(EXAMPLES)

    def on_run(
        self,
        op: str,
        ask: Callable[..., dict[str, Any]],
        show: Callable[..., dict[str, Any]],
        *,
        kind: type[Request],
        options: Sequence[Component],
        picture: gr.HTML,
        rerun: Sequence[Callable[..., Dependency]] = (),
        after: Sequence[Dependency] = (),
    ) -> None:
        """Run an operation when Run is pressed, or at the events in `rerun`.

        Args:
            op: the operation's name in `tabs.operations.OPS`.
            ask: option values -> the arguments that are the tab's own.
            show: (the result's JSON, *option values) -> the value of `picture`.
            kind: the request that the arguments are checked against.
            options: the tab's own controls.
            picture: the viewer that draws the result.
            rerun: more events that run it.
            after: events that run it once they are through.
        """

        def run(
            model: str, prompt: str, template: str, *values: Any
        ) -> Generator[tuple, None, None]:
            arguments = {"model": model, "prompt": prompt, **TEMPLATES.get(template, {})}
            try:
                with user_errors():
                    request = checked(kind, {**arguments, **ask(*values)})
                for status, result in self._followed(self.runtime.steps(op, request)):
                    if result is None:
                        yield drawn(status), gr.skip(), gr.skip()
                    else:
                        strip = strip_value(result, self.runtime.max_tokens(op, model))
                        yield drawn(status), drawn(strip), drawn(show(result, *values))
            except gr.Error as error:
                yield drawn(failure(error)), gr.skip(), gr.skip()

        wiring: dict[str, Any] = {
            "inputs": [self.model, self.prompt, self.template, *options],
            "outputs": [self.status, self.strip, picture],
            **PRIVATE,
            **self.runtime.run_queue,
        }
        triggers = [self.run.click, *rerun]
        gr.on(triggers, None, outputs=[self.status], js=WAITING, **PRIVATE)
        started = gr.on(triggers, run, **wiring)
        runs = [started, *(event.then(run, **wiring) for event in after)]
        self._runs += runs
        for event in runs:
            event.failure(crashed, outputs=[self.status], **PRIVATE)

    def take_example(self, event: gr.EventData) -> str:
        """The example that was clicked; what the browser sends is not trusted."""
        sent = event._data
        index = sent.get("index") if isinstance(sent, dict) else None
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            raise gr.Error("There is no such example.", print_exception=False)
        return self.examples[index]

    def finish(self) -> None:
        """Wire what needs all tabs: Stop, and the status while the model stack loads."""
        self.stop.click(stopped, outputs=[self.status], cancels=self._runs, **PRIVATE)
        gr.on(None, self._loading, outputs=[self.status], concurrency_limit=None, **PRIVATE)

    def _loading(self) -> Steps:
        """The status line of a new page until the model stack is there."""
        for progress in self.runtime.stack.steps():
            yield drawn(loading(progress.text))
        error = self.runtime.stack.failure
        if error is None:
            yield drawn(ready("Ready. Press Run, or Ctrl+Enter."))
        else:
            yield drawn({"state": "error", "title": title(error), "text": str(error)})

    def _followed(self, steps: Steps) -> Generator[tuple[dict[str, Any], Any], None, None]:
        """(status, None) while an operation runs, then (status, the result's JSON)."""
        for step in steps:
            if isinstance(step, Progress):
                yield busy(step.text), None
            else:
                result = step.to_json()
                yield done(result), result


PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


WAITING = (
    f"() => {json.dumps(drawn({'state': 'busy', 'title': '', 'text': 'Waiting for its turn'}))}"
)
"""Said by the browser itself the moment a run is asked for; the server's words follow."""


def build_shell(runtime: Runtime) -> Shell:
    """Lay the shared bar out in the current Gradio context."""
    settings = runtime.settings
    gr.HTML(HEADER, elem_classes="lens-header", apply_default_css=False)
    if settings.demo_mode:
        with gr.Accordion("About", open=False):
            gr.Markdown(ABOUT)
    first = settings.sentences[0] if settings.demo_mode and settings.sentences else EXAMPLES[0]
    with gr.Column(elem_classes="lens-panel"):
        with gr.Row(elem_classes="lens-bar"):
            model = gr.Dropdown(
                settings.model_names,
                value=settings.default_model,
                label="Model" if settings.public else "Model, Hub id or folder",
                allow_custom_value=not settings.public,
                min_width=200,
                scale=2,
            )
            prompt = gr.Textbox(first, label="Prompt", lines=1, max_lines=6, min_width=280, scale=5)
            template = gr.Dropdown(
                list(TEMPLATES), value="Plain text", label="Template", min_width=150, scale=1
            )
            run = gr.Button(
                "Run", variant="primary", elem_classes="lens-run", min_width=104, scale=0
            )
            stop = gr.Button("Stop", elem_classes="lens-stop", min_width=64, scale=0)
        strip = viewer("token_strip", elem_classes="lens-strip")
        status = viewer("status", loading("Loading PyTorch and transformers"))
    return Shell(runtime, model, prompt, template, run, stop, strip, status)


def strip_value(result: dict[str, Any], limit: int) -> dict[str, Any]:
    """What the token strip shows of a result: tokens, next token, badge and conditions."""
    model, timing = result["model"], result["timing"]
    facts = [model["id"], model["dtype"]]
    if timing:
        facts.append(f"{sum(timing.values()):.2f} s")
    return {
        "tokens": result["input"]["tokens"],
        "limit": limit,
        "prediction": prediction(result),
        "badge": badge(result["self_check"], result["warnings"]),
        "facts": facts,
    }


def prediction(result: dict[str, Any]) -> dict[str, Any] | None:
    """The model's most likely token after the last position that was read."""
    final = result.get("final")
    if not final or not final["ids"]:
        return None
    token = final["ids"][-1]
    return {"text": result["vocab"][str(token)]["text"], "p": final["p"][-1]}


def badge(check: dict[str, Any], warnings: list[str]) -> dict[str, str]:
    """Whether the model can be taken apart exactly, with the measured error; more on hover."""
    errors = {name: value for name, value in check.items() if value is not None}
    detail = "\n".join([*warnings, *(f"{name}: {value:.1e}" for name, value in errors.items())])
    error = check["completeness_rel_err"]
    if error is None:
        return {"state": "poor", "text": "▲ Not decomposed", "detail": detail}
    number = f"{error:.0e}".replace("e-0", "e-")
    if error > INEXACT:
        return {"state": "poor", "text": f"▲ Decomposition off · {number}", "detail": detail}
    return {"state": "good", "text": f"✓ Exact decomposition · {number}", "detail": detail}


def loading(text: str) -> dict[str, Any]:
    """The status while the model stack comes up behind the page."""
    return {"state": "loading", "title": "", "text": f"{text}; you can type already."}


def busy(text: str) -> dict[str, Any]:
    """The status while something is under way."""
    return {"state": "busy", "title": "", "text": text}


def done(result: dict[str, Any]) -> dict[str, Any]:
    """The status after a run."""
    n_tokens = len(result["input"]["tokens"])
    text = f"{result['model']['id']} read {n_tokens} tokens."
    return {"state": "done", "title": "", "text": text}


def failure(error: gr.Error) -> dict[str, Any]:
    """The status after an error: what was wrong, and what to do."""
    return {"state": "error", "title": error.title, "text": str(error.message)}


def ready(text: str) -> dict[str, Any]:
    """The status when nothing is under way."""
    return {"state": "ready", "title": "", "text": text}


def crashed() -> str:
    """The status after an error that is ours, not the user's."""
    text = "The run failed with an error of LM Lens itself; its log says where."
    return drawn({"state": "error", "title": "Unexpected error", "text": text})


def stopped() -> str:
    """The status after Stop."""
    return drawn(ready("Stopped."))
