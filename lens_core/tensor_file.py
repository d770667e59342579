"""Tensors and metadata out of the bytes of a safetensors file that nobody vouches for."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from lens_core.errors import EditError

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = ("I64", "F64", "F32", "F16", "BF16")


def read_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The named tensors and the metadata of a safetensors file.

    Raises:
        EditError: the bytes are no safetensors file, cut short, or hold other types of numbers
            than int64 and floats.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = _header(data)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise EditError(f"The file is damaged or cut short ({error}).") from error
    return tensors, header.get("__metadata__") or {}


def _header(data: bytes) -> dict[str, Any]:
    """The JSON at the head of the file: the library reads no metadata from bytes."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (struct.error, ValueError, RecursionError) as error:
        raise EditError(f"This is no safetensors file ({error}).") from error
    if not isinstance(header, dict):
        raise EditError("This is no safetensors file: its header is no object.")
    for name, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        # The library answers a type that it does not know with a KeyError.
        if name != "__metadata__" and dtype not in _DTYPES:
            raise EditError(f'The file has a part "{name}" of type {dtype}, not a number type.')
    return header
