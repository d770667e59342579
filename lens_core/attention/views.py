"""Everything that is shown of attention from one position, from a single forward pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.attention.flow import MAX_TOKENS as MAX_FLOW_TOKENS
from lens_core.attention.flow import attention_flow
from lens_core.attention.norms import Passage, moved_lengths, passage_recorded
from lens_core.attention.options import MAX_BYTES
from lens_core.attention.probe import Look, probe
from lens_core.attention.rollout import FUSIONS, Rollout, fused, with_stream
from lens_core.attention.rows import RowCollector, check_rows, rows_result
from lens_core.attention.sinks import Sinks, columns, find_sinks
from lens_core.attention.view_result import AttentionViews, RolledOut
from lens_core.errors import InputError
from lens_core.lens.options import chosen_indices, whole_number
from lens_core.models import LoadedModel, check_ids


@torch.no_grad()
def attention_views(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    layers: Sequence[int] | None = None,
    query: int = -1,
    norms: bool = True,
    rollout: bool = True,
    flow: bool = False,
    max_tokens: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> AttentionViews:
    """Where all heads look from one position, how much they move, and what comes through layers.

    What the model does not allow, and a rollout over the budget, is left out; `left_out` says why.

    Args:
        loaded: the model.
        ids: token ids [position].
        layers: the layers whose heads are shown, counted from 0; None shows all. Sinks, rollout
            and flow are always of all layers.
        query: the position to look from, negative ones from the end.
        norms: also the lengths of what the heads move.
        rollout: also rollout and its ratio to that of uniform attention.
        flow: also the maximum flow from every token; for at most 32 tokens.
        max_tokens: refuse longer prompts.
        max_bytes: refuse to keep more than this.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range, too many tokens for the flow, or more bytes than
            allowed.
        NotExactError: no layer that was asked for has an attention pattern.
    """
    started = time.perf_counter()
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    chosen = chosen_indices("layers", layers, loaded.n_layers)
    at = whole_number("query", query, -len(ids), len(ids) - 1) % len(ids)
    check_rows(loaded, len(ids), len(chosen), 1, max_bytes)
    _check_flow(flow, len(ids))
    left_out = _left_out(loaded, len(ids), norms=norms, rollout=rollout, max_bytes=max_bytes)
    rolls, collector = rollout and "rollout" not in left_out, RowCollector(chosen, (at,))
    watcher = _Watcher(loaded, collector, len(ids), rollout=rolls, flow=flow)
    with loaded.lock:
        logits, lengths = watcher.run(ids, norms=norms and "norms" not in left_out)
        timing = {"forward_s": time.perf_counter() - started}
        found = rows_result(loaded, ids, collector, (at,), logits=logits, timing=timing)
    left_out |= watcher.gaps(rollout=rollout, flow=flow)
    return AttentionViews(
        rows=found,
        norms=lengths,
        rollout=None if "rollout" in left_out else watcher.rolled(at),
        flow=None if "flow" in left_out else watcher.flow(at),
        sinks=_sinks(loaded, ids, watcher.means),
        left_out=left_out,
    )


def _check_flow(flow: bool, length: int) -> None:
    """Refuse a flow that takes too long.

    Raises:
        InputError: too many tokens for it.
    """
    if flow and length > MAX_FLOW_TOKENS:
        raise InputError(
            f"The flow of {length} tokens would be solved on {length}^2 pipes a layer, once a "
            f"token; the limit is {MAX_FLOW_TOKENS}. Shorten the prompt, or look at the rollout."
        )


def _left_out(
    loaded: LoadedModel, length: int, *, norms: bool, rollout: bool, max_bytes: int
) -> dict[str, str]:
    """What cannot be shown, and why."""
    found = {}
    reason = loaded.self_check.reason_off("heads")
    if norms and reason is not None:
        found["norms"] = reason
    needed = 4 * Rollout.N_MATRICES * length**2
    if rollout and needed > max_bytes:
        found["rollout"] = (
            f"The rollout of {length} tokens takes {needed / 2**20:.0f} MiB; the limit is "
            f"{max_bytes / 2**20:.0f} MiB."
        )
    return found


class _Watcher:
    """Collects what the views need of every layer while the pass is under way."""

    def __init__(
        self,
        loaded: LoadedModel,
        collector: RowCollector,
        length: int,
        *,
        rollout: bool,
        flow: bool,
    ) -> None:
        self.loaded, self.collector, self.length = loaded, collector, length
        self.means: list[Float[np.ndarray, "head source"]] = []
        self._rollout = Rollout(length, loaded.device) if rollout else None
        self._matrices: list[Tensor] | None = [] if flow else None
        self._values: dict[int, Tensor] = {}

    def __call__(self, layer: int, look: Look) -> None:
        """Look at one layer."""
        self.collector(layer, look)
        n_heads = self.loaded.facts.n_heads
        self.means.append(columns(look, self.length, n_heads).cpu().numpy())
        if layer in self.collector.layers:
            self._values[layer] = look.values
        if self._rollout is None and self._matrices is None:
            return
        heads = fused(look, self.length, n_heads)
        if self._rollout is not None:
            self._rollout.add(heads, look)
        if self._matrices is not None:
            self._matrices.append(with_stream(heads[0]))

    def run(
        self, ids: Int[Tensor, " position"], *, norms: bool
    ) -> tuple[Float[Tensor, "query d_vocab"], Float[np.ndarray, "layer head source"] | None]:
        """Make the pass: its logits at the query, and the lengths of what heads move to it."""
        queries = self.collector.at
        recorded = nullcontext(None)
        if norms:
            layers = self.collector.layers
            recorded = passage_recorded(self.loaded, layers, queries, length=self.length)
        with recorded as passage:
            logits = probe(self.loaded, ids, self, queries=queries.tolist())
        return logits, None if passage is None else self._lengths(passage)

    def gaps(self, *, rollout: bool, flow: bool) -> dict[str, str]:
        """What cannot be followed since it passes through a layer without attention."""
        missing = sorted(set(range(self.loaded.n_layers)) - self.collector.seen)
        if not missing:
            return {}
        layers = ", ".join(map(str, missing))
        said = f"Layers of {self.loaded.facts.id} without attention ({layers}) cannot be followed."
        wanted = {"rollout": rollout, "flow": flow}
        return {name: said for name, asked in wanted.items() if asked}

    def _lengths(self, passage: Passage) -> Float[np.ndarray, "layer head source"] | None:
        """How much every head moves from every source."""
        found = []
        for layer, rows in sorted(self.collector.rows.items()):
            lengths = moved_lengths(
                self.loaded,
                passage,
                layer,
                pattern=torch.from_numpy(rows).transpose(0, 1).to(self.loaded.device),
                values=self._values[layer],
                queries=self.collector.at,
            )
            found.append(lengths[0].cpu().numpy())
        return np.stack(found) if found else None

    def rolled(self, query: int) -> RolledOut | None:
        """The rollout of one position; None where it is not wanted."""
        if self._rollout is None:
            return None
        rows, baseline = (t.cpu().numpy() for t in self._rollout.row(query))
        ratio = np.divide(rows, baseline, out=np.full_like(rows, np.nan), where=baseline > 0)
        shares, ratios = (dict(zip(FUSIONS, values, strict=True)) for values in (rows, ratio))
        return RolledOut(shares, ratios, baseline)

    def flow(self, query: int) -> Float[np.ndarray, " source"] | None:
        """The flow from every token to one position; None where it is not wanted."""
        if self._matrices is None:
            return None
        return attention_flow(torch.stack(self._matrices).cpu().numpy(), query)


def _sinks(loaded: LoadedModel, ids: Tensor, means: list[np.ndarray]) -> Sinks:
    start = None if loaded.tokenizer is None else loaded.tokenizer.bos_token_id
    starts = np.array([token == start for token in ids.tolist()], np.float32)
    starts[0] = 1.0
    return find_sinks(np.concatenate(means), starts)
