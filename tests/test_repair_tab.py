"""The repair tab behind the page: what Repair and every click show is what the core says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from conftest import Served

from lens_core.repairs import METHODS as CORE_METHODS
from lens_core.repairs import RepairOptions, evaluate, repair, repair_basis
from lens_core.repairs.options import LOCATE as CORE_LOCATE
from lens_core.repairs.stack import STRENGTHS as CORE_STRENGTHS
from lens_core.weight_edit import WeightEdit
from tabs.repair import charts, edit_clicks, effects_views, neuron_views, views
from tabs.repair.choices import EXAMPLES, LOCATE, METHODS, NEURONS, Batch, Chosen
from tabs.repair.clicks import N_OUTPUTS, STRENGTHS, Clicks, neuron_chosen
from tabs.repair.edit_views import edit_list
from tabs.repair.session import Session
from tabs.runtime import MAX_EDIT_BYTES, UserError, result_of
from tabs.session_edits import KeptEdit, active

pytestmark = pytest.mark.slow

PROMPT, TARGET = EXAMPLES[0].prompt, EXAMPLES[0].target
SHARED = {"model": "demo", "prompt": PROMPT, "template": None, "special": "default", "edit": None}


@pytest.fixture(scope="module")
def clicks(served: Served) -> Clicks:
    result_of(served.runtime.stack.steps())
    return Clicks(served.runtime)


@dataclasses.dataclass
class Drawn:
    """What a run shows, by viewer, and what was shown on the way."""

    result: dict[str, Any]
    outcome: dict[str, Any]
    run: dict[str, Any]
    tokens: dict[str, Any]
    lens: dict[str, Any]
    effects: dict[str, Any]
    neurons: dict[str, Any]
    studies: list[dict[str, Any]]
    session: Session
    made: edit_clicks.Made | None
    on_the_way: list[tuple[Any, ...]]


def run(
    clicks: Clicks,
    *,
    before: Session | None = None,
    batch: Batch | None = None,
    shared: Mapping[str, Any] = SHARED,
    **chosen: Any,
) -> Drawn:
    """What the tab shows after Repair."""
    values = dataclasses.astuple(Chosen(**{"target": TARGET, **chosen}))
    steps = clicks.run(dict(shared), before, batch, *values)
    on_the_way = []
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result, (*shown, session, made) = end.value
            break
        if isinstance(step, tuple):
            on_the_way.append(step[1])
    live, outcome, ran, tokens, lens, effects, neurons, *studies = map(json.loads, shown)
    assert live["views"] == []
    pictures = (outcome, ran, tokens, lens, effects, neurons)
    return Drawn(result, *pictures, studies, session, made, on_the_way)


def study(steps: Any) -> Any:
    """The stack that a study shows."""
    shown, *rest = result_of(steps)
    return (json.loads(shown), *rest)


def view(stack: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [one["value"] for one in stack["views"] if one["key"] == key]
    return found


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def key_of(text: Any) -> str:
    return text["key"].removeprefix("repair.")


@pytest.fixture(scope="module")
def first(clicks: Clicks) -> Drawn:
    return run(clicks, paraphrases="\n".join(EXAMPLES[0].paraphrases))


@pytest.fixture
def kept(first: Drawn) -> dict[str, KeptEdit]:
    """The session's edits after that run."""
    return edit_clicks.keep(first.made, {})[0]


# ---- what a run shows


def test_the_outcome_is_that_of_the_core(first: Drawn, served: Served) -> None:
    demo = served.runtime.pool.get("demo")
    expected = repair(demo, PROMPT, TARGET, basis=repair_basis(demo))
    assert expected.edit is not None
    assert first.made is not None
    assert first.made.edit["id"] == expected.edit.id
    assert key_of(first.outcome["pill"]["text"]) == "status_repaired"
    assert first.outcome["pill"]["tone"] == "good"
    (pair,) = first.outcome["pairs"]
    assert pair["prompt"] == PROMPT
    assert pair["after"]["said"] == TARGET != pair["before"]["said"]


def test_every_token_of_the_target_is_listed(first: Drawn) -> None:
    rows = first.tokens["rows"]
    assert "".join(row[0]["text"] for row in rows) == TARGET
    assert [row[2]["text"] for row in rows] == [row[0]["text"] for row in rows]
    before, after = ([row[at] for row in rows] for at in (6, 7))
    assert max(before) < 0 < min(after)
    assert {row[-1]["tone"] for row in rows} == {"good"}


def test_the_chart_of_the_run_ends_above_zero(first: Drawn) -> None:
    figure = view(first.run, "run")["figure"]
    margins = [trace for trace in figure["data"] if "yaxis" not in trace]
    assert len(margins) == len(first.tokens["rows"])
    assert all(trace["y"][0] < 0 < trace["y"][-1] for trace in margins)
    (kl,) = [trace for trace in figure["data"] if trace.get("yaxis") == "y2"]
    assert kl["name"] == "KL"
    assert kl["y"][0] == 0.0


def test_it_is_drawn_while_it_runs(clicks: Clicks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabs.repair.clicks.REDRAWN_S", 0.0)
    found = run(clicks, target=" Atlantis", margin=5.0)
    assert found.on_the_way
    live, *rest = found.on_the_way[0]
    assert view(json.loads(live), "outcome")["state"] == "running"
    assert view(json.loads(live), "run")["figure"]["data"]
    assert rest == [gr.skip()] * (N_OUTPUTS - 1), "what was there before stays"


def test_the_lens_shows_both_sides_of_both_words(first: Drawn) -> None:
    traces = view(first.lens, "lens")["figure"]["data"]
    assert sorted(trace["meta"]["role"] for trace in traces) == [
        "after",
        "after",
        "before",
        "before",
    ]
    target = {trace["meta"]["role"]: trace["y"] for trace in traces if trace["meta"]["line"] == 0}
    assert target["after"][-1] > target["before"][-1]
    shaded = view(first.lens, "lens")["figure"]["layout"]["shapes"]
    assert len(shaded) == len(first.result["lens"]["edited"])


def test_side_effects_are_judged_by_the_bounds_of_the_core() -> None:
    assert evaluate._GREEN == effects_views.GOOD
    assert evaluate._AMBER == effects_views.FAIR


def test_every_measure_has_a_limit_and_the_light_follows_from_them(first: Drawn) -> None:
    rows = view(first.effects, "effects")["rows"]
    tones = {key_of(row[1]).removeprefix("measure_"): row[0] and row[0]["tone"] for row in rows}
    assert list(tones) == [
        "target", "paraphrases", "rewordings", "kl", "kl_max", "same", "continuations", "near",
        "perplexity", "repeats",
    ]  # fmt: skip
    assert all(row[3] for row in rows)
    assert tones["perplexity"] is None, "the embedded model cannot predict ordinary text"
    judged = {tones[name] for name in ("target", "kl", "same")}
    worst = next(tone for tone in ("poor", "check", "good") if tone in judged)
    assert first.outcome["light"]["tone"] == worst


def test_own_wordings_come_before_automatic_ones(first: Drawn) -> None:
    rows = view(first.effects, "wordings")["rows"]
    assert [row[0] for row in rows[:3]] == list(EXAMPLES[0].paraphrases)
    assert len(rows) == 6


def test_the_most_disturbed_texts_come_first(first: Drawn) -> None:
    divergences = [row[3] for row in view(first.effects, "probes")["rows"]]
    assert len(divergences) == 5
    assert divergences == sorted(divergences, reverse=True)


def test_the_map_has_every_layer_and_the_neurons_of_the_table(first: Drawn) -> None:
    cells, table = view(first.neurons, "map"), view(first.neurons, "neurons")
    assert [layer["layer"] for layer in cells["layers"]] == list(range(6))
    assert sum(layer["columns"] for layer in cells["layers"]) == first.result["cost"]["columns"]
    assert cells["marks"] == table["places"]
    assert table["rows"][0][0] == "L{} · {}".format(*table["places"][0])


def test_a_cell_of_the_map_finds_its_row_and_a_row_its_cell(first: Drawn) -> None:
    text = json.dumps(first.neurons)
    layer, neuron = view(first.neurons, "neurons")["places"][3]
    cells = view(first.neurons, "map")
    cell = neuron_views.bin_of(neuron, n_neurons=cells["n_neurons"], bins=cells["bins"])
    by_row = json.loads(neuron_chosen(event(view="neurons", index=3), text))
    assert view(by_row, "map")["selected"] == {"layer": layer, "bin": cell}
    by_cell = json.loads(neuron_chosen(event(view="map", layer=layer, bin=cell), text))
    row = view(by_cell, "neurons")["selected"]
    assert view(by_cell, "neurons")["places"][row][0] == layer
    with pytest.raises(gr.Error, match="no layer 9"):
        neuron_chosen(event(view="map", layer=9, bin=0), text)


def test_what_is_right_already_makes_no_edit(clicks: Clicks) -> None:
    found = run(clicks, shared={**SHARED, "prompt": "The capital of France is"}, target=" Paris")
    assert key_of(found.outcome["pill"]["text"]) == "status_already_correct"
    assert found.made is None
    assert found.outcome["how"] is None
    assert said_of(found.outcome) == ["nothing_to_do"]
    assert found.effects["views"] == found.neurons["views"] == []
    (pair,) = found.outcome["pairs"]
    assert pair["before"]["said"] == pair["after"]["said"] == " Paris"


def test_a_repair_that_fails_says_what_to_try_and_keeps_its_edit(clicks: Clicks) -> None:
    found = run(clicks, epochs=1)
    assert found.outcome["pill"]["tone"] in ("check", "poor")
    assert found.outcome["light"] is None
    assert key_of(found.outcome["notes"][0]["text"]).startswith("advice_")
    assert found.made is not None


def said_of(outcome: dict[str, Any]) -> list[str]:
    return [key_of(note["text"]) for note in outcome["notes"]]


def test_that_an_edit_is_kept_is_said_while_it_is_kept_and_off(
    first: Drawn, kept: dict[str, KeptEdit]
) -> None:
    def notes(edits: edit_clicks.Edits, drawn: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        _, shown = edit_clicks.listed(edits, first.session, json.dumps(drawn))
        return said_of(json.loads(shown)), json.loads(shown)

    assert key_of(first.outcome["how"]) == "outcome_how"
    off, shown = notes(kept, first.outcome)
    assert off == ["kept"]
    assert notes(kept, shown)[0] == ["kept"], "drawn again it is said once"
    on, _, _ = edit_clicks.use(kept, first.session)
    assert notes(on, shown)[0] == []
    assert notes({}, shown)[0] == [], "undone"


def test_what_is_too_large_to_keep_is_not_said_to_be_kept(first: Drawn) -> None:
    record = {**first.result, "weight_edit": None}
    found = views.outcome(record, max_bytes=MAX_EDIT_BYTES)
    assert found["how"] is None
    assert said_of(found) == ["too_large"]
    assert found["notes"][0]["text"]["values"]["limit"] == "16.8 MB"
    session = Session.of(None, {}, record)
    _, shown = edit_clicks.listed({}, session, json.dumps(found))
    assert said_of(json.loads(shown)) == ["too_large"]
    assert json.loads(shown)["actions"] == []


def test_an_edit_that_harms_with_those_in_use_is_told_from_them(first: Drawn) -> None:
    stack = {"collapse": {"kl": 1.0}, "retained": []}
    found = views.outcome({**first.result, "stack": stack}, max_bytes=MAX_EDIT_BYTES)
    assert said_of(found) == ["collapse_with"]


def test_one_is_not_counted_as_many(first: Drawn) -> None:
    cost = {**first.result["cost"], "columns": 1, "layers": 1}
    one = {**first.result, "cost": cost, "tokens": first.result["tokens"][:1]}
    keys = [key_of(fact) for fact in views.outcome(one, max_bytes=MAX_EDIT_BYTES)["facts"]]
    assert keys[0] == "fact_token"
    assert "fact_neuron" in keys
    wanted = first.result["evaluation"]["wanted"]
    for n, shown, more in ((5, 5, 0), (6, 6, 0), (7, 5, 2)):
        evaluation = {**first.result["evaluation"], "wanted": wanted * n}
        many = {**first.result, "evaluation": evaluation}
        many["input"] = {**first.result["input"], "pairs": n}
        found = views.outcome(many, max_bytes=MAX_EDIT_BYTES)
        assert (len(found["pairs"]), found["more_pairs"]) == (shown, more)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.target.strip())
def test_every_prepared_example_is_repaired(clicks: Clicks, example: Any) -> None:
    shared = {**SHARED, "prompt": example.prompt}
    found = run(clicks, shared=shared, target=example.target)
    assert key_of(found.outcome["pill"]["text"]) == "status_repaired"
    (pair,) = found.outcome["pairs"]
    assert pair["after"]["said"] == example.target


# ---- the form


def test_the_methods_are_those_of_the_core() -> None:
    assert set(METHODS) <= set(CORE_METHODS)
    assert tuple(STRENGTHS) == CORE_STRENGTHS
    assert LOCATE == CORE_LOCATE
    assert RepairOptions().neurons == NEURONS


def test_an_empty_field_of_neurons_is_the_default_and_zero_is_all() -> None:
    asked = [Chosen(target="x", neurons=n).asked(SHARED, None)["neurons"] for n in (None, 0, 5)]
    assert asked == [NEURONS, 0, 5]


def test_layers_and_settings_are_chosen_as_asked(clicks: Clicks) -> None:
    found = run(clicks, locate="occlusion", compat=True, layers=0.5, epochs=1)
    options = found.result["options"]
    assert (options["locate"], options["compat"]) == ("occlusion", "reference")
    assert "compat" not in found.session.comparison(), "mint has none"


def test_options_that_are_not_moved_are_left_to_the_method() -> None:
    asked = Chosen(target="x").asked(SHARED, None)
    assert (asked["epochs"], asked["layers"], asked["lr"]) == (None, None, None)
    assert asked["prompt"] == PROMPT


def test_a_dot_in_front_stands_for_a_space() -> None:
    assert Chosen(target="·Astana").asked(SHARED, None)["target"] == " Astana"
    assert Chosen(target="a·b").wanted == "a·b"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"target": ""}, r"target is empty \(0 characters\)"),
        ({"lr": "fast"}, 'learning rate is "fast"; type a number such as 0.01'),
        ({"lr": "-1"}, "lr is -1.0; it can be"),
    ],
)
def test_what_cannot_be_used_is_named(clicks: Clicks, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(clicks, **chosen)


def test_the_preview_shows_both_texts_and_offers_a_space(clicks: Clicks) -> None:
    found = json.loads(clicks.preview(SHARED, "Astana", None))
    assert found["add_space"]
    assert "".join(token["text"] for token in found["target"]) == "Astana"
    with_space = json.loads(clicks.preview(SHARED, " Astana", None))
    assert not with_space["add_space"]


def test_a_file_takes_the_place_of_the_form(clicks: Clicks, tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(f'prompt,target\n{PROMPT}," Astana"\nThe capital of Nigeria is," Abuja"\n')
    batch, _ = clicks.read_file(str(path))
    assert batch.name == "facts.csv"
    assert key_of(json.loads(clicks.preview(SHARED, "", batch))["text"]) == "batch"
    found = run(clicks, batch=batch, target="", paraphrases="ignored")
    assert found.result["input"]["pairs"] == 2
    assert len(found.outcome["pairs"]) == 2
    assert found.tokens["columns"][0]["key"] == "pair"
    assert found.made is not None
    assert found.made.label == "facts.csv"


def test_a_file_without_pairs_is_refused_by_its_row(clicks: Clicks, tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text('{"prompt": "a"}\n')
    with pytest.raises(UserError, match="Row 1 has no"):
        clicks.read_file(str(path))


# ---- edits


def test_a_new_edit_is_kept_switched_off(first: Drawn, kept: dict[str, KeptEdit]) -> None:
    ((name, one),) = kept.items()
    assert name.startswith("Astana · ")
    assert not one.on
    (item,) = edit_list(kept, first.session)["items"]
    assert (item["new"], item["on"], item["strength"]) == (True, False, 1.0)
    again = edit_clicks.keep(first.made, kept)[0]
    assert again == kept, "the same edit is kept once"


def test_using_it_switches_it_on_and_the_button_says_so(
    first: Drawn, kept: dict[str, KeptEdit]
) -> None:
    edits, picker, _ = edit_clicks.use(kept, first.session)
    assert [one["edit"]["id"] for one in active(edits)] == [first.session.edit_id]
    assert picker.value in edits
    _, outcome = edit_clicks.listed(edits, first.session, json.dumps(first.outcome))
    names = {one["name"]: key_of(one["text"]) for one in json.loads(outcome)["actions"]}
    assert names == {"use": "leave", "save": "save", "undo": "undo"}
    off, _, _ = edit_clicks.use(edits, first.session)
    assert active(off) == []


def test_undo_takes_its_buttons_along(first: Drawn, kept: dict[str, KeptEdit]) -> None:
    edits, _, _ = edit_clicks.undo(kept, first.session)
    assert edits == {}
    listed, outcome = edit_clicks.listed(edits, first.session, json.dumps(first.outcome))
    assert json.loads(listed)["items"] == json.loads(outcome)["actions"] == []
    with pytest.raises(UserError, match="0 edits here"):
        edit_clicks.save(edits, first.session)


def test_a_saved_edit_is_the_edit(first: Drawn, kept: dict[str, KeptEdit], tmp_path: Path) -> None:
    import base64

    from lens_core.weight_edit import load_edit

    file = json.loads(edit_clicks.save(kept, first.session))
    path = tmp_path / file["name"]
    path.write_bytes(base64.b64decode(file["base64"]))
    assert path.suffix == ".safetensors"
    assert load_edit(path).id == first.session.edit_id


def test_a_second_repair_stands_on_the_first(
    clicks: Clicks, first: Drawn, kept: dict[str, KeptEdit]
) -> None:
    edits, _, _ = edit_clicks.use(kept, first.session)
    (below,) = edits
    shared = {**SHARED, "prompt": "The capital of Nigeria is", "edit": active(edits)}
    second = run(clicks, before=first.session, shared=shared, target=" Abuja")
    assert second.made is not None
    assert second.made.base == ((first.session.edit_id, 1.0),)
    both = edit_clicks.keep(second.made, edits)[0]
    above = next(name for name in both if name != below)
    assert both[above].base == ((below, 1.0),)
    assert list(WeightEdit.from_json(both[above].edit).base) == [(first.session.edit_id, 1.0)]
    assert set(second.session.holds) == {first.session.edit_id, second.session.edit_id}
    on, _, _ = edit_clicks.switch(event(name=above, on=True), both)
    assert on[above].on
    gone, _, notice = edit_clicks.switch(event(name=below, on=False), on)
    assert not gone[above].on
    assert above in json.loads(notice)["text"]["values"]["names"]


@pytest.mark.parametrize("value", [True, "1", None, 1.6, -0.1, float("nan")])
def test_a_strength_that_is_none_is_refused(kept: dict[str, KeptEdit], value: Any) -> None:
    with pytest.raises(gr.Error, match="There is no strength"):
        edit_clicks.weaken(event(name=next(iter(kept)), value=value), kept)


def test_a_weaker_edit_keeps_its_strength(kept: dict[str, KeptEdit]) -> None:
    (name,) = kept
    edits, _, _ = edit_clicks.weaken(event(name=name, value=0.5), kept)
    assert [one.strength for one in edits.values()] == [0.5]


@pytest.mark.parametrize("data", [{"index": 0}, {"name": "another"}, {"name": ["x"]}])
def test_an_edit_that_is_not_there_is_refused(
    kept: dict[str, KeptEdit], data: dict[str, Any]
) -> None:
    for handler in (edit_clicks.remove, edit_clicks.save_listed):
        with pytest.raises(gr.Error, match=r"There is no (edit|name)"):
            handler(event(**data), kept)


# ---- studies


def test_the_methods_are_compared_on_the_run_that_was_made(clicks: Clicks, first: Drawn) -> None:
    (shown,) = study(clicks.compare(first.session))
    rows = view(shown, "table")["rows"]
    assert [row[0] for row in rows[:-1]] == list(METHODS)
    assert rows[-1][0]["values"] == {"method": "me-sgd", "lr": 0.01}
    best = {row[0]: row[4] for row in rows[:-1]}
    assert best["me-batch"] < rows[-1][4], "gentler than the yardstick"


def test_at_full_strength_the_target_is_said_and_at_none_it_is_not(
    clicks: Clicks, first: Drawn, kept: dict[str, KeptEdit]
) -> None:
    (shown,) = study(clicks.strengths(first.session, kept))
    kl, margin = view(shown, "chart")["figure"]["data"]
    assert margin["name"] == charts.MARGIN
    by_strength = dict(zip(margin["x"], margin["y"], strict=True))
    assert by_strength[0.0] < 0 < by_strength[1.0]
    assert kl["y"][0] < 1e-5 < kl["y"][-1]


def test_edits_in_use_are_checked_together(
    clicks: Clicks, first: Drawn, kept: dict[str, KeptEdit]
) -> None:
    shown, _ = study(clicks.together(first.session, kept))
    assert key_of(view(shown, "finding")["text"]) == "none_on"
    edits, _, _ = edit_clicks.use(kept, first.session)
    shown, found = study(clicks.together(first.session, edits))
    session, told = edit_clicks.note(found, first.session)
    assert told is None
    (row,) = view(shown, "table")["rows"]
    assert row[0] in edits
    assert row[-1]["tone"] == "good"
    assert session.holds[first.session.edit_id] == (1.0, 1.0)


def test_a_check_does_not_take_back_a_repair_that_came_meanwhile(first: Drawn) -> None:
    newer = dataclasses.replace(first.session, edit_id="b" * 32, damaging=("b" * 32, "c" * 32))
    found = edit_clicks.Checked(
        ({"id": first.session.edit_id, "share": 0.5, "strength": 0.8},), False
    )
    session, told = edit_clicks.note(found, newer)
    assert told is None
    assert session.edit_id == newer.edit_id
    assert session.holds[first.session.edit_id] == (0.5, 0.8)
    assert session.damaging == newer.damaging, "others than those that were checked"
    assert edit_clicks.note(None, newer) == (gr.skip(), None)


def test_an_adapter_is_saved_as_a_zip(
    clicks: Clicks, first: Drawn, kept: dict[str, KeptEdit]
) -> None:
    (file,) = study(clicks.lora(first.session, kept))
    assert file["name"].endswith(".zip")
    assert file["base64"]


def test_before_a_run_nothing_is_measured(clicks: Clicks) -> None:
    for steps in (clicks.compare(None), clicks.strengths(None, {}), clicks.together(None, {})):
        assert all(not isinstance(one, str) for one in result_of(steps))
