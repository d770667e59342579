"""The logit lens of one prompt (nostalgebraist, 2020).

States are read with the model's own final norm and head, so the last layer is the model's own
prediction. What attention and MLP add is read as logit contributions with the norm's scale frozen,
never as probabilities, since a part alone has no prediction.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.lens.cells import (
    PARTS,
    Cells,
    Grid,
    TargetCells,
    lens_cells,
    with_divergences,
)
from lens_core.lens.focus import Focus, focus
from lens_core.lens.generation import Sampling
from lens_core.lens.options import (
    MAX_K,
    SCALES,
    Options,
    checked_components,
    chosen_indices,
    one_of,
    target_ids,
    whole_number,
)
from lens_core.lens.position import check_criterion
from lens_core.lens.result import LogitLens, Target
from lens_core.lens.run import LensRun, check_run, fresh_run
from lens_core.models import LoadedModel, check_ids
from lens_core.progress import portion
from lens_core.tokens import token_records, vocab_entries

DECISION_KL = 0.1
"""Nats from the final prediction below which a position counts as decided."""


@torch.no_grad()
def logit_lens(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    k: int = 5,
    components: Collection[str] = ("resid_post",),
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    scale: str = "final",
    norm: str = "final",
    targets: Sequence[int | str] = (),
    track_position: int | None = -1,
    generate: int = 0,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    important: str = "kl_drop",
    threshold: float | None = None,
    compat: bool = False,
    divergences: bool = False,
    max_tokens: int | None = None,
    run: LensRun | None = None,
) -> LogitLens:
    """The most likely next tokens after every layer, at every position, with their statistics.

    Args:
        loaded: the model.
        ids: token ids [position].
        k: how many tokens to keep a cell, 1 to 50.
        components: among embed, resid_mid, resid_post, attn_out and mlp_out.
        layers: the layers to read, counted from 0; None reads all. What is said of a first layer
            (`settled`, `decided`) is said of the layers read, so a stride should end with the last.
        positions: the positions to read, negative ones from the end; None reads all.
        scale: how attn_out and mlp_out are read: with the norm's scale at the "final" state (their
            logits then sum to the model's), at the "local" state right after the addition, or with
            their "own" scale as if they were states (magnitudes then mean little).
        norm: "final" reads states through the final norm, "none" leaves it out.
        targets: tokens to follow besides the model's own prediction: ids, or texts of one token,
            exactly as typed; at most 50.
        track_position: the position whose candidates, attribution and important layers are worked
            out; None leaves them out.
        generate: tokens to generate first; the lens then reads prompt and continuation at once.
        temperature: 0 takes the most likely token, otherwise samples.
        top_p: the nucleus to sample from.
        top_k: sample among the k most likely; 0 for all.
        seed: of the sampling.
        important: criterion for important layers: prob, kl_drop, js, top1_change or
            target_enters_topk.
        threshold: of the criterion; None takes its default.
        compat: criterion "prob" cuts probabilities to whole per cent, as LogitLens4LLMs does.
        divergences: also measure every block output against the one before it (Jensen-Shannon,
            total variation) and KL(state || final); about twice the time.
        max_tokens: refuse longer prompts.
        run: what `lens_run` gave for the same model, edits, prompt and generation; it is read
            instead of running the model again.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range, or a `run` that does not fit.
        NotExactError: the readout of this model does not reproduce its logits, or a component
            cannot be exact in it.
    """
    started = time.perf_counter()
    options = Options(
        whole_number("k", k, 1, min(MAX_K, loaded.facts.vocab_size)),
        checked_components(loaded, components, scale, norm),
        one_of("scale", scale, SCALES),
        one_of("norm", norm, ("final", "none")),
        target_ids(loaded, targets),
        important,
        check_criterion(important, threshold),
        compat,
        track_position,
        divergences,
    )
    sampling = Sampling(generate, temperature, top_p, top_k, seed)
    prompt = check_ids(loaded, ids, max_tokens=max_tokens, new_tokens=generate)
    rows = chosen_indices("layers", layers, loaded.n_layers)
    with loaded.lock:
        run = _run(loaded, prompt, sampling, options, held=run)
        ran = time.perf_counter()
        at = chosen_indices("positions", positions, len(run.ids))
        grid = _grid(run, options, rows, at)
        cells, followed, found = _read(loaded, run, grid, options)
        timing = {"forward_s": ran - started, "lens_s": time.perf_counter() - ran}
        # Under the lock, while the edits it names are the ones applied.
        header = _header(loaded, run, timing, _warnings(run, options))
    shown = {name: cells[name] for name in options.components if name in cells}
    return LogitLens(
        header=header,
        vocab=_vocabulary(loaded, run, grid, cells=shown, found=found),
        lens={"transport": "identity", "norm": norm, "component_scale": scale, "k": options.k},
        layers=rows,
        positions=at,
        cells=shown,
        final_ids=grid.final_ids,
        final_p=run.prediction.p[list(at)].numpy(),
        settled=_settled(followed[0]["resid_post"], cells["resid_post"]),
        decided=_decided(cells["resid_post"]),
        targets=_targets(grid, followed, len(run.ids) - 1),
        tracked=found.tracked,
        attribution=found.attribution,
        important_layers=found.important_layers,
        steps=found.steps,
    )


def _run(
    loaded: LoadedModel,
    prompt: Tensor,
    sampling: Sampling,
    options: Options,
    *,
    held: LensRun | None,
) -> LensRun:
    """The held run once it is known to fit, or a fresh one."""
    parts = options.needs_parts(loaded)
    if held is None:
        return fresh_run(loaded, prompt, sampling, parts=parts)
    check_run(held, loaded, prompt, sampling)
    if parts and "attn_out" not in held.sites:
        raise InputError(
            "The run has no resid_mid, attn_out and mlp_out, which these components, the "
            "attribution or the important layers need. Make one with lens_run(..., parts=True), or "
            "read resid_post alone with track_position=None."
        )
    return held


def _read(
    loaded: LoadedModel, run: LensRun, grid: Grid, options: Options
) -> tuple[dict[str, Cells], list[dict[str, TargetCells]], Focus]:
    """All that is read of a run: cells, followed tokens, and single positions."""
    stages = 2 + options.divergences
    with portion(0, stages):
        cells, followed = lens_cells(
            loaded, run.trace, grid, options.components, scale=options.scale
        )
    if options.divergences:
        with portion(1, stages):
            cells["resid_post"] = with_divergences(loaded, run.trace, grid, cells["resid_post"])
    with portion(stages - 1, stages):
        found = focus(loaded, run, options)
    return cells, followed, found


def _grid(run: LensRun, options: Options, layers: tuple[int, ...], at: tuple[int, ...]) -> Grid:
    ids, final = run.ids, run.prediction.ids
    # The last token has no next one; its own id stands in and is taken out of the result again.
    after = torch.cat([ids[1:], ids[-1:]])
    columns = [final, *(torch.full_like(final, token) for token in options.followed), after]
    targets = torch.stack(columns, 1)[list(at)]
    names = ("argmax", *("user" for _ in options.followed), "next")
    return Grid(layers, at, final[list(at)].numpy(), targets, names, options.k, options.reads_norm)


def _settled(final: TargetCells, cells: Cells) -> np.ndarray:
    """The first layer read from which no token has a larger logit than the final prediction."""
    return _first_to_stay(final.rank == 0, cells.layers)


def _decided(cells: Cells) -> np.ndarray:
    """The first layer read from which KL(final || layer) stays below DECISION_KL."""
    assert cells.kl_final is not None
    near = cells.kl_final < DECISION_KL
    return _first_to_stay(near, cells.layers)


def _first_to_stay(holds: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """The layer from which on `holds` [layer, position] is true; the last layer + 1 for never."""
    stays = np.flip(np.minimum.accumulate(np.flip(holds, 0), axis=0), 0)
    return np.where(stays.any(0), layers[stays.argmax(0)], layers[-1] + 1)


def _targets(grid: Grid, followed: list[dict[str, TargetCells]], last: int) -> tuple[Target, ...]:
    """The followed tokens; the last token of the text has no next one."""
    found = []
    for index, source in enumerate(grid.sources):
        ids, cells = grid.targets[:, index].numpy().copy(), followed[index]
        if source == "next":
            missing = np.array(grid.positions) == last
            ids[missing] = -1
            cells = {name: target.without(missing) for name, target in cells.items()}
        found.append(Target(source, ids, cells))
    return tuple(found)


def _header(
    loaded: LoadedModel, run: LensRun, timing: Mapping[str, float], warnings: Sequence[str]
) -> dict[str, Any]:
    """The common header, with the text that was read."""
    ids, sampling = run.ids.tolist(), run.sampling
    header = loaded.header(
        "logit_lens",
        seed=sampling.seed if sampling.new_tokens else None,
        timing=timing,
        warnings=warnings,
    )
    tokens = token_records(loaded.tokenizer, ids)
    header["input"] = {
        "ids": ids,
        "offsets": [[token["char_start"], token["char_end"]] for token in tokens],
        "is_special": [token["kind"] == "special" for token in tokens],
        "is_generated": [index >= run.n_prompt for index in range(len(ids))],
        "n_prompt": run.n_prompt,
        "sampling": sampling.to_json(),
        "tokens": tokens,
    }
    return header


def _vocabulary(
    loaded: LoadedModel, run: LensRun, grid: Grid, *, cells: Mapping[str, Cells], found: Focus
) -> dict[str, Any]:
    """An entry for every token that occurs anywhere in the result."""
    every = [run.ids, grid.targets, grid.final_ids]
    every += [cell.top_ids for cell in cells.values()]
    every += [cell.bottom_ids for cell in cells.values() if cell.bottom_ids is not None]
    every += [tracked.ids for tracked in found.tracked]
    distinct = np.unique(np.concatenate([np.asarray(some).ravel() for some in every]))
    entries = vocab_entries(loaded.tokenizer, distinct.tolist())
    return {str(token): entry for token, entry in entries.items()}


def _warnings(run: LensRun, options: Options) -> list[str]:
    said = []
    if options.scale == "own" and set(options.components) & set(PARTS):
        said.append(
            "Attention and MLP are read with their own scale, as if each were a state: a tiny "
            "part can look certain, and the parts do not sum to the prediction."
        )
    if "resid_mid" in options.components and not all(run.trace.has_mid):
        layers = [str(layer) for layer, has in enumerate(run.trace.has_mid) if not has]
        said.append(
            f"Layers {', '.join(layers)} have no state after attention: attention and MLP are "
            "added at once."
        )
    if options.norm == "none":
        said.append("The final norm is left out, so the last layer is not the model's prediction.")
    return said
