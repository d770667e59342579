"""What a model says next: one forward pass, of which one row of logits is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel, check_ids
from lens_core.network import cache_of, last_logits_only, run
from lens_core.next_token_prediction.distribution import (
    checked_nucleus,
    checked_temperature,
    distribution,
)
from lens_core.next_token_prediction.result import NextToken, Step
from lens_core.progress import tick
from lens_core.tokens import token_records, vocab_entries

MAX_K = 100


@dataclass(frozen=True)
class Shown:
    """What is shown of a row, checked."""

    k: int
    temperature: float
    nucleus: float


def next_token(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    k: int = 10,
    temperature: float = 1.0,
    nucleus: float = 0.9,
    position: int = -1,
    max_tokens: int | None = None,
) -> NextToken:
    """The most likely next tokens after a text, with the entropy of all of them.

    Args:
        loaded: the model.
        ids: token ids of the text [position].
        k: how many tokens to list, 1 to 100.
        temperature: divides the logits, 0.01 to 100; `NextToken.at` changes it without a run.
        nucleus: the share of the probability whose number of tokens is counted.
        position: after which token; negative ones count from the end. What follows it is left
            out of the run, as nothing after a position changes it.
        max_tokens: refuse longer texts.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range.
    """
    started = time.perf_counter()
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    shown = checked_shown(loaded, k, temperature, nucleus)
    at = whole_number("position", position, -len(ids), len(ids) - 1) % len(ids)
    with loaded.lock:
        row, _ = last_row(loaded, ids[: at + 1])
        timing = {"forward_s": time.perf_counter() - started}
        return described(loaded, ids, row, shown, position=at, timing=timing)


def next_token_from_logits(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    logits: Float[Tensor, " d_vocab"] | Float[np.ndarray, " d_vocab"],
    *,
    k: int = 10,
    temperature: float = 1.0,
    nucleus: float = 0.9,
    position: int = -1,
) -> NextToken:
    """`next_token` of a row of logits that another analysis of the same text has kept.

    The edits that are applied now are named in the result, so they must be those of the run.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range, or a row of another length.
    """
    ids = check_ids(loaded, ids)
    shown = checked_shown(loaded, k, temperature, nucleus)
    at = whole_number("position", position, -len(ids), len(ids) - 1) % len(ids)
    row = torch.as_tensor(logits).detach().float().cpu().numpy().copy()
    if row.shape != (loaded.facts.vocab_size,):
        raise InputError(
            f"The row of logits has shape {list(row.shape)}; this model has one logit for each of "
            f"{loaded.facts.vocab_size} tokens."
        )
    return described(loaded, ids, row, shown, position=at)


def checked_shown(loaded: LoadedModel, k: int, temperature: float, nucleus: float) -> Shown:
    """What is shown of a row.

    Raises:
        InputError: an argument outside its range.
    """
    return Shown(
        whole_number("k", k, 1, min(MAX_K, loaded.facts.vocab_size)),
        checked_temperature(temperature),
        checked_nucleus(nucleus),
    )


def last_row(
    loaded: LoadedModel, ids: Int[Tensor, " position"], **options: Any
) -> tuple[Float[np.ndarray, " d_vocab"], Any]:
    """The logits after the last token, and the cache that the model hands out where one is asked.

    The caller holds the lock.
    """
    with ticking(loaded):
        out = run(loaded.model, ids[None], **last_logits_only(loaded.model), **options)
    # A copy: a view would keep the logits of all positions where the family gives them.
    row = out.logits[0, -1].float().cpu().numpy().copy()
    return row, cache_of(out)


@contextmanager
def ticking(loaded: LoadedModel) -> Iterator[None]:
    """Tick after every block, so that a long pass can be watched and stopped."""
    total = len(loaded.anatomy.layers)
    with ExitStack() as hooks:
        for layer, parts in enumerate(loaded.anatomy.layers):

            def hook(*_: Any, done: int = layer + 1) -> None:
                tick("layer", done, total)

            hooks.callback(parts.block.register_forward_hook(hook).remove)
        yield


def described(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    row: Float[np.ndarray, " d_vocab"],
    shown: Shown,
    *,
    position: int,
    steps: Sequence[Step] = (),
    timing: dict[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> NextToken:
    """The result of a row, under the edits that are applied now."""
    unused = unused_rows(loaded)
    top = distribution(
        row, k=shown.k, temperature=shown.temperature, nucleus=shown.nucleus, unused=unused
    )
    header = loaded.header("next_token", timing=timing, warnings=warnings)
    header["input"] = input_record(loaded, ids.tolist(), len(ids) - len(steps))
    return NextToken(
        header=header,
        vocab=_vocabulary(loaded, [*ids.tolist(), *top.ids.tolist()], unused),
        position=position,
        temperature=shown.temperature,
        nucleus=shown.nucleus,
        top=top,
        unused=unused,
        steps=tuple(steps),
        logits=row,
    )


def input_record(loaded: LoadedModel, ids: list[int], n_prompt: int) -> dict[str, Any]:
    """The `input` of a header: the ids, the tokens as they read, and where the prompt ends."""
    tokens = token_records(loaded.tokenizer, ids)
    return {"ids": ids, "n_prompt": n_prompt, "tokens": tokens}


def unused_rows(loaded: LoadedModel) -> Int[np.ndarray, " unused"]:
    """Rows of the vocabulary that stand for no token: most models pad theirs to a round size."""
    rows, tokenizer = loaded.facts.vocab_size, loaded.tokenizer
    if tokenizer is None:
        return np.array([], dtype=np.int64)
    behind = _without_token(loaded, range(min(len(tokenizer), rows), rows))
    if len(behind) == max(0, rows - len(tokenizer)):
        # As many ids as tokens lie before them: there is no gap to look for.
        return np.array(behind, dtype=np.int64)
    return np.array(_without_token(loaded, range(rows)), dtype=np.int64)


def _without_token(loaded: LoadedModel, ids: range) -> list[int]:
    records = token_records(loaded.tokenizer, ids)
    return [r["id"] for r in records if r["kind"] == "special" and not r["piece"]]


def _vocabulary(
    loaded: LoadedModel, ids: list[int], unused: Int[np.ndarray, " unused"]
) -> dict[str, Any]:
    entries = vocab_entries(loaded.tokenizer, ids)
    for token in entries.keys() & set(unused.tolist()):
        entries[token] = {"text": f"<unused {token}>", "bytes": None}
    return {str(token): entry for token, entry in entries.items()}
