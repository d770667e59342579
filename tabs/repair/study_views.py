"""What the page shows of more measurements: methods beside one another, and edits together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.repair.edit_views import share_text
from tabs.repair.views import TONES, column, hint, said
from tabs.words import phrase


def comparison_table(found: dict[str, Any]) -> dict[str, Any]:
    """One row for each method."""
    columns = [
        column("method", "text", phone=True),
        column("result", "text", phone=True),
        column("exact", "percent", digits=0),
        column("generalises", "percent", digits=0),
        column("kl", "number", digits=4, phone=True),
        column("same", "percent", digits=1),
        column("perplexity", "number", digits=3),
        column("n_neurons", "rank"),
        column("backwards", "rank"),
        column("seconds", "number", digits=1),
    ]
    rows = [_compared(row) for row in found["table"]]
    title = phrase("repair.comparison")
    return table(title, phrase("repair.comparison_how"), columns, rows, page=len(rows))


def _compared(row: dict[str, Any]) -> list[Any]:
    rate = row["lr"]
    name = (
        row["method"] if rate is None else phrase("repair.at_rate", method=row["method"], lr=rate)
    )
    return [
        name,
        said(phrase(f"repair.status_{row['status']}"), TONES[row["status"]]),
        row["greedy_exact"],
        row["generalisation"],
        short(row["kl"]),
        row["same"],
        short(row["perplexity_ratio"]),
        row["columns"],
        row["backwards"],
        row["seconds"],
    ]


def stack_table(found: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Which edits still hold when all are in use.

    Args:
        found: the JSON of a stack check.
        names: id -> name of the session's edits.
    """
    rows = [_retained(one, names) for one in found["retained"]]
    columns = [
        column("edit", "text", phone=True),
        column("strength", "percent", digits=0),
        column("holds", "text", phone=True),
        column("result", "text", phone=True),
    ]
    title = phrase("repair.together")
    return table(title, phrase("repair.together_how"), columns, rows, page=len(rows))


def stack_finding(found: dict[str, Any]) -> dict[str, Any]:
    """What all of them change besides what they are for."""
    collapsed, lost = found["collapse"] is not None, found["efficacy"] < 1
    light = "red" if collapsed else found["light"]
    verdict = "collapsed" if collapsed else "lost" if lost else light
    kl, ratio = f"{found['locality']['kl']:.2g}", f"{found['fluency']['ratio']:.3f}"
    tone = {"amber": "check", "red": "poor"}.get(light)
    return hint(phrase(f"repair.together_{verdict}", kl=kl, ratio=ratio), tone)


def _retained(one: dict[str, Any], names: Mapping[str, str]) -> list[Any]:
    share = one["share"]
    tone = None if share is None else "good" if share == 1 else "poor"
    pill = None if tone is None else said(phrase(f"repair.holds_{tone}"), tone)
    return [names.get(one["id"], one["id"][:6]), one["strength"], share_text(share), pill]


def strength_head(name: str) -> dict[str, Any]:
    """The title of the chart of strengths."""
    return {"title": phrase("repair.strengths", name=name), "how": phrase("repair.strengths_how")}


def strength_finding(found: dict[str, Any]) -> dict[str, Any]:
    """At which strengths all targets come out."""
    points = found["strength_curve"]
    enough = [point["strength"] for point in points if point["greedy_exact"] == 1.0]
    if not enough:
        return hint(phrase("repair.strengths_never"), "check")
    ends = dict.fromkeys(f"{100 * end:.0f}%" for end in (min(enough), max(enough)))
    return hint(phrase("repair.strengths_from", percent="–".join(ends)))
