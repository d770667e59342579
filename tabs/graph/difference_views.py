"""What the viewers show of the difference of two graphs. Numbers are rounded here only."""

from __future__ import annotations

from typing import Any

from tabs.graph.views import KINDS, TABLE, column, place, table
from tabs.logit_lens.views import short
from tabs.words import phrase

Tokens = list[dict[str, Any] | None]


def graph_view(record: dict[str, Any]) -> dict[str, Any]:
    """The picture: what the second graph has more than the first, on common columns."""
    difference = record["difference"]
    a, b = tokens_of(difference)
    same = a == b
    places = {node["id"]: index for index, node in enumerate(difference["nodes"])}
    edges = difference["edges"]
    final = difference["final"]["b"]
    return {
        "state": "done",
        "name": "graph-difference",
        "title": phrase("graph.difference"),
        "n_layers": difference["model"]["n_layers"],
        **record["layers"],
        "tokens": a,
        "others": None if same else b,
        "share": short(difference["token_influence"]["difference"]),
        "rest": {
            name: short(sides["difference"]) for name, sides in difference["influence"].items()
        },
        "roots": difference["roots"],
        "prediction": {"entry": difference["vocab"][str(final["id"])], "p": final["p"]},
        "nodes": {
            "ids": [node["id"] for node in difference["nodes"]],
            "influence": short([node["influence"] for node in difference["nodes"]]),
        },
        "edges": {
            "src": [places[edge["src"]] for edge in edges],
            "dst": [places[edge["dst"]] for edge in edges],
            "kind": [KINDS.index(edge["kind"]) for edge in edges],
            "w": short([edge["w"] for edge in edges]),
            "influence": short([edge["influence"] for edge in edges]),
            "heads": [None] * len(edges),
        },
        "signed": True,
        "difference": True,
        "threshold": difference["threshold"]["tau"],
        "n_edges": difference["counts"]["edges"],
        "strongest": None,
        "notes": [phrase("graph.difference_edit" if same else "graph.difference_prompts")],
        "selected": None,
    }


def tokens_of(difference: dict[str, Any]) -> tuple[Tokens, Tokens]:
    """The tokens of both prompts, column by column."""
    found = []
    for side in "ab":
        tokens = difference["input"][side]["tokens"]
        found.append([None if at is None else tokens[at] for at in difference["columns"][side]])
    return found[0], found[1]


def links_table(difference: dict[str, Any]) -> dict[str, Any]:
    """The links that change most."""
    a, b = tokens_of(difference)
    tokens = [one or other for one, other in zip(a, b, strict=True)]
    listed = strongest(difference)
    columns = [
        column("from", "place", phone=True),
        column("to", "place", phone=True),
        column("kind", "text"),
        column("first", "percent"),
        column("second", "percent"),
        column("change", "percent", phone=True),
    ]
    return table(
        phrase("graph.changes"),
        phrase("graph.changes_how"),
        columns,
        [_row(edge, tokens) for edge in listed],
        more=len(difference["edges"]) - len(listed),
        empty=phrase("graph.no_change"),
        selectable=True,
    )


def strongest(difference: dict[str, Any]) -> list[dict[str, Any]]:
    """The links whose influence changes most."""
    return sorted(difference["edges"], key=lambda edge: -abs(edge["influence"]))[:TABLE]


def _row(edge: dict[str, Any], tokens: Tokens) -> list[Any]:
    kind = {"text": phrase(f"graph.kind_{edge['kind']}"), "tone": edge["kind"]}
    shares = [short(edge[f"influence_{side}"]) for side in "ab"]
    ends = [place(edge[end], tokens) for end in ("src", "dst")]
    return [*ends, kind, *shares, short(edge["influence"])]
