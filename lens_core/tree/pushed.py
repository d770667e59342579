"""Which tokens a part of the stream promotes, and which it suppresses.

Read with the final norm's scale frozen at the last state of the position (direct logit
attribution; Elhage et al., 2021), so that the parts of a stream add up to its logits before a
softcap. These are logits, never probabilities: a part alone predicts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.lens.rows import extremes
from lens_core.records import plain
from lens_core.tokens import vocab_entries
from lens_core.tree.run import GraphRun

if TYPE_CHECKING:
    from lens_core.models import LoadedModel


@dataclass(frozen=True, eq=False)
class Pushed:
    """The tokens whose logits parts raise most and lower most, the strongest first."""

    raised_ids: Int[np.ndarray, "*part k"]
    raised: Float[np.ndarray, "*part k"]
    """What is added to the logits."""
    lowered_ids: Int[np.ndarray, "*part k"]
    lowered: Float[np.ndarray, "*part k"]

    @property
    def ids(self) -> set[int]:
        """Every token that occurs."""
        return {int(t) for ids in (self.raised_ids, self.lowered_ids) for t in ids.flat}


@torch.no_grad()
def pushed(
    loaded: LoadedModel,
    run: GraphRun,
    vectors: Float[Tensor, "part d_model"],
    *,
    position: int,
    k: int,
) -> Pushed | None:
    """The tokens that some vectors push at a position; None where parts are no logits."""
    if loaded.self_check.reason_off("attribution") is not None:
        return None
    readout = loaded.readout
    final = run.trace.stream[-1, position][None]
    hidden = readout.part_input(vectors, readout.inverse_scale(final).to(vectors.device))
    weight: Tensor = readout.unembed.weight  # type: ignore[assignment]
    k = min(k, readout.d_vocab)
    (raised, raised_ids), (lowered, lowered_ids) = extremes(readout, hidden.to(weight.device), k)
    found = (t.cpu().numpy() for t in (raised_ids, raised.float(), lowered_ids, lowered.float()))
    return Pushed(*found)


def vocabulary(loaded: LoadedModel, ids: Iterable[int]) -> dict[str, Any]:
    """An entry for every token that occurs in a result; ids are the keys, never strings."""
    entries = vocab_entries(loaded.tokenizer, sorted(set(ids)))
    return {str(token): entry for token, entry in entries.items()}


def detail_json(record: Any) -> dict[str, Any]:
    """The fields of a detail as plain values behind those of its header."""
    found: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if item.name == "header":
            found = {**plain(value), **found}
        elif is_dataclass(value):
            found[item.name] = detail_json(value)
        else:
            found[item.name] = plain(value)
    return found


def detail_header(
    loaded: LoadedModel, kind: str, run: GraphRun, *, warnings: Iterable[str] = ()
) -> Mapping[str, Any]:
    """The common header of a detail, with the prompt's ids."""
    header = loaded.header(kind, warnings=tuple(warnings))
    header["input"] = {"ids": run.ids.tolist()}
    return header
