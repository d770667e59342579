"""What the page shows of the neurons that an edit changed: the map of them, and the table."""

from __future__ import annotations

from typing import Any

from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.repair.views import column
from tabs.words import phrase

WRITTEN = 2
"""So many of the tokens that a neuron writes are listed."""


def neuron_map(record: dict[str, Any]) -> dict[str, Any] | None:
    """Every neuron of every layer, darker where more was changed; None where nothing was."""
    found = record["map"]
    if found is None:
        return None
    layers = [{**layer, "values": short(layer["values"], digits=4)} for layer in found["layers"]]
    return {
        "title": phrase("repair.neurons"),
        "how": phrase("repair.neurons_how"),
        "n_neurons": found["n_neurons"],
        "bins": found["bins"],
        "layers": layers,
        "high": max(max(layer["values"], default=0.0) for layer in layers),
        "selected": None,
        "marks": places(record),
    }


def places(record: dict[str, Any]) -> list[list[int]]:
    """Layer and index of the neurons in the order of the table."""
    return [[one["layer"], one["neuron"]] for one in record["neurons"]]


def neurons_table(record: dict[str, Any]) -> dict[str, Any] | None:
    """The neurons whose change does most after the prompt, and what they write."""
    if not record["neurons"]:
        return None
    vocab = record["vocab"]
    columns = [
        column("neuron", "text", phone=True),
        column("change", "number", digits=2, phone=True),
        column("wrote", "tokens"),
        column("writes", "tokens", phone=True),
    ]
    rows = [
        [
            f"L{one['layer']} · {one['neuron']}",
            short(one["relative"]),
            [vocab[str(token)] for token in one["promoted_before"][:WRITTEN]],
            [vocab[str(token)] for token in one["promotes"][:WRITTEN]],
        ]
        for one in record["neurons"]
    ]
    more = max(0, record["cost"]["columns"] - len(rows))
    shown = table(
        phrase("repair.most_effect"),
        phrase("repair.most_effect_how"),
        columns,
        rows,
        page=6,
        more=more,
        selectable=True,
    )
    # Not drawn: what a click on the map or the table finds the other by.
    return {**shown, "places": places(record)}


def bin_of(neuron: int, *, n_neurons: int, bins: int) -> int:
    """The cell of the map in which a neuron lies."""
    return neuron * bins // n_neurons


def listed_in(shown: dict[str, Any], cells: dict[str, Any], layer: int, cell: int) -> int | None:
    """The row of the table of the first neuron that lies in a cell of the map."""
    sizes = {"n_neurons": cells["n_neurons"], "bins": cells["bins"]}
    for row, (own, neuron) in enumerate(shown["places"]):
        if own == layer and bin_of(neuron, **sizes) == cell:
            return row
    return None
