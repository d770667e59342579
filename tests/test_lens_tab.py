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
from tabs import said
from tabs.logit_lens import views
from tabs.logit_lens.choices import Chosen
from tabs.logit_lens.clicks import CANDIDATES, WINDOW, Clicks
from tabs.logit_lens.controls import COLOURS, CRITERIA, READ_AT
from tabs.logit_lens.position_views import STACK
from tabs.logit_lens.session import MAX_GROUP, MAX_LINES, Session
from tabs.requests import LogitLensRequest, checked
from tabs.runtime import UserError, result_of
from tabs.wiring import with_session

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
def clicks(served: Served) -> Clicks:
    result_of(served.runtime.stack.steps())
    return Clicks(served.runtime)


@pytest.fixture(scope="module")
def demo(clicks: Clicks, served: Served) -> LoadedModel:
    return served.runtime.pool.get("demo")


@dataclasses.dataclass
class Drawn:
    """What a run or a click gives, by the viewer that shows it."""

    result: dict[str, Any] | None
    heatmap: dict[str, Any] | None
    step: gr.Slider | None
    side: gr.Radio | None
    head: dict[str, Any]
    ranks: dict[str, Any]
    prediction: dict[str, Any]
    attribution: dict[str, Any]
    followed: dict[str, Any]
    chart: dict[str, Any]
    session: Session


def run(
    clicks: Clicks,
    *,
    window: Any = None,
    before: Session | None = None,
    shared: dict[str, Any] = SHARED,
    **chosen: Any,
) -> Drawn:
    """What the tab shows after Run."""
    steps = clicks.run(shared, window, before, *dataclasses.astuple(Chosen(**chosen)))
    result, (heatmap, step, side, *detail) = result_of(steps)
    return Drawn(result, json.loads(heatmap), step, side, *shown(detail))


def shown(detail: Any) -> list[Any]:
    *viewers, session = detail
    return [*map(json.loads, viewers), session]


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def click(clicks: Clicks, name: str, session: Session, **data: Any) -> Drawn:
    """What the tab shows after an event."""
    answer = getattr(clicks, name)(event(**data), session)
    return Drawn(None, None, None, None, *shown(answer))


@pytest.fixture(scope="module")
def first(clicks: Clicks) -> Drawn:
    return run(clicks)


def close(value: float, other: float) -> bool:
    """The page rounds to four digits."""
    return math.isclose(value, other, rel_tol=1e-3, abs_tol=1e-12)


# ---- what a visitor's session remembers


def session(**changes: Any) -> Session:
    values: dict[str, Any] = {
        "shared": SHARED,
        "chosen": Chosen(),
        "ids": (0, 1, 2, 3, 4, 5),
        "n_prompt": 6,
        "window": 0,
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


def test_a_candidate_that_is_drawn_is_taken_apart_among_the_others() -> None:
    found = session().pin(7)
    assert (found.pinned, found.lines, found.target) == ((), session().lines, 7)


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


def test_a_group_has_an_end() -> None:
    full = session(lines=(tuple(range(MAX_GROUP)), (9,)))
    assert full.joined(1) == full


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


def test_the_session_without_its_edit_reads_the_same_tokens() -> None:
    edited = session(shared={**SHARED, "edit": {"id": "x"}, "generate": 3})
    original = edited.without_edit().shared
    assert original == {**SHARED, "edit": None, "ids": list(edited.ids), "generate": 0}
    assert edited.shared["edit"] == {"id": "x"}


def test_a_session_comes_back_from_json() -> None:
    kept = session(pinned=((6, 7), (8,)), target=6)
    assert Session.from_json(json.loads(json.dumps(dataclasses.asdict(kept)))) == kept


def test_a_run_selects_the_last_prediction_it_made(first: Drawn, clicks: Clicks) -> None:
    assert first.session.position == first.session.n_tokens - 1
    generated = run(clicks, generate=3).session
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
def test_every_place_is_drawn_from_its_own_cells(clicks: Clicks, place: str) -> None:
    drawn = run(clicks, read_at=place)
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
    order = [f"lens.short_{name}" for name in STACK]
    assert keys == [(key, layer) for layer in (5, 4, 3, 2, 1, 0) for key in order]
    assert first.ranks["tokens"][0][0] == first.session.predicted[0]
    assert [tuple(row) for row in first.ranks["tokens"]] == list(first.session.ranks)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_important_layers_only_leaves_the_others_out(clicks: Clicks, criterion: str) -> None:
    everything = run(clicks, important=criterion)
    important = {
        row["label"]["values"]["layer"] for row in everything.ranks["rows"] if row["important"]
    }
    only = run(clicks, important=criterion, only_important=True)
    if not important:
        assert only.ranks["state"] == "empty"
        return
    assert {row["label"]["values"]["layer"] for row in only.ranks["rows"]} == important


def test_a_limit_that_no_layer_reaches_says_so(clicks: Clicks) -> None:
    drawn = run(clicks, threshold="100", only_important=True)
    assert drawn.ranks["state"] == "empty"
    assert drawn.ranks["text"]["key"] == "lens.none_important"
    assert drawn.session.ranks == ()


def test_a_limit_that_is_no_number_is_said_and_not_used(clicks: Clicks) -> None:
    drawn, usual = run(clicks, threshold="<b>abc"), run(clicks)
    note, *rest = drawn.ranks["notes"]
    assert note["values"]["text"] == "<b>abc"
    assert rest == usual.ranks["notes"]
    assert drawn.ranks["tokens"] == usual.ranks["tokens"]


def test_the_user_s_target_is_the_target(clicks: Clicks, demo: LoadedModel) -> None:
    drawn = run(clicks, target=" Rome")
    assert drawn.heatmap is not None
    (token,) = demo.tokenize(" Rome", special="none").tolist()
    table = next(q for q in drawn.heatmap["quantities"] if q["key"] == "target")
    assert drawn.result is not None
    user = next(t for t in drawn.result["targets"] if t["source"] == "user")
    assert set(user["ids"]) == {token}
    assert all(map(close, table["values"][0], user["cells"]["resid_post"]["p"][-1]))


def test_every_n_th_layer_ends_with_the_last(clicks: Clicks) -> None:
    drawn = run(clicks, stride="4")
    assert drawn.heatmap is not None
    assert [row["label"] for row in drawn.heatmap["rows"][:-1]] == ["L5", "L1"]


# ---- clicks


def test_a_cell_selects_its_position_and_follows_its_token(clicks: Clicks, first: Drawn) -> None:
    drawn = click(clicks, "cell", first.session, row=5, column=4)
    token = first.session.cells[5][4]
    assert drawn.session.position == 4
    assert drawn.session.target == token
    assert any(token in line["ids"] for line in drawn.followed["lines"])
    assert drawn.attribution["title"]["entry"] == entry_of(first, token)


def entry_of(first: Drawn, token: int) -> dict[str, Any]:
    assert first.result is not None
    return first.result["vocab"][str(token)]


def test_lines_are_the_probabilities_of_their_tokens_and_groups_their_sum(
    clicks: Clicks, first: Drawn, demo: LoadedModel
) -> None:
    joined = click(clicks, "join", first.session, index=1)
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
    clicks: Clicks, first: Drawn, demo: LoadedModel
) -> None:
    (rome,) = demo.tokenize(" Rome", special="none").tolist()
    added = click(clicks, "add", first.session, text="·Rome")
    assert added.session.target == rome
    assert added.followed["error"] is None
    refused = click(clicks, "add", first.session, text=" Rome is not one token")
    assert "Rome is not one token" in refused.followed["error"]
    assert refused.session.pinned == first.session.pinned


def test_a_prediction_that_is_chosen_is_followed(clicks: Clicks, first: Drawn) -> None:
    drawn = click(clicks, "predicted", first.session, index=2)
    assert drawn.session.target == first.session.predicted[2]


def test_a_token_of_the_strip_selects_its_position(clicks: Clicks, first: Drawn) -> None:
    drawn = click(clicks, "position", first.session, position=2)
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
    clicks: Clicks, first: Drawn, name: str, data: dict[str, Any]
) -> None:
    with pytest.raises(gr.Error, match="There is no"):
        click(clicks, name, first.session, **data)


@pytest.mark.parametrize("name", sorted({name for name, _ in BAD_EVENTS}))
def test_what_is_no_record_is_refused_too(clicks: Clicks, first: Drawn, name: str) -> None:
    with pytest.raises(gr.Error, match="There is no"):
        getattr(clicks, name)(gr.EventData(None, "x"), first.session)


@pytest.mark.parametrize("name", sorted({name for name, _ in BAD_EVENTS}))
def test_a_click_before_any_run_changes_nothing(clicks: Clicks, name: str) -> None:
    handler = with_session(getattr(clicks, name), 7)
    assert handler(event(), None) == (gr.skip(),) * 7


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
    ],
)
def test_a_choice_that_cannot_be_is_answered_as_the_users_error(
    clicks: Clicks, wrong: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        run(clicks, **wrong)
    assert str(next(iter(wrong.values()))).strip() in str(caught.value.message)


# ---- windows, generation, edits, files


def test_a_long_prompt_shows_its_last_positions_and_what_is_left_out(clicks: Clicks) -> None:
    last = run(clicks, shared={**SHARED, "prompt": LONG})
    n_tokens = last.session.n_tokens
    assert n_tokens > 2 * WINDOW - 20
    assert list(last.session.columns) == list(range(n_tokens - WINDOW, n_tokens))
    assert last.heatmap is not None
    assert (last.heatmap["earlier"], last.heatmap["later"]) == (n_tokens - WINDOW, 0)


def test_the_windows_cover_every_position_and_lead_back(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": LONG}
    last = run(clicks, shared=shared).session
    seen, current = set(last.columns), last
    while current.columns[0] > 0:
        window = clicks.window(event(to="earlier"), current)
        current = run(clicks, shared=shared, window=window, before=current).session
        seen |= set(current.columns)
    assert seen == set(range(last.n_tokens))
    while current.columns[-1] < last.n_tokens - 1:
        window = clicks.window(event(to="later"), current)
        current = run(clicks, shared=shared, window=window, before=current).session
    assert current.columns == last.columns


def test_run_goes_back_to_the_end(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": LONG}
    last = run(clicks, shared=shared).session
    window = clicks.window(event(to="earlier"), last)
    earlier = run(clicks, shared=shared, window=window, before=last).session
    assert earlier.columns[-1] < earlier.n_tokens - 1
    again = run(clicks, shared=shared, window=window, before=earlier).session
    assert again.columns == last.columns


def test_an_earlier_window_says_nothing_of_the_end(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": LONG}
    last = run(clicks, shared=shared)
    window = clicks.window(event(to="earlier"), last.session)
    earlier = run(clicks, shared=shared, window=window, before=last.session)
    assert earlier.result is not None
    assert last.result is not None
    assert said.prediction(earlier.result) is None
    assert said.prediction(last.result) is not None
    assert earlier.heatmap is not None
    settled = [note for note in earlier.heatmap["notes"] if "settled" in str(note)]
    assert settled == []


def test_the_same_seed_writes_the_same_and_each_token_has_a_step(clicks: Clicks) -> None:
    sampled: Any = {"generate": 6, "temperature": 1.5, "seed": 7, "shared": COUNTING}
    one, other = run(clicks, **sampled), run(clicks, **sampled)
    assert one.result is not None
    assert other.result is not None
    assert one.result["input"]["ids"] == other.result["input"]["ids"]
    assert isinstance(one.step, gr.Slider)
    assert one.step.visible
    assert one.step.maximum == one.step.value == one.session.n_tokens - one.session.n_prompt > 1
    texts = [run(clicks, **{**sampled, "seed": seed}).session.ids for seed in (8, 9)]
    assert set(texts) - {one.session.ids}, "another seed writes something else"


def test_a_step_is_the_position_that_its_token_was_predicted_from(clicks: Clicks) -> None:
    drawn = run(clicks, generate=4, shared=COUNTING)
    assert drawn.result is not None
    ids = drawn.result["input"]["ids"]
    assert len(ids) == drawn.session.n_prompt + 4
    for step in (1, 2, 3, 4):
        *_, now = clicks.step(step, drawn.session)
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
    clicks: Clicks, edit: Any, demo: LoadedModel, first: Drawn
) -> None:
    shared = {**SHARED, "edit": edit.to_json()}
    after, before = run(clicks, shared=shared), run(clicks, shared=shared, side="before")
    assert after.heatmap is not None
    assert before.heatmap is not None
    assert first.heatmap is not None
    assert before.heatmap["tokens"] == after.heatmap["other"] == first.heatmap["tokens"]
    assert before.heatmap["other"] == after.heatmap["tokens"]
    assert (before.heatmap["side"], after.heatmap["side"]) == ("before", "after")
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
            assert mark == (after.heatmap["tokens"][r][c] != after.heatmap["other"][r][c])
    assert after.side is not None
    assert after.side.visible


def test_each_prediction_under_an_edit_says_what_it_was(
    clicks: Clicks, edit: Any, first: Drawn, demo: LoadedModel
) -> None:
    drawn = run(clicks, shared={**SHARED, "edit": edit.to_json()})
    with torch.no_grad():
        p = demo.model(demo.tokenize(PROMPT)[None]).logits[0, -1].float().softmax(-1)
    for row, token in zip(drawn.prediction["rows"], drawn.session.predicted, strict=True):
        assert math.isclose(row["before"], p[token].item(), rel_tol=1e-3, abs_tol=1e-6)


def test_an_edit_of_another_model_is_the_users_error(clicks: Clicks, edit: Any) -> None:
    record = {**edit.to_json(), "schema": "x"}
    with pytest.raises(UserError) as caught:
        run(clicks, shared={**SHARED, "edit": record})
    assert caught.value.kind == "Edit"


def exported(clicks: Clicks, session: Session, kind: str) -> dict[str, Any]:
    (file,) = clicks.export(event(format=kind), session)
    return json.loads(file)


def test_the_json_file_is_the_whole_result(clicks: Clicks) -> None:
    session = run(clicks, shared={**SHARED, "prompt": LONG}).session
    file = exported(clicks, session, "json")
    record = json.loads(file["text"])
    assert record["schema"] == "lens_core/logit_lens/1"
    assert len(record["positions"]) == session.n_tokens > WINDOW
    assert file["name"].endswith(".json")


def test_the_csv_file_has_a_row_for_every_cell(clicks: Clicks, first: Drawn) -> None:
    file = exported(clicks, first.session, "csv")
    lines = file["text"].splitlines()
    assert "," in lines[0]
    assert len(lines) > 7 * 6
    assert file["type"].startswith("text/csv")


def test_two_files_are_never_taken_for_the_same(clicks: Clicks, first: Drawn) -> None:
    serials = {exported(clicks, first.session, "csv")["serial"] for _ in range(3)}
    assert len(serials) == 3


# ---- what the page asks is what an endpoint would take


@pytest.mark.parametrize("place", READ_AT)
def test_what_the_page_asks_is_a_request(place: str) -> None:
    chosen = Chosen(read_at=place, target=" Rome", threshold="0.5", stride="2")
    checked(LogitLensRequest, {**SHARED, **chosen.grid(), "last": WINDOW, "end": None})
    checked(LogitLensRequest, {**SHARED, **chosen.position(), "positions": [0]})


def test_rounding_keeps_small_numbers() -> None:
    for value in (0.123456, 1e-9, 1234.5678, 0.0):
        (found,) = views.short([value])
        assert math.isclose(found, value, rel_tol=1e-3)
    assert views.short([None, 3]) == [None, 3]
