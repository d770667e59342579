"""Rows of logits of a growing text, read on from the model's key-value cache where it is exact.

A cached step must be what a fresh pass over the whole text gives. The first one measures that: it
is made both ways, and where the cache is off by more than the bound of the model's dtype, or where
there is none (Mamba hands out no key-value cache), every step reads the whole text again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.bounds import bound_of
from lens_core.models import LoadedModel
from lens_core.network import with_cache
from lens_core.next_token_prediction.reading import last_row


class CachedRows:
    """Reads the row of logits after a text; a text that only grew costs its new tokens."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Nothing is read yet."""
        self.fresh_reason: str | None = None
        """Why the cache is not used; None while it is exact or untried."""
        self._loaded = loaded
        self._cache: Any = None
        self._length = 0
        self._measured = False

    def row(self, ids: Int[Tensor, " position"]) -> Float[np.ndarray, " d_vocab"]:
        """The logits after the last token. The caller holds the lock.

        What lies before it is what was read last time, or a shorter start of it.
        """
        if self.fresh_reason is not None:
            return last_row(self._loaded, ids)[0]
        cache, known = self._taken(len(ids) - 1)
        options = with_cache(self._loaded.model, cache)
        row, self._cache = last_row(self._loaded, ids[known:], use_cache=True, **options)
        self._length = len(ids)
        if self._cache is None:
            self.fresh_reason = (
                f"{self._loaded.facts.class_name} hands out no key-value cache, so every step "
                "reads the whole text again."
            )
        if known == 0 or self._measured:
            return row
        fresh, _ = last_row(self._loaded, ids)
        self._judge(row, fresh)
        return fresh

    def _taken(self, length: int) -> tuple[Any, int]:
        """The cache of the first `length` tokens and that number, or None and 0.

        It is taken away while the model changes it: a run that is stopped leaves it half done.
        """
        cache, surplus = self._cache, self._length - length
        self._cache, self._length = None, 0
        if cache is None or surplus < 0 or length == 0:
            return None, 0
        if surplus:
            if not _can_be_cut(cache):
                return None, 0
            cache.crop(-surplus)
        return cache, length

    def _judge(self, row: np.ndarray, fresh: np.ndarray) -> None:
        """Give the cache up where it is not exact."""
        self._measured = True
        facts = self._loaded.facts
        bound = bound_of(facts.dtype, quantized=facts.quantization is not None)
        error = float(np.abs(row - fresh).max() / np.abs(fresh).max())
        if error <= bound:
            return
        self._cache = None
        self.fresh_reason = (
            f"With its cache {facts.class_name} is off by {error:.1e} of the largest logit (the "
            f"bound is {bound:.0e}), so every step reads the whole text again."
        )


def _can_be_cut(cache: Any) -> bool:
    """Whether every layer keeps all positions; windows and states cannot go back."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None]))
