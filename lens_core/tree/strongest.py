"""The largest share in one state: what a threshold has to stay below to leave anything of it."""

from __future__ import annotations

import numpy as np
import torch

from lens_core.errors import InputError
from lens_core.models import LoadedModel
from lens_core.tree.options import measured, root_nodes, weighing
from lens_core.tree.rows import RowSource
from lens_core.tree.run import GraphRun, check_run
from lens_core.tree.weighing import Weights, weigh


@torch.no_grad()
def strongest_share(
    loaded: LoadedModel,
    run: GraphRun,
    root: int | str,
    *,
    mode: str = "per_part",
    metric: str = "l1",
    numerics: str = "clean",
    bias: str = "part",
    merge_self: bool = False,
    target: int | str | None = None,
    foil: int | str | None = None,
    granularity: str = "head",
) -> float | None:
    """The largest |share| among the parts of one state, before any threshold.

    A graph of this root with a threshold below it has edges; at it or above it has none. Only the
    parts of this state are measured. None where there are no shares: for a token's embedding, and
    for a state that no part is nearer to than zero is. An MLP reads one state, whose share is 1.

    Args:
        loaded: the model.
        run: what `graph_run` gave for it.
        root: a position, or a node such as "I3_5".
        mode: what is one part: "per_part" every (source, head), "per_edge" the sum over heads;
            in both also the residual, the MLP, the bias and the mixer.
        metric: l1, l2, projection, norm or logit.
        numerics: "clean" or "compat".
        bias: "part" or "ignore".
        merge_self: with "per_edge", attention to the own position and the residual are one part.
        target: token of the metric "logit", an id or a text of one token; None takes the model's
            own prediction at the root.
        foil: subtract the logit of this token.
        granularity: "head", or "source" for heads that are added up before they are measured.

    Raises:
        InputError: an argument outside its range, several roots, or a `run` that does not fit.
        NotExactError: for "logit", the parts of this model cannot be read as logits.
    """
    nodes = root_nodes(loaded, root, len(run.ids))
    if len(nodes) != 1:
        raise InputError(f"root is {root!r}, which is {len(nodes)} nodes; give one of them.")
    (node,) = nodes
    with loaded.lock:
        check_run(run, loaded, None)
        measure = measured(
            loaded, run, node.position, metric=metric, numerics=numerics, target=target, foil=foil
        )
        # With "per_part" the threshold is over before they are merged.
        options = weighing(
            measure, bias=bias, threshold=0.0, mode=mode, renormalise=False,
            merge_self=merge_self and mode == "per_edge", granularity=granularity,
        )  # fmt: skip
        if node.letter in "XM":
            return None if node.letter == "X" else 1.0
        source = RowSource(loaded, run, measure, granularity)
        (row,) = source.rows(node.layer, node.letter, [node.position])
    weights = weigh(row, options, node.position)
    return None if weights.degenerate else _largest(weights, mode)


def _largest(weights: Weights, mode: str) -> float:
    shares = weights.heads if mode == "per_part" and weights.heads is not None else weights.edges
    rest = (weights.residual, weights.bias, weights.mlp, weights.mixer)
    return max(float(np.abs(shares).max(initial=0.0)), *map(abs, rest))
