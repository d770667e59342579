"""What is measured of attention, and the usual way to write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from lens_core import attention_matrix, attention_rows, attention_views

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Run
    from lens_core.models import LoadedModel


def rows(loaded: LoadedModel, ids: Tensor) -> Run:
    """The last token's row of every layer and head, with the prediction."""
    return lambda: attention_rows(loaded, ids)


def views(loaded: LoadedModel, ids: Tensor) -> Run:
    """All views of the last token: lengths, rollout and its baseline, sinks."""
    return lambda: attention_views(loaded, ids)


def matrix(loaded: LoadedModel, ids: Tensor) -> Run:
    """The whole matrix of the last layer, heads averaged."""
    return lambda: attention_matrix(loaded, ids, -1)


def eager(loaded: LoadedModel, ids: Tensor) -> Run:
    """A peer: the model switched to eager attention, with all weights returned."""

    def run() -> Any:
        model: Any = loaded.model
        before = model.config._attn_implementation
        model.set_attn_implementation("eager")
        try:
            with torch.inference_mode():
                return model(ids[None], use_cache=False, output_attentions=True)
        finally:
            model.set_attn_implementation(before)

    return run


ATTENTION_CASES: dict[str, Callable[[LoadedModel, Tensor], Run]] = {
    "attention: rows of the last token": rows,
    "attention: all views of the last token": views,
    "attention: matrix of one layer": matrix,
    "peer: eager with all weights": eager,
}
