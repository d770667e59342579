"""What a click on the graph shows: the details add up to what the graph says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from families import IDS, N_LAYERS, build, held, loaded
from test_golden_models import NAMES, case

from lens_core import (
    InputError,
    contribution_graph,
    edge_details,
    ffn_details,
    graph_run,
    head_details,
    head_maps,
    node_details,
    wrap_model,
)
from lens_core.amounts import Measure, neuron_amounts
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Node
from lens_core.tree.pushed import Pushed

LAST = len(IDS) - 1


def dumped(record: object) -> str:
    return json.dumps(record, allow_nan=False)


def test_heads_add_up_to_their_edge(model: LoadedModel) -> None:
    run = held(model.facts.id)
    graph = contribution_graph(model, IDS, run=run, threshold=0.0)
    for edge in graph.edge_list():
        if edge["src"][0] in "BS" or edge["dst"][0] not in "AIM":
            continue
        ends = (edge["src"], edge["dst"])
        found = edge_details(model, run, ends, kind=edge["kind"])
        assert found.weight == pytest.approx(edge["w"], abs=1e-6)
        if edge["kind"] == "attention":
            assert found.contribution.sum() == pytest.approx(found.weight, abs=1e-6)
            np.testing.assert_allclose(
                found.kv_contribution.sum(), found.contribution.sum(), rtol=1e-5
            )
            assert len(found.kv_contribution) == model.facts.n_kv_heads
            for head, weight in edge["heads"]:
                assert found.contribution[head] == pytest.approx(weight, abs=1e-6)
            dumped(found.to_json())


@pytest.mark.parametrize("metric", ["projection", "logit", "norm"])
def test_edges_have_details_in_every_metric(metric: str) -> None:
    model, run = loaded("gpt2"), held("gpt2")
    target = 3 if metric == "logit" else None
    options = {"metric": metric, "target": target, "bias": "ignore", "threshold": 0.0}
    graph = contribution_graph(model, IDS, run=run, **options)
    measure = Measure(metric, target=target)
    for edge in graph.edge_list()[:40]:
        ends = (edge["src"], edge["dst"])
        found = edge_details(model, run, ends, kind=edge["kind"], measure=measure, bias="ignore")
        assert found.weight == pytest.approx(edge["w"], abs=1e-6)


def test_bias_and_mixer_edges_have_details(model: LoadedModel) -> None:
    run = held(model.facts.id)
    graph = contribution_graph(model, IDS, run=run, threshold=0.0)
    edges = [edge for edge in graph.edge_list() if edge["kind"] in ("bias", "mixer")]
    for edge in edges[:6]:
        found = edge_details(model, run, (edge["src"], edge["dst"]))
        assert found.kind == edge["kind"]
        assert found.weight == pytest.approx(edge["w"], abs=1e-6)
        assert len(found.contribution) == 0


def test_what_all_heads_move_is_the_length_of_their_sum(model: LoadedModel) -> None:
    run = held(model.facts.id)
    for layer, attention in enumerate(run.attention):
        parts = run.dissection(model).heads(layer)
        into = f"{'A' if model.anatomy.layers[layer].has_mid else 'I'}{layer}_5"
        below = f"I{layer - 1}" if layer else "X0"
        carried = edge_details(model, run, (f"{below}_5", into), kind="residual")
        assert carried.moved == 0.0
        if attention is None:
            assert edge_details(model, run, (f"S{layer}_5", into)).moved == 0.0
            continue
        assert parts is not None
        vectors = parts.all_parts()[5]
        for source in (0, 4, 5):
            found = edge_details(model, run, (f"{below}_{source}", into), kind="attention")
            wanted = float(vectors[source].sum(0).norm())
            assert found.moved == pytest.approx(wanted, rel=1e-4, abs=1e-6)
            assert found.moved <= found.length.sum() * (1 + 1e-5)
            assert found.to_json()["moved"] == found.moved


def test_the_maps_of_a_head_hold_its_edges(model: LoadedModel) -> None:
    run = held(model.facts.id)
    layer = max(i for i, attention in enumerate(run.attention) if attention is not None)
    maps = head_maps(model, run, layer, 1)
    assert not np.triu(maps.contribution, 1).any()
    assert not np.triu(maps.pattern, 1).any()
    letter = "A" if model.anatomy.layers[layer].has_mid else "I"
    for source in (0, 3, 5):
        ends = (f"I{layer - 1}_{source}", f"{letter}{layer}_5")
        edge = edge_details(model, run, ends, kind="attention")
        assert maps.contribution[5, source] == pytest.approx(edge.contribution[1], abs=1e-6)
        assert maps.pattern[5, source] == edge.pattern[1]
    dumped(maps.to_json())


def test_the_last_state_predicts_what_the_model_predicts(model: LoadedModel) -> None:
    run = held(model.facts.id)
    found = node_details(model, run, f"I{N_LAYERS - 1}_{LAST}", k=7)
    assert found.top is not None
    assert found.top.ids[0] == run.prediction.ids[LAST]
    assert found.top.p[0] == pytest.approx(float(run.prediction.p[LAST]), abs=1e-6)
    assert (np.diff(found.top.logit) <= 0).all()
    before = node_details(model, run, str(found.predecessor), k=50)
    assert before.top is not None
    places = {int(token): place for place, token in enumerate(before.top.ids)}
    assert found.top.rank_before is not None
    assert found.top.p_before is not None
    for place, token in enumerate(found.top.ids.tolist()):
        rank = int(found.top.rank_before[place])
        if token in places:
            assert before.top.logit[places[token]] == before.top.logit[rank]
            assert found.top.p_before[place] == pytest.approx(before.top.p[places[token]], abs=1e-6)
        assert found.top.rank_change is not None
        assert found.top.rank_change[place] == rank - place
    dumped(found.to_json())


def test_every_kind_of_node_has_details(model: LoadedModel) -> None:
    run = held(model.facts.id)
    graph = contribution_graph(model, IDS, run=run, threshold=0.0)
    for letter in "XBSAMI":
        names = [name for name in graph.nodes.ids if name.startswith(letter)]
        for name in names[-2:]:
            found = node_details(model, run, name, k=3)
            assert (found.top is None) == (letter in "BSM")
            assert found.pushed is not None
            assert len(found.pushed.raised_ids) == 3
            assert found.pushed.ids <= {int(token) for token in found.vocab}
            dumped(found.to_json())


def test_promoted_tokens_are_those_of_all_logits(model: LoadedModel) -> None:
    run, readout = held(model.facts.id), model.readout
    found = node_details(model, run, f"M1_{LAST}", k=4).pushed
    inverse = readout.inverse_scale(run.trace.stream[-1, LAST][None])
    hidden = readout.part_input(run.trace.mlp_out[1, LAST][None], inverse)
    logits = readout.block_part_logits(hidden, slice(0, readout.d_vocab))[0].detach()
    assert found is not None
    np.testing.assert_allclose(found.raised, logits.topk(4).values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.lowered, -(-logits).topk(4).values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits[found.raised_ids], found.raised, rtol=1e-4, atol=1e-5)


def test_without_the_norm_states_are_read_raw() -> None:
    model, run = loaded("llama"), held("llama")
    found = node_details(model, run, "I2_6", k=3, normalise=False)
    raw = model.readout.logits(run.trace.stream[-1, 6][None], norm=False)[0]
    assert found.top is not None
    np.testing.assert_allclose(found.top.logit, raw.topk(3).values.detach(), rtol=1e-5)


def test_neurons_of_an_mlp(model: LoadedModel) -> None:
    run = held(model.facts.id)
    for layer in range(N_LAYERS):
        found = ffn_details(model, run, f"M{layer}_4", n=6, k=3)
        rest = found.residual + found.bias + (found.attention or 0.0)
        assert found.all_neurons + rest == pytest.approx(1, abs=1e-5)
        assert (np.diff(found.contribution) <= 1e-9).all()
        assert found.contribution[0] > 0
        whole = run.dissection(model).neurons(layer)
        assert whole is not None
        near = neuron_amounts(whole, 4, run.trace.resid_post[layer, 4], Measure())
        best = near.topk(6).values
        np.testing.assert_allclose(
            found.contribution / found.contribution[0], best / best[0], rtol=1e-4, atol=1e-6
        )
        assert found.n_neurons == len(near)
        if found.experts is not None:
            assert found.expert is not None
            assert set(found.expert.tolist()) <= set(found.experts.tolist())
            assert found.expert_contribution is not None
            assert found.expert_contribution.sum() == pytest.approx(found.all_neurons, abs=1e-5)
        dumped(found.to_json())


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_an_expert_that_is_named_is_the_one_that_ran(name: str) -> None:
    """Its neuron writes the vector that its own matrix holds."""
    model, run = loaded(name), held(name)
    found = ffn_details(model, run, "M1_4", n=4, k=1)
    experts = model.anatomy.layers[1].experts
    assert experts is not None
    assert found.expert is not None
    matrix = dict(experts.routed.named_parameters())["down_proj"].detach()
    for place in range(4):
        one = matrix[found.expert[place]]
        width = run.facts.d_model
        row = one[found.neuron[place]] if one.shape[1] == width else one[:, found.neuron[place]]
        length = float(row.norm()) * abs(float(found.activation[place]))
        assert found.length[place] == pytest.approx(length, rel=1e-4)


def test_a_head_writes_what_its_weights_say(model: LoadedModel) -> None:
    run, readout = held(model.facts.id), model.readout
    layer = max(i for i, attention in enumerate(run.attention) if attention is not None)
    letter = "A" if model.anatomy.layers[layer].has_mid else "I"
    ends = (f"I{layer - 1}_2", f"{letter}{layer}_{LAST}")
    found = head_details(model, run, ends, 1, k=4)
    parts = run.dissection(model).heads(layer)
    assert parts is not None
    vectors = parts.all_parts()[LAST, :, 1]
    inverse = readout.inverse_scale(run.trace.stream[-1, LAST][None])
    for one, pushed in ((vectors[2], found.on_edge), (vectors.sum(0), found.in_all)):
        hidden = readout.part_input(one[None], inverse)
        logits = readout.block_part_logits(hidden, slice(0, readout.d_vocab))[0].detach()
        assert isinstance(pushed, Pushed)
        np.testing.assert_allclose(pushed.raised, logits.topk(4).values, rtol=1e-3, atol=1e-5)
    edge = edge_details(model, run, ends, kind="attention")
    assert edge.length[1] == pytest.approx(float(vectors[2].norm()), rel=1e-3, abs=1e-6)
    dumped(found.to_json())


@pytest.mark.parametrize("name", NAMES)
def test_neurons_match_the_reference(name: str) -> None:
    golden = case(name)
    run = graph_run(golden.loaded, golden.ids)
    last = len(golden.ids) - 1
    for layer in golden.layers:
        found = ffn_details(golden.loaded, run, f"M{layer}_{last}", n=10)
        whole = golden.parts.trace.resid_post[layer, last]
        parts = golden.parts.neurons(layer)
        assert parts is not None
        near = neuron_amounts(parts, last, whole, Measure("l1", "compat"))
        wanted = golden.tensor(f"L{layer}/lmtt_neurons_last_pos")
        share = near / near.sum() * wanted.sum()
        torch.testing.assert_close(share, wanted, rtol=0, atol=5e-5)
        best = wanted.topk(10).indices.tolist()
        if found.expert is None:
            assert found.neuron.tolist()[:3] == best[:3]


def test_the_shared_expert_is_told_apart() -> None:
    model, run = loaded("qwen2_moe"), held("qwen2_moe")
    found = ffn_details(model, run, "M0_4", n=200)
    assert found.experts is not None
    assert found.expert is not None
    assert found.experts.tolist()[-1] == -1
    shared = found.neuron[found.expert == -1]
    assert sorted(shared.tolist()) == list(range(20))
    assert max(found.neuron[found.expert != -1]) == 11


@pytest.mark.parametrize(
    ("edge", "kind", "message"),
    [
        (("I0_3", "A2_5"), None, "no edge"),
        (("I1_5", "A2_3"), None, "no edge"),
        (("I1_5", "A2_3"), "attention", "no attention edge"),
        (("I1_3", "A2_5"), "residual", "only attention"),
        (("I1_3", "A2_5"), "wire", "residual, attention"),
        (("I1_9", "A2_5"), None, "positions 0 to 6"),
        (("A1_2", "M1_3"), None, "no edge"),
        (("foo", "A2_5"), None, "no node"),
    ],
)
def test_wrong_edges_are_named(edge: tuple[str, str], kind: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        edge_details(loaded("llama"), held("llama"), edge, kind=kind)


def test_wrong_nodes_and_heads_are_named() -> None:
    model, run = loaded("llama"), held("llama")
    with pytest.raises(InputError, match="is no MLP"):
        ffn_details(model, run, "A1_2")
    with pytest.raises(InputError, match="head is 4"):
        head_details(model, run, ("I0_2", "A1_3"), 4)
    with pytest.raises(InputError, match="no attention pattern"):
        head_maps(loaded("qwen3_next"), held("qwen3_next"), 0, 0)
    with pytest.raises(InputError, match="k is 0"):
        node_details(model, run, "I1_2", k=0)
    with pytest.raises(InputError, match="has no opaque mixer"):
        node_details(model, run, "S1_2")
    other = wrap_model(build("gpt2"), None)
    with pytest.raises(InputError, match="Make a new one with graph_run"):
        node_details(other, run, "I1_2")


def test_names_of_nodes() -> None:
    assert Node.of("I12_3") == Node("I", 12, 3)
    for name in ("I3", "Z1_2", "I-1_2", "X2_0", "I1_2 ", ""):
        with pytest.raises(InputError):
            Node.of(name)
