"""Graphs whose parts are whole sources: heads are added up before they are measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import IDS, held, loaded

from lens_core import ContributionGraph, InputError, contribution_graph, graph_run
from lens_core.amounts import Measure, amounts
from lens_core.models import LoadedModel
from lens_core.tree import sources
from lens_core.tree.rows import RowSource
from lens_core.tree.sources import source_amounts

EDGE = ("src", "dst", "kind")


@pytest.mark.parametrize("block_bytes", [1, 1 << 12, 4 << 20])
def test_they_are_the_amounts_of_the_summed_vectors(
    model: LoadedModel, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", block_bytes)
    dissection = held(model.facts.id).dissection(model)
    at = torch.tensor([1, 2, 5])
    for layer in range(model.n_layers):
        parts = dissection.heads(layer)
        if parts is None:
            continue
        together = parts.all_parts().sum(2)[at]
        for measure in (Measure(), Measure("l2"), Measure("norm"), Measure("l1", "compat")):
            wanted = amounts(parts.whole[at, None], together, measure)
            if not measure.sees_future:
                wanted = wanted * (torch.arange(len(IDS)) <= at[:, None])
            found = source_amounts(parts, at, measure)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-4)


def edges(graph: ContributionGraph) -> dict[tuple[str, ...], float]:
    return {tuple(edge[key] for key in EDGE): edge["w"] for edge in graph.edge_list()}


@pytest.mark.parametrize("metric", ["projection", "l1"])
def test_a_graph_of_sources(model: LoadedModel, metric: str) -> None:
    run = held(model.facts.id)
    options = {"run": run, "metric": metric, "threshold": 0.0}
    by_head = edges(contribution_graph(model, IDS, **options))
    graph = contribution_graph(model, IDS, granularity="source", **options)
    found = edges(graph)
    assert graph.to_json()["granularity"] == "source"
    assert not any("heads" in edge for edge in graph.edge_list())
    again = ContributionGraph.from_json(graph.to_json())
    assert again.edge_list() == graph.edge_list()
    total = graph.token_influence.sum() + graph.bias_influence + graph.mixer_influence
    assert total + graph.lost_influence == pytest.approx(1.0, abs=1e-5)
    if metric == "projection":
        # Linear, so it makes no difference when heads are added up.
        for key in found.keys() & by_head.keys():
            assert found[key] == pytest.approx(by_head[key], abs=1e-5)
    else:
        assert any(abs(found[key] - by_head[key]) > 1e-3 for key in found.keys() & by_head.keys())


def test_rows_of_both_kinds_are_kept_apart() -> None:
    model, run = loaded("llama"), graph_run(loaded("llama"), IDS)
    head = RowSource(model, run, Measure()).rows(1, "A", [5])[0]
    whole = RowSource(model, run, Measure(), "source").rows(1, "A", [5])[0]
    assert head.heads is not None
    assert whole.heads is not None
    assert (head.heads.shape, whole.heads.shape) == ((6, 4), (6, 1))
    again = RowSource(model, run, Measure()).rows(1, "A", [5])[0]
    assert np.array_equal(head.heads, again.heads if again.heads is not None else 0)
    with pytest.raises(InputError, match="granularity is 'token'"):
        contribution_graph(model, IDS, run=run, granularity="token")
