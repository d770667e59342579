"""The difference of two graphs: on common columns, edge by edge, and only of graphs that fit."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from families import EVERY, IDS, N_LAYERS, loaded

from lens_core import (
    ContributionGraph,
    GraphDifference,
    InputError,
    applied,
    contribution_graph,
    graph_difference,
    load_model,
)
from lens_core.edits import make_edit
from lens_core.tree.comparing import aligned
from lens_core.tree.nodes import Node
from lens_core.weights import columns

OTHER = torch.tensor([5, 71, 30, 31, 42, 9, 33])
"""The same at both ends as IDS."""
LONGER = torch.tensor([5, 71, 60, 61, 62, 42, 9, 33])


def graph(name: str, ids: torch.Tensor = IDS, **options: Any) -> ContributionGraph:
    return contribution_graph(loaded(name), ids, **options)


def pairs(a: str, b: str, **options: Any) -> list[str]:
    """The columns of two texts of one-letter tokens, as pairs of letters."""
    first, second = aligned([*map(ord, a)], [*map(ord, b)], **options)
    return [
        (a[i] if i >= 0 else "-") + (b[j] if j >= 0 else "-")
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("abc", "abc", "aa bb cc"),
        ("abxyz", "abqz", "aa bb xq y- zz"),
        ("aaa", "aa", "aa aa a-"),
        ("ab", "xyb", "ax -y bb"),
        ("abc", "xyz", "ax by cz"),
        ("abcdez", "acxyez", "aa b- cc dx -y ee zz"),
        ("ab", "ab", "aa bb"),
        ("a", "b", "ab"),
    ],
)
def test_what_is_the_same_shares_a_column_and_the_rest_comes_from_the_left(
    a: str, b: str, wanted: str
) -> None:
    assert pairs(a, b) == wanted.split()
    assert pairs(b, a) == [pair[::-1] for pair in wanted.split()]


def test_the_explained_positions_share_a_column() -> None:
    assert pairs("abx", "abcdy") == ["aa", "bb", "xc", "-d", "-y"]
    assert pairs("abx", "abcdy", meet=(2, 4)) == ["aa", "bb", "-c", "-d", "xy"]
    assert pairs("abcd", "abcd", meet=(1, 1)) == ["aa", "bb", "cc", "dd"]
    assert pairs("abcd", "xbcd", meet=(0, 2)) == ["-x", "-b", "ac", "b-", "c-", "dd"]


def test_every_position_stands_in_one_column_in_order() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        a, b = (generator.integers(0, 3, generator.integers(1, 9)).tolist() for _ in range(2))
        meet = (int(generator.integers(len(a))), int(generator.integers(len(b))))
        for chosen in (None, meet):
            for side, ids in zip(aligned(a, b, meet=chosen), (a, b), strict=True):
                assert side[side >= 0].tolist() == list(range(len(ids)))
            columns_of = [side.tolist() for side in aligned(a, b, meet=chosen)]
            assert chosen is None or chosen in zip(*columns_of, strict=True)


@pytest.mark.parametrize("name", EVERY)
def test_a_graph_against_itself_differs_in_nothing(name: str) -> None:
    found = graph(name)
    same = graph_difference(found, found)
    assert same.node_ids == found.nodes.ids
    assert [edge["src"] for edge in same.edge_list()] == [e["src"] for e in found.edge_list()]
    for sides in (same.edges.weight, same.edges.influence, same.node_influence):
        np.testing.assert_array_equal(sides.a, sides.b)
        assert not sides.difference.any()
    np.testing.assert_array_equal(same.edges.weight.a, found.edges.weight)
    np.testing.assert_array_equal(same.token_influence.b, found.token_influence)
    assert same.header["warnings"] == found.header["warnings"] or same.header["warnings"] == [
        f"A: {said}" for said in found.header["warnings"]
    ]


@pytest.mark.parametrize("options", [{}, {"threshold": 0.0}, {"root": [2, "I1_3"]}])
@pytest.mark.parametrize("name", ["llama", "gpt_neox_par", "qwen3_next"])
def test_each_side_holds_the_whole_graph(name: str, options: dict[str, Any]) -> None:
    a, b = graph(name, **options), graph(name, LONGER, **options)
    found = graph_difference(a, b)
    for side, one, at in (("a", a, found.positions_a), ("b", b, found.positions_b)):
        edges = {
            (moved(edge["src"], at), moved(edge["dst"], at), edge["kind"]): (
                edge[f"w_{side}"],
                edge[f"influence_{side}"],
            )
            for edge in found.edge_list()
            if edge[f"w_{side}"]
        }
        assert edges == {
            (edge["src"], edge["dst"], edge["kind"]): (edge["w"], edge["influence"])
            for edge in one.edge_list()
        }
        tokens = getattr(found.token_influence, side)
        here = at >= 0
        np.testing.assert_array_equal(tokens[here], one.token_influence)
        assert not tokens[~here].any()
    for edge in found.edge_list():
        assert edge["w"] == pytest.approx(edge["w_b"] - edge["w_a"], abs=1e-6)
    total = found.token_influence.difference.sum(dtype=np.float64)
    total += sum(b - a for a, b in found.rest.values())
    assert total == pytest.approx(0, abs=1e-5)


def moved(name: str, positions: np.ndarray) -> str:
    """A node by column as a node by position."""
    node = Node.of(name)
    return replace(node, position=int(positions[node.position])).id


def test_the_other_way_round_changes_all_signs() -> None:
    a, b = graph("llama"), graph("llama", OTHER)
    there, back = graph_difference(a, b), graph_difference(b, a)
    assert there.node_ids == back.node_ids
    np.testing.assert_array_equal(there.edges.weight.difference, -back.edges.weight.difference)
    assert there.token_influence.difference.any()


def test_the_edges_that_differ_most_are_listed() -> None:
    a, b = graph("llama"), graph("llama", OTHER)
    every, few = graph_difference(a, b), graph_difference(a, b, max_edges=5)
    assert (len(few.edges), few.n_edges) == (5, len(every.edges))
    assert set(few.roots) <= set(few.node_ids)
    least = np.abs(few.edges.influence.difference).min()
    assert (np.abs(every.edges.influence.difference) > least).sum() < 5
    known = {(edge["src"], edge["dst"], edge["kind"]): edge for edge in every.edge_list()}
    assert all(known[e["src"], e["dst"], e["kind"]] == e for e in few.edge_list())


def test_before_and_after_an_edit() -> None:
    model = loaded("llama")
    module = model.anatomy.layers[1].mlp_proj
    assert module is not None
    chosen = torch.tensor([3, 8])
    edit = make_edit(model, {1: (chosen, columns(module, chosen) + 1)})
    before = graph("llama", threshold=0.0)
    with applied(model, edit):
        after = graph("llama", threshold=0.0)
    found = graph_difference(before, after)
    assert found.header["edit"]["a"] is None
    assert found.header["edit"]["b"]["id"] == edit.id
    for edge in found.edge_list():
        if Node.of(edge["dst"]).layer == 0:
            assert edge["w"] == 0
    assert found.edges.weight.difference.any()


def test_json_round_trip() -> None:
    cases: tuple[dict[str, Any], ...] = ({}, {"metric": "projection"}, {"metric": "logit"})
    for options in cases:
        a, b = graph("gpt2", **options), graph("gpt2", LONGER, **options)
        found = graph_difference(a, b, max_edges=20)
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        again = GraphDifference.from_json(record)
        assert again.to_json() == record
        assert again.edges.weight.a.dtype == np.float32
        assert record["columns"]["a"].count(None) == 1
        assert record["schema"] == "lens_core/graph_difference/1"
        assert record["input"]["b"]["ids"] == LONGER.tolist()
        different = a.options["target"] != b.options["target"]
        assert ("different tokens" in " ".join(record["warnings"])) == different
    with pytest.raises(InputError, match="graph_difference/1"):
        GraphDifference.from_json(graph("gpt2").to_json())


def test_graphs_that_do_not_fit_are_refused() -> None:
    one = graph("llama")
    for other, message in (
        (graph("gpt2"), "different models: .*llama.* and .*gpt2.*same model"),
        (graph("llama", threshold=0.1), r"threshold tau 0.04 and tau 0.1\. .*same options"),
        (graph("llama", metric="norm"), "metric l1 and norm"),
        (graph("llama", bias="ignore"), "bias part and ignore"),
        (graph("llama", root="I1_3"), f"I{N_LAYERS - 1} and I1"),
        (graph("llama", max_edges=3), "Graph B lists 3 of its"),
    ):
        with pytest.raises(InputError, match=message):
            graph_difference(one, other)
    with pytest.raises(InputError, match="max_edges"):
        graph_difference(one, one, max_edges=0)


def test_the_columns_of_two_real_prompts() -> None:
    demo = load_model("demo")
    texts = ("The capital of France is", "The capital city of Japan is")
    a, b = (contribution_graph(demo, demo.tokenize(text)) for text in texts)
    found = graph_difference(a, b)
    ids = [graph.header["input"]["ids"] for graph in (a, b)]
    assert found.positions_a[-1] == len(ids[0]) - 1
    assert found.positions_b[-1] == len(ids[1]) - 1
    assert found.positions_a[0] == found.positions_b[0] == 0
    assert (found.final_ids[0], found.final_ids[1]) == (a.final_ids[-1], b.final_ids[-1])


def test_the_table_of_a_difference_is_its_list_of_edges() -> None:
    found = graph_difference(graph("llama"), graph("llama", IDS.flip(0)))
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    edges = found.edge_list()
    assert len(rows) == len(edges)
    for row, edge in zip(rows, edges, strict=True):
        assert (row["src"], row["dst"], row["kind"]) == (edge["src"], edge["dst"], edge["kind"])
        for name in ("w", "w_a", "w_b", "influence", "influence_a", "influence_b"):
            assert float(row[name]) == edge[name]
