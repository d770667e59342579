"""How the sides of pairs align for a model whose tokenizer alone is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import ModelError, PromptError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lens_core.pairs import Alignment, Pair

_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]


def tokenizer_alone(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an embedded model, a folder or a model of the Hub, without the weights.

    Raises:
        ModelError: there is none.
    """
    from lens_core.checkpoints import Checkpoint, find_checkpoint, local_folder
    from lens_core.pretrained import read_tokenizer

    if local_folder(name) is not None:
        return read_tokenizer(find_checkpoint(name), trust_remote_code=False)
    return read_tokenizer(Checkpoint(name, _from_hub(name), None, {}), trust_remote_code=False)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except (HFValidationError, HTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f'The tokenizer of "{name}" cannot be had from the Hub ({error}). Check the name and '
            'the connection, or use "demo" or a local folder.'
        ) from error


def alignments(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[Alignment | str]:
    """How every pair aligns, or why it does not."""
    return [_aligned(tokenizer, pair) for pair in pairs]


def _aligned(tokenizer: Any, pair: Pair) -> Alignment | str:
    from lens_core.pairs.aligning import aligned_records
    from lens_core.prompts import prompt_ids
    from lens_core.tokens import token_records

    try:
        sides = [
            prompt_ids(tokenizer, text, template=None, special="default")
            for text in (pair.sentence1, pair.sentence2)
        ]
    except PromptError as error:
        return str(error)
    return aligned_records(*(token_records(tokenizer, ids) for ids in sides))
