"""The contribution graph of one prompt, as a tree below its roots.

Information flow routes (Ferrando & Voita, 2024, arXiv 2403.00824), as the LM Transparency Tool
draws them (Tufanov et al., 2024, arXiv 2404.07004): every state is the sum of its parts, an edge
is the share of a part in it. Departures: biases are parts of their own, value biases are counted
once, what lies behind a projection (post-norms, multipliers, gates, experts' weights) belongs to
the part, parallel layers are one sum, MLP and stream are normalised at each token on their own,
and influence is followed from the root to the tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lens_core.models import LoadedModel, check_ids
from lens_core.progress import portion
from lens_core.tokens import token_records, vocab_entries
from lens_core.tree.influence import Influence, influence, shown
from lens_core.tree.nodes import Codes, Node
from lens_core.tree.options import (
    Pruning,
    Weighing,
    measured,
    pruning,
    root_nodes,
    weighing,
)
from lens_core.tree.result import ContributionGraph, GraphEdges, GraphNodes
from lens_core.tree.rows import RowSource
from lens_core.tree.run import GraphRun, check_run, graph_run
from lens_core.tree.visiting import MAX_HEADS, Visit, visit


@torch.no_grad()
def contribution_graph(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    *,
    root: int | str | Sequence[int | str] = -1,
    threshold: int | float = 0.04,
    mode: str = "per_part",
    renormalise: bool | None = None,
    bias: str = "part",
    metric: str = "l1",
    numerics: str = "clean",
    granularity: str = "head",
    target: int | str | None = None,
    foil: int | str | None = None,
    merge_self: bool = False,
    prune: Sequence[int | float] | None = None,
    max_edges: int | None = None,
    max_tokens: int | None = None,
    run: GraphRun | None = None,
) -> ContributionGraph:
    """What the output of a token, or any other state, was made of, down to the prompt.

    Only states that an edge above the threshold leads to are taken apart.

    Args:
        loaded: the model.
        ids: token ids [position].
        root: what to explain: a position (the output of the last layer there), a node such as
            "I3_5", several of them, or "all" for the outputs of all positions.
        threshold: shares up to it are left out, 0 to 1.
        mode: what is compared with the threshold: "per_part" every (source, head), "per_edge" the
            sum over heads.
        renormalise: divide what is left by its sum; None does so with "per_part", unless the
            metric has signs.
        bias: "part" gives what biases add a share; "ignore" leaves it out of the sum.
        metric: l1 (default) and l2 are proximities; "projection" is signed and sums to exactly 1;
            "norm" compares lengths; "logit" is the direct effect on a token's logit at the
            position of the state, signed, as a share of all such effects.
        numerics: "clean", or "compat" for those of the LM Transparency Tool.
        granularity: "head" measures every (source, head); "source" adds the heads of a source up
            first, which is cheaper, lists no heads, and gives other numbers.
        target: token of the metric "logit", an id or a text of one token; None takes the model's
            own prediction at the root.
        foil: subtract the logit of this token.
        merge_self: make attention to the own position and the residual one edge.
        prune: (share of nodes, share of edges) by influence to keep, such as (0.8, 0.98). Like
            `max_edges` it changes what is listed, and no number.
        max_edges: list so many edges at most, those with the largest influence.
        max_tokens: refuse longer prompts.
        run: what `graph_run` gave for the same model, edits and prompt; it is read instead of
            running the model again.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: an argument outside its range, or a `run` that does not fit.
        NotExactError: this model cannot be taken apart into heads exactly, or, for "logit", its
            parts cannot be read as logits.
    """
    started = time.perf_counter()
    loaded.require("streams")
    loaded.require("heads")
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    roots = root_nodes(loaded, root, len(ids))
    listed = pruning(prune, max_edges)
    with loaded.lock:
        with portion(0, 2):
            run = _run(loaded, ids, run)
        ran = time.perf_counter()
        at = {node.position for node in roots}
        measure = measured(
            loaded, run, at.pop() if len(at) == 1 else None,
            metric=metric, numerics=numerics, target=target, foil=foil,
        )  # fmt: skip
        options = weighing(
            measure, bias=bias, threshold=threshold, mode=mode,
            renormalise=renormalise, merge_self=merge_self, granularity=granularity,
        )  # fmt: skip
        with portion(1, 2):
            found = _visited(loaded, run, options, roots)
        flow = influence(found, len(ids), magnitude=metric == "logit")
        timing = {"forward_s": ran - started, "graph_s": time.perf_counter() - ran}
        # Under the lock, while the edits it names are the ones applied.
        header = _header(loaded, run, found, timing)
    return _graph(
        loaded, run, found, flow, header=header, options=options, roots=roots, pruning=listed
    )


def _visited(
    loaded: LoadedModel, run: GraphRun, options: Weighing, roots: tuple[Node, ...]
) -> Visit:
    """The tree; no heads are listed where they were added up before they were measured."""
    source = RowSource(loaded, run, options.measure, options.granularity)
    listed = MAX_HEADS if options.granularity == "head" else 0
    return visit(source, options, roots, max_heads=listed)


def _run(loaded: LoadedModel, ids: Tensor, held: GraphRun | None) -> GraphRun:
    """The held run once it is known to fit, or a fresh one."""
    if held is None:
        return graph_run(loaded, ids)
    check_run(held, loaded, ids)
    return held


def _graph(
    loaded: LoadedModel,
    run: GraphRun,
    found: Visit,
    flow: Influence,
    *,
    header: dict[str, Any],
    options: Weighing,
    roots: tuple[Node, ...],
    pruning: Pruning,
) -> ContributionGraph:
    chosen = shown(found, flow, pruning)
    nodes, edges = _listed(run, found, flow, chosen)
    target = options.measure.target
    tokens = [run.ids, run.prediction.ids]
    tokens += [torch.tensor([t]) for t in (target, options.measure.foil) if t is not None]
    entries = vocab_entries(loaded.tokenizer, torch.cat(tokens).unique().tolist())
    return ContributionGraph(
        header=header,
        vocab={str(token): entry for token, entry in entries.items()},
        options=_options(options, roots, pruning),
        nodes=nodes,
        edges=edges,
        token_influence=flow.tokens,
        bias_influence=flow.bias,
        mixer_influence=flow.mixer,
        lost_influence=flow.lost,
        degenerate=tuple(node.id for node in found.degenerate),
        all_below_threshold=tuple(node.id for node in found.empty),
        unattributed=found.unattributed,
        n_rows=found.n_rows,
        n_edges=len(found.edges),
        n_nodes=len(flow.codes),
        final_ids=run.prediction.ids.numpy(),
        final_p=run.prediction.p.numpy(),
    )


def _listed(
    run: GraphRun, found: Visit, flow: Influence, chosen: np.ndarray
) -> tuple[GraphNodes, GraphEdges]:
    """The chosen edges, by destination from top to bottom, and the nodes that they join."""
    edges, codes = found.edges.take(chosen), Codes(len(run.ids))
    ends = np.unique(np.concatenate([found.roots, edges.src, edges.dst]))
    ids = tuple(codes.node(code).id for code in ends.tolist())
    held = flow.nodes[np.searchsorted(flow.codes, ends)]
    order = np.lexsort((edges.kind, edges.src, -edges.dst))
    edges = edges.take(order)
    return GraphNodes(ids, held), GraphEdges(
        np.searchsorted(ends, edges.src),
        np.searchsorted(ends, edges.dst),
        edges.kind,
        edges.weight,
        flow.edges[chosen][order],
        edges.heads,
        edges.head_weight,
    )


def _options(options: Weighing, roots: tuple[Node, ...], pruning: Pruning) -> dict[str, Any]:
    """The options as they were used, by the names of the schema."""
    positions = {node.position for node in roots}
    measure = options.measure
    target = None
    if measure.target is not None:
        target = {"id": measure.target, "foil": measure.foil}
    return {
        "root": {
            "token": positions.pop() if len(positions) == 1 else None,
            "nodes": [node.id for node in roots],
        },
        "metric": measure.metric,
        "granularity": options.granularity,
        "bias": options.bias,
        "numerics": measure.numerics,
        "threshold": {
            "tau": options.threshold,
            "mode": options.mode,
            "renormalise": options.renormalise,
            "merge_self": options.merge_self,
        },
        "target": target,
        "pruning": {
            "nodes": pruning.nodes,
            "edges": pruning.edges,
            "max_edges": pruning.max_edges,
        },
    }


def _header(
    loaded: LoadedModel, run: GraphRun, found: Visit, timing: dict[str, float]
) -> dict[str, Any]:
    """The common header, with the text that was read."""
    ids = run.ids.tolist()
    header = loaded.header("contribution_graph", timing=timing, warnings=_warnings(loaded, found))
    tokens = token_records(loaded.tokenizer, ids)
    header["input"] = {
        "ids": ids,
        "offsets": [[token["char_start"], token["char_end"]] for token in tokens],
        "is_special": [token["kind"] == "special" for token in tokens],
        "tokens": tokens,
    }
    return header


def _warnings(loaded: LoadedModel, found: Visit) -> list[str]:
    said = []
    bound = loaded.self_check.bound
    if found.unattributed > bound:
        said.append(
            f"The parts of a state leave {found.unattributed:.1e} of it over, and the bound is "
            f"{bound:.0e}: on this prompt the weights are that much less exact."
        )
    if found.degenerate:
        names = ", ".join(node.id for node in found.degenerate[:5])
        said.append(
            f"{len(found.degenerate)} states have no part that is nearer to them than zero is "
            f"({names}), so they have no edges."
        )
    if loaded.self_check.layers_without_attention:
        layers = ", ".join(str(layer) for layer in loaded.self_check.layers_without_attention)
        said.append(f"Layers {layers} mix tokens without a pattern: each shows one mixer edge.")
    return said
