"""Values of the graph viewer for its tests: real graphs of the demo model, and extreme ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from families import IDS
from families import loaded as family
from viewer_stage import HOSTILE, entry, records

from lens_core import ContributionGraph, LoadedModel, contribution_graph, load_model
from tabs.graph.views import graph_view
from tabs.graph_operations import layers_of

CAPITAL = "The capital of France is"
COPY = "red blue green red blue"
OBJECT = "When Mary and John went to the store, John gave a drink to"


@cache
def demo() -> LoadedModel:
    """The embedded model."""
    return load_model("demo")


@cache
def graph(prompt: str, **options: Any) -> ContributionGraph:
    """A graph of the embedded model."""
    model = demo()
    tokenizer = model.tokenizer
    assert tokenizer is not None
    ids = torch.tensor(tokenizer(prompt)["input_ids"])
    return contribution_graph(model, ids, **options)


def value_of(found: ContributionGraph, model: LoadedModel, **changes: Any) -> dict[str, Any]:
    """What the page draws of a graph."""
    record = {**found.to_json(), "layers": layers_of(model), "strongest": None, "selected": None}
    return {**graph_view(record), **changes}


def real(prompt: str = CAPITAL, changes: dict[str, Any] | None = None, **options: Any) -> Any:
    """The value of a prompt on the embedded model."""
    return value_of(graph(prompt, **options), demo(), **(changes or {}))


def of_family(name: str, **options: Any) -> dict[str, Any]:
    """The value of a random tiny model."""
    with torch.no_grad():
        return value_of(contribution_graph(family(name), IDS, **options), family(name))


WORDS = [" the", " quick", " brown", " fox", " jumps", " over", " a", " lazy", " dog", ".", "首都"]


Link = tuple[str, str, int, float, float, Any]
"""Source, target, kind, weight, influence, heads."""


def grown(columns: int, layers: int) -> tuple[dict[str, float], list[Link]]:
    """The influence of every node, and the links, from the last output down to the tokens."""
    dice = random.Random(7)
    top = f"I{layers - 1}_{columns - 1}"
    nodes, links = {top: 1.0}, []

    def add(src: str, dst: str, kind: int, weight: float, heads: Any = None) -> None:
        flow = weight * nodes[dst]
        nodes[src] = nodes.get(src, 0.0) + flow
        links.append((src, dst, kind, weight, flow, heads))

    active = {columns - 1}
    for layer in reversed(range(layers)):
        below = "X0" if layer == 0 else f"I{layer - 1}"
        for at in sorted(active, reverse=True):
            mid, mlp, out = (f"{letter}{layer}_{at}" for letter in "AMI")
            weight = 0.05 + 0.3 * dice.random() ** 2
            weight *= dice.random() < 0.55
            add(mid, out, 0, 1 - weight)
            if weight:
                add(mlp, out, 2, weight)
                # The link into an MLP weighs as much as what the MLP adds.
                nodes[mid] += nodes[mlp]
                links.append((mid, mlp, 2, weight, nodes[mlp], None))
            left = 1.0
            n = min(at, dice.choice((0, 0, 1, 1, 2)) if layer else 6)
            for source in dice.sample(range(at), n):
                weight = left * (0.04 + 0.3 * dice.random() ** 3)
                left -= weight
                heads = [[dice.randrange(16), weight * 0.7], [dice.randrange(16), weight * 0.3]]
                add(f"{below}_{source}", mid, 1, weight, heads)
            add(f"{below}_{at}", mid, 0, left)
        active = {int(name.split("_")[1]) for name in nodes if name.startswith(f"{below}_")}
    return nodes, links


def packed(nodes: dict[str, float], links: list[Link]) -> dict[str, Any]:
    """The links and their nodes as the viewer takes them."""
    names = sorted({name for link in links for name in link[:2]})
    places = {name: place for place, name in enumerate(names)}
    keys = ("src", "dst", "kind", "w", "influence", "heads")
    found: dict[str, list[Any]] = {key: [link[n] for link in links] for n, key in enumerate(keys)}
    for end in ("src", "dst"):
        found[end] = [places[name] for name in found[end]]
    influence = [nodes[name] for name in names]
    return {"nodes": {"ids": names, "influence": influence}, "edges": found}


def large(columns: int = 64, layers: int = 24, most: int = 1500) -> dict[str, Any]:
    """A graph as a larger model makes it: every column has a stream, attention joins them."""
    nodes, links = grown(columns, layers)
    strongest = sorted(links, key=lambda link: -link[4])[:most]
    return {
        **real(CAPITAL),
        **packed(nodes, strongest),
        "name": "large",
        "n_layers": layers,
        "mids": [True] * layers,
        "mlps": [True] * layers,
        "tokens": records(*(WORDS[at % len(WORDS)] for at in range(columns))),
        "share": [nodes.get(f"X0_{at}", 0.0) for at in range(columns)],
        "rest": {"bias": 0.0, "mixer": 0.0, "lost": 0.0},
        "roots": [f"I{layers - 1}_{columns - 1}"],
        "n_edges": len(links),
    }


def difference() -> dict[str, Any]:
    """A graph minus another one, with tokens that differ and one that only B has."""
    value = real(CAPITAL, {"signed": True, "difference": True, "prediction": None})
    for key in ("w", "influence"):
        values = value["edges"][key]
        value["edges"][key] = [v * math.cos(2.1 * n) * 0.5 for n, v in enumerate(values)]
    flows = value["nodes"]["influence"]
    value["nodes"]["influence"] = [v * math.cos(1.7 * n) * 0.4 for n, v in enumerate(flows)]
    others = [*value["tokens"]]
    others[4] = records(" Italy")[0]
    tokens = [*value["tokens"]]
    tokens[2] = None
    share = [-0.04, 0.0, 0.02, -0.01, 0.09, -0.06]
    return {**value, "tokens": tokens, "others": others, "share": share, "title": "B − A"}


def nothing() -> dict[str, Any]:
    """No link passes the threshold."""
    none = {"src": [], "dst": [], "kind": [], "w": [], "influence": [], "heads": []}
    changes = {
        "edges": none,
        "nodes": {"ids": ["I5_5"], "influence": [1.0]},
        "share": None,
        "n_edges": 0,
        "threshold": 0.4,
        "strongest": 0.3812,
    }
    return real(CAPITAL, changes)


def hostile() -> dict[str, Any]:
    """Tokens, notes and names that try to be markup."""
    value = large(len(HOSTILE), 3, 200)
    tokens = records(*HOSTILE)
    prediction = {"entry": entry(HOSTILE[0]), "p": 0.5}
    title = HOSTILE[0]
    return {
        **value,
        **{"tokens": tokens, "prediction": prediction, "title": title, "notes": HOSTILE[:2]},
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "capital": real,
    "copy": lambda: real(COPY),
    "object": lambda: real(OBJECT),
    "fine": lambda: real(OBJECT, {}, threshold=0.005),
    "selected": lambda: real(
        CAPITAL, {"selected": {"src": "X0_4", "dst": "A0_5", "kind": "attention"}}
    ),
    "middle": lambda: real(CAPITAL, {}, root="A3_4"),
    "all": lambda: real(CAPITAL, {}, root="all"),
    "parallel": lambda: of_family("gpt_neox_par"),
    "biases": lambda: of_family("gpt2"),
    "mixer": lambda: of_family("qwen3_next"),
    "signed": lambda: real(CAPITAL, {"signed": True}, metric="projection", threshold=0.02),
    "difference": difference,
    "large": large,
    "nothing": nothing,
    "hostile": hostile,
    "empty": lambda: {
        "state": "empty",
        "examples": [CAPITAL, COPY, OBJECT, HOSTILE[0]],
    },
}
