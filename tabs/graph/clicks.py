"""What Run and every click of the graph tab do; all they remember is in the session."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Generator
from dataclasses import replace
from typing import Any

import gradio as gr

from lens_core.errors import InputError, PromptError
from tabs.background import Progress
from tabs.graph import detail_views, difference_views, study_views, views
from tabs.graph.choices import HIGH, LAST, LOW, Chosen
from tabs.graph.session import Of, Session
from tabs.graph.views import MAX_MAP
from tabs.requests import (
    GraphAgreementRequest,
    GraphEdgeRequest,
    GraphNodeRequest,
    GraphRequest,
    GraphStatisticsRequest,
    GraphViewRequest,
    Request,
    checked,
)
from tabs.runtime import Runtime, UserError, result_of, user_errors
from tabs.said import index_of
from tabs.shell import Shown
from tabs.viewers import drawn
from tabs.words import phrase

GRAPH, TABLE = "lens-graph", "lens-graph-links"
"""The elements of the picture and of the table in the page."""
MEASURED = 20
"""So many links are knocked out at once."""
MIMES = {"json": "application/json", "graphml": "application/graphml+xml", "csv": "text/csv"}
"""The kinds of file that the graph is saved as."""

NOTHING: dict[str, Any] = {"views": [], "of": None}
"""A stack of nothing."""

Reading = Generator[Progress, None, Any]


class Clicks:
    """The handlers of the tab, on one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(
        self, shared: dict[str, Any], before: Session | None, *values: Any
    ) -> Generator[Progress, None, Shown]:
        """The graph, and what is known of its strongest link and of its root."""
        chosen = Chosen(*values)
        root: Any = gr.skip()
        if before is not None and before.is_old(shared, chosen):
            chosen, root = replace(chosen, root=LAST), LAST
        edited = shared["edit"] is not None
        record = yield from self._view(shared, chosen, before, edited=edited)
        session = Session.of(shared, chosen, record)
        return record, (*shown(record, session), gr.Radio(visible=edited), root, session)

    def _view(
        self, shared: dict[str, Any], chosen: Chosen, before: Session | None, *, edited: bool
    ) -> Reading:
        """The record to draw; a root that this prompt does not have gives way to the last token."""
        asked = {**chosen.view(), **({} if edited else {"side": "after"})}
        if before is not None:
            asked["select"] = before.selected
        try:
            return (yield from self._read("graph_view", GraphViewRequest, {**shared, **asked}))
        except UserError as error:
            if asked["root"] == -1 or error.kind != "Input":
                raise
        record = yield from self._read(
            "graph_view", GraphViewRequest, {**shared, **asked, "root": -1}
        )
        record["lost_root"] = str(asked["root"])
        return record

    def edge(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A link was selected in the picture."""
        return self._edge(session, {name: sent(event, name) for name in ("src", "dst", "kind")})

    def link(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A link was selected in the table."""
        key = session.links[index_of(event, "index", len(session.links))]
        of: dict[str, Any] = dict(zip(("src", "dst", "kind"), key.split(), strict=True))
        return self._edge(session, of, tell=[{"id": GRAPH, "topic": "select", "data": of}])

    def node(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A node was selected."""
        return self._node(session, {"node": sent(event, "id")})

    def choose(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """A head of the link, or a neuron of the MLP, was chosen in the inspector."""
        of, view = sent(event, "of"), sent(event, "view")
        if view == "heads":
            order = ["all", *of["heads"]]
            return self._edge(session, {**of, "head": order[index_of(event, "index", len(order))]})
        if view == "maps":
            return self._cell(event, session, of)
        if view == "neurons":
            place = index_of(event, "index", len(of["neurons"]))
            return self._node(session, {**of, "place": place}, verify=True)
        raise gr.Error(f"There is no {view!r} here.", print_exception=False)

    def _cell(self, event: gr.EventData, session: Session, of: Of) -> tuple[Any, ...]:
        """A cell of a head's map: the link from the token that is read to the one that reads."""
        names = ("query", "key")
        places = [of["start"] + index_of(event, name, MAX_MAP) for name in names]
        query, key = (session.column(place, of.get("side", "a")) for place in places)
        ends = {
            "src": f"{of['src'].split('_')[0]}_{key}",
            "dst": f"{of['dst'].split('_')[0]}_{query}",
        }
        tell = [{"id": GRAPH, "topic": "select", "data": {**ends, "kind": of["kind"]}}]
        return self._edge(session, {**of, **ends}, tell=tell)

    def verify(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """What is selected is to be knocked out."""
        of = sent(event, "of")
        if "node" in of:
            return self._node(session, of, verify=True)
        return self._edge(session, of, verify="all")

    def verify_head(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """Only the head that is chosen is to be knocked out."""
        return self._edge(session, sent(event, "of"), verify="head")

    def root(self, event: gr.EventData) -> str:
        """Another root was chosen: a triangle, or a node's button."""
        of = event._data.get("of") if isinstance(event._data, dict) else None
        return str(of["node"] if of else sent(event, "id"))

    def position(self, event: gr.EventData, session: Session | None) -> str:
        """A token of the strip was chosen: its last output becomes the root."""
        return str(index_of(event, "position", len(session.tokens) if session else 0))

    def threshold(self, event: gr.EventData) -> str:
        """The threshold that would show something."""
        value = sent(event, "value")
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not LOW <= value <= HIGH
        ):
            raise gr.Error(f"There is no threshold {value!r} here.", print_exception=False)
        return drawn(value)

    def measure(self, session: Session | None) -> Reading:
        """Knock out the strongest links, and say how well the graph agrees with that."""
        if session is None:
            return gr.skip(), gr.skip()
        asked = {**session.of_one_graph(), "n": MEASURED, "measure": session.chosen.tokens()}
        found = yield from self._read("graph_agreement", GraphAgreementRequest, asked)
        agreement = drawn(study_views.agreement_stack(found))
        if session.is_difference:  # its table lists changes, which nobody measured
            return gr.skip(), agreement
        table = views.links_table(found["graph"], study_views.measured_links(found))
        return drawn(table), agreement

    def count(self, shared: dict[str, Any], sentences: str, *values: Any) -> Reading:
        """How often every head and MLP is active over many sentences."""
        chosen = Chosen(*values)
        lines = sentences.splitlines()
        numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
        if not numbers:
            with user_errors():
                raise PromptError("There is no sentence to read; type at least one.")
        graph = chosen.graph()
        asked = {name: graph[name] for name in ("threshold", "mode", "metric", "bias")}
        shared = {name: value for name, value in shared.items() if name != "prompt"}
        asked["prompts"] = [lines[number - 1] for number in numbers]
        found = yield from self._read(
            "graph_statistics", GraphStatisticsRequest, {**shared, **asked}
        )
        return (drawn(study_views.statistics_map(found, numbers)),)

    def export(self, event: gr.EventData, session: Session) -> tuple[Any]:
        """The graph that is shown as a file."""
        kind = one_of(sent(event, "format"), MIMES, "format")
        with user_errors():
            if kind == "graphml" and session.is_difference:
                raise InputError("GraphML holds one graph; save a difference as JSON or CSV.")
            request = checked(GraphRequest, session.asked())
        result = result_of(self._runtime.steps("graph", request))
        if kind == "json":
            text = json.dumps(result.to_json(), allow_nan=False, ensure_ascii=False, indent=1)
        else:
            text = getattr(result, f"to_{kind}")()
        name = f"graph.{kind}"
        return (drawn({"name": name, "type": MIMES[kind], "text": text, "serial": serial()}),)

    def _edge(
        self,
        session: Session,
        of: Of,
        *,
        verify: str | None = None,
        tell: list[dict[str, Any]] | None = None,
    ) -> tuple[Any, ...]:
        given = {name: of[name] for name in ("src", "dst")}
        here, of = session.located(of)
        given |= {"side": of.get("side", "a")}
        asked = {name: of[name] for name in ("src", "dst", "kind", "head") if name in of}
        arguments = {**here.detail(), **asked, "verify": verify}
        detail = result_of(self._read("graph_edge", GraphEdgeRequest, arguments))
        value = detail_views.edge_stack(detail, here)
        value["of"] |= given
        return drawn({**value, "tell": tell or []}), session.at(detail)

    def _node(self, session: Session, of: Of, *, verify: bool = False) -> tuple[Any, ...]:
        node = of["node"]
        here, of = session.located(of)
        arguments = {**here.detail(), "node": of["node"], "verify": verify}
        arguments["normalise"] = session.chosen.normalise
        if "place" in of:
            arguments["neuron"] = of["neurons"][of["place"]]
            arguments["expert"] = of["experts"][of["place"]] if of["experts"] else None
        detail = result_of(self._read("graph_node", GraphNodeRequest, arguments))
        value = detail_views.node_stack(detail, here, of.get("place"))
        value["of"]["node"] = node
        return drawn(value), session.at(detail)

    def _read(self, op: str, kind: type[Request], arguments: dict[str, Any]) -> Reading:
        with user_errors():
            request = checked(kind, arguments)
        return (yield from self._runtime.steps(op, request)).to_json()


def one_of(value: Any, known: Collection[str], name: str) -> str:
    """A word that an event carries.

    Raises:
        gr.Error: it is none of those that are known.
    """
    if not isinstance(value, str) or value not in known:
        raise gr.Error(f"There is no {name} {value!r} here.", print_exception=False)
    return value


def serial() -> int:
    """Tells a file from the one before."""
    return time.monotonic_ns()


def sent(event: gr.EventData, name: str) -> Any:
    """What an event carries under a name; requests check what it is."""
    data = event._data
    if not isinstance(data, dict) or name not in data:
        raise gr.Error(f"There is no {name} here.", print_exception=False)
    return data[name]


def shown(record: dict[str, Any], session: Session) -> tuple[str, ...]:
    """The picture, the table, the inspector, the root and what was measured before: nothing."""
    picture, table = views.graph_view(record), views.links_table(record)
    if record["difference"] is not None:
        picture = difference_views.graph_view(record)
        table = difference_views.links_table(record["difference"])
    if "lost_root" in record:
        picture["notes"].insert(0, phrase("graph.lost_root", root=record["lost_root"]))
    selected = record["selected"]
    detail = NOTHING
    if selected is not None:
        build = detail_views.edge_stack if "src" in selected else detail_views.node_stack
        detail = build(selected, session)
    root = detail_views.root_stack(record["root_node"])
    return tuple(map(drawn, (picture, table, detail, root, NOTHING)))
