"""What the viewers of the graph show, from a result's JSON. Numbers are rounded here only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabs.graph.choices import SIGNED
from tabs.logit_lens.views import short
from tabs.words import phrase

KINDS = ("residual", "attention", "ffn", "bias", "mixer")
TABLE = 300
"""So many links are listed in the table."""
PAGE = 8
"""So many rows of a table are shown at first."""
MAX_MAP = 48
"""A map of a head shows so many positions at most, up to the edge that is looked at."""
LETTERS = {"X": "input", "A": "mid", "I": "out", "M": "mlp", "B": "bias", "S": "mixer"}


def graph_view(record: dict[str, Any]) -> dict[str, Any]:
    """The picture: nodes, edges, tokens, and what is said beside them."""
    places = {node["id"]: index for index, node in enumerate(record["nodes"])}
    edges = record["edges"]
    roots = record["root"]["nodes"]
    influence = record["influence"]
    return {
        "state": "done",
        "name": "graph",
        "title": phrase("graph.title"),
        "n_layers": record["model"]["n_layers"],
        **record["layers"],
        "tokens": record["input"]["tokens"],
        "others": None,
        "share": short(record["token_influence"]),
        "rest": short(influence),
        "roots": roots,
        "prediction": root_prediction(record, *roots) if len(roots) == 1 else None,
        "nodes": {
            "ids": [node["id"] for node in record["nodes"]],
            "influence": short([node["influence"] for node in record["nodes"]]),
        },
        "edges": {
            "src": [places[edge["src"]] for edge in edges],
            "dst": [places[edge["dst"]] for edge in edges],
            "kind": [KINDS.index(edge["kind"]) for edge in edges],
            "w": short([edge["w"] for edge in edges]),
            "influence": short([edge["influence"] for edge in edges]),
            "heads": [short(edge["heads"]) if "heads" in edge else None for edge in edges],
        },
        "signed": record["metric"] in SIGNED,
        "difference": False,
        "threshold": record["threshold"]["tau"],
        "n_edges": record["counts"]["edges"],
        "strongest": record["strongest"],
        "notes": notes(record),
        "selected": selection_of(record["selected"]),
    }


def root_prediction(record: dict[str, Any], root: str) -> dict[str, Any] | None:
    """What the model says after the root's position; None where the root is no last output."""
    letter, layer, position = place_of(root)
    if letter != "I" or layer != record["model"]["n_layers"] - 1:
        return None
    token = record["final_ids"][position]
    return {"entry": record["vocab"][str(token)], "p": record["final_p"][position]}


def notes(record: dict[str, Any]) -> list[Any]:
    """What has to be known of this graph, in words."""
    found: list[Any] = []
    residuals = record["residuals"]
    for key in ("degenerate_rows", "all_below_threshold"):
        if residuals[key]:
            places = ", ".join(residuals[key][:4])
            found.append(phrase(f"graph.{key}", n=len(residuals[key]), places=places))
    if record["threshold"]["mode"] == "per_edge" and not record["threshold"]["renormalise"]:
        found.append(phrase("graph.not_rescaled"))
    if any(node["kind"] == "mixer" for node in record["nodes"]):
        found.append(phrase("graph.mixers"))
    if record["metric"] in SIGNED:
        found.append(phrase("graph.signed"))
    return found


def place_of(node: str) -> tuple[str, int, int]:
    """Letter, layer and position of a node's name."""
    layer, position = node[1:].split("_")
    return node[0], int(layer), int(position)


def selection_of(detail: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a detail is about, as the graph marks it."""
    if detail is None:
        return None
    if "src" in detail:
        return {name: detail[name] for name in ("src", "dst", "kind")}
    return {"node": detail["node"]}


def place(node: str, tokens: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """A node for a table: its layer and stage in words, and its token.

    Where the text of the token stands more than once, its position tells which one it is.
    """
    position = place_of(node)[2]
    token = tokens[position]
    label = stage(node)
    texts = [one["text"] for one in tokens if one is not None]
    if token is not None and texts.count(token["text"]) > 1:
        label = phrase("graph.at", place=label, position=position)
    return {"label": label, "token": token}


def stage(node: str) -> dict[str, Any]:
    """Layer and stage of a node in words."""
    letter, layer, _ = place_of(node)
    return phrase(f"graph.place_{LETTERS[letter]}", layer=layer)


def table(
    title: dict[str, Any],
    how: dict[str, Any],
    columns: list[dict[str, Any]],
    rows: list[list[Any]],
    **more: Any,
) -> dict[str, Any]:
    """What the table viewer takes; `more` is what differs from a plain list."""
    plain = {
        "sort": None, "selected": None, "more": 0, "page": PAGE, "empty": None, "selectable": False,
    }  # fmt: skip
    shown = {"title": title, "how": how, "caption": title, "columns": columns, "rows": rows}
    return {**shown, **plain, **more}


def links_table(record: dict[str, Any], measured: dict[str, float] | None = None) -> dict[str, Any]:
    """The strongest links, those with the most influence first."""
    tokens = record["input"]["tokens"]
    listed = strongest(record)
    columns = [
        column("from", "place", phone=True),
        column("to", "place", phone=True),
        column("kind", "text"),
        column("heads", "text"),
        column("weight", "number", digits=3),
        column("influence", "percent", phone=True),
    ]
    rows = [row_of(edge, tokens) for edge in listed]
    if measured is not None:
        columns.append(column("measured", "signed", digits=3))
        for row, edge in zip(rows, listed, strict=True):
            row.append(short(measured.get(key_of(edge))))
    return table(
        phrase("graph.links"),
        phrase("graph.links_how"),
        columns,
        rows,
        more=len(record["edges"]) - len(listed),
        empty=phrase("graph.no_links"),
        selectable=True,
    )


def key_of(edge: dict[str, Any]) -> str:
    """A link in one word, for the session."""
    return f"{edge['src']} {edge['dst']} {edge['kind']}"


def strongest(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The edges with the most influence; those that only carry the stream on come last."""

    def order(edge: dict[str, Any]) -> tuple[bool, float]:
        return edge["kind"] == "residual", -abs(edge["influence"])

    return sorted(record["edges"], key=order)[:TABLE]


def column(
    key: str, kind: str, *, digits: int | None = None, phone: bool = False
) -> dict[str, Any]:
    """A column of a table, which can be sorted by."""
    label = phrase(f"graph.column_{key}")
    return {
        "key": key, "label": label, "kind": kind, "digits": digits, "sortable": True, "phone": phone
    }  # fmt: skip


def row_of(edge: dict[str, Any], tokens: list[dict[str, Any]]) -> list[Any]:
    """One link in the table."""
    heads = ", ".join(str(head) for head, _ in edge.get("heads", [])[:3])
    carried = phrase("graph.heads", heads=heads) if heads else None
    return [
        place(edge["src"], tokens),
        place(edge["dst"], tokens),
        {"text": phrase(f"graph.kind_{edge['kind']}"), "tone": edge["kind"]},
        carried,
        short(edge["w"]),
        short(edge["influence"]),
    ]
