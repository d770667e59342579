"""Values of the table, of what a head pushes, of its maps and of the selected link, for tests."""

from __future__ import annotations

from typing import Any

from viewer_stage import entry, records

TOKENS = records(
    "<|start|>", "seed", " blue", " tree", " stone", " seed", " blue", " tree", special=(0,)
)


def column(key: str, kind: str, *, phone: bool = False, **more: Any) -> dict[str, Any]:
    label = more.pop("label", key.title())
    return {
        "key": key,
        "label": label,
        "kind": kind,
        "digits": None,
        "sortable": True,
        "phone": phone,
        **more,
    }


def place(position: int, label: str | None = None) -> dict[str, Any]:
    return {"label": label, "token": TOKENS[position]}


TONES = {"MLP": "ffn", "Attention": "attention", "Stream": "residual"}


def link(
    start: dict[str, Any],
    end: dict[str, Any],
    kind: str,
    by: str | None,
    weight: float | None,
    influence: float,
) -> list[Any]:
    """A row of the links."""
    return [start, end, {"text": kind, "tone": TONES[kind]}, by, weight, influence]


LINKS = [
    link(place(7, "L0 MLP"), place(7, "L0 out"), "MLP", "layer 0", 0.981, 0.838),
    link(place(2), place(7, "L0 mid"), "Attention", "head 3, head 2", 0.449, 0.39),
    link(place(1), place(7, "L0 mid"), "Attention", "head 1", 0.197, 0.171),
    link(place(4), place(7, "L0 mid"), "Attention", "head 0", 0.115, 0.099),
    link(place(0, "L2 out"), place(7, "L3 mid"), "Attention", "head 0", 0.082, 0.078),
    link(place(7, "L10 out"), place(7, "L10 out"), "Stream", None, None, 0.0004),
]


def links(**changes: Any) -> dict[str, Any]:
    """The strongest links of a graph."""
    return {
        "title": "Strongest links",
        "how": None,
        "caption": "The links of the graph, strongest first",
        "columns": [
            column("from", "place", phone=True),
            column("to", "place", phone=True),
            column("kind", "text"),
            column("by", "text", label="Carried by"),
            column("weight", "number", digits=3),
            column("influence", "percent", phone=True),
        ],
        "rows": LINKS,
        "sort": {"key": "influence", "down": True},
        "selected": None,
        "more": 0,
        "page": 20,
        "empty": None,
        "selectable": True,
        **changes,
    }


def tokens(**changes: Any) -> dict[str, Any]:
    """The first tokens of a root, and how their ranks changed."""
    rows = [
        (" stone", 0.508, 1, 0),
        (" seed", 0.156, 2, 0),
        (" tree", 0.055, 3, 3),
        (" moon", 0.055, 4, -1),
        (" lake", 0.044, 5, 0),
        (" blue", 0.039, 12_345, None),
    ]
    return {
        "title": "Selected root: output of layer 5",
        "how": None,
        "caption": None,
        "columns": [
            column("token", "token", phone=True, sortable=False),
            column("probability", "percent", phone=True),
            column("rank", "rank"),
            column("change", "change", phone=True, label="Since MLP 5"),
        ],
        "rows": [[entry(text), *rest] for text, *rest in rows],
        "sort": None,
        "selected": None,
        "more": 0,
        "page": 20,
        "empty": "No token.",
        "selectable": False,
        **changes,
    }


def pushed(**changes: Any) -> dict[str, Any]:
    """What head 0 adds to the logits."""
    up = {" leaf": 0.69, " sun": 0.62, " seed": 0.59, " stone": 0.59, " bird": 0.58}
    down = {".": -0.90, " Cairo": -0.84, " Budapest": -0.82, "?": -0.67, " Sofia": -0.66}
    return {
        "title": "What head 0 adds to the logits",
        "how": None,
        "promoted": [{"entry": entry(text), "value": value} for text, value in up.items()],
        "suppressed": [{"entry": entry(text), "value": value} for text, value in down.items()],
        "unit": "logit",
        **changes,
    }


def lower(n: int, high: float) -> list[list[float]]:
    """A lower triangle whose rows differ, with its largest value in the first column."""

    def value(query: int, key: int) -> float:
        return high if key == 0 else high * ((3 * query + 5 * key) % 7) / 9

    return [[value(query, key) for key in range(query + 1)] for query in range(n)]


def maps(n: int = 8, **changes: Any) -> dict[str, Any]:
    """The attention and the contribution of one head."""
    tokens = TOKENS if n == len(TOKENS) else records(*(f" word{i}" for i in range(n)))
    attention = {"label": "Attention", "scale": "attention", "high": 1.0}
    contribution = {**attention, "label": "Contribution", "high": 0.1}
    return {
        "title": "Head 0: where it looks, what it moves",
        "how": None,
        "tokens": tokens,
        "maps": [{**attention, "values": lower(n, 1.0)}, {**contribution, "values": lower(n, 0.1)}],
        "cell": [5, 2],
        "note": "Rows read from columns. Same token order as the graph.",
        **changes,
    }


def selection(**changes: Any) -> dict[str, Any]:
    """A selected attention link, knocked out."""
    return {
        "kicker": "Selected link",
        "from": {"token": TOKENS[0], "label": None},
        "to": {"token": TOKENS[7], "label": "layer 3, attention"},
        "facts": [
            {"label": "Weight (share of the node it enters)", "value": "0.082"},
            {"label": "Influence on the prediction", "value": "7.8%"},
        ],
        "measured": {
            "rows": [{"label": "Probability", "value": "50.8% → 12.4%"}],
            "text": "Without it the prediction would be another one.",
        },
        "actions": [
            {"name": "verify", "label": "Check by knock-out"},
            {"name": "root", "label": "Use as root"},
        ],
        "note": None,
        **changes,
    }
