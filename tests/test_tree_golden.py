"""The graph against reference graphs and trees that were made independently."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_golden_models import GOLDEN, NAMES, case

from lens_core import contribution_graph, graph_run
from lens_core.amounts import Measure, amounts, head_amounts
from lens_core.decomposition import HeadParts
from lens_core.tree.nodes import Codes, Node
from lens_core.tree.options import Weighing
from lens_core.tree.rows import Row, RowSource
from lens_core.tree.visiting import visit
from lens_core.tree.weighing import weigh

TOLERANCE = 5e-5
N_LAYERS, LENGTH, HEADS = 3, 5, 3
COMPAT = Measure("l1", "compat")
Edges = dict[tuple[str, str], float]


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


class StoredRows(RowSource):
    """Rows of the tensors of the reference file, which belong to no model."""

    def __init__(self, data: dict[str, np.ndarray]) -> None:
        self.data = data
        facts = SimpleNamespace(n_heads=HEADS)
        self.run = SimpleNamespace(ids=range(LENGTH), facts=facts)  # type: ignore[assignment]
        self.anatomy = SimpleNamespace(layers=range(N_LAYERS))  # type: ignore[assignment]
        self.visited: list[tuple[int, str, int]] = []

    def has_mid(self, layer: int) -> bool:
        return True

    def tensor(self, layer: int, name: str) -> torch.Tensor:
        found = torch.from_numpy(self.data[f"layer{layer}__{name}"])
        return found if name == "W_O" else found[0]

    def rows(self, layer: int, letter: str, positions: Any) -> list[Row]:
        self.visited += [(layer, letter, at) for at in positions]
        whole = self.tensor(layer, "resid_mid" if letter == "A" else "resid_post")
        before = self.tensor(layer, "resid_pre" if letter == "A" else "resid_mid")
        residual = amounts(whole, before, COMPAT)
        if letter == "I":
            mlp = amounts(whole, self.tensor(layer, "mlp_out"), COMPAT)
            return [Row(None, float(residual[at]), mlp=float(mlp[at])) for at in positions]
        parts = HeadParts(
            self.tensor(layer, "pattern"),
            self.tensor(layer, "v"),
            None,
            self.tensor(layer, "W_O"),
            torch.ones(LENGTH, 1),
            whole,
            before,
            torch.zeros_like(whole),
        )
        near = head_amounts(parts, torch.arange(LENGTH), COMPAT).numpy()
        return [Row(near[at], float(residual[at])) for at in positions]


def reference(data: dict[str, np.ndarray], prefix: str, joint: str = "__") -> Edges:
    columns = (data[f"{prefix}{joint}{name}"].tolist() for name in ("src", "dst", "w"))
    return {(src, dst): weight for src, dst, weight in zip(*columns, strict=True)}


def drawn(source: RowSource, roots: list[Node], **options: Any) -> Edges:
    weighing = Weighing(COMPAT, bias="ignore", merge_self=True, **options)
    edges, codes = visit(source, weighing, roots).edges, Codes(LENGTH)
    ends = ([codes.node(code).id for code in side.tolist()] for side in (edges.src, edges.dst))
    return dict(zip(zip(*ends, strict=True), edges.weight.tolist(), strict=True))


def close(found: Edges, wanted: Edges, tolerance: float = TOLERANCE) -> bool:
    """The same edges with the same weights; a weight within the tolerance of 0 may be missing."""
    keys = set(found) | set(wanted)
    return all(abs(found.get(key, 0.0) - wanted.get(key, 0.0)) <= tolerance for key in keys)


EVERYTHING = [Node("I", layer, at) for layer in range(N_LAYERS) for at in range(LENGTH)]
EVERYTHING += [Node("A", layer, at) for layer in range(N_LAYERS) for at in range(LENGTH)]


@pytest.mark.parametrize("threshold", ["none", "0.0", "0.02", "0.04", "0.1"])
def test_the_full_graph_of_stored_tensors(threshold: str) -> None:
    data = golden_arrays("graph_nobias")
    level = 0.0 if threshold == "none" else float(threshold)
    found = drawn(StoredRows(data), EVERYTHING, threshold=level)
    assert close(found, reference(data, f"full_renorm{threshold}"))
    if threshold != "none":
        assert not close(found, reference(data, f"lmtt_buggy_full_renorm{threshold}"), 1e-2)


TREES = sorted(
    key.removesuffix("__src")
    for key in golden_arrays("graph_nobias")
    if key.startswith("tree_") and key.endswith("__src")
)


def tree(name: str) -> tuple[Edges, StoredRows, Node]:
    """The tree of a reference name, the rows it asked for, and its root."""
    _, renormalised, cut, token = name.split("_")
    level, by_edge = renormalised.removeprefix("renorm"), float(cut.removeprefix("thr"))
    options: dict[str, Any] = {"mode": "per_part", "threshold": float(level.replace("none", "0"))}
    if by_edge > 0:
        options = {"mode": "per_edge", "threshold": by_edge, "renormalise": False}
    source = StoredRows(golden_arrays("graph_nobias"))
    root = Node("I", N_LAYERS - 1, int(token.removeprefix("tok")))
    return drawn(source, [root], **options), source, root


@pytest.mark.parametrize("name", TREES)
def test_trees_of_stored_tensors(name: str) -> None:
    found, source, root = tree(name)
    wanted = reference(golden_arrays("graph_nobias"), name)
    assert set(found) == set(wanted)
    assert close(found, wanted)
    reached = {end for edge in wanted for end in edge if end[0] in "AI"} | {root.id}
    assert {f"{letter}{layer}_{at}" for layer, letter, at in source.visited} == reached


def test_most_trees_are_not_those_of_the_original() -> None:
    """Its error shows wherever an earlier token has an MLP above the threshold."""
    data = golden_arrays("graph_nobias")
    made = {name: tree(name) for name in TREES if f"lmtt_buggy_{name}__src" in data}
    alike = [
        close(found[0], reference(data, f"lmtt_buggy_{name}"), 1e-3)
        for name, found in made.items()
        if found[2].position > 0
    ]
    assert len(alike) >= 10
    assert sum(alike) <= len(alike) / 3


THRESHOLDS = golden_arrays("threshold_cases")


@pytest.mark.parametrize("name", sorted({key.split("__")[0] for key in THRESHOLDS}))
def test_thresholds(name: str) -> None:
    keys = ("tau", "blocks", "resid", "expected_blocks", "expected_resid")
    tau, blocks, residual, kept, kept_residual = (THRESHOLDS[f"{name}__{key}"] for key in keys)
    options = Weighing(Measure(), threshold=float(tau))
    for index in range(len(blocks)):
        row = Row(blocks[index][:, None], float(residual[index]))
        found = weigh(row, options, 0)
        if np.isnan(kept[index]).any():
            assert found.empty
            assert not found.edges.any()
            assert found.residual == 0
            continue
        assert not found.empty
        np.testing.assert_allclose(found.edges, kept[index], rtol=0, atol=1e-6)
        assert found.residual == pytest.approx(kept_residual[index], abs=1e-6)


SEQUENTIAL = [name for name in NAMES if name not in ("falcon_7b", "gpt_neox_par")]
OPTIONS: dict[str, Any] = {"numerics": "compat", "bias": "ignore", "merge_self": True}


def edges_of(found: Any) -> Edges:
    return {(edge["src"], edge["dst"]): edge["w"] for edge in found.edge_list()}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_models(name: str) -> None:
    golden = case(name)
    data, model, ids = golden.data, golden.loaded, golden.ids
    run = graph_run(model, ids)
    states = [f"{letter}{layer}_{at}" for letter in "IA" for layer in range(3) for at in range(7)]
    for level in ("none", "0.04"):
        threshold = 0.0 if level == "none" else float(level)
        found = contribution_graph(model, ids, root=states, threshold=threshold, run=run, **OPTIONS)
        assert close(edges_of(found), reference(data, f"graph_{level}", "/"))
    assert not close(edges_of(found), reference(data, "lmtt_buggy_graph_0.04", "/"), 1e-2)
    tree = contribution_graph(model, ids, threshold=0.04, run=run, **OPTIONS)
    wanted = reference(data, "tree_0.04_last", "/")
    assert set(edges_of(tree)) == set(wanted)
    assert close(edges_of(tree), wanted)
    assert not close(edges_of(tree), reference(data, "lmtt_buggy_tree_0.04_last", "/"), 1e-2)
