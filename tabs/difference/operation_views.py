"""What a model loses without a block, on the page: a chart, all numbers, and which tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tabs.difference.layer_views import interval, p_text
from tabs.difference.parts import chart, column, short, table, view
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import LayerOperations
    from lens_core.patching import Score

SIGNS = {
    "remove": "− L{0}",
    "exchange": "L{0} ↔ L{1}",
    "repeat": "2 × L{0}",
    "zero_attention": "attn L{0} = 0",
    "zero_mlp": "MLP L{0} = 0",
    "skip_range": "− L{0}…L{1}",
    "change": "Δ (nat)",
    "texts": "",
    "interval": "Δ (nat)",
    "errors": "✕ {new}, ✓ {fixed}",
    "not_finite": "∞",
}
"""What stands in the chart: a figure is drawn before the visitor's language is known."""
CLASSES = 12
"""Token classes that are listed, those that change most."""


def operations_stack(found: LayerOperations, before: LayerOperations | None) -> dict[str, Any]:
    """The loss under every operation; without the edit below it where there is one."""
    views = _views(found, "after" if before is not None else None)
    if before is not None:
        views += _views(before, "before")
    return {"views": views, "of": None}


def _views(found: LayerOperations, side: str | None) -> list[dict[str, Any]]:
    from lens_core.figures import layer_change

    name = side or "only"
    title = phrase("pairs.operations" if side is None else f"pairs.operations_{side}")
    head = {"title": title, "how": phrase("pairs.operations_how")}
    figure = layer_change(found, words=SIGNS, title="")
    return [
        view(f"head_{name}", "heading", head),
        view(f"chart_{name}", "chart",
             chart(figure, "layer-operations", phrase("pairs.operations_summary"))),
        view(f"scores_{name}", "table", scores_table(found)),
        view(f"classes_{name}", "table", classes_table(found)),
    ]  # fmt: skip


def scores_table(found: LayerOperations) -> dict[str, Any]:
    """Every operation in the order in which it was run, the model as it is first."""
    columns = [
        column("operation", "text", phone=True),
        column("nll", "number", digits=4, phone=True),
        column("change", "signed", digits=4, phone=True),
        column("interval", "text"),
        column("perplexity", "number", digits=2),
        column("median_nll", "number", digits=3),
        column("p95_nll", "number", digits=3),
        column("accuracy", "percent", digits=1),
        column("new_errors", "rank"),
        column("fixed_errors", "rank"),
        column("mcnemar", "text"),
    ]
    rows = [_score_row(score) for score in found.scores]
    skipped = len(found.skipped)
    how = phrase("pairs.scores_how", texts=len(found.texts), tokens=found.n_targets, n=skipped)
    return table(phrase("pairs.scores"), how, columns, rows, page=14)


def _score_row(score: Score) -> list[Any]:
    change = score.change
    own = [_number(getattr(score, name)) for name in ("perplexity", "median_nll", "p95_nll")]
    row = [operation_name(score), _number(score.nll)]
    if change is None:
        return [*row, None, None, *own, _number(score.accuracy), None, None, None]
    return [
        *row,
        _number(change.mean),
        interval(change.lo, change.hi),
        *own,
        _number(score.accuracy),
        change.new_errors,
        change.fixed_errors,
        p_text(change.p),
    ]


def operation_name(score: Score) -> Any:
    """What was done, to which layers."""
    operation = score.operation
    if operation is None:
        return phrase("pairs.operation_original")
    layers = ", ".join(f"L{layer}" for layer in operation.layers)
    return phrase(f"pairs.done_{operation.kind}", layers=layers)


def classes_table(found: LayerOperations) -> dict[str, Any]:
    """Which classes of tokens lose most under which operation."""
    columns = [
        column("operation", "text", phone=True),
        column("class", "text", phone=True),
        column("tokens", "rank"),
        column("nll_before", "number", digits=3),
        column("nll_after", "number", digits=3),
        column("change", "signed", digits=3, phone=True),
        column("accuracy_before", "percent", digits=0),
        column("accuracy_after", "percent", digits=0),
    ]
    listed = [
        (score, one)
        for score in found.scores
        if score.change is not None
        for one in score.change.classes
        if one.tokens >= 2 and np.isfinite(one.nll_after - one.nll_before)
    ]
    listed.sort(key=lambda pair: pair[1].nll_before - pair[1].nll_after)
    rows = [
        [
            operation_name(score),
            f"{one.group}: {one.name}",
            one.tokens,
            _number(one.nll_before),
            _number(one.nll_after),
            _number(one.nll_after - one.nll_before),
            _number(one.accuracy_before),
            _number(one.accuracy_after),
        ]
        for score, one in listed[:CLASSES]
    ]
    more = max(0, len(listed) - CLASSES)
    return table(phrase("pairs.classes"), phrase("pairs.classes_how"), columns, rows, more=more)


def _number(value: float) -> float | None:
    return short(float(value), 6) if np.isfinite(value) else None
