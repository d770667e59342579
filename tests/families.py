"""Tiny models of many families, built from configurations, with random weights of every kind.

A freshly initialised model has zero biases and unit gains, which hides biases counted twice,
missing norm offsets and (1 + w) mistakes; so biases, gains and router biases are random here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lens_core.models import LoadedModel
    from lens_core.tree import GraphRun

N_LAYERS, D_VOCAB = 3, 97
IDS = torch.tensor([5, 71, 16, 88, 42, 9, 33])

_BASE: dict[str, Any] = {
    "vocab_size": D_VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_NO_GROUPS = {key: value for key, value in _BASE.items() if key != "num_key_value_heads"}
_GPT = {"vocab_size": D_VOCAB, "n_embd": 32, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 64}
_OPT: dict[str, Any] = {
    "vocab_size": D_VOCAB,
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_BLOOM = {"vocab_size": D_VOCAB, "hidden_size": 32, "n_layer": N_LAYERS, "n_head": 4}
_FALCON: dict[str, Any] = {
    "vocab_size": D_VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
}
_WINDOW = {"sliding_window": 3}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MANY_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_WIDE_HEADS = {"head_dim": 16}
_GEMMA = {**_WIDE_HEADS, **_WINDOW, "query_pre_attn_scalar": 16}
_GRANITE = {"residual_multiplier": 0.3, "logits_scaling": 4.0}
_SHARED_EXPERT = {"moe_intermediate_size": 12, "shared_expert_intermediate_size": 20}
_LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "full_attention"],
}
_LATENT = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 12,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "qk_nope_head_dim": 8,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {**_BASE, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralConfig", {**_BASE, **_WINDOW}),
    "qwen2": ("Qwen2Config", _BASE),
    "qwen3": ("Qwen3Config", {**_BASE, **_WIDE_HEADS}),
    "gemma": ("GemmaConfig", {**_BASE, **_WIDE_HEADS}),
    "gemma2": ("Gemma2Config", {**_BASE, **_GEMMA}),
    "gemma3_text": ("Gemma3TextConfig", {**_BASE, **_GEMMA}),
    "gpt2": ("GPT2Config", {**_GPT, "scale_attn_by_inverse_layer_idx": True}),
    "gpt_neox_par": ("GPTNeoXConfig", {**_NO_GROUPS, "use_parallel_residual": True}),
    "gpt_neox_seq": ("GPTNeoXConfig", {**_NO_GROUPS, "use_parallel_residual": False}),
    "opt": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 32}),
    "opt_postln": (
        "OPTConfig",
        {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    "phi": ("PhiConfig", _BASE),
    "phi3": ("Phi3Config", _BASE),
    "mixtral": ("MixtralConfig", {**_BASE, **_EXPERTS}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            **_BASE,
            **_SHARED_EXPERT,
            **_MANY_EXPERTS,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {**_BASE, **_MANY_EXPERTS, **_WIDE_HEADS, "moe_intermediate_size": 12},
    ),
    "gpt_oss": ("GptOssConfig", {**_BASE, **_EXPERTS, **_WINDOW, "head_dim": 8}),
    "olmo": ("OlmoConfig", {**_BASE, "clip_qkv": 2.0}),
    "olmo2": ("Olmo2Config", _BASE),
    "olmo3": ("Olmo3Config", {**_BASE, **_WINDOW}),
    "olmoe": ("OlmoeConfig", {**_BASE, **_MANY_EXPERTS}),
    "cohere": ("CohereConfig", _BASE),
    "cohere2": ("Cohere2Config", {**_BASE, **_WINDOW}),
    "granite": (
        "GraniteConfig",
        {**_BASE, **_GRANITE, "embedding_multiplier": 6.0, "attention_multiplier": 0.2},
    ),
    "granitemoe": ("GraniteMoeConfig", {**_BASE, **_GRANITE, **_EXPERTS}),
    "deepseek_v3": ("DeepseekV3Config", {**_BASE, **_LATENT}),
    "glm": ("GlmConfig", {**_BASE, **_WIDE_HEADS}),
    "glm4": ("Glm4Config", {**_BASE, **_WIDE_HEADS}),
    "stablelm_par": ("StableLmConfig", {**_BASE, "use_parallel_residual": True}),
    "stablelm_seq": ("StableLmConfig", {**_BASE, "use_parallel_residual": False}),
    "starcoder2": ("Starcoder2Config", _BASE),
    "nemotron": ("NemotronConfig", _BASE),
    "smollm3": ("SmolLM3Config", _BASE),
    "exaone4": ("Exaone4Config", {**_BASE, **_WINDOW, "sliding_window_pattern": 2}),
    "seed_oss": ("SeedOssConfig", {**_BASE, **_WIDE_HEADS}),
    "ernie4_5": ("Ernie4_5Config", _BASE),
    "phimoe": ("PhimoeConfig", {**_BASE, **_EXPERTS}),
    "llama4": (
        "Llama4TextConfig",
        {
            **_BASE,
            **_WIDE_HEADS,
            "intermediate_size_mlp": 40,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
        },
    ),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**_BASE, **_WIDE_HEADS, **_SHARED_EXPERT, **_MANY_EXPERTS, **_LINEAR},
    ),
    "falcon_new": (
        "FalconConfig",
        {**_FALCON, "num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False},
    ),
    "falcon_7b": (
        "FalconConfig",
        {**_FALCON, "multi_query": True, "parallel_attn": True, "alibi": False, "bias": True},
    ),
    "falcon_rw": (
        "FalconConfig",
        {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
    ),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "vocab_size": D_VOCAB,
            "hidden_size": 32,
            "num_layers": N_LAYERS,
            "num_heads": 4,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1], [["global"], 1]],
            "window_size": 3,
            "intermediate_size": 48,
        },
    ),
    "bloom": ("BloomConfig", _BLOOM),
    "bloom_postln": ("BloomConfig", {**_BLOOM, "apply_residual_connection_post_layernorm": True}),
    "mpt": (
        "MptConfig",
        {
            "vocab_size": D_VOCAB,
            "d_model": 32,
            "n_layers": N_LAYERS,
            "n_heads": 4,
            "max_seq_len": 64,
        },
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", {**_GPT, "multi_query": True}),
}
"""Name of the configuration class and its arguments."""

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": (
        "MambaConfig",
        {"vocab_size": D_VOCAB, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 8},
    ),
    "rwkv": (
        "RwkvConfig",
        {
            "vocab_size": D_VOCAB,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "attention_hidden_size": 32,
        },
    ),
    "gemma3n": (
        "Gemma3nTextConfig",
        {
            **_BASE,
            "head_dim": 8,
            "vocab_size_per_layer_input": D_VOCAB,
            "hidden_size_per_layer_input": 8,
            "altup_num_inputs": 2,
            "layer_types": ["full_attention"] * 3,
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0] * 3,
        },
    ),
    "gemma4": (
        "Gemma4TextConfig",
        {
            **_BASE,
            "head_dim": 8,
            "layer_types": ["full_attention"] * 3,
            "vocab_size_per_layer_input": D_VOCAB,
            "hidden_size_per_layer_input": 8,
        },
    ),
    "bitnet": ("BitNetConfig", _BASE),
    "diffllama": ("DiffLlamaConfig", _BASE),
    "minicpm3": (
        "MiniCPM3Config",
        {
            **_BASE,
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    "codegen": ("CodeGenConfig", {**_GPT, "rotary_dim": 4}),
}
"""Families beyond the reference list, among them those that cannot be taken apart."""


QUICK = ("llama", "gpt2", "gemma2", "gpt_neox_par", "falcon_7b", "mixtral", "gpt_oss", "granite")
"""One family of every kind of block, for the tests that run in under a minute."""

EVERY = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(FAMILIES)
]
"""Parameters of a test on all families."""


def build(name: str) -> PreTrainedModel:
    """The tiny random model of one family, in float32 and in eval mode."""
    import transformers

    kind, arguments = {**FAMILIES, **OTHERS}[name]
    config = getattr(transformers, kind)(**arguments)
    torch.manual_seed(0)
    # Fused attention leaves Gemma-2's softcap out, and older releases of transformers choose it.
    options = {"attn_implementation": "eager"} if name == "gemma2" else {}
    model = transformers.AutoModelForCausalLM.from_config(config, **options).eval().float()
    randomise(model)
    return model


def randomise(model: torch.nn.Module) -> None:
    """Random matrices, biases and gains, in place, always the same."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * 1.2 / parameter.shape[-1] ** 0.5)
                continue
            gain = name.endswith("weight") and ("norm" in name or ".ln" in name)
            parameter.copy_((parameter if gain else 0.0) + 0.3 * noise)
        for name, buffer in model.named_buffers():
            if "e_score_correction_bias" in name:
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))


@cache
def loaded(name: str) -> LoadedModel:
    """The examined model of one family, shared by the tests of a process."""
    from lens_core.examine import examine

    return examine(
        build(name),
        None,
        name=name,
        revision=None,
        quantization=None,
        weights_sha256="0" * 64,
        tokenizer_sha256=None,
    )


@cache
def held(name: str) -> GraphRun:
    """The forward pass of one family over IDS, shared by the tests of a process."""
    from lens_core.tree import graph_run

    return graph_run(loaded(name), IDS)
