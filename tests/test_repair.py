"""Repairs: the target comes out, the gradient is autograd's, and the model is left as it was."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from repair_cases import (
    D_VOCAB,
    FAMILIES,
    PROMPT,
    TARGET,
    assert_untouched,
    basis_of,
    build,
    greedy,
    weights,
)
from torch import Tensor

from lens_core.edits import applied, columns_held
from lens_core.errors import EditError, InputError, LensError, PromptError
from lens_core.models import LoadedModel
from lens_core.progress import Stopped, reported
from lens_core.repairs import (
    METHODS,
    Repair,
    RepairBasis,
    RepairOptions,
    preview_target,
    repair,
    repair_basis,
    repair_many,
    repair_steps,
)
from lens_core.repairs.basis import Directions, folded_rows
from lens_core.repairs.effects import locality
from lens_core.repairs.locate import chosen_columns, neuron_scores, skipped_losses
from lens_core.repairs.observed import observe
from lens_core.repairs.run import _search
from lens_core.repairs.star import HALVINGS, _stepped
from lens_core.repairs.texts import PROBES
from lens_core.repairs.wanted import Pair, rows_of
from lens_core.weights import editable_weight


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> LoadedModel:
    return build(request.param)


@pytest.fixture(scope="module")
def llama() -> LoadedModel:
    return build("llama")


@pytest.fixture(scope="module")
def basis(llama: LoadedModel) -> RepairBasis:
    return basis_of(llama)


def two_pairs() -> list[tuple[Tensor, Tensor]]:
    return [(PROMPT, TARGET), (torch.tensor([9, 8, 7]), torch.tensor([50]))]


def rows_of_two() -> Any:
    return rows_of([Pair(prompt, target) for prompt, target in two_pairs()])


@pytest.mark.parametrize("method", METHODS)
def test_the_target_comes_out_and_the_model_is_left_alone(family: LoadedModel, method: str) -> None:
    before = weights(family)
    # A few neurons need not be enough for several tokens of a random model.
    target = TARGET[:1] if method == "mint" else TARGET
    result = repair(family, PROMPT, target, method=method, basis=basis_of(family))
    assert_untouched(family, before)
    assert result.status == "repaired"
    assert result.edit is not None
    with applied(family, result.edit):
        said = greedy(family, PROMPT, len(target))
    assert said == target.tolist()
    assert result.pairs[0].after.greedy == tuple(said)
    assert_untouched(family, before)


@pytest.mark.parametrize("method", METHODS)
def test_a_repair_holds_after_the_cast_to_bfloat16(method: str) -> None:
    loaded = build("qwen2", torch.bfloat16)
    result = repair(loaded, PROMPT, TARGET[:1], method=method, basis=basis_of(loaded))
    assert result.status == "repaired"
    assert result.edit is not None
    assert result.edit.dtype == torch.bfloat16
    with applied(loaded, result.edit):
        assert greedy(loaded, PROMPT, 1) == TARGET[:1].tolist()


def test_column_gradients_from_hooks_are_autograds(family: LoadedModel) -> None:
    rows = rows_of_two()
    layers = range(family.n_layers)
    with family.lock:
        seen = observe(family, rows, below=1e9, layers=layers)
    model: Any = family.model
    loss = torch.zeros(())
    for pair in rows.pairs:
        logits = model(pair.ids[None], use_cache=False).logits[0, len(pair.prompt_ids) - 1 :]
        own = logits.gather(1, pair.target_ids[:, None])
        loss = (
            loss
            + (logits.scatter(1, pair.target_ids[:, None], -torch.inf).amax(1) - own[:, 0]).sum()
        )
    parameters: Any = [part.mlp_proj.weight for part in family.anatomy.layers]  # type: ignore[union-attr]
    exact: Any = torch.autograd.grad(loss, parameters)
    for layer in layers:
        module: Any = family.anatomy.layers[layer].mlp_proj
        wanted = (
            exact[layer] if len(editable_weight(module)) == len(exact[layer]) else exact[layer].T
        )
        found = seen.gradient(layer, slice(None))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        some = torch.tensor([4, 40])
        torch.testing.assert_close(seen.gradient(layer, some), found[some])


def test_margins_are_those_of_single_passes(family: LoadedModel) -> None:
    rows = rows_of_two()
    with family.lock:
        standing = observe(family, rows).standing
    model: Any = family.model
    for row in range(len(rows)):
        pair = rows.prefix(row).pairs[0]
        with torch.no_grad():
            logits = model(pair.ids[None]).logits[0, -1].float()
        others = logits.clone()
        others[rows.target[row]] = -torch.inf
        margin = logits[rows.target[row]] - others.max()
        torch.testing.assert_close(standing.margin[row], margin, rtol=1e-3, atol=1e-3)
        assert int(standing.rival[row]) == int(others.argmax())
        log_p = logits.log_softmax(-1)[rows.target[row]]
        torch.testing.assert_close(standing.log_prob[row], log_p, rtol=1e-3, atol=1e-3)
        assert int(standing.rank[row]) == int((logits > logits[rows.target[row]]).sum())


@pytest.mark.parametrize("mu", [0.0, 1.0, float("inf")])
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_one_step_in_the_last_layer_closes_the_gap_exactly(name: str, mu: float) -> None:
    """With the scale of an RMS norm taken out, logits are linear in what the last layer adds."""
    loaded = build(name)
    rows = rows_of([Pair(PROMPT, TARGET[:1])])
    last = loaded.n_layers - 1
    with loaded.lock:
        seen = observe(loaded, rows, below=1e9, layers=[last])
    directions = Directions(loaded, basis_of(loaded), mu)
    rival = seen.standing.rival
    contrast = directions.contrast(rows.target, rival)
    direction = directions.toward(contrast)[0]
    assert float(contrast[0] @ direction) == pytest.approx(1, rel=1e-4)
    neurons = seen.neurons(last)[0]
    state = _last_state(loaded, PROMPT)
    scale = 1 / float(loaded.readout.inverse_scale(state)[0, 0].detach())
    step = -float(seen.standing.margin[0]) * scale / float(neurons.square().sum())
    module: Any = loaded.anatomy.layers[last].mlp_proj
    every = torch.arange(len(neurons))
    moved = editable_weight(module).clone() + step * neurons[:, None] * direction
    with columns_held(loaded, {last: (every, moved)}):
        model: Any = loaded.model
        with torch.no_grad():
            logits = model(PROMPT[None]).logits[0, -1]
    assert abs(float(logits[TARGET[0]] - logits[rival[0]])) <= 1e-3


def _last_state(loaded: LoadedModel, ids: Tensor) -> Tensor:
    from lens_core.trace import capture

    return capture(loaded, ids).resid_post[-1][-1:]


def test_directions_solve_the_ridge_system(llama: LoadedModel, basis: RepairBasis) -> None:
    rows = folded_rows(llama.readout, torch.arange(D_VOCAB))
    assert basis.gram is not None
    torch.testing.assert_close(basis.gram, rows.T @ rows, rtol=1e-4, atol=1e-4)
    first, second = torch.tensor([4]), torch.tensor([9])
    directions = Directions(llama, basis, 1.0)
    found = directions.toward(directions.contrast(first, second))[0]
    gram = basis.gram + basis.gram.diagonal().mean() * torch.eye(len(basis.gram))
    wanted = torch.linalg.solve(gram, rows[4] - rows[9])
    torch.testing.assert_close(found, wanted / ((rows[4] - rows[9]) @ wanted), rtol=1e-3, atol=1e-5)


def test_protected_contrasts_hardly_move(llama: LoadedModel, basis: RepairBasis) -> None:
    directions = Directions(llama, basis, 1.0)
    contrasts = directions.contrast(torch.tensor([4, 5, 6]), torch.tensor([9, 10, 11]))
    moved = contrasts @ directions.protecting(contrasts)
    assert float(moved[0]) == pytest.approx(1, rel=1e-4)
    assert float(moved[1:].abs().max()) < 0.01


def test_columns_are_the_highest_scores_of_the_highest_layers(basis: RepairBasis) -> None:
    scores = {layer: torch.arange(96.0) * (layer + 1) for layer in range(3)}
    chosen = chosen_columns(scores, basis, RepairOptions(neurons=4, layers=0.5))
    assert sorted(chosen) == [1, 2]
    for layer, columns in chosen.items():
        calm = scores[layer] / basis.calm(layer)
        assert set(columns.tolist()) == set(calm.topk(4).indices.tolist())
        assert bool((columns.diff() > 0).all())


def test_what_the_model_says_already_changes_nothing(
    llama: LoadedModel, basis: RepairBasis
) -> None:
    said = torch.tensor(greedy(llama, PROMPT, 3))
    result = repair(llama, PROMPT, said, basis=basis)
    assert (result.status, result.edit, result.cost.backwards) == ("already_correct", None, 0)
    assert {token.action for token in result.tokens} == {"already_correct"}


@pytest.mark.parametrize("method", METHODS)
def test_several_pairs_are_repaired_together(
    llama: LoadedModel, basis: RepairBasis, method: str
) -> None:
    result = repair_many(llama, two_pairs(), method=method, basis=basis)
    assert [token.pair for token in result.tokens] == [0, 0, 0, 1]
    assert [token.index for token in result.tokens] == [0, 1, 2, 0]
    if method != "mint":
        assert result.status == "repaired"
        assert all(pair.after.greedy_exact for pair in result.pairs)


def test_the_same_repair_twice_is_the_same_edit(llama: LoadedModel, basis: RepairBasis) -> None:
    first, second = (repair(llama, PROMPT, TARGET, basis=basis).edit for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.id == second.id


@pytest.mark.parametrize("method", METHODS)
def test_a_repair_dropped_at_any_step_leaves_no_trace(
    llama: LoadedModel, basis: RepairBasis, method: str
) -> None:
    before = weights(llama)
    steps: Iterator[Any] = repair_steps(llama, PROMPT, TARGET, method=method, basis=basis)
    for _ in range(3):
        next(steps)
        assert_untouched(llama, before)
        assert llama.lock.acquire(blocking=False)
        llama.lock.release()
    steps.close()  # type: ignore[attr-defined]
    assert_untouched(llama, before)


def test_a_stopped_repair_leaves_no_trace(llama: LoadedModel, basis: RepairBasis) -> None:
    before = weights(llama)

    def stop(what: str, done: int, total: int) -> None:
        if what == "epoch" and done == 2:
            raise Stopped

    with reported(stop), pytest.raises(Stopped):
        repair(llama, PROMPT, TARGET, basis=basis)
    assert_untouched(llama, before)


def test_a_failing_pass_leaves_no_trace(
    llama: LoadedModel, basis: RepairBasis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(llama)
    steps = repair_steps(llama, PROMPT, TARGET, basis=basis)
    next(steps)
    next(steps)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("lens_core.repairs.observed._standing", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        next(steps)
    assert_untouched(llama, before)


def test_a_repair_on_top_of_another_names_it(llama: LoadedModel, basis: RepairBasis) -> None:
    first = repair(llama, PROMPT, TARGET, basis=basis).edit
    assert first is not None
    before = weights(llama)
    with applied(llama, first):
        second = repair(llama, torch.tensor([9, 8, 7]), torch.tensor([50]), basis=basis)
    assert_untouched(llama, before)
    assert second.edit is not None
    assert second.edit.base == ((first.id, 1.0),)
    with applied(llama, first, second.edit):
        assert greedy(llama, torch.tensor([9, 8, 7]), 1) == [50]


def test_edits_may_not_change_during_a_repair(llama: LoadedModel, basis: RepairBasis) -> None:
    edit = repair(llama, PROMPT, TARGET, basis=basis).edit
    assert edit is not None
    steps = repair_steps(llama, torch.tensor([9, 8, 7]), torch.tensor([50]), basis=basis)
    next(steps)
    with applied(llama, edit), pytest.raises(InputError, match="edits have changed"):
        next(steps)


def test_the_result_survives_json(llama: LoadedModel, basis: RepairBasis) -> None:
    result = repair(llama, PROMPT, TARGET, basis=basis)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    again = Repair.from_json(record)
    # The texts of a safetensors file come in any order.
    once, twice = result.to_json(), again.to_json()
    assert once.pop("weight_edit")["id"] == twice.pop("weight_edit")["id"]
    assert json.dumps(once) == json.dumps(twice)
    assert record["schema"] == "lens_core/repair/1"
    assert again.edit is not None
    assert result.edit is not None
    assert again.edit.id == result.edit.id
    assert again.edit.notes["method"] == "me-batch"
    assert again.edit.notes["pairs"][0]["target_ids"] == TARGET.tolist()


def test_edited_neurons_are_those_of_the_edit(llama: LoadedModel, basis: RepairBasis) -> None:
    result = repair(llama, PROMPT, TARGET, method="mint", basis=basis)
    assert result.edit is not None
    changed = {
        (part.layer, neuron): float(length)
        for part in result.edit.layers
        for neuron, length in zip(
            part.columns.tolist(), (part.new - part.old).norm(dim=1), strict=True
        )
    }
    assert {(n.layer, n.neuron): n.change for n in result.neurons} == pytest.approx(changed)
    assert sum(neuron.edits for neuron in result.neurons) >= len(changed)
    assert all(len(neuron.promotes) == 5 for neuron in result.neurons)


def test_a_fixed_learning_rate_is_taken(llama: LoadedModel, basis: RepairBasis) -> None:
    steps = [
        step
        for step in repair_steps(llama, PROMPT, TARGET, method="me-sgd", lr=1e-2, basis=basis)
        if not isinstance(step, Repair) and step.epoch
    ]
    assert steps
    assert {step.rate for step in steps} == {1e-2}


def test_experts_are_refused() -> None:
    with pytest.raises(EditError, match="experts"):
        repair(build("mixtral"), PROMPT, TARGET, method="me-sgd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rome"}, 'method is "rome"'),
        ({"margin": -1.0}, "margin is -1.0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": True}, "epochs is True"),
        ({"mu": -1.0}, "mu is -1.0"),
        ({"neurons": -1}, "neurons is -1"),
        ({"locate": "guess"}, 'locate is "guess"'),
        ({"compat": "old"}, 'compat is "old"'),
        ({"compat": "reference", "method": "mint"}, "mint has no such mode"),
        ({"watch": 99}, "watch is 99"),
        ({"learning_rate": 1.0}, 'no option "learning_rate"'),
    ],
)
def test_options_outside_their_range_are_refused(
    llama: LoadedModel, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        repair(llama, PROMPT, TARGET, **options)


def test_what_cannot_be_read_is_refused(llama: LoadedModel, basis: RepairBasis) -> None:
    long = torch.zeros(70, dtype=torch.long)
    with pytest.raises(PromptError, match="limit is 64"):
        repair(llama, long, TARGET, basis=basis)
    with pytest.raises(PromptError, match="0 tokens"):
        repair(llama, PROMPT, torch.tensor([], dtype=torch.long), basis=basis)
    with pytest.raises(LensError, match="without a tokenizer"):
        repair(llama, "text", TARGET, basis=basis)
    with pytest.raises(InputError, match="at least one pair"):
        repair_many(llama, [], basis=basis)


def test_few_epochs_leave_a_third_to_the_joint_phase() -> None:
    assert RepairOptions().phases() == (10, 20)
    assert RepairOptions(epochs=9).phases() == (6, 3)
    assert RepairOptions(epochs=20).phases() == (10, 10)


def test_scale_of_the_stream_does_not_matter() -> None:
    """Twenty times the embeddings and all that writes into the stream is the same function."""
    plain, large = build("llama"), build("llama")
    model: Any = large.model
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(20)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(20)
            layer.mlp.down_proj.weight.mul_(20)
    results = [repair(one, PROMPT, TARGET, basis=basis_of(one)) for one in (plain, large)]
    assert [result.status for result in results] == ["repaired", "repaired"]
    assert abs(results[0].cost.epochs - results[1].cost.epochs) <= 1


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    from lens_core import load_model

    return load_model("demo")


@pytest.mark.parametrize(
    ("prompt", "target", "space"),
    [
        ("The capital of Kazakhstan is", "Astana", True),
        ("The capital of Kazakhstan is", " Astana", False),
        ("哈萨克斯坦的首都是", "阿斯塔纳", False),
        ("The answer: ", "x", False),
        ("The weather is", "🙂", False),
    ],
)
def test_a_missing_space_is_seen(demo: LoadedModel, prompt: str, target: str, space: bool) -> None:
    preview = preview_target(demo, prompt, target)
    assert preview.add_space == space
    assert "".join(record["text"] for record in preview.target_tokens) == target
    json.dumps(preview.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("prompt", "target"),
    [("The capital of Kazakhstan is", " Astana"), ("哈萨克斯坦的首都是", "阿斯塔纳")],
)
def test_the_demo_model_is_repaired_with_whole_characters(
    demo: LoadedModel, prompt: str, target: str
) -> None:
    result = repair(demo, prompt, target, basis=repair_basis(demo))
    assert result.status == "repaired"
    assert result.edit is not None
    assert demo.tokenizer is not None
    assert demo.tokenizer.decode(list(result.pairs[0].after.greedy)) == target
    assert set(result.vocab) >= {str(token) for token in result.pairs[0].target_ids}
    assert result.cost.columns <= 64 * demo.n_layers


def test_views_are_repaired_together(demo: LoadedModel) -> None:
    basis = repair_basis(demo)
    search = _search(
        demo, [("The capital of Kazakhstan is", " Astana")], basis, RepairOptions(views=2)
    )
    assert [pair.view_of for pair in search.rows.pairs] == [None, 0, 0]
    result = repair(demo, "The capital of Kazakhstan is", " Astana", basis=basis, views=2)
    assert [pair.after.greedy_exact for pair in result.pairs] == [True] * 3


@pytest.mark.parametrize("method", METHODS)
def test_what_else_changes_is_watched_at_every_step(demo: LoadedModel, method: str) -> None:
    wanted = ("The capital of Kazakhstan is", " Astana")
    arguments: dict[str, Any] = {"method": method, "basis": repair_basis(demo)}
    results: list[Repair] = [repair(demo, *wanted, watch=watch, **arguments) for watch in (4, 0)]
    watched, unwatched = ([step.kl for step in result.steps] for result in results)
    assert watched[0] == 0
    assert all(kl is not None and kl > 0 for kl in watched[1:])
    assert set(unwatched) == {None}
    first, second = (result.edit for result in results)
    assert first is not None
    assert second is not None
    assert first.id == second.id
    assert [step.kl for step in Repair.from_json(results[0].to_json()).steps] == watched


def test_the_watched_texts_are_padded_without_effect(demo: LoadedModel) -> None:
    result = repair(demo, "The capital of Kazakhstan is", " Astana", watch=4)
    edit = result.edit
    assert edit is not None
    texts = [demo.tokenize(PROBES[index]) for index in (0, 7, 14, 21)]
    found = locality(demo, [(None, ids) for ids in texts], lambda: applied(demo, edit))
    assert result.steps[-1].kl == pytest.approx(found.kl, rel=1e-2)


def test_the_same_tokens_are_repaired_by_occlusion(llama: LoadedModel, basis: RepairBasis) -> None:
    """Each layer's loss is that of a model whose projection there is zero."""
    search = _search(llama, [(PROMPT, TARGET)], basis, RepairOptions())
    search.observe()
    before = weights(llama)
    losses = skipped_losses(search, search.pushed(None), None)
    assert_untouched(llama, before)
    ids = torch.cat([PROMPT, TARGET])
    for layer, loss in losses.items():
        every = torch.arange(96)
        with columns_held(llama, {layer: (every, torch.zeros(96, 48))}), torch.no_grad():
            model: Any = llama.model
            logits = model(ids[None], use_cache=False).logits[0, len(PROMPT) - 1 : -1]
        expected = torch.nn.functional.cross_entropy(logits, TARGET)
        assert loss == pytest.approx(float(expected), rel=1e-4)
    result = repair(llama, PROMPT, TARGET, basis=basis, locate="occlusion", layers=0.5)
    assert result.status == "repaired"
    assert result.edit is not None
    chosen = {part.layer for part in result.edit.layers}
    assert chosen == set(sorted(losses, key=losses.__getitem__)[-2:])


@pytest.mark.parametrize("method", ["me-batch", "me-iter", "me-sgd"])
def test_the_settings_of_the_published_code(
    llama: LoadedModel, basis: RepairBasis, method: str
) -> None:
    before = weights(llama)
    found = repair(llama, PROMPT, TARGET, basis=basis, method=method, compat="reference")
    assert_untouched(llama, before)
    steps = found.steps[1:]
    units = 1 if method == "me-batch" else sum(token.before.margin <= 0 for token in found.tokens)
    assert [step.rate for step in steps] == [0.01] * 10 * units
    assert steps[-1].columns == 96 * llama.n_layers
    assert steps[-1].margins == pytest.approx(
        [token.after.margin for token in found.tokens], abs=1e-4
    )
    assert steps[-1].margins.mean() > found.steps[0].margins.mean()


def test_tokens_that_share_their_neurons_are_repaired(demo: LoadedModel) -> None:
    """The bytes of two like emoji want much the same neurons to write different things."""
    result = repair(demo, "I am happy", " 😀😀", basis=repair_basis(demo))
    assert result.status == "repaired"


@pytest.mark.parametrize("towards", [True, False])
def test_a_joint_step_is_halved_where_it_leads_away(
    llama: LoadedModel, basis: RepairBasis, towards: bool
) -> None:
    search = _search(llama, [(PROMPT, TARGET)], basis, RepairOptions())
    before = search.pushed(None, None, "close")
    columns = chosen_columns(neuron_scores(search, before), basis, search.options)
    search.take(columns)
    change = {layer: -before.gradient(layer, chosen) for layer, chosen in columns.items()}
    rate = search.rate(before, sum(float(one.square().sum()) for one in change.values()))
    assert rate is not None
    if not towards:
        change = {layer: -one for layer, one in change.items()}
    after, taken = _stepped(search, before, columns, change, rate, row=None, halve=True)
    assert taken == rate / (1 if towards else 2**HALVINGS)
    assert (search.missing(after) < search.missing(before)) == towards
    for layer, chosen in columns.items():
        moved = search.trial[layer].value[search.places(layer, chosen)]
        wanted = search.trial[layer].original + taken * change[layer]
        torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-5)
