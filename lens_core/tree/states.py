"""What a node of the graph says: the tokens of its state, and what it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.lens.options import MAX_K, whole_number
from lens_core.models import LoadedModel
from lens_core.tree.nodes import Node
from lens_core.tree.options import check_node
from lens_core.tree.pushed import Pushed, detail_header, detail_json, pushed, vocabulary
from lens_core.tree.run import GraphRun, check_run


@dataclass(frozen=True, eq=False)
class StateTokens:
    """The most likely tokens of a state, as the logit lens reads it."""

    ids: Int[np.ndarray, " k"]
    """Most likely first."""
    logit: Float[np.ndarray, " k"]
    p: Float[np.ndarray, " k"]
    """Softmax over the whole vocabulary."""
    p_before: Float[np.ndarray, " k"] | None
    """The same tokens in the state before; None for the first state of a position."""
    rank_before: Int[np.ndarray, " k"] | None
    """How many tokens had a larger logit there; here the rank is the place in the list."""

    @property
    def rank_change(self) -> Int[np.ndarray, " k"] | None:
        """How many ranks each token went up (positive) since the state before."""
        return None if self.rank_before is None else self.rank_before - np.arange(len(self.ids))


@dataclass(frozen=True, eq=False)
class NodeDetails:
    """One node: a state of the stream, or something that is added to it."""

    header: Mapping[str, Any]
    vocab: dict[str, Any]
    node: str
    kind: str
    predecessor: str | None
    """The state that this one grew out of."""
    length: float
    """L2 norm of the state or of what is added."""
    normalise: bool
    """Whether the state was read through the final norm."""
    top: StateTokens | None
    """None for what is added: it is no state, so it predicts nothing."""
    pushed: Pushed | None
    """The tokens promoted and suppressed by the change since the predecessor, or by what is added;
    None where parts cannot be read as logits."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/graph_node/1."""
        record = detail_json(self)
        if self.top is not None and self.top.rank_change is not None:
            record["top"]["rank_change"] = self.top.rank_change.tolist()
        return record


@torch.no_grad()
def node_details(
    loaded: LoadedModel, run: GraphRun, node: str, *, k: int = 15, normalise: bool = True
) -> NodeDetails:
    """The tokens that a state predicts, and those that were promoted and suppressed on the way.

    Args:
        loaded: the model.
        run: what `graph_run` gave for it.
        node: the name of any node: X0_t, A3_t, I3_t (states); M3_t, B3_t, S3_t (what is added).
        k: how many tokens of each kind.
        normalise: read the state through the final norm; without it the last state is not the
            model's prediction.

    Raises:
        InputError: a node that does not exist, `k` outside 1 to 50, or a run that does not fit.
        NotExactError: states cannot be read as predictions in this model.
    """
    place = check_node(loaded, node, len(run.ids))
    k = whole_number("k", k, 1, min(MAX_K, loaded.facts.vocab_size))
    with loaded.lock:
        check_run(run, loaded, None)
        before = _predecessor(loaded, place)
        vector = _vector(loaded, run, place)
        change = vector if before is None else vector - _vector(loaded, run, before)
        top = None
        if place.letter in "XAI":
            loaded.require("readout")
            states = [vector] if before is None else [vector, _vector(loaded, run, before)]
            top = _top(loaded, torch.stack(states), k, normalise)
        parts = pushed(loaded, run, change[None], position=place.position, k=k)
        header = detail_header(loaded, "graph_node", run)
    parts = None if parts is None else _only(parts)
    ids = (set() if parts is None else parts.ids) | set([] if top is None else top.ids.tolist())
    return NodeDetails(
        header=header,
        vocab=vocabulary(loaded, ids),
        node=place.id,
        kind=place.kind,
        predecessor=None if before is None else before.id,
        length=float(vector.norm()),
        normalise=normalise,
        top=top,
        pushed=parts,
    )


def _predecessor(loaded: LoadedModel, node: Node) -> Node | None:
    """The state that a state grew out of, at the same position."""
    if node.letter == "I" and loaded.anatomy.layers[node.layer].has_mid:
        return Node("A", node.layer, node.position)
    if node.letter in "AI":
        below = Node("I", node.layer - 1, node.position)
        return below if node.layer else Node("X", 0, node.position)
    return None


def _vector(loaded: LoadedModel, run: GraphRun, node: Node) -> Float[Tensor, " d_model"]:
    trace, at = run.trace, node.position
    if node.letter == "B":
        heads = run.dissection(loaded).heads(node.layer)
        return torch.zeros_like(trace.stream[0, at]) if heads is None else heads.bias[at]
    sites = {
        "X": lambda: trace.resid_pre[0],
        "S": lambda: trace.attn_out[node.layer],
        "A": lambda: trace.resid_mid[node.layer],
        "M": lambda: trace.mlp_out[node.layer],
        "I": lambda: trace.resid_post[node.layer],
    }
    return sites[node.letter]()[at]


def _top(
    loaded: LoadedModel, states: Float[Tensor, "state d_model"], k: int, normalise: bool
) -> StateTokens:
    """The tokens of the first state, and where they stood in the second one if there is one."""
    logits = loaded.readout.logits(states, norm=normalise)
    found = logits[0].topk(k)
    probs = logits.softmax(-1)[:, found.indices].cpu().numpy()
    ids = found.indices.cpu().numpy()
    values = found.values.cpu().numpy()
    if len(states) == 1:
        return StateTokens(ids, values, probs[0], None, None)
    before = logits[1]
    ranks = (before > before[found.indices, None]).sum(1).cpu().numpy()
    return StateTokens(ids, values, probs[0], probs[1], ranks)


def _only(found: Pushed) -> Pushed:
    """The single part of a list of one."""
    return Pushed(*(getattr(found, name)[0] for name in Pushed.__dataclass_fields__))
