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


def last_logits_only(model: PreTrainedModel) -> dict[str, int]:
    """The option that leaves out the logits of earlier positions, where the family has it."""
    base = getattr(model, "get_base_model", None)
    inner: Any = model if base is None else base()
    has_it = "logits_to_keep" in inspect.signature(inner.forward).parameters
    return {"logits_to_keep": 1} if has_it else {}
