"""The pairs themselves on the page: how they align, which rows are none, and a list to choose."""

from __future__ import annotations

from typing import Any

from tabs.difference.parts import column, table, view
from tabs.difference.session import Pairs
from tabs.words import phrase

LISTED = 200
PROBLEMS = 50
REPORT = (
    *("pairs", "aligned", "equal_length", "one_token", "shifted", "widened"),
    *("several_edits", "at_end", "identical", "refused"),
)
ALWAYS = ("pairs", "aligned", "equal_length", "shifted")
HEADERS = ("sentence1", "sentence2", "type", "subtype", "answer1", "answer2", "correct")
"""The columns of the table that can be edited."""


def data_stack(pairs: Pairs) -> dict[str, Any]:
    """The report of the alignment, bad rows, and the pairs."""
    views = [view("report", "facts", report(pairs))]
    if pairs.problems:
        views.append(view("problems", "table", problems_table(pairs)))
    views.append(view("pairs", "table", pairs_table(pairs)))
    return {"views": views, "of": None}


def report(pairs: Pairs) -> dict[str, Any]:
    """How many pairs align, and how; every pair is in exactly one of aligned and refused."""
    counts = pairs.report or {}
    rows = [
        {"label": phrase(f"pairs.report_{name}"), "value": str(counts[name])}
        for name in REPORT
        if name in counts and (counts[name] or name in ALWAYS)
    ]
    if not counts:
        rows = [{"label": phrase("pairs.report_pairs"), "value": str(len(pairs.records))}]
    note = phrase("pairs.report_note" if counts else "pairs.report_unknown")
    title = phrase(f"pairs.from_{pairs.source}")
    return {"title": title, "rows": rows, "badge": None, "buttons": [], "note": note}


def problems_table(pairs: Pairs) -> dict[str, Any]:
    """Rows of the source that are no pair, by their line."""
    columns = [column("row", "text", phone=True), column("problem", "text", phone=True)]
    rows = [[one["place"], one["what"]] for one in pairs.problems[:PROBLEMS]]
    more = max(0, len(pairs.problems) - PROBLEMS)
    how = phrase("pairs.problems_how")
    return table(phrase("pairs.problems"), how, columns, rows, more=more)


def pairs_table(pairs: Pairs) -> dict[str, Any]:
    """The pairs, one of which can be chosen."""
    columns = [
        column("kind", "text"),
        column("sentence1", "mono", phone=True),
        column("sentence2", "mono", phone=True),
        column("n_tok", "text"),
        column("alignment", "text"),
    ]
    rows = [_row(pairs, at) for at in range(min(LISTED, len(pairs.records)))]
    more = max(0, len(pairs.records) - LISTED)
    how = phrase("pairs.list_how")
    return table(phrase("pairs.list"), how, columns, rows, more=more, selectable=True, page=12)


def _row(pairs: Pairs, at: int) -> list[Any]:
    record = pairs.records[at]
    kind = " · ".join(part for part in (record["type"], record["subtype"]) if part) or None
    found = pairs.alignments[at] if at < len(pairs.alignments) else None
    return [kind, record["sentence1"], record["sentence2"], _tokens(found), _aligned(found)]


def _tokens(found: dict[str, Any] | None) -> str | None:
    if found is None or found["n_tok"] is None:
        return None
    first, second = found["n_tok"]
    return str(first) if first == second else f"{first} | {second}"


def _aligned(found: dict[str, Any] | None) -> Any:
    """How the sides align, in a word; the reason where they cannot be compared."""
    if found is None:
        return None
    if found["reason"] is not None:
        return {"text": found["reason"], "tone": "poor"}
    if "identical" in found["flags"]:
        return {"text": phrase("pairs.aligned_identical"), "tone": "check"}
    name = "equal" if found["shift"] == 0 else "shifted"
    return {"text": phrase(f"pairs.aligned_{name}", n=abs(found["shift"])), "tone": "plain"}


def table_rows(pairs: Pairs) -> list[list[str]]:
    """The pairs as the table that can be edited holds them."""
    return [
        ["" if record.get(name) is None else str(record[name]) for name in HEADERS]
        for record in pairs.records[:LISTED]
    ]


def records_of(rows: list[list[Any]], known: Pairs) -> list[dict[str, Any]]:
    """What the table holds now as pairs; rows without any text are left out.

    A pair whose texts are as they were keeps what the table does not show.
    """
    before = {(one["sentence1"], one["sentence2"]): one for one in known.records}
    found = []
    for row in rows:
        typed: dict[str, str] = dict(zip(HEADERS, map(_text, row), strict=False))
        if typed["sentence1"] or typed["sentence2"]:
            same = before.get((typed["sentence1"], typed["sentence2"]), {})
            found.append({**same, **_typed(typed, same.get("correct"))})
    return [*found, *known.records[LISTED:]]


def _text(value: Any) -> str:
    """A cell as text; empty ones come as None or NaN."""
    return "" if value is None or value != value else str(value)


def _typed(values: dict[str, str], correct_before: int | None) -> dict[str, Any]:
    correct = values.get("correct", "").strip()
    record: dict[str, Any] = {name: values.get(name, "") for name in HEADERS[:4]}
    record |= {name: values.get(name) or None for name in ("answer1", "answer2")}
    if correct in ("1", "2"):
        record |= {"correct": int(correct), "oriented": True}
    elif correct_before is not None:
        record |= {"correct": None, "oriented": False}
    return record
