"""Every site against plain hooks, sites of several widths on disk, and positions with gaps."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, loaded
from test_difference import Item, item, items
from torch import Tensor, nn

from lens_core import LoadedModel
from lens_core.difference import PairDifference, pair_difference, read_kept, running
from lens_core.difference.kept_pairs import open_kept
from lens_core.difference.metrics import METRICS, state_metrics
from lens_core.difference.options import chosen_sites
from lens_core.difference.running import Text, vectors_at
from lens_core.difference.sites import COMPONENTS, Layout, layout_of
from lens_core.difference.store import kept_site, state_file
from lens_core.errors import InputError, NotExactError
from lens_core.network import run
from lens_core.pairs.aligning import shared_positions
from lens_core.pairs.record import Alignment
from lens_core.records import dumps

IDS = (5, 71, 16, 88, 42, 9)
Places = dict[str, Callable[[Any, int], tuple[nn.Module, bool]]]
"""By component: the module of a layer, and whether its output is read or its input."""

LLAMA: Places = {
    "mlp_act": lambda model, at: (model.model.layers[at].mlp.down_proj, False),
    "heads": lambda model, at: (model.model.layers[at].self_attn.o_proj, False),
    "resid_mid": lambda model, at: (model.model.layers[at].post_attention_layernorm, False),
    "final_norm": lambda model, at: (model.model.norm, True),
    "logits": lambda model, at: (model.lm_head, True),
}
GPT2: Places = {
    "mlp_act": lambda model, at: (model.transformer.h[at].mlp.c_proj, False),
    "heads": lambda model, at: (model.transformer.h[at].attn.c_proj, False),
    "resid_mid": lambda model, at: (model.transformer.h[at].ln_2, False),
    "final_norm": lambda model, at: (model.transformer.ln_f, True),
    "logits": lambda model, at: (model.lm_head, True),
}
FALCON: Places = {
    "mlp_act": lambda model, at: (model.transformer.h[at].mlp.dense_4h_to_h, False),
    "heads": lambda model, at: (model.transformer.h[at].self_attention.dense, False),
    "final_norm": lambda model, at: (model.transformer.ln_f, True),
    "logits": lambda model, at: (model.lm_head, True),
}
GEMMA2: Places = {
    **LLAMA,
    "resid_mid": lambda model, at: (model.model.layers[at].pre_feedforward_layernorm, False),
}
GEMMA2.pop("logits")
ORACLES = {
    "llama": LLAMA,
    "gpt2": GPT2,
    "falcon_7b": FALCON,
    "gemma2": GEMMA2,
    "mixtral": {name: place for name, place in LLAMA.items() if name != "mlp_act"},
}


def by_hand(model: LoadedModel, module: nn.Module, is_output: bool) -> Tensor:
    """What passes through a module while IDS are read, [position, width]."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen.append((output if is_output else args[0]).clone())

    with ExitStack() as hooks:
        hooks.callback(module.register_forward_hook(hook).remove)
        run(model.model, torch.tensor([IDS]))
    return seen[0].reshape(len(IDS), -1)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_sites_are_what_plain_hooks_see(name: str) -> None:
    model, oracle = loaded(name), ORACLES[name]
    sites = chosen_sites(model, None, list(oracle))
    layout = layout_of(model, sites)
    groups = ((5,), (1,), (1, 2, 4))
    # Another text beside it, so that padding is there.
    wanted = {Text(IDS): groups, Text((3, 4, 5, 6, 7, 8, 9, 10)): ((0,),)}
    seen = vectors_at(model, wanted, sites, batch_tokens=100)
    assert {component for component, _ in sites} == set(oracle)
    for at, (component, layer) in enumerate(sites):
        rows = by_hand(model, *oracle[component](model.model, layer))
        assert layout.widths[at] == rows.shape[1]
        for group in groups:
            found = seen[Text(IDS), group][layout.part(at)]
            np.testing.assert_allclose(
                found, rows[list(group)].mean(0), 1e-4, 2e-5, err_msg=component
            )


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "opt_postln"])
def test_logits_are_those_of_the_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOGITS_BYTES", 4 * 97 * 2)
    model = loaded(name)
    found = vectors_at(model, {Text(IDS): ((5,), (2, 3, 4))}, [("logits", 2)], batch_tokens=9)
    logits = run(model.model, torch.tensor([IDS])).logits[0]
    for group in ((5,), (2, 3, 4)):
        wanted = logits[list(group)].mean(0)
        np.testing.assert_allclose(found[Text(IDS), group], wanted, 1e-4, 2e-5)


def test_places_that_a_family_lacks_are_refused_or_left_out() -> None:
    with pytest.raises(NotExactError, match="down projection that neurons enter"):
        pair_difference(loaded("mixtral"), items(2), components=("mlp_act",))
    with pytest.raises(NotExactError, match="which read the same one"):
        pair_difference(loaded("falcon_7b"), items(2), components=("resid_mid",))
    with pytest.raises(NotExactError, match="no final norm"):
        pair_difference(loaded("opt_postln"), items(2), components=("final_norm",))
    for component in ("heads", "mlp_act", "resid_mid"):
        with pytest.raises(NotExactError):
            pair_difference(loaded("mamba"), items(2), components=(component,))
    model = loaded("deepseek_v3")
    assert chosen_sites(model, None, ["mlp_act"]) == (("mlp_act", 0),)
    assert chosen_sites(loaded("qwen3_next"), [-1, 0, 1], ["heads"]) == (("heads", 1),)
    with pytest.raises(NotExactError, match="in layers 1, 2"):
        chosen_sites(model, [1, 2], ["mlp_act"])
    with pytest.raises(InputError, match="component is 'neurons'"):
        chosen_sites(model, None, ["neurons"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def every(folder: Path) -> PairDifference:
    return pair_difference(loaded("llama"), items(30), components=COMPONENTS, keep=folder)


def test_all_components_are_compared_together(every: PairDifference) -> None:
    assert every.sites[0] == "embed"
    assert every.sites[-2:] == ("final_norm", "logits")
    assert every.layers[-2:] == (2, 2)
    assert set(every.components) == set(COMPONENTS)
    assert set(every.dims) == set(every.sites) - {"logits"}
    assert len(every.dims["mlp_act_1"].p) == 48
    assert every.control is not None
    assert every.control.found_per_site.shape == (len(every.sites),)
    # The embeddings of the last tokens are equal, and no part of nothing is the largest.
    for metric in ("l2", "rel_l2", "top_share"):
        assert np.isfinite(every.metrics[metric][:, 1:]).all(), metric
    assert np.isnan(every.metrics["top_share_without_massive"][:, -1]).all()
    assert np.isfinite(every.metrics["top_share_without_massive"][:, 1:-1]).all()
    text = dumps(every.to_json())
    assert dumps(PairDifference.from_json(json.loads(text)).to_json()) == text
    assert "final_norm" in every.to_csv()


def test_a_site_has_the_same_numbers_beside_others_and_alone(every: PairDifference) -> None:
    for component in COMPONENTS:
        alone = pair_difference(loaded("llama"), items(30), components=(component,))
        for at, site in enumerate(alone.sites):
            beside = every.sites.index(site)
            for metric in METRICS:
                one, other = alone.metrics[metric][:, at], every.metrics[metric][:, beside]
                np.testing.assert_array_equal(one, other, f"{site} {metric}")
            if component != "logits":
                np.testing.assert_array_equal(
                    alone.dims[site].hit_rate, every.dims[site].hit_rate, site
                )


def test_the_logits_alone_say_that_nothing_is_tested(tmp_path: Path) -> None:
    pairs = items(5)
    found = pair_difference(loaded("gpt2"), pairs, components=("logits",))
    assert found.sites == ("logits",)
    assert not found.dims
    assert "Only logits" in found.verdict
    for row, (_, alignment) in enumerate(pairs):
        first, second = (
            run(loaded("gpt2").model, torch.tensor([ids])).logits[0, -1:].numpy()
            for ids in (alignment.ids1, alignment.ids2)
        )
        for metric, values in state_metrics(first, second).items():
            assert found.metrics[metric][row, 0] == pytest.approx(values[0], rel=1e-3, abs=1e-6)
    with pytest.raises(InputError, match="logits are none"):
        pair_difference(loaded("gpt2"), pairs, components=("logits",), keep=tmp_path)


def test_the_mean_prefix_is_still_equal_at_all_sites() -> None:
    for name in ("llama", "gpt2"):
        found = pair_difference(loaded(name), items(6), components=COMPONENTS, readout="prefix")
        assert np.abs(found.metrics["max_abs"]).max() <= 1e-6
        assert found.prefix_rel_err is not None
        assert found.prefix_rel_err <= 1e-6


def test_kept_states_of_several_widths_say_where_each_site_is(
    every: PairDifference, folder: Path
) -> None:
    stored, index = read_kept(folder)
    assert index["schema"] == "lens_core/pair_states/2"
    assert index["axes"] == ["pair", "side", "entry"]
    assert index["sites"] == list(every.sites[:-1])
    assert stored.shape == tuple(index["shape"]) == (len(every.pairs), 2, sum(index["widths"]))
    model = loaded("llama")
    for site in ("embed", "layer_2", "mlp_act_1", "heads_0", "final_norm"):
        states = kept_site(stored, index, site)
        at = every.sites.index(site)
        gap = np.abs(states[:, 0] - states[:, 1]).mean(-1)
        np.testing.assert_allclose(gap, every.metrics["mean_abs"][:, at], 0.02, 2e-3)
    for row, one in enumerate(every.pairs[:3]):
        ids, last = one.alignment.ids1, (len(one.alignment.ids1) - 1,)
        wanted = vectors_at(model, {Text(ids): (last,)}, [("mlp_act", 2)], batch_tokens=9)
        found = kept_site(stored, index, "mlp_act_2")[row, 0]
        np.testing.assert_allclose(found, wanted[Text(ids), last], 2e-3, 2e-3)
    blocks = open_kept(every, folder)
    for layer in range(3):
        wanted = kept_site(stored, index, f"layer_{layer}")[4]
        np.testing.assert_allclose(blocks.states(4)[:, layer], wanted, 1e-6)
    with pytest.raises(InputError, match="site is 'logits'"):
        kept_site(stored, index, "logits")


def test_kept_states_of_one_width_are_as_they_were(tmp_path: Path) -> None:
    result = pair_difference(
        loaded("gpt2"), items(4), components=("resid_post", "resid_mid", "logits"), keep=tmp_path
    )
    stored, index = read_kept(tmp_path)
    assert index["schema"] == "lens_core/pair_states/1"
    assert stored.shape == (len(result.pairs), 2, 7, 32)
    np.testing.assert_array_equal(
        kept_site(stored, index, "resid_mid_1"),
        stored[:, :, 5].astype(np.float32) * np.float32(index["scale"][5]),
    )
    assert open_kept(result, tmp_path).layers == (0, 1, 2)


def test_a_layout_parts_what_is_written() -> None:
    layout = Layout((2, 3, 1))
    assert layout.offsets == (0, 2, 5, 6)
    assert layout.width is None
    states = np.arange(24, dtype=np.float32).reshape(2, 2, 6)
    with state_file(layout) as file:
        for row in range(2):
            file.append(states[row : row + 1])
        for site, part in enumerate((slice(0, 2), slice(2, 5), slice(5, 6))):
            np.testing.assert_array_equal(file.site(site), states[:, :, part])


# Positions


LONGER: Item = item([4, 5], ([6], [7, 8, 9]), [10, 11, 12])
TWICE = Alignment(
    (1, 2, 3, 4, 5, 6),
    (1, 7, 8, 3, 5, 6),
    1,
    (((1, 2), (1, 3)), ((3, 4), (4, 4))),
    ((2, 3), (4, 4), (5, 5)),
)


def test_positions_of_both_sides_go_together() -> None:
    assert shared_positions(LONGER[1]) == ((0, 1, 2, 5, 6, 7), None)
    one, two = shared_positions(TWICE)
    assert (one, two) == ((0, 1, 3, 4, 5, 6), (0, 1, 2, 3, 5, 6))
    for alignment in (LONGER[1], TWICE):
        sides = [
            places or tuple(range(len(ids)))
            for places, ids in zip(
                shared_positions(alignment), (alignment.ids1, alignment.ids2), strict=True
            )
        ]
        assert all(sides[0][i] == sides[1][j] for i, j in alignment.common)
    for _, alignment in items(20):
        if alignment.shift == 0:
            assert shared_positions(alignment) == (None, None)


def moved(model: LoadedModel, places: tuple[int, ...]) -> Any:
    """A copy whose table of positions is in another order, so that it needs no position ids."""
    copied = copy.deepcopy(model.model)
    decoder = getattr(getattr(copied, "model", None), "decoder", None)
    table, offset = (copied.transformer.wpe, 0) if decoder is None else (decoder.embed_positions, 2)
    rows = table.weight.detach().clone()
    with torch.no_grad():
        for at, place in enumerate(places):
            table.weight[offset + at] = rows[offset + place]
    return copied


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_a_gap_is_what_a_table_of_positions_with_a_gap_gives(name: str) -> None:
    model, (_, alignment) = loaded(name), LONGER
    # Beside a pair of one length and one whose second side is the shorter one.
    swapped = item([4, 5], ([7, 8, 9], [6]), [10, 11, 12])
    pairs = [LONGER, item([4], ([5], [6]), [7]), swapped]
    found = pair_difference(model, pairs, components=("resid_post", "logits"), same_positions=True)
    plain = pair_difference(model, pairs, components=("resid_post", "logits"))
    places = shared_positions(alignment)[0]
    assert places is not None
    short = run(moved(model, places), torch.tensor([alignment.ids1])).logits[0, -1:].numpy()
    long = run(model.model, torch.tensor([alignment.ids2])).logits[0, -1:].numpy()
    wanted = state_metrics(short, long)
    for metric in ("mean_abs", "l2", "rel_l2"):
        assert found.metrics[metric][0, -1] == pytest.approx(wanted[metric][0], rel=1e-4)
        assert found.metrics[metric][2, -1] == pytest.approx(wanted[metric][0], rel=1e-4)
    np.testing.assert_allclose(found.metrics["l2"][1], plain.metrics["l2"][1], 1e-4, 1e-5)
    assert not np.allclose(found.metrics["l2"][0], plain.metrics["l2"][0], 1e-2)
    assert found.header["input"]["options"]["same_positions"] is True
    assert any("stands at the same positions" in text for text in found.header["warnings"])


def test_the_rest_of_a_pair_is_the_same_where_positions_are() -> None:
    """An edit that nothing attends to changes nothing behind it, except by the positions."""
    model = loaded("gpt2")
    hidden = item([4, 5], ([6], [6, 6, 6]), [10, 11, 12])
    shifted, placed = (
        pair_difference(model, [hidden], layers=[-1], same_positions=same) for same in (False, True)
    )
    assert shifted.metrics["l2"][0, 0] > 0.1
    assert placed.metrics["l2"][0, 0] == 0


@pytest.mark.parametrize("name", ["llama", "gemma2", "gptj", "gpt_neox_par"])
def test_rotary_positions_have_gaps_too(name: str) -> None:
    model, (_, alignment) = loaded(name), LONGER
    places = shared_positions(alignment)[0]
    found = pair_difference(model, [LONGER], components=("logits",), same_positions=True)
    ids, mask = torch.tensor([alignment.ids1]), torch.ones(1, 6, dtype=torch.long)
    told = {"position_ids": torch.tensor([places]), "attention_mask": mask}
    short = run(model.model, ids, **told).logits[0, -1:].numpy()
    long = run(model.model, torch.tensor([alignment.ids2])).logits[0, -1:].numpy()
    assert found.metrics["l2"][0, 0] == pytest.approx(state_metrics(short, long)["l2"][0], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bloom", "takes no position ids"),
        ("mpt", "takes no position ids"),
        ("mamba", "takes no position ids"),
        ("falcon_rw", "does not place"),
    ],
)
def test_models_without_positions_refuse_them(name: str, said: str) -> None:
    assert name == "mamba" or name in FAMILIES
    with pytest.raises(NotExactError, match=said):
        pair_difference(loaded(name), [LONGER], same_positions=True)


def test_positions_beyond_the_last_one_are_left_out() -> None:
    long = item([4] * 30, ([5], [6] * 5), [7] * 28)
    edits = (((30, 31), (30, 35)), ((40, 45), (44, 45)))
    alignment = Alignment(long[1].ids1, long[1].ids2, 30, edits, ())
    model = loaded("gpt2")
    found = pair_difference(model, [LONGER, (long[0], alignment)], same_positions=True)
    assert [one.index for one in found.left_out] == [1]
    assert "last one is 63" in found.left_out[0].reason
    assert len(pair_difference(model, [(long[0], alignment)]).pairs) == 1


def test_windows_with_other_positions_are_not_resumed(tmp_path: Path) -> None:
    model, pairs = loaded("gpt2"), [LONGER]
    shifted = pair_difference(model, pairs, resume=tmp_path)
    placed = pair_difference(model, pairs, resume=tmp_path, same_positions=True)
    again = pair_difference(model, pairs, resume=tmp_path, same_positions=True)
    assert not np.array_equal(shifted.metrics["l2"], placed.metrics["l2"])
    np.testing.assert_array_equal(placed.metrics["l2"], again.metrics["l2"])
    assert len(list(tmp_path.glob("*.npz"))) == 2
