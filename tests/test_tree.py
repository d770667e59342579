"""What must hold of the graph of any model, on every family."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from families import IDS, N_LAYERS, OTHERS, build, held, loaded
from torch.utils._python_dispatch import TorchDispatchMode

from lens_core import (
    ContributionGraph,
    InputError,
    NotExactError,
    PromptError,
    applied,
    contribution_graph,
    graph_run,
    wrap_model,
)
from lens_core.amounts import Measure, amounts
from lens_core.contributions import normalised
from lens_core.edits import make_edit
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Codes, Node
from lens_core.tree.options import Weighing
from lens_core.tree.rows import RowSource
from lens_core.tree.weighing import weigh
from lens_core.weights import columns

MOVES: tuple[dict[str, Any], ...] = (
    {"threshold": 0.1},
    {"mode": "per_edge"},
    {"bias": "ignore"},
    {"renormalise": False},
    {"prune": (0.8, 0.98), "max_edges": 10},
    {"merge_self": True},
)
METRICS = ("l1", "l2", "projection", "norm", "logit")


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def graph(model: LoadedModel, **options: Any) -> ContributionGraph:
    return contribution_graph(model, IDS, run=held(model.facts.id), **options)


def total(found: ContributionGraph) -> float:
    tokens = float(found.token_influence.sum(dtype=np.float64))
    return tokens + found.bias_influence + found.mixer_influence + found.lost_influence


def edge_set(found: ContributionGraph) -> set[tuple[str, str, str]]:
    return {(edge["src"], edge["dst"], edge["kind"]) for edge in found.edge_list()}


def states(model: LoadedModel) -> list[Node]:
    """Every state that has parts."""
    mids = [layer for layer in range(N_LAYERS) if model.anatomy.layers[layer].has_mid]
    found = [Node("I", layer, at) for layer in range(N_LAYERS) for at in range(len(IDS))]
    return found + [Node("A", layer, at) for layer in mids for at in range(len(IDS))]


def every_row(model: LoadedModel, measure: Measure) -> Iterator[tuple[Node, Any]]:
    source = RowSource(model, held(model.facts.id), measure)
    for node in states(model):
        (row,) = source.rows(node.layer, node.letter, [node.position])
        yield node, row


def test_shares_lie_between_0_and_1_and_sum_to_1(model: LoadedModel) -> None:
    for metric in ("l1", "l2", "norm"):
        options = Weighing(Measure(metric), threshold=0.0)
        for node, row in every_row(model, options.measure):
            found = weigh(row, options, node.position)
            parts = [found.residual, found.bias, found.mlp, found.mixer]
            assert not found.degenerate
            heads = np.zeros(0) if found.heads is None else found.heads
            assert min([*parts, *heads.flat]) >= 0
            assert sum(parts) + heads.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
            assert len(found.edges) <= node.position + 1
            assert row.unattributed <= 1e-5


def test_the_projection_sums_to_1_with_its_signs(model: LoadedModel) -> None:
    options = Weighing(Measure("projection"), threshold=0.0, renormalise=False)
    for node, row in every_row(model, options.measure):
        found = weigh(row, options, node.position)
        rest = found.residual + found.bias + found.mlp + found.mixer
        assert rest + found.edges.sum(dtype=np.float64) == pytest.approx(1, abs=1e-4)


def test_the_logit_amounts_are_direct_effects(model: LoadedModel) -> None:
    measure = Measure("logit", target=11, foil=5)
    run, readout = held(model.facts.id), model.readout
    found = dict(every_row(model, measure))
    inverse = readout.inverse_scale(run.trace.stream[-1])
    for at in (0, len(IDS) - 1):
        node = Node("I", N_LAYERS - 1, at)
        row = found[node]
        parts = [row.residual, row.bias, row.mlp or 0, row.mixer or 0]
        heads = 0 if row.heads is None else row.heads.sum(dtype=np.float64)
        whole = run.trace.stream[-1, at][None]
        hidden = readout.part_input(whole, inverse[at][None])
        logits = readout.part_token_logits(hidden, torch.tensor([[11, 5]]))[0]
        wanted = float(logits[0] - logits[1])
        assert sum(parts) + heads == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_streamed_equals_materialised(model: LoadedModel, metric: str) -> None:
    measure = Measure(metric, target=3 if metric == "logit" else None)
    run = held(model.facts.id)
    source = RowSource(model, run, measure)
    for layer in range(N_LAYERS):
        heads = source.dissection.heads(layer)
        if heads is None:
            continue
        letter = "A" if source.has_mid(layer) else "I"
        rows = source.rows(layer, letter, range(len(IDS)))
        whole = heads.whole[:, None, None]
        toward = None if source.toward is None else source.toward[:, None, None]
        wanted = amounts(whole, heads.all_parts(), measure, toward=toward)
        size = float(wanted.abs().max())
        for at, row in enumerate(rows):
            near = wanted[at, : at + 1]
            assert row.heads is not None
            np.testing.assert_allclose(row.heads, near, rtol=1e-4, atol=1e-5 * size)


def test_influence_sums_to_1(model: LoadedModel) -> None:
    for metric in METRICS:
        for options in ({"threshold": 0.0}, {}, {"mode": "per_edge"}, {"threshold": 0.3}):
            found = graph(model, metric=metric, **options)
            assert total(found) == pytest.approx(1, abs=1e-5)
            if metric in ("l1", "l2", "norm") and options == {"threshold": 0.0}:
                assert abs(found.lost_influence) <= 1e-5


def test_influence_is_that_of_all_paths(model: LoadedModel) -> None:
    """Against the product of the matrices of every layer."""
    found = graph(model, threshold=0.0, bias="ignore")
    codes = Codes(len(IDS))
    places = {node: place for place, node in enumerate(found.nodes.ids)}
    order = sorted(places, key=lambda name: codes.of(*_fields(name))[0], reverse=True)
    held_by = dict.fromkeys(order, 0.0)
    held_by[f"I{N_LAYERS - 1}_{len(IDS) - 1}"] = 1.0
    into: dict[str, list[Any]] = {}
    for edge in found.edge_list():
        into.setdefault(edge["dst"], []).append(edge)
    for name in order:
        for edge in into.get(name, ()):
            weight = 1.0 if name.startswith("M") else edge["w"]
            held_by[edge["src"]] += held_by[name] * weight
            assert edge["influence"] == pytest.approx(held_by[name] * weight, abs=1e-5)
    for name, place in places.items():
        assert found.nodes.influence[place] == pytest.approx(held_by[name], abs=1e-5)


def _fields(name: str) -> tuple[str, int, int]:
    node = Node.of(name)
    return node.letter, node.layer, node.position


@pytest.mark.parametrize("mode", ["per_part", "per_edge"])
def test_lazy_equals_the_full_graph_and_reachability(model: LoadedModel, mode: str) -> None:
    roots = [node.id for node in states(model)]
    full = graph(model, root=roots, mode=mode).edge_list()
    for root in (f"I{N_LAYERS - 1}_{len(IDS) - 1}", "I1_3", "M1_4"):
        reached, wanted = {root}, set()
        grew = True
        while grew:
            grew = False
            for edge in full:
                key = (edge["src"], edge["dst"], edge["kind"])
                if edge["dst"] in reached and key not in wanted:
                    wanted.add(key)
                    reached.add(edge["src"])
                    grew = True
        found = graph(model, root=root, mode=mode)
        missing = {(src, dst) for src, dst, _ in wanted ^ edge_set(found)}
        # An MLP that is the root is shown even where its share is below the threshold.
        assert all(dst == root and dst.startswith("M") for _, dst in missing) or root[0] == "M"
        if root[0] != "M":
            assert edge_set(found) == wanted


def test_only_visited_rows_are_worked_out_and_none_twice(model: LoadedModel) -> None:
    run = graph_run(model, IDS)
    first = contribution_graph(model, IDS, run=run)
    assert run.rows.computed == first.n_rows <= len(states(model))
    ends = {end for src, dst, _ in edge_set(first) for end in (src, dst)}
    assert first.n_rows == sum(end[0] in "AI" for end in ends)
    wide = contribution_graph(model, IDS, run=run, threshold=0.0)
    assert run.rows.computed == wide.n_rows
    for options in MOVES:
        contribution_graph(model, IDS, run=run, **options)
    assert run.rows.computed == wide.n_rows
    contribution_graph(model, IDS, run=run, root=[node.id for node in states(model)])
    for options in (*MOVES, {"root": "I1_2", "threshold": 0.0}, {"root": "all"}):
        contribution_graph(model, IDS, run=run, **options)
    assert run.rows.computed == len(states(model))


def test_thresholds(model: LoadedModel) -> None:
    low, high = (graph(model, mode="per_edge", threshold=t) for t in (0.02, 0.08))
    assert edge_set(high) <= edge_set(low)
    assert min(high.edges.weight) > 0.08
    for node, row in every_row(model, Measure()):
        found = weigh(row, Weighing(Measure(), threshold=0.1), node.position)
        if found.empty or found.degenerate:
            continue
        rest = [found.residual, found.bias, found.mlp, found.mixer]
        heads = np.zeros(0) if found.heads is None else found.heads
        assert np.count_nonzero(heads) + np.count_nonzero(rest) <= 10
        assert sum(rest) + found.edges.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(found.edges, heads.sum(1) if heads.ndim > 1 else 0, atol=1e-6)


def test_every_node_reaches_the_root(model: LoadedModel) -> None:
    for options in ({}, {"prune": (0.8, 0.98)}, {"max_edges": 7}, {"root": "I1_4"}):
        found = graph(model, **options)
        reached = set(found.options["root"]["nodes"])
        for edge in found.edge_list():  # from top to bottom
            if edge["dst"] in reached:
                reached.add(edge["src"])
        assert reached == set(found.nodes.ids)


def test_pruning_changes_no_number(model: LoadedModel) -> None:
    whole, less = graph(model), graph(model, prune=(0.8, 0.98))
    few = graph(model, max_edges=5)
    assert len(few.edges) <= 5
    assert few.n_edges == less.n_edges == len(whole.edges)
    assert edge_set(less) < edge_set(whole)
    kept = {(edge["src"], edge["dst"], edge["kind"]): edge for edge in whole.edge_list()}
    for found in (less, few):
        np.testing.assert_array_equal(found.token_influence, whole.token_influence)
        for edge in found.edge_list():
            assert kept[edge["src"], edge["dst"], edge["kind"]] == edge


def test_a_token_does_not_depend_on_those_after_it(model: LoadedModel) -> None:
    short = contribution_graph(model, IDS[:4], threshold=0.0)
    long = graph(model, root=3, threshold=0.0)
    weights = {(edge["src"], edge["dst"], edge["kind"]): edge["w"] for edge in long.edge_list()}
    for edge in short.edge_list():
        found = weights.pop((edge["src"], edge["dst"], edge["kind"]), 0.0)
        assert found == pytest.approx(edge["w"], abs=1e-4)
    assert all(weight <= 1e-4 for weight in weights.values())


def test_json_round_trip(model: LoadedModel) -> None:
    for options in ({}, {"metric": "logit", "target": 3, "foil": 7}, {"root": [0, "M1_2"]}):
        found = graph(model, **options)
        text = json.dumps(found.to_json(), allow_nan=False)
        again = ContributionGraph.from_json(json.loads(text))
        assert again.to_json() == found.to_json()
        assert again.edges.weight.dtype == np.float32
        np.testing.assert_array_equal(again.edges.weight, found.edges.weight)


def test_the_same_graph_comes_twice(model: LoadedModel) -> None:
    one, other = (contribution_graph(model, IDS).to_json() for _ in range(2))
    for record in (one, other):
        del record["created"], record["timing"]
    assert one == other


def test_the_kinds_of_node_and_edge(model: LoadedModel) -> None:
    found = graph(model, threshold=0.0, root="all")
    kinds = {(src[0], dst[0], kind) for src, dst, kind in edge_set(found)}
    has_mid = {layer.has_mid for layer in model.anatomy.layers}
    opaque = model.self_check.layers_without_attention
    into = {True: "A", False: "I"}
    wanted = {("I", into[mid], kind) for mid in has_mid for kind in ("attention", "residual")}
    assert wanted <= kinds
    assert (("S", "A", "mixer") in kinds) == bool(opaque)
    if has_mid == {False}:
        assert not any("A" in (src, dst) for src, dst, _ in kinds)
        assert {("I", "M", "ffn"), ("M", "I", "ffn")} <= kinds
    assert found.n_rows == len(states(model))


def test_groups_of_heads_depend_on_their_own_values_only(model: LoadedModel) -> None:
    run = held(model.facts.id)
    source = RowSource(model, run, Measure())
    for layer in range(N_LAYERS):
        parts = source.dissection.heads(layer)
        if parts is None or len(parts.values) == 1:
            continue
        heads = len(parts.pattern)
        group = heads // len(parts.values)
        before = parts.all_parts()
        parts.values[0] += 1.0
        changed = (parts.all_parts() - before).abs().amax((0, 1, 3)) > 0
        parts.values[0] -= 1.0
        assert changed.tolist() == [head < group for head in range(heads)]


# What is not to be tried on every family.


def test_gated_heads_and_experts_are_among_the_families() -> None:
    run = held("qwen3_next")
    assert run.attention[0] is None
    assert any(layer is not None and layer.gate is not None for layer in run.attention)
    found = contribution_graph(loaded("qwen3_next"), IDS, run=run, threshold=0.0)
    assert found.mixer_influence > 0
    assert "mix tokens without a pattern" in " ".join(found.header["warnings"])


@pytest.mark.parametrize("name", ["mamba", "gemma3n"])
def test_models_that_cannot_be_taken_apart_are_refused(name: str) -> None:
    assert name in OTHERS
    with pytest.raises(NotExactError):
        contribution_graph(loaded(name), IDS)


def test_degenerate_and_empty_rows_are_flagged() -> None:
    shares = normalised(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))
    assert bool(shares.degenerate)
    found = graph(loaded("llama"), threshold=0.9)
    assert found.all_below_threshold
    assert not found.degenerate
    assert found.lost_influence == pytest.approx(1 - found.token_influence.sum(), abs=1e-5)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert "NaN" not in text


def test_a_state_of_zero_is_degenerate() -> None:
    model = wrap_model(build("llama"), None)
    with torch.no_grad():
        model.model.model.embed_tokens.weight[IDS[2]] = 0.0
        for name, parameter in model.model.named_parameters():
            if "bias" in name:
                parameter.zero_()
    found = contribution_graph(model, IDS, threshold=0.0, root="A0_2")
    assert found.degenerate == () or found.lost_influence == pytest.approx(1.0)
    zero = contribution_graph(model, IDS[2:3], threshold=0.0)
    assert zero.degenerate[0] == f"I{N_LAYERS - 1}_0"
    assert zero.lost_influence == pytest.approx(1.0)
    assert len(zero.edges) == 0
    json.dumps(zero.to_json(), allow_nan=False)


def test_one_token() -> None:
    found = contribution_graph(loaded("gpt2"), IDS[:1])
    assert total(found) == pytest.approx(1, abs=1e-5)
    assert found.nodes.ids[-1] == f"I{N_LAYERS - 1}_0"


def test_a_head_that_writes_nothing_has_no_edge() -> None:
    model = wrap_model(build("llama"), None)
    width = model.facts.d_head
    with torch.no_grad():
        model.model.model.layers[1].self_attn.o_proj.weight[:, 2 * width : 3 * width] = 0.0
    found = contribution_graph(model, IDS, threshold=0.0, root="all")
    for edge in found.edge_list():
        if edge["kind"] == "attention" and edge["dst"].startswith("A1"):
            assert 2 not in [head for head, _ in edge["heads"]]


def test_roots() -> None:
    model = loaded("llama")
    assert edge_set(graph(model, root=-1)) == edge_set(graph(model, root="I2_6"))
    inner = graph(model, root="A1_3")
    assert {node.layer for node in inner.nodes} <= {0, 1}
    assert total(inner) == pytest.approx(1, abs=1e-5)
    token = graph(model, root="X0_3")
    assert token.token_influence.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert token.nodes.ids == ("X0_3",)
    both = graph(model, root=[2, 5], threshold=0.0)
    halves = [graph(model, root=at, threshold=0.0).token_influence / 2 for at in (2, 5)]
    np.testing.assert_allclose(both.token_influence, sum(halves), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": 7}, "positions -7 to 6"),
        ({"root": "A9_0"}, "layers 0 to 2"),
        ({"root": "X1_0"}, "no node"),
        ({"root": "B0_0"}, "no parts"),
        ({"root": []}, "empty"),
        ({"threshold": 1.5}, "0 to 1"),
        ({"threshold": float("nan")}, "must be a number"),
        ({"mode": "edges"}, "per_part, per_edge"),
        ({"bias": "no"}, "part, ignore"),
        ({"metric": "l3"}, "l1, l2"),
        ({"numerics": "fast"}, "compat"),
        ({"metric": "norm", "numerics": "compat"}, "for l1 and l2"),
        ({"metric": "projection", "renormalise": True}, "have signs"),
        ({"target": 3}, 'belong to metric "logit"'),
        ({"metric": "logit", "root": "all"}, "several positions"),
        ({"max_edges": 0}, "1 or more"),
        ({"prune": (0.5, 2.0)}, "0 to 1"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph(loaded("llama"), **options)


def test_a_parallel_layer_has_no_state_after_attention() -> None:
    with pytest.raises(InputError, match="use I1_2"):
        graph(loaded("gpt_neox_par"), root="A1_2")


def test_a_run_of_something_else_is_refused() -> None:
    model, run = loaded("llama"), held("llama")
    with pytest.raises(InputError, match="another prompt"):
        contribution_graph(model, IDS[:3], run=run)
    with pytest.raises(InputError, match='of the model "gpt2"'):
        contribution_graph(model, IDS, run=held("gpt2"))
    where = torch.tensor([1])
    projection = model.anatomy.layers[0].mlp_proj
    assert projection is not None
    edit = make_edit(model, {0: (where, columns(projection, where) + 1)})
    with applied(model, edit):
        with pytest.raises(InputError, match="under the edits none"):
            contribution_graph(model, IDS, run=run)
        edited = contribution_graph(model, IDS)
    assert edited.header["edit"]["id"] == edit.id
    with pytest.raises(PromptError, match="the limit is 3"):
        graph_run(model, IDS, max_tokens=3)


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numel = max(self.numel, out.numel())
        return out


@pytest.mark.parametrize("name", ["llama", "gpt_neox_par", "qwen3_next"])
def test_no_tensor_holds_all_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lens_core.amounts.CPU_BLOCK_BYTES", 1 << 16)
    model, ids = loaded(name), IDS.repeat(9)
    run = graph_run(model, ids)
    with _Largest() as largest:
        contribution_graph(model, ids, run=run, root="all", threshold=0.0)
    facts, length = model.facts, len(ids)
    assert largest.numel <= facts.n_heads * length**2 + length * facts.d_model * facts.n_heads
    assert largest.numel < facts.n_heads * length**2 * facts.d_model / 16


def test_a_run_keeps_no_model_alive() -> None:
    import gc
    import weakref

    model = wrap_model(build("llama"), None)
    run = graph_run(model, IDS)
    contribution_graph(model, IDS, run=run)
    network = weakref.ref(model.model)
    del model
    gc.collect()
    assert network() is None
    assert run.nbytes > run.trace.nbytes


def test_weights_and_hooks_are_left_as_they_were() -> None:
    model = loaded("mixtral")
    before = {name: p.clone() for name, p in model.model.named_parameters()}
    kept = model.model.config._attn_implementation
    contribution_graph(model, IDS, threshold=0.0)
    assert model.model.config._attn_implementation == kept
    for name, parameter in model.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    assert not any(module._forward_hooks for module in model.model.modules())
