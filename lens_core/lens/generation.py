"""Continue a prompt before it is read, so that one lens covers every generated step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.network import cache_of, run, with_cache
from lens_core.progress import tick

MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class Sampling:
    """How new tokens are chosen."""

    new_tokens: int
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all tokens."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.new_tokens <= MAX_NEW_TOKENS:
            raise InputError(
                f"generate is {self.new_tokens}; it can be 0 to {MAX_NEW_TOKENS} tokens."
            )
        if not 0.0 <= self.temperature <= 10.0:
            raise InputError(f"temperature is {self.temperature}; it can be 0 to 10.")
        if not 0.0 < self.top_p <= 1.0:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}; it can be 0 (all tokens) or more.")

    def to_json(self) -> dict[str, Any] | None:
        """None when nothing was generated."""
        if self.new_tokens == 0:
            return None
        return {
            "seed": self.seed,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }


@torch.no_grad()
def generate_ids(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    sampling: Sampling,
) -> Int[Tensor, " longer"]:
    """The prompt and its continuation, which ends early at an end-of-text token.

    The same seed gives the same tokens. The caller holds the model's lock.
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    ends = _end_ids(loaded)
    cache: Any = None
    for done in range(sampling.new_tokens):
        logits, cache = _next_logits(loaded, ids, cache)
        token = _choose(logits, sampling, generator)
        ids = torch.cat([ids, torch.tensor([token])])
        tick("token", done + 1, sampling.new_tokens)
        if token in ends:
            break
    return ids


def _next_logits(
    loaded: LoadedModel, ids: Tensor, cache: Any
) -> tuple[Float[Tensor, " d_vocab"], Any]:
    """Logits after the last token; models that hand out no cache read the whole text again."""
    fresh = ids if cache is None else ids[-1:]
    more = with_cache(loaded.model, cache)
    out = run(loaded.model, fresh[None], use_cache=True, **more)
    return out.logits[0, -1].float().cpu(), cache_of(out)


def _choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    ordered, order = logits.div(sampling.temperature).softmax(-1).sort(descending=True)
    # A token belongs to the nucleus when those before it hold less than top_p.
    kept = ordered.cumsum(-1) - ordered < sampling.top_p
    if sampling.top_k:
        kept[sampling.top_k :] = False
    choice = torch.multinomial(ordered * kept, 1, generator=generator)
    return int(order[choice])


def _end_ids(loaded: LoadedModel) -> set[int]:
    config = getattr(loaded.model, "generation_config", None) or loaded.model.config
    ends = getattr(config, "eos_token_id", None)
    if ends is None:
        return set()
    return set(ends) if isinstance(ends, (list, tuple)) else {int(ends)}
