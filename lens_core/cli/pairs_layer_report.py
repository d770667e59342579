"""Operations on layers as lines for a terminal, and their scores as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from typer import style

from lens_core.cli.pairs_report import MOST, in_columns
from lens_core.cli.terminal import harmless

if TYPE_CHECKING:
    from lens_core.patching import LayerOperations

_SCORE = ("nll", "perplexity", "median_nll", "p95_nll", "accuracy")
_CHANGE = ("mean", "lo", "hi", "new_errors", "fixed_errors", "p")
CSV_COLUMNS = (
    *("variant", "kind", "layers"),
    *_SCORE,
    *("nll_change", "nll_change_lo", "nll_change_hi", "new_errors", "fixed_errors", "mcnemar_p"),
)
_HEAD = ("variant", "NLL", "perplexity", "accuracy", "change of NLL", "95 % interval", "new errors")
_HEAD += ("fixed", "p")


def layer_report(record: Mapping[str, Any]) -> Iterator[str]:
    """The JSON record of layer operations as lines: a row for every variant of the model."""
    texts, skipped = record["texts"], record["skipped"]
    targets = sum(len(text["ids"]) - 1 for text in texts)
    yield style(f"{len(texts)} of {len(texts) + len(skipped)} texts, {targets} tokens", bold=True)
    for one in skipped[:MOST]:
        yield f"  left out, text {one['index']}: {harmless(one['reason'])}"
    if len(skipped) > MOST:
        yield f"  and {len(skipped) - MOST} more"
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"
    yield from in_columns([_HEAD, *map(_row, record["scores"])])
    yield "NLL in nats a token; the interval is over texts, p compares new with fixed errors."


def _row(score: Mapping[str, Any]) -> tuple[str, ...]:
    own = (
        name_of(score),
        _number(score["nll"], ".3f"),
        _number(score["perplexity"], ".4g"),
        _number(score["accuracy"], ".1%"),
    )
    change = score["change"]
    if change is None:
        return (*own, "", "", "", "", "")
    known = change["lo"] is not None
    return (
        *own,
        _number(change["mean"], "+.3f"),
        f"{change['lo']:+.3f} to {change['hi']:+.3f}" if known else "",
        str(change["new_errors"]),
        str(change["fixed_errors"]),
        _number(change["p"], ".2g"),
    )


def name_of(score: Mapping[str, Any]) -> str:
    """Such as "original" or "remove 3"."""
    operation = score["operation"]
    if operation is None:
        return "original"
    return f"{operation['kind']} {', '.join(map(str, operation['layers']))}"


def scores_csv(result: LayerOperations) -> str:
    """A row for every variant: numbers exact, those that are not finite or not known empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for score in result.scores:
        operation, change = score.operation, score.change
        kind = "" if operation is None else operation.kind
        layers = "" if operation is None else " ".join(map(str, operation.layers))
        values = [getattr(score, name) for name in _SCORE]
        values += [None if change is None else getattr(change, name) for name in _CHANGE]
        writer.writerow([score.name, kind, layers, *map(_exact, values)])
    return out.getvalue()


def _exact(value: float | int | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(value)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
