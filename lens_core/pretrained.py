"""The `from_pretrained` of transformers, made strict, quiet and local: files in, parts out."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.checkpoints import Checkpoint
from lens_core.errors import ModelError
from lens_core.model_checks import (
    check_config,
    check_depth,
    check_kind,
    check_loaded,
    check_stored_quantization,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_GENERIC_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes that a folder names when its tokenizer.json is all there is to its tokenizer."""

_BUILD_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    RuntimeError,
)
"""What building a model from a damaged configuration has been seen to raise."""

_ONE_LOAD = threading.Lock()
"""While it builds a model, transformers sets PyTorch's default dtype and switches off the tying of
weights for the whole process. Two loads at once left both that way (measured: of 60 loads in four
threads none succeeded, and the process stayed in bfloat16)."""


def read_config(checkpoint: Checkpoint, trust_remote_code: bool) -> PretrainedConfig:
    """The configuration of a causal language model that this transformers knows.

    Raises:
        ModelError: it is of another kind of model, damaged, or needs code that is not trusted.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    name, folder = checkpoint.name, checkpoint.folder
    check_depth(checkpoint.config, name)
    kind = checkpoint.config.get("model_type")
    if "auto_map" in checkpoint.config and kind not in CONFIG_MAPPING and not trust_remote_code:
        raise ModelError(
            f'"{name}" (model type "{kind}") needs Python code that comes with it. If you trust '
            "its author, load it with trust_remote_code=True on your own machine."
        )
    if "auto_map" not in checkpoint.config and isinstance(kind, str):
        check_kind(kind, CONFIG_MAPPING, name)
    try:
        config = AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ModelError(f'"{name}" has a config.json that cannot be used: {error}') from error
    check_config(config, name)
    check_stored_quantization(config, name)
    return config


def read_tokenizer(checkpoint: Checkpoint, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer, with the rules that its folder states.

    Raises:
        ModelError: its files are damaged, or need a package that is not installed.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = checkpoint.folder
    # AutoTokenizer goes by the model type: for "qwen2" it replaces the folder's own splitting and
    # normalising rules by Qwen's, even where the folder names the generic class.
    factory: Any = PreTrainedTokenizerFast if _is_generic_tokenizer(folder) else AutoTokenizer
    try:
        return factory.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(
            f'The tokenizer of "{checkpoint.name}" cannot be read '
            f"({type(error).__name__}: {error}). Save it again, or load the model "
            "yourself and call wrap_model(model)."
        ) from error


def _is_generic_tokenizer(folder: Path) -> bool:
    settings = folder / "tokenizer_config.json"
    if not (folder / "tokenizer.json").is_file() or not settings.is_file():
        return False
    return json.loads(settings.read_text("utf-8")).get("tokenizer_class") in _GENERIC_TOKENIZERS


def read_model(
    checkpoint: Checkpoint,
    config: PretrainedConfig,
    options: dict[str, Any],
    trust_remote_code: bool,
) -> PreTrainedModel:
    """The model with every weight read from its files; `options` go to `from_pretrained`.

    Raises:
        ModelError: weights are damaged, missing or of the wrong shape, or do not fit.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below with the name
            **options,
        )
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f'"{checkpoint.name}" does not fit into the memory of the GPU: {error} '
            'Load it with dtype="bfloat16", quantization="4bit", or on the CPU.'
        ) from error
    except (SafetensorError, *_BUILD_ERRORS) as error:
        raise ModelError(
            f'"{checkpoint.name}" cannot be loaded ({type(error).__name__}): {error}'
        ) from error
    model, report = loaded
    check_loaded(report, checkpoint.name)
    return model


@contextmanager
def loading_alone() -> Iterator[None]:
    """One load at a time in this process, without progress bars and warnings.

    What goes wrong while loading is raised as an error that says more than those messages.
    """
    with _ONE_LOAD, _quiet():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and of this thread's messages of transformers only errors."""
    from transformers.utils import logging as transformers_logging

    thread = threading.get_ident()

    def passes(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno >= logging.ERROR

    handlers = list(logging.getLogger("transformers").handlers)
    had_bars = transformers_logging.is_progress_bar_enabled()
    for handler in handlers:
        handler.addFilter(passes)
    if had_bars:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(passes)
        if had_bars:
            transformers_logging.enable_progress_bar()
