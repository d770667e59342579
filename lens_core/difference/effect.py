"""Does a set of dims matter? They are held at their mean, and the prediction is measured.

In the run of the erroneous side some dims of one layer's output, where the next token is read, are
replaced by their mean over the data. If they help to correct the error, the prediction moves away
from that of the correct side: more than when random dims of the same size are replaced.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lens_core.difference.effect_result import SetEffect, SetEffectStep
from lens_core.difference.effect_runs import PairData, pair_data, prediction
from lens_core.difference.matching import matched_sets
from lens_core.difference.options import tokens_at_once
from lens_core.difference.reading import PairOrAligned
from lens_core.difference.summary import unit_means
from lens_core.errors import InputError
from lens_core.lens.options import chosen_indices, whole_number
from lens_core.models import LoadedModel
from lens_core.progress import tick, while_done

LEAST_SETS = 50


def set_effect(
    loaded: LoadedModel,
    pairs: Iterable[PairOrAligned],
    layer: int,
    dims: Sequence[int],
    *,
    n_random: int = LEAST_SETS,
    seed: int = 0,
    batch_tokens: int | None = None,
    max_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
) -> SetEffect:
    """What holding some dims of a layer at their mean does to the prediction, against random sets.

    Args:
        loaded: the model.
        pairs: as in `pair_difference`. The side that is not `correct` is the erroneous one;
            sentence 2 where a pair says nothing.
        layer: 0 to L-1; its output is changed, at the last position of the text.
        dims: the set.
        n_random: random sets of the same size and about the same median |activation|, at least 50.
        seed: of the random sets.
        batch_tokens: as in `pair_difference`.
        max_tokens: leave longer texts out.
        template: as in `LoadedModel.tokenize`.
        special: as in `LoadedModel.tokenize`.

    Raises:
        InputError: an argument outside its range, or no pair that can be compared.
        NotExactError: the states or the readout would not be exact in this model.
    """
    arguments = {
        name: value
        for name, value in locals().items()
        if name not in ("loaded", "pairs", "layer", "dims")
    }
    for step in set_effect_steps(loaded, pairs, layer, dims, **arguments):
        if isinstance(step, SetEffect):
            return step
    raise AssertionError("the last step is the result")


def set_effect_steps(
    loaded: LoadedModel,
    pairs: Iterable[PairOrAligned],
    layer: int,
    dims: Sequence[int],
    *,
    n_random: int = LEAST_SETS,
    seed: int = 0,
    batch_tokens: int | None = None,
    max_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
) -> Iterator[SetEffectStep | SetEffect]:
    """`set_effect` with what is done after every set; the last item is the result.

    The arguments are those of `set_effect`.

    Raises:
        InputError: an argument outside its range, or no pair that can be compared.
        NotExactError: the states or the readout would not be exact in this model.
    """
    started = time.perf_counter()
    reading = {"max_tokens": max_tokens, "template": template, "special": special}
    loaded.require("states")
    loaded.require("readout")
    layer = whole_number("layer", layer, -loaded.n_layers, loaded.n_layers - 1) % loaded.n_layers
    chosen = np.array(chosen_indices("dim", dims, loaded.facts.d_model), np.int64)
    if 2 * len(chosen) > loaded.facts.d_model:
        raise InputError(
            f"The set has {len(chosen)} of {loaded.facts.d_model} dims; at most half of them leave "
            "enough others to compare with."
        )
    n_random = whole_number("n_random", n_random, LEAST_SETS, 10_000)
    seed = whole_number("seed", seed, 0, 2**63 - 1)
    at_once = tokens_at_once(loaded, batch_tokens)
    with while_done("prompt", 0, 1 + n_random):
        data = pair_data(loaded, pairs, layer, reading, at_once)
    sets = matched_sets(chosen, data.sizes, count=n_random, seed=seed)
    found = [prediction(loaded, data, layer, None, at_once)]
    for done, some in enumerate([chosen, *sets], 1):
        found.append(prediction(loaded, data, layer, some, at_once))
        tick("prompt", done, 1 + n_random)
        yield SetEffectStep(done, 1 + n_random)
    header = loaded.header(
        "set_effect",
        seed=seed,
        timing={"total_s": time.perf_counter() - started},
        warnings=[f"{data.left_out} pairs were left out."] if data.left_out else [],
    )
    yield _result(header, layer, chosen, data, np.stack(found))


def _result(
    header: dict[str, Any],
    layer: int,
    dims: np.ndarray,
    data: PairData,
    measured: Float[np.ndarray, "run measure pair"],
) -> SetEffect:
    """Means over units, so that an edit that many pairs share counts once."""
    rows = measured.reshape(-1, measured.shape[-1]).T
    by_unit = unit_means(rows, data.units)
    # Units without any answer are left out; all runs know the same ones.
    means = unit_means(by_unit, np.zeros(len(by_unit), np.int64))[0]
    kl, log_p = means.reshape(len(measured), 2).T
    header["input"] = {"n_pairs": len(data.wrong), "n_random": len(measured) - 2}
    return SetEffect(
        header=header,
        layer=layer,
        dims=dims,
        n_units=len(by_unit),
        kl_before=float(kl[0]),
        kl_change=float(kl[1] - kl[0]),
        random_kl_change=(kl[2:] - kl[0]).astype(np.float32),
        log_p_before=float(log_p[0]),
        log_p_change=float(log_p[1] - log_p[0]),
        random_log_p_change=(log_p[2:] - log_p[0]).astype(np.float32),
    )
