"""What Run and every click of the logit lens tab do; all they remember is in the session."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import gradio as gr

from tabs.background import Progress
from tabs.logit_lens import position_views, views
from tabs.logit_lens.choices import Chosen
from tabs.logit_lens.session import Session, original
from tabs.requests import LogitLensRequest, checked
from tabs.runtime import Runtime, UserError, result_of, user_errors
from tabs.said import index_of
from tabs.shell import Shown
from tabs.typed import typed_text
from tabs.viewers import drawn
from tabs.words import phrase

WINDOW = 64
"""How many positions the page draws at once, the last ones first."""
CANDIDATES = 5
"""How many tokens are followed when none was chosen."""

Window = tuple[int, int]
"""The end of the positions to show, and the number of the window: Run forgets the one before."""

Reading = Generator[Progress, None, Any]


class Clicks:
    """The handlers of the tab, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(
        self,
        shared: dict[str, Any],
        window: Window | None,
        before: Session | None,
        *values: Any,
    ) -> Generator[Progress, None, Shown]:
        """Read all positions of the window, then the last one closely."""
        chosen = Chosen(*values)
        shared = {**shared, **chosen.run()}
        number = window[1] if window else 0
        end = window[0] if window and before and number != before.window else None
        asked = {**shared, **chosen.grid(), "last": WINDOW, "end": end}
        result = (yield from self._read(asked)).to_json()
        shown, other, side = result, None, "after"
        if shared["edit"] is not None:
            other = (yield from self._read(original(asked, result["input"]["ids"]))).to_json()
            if chosen.side == "before":
                shown, other, side = other, result, "before"
        session = Session.of(shared, shown, chosen=chosen, window=number)
        session = replace(session, n_prompt=result["input"]["n_prompt"])
        steps = session.n_tokens - session.n_prompt
        session = session if steps == 0 else session.at(session.n_tokens - 2)
        picture = views.heatmap(shown, chosen.read_at, chosen.colour, other=other, side=side)
        if session.position in session.columns:
            picture["selected"] = [0, session.columns.index(session.position)]
        if steps < chosen.generate:
            picture["notes"].insert(0, phrase("lens.ended", n=steps))
        slider = gr.Slider(maximum=max(steps, 2), value=max(steps, 1), visible=steps > 1)
        detail = yield from self._detail(session)
        return shown, (drawn(picture), slider, gr.Radio(visible=other is not None), *detail)

    def window(self, event: gr.EventData, session: Session | None) -> Any:
        """The end of the window before or after the one that is shown."""
        if session is None:
            return gr.skip()
        earlier = event._data.get("to") == "earlier" if isinstance(event._data, dict) else True
        at = session.columns[0] if earlier else session.columns[-1] + 1 + WINDOW
        return max(1, min(at, session.n_tokens)), time.monotonic_ns()

    def cell(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A cell was selected: its position, and the token it says."""
        column = index_of(event, "column", len(session.columns))
        row = index_of(event, "row", len(session.cells))
        session = session.at(session.columns[column]).pin(session.cells[row][column])
        return self._shown(session)

    def rank(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A cell of the ranks was selected: its token."""
        row = index_of(event, "row", len(session.ranks))
        column = index_of(event, "column", len(session.ranks[row]))
        return self._shown(session.pin(session.ranks[row][column]))

    def token(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A token was chosen to be followed."""
        return self._shown(session.pin(index_of(event, "id", session.vocab_size)))

    def predicted(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """One of the predictions was chosen to be followed."""
        index = index_of(event, "index", len(session.predicted))
        return self._shown(session.pin(session.predicted[index]))

    def position(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A token of the text was chosen: what comes after it."""
        return self._shown(session.at(index_of(event, "position", session.n_tokens)))

    def step(self, step: int, session: Session) -> tuple[Any, ...]:
        """A generated token was chosen: the position it was predicted from."""
        position = session.n_prompt - 2 + int(step)
        return self._shown(session.at(max(0, min(position, session.n_tokens - 1))))

    def add(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A token was typed."""
        typed = event._data.get("text") if isinstance(event._data, dict) else None
        if not isinstance(typed, str) or not typed:
            return self._shown(session)
        return result_of(self._detail(session, typed=typed))

    def remove(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A line was taken away."""
        return self._shown(session.without(index_of(event, "index", len(session.lines))))

    def join(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A line was joined to the one before: their probabilities are summed."""
        return self._shown(session.joined(index_of(event, "index", len(session.lines))))

    def split(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A group was taken apart."""
        return self._shown(session.apart(index_of(event, "index", len(session.lines))))

    def again(self, event: gr.EventData, session: Session, *values: Any) -> tuple[Any, ...]:
        """The same position with other choices of what matters there."""
        del event
        return self._shown(replace(session, chosen=session.chosen.judged_by(Chosen(*values))))

    def export(self, event: gr.EventData, session: Session) -> tuple[Any]:
        """The result that is shown, at all positions, as a file."""
        as_csv = isinstance(event._data, dict) and event._data.get("format") == "csv"
        asked = {**session.chosen.grid(), **session.shared}
        if session.chosen.side == "before":
            asked = original(asked, list(session.ids))
        result = result_of(self._read(asked))
        if as_csv:
            return (drawn(_file("logit-lens.csv", "text/csv", result.to_csv())),)
        record = json.dumps(result.to_json(), allow_nan=False, ensure_ascii=False, indent=1)
        return (drawn(_file("logit-lens.json", "application/json", f"{record}\n")),)

    def _read(self, arguments: dict[str, Any]) -> Reading:
        with user_errors():
            request = checked(LogitLensRequest, arguments)
        return (yield from self._runtime.steps("logit_lens", request))

    def _shown(self, session: Session) -> tuple[Any, ...]:
        return result_of(self._detail(session))

    def _detail(self, session: Session, *, typed: str | None = None) -> Reading:
        """Everything about one position: candidates by rank, prediction, attribution, courses."""
        error = None
        try:
            detail = yield from self._position(session, typed)
        except UserError as problem:
            if typed is None:
                raise
            error = str(problem.message)
            detail = yield from self._position(session, None)
        if typed is not None and error is None:
            session = session.pin(detail.tracked[0].ids[0])
        lines = [list(line) for line in session.pinned] or _candidates(detail)
        before = None
        if session.shared["edit"] is not None:
            top = detail.cells["resid_post"].top_ids[-1][0]
            followed = [*(token for line in lines for token in line), *map(int, top)]
            unedited = session.without_edit().following(followed)
            before = yield from self._position(unedited, None)
        session = session.with_lines(lines)
        return _drawn(session, detail, before=before, error=error)

    def _position(self, session: Session, typed: str | None) -> Reading:
        """The result of one position, with every token that is followed."""
        chosen = session.chosen
        first = [typed_text(typed)] if typed else []
        target: list[Any] = [typed_text(chosen.target)] if chosen.target else []
        target = target if session.target is None else [session.target]
        targets = [*first, *target, *(token for line in session.pinned for token in line)]
        arguments = {
            **session.shared,
            **chosen.position(),
            "positions": [session.position],
            "track_position": session.position,
            "targets": list(dict.fromkeys(targets)),
        }
        return (yield from self._read(arguments))


def _drawn(session: Session, detail: Any, *, before: Any, error: str | None) -> tuple[Any, ...]:
    from lens_core.figures import figure_json, lens_trajectories

    chosen = session.chosen
    record = detail.to_json()
    old = None if before is None else before.to_json()
    lines = [list(line) for line in session.lines]
    height = position_views.CHART_HEIGHT
    figure = figure_json(lens_trajectories(detail, lines, before=before, height=height))
    ranks = position_views.ranks(record, only_important=chosen.only_important)
    if chosen.threshold.strip() and chosen.limit() is None and "notes" in ranks:
        ranks["notes"].insert(0, phrase("lens.no_number", text=chosen.threshold[:20]))
    pinned = bool(session.pinned)
    return (
        drawn(position_views.ranks_head(record)),
        drawn(ranks),
        drawn(position_views.prediction(record, old)),
        drawn(position_views.attribution(record)),
        drawn(position_views.followed(record, lines, pinned=pinned, error=error)),
        drawn(position_views.course(figure, record)),
        session.showing(record, ranks.get("tokens", [])),
    )


def _candidates(detail: Any) -> list[list[int]]:
    """The answer first, then those with the highest probability at any layer."""
    answer = int(detail.final_ids[0])
    tokens = sorted(map(int, detail.tracked[0].ids), key=lambda token: token != answer)
    return [[token] for token in tokens[:CANDIDATES]]


def _file(name: str, kind: str, text: str) -> dict[str, Any]:
    """What the browser saves; the serial tells it from the file before."""
    return {"name": name, "type": kind, "text": text, "serial": time.monotonic_ns()}
