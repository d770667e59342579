"""The logit lens: its last row is the model, its statistics are those of a plain softmax."""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from families import D_VOCAB, EVERY, IDS, N_LAYERS, build, loaded

from lens_core import (
    InputError,
    LogitLens,
    NotExactError,
    PromptError,
    capture,
    load_model,
    logit_lens,
    wrap_model,
)
from lens_core.lens import rows, run
from lens_core.lens.cells import Cells
from lens_core.models import LoadedModel, check_ids

ALL = ["embed", "resid_mid", "resid_post", "attn_out", "mlp_out"]
SOME = ["llama", "gpt_neox_par", "gemma2", "opt_postln", "granite", "mixtral", "gpt2", "phi"]


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return loaded(request.param)


@pytest.fixture(params=SOME)
def some_model(request: pytest.FixtureRequest) -> LoadedModel:
    return loaded(request.param)


def plain_log_probs(model: LoadedModel, states: torch.Tensor) -> torch.Tensor:
    """[layer, position, d_vocab], everything at once: the textbook lens."""
    with torch.no_grad():
        logits = model.readout.logits(states.flatten(0, 1))
    return logits.log_softmax(-1).view(*states.shape[:2], -1)


def test_the_last_layer_is_the_model(model: LoadedModel) -> None:
    trace, lens = capture(model, IDS), logit_lens(model, IDS)
    assert trace.logits is not None
    with torch.no_grad():
        assert torch.equal(model.readout.logits(trace.stream[-1]), trace.logits)
    probs = trace.logits.softmax(-1)
    best = probs.max(-1)
    assert np.array_equal(lens.final_ids, best.indices.numpy())
    assert np.array_equal(lens.top_ids[-1, :, 0], lens.final_ids)
    np.testing.assert_allclose(lens.final_p, best.values.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(lens.max_p[-1], best.values.numpy(), rtol=0, atol=1e-6)
    assert lens.kl_final[-1].max() <= 1e-6
    assert not lens.target_rank[-1].any()


def test_statistics_are_those_of_the_full_softmax(model: LoadedModel) -> None:
    trace, lens = capture(model, IDS), logit_lens(model, IDS, k=7)
    log_probs = plain_log_probs(model, trace.resid_post)
    probs = log_probs.exp()
    top = probs.topk(7, -1)
    np.testing.assert_allclose(lens.top_p, top.values.numpy(), rtol=0, atol=1e-6)
    chosen = probs.gather(-1, torch.from_numpy(lens.top_ids))
    np.testing.assert_allclose(lens.top_p, chosen.numpy(), rtol=0, atol=1e-6)
    entropy = -(probs * log_probs).sum(-1)
    np.testing.assert_allclose(lens.entropy, entropy.numpy(), rtol=0, atol=1e-5)
    divergence = (probs[-1] * (log_probs[-1] - log_probs)).sum(-1)
    np.testing.assert_allclose(lens.kl_final, divergence.numpy(), rtol=0, atol=1e-5)
    final = torch.from_numpy(lens.final_ids)
    ranks = (log_probs > log_probs[:, range(7), final][..., None]).sum(-1)
    assert np.array_equal(lens.target_rank, ranks.numpy())


def test_divergences_are_those_of_the_full_softmax(some_model: LoadedModel) -> None:
    lens = logit_lens(some_model, IDS, divergences=True)
    log_probs = plain_log_probs(some_model, capture(some_model, IDS).stream)
    before, after, final = log_probs[:-1], log_probs[1:], log_probs[-1]
    middle = torch.logaddexp(before, after) - np.log(2)
    halves = [(side.exp() * (side - middle)).sum(-1) / 2 for side in (before, after)]
    for found, wanted in (
        (lens.js_previous, halves[0] + halves[1]),
        (lens.tv_previous, (after.exp() - before.exp()).abs().sum(-1) / 2),
        (lens.kl_reverse, (after.exp() * (after - final)).sum(-1)),
    ):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)


def test_long_prompts_do_without_the_models_own_logits(
    some_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = logit_lens(some_model, IDS)
    monkeypatch.setattr(run, "MAX_LOGITS_BYTES", 0)
    read = logit_lens(some_model, IDS)
    assert np.array_equal(whole.final_ids, read.final_ids)
    np.testing.assert_allclose(whole.final_p, read.final_p, rtol=0, atol=1e-6)
    assert np.array_equal(whole.top_ids, read.top_ids)


def test_bounds(model: LoadedModel) -> None:
    lens = logit_lens(model, IDS, k=50)
    assert lens.entropy.min() >= 0
    assert lens.entropy.max() <= np.log(D_VOCAB) + 1e-5
    assert lens.kl_final.min() >= 0
    assert (np.diff(lens.top_p, axis=-1) <= 0).all()
    assert lens.top_p.sum(-1).max() <= 1 + 1e-5
    is_top = lens.target_rank == 0
    assert np.array_equal(is_top, lens.top_ids[..., 0] == lens.final_ids)


def test_the_lens_of_a_prefix_is_that_of_the_whole(model: LoadedModel) -> None:
    whole, prefix = logit_lens(model, IDS), logit_lens(model, IDS[:4])
    np.testing.assert_allclose(whole.max_p[:, :4], prefix.max_p, rtol=0, atol=1e-4)
    np.testing.assert_allclose(whole.entropy[:, :4], prefix.entropy, rtol=0, atol=1e-4)


def test_attribution_sums_to_the_logit(model: LoadedModel) -> None:
    lens = logit_lens(model, IDS)
    found = lens.attribution
    assert found is not None
    assert found.target == lens.final_ids[-1]
    assert abs(found.total - found.logit) <= 1e-5 * max(1, abs(found.logit))
    parts = found.embed + found.attn.sum() + found.mlp.sum() + found.constant
    assert abs(parts - found.total) <= 1e-5 * max(1, abs(found.total))


def test_components_sum_to_the_logits_of_the_targets(some_model: LoadedModel) -> None:
    """Scale "final": what all parts add to a token's logit, at every position at once."""
    lens = logit_lens(some_model, IDS, components=["attn_out", "mlp_out"], targets=[17])
    added = lens.cells["attn_out"].target_logit.sum(0) + lens.cells["mlp_out"].target_logit.sum(0)
    for position in range(len(IDS)):
        single = logit_lens(some_model, IDS, targets=[17], track_position=position).attribution
        assert single is not None
        expected = single.attn.sum() + single.mlp.sum()
        np.testing.assert_allclose(added[position], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["final", "local", "own"])
def test_round_trip(some_model: LoadedModel, scale: str) -> None:
    lens = logit_lens(some_model, IDS, components=ALL, scale=scale, generate=2, divergences=True)
    text = json.dumps(lens.to_json(), allow_nan=False)
    again = LogitLens.from_json(json.loads(text))
    assert json.dumps(again.to_json(), allow_nan=False) == text
    with pytest.raises(InputError, match="schema"):
        LogitLens.from_json({**lens.to_json(), "schema": "lens_core/contribution_graph/1"})


def test_the_local_scale_says_what_a_step_changed(some_model: LoadedModel) -> None:
    names = ["resid_mid", "resid_post", "mlp_out"]
    lens = logit_lens(some_model, IDS, components=names, scale="local")
    cells = lens.cells["mlp_out"]
    assert cells.delta_kl is not None
    assert cells.top_delta_p is not None
    if "resid_mid" in lens.cells:
        before, after = lens.cells["resid_mid"].kl_final, lens.cells["resid_post"].kl_final
        assert before is not None
        assert after is not None
        np.testing.assert_allclose(cells.delta_kl, before - after, rtol=0, atol=1e-5)
    trace = capture(some_model, IDS)
    after = plain_log_probs(some_model, trace.resid_post).exp()
    first = trace.resid_mid if all(trace.has_mid) else trace.resid_pre
    before = plain_log_probs(some_model, first).exp()
    wanted = (after - before).gather(-1, torch.from_numpy(cells.top_ids))
    np.testing.assert_allclose(cells.top_delta_p, wanted.numpy(), rtol=0, atol=1e-5)


def test_small_blocks_change_nothing(
    some_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = logit_lens(some_model, IDS, targets=[3, 96])
    monkeypatch.setattr(rows, "_block_width", lambda readout, n: 13)
    monkeypatch.setattr(rows, "_rows_at_once", lambda readout: 9)
    blocked = logit_lens(some_model, IDS, targets=[3, 96])
    for name in Cells.__dataclass_fields__:
        one, other = getattr(whole, name), getattr(blocked, name)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_large_vocabularies_find_the_same_tokens() -> None:
    """The way over group maxima, which short vocabularies never take."""
    logits = torch.randn(5, 64 * 40 + 11, generator=torch.Generator().manual_seed(0))
    logits[2, -1] = 9.0
    for k in (1, 5, 10):
        values, ids = rows.top_of(logits, k)
        expected = logits.topk(k, 1)
        assert torch.equal(values, expected.values)
        assert torch.equal(ids, expected.indices)


def test_without_the_norm_the_final_prediction_stays_the_models(some_model: LoadedModel) -> None:
    raw, normal = (
        logit_lens(some_model, IDS, norm=norm, divergences=True) for norm in ("none", "final")
    )
    assert np.array_equal(raw.final_ids, normal.final_ids)
    trace, readout = capture(some_model, IDS), some_model.readout
    final = plain_log_probs(some_model, trace.stream[-1:])[0]
    with torch.no_grad():
        logits = readout.logits(trace.resid_post.flatten(0, 1), norm=False)
    log_probs = logits.log_softmax(-1).view(N_LAYERS, len(IDS), -1)
    for found, wanted in (
        (raw.kl_final, (final.exp() * (final - log_probs)).sum(-1)),
        (raw.kl_reverse, (log_probs.exp() * (log_probs - final)).sum(-1)),
    ):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="no scale to freeze"):
        logit_lens(some_model, IDS, norm="none", components=["mlp_out"])


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_results_can_be_copied(how: Callable[[LogitLens], LogitLens]) -> None:
    lens = logit_lens(loaded("llama"), IDS, generate=1)
    assert how(lens).to_json() == lens.to_json()


def test_a_tie_for_the_first_place_settles_all_the_same() -> None:
    network: Any = build("llama")
    with torch.no_grad():
        best = logit_lens(loaded("llama"), IDS).final_ids[-1]
        network.lm_head.weight[best - 4 : best + 4] = network.lm_head.weight[best].clone()
    lens = logit_lens(wrap_model(network), IDS, k=8)
    assert set(lens.top_ids[-1, -1]) == set(range(best - 4, best + 4))
    assert not lens.target_rank[-1].any()
    assert (lens.settled < N_LAYERS).all()


def test_the_token_after_the_last_is_missing(some_model: LoadedModel) -> None:
    following = logit_lens(some_model, IDS).targets[-1]
    assert following.source == "next"
    assert following.ids.tolist() == [*IDS[1:].tolist(), -1]
    cells = following.cells["resid_post"]
    assert np.isnan(cells.p[:, -1]).all()
    assert (cells.rank[:, -1] == -1).all()
    assert np.isfinite(cells.p[:, :-1]).all()


def test_layers_and_positions_are_chosen(some_model: LoadedModel) -> None:
    whole = logit_lens(some_model, IDS)
    part = logit_lens(some_model, IDS, layers=[0, -1], positions=[-1, 2])
    assert part.layers == (0, N_LAYERS - 1)
    assert part.positions == (2, len(IDS) - 1)
    np.testing.assert_allclose(part.max_p, whole.max_p[[0, -1]][:, [2, -1]], rtol=1e-5, atol=1e-6)
    first = logit_lens(some_model, IDS, layers=[0])
    np.testing.assert_allclose(first.kl_final[0], whole.kl_final[0], rtol=1e-4, atol=1e-6)


def test_tracked_tokens_have_the_course_of_the_cells(some_model: LoadedModel) -> None:
    lens = logit_lens(some_model, IDS, k=3)
    (tracked,) = lens.tracked
    assert set(lens.top_ids[:, -1].ravel()) <= set(tracked.ids)
    for layer in range(N_LAYERS):
        for place, token in enumerate(lens.top_ids[layer, -1]):
            index = list(tracked.ids).index(token)
            assert tracked.rank[index, layer + 1] == place
            assert abs(tracked.p[index, layer + 1] - lens.top_p[layer, -1, place]) <= 1e-6
    assert (np.diff(tracked.p.max(1)) <= 0).all()


def test_targets_are_followed_first_and_exactly(some_model: LoadedModel) -> None:
    lens = logit_lens(some_model, IDS, k=2, targets=[17, 3, 17])
    (tracked,) = lens.tracked
    assert tracked.ids[:2].tolist() == [17, 3]
    assert len(set(tracked.ids.tolist())) == len(tracked.ids)
    assert set(lens.top_ids[:, -1].ravel()) <= set(tracked.ids)
    assert (np.diff(tracked.p[2:].max(1)) <= 0).all()
    log_probs = plain_log_probs(some_model, capture(some_model, IDS).stream)[:, -1]
    for row, token in enumerate((17, 3)):
        chosen = log_probs[:, token]
        np.testing.assert_allclose(tracked.p[row], chosen.exp().numpy(), rtol=1e-5, atol=1e-9)
        assert tracked.rank[row].tolist() == (log_probs > chosen[:, None]).sum(1).tolist()
    np.testing.assert_allclose(tracked.group([3, 17]), tracked.p[:2].sum(0), rtol=1e-6)
    assert np.array_equal(tracked.group([17]), tracked.p[0])
    missing = next(token for token in range(D_VOCAB) if token not in tracked.ids)
    with pytest.raises(InputError, match=f"Token {missing} is not followed at position 6"):
        tracked.group([17, missing])


def test_a_target_of_several_tokens_names_them() -> None:
    demo = load_model("demo")
    with pytest.raises(InputError, match=r'" Paris is" is 2 tokens here: ".*" \(\d+\)') as wrong:
        logit_lens(demo, IDS, targets=[" Paris is"])
    ids = demo.tokenize(" Paris is", special="none").tolist()
    assert wrong.value.remedy == {"action": "choose_token", "ids": ids}
    assert all(f"({token})" in str(wrong.value) for token in ids)
    assert logit_lens(demo, IDS, targets=[" Paris"]).tracked[0].ids[0] == ids[0]
    with pytest.raises(InputError, match="tokens here"):
        logit_lens(demo, IDS, targets=["·Paris"])
    with pytest.raises(InputError, match=r", \.\.\.\. Give one"):
        logit_lens(demo, IDS, targets=["a b c d e f g h i j k"])


def cell_rows(lens: LogitLens) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(lens.to_csv(), newline="")))


@pytest.mark.parametrize("scale", ["final", "local", "own"])
def test_the_table_holds_every_cell_exactly(some_model: LoadedModel, scale: str) -> None:
    lens = logit_lens(some_model, IDS, k=3, components=ALL, scale=scale, layers=[0, -1])
    rows = cell_rows(lens)
    for name, cells in lens.cells.items():
        found = [row for row in rows if row["component"] == name]
        shape = cells.top_ids.shape
        ids = np.array([int(row["id"]) for row in found]).reshape(shape)
        assert np.array_equal(ids, cells.top_ids)
        for column, values in (("p", cells.top_p), ("logit", cells.top_logit)):
            read = [row[column] for row in found]
            if values is None:
                assert set(read) == {""}
            else:
                again = np.array(read, dtype=np.float64).reshape(shape)
                assert np.array_equal(again, values.astype(np.float64))
        for column, values in (("entropy", cells.entropy), ("kl_final", cells.kl_final)):
            read = [row[column] for row in found]
            if values is None:
                assert set(read) == {""}
            else:
                again = np.array(read, dtype=np.float64).reshape(shape)
                assert (again == values.astype(np.float64)[..., None]).all()
        layers = [[[str(layer)] * shape[2]] * shape[1] for layer in cells.layers]
        wanted = [""] * len(found) if name == "embed" else np.array(layers).ravel().tolist()
        assert [row["layer"] for row in found] == wanted
        assert [int(row["rank"]) for row in found] == [*range(shape[2])] * (len(found) // shape[2])
        places = [[[position] * shape[2] for position in lens.positions]] * shape[0]
        assert [int(row["position"]) for row in found] == np.array(places).ravel().tolist()
    assert len(rows) == sum(cells.top_ids.size for cells in lens.cells.values())


def test_texts_of_the_table_show_every_character() -> None:
    demo = load_model("demo")
    text = '=1+1\n"a",我 +b\r\t@x'
    lens = logit_lens(demo, demo.tokenize(text, special="none"), k=50)
    rows = cell_rows(lens)
    tokens = {int(row["position"]): json.loads(row["token"]) for row in rows}
    assert "".join(tokens[position] for position in sorted(tokens)) == text
    for row in rows:
        assert json.loads(row["text"]) == lens.vocab[row["id"]]["text"]
        assert row["text"][0] == row["token"][0] == '"'


def test_steps_have_the_models_own_probability(some_model: LoadedModel) -> None:
    for norm in ("final", "none"):
        lens = logit_lens(some_model, IDS, generate=2, norm=norm)
        for step in lens.steps:
            assert abs(step.final_p - lens.final_p[step.position]) <= 1e-6
            assert step.p.shape == step.rank.shape == (N_LAYERS + 1,)
            assert step.important_layers.position == step.position
            if norm == "final":
                assert abs(step.p[-1] - step.final_p) <= 1e-6


def test_settled_layers(some_model: LoadedModel) -> None:
    lens = logit_lens(some_model, IDS)
    for position, layer in enumerate(lens.settled):
        tops = lens.top_ids[:, position, 0]
        assert (tops[layer:] == lens.final_ids[position]).all()
        assert layer == 0 or tops[layer - 1] != lens.final_ids[position]
    for position, layer in enumerate(lens.decided):
        assert (lens.kl_final[layer:, position] < 0.1).all()
        assert layer == 0 or lens.kl_final[layer - 1, position] >= 0.1


def test_important_layers_have_the_plain_scores(some_model: LoadedModel) -> None:
    trace = capture(some_model, IDS)
    log_probs = plain_log_probs(some_model, trace.stream)[:, -1]
    before, after, final = log_probs[:-1], log_probs[1:], log_probs[-1]
    middle = torch.logaddexp(before, after) - np.log(2)
    js = sum((side.exp() * (side - middle)).sum(-1) / 2 for side in (before, after))
    kl = (final.exp() * (final - log_probs)).sum(-1)
    changed = (before.argmax(-1) != after.argmax(-1)).float()
    parts = [plain_log_probs(some_model, site) for site in (trace.attn_out, trace.mlp_out)]
    best = torch.stack([after, *(part[:, -1] for part in parts)]).amax((0, 2)).exp()
    for criterion, wanted in (
        ("js", js),
        ("kl_drop", kl[:-1] - kl[1:]),
        ("top1_change", changed),
        ("prob", best),
    ):
        found = logit_lens(some_model, IDS, important=criterion, threshold=0.0).important_layers
        assert found is not None
        assert isinstance(wanted, torch.Tensor)
        expected = {layer: float(score) for layer, score in enumerate(wanted) if score > 0}
        assert {one["layer"]: one["score"] for one in found.layers} == pytest.approx(
            expected, abs=1e-5
        )


def test_a_target_enters_the_top_k_where_its_rank_says_so(some_model: LoadedModel) -> None:
    lens = logit_lens(some_model, IDS, k=2, important="target_enters_topk", components=["embed"])
    ranks = logit_lens(some_model, IDS).target_rank[:, -1]
    first = lens.cells["embed"].target_rank
    assert first is not None
    course = [first[0, -1], *ranks]
    expected = [i for i in range(N_LAYERS) if course[i] >= 2 > course[i + 1]]
    assert lens.important_layers is not None
    assert [found["layer"] for found in lens.important_layers.layers] == expected


def test_compat_cuts_probabilities_to_whole_per_cent() -> None:
    model = loaded("llama")
    exact, cut = (
        logit_lens(model, IDS, important="prob", threshold=0.0, compat=compat).important_layers
        for compat in (False, True)
    )
    assert exact is not None
    assert cut is not None
    for one, other in zip(exact.layers, cut.layers, strict=True):
        assert other["score"] == pytest.approx(int(one["score"] * 100) / 100, abs=1e-6)


def test_kl_drops_telescope(some_model: LoadedModel) -> None:
    lens = logit_lens(some_model, IDS, components=["embed"], important="kl_drop", threshold=0.0)
    found = lens.important_layers
    kl = lens.cells["embed"].kl_final
    assert found is not None
    assert kl is not None
    trace = capture(some_model, IDS)
    log_probs = plain_log_probs(some_model, trace.stream)[:, -1]
    course = (log_probs[-1].exp() * (log_probs[-1] - log_probs)).sum(-1)
    assert abs(float(course[0]) - float(kl[0, -1])) <= 1e-5
    drops = course[:-1] - course[1:]
    assert [f["layer"] for f in found.layers] == [i for i, d in enumerate(drops) if d > 0]


def test_generation_is_reproducible_and_greedy_by_default(some_model: LoadedModel) -> None:
    greedy = logit_lens(some_model, IDS, generate=3)
    ids = greedy.header["input"]["ids"]
    assert ids[: len(IDS)] == IDS.tolist()
    for step in greedy.steps:
        assert step.id == greedy.final_ids[step.position] == ids[step.position + 1]
        assert step.rank[-1] == 0
    sampled = [
        logit_lens(some_model, IDS, generate=4, temperature=1.5, seed=seed).header["input"]["ids"]
        for seed in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1]
    assert greedy.header["input"]["sampling"] == {
        "seed": 0,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
    }


def test_the_same_arguments_give_the_same_record(some_model: LoadedModel) -> None:
    def record() -> dict[str, Any]:
        found = logit_lens(some_model, IDS, generate=2, temperature=1.0, seed=7).to_json()
        return {key: value for key, value in found.items() if key not in ("created", "timing")}

    assert record() == record()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": 0}, "k is 0"),
        ({"components": ["nonsense"]}, "nonsense"),
        ({"components": "resid_post"}, "resid_post"),
        ({"scale": "loud"}, "loud"),
        ({"norm": "rms"}, "rms"),
        ({"layers": [9]}, "layers is 9"),
        ({"layers": []}, "layers is empty"),
        ({"positions": [99]}, "positions is 99"),
        ({"targets": [D_VOCAB]}, f"target id is {D_VOCAB}"),
        ({"targets": [0] * 51}, "targets has 51 tokens; it can have 50"),
        ({"generate": -1}, "generate is -1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"important": "luck"}, "luck"),
        ({"threshold": -1.0}, "threshold is -1"),
        ({"track_position": 70}, "track_position is 70"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        logit_lens(loaded("llama"), IDS, **arguments)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.tensor([], dtype=torch.long), "0 tokens"),
        (torch.tensor([1, D_VOCAB]), f"Token id {D_VOCAB}"),
        (torch.tensor([-1]), "Token id -1"),
        (torch.tensor([[1, 2]]), "one row"),
        (torch.tensor([0.5]), "whole numbers"),
        (torch.ones(65, dtype=torch.long), "65 tokens; the limit is 64"),
    ],
)
def test_bad_ids(ids: torch.Tensor, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        check_ids(loaded("llama"), ids)


def test_too_much_generation_is_refused_before_it_starts() -> None:
    with pytest.raises(PromptError, match="make 67"):
        logit_lens(loaded("llama"), IDS, generate=60)


def test_text_needs_a_tokenizer() -> None:
    with pytest.raises(PromptError, match="without a tokenizer"):
        loaded("llama").tokenize("hello")


def test_two_threads_never_read_each_others_prompt() -> None:
    model = loaded("qwen2")
    prompts = [torch.tensor([5, 6, 7]), torch.tensor([80, 81, 82])]
    alone = [logit_lens(model, ids).top_logit for ids in prompts]
    wrong: list[int] = []

    def run(which: int) -> None:
        for _ in range(8):
            if not np.array_equal(logit_lens(model, prompts[which]).top_logit, alone[which]):
                wrong.append(which)

    threads = [threading.Thread(target=run, args=(which,)) for which in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_parts_are_refused_where_they_are_not_exact() -> None:
    model = loaded("gemma4")
    assert logit_lens(model, IDS).kl_final[-1].max() <= 1e-6
    with pytest.raises(NotExactError, match="cannot be taken apart"):
        logit_lens(model, IDS, components=["attn_out"])
