"""Predictions of the erroneous sides, with some dims of one layer held at their mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.difference.metrics import log_probs
from lens_core.difference.reading import LeftOut, PairOrAligned, ReadyPair, read_pairs
from lens_core.difference.running import padded, replacing, run_body, states_at
from lens_core.difference.units import Design, design, pair_key
from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel
from lens_core.trace import first_state

_WINDOW = 64


@dataclass(frozen=True, eq=False)
class PairData:
    """The distinct pairs, with what is known of them without any replacement."""

    wrong: list[tuple[int, ...]]
    """Token ids of the erroneous sides."""
    right: Float[np.ndarray, "pair d_model"]
    """Final states of the correct sides."""
    answers: list[int | None]
    """First token of the correct side's answer."""
    units: Int[np.ndarray, " pair"]
    mean: Float[np.ndarray, " d_model"]
    """Of the layer's states, both sides of all pairs."""
    sizes: Float[np.ndarray, " d_model"]
    left_out: int


def pair_data(
    loaded: LoadedModel,
    pairs: Iterable[PairOrAligned],
    layer: int,
    reading: dict[str, Any],
    batch_tokens: int,
) -> PairData:
    """Run both sides of all pairs as they are.

    Raises:
        InputError: no pair can be compared.
    """
    read = list(read_pairs(loaded, pairs, readout="last", **reading))
    every = [one for one in read if isinstance(one, ReadyPair) and not one.same]
    if not every:
        reason = next((f" The first: {one.reason}" for one in read if isinstance(one, LeftOut)), "")
        raise InputError(f"None of {len(read)} pairs can be compared; the least is 1.{reason}")
    keys = [pair_key(loaded, one) for one in every]
    plan = design(keys, seed=0)
    ready = [every[index] for index in plan.distinct]
    ids = [keys[index].ids for index in plan.distinct]
    states, right = _states(loaded, ids, layer, batch_tokens)
    return PairData(
        wrong=[other for _, other in ids],
        right=right,
        answers=[_answer(loaded, one, flipped) for one, flipped in _with_side(ready, plan)],
        units=plan.unit,
        mean=states.mean((0, 1)),
        sizes=np.median(np.abs(states).reshape(-1, states.shape[-1]), axis=0),
        left_out=sum(isinstance(one, LeftOut) for one in read),
    )


def _with_side(ready: list[ReadyPair], plan: Design) -> Iterator[tuple[ReadyPair, bool]]:
    return zip(ready, plan.flipped.tolist(), strict=True)


def _states(
    loaded: LoadedModel,
    ids: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    layer: int,
    batch_tokens: int,
) -> tuple[Float[np.ndarray, "pair side d_model"], Float[np.ndarray, "pair d_model"]]:
    """Both sides at the layer, and the correct side at the end."""
    sites = [("resid_post", layer), ("resid_post", loaded.n_layers - 1)]
    states, final = [], []
    for start in range(0, len(ids), _WINDOW):
        window = ids[start : start + _WINDOW]
        wanted = {text: ((len(text) - 1,),) for both in window for text in both}
        seen = states_at(loaded, wanted, sites, batch_tokens=batch_tokens)
        for both in window:
            rows = [seen[text, (len(text) - 1,)] for text in both]
            states.append(np.stack([row[0] for row in rows]))
            final.append(rows[0][1])
    return np.stack(states), np.stack(final)


def _answer(loaded: LoadedModel, ready: ReadyPair, flipped: bool) -> int | None:
    """The first token of the answer that the correct side should favour."""
    text = ready.pair.answer2 if flipped else ready.pair.answer1
    if not text or loaded.tokenizer is None:
        return None
    try:
        return int(loaded.tokenize(text, special="none")[0])
    except PromptError:
        return None


@torch.no_grad()
def prediction(
    loaded: LoadedModel, data: PairData, layer: int, dims: np.ndarray | None, batch_tokens: int
) -> Float[np.ndarray, "measure pair"]:
    """KL(correct || erroneous), and log p of the answer, with some dims held at their mean."""
    found = np.full((2, len(data.wrong)), np.nan)
    lengths = np.array([len(ids) for ids in data.wrong])
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= batch_tokens:
            stop += 1
        rows = order[start:stop]
        with loaded.lock:
            states = _final_states(loaded, [data.wrong[row] for row in rows], layer, dims, data)
            found[:, rows] = _compared(loaded, data, rows, states)
        start = stop
    return found


def _final_states(
    loaded: LoadedModel,
    texts: list[tuple[int, ...]],
    layer: int,
    dims: np.ndarray | None,
    data: PairData,
) -> Float[Tensor, "text d_model"]:
    """The state that the next token is read from."""
    ids, mask = padded(texts)
    places = (torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts]))
    blocks, seen = loaded.anatomy.layers, []

    def keep(module: Any, args: Any, output: Any) -> None:
        state = first_state(output)
        rows, columns = (one.to(state.device) for one in places)
        seen.append(state[rows, columns].float())

    at = torch.from_numpy(np.zeros(0, np.int64) if dims is None else dims).expand(len(texts), -1)
    values = torch.from_numpy(data.mean)[at]
    with replacing(blocks[layer].block, places, at, values):
        handle = blocks[-1].block.register_forward_hook(keep)
        try:
            run_body(loaded.model, ids, mask)
        finally:
            handle.remove()
    return seen[0]


def _compared(
    loaded: LoadedModel, data: PairData, rows: np.ndarray, states: Tensor
) -> Float[np.ndarray, "measure pair"]:
    found = np.full((2, len(rows)), np.nan)
    # A row at a time: two rows of a large vocabulary are all that is held.
    for place, row in enumerate(rows.tolist()):
        log_p = log_probs(loaded.readout, torch.from_numpy(data.right[row : row + 1]))[0]
        log_q = log_probs(loaded.readout, states[place : place + 1])[0]
        found[0, place] = float((log_p.exp() * (log_p - log_q)).sum().clamp_min(0.0))
        answer = data.answers[row]
        if answer is not None:
            found[1, place] = float(log_q[answer])
    return found
