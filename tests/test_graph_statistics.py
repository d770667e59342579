"""Statistics of many trees: every count against the graphs themselves, intervals against scipy."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from families import EVERY, IDS, N_LAYERS, loaded
from scipy import stats

from lens_core import (
    ContributionGraph,
    GraphStatistics,
    InputError,
    NotExactError,
    applied,
    contribution_graph,
    graph_statistics,
    graph_statistics_steps,
    load_model,
)
from lens_core.edits import make_edit
from lens_core.progress import Stopped, reported
from lens_core.tree.activity import PromptActivity
from lens_core.tree.statistics import StatisticsStep
from lens_core.weights import columns

NOTHING = torch.tensor([], dtype=torch.long)
PROMPTS = [IDS, IDS.flip(0), IDS[:1], IDS[2:6]]


def activities(name: str, prompts: list[Any], **options: Any) -> list[PromptActivity]:
    steps = graph_statistics_steps(loaded(name), prompts, **options)
    return [step.activity for step in steps if isinstance(step, StatisticsStep)]


def from_graph(graph: ContributionGraph, n_heads: int, least: float) -> dict[str, np.ndarray]:
    """States, weights and influence of heads and MLPs, read off the edges of a graph."""
    held = dict(zip(graph.nodes.ids, graph.nodes.influence.tolist(), strict=True))
    by_state: dict[tuple[int, int, str], list[float]] = {}
    sums = {name: np.zeros((N_LAYERS, n_heads)) for name in ("states", "weight", "influence")}
    sums |= {f"mlp_{name}": np.zeros(N_LAYERS) for name in ("states", "weight", "influence")}
    for edge in graph.edge_list():
        layer = int(edge["dst"][1:].split("_")[0])
        if edge["kind"] == "ffn" and edge["src"].startswith("M"):
            sums["mlp_states"][layer] += 1
            sums["mlp_weight"][layer] += edge["w"]
            sums["mlp_influence"][layer] += edge["influence"]
        for head, weight in edge.get("heads", ()):
            by_state.setdefault((layer, head, edge["dst"]), []).append(weight)
    for (layer, head, dst), weights in by_state.items():
        if max(map(abs, weights)) > least:
            sums["states"][layer, head] += 1
            sums["weight"][layer, head] += sum(weights)
            sums["influence"][layer, head] += held[dst] * sum(weights)
    for kind in ("", "mlp_"):
        sums[f"{kind}weight"] /= np.maximum(sums[f"{kind}states"], 1)
    return sums


@pytest.mark.parametrize("name", EVERY)
def test_what_is_active_is_what_the_graph_shows(name: str) -> None:
    options: dict[str, Any]
    for options in ({}, {"mode": "per_edge"}, {"metric": "projection"}, {"root": "I1_3"}):
        least = 0.04 if options.get("mode") == "per_edge" else 0.0
        (found,) = activities(name, [IDS], **options)
        graph = contribution_graph(loaded(name), IDS, **options)
        wanted = from_graph(graph, loaded(name).facts.n_heads, least)
        for kind, active in (("", found.heads), ("mlp_", found.mlps)):
            for field in ("states", "weight", "influence"):
                values = getattr(active, field)
                np.testing.assert_allclose(values, wanted[kind + field], rtol=1e-5, atol=1e-6)
        assert found.rest["bias"] == pytest.approx(graph.bias_influence)
        assert found.rest["first_token"] == pytest.approx(float(graph.token_influence[0]))


def test_all_heads_are_counted_not_only_those_listed_with_an_edge() -> None:
    model = load_model("demo")
    ids = model.tokenize("The capital of France is")
    for found in graph_statistics_steps(model, [ids], threshold=0.0):
        if isinstance(found, StatisticsStep):
            graph = contribution_graph(model, ids, threshold=0.0)
            attention = graph.edges.influence[graph.edges.kind == 1].sum(dtype=np.float64)
            assert found.activity.heads.influence.sum() == pytest.approx(attention, rel=1e-5)


def test_means_and_intervals_are_those_of_the_prompts() -> None:
    prompts = [IDS, IDS.flip(0), IDS[2:], IDS[1:5], IDS[3:], IDS[:4]]
    found = graph_statistics(loaded("llama"), prompts, threshold=0.1)
    rows = activities("llama", prompts, threshold=0.1)
    assert (found.n_prompts, found.n_tokens) == (6, sum(map(len, prompts)))
    counts = found.heads.active
    assert counts.min() < 6
    assert len(np.unique(counts)) > 2
    for place in np.ndindex(counts.shape):
        values = np.array([row.heads.weight[place] for row in rows])
        on = np.array([row.heads.states[place] > 0 for row in rows])
        assert counts[place] == on.sum()
        ends = stats.binomtest(int(on.sum()), 6).proportion_ci(method="wilson")
        frequency = found.heads.frequency
        assert frequency.mean[place] == on.mean()
        assert (frequency.low[place], frequency.high[place]) == pytest.approx(
            (ends.low, ends.high), abs=1e-9
        )
        check_mean(found.heads.weight, place, values)
        check_mean(found.heads.weight_active, place, values[on])


def check_mean(estimate: Any, place: tuple[int, ...], values: np.ndarray) -> None:
    mean, low, high = (getattr(estimate, name)[place] for name in ("mean", "low", "high"))
    if not len(values):
        assert np.isnan(mean)
        return
    assert mean == pytest.approx(values.mean())
    if len(values) == 1:
        assert np.isnan(low)
        return
    error = float(stats.sem(values))
    wanted = stats.t.interval(0.95, len(values) - 1, values.mean(), error) if error else (mean,) * 2
    assert low == pytest.approx(max(wanted[0], 0), abs=1e-7)
    assert high == pytest.approx(min(wanted[1], 1), abs=1e-7)


def test_prompts_that_cannot_be_read_are_left_out_with_the_reason() -> None:
    prompts = [IDS, NOTHING, IDS[:2], torch.tensor([5, 999])]
    found = graph_statistics(loaded("llama"), prompts, root=3)
    assert found.n_prompts == 1
    assert [index for index, _ in found.skipped] == [1, 2, 3]
    reasons = " ".join(reason for _, reason in found.skipped)
    for said in ("0 tokens", "positions -2 to 1", "999 is outside"):
        assert said in reasons
    with pytest.raises(InputError, match=r"None of 2 prompts can be read\. The first: .*0 tokens"):
        graph_statistics(loaded("llama"), [NOTHING, NOTHING])
    long = graph_statistics(loaded("llama"), PROMPTS, max_tokens=4)
    assert long.n_prompts == 2


def test_prompts_that_are_known_are_not_read_again() -> None:
    whole = graph_statistics(loaded("gpt2"), PROMPTS)
    rows = [json.loads(json.dumps(row.to_json())) for row in activities("gpt2", PROMPTS)]
    known = [PromptActivity.from_json(row, n_layers=N_LAYERS, n_heads=4) for row in rows]
    *steps, result = graph_statistics_steps(loaded("gpt2"), PROMPTS, known=known[1:3])
    assert [step.activity.index for step in steps if isinstance(step, StatisticsStep)] == [0, 3]
    assert isinstance(result, GraphStatistics)
    for one, other in ((result.heads, whole.heads), (result.mlps, whole.mlps)):
        np.testing.assert_array_equal(one.active, other.active)
        np.testing.assert_allclose(one.influence.high, other.influence.high, rtol=1e-6)
    np.testing.assert_allclose(result.rest.mean, whole.rest.mean, rtol=1e-6)
    assert known[0].to_json() == rows[0]


def test_opaque_layers_have_no_heads() -> None:
    found = graph_statistics(loaded("qwen3_next"), PROMPTS)
    assert np.isnan(found.heads.frequency.mean[0]).all()
    assert not np.isnan(found.heads.frequency.mean[1:]).any()
    assert {one["layer"] for one in found.component_list() if one["head"] is not None} == {1, 2}


def test_json_and_csv_hold_the_same() -> None:
    for options in ({}, {"metric": "logit"}, {"root": [0, "I1_0"]}):
        found = graph_statistics(loaded("llama"), PROMPTS, **options)
        record = json.loads(json.dumps(found.to_json(), allow_nan=False))
        again = GraphStatistics.from_json(record)
        assert again.to_json() == record
        assert again.to_csv() == found.to_csv()
        rows = list(csv.DictReader(io.StringIO(found.to_csv())))
        for row, one in zip(rows, found.component_list(), strict=True):
            assert (row["component"], int(row["layer"])) == (one["component"], one["layer"])
            assert float(row["influence"]) == one["influence"]
    with pytest.raises(InputError, match="graph_statistics/1"):
        GraphStatistics.from_json({"schema": "lens_core/logit_lens/1"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2}, "0 to 1"),
        ({"threshold": float("nan")}, "must be a number"),
        ({"mode": "edges"}, "per_part"),
        ({"metric": "l3"}, "l1, l2"),
        ({"bias": "no"}, "part, ignore"),
        ({"root": "A9_0"}, "layers 0 to 2"),
        ({"root": []}, "empty"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        next(graph_statistics_steps(loaded("llama"), PROMPTS, **options))


def test_what_is_no_list_of_prompts_is_refused() -> None:
    for prompts in ([], "a text"):  # a text is a sequence of texts, too
        with pytest.raises(InputError, match="list of at least one"):
            graph_statistics(loaded("llama"), prompts)
    with pytest.raises(NotExactError):
        graph_statistics(loaded("mamba"), PROMPTS)


def test_progress_counts_prompts_and_a_stop_comes_soon() -> None:
    heard: list[tuple[str, int, int]] = []
    with reported(lambda *tick: heard.append(tick)):
        graph_statistics(loaded("llama"), PROMPTS)
    assert {what for what, *_ in heard} == {"prompt"}
    assert {total for *_, total in heard} == {4}
    done = [done for _, done, _ in heard]
    assert done == sorted(done)
    assert done[-1] == 4
    assert done.count(0) > 1, "within the first prompt, too"

    def stop(*_: Any) -> None:
        raise Stopped

    with pytest.raises(Stopped), reported(stop):
        graph_statistics(loaded("llama"), PROMPTS)


def test_edits_hold_for_all_prompts_or_none() -> None:
    model = loaded("llama")
    module = model.anatomy.layers[1].mlp_proj
    assert module is not None
    chosen = torch.tensor([3, 8])
    edit = make_edit(model, {1: (chosen, columns(module, chosen) + 1)})
    with applied(model, edit):
        found = graph_statistics(model, PROMPTS)
        steps = graph_statistics_steps(model, PROMPTS)
        next(steps)
    assert found.header["edit"]["id"] == edit.id
    with pytest.raises(InputError, match="edits have changed"):
        next(steps)
