"""The figures of llm-error-correction, under its file names.

They differ from the original's where that was wrong: every layer shows the same dims, drawn with a
seed; layers are in the order of their numbers and keep them; and a pair without any dim below the
threshold has its figures, too, with the smallest differences there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from lens_core.figures.file_names import file_names
from lens_core.figures.original_pair_sheets import (
    MinimalDim,
    bars_sheet,
    heatmap_sheet,
    statistics_sheet,
    table_sheet,
)
from lens_core.figures.sheet import save_sheet

if TYPE_CHECKING:
    from lens_core.difference import PairDifference
    from lens_core.difference.kept_pairs import KeptPairs

MAX_PAIRS, MAX_DIMS, MAX_TOP = 20, 1000, 100
_STATISTICS = ("mean_abs", "min_abs", "max_abs")


def write_pair_figures(
    result: PairDifference,
    kept: str | Path,
    folder: str | Path,
    *,
    threshold: float | int = 0.01,
    top_n: int = 10,
    max_pairs: int | None = MAX_PAIRS,
    dims: int = 100,
    seed: int = 0,
) -> list[Path]:
    """Write the original's figures into `figures/` of a folder.

    `activation_differences/TYPE/SUBTYPE/` has `pair_i_heatmap.png`, `pair_i_top_minimal_dims.png`
    and `pair_i_top_minimal_dims_table.png`; `layer_statistics/layer_statistics.png` is of all
    pairs. Types and subtypes that are no safe names of folders are changed, see `file_names`.

    Args:
        result: a comparison that kept its states.
        kept: the folder it kept them in.
        folder: to write to; made where it is missing.
        threshold: the line in the bars; the scale of the heat map reaches at least twice of it.
        top_n: how many of the smallest differences are shown.
        max_pairs: of how many pairs, taken from all subtypes in turn; None for all.
        dims: how many dims the heat map shows at most, the same in every layer.
        seed: of their choice.

    Raises:
        InputError: an argument outside its range, states of another comparison, or a folder that
            cannot be written to.
    """
    from lens_core.difference.kept_pairs import differences, open_kept
    from lens_core.difference.original_files import check_threshold
    from lens_core.lens.options import whole_number

    check_threshold(threshold)
    whole_number("top_n", top_n, 1, MAX_TOP)
    whole_number("dims", dims, 1, MAX_DIMS)
    if max_pairs is not None:
        whole_number("max_pairs", max_pairs, 0, 2**31)
    states, figures = open_kept(result, kept), Path(folder) / "figures"
    shown = _chosen_dims(states.stored.shape[-1], dims, seed)
    written = []
    for place, index in _in_turn(states, max_pairs):
        both, pair = states.states(index), states.pairs[index]
        gap = differences(both)
        least = smallest(both, gap, states.layers, top_n)
        below = int((gap < threshold).sum())
        start = figures / "activation_differences" / place
        made = {
            "heatmap": heatmap_sheet(gap[:, shown], states.layers, shown, pair, threshold),
            "top_minimal_dims": bars_sheet(least, below, pair, threshold),
            "top_minimal_dims_table": table_sheet(least, below, pair, threshold),
        }
        for name, sheet in made.items():
            written.append(save_sheet(sheet, start.with_name(f"{start.name}_{name}.png")))
    statistics = layer_statistics(result, states)
    picture = figures / "layer_statistics" / "layer_statistics.png"
    sheet = statistics_sheet(states.layers, statistics, len(states.pairs))
    return [*written, save_sheet(sheet, picture)]


def layer_statistics(
    result: PairDifference, states: KeptPairs
) -> Float[np.ndarray, "statistic layer"]:
    """Mean, smallest and largest difference of a layer's dims, each as its mean over all pairs."""
    sites = list(states.sites)
    rows = [result.metrics[name][:, sites].mean(0, dtype=np.float64) for name in _STATISTICS]
    return np.stack(rows)


def smallest(
    both: Float[np.ndarray, "side layer d_model"],
    gap: Float[np.ndarray, "layer d_model"],
    layers: Sequence[int],
    count: int,
) -> list[MinimalDim]:
    """The smallest differences of all layers, smallest first; equal ones in order."""
    order = np.argsort(gap, axis=None, kind="stable")[:count]
    found = []
    for row, dim in zip(*np.unravel_index(order, gap.shape), strict=True):
        sides = (float(both[0, row, dim]), float(both[1, row, dim]))
        found.append(MinimalDim(layers[row], int(dim), float(gap[row, dim]), sides))
    return found


def _chosen_dims(width: int, count: int, seed: int) -> Int[np.ndarray, " dim"]:
    """The dims that all heat maps show, ascending."""
    if width <= count:
        return np.arange(width)
    return np.sort(np.random.default_rng(seed).choice(width, count, replace=False))


def _in_turn(states: KeptPairs, most: int | None) -> Iterator[tuple[Path, int]]:
    """Pairs with TYPE/SUBTYPE/pair_i: the first of every subtype, then the second of every one."""
    groups = states.numbered()
    types = file_names((kind for kind, _ in groups), empty="untyped")
    folders = {}
    for kind in types:
        names = file_names((sub for one, sub in groups if one == kind), empty="untyped")
        folders |= {(kind, sub): Path(types[kind]) / name for sub, name in names.items()}
    columns = [[(key, index) for index in rows] for key, rows in groups.items()]
    done = 0
    for number, row in enumerate(zip_longest(*columns)):
        for one in row:
            if one is not None and (most is None or done < most):
                done += 1
                yield folders[one[0]] / f"pair_{number}", one[1]
