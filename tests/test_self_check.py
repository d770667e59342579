"""A model that cannot be taken apart says so with a number, and keeps what still is exact."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from families import EVERY, IDS, build, loaded, randomise
from jaxtyping import TypeCheckError

from lens_core import ModelError, NotExactError, capture, logit_lens, wrap_model
from lens_core.models import LoadedModel
from lens_core.self_check import FEATURES, worst

COARSE = ["llama", "gpt2", "gemma2", "falcon_7b", "granite", "bloom", "opt_postln", "olmo2"]


def off(model: LoadedModel) -> set[str]:
    return set(model.self_check.off)


@pytest.mark.parametrize("name", EVERY)
def test_every_reference_family_has_every_feature(name: str) -> None:
    for feature in FEATURES:
        loaded(name).require(feature)


def test_state_space_models_keep_the_lens_and_the_streams() -> None:
    model = loaded("mamba")
    assert off(model) == {"heads", "neurons"}
    assert model.self_check.layers_without_attention == (0, 1, 2)
    trace = capture(model, IDS)
    torch.testing.assert_close(trace.resid_post, trace.resid_pre + trace.attn_out)
    assert not trace.mlp_out.any()
    assert logit_lens(model, IDS, components=["resid_post", "attn_out"]).kl_final[-1].max() <= 1e-6
    with pytest.raises(NotExactError, match="opaque"):
        model.require("heads")


def test_linear_attention_is_opaque_layer_by_layer() -> None:
    model = loaded("qwen3_next")
    assert off(model) == set()
    assert model.self_check.layers_without_attention == (0,)


@pytest.mark.parametrize("name", ["rwkv", "gemma4"])
def test_blocks_that_do_more_than_add_keep_the_lens(name: str) -> None:
    model = loaded(name)
    assert off(model) == {"streams", "heads", "neurons", "attribution"}
    assert model.self_check.streams_rel_err is not None
    assert model.self_check.streams_rel_err > 0.1
    assert logit_lens(model, IDS).kl_final[-1].max() <= 1e-6
    trace = capture(model, IDS)
    with pytest.raises(NotExactError, match=r"off by .*e.*bound is 1e-05"):
        capture(model, IDS, sites=["attn_out"])
    with pytest.raises(NotExactError, match="not captured"):
        _ = trace.attn_out


def test_several_streams_are_refused() -> None:
    model = loaded("gemma3n")
    assert off(model) == set(FEATURES)
    with pytest.raises(NotExactError, match=r"shape \[2, 1, 7, 32\]"):
        model.require("states")
    with pytest.raises(NotExactError):
        logit_lens(model, IDS)
    with pytest.raises(NotExactError):
        capture(model, IDS)


@pytest.mark.parametrize("name", ["bitnet", "diffllama"])
def test_what_lies_between_attention_and_projection_must_be_a_gate(name: str) -> None:
    """A norm there, or a difference of two maps: heads would add up, and still be wrong."""
    model = loaded(name)
    assert off(model) == {"heads"}
    assert model.self_check.heads_rel_err is not None
    assert model.self_check.heads_rel_err > 1e-2
    model.require("neurons")


@pytest.mark.parametrize("name", ["minicpm3", "codegen"])
def test_families_outside_the_list_need_no_code(name: str) -> None:
    assert off(loaded(name)) == set()


def test_encoder_decoders_are_refused() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    with pytest.raises(ModelError, match="encoder"):
        wrap_model(T5ForConditionalGeneration(config))


@pytest.mark.parametrize("name", COARSE)
def test_bfloat16_is_found_and_measured(name: str) -> None:
    model = wrap_model(build(name).bfloat16())
    check = model.self_check
    assert off(model) == set()
    assert check.bound == 2e-2
    assert check.completeness_rel_err is not None
    assert 0 < check.completeness_rel_err <= 2e-2
    trace = capture(model, IDS)
    assert trace.logits is not None
    assert torch.equal(model.readout.logits(trace.stream[-1]).detach(), trace.logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["qwen2", "gemma2", "gpt_neox_par"])
def test_a_few_huge_entries_hide_nothing(name: str, dtype: torch.dtype) -> None:
    """Trained streams have them; an error relative to the largest entry would see nothing else."""
    network: Any = build(name)
    with torch.no_grad():
        network.get_input_embeddings().weight[:, 5] *= 3000.0
    model = wrap_model(network.to(dtype))
    expected = loaded(name)
    assert model.anatomy.topology == expected.anatomy.topology
    assert "streams" not in off(model)


def test_float64_keeps_every_feature() -> None:
    model = wrap_model(build("llama").double())
    assert off(model) == set()


def test_an_error_that_is_no_number_is_never_exact() -> None:
    assert math.isnan(worst([0.0, math.nan, 1.0]))
    assert worst([0.0, 2.0, 1.0]) == 2.0


def test_wrong_shapes_are_noticed_in_tests() -> None:
    with pytest.raises(TypeCheckError):
        capture(loaded("llama"), IDS[None])


def test_a_changed_block_is_noticed() -> None:
    """A block that multiplies its output is no sum any more, and the message says by how much."""
    network = build("llama")
    block = network.model.layers[1]
    handle = block.register_forward_hook(lambda module, args, output: output * 1.01)
    try:
        model = wrap_model(network)
    finally:
        handle.remove()
    assert "streams" in off(model)
    assert "Block 1" in model.self_check.off["streams"]


# peft asks for a deprecated name of transformers.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_adapters_are_part_of_the_model() -> None:
    peft = pytest.importorskip("peft")
    network = build("qwen2")
    config = peft.LoraConfig(r=4, target_modules=["o_proj", "down_proj", "q_proj"])
    adapted = peft.get_peft_model(network, config)
    randomise(adapted)
    model = wrap_model(adapted)
    assert off(model) == set()
    assert type(model.anatomy.layers[0].attn_proj).__module__.startswith("peft")
    assert model.self_check.heads_rel_err is not None
    assert model.self_check.heads_rel_err <= 1e-5
    assert logit_lens(model, IDS).kl_final[-1].max() <= 1e-6


def test_logits_that_are_no_numbers_are_refused() -> None:
    network = build("llama")
    with torch.no_grad():
        network.model.norm.weight[3] = torch.inf
    with pytest.raises(ModelError, match="finite"):
        wrap_model(network)


def test_the_record_is_strict_json() -> None:
    for name in ("llama", "rwkv", "gemma3n", "falcon_rw"):
        record = loaded(name).self_check.to_json()
        text = json.dumps(record, allow_nan=False)
        assert {"readout_rel_err", "completeness_rel_err", "capture_vs_default_rel_err"} <= set(
            json.loads(text)
        )
