"""The frame of all tabs: the shared bar, the token strip, the status, and the one way to run."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from tabs import links, said
from tabs.background import Progress
from tabs.first_example import first_example
from tabs.prompts import example_picker, prepared
from tabs.requests import ShortenRequest, checked
from tabs.runtime import Runtime, UserError, result_of, user_errors
from tabs.session_edits import OPEN, ORIGINAL, chosen, opened_edit
from tabs.viewers import drawn, viewer
from tabs.wiring import PRIVATE, RUN
from tabs.words import LANGUAGES, phrase, text

TEMPLATES: dict[str, dict[str, str | None]] = {
    "plain": {"template": None, "special": "default"},
    "bos": {"template": None, "special": "bos"},
    "none": {"template": None, "special": "none"},
    "chat": {"template": "chat", "special": "default"},
}
"""What the template picker offers -> the arguments of a request."""

STOPPED = "(status) => (lens.shell.stopping ? 'stopped' : status)"
"""A run that was stopped ends like one that failed; the browser knows which it was."""

BAR = ("model", "prompt", "template", "edit")
Bar = tuple[str, str, str, str]
"""What the bar says: model, prompt, template and edit."""

Shown = tuple[dict[str, Any], tuple[Any, ...]]
"""A result's JSON, and what the tab's components show of it."""

Going = Progress | tuple[Progress, tuple[Any, ...]]
"""How far a run is, and what the tab's components show meanwhile where that is something."""

Run = Callable[..., Generator[Going, None, Shown]]
"""(the shared arguments of a request, *option values) -> progress; returns what to show."""


@dataclass
class Shell:
    """The components that all tabs share, and the one way to run an analysis from them."""

    runtime: Runtime
    header: gr.HTML
    model: gr.Dropdown
    prompt: gr.Textbox
    template: gr.Dropdown
    edit: gr.Dropdown
    edits: gr.State
    """The session's edits: name -> `KeptEdit`."""
    strip: gr.HTML
    status: gr.HTML
    notice: gr.HTML
    _options: dict[str, Component] = field(default_factory=dict)
    _runs: list[Any] = field(default_factory=list)
    _tasks: list[Any] = field(default_factory=list)

    @property
    def first(self) -> dict[str, Any]:
        """The finished example that the page opens with; empty where the page opens otherwise."""
        return first_example(self.runtime.settings)

    @property
    def bar(self) -> list[Component]:
        """The components of the bar, in the order of `Bar`."""
        return [self.model, self.prompt, self.template, self.edit]

    def option(self, name: str, component: Component) -> Component:
        """A control of a tab, which links carry under this name."""
        assert name not in self._options
        self._options[name] = component
        return component

    def on_run(
        self,
        tab: str,
        run: Run,
        *,
        options: Sequence[Component],
        outputs: Sequence[Component],
        rerun: Sequence[Callable[..., Dependency]] = (),
        shown: Bar | None = None,
        reads: Sequence[str] = BAR,
        asks: bool = False,
    ) -> None:
        """Run the tab's analysis when Run is pressed there, or at the events in `rerun`.

        Args:
            tab: its name in links.
            run: progress on the way; returns the result's JSON and the values of `outputs`.
            options: the tab's own controls, whose values `run` takes after the shared arguments.
            outputs: what shows the result.
            rerun: more events that run it.
            shown: what the bar said for the result that the tab opens with.
            reads: what of the bar makes a result one of before when it changes.
            asks: it runs when it is asked for, never because the tab or a link is opened.
        """
        known = {"tab": tab, "ran": shown, "reads": list(reads), "asks": asks}
        runner = viewer("runner", known, elem_classes="lens-unseen")

        def follow(
            edits: dict[str, Any], model: str, prompt: str, template: str, edit: str, *values: Any
        ) -> Generator[tuple, None, None]:
            bar = (model, prompt, template, edit)
            nothing = (gr.skip(),) * (1 + len(outputs))
            try:
                steps = run(self.arguments(bar, edits), *values)
                result, shows = yield from _busy(steps, nothing)
                limit = self.runtime.max_tokens(tab, model)
                strip = said.strip(result, limit, self.runtime.device(model))
                yield drawn(said.done(result, tab, bar)), drawn(strip), *shows
            except UserError as error:
                yield drawn(said.failure(error)), *nothing

        # One by one: `gr.on` does not take the events of our own viewers.
        for place, trigger in enumerate([runner.run, *rerun]):
            started = self._start(
                trigger,
                follow,
                inputs=[self.edits, *self.bar, *options],
                outputs=[self.strip, *outputs],
                # A choice made while it runs comes after it; Run itself is not repeated.
                again=place > 0,
            )
            self._runs.append(started)

    def on_task(
        self,
        event: Callable[..., Dependency],
        task: Callable[..., Generator[Going, None, tuple[Any, ...]]],
        *,
        inputs: Sequence[Component],
        outputs: Sequence[Component],
        queue: Mapping[str, Any] | None = None,
    ) -> Dependency:
        """Run a model for more about the result that is there, with progress and Stop.

        Args:
            event: what asks for it.
            task: the values of `inputs` -> progress; returns those of `outputs`.
            inputs: what it needs.
            outputs: what shows it.
            queue: for what runs no model of this machine; the one that runs share when None.

        Returns:
            What has been started, for what is to follow it.
        """
        nothing = (gr.skip(),) * len(outputs)

        def follow(*values: Any) -> Generator[tuple, None, None]:
            try:
                shows = yield from _busy(task(*values), nothing)
                yield drawn(said.measured()), *shows
            except UserError as error:
                yield drawn(said.failure(error)), *nothing

        started = self._start(event, follow, inputs=inputs, outputs=outputs, queue=queue)
        self._tasks.append(started)
        return started

    def _start(
        self,
        event: Callable[..., Dependency],
        follow: Callable[..., Generator[tuple, None, None]],
        *,
        inputs: Sequence[Component],
        outputs: Sequence[Component],
        again: bool = False,
        queue: Mapping[str, Any] | None = None,
    ) -> Dependency:
        """Start what runs a model: the status line says how it goes, and how it ends."""
        event(None, outputs=[self.status], js=said.WAITING, **PRIVATE)
        started = event(
            follow,
            inputs=list(inputs),
            outputs=[self.status, *outputs],
            trigger_mode="always_last" if again else "once",
            **PRIVATE,
            **(self.runtime.run_queue if queue is None else queue),
        )
        started.failure(
            said.crashed, inputs=[self.status], outputs=[self.status], js=STOPPED, **PRIVATE
        )
        return started

    def on_detail(
        self,
        events: Sequence[Callable[..., Dependency]],
        detail: Callable[..., tuple[Any, ...]],
        *,
        inputs: Sequence[Component],
        outputs: Sequence[Component],
        sheet: bool = False,
    ) -> None:
        """Show more of a result that is there: a click, a choice.

        Args:
            events: what asks for it.
            detail: the values of `inputs` (and an event) -> those of `outputs`.
            inputs: what it needs.
            outputs: what shows it.
            sheet: on a phone, raise the inspector.
        """
        nothing = (gr.skip(),) * len(outputs)

        @wraps(detail)
        def answered(*given: Any) -> tuple[Any, ...]:
            try:
                return *detail(*given), drawn({})
            except UserError as error:
                return *nothing, drawn(said.remark(error))

        for event in events:
            done = event(
                answered,
                inputs=list(inputs),
                outputs=[*outputs, self.notice],
                trigger_mode="multiple",  # Gradio forgets what a later click said otherwise
                **PRIVATE,
                **self.runtime.detail_queue,
            )
            if sheet:
                done.success(None, js="() => lens.openSheet()", **PRIVATE)

    def on_example(self, event: Callable[..., Dependency]) -> None:
        """Fill in and run the prepared prompt whose index the event carries."""

        def example(event: gr.EventData) -> str:
            examples = prepared(self.runtime.settings)
            return examples[said.index_of(event, "index", len(examples))]

        event(example, outputs=[self.prompt], **PRIVATE).success(
            None, inputs=self.bar, js=RUN, **PRIVATE
        )

    def on_open(self, tab: gr.Tab, name: str) -> None:
        """When a tab is opened, it runs what another tab ran before."""
        tab.select(None, js=f"() => lens.openTab({json.dumps(name)})", **PRIVATE)

    def finish(self, tabs: gr.Tabs, names: Sequence[str]) -> None:
        """Wire what needs all tabs: Stop, links, the edit picker, the remedy of a long prompt."""
        self.status.stop(
            said.stopped, outputs=[self.status], cancels=[*self._runs, *self._tasks], **PRIVATE
        )
        self.status.shorten(
            self._shortened,
            inputs=[self.model, self.prompt, self.template],
            outputs=[self.prompt, self.status],
            **PRIVATE,
            **self.runtime.run_queue,
        ).success(None, inputs=self.bar, js=RUN, **PRIVATE)
        for component in (self.model, self.prompt, self.template, self.edit):
            component.change(None, inputs=self.bar, js="(...bar) => lens.setBar(bar)", **PRIVATE)
        self._wire_links(tabs, names)
        gr.on(None, self._loading, outputs=[self.status], concurrency_limit=None, **PRIVATE)

    def arguments(self, bar: Bar, edits: dict[str, Any]) -> dict[str, Any]:
        """What every request says of the bar."""
        model, prompt, template, edit = bar
        shared = {"model": model, "prompt": prompt, **TEMPLATES.get(template, TEMPLATES["plain"])}
        with user_errors():
            return {**shared, "edit": chosen(edits, edit)}

    def _wire_links(self, tabs: gr.Tabs, names: Sequence[str]) -> None:
        """Links bring back the bar, the tab and every option; the header gives them out."""
        carried = {
            "model": self.model,
            "prompt": self.prompt,
            "template": self.template,
            **self._options,
        }
        keys = json.dumps({name: component.value for name, component in carried.items()})
        names_asked = json.dumps(list(carried))
        for event in ("link", "language"):
            getattr(self.header, event)(
                None,
                inputs=list(carried.values()),
                js=f"(...values) => lens.viewers.header.{event}({keys}, values)",
                **PRIVATE,
            )

        for run in self._runs:
            run.success(
                None,
                inputs=list(carried.values()),
                js=f"(...values) => lens.keep({keys}, values)",
                **PRIVATE,
            )

        self.header.value = drawn({"languages": LANGUAGES, "tabs": list(names)})

        def opened(request: gr.Request) -> gr.Tabs:
            return gr.Tabs(selected=request.query_params["tab"])

        def arrive(request: gr.Request) -> list[Any]:
            return links.restored(dict(request.query_params), carried, names)

        # Asked for by the browser, and only where the address says something: what was once the
        # output of an event makes every later one slower.
        ready = f"(...bar) => lens.arrive({names_asked}, bar)"
        self.header.open(opened, outputs=[tabs], **PRIVATE)
        self.header.restore(arrive, outputs=[*carried.values(), self.notice], **PRIVATE).then(
            None, inputs=self.bar, js=ready, **PRIVATE
        )
        self.header.arrive(None, inputs=self.bar, js=ready, **PRIVATE)

    def _shortened(
        self, event: gr.EventData, model: str, prompt: str, template: str
    ) -> tuple[Any, Any]:
        """The longest end of the prompt that fits the limit that was named."""
        limit = said.index_of(event, "limit", 1 << 20)
        shared = {"model": model, "prompt": prompt, **TEMPLATES.get(template, TEMPLATES["plain"])}
        try:
            with user_errors():
                request = checked(ShortenRequest, {**shared, "limit": limit})
            return result_of(self.runtime.steps("shorten", request)), gr.skip()
        except UserError as error:
            return gr.skip(), drawn(said.failure(error))

    def _loading(self) -> Generator[str, None, None]:
        """The status line of a new page until the model stack is there."""
        for progress in self.runtime.stack.steps():
            yield drawn(said.loading(progress))
        error = self.runtime.stack.failure
        yield drawn(said.ready() if error is None else said.failure(UserError(error)))


def _busy(
    steps: Generator[Going, None, Any], nothing: tuple[Any, ...]
) -> Generator[tuple, None, Any]:
    """Say how it goes, and show what there is already; returns what it comes to."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        progress, shows = step if isinstance(step, tuple) else (step, ())
        # What is shown are the last outputs; the strip before them waits for the result.
        yield drawn(said.busy(progress)), *nothing[len(shows) :], *shows


def build_shell(runtime: Runtime) -> Shell:
    """Lay the shared bar out in the current Gradio context."""
    settings = runtime.settings
    header = viewer("header", {"languages": LANGUAGES, "tabs": []}, elem_classes="lens-top")
    if settings.demo_mode:
        with gr.Accordion(text("page.about"), open=False):
            viewer("heading", {"title": phrase("page.about_text"), "how": None})
    with gr.Column(elem_classes="lens-panel lens-shared"):
        viewer("fold", {}, elem_classes="lens-folded")
        with gr.Row(elem_classes="lens-bar"):
            model = gr.Dropdown(
                settings.model_names,
                value=settings.default_model,
                label=text("bar.model" if settings.public else "bar.model_any"),
                allow_custom_value=not settings.public,
                elem_classes="lens-model",
            )
            prompt = gr.Textbox(
                prepared(settings)[0],
                label=text("bar.prompt"),
                lines=1,
                max_lines=6,
                elem_classes="lens-prompt",
            )
            template = gr.Dropdown(
                [(text(f"template.{name}"), name) for name in TEMPLATES],
                value="plain",
                label=text("bar.template"),
                elem_classes="lens-template",
            )
            edit = gr.Dropdown(
                [(text("edit.none"), ORIGINAL), (text("edit.open"), OPEN)],
                value=ORIGINAL,
                label=text("bar.edit"),
                elem_classes="lens-edit",
            )
            run = gr.Button(text("bar.run"), variant="primary", elem_classes="lens-run")
        first = first_example(settings).get("strip")
        strip = viewer("token_strip", first, elem_classes="lens-strip", elem_id="lens-strip")
        status = viewer("status", said.loading(Progress("status.stack", {})))
        notice = viewer("notice")
        picker = example_picker(settings, prompt, notice)
    edits = gr.State({})
    run.click(None, js="() => lens.run()", **PRIVATE)
    opened_edit(edit, edits, notice, limited=settings.public)
    picker.success(None, inputs=[model, prompt, template, edit], js=RUN, **PRIVATE)
    return Shell(runtime, header, model, prompt, template, edit, edits, strip, status, notice)
