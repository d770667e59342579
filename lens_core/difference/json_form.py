"""A comparison of pairs as plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from lens_core.difference.permutations import LayerTest
from lens_core.difference.reading import LeftOut
from lens_core.difference.result import (
    SCHEMA,
    Compared,
    Control,
    Dimensions,
    FoundDim,
    PairDifference,
    Replication,
)
from lens_core.difference.summary import Comparison, Group, Spread
from lens_core.errors import InputError
from lens_core.pairs.record import Alignment, Pair
from lens_core.records import plain

_OWN = ("pairs", "left_out", "sites", "layers", "components", "readout", "metrics", "groups")
_OWN += ("comparisons", "layer_test", "dims", "found", "control", "replication", "units")
_OWN += ("verdict", "prefix_rel_err")
_WHOLE = ("found", "replicated", "found_per_site")

T = TypeVar("T")


def to_json(result: PairDifference) -> dict[str, Any]:
    """Plain Python values by the schema lens_core/pair_difference/1."""
    return {
        **plain(result.header),
        "pairs": [_pair_json(one) for one in result.pairs],
        "left_out": [
            {"index": one.index, "pair": one.pair.to_json(), "reason": one.reason}
            for one in result.left_out
        ],
        "sites": list(result.sites),
        "layers": list(result.layers),
        "components": list(result.components),
        "readout": result.readout,
        "metrics": plain(result.metrics),
        "groups": [_fields(one) for one in result.groups],
        "comparisons": [_fields(one) for one in result.comparisons],
        "layer_test": _fields(result.layer_test),
        "dims": {site: _fields(one) for site, one in result.dims.items()},
        "found": [_fields(one) for one in result.found],
        "control": None if result.control is None else _fields(result.control),
        "replication": None if result.replication is None else _fields(result.replication),
        "units": result.n_units,
        "verdict": result.verdict,
        "prefix_rel_err": plain(result.prefix_rel_err),
    }


def from_json(record: Mapping[str, Any]) -> PairDifference:
    """Read back what `to_json` wrote.

    Raises:
        InputError: another schema.
    """
    if record.get("schema") != SCHEMA:
        raise InputError(
            f"The record's schema is {record.get('schema')!r}; differences have {SCHEMA!r}."
        )
    control, replication = record["control"], record["replication"]
    n_sites = len(record["sites"])
    return PairDifference(
        header={key: value for key, value in record.items() if key not in _OWN},
        pairs=tuple(_pair(one) for one in record["pairs"]),
        left_out=tuple(
            LeftOut(one["index"], Pair.from_json(one["pair"]), one["reason"])
            for one in record["left_out"]
        ),
        sites=tuple(record["sites"]),
        layers=tuple(record["layers"]),
        components=tuple(record["components"]),
        readout=record["readout"],
        metrics={
            name: np.array(rows, np.float32).reshape(len(record["pairs"]), n_sites)
            for name, rows in record["metrics"].items()
        },
        groups=tuple(_group(one) for one in record["groups"]),
        comparisons=tuple(
            Comparison(tuple(one["types"]), **_arrays(one, ("difference", "p", "p_holm")))
            for one in record["comparisons"]
        ),
        layer_test=_read(LayerTest, record["layer_test"]),
        dims={site: _read(Dimensions, one) for site, one in record["dims"].items()},
        found=tuple(_found(one) for one in record["found"]),
        control=None if control is None else _read(Control, control),
        replication=None if replication is None else _read(Replication, replication),
        n_units=record["units"],
        verdict=record["verdict"],
        prefix_rel_err=record["prefix_rel_err"],
    )


def _pair_json(one: Compared) -> dict[str, Any]:
    """The pair's own record, with its alignment and unit."""
    found = one.alignment
    return {
        **one.pair.to_json(),
        "alignment": {
            **plain(asdict(found)),
            "n_tok": [len(found.ids1), len(found.ids2)],
            "shift": found.shift,
        },
        "unit": one.unit,
    }


def _pair(record: Mapping[str, Any]) -> Compared:
    form = record["alignment"]
    alignment = Alignment(
        ids1=tuple(form["ids1"]),
        ids2=tuple(form["ids2"]),
        prefix=form["prefix"],
        edits=tuple(((a, b), (c, d)) for (a, b), (c, d) in form["edits"]),
        common=tuple((one, two) for one, two in form["common"]),
        flags=tuple(form["flags"]),
    )
    return Compared(Pair.from_json(record), alignment, record["unit"])


def _fields(one: Any) -> dict[str, Any]:
    """Every field, None as well."""
    return plain(asdict(one))


def _read(kind: type[T], record: Mapping[str, Any]) -> T:
    """A dataclass of arrays and numbers; whole numbers stay whole."""
    values: dict[str, Any] = {}
    for name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
        value = record[name]
        if isinstance(value, list):
            value = np.array(value, np.int64 if name in _WHOLE else np.float32)
        values[name] = float("nan") if value is None else value
    return kind(**values)


def _arrays(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: np.array(record[name], np.float32) for name in names}


def _group(record: Mapping[str, Any]) -> Group:
    metrics = {name: _read(Spread, one) for name, one in record["metrics"].items()}
    counts = (record["n_pairs"], record["n_units"])
    return Group(record["type"], record["subtype"], *counts, metrics)


def _found(record: Mapping[str, Any]) -> FoundDim:
    """Numbers that JSON has no form for were not finite."""
    optional = ("hit_rate_a", "hit_rate_b")
    values: dict[str, Any] = {
        name: float("nan") if value is None and name not in optional else value
        for name, value in record.items()
    }
    return FoundDim(**values)
