"""The two result files of llm-error-correction, by its own keys.

`activation_results_*.json` has every dim of every pair, about 150 bytes each, and is written layer
by layer; `minimal_diff_dimensions_*.json` has the dims below an absolute threshold. Three things
differ from the original on purpose: the sides are read at their last token, where the original
read padding; the normalization is applied; and layers come in the order of their numbers. A
threshold says nothing of how large a layer's states are: which dims change consistently little is
what the tests of `pair_difference` answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.difference.kept_pairs import (
    NORMALIZATIONS,
    KeptPairs,
    cosines,
    differences,
    open_kept,
)
from lens_core.difference.nested_json import NestedJson, nested_json
from lens_core.difference.result import PairDifference
from lens_core.errors import InputError
from lens_core.lens.options import one_of

THRESHOLD = 0.01
_STAMP = re.compile(r"[0-9]{8}_[0-9]{6}")


def write_original_results(
    result: PairDifference,
    kept: str | Path,
    folder: str | Path,
    *,
    threshold: float | int = THRESHOLD,
    normalization: str = "none",
    stamp: str | None = None,
) -> tuple[Path, Path]:
    """Write `activation_results_STAMP.json` and `minimal_diff_dimensions_STAMP.json`.

    Only block outputs are in them. The states were kept as float16, so a difference is known to
    about a two-thousandth of its states; `metadata` says so.

    Args:
        result: a comparison that kept its states.
        kept: the folder it kept them in.
        folder: to write to; made where it is missing.
        threshold: a dim is minimal where its difference is smaller.
        normalization: none, l2 (differences of unit vectors) or cosine (adds the cosine).
        stamp: YYYYMMDD_HHMMSS in the names; None takes the time.

    Raises:
        InputError: an argument outside its range, states of another comparison, or a folder that
            cannot be written to.
    """
    one_of("normalization", normalization, NORMALIZATIONS)
    check_threshold(threshold)
    stamp = _stamp(stamp)
    states = open_kept(result, kept)
    folder = _writable(Path(folder))
    paths = (
        folder / f"activation_results_{stamp}.json",
        folder / f"minimal_diff_dimensions_{stamp}.json",
    )
    with nested_json(paths[0]) as every, nested_json(paths[1]) as minimal:
        every.put("metadata", _metadata(result, states, normalization, threshold))
        with every.inside("diff_token_type"):
            for kind, subtypes in _nested(states).items():
                with every.inside(kind), minimal.inside(kind):
                    for subtype, rows in subtypes.items():
                        with every.inside(subtype), minimal.inside(subtype):
                            _write_pairs(every, minimal, states, rows, normalization, threshold)
    return paths


def check_threshold(threshold: float | int) -> None:
    """Refuse what is no size of a difference.

    Raises:
        InputError: it is not a number above 0.
    """
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not number or not (0 < threshold < math.inf):
        raise InputError(f"threshold is {threshold!r}; it must be a number above 0.")


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'Nothing can be written to "{folder}": {error.strerror}.') from error
    return folder


def _stamp(stamp: str | None) -> str:
    if stamp is None:
        return datetime.now().strftime("%Y%m%d_%H%M%S")
    if not _STAMP.fullmatch(stamp):
        raise InputError(f"stamp is {stamp!r}; it must look like 20250131_235959.")
    return stamp


def _nested(states: KeptPairs) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {}
    for (kind, subtype), rows in states.numbered().items():
        found.setdefault(kind, {})[subtype] = rows
    return found


def _metadata(
    result: PairDifference, states: KeptPairs, normalization: str, threshold: float | int
) -> dict[str, Any]:
    """The original's four keys, and what its files do not say."""
    model = result.header["model"]
    return {
        "created_at": result.header["created"],
        "model_name": model["id"],
        "device": result.header["input"].get("device"),
        "layer_indices": list(states.layers),
        "normalization": normalization,
        "threshold": threshold,
        "readout": result.readout,
        "states": "kept as float16",
        "software": result.header["software"],
    }


def _write_pairs(
    every: NestedJson,
    minimal: NestedJson,
    states: KeptPairs,
    rows: list[int],
    normalization: str,
    threshold: float | int,
) -> None:
    """The pairs of one subtype, in both files."""
    for number, index in enumerate(rows):
        pair, both = states.pairs[index], states.states(index)
        gap = differences(both, normalization)
        with ExitStack() as open_objects:
            for file in (every, minimal):
                open_objects.enter_context(file.inside(f"pair_{number}"))
            sentences = {"sentence1": pair.sentence1, "sentence2": pair.sentence2}
            every.put("sentence_pair", sentences)
            open_objects.enter_context(every.inside("layers"))
            for at, (name, values) in enumerate(_layers(states, both, gap, normalization)):
                every.put(name, values)
                minimal.put(name, np.flatnonzero(gap[at] < threshold))


def _layers(
    states: KeptPairs,
    both: Float[np.ndarray, "side layer d_model"],
    gap: Float[np.ndarray, "layer d_model"],
    normalization: str,
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and content of every layer of one pair."""
    cosine = cosines(both)
    for at, layer in enumerate(states.layers):
        rows = zip(both[0, at].tolist(), both[1, at].tolist(), gap[at].tolist(), strict=True)
        values: dict[str, Any] = {
            "dimensions": {
                f"dim_{dim}": {
                    "sentence1_activation": one,
                    "sentence2_activation": two,
                    "activation_diff": difference,
                }
                for dim, (one, two, difference) in enumerate(rows)
            },
            "overall_mean_diff": gap[at].mean(),
            "overall_max_diff": gap[at].max(),
            "overall_min_diff": gap[at].min(),
        }
        if normalization == "cosine":
            values["overall_cosine_similarity"] = cosine[at]
            values["overall_cosine_difference"] = 1 - cosine[at]
        yield f"layer_{layer}", values
