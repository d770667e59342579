"""The tab of pairs behind the page: what Run and every click show is what the core says."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Generator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from conftest import Served
from transformers import Qwen2Config, Qwen2ForCausalLM

import lens_core
from benchmarks.pairs import random_pairs
from lens_core import Pair
from lens_core.models import LoadedModel
from lens_core.pairs import make_pairs, read_pairs
from lens_core.patching.pair_grid import pair_grid
from tabs.difference import choices, export
from tabs.difference.choices import Asked, Look, Made, Operated, Traced
from tabs.difference.clicks import N_SHOWN, Clicks, first_pairs
from tabs.difference.data_views import HEADERS, data_stack, records_of, table_rows
from tabs.difference.dimension_views import (
    chosen_dims,
    conclusion,
    dimensions_stack,
    dims_map,
    found_table,
)
from tabs.difference.layer_views import layers_stack
from tabs.difference.prepared import prepared_pairs
from tabs.difference.session import Pairs, Session
from tabs.difference.tab import Parts
from tabs.pairs_operations import Differing
from tabs.pairs_requests import PairExportRequest
from tabs.runtime import UserError, result_of
from tabs.viewers import drawn

pytestmark = pytest.mark.slow

BAR = {"model": "demo", "template": None, "special": "default", "edit": None}
SHARED = {**BAR, "prompt": "anything"}
LOOK, ASKED = Look(), Asked()


@pytest.fixture(scope="module")
def clicks(served: Served) -> Clicks:
    result_of(served.runtime.stack.steps())
    return Clicks(served.runtime)


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    result_of(served.runtime.stack.steps())
    return lens_core.load_model("demo")


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def ended(task: Generator[Any, None, Any]) -> tuple[Any, list[Any]]:
    """What a run comes to, and what it said on the way."""
    said = []
    while True:
        try:
            said.append(next(task))
        except StopIteration as end:
            return end.value, said


def values(shown: Any) -> Any:
    return json.loads(shown)


def run(
    clicks: Clicks,
    pairs: Pairs | None = None,
    *,
    look: Look = LOOK,
    asked: Asked = ASKED,
    shared: dict[str, Any] = SHARED,
    earlier: Session | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of a run, and what is shown by the names of the parts."""
    chosen = (*astuple(look), *astuple(asked))
    (record, shown), _ = ended(clicks.run(shared, pairs or first_pairs(), earlier, *chosen))
    assert len(shown) == N_SHOWN == len(Parts.__dataclass_fields__)
    return record, dict(zip(Parts.__dataclass_fields__, shown, strict=True))


@pytest.fixture(scope="module")
def ran(clicks: Clicks) -> dict[str, Any]:
    return run(clicks)[1]


def view_of(stack: Any, key: str) -> dict[str, Any]:
    (found,) = [one["value"] for one in values(stack)["views"] if one["key"] == key]
    return found


# ---- what the tab opens with


def test_the_model_answers_both_sides_of_every_prepared_fact(demo: LoadedModel) -> None:
    facts = [pair for pair in prepared_pairs() if pair.answer1 is not None]
    assert len(facts) > 25
    for pair in facts:
        for text, answer in ((pair.sentence1, pair.answer1), (pair.sentence2, pair.answer2)):
            following = lens_core.next_token(demo, demo.tokenize(text), k=1)
            assert following.vocab[str(int(following.top.ids[0]))]["text"] == answer


def test_there_are_enough_units_for_the_test_of_dims(ran: dict[str, Any]) -> None:
    found = ran["session"].compared.found
    assert found.n_units >= 20
    assert not found.left_out


# ---- one pair


def test_the_pair_is_shown_as_the_core_aligns_it(ran: dict[str, Any], demo: LoadedModel) -> None:
    pair = prepared_pairs()[0]
    grid = pair_grid(demo, pair, max_tokens=512)
    shown = values(ran["lines"])
    for number, side in enumerate(shown["sides"]):
        assert [token["id"] for token in side["tokens"]] == list(
            (grid.alignment.ids1, grid.alignment.ids2)[number]
        )
        following = grid.following[number]
        assert side["prediction"]["entry"] == grid.vocab[str(int(following.ids[0]))]
        assert side["prediction"]["p"] == pytest.approx(float(following.p[0]), abs=1e-6)
    parts = [token["part"] for token in shown["sides"][0]["tokens"]]
    assert parts == ["prefix"] * 4 + ["edit", "common"]


def test_both_grids_are_the_core_s(ran: dict[str, Any], demo: LoadedModel) -> None:
    pair = prepared_pairs()[0]
    grid = pair_grid(demo, pair, max_tokens=512)
    for quantity in values(ran["grid"])["quantities"]:
        expected = grid.values[quantity["key"]][::-1]
        np.testing.assert_allclose(quantity["values"], expected, rtol=2e-3, atol=1e-6)
    trace = lens_core.causal_trace(demo, pair, components=["resid_post"])
    for quantity in values(ran["restored"])["quantities"]:
        expected = trace.grid("resid_post", quantity["key"]).effect[::-1]
        np.testing.assert_allclose(quantity["values"], expected, rtol=2e-3, atol=1e-5)


def test_states_before_the_change_are_equal(ran: dict[str, Any]) -> None:
    (quantity,) = [q for q in values(ran["grid"])["quantities"] if q["key"] == "rel_l2"]
    assert all(abs(value) <= 1e-6 for row in quantity["values"] for value in row[:4])


def test_the_next_pair_comes_after_the_last(clicks: Clicks, ran: dict[str, Any]) -> None:
    session = ran["session"]
    *_, before = clicks.step(event(by=-1), session)
    assert before.index == len(session.pairs) - 1
    lines, *_, after = clicks.step(event(by=1), before)
    assert after.index == 0
    assert values(lines) == values(ran["lines"])
    assert clicks.step(event(by=5), session)[0] == gr.skip()
    *_, chosen = clicks.choose(event(index=3), session)
    assert chosen.view.grid.pair.sentence1 == session.pairs[3]["sentence1"]
    with pytest.raises(gr.Error, match="no index 41 here"):
        clicks.choose(event(index=41), session)


def test_a_cell_is_selected_in_both_grids(clicks: Clicks, ran: dict[str, Any]) -> None:
    grid, restored, session = clicks.cell(event(row=2, column=5), ran["session"])
    assert values(grid)["selected"] == values(restored)["selected"] == [2, 5]
    assert session.cell == (2, 5)
    grid, *_ = clicks.token(event(position=4), session)
    assert values(grid)["selected"] == [2, 4]
    grid, *_ = clicks.token(event(side=1, position=5), session)
    assert values(grid)["selected"] == [2, 5]
    with pytest.raises(gr.Error, match="no position 6 here"):
        clicks.token(event(side=1, position=6), session)
    assert clicks.cell(event(row="x"), session)[0] == gr.skip()


def test_sides_of_unequal_length_are_compared(clicks: Clicks, demo: LoadedModel) -> None:
    pairs = Pairs(({"sentence1": "A cat is here", "sentence2": "An elephant is here",
                    "type": "", "subtype": ""},))  # fmt: skip
    _, shown = run(clicks, pairs)
    grid = pair_grid(demo, Pair("A cat is here", "An elephant is here"))
    lines = values(shown["lines"])
    assert grid.alignment.shift
    counts = [len(side["tokens"]) for side in lines["sides"]]
    assert counts == [len(grid.alignment.ids1), len(grid.alignment.ids2)]
    assert any(fact["key"] == "pairs.shifted" for fact in lines["facts"] if isinstance(fact, dict))


# ---- all pairs


def test_groups_are_those_of_the_core(clicks: Clicks, ran: dict[str, Any]) -> None:
    found = ran["session"].compared.found
    pairs = [Pair.from_json(one) for one in ran["session"].pairs]
    loaded = clicks._runs.runtime.pool.get("demo")
    direct = lens_core.pair_difference(loaded, pairs, max_tokens=512)
    np.testing.assert_allclose(found.metrics["rel_l2"], direct.metrics["rel_l2"], atol=1e-5)
    table = view_of(ran["layers"], "groups")
    types = [group for group in direct.groups if group.subtype is None]
    assert len(table["rows"]) == len(types)
    for row, group in zip(table["rows"], types, strict=True):
        assert row[1:3] == [group.n_pairs, group.n_units]
        assert row[4] == pytest.approx(float(group.metrics["rel_l2"].mean.max()), rel=1e-3)


def test_another_measure_needs_no_run(clicks: Clicks, ran: dict[str, Any]) -> None:
    look = Look(metric="cos_dist", by="all", site="layer_1", order="descending", grid="js_lens")
    shown = clicks.look(ran["session"], *astuple(look), *astuple(Asked()))
    named = dict(zip(Parts.__dataclass_fields__, shown, strict=True))
    assert values(named["grid"])["quantity"] == "js_lens"
    assert len(view_of(named["layers"], "groups")["rows"]) == 1
    heights = view_of(named["dimensions"], "profile")["figure"]["data"][0]["y"]
    assert heights == sorted(heights, reverse=True)
    for metric in choices.METRICS:
        for by in choices.GROUPINGS:
            changed = replace(look, metric=metric, by=by)
            assert clicks.look(ran["session"], *astuple(changed), *astuple(Asked()))


def test_dims_on_the_page_are_those_of_the_result(ran: dict[str, Any]) -> None:
    found = ran["session"].compared.found
    shown = dims_map(found, "layer_2")
    dims = chosen_dims(found, "layer_2")
    assert [int(one["label"]) for one in shown["columns"]] == dims
    at = found.sites[::-1].index("layer_2")
    np.testing.assert_allclose(
        shown["quantities"][0]["values"][at], found.dims["layer_2"].mean_abs[dims], rtol=1e-3
    )
    assert len(found_table(found)["rows"]) == min(50, len(found.found))


def test_what_may_be_concluded_follows_the_control(clicks: Clicks, ran: dict[str, Any]) -> None:
    found = ran["session"].compared.found
    assert conclusion(found)["key"] in ("pairs.conclude_none", "pairs.conclude_found")
    assert conclusion(replace(found, control=None))["key"] == "pairs.conclude_no_control"
    failed = replace(found.control, supported=False, share=0.5)
    assert conclusion(replace(found, control=failed))["key"] == "pairs.conclude_unsupported"
    _, few = run(clicks, Pairs(first_pairs().records[:3]))
    said = view_of(few["dimensions"], "said")
    assert said["note"]["key"] == "pairs.conclude_few"
    assert view_of(few["dimensions"], "found")["rows"] == []


def test_progress_shows_the_pair_while_all_are_compared(clicks: Clicks) -> None:
    chosen = (*astuple(Look()), *astuple(Asked()))
    _, said = ended(clicks.run(SHARED, first_pairs(), None, *chosen))
    shows = [one[1] for one in said if isinstance(one, tuple)]
    assert values(shows[-1][0])["state"] == "ready"
    assert shows[-1][3] == gr.skip()


def test_pairs_that_cannot_be_compared_are_listed(clicks: Clicks) -> None:
    same = {"sentence1": "a b", "sentence2": "a b", "type": "", "subtype": ""}
    records = (*first_pairs().records[:3], same)
    _, shown = run(clicks, Pairs(records))
    table = view_of(shown["report"], "pairs")
    assert table["rows"][3][4]["tone"] == "poor"
    counts = {
        row["label"]["key"]: row["value"] for row in view_of(shown["report"], "report")["rows"]
    }
    assert counts["pairs.report_pairs"] == "4"
    assert counts["pairs.report_refused"] == "1"


# ---- tasks


@pytest.mark.parametrize("approximate", [False, True])
def test_a_trace_is_the_core_s(
    clicks: Clicks, ran: dict[str, Any], demo: LoadedModel, approximate: bool
) -> None:
    traced = replace(Traced(), approximate=approximate, window=3)
    (shown,), _ = ended(clicks.trace(ran["session"], *astuple(traced)))
    maps = [one["value"] for one in values(shown)["views"] if one["name"] == "heatmap"]
    pair = prepared_pairs()[0]
    if approximate:
        direct: Any = lens_core.attribution_patching(demo, pair)
        badge = view_of(shown, "said_only")["badge"]
        assert badge["text"]["values"]["worst"] == f"{direct.worst_error:.0%}"
    else:
        direct = lens_core.causal_trace(demo, pair, window=3)
    first = direct.grids[0].effect[::-1]
    np.testing.assert_allclose(maps[0]["quantities"][0]["values"], first, rtol=2e-3, atol=1e-4)
    heads = [grid for grid in direct.grids if grid.component == "heads"]
    n_maps = len(direct.grids) - len(heads) + sum(grid.effect.shape[-1] for grid in heads)
    assert len(maps) == n_maps


def test_layer_operations_are_the_core_s(clicks: Clicks, demo: LoadedModel) -> None:
    texts = "The capital of France is Paris.\nred blue green red blue green"
    operated = replace(Operated(), texts=texts, operations=("remove", "zero_mlp"), layers="0, 2-3")
    (shown,), _ = ended(clicks.operate(BAR, *astuple(operated)))
    direct = lens_core.layer_operations(
        demo, texts.splitlines(), operations=["remove", "zero_mlp"], layers=[0, 2, 3]
    )
    rows = view_of(shown, "scores_only")["rows"]
    assert [row[1] for row in rows] == pytest.approx([one.nll for one in direct.scores], rel=1e-4)
    with pytest.raises(UserError, match='layers is "x"'):
        ended(clicks.operate(BAR, *astuple(replace(operated, layers="x"))))


def test_without_a_result_a_click_says_what_to_do(clicks: Clicks) -> None:
    with pytest.raises(UserError, match="press Run first"):
        ended(clicks.trace(None, *astuple(Traced())))
    with pytest.raises(UserError, match="press Run first"):
        export.exported("csv", None, first_pairs())


# ---- the pairs themselves


def test_made_pairs_are_the_templates_and_run(clicks: Clicks) -> None:
    made = replace(Made(), categories=("tense_errors",), n=5)
    (pairs, report, rows), _ = ended(clicks.make(BAR, *astuple(made)))
    assert [Pair.from_json(one) for one in pairs.records] == make_pairs(["tense_errors"], n=5)
    assert len(view_of(report, "pairs")["rows"]) == len(rows) == 5
    record, shown = run(clicks, pairs)
    assert shown["session"].compared.found.n_units == 5
    assert record["input"]["tokens"] == shown["session"].view.grid.header["input"]["sides"][0]


def test_a_file_is_read_and_its_bad_rows_are_named(clicks: Clicks, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("sentence1,sentence2,type\na cat,a dog,own\nonly one\n", encoding="utf-8")
    (pairs, report, _), _ = ended(clicks.open_file(BAR, str(path)))
    assert [one["sentence2"] for one in pairs.records] == ["a dog"]
    assert [row[0] for row in view_of(report, "problems")["rows"]] == ["line 3"]
    (tmp_path / "broken.csv").write_bytes(b"sentence1,sentence2\n\xff\xfe,b\n")
    with pytest.raises(UserError, match="no UTF-8 text"):
        ended(clicks.open_file(BAR, str(tmp_path / "broken.csv")))


def test_the_table_gives_back_what_it_shows(clicks: Clicks) -> None:
    known = first_pairs()
    rows = table_rows(known)
    assert records_of(rows, known) == [
        one | {name: one[name] or None for name in ("answer1", "answer2")} for one in known.records
    ]
    rows[0][HEADERS.index("answer1")] = " Lyon"
    rows += [[""] * len(HEADERS), ["x", "y", "own", "", None, float("nan"), "2"]]
    (pairs, *_), _ = ended(clicks.take_table(BAR, rows, known))
    assert pairs.records[0]["answer1"] == " Lyon"
    assert (pairs.records[-1]["correct"], pairs.records[-1]["oriented"]) == (2, True)
    assert len(pairs.records) == len(known.records) + 1


def test_a_typed_pair_comes_first_and_the_prepared_ones_come_back(clicks: Clicks) -> None:
    (pairs, *_), _ = ended(clicks.add(BAR, first_pairs(), "2+2=", "2+3=", "4", ""))
    assert pairs.records[0]["sentence2"] == "2+3="
    assert (pairs.records[0]["answer1"], pairs.records[0]["answer2"]) == ("4", None)
    with pytest.raises(UserError, match="A side of the pair is empty"):
        ended(clicks.add(BAR, first_pairs(), "2+2=", "", "", ""))
    (back, *_), _ = ended(clicks.back(BAR))
    assert [one["sentence1"] for one in back.records] == [
        pair.sentence1 for pair in prepared_pairs()
    ]


# ---- files


def test_what_is_saved_can_be_read_again(ran: dict[str, Any]) -> None:
    session, pairs = ran["session"], first_pairs()
    saved = {kind: values(export.exported(kind, session, pairs)) for kind in export.KINDS}
    again = lens_core.PairDifference.from_json(json.loads(saved["json"]["text"]))
    np.testing.assert_array_equal(again.metrics["rel_l2"], session.shown.metrics["rel_l2"])
    assert saved["csv"]["text"] == session.shown.to_csv()
    listed = read_pairs(saved["jsonl"]["text"]).pairs
    assert [one.sentence1 for one in listed] == [one["sentence1"] for one in pairs.records]
    original = read_pairs(saved["original"]["text"])
    assert original.format == "original"
    assert len(original.pairs) == len(pairs.records)
    assert "plotly" in saved["html"]["text"].lower()


def test_the_zip_has_the_original_tool_s_files(clicks: Clicks) -> None:
    _, shown = run(clicks, Pairs(first_pairs().records[:2]))
    (saved,), _ = ended(clicks.zip(shown["session"]))
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(values(saved)["base64"])))
    names = archive.namelist()
    assert "pairs/results/pairdiff.json" in names
    assert any("activation_results_" in name for name in names)
    assert any("minimal_diff_dimensions_" in name for name in names)
    assert any(name.endswith("pair_0_heatmap.png") for name in names)
    assert any(name.endswith("layer_statistics.png") for name in names)
    (result,) = [name for name in names if "activation_results_" in name]
    layers = json.loads(archive.read(result))["diff_token_type"]["capital"]
    assert layers
    assert PairExportRequest.model_fields["threshold"].default == 0.01


# ---- an edit


def test_with_an_edit_both_models_are_shown(clicks: Clicks, demo: LoadedModel) -> None:
    edit = lens_core.repair(demo, "The capital of France is", " Rome").edit
    assert edit is not None
    pairs = Pairs(first_pairs().records[:4])
    held = [{"edit": edit.to_json()}]
    _, shown = run(clicks, pairs, shared={**SHARED, "edit": held})
    assert shown["side"].visible
    _, plain = run(clicks, pairs)
    session = shown["session"]
    assert session.compared.before is not None
    np.testing.assert_allclose(
        session.compared.before.metrics["rel_l2"],
        plain["session"].compared.found.metrics["rel_l2"],
        atol=1e-6,
    )
    first = values(shown["lines"])["sides"][0]["prediction"]["entry"]["text"]
    assert first == " Rome"
    look = replace(Look(), side="before")
    again = clicks.look(session, *astuple(look), *astuple(Asked()))
    assert values(again[0])["sides"] == values(plain["lines"])["sides"]
    (trace,), _ = ended(clicks.trace(session, *astuple(Traced())))
    assert view_of(trace, "said_after")["title"]["key"] == "pairs.trace_after"
    assert view_of(trace, "said_before")["title"]["key"] == "pairs.trace_before"


def test_a_run_that_was_stopped_goes_on(clicks: Clicks, monkeypatch: pytest.MonkeyPatch) -> None:
    from lens_core.difference import collecting

    monkeypatch.setattr(collecting, "WINDOW", 8)
    counted: list[int] = []
    plain = collecting._run_window

    def counting(*given: Any) -> Any:
        found = plain(*given)
        counted.append(len(given[1]))
        return found

    monkeypatch.setattr(collecting, "_run_window", counting)
    pairs = Pairs(tuple(pair.to_json() for pair in make_pairs(["negation"], n=24)))
    chosen = (*astuple(LOOK), *astuple(ASKED))
    running = clicks.run(SHARED, pairs, None, *chosen)
    for step in running:
        if counted and isinstance(step, tuple):
            break
    running.close()
    run(clicks, pairs)
    assert sum(counted) == 24  # no pair twice, although the first run was stopped


def test_b8_a_page_of_200_pairs_on_a_larger_model_is_small() -> None:
    """The limit is 5 MB; the time it takes is in `benchmarks`."""
    config = Qwen2Config(
        vocab_size=300,
        hidden_size=896,
        intermediate_size=64,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
    )
    loaded = lens_core.wrap_model(Qwen2ForCausalLM(config).eval(), None)
    items = random_pairs(loaded, 200, 8)
    found = lens_core.pair_difference(loaded, items, lens=False)
    pairs = Pairs(tuple(pair.to_json() for pair, _ in items))
    compared = Differing(found)
    session = Session(SHARED, ASKED, replace(LOOK, site="layer_12"), pairs, compared=compared)
    stacks = (layers_stack(session), dimensions_stack(session), data_stack(session.data))
    assert sum(len(drawn(stack).encode()) for stack in stacks) < 5e6


def test_an_export_bears_the_name_of_the_page_and_no_folder(served: Served) -> None:
    from lens_core.settings import Settings
    from tabs.runtime import Runtime

    folder = Path(__file__).parents[1] / "demo_models" / "base"
    runtime = Runtime(Settings(models={"mine": str(folder)}))
    clicks = Clicks(runtime)
    shared = {**SHARED, "model": "mine"}
    _, shown = run(clicks, Pairs(first_pairs().records[:2]), shared=shared)
    (saved,), _ = ended(clicks.zip(shown["session"]))
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(values(saved)["base64"])))
    for name in archive.namelist():
        assert str(folder).encode() not in archive.read(name), name
    (result,) = [name for name in archive.namelist() if "activation_results_" in name]
    about = json.loads(archive.read(result))["metadata"]
    assert (about["model_name"], about["device"]) == ("mine", "cpu")


@pytest.mark.parametrize("typed", ["0-99999999999", "9" * 5000, "1-", "-3", "a"])
def test_layers_that_are_none_are_left_to_be_refused(typed: str) -> None:
    assert choices.whole_numbers(typed) == typed or typed == "1-"
    assert choices.whole_numbers("0, 2-4") == [0, 2, 3, 4]
    assert choices.whole_numbers("  ") is None


def test_a_correct_side_can_be_taken_back() -> None:
    known = Pairs(tuple(one.to_json() for one in make_pairs(["tense_errors"], n=2)))
    rows = table_rows(known)
    assert rows[0][-1] == "1"
    rows[0][-1] = ""
    first, second = records_of(rows, known)
    assert (first["correct"], first["oriented"]) == (None, False)
    assert (second["correct"], second["oriented"]) == (1, True)
