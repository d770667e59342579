"""A repair as a value: columns of FFN output projections before and after, and its file forms.

The file is safetensors: for every layer l the tensors `layers.<l>.columns` (int64 [k]),
`layers.<l>.old` and `layers.<l>.new` ([k, d_model], in the model's dtype), and text metadata. Old
values are stored whole, not as a difference: x + d - d is not always x in floating point.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import EditError
from lens_core.records import plain
from lens_core.tensor_file import read_tensors

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int64
    from torch import Tensor

SCHEMA = "lens_core/weight_edit/1"
MAX_BYTES = 16 * 2**20
"""Largest file that is read unless a caller says otherwise."""
_TENSOR = re.compile(r"layers\.(0|[1-9]\d{0,5})\.(columns|old|new)")
_TEXTS = ("schema", "id", "model", "weights_sha256", "created", "base", "notes", "fingerprint")


@dataclass(frozen=True, eq=False)
class EditColumns:
    """What an edit changes in one layer: `k` neurons write other vectors into the stream."""

    layer: int
    columns: Int64[Tensor, " k"]
    """The neurons, in increasing order."""
    old: Float[Tensor, "k d_model"]
    """What they wrote before, bit for bit, in the model's dtype."""
    new: Float[Tensor, "k d_model"]

    def __post_init__(self) -> None:
        """Refuse what is no set of columns.

        Raises:
            EditError: names the layer and what is wrong.
        """
        problem = self._problem()
        if problem:
            raise EditError(f"Layer {self.layer} of the edit {problem}.")

    def _problem(self) -> str | None:
        import torch

        old, new, columns = self.old, self.new, self.columns
        if columns.dtype != torch.int64 or columns.dim() != 1 or not len(columns):
            return "has no columns: a row of one or more whole numbers is needed"
        if bool(columns[0] < 0) or bool((columns.diff() <= 0).any()):
            return "has columns that are negative, repeated or out of order"
        if old.shape != new.shape or old.dim() != 2 or len(old) != len(columns):
            return (
                f"has values of shapes {list(old.shape)} and {list(new.shape)} for "
                f"{len(columns)} columns; both must be [columns, d_model]"
            )
        if old.dtype != new.dtype or not old.is_floating_point():
            return f"has old values of {old.dtype} and new ones of {new.dtype}"
        if not bool(torch.isfinite(old).all() & torch.isfinite(new).all()):
            return "has values that are not finite"
        return None

    def sha256(self) -> str:
        """SHA-256 of the old values, which tells whether a model has this layer."""
        return hashlib.sha256(_raw(self.old)).hexdigest()


@dataclass(frozen=True, eq=False)
class WeightEdit:
    """A change to a few columns of a model's FFN output projections, without the model."""

    model: str
    """The id of the model that it was made for."""
    weights_sha256: str
    layers: tuple[EditColumns, ...]
    """By increasing layer."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Plain values to show with it: method, prompt, target, metrics; they change nothing."""
    base: tuple[tuple[str, float], ...] = ()
    """(id, strength) of the edits that held when this one was made on top of them."""
    created: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds")
    )

    def __post_init__(self) -> None:
        """Refuse an edit without layers, or with layers that do not belong together.

        Raises:
            EditError: says what is wrong.
        """
        numbers = [part.layer for part in self.layers]
        if not numbers or numbers != sorted(set(numbers)) or numbers[0] < 0:
            raise EditError(f"An edit needs one or more layers in increasing order, not {numbers}.")
        if len({(part.old.dtype, part.old.shape[1]) for part in self.layers}) > 1:
            raise EditError("The layers of an edit must have one dtype and one width.")

    @cached_property
    def id(self) -> str:
        """Hash of columns and values: the same change has the same id, whatever its notes."""
        digest = hashlib.sha256(str(self.dtype).encode())
        for part in self.layers:
            digest.update(f"{part.layer} {list(part.old.shape)} ".encode())
            for values in (part.columns, part.old, part.new):
                digest.update(_raw(values))
        return digest.hexdigest()[:32]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model that it was made for."""
        return self.layers[0].old.dtype

    @property
    def nbytes(self) -> int:
        """Size of the tensors; its file is a little larger."""
        parts = ((part.columns, part.old, part.new) for part in self.layers)
        return sum(tensor.nbytes for tensors in parts for tensor in tensors)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the model must be: the hash of its weights, and of the old values by layer."""
        layers = {str(part.layer): part.sha256() for part in self.layers}
        return {"weights_sha256": self.weights_sha256, "layers": layers}

    def to_json(self) -> dict[str, Any]:
        """Plain values: what it is in a few words, and the safetensors file in base64."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "model": self.model,
            "created": self.created,
            "layers": self._summary(),
            "safetensors": base64.b64encode(to_bytes(self)).decode("ascii"),
        }

    @classmethod
    def from_json(
        cls, record: Mapping[str, Any], *, max_bytes: int | None = MAX_BYTES
    ) -> WeightEdit:
        """The inverse of `to_json`.

        Raises:
            EditError: the record is no edit, is damaged, or is larger than `max_bytes`.
        """
        if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
            found = record.get("schema") if isinstance(record, Mapping) else type(record).__name__
            raise EditError(f'This is no weight edit: its schema is {found!r}, not "{SCHEMA}".')
        text = record.get("safetensors")
        if not isinstance(text, str):
            raise EditError('The weight edit has no "safetensors" text in base64.')
        _check_size(len(text) * 3 // 4, max_bytes)
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise EditError(
                f"The weight edit is damaged: its base64 ends early ({error})."
            ) from error
        edit = from_bytes(data, max_bytes=max_bytes)
        if (record.get("id"), record.get("model")) != (edit.id, edit.model):
            raise EditError(
                f"The weight edit is damaged: it says id {record.get('id')!r} and model "
                f"{record.get('model')!r}, and holds {edit.id!r} for {edit.model!r}."
            )
        for key, held in (("created", edit.created), ("layers", edit._summary())):
            if record.get(key, held) != held:
                raise EditError(
                    f"The weight edit is damaged: it says {key} {_cut(record[key])}, and holds "
                    f"{_cut(held)}. Export it again."
                )
        return edit

    def _summary(self) -> list[dict[str, int]]:
        """How many columns of which layers change."""
        return [{"layer": part.layer, "columns": len(part.columns)} for part in self.layers]


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def save_edit(edit: WeightEdit, path: str | Path) -> None:
    """Write the edit as a safetensors file."""
    Path(path).write_bytes(to_bytes(edit))


def load_edit(source: str | Path | bytes, *, max_bytes: int | None = MAX_BYTES) -> WeightEdit:
    """Read an edit from a safetensors file or its bytes; `max_bytes=None` takes any size.

    Raises:
        EditError: there is no such file, or it is no undamaged edit, or larger than `max_bytes`.
    """
    if isinstance(source, bytes):
        return from_bytes(source, max_bytes=max_bytes)
    path = Path(source)
    if not path.is_file():
        raise EditError(f'There is no edit file "{path}".')
    _check_size(path.stat().st_size, max_bytes)
    return from_bytes(path.read_bytes(), max_bytes=max_bytes)


def to_bytes(edit: WeightEdit) -> bytes:
    """The edit as the bytes of a safetensors file."""
    from safetensors.torch import save

    tensors = {
        f"layers.{part.layer}.{name}": getattr(part, name).contiguous()
        for part in edit.layers
        for name in ("columns", "old", "new")
    }
    texts = {
        "schema": SCHEMA,
        "id": edit.id,
        "model": edit.model,
        "weights_sha256": edit.weights_sha256,
        "created": edit.created,
        "base": json.dumps(plain(edit.base)),
        "notes": json.dumps(plain(edit.notes), allow_nan=False),
        "fingerprint": json.dumps(edit.fingerprint),
    }
    return save(tensors, metadata=texts)


def from_bytes(data: bytes, *, max_bytes: int | None = MAX_BYTES) -> WeightEdit:
    """The edit in a safetensors file, every part of it checked.

    Raises:
        EditError: the bytes are no undamaged edit, or more than `max_bytes`.
    """
    _check_size(len(data), max_bytes)
    tensors, metadata = read_tensors(data)
    texts = _texts(metadata)
    parts = _by_layer(tensors)
    layers = tuple(EditColumns(layer, **parts[layer]) for layer in sorted(parts))
    notes, base = _json(texts, "notes", dict), _json(texts, "base", list)
    if not all(isinstance(item, list) and [type(v) for v in item] == [str, float] for item in base):
        raise EditError('The edit file is damaged: its "base" is no list of ids and strengths.')
    edit = WeightEdit(
        model=texts["model"],
        weights_sha256=texts["weights_sha256"],
        layers=layers,
        notes=plain(notes),
        base=tuple((str(key), float(strength)) for key, strength in base),
        created=texts["created"],
    )
    if texts["id"] != edit.id or _json(texts, "fingerprint", dict) != edit.fingerprint:
        raise EditError(
            f"The edit file was changed: it says id {texts['id']}, and its values have {edit.id}."
        )
    return edit


def _check_size(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise EditError(
            f"The edit has {size / 1e6:.1f} MB; at most {max_bytes / 1e6:.1f} MB are read. "
            "Change fewer columns or layers."
        )


def _texts(texts: Mapping[str, Any]) -> Mapping[str, str]:
    if texts.get("schema") != SCHEMA:
        raise EditError(
            f'This is no weight edit: its schema is {texts.get("schema")!r}, not "{SCHEMA}".'
        )
    missing = [name for name in _TEXTS if not isinstance(texts.get(name), str)]
    if missing:
        raise EditError(f'The edit file is damaged: it has no "{missing[0]}".')
    return texts


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The three tensors of every layer."""
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise EditError(f'The edit file has a part "{name}", which no edit has.')
        parts.setdefault(int(match[1]), {})[match[2]] = tensor
    for layer, part in parts.items():
        if len(part) != 3:
            raise EditError(f"Layer {layer} of the edit has only {', '.join(sorted(part))}.")
    return parts


def _json(texts: Mapping[str, str], name: str, kind: type) -> Any:
    try:
        value = json.loads(texts[name])
    except (ValueError, RecursionError) as error:
        raise EditError(f'The edit file is damaged: its "{name}" is no JSON ({error}).') from error
    if not isinstance(value, kind):
        raise EditError(f'The edit file is damaged: its "{name}" is a {type(value).__name__}.')
    return value


def _raw(tensor: Tensor) -> memoryview:
    import torch

    return tensor.contiguous().view(torch.uint8).numpy().data
