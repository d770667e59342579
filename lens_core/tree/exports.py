"""A graph in the formats of other programs: GraphML for graph tools, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from lens_core.tokens import label
from lens_core.tree.nodes import Node

if TYPE_CHECKING:
    from lens_core.tree.difference import GraphDifference
    from lens_core.tree.result import ContributionGraph

CSV_COLUMNS = (
    *("src", "dst", "kind", "layer"),
    *("src_position", "src_token", "dst_position", "dst_token"),
    *("weight", "influence", "heads"),
)

_KEYS = (
    *(("graph", name, "string") for name in ("schema", "model", "metric", "threshold", "root")),
    *(("node", name, "string") for name in ("kind", "label")),
    *(("node", name, "int") for name in ("layer", "position", "token_id")),
    ("node", "influence", "double"),
    ("edge", "kind", "string"),
    *(("edge", name, "double") for name in ("weight", "influence")),
    ("edge", "heads", "string"),
)
"""What GraphML data belongs to, its name and its type."""


def csv_table(graph: ContributionGraph) -> str:
    """The table that `ContributionGraph.to_csv` describes."""
    tokens = graph.header["input"]["tokens"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for edge in graph.edge_list():
        ends = Node.of(edge["src"]), Node.of(edge["dst"])
        row = [edge["src"], edge["dst"], edge["kind"], ends[1].layer]
        for node in ends:
            text = json.dumps(tokens[node.position]["text"], ensure_ascii=False)
            row += [node.position, text]
        writer.writerow([*row, repr(edge["w"]), repr(edge["influence"]), _heads(edge)])
    return out.getvalue()


def difference_table(difference: GraphDifference) -> str:
    """The table that `GraphDifference.to_csv` describes."""
    columns = {
        "a": (difference.positions_a, difference.header["input"]["a"]["tokens"]),
        "b": (difference.positions_b, difference.header["input"]["b"]["tokens"]),
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = [f"{end}_token_{side}" for end in ("src", "dst") for side in columns]
    values = [f"{name}{side}" for name in ("w", "influence") for side in ("_a", "_b", "")]
    writer.writerow(["src", "dst", "kind", *ends, *values])
    for edge in difference.edge_list():
        row = [edge["src"], edge["dst"], edge["kind"]]
        for end in ("src", "dst"):
            column = Node.of(edge[end]).position
            for positions, tokens in columns.values():
                at = positions[column]
                text = "" if at < 0 else json.dumps(tokens[at]["text"], ensure_ascii=False)
                row.append(text)
        writer.writerow([*row, *(repr(edge[name]) for name in values)])
    return out.getvalue()


def graphml(graph: ContributionGraph) -> str:
    """The document that `ContributionGraph.to_graphml` describes."""
    return "\n".join(_document(graph)) + "\n"


def _document(graph: ContributionGraph) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    for domain, name, kind in _KEYS:
        yield f'<key id="{domain}_{name}" for="{domain}" attr.name="{name}" attr.type="{kind}"/>'
    yield '<graph edgedefault="directed">'
    yield from _data("graph", _about(graph))
    tokens: Sequence[Mapping[str, Any]] = graph.header["input"]["tokens"]
    for node, influence in zip(graph.nodes, graph.nodes.influence.tolist(), strict=True):
        token = tokens[node.position]
        yield f'<node id="{node.id}">'
        yield from _data(
            "node",
            {
                "kind": node.kind,
                "label": _node_label(node, token),
                "layer": node.layer,
                "position": node.position,
                "token_id": token["id"],
                "influence": influence,
            },
        )
        yield "</node>"
    for number, edge in enumerate(graph.edge_list()):
        # Edges of two kinds can join the same nodes; an id keeps readers from merging them.
        yield f'<edge id="e{number}" source="{edge["src"]}" target="{edge["dst"]}">'
        about = {"kind": edge["kind"], "weight": edge["w"], "influence": edge["influence"]}
        yield from _data("edge", about | ({"heads": _heads(edge)} if "heads" in edge else {}))
        yield "</edge>"
    yield "</graph>"
    yield "</graphml>"


def _about(graph: ContributionGraph) -> dict[str, str]:
    options = graph.options
    return {
        "schema": graph.header["schema"],
        "model": graph.header["model"]["id"],
        "metric": options["metric"],
        "threshold": json.dumps(options["threshold"]),
        "root": " ".join(options["root"]["nodes"]),
    }


def _data(domain: str, values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        text = value if isinstance(value, str) else repr(value)
        yield f"<data key={quoteattr(f'{domain}_{name}')}>{escape(_allowed(text))}</data>"


def _node_label(node: Node, token: Mapping[str, Any]) -> str:
    """The name of a node and its token, with visible spaces."""
    return f"{node.id} {label(token['text'])}" if token["text"] else node.id


def _heads(edge: Mapping[str, Any]) -> str:
    """Such as "3:0.125 0:0.0625", the largest first."""
    return " ".join(f"{head}:{weight!r}" for head, weight in edge.get("heads", ()))


def _allowed(text: str) -> str:
    r"""`text` with the characters that XML cannot hold written as \u001b."""
    return "".join(char if _fits(ord(char)) else f"\\u{ord(char):04x}" for char in text)


def _fits(code: int) -> bool:
    if code < 0x20:
        return code in (0x09, 0x0A)  # a carriage return would be read as a line feed
    return not (0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF))
