"""Many variants of one text in few forward passes.

A token acts on nothing before it, so the states before the first change of a variant are those of
the original, whose keys and values are kept and read again. Variants are run together where that
costs less than the tokens it repeats. Both ways are held against the plain run of the original:
where a model's cache is not exact, all variants are run from their first token.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.attribution.occluders import Row, original_row
from lens_core.memory import free_bytes
from lens_core.models import LoadedModel
from lens_core.network import last_logits_only, run
from lens_core.self_check import relative_error

if TYPE_CHECKING:
    from transformers import DynamicCache

CPU_TOKENS, GPU_TOKENS = 4096, 65536
"""Tokens of one pass."""
CPU_PASS, GPU_PASS = 48, 2048
"""What a pass costs however short it is, in tokens: reading the weights, or launching kernels."""
LOGITS_BYTES = 256 * 2**20
"""Logits of one pass, with the copies that are made of them."""


class Passes:
    """Runs variants of one text; whoever calls holds the model's lock.

    Results do not depend on how variants are put together, beyond rounding.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        ids: Int[Tensor, " position"],
        *,
        n_targets: int,
        blank: Float[Tensor, " d_embed"] | None = None,
        share: bool = True,
        hide: bool = False,
    ) -> None:
        """Run the original.

        Args:
            loaded: the model.
            ids: prompt and target without its last token.
            n_targets: at how many of the last positions a prediction is read.
            blank: the embedding of blank positions.
            share: read known states again where that is exact.
            hide: also find out whether tokens can be hidden.
        """
        self.loaded = loaded
        self.ids = ids
        self.n_targets = n_targets
        self.rows_run = 0
        self.passes_run = 0
        self._blank = blank
        self._free = free_bytes("cpu" if self._on_cpu else str(loaded.device))
        self._parameters = inspect.signature(loaded.model.forward).parameters
        self._cache: DynamicCache | None = None
        wanted = share and len(ids) > 1 and self._may_share()
        self.original = self._original(cached=wanted)
        self.hides = True
        """Whether a hidden token acts on nothing: with another id everything stays the same."""
        self._prove(hide=hide)

    @property
    def shares(self) -> bool:
        """Whether known states are read again."""
        return self._cache is not None

    def groups(self, rows: Sequence[Row]) -> list[list[int]]:
        """Which variants to run together, by their places: every one in exactly one group."""
        by_length: dict[int, dict[int, list[int]]] = {}
        for index, row in enumerate(rows):
            start = row.start if self.shares else 0
            by_length.setdefault(len(row.ids), {}).setdefault(start, []).append(index)
        found = []
        for length, by_start in by_length.items():
            starts = sorted(by_start)
            for first, stop in self._cheapest(length, [len(by_start[s]) for s in starts], starts):
                places = [index for s in starts[first:stop] for index in by_start[s]]
                size = self._size(length - starts[first])
                found += [places[i : i + size] for i in range(0, len(places), size)]
        return found

    def logits(self, rows: Sequence[Row]) -> Float[Tensor, "row target d_vocab"]:
        """The logits before every token of the target, in float32; all rows equally long."""
        length = len(rows[0].ids)
        start = min(row.start for row in rows) if self._cache is not None else 0
        ids = torch.stack([row.ids[start:] for row in rows])
        hidden = torch.stack([row.hidden for row in rows])
        options: dict[str, Any] = {}
        if hidden.any():
            options["attention_mask"] = (~hidden).long().to(self.loaded.device)
        if (start or hidden.any()) and "position_ids" in self._parameters:
            places = torch.arange(start, length, device=self.loaded.device)
            options["position_ids"] = places.expand(len(rows), -1)
        if start:
            options |= {"past_key_values": self._states(start, len(rows)), "use_cache": True}
        blank = torch.stack([row.blank[start:] for row in rows])
        with self._blanked(blank):
            return self._run(ids, options)

    def _run(self, ids: Tensor, options: dict[str, Any]) -> Tensor:
        self.rows_run += len(ids)
        self.passes_run += 1
        keep = dict.fromkeys(last_logits_only(self.loaded.model), self.n_targets)
        logits = run(self.loaded.model, ids, **keep, **options).logits
        return logits[:, -self.n_targets :].float()

    def _original(self, *, cached: bool) -> Float[Tensor, "target d_vocab"]:
        if not cached:
            return self._run(self.ids[None], {})[0]
        from transformers import DynamicCache

        # Without a configuration it keeps everything, also in layers with a sliding window, whose
        # own caches forget what variants still need.
        cache = DynamicCache()
        logits = self._run(self.ids[None], {"past_key_values": cache, "use_cache": True})[0]
        lengths = {cache.get_seq_length(layer) for layer in range(self.loaded.n_layers)}
        if lengths == {len(self.ids)}:
            self._cache = cache
        return logits

    def _may_share(self) -> bool:
        """Whether every layer is attention, whose keys and values are all that it remembers."""
        check = self.loaded.self_check
        whole = check.reason_off("heads") is None and not check.layers_without_attention
        return whole and "past_key_values" in self._parameters

    def _prove(self, *, hide: bool) -> None:
        """Run the last tokens behind known states, and with one token hidden, also with another id.

        The first must give what the plain run of all gave, and the other two the same.
        """
        at = len(self.ids) - self.n_targets - 1
        if at < 0 or not (hide or self.shares):
            return
        row = original_row(self.ids, at)
        hidden, other = row.hidden.clone(), self.ids.clone()
        hidden[at] = True
        other[at] = (other[at] + 1) % self.loaded.facts.vocab_size
        pair = [Row(ids, hidden, row.blank, at) for ids in (self.ids, other)] if hide else []
        found, bound = self.logits([row, *pair]), self.loaded.self_check.bound
        if self.shares and not relative_error(found[0], self.original) <= bound:
            self._cache = None
            found = self.logits([row, *pair])
        self.hides = not hide or relative_error(found[2], found[1]) <= bound

    def _states(self, start: int, rows: int) -> DynamicCache:
        """Keys and values of the first tokens, for so many variants."""
        from transformers import DynamicCache

        assert self._cache is not None
        found = DynamicCache()
        layers: Any = self._cache.layers
        for index, layer in enumerate(layers):
            keys, values = (
                state[:, :, :start].expand(rows, -1, -1, -1) for state in (layer.keys, layer.values)
            )
            found.update(keys, values, index)
        return found

    @contextmanager
    def _blanked(self, blank: Tensor) -> Iterator[None]:
        """The mean row in place of some embeddings, for the block."""
        if not blank.any():
            yield
            return
        assert self._blank is not None
        mean, at = self._blank, blank[:, :, None]

        def replaced(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            return torch.where(at.to(output.device), mean.to(output), output)

        handle = self.loaded.model.get_input_embeddings().register_forward_hook(replaced)
        try:
            yield
        finally:
            handle.remove()

    def _cheapest(
        self, length: int, counts: Sequence[int], starts: Sequence[int]
    ) -> list[tuple[int, int]]:
        """The ranges of starts to run together that take the fewest tokens, passes counted in."""
        overhead = CPU_PASS if self._on_cpu else GPU_PASS
        best, back = [0.0], [0]
        for stop in range(1, len(starts) + 1):
            rows, least, at = 0, float("inf"), 0
            for first in range(stop - 1, -1, -1):
                rows += counts[first]
                suffix = length - starts[first]
                passes = -(-rows // self._size(suffix))
                cost = best[first] + rows * suffix + overhead * passes
                if cost < least:
                    least, at = cost, first
            best.append(least)
            back.append(at)
        ranges, stop = [], len(starts)
        while stop:
            ranges.append((back[stop], stop))
            stop = back[stop]
        return ranges[::-1]

    def _size(self, suffix: int) -> int:
        """How many variants of which so many tokens are new may run at once."""
        logits = LOGITS_BYTES // (12 * self.n_targets * self.loaded.facts.vocab_size)
        tokens = min(CPU_TOKENS if self._on_cpu else GPU_TOKENS, self._fitting)
        return int(max(1, min(logits, tokens // suffix)))

    @property
    def _on_cpu(self) -> bool:
        return self.loaded.device.type == "cpu"

    @property
    def _fitting(self) -> int:
        """Tokens of a pass for which a quarter of the free memory is enough."""
        facts, length = self.loaded.facts, len(self.ids)
        states = 12 * facts.d_model + 4 * (facts.d_mlp or 4 * facts.d_model)
        cached = 4 * facts.n_layers * facts.n_kv_heads * facts.d_head
        return self._free // (16 * (states + cached + 4 * facts.n_heads * length))
