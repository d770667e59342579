"""What is removed is exactly that part, on every family, and nothing is left behind."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from families import IDS, N_LAYERS, build, held, loaded
from test_edits import random_edit
from torch import Tensor, nn

from lens_core import (
    GraphRun,
    InputError,
    NotExactError,
    Part,
    applied,
    capture,
    contribution_graph,
    ffn_details,
    graph_agreement,
    graph_run,
    verify,
    wrap_model,
)
from lens_core.anatomy import AddMap
from lens_core.anatomy.calls import recording
from lens_core.attention_capture import LayerAttention, capture_attention
from lens_core.models import LoadedModel
from lens_core.network import run as forward
from lens_core.progress import Stopped, reported
from lens_core.trace import SITES, Trace, capture_streams
from lens_core.tree import knock_out
from lens_core.tree.agreement import rank_correlation
from lens_core.tree.knocked import attached, knocked_out
from lens_core.tree.parts import placed
from lens_core.tree.removal import INPUT, Change, Removal, removal
from lens_core.weights import model_sha256, projection_matrix

AT, SOURCE = 5, 3
LAST = len(IDS) - 1


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=2e-5, atol=2e-5)


def first(model: LoadedModel, layer: int) -> str:
    """The state that attention is added to at AT."""
    return f"{'A' if model.anatomy.layers[layer].has_mid else 'I'}{layer}_{AT}"


def below(layer: int, position: int) -> str:
    return f"I{layer - 1}_{position}" if layer else f"X0_{position}"


def attentive(model: LoadedModel) -> list[int]:
    return [n for n in range(model.n_layers) if n not in model.self_check.layers_without_attention]


def removed(model: LoadedModel, part: Part, ids: Tensor = IDS) -> Removal:
    run = held(model.facts.id) if ids is IDS else graph_run(model, ids)
    return removal(model, run, placed(model, part, len(ids)))


def logits(model: LoadedModel, *rows: Removal, ids: Tensor = IDS) -> Tensor:
    return knocked_out(model, ids, rows)[0]


def streams(model: LoadedModel, row: Removal) -> Trace:
    """The stream of a pass without a part."""

    def run() -> Tensor:
        return logits(model, row)

    return capture_streams(model.model, model.anatomy, IDS, SITES, forward_pass=run)


def some_parts(model: LoadedModel) -> list[Part]:
    """Parts of every kind that the model has."""
    found = []
    for layer, parts in enumerate(model.anatomy.layers):
        into, same = first(model, layer), below(layer, AT)
        found.append(Part(same, into, "residual"))
        if parts.has_mid:
            found.append(Part(into, f"I{layer}_{AT}", "residual"))
        if parts.mlp_add is not None:
            found.append(Part(None, f"M{layer}_{AT}"))
        if parts.mlp_proj is not None:
            found.append(Part(None, f"M{layer}_{AT}", neuron=layer))
        if layer in model.self_check.layers_without_attention:
            found.append(Part(f"S{layer}_{AT}", into))
            continue
        found += [Part(below(layer, SOURCE), into), Part(same, into, "attention", head=1)]
        found += [Part(None, into, head=2), Part(None, into), Part(f"B{layer}_{AT}", into)]
    if not model.self_check.layers_without_attention:
        found.append(Part(None, f"X0_{SOURCE}"))
    return found


def test_nothing_removed_is_the_original_bit_for_bit(model: LoadedModel) -> None:
    found, states = knocked_out(model, IDS, [()])
    assert torch.equal(states[0], held(model.facts.id).trace.stream[-1, LAST])
    recorded = capture_attention(model.model, model.anatomy, IDS).logits[-1]
    torch.testing.assert_close(found[0], recorded, rtol=1e-6, atol=1e-6)


def test_a_batch_does_what_single_runs_do(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, parts = held(model.facts.id), some_parts(model)
    together = verify(model, run, parts)
    monkeypatch.setattr(knock_out, "CPU_TOKENS", len(IDS))
    single = verify(model, run, parts)
    monkeypatch.setattr(knock_out, "CPU_TOKENS", 4 * len(IDS))
    by_three = verify(model, run, parts)
    for other in (single, by_three):
        np.testing.assert_allclose(together.logit_change, other.logit_change, atol=1e-5)
        np.testing.assert_allclose(together.kl, other.kl, atol=1e-6)
        np.testing.assert_allclose(together.p, other.p, atol=1e-6)
    whole = held(model.facts.id).prediction
    assert together.target == whole.ids[LAST]
    assert together.original_p == pytest.approx(float(whole.p[LAST]), abs=1e-6)
    assert (together.kl >= 0).all()
    assert together.logit_change.any()


def added(add: AddMap, projected: Tensor) -> Tensor:
    """What a projection's output becomes on its way to the sum, worked out with the norm itself."""
    rows = projected if add.post_norm is None else add.post_norm(projected)
    return rows * add.scale


def summed(add: AddMap, before: Tensor, part: Tensor) -> Tensor:
    base = before if add.base_norm is None else add.base_norm(before)
    total = base + part
    return total if add.sum_norm is None else add.sum_norm(total)


def outputs_of(model: LoadedModel, modules: Sequence[nn.Module]) -> list[Tensor]:
    with recording(modules) as seen:
        capture_attention(model.model, model.anatomy, IDS)
    answers = [seen.of(module)[0].output for module in modules]
    return [out.reshape(len(IDS), -1).float() for out in answers if out is not None]


def check_state(
    model: LoadedModel, layer: int, row: Removal, wanted: Tensor, *, after_attention: bool
) -> None:
    """The state at AT is the one worked out by hand; nothing before it and beside it moved."""
    plain, found = held(model.facts.id).trace, streams(model, row)
    mid = after_attention and model.anatomy.layers[layer].has_mid
    whole = (found.resid_mid if mid else found.resid_post)[layer]
    same = (plain.resid_mid if mid else plain.resid_post)[layer]
    close(whole[AT], wanted)
    assert torch.equal(whole[:AT], same[:AT])
    assert torch.equal(whole[AT + 1 :], same[AT + 1 :])
    assert torch.equal(found.resid_pre[: layer + 1], plain.resid_pre[: layer + 1])
    assert not torch.equal(whole[AT], same[AT])


@pytest.mark.parametrize("head", [None, 1])
@pytest.mark.parametrize("source", [None, SOURCE, AT])
def test_attention_leaves_the_state_that_the_other_sources_make(
    model: LoadedModel, head: int | None, source: int | None
) -> None:
    run = held(model.facts.id)
    for layer in attentive(model):
        parts, attention = model.anatomy.layers[layer], run.attention[layer]
        assert parts.attn_proj is not None
        assert parts.attn_add is not None
        assert attention is not None
        src = None if source is None else below(layer, source)
        row = removed(model, Part(src, first(model, layer), "attention", head))
        pattern, values = attention.pattern[:, AT].clone(), attention.values
        if source is not None and not pattern[slice(None) if head is None else head, source].any():
            continue  # outside the sliding window
        kept = torch.ones_like(pattern)
        kept[slice(None) if head is None else head, slice(None) if source is None else source] = 0
        shared = values.repeat_interleave(len(pattern) // len(values), 0)
        mixed = torch.einsum("hk,hkv->hv", pattern * kept, shared).flatten()
        if attention.gate is not None:
            mixed = mixed * attention.gate[AT]
        matrix, bias = projection_matrix(parts.attn_proj)
        projected = mixed @ matrix + (0 if bias is None else bias)
        part = added(parts.attn_add, projected)
        before = run.trace.resid_pre[layer, AT]
        if parts.has_mid:
            wanted = summed(parts.attn_add, before, part)
        else:
            other = 0 if parts.mlp_add is None else run.trace.mlp_out[layer, AT]
            wanted = before + part + other
        check_state(model, layer, row, wanted, after_attention=True)


def test_a_neuron_leaves_the_state_that_the_others_make(model: LoadedModel) -> None:
    run = held(model.facts.id)
    for layer, parts in enumerate(model.anatomy.layers):
        if parts.mlp_proj is None or parts.mlp_add is None:
            continue
        with recording([parts.mlp_proj]) as seen:
            capture_attention(model.model, model.anatomy, IDS)
        rows = seen.calls[0].input
        assert rows is not None
        active = rows.reshape(len(IDS), -1)[AT].clone()
        neuron = int(active.abs().argmax())
        active[neuron] = 0
        matrix, bias = projection_matrix(parts.mlp_proj)
        part = added(parts.mlp_add, active @ matrix + (0 if bias is None else bias))
        check_mlp(model, layer, Part(None, f"M{layer}_{AT}", neuron=neuron), part, run)


def test_an_mlp_leaves_the_state_without_it(model: LoadedModel) -> None:
    run = held(model.facts.id)
    for layer, parts in enumerate(model.anatomy.layers):
        if parts.mlp_add is not None:
            nothing = torch.zeros(model.facts.d_model)
            check_mlp(model, layer, Part(None, f"M{layer}_{AT}"), nothing, run)


def check_mlp(model: LoadedModel, layer: int, part: Part, adds: Tensor, run: GraphRun) -> None:
    parts = model.anatomy.layers[layer]
    assert parts.mlp_add is not None
    if parts.has_mid:
        wanted = summed(parts.mlp_add, run.trace.resid_mid[layer, AT], adds)
    else:
        wanted = run.trace.resid_pre[layer, AT] + run.trace.attn_out[layer, AT] + adds
    check_state(model, layer, removed(model, part), wanted, after_attention=False)


def test_without_the_residual_only_what_is_added_is_left(model: LoadedModel) -> None:
    run = held(model.facts.id)
    for layer, parts in enumerate(model.anatomy.layers):
        adds = [(parts.attn_add, True)] + ([(parts.mlp_add, False)] if parts.has_mid else [])
        for add, attention in adds:
            if add is None:
                continue
            trace = run.trace
            before = (trace.resid_pre if attention else trace.resid_mid)[layer, AT]
            (out,) = outputs_of(model, [add.tap])
            part = out[AT] * add.scale
            wanted = part if add.sum_norm is None else add.sum_norm(part)
            if not parts.has_mid and parts.mlp_add is not None:
                wanted = wanted + trace.mlp_out[layer, AT]
            src = below(layer, AT) if attention else first(model, layer)
            dst = first(model, layer) if attention else f"I{layer}_{AT}"
            row = removed(model, Part(src, dst, "residual"))
            assert before.any()
            check_state(model, layer, row, wanted, after_attention=attention)


def test_all_sources_together_are_all_attention(model: LoadedModel) -> None:
    for layer in attentive(model):
        into = first(model, layer)
        sources = [Part(below(layer, s), into, "attention") for s in range(AT + 1)]
        heads = [Part(None, into, head=h) for h in range(model.facts.n_heads)]
        groups = (sources, heads, [Part(None, into)])
        rows = [
            tuple(itertools.chain(*(removed(model, part) for part in group))) for group in groups
        ]
        one, two, every = logits(model, *rows)
        close(two, every)
        add = model.anatomy.layers[layer].attn_add
        if add is not None and add.post_norm is None:
            # A norm would blow up what rounding leaves of the sum.
            close(one, every)


def test_the_only_source_leaves_exactly_nothing(model: LoadedModel) -> None:
    for layer in attentive(model):
        into = first(model, layer)[: -len(str(AT))] + "0"
        row = removed(model, Part(below(layer, 0), into, "attention"))
        # Subtracting would leave rounding, which a norm behind the projection blows up.
        assert all(isinstance(change, Change) and change.minus is None for change in row)


def zeroed(model: LoadedModel, layer: int, what: str, index: int) -> Tensor:
    """The logits of one token with some weights at 0 in a copy of the model."""
    twin = copy.deepcopy(model.model)
    modules = dict(zip(model.model.modules(), twin.modules(), strict=True))
    parts = model.anatomy.layers[layer]
    assert parts.attn_proj is not None
    assert parts.attn_add is not None
    with torch.no_grad():
        if what == "bias":
            norms = (parts.attn_add.post_norm, parts.attn_add.sum_norm)
            for module in [parts.attn_proj, *(n.module for n in norms if n is not None)]:
                if modules[module]._parameters.get("bias") is not None:
                    modules[module]._parameters["bias"].zero_()  # type: ignore[union-attr]
        else:
            module = parts.attn_proj if what == "head" else parts.mlp_proj
            assert module is not None
            weight = modules[module]._parameters["weight"]
            assert weight is not None
            columns = weight if type(module).__name__ == "Conv1D" else weight.T
            width = len(columns) // model.facts.n_heads if what == "head" else 1
            columns[index * width : (index + 1) * width] = 0
    return forward(twin, IDS[None, :1]).logits[0, -1]


@pytest.mark.parametrize("what", ["head", "neuron", "bias"])
def test_with_one_token_it_is_the_model_with_weights_at_zero(model: LoadedModel, what: str) -> None:
    ids = IDS[:1]
    for layer in attentive(model)[:2]:
        parts = model.anatomy.layers[layer]
        if what == "neuron" and parts.mlp_proj is None:
            continue
        into = first(model, layer)[: -len(str(AT))] + "0"
        part = {
            "head": Part(None, into, head=1),
            "neuron": Part(None, f"M{layer}_0", neuron=2),
            "bias": Part(f"B{layer}_0", into),
        }[what]
        (found,) = logits(model, removed(model, part, ids), ids=ids)
        index = {"head": 1, "neuron": 2, "bias": 0}[what]
        close(found, zeroed(model, layer, what, index))


def mixtures(model: LoadedModel) -> list[int]:
    layers = enumerate(model.anatomy.layers)
    return [n for n, parts in layers if parts.experts is not None and parts.mlp_proj is None]


def test_experts_together_are_the_mlp(model: LoadedModel) -> None:
    for layer in mixtures(model):
        node = f"M{layer}_{AT}"
        experts = ffn_details(model, held(model.facts.id), node, n=1).experts
        assert experts is not None
        if model.anatomy.layers[layer].mlp_add.post_norm is not None:  # type: ignore[union-attr]
            continue
        parts = [Part(None, node, expert=int(expert)) for expert in experts]
        row = tuple(itertools.chain(*(removed(model, part) for part in parts)))
        together, whole, nothing = logits(model, row, removed(model, Part(None, node)), ())
        close(together, whole)
        if layer < N_LAYERS - 1:
            assert not torch.equal(together, nothing)


def test_neurons_of_an_expert_are_the_expert_without_its_bias(model: LoadedModel) -> None:
    run = held(model.facts.id)
    for layer in mixtures(model)[:1]:
        node, add = f"M{layer}_{AT}", model.anatomy.layers[layer].mlp_add
        assert add is not None
        used = ffn_details(model, run, node, n=1).experts
        assert used is not None
        expert = int(used[1])
        minus = all_neurons(model, node, expert)
        whole = streams(model, removed(model, Part(None, node, expert=expert)))
        change = run.trace.mlp_out[layer, AT] - whole.mlp_out[layer, AT]
        if any("bias" in name for name in expert_names(model, layer)) or add.post_norm is not None:
            continue
        # The sum of the experts is the MLP's tap, so `mlp_out` is that without the expert.
        torch.testing.assert_close(minus * add.scale, change, rtol=1e-4, atol=2e-5)


def expert_names(model: LoadedModel, layer: int) -> list[str]:
    experts = model.anatomy.layers[layer].experts
    assert experts is not None
    return [name for name, _ in experts.routed.named_parameters(recurse=False)]


def all_neurons(model: LoadedModel, node: str, expert: int) -> Tensor:
    """What removing the neurons of a routed expert one by one takes out of the experts' sum."""
    total = torch.zeros(model.facts.d_model)
    for neuron in itertools.count():
        try:
            (change,) = removed(model, Part(None, node, neuron=neuron, expert=expert))
        except InputError:
            return total
        assert isinstance(change, Change)
        assert change.minus is not None
        total = total + change.minus
    raise AssertionError


def test_a_token_cut_off_is_all_that_others_read_of_it_layer_by_layer(
    model: LoadedModel,
) -> None:
    """Removed in one pass, and once more by hand: each layer as it is when those below are cut."""
    if model.self_check.layers_without_attention:
        with pytest.raises(NotExactError, match="without an attention pattern"):
            removed(model, Part(None, f"X0_{SOURCE}"))
        return
    row: Removal = ()
    for layer, parts in enumerate(model.anatomy.layers):
        attention = attention_under(model, row)[layer]
        assert attention is not None
        assert parts.attn_proj is not None
        heads = len(attention.pattern)
        values = attention.values[:, SOURCE].repeat_interleave(heads // len(attention.values), 0)
        for at in range(SOURCE + 1, len(IDS)):
            moved = (attention.pattern[:, at, SOURCE, None] * values).flatten()
            if attention.gate is not None:
                moved = moved * attention.gate[at]
            row = (*row, Change(parts.attn_proj, INPUT, at, moved))
    by_hand, at_once, nothing = logits(model, row, removed(model, Part(None, f"X0_{SOURCE}")), ())
    close(at_once, by_hand)
    assert not torch.allclose(at_once, nothing, atol=1e-4)


def attention_under(model: LoadedModel, row: Removal) -> tuple[LayerAttention | None, ...]:
    """The attention of a pass in which changes are made."""
    with ExitStack() as hooks:
        attached(hooks, [row], length=len(IDS))
        return capture_attention(model.model, model.anatomy, IDS).layers


def attention_kinds(model: LoadedModel) -> list[str]:
    configs: list[Any] = [getattr(module, "config", None) for module in model.model.modules()]
    return [c._attn_implementation for c in configs if hasattr(c, "_attn_implementation")]


def hooks_of(model: LoadedModel) -> list[tuple[int, ...]]:
    """The hooks of every module; transformers leaves its own behind `output_hidden_states`."""
    return [
        (*module._forward_hooks, *module._forward_pre_hooks) for module in model.model.modules()
    ]


def test_nothing_is_left_behind(model: LoadedModel) -> None:
    before, plain = model_sha256(model.model), capture(model, IDS).logits
    chosen, hooks = attention_kinds(model), hooks_of(model)
    verify(model, held(model.facts.id), some_parts(model))

    def stop(what: str, done: int, total: int) -> None:
        if done > 1:
            raise Stopped

    with pytest.raises(Stopped), reported(stop):
        verify(model, held(model.facts.id), some_parts(model))
    assert model_sha256(model.model) == before
    assert attention_kinds(model) == chosen
    assert hooks_of(model) == hooks
    after = capture(model, IDS).logits
    assert plain is not None
    assert after is not None
    assert torch.equal(plain, after)


def test_later_roots_and_targets() -> None:
    model, run = loaded("llama"), held("llama")
    part = Part(None, "M0_2")
    early, late = verify(model, run, [part], root=4), verify(model, run, [part], root="I1_5")
    assert (early.position, late.position) == (4, 5)
    assert early.target == run.prediction.ids[4]
    shorter = verify(model, graph_run(model, IDS[:5]), [part])
    np.testing.assert_allclose(early.logit_change, shorter.logit_change, atol=1e-6)
    pair = verify(model, run, [part], target=7, foil=9)
    single = [verify(model, run, [part], target=t).logit_change for t in (7, 9)]
    np.testing.assert_allclose(pair.logit_change, single[0] - single[1], atol=1e-5)
    assert pair.original_logit == pytest.approx(pair.logit[0] - pair.logit_change[0], abs=1e-6)


def test_the_measures_are_those_of_the_changed_logits() -> None:
    model, run = loaded("gpt2"), held("gpt2")
    part = Part(below(1, SOURCE), "A1_6", "attention")
    changed, original = logits(model, removed(model, part), ())
    found = verify(model, run, [part])
    target = int(original.argmax())
    one, two = original.log_softmax(0), changed.log_softmax(0)
    assert found.logit_change[0] == pytest.approx(
        float(changed[target] - original[target]), abs=5e-6
    )
    assert found.p[0] == pytest.approx(float(two[target].exp()), abs=1e-6)
    assert found.kl[0] == pytest.approx(float((one.exp() * (one - two)).sum()), abs=1e-6)
    assert found.top_ids[0] == int(changed.argmax())


def test_edits_stay_while_parts_are_removed() -> None:
    model = wrap_model(build("llama"), None)
    edit = random_edit(model, {1: [3, 4]})
    part = Part(None, "M1_4")
    outside = verify(model, graph_run(model, IDS), [part])
    with applied(model, edit):
        run = graph_run(model, IDS)
        inside = verify(model, run, [part])
    assert inside.header["edit"] is not None
    assert inside.original_logit != outside.original_logit
    with pytest.raises(InputError, match="under the edits"):
        verify(model, run, [part])


def test_ticks_never_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    model, run, seen = loaded("llama"), held("llama"), []
    for tokens in (1024, 4 * len(IDS), len(IDS)):
        monkeypatch.setattr(knock_out, "CPU_TOKENS", tokens)
        seen.clear()
        with reported(lambda *tick: seen.append(tick)):
            verify(model, run, some_parts(model))
        shares = [done / total for _, done, total in seen]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_parts_are_measured_once_when_a_later_batch_differs(
    missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five parts, in batches of two; the batch `missing` of three does not give the state again."""
    model, run, seen = loaded("llama"), held("llama"), []
    parts = some_parts(model)[:5]
    monkeypatch.setattr(knock_out, "CPU_TOKENS", len(IDS))
    single = verify(model, run, parts)
    sizes: list[int] = []

    def off(model: LoadedModel, ids: Tensor, rows: Sequence[Removal]) -> tuple[Tensor, Tensor]:
        sizes.append(len(rows))
        found, states = knocked_out(model, ids, rows)
        return found, states + 1.0 if len(sizes) == missing else states

    monkeypatch.setattr(knock_out, "CPU_TOKENS", 3 * len(IDS))
    monkeypatch.setattr(knock_out, "knocked_out", off)
    with reported(lambda *tick: seen.append(tick)):
        found = verify(model, run, parts)
    assert sizes == [3, 3, 2][:missing] + [1] * 6
    assert found.parts == single.parts
    assert found.original_logit == single.original_logit
    for name in ("logit_change", "p_change", "kl", "top_ids", "top_p"):
        np.testing.assert_array_equal(getattr(found, name), getattr(single, name))
    shares = [done / total for _, done, total in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_records_of_parts() -> None:
    records = [
        {"edge": ["I0_3", "A1_5"], "kind": "attention", "head": 2},
        {"node": "M1_5", "neuron": 4},
        {"node": "A1_5", "head": 3},
        {"node": "X0_2", "kind": "token"},
        {"edge": ["B1_5", "A1_5"], "kind": "bias"},
    ]
    for record in records:
        assert Part.of(record).record() == record
    found = verify(loaded("llama"), held("llama"), [Part.of(record) for record in records])
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["schema"] == "lens_core/graph_verification/1"
    assert [row["part"]["kind"] for row in said["parts"]] == [
        "attention", "ffn", "attention", "token", "bias",
    ]  # fmt: skip
    assert said["input"] == {"ids": IDS.tolist()}
    assert said["original"]["p"] == found.original_p


WRONG = [
    ({"edge": ["I0_3"]}, "source and a destination"),
    ({}, "give one of them"),
    ({"edge": ["I0_3", "A1_5"], "heads": 2}, "no 'heads'"),
    ({"edge": ["I0_6", "A1_5"]}, "no edge"),
    ({"edge": ["I0_3", "A1_5"], "head": 4}, "head is 4"),
    ({"edge": ["I0_3", "A1_5"], "kind": "residual"}, "no residual edge"),
    ({"node": "I1_5"}, "no part that can be taken out"),
    ({"node": "M1_5", "head": 1}, "head is 1"),
    ({"node": "M1_5", "neuron": 48}, "neuron is 48"),
    ({"node": "M1_5", "expert": 1}, "no experts"),
    ({"node": "M1_5", "kind": "attention"}, "stands for its ffn"),
    ({"node": "X0_6"}, "only earlier tokens"),
    ({"node": "M1_9"}, "positions 0 to 6"),
    ({"node": "M3_1"}, "layers 0 to 2"),
]


@pytest.mark.parametrize(("record", "said"), WRONG)
def test_wrong_parts_are_named(record: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        verify(loaded("llama"), held("llama"), [Part.of(record)])


def test_wrong_arguments_are_named() -> None:
    model, run, part = loaded("llama"), held("llama"), Part(None, "M1_5")
    for arguments, said in (
        ({"parts": []}, "0 parts"),
        ({"root": 4}, "lies behind"),
        ({"root": "all"}, "7 nodes"),
        ({"root": 9}, "root is 9"),
        ({"target": 1000}, "target id is 1000"),
    ):
        with pytest.raises(InputError, match=said):
            verify(model, run, **{"parts": [part], **arguments})
    with pytest.raises(InputError, match="of the model"):
        verify(loaded("qwen2"), run, [part])
    mixture = loaded("mixtral")
    used = ffn_details(mixture, held("mixtral"), "M1_5").experts
    assert used is not None
    unused = min(set(range(4)) - set(used.tolist()))
    for part, said in (
        (Part(None, "M1_5", neuron=1), "name one"),
        (Part(None, "M1_5", expert=unused), "was sent to"),
        (Part(None, "M1_5", expert=-1), "no shared expert"),
    ):
        with pytest.raises(InputError, match=said):
            verify(mixture, held("mixtral"), [part])


def test_a_carried_state_that_drowns_the_rest_is_refused() -> None:
    network = build("llama")
    with torch.no_grad():
        embeddings: Any = network.get_input_embeddings()
        embeddings.weight.mul_(1e4)
    model = wrap_model(network, None)
    run = graph_run(model, IDS)
    with pytest.raises(NotExactError, match="bound is 1e-05"):
        verify(model, run, [Part("X0_5", "A0_5", "residual")])
    verify(model, run, [Part("X0_5", "A0_5", "attention")])


def test_agreement_measures_the_strongest_edges_and_tokens(model: LoadedModel) -> None:
    run = held(model.facts.id)
    graph = contribution_graph(model, IDS, run=run, threshold=0.01)
    found = graph_agreement(model, run, graph, n=6)
    assert found.edges is not None
    assert len(found.edge_influence) == len(found.edges.parts) == 6
    again = verify(model, run, found.edges.parts)
    np.testing.assert_allclose(found.edges.kl, again.kl, atol=1e-6)
    listed = {
        (e["src"], e["dst"], e["kind"]): e["influence"]
        for e in graph.edge_list()
        if e["kind"] in ("attention", "ffn") and e["dst"][0] != "M"
    }
    keys = [(p.src, p.dst, p.kind) for p in found.edges.parts]
    assert [listed[key] for key in keys] == found.edge_influence.tolist()
    assert found.edge_influence[0] == max(listed.values())
    if found.tokens is None:
        assert model.self_check.layers_without_attention
        return
    top = int(graph.token_influence[:LAST].argmax())
    assert found.top_source == top
    assert found.confirmed == (found.tokens.kl[0] == found.tokens.kl.max())
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/graph_agreement/1"
    assert record["top_source"]["position"] == top
    assert record["edges"][0]["influence"] == found.edge_influence[0]


def test_agreement_refuses_what_does_not_fit() -> None:
    model, run = loaded("llama"), held("llama")
    graph = contribution_graph(model, IDS, run=run)
    with pytest.raises(InputError, match="n is 1"):
        graph_agreement(model, run, graph, n=1)
    with pytest.raises(InputError, match="several positions"):
        graph_agreement(model, run, contribution_graph(model, IDS, run=run, root="all"))
    other = contribution_graph(model, IDS[:5])
    with pytest.raises(InputError, match="another prompt"):
        graph_agreement(model, run, other)


def test_the_target_of_a_logit_graph_is_measured() -> None:
    model, run = loaded("llama"), held("llama")
    graph = contribution_graph(model, IDS, run=run, metric="logit", target=11, foil=12)
    found = graph_agreement(model, run, graph)
    assert found.edges is not None
    assert (found.edges.target, found.edges.foil) == (11, 12)


def test_rank_correlation() -> None:
    rising = np.arange(10.0)
    assert rank_correlation(rising, rising**3).rho == 1.0
    assert rank_correlation(rising, -rising).rho == -1.0
    assert rank_correlation(rising, np.ones(10)).rho is None
    # Ranks with ties, by hand: x 0 1.5 1.5 3, y 0 1 2 3.
    found = rank_correlation(np.array([1.0, 2, 2, 5]), np.array([3.0, 4, 6, 9]))
    assert found.rho == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    ranks = np.random.default_rng(0)
    first, second = ranks.normal(size=400), ranks.normal(size=400)
    wide = rank_correlation(first, second)
    assert wide.low is not None
    assert wide.high is not None
    assert wide.low < 0 < wide.high
    assert wide.high - wide.low == pytest.approx(2 * 1.96 / 397**0.5, rel=0.05)
