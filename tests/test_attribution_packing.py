"""Variants as one sequence: they give what single runs give, do not see one another, or are not
packed at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, IDS, QUICK, build, loaded

from lens_core import attribute
from lens_core.attribution.game import Game, Question
from lens_core.attribution.grouping import Costs
from lens_core.attribution.occluders import Row, original_row
from lens_core.attribution.packing import may_pack, new_tokens, pack
from lens_core.attribution.passes import Passes
from lens_core.examine import examine
from lens_core.models import LoadedModel

OCCLUDERS = ("knock_out", "replace", "mean", "delete")
TARGET = torch.tensor([3, 50])
COUNT = len(IDS) - 1
SETS = [
    *~np.eye(COUNT, dtype=bool),
    *(np.random.default_rng(0).random((8, COUNT)) < 0.5),
    np.zeros(COUNT, dtype=bool),
]
PACKED = ("llama", "gpt2", "falcon_7b", "qwen2_moe", "granite", "opt", "deepseek_v3", "gptj")


@cache
def wide(name: str) -> LoadedModel:
    """A family whose windows are longer than the text."""
    kind, arguments = FAMILIES[name]
    FAMILIES[f"wide {name}"] = kind, {**arguments, "sliding_window": 32}
    try:
        model = build(f"wide {name}")
    finally:
        del FAMILIES[f"wide {name}"]
    return examine(
        model,
        None,
        name=name,
        revision=None,
        quantization=None,
        weights_sha256="0" * 64,
        tokenizer_sha256=None,
    )


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if models were large, and running side by side were dear."""
    monkeypatch.setattr("lens_core.attribution.packing.PARAMETERS", 0)
    monkeypatch.setattr(Costs, "side_by_side", lambda *_: 1e12)


def question(occluder: str = "knock_out", **changed: Any) -> Question:
    features = tuple((i,) for i in range(1, len(IDS)))
    given = {"wanted": TARGET, "foil": None, "score": "log_p", "replacement": 7, **changed}
    return Question(IDS, features=features, occluder=occluder, **given)


def singly(model: LoadedModel, asked: Question) -> np.ndarray:
    alone = Game(model, asked, share=False)
    return np.array([alone.measure([present])[0].values for present in SETS])


def values(game: Game) -> np.ndarray:
    return np.array([one.values for one in game.measure(SETS)])


@pytest.mark.parametrize("occluder", OCCLUDERS)
@pytest.mark.parametrize(
    ("name", "model"),
    [(n, loaded) for n in PACKED] + [(n, wide) for n in ("gemma2", "gpt_oss", "mistral")],
)
def test_a_pack_gives_what_single_runs_give(
    name: str, model: Callable[[str], LoadedModel], occluder: str
) -> None:
    """Sets of one and of many tokens, two target tokens, lengths that differ (delete)."""
    tried, asked = model(name), question(occluder)
    game = Game(tried, asked)
    found = values(game)
    assert game.passes.packs
    # The original, the proof of its cache, and everything else at once.
    assert game.passes.passes_run == 3
    np.testing.assert_allclose(found, singly(tried, asked), atol=1e-5)


def test_packs_are_split_where_they_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attribute(loaded("llama"), IDS, target=TARGET, window=2)
    monkeypatch.setattr("lens_core.attribution.grouping.SCORES_BYTES", 4 * 4 * 16 * 23)
    game = Game(loaded("llama"), question())
    sizes = []
    plain = Passes._run

    def watched(self: Passes, ids: Any, options: Any, **more: Any) -> Any:
        sizes.append(ids.shape[1])
        return plain(self, ids, options, **more)

    monkeypatch.setattr(Passes, "_run", watched)
    np.testing.assert_allclose(values(game), singly(loaded("llama"), question()), atol=1e-5)
    assert game.passes.packs
    assert game.passes.passes_run > 5
    packs = sizes[: game.passes.passes_run - 2]
    assert max(packs) <= 16
    split = attribute(loaded("llama"), IDS, target=TARGET, window=2)
    np.testing.assert_allclose(split.scores, whole.scores, atol=1e-5)


def test_variants_do_not_see_one_another() -> None:
    """Other tokens in one variant leave the others as they are, bit for bit."""
    for name in ("llama", "gpt2", "falcon_7b"):
        game = Game(loaded(name), question())
        rows = [original_row(game.passes.ids, at) for at in (2, 4, 3)]
        other = rows[1].ids.clone()
        other[5] = 80
        changed = [rows[0], Row(other, rows[1].hidden, rows[1].blank, 4), rows[2]]
        before, after = game.passes.logits(rows), game.passes.logits(changed)
        assert game.passes.packs
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert (before[1] - after[1]).abs().max() > 1e-2


def test_a_pack_looks_at_what_a_variant_may_see() -> None:
    none = torch.zeros(5, dtype=torch.bool)
    hidden = none.clone()
    hidden[[0, 3]] = True
    ids = torch.arange(10, 15)
    rows = [Row(ids, none, none, 3), Row(ids + 10, hidden, none, 2)]
    packed = pack(rows, n_targets=1)
    assert packed.ids.tolist() == [13, 14, 22, 24]
    assert packed.positions.tolist() == [3, 4, 2, 4]
    assert packed.targets.tolist() == [1, 3]
    assert [new_tokens(row) for row in rows] == [2, 2]
    assert packed.seen.long().tolist() == [
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 1, 1],
    ]
    mask = packed.mask(torch.bfloat16)
    assert mask.shape == (1, 1, 4, 7)
    assert mask.dtype == torch.bfloat16
    assert torch.equal(mask[0, 0] == 0, packed.seen)


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt_oss", "bloom", "falcon_rw", "gpt_neo"])
def test_where_a_mask_is_not_all_there_is_nothing_is_packed(name: str) -> None:
    """Windows shorter than the text, positions counted by the mask, places counted by layers."""
    model = loaded(name)
    game = Game(model, question())
    assert game.passes.shares
    assert not game.passes.packs
    np.testing.assert_allclose(values(game), singly(model, question()), atol=2e-5)


def spoiled(model: LoadedModel, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]) -> Any:
    """What packs the model was given, with something changed about them on the way in."""
    from lens_core.attribution import passes

    plain, seen = passes.run, []

    def changed(network: Any, ids: Any, **options: Any) -> Any:
        mask = options.get("attention_mask")
        if mask is not None and mask.dim() == 4:
            seen.append(ids.shape[1])
            options = change(options)
        return plain(network, ids, **options)

    monkeypatch.setattr(passes, "run", changed)
    return seen


def ignored(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "attention_mask"}


def all_seen(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "attention_mask": torch.zeros_like(options["attention_mask"])}


def by_place(options: dict[str, Any]) -> dict[str, Any]:
    place = torch.arange(options["position_ids"].shape[1])[None]
    return {**options, "position_ids": place + options["position_ids"][0, 0]}


def hidden_seen(options: dict[str, Any]) -> dict[str, Any]:
    mask = options["attention_mask"].clone()
    mask[..., : len(IDS) - 1] = 0
    return {**options, "attention_mask": mask}


def refused(options: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("not enough values to unpack")


@pytest.mark.parametrize("change", [ignored, all_seen, by_place, hidden_seen, refused])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_packs_that_come_out_wrong_are_thrown_away(
    name: str, change: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that does not heed the mask or the positions gives the same scores, side by side."""
    model = loaded(name)
    wanted = singly(model, question())
    seen = spoiled(model, monkeypatch, change)
    game = Game(model, question())
    found = values(game)
    # Tried once, and never again.
    assert len(seen) == 1
    assert not game.passes.packs
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    values(game)
    assert len(seen) == 1


def test_every_way_of_running_is_chosen_by_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    costs = Costs(overhead=48, tokens=4096, rows=64, pairs=10**6, d_model=896)
    suffixes = list(range(31, 0, -1))
    (whole,) = costs.packs(suffixes, prefix=32, more=3)
    assert whole == range(31)
    ranges = costs.ranges(32, list(range(1, 32)), [1] * 31)
    aside = sum(costs.side_by_side(len(r), 32 - 1 - r.start, 32) for r in ranges)
    assert costs.packed(sum(suffixes) + 3, 32) < aside
    # All from the same position on: nothing is padded, so nothing is gained.
    assert costs.side_by_side(16, 20, 32) < costs.packed(16 * 20 + 3, 32)
    assert costs.packed(2000, 32) == float("inf")
    for more in (suffixes * 7, [900] * 5, [1] * 200, []):
        found = costs.packs(more, prefix=32, more=3)
        assert [at for together in found for at in together] == list(range(len(more)))
        assert all(len(together) <= 64 for together in found)


def test_coarse_numbers_are_packed_too() -> None:
    model = loaded("llama")
    coarse = examine(
        build("llama").bfloat16(),
        None,
        name="llama",
        revision=None,
        quantization=None,
        weights_sha256="0" * 64,
        tokenizer_sha256=None,
    )
    game = Game(coarse, question())
    found = values(game)
    assert game.passes.packs
    alone = singly(coarse, question())
    assert np.abs(found - alone).max() <= 3 * np.abs(alone - singly(model, question())).max()


def test_kernels_that_read_other_masks_are_not_given_one() -> None:
    model = loaded("llama")
    assert may_pack(model, 7)
    assert not may_pack(loaded("mistral"), 4)
    assert may_pack(loaded("mistral"), 3)
    config: Any = model.model.config
    own = config._attn_implementation
    config._attn_implementation_internal = "flash_attention_2"
    try:
        assert not may_pack(model, 7)
    finally:
        config._attn_implementation_internal = own


def test_every_quick_family_is_packed_or_says_no() -> None:
    """What may be packed passes its own proof: no pass is spent for nothing."""
    for name in QUICK:
        game = Game(loaded(name), question())
        before = game.passes.packs
        game.measure(SETS)
        assert game.passes.packs == before, name


def test_small_models_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is run does not show in the last bit of a score."""
    monkeypatch.undo()
    game = Game(loaded("llama"), question())
    assert not game.passes.packs
    alone = Game(loaded("llama"), question()).measure(SETS[2:3])[0]
    assert game.measure(SETS)[2].values == pytest.approx(alone.values, abs=1e-6)
