"""Many variants of one text in few forward passes.

A token acts on nothing before it, so the states before the first change of a variant are those of
the original, whose keys and values are kept and read again. Variants are run side by side, as far
as that costs less than the tokens it repeats, or as one sequence, where that is cheaper. Every way
is held against the plain run of the original: where a model's cache is not exact, all variants are
run from their first token, and where packs are not, side by side.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lens_core.attribution.grouping import (
    Costs,
    in_packs,
    pack_cost,
    side_by_side,
    side_by_side_cost,
)
from lens_core.attribution.occluders import Row, original_row
from lens_core.attribution.packing import may_pack, new_tokens, pack
from lens_core.models import LoadedModel
from lens_core.network import cache_argument, last_logits_only, run, with_cache
from lens_core.self_check import relative_error

if TYPE_CHECKING:
    from transformers import DynamicCache


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
        self._parameters = inspect.signature(loaded.model.forward).parameters
        self._cache: DynamicCache | None = None
        self._costs = Costs.of(loaded, length=len(ids), n_targets=n_targets)
        wanted = share and len(ids) > 1 and self._may_share()
        self.original = self._original(cached=wanted)
        self.hides = True
        """Whether a hidden token acts on nothing: with another id everything stays the same."""
        self.packs = False
        """Whether variants may be run as one sequence, as far as is known."""
        self._witnesses: list[tuple[Row, Tensor]] = []
        self._prove(hide=hide)

    @property
    def shares(self) -> bool:
        """Whether known states are read again."""
        return self._cache is not None

    def groups(self, rows: Sequence[Row]) -> list[list[int]]:
        """Which variants to run together, by their places: every one in exactly one group."""
        aside = side_by_side(self._costs, rows, shared=self.shares)
        if not self.packs:
            return aside
        packed = in_packs(self._costs, rows, prefix=len(self.ids), more=self._more)
        whole, behind = (
            sum(cost([rows[index] for index in group]) for group in groups)
            for cost, groups in ((self._aside_cost, aside), (self._pack_cost, packed))
        )
        return packed if behind < whole else aside

    def logits(self, rows: Sequence[Row]) -> Float[Tensor, "row target d_vocab"]:
        """The logits before every token of the target, in float32, of one of the groups."""
        if self.packs and self._pack_cost(rows) < self._aside_cost(rows):
            found = self._packed(rows)
            if found is not None:
                return found
            self.packs = False
        groups = side_by_side(self._costs, rows, shared=self.shares)
        if len(groups) == 1:
            return self._aside(rows)
        parts = [self._aside([rows[index] for index in group]) for group in groups]
        order = torch.tensor([index for group in groups for index in group]).argsort()
        return torch.cat(parts)[order.to(parts[0].device)]

    def _aside(self, rows: Sequence[Row]) -> Tensor:
        """The logits of variants side by side, all of them equally long."""
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
            states = self._states(start, len(rows))
            options |= {**with_cache(self.loaded.model, states), "use_cache": True}
        blank = torch.stack([row.blank[start:] for row in rows])
        with self._blanked(blank):
            return self._run(ids, options)

    def _packed(self, rows: Sequence[Row]) -> Tensor | None:
        """The logits of variants behind one another, between two whose logits are known.

        None where one of these two comes out otherwise.
        """
        (first, before), (last, behind) = self._witnesses
        packed = pack([first, *rows, last], n_targets=self.n_targets)
        device = self.loaded.device
        options = {
            "attention_mask": packed.mask(self.loaded.model.dtype).to(device),
            "position_ids": packed.positions[None].to(device),
            **with_cache(self.loaded.model, self._states(packed.prefix, 1)),
            "use_cache": True,
        }
        try:
            with self._blanked(packed.blank[None]):
                found = self._run(packed.ids[None], options, targets=packed.targets)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError):
            # A family that reads the mask itself, and expects one number for each token.
            return None
        bound = self.loaded.self_check.bound
        if relative_error(found[0], before) <= bound and relative_error(found[-1], behind) <= bound:
            return found[1:-1]
        return None

    def _run(
        self, ids: Tensor, options: dict[str, Any], *, targets: Tensor | None = None
    ) -> Float[Tensor, "row target d_vocab"]:
        self.rows_run += len(ids) if targets is None else len(targets) // self.n_targets
        self.passes_run += 1
        model = self.loaded.model
        if targets is None:
            keep = dict.fromkeys(last_logits_only(model), self.n_targets)
            return run(model, ids, **keep, **options).logits[:, -self.n_targets :].float()
        targets = targets.to(self.loaded.device)
        keep = dict.fromkeys(last_logits_only(model), targets)
        logits = run(model, ids, **keep, **options).logits[0]
        found = logits if keep else logits[targets]
        return found.float().unflatten(0, (-1, self.n_targets))

    def _original(self, *, cached: bool) -> Float[Tensor, "target d_vocab"]:
        if not cached:
            return self._run(self.ids[None], {})[0]
        from transformers import DynamicCache

        # Without a configuration it keeps everything, also in layers with a sliding window, whose
        # own caches forget what variants still need.
        cache = DynamicCache()
        logits = self._run(
            self.ids[None], {**with_cache(self.loaded.model, cache), "use_cache": True}
        )[0]
        lengths = {cache.get_seq_length(layer) for layer in range(self.loaded.n_layers)}
        if lengths == {len(self.ids)}:
            self._cache = cache
        return logits

    def _may_share(self) -> bool:
        """Whether every layer is attention, whose keys and values are all that it remembers."""
        check = self.loaded.self_check
        whole = check.reason_off("heads") is None and not check.layers_without_attention
        return whole and cache_argument(self.loaded.model) is not None

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
        found, bound = self._aside([row, *pair]), self.loaded.self_check.bound
        if self.shares and not relative_error(found[0], self.original) <= bound:
            self._cache = None
            found = self._aside([row, *pair])
        self.hides = not hide or relative_error(found[2], found[1]) <= bound
        if self.shares and self.hides and "position_ids" in self._parameters:
            self.packs = may_pack(self.loaded, len(self.ids))
            self._witnesses = [(row, self.original)] * 2
            if hide:
                self._witnesses[1] = Row(self.ids, hidden, row.blank, at + 1), found[1]

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

    def _aside_cost(self, rows: Sequence[Row]) -> float:
        return side_by_side_cost(self._costs, rows, shared=self.shares)

    def _pack_cost(self, rows: Sequence[Row]) -> float:
        return pack_cost(self._costs, rows, prefix=len(self.ids), more=self._more)

    @property
    def _more(self) -> int:
        """Tokens of the variants that every pack is proved by."""
        return sum(new_tokens(row) for row, _ in self._witnesses)
