"""Contributions against independent reference numbers, and what must hold for any numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lens_core.contributions import (
    Shares,
    attention_shares,
    mlp_shares,
    neuron_shares,
    normalised,
    proximity,
)
from lens_core.decomposition import HeadParts

GOLDEN = Path(__file__).parent / "golden"
ATTENTION = ("gqa_nobias", "mha_bias", "mqa_gated", "one_token")
COMPAT_TOLERANCE, CLEAN_TOLERANCE = 5e-5, 2e-6


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def head_parts(data: dict[str, torch.Tensor], batch: int) -> HeadParts:
    before, after = data["resid_pre"][batch], data["resid_mid"][batch]
    bias = data.get("b_O", torch.zeros(before.shape[-1]))
    return HeadParts(
        data["pattern"][batch],
        data["v"][batch],
        None,
        data["W_O"],
        torch.ones(len(before), 1),
        after,
        before,
        bias.expand_as(before),
    )


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("order", [1, 2])
def test_attention_matches_the_reference(name: str, order: int) -> None:
    data = golden(f"attn_{name}")
    for batch in range(len(data["resid_pre"])):
        parts = head_parts(data, batch)
        torch.testing.assert_close(parts.all_parts(), data["decomposed_attn"][batch])
        found = attention_shares(parts, order=order, numerics="compat", bias="ignore")
        _close(found.parts, data[f"expected_attn_l{order}"][batch], COMPAT_TOLERANCE)
        _close(found.residual, data[f"expected_resid_l{order}"][batch], COMPAT_TOLERANCE)
        _close(found.parts.sum(2), data[f"expected_edge_l{order}"][batch], COMPAT_TOLERANCE)


@pytest.mark.parametrize("name", [*ATTENTION, "tiny_scale"])
@pytest.mark.parametrize("order", [1, 2])
def test_attention_matches_the_clean_reference(name: str, order: int) -> None:
    data = golden(f"attn_{name}")
    for batch in range(len(data["resid_pre"])):
        found = attention_shares(head_parts(data, batch), order=order, bias="ignore")
        _close(found.parts, data[f"clean_attn_l{order}"][batch], CLEAN_TOLERANCE)
        _close(found.residual, data[f"clean_resid_l{order}"][batch], CLEAN_TOLERANCE)


@pytest.mark.parametrize("name", [*ATTENTION, "tiny_scale"])
@pytest.mark.parametrize("order", [1, 2])
def test_mlp_matches_the_reference(name: str, order: int) -> None:
    data = golden(f"mlp_{name}")
    for batch in range(len(data["resid_mid"])):
        arrays = [data[key][batch] for key in ("resid_post", "mlp_out", "resid_mid")]
        clean = mlp_shares(*arrays, order=order)
        _close(clean.parts[:, 0], data[f"clean_mlp_l{order}"][batch], CLEAN_TOLERANCE)
        if name != "tiny_scale":
            compat = mlp_shares(*arrays, order=order, numerics="compat")
            _close(compat.parts[:, 0], data[f"expected_mlp_l{order}"][batch], COMPAT_TOLERANCE)
            _close(compat.residual, data[f"expected_resid_l{order}"][batch], COMPAT_TOLERANCE)


@pytest.mark.parametrize("name", ["gqa_nobias", "mqa_gated", "one_token", "tiny_scale"])
@pytest.mark.parametrize("order", [1, 2])
def test_neurons_match_the_reference(name: str, order: int) -> None:
    data = golden(f"neuron_{name}")
    for batch, position in np.ndindex(*data["resid_mid"].shape[:2]):
        neurons = data["act"][batch, position, :, None] * data["W_out"]
        arrays = (data["resid_post"][batch, position], neurons, data["resid_mid"][batch, position])
        bias = torch.zeros(neurons.shape[-1])
        clean = neuron_shares(*arrays, bias, order=order, bias="ignore")
        wanted = data[f"clean_neuron_l{order}"][batch, position]
        _close(clean.parts[0], wanted, CLEAN_TOLERANCE)
        if name != "tiny_scale":
            found = neuron_shares(*arrays, bias, order=order, numerics="compat", bias="ignore")
            wanted = data[f"expected_neuron_l{order}"][batch, position]
            _close(found.parts[0], wanted, COMPAT_TOLERANCE)


@pytest.mark.parametrize("order", [1, 2])
def test_edge_cases(order: int) -> None:
    data = golden("edge_cases")
    for name in {key.split("__")[0] for key in data}:
        parts, whole = data[f"{name}__parts"], data[f"{name}__whole"]
        wanted = data[f"{name}__expected_l{order}"]
        nothing = torch.zeros(1)
        near = proximity(whole, parts, order=order, numerics="compat")[None]
        _close(normalised(near, nothing, nothing).parts[0], wanted, COMPAT_TOLERANCE)
        near = proximity(whole, parts, order=order)[None]
        clean = normalised(near, nothing, nothing)
        if name in ("zero_whole", "overshoot_cancel", "opposite"):
            assert bool(clean.degenerate[0])
            assert not clean.parts.any()
        else:
            _close(clean.parts[0], wanted, 1e-3)


def random_parts(seed: int = 0) -> HeadParts:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    pattern = rand(4, 6, 6).masked_fill(~torch.ones(6, 6).tril().bool(), -torch.inf).softmax(-1)
    values, weight, before = rand(2, 6, 5), rand(4, 5, 16) / 2, rand(6, 16)
    bias = rand(16).expand(6, 16)
    parts = HeadParts(pattern, values, None, weight, torch.ones(6, 1), before, before, bias)
    whole = before + bias + parts.head_sum().sum(1)
    return HeadParts(pattern, values, None, weight, torch.ones(6, 1), whole, before, bias)


def scaled(parts: HeadParts, factor: float) -> HeadParts:
    return HeadParts(
        parts.pattern,
        parts.values,
        None,
        parts.weight * factor,
        parts.factor,
        parts.whole * factor,
        parts.residual * factor,
        parts.bias * factor,
    )


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("order", [1, 2])
def test_scale_changes_nothing(factor: float, order: int) -> None:
    one = attention_shares(random_parts(), order=order)
    other = attention_shares(scaled(random_parts(), factor), order=order)
    _same(one, other)


def test_the_order_of_heads_changes_nothing() -> None:
    parts, order = random_parts(), [3, 2, 0, 1]
    values = parts.values.repeat_interleave(2, 0)
    full, permuted = (
        HeadParts(
            parts.pattern[heads],
            values[heads],
            None,
            parts.weight[heads],
            parts.factor,
            parts.whole,
            parts.residual,
            parts.bias,
        )
        for heads in ([0, 1, 2, 3], order)
    )
    _same(attention_shares(parts), attention_shares(full))
    torch.testing.assert_close(
        attention_shares(full).parts[..., order], attention_shares(permuted).parts
    )


def test_a_head_that_writes_nothing_contributes_nothing() -> None:
    parts = random_parts()
    parts.weight[2] = 0.0
    assert not attention_shares(parts).parts[..., 2].any()


def test_a_duplicate_zero_part_changes_nothing() -> None:
    whole = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    near = proximity(whole[:, None], torch.stack([whole / 2, torch.zeros_like(whole)], 1))
    assert not near[:, 1].any()


def test_a_constant_moves_only_the_bias_and_the_normalisation() -> None:
    parts, moved = random_parts(), random_parts()
    shift = torch.full((16,), 0.3)
    moved = HeadParts(
        moved.pattern,
        moved.values,
        None,
        moved.weight,
        moved.factor,
        moved.whole,
        moved.residual,
        moved.bias + shift,
    )
    one, other = attention_shares(parts), attention_shares(moved)
    ratio = other.residual / one.residual
    torch.testing.assert_close(other.parts, one.parts * ratio[:, None, None])


@pytest.mark.parametrize("block", [1, 3, 100])
def test_streamed_equals_materialised(block: int) -> None:
    parts = random_parts()
    near = proximity(parts.whole[:, None, None], parts.all_parts())
    near *= torch.ones(6, 6).tril()[:, :, None]
    whole = normalised(
        near, proximity(parts.whole, parts.residual), proximity(parts.whole, parts.bias)
    )
    _same(attention_shares(parts, targets_at_once=block), whole)


def _same(one: Shares, other: Shares) -> None:
    for name in ("parts", "residual", "bias"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-5)


def _close(found: Any, wanted: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=tolerance)
