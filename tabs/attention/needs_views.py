"""Looking beside needing: attention on the left, importance on the right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.bounds import LARGEST_GAP
from tabs.attention.reading import FORMATS, Reading, reading
from tabs.attention.session import Session
from tabs.logit_lens.views import short
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import Attribution
    from tabs.attention_operations import Attributed


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
        "left_format": FORMATS[session.look.measure],
        "right": phrase(f"attention.score_{found.score}"),
        "target": target_entry(found),
        "badge": gap_badge(found),
        "notes": [*_correlation(rows), *gap_notes(found), *found.header["warnings"]],
    }


def _need(
    found: Attribution, looks: Reading, before: Attribution | None, index: int
) -> dict[str, Any]:
    feature = found.features[index]
    at = list(range(feature.start, feature.stop))
    inside = feature.start <= found.query
    left = looks.joined(at) if looks.values is not None and inside else None
    row: dict[str, Any] = {
        "at": at,
        "left": None if left is None else short(left),
        "right": number(found.scores[index]) if inside else None,
        "flip": bool(found.flips[index]) if found.flips is not None else False,
    }
    if found.standard_errors is not None:
        row["error"] = number(found.standard_errors[index])
    if before is not None and len(before.features) == len(found.features):
        row["before"] = number(before.scores[index])
    return row


def _correlation(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far the two sides agree, worked out from what is drawn."""
    pairs = [(r["left"], r["right"]) for r in rows if None not in (r["left"], r["right"])]
    if len(pairs) < 3:
        return []
    from scipy.stats import spearmanr

    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return []
    rho = float(np.asarray(spearmanr(left, right))[0])
    said = f"{rho:.2f}".replace("-", "−")
    return [phrase("attention.correlation", rho=said, n=len(pairs))]


def number(value: Any) -> float | None:
    """A value for the page; None for what is no number."""
    found = float(value)
    return short(found) if math.isfinite(found) else None


def target_entry(found: Attribution) -> dict[str, Any] | None:
    """The first token of what was explained."""
    return found.vocab.get(str(int(found.target_ids[0])))


def gap_notes(found: Attribution) -> list[dict[str, Any]]:
    """How far the scores are from adding up."""
    gap, relative = found.completeness_gap, found.relative_gap
    if gap is None:
        return [phrase("attention.gap_unknown")]
    values = {"gap": signed(gap), "unit": phrase(f"attention.unit_{found.score}")}
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


def signed(value: float) -> str:
    """A number that says its direction."""
    return f"{value:+.3f}".replace("-", "−")


def importance_at(attributed: Attributed | None, at: list[int]) -> tuple[list[float], str] | None:
    """The scores of the features that tokens belong to, each once, and the name of the score."""
    if attributed is None:
        return None
    found = attributed.found
    scores = [
        float(score)
        for feature, score in zip(found.features, found.scores, strict=True)
        if any(feature.start <= one < feature.stop for one in at) and math.isfinite(float(score))
    ]
    return (scores, found.score) if scores else None
