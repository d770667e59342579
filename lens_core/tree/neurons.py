"""What an MLP of the graph says: its neurons, or its experts and theirs, and what they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.amounts import Measure, amounts, neuron_amounts
from lens_core.contributions import Shares, normalised
from lens_core.decomposition import NeuronParts
from lens_core.dissection import Dissection
from lens_core.errors import InputError
from lens_core.experts import expert_neurons
from lens_core.lens.options import MAX_K, whole_number
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Node
from lens_core.tree.options import check_node
from lens_core.tree.pushed import Pushed, detail_header, detail_json, pushed, vocabulary
from lens_core.tree.run import GraphRun, check_run

SHARED = -1
"""Stands for the shared expert, which every token is sent to."""


@dataclass(frozen=True, eq=False)
class FfnDetails:
    """The neurons of one MLP at one position with the largest contributions.

    Shares are those in the sum stream + neurons + bias (+ attention in a parallel layer), in which
    every neuron is a part: they are not parts of the share that the MLP as a whole has.
    """

    header: Mapping[str, Any]
    vocab: dict[str, Any]
    node: str
    neuron: Int[np.ndarray, " n"]
    """Index within the MLP or within its expert; the largest contribution first."""
    expert: Int[np.ndarray, " n"] | None
    """The expert each belongs to, -1 for the shared one; None where there are no experts."""
    activation: Float[np.ndarray, " n"]
    """Signed; for experts times the router's weight."""
    contribution: Float[np.ndarray, " n"]
    length: Float[np.ndarray, " n"]
    """L2 norm of what each adds to the stream."""
    pushed: Pushed | None
    """Tokens promoted and suppressed by what each adds, sign included, [n, k]; None where parts
    cannot be read as logits."""
    experts: Int[np.ndarray, " expert"] | None
    """The experts that the position was sent to, in the router's order."""
    expert_contribution: Float[np.ndarray, " expert"] | None
    """Shares added up by expert."""
    all_neurons: float
    """The share of all neurons together."""
    residual: float
    bias: float
    attention: float | None
    """The share of attention, which a parallel layer adds at the same time."""
    degenerate: bool
    n_neurons: int

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_ffn/1."""
        return detail_json(self)


@torch.no_grad()
def ffn_details(
    loaded: LoadedModel,
    run: GraphRun,
    node: str,
    *,
    n: int = 20,
    k: int = 5,
    measure: Measure | None = None,
) -> FfnDetails:
    """The neurons that contribute most to the output of a layer at one position.

    Args:
        loaded: the model.
        run: what `graph_run` gave for it.
        node: an MLP such as M3_5.
        n: how many neurons.
        k: how many tokens of each.
        measure: how amounts are measured; None is the L1 proximity. Not for "logit".

    Raises:
        InputError: a node that is no MLP, `n` or `k` outside 1 to 200 and 1 to 50, or a run that
            does not fit.
        NotExactError: the neurons of this model cannot be told apart.
    """
    loaded.require("neurons")
    place = check_node(loaded, node, len(run.ids))
    if place.letter != "M":
        raise InputError(f"{node} is no MLP; its node is M{place.layer}_{place.position}.")
    n = whole_number("n", n, 1, 200)
    k = whole_number("k", k, 1, min(MAX_K, loaded.facts.vocab_size))
    measure = measure or Measure()
    if measure.signed:
        raise InputError(f'Neurons are measured by l1, l2 or norm; this is "{measure.metric}".')
    with loaded.lock:
        check_run(run, loaded, None)
        here = run.dissection(loaded, position=place.position)
        parts = here.neurons(place.layer)
        assert parts is not None
        shares = _shares(here, parts, place, measure)
        top = shares.parts[0].topk(min(n, shares.parts.shape[1])).indices
        vectors = parts.activations[0, top, None] * parts.weights[0][top] * parts.factor[0]
        experts = _experts(here, place.layer)
        tokens = pushed(loaded, run, vectors, position=place.position, k=k)
        header = detail_header(loaded, "graph_ffn", run)
    neuron, expert, ids, by_expert = _by_expert(top, shares.parts[0], experts)
    return FfnDetails(
        header=header,
        vocab=vocabulary(loaded, () if tokens is None else tokens.ids),
        node=place.id,
        neuron=neuron,
        expert=expert,
        activation=parts.activations[0, top].cpu().numpy(),
        contribution=shares.parts[0, top].cpu().numpy(),
        length=vectors.norm(2, -1).cpu().numpy(),
        pushed=tokens,
        experts=ids,
        expert_contribution=by_expert,
        all_neurons=float(shares.parts.double().sum()),
        residual=float(shares.residual),
        bias=float(shares.bias),
        attention=None if shares.mlp is None else float(shares.mlp),
        degenerate=bool(shares.degenerate),
        n_neurons=shares.parts.shape[1],
    )


def _shares(here: Dissection, parts: NeuronParts, place: Node, measure: Measure) -> Shares:
    """The shares of neurons, stream, bias and attention in the layer's output, at one position."""
    whole, _, residual = here.mlp(place.layer)
    near = neuron_amounts(parts, 0, whole[0], measure)[None]
    attention = None
    if not here.anatomy.layers[place.layer].has_mid:
        attention = amounts(whole, here.trace.attn_out[place.layer], measure)
    stream, bias = (amounts(whole, part, measure) for part in (residual, parts.bias))
    return normalised(near, stream, bias, attention)


def _experts(here: Dissection, layer: int) -> tuple[list[int], int] | None:
    """The experts in the order of their neurons, and how many neurons each routed one has."""
    experts = here.anatomy.layers[layer].experts
    if experts is None or here.anatomy.layers[layer].mlp_proj is not None:
        return None
    (call,) = here.calls.of(experts.routed)
    found = expert_neurons(call, 0, 1)
    assert found is not None
    slots, width = found.activations.shape
    chosen = next((t for t in call.inputs if not t.is_floating_point()), None)
    # Without a list of experts the module runs all of them.
    ids = list(range(slots)) if chosen is None else [int(e) for e in chosen.flatten().tolist()]
    return ids + ([] if experts.shared_proj is None else [SHARED]), width


def _by_expert(
    top: Tensor, shares: Float[Tensor, " neuron"], experts: tuple[list[int], int] | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Neurons counted within their expert, their experts, all experts, and the experts' shares."""
    index = top.cpu().numpy()
    if experts is None:
        return index, None, None, None
    ids, width = np.array(experts[0]), experts[1]
    n_routed = len(ids) - int(ids[-1] == SHARED)
    slot = np.minimum(np.arange(len(shares)) // width, len(ids) - 1)
    # What lies behind the routed experts all belongs to the shared one, whatever its width.
    slot[n_routed * width :] = len(ids) - 1
    totals = np.zeros(len(ids), np.float32)
    np.add.at(totals, slot, shares.cpu().numpy())
    start = np.minimum(slot, n_routed) * width
    return index - start[index], ids[slot[index]], ids, totals
