"""Causal tracing of a pair: what is put from one run into the other, and what that restores.

Activations of the run with the wanted answer are put into the run without it (denoising), or the
other way round (noising), one place at a time, and everything behind is worked out anew
(activation patching; Vig et al., 2020; Meng et al., 2022; Zhang and Nanda, 2024). The other text
of the pair is the corruption: it stays within what the model knows. Gaussian noise on the
embeddings, as in Meng et al., is there for comparison.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from lens_core.errors import InputError
from lens_core.lens.options import one_of, whole_number
from lens_core.models import LoadedModel
from lens_core.pairs.record import Alignment, Pair
from lens_core.patching.columns import chosen_columns
from lens_core.patching.describe import contrast_of, described, flag_warnings
from lens_core.patching.grids import Grid, checked_components, empty_grids
from lens_core.patching.patches import DIRECTIONS
from lens_core.patching.question import Answers, Question, read_question
from lens_core.patching.result import CausalTrace, CausalTraceStep
from lens_core.patching.sides import COMPONENTS
from lens_core.patching.tracing import Tracing, noises, with_noise
from lens_core.progress import tick
from lens_core.tree.removal import Removal

WINDOWS = (1, 3, 5)
NOISE_SAMPLES = 10
MAX_SAMPLES = 100


def causal_trace(
    loaded: LoadedModel,
    pair: Pair | Alignment,
    *,
    metric: str = "auto",
    answers: Answers | None = None,
    components: Collection[str] = COMPONENTS,
    direction: str = "both",
    window: int = 1,
    positions: Sequence[int] | None = None,
    noise: float | None = None,
    noise_samples: int = NOISE_SAMPLES,
    seed: int = 0,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
) -> CausalTrace:
    """What each activation of one side of a pair restores in, or takes from, the other side.

    The effect of a patch is (patched - corrupt) / (clean - corrupt) of the metric: 1 where the run
    answers as the clean one, 0 where it answers as the corrupt one. When the two differ by less
    than 0.1 nat, effects are undefined (NaN, null in JSON).

    Args:
        loaded: the model.
        pair: a pair, whose correct side (or side 1) is the clean one; or an alignment of ids, whose
            text 1 is.
        metric: logit_difference of the two answers, at the first token in which they differ; log_p
            of the whole wanted answer, given its tokens before; kl, the divergence of the next
            token from the clean run; auto takes the first with answers and the last without.
        answers: what side 1 and what side 2 should go on with, as text, id or ids, or None where it
            is not needed; None takes the pair's own.
        components: resid_post at every aligned position; attn_out, mlp_out and heads (what a query
            head gives to the output projection) at the edits and the last position.
        direction: denoise (clean activations into the corrupt run), noise, or both.
        window: 1, 3 or 5 layers of attn_out or mlp_out that are patched together, as far as there
            are so many around a layer.
        positions: of the clean text; patch the columns that hold them, with every component.
        noise: in place of the other side, the clean text with Gaussian noise on the embeddings of
            its edit, of so many standard deviations of the embeddings (3 in Meng et al.).
        noise_samples: draws of the noise, over which the metric is averaged.
        seed: of the noise.
        max_tokens: refuse longer texts.
        batch_tokens: how many tokens may run at once.
        template: as in `LoadedModel.tokenize`.
        special: as in `LoadedModel.tokenize`.

    Raises:
        PromptError: a text that the model cannot take.
        InputError: an argument outside its range, or answers that the metric cannot use.
        NotExactError: no component is exact in this model.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("loaded", "pair")}
    for found in causal_trace_steps(loaded, pair, **arguments):
        if isinstance(found, CausalTrace):
            return found
    raise AssertionError("the last step is the result")


def causal_trace_steps(
    loaded: LoadedModel,
    pair: Pair | Alignment,
    *,
    metric: str = "auto",
    answers: Answers | None = None,
    components: Collection[str] = COMPONENTS,
    direction: str = "both",
    window: int = 1,
    positions: Sequence[int] | None = None,
    noise: float | None = None,
    noise_samples: int = NOISE_SAMPLES,
    seed: int = 0,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
) -> Iterator[CausalTraceStep | CausalTrace]:
    """`causal_trace` with how far it is after every batch; the last item is the result.

    The arguments are those of `causal_trace`. The edits that hold at the first step must hold to
    the last.

    Raises:
        PromptError: a text that the model cannot take.
        InputError: an argument outside its range, or answers that the metric cannot use.
        NotExactError: no component is exact in this model.
    """
    started = time.perf_counter()
    one_of("direction", direction, ("both", *DIRECTIONS))
    if window not in WINDOWS:
        raise InputError(f"window is {window!r}; it can be 1, 3 or 5 layers.")
    checked_batch(batch_tokens)
    exact, left_out = checked_components(loaded, components)
    question = read_question(
        loaded, pair, metric=metric, answers=answers, max_tokens=max_tokens, template=template,
        special=special,
    )  # fmt: skip
    draws = None if noise is None else _checked_noise(noise, noise_samples, seed)
    tracings, facts, question = _tracings(loaded, question, exact, draws, batch_tokens)
    grids = empty_grids(
        loaded, question.columns, exact, direction=direction, window=window,
        chosen=chosen_columns(question.columns, positions, len(question.clean)),
    )  # fmt: skip
    contrast = contrast_of(question, tracings)
    if contrast.defined:
        grids = yield from _filled(loaded, tracings, grids)
    header, vocab = described(
        loaded, "causal_trace", pair, contrast, seed=None if draws is None else seed,
        seconds=time.perf_counter() - started, warnings=flag_warnings(question, contrast),
    )  # fmt: skip
    forwards = sum(tracing.forwards for tracing in tracings)
    yield CausalTrace(header, vocab, contrast, grids, left_out, facts, forwards)


def checked_batch(batch_tokens: Any) -> None:
    """Refuse a batch that holds nothing.

    Raises:
        InputError: it is no whole number, or outside its range.
    """
    if batch_tokens is not None:
        whole_number("batch_tokens", batch_tokens, 1, 2**24)


def _checked_noise(scale: Any, samples: Any, seed: Any) -> dict[str, Any]:
    """How the noise is drawn.

    Raises:
        InputError: an argument outside its range.
    """
    number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    if not number or not math.isfinite(scale) or not 0 < scale <= 100:
        raise InputError(f"noise is {scale!r}; it can be above 0 and up to 100 deviations.")
    return {
        "scale": float(scale),
        "samples": whole_number("noise_samples", samples, 1, MAX_SAMPLES),
        "seed": whole_number("seed", seed, 0, 2**63 - 1),
    }


def _tracings(
    loaded: LoadedModel,
    question: Question,
    components: tuple[str, ...],
    draws: dict[str, Any] | None,
    batch_tokens: int | None,
) -> tuple[list[Tracing], dict[str, Any] | None, Question]:
    """Both runs, once or for every draw of the noise; what noise it is; what is then asked."""
    if draws is None:
        return [Tracing(loaded, question, components, batch_tokens=batch_tokens)], None, question
    question = with_noise(question)
    spread, found = noises(loaded, question, **draws)
    tracings: list[Tracing] = []
    for one in found:
        clean = tracings[0].clean if tracings else None
        tracings.append(
            Tracing(loaded, question, components, noise=one, clean=clean, batch_tokens=batch_tokens)
        )
    facts = {"scale": draws["scale"], "samples": draws["samples"], "standard_deviation": spread}
    return tracings, facts, question


def _filled(
    loaded: LoadedModel, tracings: Sequence[Tracing], grids: tuple[Grid, ...]
) -> Generator[CausalTraceStep, None, tuple[Grid, ...]]:
    """The grids with their effects."""
    sums = [np.zeros(grid.effect.shape) for grid in grids]
    total = len(tracings) * sum(grid.effect.size for grid in grids)
    done = 0
    for tracing in tracings:
        for direction in DIRECTIONS:
            cells = _cells(tracing, direction, grids, sums, loaded.n_layers)
            asked = sum(g.effect.size for g in grids if g.direction == direction)
            done += asked - len(cells)
            for part, values in tracing.values(direction, [rows for _, _, rows in cells]):
                for (grid, index, _), value in zip(cells[part], values, strict=True):
                    sums[grid][index] += value
                done += len(values)
                tick("row", done, total)
                yield CausalTraceStep(done, total)
    corrupt = np.mean([tracing.corrupt_value for tracing in tracings])
    change = tracings[0].clean_value - corrupt
    filled = (sums[i] / len(tracings) for i in range(len(grids)))
    return tuple(
        grid.filled((value - corrupt) / change) for grid, value in zip(grids, filled, strict=True)
    )


def _cells(
    tracing: Tracing,
    direction: str,
    grids: Sequence[Grid],
    sums: Sequence[np.ndarray],
    n_layers: int,
) -> list[tuple[int, tuple[int, ...], Removal]]:
    """The patches of one direction that have to be run; the others are entered right away."""
    _, taker = tracing.sides(direction)
    own = tracing.clean_value if taker is tracing.clean else tracing.corrupt_value
    found = []
    for number, grid in enumerate(grids):
        if grid.direction != direction:
            continue
        for index, patch in grid.patches(tracing.question.columns, n_layers):
            rows = tracing.changes(direction, patch)
            if rows:
                found.append((number, index, rows))
            else:
                sums[number][index] += np.nan if rows is None else own
    return found
