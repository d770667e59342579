"""What must hold exactly on every family: the invariants that everything shown rests on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from families import EVERY, IDS, N_LAYERS, build, loaded

from lens_core import capture
from lens_core.anatomy import find_anatomy, run_probe
from lens_core.contributions import attention_shares, mlp_shares, neuron_shares
from lens_core.dissection import Dissection, dissect
from lens_core.models import LoadedModel
from lens_core.self_check import relative_error
from lens_core.trace import capture_streams, forward

TIGHT = 1e-5
LOOSE = 1e-4


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return loaded(request.param)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def parts(model: LoadedModel) -> Dissection:
    return dissected(model.facts.id)


@cache
def dissected(family: str) -> Dissection:
    model = loaded(family)
    return dissect(model.model, model.anatomy, IDS)


def test_no_block_is_opaque_and_everything_is_exact(model: LoadedModel) -> None:
    check = model.self_check
    assert dict(check.off) == {}
    assert check.readout_rel_err == 0.0
    errors = (
        check.streams_rel_err,
        check.heads_rel_err,
        check.neurons_rel_err,
        check.attribution_rel_err,
    )
    assert max(error for error in errors if error is not None) <= 2e-6
    assert None not in errors


def test_streams_add_up(model: LoadedModel) -> None:
    trace = capture(model, IDS)
    torch.testing.assert_close(trace.resid_post, trace.resid_pre + trace.attn_out + trace.mlp_out)
    torch.testing.assert_close(trace.resid_mid, trace.resid_pre + trace.attn_out)


def test_the_captured_input_of_each_block_is_the_output_of_the_one_before(
    model: LoadedModel,
) -> None:
    blocks = run_probe(model.model).blocks
    for before, after in pairwise(blocks):
        assert torch.equal(before.resid_post, after.resid_pre)


def test_heads_and_sources_add_up(model: LoadedModel, parts: Dissection) -> None:
    for layer in range(N_LAYERS):
        heads = parts.heads(layer)
        if heads is None:
            assert layer in model.self_check.layers_without_attention
            continue
        total = heads.residual + heads.bias + heads.all_parts().sum((1, 2))
        if not model.anatomy.layers[layer].has_mid:
            total = total + parts.trace.mlp_out[layer]
        assert relative_error(total, heads.whole) <= TIGHT
        assert relative_error(heads.all_parts().sum(1), heads.head_sum()) <= TIGHT


def test_pattern_times_values_is_what_the_projection_reads(parts: Dissection) -> None:
    for attention in parts.attention.layers:
        if attention is None:
            continue
        groups = len(attention.pattern) // len(attention.values)
        values = attention.values.repeat_interleave(groups, 0)
        moved = torch.einsum("hqk,hkv->qhv", attention.pattern, values).flatten(1)
        if attention.gate is not None:
            moved = moved * attention.gate
        assert relative_error(moved, attention.mixed) <= TIGHT


def test_patterns_look_back_only_and_sum_to_one(model: LoadedModel, parts: Dissection) -> None:
    for attention in parts.attention.layers:
        if attention is None:
            continue
        pattern = attention.pattern
        assert not pattern.triu(1).any()
        assert pattern.min() >= 0
        sums = pattern.sum(-1)
        if model.facts.id == "gpt_oss":
            assert sums.max() < 1
        else:
            torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "gpt_oss", "exaone4"])
def test_sliding_windows_hide_what_lies_outside(family: str) -> None:
    model = loaded(family)
    layers = dissect(model.model, model.anatomy, IDS).attention.layers
    far = torch.ones(len(IDS), len(IDS)).tril(-3).bool()
    hidden = [not layer.pattern[:, far].any() for layer in layers if layer is not None]
    kinds = getattr(model.model.config, "layer_types", None) or ["sliding_attention"] * N_LAYERS
    assert hidden == [kind == "sliding_attention" for kind in kinds]


def test_neurons_add_up(model: LoadedModel, parts: Dissection) -> None:
    for layer in range(N_LAYERS):
        neurons = parts.neurons(layer)
        whole, _, residual = parts.mlp(layer)
        assert neurons is not None
        if not model.anatomy.layers[layer].has_mid:
            residual = residual + parts.trace.attn_out[layer]
        assert relative_error(residual + neurons.bias + neurons.total(), whole) <= TIGHT
        one = neurons.part(3).sum(0) + neurons.bias[3] + residual[3]
        assert relative_error(one[None], whole[3:4]) <= TIGHT


def test_contributions_are_shares(parts: Dissection) -> None:
    for layer in range(N_LAYERS):
        heads = parts.heads(layer)
        if heads is not None:
            shares = attention_shares(heads)
            sums = shares.parts.sum((1, 2)) + shares.residual + shares.bias
            assert shares.parts.min() >= 0
            expected = torch.where(shares.degenerate, 0.0, 1.0)
            torch.testing.assert_close(sums, expected, rtol=0, atol=1e-5)
            assert not shares.parts.permute(2, 0, 1).triu(1).any()
        shares = mlp_shares(*parts.mlp(layer))
        sums = shares.parts.sum(1) + shares.residual
        assert bool(((sums - 1).abs() <= 1e-5)[~shares.degenerate].all())
        neurons = parts.neurons(layer)
        assert neurons is not None
        whole, _, residual = parts.mlp(layer)
        found = neuron_shares(whole[-1], neurons.part(6), residual[-1], neurons.bias[-1])
        total = found.parts.sum() + found.residual[0] + found.bias[0]
        assert abs(float(total) - float(not found.degenerate[0])) <= 1e-5


def test_a_longer_prompt_changes_nothing_earlier(model: LoadedModel, parts: Dissection) -> None:
    shorter = dissect(model.model, model.anatomy, IDS[:4])
    for layer in range(N_LAYERS):
        long, short = parts.heads(layer), shorter.heads(layer)
        if long is None or short is None:
            continue
        torch.testing.assert_close(
            attention_shares(long).parts[:4, :4],
            attention_shares(short).parts,
            rtol=0,
            atol=LOOSE,
        )
        torch.testing.assert_close(
            mlp_shares(*parts.mlp(layer)).residual[:4],
            mlp_shares(*shorter.mlp(layer)).residual,
            rtol=0,
            atol=LOOSE,
        )


def test_direct_logit_attribution_sums_to_the_logits(model: LoadedModel) -> None:
    trace, readout = capture(model, IDS), model.readout
    parts = torch.stack([trace.stream[0], *trace.attn_out, *trace.mlp_out])
    hidden = readout.part_input(parts, readout.inverse_scale(trace.stream[-1]))
    logits = readout.block_part_logits(hidden.flatten(0, 1), slice(0, readout.d_vocab))
    logits = logits.view(*hidden.shape[:2], -1).sum(0)
    logits = logits + readout.constant(torch.arange(readout.d_vocab))
    if readout.softcap is not None:
        logits = readout.softcap * torch.tanh(logits / readout.softcap)
    assert trace.logits is not None
    assert relative_error(logits, trace.logits) <= TIGHT


def test_head_contributions_to_the_logits_sum_to_those_of_attention(
    model: LoadedModel, parts: Dissection
) -> None:
    readout, trace = model.readout, parts.trace
    inverse = readout.inverse_scale(trace.stream[-1])
    tokens = torch.full((len(IDS), 1), 17)
    for layer in range(N_LAYERS):
        heads, add = parts.heads(layer), model.anatomy.layers[layer].attn_add
        if heads is None or add is None or not add.keeps_stream:
            continue
        total = heads.head_sum().sum(1) + heads.bias
        found, wanted = (
            readout.part_token_logits(readout.part_input(rows, inverse), tokens)
            for rows in (total, trace.attn_out[layer])
        )
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_capture_leaves_no_trace(model: LoadedModel) -> None:
    network = model.model
    before = forward(network, IDS)
    hooks = _hooks(network)
    implementation = network.config._attn_implementation
    capture(model, IDS)
    dissect(network, model.anatomy, IDS)
    assert torch.equal(forward(network, IDS), before)
    assert _hooks(network) == hooks
    assert network.config._attn_implementation == implementation
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_failing_run_leaves_no_trace(model: LoadedModel) -> None:
    network = model.model
    before = (_hooks(network), network.config._attn_implementation)

    def fail() -> torch.Tensor:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        capture_streams(network, model.anatomy, IDS, ("attn_out",), forward_pass=fail)
    handle = model.anatomy.layers[1].block.register_forward_hook(lambda *_: fail())
    try:
        with pytest.raises(InterruptedError):
            dissect(network, model.anatomy, IDS)
    finally:
        handle.remove()
    assert (_hooks(network), network.config._attn_implementation) == before


def _hooks(network: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_the_states_of_a_prefix_are_those_of_the_whole(model: LoadedModel) -> None:
    whole, prefix = capture(model, IDS), capture(model, IDS[:4])
    torch.testing.assert_close(whole.stream[:, :4], prefix.stream, rtol=LOOSE, atol=LOOSE)


def test_recorded_attention_is_that_of_the_model(model: LoadedModel) -> None:
    deviation = model.self_check.capture_vs_default_rel_err
    assert deviation is not None
    # ALiBi in Falcon: the default attention itself differs from the eager one, and it is said.
    if model.facts.id == "falcon_rw":
        assert deviation <= 5e-2
        assert any("default attention" in warning for warning in model.self_check.warnings)
    else:
        assert deviation <= 1e-5


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3", "gemma2"])
def test_a_value_head_is_read_by_the_query_heads_of_its_group(family: str) -> None:
    """Changing the value projection of one key/value head moves only the heads of its group."""
    network: Any = build(family)
    changed = network.get_decoder().layers[0].self_attn
    before = dissect(network, find_anatomy(run_probe(network)), IDS).heads(0)
    assert before is not None
    width = before.values.shape[-1]
    with torch.no_grad():
        # The first rows of the values: those of key/value head 0. Fused projections end with them.
        if hasattr(changed, "v_proj"):
            changed.v_proj.weight[:width] *= 2.0
        else:
            start = changed.qkv_proj.weight.shape[0] - len(before.values) * width
            changed.qkv_proj.weight[start : start + width] *= 2.0
    after = dissect(network, find_anatomy(run_probe(network)), IDS).heads(0)
    assert after is not None
    heads = len(before.pattern)
    # Without the post-norm's scale, which the change of any head moves.
    moved = [
        not torch.allclose(
            before.part(h, slice(0, 7), 7) / before.factor[:, None],
            after.part(h, slice(0, 7), 7) / after.factor[:, None],
            atol=1e-5,
        )
        for h in range(heads)
    ]
    assert moved == [h < heads // len(before.values) for h in range(heads)]


def test_anatomy_does_not_depend_on_the_names_of_norms() -> None:
    """Other class names for all norms leave what is found unchanged."""
    network = build("gemma2")
    before = find_anatomy(run_probe(network))
    for index, module in enumerate(list(network.modules())):
        if isinstance(module, torch.nn.ModuleList):
            continue
        for number, name in enumerate([n for n in module._modules if "norm" in n]):
            child = module._modules[name]
            assert child is not None
            child.__class__ = type(f"Anything{index}_{number}", (type(child),), {})
    after = find_anatomy(run_probe(network))
    for one, two in zip(before.layers, after.layers, strict=True):
        assert (one.topology, one.attn_proj, one.mlp_proj) == (
            two.topology,
            two.attn_proj,
            two.mlp_proj,
        )
        assert one.mid is two.mid
