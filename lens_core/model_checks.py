"""What a model must be before it is read: causal, a language model, complete and finite."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from lens_core.errors import ModelError
from lens_core.weights import first_bad_parameter

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

    from lens_core.checkpoints import WeightSizes

_ROUNDING = {"float32": 1e-4, "float64": 1e-4}
"""The part of the largest logit by which later tokens may move earlier ones."""
_HALF_ROUNDING = 0.02
_SIZES = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads")
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
_MAX_LAYERS = 10_000
BITSANDBYTES = "bitsandbytes>=0.46.1"
"""What reads and writes weights of 8 and 4 bits."""
_PACKED = 8
"""Weights of a quantised checkpoint that one stored number can hold."""


def check_config(config: PretrainedConfig, name: str) -> None:
    """Refuse a configuration that is not of a causal language model, before weights are read.

    Raises:
        ModelError: names the kind of model it is.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    )

    _refuse_encoder_decoder(config, name)
    if "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return
    classes = config.architectures or []
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if not known or (classes and causal.isdisjoint(classes)):
        kind = ", ".join(classes) or config.model_type
        raise ModelError(
            f'"{name}" is a {kind}, which is no causal language model that this version of '
            "transformers can load; choose a model with an architecture such as LlamaForCausalLM."
        )


def check_kind(kind: str, known: Iterable[str], name: str) -> None:
    """Refuse a model type that this version of transformers does not have.

    Raises:
        ModelError: names the type, and the nearest one that is known.
    """
    kinds = list(known)
    if kind in kinds:
        return
    near = difflib.get_close_matches(kind, kinds, n=1)
    hint = f' (the nearest is "{near[0]}")' if near else ""
    raise ModelError(
        f'"{name}" has a config.json with model_type "{kind}", which is none of the {len(kinds)} '
        f"that transformers {version('transformers')} knows{hint}. Correct config.json, or update "
        "transformers if the model is newer."
    )


def check_stored_quantization(config: PretrainedConfig, name: str) -> None:
    """Refuse weights stored by bitsandbytes where that package is not installed.

    Raises:
        ModelError: names the package.
    """
    settings = getattr(config, "quantization_config", None) or {}
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    by_it = settings.get("quant_method") in ("bitsandbytes", "bitsandbytes_4bit")
    if by_it and importlib.util.find_spec("bitsandbytes") is None:
        bits = "4" if settings.get("load_in_4bit") else "8"
        raise ModelError(
            f'"{name}" stores its weights in {bits} bits by bitsandbytes, which is not installed: '
            f"pip install '{BITSANDBYTES}', or load the original checkpoint."
        )


def check_depth(config: Mapping[str, Any], name: str) -> None:
    """Refuse a config.json so deep that reading it alone would take minutes.

    transformers makes a list as long as the model is deep before anything can be asked.

    Raises:
        ModelError: names the key, its value and the limit.
    """
    for key in _DEPTHS:
        value = config.get(key)
        if isinstance(value, int) and value > _MAX_LAYERS:
            raise ModelError(
                f'"{name}" has a config.json with {key} {value:,}; the limit is {_MAX_LAYERS:,} '
                "layers. Correct config.json."
            )


def check_sizes(config: PretrainedConfig, sizes: WeightSizes, name: str) -> None:
    """Refuse a configuration that its own files cannot fill, before anything is built from it.

    Raises:
        ModelError: names the key, its value and what the files hold.
    """
    text = config.get_text_config(decoder=True)
    found = {key: getattr(text, key, None) for key in _SIZES}
    numbers = {key: value for key, value in found.items() if isinstance(value, int)}
    for key, value in numbers.items():
        if value < 1:
            raise ModelError(
                f'"{name}" has a config.json with {key} {value}; it must be at least 1.'
            )
    for key in ("num_hidden_layers", "vocab_size"):
        needed = numbers.get(key, 0) * numbers.get("hidden_size", 1)
        if needed > _PACKED * sizes.parameters:
            raise ModelError(
                f'"{name}" has a config.json with {key} {numbers[key]:,}, which needs at least '
                f"{needed:,} weights; its files hold {sizes.parameters:,}. Correct config.json."
            )
    whole = [stored for stored in sizes.by_dtype if stored.startswith(("I", "U", "F8", "BOOL"))]
    if whole and getattr(config, "quantization_config", None) is None:
        raise ModelError(
            f'"{name}" stores weights as {whole[0]}, and its config.json has no '
            "quantization_config that says how to read them; use the original checkpoint."
        )


def check_loaded(report: Mapping[str, Any], name: str) -> None:
    """Refuse weights that transformers would have made up.

    Args:
        report: the `output_loading_info` of `from_pretrained`.
        name: what messages call the model.

    Raises:
        ModelError: names the first weight that is missing or has another shape.
    """
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f'"{name}" has no {missing[0]} in its files ({len(missing)} weights are missing), and '
            "random values would take its place. Check config.json, or save the model again."
        )
    if mismatched := sorted(report["mismatched_keys"]):
        key, stored, wanted = mismatched[0]
        raise ModelError(
            f'"{name}" stores {key} with shape {list(stored)}, but config.json asks for '
            f"{list(wanted)}. One of the two files is wrong."
        )


def _refuse_encoder_decoder(config: PretrainedConfig, name: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f'"{name}" is an encoder-decoder model ({config.model_type}); only decoder-only causal '
            "language models can be read."
        )


def check_model(model: PreTrainedModel, name: str) -> None:
    """Refuse what is no causal language model with finite weights.

    Raises:
        ModelError: encoder-decoder, without an unembedding, NaN or infinite weights, or a model
            whose earlier predictions change with later tokens.
    """
    _refuse_encoder_decoder(model.config, name)
    if model.get_output_embeddings() is None:
        raise ModelError(
            f'"{name}" ({type(model).__name__}) has no unembedding, so it predicts no tokens. '
            "Load it with AutoModelForCausalLM."
        )
    bad = first_bad_parameter(model)
    if bad is not None:
        raise ModelError(
            f'"{name}" has {bad[1]} values in {bad[0]}; all weights must be finite. '
            "Download or save the weights again."
        )
    _check_causal(model, name)


def _check_causal(model: PreTrainedModel, name: str) -> None:
    """Change the last of four tokens: what came before must stay."""
    import torch

    embed = cast("Tensor", model.get_input_embeddings().weight)
    ids = (torch.arange(4) % embed.shape[0]).repeat(2, 1)
    ids[1, -1] = (ids[1, -1] + 1) % embed.shape[0]
    with torch.no_grad():
        logits = model(input_ids=ids.to(embed.device), use_cache=False).logits.float().cpu()
    if logits.shape[:2] != (2, 4):
        raise ModelError(
            f'"{name}" returns logits of shape {list(logits.shape)} for 2 x 4 tokens; one row a '
            "token is needed (prompt tuning and other added positions cannot be read)."
        )
    if bool(logits.isnan().any()):
        raise ModelError(
            f'"{name}" computes NaN logits in {embed.dtype}; load it with dtype="float32".'
        )
    before, after = logits[:, :3]
    change = float((before - after).abs().max())
    rounding = _ROUNDING.get(str(embed.dtype).removeprefix("torch."), _HALF_ROUNDING)
    if change > rounding * float(before.abs().max()):
        raise ModelError(
            f'"{name}" ({type(model).__name__}) is not causal: changing the last of 4 tokens '
            f"changes the logits before it by {change:.3g}. Only causal models can be read."
        )


def quantization_of(model: nn.Module) -> str | None:
    """How the weights are quantised: "8bit", "4bit", another method's name, or None."""
    settings = getattr(getattr(model, "config", None), "quantization_config", None)
    if settings is None:
        return None
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    for bits in ("8bit", "4bit"):
        if settings.get(f"load_in_{bits}"):
            return bits
    return str(settings.get("quant_method", "unknown"))
