"""The graph tab behind the page: what Run and every click show is what the core says."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import gradio as gr
import pytest
from conftest import Served

from lens_core import contribution_graph, edge_details, graph_run, graph_statistics, node_details
from lens_core.edits import applied, make_edit
from lens_core.models import LoadedModel
from lens_core.weights import columns
from tabs.graph.choices import MAX_EDGES, Chosen
from tabs.graph.clicks import Clicks
from tabs.graph.session import Session
from tabs.graph.views import KINDS, MAX_MAP
from tabs.requests import GraphViewRequest, checked
from tabs.runtime import UserError, result_of

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"
OTHER = "The capital of Nigeria is"
SHARED = {"model": "demo", "prompt": PROMPT, "template": None, "special": "default", "edit": None}


@pytest.fixture(scope="module")
def clicks(served: Served) -> Clicks:
    result_of(served.runtime.stack.steps())
    return Clicks(served.runtime)


@pytest.fixture(scope="module")
def demo(clicks: Clicks, served: Served) -> LoadedModel:
    del clicks
    return served.runtime.pool.get("demo")


@dataclasses.dataclass
class Drawn:
    """What a run shows, by viewer."""

    result: dict[str, Any]
    graph: dict[str, Any]
    links: dict[str, Any]
    detail: dict[str, Any]
    root: dict[str, Any]
    agreement: dict[str, Any]
    side: gr.Radio
    asked_root: Any
    session: Session


def run(
    clicks: Clicks,
    *,
    before: Session | None = None,
    shared: dict[str, Any] = SHARED,
    **chosen: Any,
) -> Drawn:
    """What the tab shows after Run."""
    steps = clicks.run(shared, before, *dataclasses.astuple(Chosen(**chosen)))
    result, (*viewers, side, asked_root, session) = result_of(steps)
    graph, links, detail, root, agreement = map(json.loads, viewers)
    return Drawn(result, graph, links, detail, root, agreement, side, asked_root, session)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def click(
    clicks: Clicks, name: str, session: Session, **data: Any
) -> tuple[dict[str, Any], Session]:
    """The inspector and the session after an event."""
    detail, session = getattr(clicks, name)(event(**data), session)
    return json.loads(detail), session


def view(stack: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [one["value"] for one in stack["views"] if one["key"] == key]
    return found


def close(value: float, other: float) -> bool:
    """The page rounds to six digits."""
    return math.isclose(value, other, rel_tol=1e-4, abs_tol=1e-5)


def drawn_edges(picture: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    ids, edges = picture["nodes"]["ids"], picture["edges"]
    keys = zip(edges["src"], edges["dst"], edges["kind"], strict=True)
    names = [(ids[src], ids[dst], KINDS[kind]) for src, dst, kind in keys]
    return dict(zip(names, edges["w"], strict=True))


@pytest.fixture(scope="module")
def first(clicks: Clicks) -> Drawn:
    return run(clicks)


# ---- what a run shows


def test_the_picture_is_the_graph_of_the_core(first: Drawn, demo: LoadedModel) -> None:
    graph = contribution_graph(demo, demo.tokenize(PROMPT))
    found = drawn_edges(first.graph)
    expected = {(e["src"], e["dst"], e["kind"]): e["w"] for e in graph.edge_list()}
    assert set(found) == set(expected)
    assert all(close(found[key], expected[key]) for key in found)
    assert first.graph["roots"] == ["I5_5"]
    assert first.graph["prediction"]["entry"]["text"] == " Paris"


def test_the_shares_of_the_tokens_sum_to_one(first: Drawn) -> None:
    total = sum(first.graph["share"]) + sum(first.graph["rest"].values())
    assert abs(total - 1) < 1e-4


def test_the_strongest_attention_between_tokens_is_opened(first: Drawn) -> None:
    moved = {
        key: edge["influence"]
        for edge in first.result["edges"]
        if (key := (edge["src"], edge["dst"], edge["kind"]))[2] == "attention"
        and key[0].split("_")[1] != key[1].split("_")[1]
    }
    best = max(moved, key=lambda key: moved[key])
    selected = first.graph["selected"]
    assert (selected["src"], selected["dst"], selected["kind"]) == best
    assert first.session.selected == selected


def test_the_root_says_what_the_model_says(first: Drawn) -> None:
    table = view(first.root, "state")
    assert table["rows"][0][0]["text"] == " Paris"
    assert close(table["rows"][0][1], first.graph["prediction"]["p"])


def test_every_link_of_the_picture_is_in_the_table(first: Drawn) -> None:
    rows = first.links["rows"]
    assert len(rows) == len(first.graph["edges"]["w"]) == len(first.session.links)
    kinds = [row[2]["tone"] for row in rows]
    n_moved = sum(kind != "residual" for kind in kinds)
    assert "residual" not in kinds[:n_moved]
    influence = [row[5] for row in rows[:n_moved]]
    assert influence == sorted(influence, reverse=True)


# ---- choices


@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        ({"threshold": "0.1"}, {"threshold": 0.1}),
        ({"rescale": False}, {"renormalise": False}),
        ({"mode": "per_edge"}, {"mode": "per_edge", "renormalise": True}),
        ({"metric": "l2"}, {"metric": "l2"}),
        ({"metric": "projection"}, {"metric": "projection"}),
        ({"metric": "logit", "target": "·London"}, {"metric": "logit", "target": " London"}),
        ({"biases": False}, {"bias": "ignore"}),
        ({"granularity": "source"}, {"granularity": "source"}),
        ({"keep": 0.8}, {"prune": (1.0, 0.8)}),
        ({"root": "2"}, {"root": 2}),
        ({"root": "A3_4"}, {"root": "A3_4"}),
    ],
)
def test_every_choice_is_an_option_of_the_core(
    clicks: Clicks, demo: LoadedModel, chosen: dict[str, Any], options: dict[str, Any]
) -> None:
    found = drawn_edges(run(clicks, **chosen).graph)
    graph = contribution_graph(demo, demo.tokenize(PROMPT), **options)
    expected = {(e["src"], e["dst"], e["kind"]): e["w"] for e in graph.edge_list()}
    assert set(found) == set(expected)
    assert all(close(found[key], expected[key]) for key in found)


def test_another_threshold_runs_no_model(clicks: Clicks, demo: LoadedModel) -> None:
    first = run(clicks)
    forwards = []
    handle = demo.model.register_forward_hook(lambda *_: forwards.append(1))
    try:
        again = run(clicks, before=first.session, threshold="0.15")
    finally:
        handle.remove()
    assert not forwards
    assert len(again.graph["edges"]["w"]) < len(first.graph["edges"]["w"])


def test_what_is_selected_stays_selected_where_it_still_is(clicks: Clicks) -> None:
    first = run(clicks)
    _, session = click(clicks, "node", first.session, id="I3_5")
    assert run(clicks, before=session).graph["selected"] == {"node": "I3_5"}
    _, session = click(clicks, "node", first.session, id="I3_0")
    assert "src" in run(clicks, before=session).graph["selected"], "it is not drawn"


def test_a_root_that_the_prompt_lacks_gives_way_and_is_said(clicks: Clicks) -> None:
    found = run(clicks, root="I5_40")
    assert found.graph["roots"] == ["I5_5"]
    assert found.graph["notes"][0]["values"] == {"root": "I5_40"}


def test_a_root_is_of_one_text_only(clicks: Clicks) -> None:
    first = run(clicks, root="2")
    assert run(clicks, before=first.session, root="2").graph["roots"] == ["I5_2"]
    other = run(clicks, before=first.session, shared={**SHARED, "prompt": OTHER}, root="2")
    assert other.graph["roots"] == ["I5_5"]
    assert other.asked_root == "-1"
    asked = run(clicks, before=first.session, shared={**SHARED, "prompt": OTHER}, root="I5_3")
    assert asked.graph["roots"] == ["I5_3"], "a link asks for this one"


def test_where_nothing_passes_the_strongest_is_said(clicks: Clicks, demo: LoadedModel) -> None:
    found = run(clicks, threshold="1", mode="per_edge")
    assert not found.graph["edges"]["w"]
    whole = contribution_graph(demo, demo.tokenize(PROMPT), threshold=0, mode="per_edge")
    into = [edge["w"] for edge in whole.edge_list() if edge["dst"] == "I5_5"]
    assert close(found.graph["strongest"], max(into))


def test_a_token_that_is_none_is_the_users_error(clicks: Clicks) -> None:
    with pytest.raises(UserError, match="not a token"):
        run(clicks, metric="logit", target="not a token at all")


# ---- clicks


def test_a_link_shows_its_heads(clicks: Clicks, first: Drawn, demo: LoadedModel) -> None:
    stack, session = click(clicks, "edge", first.session, src="X0_4", dst="A0_5", kind="attention")
    ids = demo.tokenize(PROMPT)
    details = edge_details(demo, graph_run(demo, ids), ("X0_4", "A0_5"))
    bars = view(stack, "heads")
    assert close(bars["rows"][0]["value"], details.weight)
    shares = sorted(map(float, details.contribution), reverse=True)
    assert all(close(row["value"], one) for row, one in zip(bars["rows"][1:], shares, strict=True))
    assert session.selected == {"src": "X0_4", "dst": "A0_5", "kind": "attention"}


def test_a_head_that_is_chosen_is_mapped(clicks: Clicks, first: Drawn) -> None:
    stack, session = click(clicks, "edge", first.session, src="X0_4", dst="A0_5", kind="attention")
    for index, title in ((0, "graph.maps_all"), (2, "graph.maps")):
        again, _ = click(clicks, "choose", session, view="heads", index=index, of=stack["of"])
        assert view(again, "heads")["selected"] == index
        assert view(again, "maps")["title"]["key"] == title


def test_the_table_opens_what_the_picture_opens(clicks: Clicks, first: Drawn) -> None:
    for index in (0, len(first.session.links) - 1):
        src, dst, kind = first.session.links[index].split()
        of_table, _ = click(clicks, "link", first.session, index=index)
        of_picture, _ = click(clicks, "edge", first.session, src=src, dst=dst, kind=kind)
        assert of_table["views"] == of_picture["views"]
        assert of_table["tell"][0]["data"] == {"src": src, "dst": dst, "kind": kind}


@pytest.mark.parametrize("node", ["X0_2", "A3_5", "I2_1", "M4_5", "B0_3"])
def test_every_kind_of_node_is_shown(clicks: Clicks, first: Drawn, node: str) -> None:
    stack, _ = click(clicks, "node", first.session, id=node)
    keys = [one["key"] for one in stack["views"]]
    assert keys[0] == "node"
    assert ("state" in keys) == (node[0] in "XAI")
    assert ("neurons" in keys) == (node[0] == "M")


def test_a_state_says_its_tokens_with_their_ranks(
    clicks: Clicks, first: Drawn, demo: LoadedModel
) -> None:
    stack, _ = click(clicks, "node", first.session, id="I3_5")
    details = node_details(demo, graph_run(demo, demo.tokenize(PROMPT)), "I3_5", k=10)
    assert details.top is not None
    assert details.top.rank_change is not None
    rows = view(stack, "state")["rows"]
    assert [row[3] for row in rows] == list(range(1, 11))
    assert [row[4] for row in rows] == details.top.rank_change.tolist()


def test_a_knock_out_says_what_changed(clicks: Clicks, first: Drawn) -> None:
    stack, session = click(clicks, "edge", first.session, src="X0_4", dst="A0_5", kind="attention")
    assert view(stack, "edge")["measured"] is None
    whole, _ = click(clicks, "verify", session, of=stack["of"])
    head, _ = click(clicks, "verify_head", session, of=stack["of"])
    said = [view(one, "edge")["measured"] for one in (whole, head)]
    assert said[0]["text"]["key"] == "graph.removed_whole"
    assert said[1]["text"] == {"key": "graph.removed_head", "values": {"head": stack["of"]["head"]}}
    assert said[0]["rows"] != said[1]["rows"]


def test_a_neuron_that_is_chosen_is_knocked_out(clicks: Clicks, first: Drawn) -> None:
    stack, session = click(clicks, "node", first.session, id="M4_5")
    again, _ = click(clicks, "choose", session, view="neurons", index=1, of=stack["of"])
    measured = view(again, "node")["measured"]
    assert measured["text"]["values"] == {"neuron": stack["of"]["neurons"][1]}
    assert view(again, "neurons")["selected"] == 1


def test_the_strongest_links_are_measured(clicks: Clicks, first: Drawn) -> None:
    links, agreement = map(json.loads, result_of(clicks.measure(first.session)))
    assert links["columns"][-1]["key"] == "measured"
    measured = [row for row in links["rows"] if row[-1] is not None]
    assert 3 <= len(measured) <= 20
    tokens = view(agreement, "tokens")
    assert tokens["rows"][0][0]["token"]["text"] == " France"
    assert tokens["how"]["key"] == "graph.top_confirmed"


def test_heads_are_counted_over_sentences(clicks: Clicks, demo: LoadedModel) -> None:
    shared = {**SHARED, "prompt": ""}
    values = dataclasses.astuple(Chosen())
    (drawn,) = result_of(clicks.count(shared, f"{PROMPT}\n\n{OTHER}\n", *values))
    counted = json.loads(drawn)
    found = graph_statistics(demo, [PROMPT, OTHER])
    assert counted["notes"][0]["values"]["n"] == 2
    for quantity in counted["quantities"]:
        for place, row in enumerate(counted["rows"]):
            layer = int(row["label"][1:])
            heads = getattr(found.heads, quantity["key"]).mean[layer]
            mlp = getattr(found.mlps, quantity["key"]).mean[layer]
            for value, expected in zip(quantity["values"][place], [*heads, mlp], strict=True):
                assert math.isnan(expected) if value is None else close(value, expected)


def test_another_root_is_named_for_the_next_run(clicks: Clicks, first: Drawn) -> None:
    assert clicks.root(event(id="I5_3")) == "I5_3"
    assert clicks.root(event(of={"node": "A2_1"})) == "A2_1"
    assert clicks.position(event(position=2), first.session) == "2"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("edge", {"src": "X0_4", "dst": "I5_5", "kind": "attention"}),
        ("edge", {"src": "<img>", "dst": 5, "kind": None}),
        ("node", {"id": "Z9_9"}),
        ("node", {"id": "I99_0"}),
    ],
)
def test_what_the_browser_sends_is_not_trusted(
    clicks: Clicks, first: Drawn, name: str, data: dict[str, Any]
) -> None:
    with pytest.raises(UserError):
        click(clicks, name, first.session, **data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("edge", {}),
        ("link", {"index": 100_000}),
        ("link", {"index": "0"}),
        ("position", {"position": 6}),
        ("threshold", {"value": 5}),
        ("choose", {"view": "heads", "index": 9, "of": {"heads": [0]}}),
    ],
)
def test_an_event_without_sense_is_refused(
    clicks: Clicks, first: Drawn, name: str, data: dict[str, Any]
) -> None:
    arguments = (event(**data),) if name == "threshold" else (event(**data), first.session)
    with pytest.raises(gr.Error):
        getattr(clicks, name)(*arguments)


# ---- two graphs


def test_the_difference_of_two_prompts_is_second_less_first(clicks: Clicks) -> None:
    both = run(clicks, other=OTHER)
    assert both.graph["difference"]
    assert both.graph["others"][4]["text"] == " Nigeria"
    a, b = (
        drawn_edges(run(clicks).graph),
        drawn_edges(run(clicks, shared={**SHARED, "prompt": OTHER}).graph),
    )
    for key, weight in drawn_edges(both.graph).items():
        assert close(weight, b.get(key, 0.0) - a.get(key, 0.0))


def test_a_link_of_only_the_second_prompt_is_read_there(clicks: Clicks) -> None:
    longer = "The capital city of Nigeria is"
    both = run(clicks, other=longer)
    columns_a = both.session.columns["a"]  # pyright: ignore[reportOptionalSubscript]
    new = columns_a.index(None)
    stack, _ = click(clicks, "node", both.session, id=f"I2_{new}")
    entry = view(stack, "node")["from"]["token"]
    assert entry["text"] == both.graph["others"][new]["text"]
    assert stack["of"]["node"] == f"I2_{new}", "clicks go on in columns"


@pytest.fixture(scope="module")
def edit(demo: LoadedModel) -> Any:
    down = demo.model.get_submodule("model.layers.4.mlp.down_proj")
    import torch

    neurons = torch.arange(32)
    return make_edit(demo, {4: (neurons, -3 * columns(down, neurons))})


def test_before_after_and_difference_of_an_edit(
    clicks: Clicks, demo: LoadedModel, edit: Any
) -> None:
    shared = {**SHARED, "edit": edit.to_json()}
    found = {
        side: run(clicks, shared=shared, side=side) for side in ("after", "before", "difference")
    }
    ids = demo.tokenize(PROMPT)
    plain = contribution_graph(demo, ids)
    with applied(demo, edit):
        edited = contribution_graph(demo, ids)
    for side, graph in (("before", plain), ("after", edited)):
        weights = {(e["src"], e["dst"], e["kind"]): e["w"] for e in graph.edge_list()}
        drawn = drawn_edges(found[side].graph)
        assert set(drawn) == set(weights)
        assert all(close(drawn[key], weights[key]) for key in drawn)
    assert found["difference"].graph["difference"]
    assert found["difference"].graph["others"] is None
    assert found["after"].side.visible


# ---- files and sizes


def test_a_difference_is_saved_too(clicks: Clicks) -> None:
    both = run(clicks, other=OTHER)
    for kind in ("json", "csv"):
        (drawn,) = clicks.export(event(format=kind), both.session)
        assert " Nigeria" in json.loads(drawn)["text"]
    with pytest.raises(UserError, match="JSON or CSV"):
        clicks.export(event(format="graphml"), both.session)


@pytest.mark.parametrize("kind", ["exe", None, ["json"]])
def test_no_other_kind_of_file_is_written(clicks: Clicks, first: Drawn, kind: Any) -> None:
    with pytest.raises(gr.Error):
        clicks.export(event(format=kind), first.session)


def test_measuring_a_difference_keeps_its_table(clicks: Clicks) -> None:
    both = run(clicks, other=OTHER)
    table, agreement = result_of(clicks.measure(both.session))
    assert table == gr.skip()
    assert view(json.loads(agreement), "agreement")
    assert run(clicks, before=both.session).agreement["views"] == [], "of another graph"


def test_a_cell_of_a_map_opens_its_link(clicks: Clicks, first: Drawn) -> None:
    stack, session = click(clicks, "edge", first.session, src="X0_4", dst="A0_5", kind="attention")
    again, session = click(clicks, "choose", session, view="maps", query=3, key=1, of=stack["of"])
    assert session.selected == {"src": "X0_1", "dst": "A0_3", "kind": "attention"}
    assert view(again, "maps")["cell"] == [3, 1]
    assert again["of"]["head"] == stack["of"]["head"]


@pytest.mark.parametrize("kind", ["json", "graphml", "csv"])
def test_the_graph_is_saved_whole(clicks: Clicks, first: Drawn, kind: str) -> None:
    (drawn,) = clicks.export(event(format=kind), first.session)
    saved = json.loads(drawn)
    assert saved["name"] == f"graph.{kind}"
    n_edges = len(first.result["edges"])
    count = {"json": '"src":', "graphml": "<edge ", "csv": "\n"}[kind]
    assert saved["text"].count(count) == n_edges + (kind == "csv")


def test_a_long_prompt_draws_so_many_links_and_counts_the_rest(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": "one two three four five six seven eight nine ten " * 6}
    found = run(clicks, shared=shared, threshold="0.001")
    assert len(found.graph["edges"]["w"]) == MAX_EDGES < found.graph["n_edges"]
    maps = view(found.detail, "maps")
    assert len(maps["tokens"]) == MAX_MAP
    assert [len(row) for row in maps["maps"][0]["values"]][-1] == MAX_MAP
    query, key = maps["cell"]
    assert 0 <= key <= query < MAX_MAP


@pytest.mark.parametrize("metric", ["l1", "l2", "projection", "norm", "logit"])
def test_what_the_page_asks_is_a_request(metric: str) -> None:
    checked(GraphViewRequest, {**SHARED, **Chosen(metric=metric).view()})
