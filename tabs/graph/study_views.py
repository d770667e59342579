"""What the viewers show of what was measured: knock-outs, and counts over many prompts."""

from __future__ import annotations

from typing import Any

from tabs.graph.views import column, place, table
from tabs.logit_lens.views import short
from tabs.words import phrase

SURE = 0.7
"""A rank correlation from which a graph is said to agree well with what was measured."""


def measured_links(found: dict[str, Any]) -> dict[str, float]:
    """Every link that was knocked out, as the session writes it -> the change of the logit."""
    changes = {}
    for row in found["edges"]:
        part = row["part"]
        src, dst = part["edge"]
        changes[f"{src} {dst} {part['kind']}"] = row["logit_change"]
    return changes


def agreement_stack(found: dict[str, Any]) -> dict[str, Any]:
    """How far the graph can be trusted: what was said, and what was measured."""
    tokens = found["graph"]["input"]["tokens"]
    views = [{"key": "agreement", "name": "heading", "value": _verdict(found)}]
    if found["tokens"]:
        views.append({"key": "tokens", "name": "table", "value": _tokens_table(found, tokens)})
    return {"views": views, "of": None}


def _verdict(found: dict[str, Any]) -> dict[str, Any]:
    agreement = found["correlation"]["edges_logit"]
    values = {"n": agreement["n"]}
    if agreement["rho"] is None or agreement["low"] is None:
        return {"title": phrase("graph.agreement"), "how": phrase("graph.agreement_few", **values)}
    for name in ("rho", "low", "high"):
        values[name] = f"{agreement[name]:.2f}".replace("-", "−")
    verdict = "well" if agreement["rho"] >= SURE else "partly" if agreement["low"] > 0 else "not"
    how = phrase(f"graph.agreement_{verdict}", **values)
    return {"title": phrase("graph.agreement"), "how": how}


def _tokens_table(found: dict[str, Any], tokens: list[dict[str, Any]]) -> dict[str, Any]:
    confirmed = found["top_source"]["confirmed"]
    rows = [
        [
            place(row["part"]["node"], tokens),
            short(row["influence"]),
            short(row["logit_change"]),
            short(row["kl"]),
        ]
        for row in found["tokens"]
    ]
    columns = [
        column("token", "place", phone=True),
        column("influence", "percent", phone=True),
        column("measured", "signed", digits=3, phone=True),
        column("kl", "number", digits=3),
    ]
    how = phrase("graph.top_confirmed" if confirmed else "graph.top_not_confirmed")
    sort = {"key": "influence", "down": True}
    return table(phrase("graph.tokens_measured"), how, columns, rows, sort=sort)


def statistics_map(found: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
    """Layers x heads, and the MLP beside them: how often each is active, and how much it gives.

    `numbers` are the lines that the prompts stood on.
    """
    heads, mlps = found["heads"], found["mlps"]
    layers = range(len(mlps["active"]))[::-1]
    n_heads = len(heads["active"][0])

    def table(name: str) -> list[list[Any]]:
        return [
            [*short(heads[name]["mean"][layer]), short(mlps[name]["mean"][layer])]
            for layer in layers
        ]

    tables = {name: table(name) for name in ("frequency", "influence", "weight_active")}
    names = [phrase("graph.head", head=head) for head in range(n_heads)]
    labels = [f"H{head}" for head in range(n_heads)]
    return {
        "state": "done",
        "name": "graph-statistics",
        "title": phrase("graph.statistics"),
        "card": "graph.statistics_card",
        "rows": [{"label": f"L{layer}", "title": f"L{layer}"} for layer in layers],
        "columns": [
            *({"label": label, "title": name} for label, name in zip(labels, names, strict=True)),
            {"label": phrase("graph.kind_ffn"), "title": phrase("graph.kind_ffn")},
        ],
        "vocab": {},
        "tokens": [[None] * (n_heads + 1) for _ in layers],
        "quantities": [_quantity(name, values) for name, values in tables.items()],
        "quantity": "frequency",
        "facts": [
            {
                "label": phrase(f"graph.statistics_{name}"),
                "unit": None,
                "format": "percent",
                "quantity": name,
            }
            for name in tables
        ],
        "selected": None,
        "notes": _statistics_notes(found, numbers),
        "earlier": 0,
        "later": 0,
        "readonly": True,
    }


def _quantity(name: str, values: list[list[Any]]) -> dict[str, Any]:
    high = max((v for row in values for v in row if v is not None), default=1.0)
    return {
        "key": name,
        "label": phrase(f"graph.statistics_{name}"),
        "title": phrase(f"graph.statistics_{name}"),
        "scale": "attention",
        "low": 0,
        "high": 1.0 if name == "frequency" else high or 1.0,
        "format": "percent",
        "values": values,
    }


def _statistics_notes(found: dict[str, Any], numbers: list[int]) -> list[Any]:
    counts, skipped = found["counts"], found["skipped"]
    notes = [phrase("graph.statistics_read", n=counts["prompts"], tokens=counts["tokens"])]
    for one in skipped[:3]:
        reason = one["reason"]
        notes.append(phrase("graph.statistics_skipped", n=numbers[one["index"]], reason=reason))
    return notes
