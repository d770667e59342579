"""How pairs differ by layer: curves by kind of pair, and what can be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tabs.difference.parts import chart, column, short, site_name, table, view
from tabs.difference.session import Session
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import PairDifference
    from lens_core.difference.summary import Group

HEIGHT = 340
SIGNS = {"all": "Σ", "interval": "n = {units} / {pairs}"}
"""What stands in the chart: a figure is drawn before the visitor's language is known."""


def layers_stack(session: Session) -> dict[str, Any]:
    """Curves, groups, comparisons and the test of layers."""
    found = session.shown
    if found is None:
        return {"views": [], "of": None}
    views = [
        view("head", "heading", _head(session, found)),
        view("curves", "chart", _curves(session, found)),
        view("groups", "table", groups_table(session, found)),
    ]
    if found.comparisons:
        views.append(view("comparisons", "table", comparisons_table(found)))
    views.append(view("layers", "table", layer_table(found)))
    return {"views": views, "of": None}


def _head(session: Session, found: PairDifference) -> dict[str, Any]:
    metric = phrase(f"pairs.metric_{session.look.metric}")
    title = phrase(f"pairs.curves_{found.readout}", metric=metric)
    return {"title": title, "how": phrase(f"pairs.curves_how_{_way(session.look.metric)}")}


def _way(metric: str) -> str:
    """Which sentence says how the curve of a metric is read."""
    if metric == "recovery":
        return "recovery"
    return "share" if metric.startswith("top_share") else "amount"


def _curves(session: Session, found: PairDifference) -> dict[str, Any]:
    from lens_core.figures import pair_layers

    look = session.look
    figure = pair_layers(found, metric=look.metric, by=look.by, words=SIGNS, title="")
    return chart(figure, "pairs-layers", phrase("pairs.curves_summary"), height=HEIGHT)


def shown_groups(session: Session, found: PairDifference) -> list[Group]:
    """All pairs, and the groups of the chosen kind."""
    wanted = {
        "all": lambda group: group.type is None,
        "type": lambda group: group.subtype is None,
        "subtype": lambda group: group.type is None or group.subtype is not None,
    }[session.look.by]
    return [group for group in found.groups if wanted(group)]


def groups_table(session: Session, found: PairDifference) -> dict[str, Any]:
    """Every group at the layer where it differs most."""
    columns = [
        column("group", "text", phone=True),
        column("n_pairs", "rank"),
        column("n_units", "rank", phone=True),
        column("peak", "text"),
        column("mean", "number", digits=3, phone=True),
        column("interval", "text"),
        column("median", "number", digits=3),
        column("last", "number", digits=3),
    ]
    rows = [_group_row(group, session, found) for group in shown_groups(session, found)]
    how = phrase("pairs.groups_how")
    return table(phrase("pairs.groups"), how, columns, rows, page=12)


def _group_row(group: Group, session: Session, found: PairDifference) -> list[Any]:
    values = group.metrics[session.look.metric]
    known = np.isfinite(values.mean)
    if not known.any():
        return [group_name(group), group.n_pairs, group.n_units, None, None, None, None, None]
    at = int(np.nanargmax(values.mean))
    return [
        group_name(group),
        group.n_pairs,
        group.n_units,
        site_name(found.sites[at]),
        short(float(values.mean[at]), 4),
        interval(float(values.lo[at]), float(values.hi[at])),
        short(float(values.median[at]), 4),
        _number(values.mean[-1]),
    ]


def group_name(group: Group) -> Any:
    """The name of a group: its kind, or that it is all of them."""
    if group.type is None:
        return phrase("pairs.all")
    return group.type if group.subtype is None else f"{group.type} · {group.subtype}"


def interval(low: float, high: float) -> Any:
    """A 95 % interval as text; None where there is none."""
    if not np.isfinite(low) or not np.isfinite(high):
        return None
    return f"{low:.3g} … {high:.3g}"


def p_text(p: float) -> str | None:
    """A probability as text, so that a small one is not 0."""
    if not np.isfinite(p):
        return None
    return f"{p:.4f}" if p >= 1e-4 else f"{p:.0e}"


def comparisons_table(found: PairDifference) -> dict[str, Any]:
    """Every two kinds of pairs, at the layer where they differ most clearly."""
    columns = [
        column("kinds", "text", phone=True),
        column("where", "text", phone=True),
        column("difference", "signed", digits=3, phone=True),
        column("p_holm", "text"),
        column("said", "text"),
    ]
    rows = []
    for one in found.comparisons:
        at = int(np.nanargmin(one.p_holm))
        clear = bool(one.p_holm[at] < 0.05)
        rows.append(
            [
                f"{one.types[0]} − {one.types[1]}",
                site_name(found.sites[at]),
                short(float(one.difference[at]), 4),
                p_text(float(one.p_holm[at])),
                {"text": phrase(f"pairs.told_{clear}"), "tone": "good" if clear else "plain"},
            ]
        )
    how = phrase("pairs.comparisons_how")
    return table(phrase("pairs.comparisons"), how, columns, rows, page=10)


def layer_table(found: PairDifference) -> dict[str, Any]:
    """Whether a layer differs less than its neighbours."""
    test = found.layer_test
    columns = [
        column("layer", "text", phone=True),
        column("against", "signed", digits=3, phone=True),
        column("p_holm", "text", phone=True),
        column("said", "text"),
    ]
    rows = []
    for at, site in enumerate(found.sites):
        p = float(test.p_holm[at])
        if not np.isfinite(p):
            continue
        clear = p < 0.05
        said = {"text": phrase(f"pairs.smaller_{clear}"), "tone": "good" if clear else "plain"}
        gap = short(float(test.gap[at]), 4)
        rows.append([site_name(site), gap, p_text(p), said])
    return table(
        phrase("pairs.layer_test"),
        phrase("pairs.layer_test_how"),
        columns,
        rows,
        page=8,
        empty=phrase("pairs.layer_test_none"),
    )


def _number(value: Any) -> float | None:
    return short(float(value), 4) if np.isfinite(value) else None
