"""The whole attention matrix of one layer, worked out in blocks of rows.

Nothing of the size [head, query, key] exists unless the model makes it itself; a matrix beyond the
budget goes to a file, in half precision.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.attention.options import MAX_BYTES, block_rows, check_bytes
from lens_core.attention.probe import Look, capture_mode, probe
from lens_core.errors import InputError, NotExactError
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel, check_ids
from lens_core.records import plain

SCHEMA = "lens_core/attention_matrix/1"


@dataclass(frozen=True, eq=False)
class AttentionMatrix:
    """Where one head, or all heads of a layer on average, look from every position."""

    header: Mapping[str, Any]
    layer: int
    head: int | None
    """None for the mean of all heads."""
    kv_head: int | None
    """The key/value head that it reads; None for the mean."""
    n_heads: int
    matrix: Float[np.ndarray, "query key"]
    """Rows sum to 1, or to less with learned sinks; float32, or float16 when it is a file."""

    def to_json(self) -> dict[str, Any]:
        """Plain Python values by the schema lens_core/attention_matrix/1."""
        return {
            **plain(self.header),
            "layer": self.layer,
            "head": self.head,
            "kv_head": self.kv_head,
            "n_heads": self.n_heads,
            "matrix": plain(np.asarray(self.matrix, np.float32)),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> AttentionMatrix:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(f"The schema is {record.get('schema')!r}; a matrix has {SCHEMA!r}.")
        own = {key: record[key] for key in ("layer", "head", "kv_head", "n_heads")}
        header = {k: v for k, v in record.items() if k not in own and k != "matrix"}
        return AttentionMatrix(header, **own, matrix=np.array(record["matrix"], np.float32))


@torch.no_grad()
def attention_matrix(
    loaded: LoadedModel,
    ids: Int[Tensor, " position"],
    layer: int,
    head: int | None = None,
    *,
    file: str | Path | None = None,
    max_tokens: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> AttentionMatrix:
    """The attention of a head (None for the mean of all heads) from every position.

    Args:
        loaded: the model.
        ids: token ids [position].
        layer: counted from 0, negative ones from the end.
        head: counted from 0.
        file: write the matrix here as a float16 .npy file, row block by row block, and answer a
            view of it; needed where it is larger than `max_bytes`.
        max_tokens: refuse longer prompts.
        max_bytes: the largest matrix that is kept in memory.

    Raises:
        PromptError: ids that the model cannot take.
        InputError: a layer or head that does not exist, a file that cannot be written, or a matrix
            over the budget without a file.
        NotExactError: the layer has no attention pattern.
    """
    started = time.perf_counter()
    ids = check_ids(loaded, ids, max_tokens=max_tokens)
    layer = whole_number("layer", layer, -loaded.n_layers, loaded.n_layers - 1) % loaded.n_layers
    if head is not None:
        head = whole_number("head", head, 0, loaded.facts.n_heads - 1)
    length = len(ids)
    needed = 4 * length**2 if file is None else 0
    remedy = "Give a file for it, or shorten the prompt"
    check_bytes(loaded, length, needed, max_bytes, remedy=remedy)
    reader = _Reader(layer, head, loaded.facts.n_heads, _target(file, length))
    with loaded.lock:
        probe(loaded, ids, reader, queries=[length - 1])
        if reader.n_kv_heads is None:
            raise NotExactError(
                f"Layer {layer} of {loaded.facts.id} has no attention pattern; choose another one."
            )
        timing = {"forward_s": time.perf_counter() - started}
        header = loaded.header("attention_matrix", timing=timing)
    header["input"] = {"ids": ids.tolist()}
    header["mode"] = capture_mode(loaded)
    group = None if head is None else head * reader.n_kv_heads // reader.n_heads
    return AttentionMatrix(header, layer, head, group, reader.n_heads, reader.matrix)


def _target(file: str | Path | None, length: int) -> Float[np.ndarray, "query key"]:
    """Where the matrix goes.

    Raises:
        InputError: the file cannot be written.
    """
    if file is None:
        return np.zeros((length, length), np.float32)
    try:
        return np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(length, length))
    except OSError as error:
        raise InputError(f'The file "{file}" cannot be written: {error.strerror}.') from error


class _Reader:
    """Fills the matrix while the pass is under way."""

    def __init__(self, layer: int, head: int | None, n_heads: int, matrix: np.ndarray) -> None:
        self.layer, self.head, self.n_heads = layer, head, n_heads
        self.matrix = matrix
        self.n_kv_heads: int | None = None

    def __call__(self, layer: int, look: Look) -> None:
        if layer != self.layer:
            return
        self.n_kv_heads = look.n_kv_heads
        length = len(self.matrix)
        size = block_rows(self.n_heads, length)
        for start in range(0, length, size):
            stop = min(start + size, length)
            pattern = look.pattern(torch.arange(start, stop))
            rows = pattern.mean(0) if self.head is None else pattern[self.head]
            self.matrix[start:stop] = rows.cpu().numpy()
