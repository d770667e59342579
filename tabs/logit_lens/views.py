"""What the viewers of the logit lens show, from a result's JSON. Numbers are rounded here only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabs.words import phrase

PARTS = ("attn_out", "mlp_out")
SCALES = {
    "probability": ("probability", "percent"),
    "target": ("probability", "percent"),
    "rank": ("probability", "rank"),
    "entropy": ("amount", "number"),
    "kl_final": ("amount", "number"),
}
CHART_HEIGHT = 300
STACK = ("resid_post", "mlp_out", "resid_mid", "attn_out")
"""The places of a layer from top to bottom, as data flows upwards."""


def short(values: Any) -> Any:
    """Numbers with four digits, however deeply nested."""
    if isinstance(values, list):
        return [short(value) for value in values]
    return float(f"{values:.4g}") if isinstance(values, float) else values


def grid_rows(result: dict[str, Any], component: str) -> list[tuple[str, int]]:
    """(component, index among its layers) of every row, the last layer first."""
    layers = result["cells"].get(component, {}).get("layers", [])
    rows = [(component, index) for index in reversed(range(len(layers)))]
    return [*rows, ("embed", 0)] if "embed" in result["cells"] else rows


def heatmap(
    result: dict[str, Any], component: str, colour: str, *, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Layers x positions, the most likely token in every cell."""
    rows = grid_rows(result, component)
    if not any(name == component for name, _ in rows):
        return {"state": "empty", "text": phrase("lens.no_place"), "examples": []}
    tokens = result["input"]["tokens"]
    n_tokens, positions = len(tokens), result["positions"]
    cells = result["cells"]
    value = {
        "state": "done",
        "name": "logit-lens",
        "title": phrase("lens.title"),
        "card": "lens.card",
        "rows": [_row(result, name, index) for name, index in rows],
        "columns": [{"token": tokens[at], "position": at} for at in positions],
        "vocab": result["vocab"],
        "tokens": [[top[0] for top in cells[name]["top_ids"][index]] for name, index in rows],
        "notes": notes(result, component),
        "earlier": positions[0],
        "later": n_tokens - 1 - positions[-1],
        "selected": None,
        **(_part_values if component in PARTS else _state_values)(result, rows),
    }
    keys = [quantity["key"] for quantity in value["quantities"]]
    value["quantity"] = colour if colour in keys else keys[0]
    if before is not None:
        value.update(_changes(value["tokens"], before, rows))
    return value


def _row(result: dict[str, Any], name: str, index: int) -> dict[str, Any]:
    if name == "embed":
        return {"label": phrase("lens.embed"), "title": phrase("lens.embed_title")}
    layer = result["cells"][name]["layers"][index]
    return {"label": f"L{layer}", "title": phrase(f"lens.row_{name}", layer=layer)}


def _column(result: dict[str, Any], rows: Sequence[tuple[str, int]], field: str) -> list[list[Any]]:
    """One field of every cell, [row][position]."""
    return [short(result["cells"][name][field][index]) for name, index in rows]


def _target(result: dict[str, Any]) -> dict[str, Any]:
    """The token whose probability and rank are shown: the user's, or the model's own answer."""
    sources = {target["source"]: target for target in reversed(result["targets"])}
    return sources.get("user") or sources["argmax"]


def _state_values(result: dict[str, Any], rows: list[tuple[str, int]]) -> dict[str, Any]:
    """Quantities, candidates and facts of rows that are predictions."""
    target = _target(result)
    values = {
        "probability": _column(result, rows, "max_p"),
        "target": [short(target["cells"][name]["p"][index]) for name, index in rows],
        "rank": [target["cells"][name]["rank"][index] for name, index in rows],
        "entropy": _column(result, rows, "entropy"),
        "kl_final": _column(result, rows, "kl_final"),
    }
    return {
        "quantities": [_quantity(result, key, table) for key, table in values.items()],
        "top": {
            "ids": _column(result, rows, "top_ids"),
            "values": _column(result, rows, "top_p"),
            "format": "percent",
        },
        "facts": [
            _fact("entropy", values["entropy"], "number", unit=True),
            _fact("kl_final", values["kl_final"], "number", unit=True),
            _fact("target", values["target"], "percent"),
            _fact("rank", values["rank"], "rank"),
        ],
    }


def _quantity(result: dict[str, Any], key: str, table: list[list[Any]]) -> dict[str, Any]:
    scale, kind = SCALES[key]
    high = 1.0
    if key == "rank":
        high = result["model"]["vocab_size"] - 1
    elif scale == "amount":
        high = max([value for row in table for value in row if value is not None], default=1.0)
    return {
        "key": key,
        "label": phrase(f"lens.colour_{key}"),
        "title": phrase(f"lens.legend_{key}"),
        "scale": scale,
        "low": 0,
        "high": high or 1.0,
        "format": kind,
        "values": table,
    }


def _fact(key: str, table: list[list[Any]], kind: str, *, unit: bool = False) -> dict[str, Any]:
    said = phrase("lens.nats") if unit else None
    return {"label": phrase(f"lens.fact_{key}"), "unit": said, "format": kind, "values": table}


def _part_values(result: dict[str, Any], rows: list[tuple[str, int]]) -> dict[str, Any]:
    """Quantities and candidates of rows that add to logits; they have no probabilities."""
    cells = result["cells"]
    added = [[logits[0] for logits in cells[name]["top_logit"][index]] for name, index in rows]
    target = [cells[name]["target_logit"][index] for name, index in rows]
    return {
        "quantities": [_signed("added", short(added)), _signed("target", short(target))],
        "top": _bars(result, rows, "top"),
        "bottom": _bars(result, rows, "bottom"),
        "facts": [_fact("added_target", short(target), "signed")],
    }


def _bars(result: dict[str, Any], rows: list[tuple[str, int]], end: str) -> dict[str, Any] | None:
    if any(result["cells"][name].get(f"{end}_ids") is None for name, _ in rows):
        return None
    ids, values = _column(result, rows, f"{end}_ids"), _column(result, rows, f"{end}_logit")
    return {"ids": ids, "values": values, "format": "signed"}


def _signed(key: str, table: list[list[Any]]) -> dict[str, Any]:
    high = max([abs(value) for row in table for value in row if value is not None], default=1.0)
    return {
        "key": key,
        "label": phrase(f"lens.colour_{key}"),
        "title": phrase(f"lens.legend_{key}_added" if key == "target" else f"lens.legend_{key}"),
        "scale": "signed",
        "low": -(high or 1.0),
        "high": high or 1.0,
        "format": "signed",
        "values": table,
    }


def _changes(
    tokens: list[list[int]], before: dict[str, Any], rows: list[tuple[str, int]]
) -> dict[str, Any]:
    """Which cells the edit made say another token, and what they said before."""
    cells = before["cells"]
    old = [[top[0] for top in cells[name]["top_ids"][index]] for name, index in rows]
    values = [[(top or [None])[0] for top in cells[name]["top_p"][index]] for name, index in rows]
    changed = [
        [int(new != was) for new, was in zip(new_row, old_row, strict=True)]
        for new_row, old_row in zip(tokens, old, strict=True)
    ]
    return {"changed": changed, "before": old, "before_values": short(values)}


def notes(result: dict[str, Any], component: str) -> list[Any]:
    """Sentences under the heat map: findings only where the result has them."""
    said: list[Any] = []
    settled = result["settled"][-1] if result["settled"] else None
    last = result["layers"][-1]
    if component == "resid_post" and settled is not None:
        if settled <= result["layers"][0]:
            said.append(phrase("lens.settled_always"))
        elif settled <= last:
            said.append(phrase("lens.settled", layer=settled))
    if component == "resid_post":
        said.append(phrase("lens.embed_note"))
    return [*said, *result["warnings"]]


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
        "title": phrase("lens.ranks_title"),
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
        "quantities": [_quantity(detail, "probability", states), _signed("added", parts)],
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
