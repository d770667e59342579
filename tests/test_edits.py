"""Edits: exact in the block, gone without a trace after it, refused where they do not fit."""

import base64
import copy
import json
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, MixtralConfig, Qwen2Config

from lens_core.edits import EditColumns, WeightEdit, applied, load_edit, make_edit, save_edit
from lens_core.errors import EditError
from lens_core.loading import wrap_model
from lens_core.models import LoadedModel
from lens_core.weight_edit import to_bytes

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
CONFIGS = {
    "qwen2": Qwen2Config(**SIZES, intermediate_size=48, num_key_value_heads=2),
    "gpt2": GPT2Config(**SIZES, n_inner=48, n_positions=64),
    "mixtral": MixtralConfig(
        **SIZES, intermediate_size=48, num_key_value_heads=2, num_local_experts=2
    ),
}
IDS = torch.tensor([[3, 14, 15, 92, 65]])


def build(family: str, dtype: torch.dtype, seed: int = 0) -> LoadedModel:
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[family]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return wrap_model(model.to(dtype), name=f"{family}-{seed}")


@pytest.fixture(
    scope="module",
    params=[("qwen2", torch.float32), ("gpt2", torch.float32), ("qwen2", torch.bfloat16)],
    ids=["qwen2-fp32", "gpt2-fp32", "qwen2-bf16"],
)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return build(*request.param)


@pytest.fixture(scope="module")
def qwen2() -> LoadedModel:
    return build("qwen2", torch.float32)


def weights(loaded: LoadedModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in loaded.model.state_dict().items()}


def assert_untouched(loaded: LoadedModel, before: dict[str, Tensor]) -> None:
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight.view(torch.uint8), before[name].view(torch.uint8)), name
    assert loaded.active_edits == ()
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    assert all(not module._forward_hooks for module in loaded.model.modules())


def logits(loaded: LoadedModel) -> Tensor:
    model: Any = loaded.model
    with torch.no_grad():
        return model(IDS).logits


def projection(loaded: LoadedModel, layer: int) -> Any:
    return loaded.anatomy.layers[layer].mlp_proj


def matrix(loaded: LoadedModel, layer: int) -> Tensor:
    """What every neuron of a layer writes, [n_neurons, d_model]."""
    weight = projection(loaded, layer).weight.detach()
    return (weight if weight.shape[0] == 48 else weight.T).clone()


def random_edit(
    loaded: LoadedModel, columns: dict[int, list[int]], seed: int = 1, **notes: object
) -> WeightEdit:
    generator = torch.Generator().manual_seed(seed)
    changes = {
        layer: (torch.tensor(index), torch.randn(len(index), 32, generator=generator))
        for layer, index in columns.items()
    }
    return make_edit(loaded, changes, notes=notes)


def test_edit_holds_for_the_block_and_leaves_no_trace(loaded: LoadedModel) -> None:
    before, plain_logits = weights(loaded), logits(loaded)
    edit = random_edit(loaded, {0: [5, 1], 2: [47, 0, 20]})
    whole = {layer: matrix(loaded, layer).clone() for layer in (0, 2)}
    with applied(loaded, edit):
        assert loaded.active_edits == ((edit.id, 1.0),)
        for part in edit.layers:
            assert torch.equal(matrix(loaded, part.layer)[part.columns], part.new)
            others = torch.ones(48, dtype=torch.bool)
            others[part.columns] = False
            assert torch.equal(matrix(loaded, part.layer)[others], whole[part.layer][others])
        assert not torch.equal(logits(loaded), plain_logits)
    assert_untouched(loaded, before)
    assert torch.equal(logits(loaded), plain_logits)


def test_edit_is_what_it_does_to_the_ffn(qwen2: LoadedModel) -> None:
    edit = random_edit(qwen2, {1: [7, 9]})
    part = edit.layers[0]
    module = projection(qwen2, 1)
    neurons = torch.randn(4, 48)
    before = module(neurons)
    with applied(qwen2, edit, strength=0.75):
        change = module(neurons) - before
    expected = 0.75 * neurons[:, part.columns] @ (part.new - part.old)
    torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-5)


def test_made_edit_is_sorted_and_rounded_to_the_models_dtype(loaded: LoadedModel) -> None:
    new = torch.randn(3, 32, dtype=torch.float64)
    edit = make_edit(loaded, {1: (torch.tensor([9, 2, 30]), new)})
    part = edit.layers[0]
    assert part.columns.tolist() == [2, 9, 30]
    assert part.new.dtype == loaded.model.dtype
    assert torch.equal(part.new, new.to(loaded.model.dtype)[[1, 0, 2]])
    assert torch.equal(part.old, matrix(loaded, 1)[part.columns])


def test_same_change_has_the_same_id(loaded: LoadedModel) -> None:
    first = random_edit(loaded, {1: [4, 5]}, method="mint")
    assert first.id == random_edit(loaded, {1: [4, 5]}, method="me-sgd").id
    others = [random_edit(loaded, {1: [4, 6]}), random_edit(loaded, {0: [4, 5]})]
    others += [random_edit(loaded, {1: [4, 5]}, seed=2)]
    assert len({first.id, *(edit.id for edit in others)}) == 4


@pytest.mark.parametrize("strength", [0, 0.5, 1, 1.5])
def test_strength_moves_from_old_to_new(loaded: LoadedModel, strength: float) -> None:
    before = weights(loaded)
    edit = random_edit(loaded, {2: [3, 8]})
    part = edit.layers[0]
    with applied(loaded, edit, strength=strength):
        got = matrix(loaded, 2)[part.columns]
        assert loaded.active_edits == ((edit.id, strength),)
    wide = part.old.float() + strength * (part.new.float() - part.old.float())
    exact = {0.0: part.old, 1.0: part.new}.get(strength, wide.to(part.old.dtype))
    assert torch.equal(got, exact)
    assert_untouched(loaded, before)


@pytest.mark.parametrize("strength", [-0.1, 1.51, float("nan"), float("inf"), 2, True])
def test_strength_out_of_range(qwen2: LoadedModel, strength: float) -> None:
    edit = random_edit(qwen2, {0: [1]})
    with (
        pytest.raises(EditError, match=r"strength is .*0 to 1\.5"),
        applied(qwen2, edit, strength=strength),
    ):
        pass


def test_restored_after_an_exception(loaded: LoadedModel) -> None:
    before = weights(loaded)
    edit = random_edit(loaded, {0: [1, 2], 1: [3]})

    def fail() -> None:
        with applied(loaded, edit, strength=0.3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert_untouched(loaded, before)


def test_disjoint_edits_do_not_depend_on_their_order(loaded: LoadedModel) -> None:
    before = weights(loaded)
    first, second = random_edit(loaded, {0: [1], 1: [2]}), random_edit(loaded, {1: [3]}, seed=2)
    with applied(loaded, first, second):
        forth = weights(loaded)
    with applied(loaded, second, first):
        assert all(torch.equal(forth[name], weight) for name, weight in weights(loaded).items())
    with applied(loaded, first), applied(loaded, second):
        assert loaded.active_edits == ((first.id, 1.0), (second.id, 1.0))
        assert all(torch.equal(forth[name], weight) for name, weight in weights(loaded).items())
    assert_untouched(loaded, before)


def test_overlapping_edits_add_their_differences(qwen2: LoadedModel) -> None:
    before = weights(qwen2)
    first, second = random_edit(qwen2, {1: [2, 3]}), random_edit(qwen2, {1: [3, 4]}, seed=2)
    with applied(qwen2, first, second, strength=0.5):
        got = matrix(qwen2, 1)
    clean = matrix(qwen2, 1)
    for edit in (first, second):
        part = edit.layers[0]
        clean[part.columns] += 0.5 * (part.new - part.old)
    torch.testing.assert_close(got, clean)
    assert_untouched(qwen2, before)


def test_edit_made_on_top_of_another_replaces_it(loaded: LoadedModel) -> None:
    before = weights(loaded)
    first = random_edit(loaded, {1: [2, 3]})
    with applied(loaded, first):
        second = random_edit(loaded, {1: [3, 4]}, seed=2)
    assert second.base == ((first.id, 1.0),)
    with applied(loaded, first, second):
        assert torch.equal(matrix(loaded, 1)[[3, 4]], second.layers[0].new)
        assert torch.equal(matrix(loaded, 1)[2], first.layers[0].new[0])
    with applied(loaded, first), applied(loaded, second):
        assert torch.equal(matrix(loaded, 1)[[3, 4]], second.layers[0].new)
    with pytest.raises(EditError, match=f"on top of {first.id}"), applied(loaded, second):
        pass
    assert_untouched(loaded, before)


def test_nested_overlap_says_how_to_apply_both(qwen2: LoadedModel) -> None:
    before = weights(qwen2)
    first, second = random_edit(qwen2, {1: [2]}), random_edit(qwen2, {1: [2]}, seed=2)

    def nest() -> None:
        with applied(qwen2, first), applied(qwen2, second):
            pass

    with pytest.raises(EditError, match="both in one call"):
        nest()
    assert_untouched(qwen2, before)


def test_wrong_model_is_refused_by_layer_and_nothing_changes(loaded: LoadedModel) -> None:
    family = loaded.facts.id.split("-")[0]
    other = build(family, loaded.model.dtype, seed=7)
    before = weights(other)
    fitting = random_edit(other, {0: [1]})
    foreign = random_edit(loaded, {2: [4, 5]})
    message = rf'made for "{family}-0".*does not fit "{family}-7": layer 2 differs in 2 of 2'
    with pytest.raises(EditError, match=message), applied(other, fitting, foreign):
        pass
    assert_untouched(other, before)


def test_one_changed_layer_is_named(qwen2: LoadedModel) -> None:
    edit = random_edit(qwen2, {0: [1, 2], 1: [1, 2], 2: [1, 2]})
    other = build("qwen2", torch.float32)
    with torch.no_grad():
        projection(other, 1).weight[5, 2] += 1e-6
    with pytest.raises(EditError, match="layer 1 differs in 1 of 2"), applied(other, edit):
        pass


def test_other_dtype_width_or_depth_is_refused(qwen2: LoadedModel) -> None:
    edit = random_edit(qwen2, {0: [1]})
    half = build("qwen2", torch.bfloat16)
    with pytest.raises(EditError, match=r"layer 0 has .*bfloat16.*float32"), applied(half, edit):
        pass
    part = edit.layers[0]
    narrow = replace(edit, layers=(replace(part, old=part.old[:, :8], new=part.new[:, :8]),))
    with pytest.raises(EditError, match="layer 0 has 32 dimensions"), applied(qwen2, narrow):
        pass
    deep = replace(edit, layers=(replace(part, layer=3),))
    with pytest.raises(EditError, match=r"layer 3.*layers 0 to 2"), applied(qwen2, deep):
        pass
    wide = replace(edit, layers=(replace(part, columns=torch.tensor([48])),))
    with pytest.raises(EditError, match=r"neurons 0 to 47.*48"), applied(qwen2, wide):
        pass


def test_layers_without_plain_projection_are_refused() -> None:
    experts = build("mixtral", torch.float32)
    with pytest.raises(EditError, match=r"Layer 1.*mixture of experts"):
        make_edit(experts, {1: (torch.tensor([0]), torch.zeros(1, 32))})
    adapted = build("qwen2", torch.float32)
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # inside peft
        config = peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
        lora = wrap_model(peft.get_peft_model(adapted.model, config))
    with pytest.raises(EditError, match=r"Layer 1.*plain weights"):
        make_edit(lora, {1: (torch.tensor([0]), torch.zeros(1, 32))})


def test_layers_that_share_weights_are_refused() -> None:
    loaded = build("qwen2", torch.float32)
    first, second = (projection(loaded, layer) for layer in (0, 1))
    second.weight = first.weight
    with pytest.raises(EditError, match=r"Layer 1.*shares its FFN weights with layer 0"):
        make_edit(loaded, {1: (torch.tensor([0]), torch.zeros(1, 32))})


@pytest.mark.parametrize(
    ("columns", "new", "message"),
    [
        ([48], torch.zeros(1, 32), "neurons 0 to 47"),
        ([-1], torch.zeros(1, 32), "-1"),
        ([1, 1], torch.zeros(2, 32), "repeated"),
        ([], torch.zeros(0, 32), "no columns"),
        ([1], torch.zeros(1, 31), r"shape \[1, 32\]"),
        ([1], torch.full((1, 32), torch.nan), "not finite"),
        ([1], torch.full((1, 32), 1e300, dtype=torch.float64), "not finite"),
    ],
)
def test_changes_that_do_not_fit(
    qwen2: LoadedModel, columns: list[int], new: Tensor, message: str
) -> None:
    with pytest.raises(EditError, match=message):
        make_edit(qwen2, {1: (torch.tensor(columns, dtype=torch.long), new)})
    with pytest.raises(EditError, match="one or more layers"):
        make_edit(qwen2, {})


def test_inference_mode_and_gradients() -> None:
    with torch.inference_mode():
        model: Any = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS["qwen2"]))
    loaded = wrap_model(model)
    assert projection(loaded, 0).weight.is_inference()
    edit = random_edit(loaded, {0: [1]})
    before = weights(loaded)
    with applied(loaded, edit):
        assert torch.equal(matrix(loaded, 0)[1], edit.layers[0].new[0])
    assert_untouched(loaded, before)
    trainable = build("qwen2", torch.float32)
    trainable.model.requires_grad_(True)
    before = weights(trainable)
    with torch.inference_mode():
        inside = random_edit(trainable, {0: [1]})
        with applied(trainable, inside):
            logits(trainable)
    assert not inside.layers[0].old.is_inference()
    with applied(trainable, inside):
        # Gradients go through the edited weights, and are left on none of them.
        model = trainable.model
        loss = model(IDS).logits.sum()
        weight = projection(trainable, 0).weight
        (gradient,) = torch.autograd.grad(loss, [weight])
        assert bool(gradient.any())
    assert weight.requires_grad
    assert_untouched(trainable, before)


def test_threads_never_see_each_others_edits() -> None:
    loaded = build("qwen2", torch.float32)
    before = weights(loaded)
    edits = [random_edit(loaded, {0: [1, 2], 2: [seed]}, seed=seed) for seed in range(4)]
    expected = []
    for edit in edits:
        with applied(loaded, edit):
            expected.append(logits(loaded))
    plain = logits(loaded)
    start = threading.Barrier(5)

    def user(number: int) -> bool:
        start.wait()
        same = True
        for _ in range(15):
            if number == 4:
                with loaded.lock:
                    same &= torch.equal(logits(loaded), plain) and not loaded.active_edits
            else:
                with applied(loaded, edits[number]):
                    same &= torch.equal(logits(loaded), expected[number])
                    same &= loaded.active_edits == ((edits[number].id, 1.0),)
        return same

    with ThreadPoolExecutor(5) as threads:
        assert all(threads.map(user, range(5)))
    assert_untouched(loaded, before)


def assert_same(first: WeightEdit, second: WeightEdit) -> None:
    assert first.id == second.id
    assert (first.model, first.weights_sha256) == (second.model, second.weights_sha256)
    assert (first.created, first.base) == (second.created, second.base)
    assert first.notes == second.notes
    assert first.fingerprint == second.fingerprint
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.layer == other.layer
        for name in ("columns", "old", "new"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_round_trips(loaded: LoadedModel, tmp_path: Path) -> None:
    notes = {"method": "mint", "prompt": "我爱 <b>\u202e", "metrics": {"margin": 0.1 + 0.2}}
    with applied(loaded, random_edit(loaded, {2: [9]})):
        edit = random_edit(loaded, {0: [1, 47], 2: [3]}, **notes)
    save_edit(edit, tmp_path / "edit.safetensors")
    for read in (
        load_edit(tmp_path / "edit.safetensors"),
        load_edit(str(tmp_path / "edit.safetensors")),
        load_edit((tmp_path / "edit.safetensors").read_bytes()),
        WeightEdit.from_json(json.loads(json.dumps(edit.to_json(), allow_nan=False))),
        copy.deepcopy(edit),
    ):
        assert_same(read, edit)
        with applied(loaded, read):
            assert torch.equal(matrix(loaded, 2)[3], edit.layers[1].new[0])


def tampered(edit: WeightEdit) -> dict[str, bytes]:
    """Files that are no edits, and why."""
    data = to_bytes(edit)
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    part = edit.layers[0]
    tensors = {f"layers.{part.layer}.{n}": getattr(part, n) for n in ("columns", "old", "new")}
    texts = header["__metadata__"]
    swapped = bytearray(data)
    swapped[-1] ^= 1

    def with_texts(**changes: str) -> bytes:
        return save(tensors, metadata={**texts, **changes})

    def with_tensors(**changes: Tensor) -> bytes:
        return save({**tensors, **changes}, metadata=texts)

    old, new = f"layers.{part.layer}.old", f"layers.{part.layer}.new"
    return {
        "empty": b"",
        "short": data[:100],
        "cut": data[:-1],
        "longer": data + b"x",
        "garbage": b"\x00" * 64,
        "huge header": struct.pack("<Q", 2**63) + data[8:],
        "deep header": struct.pack("<Q", 200_000) + b"[" * 200_000,
        "no metadata": save(tensors),
        "other schema": with_texts(schema="lens_core/weight_edit/2"),
        "value": bytes(swapped),
        "id": with_texts(id="0" * 32),
        "fingerprint": with_texts(fingerprint="{}"),
        "notes": with_texts(notes="[1]"),
        "notes text": with_texts(notes="{"),
        "base": with_texts(base='[["id", "1"]]'),
        "unknown part": with_tensors(extra=torch.zeros(1)),
        "missing part": save({old: part.old, new: part.new}, metadata=texts),
        "no parts": save({}, metadata=texts),
        "whole numbers": with_tensors(**{new: part.new.to(torch.int64)}),
        "bytes": with_tensors(**{new: part.new.to(torch.uint8)}),
        "shape": with_tensors(**{new: part.new[:1]}),
        "not finite": with_tensors(**{new: part.new * torch.inf}),
        "order": with_tensors(**{f"layers.{part.layer}.columns": part.columns.flip(0)}),
        "repeated": with_tensors(**{f"layers.{part.layer}.columns": part.columns * 0}),
        "negative": with_tensors(**{f"layers.{part.layer}.columns": part.columns - 9}),
    }


def test_damaged_files_are_refused(qwen2: LoadedModel, tmp_path: Path) -> None:
    edit = random_edit(qwen2, {1: [2, 5, 6]})
    for name, data in tampered(edit).items():
        with pytest.raises(EditError):
            pytest.fail(f"{name} was read: {load_edit(data)}")
        record = {**edit.to_json(), "safetensors": base64.b64encode(data).decode()}
        with pytest.raises(EditError):
            WeightEdit.from_json(record)
    with pytest.raises(EditError, match="no edit file"):
        load_edit(tmp_path / "missing.safetensors")


def test_every_changed_byte_of_the_values_is_noticed(qwen2: LoadedModel) -> None:
    data = to_bytes(random_edit(qwen2, {1: [2, 5]}))
    (length,) = struct.unpack_from("<Q", data)
    for position in range(8 + length, len(data), 37):
        changed = bytearray(data)
        changed[position] ^= 0x10
        with pytest.raises(EditError):
            load_edit(bytes(changed))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "lens_core/logit_lens/1"},
        {"safetensors": None},
        {"safetensors": "not base64!"},
        {"safetensors": "AAAA"},
        {"id": "0" * 32},
        {"model": "another"},
        {"created": "2020-01-01T00:00:00+00:00"},
        {"layers": [{"layer": 1, "columns": 2}]},
        {"layers": 1},
    ],
)
def test_damaged_json_is_refused(qwen2: LoadedModel, change: dict) -> None:
    record = {**random_edit(qwen2, {1: [2]}).to_json(), **change}
    with pytest.raises(EditError):
        WeightEdit.from_json(record)


def test_size_limit(qwen2: LoadedModel, tmp_path: Path) -> None:
    edit = random_edit(qwen2, {1: [2]})
    record, data = edit.to_json(), to_bytes(edit)
    save_edit(edit, tmp_path / "edit.safetensors")
    with pytest.raises(EditError, match=r"at most 0\.0 MB"):
        load_edit(data, max_bytes=len(data) - 1)
    with pytest.raises(EditError, match="at most"):
        load_edit(tmp_path / "edit.safetensors", max_bytes=len(data) - 1)
    with pytest.raises(EditError, match="at most"):
        WeightEdit.from_json(record, max_bytes=len(data) - 9)
    with pytest.raises(EditError, match=r"17\.8 MB; at most 16\.8 MB"):
        load_edit(bytes(17_800_000))
    assert load_edit(data, max_bytes=len(data)).id == edit.id
    assert edit.nbytes < len(data)


def test_layers_must_belong_together() -> None:
    part = EditColumns(0, torch.tensor([1]), torch.zeros(1, 4), torch.ones(1, 4))
    with pytest.raises(EditError, match="increasing order"):
        WeightEdit("model", "hash", (part, part))
    other = EditColumns(1, torch.tensor([1]), torch.zeros(1, 5), torch.ones(1, 5))
    with pytest.raises(EditError, match="one width"):
        WeightEdit("model", "hash", (part, other))
