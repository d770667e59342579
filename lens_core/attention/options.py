"""The arguments of the attention views, checked, and what they need in memory."""

from __future__ import annotations

from collections.abc import Sequence

from lens_core.attention.probe import capture_mode
from lens_core.errors import InputError
from lens_core.lens.options import whole_number
from lens_core.models import LoadedModel

MAX_BYTES = 2**30
"""What rows, logits or a matrix of attention may take, unless the caller says otherwise."""
BLOCK_BYTES = 8 * 2**20
"""Rows of all heads that are worked out at once where every query is wanted."""


def chosen_queries(query: int | Sequence[int], length: int) -> tuple[int, ...]:
    """The positions whose rows are wanted, in the order given and once each.

    Raises:
        InputError: none, or one outside the prompt.
    """
    several = isinstance(query, Sequence) and not isinstance(query, str)
    wanted = list(query) if several else [query]  # type: ignore[arg-type]
    if not wanted:
        raise InputError("query is empty; give one position or several, such as -1.")
    found = [whole_number("query", one, -length, length - 1) % length for one in wanted]
    return tuple(dict.fromkeys(found))


def check_bytes(
    loaded: LoadedModel, length: int, needed: int, max_bytes: int, *, remedy: str
) -> None:
    """Refuse what would take too much memory, before the model runs.

    Raises:
        InputError: names what it takes, the limit, and the remedy.
    """
    whole_number("max_bytes", max_bytes, 1, 2**63 - 1)
    what = "This view"
    if capture_mode(loaded) == "asked":
        facts = loaded.facts
        pattern = 4 * facts.n_layers * facts.n_heads * length**2
        if pattern > max_bytes:
            needed, what = pattern, f"{facts.class_name} only hands out its whole pattern, which"
            remedy = "Shorten the prompt"
    if needed > max_bytes:
        raise InputError(
            f"{what} takes {_mib(needed)} at {length} tokens; the limit is {_mib(max_bytes)}. "
            f"{remedy}, or raise max_bytes."
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def block_rows(n_heads: int, length: int, max_bytes: int = BLOCK_BYTES) -> int:
    """How many rows of all heads fit into a block; at least one."""
    return max(1, min(length, max_bytes // (4 * n_heads * length)))
