"""The attention tab without a browser: what it shows is what the core found."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import pytest
import torch
from conftest import Served
from families import loaded as family

import lens_core
from lens_core import AttentionViews, Attribution, Faithfulness, NextToken
from lens_core.edits import applied, make_edit
from lens_core.models import LoadedModel
from lens_core.settings import Settings
from tabs.attention import controls, runs
from tabs.attention.choices import METHODS, Asked, Look, split
from tabs.attention.clicks import N_LOOKED, N_SHOWN, Clicks
from tabs.attention.comparing import compared
from tabs.attention.detail_views import matrix_start
from tabs.attention.export import exported
from tabs.attention.session import Session, Side, Wish, place_of
from tabs.attention.strip_views import result, strip
from tabs.attention_operations import Attributed, looked_at
from tabs.attention_requests import AttentionCompareRequest
from tabs.background import Progress
from tabs.requests import checked
from tabs.runtime import Runtime, UserError, result_of
from tabs.typed import typed_text

pytestmark = pytest.mark.slow

PROMPT = "The capital of France is"
CHINESE = "我爱中国🐉，他的首都在于"
SHARED = {
    "model": "demo",
    "prompt": PROMPT,
    "template": None,
    "special": "default",
    "edit": None,
}


class Drawn(NamedTuple):
    """What a run shows, by the part that shows it."""

    tokens: dict[str, Any]
    grid: dict[str, Any]
    needs: dict[str, Any]
    token: dict[str, Any]
    matrix: Any
    next: dict[str, Any]
    importance: dict[str, Any]
    details: dict[str, Any]
    layer: Any
    head: Any
    side: Any
    string: dict[str, Any]
    session: Session


def shown(values: Any) -> Drawn:
    return Drawn(*(json.loads(one) if isinstance(one, str) else one for one in values))


def run(
    clicks: Clicks,
    *,
    wish: Wish | None = None,
    before: Session | None = None,
    shared: dict[str, Any] = SHARED,
    **chosen: Any,
) -> Drawn:
    """What the tab shows after Run."""
    _, values = result_of(clicks.run(shared, wish, before, *values_of(**chosen)))
    return shown(values)


def values_of(**chosen: Any) -> tuple[Any, ...]:
    """The values of the controls."""
    names = {field.name for field in dataclasses.fields(Look)}
    look = Look(**{name: value for name, value in chosen.items() if name in names})
    asked = Asked(**{name: value for name, value in chosen.items() if name not in names})
    return *dataclasses.astuple(look), *dataclasses.astuple(asked)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def view(stack: dict[str, Any], key: str) -> dict[str, Any]:
    return next(one["value"] for one in stack["views"] if one["key"] == key)


def numbers(drawn: Drawn) -> list[float]:
    return [box["value"] for box in drawn.tokens["boxes"] if box["value"] is not None]


@pytest.fixture(scope="module")
def clicks(served: Served) -> Clicks:
    result_of(served.runtime.stack.steps())
    return Clicks(served.runtime)


@pytest.fixture(scope="module")
def demo(clicks: Clicks, served: Served) -> LoadedModel:
    return served.runtime.pool.get("demo")


@pytest.fixture(scope="module")
def first(clicks: Clicks) -> Drawn:
    return run(clicks)


@pytest.fixture(scope="module")
def views(demo: LoadedModel) -> AttentionViews:
    return lens_core.attention_views(demo, demo.tokenize(PROMPT), flow=True)


# ---- the controls


def test_the_values_of_all_controls_are_read_in_their_order() -> None:
    look, asked = split(values_of(layer=3, method="shapley", always=False))
    assert (look, asked) == (Look(layer=3), Asked(method="shapley", always=False))
    names = [field.name for kind in (Look, Asked) for field in dataclasses.fields(kind)]
    assert [field.name for field in dataclasses.fields(controls.Controls)] == names


def test_spans_are_runs_of_positions() -> None:
    asked = Asked(features="spans", spans="0-2, 4")
    assert asked.request(())["features"] == [[0, 3], [4, 5]]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_asked_for_what_it_takes(clicks: Clicks, method: str) -> None:
    drawn = run(clicks, method=method, window=2, interactions=2, samples=5, trust=False)
    assert drawn.session.after.problem is None
    assert drawn.session.after.attributed is not None
    assert drawn.session.after.attributed.found.method == method


# ---- what is shown is what the core found


def test_the_numbers_are_the_row_of_the_last_layer(first: Drawn, views: AttentionViews) -> None:
    np.testing.assert_allclose(numbers(first), views.head_mean[-1], rtol=1e-5)
    assert math.isclose(sum(numbers(first)), 1.0, abs_tol=1e-5)
    assert first.tokens["query"] == 5


@pytest.mark.parametrize("measure", ["norm", "rollout", "ratio", "flow"])
def test_every_measure_is_the_core_s(clicks: Clicks, views: AttentionViews, measure: str) -> None:
    assert views.norms is not None
    assert views.rollout is not None
    wanted = {
        "norm": views.norms[2].mean(0),
        "rollout": views.rollout.shares["mean"],
        "ratio": views.rollout.ratio["mean"],
        "flow": views.flow,
    }
    drawn = run(clicks, measure=measure, layer=2, always=False)
    np.testing.assert_allclose(numbers(drawn), wanted[measure], rtol=1e-4)


@pytest.mark.parametrize(
    ("head", "layers"), [("max", "one"), ("3", "one"), ("mean", "mean"), ("max", "max")]
)
def test_heads_and_layers_become_one_number(
    clicks: Clicks, views: AttentionViews, head: str, layers: str
) -> None:
    rows = views.rows.rows[:, 0]
    by_layer = {"mean": rows.mean(1), "max": rows.max(1), "3": rows[:, 3]}[head]
    wanted = {"one": by_layer[4], "mean": by_layer.mean(0), "max": by_layer.max(0)}[layers]
    drawn = run(clicks, head=head, layers=layers, layer=4, always=False)
    np.testing.assert_allclose(numbers(drawn), wanted, rtol=1e-5)


def test_without_sinks_the_rest_is_rescaled_and_what_is_gone_is_said(
    clicks: Clicks, views: AttentionViews
) -> None:
    assert views.sinks.positions
    drawn = run(clicks, without_sinks=True, always=False)
    rest = views.rows.without(views.sinks.positions)
    np.testing.assert_allclose(numbers(drawn), rest.rows[-1, 0].mean(0), rtol=1e-5, atol=1e-7)
    removed = next(n for n in drawn.tokens["notes"] if n["key"] == "attention.removed")
    assert removed["values"]["share"] == f"{100 * rest.removed[-1, 0].mean():.1f}%"


def test_the_tokens_of_a_character_are_one_box_with_their_sum(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": CHINESE}
    joined = run(clicks, shared=shared, always=False)
    apart = run(clicks, shared=shared, join=False, always=False)
    assert any(len(box["at"]) > 1 for box in joined.tokens["boxes"])
    assert all(len(box["at"]) == 1 for box in apart.tokens["boxes"])
    single = numbers(apart)
    for box in joined.tokens["boxes"]:
        assert math.isclose(box["value"], sum(single[i] for i in box["at"]), rel_tol=1e-4)
    assert [i for box in joined.tokens["boxes"] for i in box["at"]] == list(range(len(single)))


def test_the_map_of_heads_is_the_weight_on_the_selected_token(
    clicks: Clicks, first: Drawn, views: AttentionViews
) -> None:
    drawn = clicks.choose(event(position=4), first.session)
    grid = json.loads(drawn[1])
    weights = next(q for q in grid["quantities"] if q["key"] == "weight")["values"]
    np.testing.assert_allclose(weights, views.rows.rows[::-1, 0, :, 4], rtol=1e-3, atol=1e-9)
    assert grid["title"]["entry"]["text"] == " France"


def test_a_cell_of_the_heads_is_looked_through(
    clicks: Clicks, first: Drawn, views: AttentionViews
) -> None:
    *looks, layer, head, layers, measure, session = clicks.cell(
        event(row=1, column=2), first.session
    )
    assert (layer, head, layers, measure) == (4, "2", "one", "weight")
    found = [box["value"] for box in json.loads(looks[0])["boxes"]]
    np.testing.assert_allclose(found, views.rows.rows[4, 0, 2], rtol=1e-4)
    assert json.loads(looks[1])["selected"] == [1, 2]
    assert session.look.one_head == 2


def test_depth_shows_all_layers_on_all_tokens(clicks: Clicks, views: AttentionViews) -> None:
    drawn = run(clicks, grid="depth", always=False)
    values = drawn.grid["quantities"][0]["values"]
    np.testing.assert_allclose(values, views.head_mean[::-1], rtol=1e-3, atol=1e-9)


def test_the_prediction_is_the_plain_forward_s(first: Drawn, demo: LoadedModel) -> None:
    ids = demo.tokenize(PROMPT)
    with torch.inference_mode():
        probs = demo.model(ids[None]).logits[0, -1].float().softmax(-1)
    best = probs.topk(10)
    top = first.tokens["prediction"]["top"]
    vocab = first.session.after.looked.next.vocab
    assert [one["entry"] for one in top] == [vocab[str(token)] for token in best.indices.tolist()]
    np.testing.assert_allclose([one["p"] for one in top], best.values, rtol=1e-4)
    bars = view(first.next, "bars")["rows"]
    assert [row["entry"] for row in bars] == [one["entry"] for one in top]


def test_temperature_only_rereads_the_row(clicks: Clicks, first: Drawn) -> None:
    answer = clicks.look(first.session, *values_of(temperature=2.0))
    rows = view(json.loads(answer[5]), "bars")["rows"]
    wanted = first.session.after.looked.next.at(2.0).top.p[:10]
    np.testing.assert_allclose([row["value"] for row in rows], wanted, rtol=1e-5)


def test_importance_is_that_of_attribute(first: Drawn, demo: LoadedModel) -> None:
    direct = lens_core.attribute(demo, demo.tokenize(PROMPT), features="cluster")
    found = [row["right"] for row in first.needs["rows"]]
    np.testing.assert_allclose(found, direct.scores, rtol=1e-4, atol=1e-5)
    assert [row["flip"] for row in first.needs["rows"]] == direct.flips.tolist()  # type: ignore[union-attr]
    left = [row["left"] for row in first.needs["rows"]]
    np.testing.assert_allclose(left, numbers(first)[1:], rtol=1e-5)


def test_a_gap_above_five_per_cent_is_a_warning(first: Drawn, clicks: Clicks) -> None:
    assert first.needs["badge"]["state"] == "check"
    exact = run(clicks, method="integrated_gradients", trust=False)
    assert exact.needs["badge"]["state"] == "good"


def test_attention_stands_beside_the_method_and_chance(first: Drawn) -> None:
    trust = first.session.after.attributed
    assert trust is not None
    assert trust.trust is not None
    assert [one.name for one in trust.trust.rankings] == ["occlusion", "attention", "rollout"]
    rows = view(first.importance, "trust")["rows"]
    assert len(rows) == 4
    random = np.mean([one.comprehensiveness for one in trust.trust.random])
    assert math.isclose(rows[-1][1], random, rel_tol=1e-4)


def test_the_details_have_every_token_and_the_sum(first: Drawn, demo: LoadedModel) -> None:
    table = view(first.details, "tokens")
    assert [row[2] for row in table["rows"]] == demo.tokenize(PROMPT).tolist()
    assert table["how"]["values"]["sum"] == "100.00%"
    facts = [row["value"] for row in view(first.details, "tokenizer")["rows"]]
    assert demo.tokenizer is not None
    assert facts[1] == f"{len(demo.tokenizer):,}"
    assert facts[3] == str(len(set(demo.tokenizer.all_special_ids)))


def test_the_matrix_is_read_only_while_it_is_seen(clicks: Clicks, demo: LoadedModel) -> None:
    assert "views" not in run(clicks, always=False).matrix
    drawn = run(clicks, part="matrix", layer=3, head="1", always=False)
    whole = lens_core.attention_matrix(demo, demo.tokenize(PROMPT), 3, 1).matrix
    values = view(drawn.matrix, "matrix")["quantities"][0]["values"]
    for at, row in enumerate(values):
        np.testing.assert_allclose(row[: at + 1], whole[at, : at + 1], rtol=1e-3, atol=1e-9)
        assert row[at + 1 :] == [None] * (5 - at)
    wish = clicks.matrix_cell(event(row=3, column=1), drawn.session)
    assert (wish.query, wish.source) == (3, 1)


# ---- runs that clicks ask for


def test_another_query_is_the_row_of_that_position(clicks: Clicks, demo: LoadedModel) -> None:
    wish = clicks.look_from(event(position=3), run(clicks, always=False).session)
    drawn = run(clicks, wish=wish)
    direct = lens_core.attention_rows(demo, demo.tokenize(PROMPT), query=3)
    np.testing.assert_allclose(numbers(drawn), direct.rows[-1, 0].mean(0)[:4], rtol=1e-5)
    assert [box["value"] for box in drawn.tokens["boxes"][4:]] == [None, None]
    assert drawn.tokens["title"]["entry"]["text"] == " of"
    assert [row["right"] for row in drawn.needs["rows"]][3:] == [None, None]


def test_a_wish_holds_for_its_prompt_only(clicks: Clicks) -> None:
    session = run(clicks, always=False).session
    wish = clicks.look_from(event(position=2), session)
    other = run(clicks, wish=wish, shared={**SHARED, "prompt": "One two three"}, always=False)
    assert other.session.query == len(other.session.tokens) - 1


def test_append_and_undo_come_back_to_the_same(
    clicks: Clicks, first: Drawn, demo: LoadedModel
) -> None:
    _, chosen = clicks.candidate(event(index=0), first.session)
    wish, _ = clicks.act(event(name="append"), chosen)
    longer = run(clicks, wish=wish, before=first.session)
    ids = [*demo.tokenize(PROMPT).tolist(), int(first.session.after.looked.next.top.ids[0])]
    assert [token["id"] for token in longer.session.tokens] == ids
    direct = lens_core.next_token(demo, torch.tensor(ids))
    assert int(longer.session.after.looked.next.top.ids[0]) == int(direct.top.ids[0])
    assert longer.tokens["n_prompt"] == 6
    assert result(longer.session)["input"]["n_prompt"] == 6
    undone, _ = clicks.act(event(name="undo"), longer.session)
    back = run(clicks, wish=undone, before=longer.session)
    assert numbers(back) == numbers(first)
    assert back.session.wish.append == ()


def test_another_candidate_can_be_explained(clicks: Clicks, first: Drawn) -> None:
    _, chosen = clicks.candidate(event(index=1), first.session)
    wish, typed = clicks.act(event(name="target"), chosen)
    assert typed == "", "what was typed would be explained instead"
    drawn = run(clicks, wish=wish, before=first.session)
    assert drawn.session.after.attributed is not None
    target = drawn.session.after.attributed.found.target_ids.tolist()
    assert target == [int(first.session.after.looked.next.top.ids[1])]
    own, _ = clicks.act(event(name="untarget"), drawn.session)
    assert own.target == ()


def test_a_second_click_lets_a_candidate_go(clicks: Clicks, first: Drawn) -> None:
    _, chosen = clicks.candidate(event(index=2), first.session)
    _, none = clicks.candidate(event(index=2), chosen)
    assert (chosen.candidate, none.candidate) == (2, None)
    assert (gr.skip(), gr.skip()) == clicks.act(event(name="append"), none)


@pytest.mark.parametrize("data", [{"position": 6}, {"position": -1}, {"position": "1"}, {}])
def test_what_the_browser_sends_is_not_trusted(
    clicks: Clicks, first: Drawn, data: dict[str, Any]
) -> None:
    with pytest.raises(gr.Error, match="no position"):
        clicks.choose(event(**data), first.session)


def test_the_probability_of_a_string_is_the_core_s(
    clicks: Clicks, first: Drawn, demo: LoadedModel
) -> None:
    (answer,) = clicks.string(event(), first.session, "·Paris.")
    rows = view(json.loads(answer), "string")["rows"]
    direct = lens_core.string_probability(demo, demo.tokenize(PROMPT), " Paris.")
    assert rows[0]["value"]["values"]["log_p"] == f"{direct.log_p:.2f}".replace("-", "−")
    assert len(rows) == 1 + len(direct.tokens.ids)


# ---- what the panels say together


def test_what_is_needed_is_beside_the_chosen_measure(clicks: Clicks) -> None:
    drawn = run(clicks, measure="ratio", trust=False)
    assert drawn.needs["left_format"] == drawn.tokens["format"] == "times"
    assert [row["left"] for row in drawn.needs["rows"]] == numbers(drawn)[1:]


def test_all_panels_speak_of_the_whole_character(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": CHINESE}
    drawn = run(clicks, shared=shared, features="token", trust=False)
    box = next(box for box in drawn.tokens["boxes"] if len(box["at"]) == 3)
    looks = clicks.choose(event(position=box["at"][-1]), drawn.session)
    grid = json.loads(looks[1])
    assert math.isclose(sum(grid["quantities"][0]["values"][0]) / 4, box["value"], rel_tol=1e-3)
    assert grid["title"]["entry"]["text"] == drawn.session.tokens[box["at"][0]]["cluster_text"]
    course = view(json.loads(looks[3]), "course")["figure"]["data"]
    mean = next(trace for trace in course if trace["meta"]["line"] == 0)
    assert math.isclose(mean["y"][-1], box["value"], rel_tol=1e-3)
    facts = {
        row["label"]["key"]: row["value"] for row in view(json.loads(looks[3]), "token")["rows"]
    }
    assert facts["attention.fact_weight"].count("+") == 2
    assert facts["attention.fact_importance"]["values"]["value"].count("·") == 2


def test_run_again_keeps_what_was_chosen_last(clicks: Clicks) -> None:
    drawn = run(clicks, always=False)
    wish = clicks.look_from(event(position=5), drawn.session)
    looked = run(clicks, wish=wish, before=drawn.session, always=False)
    *_, session = clicks.choose(event(position=2), looked.session)
    again = run(clicks, wish=wish, before=session, always=False)
    assert again.session.source == 2


def test_what_was_appended_to_a_prompt_does_not_come_back_with_it(
    clicks: Clicks, first: Drawn
) -> None:
    _, chosen = clicks.candidate(event(index=0), first.session)
    wish, _ = clicks.act(event(name="append"), chosen)
    longer = run(clicks, wish=wish, before=first.session, always=False)
    assert len(longer.session.tokens) == 7
    other = {**SHARED, "prompt": "One two"}
    between = run(clicks, wish=wish, before=longer.session, shared=other, always=False)
    back = run(clicks, wish=wish, before=between.session, always=False)
    assert len(back.session.tokens) == 6


def test_the_matrix_is_fetched_once(clicks: Clicks, monkeypatch: pytest.MonkeyPatch) -> None:
    session = run(clicks, part="matrix", layer=3, always=False).session
    asked: list[str] = []
    steps = Runtime.steps

    def counted(self: Runtime, op: str, request: Any) -> Any:
        asked.append(op)
        return steps(self, op, request)

    monkeypatch.setattr(Runtime, "steps", counted)
    *_, session = clicks.choose(event(position=2), session)
    clicks.look(session, *values_of(part="matrix", layer=3, temperature=2.0))
    assert asked == []
    clicks.look(session, *values_of(part="matrix", layer=2))
    assert asked == ["attention_matrix"]


def test_as_many_values_as_components(clicks: Clicks, first: Drawn) -> None:
    assert len(first) == N_SHOWN
    assert len(clicks.look(first.session, *values_of())) == N_LOOKED


def test_a_link_s_layer_is_that_layer_and_none_is_the_last(clicks: Clicks) -> None:
    assert run(clicks, layer=2, always=False).session.look.layer == 2
    assert run(clicks, always=False).session.look.layer == 5
    assert run(clicks, layer=999, always=False).session.look.layer == 5


def test_a_learned_sink_is_a_box_of_its_own() -> None:
    model = family("gpt_oss")
    bench: Any = SimpleNamespace(limits=Settings().max_tokens)
    looked = looked_at(bench, model, torch.tensor([1, 2, 3, 4]), n_prompt=4, flow=False)
    shared = {**SHARED, "model": "gpt_oss"}
    session = Session(shared, Wish(place_of(shared)), Look(), Asked(), Side(looked)).looking(Look())
    drawn = strip(session)
    values = [box["value"] for box in drawn["boxes"]]
    assert drawn["sink"] > 0.01
    assert math.isclose(sum(values) + drawn["sink"], 1.0, abs_tol=1e-5)


def test_the_folder_of_a_model_stays_unknown() -> None:
    folder = str(Path(lens_core.__file__).parents[1] / "demo_models" / "base")
    runtime = Runtime(Settings(models={"mine": folder}))
    result_of(runtime.stack.steps())
    drawn = run(Clicks(runtime), shared={**SHARED, "model": "mine"})
    files = [saved(drawn.session, name)["text"] for name in ("json", "csv")]
    assert all(folder not in text and "mine" in text for text in files[:1])
    assert folder not in files[1]
    prompts = [PROMPT, "The capital of Italy is"]
    request = checked(AttentionCompareRequest, {"model": "mine", "prompts": prompts})
    found = result_of(runtime.steps("attention_compare", request))
    assert {one.next.header["model"]["id"] for one in found} == {"mine"}


def test_a_picture_of_something_else_is_refused(clicks: Clicks) -> None:
    session = run(clicks, measure="rollout", always=False).session
    with pytest.raises(UserError, match="the page shows rollout"):
        exported(event(format="png"), session)
    assert "rollout" in saved(session, "json")["text"]


@pytest.mark.parametrize(
    ("typed", "text"),
    [("·Paris", " Paris"), ("约翰·史密斯", "约翰·史密斯"), ("··a·", "  a "), ("·", " "), ("", "")],
)
def test_dots_at_the_ends_are_spaces(typed: str, text: str) -> None:
    assert typed_text(typed) == text


# ---- edits


@pytest.fixture(scope="module")
def edit(demo: LoadedModel) -> Any:
    """An edit that silences neurons of two layers."""
    silent = (torch.arange(200), torch.zeros(200, demo.facts.d_model))
    return make_edit(demo, {1: silent, 4: silent})


def test_before_and_after_an_edit_are_the_two_models(
    clicks: Clicks, edit: Any, demo: LoadedModel, first: Drawn
) -> None:
    shared = {**SHARED, "edit": edit.to_json()}
    after, before = run(clicks, shared=shared), run(clicks, shared=shared, side="before")
    assert numbers(before) == numbers(first)
    assert [box["before"] for box in after.tokens["boxes"]] == numbers(first)
    with applied(demo, edit):
        direct = lens_core.attention_views(demo, demo.tokenize(PROMPT))
        found = lens_core.attribute(demo, demo.tokenize(PROMPT), features="cluster")
    target = found.target_ids.tolist()
    old = lens_core.attribute(demo, demo.tokenize(PROMPT), features="cluster", target=target)
    np.testing.assert_allclose(numbers(after), direct.head_mean[-1], rtol=1e-5)
    assert numbers(after) != numbers(first)
    np.testing.assert_allclose([r["right"] for r in after.needs["rows"]], found.scores, atol=1e-4)
    np.testing.assert_allclose([r["before"] for r in after.needs["rows"]], old.scores, atol=1e-4)
    assert after.side.visible
    bars = {row["entry"]["text"]: row for row in view(after.next, "bars")["rows"]}
    was = {row["entry"]["text"]: row["value"] for row in view(first.next, "bars")["rows"]}
    assert all(bars[text]["before"] == was[text] for text in bars.keys() & was.keys())


# ---- what cannot be


def test_importance_that_cannot_be_measured_leaves_the_rest(clicks: Clicks, first: Drawn) -> None:
    drawn = run(clicks, features="spans", spans="9-12")
    assert numbers(drawn) == numbers(first)
    assert "9" in drawn.needs["missing"]
    with pytest.raises(UserError, match=r"outside the prompt|0 to 5"):
        result_of(clicks.measure(drawn.session, *values_of(features="spans", spans="9-12")))


def test_a_long_prompt_waits_to_be_asked(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": "one two three " * (runs.MOST_TOKENS // 2)}
    drawn = run(clicks, shared=shared)
    assert drawn.needs["missing"]["key"] == "attention.not_measured"
    refused = run(clicks, shared=shared, measure="flow")
    assert refused.tokens["missing"]["key"] == "attention.no_flow"


def test_what_is_known_is_shown_before_importance_is_there(clicks: Clicks) -> None:
    steps = [
        step for step in clicks.run(SHARED, None, None, *values_of()) if isinstance(step, tuple)
    ]
    ((progress, values),) = steps
    assert isinstance(progress, Progress)
    assert shown(values).needs["missing"]["key"] == "attention.not_measured"
    assert numbers(shown(values)) == numbers(run(clicks, always=False))


def test_a_model_without_attention_keeps_next_token_and_importance(served: Served) -> None:
    mamba = family("mamba")
    ids = torch.tensor([1, 2, 3, 4])
    bench: Any = SimpleNamespace(limits=Settings().max_tokens)
    looked = looked_at(bench, mamba, ids, n_prompt=4, flow=False)
    assert looked.views is None
    found = lens_core.attribute(mamba, ids)
    shared = {**SHARED, "model": "mamba"}
    side = Side(looked, Attributed(found, None))
    session = Session(shared, Wish(place_of(shared)), Look(), Asked(), side).looking(Look())
    drawn = shown(Clicks(served.runtime).shows(session))
    assert "attention pattern" in drawn.tokens["missing"]
    assert numbers(drawn) == []
    assert drawn.grid["state"] == "empty"
    np.testing.assert_allclose([r["right"] for r in drawn.needs["rows"]], found.scores, rtol=1e-4)
    direct = lens_core.next_token(mamba, ids)
    bars = view(drawn.next, "bars")["rows"]
    np.testing.assert_allclose([row["value"] for row in bars[:5]], direct.top.p[:5], rtol=1e-4)
    assert saved(session, "csv")["text"] == looked.next.to_csv()
    assert saved(session, "png")["base64"]


def test_the_matrix_of_a_long_prompt_ends_at_the_query(clicks: Clicks) -> None:
    shared = {**SHARED, "prompt": "one two three " * 100}
    session = run(clicks, shared=shared, always=False).session
    assert matrix_start(session) == len(session.tokens) - 256


# ---- files


def saved(session: Session, name: str) -> dict[str, Any]:
    (text,) = exported(event(format=name), session)
    return json.loads(text)


def test_the_files_say_what_is_shown(first: Drawn, views: AttentionViews) -> None:
    record = json.loads(saved(first.session, "json")["text"])
    np.testing.assert_array_equal(AttentionViews.from_json(record).rows.rows, views.rows.rows)
    assert NextToken.from_json(record["next_token"]).top.ids[0] == views.rows.next.ids[0, 0]
    right = [row["right"] for row in first.needs["rows"]]
    np.testing.assert_allclose(Attribution.from_json(record["importance"]).scores, right, rtol=1e-4)
    assert len(Faithfulness.from_json(record["faithfulness"]).random) == 20
    rows = list(csv.DictReader(io.StringIO(saved(first.session, "csv")["text"])))
    assert len(rows) == views.rows.rows[:, 0].size
    page = saved(first.session, "html")
    assert page["type"] == "text/html"
    assert "</html>" in page["text"]
    png = base64.b64decode(saved(first.session, "png")["base64"])
    assert png.startswith(b"\x89PNG")


# ---- side by side


def test_compared_prompts_share_one_scale(clicks: Clicks, served: Served, first: Drawn) -> None:
    prompts = [PROMPT, "The capital of Italy is", "The capital of Japan is"]
    (text,) = result_of(compared(served.runtime, SHARED, prompts, Look()))
    strips = [one["value"] for one in json.loads(text)["views"]]
    assert [box["value"] for box in strips[0]["boxes"]] == numbers(first)
    assert len({strip["high"] for strip in strips}) == 1
    plain = [b["value"] for s in strips for b in s["boxes"] if b["at"][0] not in s["sinks"]]
    assert math.isclose(strips[0]["high"], max(plain), rel_tol=1e-5)
    assert [strip["prediction"]["entry"]["text"] for strip in strips] == [
        " Paris",
        " Rome",
        " Tokyo",
    ]


@pytest.mark.parametrize("count", [1, 9])
def test_one_prompt_or_too_many_are_not_compared(served: Served, count: int) -> None:
    prompts = [f"{PROMPT} {n}" for n in range(count)]
    with pytest.raises(UserError, match=f"There are {count} different prompts; 2 to 8"):
        result_of(compared(served.runtime, SHARED, prompts, Look()))
