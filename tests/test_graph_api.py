"""The endpoints of the graph as a client meets them: the core's answers, and clear refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from conftest import Served
from gradio_client import Client
from gradio_client.exceptions import AppError

import lens_core
from lens_core import records
from lens_core.edits import applied, make_edit
from lens_core.models import LoadedModel
from lens_core.tree import Part, verify
from tabs.runtime import result_of

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"
OTHER = "The capital of Nigeria is"
EDGE = ("X0_4", "A0_5")
ENDS = {"src": "X0_4", "dst": "A0_5"}
MLP = {"node": "M4_5"}


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    result_of(served.runtime.stack.steps())
    return lens_core.load_model("demo")


@pytest.fixture(scope="module")
def run(demo: LoadedModel) -> lens_core.GraphRun:
    return lens_core.graph_run(demo, demo.tokenize(PROMPT))


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("created", "timing")}


def same(one: Any, other: Any) -> bool:
    """Whether two records say the same; rows that are worked out together round differently."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return one == other


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"root": 2, "threshold": 0.1, "mode": "per_edge"},
        {"root": ["I5_5", "A2_3"], "bias": "ignore", "numerics": "compat"},
        {"metric": "logit", "target": " Paris", "foil": " London", "max_edges": 10},
        {"granularity": "source", "prune": [0.8, 0.98]},
    ],
)
def test_a_graph_is_that_of_the_core(
    client: Client, demo: LoadedModel, options: dict[str, Any]
) -> None:
    answer = client.predict(PROMPT, **options, api_name="/graph")
    direct = lens_core.contribution_graph(demo, demo.tokenize(PROMPT), **options)
    assert same(timeless(answer), timeless(direct.to_json()))
    json.dumps(answer, allow_nan=False)
    assert lens_core.ContributionGraph.from_json(answer).to_json() == answer


def test_two_prompts_give_their_difference(client: Client, demo: LoadedModel) -> None:
    answer = client.predict(PROMPT, other_prompt=OTHER, api_name="/graph")
    graphs = [lens_core.contribution_graph(demo, demo.tokenize(p)) for p in (PROMPT, OTHER)]
    assert same(timeless(answer), timeless(lens_core.graph_difference(*graphs).to_json()))


def test_an_edit_holds_for_one_call_and_can_be_compared_with(
    client: Client, demo: LoadedModel
) -> None:
    edit = make_edit(demo, {4: (torch.arange(8), torch.zeros(8, demo.facts.d_model))})
    before = client.predict(PROMPT, api_name="/graph")
    both = client.predict(PROMPT, edit=edit.to_json(), before_edit=True, api_name="/graph")
    after = client.predict(PROMPT, edit=edit.to_json(), api_name="/graph")
    assert same(timeless(client.predict(PROMPT, api_name="/graph")), timeless(before))
    plain = lens_core.contribution_graph(demo, demo.tokenize(PROMPT))
    with applied(demo, edit):
        edited = lens_core.contribution_graph(demo, demo.tokenize(PROMPT))
    assert same(timeless(after), timeless(edited.to_json()))
    assert same(timeless(both), timeless(lens_core.graph_difference(plain, edited).to_json()))


def test_an_edge_has_its_heads_and_what_the_chosen_one_writes(
    client: Client, demo: LoadedModel, run: lens_core.GraphRun
) -> None:
    answer = client.predict(PROMPT, *EDGE, api_name="/graph_edge")
    direct = lens_core.edge_details(demo, run, EDGE).to_json()
    assert same({key: answer[key] for key in timeless(direct)}, timeless(direct))
    strongest = max(range(len(direct["contribution"])), key=direct["contribution"].__getitem__)
    assert answer["head"]["head"] == answer["maps"]["head"] == strongest
    for head in (1, "all"):
        named = client.predict(PROMPT, *EDGE, head=head, maps=False, api_name="/graph_edge")
        assert named["head"]["head"] == (None if head == "all" else head)
        assert named["maps"] is None


@pytest.mark.parametrize("node", ["X0_2", "A3_5", "I2_1", "M4_5", "B0_3"])
def test_a_node_is_that_of_the_core(
    client: Client, demo: LoadedModel, run: lens_core.GraphRun, node: str
) -> None:
    answer = client.predict(PROMPT, node, k=4, n=3, api_name="/graph_node")
    direct = lens_core.node_details(demo, run, node, k=4).to_json()
    del direct["vocab"]
    assert same({key: answer[key] for key in timeless(direct)}, timeless(direct))
    assert (answer["neurons"] is not None) == (node[0] == "M")


@pytest.mark.parametrize(
    ("endpoint", "arguments", "part"),
    [
        ("/graph_edge", {**ENDS, "verify": "all"}, {"edge": EDGE}),
        ("/graph_edge", {**ENDS, "head": 3, "verify": "head"}, {"edge": EDGE, "head": 3}),
        ("/graph_node", {"node": "M4_5", "verify": True}, {"node": "M4_5"}),
        ("/graph_node", {**MLP, "verify": True, "neuron": 7}, {**MLP, "neuron": 7}),
    ],
)
def test_what_is_knocked_out_is_what_was_asked_for(
    client: Client,
    demo: LoadedModel,
    run: lens_core.GraphRun,
    endpoint: str,
    arguments: dict[str, Any],
    part: dict[str, Any],
) -> None:
    answer = client.predict(PROMPT, **arguments, api_name=endpoint)["verification"]
    direct = verify(demo, run, [Part.of(part)]).to_json()
    assert set(direct) - set(answer) == set(records.header("", model={}, self_check={}))
    assert same(answer, {key: direct[key] for key in answer})


def test_statistics_are_those_of_the_core(client: Client, demo: LoadedModel) -> None:
    answer = client.predict([PROMPT, OTHER], api_name="/graph_statistics")
    direct = lens_core.graph_statistics(demo, [PROMPT, OTHER]).to_json()
    assert same(timeless(answer), timeless(direct))


@pytest.mark.parametrize(
    ("endpoint", "arguments", "parts"),
    [
        ("/graph", {"prompt": ""}, ["empty"]),
        ("/graph", {"root": 6}, ["root is 6", "-6 to 5"]),
        ("/graph", {"root": "Z1_2"}, ["Z1_2", "I3_t"]),
        ("/graph", {"threshold": 2}, ["threshold", "2", "1"]),
        ("/graph", {"metric": "cosine"}, ["metric", "cosine", "l1"]),
        ("/graph", {"prune": [0.5]}, ["prune"]),
        ("/graph", {"target": " Paris"}, ["target", "logit"]),
        ("/graph", {"prompt": "word " * 600}, ["tokens", "256", "Shorten"]),
        ("/graph", {"other_prompt": ""}, ["empty"]),
        ("/graph", {"before_edit": True}, ["before_edit", "give an edit"]),
        ("/graph_node", {"node": "M4_5", "neuron": 3}, ["neuron 3", "set verify"]),
        ("/graph_node", {"node": "I9_0"}, ["I9_0", "layers 0 to 5"]),
        ("/graph_node", {"node": "M0_0", "verify": True, "neuron": 10**6}, ["neuron", "1000000"]),
        ("/graph_edge", {"src": "I4_0", "dst": "A0_5"}, ["I4_0", "A0_5"]),
        ("/graph_edge", {"src": "X0_4", "dst": "A0_5", "head": 99}, ["head", "99"]),
        ("/graph_edge", {"src": "X0_4", "dst": "A0_5", "head": "best"}, ["head", "best"]),
        ("/graph_statistics", {"prompts": []}, ["prompts"]),
        ("/graph_statistics", {"prompts": ["x"] * 2000}, ["prompts", "1000"]),
    ],
)
def test_what_cannot_be_done_is_said_with_its_limit(
    client: Client, endpoint: str, arguments: dict[str, Any], parts: list[str]
) -> None:
    given = arguments if "statistics" in endpoint else {"prompt": PROMPT, **arguments}
    with pytest.raises(AppError) as failure:
        client.predict(**given, api_name=endpoint)
    for part in parts:
        assert part in str(failure.value)
