"""The metrics of all groups as a table in CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING

from lens_core.difference.summary import Spread

if TYPE_CHECKING:
    from lens_core.difference.result import PairDifference

_SPREAD = tuple(field.name for field in fields(Spread))
COLUMNS = ("site", "component", "layer", "type", "subtype", "metric", "n_pairs", "n_units")


def csv_table(result: PairDifference) -> str:
    """The table that `to_csv` describes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*COLUMNS, *_SPREAD))
    rows = list(zip(result.sites, result.components, result.layers, strict=True))
    for group in result.groups:
        # As JSON: every character shows, and none starts a formula in a spreadsheet.
        names = [
            "" if one is None else json.dumps(one, ensure_ascii=False)
            for one in (group.type, group.subtype)
        ]
        counts = (group.n_pairs, group.n_units)
        for metric, spread in group.metrics.items():
            columns = [getattr(spread, name) for name in _SPREAD]
            for index, row in enumerate(rows):
                values = [float(column[index]) for column in columns]
                shown = [repr(value) if math.isfinite(value) else "" for value in values]
                writer.writerow([*row, *names, metric, *counts, *shown])
    return out.getvalue()
