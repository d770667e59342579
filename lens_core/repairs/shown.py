"""What is shown of a repair besides its numbers: two words by layer, and how text goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.edits import applied
from lens_core.lens import lens_run, logit_lens
from lens_core.models import LoadedModel
from lens_core.records import plain
from lens_core.repairs.result import Repair, RepairedToken
from lens_core.repairs.states import continuation


@dataclass(frozen=True, eq=False)
class WordCourse:
    """The wanted word and the one said before, through the layers, before and with the edit."""

    pair: int
    index: int
    """The token of the target that is predicted there."""
    words: tuple[int, int]
    """The wanted token, and what was said instead."""
    before: Float[np.ndarray, "word place"]
    """Probability after the embedding and after every layer."""
    after: Float[np.ndarray, "word place"]
    edited: tuple[int, ...]
    """The layers that the edit changes."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        names = ("target", "said")
        sides = {"before": self.before, "after": self.after}
        return {
            **dict(zip(names, self.words, strict=True)),
            "pair": self.pair,
            "index": self.index,
            "places": ["embed", *range(self.before.shape[1] - 1)],
            **{side: dict(zip(names, plain(rows), strict=True)) for side, rows in sides.items()},
            "edited": list(self.edited),
        }


def word_course(loaded: LoadedModel, result: Repair) -> WordCourse | None:
    """Where in the model the first repaired token is decided, before and with the edit.

    None where nothing was changed, or states cannot be read exactly. The caller holds the edits
    that the repair was made on top of.
    """
    token = _repaired_token(result)
    if result.edit is None or token is None or loaded.self_check.reason_off("readout"):
        return None
    pair = result.pairs[token.pair]
    ids = torch.tensor([*pair.prompt_ids, *pair.target_ids[: token.index]])
    words = (token.target, token.before.said)
    before = _probabilities(loaded, ids, words)
    with applied(loaded, result.edit):
        after = _probabilities(loaded, ids, words)
    layers = tuple(part.layer for part in result.edit.layers)
    return WordCourse(token.pair, token.index, words, before, after, layers)


def _repaired_token(result: Repair) -> RepairedToken | None:
    """The first that was repaired; where none was, the first that should have been."""
    own = [token for token in result.tokens if result.pairs[token.pair].view_of is None]
    wrong = [token for token in own if token.before.margin <= 0]
    return next((token for token in wrong if token.action == "repaired"), next(iter(wrong), None))


def _probabilities(
    loaded: LoadedModel, ids: Tensor, words: tuple[int, int]
) -> Float[np.ndarray, "word place"]:
    """Of each word at the last position, after the embedding and after every layer."""
    found = logit_lens(
        loaded,
        ids,
        k=1,
        components=["embed", "resid_post"],
        positions=[-1],
        targets=words,
        track_position=None,
        run=lens_run(loaded, ids, parts=False),
    )
    cells = [target.cells for target in found.targets if target.source == "user"]
    rows = [np.concatenate([one["embed"].p[:, 0], one["resid_post"].p[:, 0]]) for one in cells]
    return np.stack(rows)


def continued(loaded: LoadedModel, ids: Sequence[int], tokens: int) -> list[int]:
    """The most likely next tokens of a text; fewer where it or the room for it ends."""
    return continuation(loaded, torch.tensor(list(ids)), tokens).tolist()
