"""What the viewers show of one position, from a result's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabs.logit_lens.views import quantity, short, signed
from tabs.words import phrase

CHART_HEIGHT = 300
STACK = ("resid_post", "mlp_out", "resid_mid", "attn_out")
"""The places of a layer from top to bottom, as data flows upwards."""


def ranks_head(detail: dict[str, Any]) -> dict[str, Any]:
    """Which position the ranks are of."""
    title = {**phrase("lens.ranks_title"), "entry": read_entry(detail)}
    return {"title": title, "how": phrase("lens.ranks_how")}


def ranks(detail: dict[str, Any], *, only_important: bool) -> dict[str, Any]:
    """One position: the places of every layer as rows, the candidates by rank as columns."""
    important = {entry["layer"] for entry in (detail["important_layers"] or {}).get("layers", [])}
    rows = [
        (name, detail["cells"][name]["layers"].index(layer), layer)
        for layer in reversed(detail["layers"])
        for name in STACK
        if layer in detail["cells"].get(name, {}).get("layers", [])
        and (layer in important or not only_important)
    ]
    if not rows:
        return {"state": "empty", "text": phrase("lens.none_important"), "examples": []}
    cells = detail["cells"]
    k = detail["lens"]["k"]
    blank = [[None] * k for _ in rows]
    states, parts = [row[:] for row in blank], [row[:] for row in blank]
    for r, (name, index, _) in enumerate(rows):
        if cells[name].get("top_p") is None:
            parts[r] = short(cells[name]["top_logit"][index][0])
        else:
            states[r] = short(cells[name]["top_p"][index][0])
    return {
        "state": "done",
        "name": "logit-lens-position",
        "title": phrase("lens.ranks_title", token=read_entry(detail)["text"]),
        "card": "lens.card_rank",
        "rows": [
            {
                "label": phrase(f"lens.short_{name}", layer=layer),
                "title": phrase(f"lens.row_{name}", layer=layer),
                "quantity": "added" if cells[name].get("top_p") is None else "probability",
                "important": layer in important,
            }
            for name, _, layer in rows
        ],
        "columns": [{"label": str(rank + 1)} for rank in range(k)],
        "vocab": detail["vocab"],
        "tokens": [cells[name]["top_ids"][index][0] for name, index, _ in rows],
        "quantities": [quantity(detail, "probability", states), signed("added", parts)],
        "quantity": "probability",
        "top": None,
        "facts": [],
        "notes": [_important_note(detail)],
        "earlier": 0,
        "later": 0,
        "selected": None,
    }


def _important_note(detail: dict[str, Any]) -> Any:
    found = detail["important_layers"]
    layers = ", ".join(f"L{entry['layer']}" for entry in found["layers"]) or "–"
    criterion = phrase(f"lens.important_{found['criterion']}")
    return phrase(
        "lens.important_note", criterion=criterion, threshold=found["threshold"], layers=layers
    )


def prediction(detail: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The most likely next tokens after one position."""
    cells = detail["cells"]["resid_post"]
    ids, p = cells["top_ids"][-1][0], cells["top_p"][-1][0]
    (position,) = detail["positions"]
    old = {} if before is None else final_p(before)
    rows = [
        {"entry": detail["vocab"][str(i)], "value": share, "before": old.get(i)}
        for i, share in zip(ids, p, strict=True)
    ]
    last = position == len(detail["input"]["tokens"]) - 1
    title = phrase("lens.prediction_last" if last else "lens.prediction")
    return {
        "title": title if last else {**title, "entry": read_entry(detail)},
        "how": None,
        "kind": "share",
        "rows": [{name: v for name, v in row.items() if v is not None} for row in rows],
        "high": 1.0,
        "format": "percent",
        "sums": [],
        "badge": None,
        "empty": None,
    }


def read_entry(detail: dict[str, Any]) -> dict[str, Any]:
    """The token of the text at the position that was read."""
    (position,) = detail["positions"]
    return detail["vocab"][str(detail["input"]["ids"][position])]


def final_p(detail: dict[str, Any]) -> dict[int, float]:
    """The final probability of every token that was followed at the position."""
    (tracked,) = detail["tracked"]
    return {i: p[-1] for i, p in zip(tracked["ids"], tracked["p"]["resid_post"], strict=True)}


def attribution(detail: dict[str, Any]) -> dict[str, Any]:
    """What each part of the stream added to the logit of one token."""
    found = detail["attribution"]
    if found is None:
        return {"title": phrase("lens.pushed_off"), "rows": [], "empty": phrase("lens.no_parts")}
    rows = [{"label": phrase("lens.part_embed"), "value": found["embed"]}]
    for layer, (attn, mlp) in enumerate(zip(found["attn"], found["mlp"], strict=True)):
        rows.append({"label": phrase("lens.part_attn", layer=layer), "value": attn})
        rows.append({"label": phrase("lens.part_mlp", layer=layer), "value": mlp})
    if found["constant"]:
        rows.append({"label": phrase("lens.part_constant"), "value": found["constant"]})
    gap = abs(found["total"] - found["logit"])
    fine = gap <= 1e-3 * max(1.0, abs(found["logit"]))
    return {
        "title": {**phrase("lens.pushed"), "entry": detail["vocab"][str(found["target"])]},
        "how": phrase("lens.pushed_how"),
        "kind": "signed",
        "rows": rows,
        "high": None,
        "format": "signed",
        "sums": [
            {"label": phrase("lens.sum_parts"), "value": found["total"]},
            {"label": phrase("lens.sum_logit"), "value": found["logit"]},
        ],
        "badge": {
            "state": "good" if fine else "poor",
            "text": phrase("lens.adds_up" if fine else "lens.adds_not", gap=f"{gap:.1e}"),
        },
        "empty": None,
    }


def followed(
    detail: dict[str, Any], lines: Sequence[Sequence[int]], *, pinned: bool, error: str | None
) -> dict[str, Any]:
    """The tokens whose course is drawn, and those that could be."""
    vocab = detail["vocab"]
    (tracked,) = detail["tracked"]
    shown = {token for line in lines for token in line}
    return {
        "title": {**phrase("lens.course"), "entry": read_entry(detail)},
        "how": phrase("lens.course_how" if pinned else "lens.course_how_auto"),
        "lines": [
            {
                "ids": list(line),
                "entries": [vocab[str(token)] for token in line],
                "series": index + 1 if index < 4 else 0,  # the rest is grey
                "pinned": pinned,
            }
            for index, line in enumerate(lines)
        ],
        "suggested": [
            {"id": token, "entry": vocab[str(token)]}
            for token in tracked["ids"]
            if token not in shown
        ][:6],
        "error": error,
    }


def course(figure: dict[str, Any], detail: dict[str, Any]) -> dict[str, Any]:
    """The chart of how candidates rise and fall."""
    (position,) = detail["positions"]
    return {
        "figure": figure,
        "name": "logit-lens-course",
        "summary": phrase("lens.course_summary", position=position),
        "height": CHART_HEIGHT,
        "empty": None,
    }
