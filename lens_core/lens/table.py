"""The cells of a lens as a table in CSV, one row a token."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from lens_core.lens.cells import Cells
    from lens_core.lens.result import LogitLens

COLUMNS = (
    "component",
    "layer",
    "position",
    "token",
    "rank",
    "id",
    "text",
    "p",
    "logit",
    "entropy",
    "kl_final",
)


def csv_table(lens: LogitLens) -> str:
    """The table that `LogitLens.to_csv` describes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, cells in lens.cells.items():
        writer.writerows(_rows(lens, name, cells))
    return out.getvalue()


def _rows(lens: LogitLens, name: str, cells: Cells) -> Iterator[list[Any]]:
    tokens = lens.header["input"]["tokens"]
    texts = {int(token): _text(entry["text"]) for token, entry in lens.vocab.items()}
    for row, layer in enumerate(cells.layers.tolist()):
        for place, position in enumerate(lens.positions):
            head = [name, "" if name == "embed" else layer, position]
            head.append(_text(tokens[position]["text"]))
            rest = [_number(cells.entropy, row, place), _number(cells.kl_final, row, place)]
            for rank, token in enumerate(cells.top_ids[row, place].tolist()):
                p = _number(cells.top_p, row, place, rank)
                logit = _number(cells.top_logit, row, place, rank)
                yield [*head, rank, token, texts[token], p, logit, *rest]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number(values: np.ndarray | None, *place: int) -> str:
    """The exact value, in the digits that JSON has too; empty where there is none."""
    value = math.nan if values is None else float(values[place])
    return repr(value) if math.isfinite(value) else ""
