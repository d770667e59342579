"""How much memory is free, and a refusal before a model that does not fit is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lens_core.errors import ModelError

if TYPE_CHECKING:
    from lens_core.checkpoints import WeightSizes

_CONTAINER_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container's memory, in both versions of the kernel interface."""


def free_bytes(device: str) -> int:
    """Memory that a model on `device` ("cpu", "cuda", "auto") could still take, in bytes."""
    if device == "cpu":
        return _free_host()
    import torch

    if device != "auto":
        return torch.cuda.mem_get_info(device)[0]
    gpus = range(torch.cuda.device_count())
    return _free_host() + sum(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)


def _free_host() -> int:
    import psutil

    free = psutil.virtual_memory().available
    for limit, used in _CONTAINER_LIMITS:
        values = [_number(Path(limit)), _number(Path(used))]
        if values[0] is not None and values[1] is not None:
            cache = _inactive_file(Path(used).with_name("memory.stat"))
            free = min(free, values[0] - values[1] + cache)
    return max(free, 0)


def _inactive_file(path: Path) -> int:
    """Bytes of files that a container counts as used, and gives up as soon as they are needed."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    numbers = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(numbers.get("inactive_file", 0))


def _number(path: Path) -> int | None:
    """The number in a kernel file; None where there is no such file or no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def check_memory(
    name: str, sizes: WeightSizes, *, dtype: str, quantization: str | None, device: str
) -> None:
    """Refuse a model whose weights alone are larger than the free memory.

    Raises:
        ModelError: names both sizes and what would fit.
    """
    needed = sizes.bytes_as(dtype, quantization)
    free = free_bytes(device)
    if needed <= free:
        return
    kind = quantization or dtype
    smaller = sizes.bytes_as("bfloat16")
    remedy = "Choose a smaller model"
    if quantization is None and smaller < needed:
        remedy = f'Load it with dtype="bfloat16" ({_giga(smaller)}), or choose a smaller model'
    elif quantization is None and device != "cpu":
        remedy = f'Load it with quantization="4bit" ({_giga(sizes.bytes_as(dtype, "4bit"))})'
    raise ModelError(
        f'"{name}" needs about {_giga(needed)} of memory in {kind} '
        f"({sizes.parameters / 1e9:.2f} billion parameters); {_giga(free)} are free on {device}. "
        f"{remedy}."
    )


def _giga(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
