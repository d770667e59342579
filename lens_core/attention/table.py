"""Weights of attention as a table in CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING

from jaxtyping import Float

if TYPE_CHECKING:
    import numpy as np

    from lens_core.attention.result import AttentionRows

COLUMNS = ("layer", "head", "kv_head", "query", "source", "token", "weight")


def csv_table(
    found: AttentionRows, norms: Float[np.ndarray, "layer query head source"] | None
) -> str:
    """The table that `to_csv` describes, with the lengths of what is moved where there are any."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS if norms is None else (*COLUMNS, "norm"))
    texts = [token["text"] for token in found.header["input"]["tokens"]]
    # As JSON: every character shows, and none starts a formula in a spreadsheet.
    tokens = [json.dumps(text, ensure_ascii=False) for text in texts]
    for row, layer in enumerate(found.layers):
        for head, group in enumerate(found.kv_head[row].tolist()):
            for place, query in enumerate(found.queries):
                weights = found.rows[row, place, head].tolist()
                lengths = None if norms is None else norms[row, place, head].tolist()
                for source in range(query + 1):
                    values = [weights[source], *([] if lengths is None else [lengths[source]])]
                    shown = [repr(value) if math.isfinite(value) else "" for value in values]
                    writer.writerow([layer, head, group, query, source, tokens[source], *shown])
    return out.getvalue()
