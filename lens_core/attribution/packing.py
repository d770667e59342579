"""Variants of one text as one sequence, in which no token is padding.

The new tokens of all variants follow one another behind the keys and values of the original, which
all of them read. A mask lets every token see the original up to where its variant begins, and from
there on its own variant; it keeps the position that it has there. Tokens that are hidden from all
others are not run at all. Attention costs tokens times keys, most of them masked, so packs are
short; and the mask replaces the one that a model would make itself, so only models that make no
other one are packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_core.attribution.occluders import Row
from lens_core.models import LoadedModel

PARAMETERS = 50_000_000
"""Smaller models are not packed: it would save a tenth of some milliseconds, and in a pack the last
bits of a variant depend on what else is run."""
KERNELS = ("eager", "sdpa")
"""Attention functions that add a mask of [query, key] to the scores."""
WINDOWS = ("sliding_window", "attention_chunk_size")
"""Where configurations say how far back some layers look."""


@dataclass(frozen=True, eq=False)
class Pack:
    """Variants behind one another."""

    ids: Int[Tensor, " token"]
    positions: Int[Tensor, " token"]
    """Where each token stands in its variant."""
    blank: Bool[Tensor, " token"]
    targets: Int[Tensor, " prediction"]
    """The tokens after which a target token comes, variant by variant."""
    prefix: int
    """How many tokens of the original have their states read."""
    seen: Bool[Tensor, "token key"]
    """What each token looks at: the original's first `prefix` tokens, then those of the pack."""

    def mask(self, dtype: torch.dtype) -> Float[Tensor, "1 1 token key"]:
        """What is added to the scores: 0 where a token looks, the least number elsewhere."""
        hidden = torch.zeros(self.seen.shape, dtype=dtype)
        return hidden.masked_fill_(~self.seen, torch.finfo(dtype).min)[None, None]


def new_tokens(row: Row) -> int:
    """How many tokens of a variant have to be run."""
    return len(row.ids) - row.start - int(row.hidden[row.start :].sum())


def pack(rows: Sequence[Row], *, n_targets: int) -> Pack:
    """Put variants behind one another; the last `n_targets` tokens of each are not hidden."""
    kept = [row.start + (~row.hidden[row.start :]).nonzero()[:, 0] for row in rows]
    counts = torch.tensor([len(places) for places in kept])
    owner = torch.repeat_interleave(torch.arange(len(rows)), counts)
    prefix = max(row.start for row in rows)
    before = torch.zeros(len(rows), prefix, dtype=torch.bool)
    for index, row in enumerate(rows):
        before[index, : row.start] = ~row.hidden[: row.start]
    places = torch.arange(len(owner))
    own = (owner[:, None] == owner) & (places[:, None] >= places)
    ends = counts.cumsum(0)
    return Pack(
        ids=torch.cat([row.ids[at] for row, at in zip(rows, kept, strict=True)]),
        positions=torch.cat(kept),
        blank=torch.cat([row.blank[at] for row, at in zip(rows, kept, strict=True)]),
        targets=(ends[:, None] + torch.arange(-n_targets, 0)).flatten(),
        prefix=prefix,
        seen=torch.cat([before[owner], own], 1),
    )


def may_pack(loaded: LoadedModel, length: int) -> bool:
    """Whether packs pay, and nothing but positions and the mask says which token sees which.

    Every pack proves the latter again. This is what a proof could miss where numbers are coarse:
    attention that ends a little before a text of this length does. And families that work with the
    mask itself (ALiBi) or count places, not positions, inside of attention (GPT-Neo) could not even
    run.
    """
    config = loaded.model.config.get_text_config()
    if config._attn_implementation not in KERNELS or getattr(config, "alibi", False):
        return False
    sizes = [getattr(config, name, None) for name in WINDOWS]
    narrow = any(isinstance(size, int) and 0 < size < length for size in sizes)
    by_place = getattr(config, "window_size", None) is not None
    return not narrow and not by_place and loaded.facts.n_parameters >= PARAMETERS
