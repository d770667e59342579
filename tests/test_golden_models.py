"""Nine tiny models of other families against reference numbers made independently."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lens_core import logit_lens
from lens_core.contributions import attention_shares, mlp_shares, neuron_shares
from lens_core.dissection import Dissection, dissect
from lens_core.examine import examine
from lens_core.lens.attribution import attribute_logit
from lens_core.models import LoadedModel
from lens_core.trace import capture

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem.removeprefix("model_") for path in GOLDEN.glob("model_*.npz"))
COMPAT = {"rtol": 0, "atol": 5e-5}
EXACT = {"rtol": 0, "atol": 1e-5}
PROBABILITY = {"rtol": 0, "atol": 1e-6}


@dataclass(frozen=True, eq=False)
class Case:
    data: dict[str, np.ndarray]
    loaded: LoadedModel
    ids: torch.Tensor
    parts: Dissection

    def tensor(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.data[key])

    @property
    def layers(self) -> range:
        return range(self.loaded.n_layers)


@cache
def case(name: str) -> Case:
    import transformers

    with np.load(GOLDEN / f"model_{name}.npz") as file:
        data = {key: file[key] for key in file.files}
    config = getattr(transformers, str(data["config_class"]))(
        **json.loads(str(data["config_json"]))
    )
    model = (
        getattr(transformers, str(data["model_class"]))
        ._from_config(config, attn_implementation="eager")
        .float()
        .eval()
    )
    weights = {
        key.removeprefix("sd/"): torch.from_numpy(value)
        for key, value in data.items()
        if key.startswith("sd/")
    }
    model.load_state_dict(weights, strict=True)
    facts = {"revision": None, "quantization": None, "tokenizer_sha256": None}
    loaded = examine(model, None, name=name, weights_sha256="0" * 64, **facts)
    ids = torch.from_numpy(data["input_ids"][0])
    return Case(data, loaded, ids, dissect(model, loaded.anatomy, ids))


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest) -> Case:
    return case(request.param)


def test_all_nine_are_here() -> None:
    assert len(NAMES) == 9


def test_logits_and_streams(golden: Case) -> None:
    trace = capture(golden.loaded, golden.ids)
    assert trace.logits is not None
    torch.testing.assert_close(trace.logits, golden.tensor("logits"), rtol=0, atol=1e-5)
    parallel = str(golden.data["topology"]) == "parallel"
    assert trace.has_mid == (not parallel,) * golden.loaded.n_layers
    for layer in golden.layers:
        for site in ("resid_pre", "resid_mid", "resid_post", "mlp_out"):
            wanted = golden.tensor(f"L{layer}/{site}")
            torch.testing.assert_close(getattr(trace, site)[layer], wanted, rtol=1e-4, atol=1e-5)


def test_patterns_and_parts(golden: Case) -> None:
    for layer in golden.layers:
        attention, heads = golden.parts.attention.layers[layer], golden.parts.heads(layer)
        assert attention is not None
        assert heads is not None
        torch.testing.assert_close(
            attention.pattern, golden.tensor(f"L{layer}/attn_pattern"), **EXACT
        )
        torch.testing.assert_close(
            heads.all_parts(), golden.tensor(f"L{layer}/attn_parts"), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            heads.bias, golden.tensor(f"L{layer}/attn_bias"), rtol=1e-4, atol=1e-5
        )
        neurons = golden.parts.neurons(layer)
        assert neurons is not None
        torch.testing.assert_close(
            neurons.bias, golden.tensor(f"L{layer}/mlp_bias"), rtol=1e-4, atol=1e-5
        )


def test_contributions(golden: Case) -> None:
    for layer in golden.layers:
        heads = golden.parts.heads(layer)
        assert heads is not None
        # The original puts attention before the MLP also where the model adds both at once.
        virtual = replace(heads, whole=golden.parts.trace.resid_mid[layer])
        found = attention_shares(virtual, numerics="compat", bias="ignore")
        _close(found.parts, golden.tensor(f"L{layer}/lmtt_attn"))
        _close(found.residual, golden.tensor(f"L{layer}/lmtt_resid"))
        found = attention_shares(virtual, numerics="compat", bias="part")
        _close(found.parts, golden.tensor(f"L{layer}/withbias_attn"))
        _close(found.bias, golden.tensor(f"L{layer}/withbias_bias"))
        _close(found.residual, golden.tensor(f"L{layer}/withbias_resid"))


def test_mlp_and_neuron_contributions(golden: Case) -> None:
    trace = golden.parts.trace
    for layer in golden.layers:
        whole, mid = trace.resid_post[layer], trace.resid_mid[layer]
        found = mlp_shares(whole, trace.mlp_out[layer], mid, numerics="compat")
        _close(found.parts[:, 0], golden.tensor(f"L{layer}/lmtt_mlp"))
        _close(found.residual, golden.tensor(f"L{layer}/lmtt_mlp_resid"))
        neurons = golden.parts.neurons(layer)
        assert neurons is not None
        single = neuron_shares(
            whole[-1],
            neurons.part(len(whole) - 1),
            mid[-1],
            neurons.bias[-1],
            numerics="compat",
            bias="ignore",
        )
        _close(single.parts[0], golden.tensor(f"L{layer}/lmtt_neurons_last_pos"))


@pytest.mark.parametrize("name", ["gpt_neox_par", "falcon_7b"])
def test_the_joint_merge_of_parallel_layers(name: str) -> None:
    golden = case(name)
    for layer in golden.layers:
        heads = golden.parts.heads(layer)
        assert heads is not None
        mlp = golden.parts.trace.mlp_out[layer]
        found = attention_shares(heads, numerics="compat", bias="ignore", mlp_out=mlp)
        _close(found.parts, golden.tensor(f"L{layer}/joint_attn"))
        assert found.mlp is not None
        _close(found.mlp, golden.tensor(f"L{layer}/joint_mlp"))
        _close(found.residual, golden.tensor(f"L{layer}/joint_resid"))


def test_the_lens(golden: Case) -> None:
    components = ["resid_mid", "resid_post"]
    lens = logit_lens(golden.loaded, golden.ids, components=components)
    for component in lens.cells:
        cells = lens.cells[component]
        short = component.removeprefix("resid_")
        for row, layer in enumerate(cells.layers):
            prefix = f"L{layer}/lens_{short}_"
            assert np.array_equal(cells.top_ids[row], golden.data[f"{prefix}top5_ids"])
            ranks = golden.data[f"{prefix}rank_of_final_top1"]
            assert np.array_equal(lens.targets[0].cells[component].rank[row], ranks)
            for found, key, tolerance in (
                (cells.top_p, "top5_probs", PROBABILITY),
                (cells.entropy, "entropy_nats", EXACT),
                (cells.kl_final, "kl_final_to_lens", EXACT),
            ):
                assert found is not None
                np.testing.assert_allclose(found[row], golden.data[prefix + key], **tolerance)


def test_direct_logit_attribution(golden: Case) -> None:
    trace = capture(golden.loaded, golden.ids)
    heads = [golden.parts.heads(layer) for layer in golden.layers]
    readout = golden.loaded.readout
    inverse = readout.inverse_scale(trace.stream[-1])
    for position, target in enumerate(golden.data["dla_target"].tolist()):
        found = attribute_logit(golden.loaded, trace, position, target)
        for value, key in (
            (found.embed, "dla_embed"),
            (found.attn, "dla_attn"),
            (found.mlp, "dla_mlp"),
            (found.constant, "dla_bias"),
            (found.total, "dla_total"),
        ):
            wanted = golden.data[key]
            wanted = wanted[:, position] if wanted.ndim > 1 else wanted[position]
            np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=2e-5)
        assert abs(found.total - found.logit) <= 1e-5 * max(1.0, abs(found.logit))
        tokens = torch.full((golden.loaded.facts.n_heads, 1), target)
        for layer, parts in enumerate(heads):
            assert parts is not None
            rows = readout.part_input(parts.head_sum()[position], inverse[position])
            logits = readout.part_token_logits(rows, tokens)[:, 0].detach()
            np.testing.assert_allclose(
                logits, golden.data["dla_head"][layer, position], rtol=1e-4, atol=2e-5
            )


def _close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, **COMPAT)
