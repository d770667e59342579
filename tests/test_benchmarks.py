"""The benchmarks: ratios are what they say, and every case runs. No time is asserted."""

import json
import os
from pathlib import Path

import chromium
import pytest
import torch

from benchmarks import attention as attention_benchmark
from benchmarks import foundation, graph, report
from benchmarks import pairs as pairs_benchmark
from benchmarks.attention_cases import ATTENTION_CASES
from benchmarks.browser import Traffic, browser, in_turns
from benchmarks.cases import CASES, K, forward
from benchmarks.graph_cases import GRAPH_CASES
from benchmarks.measure import Seconds, Spread, between, interleaved, peak_mib, ratio_of
from benchmarks.page import deep_map, events, in_parts, opening, pages
from benchmarks.subjects import BIG, DEMO, random_ids, subject
from benchmarks.waiting import waiting_ratios
from lens_core import graph_run
from lens_core.amounts import Measure
from lens_core.models import LoadedModel
from lens_core.tree.options import Weighing
from lens_core.tree.rows import RowSource
from lens_core.tree.weighing import weigh


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return subject(DEMO)


def test_a_ratio_is_of_the_mean_around_the_case() -> None:
    found = between(Seconds(1.0, 2.0), Seconds(6.0, 9.0), Seconds(3.0, 4.0))
    assert found == Seconds(3.0, 3.0)
    ratio = ratio_of([Seconds(1.0, 4.0), Seconds(3.0, 2.0), Seconds(2.0, 9.0)])
    assert ratio.wall == Spread(2.0, 1.0, 3.0)
    assert ratio.cpu == Spread(4.0, 2.0, 9.0)
    assert ratio.repeats == 3


def test_every_case_runs_between_two_references() -> None:
    order: list[str] = []
    ratios, seconds = interleaved(
        lambda: order.append("reference"),
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        repeats=2,
    )
    warm_up = ["reference", "a", "b"]
    rounds = ["reference", "a", "reference", "b", "reference"] * 2
    assert order == warm_up + rounds
    assert ratios["a"].repeats == 2
    assert seconds["wall"].least <= seconds["wall"].median <= seconds["wall"].most


def test_the_peak_is_seen_although_the_memory_is_freed_again() -> None:
    size = 64 * 2**20

    def allocate() -> None:
        torch.ones(size // 4).sum()

    found = peak_mib(allocate)
    if found is None:
        pytest.skip("this system has no high-water mark")
    assert 60 <= found < 80
    nothing = peak_mib(lambda: None)
    assert nothing is not None
    assert nothing < 4


@pytest.mark.parametrize("case", CASES)
def test_every_case_runs_on_the_demo(demo: LoadedModel, case: str) -> None:
    ids = random_ids(demo, 8)
    ratios, _ = interleaved(forward(demo, ids), {case: CASES[case](demo, ids)}, repeats=1)
    assert ratios[case].cpu.median > 0


def test_peers_and_lens_find_the_same_tokens(demo: LoadedModel) -> None:
    ids = random_ids(demo, 8)
    cells, _ = CASES["lens: all layers and positions"](demo, ids)()
    stack, entropy, divergence = CASES["peer: stack of all logits"](demo, ids)()
    loop = CASES["peer: loop over layers"](demo, ids)()
    ours = cells["resid_post"]
    assert (ours.top_ids == stack.indices.numpy()).mean() > 0.99
    assert ours.top_ids.shape == (demo.n_layers, 8, K)
    torch.testing.assert_close(torch.from_numpy(ours.entropy), entropy, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(ours.kl_final), divergence, rtol=1e-4, atol=1e-4)
    for layer, (top, *_) in enumerate(loop):
        assert (top.indices == stack.indices[layer]).float().mean() > 0.99


@pytest.mark.parametrize("case", GRAPH_CASES)
def test_every_graph_case_runs_on_the_demo(demo: LoadedModel, case: str) -> None:
    ids = random_ids(demo, 8)
    ratios, _ = interleaved(forward(demo, ids), {case: GRAPH_CASES[case](demo, ids)}, repeats=1)
    assert ratios[case].cpu.median > 0


@pytest.mark.parametrize("case", ATTENTION_CASES)
def test_every_attention_case_runs_on_the_demo(demo: LoadedModel, case: str) -> None:
    ids = random_ids(demo, 8)
    runs = {case: ATTENTION_CASES[case](demo, ids)}
    ratios, _ = interleaved(forward(demo, ids), runs, repeats=1)
    assert ratios[case].cpu.median > 0


def test_rows_keep_one_row_of_every_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_benchmark, "BIG", DEMO)
    monkeypatch.setattr(attention_benchmark, "LENGTHS", (4, 16))
    for one in attention_benchmark.kept(1):
        assert one["rows"] * one["tokens"] == one["matrices"]


def test_graph_cases_begin_without_rows_and_the_moved_threshold_with_them(
    demo: LoadedModel,
) -> None:
    ids = random_ids(demo, 8)
    rows = GRAPH_CASES["graph: all rows of all layers"](demo, ids)
    assert rows().computed == rows().computed == 2 * demo.n_layers * 8
    whole = GRAPH_CASES["graph: root all, 0.04"](demo, ids)()
    tree = GRAPH_CASES["graph: tree of the last token, 0.04"](demo, ids)()
    assert tree.n_rows < whole.n_rows
    moved = GRAPH_CASES["graph: threshold moved"](demo, ids)()
    assert moved.options["threshold"]["tau"] == 0.08


def test_the_peer_finds_the_shares_of_the_graph(demo: LoadedModel) -> None:
    ids = random_ids(demo, 8)
    peer = GRAPH_CASES["peer: all parts of a layer at once"](demo, ids)()
    source = RowSource(demo, graph_run(demo, ids), Measure())
    options = Weighing(Measure(), threshold=0.0)
    for layer, (attention, mlp) in enumerate(peer):
        for at in range(8):
            (row,) = source.rows(layer, "A", [at])
            found = weigh(row, options, at)
            wanted = attention.parts[at].sum(-1)
            torch.testing.assert_close(
                torch.from_numpy(found.edges), wanted[: at + 1], rtol=1e-4, atol=1e-5
            )
            assert not wanted[at + 1 :].any()
            assert found.residual == pytest.approx(float(attention.residual[at]), abs=1e-5)
            (row,) = source.rows(layer, "I", [at])
            assert weigh(row, options, at).mlp == pytest.approx(float(mlp.parts[at]), abs=1e-5)


@pytest.mark.slow
def test_sections_write_their_part_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foundation, "SUBJECTS", (DEMO,))
    monkeypatch.setattr(foundation, "LENGTHS", (4,))
    monkeypatch.setattr(foundation, "SHORT_RUNS", 1)
    kept = {"lens: last position": CASES["lens: last position"]}
    monkeypatch.setattr(foundation, "CASES", kept)
    foundation.measure(["speed"], 1, tmp_path)
    foundation.measure(["memory"], 1, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert set(results) == {"speed", "memory"}
    assert [one["case"] for one in results["memory"]["results"]] == list(kept)
    page = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert page.count("| demo | 4 | lens: last position |") == 2
    tree = "graph: tree of the last token, 0.04"
    monkeypatch.setattr(graph, "SUBJECTS", (DEMO,))
    monkeypatch.setattr(graph, "LENGTHS", (4,))
    monkeypatch.setattr(graph, "SHORT_RUNS", 1)
    monkeypatch.setattr(graph, "GRAPH_CASES", {tree: GRAPH_CASES[tree]})
    graph.measure(["speed", "memory"], 1, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert page.count(f"| demo | 4 | {tree} |") == 2


def test_the_sections_of_pairs_say_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_benchmark, "BIG", DEMO)
    monkeypatch.setattr(pairs_benchmark, "N_PAIRS", 4)
    monkeypatch.setattr(pairs_benchmark, "N_PAGE", 30)
    monkeypatch.setattr(pairs_benchmark, "N_FOUND", 80)
    pairs_benchmark.measure(list(pairs_benchmark.SECTIONS), 1, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    found = {one["set"]: one for one in results["pairs found"]["results"]}
    assert (found["templates"]["pairs"], found["BLiMP"]["pairs"]) == (80, 300)
    assert found["templates"]["page"] in (tmp_path / "RESULTS.md").read_text("utf-8")
    sent = results["pairs page"]["results"]
    assert sent["pairs"] == 30
    assert sum(sent["bytes"].values()) > 10_000


@pytest.mark.slow
def test_two_ways_of_waiting_are_compared_in_turns() -> None:
    free, beside = waiting_ratios(DEMO, [(4, "forward")], repeats=1)
    assert (free["busy"], beside["busy"]) == (False, True)
    assert free["wall"]["median"] > 0
    assert beside["passive_s"]["cpu"]["median"] > 0


def test_the_stack_of_all_logits_is_left_out_where_it_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert foundation.fitting_cases(DEMO, 128) == list(CASES)
    monkeypatch.setattr(foundation, "NAIVE_BYTES", 2**20)
    assert "peer: stack of all logits" not in foundation.fitting_cases(DEMO, 128)


def test_targets_are_judged_by_the_median() -> None:
    spread = {"median": 4.2, "least": 3.9, "most": 9.0}
    one = {"subject": BIG, "tokens": 32, "case": "lens: all layers and positions"}
    one |= {"wall": spread, "cpu": spread, "forward_s": {"wall": spread, "cpu": spread}}
    section = {"measured": "now", "machine": report.machine(), "load_before": 0.5, "repeats": 5}
    page = report.markdown({"speed": {**section, "results": [one]}})
    assert "| 4.20 [3.90..9.00] | 4.20 [3.90..9.00] | 4.5, 4: the first holds |" in page
    memory = {**one, "mib": 151.0}
    assert "missed" in report.markdown({"memory": {**section, "results": [memory]}})


def test_what_a_page_loads_is_told_apart() -> None:
    head = f'<script id="lens-scripts">{"let a = 1;" * 200}</script><style>b {{}}</style>'
    sizes = {
        "http://127.0.0.1:1/": 2000,
        "http://127.0.0.1:1/assets/index-1.js": 300,
        "http://127.0.0.1:1/gradio_api/lens/fonts/LensSans-Regular.woff2": 70,
        "http://127.0.0.1:1/gradio_api/lens/plotly.min.js": 900,
        "http://127.0.0.1:1/gradio_api/queue/data": 5,
        "https://elsewhere.example/theme.css": 11,
    }
    page = f"<html><head>{head}</head><body>{''.join(map(str, range(300)))}</body></html>"
    parts = in_parts(Traffic(sizes, page))
    assert sum(parts.values()) == sum(sizes.values())
    assert parts["plotly.js"] == 900
    assert parts["fonts"] == 70
    assert parts["gradio"] == 311
    assert parts["events"] == 5
    assert 0 < parts["ours"] < 2000
    plain = in_parts(Traffic(sizes, "<html><head></head></html>"))
    assert (plain["page"], plain["ours"]) == (2000, 0)


def test_events_are_measured_between_those_of_the_reference() -> None:
    order: list[str] = []

    def act(name: str, wall: float) -> Seconds:
        order.append(name)
        return Seconds(wall, wall / 2)

    cases = {"a": lambda: act("a", 3.0), "b": lambda: act("b", 1.0)}
    ratios, seconds = in_turns(lambda: act("reference", 2.0), cases, repeats=2)
    assert order == ["reference", "a", "b", *["reference", "a", "reference", "b", "reference"] * 2]
    assert ratios["a"].wall == Spread(1.5, 1.5, 1.5)
    assert ratios["b"].cpu == Spread(0.5, 0.5, 0.5)
    assert seconds["reference"]["wall"].median == 2.0
    assert seconds["b"]["cpu"].median == 0.5


def test_the_page_is_held_against_its_limits() -> None:
    spread = {"median": 1.6, "least": 1.0, "most": 2.0}
    both = {"wall": spread, "cpu": spread}
    event = {**both, "seconds": both, "plain_s": both}
    seconds = {f"{page} {what}": spread for page in ("app", "plain") for what in ("paint", "drawn")}
    results = {
        "load": {"kib": {"page": 590.0, "fonts": 20.0}, "plotly_kib": 1300.0, "plain_kib": 400.0},
        "opening": {"ratios": {"paint": spread, "drawn": spread}, "seconds": seconds},
        "events": [{"case": "click on a cell", **event}, {"case": "Run", **event}],
        "draws": [{"case": "table", "layers": 32, "tokens": 64, "cpu_s": spread}],
        "graph": {"drawn once": spread, "a frame of zooming": {**spread, "median": 0.01}},
        "visits": {"sessions": 2, "runs": 5, "levels_mib": [500.0, 503.0, 505.0]},
    }
    section = {"measured": "now", "machine": report.machine(), "load_before": 0.5, "repeats": 5}
    page = report.markdown({"page": {**section, "results": results}})
    assert "First load: 610 KiB" in page
    assert "limit 600: missed" in page
    assert "| click on a cell | 1.60 [1.00..2.00] | 1.60 [1.00..2.00] | missed |" in page
    assert "| Run | 1.60 [1.00..2.00] | 1.60 [1.00..2.00] |  |" in page
    assert "32 layers x 64 positions, table | 1.60 [1.00..2.00] | missed |" in page
    assert "| drawn once | 1600.0 ms | missed |" in page
    assert "| a frame of zooming | 10.0 ms | holds |" in page
    assert "500 MiB before, 505 after, 2.5 a visit" in page


def test_the_map_that_is_drawn_has_the_layers_and_positions_it_says() -> None:
    value = json.loads(deep_map(3, 8))
    assert len(value["rows"]) == 3 + 1, "the embedding too"
    assert len(value["columns"]) == 8
    assert len(value["tokens"]) == 4
    assert all(len(row) == 8 for row in value["tokens"])


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_is_measured_in_a_browser() -> None:
    if chromium.find() is None and not os.environ.get("CI"):
        pytest.skip(chromium.MISSING)
    with pages() as served, browser() as running:
        found = events(running, served, 1)
        assert len(found) == 7
        assert all(one["wall"]["median"] > 0 and one["cpu"]["median"] > 0 for one in found)
        opened = opening(running, served, 1)
        assert opened["seconds"]["app paint"]["median"] > 0
