"""The models that are measured."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

from lens_core import load_model, wrap_model

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from lens_core.models import LoadedModel

BIG = "0.5B shape"
"""Random weights in the shape of Qwen2.5-0.5B: 24 x 896, 14/2 heads, vocabulary 151,936, tied."""

DEMO = "demo"
"""The embedded model."""

SUBJECTS = (BIG, DEMO)


@cache
def subject(name: str) -> LoadedModel:
    """A model by its name, loaded once."""
    return load_model("demo") if name == DEMO else _big()


def _big() -> LoadedModel:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    # The hash of random weights says nothing, and takes seconds.
    return wrap_model(Qwen2ForCausalLM(config), name=BIG, weights_sha256="0" * 64)


def random_ids(loaded: LoadedModel, tokens: int) -> Int[Tensor, " position"]:
    """Token ids of a prompt of this length; the same ones every time."""
    generator = torch.Generator().manual_seed(tokens)
    return torch.randint(0, loaded.facts.vocab_size, (tokens,), generator=generator)
