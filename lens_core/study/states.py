"""What the head of a model reads, kept instead of its logits, and the head by itself.

Of a text of 1 000 tokens the states of a model with d_model 3 584 are 7 MB in 16 bits, its logits
over 152 064 tokens 608 MB. They are kept in the model's own type, bit for bit, so that logits made
of them later are those of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_core.errors import InputError

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.readout import Readout

KINDS = ("float32", "float16", "bfloat16")
_BITS = {"bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class NormedStates:
    """The states that the head reads for each token of a text: behind the final norm."""

    ids: Int[np.ndarray, " position"]
    """The tokens of the text."""
    values: np.ndarray
    """[position, d_unembed]; the bits as uint16 for bfloat16, which NumPy has not. NaN before the
    first token of a text that nothing precedes."""
    kind: str
    """"float32", "float16" or "bfloat16"."""
    exact: bool = True
    """The values are those of the model, bit for bit."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Size of the states."""
        return self.values.nbytes

    @classmethod
    def empty(cls, ids: Int[np.ndarray, " position"], width: int, *, like: str, kept: str) -> Any:
        """Room for a text's states; `kept` is "exact", or "float16" for half the room.

        Raises:
            InputError: another word for `kept`.
        """
        if kept not in ("exact", "float16"):
            raise InputError(f'keep_states is "{kept}"; it can be True ("exact") or "float16".')
        kind = like if kept == "exact" and like in KINDS else "float32"
        kind = "float16" if kept == "float16" else kind
        values = np.full((len(ids), width), np.nan, np.float16 if kind == "float16" else np.float32)
        if kind in _BITS:
            values = _packed(torch.from_numpy(values).to(_BITS[kind]))
        return cls(ids, values, kind, exact=kind == like)

    def put(self, at: int, row: Float[Tensor, " d_unembed"]) -> None:
        """Write the state of one position."""
        self.values[at] = _packed(row.detach().cpu().to(getattr(torch, self.kind)))

    def rows(self, some: slice) -> Float[Tensor, "row d_unembed"]:
        """Some states as a tensor on the CPU, in the type in which they are kept."""
        values = self.values[some]
        if self.kind in _BITS:
            return torch.from_numpy(values.view(np.int16).copy()).view(_BITS[self.kind])
        return torch.from_numpy(values.copy())

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For an `.npz` file, without pickle."""
        return {
            "ids": self.ids,
            "values": self.values,
            "kind": np.array(self.kind),
            "exact": np.array(self.exact),
        }

    @classmethod
    def from_arrays(cls, arrays: Any) -> NormedStates:
        """Read back what `to_arrays` gave.

        Raises:
            InputError: an array is missing, or an unknown kind.
        """
        try:
            kind, exact = str(arrays["kind"]), bool(arrays["exact"])
            found = cls(np.asarray(arrays["ids"]), np.asarray(arrays["values"]), kind, exact=exact)
        except KeyError as error:
            raise InputError(f"These are no states of a text: {error} is missing.") from error
        if kind not in KINDS or len(found.values) != len(found.ids):
            raise InputError(
                f"These are no states of a text: kind {kind!r}, {len(found.ids)} tokens and values "
                f"of shape {list(found.values.shape)}."
            )
        return found


def _packed(values: Tensor) -> np.ndarray:
    if values.dtype in _BITS.values():
        return values.view(torch.int16).numpy().view(np.uint16)
    return values.numpy()


def kept_head(loaded: LoadedModel) -> Readout:
    """The head with its multiplier and softcap, for states that passed the norm already.

    It holds the head's matrix and nothing else of the model, which may be let go.

    Raises:
        NotExactError: the states of this model cannot be read.
    """
    loaded.require("readout")
    return replace(
        loaded.readout, steps=(), norm=None, input_scale=1.0, linear_steps=(), rel_err=0.0
    )


def logits_of(head: Readout, states: Tensor) -> Float[Tensor, "row d_vocab"]:
    """Logits of states that the head reads, in float32."""
    weight: Any = head.unembed.weight
    hidden = states.to(device=weight.device, dtype=weight.dtype)
    return head.block_logits(hidden, slice(0, head.d_vocab))
