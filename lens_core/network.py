"""What every causal language model of transformers offers, typed once."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def embedding_rows(model: PreTrainedModel) -> int:
    """How many token ids the model can read."""
    return int(_embedding(model).shape[0])


def input_device(model: PreTrainedModel) -> torch.device:
    """Where token ids go in: the device of the input embeddings."""
    return _embedding(model).device


def _embedding(model: PreTrainedModel) -> Tensor:
    weight: Any = model.get_input_embeddings().weight
    return weight


def run(model: PreTrainedModel, ids: Int[Tensor, "batch position"], **options: Any) -> Any:
    """The model's own answer to token ids, without gradients; no cache unless asked for."""
    network = cast("Any", model)
    with torch.inference_mode():
        return network(input_ids=ids.to(input_device(model)), **{"use_cache": False, **options})


def cache_argument(model: PreTrainedModel) -> str | None:
    """The argument that takes a key-value cache; None for families without one.

    transformers 5.24 renamed `past_key_values` to `cache`, in its outputs, too.
    """
    parameters = inspect.signature(_inner(model).forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in parameters), None)


def with_cache(model: PreTrainedModel, cache: Any) -> dict[str, Any]:
    """The options of a run that goes on from a key-value cache; none without one."""
    if cache is None:
        return {}
    # A wrapper that names neither passes on what it is given.
    return {cache_argument(model) or "past_key_values": cache}


def cache_of(out: Any) -> Any:
    """The key-value cache that a run handed out; None without one."""
    name = "cache" if hasattr(out, "cache") else "past_key_values"
    return getattr(out, name, None)


def last_logits_only(model: PreTrainedModel) -> dict[str, int]:
    """The option that leaves out the logits of earlier positions, where the family has it."""
    has_it = "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
    return {"logits_to_keep": 1} if has_it else {}


def _inner(model: PreTrainedModel) -> Any:
    """The model itself, where an adapter is wrapped around it."""
    base = getattr(model, "get_base_model", None)
    return model if base is None else base()
