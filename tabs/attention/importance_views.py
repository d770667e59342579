"""What the prediction rests on: on the tokens, with all numbers, and how exact they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabs.attention.choices import Look
from tabs.attention.needs_views import gap_badge, gap_notes, number, signed, target_entry
from tabs.attention.session import Session, Side
from tabs.attention.stacks import column, view
from tabs.attention.strip_views import prediction
from tabs.attention.trust_views import trust_table
from tabs.graph.views import table
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import Attribution

PARAMS = ("occluder", "replacement", "baseline", "steps", "samples")


def importance_stack(session: Session) -> dict[str, Any]:
    """One attribution: on the tokens, its facts, whether it can be trusted, and every number."""
    side = session.shown
    if side.attributed is None:
        text = side.problem or phrase("attention.not_measured")
        return {
            "views": [view("none", "facts", {"title": None, "note": text, "rows": []})],
            "of": None,
        }
    found, trust = side.attributed.found, side.attributed.trust
    views = [
        view("strip", "attention_tokens", importance_strip(session, side, found)),
        view("facts", "facts", facts(found)),
    ]
    if trust is not None:
        views.append(view("trust", "table", trust_table(trust)))
    if found.interactions is not None:
        views.append(view("pairs", "heatmap", pairs_map(session, found)))
    views.append(view("numbers", "table", numbers_table(session, found)))
    return {"views": views, "of": None}


def importance_strip(session: Session, side: Side, found: Attribution) -> dict[str, Any]:
    """The scores on the tokens: green speaks for the target, purple against it."""
    boxes = [
        {
            "at": list(range(feature.start, feature.stop)),
            "value": number(score) if feature.start <= found.query else None,
        }
        for feature, score in zip(found.features, found.scores, strict=True)
    ]
    covered = {at for box in boxes for at in box["at"]}
    boxes += [{"at": [t["i"]], "value": None} for t in session.tokens if t["i"] not in covered]
    values = [abs(box["value"]) for box in boxes if box["value"] is not None]
    return {
        "state": "done",
        "title": {**phrase("attention.importance_title"), "entry": target_entry(found)},
        "how": phrase(f"attention.about_{found.method}"),
        "tokens": session.tokens,
        "n_prompt": side.looked.header["input"]["n_prompt"],
        "boxes": sorted(boxes, key=lambda box: box["at"][0]),
        "scale": "signed",
        "curve": Look.curve,
        "format": "signed",
        "legend": phrase(f"attention.score_{found.score}"),
        "query": found.query,
        "selected": session.source,
        "sinks": [],
        "prediction": prediction(side, 1),
        "high": max(values, default=1.0) or 1.0,
        "sink": None,
        "notes": found.header["warnings"],
        "exports": False,
    }


def facts(found: Attribution) -> dict[str, Any]:
    """What was asked, and how exact the answer is."""
    rows: list[tuple[str, Any]] = [
        ("log_p", " · ".join(signed(float(one)) for one in found.target_log_p)),
        ("forwards", f"{found.forwards:,}"),
    ]
    rows += [(name, _param(found, name)) for name in PARAMS]
    hidden = found.params.get("occluder") == "knock_out"
    shown = [
        {"label": phrase(f"attention.fact_{_named(name, hidden)}"), "value": value}
        for name, value in rows
        if value is not None
    ]
    for index, note in enumerate(gap_notes(found)):
        shown.insert(index, {"label": phrase("attention.fact_gap"), "value": note})
    return {"title": None, "rows": shown, "badge": gap_badge(found), "note": None}


def _named(name: str, hidden: bool) -> str:
    """The name of a fact; where tokens are hidden, only the query has a replacement."""
    return "replacement_query" if hidden and name == "replacement" else name


def _param(found: Attribution, name: str) -> Any:
    """An option as the method took it, with its token where it is one."""
    if name not in found.params:
        return None
    value = found.params[name]
    if name == "occluder":
        return phrase(f"attention.occluder_{value}")
    if name not in ("replacement", "baseline"):
        return str(value)
    entries = [found.vocab[str(one)] for one in _tokens(value)]
    if entries:
        return {"entries": entries}
    return phrase("attention.zero_row" if value == "zero" else "attention.mean_row")


def _tokens(value: Any) -> list[int]:
    """The tokens among what stands in for others; a mean or zero row is none."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int)]


def pairs_map(session: Session, found: Attribution) -> dict[str, Any]:
    """What two features do together that neither does alone."""
    pairs = found.interactions
    assert pairs is not None
    labels = [
        {"token": session.tokens[found.features[i].start], "position": found.features[i].start}
        for i in pairs.features.tolist()
    ]
    values = [[number(value) for value in row] for row in pairs.values]
    known = [abs(v) for row in values for v in row if v is not None]
    high = max(known, default=1.0) or 1.0
    texts = [found.features[i].text for i in pairs.features.tolist()]
    quantity = {
        "key": "interaction", "label": phrase("attention.interaction"), "low": -high, "high": high,
        "title": phrase("attention.interaction"), "scale": "signed", "format": "signed",
        "values": values,
    }  # fmt: skip
    return {
        "state": "done",
        "name": "interactions",
        "title": phrase("attention.interaction"),
        "card": "attention.interaction_card",
        "rows": [{"label": text, "title": text} for text in texts],
        "columns": labels,
        "vocab": {},
        "tokens": [[None] * len(texts) for _ in texts],
        "quantities": [quantity],
        "quantity": "interaction",
        "facts": [
            {
                "label": phrase("attention.interaction"),
                "unit": phrase(f"attention.unit_{found.score}"),
                "format": "signed",
                "quantity": "interaction",
            }
        ],
        "selected": None,
        "notes": [phrase("attention.interaction_how")],
        "earlier": 0,
        "later": 0,
        "readonly": True,
    }


def numbers_table(session: Session, found: Attribution) -> dict[str, Any]:
    """Every feature with all that was measured of it."""
    columns = [
        column("feature", "place", phone=True),
        column("score", "signed", digits=3, phone=True),
    ]
    values: list[Any] = [found.scores]
    if found.standard_errors is not None:
        columns.append(column("error", "number", digits=3))
        values.append(found.standard_errors)
    if found.kl is not None:
        columns.append(column("kl", "number", digits=3, phone=True))
        values.append(found.kl)
    parts = [] if found.token_scores is None else list(found.token_scores)
    for part, target in zip(parts, found.target_ids.tolist(), strict=False):
        entry = found.vocab[str(target)]
        columns.append(
            {
                **column("for", "signed", digits=3),
                "label": phrase("attention.column_for", token=entry["text"]),
                "key": f"for_{len(columns)}",
            }
        )
        values.append(part)
    if found.flips is not None:
        columns.append(column("flip", "text"))
    rows = []
    for index, feature in enumerate(found.features):
        row: list[Any] = [_place(session, feature.start, feature.stop)]
        row += [number(column[index]) for column in values]
        if found.flips is not None:
            row.append(phrase("attention.flips") if found.flips[index] else None)
        rows.append(row)
    sort = {"key": "score", "down": True}
    title = phrase("attention.numbers")
    return table(title, phrase("attention.numbers_how"), columns, rows, sort=sort)


def _place(session: Session, start: int, stop: int) -> dict[str, Any]:
    """A feature by its first token; its last position where it has several."""
    token = session.tokens[start]
    if stop - start == 1:
        return {"label": f"#{start}", "token": token}
    text = "".join(one["text"] for one in session.tokens[start:stop])
    return {"label": f"#{start}–{stop - 1} {text}", "token": None}
