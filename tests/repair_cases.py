"""Tiny models with facts to repair: random weights, strong enough that attention matters."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
)

from lens_core.loading import wrap_model
from lens_core.models import LoadedModel
from lens_core.repairs import RepairBasis, repair_basis

D_VOCAB, N_NEURONS = 97, 96
_SIZES: dict[str, Any] = {
    "vocab_size": D_VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_LLAMA = {**_SIZES, "intermediate_size": N_NEURONS, "num_key_value_heads": 2}
_GEMMA = {**_LLAMA, "head_dim": 12, "query_pre_attn_scalar": 12}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**_LLAMA),
    "qwen2": Qwen2Config(**_LLAMA, tie_word_embeddings=True),
    "gemma2": Gemma2Config(**_GEMMA),
    "gpt2": GPT2Config(**_SIZES, n_inner=N_NEURONS),
    "gpt_neox": GPTNeoXConfig(**_SIZES, intermediate_size=N_NEURONS),
    "mixtral": MixtralConfig(**_LLAMA, num_local_experts=2),
}
FAMILIES = ("llama", "qwen2", "gemma2", "gpt2", "gpt_neox")
PROMPT = torch.tensor([3, 14, 15, 92, 65])
TARGET = torch.tensor([35, 89, 7])


def build(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> LoadedModel:
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[family]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0 if "embed" not in name else 1.0)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return wrap_model(model.to(dtype), name=f"{family}-{seed}")


def references(count: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(0, D_VOCAB, (8,), generator=generator) for _ in range(count)]


def basis_of(loaded: LoadedModel) -> RepairBasis:
    return repair_basis(loaded, references())


def weights(loaded: LoadedModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in loaded.model.state_dict().items()}


def assert_untouched(loaded: LoadedModel, before: dict[str, Tensor]) -> None:
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight.view(torch.uint8), before[name].view(torch.uint8)), name
    assert loaded.active_edits == ()
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    modules = list(loaded.model.modules())
    assert all(not module._forward_hooks for module in modules)
    assert all(not module._forward_pre_hooks for module in modules)
    assert not loaded.model.training


def greedy(loaded: LoadedModel, prompt: Tensor, tokens: int) -> list[int]:
    """By the plain network, token after token, without a cache."""
    model: Any = loaded.model
    ids: Sequence[int] = prompt.tolist()
    for _ in range(tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits
        ids = [*ids, int(logits[0, -1].argmax())]
    return list(ids[len(prompt) :])
