"""Attention: rows are the model's own, nothing is changed by looking, and views keep their sums."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from families import D_VOCAB, IDS, N_LAYERS, build, loaded
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lens_core import (
    AttentionMatrix,
    AttentionRows,
    AttentionViews,
    attention_matrix,
    attention_rows,
    attention_views,
    load_model,
    wrap_model,
)
from lens_core.attention import rollout as rolling
from lens_core.attention.flow import attention_flow
from lens_core.attention.options import block_rows
from lens_core.attention.probe import Look, probe
from lens_core.attention.rollout import rollout, uniform, with_stream
from lens_core.attention.sinks import columns, find_sinks
from lens_core.dissection import dissect
from lens_core.edits import applied, make_edit
from lens_core.errors import InputError, LensError, NotExactError, PromptError
from lens_core.models import LoadedModel
from lens_core.progress import Stopped, reported
from lens_core.trace import forward
from lens_core.weights import columns as weight_columns

LENGTH = len(IDS)


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def hooks(model: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())


def implementations(model: LoadedModel) -> list[str]:
    configs = {id(m.config): m.config for m in model.model.modules() if hasattr(m, "config")}
    return [getattr(config, "_attn_implementation", "") for config in configs.values()]


def test_rows_are_the_models_own_and_its_logits_stay(model: LoadedModel) -> None:
    before = implementations(model), hooks(model)
    plain = forward(model.model, IDS)
    found = attention_rows(model, IDS, query=list(range(LENGTH)))
    assert found.logits is not None
    np.testing.assert_array_equal(found.logits, plain.numpy())
    assert (implementations(model), hooks(model)) == before
    wanted = dissect(model.model, model.anatomy, IDS).attention.layers
    assert found.layers == tuple(i for i, one in enumerate(wanted) if one is not None)
    assert found.layers_without_attention == model.self_check.layers_without_attention
    for row, layer in enumerate(found.layers):
        attention = wanted[layer]
        assert attention is not None
        np.testing.assert_allclose(
            found.rows[row].transpose(1, 0, 2), attention.pattern.numpy(), rtol=0, atol=3e-6
        )
    check_rows(found)
    last = attention_rows(model, IDS)
    np.testing.assert_allclose(last.rows[:, 0], found.rows[:, -1], rtol=0, atol=3e-6)
    np.testing.assert_array_equal(last.logits, forward(model.model, IDS, logits="last").numpy())


def check_rows(found: AttentionRows) -> None:
    """Not negative, nothing for later positions, and whole."""
    rows = found.rows
    assert rows.min() >= 0
    for place, query in enumerate(found.queries):
        assert not rows[:, place, :, query + 1 :].any()
    sinks = 0 if found.sink_mass is None else found.sink_mass
    np.testing.assert_allclose(rows.sum(-1) + sinks, 1, atol=1e-5)
    assert (found.effective_tokens >= 1 - 1e-5).all()
    assert (found.effective_tokens <= np.array(found.queries)[:, None] + 1 + 1e-4).all()


def test_views_agree_with_the_whole_pattern(model: LoadedModel) -> None:
    run = dissect(model.model, model.anatomy, IDS)
    followed = not model.self_check.layers_without_attention
    found = attention_views(model, IDS, flow=followed)
    assert hooks(model) == 0
    layers = found.rows.layers
    patterns = [run.attention.layers[layer] for layer in layers]
    whole = torch.stack([one.pattern for one in patterns if one is not None])
    np.testing.assert_allclose(found.head_mean, whole[:, :, -1].mean(1), atol=3e-6)
    np.testing.assert_allclose(found.head_max, whole[:, :, -1].amax(1), atol=3e-6)
    assert found.norms is not None
    for row, layer in enumerate(layers):
        parts = run.heads(layer)
        assert parts is not None
        moved = [parts.part(h, slice(LENGTH - 1, LENGTH), LENGTH)[0] for h in range(len(whole[0]))]
        lengths = torch.stack(moved).norm(2, -1)
        torch.testing.assert_close(
            torch.from_numpy(found.norms[row]), lengths, rtol=1e-4, atol=1e-5 * lengths.max().item()
        )
    assert (found.rollout is not None) == followed == ("rollout" not in found.left_out)
    if found.rollout is None or found.flow is None:
        return
    for name, fused in (("mean", whole.mean(1)), ("min", whole.amin(1)), ("max", whole.amax(1))):
        np.testing.assert_allclose(found.rollout.shares[name], rollout(fused)[-1], atol=1e-5)
        np.testing.assert_allclose(found.rollout.shares[name].sum(), 1, atol=1e-5)
    flow = attention_flow(with_stream(whole.mean(1)).numpy(), LENGTH - 1)
    np.testing.assert_allclose(found.flow, flow, atol=1e-5)
    assert (found.flow >= found.rollout.shares["mean"] - 1e-5).all()


def test_uniform_attention_has_ratio_one_everywhere() -> None:
    """Also behind a window: the baseline spreads over what a position may look at."""
    for name in ("llama", "mistral", "gpt_neox_par"):
        network = build(name)
        with torch.no_grad():
            for part, weight in network.named_parameters():
                if "q_proj" in part or "query_key_value" in part:
                    weight.zero_()
        found = attention_views(wrap_model(network, None, weights_sha256="0" * 64), IDS)
        assert found.rollout is not None
        reached = found.rollout.baseline > 0
        assert reached[-1]
        np.testing.assert_allclose(found.rollout.ratio["mean"][reached], 1, atol=1e-5)
        assert found.rollout.shares["mean"][0] > 1 / LENGTH or name == "mistral"


def test_rollout_of_known_attention() -> None:
    identity = torch.eye(5).repeat(3, 1, 1)
    torch.testing.assert_close(rollout(identity), torch.eye(5))
    even = uniform(torch.ones(5, 5).tril().bool())
    torch.testing.assert_close(with_stream(even)[1], torch.tensor([0.25, 0.75, 0, 0, 0]))
    pattern = torch.rand(4, 5, 5).tril().softmax(-1).tril()
    found = rollout(pattern)
    torch.testing.assert_close(found.sum(-1), torch.ones(5))
    assert not found.triu(1).any()


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("llama")
    assert block_rows(4, LENGTH) == LENGTH
    whole = attention_views(model, IDS)
    matrix = attention_matrix(model, IDS, 1, 2).matrix
    for module in ("rollout", "sinks", "matrix"):
        monkeypatch.setattr(f"lens_core.attention.{module}.block_rows", lambda *_: 2)
    found = attention_views(model, IDS)
    assert whole.rollout is not None
    assert found.rollout is not None
    for name in rolling.FUSIONS:
        np.testing.assert_allclose(
            found.rollout.shares[name], whole.rollout.shares[name], atol=1e-6
        )
    np.testing.assert_allclose(found.sinks.looked_at, whole.sinks.looked_at, atol=1e-6)
    np.testing.assert_allclose(attention_matrix(model, IDS, 1, 2).matrix, matrix, atol=1e-6)


def test_flow_is_the_maximum_flow() -> None:
    pattern = with_stream(torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)).tril())
    found = attention_flow(pattern.numpy(), 4)
    network = networkx.DiGraph()
    for layer, into, source in np.argwhere(pattern.numpy() > 0):
        edge = ((layer, source), (layer + 1, into))
        network.add_edge(*edge, capacity=float(pattern[layer, into, source]))
    for token in range(6):
        wanted = 0.0
        if token <= 4:
            wanted = networkx.maximum_flow_value(network, (0, token), (3, 4))
        assert found[token] == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_allclose(attention_flow(pattern[:1].numpy(), 4), pattern[0, 4], atol=1e-6)


def test_sinks_are_what_later_positions_look_at() -> None:
    rest = [0.0] * 5
    means = np.array([[0.9, 0.1, *rest], [0.1, 0.5, *rest], [0.1, 0.5, *rest]], np.float32)
    none, first = np.zeros(7, np.float32), np.array([1, *[0] * 6], np.float32)
    assert find_sinks(means, none).positions == (0, 1)
    assert find_sinks(means[:, :5], none[:5]).positions == (0,), "three rows are no habit"
    quiet = means * np.array([0.5, 0.5, 1, *[0] * 4], np.float32)
    assert find_sinks(quiet, none).positions == ()
    found = find_sinks(quiet, first)
    assert found.positions == (0,)
    np.testing.assert_allclose(found.head_share, [1 / 3, *[0] * 6], atol=1e-6)


def test_columns_are_means_over_later_positions() -> None:
    pattern = torch.rand(2, 5, 5).tril()
    look = Look(lambda at: pattern[:, at], lambda at: pattern[0, at] > 0, pattern, 2)
    found = columns(look, 5, 2)
    for source in range(4):
        later = pattern[:, source + 1 :, source].mean(1)
        torch.testing.assert_close(found[:, source], later)
    assert not found[:, 4].any()


def test_rows_without_sinks_say_what_they_lack() -> None:
    for name in ("llama", "gpt_oss"):
        rows = attention_rows(loaded(name), IDS)
        found = rows.without([0, 2])
        sink = 0 if rows.sink_mass is None else rows.sink_mass
        taken = rows.rows[..., 0] + rows.rows[..., 2] + sink
        np.testing.assert_allclose(found.removed, taken, atol=1e-5)
        assert not found.rows[..., [0, 2]].any()
        whole = found.rows.sum(-1)[found.removed < 1]
        np.testing.assert_allclose(whole, 1, atol=1e-5)
        everything = rows.without(range(LENGTH))
        np.testing.assert_allclose(everything.removed, 1, atol=1e-6)
        assert not everything.rows.any()
    with pytest.raises(InputError, match="Source 7"):
        attention_rows(loaded("llama"), IDS).without([7])


def test_learned_sinks_and_windows_are_named() -> None:
    sinks = attention_rows(loaded("gpt_oss"), IDS).sink_mass
    assert sinks is not None
    assert 0.001 < sinks.min() <= sinks.max() < 1
    assert attention_rows(loaded("llama"), IDS).sink_mass is None
    windowed = attention_rows(loaded("mistral"), IDS).rows
    assert not windowed[..., : LENGTH - 3].any()
    assert (windowed[..., LENGTH - 3 :] > 0).all()


def test_heads_name_their_key_value_group() -> None:
    assert attention_rows(loaded("llama"), IDS).kv_head.tolist() == [[0, 0, 1, 1]] * N_LAYERS
    assert attention_rows(loaded("gpt2"), IDS).kv_head[0].tolist() == [0, 1, 2, 3]
    assert attention_rows(loaded("falcon_7b"), IDS).kv_head[0].tolist() == [0, 0, 0, 0]
    assert attention_matrix(loaded("llama"), IDS, 0, 3).kv_head == 1


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "falcon_7b"])
def test_a_matrix_is_the_pattern_of_a_layer(name: str, tmp_path: Path) -> None:
    model = loaded(name)
    attention = dissect(model.model, model.anatomy, IDS).attention.layers[1]
    assert attention is not None
    one = attention_matrix(model, IDS, 1, 2)
    np.testing.assert_allclose(one.matrix, attention.pattern[2], atol=3e-6)
    mean = attention_matrix(model, IDS, -2)
    assert (mean.layer, mean.head, mean.kv_head) == (1, None, None)
    np.testing.assert_allclose(mean.matrix, attention.pattern.mean(0), atol=3e-6)
    file = tmp_path / "matrix.npy"
    kept = attention_matrix(model, IDS, 1, 2, file=file)
    assert kept.matrix.dtype == np.float16
    np.testing.assert_allclose(np.load(file), one.matrix, atol=1e-3)
    record = json.loads(json.dumps(one.to_json(), allow_nan=False))
    again = AttentionMatrix.from_json(record)
    np.testing.assert_array_equal(again.matrix, one.matrix)
    assert again.to_json() == record


def test_budgets_are_kept_before_the_model_runs(tmp_path: Path) -> None:
    model = loaded("llama")
    with pytest.raises(InputError, match="Give a file for it, or shorten"):
        attention_matrix(model, IDS, 0, max_bytes=4 * LENGTH**2 - 1)
    file = tmp_path / "matrix.npy"
    attention_matrix(model, IDS, 0, file=file, max_bytes=1)
    with pytest.raises(InputError, match="cannot be written"):
        attention_matrix(model, IDS, 0, file=tmp_path / "none" / "matrix.npy")
    with pytest.raises(InputError, match="Choose fewer queries or layers"):
        attention_rows(model, IDS, query=range(LENGTH), max_bytes=4 * D_VOCAB)
    needed = 4 * (N_LAYERS * 4 * LENGTH + D_VOCAB)
    assert "rollout" in attention_views(model, IDS, max_bytes=needed).left_out
    whole = loaded("falcon_7b")
    with pytest.raises(InputError, match="only hands out its whole pattern"):
        attention_rows(whole, IDS, max_bytes=4 * N_LAYERS * 4 * LENGTH**2 - 1)
    with pytest.raises(InputError, match="flow of 40 tokens"):
        attention_views(model, torch.arange(40), flow=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"query": 7}, "query is 7"),
        ({"query": []}, "query is empty"),
        ({"query": [0, True]}, "whole number"),
        ({"layers": [3]}, "layers is 3"),
        ({"max_tokens": 6}, "limit is 6"),
        ({"max_bytes": 0}, "max_bytes is 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((InputError, PromptError), match=said):
        attention_rows(loaded("llama"), IDS, **arguments)


def test_a_matrix_needs_a_layer_and_a_head_that_exist() -> None:
    for layer, head in ((3, None), (0, 4)):
        with pytest.raises(InputError):
            attention_matrix(loaded("llama"), IDS, layer, head)
    with pytest.raises(InputError, match="query is -8"):
        attention_views(loaded("llama"), IDS, query=-8)


@pytest.mark.slow
def test_layers_without_attention_are_named() -> None:
    with pytest.raises(NotExactError, match="No layer of MambaForCausalLM"):
        attention_rows(loaded("mamba"), IDS)
    hybrid = loaded("qwen3_next")
    found = attention_views(hybrid, IDS)
    assert (found.rows.layers, found.rows.layers_without_attention) == ((1, 2), (0,))
    assert found.rollout is None
    assert "(0)" in found.left_out["rollout"]
    with pytest.raises(NotExactError, match="None of these layers"):
        attention_rows(hybrid, IDS, layers=[0])
    with pytest.raises(NotExactError, match="Layer 0"):
        attention_matrix(hybrid, IDS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3n", "gemma4", "bitnet", "diffllama", "minicpm3"])
def test_models_that_cannot_be_taken_apart_still_show_where_they_look(name: str) -> None:
    model = loaded(name)
    found = attention_views(model, IDS)
    check_rows(found.rows)
    network = build(name)
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        wanted = network(IDS[None], output_attentions=True, use_cache=False).attentions
    for row, layer in zip(found.rows.rows[:, 0], wanted, strict=True):
        np.testing.assert_allclose(row, layer[0, :, -1], atol=1e-5)
    exact = model.self_check.reason_off("heads") is None
    assert (found.norms is not None) == exact == ("norms" not in found.left_out)


def test_bfloat16_rows_are_those_of_its_eager_attention() -> None:
    network = build("llama").bfloat16()
    model = wrap_model(network, None, weights_sha256="0" * 64)
    found = attention_rows(model, IDS)
    assert found.sink_mass is None
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        wanted = network(IDS[None], output_attentions=True, use_cache=False).attentions
    for row, layer in zip(found.rows[:, 0], wanted, strict=True):
        np.testing.assert_allclose(row, layer[0, :, -1].float(), atol=2e-2)


def test_another_kernel_gives_way_to_eager_and_it_is_said(demo: LoadedModel) -> None:
    masks = ALL_MASK_ATTENTION_FUNCTIONS
    ALL_ATTENTION_FUNCTIONS.register("other_kernel", ALL_ATTENTION_FUNCTIONS["sdpa"])
    masks.register("other_kernel", masks["sdpa"])
    network = build("llama")
    network.set_attn_implementation("other_kernel")
    found = attention_rows(wrap_model(network, None, weights_sha256="0" * 64), IDS)
    assert found.mode == "eager"
    assert "other_kernel" in found.header["warnings"][-1]
    plain = attention_rows(loaded("llama"), IDS)
    np.testing.assert_allclose(found.rows, plain.rows, atol=3e-6)
    assert network.config._attn_implementation == "other_kernel"


def test_attention_is_put_back_after_an_exception() -> None:
    model = loaded("llama")
    before = implementations(model)

    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped), reported(stop):
        attention_views(model, IDS)
    with pytest.raises(ZeroDivisionError), model.lock:
        probe(model, IDS, lambda *_: 1 / 0, queries=[0])  # type: ignore[arg-type, return-value]
    assert (implementations(model), hooks(model)) == (before, 0)
    plain = forward(model.model, IDS, logits="last").numpy()
    np.testing.assert_array_equal(attention_rows(model, IDS).logits, plain)


def test_blocks_are_counted_once() -> None:
    counted: list[tuple[str, int, int]] = []
    with reported(lambda *tick: counted.append(tick)):
        attention_rows(loaded("llama"), IDS)
    assert counted == [("layer", done + 1, N_LAYERS) for done in range(N_LAYERS)]
    counted.clear()
    with reported(lambda *tick: counted.append(tick)):
        attention_rows(loaded("falcon_7b"), IDS)
    assert counted == [("layer", done + 1, 2 * N_LAYERS) for done in range(2 * N_LAYERS)]


def test_the_prediction_is_that_of_a_plain_forward(demo: LoadedModel) -> None:
    ids = demo.tokenize("The capital of France is")
    found = attention_rows(demo, ids, query=[-1, 2])
    probs = forward(demo.model, ids)[list(found.queries)].softmax(-1)
    best = probs.topk(10)
    np.testing.assert_array_equal(found.next.ids, best.indices)
    np.testing.assert_allclose(found.next.p, best.values, atol=1e-6)
    np.testing.assert_allclose(np.exp(found.next.log_p), found.next.p, atol=1e-6)
    entropy = torch.distributions.Categorical(probs).entropy()
    np.testing.assert_allclose(found.next.entropy, entropy, atol=1e-4)
    assert all(str(token) in found.vocab for token in found.next.ids.flat)


def test_results_survive_json(demo: LoadedModel) -> None:
    ids = demo.tokenize('<b>東京 & "Paris"</b>')
    views = attention_views(demo, ids, flow=True)
    record = json.loads(json.dumps(views.to_json(), allow_nan=False))
    again = AttentionViews.from_json(record)
    assert again.to_json() == record
    assert again.to_csv() == views.to_csv()
    rows = AttentionRows.from_json(record)
    np.testing.assert_array_equal(rows.rows, views.rows.rows)
    assert (rows.logits, rows.queries) == (None, (len(ids) - 1,))
    alone = views.rows.to_json()
    assert AttentionRows.from_json(alone).to_json() == json.loads(json.dumps(alone))
    with pytest.raises(InputError, match="rows alone"):
        AttentionViews.from_json(alone)
    readers: tuple[Callable[[Any], Any], ...]
    readers = (AttentionRows.from_json, AttentionViews.from_json, AttentionMatrix.from_json)
    for read in readers:
        with pytest.raises(LensError, match="schema"):
            read({"schema": "lens_core/logit_lens/1"})
    assert "not what the prediction depends on" in record["note"]


def test_the_table_holds_every_weight(demo: LoadedModel) -> None:
    ids = demo.tokenize("The capital of France is")
    views = attention_views(demo, ids, layers=[0, 3], query=2)
    table = list(csv.DictReader(io.StringIO(views.to_csv())))
    assert len(table) == 2 * demo.facts.n_heads * 3
    assert views.norms is not None
    for line in table:
        layer, head, source = (int(line[name]) for name in ("layer", "head", "source"))
        row = views.rows.layers.index(layer)
        assert float(line["weight"]) == views.rows.rows[row, 0, head, source]
        assert float(line["norm"]) == views.norms[row, head, source]
    tokens = [json.loads(line["token"]) for line in table[:3]]
    assert tokens == [token["text"] for token in views.rows.header["input"]["tokens"][:3]]
    assert "norm" not in views.rows.to_csv().splitlines()[0]


def test_an_edit_changes_what_comes_after_it(demo: LoadedModel) -> None:
    ids = demo.tokenize("The capital of France is")
    neurons = torch.arange(demo.facts.d_mlp or 0)
    old = weight_columns(demo.anatomy.layers[0].mlp_proj, neurons)  # type: ignore[arg-type]
    edit = make_edit(demo, {0: (neurons, 2 * old)})
    before = attention_rows(demo, ids)
    with applied(demo, edit):
        edited = attention_rows(demo, ids)
    assert edited.header["edit"]["id"] == edit.id
    np.testing.assert_array_equal(edited.rows[0], before.rows[0])
    assert np.abs(edited.rows[1:] - before.rows[1:]).max() > 1e-4
    np.testing.assert_array_equal(attention_rows(demo, ids).rows, before.rows)
