"""Load a causal language model by name, or take one that is in memory, and prove what it is.

A checkpoint that is damaged, incomplete or no causal language model is refused with its reason:
transformers would fill missing weights with random ones and go on.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

from lens_core.checkpoints import (
    WeightSizes,
    find_checkpoint,
    hub_sizes,
    local_folder,
    stored_sizes,
)
from lens_core.errors import InputError, ModelError
from lens_core.memory import check_memory
from lens_core.model_checks import BITSANDBYTES, check_model, check_sizes, quantization_of
from lens_core.pretrained import loading_alone, read_config, read_model, read_tokenizer
from lens_core.tokens import tokenizer_sha256
from lens_core.weights import files_sha256, model_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lens_core.models import LoadedModel

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("8bit", "4bit")
_HALF_FROM = 2_000_000_000
"""On a GPU, models with more parameters than this are computed in bfloat16."""


def load_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    quantization: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """A model of the repository ("demo"), of a local folder, or of the Hugging Face Hub.

    Args:
        name: "demo", a folder, or a Hub id such as "Qwen/Qwen2.5-Coder-0.5B".
        revision: branch, tag or commit on the Hub.
        dtype: "float32", "bfloat16", "float16", or "auto" as stored. By default float32, and
            bfloat16 on a GPU for models of more than 2 billion parameters.
        device: "cpu", "cuda", or "auto" to spread over all GPUs and the memory; by default a GPU
            if there is one.
        quantization: "8bit" or "4bit" (nf4) by bitsandbytes, on a GPU.
        trust_remote_code: run Python code that comes with the model. Only for models you trust.

    Raises:
        InputError: an argument outside its choices.
        ModelError: the model cannot be found, does not fit, is damaged or is not understood.
    """
    device = _checked_device(device, dtype, quantization)
    sizes = hub_sizes(name, revision=revision) if local_folder(name) is None else None
    if sizes is not None:  # before a download of gigabytes
        _chosen_dtype(name, sizes, dtype, device=device, quantization=quantization)
    checkpoint = find_checkpoint(name, revision=revision, trust_remote_code=trust_remote_code)
    config = read_config(checkpoint, trust_remote_code)
    stored = stored_sizes(checkpoint)
    check_sizes(config, stored, name)
    chosen = _chosen_dtype(name, stored, dtype, device=device, quantization=quantization)
    with loading_alone():
        tokenizer = read_tokenizer(checkpoint, trust_remote_code)
        options = {"dtype": chosen, **_placement(device, quantization)}
        model = read_model(checkpoint, config, options, trust_remote_code)
    return wrap_model(
        model,
        tokenizer,
        name=name,
        revision=checkpoint.revision,
        weights_sha256=files_sha256(checkpoint.folder),
    )


def wrap_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    name: str | None = None,
    revision: str | None = None,
    weights_sha256: str | None = None,
) -> LoadedModel:
    """A transformers causal LM that is in memory already, examined; also with adapters on it.

    The model is put into evaluation mode. Without a tokenizer, views show ids and text is refused.

    Args:
        model: any causal language model of transformers, or a PEFT model around one.
        tokenizer: its tokenizer, if text is to be read.
        name: what results call it; by default the path or class it came from.
        revision: recorded in results.
        weights_sha256: the hash of its weights where it is known; otherwise it is computed.

    Raises:
        InputError: `model` is no transformers model.
        ModelError: it is no causal language model, or its weights are not finite.
    """
    from lens_core.examine import examine

    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "get_output_embeddings"):
        raise InputError(
            f"wrap_model takes a transformers model; this is a {type(model).__name__}. "
            "To load one by name, use load_model."
        )
    name = str(name or getattr(config, "_name_or_path", "") or type(model).__name__)
    model.eval()
    check_model(model, name)
    return examine(
        model,
        tokenizer,
        name=name,
        revision=revision,
        quantization=quantization_of(model),
        weights_sha256=weights_sha256 or model_sha256(model),
        tokenizer_sha256=tokenizer_sha256(tokenizer),
    )


def estimate_bytes(
    name: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    quantization: str | None = None,
) -> int | None:
    """Bytes that `load_model` with these arguments will take up; None if nobody can tell yet.

    Raises:
        InputError: an argument outside its choices.
        ModelError: the model cannot be found, or its files cannot be read.
    """
    device = _checked_device(device, dtype, quantization)
    if local_folder(name) is not None:
        sizes = stored_sizes(find_checkpoint(name))
    else:
        sizes = hub_sizes(name, revision=revision)
    if sizes is None:
        return None
    return sizes.bytes_as(dtype or _default_dtype(sizes, device), quantization)


def _checked_device(device: str | None, dtype: str | None, quantization: str | None) -> str:
    """The device in words, once all three choices are known to be possible here."""
    import torch

    if dtype is not None and dtype not in DTYPES:
        raise InputError(f'dtype is "{dtype}"; it can be {", ".join(DTYPES)}, or None.')
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise InputError(f'quantization is "{quantization}"; it can be "8bit", "4bit" or None.')
    has_gpu = torch.cuda.is_available()
    if device is None:
        device = "cuda" if has_gpu else "cpu"
    if not re.fullmatch(r"cpu|auto|cuda(:\d+)?", device):
        raise InputError(f'device is "{device}"; it can be "cpu", "cuda", "auto" or None.')
    if device.startswith("cuda") and not has_gpu:
        raise ModelError(
            f'device is "{device}", but PyTorch sees no CUDA GPU here; use device="cpu".'
        )
    if quantization is not None:
        _check_quantization(quantization, device)
    return device


def _check_quantization(quantization: str, device: str) -> None:
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        raise ModelError(
            f'quantization="{quantization}" needs a CUDA GPU, and the device is {device}; '
            'load without quantization, for instance with dtype="bfloat16".'
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f'quantization="{quantization}" needs the package bitsandbytes, which is not '
            f"installed: pip install '{BITSANDBYTES}', or load without quantization, for instance "
            'with dtype="bfloat16".'
        )


def _chosen_dtype(
    name: str, sizes: WeightSizes, dtype: str | None, *, device: str, quantization: str | None
) -> str:
    """The dtype to load in, once its size is known to fit."""
    chosen = dtype or _default_dtype(sizes, device)
    check_memory(name, sizes, dtype=chosen, quantization=quantization, device=device)
    return chosen


def _default_dtype(sizes: WeightSizes, device: str) -> str:
    import torch

    on_gpu = device != "cpu" and torch.cuda.is_available()
    return "bfloat16" if on_gpu and sizes.parameters > _HALF_FROM else "float32"


def _placement(device: str, quantization: str | None) -> dict[str, Any]:
    """The options of `from_pretrained` that say where the weights go and in how many bits."""
    options: dict[str, Any] = {}
    if device != "cpu":
        options["device_map"] = "auto" if device == "auto" else {"": device}
    if quantization is not None:
        import torch
        from transformers import BitsAndBytesConfig

        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=quantization == "8bit",
            load_in_4bit=quantization == "4bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=half,
        )
    return options
