"""Figures of pairs, causal traces and layer operations show the numbers of the result."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import loaded
from PIL import Image
from test_difference import Item, identical, items
from test_figures import HOSTILE, strings
from test_patching import EQUAL, answers

from lens_core import InputError
from lens_core.difference import PairDifference, pair_difference
from lens_core.difference.kept_pairs import differences, open_kept
from lens_core.difference.statistics import RHO
from lens_core.figures import (
    causal_grid,
    figure_json,
    layer_change,
    original_pairs,
    pair_dimensions,
    pair_histogram,
    pair_layers,
    pair_profile,
    save_html,
    save_png,
    write_pair_figures,
)
from lens_core.figures.original_pairs import layer_statistics, smallest
from lens_core.figures.ticks import round_ticks
from lens_core.patching import (
    CausalTrace,
    LayerOperations,
    attribution_patching,
    causal_trace,
    layer_operations,
)

TYPES = ("意味の違い", "<b>grammar</b>", "c", "d", "e")


def typed(count: int) -> list[Item]:
    """Pairs of five types, with three subtypes each."""
    return [
        (replace(pair, type=TYPES[i % 5], subtype=f"s{i % 3}"), alignment)
        for i, (pair, alignment) in enumerate(items(count))
    ]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[PairDifference, Path]:
    folder = tmp_path_factory.mktemp("kept")
    components = ["resid_post", "mlp_out"]
    return pair_difference(loaded("llama"), typed(45), components=components, keep=folder), folder


@pytest.fixture(scope="module")
def result(kept: tuple[PairDifference, Path]) -> PairDifference:
    return kept[0]


@pytest.fixture(scope="module")
def trace() -> CausalTrace:
    model = loaded("llama")
    return causal_trace(model, EQUAL, answers=answers(model), components=["resid_post", "heads"])


@pytest.fixture(scope="module")
def operations() -> LayerOperations:
    texts = [[5, 6, 7, 8], [9, 10, 11], [12, 13, 14, 15, 16]]
    return layer_operations(loaded("llama"), texts, operations=["exchange", "remove"])


def traces_of(figure: Any, role: str) -> list[dict[str, Any]]:
    return [one for one in figure_json(figure)["data"] if one["meta"].get("role") == role]


def plain(text: str) -> str:
    return html.unescape(text)


def test_lines_and_bands_are_those_of_the_groups(result: PairDifference) -> None:
    groups = [one for one in result.groups if one.type and one.subtype is None]
    figure = pair_layers(result, metric="l2")
    lines = {tuple(one["meta"]["group"]): one for one in traces_of(figure, "line")}
    bands = {tuple(one["meta"]["group"]): one for one in traces_of(figure, "band")}
    assert set(lines) == {(one.type, None) for one in groups}
    stream = [at for at, name in enumerate(result.components) if name == "resid_post"]
    for group in groups:
        spread, line = group.metrics["l2"], lines[group.type, None]
        assert line["customdata"] == [-1, 0, 1, 2]
        np.testing.assert_allclose(line["y"], spread.mean[stream], rtol=1e-6)
        assert f"n = {group.n_units}" in plain(line["name"])
        if line["meta"].get("series") is None:
            continue
        ends = bands[group.type, None]["y"]
        np.testing.assert_allclose(ends[:4], spread.hi[stream], rtol=1e-6)
        np.testing.assert_allclose(ends[4:8], spread.lo[stream][::-1], rtol=1e-6)
    assert [one["meta"].get("series") for one in lines.values()].count(None) == 1, "five groups"
    layout = figure_json(figure)["layout"]
    assert len(layout["annotations"]) == 5
    assert layout["yaxis"]["tickvals"][0] == 0


def test_lines_by_subtype_quartiles_and_component(result: PairDifference) -> None:
    figure = pair_layers(result, by="subtype", component="mlp_out", band="quartiles")
    (group, *_) = [one for one in result.groups if one.subtype is not None]
    line = next(
        one for one in traces_of(figure, "line")
        if one["meta"]["group"] == [group.type, group.subtype]
    )  # fmt: skip
    rows = [at for at, name in enumerate(result.components) if name == "mlp_out"]
    np.testing.assert_allclose(line["y"], group.metrics["rel_l2"].median[rows], rtol=1e-6)
    assert line["customdata"] == [0, 1, 2]
    untyped = pair_difference(loaded("llama"), items(4)[:2], lens=False)
    bare = replace(untyped, groups=untyped.groups[:1])
    (line,) = traces_of(pair_layers(bare), "line")
    assert line["meta"]["group"] == [None, None]
    for wrong, said in (
        ({"metric": "size"}, "metric is 'size'"),
        ({"by": "unit"}, "by is 'unit'"),
        ({"band": "x"}, "band is 'x'"),
        ({"component": "attn_out"}, "compared at resid_post, mlp_out"),
    ):
        with pytest.raises(InputError, match=said):
            pair_layers(result, **wrong)  # type: ignore[arg-type]


def test_a_band_is_broken_where_its_ends_are_not_known(result: PairDifference) -> None:
    record = json.loads(json.dumps(result.to_json()))
    group = next(one for one in record["groups"] if one["type"] is None)
    group["metrics"]["rel_l2"]["lo"][1] = None
    bands = traces_of(pair_layers(record, by="all"), "band")
    assert [one["x"] for one in bands] == [[2, 3, 3, 2, 2], [0, 0, 0]]


def test_the_dims_of_a_site_and_its_control(result: PairDifference) -> None:
    record = json.loads(json.dumps(result.to_json()))
    dims = record["dims"]["layer_1"]
    dims["found"], dims["rho"][4] = [3, 9], None
    figure = pair_dimensions(record, "layer_1")
    (found,), (others,) = traces_of(figure, "marked"), traces_of(figure, "unmarked")
    assert found["customdata"] == [3, 9]
    assert sorted(found["customdata"] + others["customdata"]) == [i for i in range(32) if i != 4]
    for one in (found, others):
        assert one["x"] == [dims["rho"][dim] for dim in one["customdata"]]
        assert one["y"] == [dims["hit_rate"][dim] for dim in one["customdata"]]
    assert found["marker"]["symbol"] != others["marker"]["symbol"]
    assert traces_of(figure, "bound")[0]["x"] == [RHO, RHO]
    assert set(traces_of(figure, "chance")[0]["y"]) == {0.1}
    told = plain(figure_json(figure)["layout"]["xaxis"]["title"]["text"])
    assert f"2 found of 31 dims, {result.n_units} units" in told
    assert result.control is not None
    count = result.control.found_per_site[result.sites.index("layer_1")]
    assert f"The negative control found {count} here" in told
    record["control"] = None
    title = figure_json(pair_dimensions(record, "layer_1"))["layout"]["xaxis"]["title"]["text"]
    assert "Without its negative control" in title
    with pytest.raises(InputError, match='site is "layer_9"'):
        pair_dimensions(record, "layer_9")


def test_no_dim_can_be_tested_with_few_units() -> None:
    few = pair_difference(loaded("llama"), items(5), lens=False)
    title = figure_json(pair_dimensions(few, "layer_0"))["layout"]["xaxis"]["title"]["text"]
    assert f"Too few units to tell: {few.n_units}." in title
    same = pair_difference(loaded("llama"), [identical(4, 5), identical(6, 7)], lens=False)
    with pytest.raises(InputError, match="all pairs have equal sides"):
        pair_profile(same, "layer_0")
    save_png(pair_layers(same), Path("/dev/null"), dpi=30)


@pytest.mark.parametrize("order", ["index", "ascending", "descending"])
def test_the_profile_of_a_site_in_every_order(result: PairDifference, order: str) -> None:
    values = result.dims["layer_2"].mean_abs
    (line,) = traces_of(pair_profile(result, "layer_2", order), "dims")
    assert line["y"] == [float(values[dim]) for dim in line["customdata"]]
    assert sorted(line["customdata"]) == list(range(32))
    steps = np.diff(line["y"])
    if order == "index":
        assert line["customdata"] == list(range(32))
    else:
        assert (steps >= 0).all() if order == "ascending" else (steps <= 0).all()


def test_the_profile_marks_what_was_found(result: PairDifference) -> None:
    record = result.to_json()
    record["dims"]["layer_0"]["found"] = [5]
    figure = pair_profile(record, "layer_0", "descending", value="scale")
    (found,), (line,) = traces_of(figure, "found"), traces_of(figure, "dims")
    place = line["customdata"].index(5)
    assert (found["x"], found["y"], found["customdata"]) == ([place], [line["y"][place]], [5])
    with pytest.raises(InputError, match="order is 'up'"):
        pair_profile(record, "layer_0", "up")
    with pytest.raises(InputError, match="value is 'p'"):
        pair_profile(record, "layer_0", value="p")


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_causal_grid_shows_every_effect(trace: CausalTrace, direction: str) -> None:
    assert trace.contrast.defined
    grid = trace.grid("resid_post", direction)
    (cells,) = traces_of(causal_grid(trace, "resid_post", direction), "cells")
    high = max(1.0, float(np.abs(grid.effect).max()))
    np.testing.assert_allclose(cells["z"], 0.5 + 0.5 * grid.effect / high, atol=1e-6)
    assert cells["meta"]["scale"] == "signed"
    assert cells["customdata"][2][0] == [2, None, grid.columns[0]]
    assert plain(cells["text"][2][-1]) == f"{round(100 * grid.effect[2, -1])}%".replace("-", "−")
    everything = "100&#37;" if direction == "denoise" else "0&#37;"
    assert cells["text"][2][-1] == everything, "the last state carries the whole answer"


def test_heads_and_what_is_not_defined(trace: CausalTrace, tmp_path: Path) -> None:
    grid = trace.grid("heads", "denoise")
    column = grid.columns[0]
    (cells,) = traces_of(causal_grid(trace, "heads", column=column), "cells")
    high = max(1.0, float(np.abs(grid.effect[:, :, 0]).max()))
    np.testing.assert_allclose(cells["z"], 0.5 + 0.5 * grid.effect[:, :, 0] / high, atol=1e-6)
    assert cells["customdata"][1][3] == [1, 3, column]
    record = trace.to_json()
    record["grids"][0]["effect"][1][0] = None
    figure = causal_grid(record)
    known, grey = traces_of(figure, "cells")
    assert known["z"][1][0] is None
    assert [(y, x) for y, row in enumerate(grey["z"]) for x, v in enumerate(row) if v] == [(1, 0)]
    assert len({shade for _, shade in grey["colorscale"]}) == 1
    record["grids"][0]["effect"] = [[None] * len(row) for row in record["grids"][0]["effect"]]
    save_png(causal_grid(record, dark=True), tmp_path / "grey.png", dpi=60)
    for wrong, said in (
        ({"component": "mlp_out"}, "There is no grid of"),
        ({"component": "heads", "column": 77}, "heads were patched at"),
    ):
        with pytest.raises(InputError, match=said):
            causal_grid(trace, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="this figure takes"):
        causal_grid({"schema": "lens_core/lens/1"})


def test_estimates_are_called_so() -> None:
    model = loaded("llama")
    found = attribution_patching(model, EQUAL, answers=answers(model), checks=10)
    (cells,) = traces_of(causal_grid(found), "cells")
    assert "estimate" in cells["colorbar"]["title"]["text"]


def test_changes_have_their_intervals(operations: LayerOperations) -> None:
    figure = layer_change(operations)
    seen = []
    for one in traces_of(figure, "change"):
        for place, at in enumerate(one["customdata"]):
            change = operations.scores[at].change
            assert change is not None
            seen.append(at)
            low, high = (one["error_x"][name][place] for name in ("arrayminus", "array"))
            ends = (one["x"][place] - low, one["x"][place] + high)
            assert one["x"][place] == pytest.approx(change.mean)
            assert ends == pytest.approx((change.lo, change.hi), abs=1e-6)
    assert sorted(seen) == list(range(1, len(operations.scores)))
    labels = figure_json(figure)["layout"]["yaxis"]["ticktext"]
    assert labels[:2] == ["exchange L0, L1", "exchange L1, L2"]
    assert len(traces_of(layer_change(operations, kind="remove"), "change")) == 1
    with pytest.raises(InputError, match='kind is "repeat"'):
        layer_change(operations, kind="repeat")


def test_a_change_without_an_interval_or_a_number(operations: LayerOperations) -> None:
    record = operations.to_json(tokens=False)
    for name in ("mean", "lo", "hi"):
        record["scores"][1]["change"][name] = None
    record["scores"][2]["change"]["lo"] = record["scores"][2]["change"]["hi"] = None
    figure = layer_change(record)
    points = traces_of(figure, "change")
    assert [at for one in points for at in one["customdata"]] == [2, 3, 4, 5]
    assert points[0]["error_x"]["array"] == [None]
    assert "not finite" in traces_of(figure, "note")[0]["text"][0]


def test_texts_of_users_are_no_markup(
    result: PairDifference, trace: CausalTrace, operations: LayerOperations, tmp_path: Path
) -> None:
    record, traced = result.to_json(), trace.to_json()
    for group, text in zip(record["groups"][1:], HOSTILE * 4, strict=False):
        group["type"] = text
    for side in ("clean", "corrupt"):
        for token, text in zip(traced["input"][side], HOSTILE * 4, strict=False):
            token.update(text=text, cluster_text=text)
    title = HOSTILE[0]
    figures = [
        pair_layers(record, by="subtype", title=title),
        pair_dimensions(record, "layer_0", title=title),
        pair_profile(record, "layer_0", title=title),
        causal_grid(traced, title=title),
        causal_grid(traced, "heads"),
        layer_change(operations, title=title),
    ]
    for number, figure in enumerate(figures):
        made = figure_json(figure)
        for trace_ in made["data"]:
            # Data for the page, which Plotly shows nowhere.
            trace_["meta"].pop("group", None)
        for text in strings(made):
            assert "<a" not in text
            assert "<script" not in text
            assert "%{x}" not in text
        picture = save_png(figure, tmp_path / f"{number}.png", dpi=60)
        assert Image.open(picture).size[0] > 100
    page = save_html(figures, tmp_path / "all.html")
    assert page.stat().st_size > 1_000_000


def test_the_original_figures_of_pairs(
    kept: tuple[PairDifference, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, folder = kept
    shown: list[tuple[Any, ...]] = []
    drawn = original_pairs.heatmap_sheet

    def seen(*arguments: Any) -> Any:
        shown.append(arguments)
        return drawn(*arguments)

    monkeypatch.setattr(original_pairs, "heatmap_sheet", seen)
    options: dict[str, Any] = {"max_pairs": 3, "dims": 7, "threshold": 0.05, "seed": 1}
    written = write_pair_figures(result, folder, tmp_path, **options)
    assert [path.name for path in written] == [
        *("pair_0_heatmap.png", "pair_0_top_minimal_dims.png", "pair_0_top_minimal_dims_table.png")
        * 3, "layer_statistics.png",
    ]  # fmt: skip
    assert written[-1] == tmp_path / "figures" / "layer_statistics" / "layer_statistics.png"
    places = [path.parent.relative_to(tmp_path) for path in written[:-1:3]]
    assert len(set(places)) == 3, "subtypes take turns"
    assert places[0] == Path("figures/activation_differences/意味の違い/s0")
    folders = original_pairs.file_names(pair.pair.type for pair in result.pairs)
    assert folders["<b>grammar</b>"].startswith("_b_grammar_b_-")
    assert all(Image.open(path).size[0] > 500 for path in written)
    states = open_kept(result, folder)
    (_, layers, dims, pair, _), *others = shown
    assert layers == (0, 1, 2)
    assert len(dims) == 7
    assert sorted(dims) == list(dims)
    assert all((other[2] == dims).all() for other in others), "the same dims in every picture"
    assert pair == result.pairs[0].pair
    gap = differences(states.states(0))
    np.testing.assert_array_equal(shown[0][0], gap[:, dims])
    assert (write_pair_figures(result, folder, tmp_path, max_pairs=0)) == [written[-1]]


def test_the_smallest_differences_and_the_statistics_of_layers(
    kept: tuple[PairDifference, Path],
) -> None:
    result, folder = kept
    states = open_kept(result, folder)
    both = states.states(4)
    gap = differences(both)
    least = smallest(both, gap, states.layers, 12)
    assert [one.difference for one in least] == np.sort(gap.ravel())[:12].tolist()
    for one in least:
        assert one.difference == abs(one.sides[0] - one.sides[1])
        assert one.sides == (both[0, one.layer, one.dim], both[1, one.layer, one.dim])
    every = np.stack([differences(states.states(i)) for i in range(len(states.pairs))])
    wanted = [every.mean(2).mean(0), every.min(2).mean(0), every.max(2).mean(0)]
    np.testing.assert_allclose(layer_statistics(result, states), wanted, atol=5e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_n": 0}, "top_n is 0"),
        ({"dims": 0}, "dims is 0"),
        ({"max_pairs": -1}, "max_pairs is -1"),
        ({"threshold": -1.0}, "threshold is -1.0"),
    ],
)
def test_wrong_arguments_are_named(
    kept: tuple[PairDifference, Path], tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        write_pair_figures(*kept, tmp_path, **options)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.0, 0.37), (-3.2, 12.1), (0.0, 0.0), (5.0, 5.0), (1e-9, 2e-9)]
)
def test_ticks_are_round_and_reach_both_ends(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 12
    lead = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(lead - round_one) for round_one in (1, 2, 5, 10)) < 1e-6


def test_every_dim_is_in_one_bin_of_the_histogram(result: PairDifference, tmp_path: Path) -> None:
    for value in ("mean_abs", "mean_diff", "size"):
        drawn = pair_histogram(result, "layer_1", value=value)
        (bars,) = drawn.to_dict()["data"]
        values = getattr(result.dims["layer_1"], value)
        known = values[np.isfinite(values)]
        assert sum(bars["y"]) == len(known)
        for low, high, count in bars["customdata"]:
            inside = (known >= low - 1e-6) & (known < high - 1e-6)
            assert abs(int(inside.sum()) - count) <= 1  # the last bin has its upper edge, too
    save_png(pair_histogram(result, "layer_1"), tmp_path / "histogram.png")
    assert (tmp_path / "histogram.png").stat().st_size > 1000
    with pytest.raises(InputError, match="value is"):
        pair_histogram(result, "layer_1", value="nothing")
