"""Where every head looks from one position or a few, without ever building [query, key] matrices.

Attention weights say where a layer looks, not what the prediction depends on (Jain and Wallace,
2019); `attribution` measures that.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.attention.options import MAX_BYTES, check_bytes, chosen_queries
from lens_core.attention.probe import BASES, Look, capture_mode, probe
from lens_core.attention.result import AttentionRows, NextTokens
from lens_core.errors import NotExactError
from lens_core.lens.options import chosen_indices
from lens_core.models import LoadedModel, check_ids
from lens_core.tokens import token_records, vocab_entries

LISTED = 10
"""Most likely next tokens that are kept after each query."""


class RowCollector:
    """Keeps the rows of some queries in some layers while a pass is under way."""

    def __init__(self, layers: Collection[int], queries: Sequence[int]) -> None:
        self.layers = frozenset(layers)
        self.at = torch.tensor(queries)
        self.rows: dict[int, Float[np.ndarray, "query head source"]] = {}
        self.groups: dict[int, Int[np.ndarray, " head"]] = {}
        self.seen: set[int] = set()
        """Every layer that has attention, wanted or not."""

    def __call__(self, layer: int, look: Look) -> None:
        """Keep one layer."""
        self.seen.add(layer)
        if layer not in self.layers:
            return
        # Copied: a slice of a whole pattern would keep all of it.
        rows = look.pattern(self.at).transpose(0, 1).cpu().numpy().copy()
        self.rows[layer] = rows
        heads = rows.shape[1]
        self.groups[layer] = np.arange(heads) * look.n_kv_heads // heads


@torch.no_grad()
def attention_rows(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    layers: Sequence[int] | None = None,
    query: int | Sequence[int] = -1,
    max_tokens: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> AttentionRows:
    """Where every head of every layer looks from some positions, and what is predicted there.

    One forward pass with the model's own attention, whose logits it does not change; two for
    families that hand out their whole pattern when asked (Falcon, Bloom, MPT, GPT-J, GPT-Neo).

    Args:
        loaded: the model.
        ids: token ids [position].
        layers: the layers to look at, counted from 0; None looks at all.
        query: the position or positions to look from, negative ones from the end.
        max_tokens: refuse longer prompts.
        max_bytes: refuse to keep more than this.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range, or more bytes than allowed.
        NotExactError: no layer that was asked for has an attention pattern.
    """
    started = time.perf_counter()
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    chosen = chosen_indices("layers", layers, loaded.n_layers)
    queries = chosen_queries(query, len(ids))
    check_rows(loaded, len(ids), len(chosen), len(queries), max_bytes)
    collector = RowCollector(chosen, queries)
    with loaded.lock:
        logits = probe(loaded, ids, collector, queries=queries)
        timing = {"forward_s": time.perf_counter() - started}
        # Under the lock, while the edits it names are the ones applied.
        return rows_result(loaded, ids, collector, queries, logits=logits, timing=timing)


def check_rows(
    loaded: LoadedModel, length: int, n_layers: int, n_queries: int, max_bytes: int
) -> None:
    """Refuse more rows than fit.

    Raises:
        InputError: they do not.
    """
    facts = loaded.facts
    needed = 4 * n_queries * (n_layers * facts.n_heads * length + facts.vocab_size)
    check_bytes(loaded, length, needed, max_bytes, remedy="Choose fewer queries or layers")


def rows_result(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    collector: RowCollector,
    queries: tuple[int, ...],
    *,
    logits: Float[Tensor, "query d_vocab"],
    timing: dict[str, float],
) -> AttentionRows:
    """What was collected as a result; the caller holds the lock.

    Raises:
        NotExactError: no layer that was asked for has an attention pattern.
    """
    layers = tuple(sorted(collector.rows))
    if not layers:
        some = "No layer" if not collector.seen else "None of these layers"
        raise NotExactError(
            f"{some} of {type(loaded.model).__name__} has an attention pattern: there are no rows "
            "to show. Occlusion and gradients measure what the prediction depends on here, too."
        )
    rows = np.stack([collector.rows[layer] for layer in layers])
    left = 1.0 - rows.sum(-1, dtype=np.float64)
    sinks = np.abs(left).max() > 10 * loaded.self_check.bound
    following = next_tokens(logits)
    return AttentionRows(
        header=_header(loaded, ids, timing),
        vocab=_vocabulary(loaded, ids, following.ids),
        mode=capture_mode(loaded),
        layers=layers,
        layers_without_attention=tuple(sorted(collector.layers - set(layers))),
        queries=queries,
        kv_head=np.stack([collector.groups[layer] for layer in layers]),
        rows=rows,
        sink_mass=np.clip(left, 0.0, 1.0).astype(np.float32) if sinks else None,
        next=following,
        logits=logits.cpu().numpy(),
    )


def next_tokens(logits: Float[Tensor, "query d_vocab"]) -> NextTokens:
    """The most likely next tokens of some rows of logits."""
    log_probs = logits.log_softmax(-1)
    best = log_probs.topk(min(LISTED, logits.shape[-1]), dim=-1)
    entropy = torch.special.entr(log_probs.exp()).sum(-1)
    found = (best.indices, best.values.exp(), best.values, logits.gather(-1, best.indices))
    return NextTokens(*(t.cpu().numpy() for t in (*found, entropy)))


def _header(loaded: LoadedModel, ids: Tensor, timing: dict[str, float]) -> dict[str, Any]:
    """The common header, with the text that was read."""
    own = loaded.facts.attn_impl
    warnings = []
    if capture_mode(loaded) == "eager" and own not in BASES:
        warnings.append(
            f'The model\'s own attention is "{own}", which tells no rows; this pass ran with '
            '"eager" instead, and its logits can differ in the last digits.'
        )
    header = loaded.header("attention", timing=timing, warnings=warnings)
    tokens = token_records(loaded.tokenizer, ids.tolist())
    header["input"] = {
        "ids": ids.tolist(),
        "offsets": [[token["char_start"], token["char_end"]] for token in tokens],
        "is_special": [token["kind"] == "special" for token in tokens],
        "tokens": tokens,
    }
    return header


def _vocabulary(loaded: LoadedModel, ids: Tensor, listed: np.ndarray) -> dict[str, Any]:
    """An entry for every token that occurs."""
    distinct = np.unique(np.concatenate([ids.numpy(), listed.ravel()]))
    entries = vocab_entries(loaded.tokenizer, distinct.tolist())
    return {str(token): entry for token, entry in entries.items()}
