"""Weights as numbers: the matrix of a projection, single columns of it, hashes, sizes.

A projection P maps `n_in` neurons to `d_model`. Whatever module does it, P is affine, so
P(x) = x W + b with W `[n_in, d_model]`; a "column" here is what one neuron writes, a row of W.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lens_core.errors import EditError, ModelError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Float32, Int
    from torch import Tensor, nn

_PROBE_ROWS = 512
"""Neurons probed at a time: the one-hot rows of all of them could be larger than the model."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def projection_matrix(
    module: nn.Module,
) -> tuple[Float32[Tensor, "n_in d_model"], Float32[Tensor, " d_model"] | None]:
    """W and b of a projection, so that module(x) = x W + b.

    W may share memory with the weights: read it, do not write it. A module that is neither
    `nn.Linear` nor `Conv1D` (LoRA, quantised or offloaded weights) is probed: b = P(0) and
    W = P(I) - b.

    Raises:
        ModelError: the module does not say how many inputs it has.
    """
    import torch

    with torch.no_grad():
        weight = _plain_weight(module)
        if weight is None:
            return _probed(module)
        bias = module._parameters.get("bias")
        matrix = weight if _is_conv1d(module) else weight.T
        return matrix.float(), None if bias is None else bias.detach().float()


def _probed(
    module: nn.Module,
) -> tuple[Float32[Tensor, "n_in d_model"], Float32[Tensor, " d_model"] | None]:
    import torch

    n_in = _n_inputs(module)
    device, dtype = _input_place(module)
    offset = module(torch.zeros(1, 1, n_in, device=device, dtype=dtype))[0, 0].float()
    blocks = []
    for start in range(0, n_in, _PROBE_ROWS):
        count = min(_PROBE_ROWS, n_in - start)
        one_hot = torch.zeros(1, count, n_in, device=device, dtype=dtype)
        one_hot[0].diagonal(start).fill_(1)
        blocks.append(module(one_hot)[0].float() - offset)
    return torch.cat(blocks), offset if offset.any() else None


def _n_inputs(module: nn.Module) -> int:
    for part in module.modules():
        for name in ("in_features", "nx"):
            if isinstance(size := getattr(part, name, None), int):
                return size
    raise ModelError(
        f"A projection of type {type(module).__name__} does not say how many inputs it has "
        "(no in_features); wrap a model whose projections are nn.Linear or Conv1D."
    )


def _input_place(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of what the module takes in."""
    import torch

    weights = [p for p in module.parameters() if p.device.type != "meta"]
    device = weights[0].device if weights else torch.device("cpu")
    floating = [p.dtype for p in module.parameters() if p.dtype in _compute_dtypes()]
    # Quantised weights are whole numbers; what multiplies them is a 16-bit float.
    return device, floating[0] if floating else torch.float16


def _compute_dtypes() -> tuple[torch.dtype, ...]:
    import torch

    return (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _is_conv1d(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return type(module) is Conv1D


def _plain_weight(module: nn.Module) -> Tensor | None:
    """The weight of an ordinary `nn.Linear` or `Conv1D`, None where it is anything else.

    Quantised and adapted layers are often subclasses of `nn.Linear`, hence the exact type.
    """
    from torch import nn

    if type(module) is not nn.Linear and not _is_conv1d(module):
        return None
    weight = module._parameters.get("weight")
    if weight is None or weight.device.type == "meta" or weight.dtype not in _compute_dtypes():
        return None
    return weight.detach()


def editable_weight(module: nn.Module) -> Tensor:
    """The weight parameter as `[n_in, d_model]`, a view through which columns can be written.

    Raises:
        EditError: the module is not a plain `nn.Linear` or `Conv1D` with its weights in memory.
    """
    weight = _plain_weight(module)
    if weight is None:
        raise EditError(
            f"The projection is a {type(module).__name__} that cannot be edited; only plain "
            "weights of nn.Linear and Conv1D can. Load the model unquantised, with adapters merged."
        )
    return weight if _is_conv1d(module) else weight.T


def columns(module: nn.Module, index: Int[Tensor, " k"]) -> Float[Tensor, "k d_model"]:
    """A copy on the CPU of what the neurons `index` write, in the model's dtype.

    Raises:
        EditError: see `editable_weight`.
    """
    weight = editable_weight(module)
    return weight[index.to(weight.device)].cpu()


def write_columns_(
    module: nn.Module, index: Int[Tensor, " k"], values: Float[Tensor, "k d_model"]
) -> None:
    """Overwrite what the neurons `index` write, bit for bit, without autograd noticing.

    Raises:
        EditError: see `editable_weight`.
    """
    import torch

    weight = editable_weight(module)
    # A model loaded under inference_mode has inference tensors, which only that mode may change.
    with torch.inference_mode(weight.is_inference()), torch.no_grad():
        weight[index.to(weight.device)] = values.to(weight.device)


def first_bad_parameter(model: nn.Module) -> tuple[str, str] | None:
    """Name of the first parameter with NaN or infinite values, and which; None if there is none."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            readable = weight.device.type != "meta" and weight.dtype in _compute_dtypes()
            if not readable or not weight.numel():
                continue
            # The extremes carry NaN along, and unlike isfinite need no memory of their own.
            extremes = torch.stack(weight.aminmax())
            if not bool(torch.isfinite(extremes).all()):
                return name, "NaN" if bool(torch.isnan(extremes).any()) else "infinite"
    return None


def model_bytes(model: nn.Module) -> int:
    """Memory of all parameters and buffers, what is shared counted once."""
    return sum(t.nbytes for _, t in _distinct((*model.named_parameters(), *model.named_buffers())))


def _distinct(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors without those that only share another's memory, such as tied embeddings."""
    seen = set()
    for name, tensor in named:
        place = (str(tensor.device), tensor.data_ptr(), tensor.dtype, tensor.shape)
        if tensor.device.type == "meta" or place not in seen:
            seen.add(place)
            yield name, tensor


def model_sha256(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of what the model would save, in order.

    Offloaded weights (on the meta device) count with name, dtype and shape only.
    """
    from torch import Tensor

    state = model.state_dict()
    named = list(_distinct((name, t) for name, t in state.items() if isinstance(t, Tensor)))
    # hashlib lets other threads run, so tensors are hashed side by side.
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_tensor_digest, (tensor for _, tensor in named)))
    total = hashlib.sha256()
    for (name, tensor), digest in zip(named, digests, strict=True):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode() + digest)
    return total.hexdigest()


def _tensor_digest(tensor: Tensor) -> bytes:
    import torch

    if tensor.device.type == "meta":
        return b"offloaded"
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that a folder in the Hugging Face layout loads; none is an empty list.

    Raises:
        ModelError: the index of a split model cannot be read.
    """
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        return [folder / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{index} is not a list of weight files ({error}); download it again."
        ) from error


def files_sha256(folder: Path) -> str:
    """SHA-256 of a folder's weights: of the one file, or of the `sha256sum` list of several.

    A file of the Hub's cache is not read: its link points to a blob named by its hash.
    """
    paths = weight_files(folder)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_file_sha256, paths))
    if len(digests) == 1:
        return digests[0]
    lines = (f"{digest}  {path.name}\n" for digest, path in zip(digests, paths, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    if path.is_symlink() and _SHA256.fullmatch(blob := path.readlink().name):
        return blob
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
