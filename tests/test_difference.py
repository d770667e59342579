"""Activation differences on real runs: identities first, on families of every kind."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import D_VOCAB, build, loaded

from lens_core import capture
from lens_core.difference import (
    PairDifference,
    PairStep,
    collecting,
    dimensions,
    pair_difference,
    pair_difference_steps,
    read_kept,
)
from lens_core.difference.metrics import METRICS, OF_STATES
from lens_core.difference.running import states_at
from lens_core.difference.store import StateFile
from lens_core.errors import InputError, NotExactError
from lens_core.loading import wrap_model
from lens_core.network import run
from lens_core.pairs.record import Alignment, Pair
from lens_core.progress import reported
from lens_core.records import dumps

Item = tuple[Pair, Alignment]

FAMILIES = ("llama", "gpt2", "gemma2", "mixtral", "falcon_7b", "gpt_oss", "bloom", "mamba")
MAGNITUDES = ("mean_abs", "max_abs", "min_abs", "l2", "rel_l2", "cos_dist", "js_lens")


def item(prefix: list[int], edits: tuple[list[int], list[int]], suffix: list[int]) -> Item:
    """A pair of token ids as a text pair that is aligned already."""
    ids1, ids2 = (tuple([*prefix, *edit, *suffix]) for edit in edits)
    at, ends = len(prefix), [len(prefix) + len(edit) for edit in edits]
    common = tuple((ends[0] + i, ends[1] + i) for i in range(len(suffix)))
    alignment = Alignment(ids1, ids2, at, (((at, ends[0]), (at, ends[1])),), common)
    texts = [" ".join(map(str, ids)) for ids in (ids1, ids2)]
    return Pair(*texts, oriented=True), alignment


def items(count: int, *, seed: int = 0) -> list[Item]:
    """Pairs of many lengths, with edits of one to three tokens."""
    rng = random.Random(seed)

    def ids(least: int, most: int) -> list[int]:
        return [rng.randrange(3, D_VOCAB) for _ in range(rng.randint(least, most))]

    found = []
    for _ in range(count):
        pair, alignment = item(ids(1, 4), (ids(1, 1), ids(1, 3)), ids(1, 5))
        kind, subtype = rng.choice("xy"), rng.choice("uv")
        found.append((replace(pair, type=kind, subtype=subtype), alignment))
    return [one for one in found if one[1].ids1 != one[1].ids2]


def swapped(one: Item) -> Item:
    pair, alignment = one
    return pair.swapped(), Alignment(
        alignment.ids2,
        alignment.ids1,
        alignment.prefix,
        tuple((b, a) for a, b in alignment.edits),
        tuple((b, a) for a, b in alignment.common),
        alignment.flags,
    )


def identical(*ids: int) -> Item:
    text = " ".join(map(str, ids))
    pair = Pair(text, text, type="identity")
    return pair, Alignment(ids, ids, len(ids), (), (), ("identical",))


@pytest.fixture(scope="module")
def result() -> PairDifference:
    return pair_difference(loaded("llama"), items(40))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_text_twice_differs_in_nothing(name: str) -> None:
    found = pair_difference(loaded(name), [identical(5, 6, 7, 8), identical(9, 4)])
    for metric in (*MAGNITUDES, "kl_lens_12", "kl_lens_21"):
        assert (found.metrics[metric] == 0).all(), metric
    assert (found.metrics["norm_ratio"] == 1).all()
    assert np.isnan(found.metrics["recovery"]).all()
    assert found.n_units == 0
    assert not found.found


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_exchanging_the_sides_keeps_magnitudes_and_turns_signs(name: str) -> None:
    pairs = items(30)
    one, two = (
        pair_difference(loaded(name), some) for some in (pairs, [swapped(pair) for pair in pairs])
    )
    for metric in MAGNITUDES:
        np.testing.assert_array_equal(one.metrics[metric], two.metrics[metric], metric)
    np.testing.assert_array_equal(one.metrics["kl_lens_12"], two.metrics["kl_lens_21"])
    np.testing.assert_allclose(one.metrics["norm_ratio"], 1 / two.metrics["norm_ratio"], 1e-6)
    for first, second in zip(one.dims.values(), two.dims.values(), strict=True):
        for name in ("mean_abs", "scale", "hit_rate", "rho", "p", "q", "t_p"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
        np.testing.assert_array_equal(first.mean_diff, -second.mean_diff)
        np.testing.assert_array_equal(first.t, -second.t)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_differs_before_the_edit_and_first_the_embedding_at_it(name: str) -> None:
    before = pair_difference(loaded(name), items(12), readout="prefix")
    assert np.abs(before.metrics["max_abs"]).max() <= 1e-6
    assert before.prefix_rel_err is not None
    assert before.prefix_rel_err <= 1e-6
    at = pair_difference(loaded(name), [item([4, 5], ([6], [7]), [8])], readout="edit")
    assert at.sites[0] == "embed"
    assert (at.metrics["l2"] > 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_batches_change_nothing(name: str) -> None:
    pairs = items(8)
    one, many = (
        pair_difference(loaded(name), pairs, batch_tokens=tokens) for tokens in (1, 16 * 32)
    )
    for metric in (*OF_STATES, "kl_lens_12", "kl_lens_21", "js_lens"):
        np.testing.assert_allclose(
            one.metrics[metric], many.metrics[metric], 1e-4, 1e-5, err_msg=metric
        )


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "falcon_7b", "gpt_oss"])
def test_block_outputs_are_the_hidden_states_of_the_library(name: str) -> None:
    # Of its own: asked for hidden states, the library leaves hooks on a model.
    model, texts = wrap_model(build(name), None), [tuple(range(5, 12)), (20, 21, 22, 23), (8, 3, 9)]
    sites = [("resid_post", layer) for layer in range(-1, model.n_layers)]
    wanted = {ids: tuple((at,) for at in range(len(ids))) for ids in texts}
    seen = states_at(model, wanted, sites, batch_tokens=1000)
    for ids in texts:
        ours = np.stack([seen[ids, (at,)] for at in range(len(ids))], 1)
        out = run(model.model, torch.tensor([ids]), output_hidden_states=True)
        for layer in range(model.n_layers):
            theirs = out.hidden_states[layer][0].float().numpy()
            np.testing.assert_allclose(ours[layer], theirs, 1e-5, 1e-5)
        # The last state is before the final norm, which is what the readout reads.
        logits = model.readout.logits(torch.from_numpy(ours[-1])).detach()
        torch.testing.assert_close(logits, out.logits[0].float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "opt_postln", "granite", "mixtral", "gpt_neox_par"])
def test_parts_are_those_of_the_trace(name: str) -> None:
    model, texts = loaded(name), [(5, 6, 7, 8, 9), (11, 12)]
    sites = [(part, at) for part in ("attn_out", "mlp_out") for at in range(model.n_layers)]
    seen = states_at(model, {ids: ((len(ids) - 1,),) for ids in texts}, sites, batch_tokens=99)
    for ids in texts:
        trace = capture(model, torch.tensor(ids))
        wanted = torch.cat([trace.attn_out[:, -1], trace.mlp_out[:, -1]]).numpy()
        np.testing.assert_allclose(seen[ids, (len(ids) - 1,)], wanted, 1e-4, 2e-5)


def test_positions_of_a_group_are_averaged() -> None:
    model, ids, sites = loaded("gpt2"), (5, 6, 7, 8), [("resid_post", 1)]
    groups = ((0,), (1,), (2,), (0, 1, 2))
    seen = states_at(model, {ids: groups}, sites, batch_tokens=9)
    mean = np.mean([seen[ids, (at,)] for at in range(3)], 0)
    np.testing.assert_allclose(seen[ids, (0, 1, 2)], mean, 1e-6, 1e-7)


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "mamba"])
def test_the_lens_at_the_last_layer_is_the_prediction(name: str) -> None:
    model, pairs = loaded(name), items(5)
    found = pair_difference(model, pairs)
    for row, (_, alignment) in enumerate(pairs):
        log_p, log_q = (
            run(model.model, torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            for ids in (alignment.ids1, alignment.ids2)
        )
        middle = torch.logaddexp(log_p, log_q) - np.log(2)
        wanted = {
            "kl_lens_12": (log_p.exp() * (log_p - log_q)).sum(),
            "kl_lens_21": (log_q.exp() * (log_q - log_p)).sum(),
            "js_lens": (log_p.exp() * (log_p - middle) + log_q.exp() * (log_q - middle)).sum() / 2,
        }
        for metric, value in wanted.items():
            assert found.metrics[metric][row, -1] == pytest.approx(float(value), rel=1e-3, abs=1e-5)


def test_the_order_of_pairs_and_copies_of_them_change_no_number() -> None:
    pairs, model = items(30), loaded("gpt2")
    order = list(range(len(pairs)))
    random.Random(1).shuffle(order)
    first = pair_difference(model, pairs)
    mixed = pair_difference(model, [pairs[at] for at in order])
    twice = pair_difference(model, [*pairs, *pairs])
    for metric in METRICS:
        np.testing.assert_array_equal(first.metrics[metric][order], mixed.metrics[metric], metric)
    for other in (mixed, twice):
        assert other.n_units == first.n_units
        for site, dims in first.dims.items():
            for name in ("mean_abs", "hit_rate", "rho", "p", "q", "t", "t_p", "found"):
                np.testing.assert_array_equal(getattr(dims, name), getattr(other.dims[site], name))
        np.testing.assert_array_equal(first.layer_test.p, other.layer_test.p)
        assert [one.p.tolist() for one in first.comparisons] == [
            one.p.tolist() for one in other.comparisons
        ]
        for one, two in zip(first.groups, other.groups, strict=True):
            np.testing.assert_array_equal(one.metrics["l2"].lo, two.metrics["l2"].lo)


def test_more_pairs_hold_no_more_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "WINDOW", 4)
    sizes: list[int] = []
    ahead: list[int] = []
    append = StateFile.append

    def watched(self: StateFile, states: np.ndarray) -> None:
        sizes.append(states.nbytes)
        append(self, states)

    monkeypatch.setattr(StateFile, "append", watched)
    largest = []
    for count in (10, 100):
        sizes.clear()
        taken = 0

        def stream(count: int = count) -> Iterator[Item]:
            nonlocal taken
            for one in items(count):
                taken += 1
                yield one

        found = None
        for found in pair_difference_steps(loaded("gpt2"), stream(), control=False, lens=False):
            if isinstance(found, PairStep) and found.stage == "pairs":
                assert found.total is None
                ahead.append(taken - found.done)
        assert isinstance(found, PairDifference)
        largest.append(max(sizes))
        assert found.metrics["l2"].shape == (len(found.pairs), len(found.sites))
    assert largest[0] == largest[1]
    assert max(ahead) == 0


def test_windows_and_blocks_of_dims_change_nothing(
    monkeypatch: pytest.MonkeyPatch, result: PairDifference
) -> None:
    monkeypatch.setattr(collecting, "WINDOW", 7)
    monkeypatch.setattr(dimensions, "_BYTES", 4096)
    monkeypatch.setattr(dimensions, "_ROWS", 5)
    other = pair_difference(loaded("llama"), iter(items(40)))
    for metric in METRICS:
        np.testing.assert_allclose(
            result.metrics[metric], other.metrics[metric], 1e-4, 1e-5, err_msg=metric
        )
    for site, dims in result.dims.items():
        np.testing.assert_array_equal(dims.hit_rate, other.dims[site].hit_rate)
        np.testing.assert_allclose(dims.scale, other.dims[site].scale, 1e-4, 1e-5)


def test_the_record_reads_back_equal(result: PairDifference) -> None:
    text = dumps(result.to_json())
    back = PairDifference.from_json(json.loads(text))
    assert dumps(back.to_json()) == text
    assert back.pairs == result.pairs
    assert back.metrics["l2"].dtype == np.float32
    record = result.to_json()
    assert record["schema"] == "lens_core/pair_difference/1"
    assert record["pairs"][0]["alignment"]["n_tok"] == [
        len(result.pairs[0].alignment.ids1),
        len(result.pairs[0].alignment.ids2),
    ]
    with pytest.raises(InputError, match="schema"):
        PairDifference.from_json({"schema": "lens_core/graph/1"})


def test_the_table_holds_the_groups(result: PairDifference) -> None:
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert len(rows) == len(result.groups) * len(METRICS) * len(result.sites)
    row = next(row for row in rows if row["metric"] == "l2" and row["site"] == "layer_2")
    assert np.float32(row["mean"]) == result.groups[0].metrics["l2"].mean[3]
    assert np.float32(row["lo"]) < np.float32(row["mean"]) < np.float32(row["hi"])


def test_pairs_that_cannot_be_read_are_listed_with_the_reason() -> None:
    same = replace(identical(5, 6)[0], type="typo"), identical(5, 6)[1]
    long, outside = item([4] * 70, ([5], [6]), [7]), item([4], ([5], [D_VOCAB]), [7])
    good = items(3)
    found = pair_difference(loaded("llama"), [same, good[0], long, good[1], outside, good[2]])
    assert [one.index for one in found.left_out] == [0, 2, 4]
    assert "same tokens" in found.left_out[0].reason
    assert "72 tokens" in found.left_out[1].reason
    assert str(D_VOCAB) in found.left_out[2].reason
    assert len(found.pairs) == 3
    assert found.header["input"]["n_pairs"] == 6
    with pytest.raises(InputError, match="None of 1"):
        pair_difference(loaded("llama"), [long])
    with pytest.raises(InputError, match="without a tokenizer"):
        pair_difference(loaded("llama"), [Pair("a b", "a c")])


def test_an_edit_without_tokens_is_read_at_the_end_alone() -> None:
    inserted = item([4, 5], ([], [6]), [7, 8])
    assert len(pair_difference(loaded("gpt2"), [inserted]).pairs) == 1
    found = pair_difference(loaded("gpt2"), [inserted, *items(2)], readout="edit")
    assert "Side 1" in found.left_out[0].reason


def test_few_units_find_nothing_and_say_so() -> None:
    found = pair_difference(loaded("gpt2"), items(19))
    assert "19 units" in found.verdict
    assert not found.found
    assert np.isnan(found.dims["layer_1"].p).all()
    assert np.isfinite(found.dims["layer_1"].hit_rate).all()
    quiet = pair_difference(loaded("gpt2"), items(25), control=False)
    assert "control was left out" in quiet.verdict
    assert not quiet.found


def test_layers_and_components_are_chosen() -> None:
    found = pair_difference(
        loaded("llama"), items(4), layers=[0, 2], components=("mlp_out", "resid_post")
    )
    assert found.sites == ("layer_0", "layer_2", "mlp_out_0", "mlp_out_2")
    assert np.isnan(found.metrics["kl_lens_12"][:, 2:]).all()
    assert np.isfinite(found.metrics["kl_lens_12"][:, :2]).all()
    wrong: dict[str, Any]
    for wrong in ({"layers": [3]}, {"components": ("mlp",)}, {"readout": "first"}, {"q": 0.6}):
        with pytest.raises(InputError):
            pair_difference(loaded("llama"), items(2), **wrong)
    with pytest.raises(NotExactError):
        pair_difference(loaded("rwkv"), items(2), components=("attn_out",))


def test_kept_states_are_both_sides_in_order(tmp_path: Path) -> None:
    pairs, model = items(9), loaded("gpt2")
    pair_difference(model, pairs, keep=tmp_path / "states")
    stored, index = read_kept(tmp_path / "states")
    assert stored.dtype == np.float16
    assert stored.shape == (9, 2, 4, 32) == tuple(index["shape"])
    assert index["sites"][0] == "embed"
    for row, (pair, alignment) in enumerate(pairs):
        assert index["pairs"][row]["sentence1"] == pair.sentence1
        for side, ids in enumerate((alignment.ids1, alignment.ids2)):
            trace = capture(model, torch.tensor(ids), sites=())
            wanted = trace.stream[:, -1].numpy()
            np.testing.assert_allclose(
                stored[row, side] * np.array(index["scale"])[:, None], wanted, 2e-3, 2e-3
            )
    with pytest.raises(InputError, match="kept"):
        read_kept(tmp_path)


def test_the_model_is_left_as_it_was() -> None:
    model = loaded("gpt2")

    def hooks() -> int:
        modules = list(model.model.modules())
        return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules)

    before = hooks()
    pair_difference(model, items(3))
    steps = pair_difference_steps(model, items(200))
    next(steps)
    del steps
    assert hooks() == before
    assert not any(parameter.grad is not None for parameter in model.model.parameters())


def test_progress_never_falls() -> None:
    seen: list[tuple[str, float]] = []
    with reported(lambda what, done, total: seen.append((what, done / total))):
        pair_difference(loaded("gpt2"), iter(items(150)), batch_tokens=64)
        steps = list(pair_difference_steps(loaded("gpt2"), items(3), lens=False))
    assert {what for what, _ in seen} == {"prompt", "layer"}
    first = seen[: next(at for at, (what, _) in enumerate(seen) if what == "layer")]
    assert [share for _, share in first] == sorted(share for _, share in first)
    assert steps[0] == PairStep("pairs", 3, 3)
    assert [step.stage for step in steps[1:-1] if isinstance(step, PairStep)] == ["dimensions"] * 4
