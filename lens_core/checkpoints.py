"""A model's files: where a name leads, whether the folder can be loaded, what it will take up.

Everything here happens before any weight is read, so that a wrong name, a missing file or too
little memory is said at once. Only safetensors are read; a pickle runs code when it is opened.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import ModelError
from lens_core.weights import weight_files

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

EMBEDDED = {"demo": Path(__file__).parents[1] / "demo_models" / "base"}
"""Names of the models that come with the repository."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_TEXTS = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model", "*.tiktoken")
_CONVERT = (
    "Only safetensors are loaded, because opening a pickle can run code. Convert it where you "
    "trust the file: AutoModelForCausalLM.from_pretrained(path).save_pretrained(new_path), or use "
    "the Hub's safetensors/convert Space."
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder in the Hugging Face layout, and what it was asked for as."""

    name: str
    folder: Path
    revision: str | None
    """The commit, for a model from the Hub."""
    config: Mapping[str, Any]
    """config.json as it is."""


@dataclass(frozen=True)
class WeightSizes:
    """How many weights a checkpoint stores, by their safetensors type such as "BF16"."""

    by_dtype: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """The number of stored weights."""
        return sum(self.by_dtype.values())

    def bytes_as(self, dtype: str, quantization: str | None = None) -> int:
        """Bytes in memory once loaded, about: quantised models keep embeddings and norms whole."""
        per_weight = {"8bit": 1.15, "4bit": 0.65}.get(quantization or "")
        if per_weight is None:
            per_weight = {"float32": 4, "bfloat16": 2, "float16": 2}.get(dtype)
        if per_weight is not None:
            return math.ceil(self.parameters * per_weight)
        return sum(count * _bits(stored) // 8 for stored, count in self.by_dtype.items())


def _bits(stored: str) -> int:
    digits = re.search(r"\d+", stored)
    return int(digits[0]) if digits else 8


def local_folder(name: str) -> Path | None:
    """The folder that a name means, None when it can only be a model of the Hub.

    Raises:
        ModelError: the name is a path, and no folder is there.
    """
    if name in EMBEDDED:
        folder = EMBEDDED[name]
        if not folder.is_dir():
            raise ModelError(
                f'The embedded model "{name}" is missing: there is no folder {folder}. '
                "Train it with scripts/train_demo_models.py, or clone the repository again."
            )
        return folder
    if not isinstance(name, str) or not name.strip():
        raise ModelError(
            f'{name!r} names no model. Use "demo", a folder, or a model id of the Hub.'
        )
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return path
        is_file = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a null byte
        raise ModelError(f'There is no folder "{name[:80]}" ({error}).') from error
    if is_file:
        raise ModelError(
            f'"{name}" is a file; give the folder that holds config.json and the weights.'
        )
    if name.startswith((".", "/", "~", "\\")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(
            f'There is no folder "{name}". Check the path, or give a model id of the Hugging Face '
            'Hub such as "Qwen/Qwen2.5-Coder-0.5B".'
        )
    return None


def find_checkpoint(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> Checkpoint:
    """The folder of an embedded model, a local folder, or a model of the Hub (downloaded).

    Raises:
        ModelError: nothing is there, or what is there cannot be loaded.
    """
    folder = local_folder(name)
    if folder is not None:
        return _checked(name, folder, None)
    folder = _from_hub(name, revision, trust_remote_code)
    return _checked(name, folder, folder.name)


def _checked(name: str, folder: Path, revision: str | None) -> Checkpoint:
    """The checkpoint, after the files that loading needs were looked at."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f'"{name}" holds a PEFT adapter and no model (no config.json). Load its base '
                "model, put the adapter on it with peft, and pass the result to wrap_model."
            )
        raise ModelError(
            f'"{name}" has no config.json, so it is no Hugging Face model folder; name the folder '
            "that save_pretrained wrote."
        )
    config = _json_files(folder)["config.json"]
    files = weight_files(folder)
    if not files:
        _refuse_pickles(name, [path.name for path in folder.iterdir()])
        raise ModelError(
            f'"{name}" has no weights: neither model.safetensors nor model.safetensors.index.json.'
        )
    for file in files:
        if not file.is_file():
            raise ModelError(
                f'"{name}" is incomplete: its index lists {file.name}, which is missing.'
            )
    if not any(path for pattern in _TOKENIZERS for path in folder.glob(pattern)):
        raise ModelError(
            f'"{name}" has no tokenizer (none of {", ".join(_TOKENIZERS)}). Save the tokenizer '
            "into the folder, or load the model yourself and call wrap_model(model) to use ids."
        )
    return Checkpoint(name, folder, revision, config)


def _json_files(folder: Path) -> dict[str, Any]:
    """All JSON files at the top of a folder; a broken one is named.

    The tokenizers library answers broken files with a bare Exception, so they are read first.
    """
    contents = {}
    for path in sorted(folder.glob("*.json")):
        try:
            contents[path.name] = json.loads(path.read_text("utf-8"))
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
            raise ModelError(
                f"{path} is damaged: it is no valid JSON ({error}). Download or save it again."
            ) from error
    for name, key in (("config.json", None), ("tokenizer.json", "model")):
        content = contents.get(name, {key: {}})
        if not isinstance(content, dict) or (key and not isinstance(content.get(key), dict)):
            wanted = f'an object with a "{key}"' if key else "an object"
            raise ModelError(f"{folder / name} is damaged: it is not {wanted}. Save it again.")
    return contents


def _refuse_pickles(name: str, files: list[str]) -> None:
    pickles = sorted(file for file in files if file.endswith(_PICKLES))
    if pickles:
        raise ModelError(f'"{name}" has its weights only as a pickle ({pickles[0]}). {_CONVERT}')


def stored_sizes(checkpoint: Checkpoint) -> WeightSizes:
    """How many weights of which type the files hold, read from their headers.

    Raises:
        ModelError: a file is damaged or cut short.
    """
    from safetensors import SafetensorError, safe_open

    counts: dict[str, int] = {}
    for file in weight_files(checkpoint.folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 (not a dict)
                    part = tensors.get_slice(key)
                    size = math.prod(part.get_shape())
                    counts[part.get_dtype()] = counts.get(part.get_dtype(), 0) + size
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{file} is damaged or cut short ({error}). Download or save it again."
            ) from error
    return WeightSizes(counts)


def hub_sizes(name: str, *, revision: str | None = None) -> WeightSizes | None:
    """The sizes a Hub model states, before any download; None when the Hub cannot be asked.

    Raises:
        ModelError: the Hub has no such model, or not as safetensors.
    """
    info = _hub_info(name, revision)
    return None if info is None else _stated_sizes(info)


def _stated_sizes(info: ModelInfo) -> WeightSizes:
    if info.safetensors is not None:
        return WeightSizes(dict(info.safetensors.parameters))
    sizes = (file.size or 0 for file in info.siblings or () if _WEIGHTS.fullmatch(file.rfilename))
    return WeightSizes({"BF16": sum(sizes) // 2})  # the usual type


def _hub_info(name: str, revision: str | None) -> ModelInfo | None:
    """What the Hub says about a model, None without a connection."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=20)
    except HFValidationError as error:
        raise ModelError(
            f'"{name}" is neither a folder nor a model id of the Hub ({error}). Use "demo", '
            'a folder, or an id such as "Qwen/Qwen2.5-Coder-0.5B".'
        ) from error
    except GatedRepoError as error:
        raise ModelError(
            f'"{name}" is gated: accept its conditions on its Hub page and log in with '
            "`hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f'"{name}" has no revision "{revision}" on the Hub.') from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f'The Hub has no model "{name}" that you may read. Check the spelling, or log in with '
            "`hf auth login` if it is private."
        ) from error
    except (OfflineModeIsEnabled, HTTPError):
        return None
    files = [file.rfilename for file in info.siblings or ()]
    if not any(_WEIGHTS.fullmatch(file) for file in files):
        _refuse_pickles(name, files)
        raise ModelError(f'"{name}" has no model.safetensors on the Hub. Choose another model.')
    return info


def _from_hub(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    """The folder of a Hub model in the local cache, downloaded if need be."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
    )

    info = _hub_info(name, revision)
    wanted = [
        file.rfilename
        for file in (info.siblings if info else None) or ()
        if "/" not in file.rfilename and _is_wanted(file.rfilename, trust_remote_code)
    ]
    try:
        folder = snapshot_download(
            name,
            revision=info.sha if info else revision,
            allow_patterns=wanted or None,
            local_files_only=info is None,
        )
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f'"{name}" is not on this machine and the Hugging Face Hub cannot be reached. Check '
            'the connection, or use "demo" or a local folder.'
        ) from error
    except (HTTPError, OSError) as error:
        raise ModelError(f'The download of "{name}" failed: {error}. Try again.') from error
    return Path(folder)


def _is_wanted(file: str, trust_remote_code: bool) -> bool:
    code = trust_remote_code and file.endswith(".py")
    return code or file.endswith(_TEXTS) or _WEIGHTS.fullmatch(file) is not None
