"""What Run and the clicks of the attention tab do; all they remember is in the session."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import gradio as gr

from tabs.attention import inspector_views
from tabs.attention.choices import split
from tabs.attention.controls import head_choices
from tabs.attention.detail_views import details_stack, matrix_stack, matrix_start
from tabs.attention.grid_views import grid
from tabs.attention.importance_views import importance_stack
from tabs.attention.needs_views import needs
from tabs.attention.runs import Runs
from tabs.attention.session import Session, Wish, place_of
from tabs.attention.stacks import view
from tabs.attention.strip_views import result, strip
from tabs.attention_requests import (
    NextTokenRequest,
)
from tabs.background import Progress
from tabs.runtime import Runtime, result_of
from tabs.said import carried, index_of
from tabs.shell import Going, Shown
from tabs.typed import typed_text
from tabs.viewers import drawn
from tabs.words import phrase

NOTHING = {"views": [], "of": None}
N_SHOWN, N_LOOKED = 13, 9
"""Components that show a session, and those that another look changes; a test counts them."""

Running = Generator[Progress, None, tuple[Any, ...]]


class Clicks:
    """The handlers of the tab, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runs = Runs(runtime)

    def run(
        self, shared: dict[str, Any], wish: Wish | None, earlier: Session | None, *values: Any
    ) -> Generator[Going, None, Shown]:
        """Look from the query, say what comes next, and measure what it rests on."""
        wished = _wished(shared, wish, earlier)
        session = yield from self._runs.look(shared, wished, earlier, *split(values))
        heard = max(wish.serial if wish else 0, earlier.heard if earlier else 0)
        session = replace(session, heard=heard)
        # What is known is shown while importance is measured.
        yield Progress("status.running", {}), self.shows(session)
        session = yield from self._runs.measured(session)
        return result(session), self.shows(session)

    def measure(self, session: Session | None, *values: Any) -> Running:
        """Measure importance as the controls say now; the rows are those that are there."""
        if session is None:
            return (gr.skip(),) * N_SHOWN
        look, asked = split(values)
        session = replace(session, asked=asked).looking(look)
        return self.shows((yield from self._runs.both(session, trust=asked.trust, strict=True)))

    # What shows a session

    def shows(self, session: Session) -> tuple[Any, ...]:
        """The values of everything that shows a session, in the order of the tab's parts."""
        layers, look = session.layers, session.look
        return (
            *self.looks(session),
            drawn(inspector_views.next_stack(session)),
            drawn(importance_stack(session)),
            drawn(details_stack(session)),
            gr.Slider(minimum=layers[0], maximum=max(layers[-1], layers[0] + 1), value=look.layer),
            gr.Dropdown(choices=head_choices(session.n_heads), value=look.head),
            gr.Radio(visible=session.before is not None),
            drawn(NOTHING),
            session,
        )

    def looks(self, session: Session) -> tuple[Any, ...]:
        """What depends on the token, the layer and the head that are looked at."""
        return (
            drawn(strip(session)),
            drawn(grid(session)),
            drawn(needs(session)),
            drawn(inspector_views.token_stack(session)),
            drawn(matrix_stack(session)) if session.look.part == "matrix" else gr.skip(),
        )

    # Clicks; they run a model only for a matrix or a flow that is not there yet

    def choose(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A token was selected."""
        at = index_of(event, "position", len(session.tokens))
        return self._looked(replace(session, source=at))

    def cell(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A cell of the heads was selected: look through that head; or a token of the depths."""
        layers = session.layers
        layer = layers[::-1][index_of(event, "row", len(layers))]
        if session.look.grid == "depth":
            columns = grid(session)["columns"]
            at = columns[index_of(event, "column", len(columns))]["position"]
            look = replace(session.look, layer=layer, layers="one")
            return self._looked(replace(session, source=at, look=look))
        head = index_of(event, "column", session.n_heads)
        look = replace(session.look, layer=layer, layers="one", head=str(head))
        if look.measure not in ("weight", "norm"):
            look = replace(look, measure="weight")
        return self._looked(replace(session, look=look))

    def _looked(self, session: Session) -> tuple[Any, ...]:
        session = result_of(self._runs.with_matrix(session))
        look = session.look
        controls = (look.layer, look.head, look.layers, look.measure)
        return (*self.looks(session), *controls, session)

    def look(self, known: Session | None, *values: Any) -> tuple[Any, ...]:
        """Another layer, head, measure or side: the same rows, shown otherwise."""
        if known is None:
            return (gr.skip(),) * N_LOOKED
        look, _ = split(values)
        session: Session = known.looking(look)
        if look.measure == "flow" and not session.flow:
            session = result_of(self._runs.flowing(session))
        session = result_of(self._runs.with_matrix(session))
        return (
            *self.looks(session),
            drawn(inspector_views.next_stack(session)),
            drawn(importance_stack(session)),
            drawn(details_stack(session)),
            session,
        )

    def candidate(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """One of the next tokens was chosen; once more lets it go."""
        index = index_of(event, "index", len(session.shown.looked.next.top.ids))
        chosen = None if index == session.candidate else index
        session = replace(session, candidate=chosen)
        return drawn(inspector_views.next_stack(session)), session

    def string(self, event: gr.EventData, session: Session, typed: str) -> tuple[Any, ...]:
        """How likely what was typed is, token by token."""
        del event
        if not typed:
            return (drawn(NOTHING),)
        if session.query != len(session.tokens) - 1:
            note = {"title": None, "rows": [], "note": phrase("attention.string_at_end")}
            return (drawn({"views": [view("string", "facts", note)], "of": None}),)
        text = typed_text(typed)
        given = session.arguments(edited=session.shown is session.after) | {"text": text, "k": 1}
        answer = result_of(self._runs.read("next_token", NextTokenRequest, given)).to_json()
        return (drawn(inspector_views.string_stack(answer["string"])),)

    # Clicks that ask for another run

    def look_from(self, event: gr.EventData, session: Session | None) -> Any:
        """A token of the bar's strip, or the selected one, is to look."""
        if session is None:
            return gr.skip()
        return self._wish(session, query=index_of(event, "position", len(session.tokens)))

    def matrix_cell(self, event: gr.EventData, session: Session | None) -> Any:
        """A cell of the matrix: its row looks, and its column is asked about."""
        if session is None:
            return gr.skip()
        start = matrix_start(session)
        names = ("row", "column") if "row" in carried(event) else ("query", "key")
        query, source = (
            start + index_of(event, name, len(session.tokens) - start) for name in names
        )
        return self._wish(session, query=query, source=source)

    def act(self, event: gr.EventData, session: Session | None) -> tuple[Any, Any]:
        """A button beside the next tokens or the selected one: a wish, and the typed target."""
        name = carried(event).get("name")
        if session is None:
            return gr.skip(), gr.skip()
        appended = session.wish.append
        if name == "query":
            return self._wish(session, query=session.source), gr.skip()
        if name == "undo":
            return self._wish(session, append=appended[:-1], query=-1), gr.skip()
        if name == "untarget":
            return self._wish(session, target=()), ""
        if session.candidate is None or name not in ("append", "target"):
            return gr.skip(), gr.skip()
        token = int(session.shown.looked.next.top.ids[session.candidate])
        if name == "target":
            return self._wish(session, target=(token,)), ""
        wish = self._wish(session, append=(*appended, token), query=-1, target=())
        return wish, gr.skip()

    def _wish(self, session: Session, **changes: Any) -> Wish:
        changes = {"source": session.source, **changes, "serial": time.monotonic_ns()}
        if "append" in changes:
            changes["source"] = None
        return replace(session.wish, **changes)


def _wished(shared: dict[str, Any], wish: Wish | None, earlier: Session | None) -> Wish:
    """What was clicked for this run: the wish where it is a new one, or still that of the text."""
    place = place_of(shared)
    if wish is None or wish.of != place:
        return Wish(place)
    if earlier is not None and wish.serial <= earlier.heard and earlier.wish != wish:
        return Wish(place)
    return wish
