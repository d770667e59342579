"""The strongest share is the largest of those that a graph without a threshold lists."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from families import IDS, loaded

from lens_core import ContributionGraph, GraphRun, InputError, contribution_graph, graph_run
from lens_core.tree import strongest_share
from lens_core.tree.rows import Row, RowSource

FAMILIES = ("llama", "gpt2", "gpt_neox_par", "gemma2", "opt_postln", "mixtral", "qwen3_next")
ROOTS = (-1, 0, "I1_4", "I0_5")
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"bias": "ignore"},
    {"metric": "projection"},
    {"metric": "norm"},
    {"metric": "logit"},
    {"metric": "logit", "target": 7, "foil": 9},
    {"numerics": "compat"},
    {"granularity": "source"},
    {"merge_self": True},
)


@cache
def held(name: str) -> GraphRun:
    return graph_run(loaded(name), IDS)


def whole(name: str, root: int | str, **options: Any) -> ContributionGraph:
    """The graph of a root with every part above nothing."""
    return contribution_graph(
        loaded(name), IDS, run=held(name), root=root, threshold=0.0, renormalise=False, **options
    )


def shares(graph: ContributionGraph, mode: str) -> list[float]:
    """What leads into the root: with "per_part" every listed head for itself."""
    (root,) = graph.options["root"]["nodes"]
    found = []
    for edge in graph.edge_list():
        if edge["dst"] == root:
            # These families have four heads, so all of them are listed.
            heads = edge.get("heads") if mode == "per_part" else None
            found += [abs(weight) for _, weight in heads] if heads else [abs(edge["w"])]
    return found


@pytest.mark.parametrize("mode", ["per_part", "per_edge"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_the_largest_of_the_graph(name: str, options: dict[str, Any], mode: str) -> None:
    model, run = loaded(name), held(name)
    if options.get("metric") == "logit" and model.self_check.reason_off("attribution"):
        pytest.skip("parts are no logits in this model")
    for root in ROOTS:
        found = strongest_share(model, run, root, mode=mode, **options)
        # Merged after the threshold with "per_part": the graph's edge is no part of its own then.
        drawn = {**options, "merge_self": options.get("merge_self", False) and mode == "per_edge"}
        wanted = shares(whole(name, root, mode=mode, **drawn), mode)
        assert found == pytest.approx(max(wanted), rel=1e-6)


@pytest.mark.parametrize("mode", ["per_part", "per_edge"])
@pytest.mark.parametrize("root", ["I2_6", "A1_5"])
def test_it_tells_a_threshold_that_leaves_edges_from_one_that_does_not(
    root: str, mode: str
) -> None:
    model, run = loaded("llama"), held("llama")
    found = strongest_share(model, run, root, mode=mode)
    assert found is not None
    for threshold, some in ((found * 0.999, True), (min(found * 1.001, 1.0), False)):
        options = {"root": root, "mode": mode, "threshold": threshold}
        assert bool(len(contribution_graph(model, IDS, run=run, **options).edges)) == some


def test_only_the_row_of_the_root_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model, run = loaded("llama"), held("llama")
    read: list[tuple[int, str, list[int]]] = []
    rows = RowSource.rows

    def noted(self: RowSource, layer: int, letter: str, positions: list[int]) -> list[Row]:
        read.append((layer, letter, positions))
        return rows(self, layer, letter, positions)

    monkeypatch.setattr(RowSource, "rows", noted)
    strongest_share(model, run, "A1_5")
    assert read == [(1, "A", [5])]


def test_roots_without_parts() -> None:
    model, run = loaded("llama"), held("llama")
    assert strongest_share(model, run, "X0_3") is None
    assert strongest_share(model, run, "M1_3") == 1.0
    assert shares(whole("llama", "M1_3"), "per_edge") == [1.0]


def test_wrong_arguments_are_named() -> None:
    model, run = loaded("llama"), held("llama")
    wrong: tuple[tuple[Any, dict[str, Any], str], ...] = (
        ("all", {}, "7 nodes"),
        (9, {}, "root is 9"),
        (-1, {"mode": "each"}, "mode"),
        (-1, {"target": 3}, "belong to metric"),
    )
    for root, options, said in wrong:
        with pytest.raises(InputError, match=said):
            strongest_share(model, run, root, **options)
    with pytest.raises(InputError, match="of the model"):
        strongest_share(loaded("qwen2"), run, -1)
