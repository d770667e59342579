"""Operations on layers equal models built that way; losses are those of transformers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES as FAMILY
from families import IDS, N_LAYERS, loaded, randomise
from test_patching import hooks_left
from torch import Tensor, nn

from lens_core import LoadedModel, NotExactError, wrap_model
from lens_core.network import run as forward
from lens_core.patching import Operation, layer_operations, layer_operations_steps
from lens_core.patching.operations import operated, planned
from lens_core.progress import Stopped, reported
from lens_core.weights import model_sha256

FAMILIES = (
    "llama", "gpt2", "gemma2", "gpt_neox_par", "falcon_7b", "mixtral", "gpt_oss", "granite",
    "opt", "bloom", "qwen3_next", "cohere2", "gpt_neo",
)  # fmt: skip
HYBRID = ("gemma2", "gpt_oss", "cohere2", "gemma3_text", "olmo3", "qwen3_next")
"""Layers of several kinds that are told apart by their place."""
TEXTS = [IDS.tolist(), [3, 4, 5], [9, 8, 7, 6, 5, 4, 3, 2, 1], [11, 12, 13, 14]]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return loaded(request.param)


def logits(model: Any) -> Tensor:
    return forward(model, IDS[None]).logits[0].clone()


def under(model: LoadedModel, kind: str, *layers: int) -> Tensor:
    with operated(model, Operation(kind, layers)):
        return logits(model.model)


def blocks_of(network: nn.Module) -> nn.ModuleList:
    return next(
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == N_LAYERS
    )


def rebuilt(model: LoadedModel, order: list[int]) -> Any:
    """A copy whose blocks are really others: left out, doubled or in another order."""
    copied = copy.deepcopy(model.model)
    blocks = blocks_of(copied)
    kept = [blocks[layer] for layer in order]
    while len(blocks):
        del blocks[0]
    blocks.extend(kept)
    config: Any = copied.config
    config.num_hidden_layers = len(order)
    if getattr(config, "layer_types", None):
        types = [model.model.config.layer_types[layer] for layer in order]
        for module in copied.modules():
            if hasattr(module, "config"):
                module.config.layer_types = types
                module.config.num_hidden_layers = len(order)
    return copied


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_removing_a_block_equals_deleting_it(model: LoadedModel) -> None:
    for layer in range(N_LAYERS):
        order = [other for other in range(N_LAYERS) if other != layer]
        close(under(model, "remove", layer), logits(rebuilt(model, order)))
    close(under(model, "skip_range", 1, 2), logits(rebuilt(model, [0])))


def test_repeating_a_block_equals_a_model_that_has_it_twice(model: LoadedModel) -> None:
    found = under(model, "repeat", 1)
    close(found, logits(rebuilt(model, [0, 1, 1, 2])))
    assert not torch.allclose(found, logits(model.model), atol=1e-3)


def test_exchanging_twice_is_the_original(model: LoadedModel) -> None:
    before, network = logits(model.model), model.model
    types = getattr(network.config, "layer_types", None)
    with operated(model, Operation("exchange", (0, 2))):
        once = logits(network)
        blocks = blocks_of(network)
        blocks[0], blocks[2] = blocks[2], blocks[0]
        if types:
            network.config.layer_types = types
        assert torch.equal(logits(network), before)
        blocks[0], blocks[2] = blocks[2], blocks[0]
    assert not torch.allclose(once, before, atol=1e-3)
    assert torch.equal(logits(network), before)
    assert getattr(network.config, "layer_types", None) is types


def hybrid(name: str, types: list[str]) -> Any:
    """A tiny model whose layers are of these kinds."""
    kind, arguments = FAMILY[name]
    config = getattr(transformers, kind)(**{**arguments, "layer_types": types})
    options = {"attn_implementation": "eager"} if name == "gemma2" else {}
    network = transformers.AutoModelForCausalLM.from_config(config, **options).eval().float()
    randomise(network)
    return network


@pytest.mark.parametrize("name", HYBRID)
def test_exchanged_blocks_keep_their_kind_of_attention(name: str) -> None:
    """Against a model that was built with the kinds, and loaded with the weights, exchanged."""
    short = "linear_attention" if name == "qwen3_next" else "sliding_attention"
    model = wrap_model(hybrid(name, [short, "full_attention", "full_attention"]), None)
    other = hybrid(name, ["full_attention", "full_attention", short])
    state = {}
    for key, value in model.model.state_dict().items():
        parts = key.split(".")
        if "layers" in parts:
            at = parts.index("layers") + 1
            parts[at] = str(N_LAYERS - 1 - int(parts[at]))
        state[".".join(parts)] = value
    other.load_state_dict(state)
    found = under(model, "exchange", 0, 2)
    close(found, logits(other))
    if name in ("gemma2", "gpt_oss"):
        with operated(model, Operation("exchange", (0, 2))):
            config: Any = model.model.config
            config.layer_types = config.layer_types[::-1]
            wrong = logits(model.model)
        assert (wrong - found).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "falcon_7b", "bloom"])
def test_a_branch_at_zero_equals_zero_weights(name: str) -> None:
    model = loaded(name)
    for kind, part in (("zero_attention", "attn_proj"), ("zero_mlp", "mlp_proj")):
        copied = copy.deepcopy(model.model)
        names = {module: name for name, module in model.model.named_modules()}
        projection = copied.get_submodule(names[getattr(model.anatomy.layers[1], part)])
        with torch.no_grad():
            for parameter in projection.parameters():
                parameter.zero_()
            post = {"zero_attention": "attn_add", "zero_mlp": "mlp_add"}[kind]
            norm = getattr(model.anatomy.layers[1], post).post_norm
            assert norm is None or not norm.bias.any()
        close(under(model, kind, 1), logits(copied))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_transformers(name: str) -> None:
    model = loaded(name)
    result = layer_operations(model, TEXTS, operations=["remove"], layers=[1])
    alone = layer_operations(model, TEXTS, operations=["remove"], layers=[1], batch_tokens=1)
    assert result.tokens is not None
    assert alone.tokens is not None
    np.testing.assert_allclose(result.tokens.nll, alone.tokens.nll, rtol=0, atol=2e-5)
    for variant, operation in enumerate((None, Operation("remove", (1,)))):
        losses = []
        for index, text in enumerate(TEXTS):
            ids = torch.tensor([text])
            with operated(model, operation):
                wanted = float(forward(model.model, ids, labels=ids).loss)
            part = slice(*result.tokens.starts[index : index + 2])
            assert result.tokens.nll[variant, part].mean() == pytest.approx(wanted, abs=1e-5)
            losses += [wanted] * (len(text) - 1)
        assert result.scores[variant].nll == pytest.approx(np.mean(losses), abs=1e-5)
        assert result.scores[variant].perplexity == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)


def test_the_model_is_left_as_it_was() -> None:
    model = loaded("gemma2")
    before = model_sha256(model.model), hooks_left(model), model.model.config.to_dict()
    blocks, plain = list(blocks_of(model.model)), logits(model.model)
    kinds = ["remove", "exchange", "repeat", "zero_attention", "zero_mlp"]
    layer_operations(model, TEXTS, operations=kinds)

    def stop(what: str, done: int, total: int) -> None:
        raise Stopped

    with reported(stop), pytest.raises(Stopped):
        layer_operations(model, TEXTS)
    for kind in kinds:
        layers = (0, 1) if kind == "exchange" else (0,)
        with pytest.raises(ZeroDivisionError), operated(model, Operation(kind, layers)):
            raise ZeroDivisionError
    next(iter(layer_operations_steps(model, TEXTS)))
    assert (model_sha256(model.model), hooks_left(model), model.model.config.to_dict()) == before
    assert list(blocks_of(model.model)) == blocks
    assert all(p.grad is None for p in model.model.parameters())
    assert torch.equal(logits(model.model), plain)


def test_what_is_not_exact_is_refused() -> None:
    with pytest.raises(NotExactError, match="no single stream"):
        layer_operations(loaded("gemma3n"), TEXTS)
    with pytest.raises(NotExactError, match="cannot be taken apart"):
        layer_operations(loaded("rwkv"), TEXTS, operations=["zero_mlp"])
    with pytest.raises(NotExactError, match="no MLP of its own"):
        layer_operations(loaded("mamba"), TEXTS, operations=["zero_mlp"])
    with pytest.raises(NotExactError, match="more than the stream by its place"):
        layer_operations(loaded("gemma4"), TEXTS)
    # Its configuration works the kinds of its layers out; they are all of one kind.
    assert layer_operations(loaded("mamba"), TEXTS, operations=["exchange"]).scores[2].change
    layers = planned(loaded("mamba"), ["remove", "skip_range", "remove"], [0, 2])
    assert [operation.name for operation in layers] == ["remove 0", "remove 2", "skip_range 0, 2"]
