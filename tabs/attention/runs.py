"""What of the attention tab runs a model: where a position looks, and what that is needed for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from tabs.attention.choices import LAST, Asked, Look
from tabs.attention.reading import reading, sinks_of
from tabs.attention.session import Session, Side, Wish
from tabs.attention_requests import (
    MAX_FLOW,
    AttentionMatrixRequest,
    AttentionViewRequest,
    AttributionViewRequest,
)
from tabs.background import Progress
from tabs.requests import checked
from tabs.runtime import Runtime, UserError, user_errors

MOST_TOKENS = 64
"""Of a prompt whose importance is measured with every run."""
PATIENCE_S = 6.0
"""It is left out where it would take longer than this, as the forward pass lets guess."""
OCCLUSION, TRUST = 0.45, 4.0
"""Forward passes that a token's occlusion costs, and the random rankings beside it."""

Working = Generator[Progress, None, Session]


class Runs:
    """Sessions from runs on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def look(
        self,
        shared: dict[str, Any],
        wish: Wish,
        earlier: Session | None,
        look: Look,
        asked: Asked,
    ) -> Working:
        """A new run: the rows, the next token, and what is selected in them."""
        given = {**shared, "append": list(wish.append), "query": wish.query}
        after = Side((yield from self.read("attention_view", AttentionViewRequest, given)))
        old = None
        if shared["edit"] is not None:
            given["edit"] = None
            old = Side((yield from self.read("attention_view", AttentionViewRequest, given)))
        if earlier is not None and earlier.shared["model"] != shared["model"]:
            # Who looked at the last layer looks at the last layer.
            look = replace(look, layer=LAST) if look.layer == earlier.layers[-1] else look
        session = Session(shared, wish, look, asked, after, old).looking(look)
        source = wish.source
        if earlier is not None and earlier.tokens == session.tokens:
            source = earlier.source if earlier.wish == wish or source is None else source
        if source is None:
            source = _most_looked_at(session)
        session = replace(session, source=source)
        if look.measure == "flow":
            session = yield from self.flowing(session)
        return (yield from self.with_matrix(session))

    def measured(self, session: Session) -> Working:
        """The session with importance, where it can be measured without being asked for."""
        seconds = sum(session.after.looked.header["timing"].values()) * (session.query + 1)
        seconds *= 1 if session.before is None else 2
        if not session.asked.always or session.query >= MOST_TOKENS:
            return session
        if seconds * OCCLUSION > PATIENCE_S:
            return session
        trust = session.asked.trust and seconds * (OCCLUSION + TRUST) <= PATIENCE_S
        return (yield from self.both(session, trust=trust, strict=False))

    def both(self, session: Session, *, trust: bool, strict: bool) -> Working:
        """The session with the importance of both sides of an edit, for one target.

        Raises:
            UserError: it cannot be measured; unless `strict`, the side says why instead.
        """
        target: list[int] | None = None
        for name, edited in (("after", True), ("before", False)):
            side: Side | None = getattr(session, name)
            if side is None:
                continue
            given = session.arguments(edited=edited) | session.asked.request(session.wish.target)
            given |= {"query": session.query, "faithfulness": trust}
            if target is not None:
                # What the edited model predicts: two targets could not be compared.
                given["target"] = target
            try:
                found = yield from self.read("attribution_view", AttributionViewRequest, given)
                side = replace(side, attributed=found, problem=None)
                target = found.found.target_ids.tolist()
            except UserError as error:
                if strict:
                    raise
                side = replace(side, attributed=None, problem=str(error.message))
            session = replace(session, **{name: side})
        return session

    def flowing(self, session: Session) -> Working:
        """The session with the flow of both sides; without it where the prompt is too long."""
        if len(session.tokens) > MAX_FLOW:
            return session
        flow = {}
        sides = {"after": True} | ({} if session.before is None else {"before": False})
        for name, edited in sides.items():
            given = session.arguments(edited=edited) | {"query": session.query, "flow": True}
            found = yield from self.read("attention_view", AttentionViewRequest, given)
            if found.views is not None and found.views.flow is not None:
                flow[name] = found.views.flow
        return replace(session, flow=flow)

    def with_matrix(self, session: Session) -> Working:
        """The session with the matrix of its layer and head, which is fetched once."""
        look = session.look
        edited = session.shown is session.after
        key = (edited, look.layer, look.one_head)
        known = session.matrix is not None and session.matrix[:-1] == key
        if look.part != "matrix" or known or session.shown.looked.views is None:
            return session
        given = session.arguments(edited=edited) | {"layer": look.layer, "head": look.one_head}
        found = yield from self.read("attention_matrix", AttentionMatrixRequest, given)
        return replace(session, matrix=(*key, found))

    def read(self, op: str, kind: Any, arguments: dict[str, Any]) -> Generator[Progress, None, Any]:
        """The result of an operation.

        Raises:
            UserError: the page does not allow it, or the model cannot do it.
        """
        with user_errors():
            request = checked(kind, arguments)
        return (yield from self._runtime.steps(op, request))


def _most_looked_at(session: Session) -> int:
    """The token, no sink, that the query takes most from: what one would ask about first."""
    found = reading(session, session.after)
    if found.values is None:
        return session.query
    sinks = sinks_of(session.after)
    own = session.tokens[session.query]["cluster"]
    before = [
        token["i"] for token in session.tokens[: session.query + 1] if token["cluster"] != own
    ]
    plain = [at for at in before if at not in sinks]
    return max(plain, key=lambda at: float(found.values[at]), default=session.query)  # type: ignore[index]
