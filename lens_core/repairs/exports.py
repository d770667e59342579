"""Take an edit out of LM Lens: as a whole checkpoint, or as a LoRA adapter for PEFT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from lens_core.edits import WeightEdit, applied, editable_projection
from lens_core.errors import EditError, InputError
from lens_core.models import LoadedModel
from lens_core.weight_edit import EditColumns
from lens_core.weights import editable_weight

_EXACT = 1e-6
"""Singular values below this share of the largest are rounding."""


def save_merged(
    loaded: LoadedModel,
    edits: WeightEdit | Sequence[WeightEdit],
    folder: str | Path,
    *,
    strength: float | Sequence[float] = 1.0,
) -> Path:
    """Write the edited model as an ordinary folder of transformers, with its tokenizer.

    Raises:
        InputError: the folder is there and not empty.
        EditError: an edit does not fit the model.
    """
    target = _empty_folder(folder)
    several = (edits,) if isinstance(edits, WeightEdit) else tuple(edits)
    with applied(loaded, *several, strength=strength):
        loaded.model.save_pretrained(target)
    if loaded.tokenizer is not None:
        loaded.tokenizer.save_pretrained(target)
    return target


@dataclass(frozen=True)
class SavedAdapter:
    """A LoRA adapter that was written."""

    folder: Path
    rank: int
    rel_err: float
    """Length of what the adapter leaves out, beside that of the whole change; 0 is exact."""
    bytes: int


def save_lora(
    loaded: LoadedModel,
    edit: WeightEdit,
    folder: str | Path,
    *,
    rank: int | None = None,
    strength: float = 1.0,
) -> SavedAdapter:
    """Write an edit as a LoRA adapter that PEFT loads on the unedited model.

    The change of k columns has at most rank k, so the singular vectors give it exactly.

    Args:
        loaded: the model that the edit is for.
        edit: the edit; one made on top of others does not stand alone.
        folder: a new folder.
        rank: the highest rank of a layer; None takes what is exact.
        strength: multiplies the change.

    Raises:
        InputError: the folder is not empty, or a rank below 1.
        EditError: the edit does not fit the model, or was made on top of others.
    """
    if rank is not None and rank < 1:
        raise InputError(f"rank is {rank}; it can be 1 or more.")
    if edit.base:
        raise EditError(
            "The edit was made on top of others, so it does not stand alone; export the merged "
            "checkpoint of all of them."
        )
    with applied(loaded, edit, strength=strength):
        pass  # refused here if it does not fit
    names = {id(module): name for name, module in loaded.model.named_modules()}
    tensors, ranks, left, total = {}, {}, 0.0, 0.0
    for part in edit.layers:
        module = editable_projection(loaded, part.layer)
        down, up, error, length = _factors(part, len(editable_weight(module)), strength, rank)
        name = names[id(module)]
        ranks[name], left, total = len(down), left + error**2, total + length**2
        tensors[f"base_model.model.{name}.lora_A.weight"] = down
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
    target = _empty_folder(folder)
    _write_adapter(target, loaded, tensors, ranks)
    size = sum(path.stat().st_size for path in target.iterdir())
    return SavedAdapter(target, max(ranks.values()), (left / total) ** 0.5 if total else 0.0, size)


def _factors(
    part: EditColumns, n_neurons: int, strength: float, rank: int | None
) -> tuple[Float[Tensor, "rank neuron"], Float[Tensor, "d_model rank"], float, float]:
    """The change of a layer as B A, the length of what it leaves out, and of the whole."""
    change = strength * (part.new.double() - part.old.double())
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    exact = max(1, int((values > _EXACT * values[0]).sum()))
    kept = min(exact, rank or exact)
    root = values[:kept].sqrt()
    down = torch.zeros(kept, n_neurons)
    down[:, part.columns] = (left[:, :kept] * root).T.float()
    up = (right[:kept] * root[:, None]).T.float().contiguous()
    return down, up, float(values[kept:].norm()), float(values.norm())


def _write_adapter(
    folder: Path, loaded: LoadedModel, tensors: dict[str, Tensor], ranks: dict[str, int]
) -> None:
    from safetensors.torch import save_file
    from transformers.pytorch_utils import Conv1D

    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = dict(loaded.model.named_modules())
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": loaded.facts.id,
        "inference_mode": True,
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "lora_dropout": 0.0,
        "bias": "none",
        # Scaled by alpha / r, which must be 1 in every layer.
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": sorted(ranks),
        "fan_in_fan_out": any(type(modules[name]) is Conv1D for name in ranks),
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")


def _empty_folder(folder: str | Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        InputError: there is something in it already, or it cannot be made.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f'"{path}" is there already and not an empty folder; name a new one.')
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'The folder "{path}" cannot be made: {error.strerror}.') from error
    return cast("Path", path)
