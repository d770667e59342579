"""Repairs as clients and the page meet them: the core's answers, streamed, and clear refusals."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from conftest import Served
from gradio_client import Client
from gradio_client.exceptions import AppError

import lens_core
import lens_core.repairs
from lens_core.errors import EditError, InputError, LensError, PromptError
from lens_core.models import LoadedModel
from lens_core.settings import Settings
from lens_core.weight_edit import WeightEdit
from tabs.background import Progress
from tabs.repair_requests import (
    RepairCompareRequest,
    RepairEvaluateRequest,
    RepairExportRequest,
    RepairPreviewRequest,
    RepairRequest,
    RepairStrengthsRequest,
    RepairViewRequest,
)
from tabs.requests import LogitLensRequest, Request, checked
from tabs.runtime import MAX_EDIT_BYTES, MAX_PAIRS, Runtime, UserError, result_of

pytestmark = pytest.mark.slow

PROMPT, TARGET = "The capital of Kazakhstan is", " Astana"
WANTED: dict[str, Any] = {"prompt": PROMPT, "target": TARGET}
OTHER = {"prompt": "The capital of Peru is", "target": " Cusco"}


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    """The model that the page itself runs."""
    result_of(served.runtime.stack.steps())
    return served.runtime.pool.get("demo")


@pytest.fixture(scope="module")
def ask(served: Served) -> Callable[..., tuple[Any, list[Any]]]:
    """Runs an operation as a tab does; gives its result and the details on the way."""

    def asked(op: str, kind: type[Request], **arguments: Any) -> tuple[Any, list[Any]]:
        steps, details = served.runtime.steps(op, checked(kind, arguments)), []
        while True:
            try:
                details += next(steps).detail
            except StopIteration as end:
                found = end.value
                return found if isinstance(found, dict) else found.to_json(), details

    return asked


@pytest.fixture(scope="module")
def repaired(demo: LoadedModel, client: Client) -> dict[str, Any]:
    return client.predict(**WANTED, api_name="/repair")


@pytest.fixture(scope="module")
def view(ask: Callable[..., Any]) -> tuple[dict[str, Any], list[Any]]:
    return ask("repair_view", RepairViewRequest, **WANTED, probes=["Good morning."])


def bits(model: LoadedModel) -> dict[str, torch.Tensor]:
    return {
        name: weight.detach().clone().view(torch.uint8)
        for name, weight in model.model.state_dict().items()
    }


def assert_unchanged(model: LoadedModel, before: dict[str, torch.Tensor]) -> None:
    with model.lock:
        for name, weight in bits(model).items():
            assert torch.equal(weight, before[name]), name
        assert model.active_edits == ()


def timeless(edit: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in edit.items() if key not in ("created", "safetensors")}


def test_every_update_is_streamed_and_the_last_answer_is_the_result(
    client: Client, demo: LoadedModel, repaired: dict[str, Any]
) -> None:
    answers: list[Any] = list(client.submit(**WANTED, watch=2, api_name="/repair"))
    *steps, record = answers
    assert {step["schema"] for step in steps} == {"lens_core/repair_step/1"}
    assert record["schema"] == repaired["schema"] == "lens_core/repair/1"
    assert [step["epoch"] for step in steps] == [step["epoch"] for step in record["steps"]]
    assert [one["text"] for one in steps[0]["tokens"]] == [" A", "stan", "a"]
    assert all(len(step["margins"]) == 3 for step in steps)
    assert steps[0]["kl"] == 0 < steps[-1]["kl"] < 0.1
    assert timeless(record["weight_edit"]) == timeless(repaired["weight_edit"])
    json.dumps(answers, allow_nan=False)


def test_a_repair_is_that_of_the_core(demo: LoadedModel, repaired: dict[str, Any]) -> None:
    direct = lens_core.repair(demo, PROMPT, TARGET)
    assert direct.edit is not None
    assert repaired["status"] == "repaired"
    assert repaired["weight_edit"]["id"] == direct.edit.id
    assert repaired["tokens"] == direct.to_json()["tokens"]
    assert repaired["input"]["n_prompt"] == len(repaired["input"]["tokens"]) == 6
    assert lens_core.Repair.from_json(repaired).status == "repaired"


def test_its_edit_holds_in_the_other_analyses(
    client: Client, demo: LoadedModel, repaired: dict[str, Any]
) -> None:
    edit = repaired["weight_edit"]
    target = repaired["tokens"][0]["target"]
    before = client.predict(PROMPT, api_name="/logit_lens")
    after = client.predict(PROMPT, edit=edit, api_name="/logit_lens")
    assert before["final"]["ids"][-1] != target == after["final"]["ids"][-1]
    assert after["edit"] == {"id": edit["id"], "strength": 1.0}
    half = [{"edit": edit, "strength": 0.5}]
    weaker = client.predict(PROMPT, edit=half, api_name="/logit_lens")
    assert weaker["edit"] == {"id": edit["id"], "strength": 0.5}
    both = client.predict(PROMPT, edit=edit, before_edit=True, api_name="/graph")
    assert both["edges"]
    assert client.predict(PROMPT, edit=edit, api_name="/graph")["edit"]["id"] == edit["id"]


def test_two_sessions_see_only_their_own_edit(
    served: Served, client: Client, repaired: dict[str, Any]
) -> None:
    other = client.predict(PROMPT, " Osaka", api_name="/repair")
    plain = client.predict(PROMPT, api_name="/logit_lens")["final"]["ids"][-1]
    edits = [None, repaired["weight_edit"], other["weight_edit"]]
    wanted = [plain, *(one["tokens"][0]["target"] for one in (repaired, other))]
    assert len(set(wanted)) == 3

    def session(which: int) -> list[int]:
        own = Client(served.url, verbose=False)
        answers = [own.predict(PROMPT, edit=edits[which], api_name="/logit_lens") for _ in range(4)]
        return [answer["final"]["ids"][-1] for answer in answers]

    with ThreadPoolExecutor(3) as threads:
        for which, said in enumerate(threads.map(session, range(3))):
            assert said == [wanted[which]] * 4


@pytest.mark.parametrize("until", ["status.epoch", "status.probe", "status.fluency"])
def test_a_cancelled_repair_leaves_the_weights_bit_identical(
    served: Served, demo: LoadedModel, until: str
) -> None:
    before = bits(demo)
    steps = served.runtime.steps("repair_view", checked(RepairViewRequest, WANTED))
    said = next(step for step in steps if step.key == until)
    assert isinstance(said, Progress)
    steps.close()
    assert_unchanged(demo, before)


def test_a_client_that_cancels_frees_the_model(
    client: Client, demo: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, made = lens_core.repairs.repair_many_steps, []

    def watched(*args: Any, **options: Any) -> Iterator[Any]:
        for step in steps(*args, **options):
            made.append(step)
            yield step

    monkeypatch.setattr(lens_core.repairs, "repair_many_steps", watched)
    before = bits(demo)
    job = client.submit(**WANTED, method="me-sgd", lr=1e-6, epochs=200, api_name="/repair")
    next(iter(job))
    job.cancel()
    assert client.predict(PROMPT, api_name="/logit_lens")["edit"] is None
    assert made
    assert not any(isinstance(step, lens_core.Repair) for step in made), "it ran to its end"
    assert_unchanged(demo, before)


def test_the_view_tells_everything_a_page_shows(
    demo: LoadedModel, view: tuple[dict[str, Any], list[Any]]
) -> None:
    record, steps = view
    json.dumps(record, allow_nan=False)
    assert all(step["kl"] is not None for step in steps)
    found = record["evaluation"]
    (said,) = found["wanted"]
    assert said["prompt_text"] == PROMPT
    assert (said["before_text"], said["after_text"]) == (" Almaty.", TARGET)
    assert said["after_more"].startswith(".")
    assert len(found["locality"]["probes"]) == 29
    assert [one["prompt_text"] for one in found["near"]["probes"]].count("The capital of") == 1
    assert (record["made_on"], record["stack"]) == ([], None)


def test_the_course_ends_at_what_the_repair_itself_measured(
    view: tuple[dict[str, Any], list[Any]],
) -> None:
    record, _ = view
    course, token = record["lens"], record["tokens"][0]
    assert (course["target"], course["said"]) == (token["target"], token["before"]["said"])
    assert course["places"] == ["embed", 0, 1, 2, 3, 4, 5]
    for side in ("before", "after"):
        assert course[side]["target"][-1] == pytest.approx(token[side]["p"], rel=1e-3)
    assert course["before"]["said"][-1] == pytest.approx(token["before"]["said_p"], rel=1e-3)
    assert course["before"]["target"][0] == course["after"]["target"][0]


def test_the_map_has_every_layer_and_every_changed_neuron(
    view: tuple[dict[str, Any], list[Any]],
) -> None:
    record, _ = view
    edit = WeightEdit.from_json(record["weight_edit"])
    drawn = record["map"]
    assert (drawn["n_neurons"], drawn["bins"]) == (384, 256)
    assert [row["layer"] for row in drawn["layers"]] == list(range(6))
    for row in drawn["layers"]:
        parts = [part for part in edit.layers if part.layer == row["layer"]]
        bins = {column * 256 // 384 for part in parts for column in part.columns.tolist()}
        assert {at for at, value in enumerate(row["values"]) if value} == bins
        assert row["columns"] == sum(len(part.columns) for part in parts)
    high = max(max(row["values"]) for row in drawn["layers"])
    assert high >= float(f"{max(one['relative'] for one in record['neurons']):.4g}")


def test_what_is_said_already_needs_no_edit(ask: Callable[..., Any]) -> None:
    wanted = {"prompt": "The capital of France is", "target": " Paris"}
    record, steps = ask("repair_view", RepairViewRequest, **wanted)
    assert record["status"] == "already_correct"
    assert len(steps) == 1
    for name in ("weight_edit", "evaluation", "lens", "map", "stack"):
        assert record[name] is None


def test_texts_of_several_byte_tokens_are_whole(ask: Callable[..., Any]) -> None:
    wanted = {"prompt": "哈萨克斯坦的首都是", "target": "阿斯塔纳"}
    record, _ = ask("repair_view", RepairViewRequest, **wanted)
    (said,) = record["evaluation"]["wanted"]
    assert said["after_text"] == "阿斯塔纳"
    near = record["evaluation"]["near"]["probes"]
    assert {one["prompt_text"] for one in near} >= {"哈萨克斯坦的首都", "哈萨克斯坦的"}


def test_a_repair_stands_on_the_edits_that_are_active(
    ask: Callable[..., Any], client: Client, demo: LoadedModel, repaired: dict[str, Any]
) -> None:
    first = repaired["weight_edit"]
    record, _ = ask("repair_view", RepairViewRequest, **OTHER, edit=[{"edit": first}])
    assert record["status"] == "repaired"
    assert record["made_on"] == [[first["id"], 1.0]]
    second = record["weight_edit"]
    assert WeightEdit.from_json(second).base == ((first["id"], 1.0),)
    stack = record["stack"]
    assert [one["id"] for one in stack["retained"]] == [first["id"], second["id"]]
    assert stack["retained"][1]["share"] == 1.0
    found = client.predict([first, second], new_tokens=0, api_name="/repair_evaluate")
    assert found["retention"] == stack["retention"]
    assert found["locality"]["kl"] == pytest.approx(stack["kl"])
    assert [one["before_text"] for one in found["wanted"]] == [" Almaty.", " Lima."]
    with pytest.raises(UserError, match="made on top of"):
        ask("repair_evaluate", RepairEvaluateRequest, edit=second)


def test_an_evaluation_is_that_of_the_core_at_every_strength(
    client: Client, demo: LoadedModel, repaired: dict[str, Any]
) -> None:
    edit = WeightEdit.from_json(repaired["weight_edit"])
    reworded = [["Kazakhstan's capital is", TARGET]]
    answer = client.predict(
        repaired["weight_edit"],
        paraphrases=reworded,
        probes=["Good morning."],
        builtin=False,
        strengths=[0.0, 1.0],
        api_name="/repair_evaluate",
    )
    direct = lens_core.evaluate_repair(
        demo, edit, paraphrases=[("Kazakhstan's capital is", TARGET)], probes=["Good morning."],
        builtin=False,
    ).to_json()  # fmt: skip
    assert answer["schema"] == "lens_core/repair_stack/1"
    assert answer["locality"]["kl"] == pytest.approx(direct["locality"]["kl"])
    assert answer["generalisation"] == direct["generalisation"]
    assert [point["greedy_exact"] for point in answer["strength_curve"]] == [0.0, 1.0]
    assert answer["strength_curve"][0]["kl"] == 0.0


def test_strengths_alone_are_those_of_the_evaluation(
    client: Client, ask: Callable[..., Any], repaired: dict[str, Any]
) -> None:
    edit, strengths = repaired["weight_edit"], [0.5, 1.0]
    found, _ = ask("repair_strengths", RepairStrengthsRequest, edit=edit, strengths=strengths)
    whole = client.predict(
        edit,
        new_tokens=0,
        builtin=False,
        probes=["Good morning."],
        strengths=strengths,
        api_name="/repair_evaluate",
    )
    assert found == {"strength_curve": whole["strength_curve"]}


def test_the_ways_of_the_core_can_be_asked_for(client: Client, demo: LoadedModel) -> None:
    asked = {"layers": 0.5, "epochs": 1, "locate": "occlusion", "compat": "reference"}
    record = client.predict(**WANTED, **asked, api_name="/repair")
    assert {name: record["options"][name] for name in asked} == asked
    table = client.predict(**WANTED, **asked, methods=["me-iter"], api_name="/repair_compare")
    options = table["runs"][0]["repair"]["options"]
    assert {name: options[name] for name in asked} == asked


def test_methods_are_compared_as_they_come(client: Client, demo: LoadedModel) -> None:
    methods = ["me-batch", {"method": "me-sgd", "lr": 0.01}]
    answers: list[Any] = list(client.submit(**WANTED, methods=methods, api_name="/repair_compare"))
    *steps, record = answers
    assert {step["schema"] for step in steps} == {"lens_core/repair_compare_step/1"}
    assert [*dict.fromkeys(step["method"] for step in steps)] == ["me-batch", "me-sgd"]
    assert [row["lr"] for row in record["table"]] == [None, 0.01]
    assert [row["greedy_exact"] for row in record["table"]] == [1.0, 1.0]
    assert record["runs"][0]["repair"]["weight_edit"] is not None


def test_several_pairs_are_repaired_together(client: Client, demo: LoadedModel) -> None:
    pairs = [[PROMPT, TARGET], [OTHER["prompt"], OTHER["target"]]]
    answers: list[Any] = list(client.submit(pairs=pairs, views=1, api_name="/repair"))
    *steps, record = answers
    assert record["status"] == "repaired"
    assert record["input"]["pairs"] == 2
    rows = [(one["pair"], one["view"], one["id"]) for one in steps[0]["tokens"]]
    views = [pair["view_of"] for pair in record["pairs"]]
    assert rows == [
        (token["pair"] if views[token["pair"]] is None else views[token["pair"]],
         views[token["pair"]] is not None, token["target"])
        for token in record["tokens"]
    ]  # fmt: skip


def test_a_preview_says_where_a_space_is_missing(ask: Callable[..., Any], demo: Any) -> None:
    found, _ = ask("repair_preview", RepairPreviewRequest, prompt=PROMPT, target="Astana")
    assert found["add_space"]
    assert found["n"] == len(found["prompt_tokens"]) + len(found["target_tokens"])


def test_a_preview_answers_while_a_repair_runs(ask: Callable[..., Any], demo: LoadedModel) -> None:
    def held() -> Any:
        with demo.lock, ThreadPoolExecutor(1) as threads:
            return threads.submit(ask, "repair_preview", RepairPreviewRequest, **WANTED).result(30)

    assert not held()[0]["add_space"]


def test_an_edit_is_exported_for_peft(
    ask: Callable[..., Any], demo: LoadedModel, repaired: dict[str, Any]
) -> None:
    edit = repaired["weight_edit"]
    found, _ = ask("repair_export", RepairExportRequest, edit=edit)
    packed = zipfile.ZipFile(io.BytesIO(base64.b64decode(found["base64"])))
    assert packed.namelist() == ["adapter_config.json", "adapter_model.safetensors"]
    assert packed.testzip() is None
    assert json.loads(packed.read("adapter_config.json"))["r"] == found["rank"]
    assert found["rel_err"] < 1e-5
    with pytest.raises(UserError, match="2 edits"):
        ask("repair_export", RepairExportRequest, edit=[edit, edit])


def test_what_repairs_share_is_made_once(
    served: Served, demo: LoadedModel, repaired: dict[str, Any]
) -> None:
    bases = served.runtime._bench.repair_bases
    clean, edited = ((demo.facts, ()), (demo.facts, ((repaired["weight_edit"]["id"], 1.0),)))
    held = bases.get(clean)
    assert held is not None
    for edit in (None, repaired["weight_edit"]):
        request = checked(RepairRequest, {**OTHER, "epochs": 1, "edit": edit})
        result_of(served.runtime.steps("repair", request))
    assert bases.get(clean) is held
    assert bases.get(edited) not in (None, held)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"prompt": ""}, ["prompt", "empty", "0 characters"]),
        ({"target": ""}, ["target", "empty", "0 characters"]),
        ({"target": None}, ["prompt and its target", "pairs"]),
        ({"pairs": [["a", "b"]]}, ["not both"]),
        ({"prompt": None, "target": None, "pairs": []}, ["pairs", "at least 1"]),
        ({"prompt": None, "target": None, "pairs": [["a"]]}, ["pairs.0", "2 items", "not 1"]),
        ({"prompt": "word " * 600}, ["tokens", "512", "Shorten"]),
        ({"target": " Paris" * 600}, ["tokens", "512"]),
        ({"target": "x" * 20_001}, ["target", "20001 characters", "20000", "Shorten"]),
        ({"method": "rome"}, ["method", '"rome"', "me-batch"]),
        ({"epochs": 201}, ["epochs", "201", "1 to 200"]),
        ({"epochs": 2.5}, ["epochs", "2.5", "integer"]),
        ({"margin": -1}, ["margin", "-1", "0 to 100"]),
        ({"lr": 0}, ["lr", "0", "1e-08 to 100"]),
        ({"lr": "fast"}, ["lr", '"fast"', "number"]),
        ({"mu": -1}, ["mu", "-1", "inf"]),
        ({"mu": "big"}, ["mu", '"big"', "number"]),
        ({"layers": 2}, ["layers", "2", "0.01 to 1"]),
        ({"neurons": -1}, ["neurons", "-1"]),
        ({"views": 4}, ["views", "4", "0 to 3"]),
        ({"locate": "x"}, ["locate", '"x"', "attribution, occlusion"]),
        ({"compat": "x"}, ["compat", '"x"', "reference"]),
        ({"compat": "reference", "method": "mint"}, ["compat", "mint"]),
        ({"watch": 1000}, ["watch", "1000"]),
        ({"edit": {"schema": "x"}}, ["edit", "'x'"]),
        ({"model": "../../etc"}, ["../../etc"]),
    ],
)
def test_what_cannot_be_done_is_said_with_its_limit(
    client: Client, demo: LoadedModel, arguments: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(AppError) as failure:
        client.predict(**{**WANTED, **arguments}, api_name="/repair")
    for part in parts:
        assert part in str(failure.value)


@pytest.mark.parametrize(
    ("kind", "op", "arguments", "parts"),
    [
        (RepairEvaluateRequest, "repair_evaluate", {}, ["edit is missing"]),
        (RepairEvaluateRequest, "repair_evaluate", {"new_tokens": 100}, ["new_tokens", "64"]),
        (RepairCompareRequest, "repair_compare", {**WANTED, "methods": []}, ["methods", "1"]),
        (RepairCompareRequest, "repair_compare", {**WANTED, "methods": ["x"]}, ['"x"', "mint"]),
        (RepairCompareRequest, "repair_compare",
         {**WANTED, "methods": [{"methud": "mint"}]}, ['"methud"', "method"]),
        (RepairCompareRequest, "repair_compare", {**WANTED, "watch": 4}, ["watch"]),
        (RepairStrengthsRequest, "repair_strengths", {"strengths": [1.0]}, ["edit is missing"]),
        (RepairViewRequest, "repair_view",
         {"pairs": [["a", "b"]] * 2, "paraphrases": ["c"]}, ["paraphrases", "2 pairs"]),
        (RepairViewRequest, "repair_view",
         {**WANTED, "probes": ["word " * 600]}, ["tokens", "512"]),
    ],
)  # fmt: skip
def test_the_other_operations_refuse_as_clearly(
    served: Served, demo: LoadedModel, kind: type[Request], op: str, arguments: dict[str, Any],
    parts: list[str],
) -> None:  # fmt: skip
    with pytest.raises((LensError, UserError)) as failure:
        result_of(served.runtime.steps(op, checked(kind, arguments)))
    for part in parts:
        assert part in str(failure.value)


def test_strengths_outside_their_range_are_refused(
    ask: Callable[..., Any], repaired: dict[str, Any]
) -> None:
    edit = repaired["weight_edit"]
    with pytest.raises(UserError, match=r"2.*0 to 1.5"):
        ask("repair_evaluate", RepairEvaluateRequest, edit=edit, strengths=[2.0], new_tokens=0)


@pytest.mark.parametrize(
    ("error", "kind", "arguments", "parts"),
    [
        (InputError, RepairRequest, {"pairs": [["a", "b"]] * 101}, ["101", str(MAX_PAIRS)]),
        (PromptError, RepairRequest, {"prompt": "a", "target": "x" * 101}, ["target", "101"]),
        (PromptError, RepairViewRequest, {**WANTED, "probes": ["x" * 101]}, ["101", "100"]),
        (EditError, LogitLensRequest, {"prompt": "a", "edit": [{"x": "x" * MAX_EDIT_BYTES}] * 2},
         ["edits together", str(MAX_EDIT_BYTES)]),
    ],
)  # fmt: skip
def test_a_public_page_keeps_its_limits(
    error: type[LensError], kind: type[Request], arguments: dict[str, Any], parts: list[str]
) -> None:
    runtime = Runtime(Settings(public=True, max_prompt_chars=100))
    with pytest.raises(error) as caught:
        runtime.check(checked(kind, arguments))
    for part in parts:
        assert part in str(caught.value)
