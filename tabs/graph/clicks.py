"""What Run and every click of the graph tab do; all they remember is in the session."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import gradio as gr

from tabs.background import Progress
from tabs.graph import detail_views, difference_views, study_views, views
from tabs.graph.choices import HIGH, LAST, LOW, Chosen
from tabs.graph.session import Session
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
ENDINGS = {
    "json": ("application/json", "graph.json"),
    "graphml": ("application/graphml+xml", "graph.graphml"),
    "csv": ("text/csv", "graph.csv"),
}

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
        if view == "neurons":
            place = index_of(event, "index", len(of["neurons"]))
            return self._node(session, {**of, "place": place}, verify=True)
        return gr.skip(), gr.skip()

    def verify(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """What is selected is to be knocked out."""
        of = sent(event, "of")
        if "node" in of:
            return self._node(session, of, verify=True)
        return self._edge(session, of, verify="all")

    def verify_head(self, event: gr.EventData, session: Session) -> tuple[Any, ...]:
        """Only the head that is chosen is to be knocked out."""
        return self._edge(session, sent(event, "of"), verify="head")

    def root(self, event: gr.EventData, session: Session | None) -> str:
        """Another root was chosen: a triangle, or a node's button."""
        del session
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
        target = session.chosen.tokens()["target"]
        asked = {**session.asked(), "n": MEASURED, "measure": target}
        found = yield from self._read("graph_agreement", GraphAgreementRequest, asked)
        table = views.links_table(found["graph"], study_views.measured_links(found))
        return drawn(table), drawn(study_views.agreement_stack(found))

    def count(self, shared: dict[str, Any], sentences: str, *values: Any) -> Reading:
        """How often every head and MLP is active over many sentences."""
        chosen = Chosen(*values)
        prompts = [line for line in sentences.splitlines() if line.strip()]
        graph = chosen.graph()
        asked = {name: graph[name] for name in ("threshold", "mode", "metric", "bias")}
        shared = {name: value for name, value in shared.items() if name != "prompt"}
        found = yield from self._read(
            "graph_statistics", GraphStatisticsRequest, {**shared, **asked, "prompts": prompts}
        )
        return (drawn(study_views.statistics_map(found)),)

    def export(self, event: gr.EventData, session: Session) -> tuple[Any]:
        """The graph that is shown as a file."""
        kind = sent(event, "format")
        with user_errors():
            request = checked(GraphRequest, session.asked())
        result = result_of(self._runtime.steps("graph", request))
        mime, name = ENDINGS.get(kind, ENDINGS["json"])
        if kind in ("graphml", "csv"):
            text = getattr(result, f"to_{kind}")()
        else:
            text = json.dumps(result.to_json(), allow_nan=False, ensure_ascii=False, indent=1)
        return (drawn({"name": name, "type": mime, "text": text, "serial": time.monotonic_ns()}),)

    def _edge(
        self,
        session: Session,
        of: dict[str, Any],
        *,
        verify: str | None = None,
        tell: list[dict[str, Any]] | None = None,
    ) -> tuple[Any, ...]:
        here, of = session.located(of)
        asked = {name: of[name] for name in ("src", "dst", "kind", "head") if name in of}
        arguments = {**here.detail(), **asked, "verify": verify}
        detail = result_of(self._read("graph_edge", GraphEdgeRequest, arguments))
        value = detail_views.edge_stack(detail, here)
        return drawn({**value, "tell": tell or []}), session.at(detail)

    def _node(
        self, session: Session, of: dict[str, Any], *, verify: bool = False
    ) -> tuple[Any, ...]:
        here, of = session.located(of)
        arguments = {**here.detail(), "node": of["node"], "verify": verify}
        arguments["normalise"] = session.chosen.normalise
        if "place" in of:
            arguments["neuron"] = of["neurons"][of["place"]]
            arguments["expert"] = of["experts"][of["place"]] if of["experts"] else None
        detail = result_of(self._read("graph_node", GraphNodeRequest, arguments))
        return drawn(detail_views.node_stack(detail, here, of.get("place"))), session.at(detail)

    def _read(self, op: str, kind: type[Request], arguments: dict[str, Any]) -> Reading:
        with user_errors():
            request = checked(kind, arguments)
        return (yield from self._runtime.steps(op, request)).to_json()


def sent(event: gr.EventData, name: str) -> Any:
    """What an event carries under a name; requests check what it is."""
    data = event._data
    if not isinstance(data, dict) or name not in data:
        raise gr.Error(f"There is no {name} here.", print_exception=False)
    return data[name]


def shown(record: dict[str, Any], session: Session) -> tuple[str, str, str, str]:
    """The picture, the table, the inspector and the root, from a record."""
    chosen = session.chosen
    picture, table = views.graph_view(record, chosen), views.links_table(record)
    if record["difference"] is not None:
        picture = difference_views.graph_view(record)
        table = difference_views.links_table(record["difference"])
    if "lost_root" in record:
        picture["notes"].insert(0, phrase("graph.lost_root", root=record["lost_root"]))
    selected = record["selected"]
    detail: dict[str, Any] = {"views": [], "of": None}
    if selected is not None:
        build = detail_views.edge_stack if "src" in selected else detail_views.node_stack
        detail = build(selected, session)
    return (
        drawn(picture),
        drawn(table),
        drawn(detail),
        drawn(detail_views.root_stack(record["root_node"])),
    )
