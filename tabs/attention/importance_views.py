"""What the prediction rests on: beside attention, on the tokens, and how far to trust it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tabs.attention.choices import Look
from tabs.attention.reading import reading
from tabs.attention.session import Session, Side
from tabs.attention.strip_views import prediction
from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import Attribution, Faithfulness
    from tabs.attention_operations import Attributed

LARGEST_GAP = 0.05
"""Relative; above it a badge warns."""
CHANCE = 0.95
"""A ranking beats chance when it is better than this share of random ones."""
PARAMS = ("occluder", "replacement", "baseline", "steps", "samples")
TRUST = ("comprehensiveness", "sufficiency", "deletion_area")


def view(key: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    """One view of a stack."""
    return {"key": key, "name": name, "value": value}


def needs(session: Session) -> dict[str, Any]:
    """Attention on the left, importance on the right, a row for every feature."""
    side = session.shown
    head = {"title": phrase("attention.needs"), "how": phrase("attention.needs_how")}
    if side.attributed is None:
        text = side.problem or phrase("attention.not_measured")
        return {**head, "rows": [], "missing": text, "tokens": session.tokens}
    found = side.attributed.found
    looks = reading(session, side)
    other = session.other
    before = None if other is None or other.attributed is None else other.attributed.found
    rows = [_need(found, looks, before, index) for index in range(len(found.features))]
    return {
        **head,
        "tokens": session.tokens,
        "rows": rows,
        "missing": None,
        "left": phrase(f"attention.quantity_{session.look.measure}"),
        "left_format": "percent" if session.look.measure != "norm" else "number",
        "right": phrase(f"attention.score_{found.score}"),
        "target": target_entry(found),
        "badge": gap_badge(found),
        "notes": [*_correlation(rows), *gap_notes(found), *found.header["warnings"]],
    }


def _need(found: Attribution, looks: Any, before: Attribution | None, index: int) -> dict[str, Any]:
    feature = found.features[index]
    at = list(range(feature.start, feature.stop))
    inside = feature.start <= found.query
    left = looks.joined(at) if looks.values is not None and inside else None
    row: dict[str, Any] = {
        "at": at,
        "left": None if left is None else short(left),
        "right": _number(found.scores[index]) if inside else None,
        "flip": bool(found.flips[index]) if found.flips is not None else False,
    }
    if found.standard_errors is not None:
        row["error"] = _number(found.standard_errors[index])
    if before is not None and len(before.features) == len(found.features):
        row["before"] = _number(before.scores[index])
    return row


def _number(value: Any) -> float | None:
    number = float(value)
    return short(number) if math.isfinite(number) else None


def _correlation(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far the two sides agree, worked out from what is drawn."""
    pairs = [(r["left"], r["right"]) for r in rows if None not in (r["left"], r["right"])]
    if len(pairs) < 3:
        return []
    from scipy.stats import spearmanr

    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return []
    rho = float(spearmanr(left, right).statistic)
    said = f"{rho:.2f}".replace("-", "−")
    return [phrase("attention.correlation", rho=said, n=len(pairs))]


def target_entry(found: Attribution) -> dict[str, Any] | None:
    """The first token of what was explained."""
    return found.vocab.get(str(int(found.target_ids[0])))


def gap_notes(found: Attribution) -> list[dict[str, Any]]:
    """How far the scores are from adding up."""
    gap, relative = found.completeness_gap, found.relative_gap
    if gap is None:
        return [phrase("attention.gap_unknown")]
    values = {"gap": _signed(gap), "unit": phrase(f"attention.unit_{found.score}")}
    if relative is None:
        return [phrase("attention.gap_plain", **values)]
    return [phrase("attention.gap", share=f"{100 * relative:.1f}%", **values)]


def gap_badge(found: Attribution) -> dict[str, Any] | None:
    """Whether the scores add up; nothing where that cannot be told."""
    relative = found.relative_gap
    if relative is None:
        return None
    state = "good" if relative <= LARGEST_GAP else "check"
    return {
        "state": state,
        "text": phrase(f"attention.gap_{state}", share=f"{100 * relative:.1f}%"),
    }


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
        views.append(view("curve", "chart", trust_chart(trust)))
    if found.interactions is not None:
        views.append(view("pairs", "heatmap", pairs_map(session, found)))
    views.append(view("numbers", "table", numbers_table(session, found)))
    return {"views": views, "of": None}


def importance_strip(session: Session, side: Side, found: Attribution) -> dict[str, Any]:
    """The scores on the tokens: green speaks for the target, purple against it."""
    boxes = [
        {
            "at": list(range(feature.start, feature.stop)),
            "value": _number(score) if feature.start <= found.query else None,
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
        "prediction": prediction(side, 1) if found.query == session.query else None,
        "high": max(values, default=1.0) or 1.0,
        "sink": None,
        "notes": found.header["warnings"],
        "exports": False,
    }


def facts(found: Attribution) -> dict[str, Any]:
    """What was asked, and how exact the answer is."""
    rows: list[tuple[str, Any]] = [
        ("log_p", " · ".join(_signed(float(one)) for one in found.target_log_p)),
        ("forwards", f"{found.forwards:,}"),
    ]
    rows += [(name, _param(found, name)) for name in PARAMS]
    shown = [
        {"label": phrase(f"attention.fact_{name}"), "value": value}
        for name, value in rows
        if value is not None
    ]
    for index, note in enumerate(gap_notes(found)):
        shown.insert(index, {"label": phrase("attention.fact_gap"), "value": note})
    return {"title": None, "rows": shown, "badge": gap_badge(found), "note": None}


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


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def trust_table(trust: Faithfulness) -> dict[str, Any]:
    """Every ranking beside random ones."""
    columns = [
        _column("ranking", "text", phone=True),
        *(_column(name, "number", digits=2, phone=True) for name in TRUST),
        _column("verdict", "text", phone=True),
    ]
    rows: list[list[Any]] = [
        [
            _ranking_name(ranking.name),
            *(short(float(getattr(ranking, name))) for name in TRUST),
            _verdict(trust.beaten(ranking)),
        ]
        for ranking in trust.rankings
    ]
    means = [float(np.mean([getattr(one, name) for one in trust.random])) for name in TRUST]
    name = phrase("attention.random", n=len(trust.random))
    rows.append([name, *map(short, means), None])
    how = phrase("attention.trust_how", k=trust.k)
    return table(phrase("attention.trust_title"), how, columns, rows)


def _ranking_name(name: str) -> Any:
    return phrase(f"attention.ranking_{name}")


def _verdict(beaten: dict[str, float]) -> dict[str, Any]:
    """Better than chance by all three measures, by some, or by none."""
    won = sum(share >= CHANCE for share in beaten.values())
    tone = "good" if won == len(TRUST) else "check" if won else "poor"
    return {"text": phrase(f"attention.trust_{tone}", won=won, n=len(TRUST)), "tone": tone}


def _column(key: str, kind: str, *, phone: bool = False, **more: Any) -> dict[str, Any]:
    label = phrase(f"attention.column_{key}")
    return {"key": key, "label": label, "kind": kind, "sortable": True, "phone": phone, **more}


def trust_chart(trust: Faithfulness) -> dict[str, Any]:
    """The measures as points beside the spread of random rankings."""
    from lens_core.figures import faithfulness_strip, figure_json

    return {
        "figure": figure_json(faithfulness_strip(trust)),
        "name": "faithfulness",
        "summary": phrase("attention.trust_title"),
        "height": 220,
        "empty": None,
    }


def pairs_map(session: Session, found: Attribution) -> dict[str, Any]:
    """What two features do together that neither does alone."""
    pairs = found.interactions
    assert pairs is not None
    labels = [
        {"token": session.tokens[found.features[i].start], "position": found.features[i].start}
        for i in pairs.features.tolist()
    ]
    values = [[_number(value) for value in row] for row in pairs.values]
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
        _column("feature", "place", phone=True),
        _column("score", "signed", digits=3, phone=True),
    ]
    values: list[Any] = [found.scores]
    if found.standard_errors is not None:
        columns.append(_column("error", "number", digits=3))
        values.append(found.standard_errors)
    if found.kl is not None:
        columns.append(_column("kl", "number", digits=3, phone=True))
        values.append(found.kl)
    parts = [] if found.token_scores is None else list(found.token_scores)
    for part, target in zip(parts, found.target_ids.tolist(), strict=False):
        entry = found.vocab[str(target)]
        columns.append(
            {
                **_column("for", "signed", digits=3),
                "label": phrase("attention.column_for", token=entry["text"]),
                "key": f"for_{len(columns)}",
            }
        )
        values.append(part)
    if found.flips is not None:
        columns.append(_column("flip", "text"))
    rows = []
    for index, feature in enumerate(found.features):
        row: list[Any] = [_place(session, feature.start, feature.stop)]
        row += [_number(column[index]) for column in values]
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


def importance_at(attributed: Attributed | None, at: list[int]) -> tuple[float, str] | None:
    """The score of the feature that holds a token, and the name of the score."""
    if attributed is None:
        return None
    found = attributed.found
    for feature, score in zip(found.features, found.scores, strict=True):
        if feature.start <= at[0] < feature.stop and math.isfinite(float(score)):
            return float(score), found.score
    return None
