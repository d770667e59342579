"""One forward pass for the graph, which can be kept and asked again and again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.anatomy.calls import Call, Recording
from lens_core.attention_capture import AttentionCapture, LayerAttention
from lens_core.dissection import Dissection, dissect
from lens_core.errors import InputError, PromptError
from lens_core.lens.run import Prediction
from lens_core.memory import free_bytes
from lens_core.models import LoadedModel, ModelFacts, check_ids
from lens_core.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Hashable

    from lens_core.tree.rows import Row

MAX_ROW_BYTES = 256 * 2**20
"""Rows of shares that one run keeps."""


@dataclass(frozen=True, eq=False)
class KeptCall:
    """What one module read and answered, without the module: a run must not keep a model alive."""

    module: int
    """Its place among the model's modules."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class RowStore:
    """The rows of a run by layer, position and measure, up to a number of bytes.

    Used under the model's lock. When it is full, what was put in first goes first.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.computed = 0
        """How many rows were worked out, whether they are still here or not."""
        self._rows: dict[Hashable, Row] = {}
        self._nbytes = 0

    def get(self, key: Hashable) -> Row | None:
        """The row, when it was worked out before and is still here."""
        return self._rows.get(key)

    def put(self, key: Hashable, row: Row) -> None:
        """Keep a row that was just worked out."""
        self.computed += 1
        self._rows[key] = row
        self._nbytes += row.nbytes
        while self._nbytes > self.max_bytes:
            self._nbytes -= self._rows.pop(next(iter(self._rows))).nbytes


@dataclass(frozen=True, eq=False)
class GraphRun:
    """What `contribution_graph` needs of a forward pass, to draw other graphs without another pass.

    It also keeps the rows that graphs have visited, so that another threshold, mode, root or
    pruning works nothing out again.
    """

    facts: ModelFacts
    """The model that ran."""
    edits: tuple[tuple[str, float], ...]
    """(edit id, strength) of the edits it ran under."""
    trace: Trace
    attention: tuple[LayerAttention | None, ...]
    """None where a layer has no attention pattern."""
    calls: tuple[KeptCall, ...]
    prediction: Prediction
    rows: RowStore = field(repr=False)

    @property
    def ids(self) -> Int[Tensor, " position"]:
        """The tokens of the prompt."""
        return self.trace.ids

    @property
    def nbytes(self) -> int:
        """Size of the tensors that it keeps, and of the rows that it may come to keep."""
        kept = [self.prediction.ids, self.prediction.p]
        for layer in self.attention:
            if layer is not None:
                kept += [layer.pattern, layer.values, layer.mixed]
                kept += [] if layer.gate is None else [layer.gate]
        for call in self.calls:
            kept += [*call.inputs, *call.outputs]
        return self.trace.nbytes + sum(t.nbytes for t in kept) + self.rows.max_bytes

    def dissection(self, loaded: LoadedModel, *, position: int | None = None) -> Dissection:
        """The pass, or one position of it, as it can be taken apart; the caller holds the lock.

        One position has no heads: their sources lie elsewhere.
        """
        modules = list(loaded.model.modules())
        trace, calls = self.trace, self.calls
        if position is not None:
            trace = _trace_at(trace, position)
            calls = [_call_at(call, position, len(self.ids)) for call in calls]
        found = [
            Call(modules[call.module], order, call.inputs, call.outputs)
            for order, call in enumerate(calls)
        ]
        capture = AttentionCapture(self.attention, torch.empty(0, self.facts.vocab_size))
        return Dissection(loaded.anatomy, trace, capture, Recording(found))


def _trace_at(trace: Trace, position: int) -> Trace:
    """One position of a trace."""
    here = slice(position, position + 1)
    sites = {
        name: None if site is None else site[:, here]
        for name in ("stream", "mid", "attn", "mlp")
        for site in (getattr(trace, name),)
    }
    return replace(trace, ids=trace.ids[here], logits=None, **sites)


def _call_at(call: KeptCall, position: int, length: int) -> KeptCall:
    """One position of what a module read and answered."""

    def here(tensor: Tensor) -> Tensor:
        if tensor.dim() > 2 and tensor.shape[:2] == (1, length):
            return tensor[:, position : position + 1]
        # Some families lay out all experts x positions as rows.
        return tensor[position::length]

    return replace(
        call, inputs=tuple(map(here, call.inputs)), outputs=tuple(map(here, call.outputs))
    )


@torch.no_grad()
def graph_run(
    loaded: LoadedModel, ids: Int[Tensor, " position"], *, max_tokens: int | None = None
) -> GraphRun:
    """Run the model once, for any number of graphs and details of the same prompt and edits.

    Attention runs through the family's own eager function, so that its pattern can be read.

    Args:
        loaded: the model.
        ids: token ids of the prompt [position].
        max_tokens: refuse longer prompts.

    Raises:
        PromptError: ids that the model cannot take, or more than the memory can.
        NotExactError: this model cannot be taken apart into heads exactly.
    """
    loaded.require("streams")
    loaded.require("heads")
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    _check_memory(loaded, len(ids))
    with loaded.lock:
        return fresh_run(loaded, ids)


def fresh_run(loaded: LoadedModel, ids: Int[Tensor, " position"]) -> GraphRun:
    """`graph_run` without its checks, for whoever holds the lock."""
    found = dissect(loaded.model, loaded.anatomy, ids)
    logits = found.attention.logits
    best = logits.max(-1)
    total = torch.stack([row.logsumexp(0) for row in logits])
    prediction = Prediction(best.indices.cpu(), (best.values - total).exp().cpu())
    return GraphRun(
        facts=loaded.facts,
        edits=loaded.active_edits,
        trace=replace(found.trace, logits=None),
        attention=found.attention.layers,
        calls=_kept_calls(loaded, found),
        prediction=prediction,
        rows=RowStore(_row_bytes(loaded.facts, len(ids))),
    )


def check_run(run: GraphRun, loaded: LoadedModel, ids: Int[Tensor, " position"] | None) -> None:
    """Refuse a run of another model, prompt (unless None) or set of edits.

    Raises:
        InputError: says what differs.
    """
    problem = None
    if run.facts != loaded.facts:
        problem = f'of the model "{run.facts.id}", and this is "{loaded.facts.id}"'
        if run.facts.id == loaded.facts.id:
            problem = f'of another copy of the model "{run.facts.id}" (weights, dtype or device)'
    elif ids is not None and not torch.equal(run.ids, ids):
        problem = f"of another prompt, of {len(run.ids)} tokens; this one has {len(ids)}"
    elif run.edits != loaded.active_edits:
        problem = f"under the edits {_named(run.edits)}; now {_named(loaded.active_edits)} hold"
    if problem is not None:
        raise InputError(f"The run is {problem}. Make a new one with graph_run, or leave it out.")


def _named(edits: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{key} at strength {strength}" for key, strength in edits) or "none"


def _kept_calls(loaded: LoadedModel, found: Dissection) -> tuple[KeptCall, ...]:
    places = {module: place for place, module in enumerate(loaded.model.modules())}
    # What a down projection answers is in the trace already.
    silent = {parts.mlp_proj for parts in loaded.anatomy.layers}
    return tuple(
        KeptCall(places[call.module], call.inputs, () if call.module in silent else call.outputs)
        for call in found.calls.calls
    )


def _row_bytes(facts: ModelFacts, length: int) -> int:
    """Room for all rows of a graph in two measures, within the budget."""
    one = facts.n_layers * length * (4 * facts.n_heads * length + 2 * 256)
    return min(2 * one, MAX_ROW_BYTES)


def _check_memory(loaded: LoadedModel, length: int) -> None:
    """Refuse a prompt whose patterns alone would not fit.

    Raises:
        PromptError: with the length that fits.
    """
    facts = loaded.facts
    device = "cpu" if loaded.device.type == "cpu" else str(loaded.device)
    # The pattern of every layer, and the scores and the softmax of the one that is under way.
    a_pair = 4 * facts.n_heads * (facts.n_layers + 4)
    a_token = 4 * (facts.n_layers * (4 * facts.d_model + (facts.d_mlp or 0)) + 2 * facts.vocab_size)
    free = free_bytes(device)
    if a_pair * length**2 + a_token * length <= free:
        return
    limit = length
    while limit > 1 and a_pair * limit**2 + a_token * limit > free:
        limit = limit * 9 // 10
    raise PromptError(
        f"The graph of {length} tokens needs about "
        f"{(a_pair * length**2 + a_token * length) / 1e9:.1f} GB; {free / 1e9:.1f} GB are free, "
        f"enough for about {limit} tokens. Shorten the prompt.",
        remedy={"action": "shorten", "tokens": length, "limit": limit},
    )
