"""What pairs, differences, patching and layer operations must hold to, where no other test says it.

The numbers are those of the specification: B-1 to B-10 (what "works" means) and I-19 to I-29
(invariants). Most of them are tested beside what they are about, in test_pairs_*, test_difference*,
test_patching* and test_layer_operations*.
"""

from __future__ import annotations

import random
import socket
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import D_VOCAB, build, loaded, randomise
from test_difference import Item, identical, item, items
from test_patching import EQUAL, LONGER, answers, effects, traced
from test_patching_run import CLOSE

from lens_core import LoadedModel, load_model
from lens_core.difference import collecting, dimensions, pair_difference, store
from lens_core.difference.metrics import METRICS, OF_STATES
from lens_core.difference.running import Text, vectors_at
from lens_core.difference.store import INDEX_FILE, STATES_FILE, StateFile
from lens_core.loading import wrap_model
from lens_core.network import run
from lens_core.pairs import Pair, aligned, known_categories, make_pairs
from lens_core.pairs.templates import LANGS
from lens_core.patching import causal_trace
from lens_core.patching.patches import Patch

FAMILIES = ("llama", "gpt2", "gemma2", "gpt_neox_par", "mixtral", "opt", "bloom", "qwen3_next")
MORE = ("olmo2", "glm4", "phi3", "exaone4", "gemma3_text", "falcon_rw", "mpt", "qwen3_moe")
WIDTH, DEPTH = 512, 6
PLANTED = np.arange(10) * 50


@cache
def demo() -> LoadedModel:
    return load_model("demo")


def mismatched(pairs: list[Item]) -> list[Item]:
    """The first side of every pair with the second of the next one, fed as a pair."""
    found = []
    for (_, one), (_, other) in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        if one.ids1 != other.ids2:
            found.append(item([], (list(one.ids1), list(other.ids2)), []))
    return found


def test_b2_pairs_of_any_difference_in_length_are_compared() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["one", "red", "cat", "runs"], k=k)) for k in (1, 2, 4, 7, 12)]
    pairs = [
        Pair(f"We saw {one} there.", f"We saw {other} there.")
        for one in texts
        for other in texts
        if one != other
    ]
    pairs.insert(3, Pair("", "We saw it."))
    pairs.insert(9, Pair("We saw it.", "We saw it."))
    found = pair_difference(demo(), pairs, layers=[0], lens=False)
    assert len(found.pairs) == 20
    assert [one.index for one in found.left_out] == [3, 9]
    assert len({one.alignment.shift for one in found.pairs}) >= 8
    for one in found.pairs:
        assert one.alignment == aligned(demo(), one.pair)
    assert found.header["input"] == {
        **found.header["input"], "n_pairs": 22, "n_compared": 20, "n_distinct": 10,
    }  # fmt: skip
    shifted = sum(one.alignment.shift != 0 for one in found.pairs)
    assert any(f"{shifted} pairs have sides of unequal" in w for w in found.header["warnings"])


@pytest.mark.parametrize("name", MORE)
def test_b3_nothing_differs_before_the_edit_on_further_families(name: str) -> None:
    before = pair_difference(loaded(name), items(6), readout="prefix", lens=False)
    assert np.abs(before.metrics["max_abs"]).max() <= 1e-6
    assert before.prefix_rel_err is not None
    assert before.prefix_rel_err <= 1e-6
    at = pair_difference(loaded(name), [item([4, 5], ([6], [7]), [8])], readout="edit", lens=False)
    assert (at.metrics["l2"] > 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_b5_the_same_pair_twice_and_batches_of_1_and_16(name: str) -> None:
    pairs = items(16)
    alone = pair_difference(loaded(name), [*pairs, *pairs], batch_tokens=1)
    longest = max(len(ids) for _, a in pairs for ids in (a.ids1, a.ids2))
    together = pair_difference(loaded(name), [*pairs, *pairs], batch_tokens=16 * longest)
    count = len(pairs)
    for metric in OF_STATES:
        for found in (alone, together):
            one, again = found.metrics[metric][:count], found.metrics[metric][count:]
            np.testing.assert_array_equal(one, again, metric)
        np.testing.assert_allclose(
            alone.metrics[metric], together.metrics[metric], 1e-5, 1e-5, err_msg=metric
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_b6_mismatched_pairs_give_at_most_one_discovery_a_layer(name: str) -> None:
    found = pair_difference(loaded(name), mismatched(items(70)), lens=False, halves=False)
    assert found.n_units >= 60
    counts = [len(dims.found) for dims in found.dims.values()]
    assert np.mean(counts) <= 1, counts
    assert found.control is not None
    assert found.control.found_per_site.mean() <= 1


@pytest.mark.parametrize("category", ["subject_differences", "tense_errors"])
def test_b6_mismatched_template_pairs_of_a_trained_model(category: str) -> None:
    made = make_pairs([category], n=60)
    pairs = [
        Pair(one.sentence1, other.sentence2)
        for one, other in zip(made, [*made[1:], made[0]], strict=True)
        if one.sentence1 != other.sentence2
    ]
    found = pair_difference(demo(), pairs, lens=False, halves=False)
    assert found.n_units >= 20
    assert np.mean([len(dims.found) for dims in found.dims.values()]) <= 1


@cache
def wide() -> LoadedModel:
    """A model whose states are larger than everything else about a pair."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=D_VOCAB, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=DEPTH,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    randomise(model)
    return wrap_model(model, None)


def stream(count: int) -> Iterator[Item]:
    """Pairs that are made when they are asked for, with 30 edits in all."""
    rng = random.Random(0)
    for at in range(count):
        prefix = [rng.randrange(3, D_VOCAB) for _ in range(3)]
        pair, alignment = item(prefix, ([3 + at % 30], [40 + at % 30]), [7])
        yield replace(pair, oriented=False), alignment


def test_b7_memory_does_not_grow_with_the_states_of_pairs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The blocks of both are constants, which for few and small pairs would not be reached.
    monkeypatch.setattr(collecting, "WINDOW", 8)
    monkeypatch.setattr(dimensions, "_BYTES", 2**16)
    monkeypatch.setattr(dimensions, "_ROWS", 8)
    monkeypatch.setattr(store, "_PAIRS", 8)
    on_disk: list[int] = []
    whole = StateFile.whole

    def watched(self: StateFile) -> Any:
        found = whole(self)
        on_disk.append(self._path.stat().st_size)
        assert isinstance(found, np.memmap)
        return found

    monkeypatch.setattr(StateFile, "whole", watched)
    model, peaks = wide(), []
    # What is imported and compiled at the first run is no part of it.
    pair_difference(model, stream(25), keep=tmp_path / "first")
    sizes = (12, 120)
    for count in sizes:
        folder = tmp_path / str(count)
        tracemalloc.start()
        try:
            found = pair_difference(model, stream(count), lens=False, halves=False, keep=folder)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        numbers = count * 2 * (DEPTH + 1) * WIDTH
        assert on_disk[-1] == 4 * numbers
        assert 0 <= (folder / STATES_FILE).stat().st_size - 2 * numbers <= 256
        assert (folder / INDEX_FILE).stat().st_size < 1000 * count + 5000
        held = [v.nbytes for v in vars(found).values() if isinstance(v, np.ndarray)]
        held += [values.nbytes for values in found.metrics.values()]
        assert sum(held) == len(METRICS) * count * (DEPTH + 1) * 4
    states = 4 * 2 * (DEPTH + 1) * WIDTH * (sizes[1] - sizes[0])
    assert peaks[1] - peaks[0] < 0.5 * states


def test_b9_templates_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **options: Any) -> None:
        raise AssertionError("a connection was asked for")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refused)
    for lang in LANGS:
        for name in list(known_categories())[:6]:
            pairs = make_pairs([name], n=50, lang=lang)
            assert len({(pair.sentence1, pair.sentence2) for pair in pairs}) == 50


@pytest.mark.parametrize("name", MORE)
def test_b10_fixed_values_of_patching_on_further_families(name: str) -> None:
    model = loaded(name)
    for alignment in (EQUAL, LONGER):
        wanted = answers(model, alignment)
        result = causal_trace(model, alignment, answers=wanted, components=("resid_post",))
        denoised, noised = (
            result.grid("resid_post", direction).effect for direction in ("denoise", "noise")
        )
        for values, end, rest in ((denoised, 1, 0), (noised, 0, 1)):
            np.testing.assert_allclose(values[-1, -1], end, **CLOSE)
            np.testing.assert_allclose(values[-1, :-1], rest, **CLOSE)
            np.testing.assert_allclose(values[:, :2], rest, **CLOSE)


@pytest.mark.parametrize("name", MORE)
def test_i27_all_positions_are_everything_on_further_families(name: str) -> None:
    tracing = traced(loaded(name))
    for layer in range(loaded(name).n_layers):
        patch = Patch((("resid_post", layer),), tracing.question.columns)
        denoised, noised = (
            effects(tracing, direction, [patch]) for direction in ("denoise", "noise")
        )
        np.testing.assert_allclose(denoised, 1, **CLOSE)
        np.testing.assert_allclose(denoised + noised, 1, **CLOSE)


@pytest.mark.parametrize("name", MORE)
def test_i19_equal_sides_differ_in_nothing_on_further_families(name: str) -> None:
    found = pair_difference(loaded(name), [identical(5, 6, 7, 8), identical(9, 4)])
    for metric in ("max_abs", "l2", "rel_l2", "cos_dist", "kl_lens_12", "kl_lens_21", "js_lens"):
        assert (found.metrics[metric] == 0).all(), metric


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon_7b", "mixtral", "opt"])
def test_i23_what_the_head_reads_is_the_library_s_last_hidden_state(name: str) -> None:
    # Of its own: asked for hidden states, the library leaves hooks on a model.
    model, ids = wrap_model(build(name), None), (5, 71, 16, 88)
    sites = [("final_norm", model.n_layers - 1)]
    seen = vectors_at(model, {Text(ids): ((0,), (3,))}, sites, batch_tokens=9)
    theirs = run(model.model, torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    for at in (0, 3):
        np.testing.assert_allclose(seen[Text(ids), (at,)], theirs[0, at].numpy(), 1e-5, 1e-5)


def changed_states(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Another change in place of the model's own, [pair, side, entry], before it is written."""
    append = StateFile.append

    def instead(self: StateFile, states: np.ndarray) -> None:
        both = states.copy()
        both[:, 1] = both[:, 0] + change(states[:, 1] - states[:, 0])
        append(self, both)

    monkeypatch.setattr(StateFile, "append", instead)


def test_i24_dims_that_are_planted_are_found_in_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(gap: np.ndarray) -> np.ndarray:
        gap.reshape(*gap.shape[:-1], -1, WIDTH)[..., PLANTED] *= 0.3
        return gap

    pairs, layers = items(62), [0, 2, 4]
    before = pair_difference(wide(), pairs, layers=layers, lens=False)
    changed_states(monkeypatch, planted)
    found = pair_difference(wide(), pairs, layers=layers, lens=False)
    assert 58 <= found.n_units <= 62
    for site, dims in found.dims.items():
        rest = set(dims.found.tolist()) - set(PLANTED.tolist())
        assert len(dims.found) - len(rest) >= 0.5 * len(PLANTED)
        assert len(rest - set(before.dims[site].found.tolist())) <= 1
    assert found.control is not None
    assert found.control.supported
    assert found.control.found_per_site.mean() <= 1


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_i24_where_dims_are_shuffled_next_to_nothing_is_found(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def shuffled(gap: np.ndarray) -> np.ndarray:
        return rng.permuted(gap.reshape(*gap.shape[:-1], -1, 32), axis=-1).reshape(gap.shape)

    changed_states(monkeypatch, shuffled)
    pairs = [(replace(pair, oriented=False), at) for pair, at in items(64)]
    found = pair_difference(loaded(name), pairs, lens=False)
    tested = sum(len(dims.p) for dims in found.dims.values())
    assert len(found.found) <= 0.01 * tested
    assert found.control is not None
    assert found.control.share <= 0.01
