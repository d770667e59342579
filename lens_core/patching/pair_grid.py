"""One pair token by token: how far its sides are apart at every layer and aligned position."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.difference.metrics import lens_divergences, state_metrics
from lens_core.difference.options import EMBED, require_lens, site_key
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel, check_ids
from lens_core.next_token_prediction.distribution import Distribution, distribution
from lens_core.next_token_prediction.reading import unused_rows
from lens_core.pairs.aligning import aligned
from lens_core.pairs.record import Alignment, Pair
from lens_core.patching.columns import Column, columns_of
from lens_core.records import plain
from lens_core.tokens import token_records, vocab_entries
from lens_core.trace import capture

OF_GRID = ("rel_l2", "cos_dist", "l2", "mean_abs", "js_lens")
MAX_K = 100


@dataclass(frozen=True, eq=False)
class PairGrid:
    """How far the sides of one pair are apart, at every layer and column (schema pair_grid/1)."""

    header: dict[str, Any]
    vocab: dict[str, Any]
    """{"<id>": {"text", "bytes"}} of every token of the sides and of what they predict."""
    pair: Pair
    alignment: Alignment
    columns: tuple[Column, ...]
    """Positions that belong together; "clean" is side 1."""
    sites: tuple[str, ...]
    """embed, layer_0, ..., one row each."""
    values: dict[str, Float[np.ndarray, "site column"]]
    """rel_l2, cos_dist, l2, mean_abs and js_lens (nats) as in `lens_core.difference.metrics`; NaN
    where a side has no token, and all of js_lens where states cannot be read as predictions."""
    following: tuple[Distribution, Distribution]
    """The most likely next tokens of either side."""

    SCHEMA = "lens_core/pair_grid/1"

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/pair_grid/1."""
        return {
            **plain(self.header),
            "vocab": plain(self.vocab),
            "pair": self.pair.to_json(),
            "alignment": plain(asdict(self.alignment)) | {"shift": self.alignment.shift},
            "columns": [column.to_json() for column in self.columns],
            "sites": list(self.sites),
            "values": plain(self.values),
            "following": [{"ids": plain(side.ids), "p": plain(side.p)} for side in self.following],
        }


def pair_grid(
    loaded: LoadedModel,
    pair: Pair,
    *,
    k: int = 10,
    max_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
) -> PairGrid:
    """How far the sides of a pair are apart at every layer and aligned position.

    Args:
        loaded: the model.
        pair: the two texts.
        k: how many next tokens of either side.
        max_tokens: refuse longer texts.
        template: as in `LoadedModel.tokenize`.
        special: as in `LoadedModel.tokenize`.

    Raises:
        PromptError: a text that the model cannot take.
        InputError: `k` outside its range.
        NotExactError: the states would not be exact in this model.
    """
    started = time.perf_counter()
    whole_number("k", k, 1, MAX_K)
    alignment = aligned(loaded, pair, template=template, special=special)
    texts = [torch.tensor(ids, dtype=torch.long) for ids in (alignment.ids1, alignment.ids2)]
    with loaded.lock:
        traces = [
            capture(loaded, check_ids(loaded, ids, max_tokens=max_tokens), sites=(), logits="last")
            for ids in texts
        ]
        columns = columns_of(alignment, clean_side=1)
        states = [
            _by_column(trace.stream, [getattr(c, side) for c in columns])
            for trace, side in zip(traces, ("clean", "corrupt"), strict=True)
        ]
        values = _values(loaded, states[0], states[1])
        following = tuple(_following(loaded, trace.logits, k) for trace in traces)
        header = loaded.header("pair_grid", timing={"total_s": time.perf_counter() - started})
    header["input"] = {
        "sides": [token_records(loaded.tokenizer, ids.tolist()) for ids in texts],
        "template": template,
        "special": special,
    }
    known = [*alignment.ids1, *alignment.ids2, *(i for one in following for i in one.ids.tolist())]
    entries = vocab_entries(loaded.tokenizer, sorted(set(known)))
    layers = [EMBED, *range(loaded.n_layers)]
    return PairGrid(
        header=header,
        vocab={str(token): entry for token, entry in entries.items()},
        pair=pair,
        alignment=alignment,
        columns=columns,
        sites=tuple(site_key(("resid_post", layer)) for layer in layers),
        values=values,
        following=(following[0], following[1]),
    )


def _by_column(
    stream: Float[Tensor, "site position d_model"], spans: Sequence[tuple[int, int]]
) -> Float[Tensor, "site column d_model"]:
    """The states of every column, the mean of its span; NaN where the span is empty."""
    nothing = torch.full((len(stream), stream.shape[-1]), float("nan"), device=stream.device)
    found = [stream[:, a:b].mean(1) if a < b else nothing for a, b in spans]
    return torch.stack(found, 1)


def _values(
    loaded: LoadedModel,
    first: Float[Tensor, "site column d_model"],
    second: Float[Tensor, "site column d_model"],
) -> dict[str, Float[np.ndarray, "site column"]]:
    known = ~(first.isnan().any(-1).all(0) | second.isnan().any(-1).all(0))
    shape = tuple(first.shape[:2])
    found = {name: np.full(shape, np.nan, np.float32) for name in OF_GRID}
    rows = known.cpu().numpy()
    a, b = (side[:, known].flatten(0, 1) for side in (first, second))
    measured = state_metrics(a.cpu().numpy(), b.cpu().numpy())
    for name in OF_GRID[:-1]:
        found[name][:, rows] = measured[name].reshape(shape[0], -1)
    if require_lens(loaded) is None:
        divergence = lens_divergences(loaded.readout, a, b)[2]
        found["js_lens"][:, rows] = divergence.reshape(shape[0], -1).cpu().numpy()
    return found


def _following(loaded: LoadedModel, logits: Tensor | None, k: int) -> Distribution:
    assert logits is not None
    row = logits[-1].float().cpu().numpy()
    most = min(k, loaded.facts.vocab_size)
    return distribution(row, k=most, temperature=1.0, nucleus=0.9, unused=unused_rows(loaded))


def chosen_answers(grid: PairGrid) -> tuple[int, int] | None:
    """What either side goes on with by itself; None where both say the same."""
    first, second = (int(side.ids[0]) for side in grid.following)
    return None if first == second else (first, second)
