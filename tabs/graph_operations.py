"""The operations of the contribution graph: from a request to plain JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabs.bench import Bench, edited
from tabs.requests import (
    GraphAgreementRequest,
    GraphEdgeRequest,
    GraphNodeRequest,
    GraphRequest,
    GraphStatisticsRequest,
    GraphViewRequest,
    MeasuredRequest,
    OneGraphRequest,
    PromptRequest,
)

if TYPE_CHECKING:
    from lens_core.amounts import Measure
    from lens_core.models import LoadedModel
    from lens_core.tree import ContributionGraph, GraphDifference, GraphRun

OPTIONS = (
    "root", "threshold", "mode", "renormalise", "granularity", "merge_self", "prune", "max_edges",
    "metric", "numerics", "bias", "target", "foil",
)  # fmt: skip
"""What of a request is an option of `contribution_graph`."""


@dataclass(frozen=True)
class Answer:
    """A result's JSON, which goes to clients as it is."""

    record: dict[str, Any]

    @property
    def header(self) -> dict[str, Any]:
        """Where the model is named."""
        return self.record

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return self.record


@contextmanager
def running(
    bench: Bench, request: PromptRequest, source: str, *, prompt: str | None = None
) -> Iterator[tuple[LoadedModel, GraphRun]]:
    """The model under the request's edit, and its forward pass, which may be held already."""
    # The key of what is held names the edits that hold, so nobody else's may hold by then.
    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        yield loaded, held_run(bench, loaded, request, prompt or request.prompt)


def held_run(bench: Bench, loaded: LoadedModel, request: PromptRequest, prompt: str) -> GraphRun:
    """The forward pass over a prompt: the one that is held, or a new one."""
    from lens_core.tree import graph_run

    ids = loaded.tokenize(prompt, template=request.template, special=request.special)
    key = (loaded.facts, tuple(ids.tolist()), loaded.active_edits)
    run = bench.graph_runs.get(key)
    if run is None:
        run = graph_run(loaded, ids, max_tokens=bench.limits.graph)
        bench.graph_runs.put(key, run)
    return run


def drawn_graph(loaded: LoadedModel, run: GraphRun, request: OneGraphRequest) -> ContributionGraph:
    """The graph that a request describes."""
    from lens_core.tree import contribution_graph

    options = {name: getattr(request, name) for name in OPTIONS}
    return contribution_graph(loaded, run.ids, run=run, **options)


def graph(bench: Bench, request: GraphRequest, source: str) -> ContributionGraph | GraphDifference:
    """The graph of the prompt, or what changes from it to another one."""
    if request.other_prompt is None and not (request.before_edit and request.edit):
        with running(bench, request, source) as (loaded, run):
            return drawn_graph(loaded, run, request)
    return difference(bench, request, source)


def difference(bench: Bench, request: GraphRequest, source: str) -> GraphDifference:
    """What the graph of another prompt, or under the edit, has more than the first one."""
    from lens_core.tree import graph_difference

    # What is pruned could not be told from what is not there.
    whole = request.model_copy(update={"prune": None, "max_edges": None})
    first, second = whole, request.other_prompt
    if second is None:
        first = whole.model_copy(update={"edit": None})
    with running(bench, first, source) as (loaded, run):
        a = drawn_graph(loaded, run, first)
    with running(bench, whole, source, prompt=second) as (loaded, run):
        b = drawn_graph(loaded, run, whole)
    return graph_difference(a, b, max_edges=request.max_edges)


def within(record: dict[str, Any]) -> dict[str, Any]:
    """A result as a part of another one: the header is that of the whole."""
    from lens_core.records import header

    names = header("", model={}, self_check={})
    return {key: value for key, value in record.items() if key not in names}


def measure_of(loaded: LoadedModel, run: GraphRun, request: MeasuredRequest, at: int) -> Measure:
    """How the graph's amounts are measured, for a detail of it."""
    from lens_core.tree.options import measured

    logit = request.metric == "logit"
    return measured(
        loaded,
        run,
        at,
        metric=request.metric,
        numerics=request.numerics,
        target=request.target if logit else None,
        foil=request.foil if logit else None,
    )


def graph_node(bench: Bench, request: GraphNodeRequest, source: str) -> Answer:
    """The tokens of a state, or the neurons of an MLP and what it adds."""
    with running(bench, request, source) as (loaded, run):
        return Answer(node_record(loaded, run, request))


def node_record(loaded: LoadedModel, run: GraphRun, request: GraphNodeRequest) -> dict[str, Any]:
    """A node's details, with the neurons of an MLP where they can be told apart."""
    from lens_core.amounts import Measure
    from lens_core.tree import ffn_details, node_details

    found = node_details(loaded, run, request.node, k=request.k, normalise=request.normalise)
    record = found.to_json()
    record["neurons"] = None
    if found.kind == "ffn" and loaded.self_check.reason_off("neurons") is None:
        # Neurons are measured by their size; the signed metrics do not know them.
        metric = "l1" if request.metric in ("projection", "logit") else request.metric
        measure = Measure(metric, request.numerics)
        neurons = ffn_details(loaded, run, request.node, n=request.n, k=5, measure=measure)
        record["vocab"] |= neurons.vocab
        record["neurons"] = within(neurons.to_json())
    part: dict[str, Any] = {"node": request.node}
    if request.neuron is not None:
        part |= {"neuron": request.neuron, "expert": request.expert}
    record["verification"] = knocked_out(loaded, run, request, part) if request.verify else None
    return record


def graph_edge(bench: Bench, request: GraphEdgeRequest, source: str) -> Answer:
    """The heads of an edge, where the chosen one looks, and what it writes."""
    with running(bench, request, source) as (loaded, run):
        return Answer(edge_record(loaded, run, request))


def edge_record(loaded: LoadedModel, run: GraphRun, request: GraphEdgeRequest) -> dict[str, Any]:
    """An edge's details, with those of the chosen head where attention carries it."""
    from lens_core.tree import edge_details, head_details, head_maps
    from lens_core.tree.nodes import Node

    ends = (request.src, request.dst)
    place = Node.of(request.dst)
    measure = measure_of(loaded, run, request, min(place.position, len(run.ids) - 1))
    found = edge_details(loaded, run, ends, kind=request.kind, measure=measure, bias=request.bias)
    record = found.to_json()
    record |= {"vocab": {}, "head": None, "maps": None, "verification": None}
    part: dict[str, Any] = {"edge": list(ends), "kind": found.kind}
    if found.kind == "attention":
        head = chosen_head(request.head, found.contribution)
        written = head_details(loaded, run, ends, head, k=request.k)
        record["head"] = within(written.to_json())
        record["vocab"] = written.vocab
        if request.maps:
            maps = head_maps(loaded, run, place.layer, head, measure=measure, bias=request.bias)
            record["maps"] = within(maps.to_json())
        if request.verify == "head" and head is not None:
            part["head"] = head
    if request.verify:
        record["verification"] = knocked_out(loaded, run, request, part)
    return record


def chosen_head(head: int | str, contribution: Any) -> int | None:
    """The head that is meant: None for all of them."""
    if isinstance(head, int):
        return head
    return int(abs(contribution).argmax()) if head == "strongest" and len(contribution) else None


def knocked_out(
    loaded: LoadedModel,
    run: GraphRun,
    request: GraphEdgeRequest | GraphNodeRequest,
    part: dict[str, Any],
) -> dict[str, Any]:
    """What really changes at the root without a part."""
    from lens_core.tree import Part, verify

    target, foil = request.target, request.foil
    found = verify(loaded, run, [Part.of(part)], root=request.root, target=target, foil=foil)
    return within(found.to_json())


def graph_view(bench: Bench, request: GraphViewRequest, source: str) -> Answer:
    """What the page shows after a run, in one go."""
    shown = request
    if request.side == "before":
        shown = request.model_copy(update={"edit": None})
    with running(bench, shown, source) as (loaded, run):
        found = drawn_graph(loaded, run, shown)
        record: dict[str, Any] = {
            **found.to_json(),
            "layers": layers_of(loaded),
            "strongest": None if len(found.edges) else strongest_part(loaded, run, shown),
            "selected": None,
        }
        record["root_node"] = node_record(loaded, run, of_node(shown, record["root"]["nodes"][0]))
        record["selected"] = selected(loaded, run, shown, record)
    record["difference"] = None
    if request.other_prompt is not None or request.side == "difference":
        record["difference"] = difference(bench, request, source).to_json()
    return Answer(record)


def layers_of(loaded: LoadedModel) -> dict[str, list[bool]]:
    """Which layers have a state after attention, and which an MLP."""
    layers = loaded.anatomy.layers
    return {
        "mids": [layer.has_mid for layer in layers],
        "mlps": [layer.mlp_add is not None for layer in layers],
    }


def strongest_part(loaded: LoadedModel, run: GraphRun, request: OneGraphRequest) -> float | None:
    """The largest share in the root, where the threshold leaves none."""
    from lens_core.tree import strongest_share
    from lens_core.tree.options import root_nodes

    root = root_nodes(loaded, request.root, len(run.ids))[0].id
    names = (
        "mode", "metric", "numerics", "bias", "merge_self", "target", "foil", "granularity"
    )  # fmt: skip
    options = {name: getattr(request, name) for name in names}
    return strongest_share(loaded, run, root, **options)


def selected(
    loaded: LoadedModel, run: GraphRun, request: GraphViewRequest, record: dict[str, Any]
) -> dict[str, Any] | None:
    """Details of what is selected where it is still there; else of the strongest attention edge."""
    edges = {(e["src"], e["dst"], e["kind"]): e for e in record["edges"]}
    wanted = request.select or {}
    if "node" in wanted and wanted["node"] in {node["id"] for node in record["nodes"]}:
        return node_record(loaded, run, of_node(request, wanted["node"]))
    edge = edges.get((wanted.get("src"), wanted.get("dst"), wanted.get("kind")))
    if edge is None:
        edge = max(record["edges"], key=telling, default=None)
    return None if edge is None else edge_record(loaded, run, of_edge(request, edge))


def telling(edge: dict[str, Any]) -> tuple[int, float]:
    """What is worth opening first: attention between tokens, then what is added, then the rest."""
    moves = edge["kind"] == "attention" and edge["src"].split("_")[1] != edge["dst"].split("_")[1]
    order = 2 if moves else 1 if edge["kind"] != "residual" else 0
    return order, abs(edge["influence"])


def of_node(request: GraphViewRequest, node: str) -> GraphNodeRequest:
    """The request for a node of the page's graph."""
    return GraphNodeRequest(**_common(request), node=node, k=request.k, normalise=request.normalise)


def of_edge(request: GraphViewRequest, edge: dict[str, Any]) -> GraphEdgeRequest:
    """The request for an edge of the page's graph."""
    ends = {name: edge[name] for name in ("src", "dst", "kind")}
    return GraphEdgeRequest(**_common(request), **ends, k=request.k)


def _common(request: GraphViewRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in MeasuredRequest.model_fields}


def graph_agreement(bench: Bench, request: GraphAgreementRequest, source: str) -> Answer:
    """The strongest edges and tokens of a graph, each knocked out for real."""
    from lens_core.tree import graph_agreement as agreement

    with running(bench, request, source) as (loaded, run):
        drawn = drawn_graph(loaded, run, request)
        found = agreement(loaded, run, drawn, n=request.n, **request.measure)
    return Answer({**found.to_json(), "graph": drawn.to_json()})


def graph_statistics(bench: Bench, request: GraphStatisticsRequest, source: str) -> Any:
    """How often every head and MLP is active."""
    from lens_core.tree import graph_statistics as statistics

    with bench.pool.lease(source) as loaded, loaded.lock, edited(loaded, request):
        return statistics(
            loaded,
            request.prompts,
            root=request.root,
            threshold=request.threshold,
            mode=request.mode,
            bias=request.bias,
            metric=request.metric,
            template=request.template,
            special=request.special,
            max_tokens=bench.limits.graph,
        )


GRAPH_OPS: dict[str, Callable[..., Any]] = {
    "graph": graph,
    "graph_view": graph_view,
    "graph_node": graph_node,
    "graph_edge": graph_edge,
    "graph_agreement": graph_agreement,
    "graph_statistics": graph_statistics,
}
"""The operations by name."""
