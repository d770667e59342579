"""Rows chosen at random while they stream by: n of every level, from one pass (Vitter, 1985, R)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lens_core.errors import InputError
from lens_core.study.rows import Row, RowProblem

MAX_KEPT = 100_000
"""Rows that are held while choosing, of all levels together."""


def sampled(
    rows: Iterator[Row | RowProblem], *, per_level: int, seed: int
) -> Iterator[Row | RowProblem]:
    """`per_level` rows of every level, each as likely as any other, in the order of the input.

    Problems are passed on at once, the rows when all have been seen. What is chosen of a level
    depends on the seed and the rows of that level alone. Rows without a level are one of their own.

    Raises:
        InputError: more rows would have to be held than the limit.
    """
    levels: dict[str, _Reservoir] = {}
    kept = 0
    for row in rows:
        if isinstance(row, RowProblem):
            yield row
            continue
        # 1 and True are one key of a dict, and 1 and "1" are not one level.
        name = f"{type(row.level).__name__} {row.level}"
        level = levels.setdefault(name, _Reservoir(per_level, Random(f"{seed} {name}")))
        kept += level.offer(row)
        if kept > MAX_KEPT:
            raise InputError(
                f"{len(levels)} levels with up to {per_level} rows each are more than {MAX_KEPT} "
                "rows; that is the limit. Choose a level with fewer values, or a smaller per_level."
            )
    chosen = [row for level in levels.values() for row in level.rows]
    yield from sorted(chosen, key=lambda row: row.index)


class _Reservoir:
    """A sample of what has been offered so far."""

    def __init__(self, size: int, draw: Random) -> None:
        self.rows: list[Row] = []
        self._size = size
        self._draw = draw
        self._offered = 0

    def offer(self, row: Row) -> bool:
        """Whether one more row is held now."""
        self._offered += 1
        if len(self.rows) < self._size:
            self.rows.append(row)
            return True
        place = self._draw.randrange(self._offered)
        if place < self._size:
            self.rows[place] = row
        return False
