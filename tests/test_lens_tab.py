"""The logit lens tab without a browser: what it remembers, what it asks, what it draws."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import gradio as gr
import pytest
import torch
from conftest import Served

import lens_core
from lens_core.edits import applied, make_edit
from lens_core.models import LoadedModel
from tabs.logit_lens import views
from tabs.logit_lens.controls import COLOURS, CRITERIA, READ_AT, Chosen
from tabs.logit_lens.session import MAX_LINES, Session
from tabs.logit_lens.tab import CANDIDATES, WINDOW, Tab
from tabs.requests import LogitLensRequest, checked
from tabs.runtime import UserError, result_of

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"
SHARED = {
    "model": "demo",
    "prompt": PROMPT,
    "template": None,
    "special": "default",
    "edit": None,
}
COUNTING = {**SHARED, "prompt": "red blue green red blue green red blue"}
"""Goes on for some tokens."""
LONG = "one two three four five six seven eight nine ten " * 12


@pytest.fixture(scope="module")
def tab(served: Served) -> Tab:
    result_of(served.runtime.stack.steps())
    return Tab(served.runtime)


@pytest.fixture(scope="module")
def demo(tab: Tab, served: Served) -> LoadedModel:
    return served.runtime.pool.get("demo")


@dataclasses.dataclass
class Drawn:
    """What a run or a click gives, by the viewer that shows it."""

    result: dict[str, Any] | None
    heatmap: dict[str, Any] | None
    step: gr.Slider | None
    side: gr.Radio | None
    ranks: dict[str, Any]
    prediction: dict[str, Any]
    attribution: dict[str, Any]
    followed: dict[str, Any]
    chart: dict[str, Any]
    session: Session


def run(tab: Tab, *, end: int | None = None, shared: dict[str, Any] = SHARED, **chosen: Any):
    """What the tab shows after Run."""
    steps = tab.run(shared, end, *dataclasses.astuple(Chosen(**chosen)))
    result, (heatmap, step, side, *detail) = result_of(steps)
    return Drawn(result, json.loads(heatmap), step, side, *shown(detail))


def shown(detail: Any) -> list[Any]:
    *viewers, session = detail
    return [*map(json.loads, viewers), session]


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def click(tab: Tab, name: str, session: Session | None, *, k: int = 5, **data: Any) -> Drawn:
    """What the tab shows after an event."""
    values = dataclasses.astuple(Chosen(k=k))
    return Drawn(
        None, None, None, None, *shown(getattr(tab, name)(event(**data), session, *values))
    )


@pytest.fixture(scope="module")
def first(tab: Tab) -> Drawn:
    return run(tab)


def close(value: float, other: float) -> bool:
    """The page rounds to four digits."""
    return math.isclose(value, other, rel_tol=1e-3, abs_tol=1e-12)


# ---- what a visitor's session remembers


def session(**changes: Any) -> Session:
    values: dict[str, Any] = {
        "shared": SHARED,
        "n_tokens": 6,
        "n_prompt": 6,
        "vocab_size": 100,
        "columns": (0, 1, 2, 3, 4, 5),
        "cells": ((1, 2, 3, 4, 5, 6),),
        "position": 5,
        "lines": ((6,), (7,), (8,)),
    }
    return Session(**values | changes)


def test_the_first_pin_is_compared_with_the_answer() -> None:
    assert session().pin(9).pinned == ((6,), (9,))
    assert session().pin(9).target == 9


def test_a_pin_twice_is_a_pin_once() -> None:
    once = session().pin(9)
    assert once.pin(9) == once
    assert session().pin(6).pinned == ((6,),)


def test_the_oldest_line_goes_when_there_are_too_many() -> None:
    found = session(lines=())
    for token in range(MAX_LINES + 3):
        found = found.pin(token)
    assert found.pinned == tuple((token,) for token in range(3, MAX_LINES + 3))


def test_a_token_in_a_group_is_followed_already() -> None:
    grouped = session(pinned=((6, 9), (7,)))
    assert grouped.pin(9).pinned == grouped.pinned
    assert grouped.pin(9).target == 9


def test_joining_and_taking_apart_are_inverse() -> None:
    joined = session().joined(1)
    assert joined.pinned == ((6, 7), (8,))
    apart = dataclasses.replace(joined, lines=joined.pinned).apart(0)
    assert apart.pinned == session().lines


def test_the_first_line_has_none_to_be_joined_to() -> None:
    assert session().joined(0) == session()


def test_a_single_line_taken_apart_is_itself() -> None:
    assert session().apart(1).pinned == session().lines


def test_taking_a_line_away_keeps_the_others() -> None:
    for index in range(3):
        rest = session().without(index).pinned
        assert rest == session().lines[:index] + session().lines[index + 1 :]


def test_no_operation_makes_or_loses_tokens() -> None:
    tokens = lambda lines: sorted(token for line in lines for token in line)  # noqa: E731
    for index in (1, 2):
        assert tokens(session().joined(index).pinned) == [6, 7, 8]
        assert tokens(session().joined(index).apart(index - 1).pinned) == [6, 7, 8]


def test_a_target_that_is_followed_no_more_is_the_target_no_more() -> None:
    pinned = session(pinned=((6,), (7,)), lines=((6,), (7,)), target=7)
    assert pinned.without(1).target is None
    assert pinned.without(0).target == 7
    assert pinned.joined(1).target == 7


def test_another_position_follows_its_own_tokens() -> None:
    found = session(pinned=((6,),), target=6).at(2)
    assert (found.position, found.pinned, found.target, found.lines) == (2, (), None, ())
    assert session().at(5) == session()


def test_the_session_without_its_edit_is_the_session() -> None:
    edited = session(shared={**SHARED, "edit": {"id": "x"}})
    assert edited.without_edit() == session()
    assert edited.shared["edit"] == {"id": "x"}


def test_a_session_comes_back_from_json() -> None:
    kept = session(pinned=((6, 7), (8,)), target=6)
    assert Session.from_json(json.loads(json.dumps(dataclasses.asdict(kept)))) == kept


def test_a_run_selects_the_last_prediction_it_made(first: Drawn, tab: Tab) -> None:
    assert first.session.position == first.session.n_tokens - 1
    generated = run(tab, generate=3).session
    assert generated.n_tokens == generated.n_prompt + 3
    assert generated.position == generated.n_tokens - 2, "the one that gave the last new token"


# ---- the numbers that are drawn are those of the result


def test_every_cell_of_the_heat_map_is_the_results(first: Drawn) -> None:
    result, heatmap = first.result, first.heatmap
    assert result is not None
    assert heatmap is not None
    rows = [("resid_post", layer) for layer in (5, 4, 3, 2, 1, 0)] + [("embed", 0)]
    tables = {quantity["key"]: quantity["values"] for quantity in heatmap["quantities"]}
    assert tuple(tables) == COLOURS
    argmax = next(t for t in result["targets"] if t["source"] == "argmax")
    for r, (name, layer) in enumerate(rows):
        cells = result["cells"][name]
        for c in range(len(result["positions"])):
            assert heatmap["tokens"][r][c] == cells["top_ids"][layer][c][0]
            assert heatmap["top"]["ids"][r][c] == cells["top_ids"][layer][c]
            assert close(tables["probability"][r][c], cells["max_p"][layer][c])
            assert close(tables["entropy"][r][c], cells["entropy"][layer][c])
            assert close(tables["kl_final"][r][c], cells["kl_final"][layer][c])
            assert close(tables["target"][r][c], argmax["cells"][name]["p"][layer][c])
            assert tables["rank"][r][c] == argmax["cells"][name]["rank"][layer][c]


def test_the_result_is_that_of_the_core(first: Drawn, demo: LoadedModel) -> None:
    direct = lens_core.logit_lens(
        demo, demo.tokenize(PROMPT), components=["embed", "resid_post"], track_position=None
    ).to_json()
    assert first.result is not None
    assert first.result["cells"] == direct["cells"]
    assert first.result["final"] == direct["final"]


def test_the_prediction_is_the_models_own(first: Drawn, demo: LoadedModel) -> None:
    with torch.no_grad():
        logits = demo.model(demo.tokenize(PROMPT)[None]).logits[0, -1]
    p = logits.float().softmax(-1)
    top = p.topk(6)
    rows = first.prediction["rows"]
    assert list(first.session.predicted) == top.indices.tolist()
    for row, value in zip(rows, top.values.tolist(), strict=True):
        assert math.isclose(row["value"], value, rel_tol=1e-3, abs_tol=1e-6)


def test_the_parts_of_the_logit_add_up(first: Drawn, demo: LoadedModel) -> None:
    with torch.no_grad():
        logits = demo.model(demo.tokenize(PROMPT)[None]).logits[0, -1]
    total, logit = (line["value"] for line in first.attribution["sums"])
    parts = sum(row["value"] for row in first.attribution["rows"])
    assert math.isclose(parts, total, rel_tol=1e-4)
    assert math.isclose(logit, logits.max().item(), rel_tol=1e-4)
    assert first.attribution["badge"]["state"] == "good"


@pytest.mark.parametrize("place", READ_AT)
def test_every_place_is_drawn_from_its_own_cells(tab: Tab, place: str) -> None:
    drawn = run(tab, read_at=place)
    assert drawn.result is not None
    assert drawn.heatmap is not None
    cells = drawn.result["cells"][place]
    n_rows = len(cells["layers"]) + (place == "resid_post")
    assert len(drawn.heatmap["rows"]) == len(drawn.heatmap["tokens"]) == n_rows
    for quantity in drawn.heatmap["quantities"]:
        assert [len(row) for row in quantity["values"]] == [6] * n_rows
    for r, layer in enumerate(reversed(range(len(cells["layers"])))):
        assert drawn.heatmap["tokens"][r] == [top[0] for top in cells["top_ids"][layer]]
    if place in views.PARTS:
        (added, _) = drawn.heatmap["quantities"]
        tops = [top[0] for top in cells["top_logit"][-1]]
        assert all(map(close, added["values"][0], tops))


def test_the_ranks_are_every_place_of_every_layer(first: Drawn) -> None:
    keys = [(row["label"]["key"], row["label"]["values"]["layer"]) for row in first.ranks["rows"]]
    order = [f"lens.short_{name}" for name in views.STACK]
    assert keys == [(key, layer) for layer in (5, 4, 3, 2, 1, 0) for key in order]
    assert first.ranks["tokens"][0][0] == first.session.predicted[0]
    assert [tuple(row) for row in first.ranks["tokens"]] == list(first.session.ranks)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_important_layers_only_leaves_the_others_out(tab: Tab, criterion: str) -> None:
    everything = run(tab, important=criterion)
    important = {
        row["label"]["values"]["layer"] for row in everything.ranks["rows"] if row["important"]
    }
    only = run(tab, important=criterion, only_important=True)
    if not important:
        assert only.ranks["state"] == "empty"
        return
    assert {row["label"]["values"]["layer"] for row in only.ranks["rows"]} == important


def test_a_limit_that_no_layer_reaches_says_so(tab: Tab) -> None:
    drawn = run(tab, threshold="100", only_important=True)
    assert drawn.ranks["state"] == "empty"
    assert drawn.ranks["text"]["key"] == "lens.none_important"
    assert drawn.session.ranks == ()


def test_the_user_s_target_is_the_target(tab: Tab, demo: LoadedModel) -> None:
    drawn = run(tab, target=" Rome")
    assert drawn.heatmap is not None
    (token,) = demo.tokenize(" Rome", special="none").tolist()
    table = next(q for q in drawn.heatmap["quantities"] if q["key"] == "target")
    assert drawn.result is not None
    user = next(t for t in drawn.result["targets"] if t["source"] == "user")
    assert set(user["ids"]) == {token}
    assert all(map(close, table["values"][0], user["cells"]["resid_post"]["p"][-1]))


def test_every_n_th_layer_ends_with_the_last(tab: Tab) -> None:
    drawn = run(tab, stride="4")
    assert drawn.heatmap is not None
    assert [row["label"] for row in drawn.heatmap["rows"][:-1]] == ["L5", "L1"]


# ---- clicks


def test_a_cell_selects_its_position_and_follows_its_token(tab: Tab, first: Drawn) -> None:
    drawn = click(tab, "cell", first.session, row=5, column=4)
    token = first.session.cells[5][4]
    assert drawn.session.position == 4
    assert drawn.session.target == token
    assert any(token in line["ids"] for line in drawn.followed["lines"])
    assert drawn.attribution["title"]["entry"] == entry_of(first, token)


def entry_of(first: Drawn, token: int) -> dict[str, Any]:
    assert first.result is not None
    return first.result["vocab"][str(token)]


def test_lines_are_the_probabilities_of_their_tokens_and_groups_their_sum(
    tab: Tab, first: Drawn, demo: LoadedModel
) -> None:
    joined = click(tab, "join", first.session, index=1)
    tokens = joined.session.pinned[0]
    assert len(tokens) == 2
    direct = lens_core.logit_lens(
        demo,
        demo.tokenize(PROMPT),
        components=["embed", "resid_post"],
        positions=[5],
        targets=[int(token) for token in tokens],
        track_position=5,
    )
    (tracked,) = direct.to_json()["tracked"]
    rows = [tracked["p"]["resid_post"][tracked["ids"].index(token)] for token in tokens]
    sums = [sum(values) for values in zip(*rows, strict=True)]
    lines = [trace["y"] for trace in joined.chart["figure"]["data"] if len(trace["y"]) >= 6]
    assert any(
        all(math.isclose(a, b, abs_tol=2e-3) for a, b in zip(y[-6:], sums, strict=True))
        for y in lines
    )


def test_followed_lines_are_those_of_the_session(first: Drawn) -> None:
    assert [tuple(line["ids"]) for line in first.followed["lines"]] == list(first.session.lines)
    assert len(first.session.lines) <= CANDIDATES
    assert first.session.lines[0] == (first.session.predicted[0],)
    shown = {token for line in first.session.lines for token in line}
    assert not shown & {one["id"] for one in first.followed["suggested"]}


def test_a_typed_token_is_followed_and_one_that_is_none_is_answered(
    tab: Tab, first: Drawn, demo: LoadedModel
) -> None:
    (rome,) = demo.tokenize(" Rome", special="none").tolist()
    added = click(tab, "add", first.session, text="·Rome")
    assert added.session.target == rome
    assert added.followed["error"] is None
    refused = click(tab, "add", first.session, text=" Rome is not one token")
    assert "Rome is not one token" in refused.followed["error"]
    assert refused.session.pinned == first.session.pinned


def test_a_prediction_that_is_chosen_is_followed(tab: Tab, first: Drawn) -> None:
    drawn = click(tab, "predicted", first.session, index=2)
    assert drawn.session.target == first.session.predicted[2]


def test_a_token_of_the_strip_selects_its_position(tab: Tab, first: Drawn) -> None:
    drawn = click(tab, "position", first.session, position=2)
    assert drawn.session.position == 2
    assert drawn.prediction["title"]["entry"]["text"] == " capital"


BAD_EVENTS = [
    ("cell", {"row": 0, "column": 6}),
    ("cell", {"row": 7, "column": 0}),
    ("cell", {"row": -1, "column": 0}),
    ("cell", {"row": True, "column": 0}),
    ("cell", {"row": "0", "column": 0}),
    ("cell", {"column": 0}),
    ("rank", {"row": 99, "column": 0}),
    ("token", {"id": 10**9}),
    ("token", {"id": 1.5}),
    ("token", {}),
    ("predicted", {"index": 6}),
    ("position", {"position": 6}),
    ("remove", {"index": 99}),
    ("join", {"index": -1}),
    ("split", {"index": None}),
]


@pytest.mark.parametrize(("name", "data"), BAD_EVENTS)
def test_what_the_browser_sends_is_not_trusted(
    tab: Tab, first: Drawn, name: str, data: dict[str, Any]
) -> None:
    with pytest.raises(gr.Error, match="There is no"):
        click(tab, name, first.session, **data)


@pytest.mark.parametrize("name", sorted({name for name, _ in BAD_EVENTS}))
def test_what_is_no_record_is_refused_too(tab: Tab, first: Drawn, name: str) -> None:
    with pytest.raises(gr.Error, match="There is no"):
        getattr(tab, name)(gr.EventData(None, "x"), first.session, *dataclasses.astuple(Chosen()))


@pytest.mark.parametrize("name", sorted({name for name, _ in BAD_EVENTS}))
def test_a_click_before_any_run_changes_nothing(tab: Tab, name: str) -> None:
    answer = getattr(tab, name)(event(), None, *dataclasses.astuple(Chosen()))
    assert answer == (gr.skip(),) * 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"k": "5"},
        {"generate": 1000},
        {"temperature": -1},
        {"top_p": 0},
        {"seed": -1},
        {"read_at": "logits"},
        {"scale": "big"},
        {"target": " no such token at all"},
        {"threshold": "abc"},
    ],
)
def test_a_choice_that_cannot_be_is_answered_as_the_users_error(
    tab: Tab, wrong: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        run(tab, **wrong)
    assert str(next(iter(wrong.values()))).strip() in str(caught.value.message)


# ---- windows, generation, edits, files


def test_a_long_prompt_shows_its_last_positions_and_what_is_left_out(tab: Tab) -> None:
    last = run(tab, shared={**SHARED, "prompt": LONG})
    n_tokens = last.session.n_tokens
    assert n_tokens > 2 * WINDOW - 20
    assert list(last.session.columns) == list(range(n_tokens - WINDOW, n_tokens))
    assert last.heatmap is not None
    assert (last.heatmap["earlier"], last.heatmap["later"]) == (n_tokens - WINDOW, 0)


def test_the_windows_cover_every_position_and_lead_back(tab: Tab) -> None:
    shared = {**SHARED, "prompt": LONG}
    last = run(tab, shared=shared).session
    seen, current = set(last.columns), last
    while current.columns[0] > 0:
        end = tab.window(event(to="earlier"), current)
        current = run(tab, shared=shared, end=end).session
        seen |= set(current.columns)
    assert seen == set(range(last.n_tokens))
    while current.columns[-1] < last.n_tokens - 1:
        end = tab.window(event(to="later"), current)
        current = run(tab, shared=shared, end=end).session
    assert current.columns == last.columns


def test_the_same_seed_writes_the_same_and_each_token_has_a_step(tab: Tab) -> None:
    sampled = {"generate": 6, "temperature": 1.5, "seed": 7, "shared": COUNTING}
    one, other = run(tab, **sampled), run(tab, **sampled)
    assert one.result is not None
    assert other.result is not None
    assert one.result["input"]["ids"] == other.result["input"]["ids"]
    assert isinstance(one.step, gr.Slider)
    assert one.step.visible
    assert one.step.maximum == one.step.value == one.session.n_tokens - one.session.n_prompt > 1
    texts = {tuple(run(tab, **sampled | {"seed": seed}).result["input"]["ids"]) for seed in (8, 9)}
    assert texts - {tuple(one.result["input"]["ids"])}, "another seed writes something else"


def test_a_step_is_the_position_that_its_token_was_predicted_from(tab: Tab) -> None:
    drawn = run(tab, generate=4, shared=COUNTING)
    assert drawn.result is not None
    ids = drawn.result["input"]["ids"]
    assert len(ids) == drawn.session.n_prompt + 4
    for step in (1, 2, 3, 4):
        *_, now = tab.step(step, drawn.session, *dataclasses.astuple(Chosen(generate=4)))
        assert now.position == drawn.session.n_prompt + step - 2
        assert now.predicted[0] == ids[now.position + 1], "greedy takes the most likely token"


def test_without_new_tokens_there_is_no_slider_and_without_an_edit_no_side(first: Drawn) -> None:
    assert first.step is not None
    assert not first.step.visible
    assert first.side is not None
    assert not first.side.visible


@pytest.fixture(scope="module")
def edit(demo: LoadedModel) -> Any:
    """An edit that silences the neurons of a layer."""
    return make_edit(demo, {1: (torch.arange(64), torch.zeros(64, demo.facts.d_model))})


def test_before_and_after_an_edit_are_the_two_models(
    tab: Tab, edit: Any, demo: LoadedModel, first: Drawn
) -> None:
    shared = {**SHARED, "edit": edit.to_json()}
    after, before = run(tab, shared=shared), run(tab, shared=shared, side="before")
    assert after.heatmap is not None
    assert before.heatmap is not None
    assert first.heatmap is not None
    assert before.heatmap["tokens"] == after.heatmap["before"] == first.heatmap["tokens"]
    assert before.heatmap["before"] == after.heatmap["tokens"]
    assert before.heatmap["quantities"] == first.heatmap["quantities"]
    with applied(demo, edit):
        direct = lens_core.logit_lens(
            demo, demo.tokenize(PROMPT), components=["embed", "resid_post"], track_position=None
        ).to_json()
    assert after.result is not None
    assert after.result["cells"] == direct["cells"]
    marks = after.heatmap["changed"]
    for r, row in enumerate(marks):
        for c, mark in enumerate(row):
            assert mark == (after.heatmap["tokens"][r][c] != after.heatmap["before"][r][c])
    assert after.side is not None
    assert after.side.visible


def test_each_prediction_under_an_edit_says_what_it_was(
    tab: Tab, edit: Any, first: Drawn, demo: LoadedModel
) -> None:
    drawn = run(tab, shared={**SHARED, "edit": edit.to_json()})
    with torch.no_grad():
        p = demo.model(demo.tokenize(PROMPT)[None]).logits[0, -1].float().softmax(-1)
    for row, token in zip(drawn.prediction["rows"], drawn.session.predicted, strict=True):
        assert math.isclose(row["before"], p[token].item(), rel_tol=1e-3, abs_tol=1e-6)


def test_an_edit_of_another_model_is_the_users_error(tab: Tab, edit: Any) -> None:
    record = {**edit.to_json(), "schema": "x"}
    with pytest.raises(UserError) as caught:
        run(tab, shared={**SHARED, "edit": record})
    assert caught.value.kind == "Edit"


def exported(tab: Tab, session: Session, kind: str, **chosen: Any) -> dict[str, Any]:
    return json.loads(
        tab.export(event(format=kind), session, *dataclasses.astuple(Chosen(**chosen)))
    )


def test_the_json_file_is_the_whole_result(tab: Tab) -> None:
    session = run(tab, shared={**SHARED, "prompt": LONG}).session
    file = exported(tab, session, "json")
    record = json.loads(file["text"])
    assert record["schema"] == "lens_core/logit_lens/1"
    assert len(record["positions"]) == session.n_tokens > WINDOW
    assert file["name"].endswith(".json")


def test_the_csv_file_has_a_row_for_every_cell(tab: Tab, first: Drawn) -> None:
    file = exported(tab, first.session, "csv")
    lines = file["text"].splitlines()
    assert "," in lines[0]
    assert len(lines) > 7 * 6
    assert file["type"].startswith("text/csv")


def test_two_files_are_never_taken_for_the_same(tab: Tab, first: Drawn) -> None:
    serials = {exported(tab, first.session, "csv")["serial"] for _ in range(3)}
    assert len(serials) == 3


# ---- what the page asks is what an endpoint would take


@pytest.mark.parametrize("place", READ_AT)
def test_what_the_page_asks_is_a_request(place: str) -> None:
    chosen = Chosen(read_at=place, target=" Rome", threshold="0.5", stride="2")
    checked(LogitLensRequest, {**SHARED, **chosen.grid(), "last": WINDOW, "end": None})
    checked(LogitLensRequest, {**SHARED, **chosen.position(), "positions": [0]})


def test_rounding_is_for_the_page_only() -> None:
    assert views.short([0.123456, [1, None], 1e-9]) == [0.1235, [1, None], 1e-9]
