"""The places of a pair that can be patched: which positions of its texts belong together.

A column is one position on either side, or an edit of different lengths, which has no positions
that belong together: its span counts as one, and is patched by its mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lens_core.errors import InputError
from lens_core.lens.options import whole_number
from lens_core.pairs.record import Alignment, Span

KINDS = ("prefix", "edit", "suffix", "answer")


@dataclass(frozen=True)
class Column:
    """Positions that are patched together."""

    kind: str
    """prefix (the same on both sides), edit, suffix (equal tokens behind an edit) or answer (tokens
    of an answer that were appended to both sides)."""
    clean: Span
    """In the text with the wanted answer."""
    corrupt: Span

    @property
    def patchable(self) -> bool:
        """Whether there is something on either side."""
        return self.clean[0] < self.clean[1] and self.corrupt[0] < self.corrupt[1]

    @property
    def by_mean(self) -> bool:
        """Whether the span is patched by its mean, since its positions do not belong together."""
        return self.clean[1] - self.clean[0] != self.corrupt[1] - self.corrupt[0]

    def mirrored(self) -> Column:
        """The same column with its sides exchanged."""
        return Column(self.kind, self.corrupt, self.clean)

    def to_json(self) -> dict[str, Any]:
        """Plain Python values."""
        return {"kind": self.kind, "clean": list(self.clean), "corrupt": list(self.corrupt)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Column:
        """Read back what `to_json` wrote."""
        return cls(record["kind"], tuple(record["clean"]), tuple(record["corrupt"]))


def columns_of(alignment: Alignment, *, clean_side: int, appended: int = 0) -> tuple[Column, ...]:
    """Every position of both sides in exactly one column, in the order of the clean text.

    Args:
        alignment: of the two texts.
        clean_side: which of them is the clean one, 1 or 2.
        appended: how many tokens of an answer follow both texts.
    """
    found = [Column("prefix", (i, i + 1), (i, i + 1)) for i in range(alignment.prefix)]
    found += [column for edit in alignment.edits for column in _edit_columns(*edit)]
    found += [Column("suffix", (i, i + 1), (j, j + 1)) for i, j in alignment.common]
    ends = len(alignment.ids1), len(alignment.ids2)
    for i in range(appended):
        spans = [(end + i, end + i + 1) for end in ends]
        found.append(Column("answer", spans[0], spans[1]))
    if clean_side == 2:
        found = [column.mirrored() for column in found]
    return tuple(sorted(found, key=lambda column: (column.clean, column.corrupt)))


def _edit_columns(span1: Span, span2: Span) -> Iterator[Column]:
    """One column a position for an edit of one length, one in all for another."""
    if span1[1] - span1[0] != span2[1] - span2[0]:
        yield Column("edit", span1, span2)
        return
    for i, j in zip(range(*span1), range(*span2), strict=True):
        yield Column("edit", (i, i + 1), (j, j + 1))


def chosen_columns(
    columns: Sequence[Column], positions: Sequence[int] | None, length: int
) -> tuple[int, ...] | None:
    """The columns that hold some positions of the clean text; None for no choice.

    Raises:
        InputError: no position, or one outside the text.
    """
    if positions is None:
        return None
    wanted = {whole_number("position", p, -length, length - 1) % length for p in positions}
    if not wanted:
        raise InputError(f"positions is empty; choose at least one from 0 to {length - 1}.")
    held = enumerate(columns)
    return tuple(i for i, column in held if wanted & set(range(*column.clean)))


def edit_and_last(columns: Sequence[Column]) -> tuple[int, ...]:
    """The edits, the last column of the texts themselves, and the last of all."""
    own = [i for i, column in enumerate(columns) if column.kind != "answer"]
    edits = {i for i in own if columns[i].kind == "edit"}
    return tuple(sorted(edits | {own[-1], len(columns) - 1}))
