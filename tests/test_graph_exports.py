"""GraphML and CSV hold what the JSON holds, whatever the tokens are."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import networkx
import pytest
from families import EVERY, IDS, loaded

from lens_core import ContributionGraph, contribution_graph

HOSTILE = ["\x00\x1b[2J", "<&\"'>", "\ud800\ufffe", "]]>", "=1+1", "東 京\n", "\x85\r"]


def graph(name: str, **options: Any) -> ContributionGraph:
    return contribution_graph(loaded(name), IDS, **options)


def hostile() -> ContributionGraph:
    """A graph whose tokens hold what a format could stumble over."""
    record = graph("llama", root="all", threshold=0.0).to_json()
    for token, text in zip(record["input"]["tokens"], HOSTILE, strict=True):
        token["text"] = text
    record["model"]["id"] = '<a href="x">\x1b'
    return ContributionGraph.from_json(record)


def read(text: str) -> networkx.MultiDiGraph:
    source = io.BytesIO(text.encode("utf-8"))
    return networkx.read_graphml(source, force_multigraph=True)


def edges_between(found: networkx.MultiDiGraph) -> list[dict[Any, dict[str, Any]]]:
    """The edges of every pair of nodes that are joined, by their keys."""
    return [found.get_edge_data(src, dst) for src, dst in set(found.edges())]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"metric": "projection"}])
def test_graphml_is_read_as_it_was_written(name: str, options: dict[str, Any]) -> None:
    found = graph(name, **options)
    again = read(found.to_graphml())
    nodes = {item["id"]: item for item in found.to_json()["nodes"]}
    assert set(again.nodes) == set(nodes)
    for node, data in again.nodes(data=True):
        assert data["influence"] == nodes[node]["influence"]
        assert (data["kind"], data["layer"], data["position"]) == (
            nodes[node]["kind"],
            nodes[node]["layer"],
            nodes[node]["pos"],
        )
        assert data["token_id"] == IDS[data["position"]]
    edges = sorted(
        (src, dst, data["kind"], data["weight"], data["influence"])
        for src, dst, data in again.edges(data=True)
    )
    assert edges == sorted(
        (edge["src"], edge["dst"], edge["kind"], edge["w"], edge["influence"])
        for edge in found.edge_list()
    )


def test_edges_of_two_kinds_stay_apart() -> None:
    found = networkx.read_graphml(
        io.BytesIO(graph("gpt2", threshold=0.0).to_graphml().encode("utf-8"))
    )
    assert isinstance(found, networkx.MultiDiGraph)
    both = [{data["kind"] for data in edges.values()} for edges in edges_between(found)]
    assert {"attention", "residual"} in both
    again = read(graph("llama", threshold=0.0).to_graphml())
    assert again.graph["root"] == "I2_6"
    assert json.loads(again.graph["threshold"])["tau"] == 0.0


def test_graphml_survives_any_token() -> None:
    found = hostile()
    again = read(found.to_graphml())
    labels = [again.nodes[f"X0_{at}"]["label"] for at in range(len(HOSTILE))]
    assert labels == [
        "X0_0 \\u0000\\u001b[2J",
        "X0_1 <&\"'>",
        "X0_2 \\ud800\\ufffe",
        "X0_3 ]]>",
        "X0_4 =1+1",
        "X0_5 東·京⏎",
        "X0_6 \\u0085\\u000d",
    ]
    assert again.graph["model"] == '<a href="x">\\u001b'


def test_the_table_holds_every_edge() -> None:
    found = graph("gpt2", threshold=0.0)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    for row, edge in zip(rows, found.edge_list(), strict=True):
        assert (row["src"], row["dst"], row["kind"]) == (edge["src"], edge["dst"], edge["kind"])
        assert (float(row["weight"]), float(row["influence"])) == (edge["w"], edge["influence"])
        heads = [pair.split(":") for pair in row["heads"].split()]
        assert [[int(h), float(w)] for h, w in heads] == edge.get("heads", [])
        assert json.loads(row["src_token"]) == str(int(IDS[int(row["src_position"])]))


def test_the_table_survives_any_token() -> None:
    rows = list(csv.DictReader(io.StringIO(hostile().to_csv(), newline="")))
    texts = {json.loads(row["src_token"]) for row in rows}
    assert texts == set(HOSTILE)
    assert all(row["src_token"].startswith('"') for row in rows)
