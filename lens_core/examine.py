"""From a network in memory to a `LoadedModel`: find its parts, prove them, state the facts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lens_core.anatomy import find_anatomy, run_probe
from lens_core.attention_own import value_columns
from lens_core.errors import ModelError
from lens_core.models import LoadedModel, ModelFacts
from lens_core.network import input_device
from lens_core.readout import calibrate
from lens_core.self_check import self_check

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lens_core.anatomy import Anatomy
    from lens_core.dissection import Dissection
    from lens_core.readout import Readout


def examine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    name: str,
    revision: str | None,
    quantization: str | None,
    weights_sha256: str,
    tokenizer_sha256: str | None,
) -> LoadedModel:
    """Probe a model with a few short passes (seconds, not minutes) and wrap it.

    Raises:
        ModelError: its blocks cannot be found, or its logits are not finite.
    """
    probe = run_probe(model)
    if not bool(torch.isfinite(probe.logits).all()):
        raise ModelError(
            f"{name} gives logits that are not finite numbers on a prompt of "
            f"{len(probe.ids)} tokens; its weights are damaged, or {model.dtype} is too small "
            "for them (try float32)."
        )
    anatomy = find_anatomy(probe)
    if all(layer.topology != "opaque" for layer in anatomy.layers):
        anatomy = replace(anatomy, values=value_columns(model, anatomy))
    readout = calibrate(probe)
    check, dissection = self_check(probe, anatomy, readout, quantized=quantization is not None)
    facts = ModelFacts(
        id=name,
        revision=revision,
        class_name=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        quantization=quantization,
        attn_impl=str(getattr(model.config, "_attn_implementation", None) or "own"),
        d_model=anatomy.d_model,
        vocab_size=probe.logits.shape[-1],
        n_layers=len(anatomy.layers),
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        max_positions=_max_positions(model),
        topology=anatomy.topology,
        device=str(input_device(model)),
        weights_sha256=weights_sha256,
        tokenizer_sha256=tokenizer_sha256,
        **_readout_facts(readout),
        **_head_facts(model, anatomy, dissection),
    )
    return LoadedModel(model, tokenizer, facts, anatomy, readout, check)


def _readout_facts(readout: Readout | None) -> dict:
    if readout is None:
        return {"norm": "unknown", "softcap": None, "logit_scale": 1.0}
    norm = "none" if readout.norm is None else type(readout.norm.module).__name__
    return {"norm": norm, "softcap": readout.softcap, "logit_scale": readout.scale}


def _head_facts(model: PreTrainedModel, anatomy: Anatomy, dissection: Dissection | None) -> dict:
    """Sizes as the probe saw them, from the configuration where it could not see."""
    config = model.config.get_text_config(decoder=True)
    layers = () if dissection is None else dissection.attention.layers
    seen = next((layer for layer in layers if layer is not None), None)
    if seen is None:
        heads = int(getattr(config, "num_attention_heads", None) or 0)
        groups = int(getattr(config, "num_key_value_heads", None) or heads)
        sizes = (heads, groups, anatomy.d_model // heads if heads else 0)
    else:
        groups = seen.values.shape[0]
        source = next((value for value in anatomy.values if value is not None), None)
        if source is not None:
            # Outside the registry shared values were repeated for each query head.
            groups = len(source.columns.unique()) // seen.values.shape[-1]
        sizes = (seen.pattern.shape[0], groups, seen.values.shape[-1])
    neurons = None if dissection is None else dissection.neurons(0)
    d_mlp = None if neurons is None else neurons.activations.shape[-1]
    return {
        "n_heads": sizes[0],
        "n_kv_heads": sizes[1],
        "d_head": sizes[2],
        "d_mlp": d_mlp,
    }


def _max_positions(model: PreTrainedModel) -> int | None:
    """The length limit of the configuration; families without one (ALiBi, Mamba) set none."""
    config = model.config.get_text_config(decoder=True)
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if isinstance(limit, int) and limit > 0 else None
