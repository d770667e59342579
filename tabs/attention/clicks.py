"""What Run and the clicks of the attention tab do; all they remember is in the session."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import gradio as gr

from tabs.attention import importance_views, inspector_views
from tabs.attention.choices import Asked, Look, split
from tabs.attention.detail_views import details_stack, matrix_stack, matrix_start
from tabs.attention.grid_views import grid
from tabs.attention.importance_views import importance_stack, view
from tabs.attention.session import Session, Side, Step, Wish, place_of
from tabs.attention.strip_views import strip
from tabs.attention_requests import (
    AttentionMatrixRequest,
    AttentionViewRequest,
    AttributionViewRequest,
    NextTokenRequest,
)
from tabs.background import Progress
from tabs.requests import checked
from tabs.runtime import Runtime, UserError, result_of, user_errors
from tabs.said import index_of
from tabs.shell import Going, Shown
from tabs.viewers import drawn
from tabs.words import phrase

MOST_TOKENS = 64
"""Of a prompt whose importance is measured with every run."""
PATIENCE_S = 6.0
"""It is left out where it would take longer than this, as the forward pass lets guess."""
OCCLUSION, TRUST = 0.45, 4.0
"""Forward passes that a token's occlusion costs, and the random rankings beside it."""
MOST_FLOW = 32
NOTHING = {"views": [], "of": None}

Running = Generator[Going, None, Any]


class Clicks:
    """The handlers of the tab, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(
        self, shared: dict[str, Any], wish: Wish | None, before: Session | None, *values: Any
    ) -> Generator[Going, None, Shown]:
        """Look from the query, say what comes next, and measure what it rests on."""
        look, asked = split(values)
        wish = wish if wish and wish.of == place_of(shared) else Wish(place_of(shared))
        session = yield from self._look(shared, wish, before, look, asked)
        # What is known is shown while importance is measured.
        yield Progress("status.running", {}), self.shows(session)
        session = yield from self._measured(session)
        return result(session), self.shows(session)

    def _look(
        self,
        shared: dict[str, Any],
        wish: Wish,
        before: Session | None,
        look: Look,
        asked: Asked,
    ) -> Generator[Going, None, Session]:
        given = {**shared, "append": wish.append, "query": wish.query}
        after = Side((yield from self._read("attention_view", AttentionViewRequest, given)))
        old = None
        if shared["edit"] is not None:
            given["edit"] = None
            old = Side((yield from self._read("attention_view", AttentionViewRequest, given)))
        session = Session(shared, wish, look, asked, after, old)
        source = wish.source
        if source is None and before is not None and before.tokens == session.tokens:
            source = before.source
        if before is None or before.shared["model"] != shared["model"]:
            last = Look.layer if before is None else before.n_layers - 1
            if look.layer >= last:
                look = replace(look, layer=session.n_layers - 1)
        session = session.looking(look)
        if source is None:
            source = _most_looked_at(session)
        session = replace(session, source=source)
        if look.measure == "flow":
            session = yield from self._flowing(session)
        return session

    def measure(self, session: Session | None, *values: Any) -> Running:
        """Measure importance as the controls say now; the rows are those that are there."""
        if session is None:
            return self.nothing
        look, asked = split(values)
        session = replace(session, asked=asked).looking(look)
        return self.shows((yield from self._both(session, trust=asked.trust, strict=True)))

    def _measured(self, session: Session) -> Generator[Going, None, Session]:
        """The session with importance, where it can be measured without being asked for."""
        seconds = sum(session.after.looked.header["timing"].values()) * (session.query + 1)
        if not session.asked.always or session.query >= MOST_TOKENS:
            return session
        if seconds * OCCLUSION > PATIENCE_S:
            return session
        trust = session.asked.trust and seconds * (OCCLUSION + TRUST) <= PATIENCE_S
        return (yield from self._both(session, trust=trust, strict=False))

    def _both(
        self, session: Session, *, trust: bool, strict: bool
    ) -> Generator[Going, None, Session]:
        """The session with the importance of both sides of an edit.

        Raises:
            UserError: it cannot be measured; unless `strict`, the side says why instead.
        """
        for name, edited in (("after", True), ("before", False)):
            side: Side | None = getattr(session, name)
            if side is None:
                continue
            given = session.arguments(edited=edited) | session.asked.request(session.wish.target)
            given |= {"query": session.query, "faithfulness": trust}
            try:
                found = yield from self._read("attribution_view", AttributionViewRequest, given)
                side = replace(side, attributed=found, problem=None)
            except UserError as error:
                if strict:
                    raise
                side = replace(side, attributed=None, problem=str(error.message))
            session = replace(session, **{name: side})
        return session

    def _flowing(self, session: Session) -> Generator[Going, None, Session]:
        """The session with the flow of both sides; without it where the prompt is too long."""
        if len(session.tokens) > MOST_FLOW:
            return session
        flow = {}
        sides = {"after": True} | ({} if session.before is None else {"before": False})
        for name, edited in sides.items():
            given = session.arguments(edited=edited) | {"query": session.query, "flow": True}
            found = yield from self._read("attention_view", AttentionViewRequest, given)
            if found.views.flow is not None:
                flow[name] = found.views.flow
        return replace(session, flow=flow)

    def _read(self, op: str, kind: Any, arguments: dict[str, Any]) -> Running:
        with user_errors():
            request = checked(kind, arguments)
        return (yield from self._runtime.steps(op, request))

    # What shows a session

    @property
    def nothing(self) -> tuple[Any, ...]:
        """Nothing new for any of the components that show a session."""
        return (gr.skip(),) * 13

    def shows(self, session: Session) -> tuple[Any, ...]:
        """The values of everything that shows a session, in the order of the tab's parts."""
        layers = session.after.looked.views.rows.layers
        look = session.look
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
            drawn(importance_views.needs(session)),
            drawn(inspector_views.token_stack(session)),
            self._matrix(session),
        )

    def _matrix(self, session: Session) -> Any:
        """The whole matrix of the layer and head that are chosen, while it is seen."""
        if session.look.part != "matrix":
            return gr.skip()
        look = session.look
        edited = session.shown is session.after
        given = session.arguments(edited=edited) | {"layer": look.layer, "head": look.one_head}
        found = result_of(self._read("attention_matrix", AttentionMatrixRequest, given))
        return drawn(matrix_stack(session, found))

    # Clicks, which run no model

    def choose(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A token was selected."""
        at = index_of(event, "position", len(session.tokens))
        return self._looked(replace(session, source=at))

    def cell(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A cell of the heads was selected: look through that head; or a token of the depths."""
        layers = session.after.looked.views.rows.layers
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
        look = session.look
        controls = (look.layer, look.head, look.layers, look.measure)
        return (*self.looks(session), *controls, session)

    def look(self, session: Session | None, *values: Any) -> tuple[Any, ...]:
        """Another layer, head, measure or side: the same rows, shown otherwise."""
        if session is None:
            return (gr.skip(),) * 9
        look, _ = split(values)
        session = session.looking(look)
        if look.measure == "flow" and not session.flow:
            session = result_of(self._flowing(session))
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
        text = typed.replace("·", " ")
        given = session.arguments(edited=session.shown is session.after) | {"text": text, "k": 1}
        answer = result_of(self._read("next_token", NextTokenRequest, given)).to_json()
        return (drawn(string_stack(answer["string"])),)

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
        sent = event._data if isinstance(event._data, dict) else {}
        names = ("row", "column") if "row" in sent else ("query", "key")
        query, source = (
            start + index_of(event, name, len(session.tokens) - start) for name in names
        )
        return self._wish(session, query=query, source=source)

    def act(self, event: gr.EventData, session: Session | None) -> Any:
        """A button beside the next tokens or beside the selected token."""
        sent = event._data if isinstance(event._data, dict) else {}
        name = sent.get("name")
        if session is None:
            return gr.skip()
        if name == "query":
            return self._wish(session, query=session.source)
        if name == "undo":
            return self._wish(session, steps=session.wish.steps[:-1], query=-1)
        if name == "untarget":
            return self._wish(session, target=())
        if session.candidate is None or name not in ("append", "target"):
            return gr.skip()
        top = session.shown.looked.next.top
        token = int(top.ids[session.candidate])
        if name == "target":
            return self._wish(session, target=(token,))
        step = Step(token, float(top.p[session.candidate]), session.candidate)
        return self._wish(session, steps=(*session.wish.steps, step), query=-1, target=())

    def _wish(self, session: Session, **changes: Any) -> Wish:
        changes = {"source": session.source, **changes, "serial": time.monotonic_ns()}
        if "steps" in changes:
            changes["source"] = None
        return replace(session.wish, **changes)


def result(session: Session) -> dict[str, Any]:
    """What the status line and the token strip read of a run."""
    side = session.after
    following = side.looked.next
    return {
        **side.looked.header,
        "vocab": following.vocab,
        "positions": [session.query],
        "final": {"ids": following.top.ids[:1].tolist(), "p": [float(following.top.p[0])]},
    }


def head_choices(n_heads: int) -> list[tuple[Any, str]]:
    """All heads on average, the strongest, or one of them."""
    from tabs.words import text

    several = [(text(f"attention.head_{name}"), name) for name in ("mean", "max")]
    return [*several, *((f"H{head}", str(head)) for head in range(n_heads))]


def string_stack(record: dict[str, Any]) -> dict[str, Any]:
    """The probability of a string, and of each of its tokens after those before it."""
    tokens, vocab = record["tokens"], record["vocab"]
    total = record["total"]
    rows: list[dict[str, Any]] = [
        {
            "label": phrase("attention.fact_string"),
            "value": phrase(
                "attention.string_p", p=_probability(total["p"]), log_p=_nats(total["log_p"])
            ),
        }
    ]
    for token, log_p, rank in zip(tokens["ids"], tokens["log_p"], tokens["rank"], strict=True):
        p = 0.0 if log_p is None else math.exp(log_p)
        value = phrase("attention.string_token", p=_probability(p), rank=f"{rank + 1:,}")
        rows.append({"label": None, "entry": vocab[str(token)], "value": value})
    facts = {"title": None, "rows": rows, "note": None}
    return {"views": [view("string", "facts", facts)], "of": None}


def _probability(p: float) -> str:
    if p >= 0.001:
        return f"{100 * p:.1f}%"
    return "0" if p == 0 else f"{p:.1e}".replace("e-0", "e-").replace("-", "−")


def _nats(log_p: float | None) -> str:
    return "−∞" if log_p is None else f"{log_p:.2f}".replace("-", "−")


def _most_looked_at(session: Session) -> int:
    """The token, no sink, that the query takes most from: what one would ask about first."""
    from tabs.attention.reading import reading

    found = reading(session, session.after)
    if found.values is None:
        return session.query
    sinks = set(session.after.looked.views.sinks.positions)
    own = session.tokens[session.query]["cluster"]
    before = [
        token["i"] for token in session.tokens[: session.query + 1] if token["cluster"] != own
    ]
    plain = [at for at in before if at not in sinks]
    return max(plain, key=lambda at: float(found.values[at]), default=session.query)  # type: ignore[index]
