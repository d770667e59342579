"""What a result of patching says about its pair: header, tokens, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.pairs.record import Pair
from lens_core.patching.question import LEAST_CHANGE, Question
from lens_core.patching.result import Contrast
from lens_core.tokens import token_records, vocab_entries

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.pairs.record import Alignment
    from lens_core.patching.tracing import Tracing


def contrast_of(question: Question, tracings: Sequence[Tracing]) -> Contrast:
    """The two runs as the result shows them."""
    clean = tracings[0].clean_value
    corrupt = float(np.mean([tracing.corrupt_value for tracing in tracings]))
    return Contrast(
        clean_side=question.clean_side,
        clean_ids=question.clean.numpy(),
        corrupt_ids=question.corrupt.numpy(),
        columns=question.columns,
        metric=question.metric,
        wanted=question.wanted,
        other=question.other,
        clean_value=clean,
        corrupt_value=corrupt,
        defined=abs(clean - corrupt) >= LEAST_CHANGE,
    )


def described(
    loaded: LoadedModel,
    kind: str,
    pair: Pair | Alignment,
    contrast: Contrast,
    *,
    seconds: float,
    warnings: Sequence[str],
    seed: int | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header of a result, and the texts of all its tokens."""
    with loaded.lock:
        header = loaded.header(kind, seed=seed, timing={"total_s": seconds}, warnings=warnings)
    both = {"clean": contrast.clean_ids.tolist(), "corrupt": contrast.corrupt_ids.tolist()}
    header["input"] = {
        "pair": pair.to_json() if isinstance(pair, Pair) else None,
        **{name: token_records(loaded.tokenizer, ids) for name, ids in both.items()},
    }
    ids = [*both["clean"], *both["corrupt"], *contrast.wanted, *contrast.other]
    entries = vocab_entries(loaded.tokenizer, ids)
    return header, {str(token): entry for token, entry in entries.items()}


def flag_warnings(question: Question, contrast: Contrast) -> list[str]:
    """What a reader of the effects should know."""
    said = []
    if not contrast.defined:
        said.append(
            f"The metric differs by {abs(contrast.change):.2g} between the two sides, and effects "
            f"are undefined below {LEAST_CHANGE}: nothing was patched."
        )
    moved = len(question.clean) - len(question.corrupt)
    if moved:
        said.append(
            f"The texts differ by {abs(moved)} tokens in length, so what follows the edit stands "
            "at other positions on either side, and patches carry that along."
        )
    means = [column for column in question.columns if column.by_mean]
    if any(column.patchable for column in means):
        said.append("An edit of different lengths is patched by the mean of its span.")
    if any(not column.patchable for column in means):
        said.append("An edit is empty on one side: there is nothing to be patched there.")
    return said
