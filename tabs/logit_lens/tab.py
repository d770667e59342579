"""The logit lens tab: its layout, its runs, and what a click shows."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tabs.background import Progress
from tabs.logit_lens import views
from tabs.logit_lens.controls import Chosen, Controls, more, toolbar
from tabs.logit_lens.session import Session
from tabs.requests import LogitLensRequest, checked
from tabs.runtime import Runtime, UserError, result_of, user_errors
from tabs.said import index_of
from tabs.shell import PRIVATE, Shell, Shown
from tabs.viewers import drawn, viewer
from tabs.words import panel_head, text

WINDOW = 64
"""How many positions the page draws at once, the last ones first."""
MAX_LINES = 8
"""How many tokens can be followed at once."""
CANDIDATES = 5
"""How many are followed when none was chosen."""


Window = tuple[int, dict[str, Any]]
"""The end of the positions that are shown, and the shared arguments of the text they are of."""


@dataclass(frozen=True)
class Parts:
    """What shows a result, in the order of a run's outputs."""

    heatmap: gr.HTML
    ranks: gr.HTML
    prediction: gr.HTML
    attribution: gr.HTML
    followed: gr.HTML
    chart: gr.HTML
    step: gr.Slider
    side: gr.Radio
    session: gr.State

    @property
    def detail(self) -> list[Any]:
        """Those that show one position."""
        return [
            self.ranks,
            self.prediction,
            self.attribution,
            self.followed,
            self.chart,
            self.session,
        ]

    @property
    def run(self) -> list[Any]:
        """All of them: the heat map, the position, and what depends on the tokens."""
        return [self.heatmap, self.step, self.side, *self.detail]


def build(shell: Shell) -> None:
    """Lay the tab out in the current Gradio context and wire its private events."""
    first = shell.first.get("viewers", {})
    with gr.Row(elem_classes="lens-grid"):
        with gr.Column(elem_classes="lens-main lens-result"):
            with gr.Column(elem_classes="lens-panel", elem_id="lens-panel-map"):
                panel_head("lens.title", "lens.how", elem_classes="lens-view-grid")
                panel_head("lens.ranks_title", "lens.ranks_how", elem_classes="lens-view-ranks")
                choices = toolbar(shell)
                heatmap = viewer(
                    "heatmap",
                    first.get("heatmap"),
                    elem_id="lens-heatmap",
                    elem_classes="lens-view-grid",
                )
                ranks = viewer(
                    "heatmap",
                    first.get("ranks"),
                    elem_id="lens-ranks",
                    elem_classes="lens-view-ranks",
                )
                step = gr.Slider(
                    1, 2, 1, step=1, label=text("lens.step"), visible=False, elem_id="lens-step"
                )
                choices |= more(shell)
            with gr.Column(elem_classes="lens-panel"):
                followed = viewer("followed", first.get("followed"))
                chart = viewer("chart", first.get("chart"))
        with gr.Column(elem_classes="lens-inspector lens-result"):
            with gr.Column(elem_classes="lens-panel"):
                prediction = viewer("bars", first.get("prediction"))
            with gr.Column(elem_classes="lens-panel"):
                attribution = viewer("bars", first.get("attribution"))
    controls = Controls(**choices)  # pyright: ignore[reportArgumentType]
    side = controls.side
    session = gr.State(Session.from_json(shell.first["session"]) if shell.first else None)
    parts = Parts(heatmap, ranks, prediction, attribution, followed, chart, step, side, session)
    saved = viewer("saved", elem_classes="lens-unseen")
    _wire(shell, controls, parts, saved)


def _wire(shell: Shell, controls: Controls, parts: Parts, saved: gr.HTML) -> None:
    tab = Tab(shell.runtime)
    everything = controls.all()
    window = gr.State(None)
    shell.on_run(
        "logit_lens",
        tab.run,
        options=[window, *everything],
        outputs=parts.run,
        rerun=[
            controls.read_at.input,
            controls.side.input,
            controls.k.release,
            controls.stride.input,
            controls.target.submit,
            controls.scale.input,
            controls.norm.input,
            window.change,
        ],
        shown=shell.first.get("bar"),
    )
    parts.heatmap.window(tab.window, inputs=[parts.session], outputs=[window], **PRIVATE)
    inputs = [parts.session, *everything]
    clicks = [
        (parts.heatmap.select, tab.cell),
        (parts.heatmap.token, tab.token),
        (parts.ranks.select, tab.rank),
        (parts.ranks.token, tab.token),
        (parts.prediction.choose, tab.predicted),
        (shell.strip.select, tab.position),
        (parts.followed.pin, tab.token),
        (parts.followed.follow, tab.add),
        (parts.followed.remove, tab.remove),
        (parts.followed.join, tab.join),
        (parts.followed.split, tab.split),
    ]
    for event, handler in clicks:
        on_cell = handler in (tab.cell, tab.position)
        shell.on_detail([event], handler, inputs=inputs, outputs=parts.detail, sheet=on_cell)
    again = [controls.important.input, controls.threshold.submit, controls.only_important.input]
    shell.on_detail(again, tab.again, inputs=inputs, outputs=parts.detail)
    shell.on_detail(
        [parts.step.release], tab.step, inputs=[parts.step, *inputs], outputs=parts.detail
    )
    shell.on_detail([parts.heatmap.export], tab.export, inputs=inputs, outputs=[saved])
    _wire_looks(controls)


def _wire_looks(controls: Controls) -> None:
    """Choices that the browser answers by itself."""
    tell = "(value) => ['lens-heatmap', 'lens-ranks'].forEach((id) => lens.tell(id, %s, value))"
    controls.colour.change(
        None, inputs=[controls.colour], js=tell % json.dumps("quantity"), **PRIVATE
    )
    show = "(value) => { document.querySelector('#lens-panel-map').dataset.view = value; }"
    controls.view.change(None, inputs=[controls.view], js=show, **PRIVATE)


class Tab:
    """The handlers of the tab, on one runtime; all they remember is in the session's state."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(
        self, shared: dict[str, Any], window: Window | None, *values: Any
    ) -> Generator[Progress, None, Shown]:
        """Read all positions of the window, then the last one closely."""
        chosen = Chosen(*values)
        end = window[0] if window and window[1] == shared else None
        with user_errors():
            request = checked(
                LogitLensRequest, {**shared, **chosen.grid(), "last": WINDOW, "end": end}
            )
        result = (yield from self._read(request)).to_json()
        before = None
        if request.edit is not None:
            before = (yield from self._read(request.model_copy(update={"edit": None}))).to_json()
        session = Session.of(shared, result)
        shown, other = (before, result) if chosen.side == "before" and before else (result, before)
        picture = views.heatmap(shown, chosen.read_at, chosen.colour, before=other)
        steps = session.n_tokens - session.n_prompt
        slider = gr.Slider(maximum=max(steps, 2), value=max(steps, 1), visible=steps > 1)
        side = gr.Radio(visible=before is not None)
        detail = self._detail(session, chosen)
        return result, (drawn(picture), slider, side, *detail)

    def _read(self, request: LogitLensRequest) -> Generator[Progress, None, Any]:
        return (yield from self._runtime.steps("logit_lens", request))

    def window(self, event: gr.EventData, session: Session | None) -> Any:
        """The end of the window before or after the one that is shown."""
        if session is None:
            return gr.skip()
        earlier = event._data.get("to") == "earlier" if isinstance(event._data, dict) else True
        at = session.columns[0] if earlier else session.columns[-1] + 1 + WINDOW
        return max(1, min(at, session.n_tokens)), session.shared

    def cell(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A cell was selected: its position, and the token it says."""
        if session is None:
            return _nothing()
        column = index_of(event, "column", len(session.columns))
        row = index_of(event, "row", len(session.cells))
        position = session.columns[column]
        return self._shown(session.at(position).pin(session.cells[row][column]), values)

    def rank(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A cell of the ranks was selected: its token."""
        if session is None:
            return _nothing()
        row = index_of(event, "row", len(session.ranks))
        column = index_of(event, "column", len(session.ranks[row]))
        return self._shown(session.pin(session.ranks[row][column]), values)

    def token(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A token was chosen to be followed."""
        if session is None:
            return _nothing()
        return self._shown(session.pin(index_of(event, "id", session.vocab_size)), values)

    def predicted(
        self, event: gr.EventData, session: Session | None, *values: Any
    ) -> tuple[Any, ...]:
        """One of the predictions was chosen to be followed."""
        if session is None:
            return _nothing()
        index = index_of(event, "index", len(session.predicted))
        return self._shown(session.pin(session.predicted[index]), values)

    def position(
        self, event: gr.EventData, session: Session | None, *values: Any
    ) -> tuple[Any, ...]:
        """A token of the text was chosen: what comes after it."""
        if session is None:
            return _nothing()
        return self._shown(session.at(index_of(event, "position", session.n_tokens)), values)

    def step(self, step: int, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A generated token was chosen: the position it was predicted from."""
        if session is None:
            return _nothing()
        position = session.n_prompt - 2 + int(step)
        return self._shown(session.at(max(0, min(position, session.n_tokens - 1))), values)

    def add(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A token was typed; a visible dot stands for a space."""
        if session is None:
            return _nothing()
        typed = event._data.get("text") if isinstance(event._data, dict) else None
        if not isinstance(typed, str) or not typed:
            return _nothing()
        return self._shown(session, values, typed=typed.replace("·", " "))

    def remove(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A line was taken away."""
        if session is None:
            return _nothing()
        index = index_of(event, "index", len(session.lines))
        return self._shown(session.without(index), values)

    def join(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A line was joined to the one before: their probabilities are summed."""
        if session is None:
            return _nothing()
        index = index_of(event, "index", len(session.lines))
        return self._shown(session.joined(index), values)

    def split(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """A group was taken apart."""
        if session is None:
            return _nothing()
        index = index_of(event, "index", len(session.lines))
        return self._shown(session.apart(index), values)

    def again(self, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """The same position with other choices."""
        return _nothing() if session is None else self._shown(session, values)

    def export(self, event: gr.EventData, session: Session | None, *values: Any) -> tuple[Any]:
        """The whole result, all positions, as a file."""
        if session is None:
            return (gr.skip(),)
        as_csv = isinstance(event._data, dict) and event._data.get("format") == "csv"
        chosen = Chosen(*values)
        request = checked(LogitLensRequest, {**session.shared, **chosen.grid()})
        result = result_of(self._runtime.steps("logit_lens", request))
        if as_csv:
            return (drawn(_file("logit-lens.csv", "text/csv", result.to_csv())),)
        record = json.dumps(result.to_json(), allow_nan=False, ensure_ascii=False, indent=1)
        return (drawn(_file("logit-lens.json", "application/json", f"{record}\n")),)

    def _shown(
        self, session: Session, values: tuple[Any, ...], *, typed: str | None = None
    ) -> tuple[Any, ...]:
        return self._detail(session, Chosen(*values), typed=typed)

    def _detail(
        self, session: Session, chosen: Chosen, *, typed: str | None = None
    ) -> tuple[Any, ...]:
        """Everything about one position: candidates by rank, prediction, attribution, courses."""
        error = None
        try:
            detail = self._position(session, chosen, typed)
        except UserError as problem:
            if typed is None:
                raise
            error = str(problem.message)
            detail = self._position(session, chosen, None)
        if typed is not None and error is None:
            session = session.pin(detail.tracked[0].ids[0])
        before = None
        if session.shared["edit"] is not None:
            ids = [int(token) for token in detail.tracked[0].ids[: MAX_LINES + 12]]
            original = session.without_edit().following(ids)
            before = self._position(original, chosen, None)
        return self._drawn(session, chosen, detail, before, error)

    def _position(self, session: Session, chosen: Chosen, typed: str | None) -> Any:
        """The result of one position, with every token that is followed."""
        targets: list[Any] = [token for line in session.pinned for token in line]
        if session.target is not None:
            targets.insert(0, session.target)
        if typed is not None:
            targets.insert(0, typed)
        arguments = {
            **session.shared,
            **chosen.position(),
            "positions": [session.position],
            "track_position": session.position,
            "targets": list(dict.fromkeys(targets)),
        }
        with user_errors():
            request = checked(LogitLensRequest, arguments)
        return result_of(self._runtime.steps("logit_lens", request))

    def _drawn(
        self, session: Session, chosen: Chosen, detail: Any, before: Any, error: str | None
    ) -> tuple[Any, ...]:
        from lens_core.figures import figure_json, lens_trajectories

        record = detail.to_json()
        old = None if before is None else before.to_json()
        lines = [list(line) for line in session.pinned] or _candidates(detail)
        figure = figure_json(
            lens_trajectories(detail, lines, before=before, height=views.CHART_HEIGHT)
        )
        ranks = views.ranks(record, only_important=chosen.only_important)
        session = session.showing(lines, record, ranks.get("tokens", []))
        pinned = bool(session.pinned)
        return (
            drawn(ranks),
            drawn(views.prediction(record, old)),
            drawn(views.attribution(record)),
            drawn(views.followed(record, lines, pinned=pinned, error=error)),
            drawn(views.course(figure, record)),
            session,
        )


def _candidates(detail: Any) -> list[list[int]]:
    """The answer first, then those with the highest probability at any layer."""
    answer = int(detail.final_ids[0])
    tokens = sorted(map(int, detail.tracked[0].ids), key=lambda token: token != answer)
    return [[token] for token in tokens[:CANDIDATES]]


def _nothing() -> tuple[Any, ...]:
    return (gr.skip(),) * 6


def _file(name: str, kind: str, text: str) -> dict[str, Any]:
    """What the browser saves; the serial tells it from the file before."""
    return {"name": name, "type": kind, "text": text, "serial": time.monotonic_ns()}
