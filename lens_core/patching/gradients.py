"""Attribution patching: all patches at once, to first order (Nanda, 2023; Syed et al., 2023).

The effect of a patch is estimated as (clean - corrupt activation) times the gradient of the metric
there, in the corrupt run: two forward passes and one backward pass for everything. The model is
not linear, so some estimates are held against the true patches, and the error is part of the
result. Gradients start at the embeddings and are asked for by name: no weight gets one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lens_core.errors import NotExactError
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel
from lens_core.network import last_logits_only
from lens_core.pairs.record import Alignment, Pair
from lens_core.patching.columns import chosen_columns
from lens_core.patching.describe import contrast_of, described, flag_warnings
from lens_core.patching.grids import Grid, checked_components, empty_grids
from lens_core.patching.patches import Patch, given_rows, head_slice
from lens_core.patching.question import Answers, read_question
from lens_core.patching.result import AttributionPatching, Check
from lens_core.patching.run import checked_batch
from lens_core.patching.sides import COMPONENTS, Place, module_of
from lens_core.patching.tracing import Tracing
from lens_core.trace import first_state
from lens_core.tree.removal import INPUT, Removal

CHECKS = 10


def attribution_patching(
    loaded: LoadedModel,
    pair: Pair | Alignment,
    *,
    metric: str = "auto",
    answers: Answers | None = None,
    components: Collection[str] = COMPONENTS,
    positions: Sequence[int] | None = None,
    checks: int = CHECKS,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    template: str | None = None,
    special: str = "default",
) -> AttributionPatching:
    """Estimates of what `causal_trace` measures by denoising, and how far off they are.

    Args:
        loaded: the model.
        pair: as in `causal_trace`.
        metric: as in `causal_trace`.
        answers: as in `causal_trace`.
        components: as in `causal_trace`.
        positions: as in `causal_trace`.
        checks: how many estimates, of all sizes, are held against true patches; 10 or more.
        max_tokens: refuse longer texts.
        batch_tokens: how many tokens may run at once.
        template: as in `LoadedModel.tokenize`.
        special: as in `LoadedModel.tokenize`.

    Raises:
        PromptError: a text that the model cannot take.
        InputError: an argument outside its range, or answers that the metric cannot use.
        NotExactError: no component is exact in this model, or gradients are not.
    """
    started = time.perf_counter()
    whole_number("checks", checks, CHECKS, 1000)
    checked_batch(batch_tokens)
    exact, left_out = checked_components(loaded, components)
    question = read_question(
        loaded, pair, metric=metric, answers=answers, max_tokens=max_tokens, template=template,
        special=special,
    )  # fmt: skip
    tracing = Tracing(loaded, question, exact, batch_tokens=batch_tokens)
    grids = empty_grids(
        loaded, question.columns, exact, direction="denoise", window=1,
        chosen=chosen_columns(question.columns, positions, len(question.clean)),
    )  # fmt: skip
    contrast = contrast_of(question, [tracing])
    found: tuple[Check, ...] = ()
    if contrast.defined:
        with tracing.running():
            slopes = gradients(tracing, exact)
        grids = tuple(_estimated(tracing, grid, slopes, contrast.change) for grid in grids)
        found = _checked(tracing, grids, checks, contrast.change)
    warnings = flag_warnings(question, contrast)
    if found:
        worst = max(abs(check.estimate - check.true) for check in found)
        warnings.append(
            f"Approximate: {len(found)} estimates are off from true patches by up to {worst:.2g}."
        )
    seconds = time.perf_counter() - started
    header, vocab = described(
        loaded, "attribution_patching", pair, contrast, seconds=seconds, warnings=warnings
    )
    return AttributionPatching(header, vocab, contrast, grids, left_out, found)


def gradients(
    tracing: Tracing, components: Collection[str]
) -> dict[Place, Float[Tensor, "position width"]]:
    """The gradient of the metric at every activation of the corrupt run, under the lock.

    Raises:
        NotExactError: it is zero or not finite, as behind some quantised weights.
    """
    loaded, text = tracing.loaded, tracing.corrupt.text
    kept: dict[Place, Tensor] = {}
    network: Any = loaded.model
    n_read = tracing.question.n_read
    with ExitStack() as hooks, torch.enable_grad():
        _start_at_embeddings(hooks, loaded)
        for component in components:
            for layer in range(loaded.n_layers):
                _hold(hooks, loaded, (component, layer), kept)
        keep = dict.fromkeys(last_logits_only(loaded.model), n_read)
        ids = text.ids[None].to(loaded.device)
        logits = network(input_ids=ids, use_cache=False, **keep).logits[:, -n_read:].float()
        # The clean logits were made without gradients, and autograd may keep only ordinary ones.
        clean = tracing.clean.logits.clone()
        value = tracing.question.measure(logits, clean)[0]
        # Some quantised layers break the chain; what lies before them has no gradient.
        joined = {place: state for place, state in kept.items() if state.requires_grad}
        found: Sequence[Tensor | None] = ()
        if value.requires_grad and joined:
            # Not backward(): it would leave a gradient on every weight of the shared model.
            found = torch.autograd.grad(value, list(joined.values()), allow_unused=True)
    slopes = {
        place: slope.reshape(len(text.ids), -1).float()
        for place, slope in zip(joined, found, strict=False)
        if slope is not None
    }
    complete = slopes.keys() == kept.keys()
    if not complete or not all(torch.isfinite(s).all() and s.any() for s in slopes.values()):
        raise NotExactError(
            f"The gradient at the activations of {loaded.facts.id} is zero or not finite, so "
            "attribution patching would be wrong; use causal_trace."
        )
    return slopes


def _start_at_embeddings(hooks: ExitStack, loaded: LoadedModel) -> None:
    """Record operations from the embeddings on, until the stack is left."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.detach().requires_grad_()

    hooks.callback(loaded.model.get_input_embeddings().register_forward_hook(hook).remove)


def _hold(hooks: ExitStack, loaded: LoadedModel, place: Place, kept: dict[Place, Tensor]) -> None:
    """Hold on to what passes a place, with its graph, until the stack is left."""
    found = module_of(loaded, place)
    if found is None:
        return
    module, tensor = found

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept[place] = first_state((*args, *kwargs.values()))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept[place] = first_state(output)

    if tensor == INPUT:
        hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:
        hooks.callback(module.register_forward_hook(after).remove)


def _estimated(
    tracing: Tracing,
    grid: Grid,
    slopes: dict[Place, Float[Tensor, "position width"]],
    change: float,
) -> Grid:
    """The grid with its estimates."""
    effect = np.full(grid.effect.shape, np.nan)
    for index, patch in grid.patches(tracing.question.columns, tracing.loaded.n_layers):
        (place,), (column,) = patch.places, patch.columns
        if place in slopes and column.patchable:
            effect[index] = _first_order(tracing, patch, slopes[place]) / change
    return grid.filled(effect)


def _first_order(tracing: Tracing, patch: Patch, slope: Float[Tensor, "position width"]) -> float:
    """What the metric would change by if it were linear in the patched activations."""
    (place,), (column,) = patch.places, patch.columns
    own = tracing.corrupt.activations[place][slice(*column.corrupt)]
    moved = given_rows(column, tracing.clean.activations[place]).double() - own.double()
    terms = moved * slope[slice(*column.corrupt)].double()
    chosen = head_slice(tracing.loaded, place, patch.head, tracing.clean)
    return float((terms if chosen is None else terms[:, chosen]).sum())


def _checked(
    tracing: Tracing, grids: tuple[Grid, ...], count: int, change: float
) -> tuple[Check, ...]:
    """True patches of estimates of all sizes, the largest among them."""
    cells: list[tuple[int, tuple[int, ...], Removal]] = []
    for number, grid in enumerate(grids):
        for index, patch in grid.patches(tracing.question.columns, tracing.loaded.n_layers):
            if rows := tracing.changes("denoise", patch):
                cells.append((number, index, rows))
    cells.sort(key=lambda cell: -abs(float(grids[cell[0]].effect[cell[1]])))
    # In powers of the rank: half of them among the largest, where an error matters most.
    ranks = np.linspace(0, 1, min(count, len(cells))) ** 2 * (len(cells) - 1)
    places = sorted({*range(min(3, len(cells))), *(int(rank) for rank in ranks)})
    spare = (i for i in range(len(cells)) if i not in places)
    places += [i for _, i in zip(range(min(count, len(cells)) - len(places)), spare, strict=False)]
    chosen = [cells[i] for i in sorted(places)]
    true: list[float] = []
    for _, values in tracing.values("denoise", [rows for _, _, rows in chosen]):
        true += [float((value - tracing.corrupt_value) / change) for value in values]
    return tuple(
        Check(number, index, float(grids[number].effect[index]), effect)
        for (number, index, _), effect in zip(chosen, true, strict=True)
    )
