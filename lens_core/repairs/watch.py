"""What else changes while a repair runs: the divergence on a few unrelated texts, pass by pass."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lens_core.models import LoadedModel
from lens_core.network import input_device
from lens_core.repairs.texts import PROBES


class Watch:
    """Some of the built-in probes with what the model says for them before the repair."""

    def __init__(self, loaded: LoadedModel, count: int) -> None:
        """Read and measure them; the caller holds the lock, and the weights are those before.

        Args:
            loaded: the model, with its tokenizer.
            count: how many probes, taken evenly from the list.
        """
        limit = loaded.facts.max_positions
        count = min(count, len(PROBES))
        chosen = [PROBES[index * len(PROBES) // count] for index in range(count)]
        texts = [loaded.tokenize(text)[:limit] for text in chosen]
        lengths = torch.tensor([len(ids) for ids in texts])
        # Padded on the right, where causal models never look.
        self._ids = pad_sequence(texts, batch_first=True)
        self._real = torch.arange(self._ids.shape[1]) < lengths[:, None]
        self._loaded = loaded
        self._before = _log_probs(loaded, self._ids, self._real)

    def kl(self) -> float:
        """Mean over all positions of KL(before || now), in nats; the caller holds the lock."""
        now = _log_probs(self._loaded, self._ids, self._real)
        kl = (self._before.exp() * (self._before - now)).sum(-1)
        # Rounding makes tiny negative numbers of zeros.
        return float(kl.clamp_min(0).mean())


def _log_probs(
    loaded: LoadedModel, ids: Int[Tensor, "text position"], real: Tensor
) -> Float[Tensor, "place d_vocab"]:
    """At the positions that are not padding."""
    network = cast("Any", loaded.model)
    with torch.inference_mode(False), torch.no_grad():
        logits = network(input_ids=ids.to(input_device(loaded.model)), use_cache=False).logits
        return logits[real.to(logits.device)].float().log_softmax(-1)
