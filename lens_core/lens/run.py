"""The logit lens of one prompt (nostalgebraist, 2020).

States are read with the model's own final norm and head, so the last layer is the model's own
prediction. What attention and MLP add is read as logit contributions with the norm's scale frozen,
never as probabilities, since a part alone has no prediction.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.lens.attribution import attribute_logit
from lens_core.lens.cells import (
    PARTS,
    Cells,
    Grid,
    TargetCells,
    lens_cells,
    with_divergences,
)
from lens_core.lens.generation import Sampling, generate_ids
from lens_core.lens.options import (
    MAX_K,
    SCALES,
    Options,
    checked_components,
    chosen_indices,
    one_of,
    target_id,
    whole_number,
)
from lens_core.lens.position import (
    Course,
    ImportantLayers,
    check_criterion,
    important_layers,
    position_course,
    track,
)
from lens_core.lens.result import LogitLens, Step, Target
from lens_core.lens.rows import summarise
from lens_core.models import LoadedModel, check_ids
from lens_core.tokens import token_records, vocab_entries
from lens_core.trace import SITES, Trace, capture_streams, forward

MAX_LOGITS_BYTES = 128 * 2**20
"""The model's own logits of all positions, up to which they are taken instead of read again."""

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
) -> LogitLens:
    """The most likely next tokens after every layer, at every position, with their statistics.

    Args:
        loaded: the model.
        ids: token ids [position].
        k: how many tokens to keep a cell, 1 to 50.
        components: among embed, resid_mid, resid_post, attn_out and mlp_out.
        layers: the layers to read, counted from 0; None reads all.
        positions: the positions to read, negative ones from the end; None reads all.
        scale: how attn_out and mlp_out are read: with the norm's scale at the "final" state (their
            logits then sum to the model's), at the "local" state right after the addition, or with
            their "own" scale as if they were states (magnitudes then mean little).
        norm: "final" reads states through the final norm, "none" leaves it out.
        targets: tokens to follow besides the model's own prediction: ids, or texts of one token.
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

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range.
        NotExactError: the readout of this model does not reproduce its logits, or a component
            cannot be exact in it.
    """
    started = time.perf_counter()
    options = Options(
        whole_number("k", k, 1, min(MAX_K, loaded.facts.vocab_size)),
        checked_components(loaded, components, scale, norm),
        one_of("scale", scale, SCALES),
        one_of("norm", norm, ("final", "none")),
        tuple(target_id(loaded, target) for target in targets),
        important,
        check_criterion(important, threshold),
        compat,
        track_position is not None,
    )
    prompt = check_ids(loaded, ids, max_tokens=max_tokens)
    sampling = Sampling(generate, temperature, top_p, top_k, seed)
    rows = chosen_indices("layers", layers, loaded.n_layers)
    with loaded.lock:
        ids = generate_ids(loaded, prompt, sampling, max_tokens=max_tokens)
        trace, prediction = _run(loaded, ids, options)
        ran = time.perf_counter()
        at = chosen_indices("positions", positions, len(ids))
        grid = _grid(ids, prediction.ids, rows, at, options)
        cells, followed = lens_cells(loaded, trace, grid, options.components, scale)
        if divergences:
            cells["resid_post"] = with_divergences(loaded, trace, grid, cells["resid_post"])
        focus = _focus(loaded, trace, grid, options, track_position, len(prompt))
        timing = {"forward_s": ran - started, "lens_s": time.perf_counter() - ran}
        # Under the lock, while the edits it names are the ones applied.
        header = _header(loaded, ids, len(prompt), sampling, timing, _warnings(trace, options))
    shown = {name: cells[name] for name in options.components if name in cells}
    tokens = [cell.top_ids for cell in shown.values()]
    tokens += [cell.bottom_ids for cell in shown.values() if cell.bottom_ids is not None]
    tokens += [tracked.ids for tracked in focus["tracked"]] + [ids, grid.targets, grid.final_ids]
    return LogitLens(
        header=header,
        vocab=_vocabulary(loaded, tokens),
        lens={"transport": "identity", "norm": norm, "component_scale": scale, "k": options.k},
        layers=rows,
        positions=at,
        cells=shown,
        final_ids=grid.final_ids,
        final_p=prediction.p[list(at)].numpy(),
        settled=_settled(followed[0]["resid_post"], cells["resid_post"]),
        decided=_decided(cells["resid_post"]),
        targets=_targets(grid, followed, len(ids) - 1),
        **focus,
    )


@dataclass(frozen=True, eq=False)
class _Prediction:
    """The model's own prediction after each position."""

    ids: Int[Tensor, " position"]
    p: Float[Tensor, " position"]


def _run(loaded: LoadedModel, ids: Tensor, options: Options) -> tuple[Trace, _Prediction]:
    """The stream, and what the model itself predicts."""
    needs_parts = set(options.components) & {"resid_mid", *PARTS}
    attribution = options.track and loaded.self_check.reason_off("attribution") is None
    by_prob = options.important == "prob" and loaded.self_check.reason_off("streams") is None
    sites = SITES if needs_parts or attribution or by_prob else ()
    if 4 * len(ids) * loaded.facts.vocab_size > MAX_LOGITS_BYTES:
        trace = capture_streams(loaded.model, loaded.anatomy, ids, sites, "none")
        return trace, _read_prediction(loaded, trace)
    found: list[_Prediction] = []

    def run() -> Tensor:
        # Reduced at once: the logits of all positions are larger than everything that is kept.
        logits = forward(loaded.model, ids)
        best = logits.max(-1)
        total = torch.stack([row.float().logsumexp(0) for row in logits])
        found.append(_Prediction(best.indices.cpu(), (best.values.float() - total).exp().cpu()))
        return logits[:0]

    trace = capture_streams(loaded.model, loaded.anatomy, ids, sites, "none", run)
    return trace, found[0]


def _read_prediction(loaded: LoadedModel, trace: Trace) -> _Prediction:
    """The prediction read from the final states, where the model's own logits would be too many."""
    none = torch.zeros(len(trace.ids), 0, dtype=torch.long)
    found = summarise(loaded.readout, trace.stream[-1:], k=1, targets=none)
    return _Prediction(found.top_ids[:, 0].cpu(), found.top_p[:, 0].cpu())


def _grid(
    ids: Tensor,
    final: Tensor,
    layers: tuple[int, ...],
    at: tuple[int, ...],
    options: Options,
) -> Grid:
    # The last token has no next one; its own id stands in and is taken out of the result again.
    after = torch.cat([ids[1:], ids[-1:]])
    columns = [final, *(torch.full_like(final, token) for token in options.followed), after]
    targets = torch.stack(columns, 1)[list(at)]
    names = ("argmax", *("user" for _ in options.followed), "next")
    final_ids = final[list(at)].numpy()
    return Grid(layers, at, final_ids, targets, names, options.k, options.norm == "final")


def _focus(
    loaded: LoadedModel,
    trace: Trace,
    grid: Grid,
    options: Options,
    track_position: int | None,
    n_prompt: int,
) -> dict[str, Any]:
    """What is worked out for single positions: candidates, attribution, important layers, steps."""
    empty = {"tracked": (), "attribution": None, "important_layers": None, "steps": ()}
    if track_position is None:
        return empty
    (position,) = chosen_indices("track_position", [track_position], len(trace.ids))
    course = position_course(loaded, trace, position, norm=grid.norm)
    final = int(course.final.argmax())
    exact = loaded.self_check.reason_off("attribution") is None and grid.norm
    target = options.followed[0] if options.followed else final
    return {
        "tracked": (track(course.log_probs, position, options.k),),
        "attribution": attribute_logit(loaded, trace, position, target) if exact else None,
        "important_layers": _important(loaded, trace, course, target, options),
        "steps": tuple(
            _step(loaded, trace, options, grid.norm, place)
            for place in range(n_prompt - 1, len(trace.ids) - 1)
        ),
    }


def _important(
    loaded: LoadedModel, trace: Trace, course: Course, target: int, options: Options
) -> ImportantLayers:
    return important_layers(
        loaded,
        trace,
        course,
        criterion=options.important,
        threshold=options.threshold,
        target=target,
        k=options.k,
        compat=options.compat,
    )


def _step(loaded: LoadedModel, trace: Trace, options: Options, norm: bool, position: int) -> Step:
    """How the token generated after `position` rose through the layers."""
    token = int(trace.ids[position + 1])
    course = position_course(loaded, trace, position, norm=norm)
    chosen = course.log_probs[:, token]
    rank = (course.log_probs > chosen[:, None]).sum(1)
    found = _important(loaded, trace, course, token, options)
    return Step(position, token, chosen.exp().cpu().numpy(), rank.cpu().numpy(), found)


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
    loaded: LoadedModel,
    ids: Tensor,
    n_prompt: int,
    sampling: Sampling,
    timing: Mapping[str, float],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The common header, with the text that was read."""
    header = loaded.header(
        "logit_lens",
        seed=sampling.seed if sampling.new_tokens else None,
        timing=timing,
        warnings=warnings,
    )
    tokens = token_records(loaded.tokenizer, ids.tolist())
    header["input"] = {
        "ids": ids.tolist(),
        "offsets": [[token["char_start"], token["char_end"]] for token in tokens],
        "is_special": [token["kind"] == "special" for token in tokens],
        "is_generated": [index >= n_prompt for index in range(len(ids))],
        "n_prompt": n_prompt,
        "sampling": sampling.to_json(),
        "tokens": tokens,
    }
    return header


def _vocabulary(loaded: LoadedModel, tokens: Sequence[Any]) -> dict[str, Any]:
    """An entry for every token that occurs anywhere in the result."""
    every = np.unique(np.concatenate([np.asarray(ids).ravel() for ids in tokens]))
    entries = vocab_entries(loaded.tokenizer, every.tolist())
    return {str(token): entry for token, entry in entries.items()}


def _warnings(trace: Trace, options: Options) -> list[str]:
    said = []
    if options.scale == "own" and set(options.components) & set(PARTS):
        said.append(
            "Attention and MLP are read with their own scale, as if each were a state: a tiny "
            "part can look certain, and the parts do not sum to the prediction."
        )
    if "resid_mid" in options.components and not all(trace.has_mid):
        layers = [str(layer) for layer, has in enumerate(trace.has_mid) if not has]
        said.append(
            f"Layers {', '.join(layers)} have no state after attention: attention and MLP are "
            "added at once."
        )
    if options.norm == "none":
        said.append("The final norm is left out, so the last layer is not the model's prediction.")
    return said
