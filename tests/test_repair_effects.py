"""What repairs change: measured against plain passes, compared, stacked and taken out."""

import json
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from repair_cases import PROMPT, TARGET, assert_untouched, basis_of, build, greedy, weights
from torch import Tensor
from transformers import AutoModelForCausalLM

from lens_core.edits import applied, make_edit
from lens_core.errors import EditError, InputError
from lens_core.models import LoadedModel
from lens_core.repairs import (
    Comparison,
    Repair,
    RepairBasis,
    check_stack,
    compare_repairs,
    compare_repairs_steps,
    evaluate_repair,
    repair,
    save_lora,
    save_merged,
    strength_curve,
)
from lens_core.repairs.effects import Fluency, Locality, fluency, locality
from lens_core.repairs.evaluate import traffic_light
from lens_core.repairs.pairs_file import read_pairs

PROBES = [torch.tensor([1, 2, 3, 4]), torch.tensor([60, 61, 62])]
OTHER: tuple[Tensor, Tensor] = (torch.tensor([9, 8, 7]), torch.tensor([50]))
MEASURES: dict[str, Any] = {"probes": PROBES, "new_tokens": 4}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return build(request.param)


@pytest.fixture(scope="module")
def basis(loaded: LoadedModel) -> RepairBasis:
    return basis_of(loaded)


@pytest.fixture(scope="module")
def outcome(loaded: LoadedModel, basis: RepairBasis) -> Repair:
    return repair(loaded, PROMPT, TARGET, basis=basis)


def edit_of(outcome: Repair) -> Any:
    assert outcome.edit is not None
    return outcome.edit


def logits(loaded: LoadedModel, ids: Tensor) -> Tensor:
    model: Any = loaded.model
    with torch.no_grad():
        return model(ids[None]).logits[0].float()


def test_nothing_changes_where_no_edit_is_held(loaded: LoadedModel) -> None:
    found = locality(loaded, [(None, ids) for ids in PROBES], nullcontext, new_tokens=4)
    assert (found.kl, found.kl_max, found.same, found.changed_continuations) == (0, 0, 1, 0)


def test_divergences_are_those_of_the_whole_vocabulary(
    loaded: LoadedModel, outcome: Repair
) -> None:
    holding = partial(applied, loaded, edit_of(outcome))
    found = locality(loaded, [(None, ids) for ids in PROBES], holding, new_tokens=4)
    kl, same = [], []
    for ids in PROBES:
        before = logits(loaded, ids)
        with holding():
            after = logits(loaded, ids)
        p, q = before.log_softmax(-1), after.log_softmax(-1)
        kl += (p.exp() * (p - q)).sum(-1).tolist()
        same += (before.argmax(-1) == after.argmax(-1)).tolist()
    assert found.kl == pytest.approx(sum(kl) / len(kl), rel=1e-3, abs=1e-6)
    assert found.kl_max == pytest.approx(max(kl), rel=1e-3, abs=1e-6)
    assert found.same == pytest.approx(sum(same) / len(same))
    assert [probe.kl for probe in found.probes] == sorted(
        (probe.kl for probe in found.probes), reverse=True
    )
    for probe in found.probes:
        assert list(probe.before) == greedy(loaded, torch.tensor(probe.ids), 4)
        with holding():
            assert list(probe.after) == greedy(loaded, torch.tensor(probe.ids), 4)


def test_perplexity_is_that_of_the_next_tokens(loaded: LoadedModel, outcome: Repair) -> None:
    holding = partial(applied, loaded, edit_of(outcome))
    found = fluency(loaded, PROBES, PROMPT, holding, new_tokens=8)

    def perplexity() -> float:
        losses = [
            -logits(loaded, ids).log_softmax(-1)[:-1].gather(1, ids[1:, None]).sum()
            for ids in PROBES
        ]
        return math.exp(float(sum(losses)) / sum(len(ids) - 1 for ids in PROBES))

    assert found.perplexity_before == pytest.approx(perplexity(), rel=1e-3)
    with holding():
        assert found.perplexity_after == pytest.approx(perplexity(), rel=1e-3)


def test_an_evaluation_says_before_and_after(loaded: LoadedModel, outcome: Repair) -> None:
    before = weights(loaded)
    found = evaluate_repair(loaded, outcome, paraphrases=[OTHER], **MEASURES)
    assert_untouched(loaded, before)
    assert found.efficacy == 1.0
    assert found.wanted[0].before.greedy == outcome.pairs[0].before.greedy
    assert found.wanted[0].after.greedy == tuple(TARGET.tolist())
    assert found.reworded[0].before.greedy == tuple(greedy(loaded, OTHER[0], 1))
    assert found.near is not None
    assert {probe.ids for probe in found.near.probes} == {
        tuple(PROMPT[:-n].tolist()) for n in (1, 2, 4)
    }
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/repair_evaluation/1"
    assert record["light"] in ("green", "amber", "red")


def test_the_light_follows_its_bounds() -> None:
    def light(efficacy: float, kl: float, same: float, ratio: float) -> str:
        effects = Locality((), kl, kl, kl, same, 0)
        return traffic_light(efficacy, effects, Fluency(2.0, 2.0 * ratio, 0.0, 0.0, 0, 0))

    assert light(1.0, 0.02, 0.99, 1.0) == "green"
    assert light(1.0, 0.03, 0.99, 1.0) == "amber"
    assert light(1.0, 0.02, 0.96, 1.0) == "amber"
    assert light(1.0, 0.02, 0.99, 1.04) == "amber"
    assert light(1.0, 0.2, 0.99, 1.0) == "red"
    assert light(0.5, 0.0, 1.0, 1.0) == "red"


def test_methods_are_compared_from_the_same_state(loaded: LoadedModel, basis: RepairBasis) -> None:
    before = weights(loaded)
    methods = ["me-batch", {"method": "me-sgd", "lr": 1e-2}]
    steps = list(
        compare_repairs_steps(loaded, [(PROMPT, TARGET)], methods, basis=basis, evaluation=MEASURES)
    )
    assert_untouched(loaded, before)
    found = steps[-1]
    assert isinstance(found, Comparison)
    assert [row["method"] for row in found.table()] == ["me-batch", "me-sgd"]
    alone = repair(loaded, PROMPT, TARGET, method="me-sgd", lr=1e-2, basis=basis)
    assert edit_of(found.runs[1].repair).id == edit_of(alone).id
    assert {step.index for step in steps[:-1]} == {0, 1}  # type: ignore[union-attr]
    json.dumps(found.to_json(), allow_nan=False)


def test_a_stack_says_which_repairs_still_hold(
    loaded: LoadedModel, basis: RepairBasis, outcome: Repair
) -> None:
    first = edit_of(outcome)
    with applied(loaded, first):
        second = edit_of(repair(loaded, *OTHER, basis=basis))
    found = check_stack(loaded, [first, second], **MEASURES)
    with applied(loaded, first, second):
        kept = [
            float(greedy(loaded, prompt, len(target)) == target.tolist())
            for prompt, target in ((PROMPT, TARGET), OTHER)
        ]
    assert [one.share for one in found.retained] == kept
    assert found.retention == sum(kept) / 2
    assert kept[1] == 1.0
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["schema"] == "lens_core/repair_stack/1"


def test_the_guard_sees_a_ruined_model(loaded: LoadedModel) -> None:
    columns = torch.arange(48)
    noise = 20 * torch.randn(48, loaded.facts.d_model, generator=torch.Generator().manual_seed(0))
    note = {"prompt": None, "prompt_ids": PROMPT.tolist(), "target_ids": TARGET.tolist()}
    edit = make_edit(loaded, {0: (columns, noise)}, notes={"pairs": [note]})
    found = check_stack(loaded, [edit], **MEASURES)
    assert found.collapse is not None
    assert "limit is 0.1" in found.collapse


def test_each_edit_has_its_own_strength(loaded: LoadedModel, outcome: Repair) -> None:
    edit = edit_of(outcome)
    part = edit.layers[0]
    other = make_edit(loaded, {part.layer: (part.columns[:2], part.old[:2] + 1.0)})
    with applied(loaded, edit, other, strength=(0.5, 1.5)):
        assert loaded.active_edits == ((edit.id, 0.5), (other.id, 1.5))
        module: Any = loaded.anatomy.layers[part.layer].mlp_proj
        columns = module.weight.detach()
        columns = columns if len(columns) == 96 else columns.T
        wanted = part.old + 0.5 * (part.new - part.old)
        wanted[:2] += 1.5
        torch.testing.assert_close(columns[part.columns], wanted)
    with (
        pytest.raises(EditError, match="2 edits and 1 strengths"),
        applied(loaded, edit, other, strength=[1.0]),
    ):
        pass


def test_the_strength_leads_from_nothing_to_the_repair(
    loaded: LoadedModel, outcome: Repair
) -> None:
    points = strength_curve(loaded, outcome, strengths=(0.0, 0.5, 1.0), probes=PROBES)
    assert (points[0].kl, points[0].same) == (0.0, 1.0)
    assert points[0].margin == pytest.approx(outcome.pairs[0].before.margin, rel=1e-4)
    assert points[2].margin == pytest.approx(outcome.pairs[0].after.margin, rel=1e-3)
    assert [point.greedy_exact for point in points][::2] == [0.0, 1.0]


def test_a_merged_checkpoint_is_the_edited_model(
    loaded: LoadedModel, outcome: Repair, tmp_path: Path
) -> None:
    before = weights(loaded)
    folder = save_merged(loaded, edit_of(outcome), tmp_path / "merged")
    assert_untouched(loaded, before)
    again: Any = AutoModelForCausalLM.from_pretrained(folder)
    with applied(loaded, edit_of(outcome)):
        for name, weight in loaded.model.state_dict().items():
            assert torch.equal(weight, again.state_dict()[name]), name
    with pytest.raises(InputError, match="not an empty folder"):
        save_merged(loaded, edit_of(outcome), folder)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_an_adapter_is_the_edit(loaded: LoadedModel, outcome: Repair, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    edit = edit_of(outcome)
    saved = save_lora(loaded, edit, tmp_path / "lora")
    small = save_lora(loaded, edit, tmp_path / "small", rank=1)
    assert saved.rel_err < 1e-5
    assert small.rank == 1
    assert 0 < small.rel_err < 1
    with applied(loaded, edit):
        wanted = logits(loaded, PROMPT)
    folder = save_merged(loaded, (), tmp_path / "plain")
    plain: Any = AutoModelForCausalLM.from_pretrained(folder)
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "lora").eval()
    with torch.no_grad():
        found = adapted(PROMPT[None]).logits[0]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_pairs_are_read_from_csv_and_jsonl() -> None:
    table = 'prompt,target\n"The capital of Nigeria is"," Abuja"\n'
    records = '{"prompt": "a\u2028b", "target": "c"}\n\n{"prompt": "d", "target": " e"}\n'
    assert read_pairs(table, lines=False) == [("The capital of Nigeria is", " Abuja")]
    assert read_pairs(records, lines=True) == [("a\u2028b", "c"), ("d", " e")]


@pytest.mark.parametrize(
    ("text", "lines", "message"),
    [
        ("", False, "no pairs"),
        ("prompt,answer\na,b\n", False, "Row 2 has no"),
        ("prompt,target\na,\n", False, "Row 2 has no"),
        ("[1]", True, "Row 1 is a list"),
        ("{", True, "Row 1 is no JSON"),
        ('{"prompt": "a", "target": 1}', True, "Row 1 has no"),
    ],
)
def test_files_without_pairs_are_refused(text: str, lines: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(text, lines=lines)


def test_what_cannot_be_measured_is_refused(loaded: LoadedModel, outcome: Repair) -> None:
    with pytest.raises(InputError, match="no probes"):
        evaluate_repair(loaded, outcome)
    bare = make_edit(loaded, {0: (torch.tensor([0]), torch.ones(1, loaded.facts.d_model))})
    with pytest.raises(InputError, match="Nothing is wanted"):
        evaluate_repair(loaded, bare, **MEASURES)
    with pytest.raises(InputError, match="methods is"):
        compare_repairs(loaded, [(PROMPT, TARGET)], [])
