"""What the viewers of the logit lens show, from a result's JSON. Numbers are rounded here only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabs.said import reads_end
from tabs.words import phrase

PARTS = ("attn_out", "mlp_out")
SCALES = {
    "probability": ("probability", "percent"),
    "target": ("probability", "percent"),
    "rank": ("probability", "rank"),
    "entropy": ("amount", "number"),
    "kl_final": ("amount", "number"),
}


def short(values: Any, digits: int = 6) -> Any:
    """Numbers with so many digits, however deeply nested."""
    if isinstance(values, list):
        return [short(value, digits) for value in values]
    return float(f"{values:.{digits}g}") if isinstance(values, float) else values


def grid_rows(result: dict[str, Any], component: str) -> list[tuple[str, int]]:
    """(component, index among its layers) of every row, the last layer first."""
    layers = result["cells"].get(component, {}).get("layers", [])
    rows = [(component, index) for index in reversed(range(len(layers)))]
    return [*rows, ("embed", 0)] if "embed" in result["cells"] else rows


def heatmap(
    result: dict[str, Any],
    component: str,
    colour: str,
    *,
    other: dict[str, Any] | None = None,
    side: str = "after",
) -> dict[str, Any]:
    """Layers x positions, the most likely token in every cell.

    Args:
        result: what is drawn.
        component: where it is read.
        colour: the quantity to colour by.
        other: the same without an edit, or with it; cells that differ from it are marked.
        side: which of the two `result` is, before or after the edit.
    """
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
    keys = [one["key"] for one in value["quantities"]]
    value["quantity"] = colour if colour in keys and component not in PARTS else keys[0]
    if other is not None:
        value.update(_changes(value["tokens"], other, rows), side=side)
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
        "quantities": [quantity(result, key, table) for key, table in values.items()],
        "top": {
            "ids": _column(result, rows, "top_ids"),
            "values": _column(result, rows, "top_p"),
            "format": "percent",
        },
        "facts": [
            _fact("entropy", "number", unit=True),
            _fact("kl_final", "number", unit=True),
            _fact("target", "percent"),
            _fact("rank", "rank"),
        ],
    }


def quantity(result: dict[str, Any], key: str, table: list[list[Any]]) -> dict[str, Any]:
    """A number of every cell that is a prediction, with its colour scale."""
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


def _fact(key: str, kind: str, *, unit: bool = False, label: str | None = None) -> dict[str, Any]:
    """A line of the card; its values are those of the quantity of that key."""
    said = phrase("lens.nats") if unit else None
    name = phrase(f"lens.fact_{label or key}")
    return {"label": name, "unit": said, "format": kind, "quantity": key}


def _part_values(result: dict[str, Any], rows: list[tuple[str, int]]) -> dict[str, Any]:
    """Quantities and candidates of rows that add to logits; they have no probabilities."""
    cells = result["cells"]
    added = [[logits[0] for logits in cells[name]["top_logit"][index]] for name, index in rows]
    target = [cells[name]["target_logit"][index] for name, index in rows]
    return {
        "quantities": [signed("added", short(added)), signed("target", short(target))],
        "top": _bars(result, rows, "top"),
        "bottom": _bars(result, rows, "bottom"),
        "facts": [_fact("target", "signed", label="added_target")],
    }


def _bars(result: dict[str, Any], rows: list[tuple[str, int]], end: str) -> dict[str, Any] | None:
    if any(result["cells"][name].get(f"{end}_ids") is None for name, _ in rows):
        return None
    ids, values = _column(result, rows, f"{end}_ids"), _column(result, rows, f"{end}_logit")
    return {"ids": ids, "values": values, "format": "signed"}


def signed(key: str, table: list[list[Any]]) -> dict[str, Any]:
    """A logit added in every cell, with a scale around zero."""
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
    tokens: list[list[int]], other: dict[str, Any], rows: list[tuple[str, int]]
) -> dict[str, Any]:
    """Which cells say another token in the other result, and what they say there."""
    cells = other["cells"]
    old = [[top[0] for top in cells[name]["top_ids"][index]] for name, index in rows]
    fields = {name: "top_logit" if name in PARTS else "top_p" for name, _ in rows}
    values = [[top[0] for top in cells[name][fields[name]][index]] for name, index in rows]
    changed = [
        [int(new != was) for new, was in zip(new_row, old_row, strict=True)]
        for new_row, old_row in zip(tokens, old, strict=True)
    ]
    return {"changed": changed, "other": old, "other_values": short(values)}


def notes(result: dict[str, Any], component: str) -> list[Any]:
    """Sentences under the heat map: findings only where the result has them."""
    said: list[Any] = []
    settled = result["settled"][-1] if reads_end(result) else None
    last = result["layers"][-1]
    if component == "resid_post" and settled is not None:
        if settled <= result["layers"][0]:
            said.append(phrase("lens.settled_always"))
        elif settled <= last:
            said.append(phrase("lens.settled", layer=settled))
    if component == "resid_post":
        said.append(phrase("lens.embed_note"))
    return [*said, *result["warnings"]]
