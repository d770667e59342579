"""One pass over what is wanted: margins of all tokens, and the way back to the FFN outputs.

The gradient of some columns of an output projection is the sum over positions of (gradient of the
output) x (neuron), so hooks on the projections are enough: no weight ever requires or gets a
gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lens_core.edits import editable_projection
from lens_core.models import LoadedModel
from lens_core.network import input_device, last_logits_only
from lens_core.repairs.wanted import Rows
from lens_core.trace import first_state

CPU_TOKENS, GPU_TOKENS = 1024, 8192
"""Tokens of one batch, padding included."""
_RIVALS, _TEMPERATURE = 16, 0.5
"""How many other tokens are looked at together, and in logits how sharply the best one counts."""


@dataclass(frozen=True, eq=False)
class Standing:
    """How the model stands to each wanted token, given the wanted ones before it."""

    margin: Float[Tensor, " token"]
    """Logit of the target minus that of the best other token; positive: the model says it."""
    rival: Int[Tensor, " token"]
    """The best other token."""
    log_prob: Float[Tensor, " token"]
    """Of the target, in nats."""
    rank: Int[Tensor, " token"]
    """Of the target, from 0."""
    rival_log_prob: Float[Tensor, " token"]
    rivals: Int[Tensor, "token rival"]
    """The best other tokens, best first."""
    shares: Float[Tensor, "token rival"]
    """How much each of them counts where they are pushed together; rows sum to 1."""

    @property
    def said(self) -> Bool[Tensor, " token"]:
        """Whether each target is the most likely token."""
        return self.margin > 0


@dataclass(frozen=True, eq=False)
class Backward:
    """Neurons and gradients of every layer in one batch, at all of its positions."""

    neurons: dict[int, Float[Tensor, "place neuron"]]
    """What enters the output projections; a place is a position of a sequence of the batch."""
    deltas: dict[int, Float[Tensor, "place d_model"]]
    """Gradient of the objective for what comes out of them."""
    rows: slice
    """The tokens of this batch."""
    places: Int[Tensor, " token"]
    """Where each of them is predicted."""


@dataclass(frozen=True, eq=False)
class Observed:
    """A pass over all wanted tokens; `backward` is empty where nothing was to be pushed."""

    target: Int[Tensor, " token"]
    standing: Standing
    pushed: Bool[Tensor, " token"]
    backward: tuple[Backward, ...]

    def neurons(self, layer: int) -> Float[Tensor, "token neuron"]:
        """The neurons where each token is predicted, float32."""
        return torch.cat([part.neurons[layer][part.places].float() for part in self.backward])

    def deltas(self, layer: int) -> Float[Tensor, "token d_model"]:
        """The gradient of the objective for the FFN's output there, float32."""
        return torch.cat([part.deltas[layer][part.places].float() for part in self.backward])

    def gradient(
        self, layer: int, columns: Int[Tensor, " k"] | slice
    ) -> Float[Tensor, "k d_model"]:
        """The gradient of the objective for what some neurons write, float32."""
        return cast(
            "Tensor",
            sum(
                part.neurons[layer][:, columns].float().T @ part.deltas[layer].float()
                for part in self.backward
            ),
        )


def observe(
    loaded: LoadedModel,
    rows: Rows,
    *,
    push: Bool[Tensor, " token"] | None = None,
    below: float | None = None,
    layers: Sequence[int] = (),
    objective: str = "margin",
) -> Observed:
    """The margins of all wanted tokens and, for those that are to be pushed, gradients.

    The caller holds the lock. Sequences are padded on the right, where causal models never look.

    Args:
        loaded: the model.
        rows: the wanted tokens.
        push: which tokens may be pushed; None for all.
        below: push those whose margin is lower; None goes no way back.
        layers: where gradients are wanted.
        objective: what is pushed down: "margin", the sum of (best other - target) logits,
            "close", the same with all close others by their shares, so that pushing one does not
            make another the best; or "cross_entropy", the mean over the pushed tokens.
    """
    standings, parts = [], []
    allowed = torch.ones(len(rows), dtype=torch.bool) if push is None else push
    chosen = torch.zeros_like(allowed)
    for batch in _batches(loaded, rows):
        mine = batch.rows
        with _gradients(below is not None), _tapped(loaded, layers, batch.width) as taps:
            logits = _logits(loaded, batch)
            standing = _standing(logits.detach(), rows.target[mine])
            if below is not None:
                chosen[mine] = (standing.margin < below) & allowed[mine]
                loss = _objective(logits, rows.target[mine], standing, chosen[mine], objective)
                parts.append(_backward(taps, loss, batch))
        standings.append(standing)
    return Observed(
        rows.target, _joined(standings), chosen, tuple(parts) if bool(chosen.any()) else ()
    )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Sequences that are run together."""

    ids: Int[Tensor, "sequence position"]
    rows: slice
    places: Int[Tensor, " token"]
    """sequence * width + position."""

    @property
    def width(self) -> int:
        return self.ids.shape[1]


def _batches(loaded: LoadedModel, rows: Rows) -> Iterator[_Batch]:
    """The sequences in their order, as many at a time as the budget of tokens holds."""
    budget = CPU_TOKENS if loaded.device.type == "cpu" else GPU_TOKENS
    waiting: list[int] = []
    longest = 0
    for index, pair in enumerate(rows.pairs):
        length = len(pair.ids)
        if waiting and max(longest, length) * (len(waiting) + 1) > budget:
            yield _batch(rows, waiting)
            waiting, longest = [], 0
        waiting.append(index)
        longest = max(longest, length)
    yield _batch(rows, waiting)


def _batch(rows: Rows, members: Sequence[int]) -> _Batch:
    texts = [rows.pairs[index].ids for index in members]
    ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    first, last = rows.of_pair(members[0]), rows.of_pair(members[-1])
    mine = slice(first.start, last.stop)
    places = (rows.sequence[mine] - members[0]) * ids.shape[1] + rows.position[mine]
    return _Batch(ids, mine, places)


def _logits(loaded: LoadedModel, batch: _Batch) -> Float[Tensor, "token d_vocab"]:
    """The logits that predict each wanted token, in float32."""
    network = cast("Any", loaded.model)
    positions = batch.places % batch.width
    kept = batch.width - int(positions.min())
    options = dict.fromkeys(last_logits_only(loaded.model), kept)
    ids = batch.ids.to(input_device(loaded.model))
    logits = network(input_ids=ids, use_cache=False, **options).logits
    # Counted from the end: families without the option answer for all positions.
    return logits[batch.places // batch.width, positions - batch.width].float()


def _standing(logits: Tensor, target: Tensor) -> Standing:
    target = target.to(logits.device)[:, None]
    own = logits.gather(1, target)
    others = logits.scatter(1, target, -torch.inf)
    best = others.topk(min(_RIVALS, others.shape[1] - 1))
    total = logits.logsumexp(1)
    found = (
        own[:, 0] - best.values[:, 0],
        best.indices[:, 0],
        own[:, 0] - total,
        (others > own).sum(1),
        best.values[:, 0] - total,
        best.indices,
        (best.values / _TEMPERATURE).softmax(1),
    )
    return Standing(*(tensor.cpu() for tensor in found))


def _objective(
    logits: Tensor, target: Tensor, standing: Standing, chosen: Tensor, objective: str
) -> Float[Tensor, ""]:
    rows = chosen.nonzero()[:, 0].to(logits.device)
    if not len(rows):
        return logits.new_zeros(())
    target = target.to(logits.device)[rows]
    if objective == "cross_entropy":
        return cross_entropy(logits[rows], target)
    if objective == "close":
        others = logits[rows].gather(1, standing.rivals.to(logits.device)[rows])
        rival = (standing.shares.to(logits.device)[rows] * others).sum(1)
    else:
        rival = logits[rows, standing.rival.to(logits.device)[rows]]
    return (rival - logits[rows, target]).sum()


@contextmanager
def _gradients(wanted: bool) -> Iterator[None]:
    """Autograd on or off, whatever the caller's own mode is."""
    with torch.inference_mode(False), torch.set_grad_enabled(wanted):
        yield


@contextmanager
def _tapped(
    loaded: LoadedModel, layers: Sequence[int], width: int
) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Collect input and output of the output projections; the lowest one starts the graph."""
    taps: dict[int, tuple[Tensor, Tensor]] = {}

    def hook(layer: int) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            neurons = first_state(args)
            if torch.is_grad_enabled() and layer == min(layers):
                # Nothing below needs a gradient, so the way back ends here.
                output = output.detach().requires_grad_()
            taps[layer] = (neurons.detach(), output)
            return output

        return keep

    with ExitStack() as hooks:
        for layer in layers:
            module = editable_projection(loaded, layer)
            hooks.callback(module.register_forward_hook(hook(layer)).remove)
        yield taps


def _backward(taps: Mapping[int, tuple[Tensor, Tensor]], loss: Tensor, batch: _Batch) -> Backward:
    outputs = [output for _, output in taps.values()]
    # A batch in which nothing is pushed still tells what its neurons are.
    pushed = loss.requires_grad
    found = torch.autograd.grad(loss, outputs) if pushed else map(torch.zeros_like, outputs)
    return Backward(
        {layer: _flat(neurons) for layer, (neurons, _) in taps.items()},
        {layer: _flat(delta) for layer, delta in zip(taps, found, strict=True)},
        batch.rows,
        batch.places,
    )


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _joined(standings: Sequence[Standing]) -> Standing:
    names = [item.name for item in fields(Standing)]
    return Standing(*(torch.cat([getattr(one, name) for one in standings]) for name in names))


def merged(known: Standing, fresh: Standing, rows: slice) -> Standing:
    """`known` with some of its rows measured anew."""
    columns = {item.name: getattr(known, item.name).clone() for item in fields(Standing)}
    for name, column in columns.items():
        column[rows] = getattr(fresh, name)
    return Standing(**columns)
