"""The result of the logit lens, and its JSON form (schema lens_core/logit_lens/1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lens_core.errors import InputError
from lens_core.lens.attribution import Attribution
from lens_core.lens.cells import Cells, TargetCells
from lens_core.lens.focus import Step
from lens_core.lens.position import ImportantLayers, Tracked
from lens_core.lens.table import csv_table
from lens_core.records import fields_from_json, fields_to_json, plain

SCHEMA = "lens_core/logit_lens/1"


@dataclass(frozen=True, eq=False)
class Target:
    """A token followed at every position."""

    source: str
    """argmax (the model's own prediction), user, or next (the text's own next token)."""
    ids: Int[np.ndarray, " position"]
    """-1 where there is none, such as the next token after the last."""
    cells: Mapping[str, TargetCells]


@dataclass(frozen=True, eq=False)
class LogitLens:
    """The most likely next tokens after every layer, at every position."""

    header: dict[str, Any]
    vocab: dict[str, Any]
    """{"<id>": {"text", "bytes"}} of every token that occurs; ids are the keys, never strings."""
    lens: dict[str, Any]
    """transport, norm, component_scale and k."""
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    cells: Mapping[str, Cells]
    """By component; [layer, position, ...] in the order of `layers` and `positions`."""
    final_ids: Int[np.ndarray, " position"]
    """The model's own prediction after each position."""
    final_p: Float[np.ndarray, " position"]
    settled: Int[np.ndarray, " position"]
    """The first layer read from which the top token stays the final one; the last layer read + 1
    where it never does (when the last layer is left out)."""
    decided: Int[np.ndarray, " position"]
    """The first layer read from which KL(final || layer) stays below 0.1 nats; the last layer read
    + 1 where it never does."""
    targets: tuple[Target, ...]
    tracked: tuple[Tracked, ...] = ()
    attribution: Attribution | None = None
    important_layers: ImportantLayers | None = None
    steps: tuple[Step, ...] = ()

    def __getattr__(self, name: str) -> Any:
        """The arrays of the block outputs by their own names: `top_ids`, `top_p`, `entropy`, ..."""
        # Not self.cells: while it is copied or unpickled an instance has no fields yet.
        cells = self.__dict__.get("cells", {})
        if name in Cells.__dataclass_fields__ and "resid_post" in cells:
            return getattr(cells["resid_post"], name)
        raise AttributeError(f"A LogitLens of {', '.join(cells)} has no {name!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain Python values, ready for `json.dumps(..., allow_nan=False)`."""
        return {
            **plain(self.header),
            "vocab": self.vocab,
            "lens": plain(self.lens),
            "layers": list(self.layers),
            "positions": list(self.positions),
            "components": list(self.cells),
            "cells": {name: fields_to_json(cells) for name, cells in self.cells.items()},
            "final": {"ids": plain(self.final_ids), "p": plain(self.final_p)},
            "settled": plain(self.settled),
            "decided": plain(self.decided),
            "targets": [_target_json(target) for target in self.targets],
            "tracked": [_tracked_json(tracked) for tracked in self.tracked],
            "attribution": None if self.attribution is None else fields_to_json(self.attribution),
            "important_layers": None
            if self.important_layers is None
            else fields_to_json(self.important_layers),
            "steps": [_step_json(step) for step in self.steps],
        }

    def to_csv(self) -> str:
        """The top tokens of every cell as CSV: one row for each component, layer, position, token.

        Columns: component; layer (empty for embed); position and token of the text; rank from 0
        among the cell's own, id and text; p (empty for parts read as logits), logit; entropy and
        kl_final of the cell. Texts are JSON strings: every character shows, and none starts a
        formula in a spreadsheet. Numbers are exact.
        """
        return csv_table(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> LogitLens:
        """Read back what `to_json` wrote.

        Raises:
            InputError: another schema.
        """
        if record.get("schema") != SCHEMA:
            raise InputError(
                f"The record's schema is {record.get('schema')!r}; a logit lens has {SCHEMA!r}."
            )
        own = {"vocab", "lens", "layers", "positions", "components", "cells", "final", "settled"}
        own |= {"decided", "targets", "tracked", "attribution", "important_layers", "steps"}
        attribution, important = record["attribution"], record["important_layers"]
        return cls(
            header={key: value for key, value in record.items() if key not in own},
            vocab=record["vocab"],
            lens=record["lens"],
            layers=tuple(record["layers"]),
            positions=tuple(record["positions"]),
            cells={name: fields_from_json(Cells, cells) for name, cells in record["cells"].items()},
            final_ids=np.array(record["final"]["ids"]),
            final_p=np.array(record["final"]["p"], dtype=np.float32),
            settled=np.array(record["settled"]),
            decided=np.array(record["decided"]),
            targets=tuple(_read_target(target) for target in record["targets"]),
            tracked=tuple(_read_tracked(tracked) for tracked in record["tracked"]),
            attribution=None if attribution is None else fields_from_json(Attribution, attribution),
            important_layers=None if important is None else _read_important(important),
            steps=tuple(_read_step(step) for step in record["steps"]),
        )


def _target_json(target: Target) -> dict[str, Any]:
    cells = {name: fields_to_json(cells) for name, cells in target.cells.items()}
    return {"source": target.source, "ids": plain(target.ids), "cells": cells}


def _read_target(record: Mapping[str, Any]) -> Target:
    cells = {name: fields_from_json(TargetCells, item) for name, item in record["cells"].items()}
    return Target(record["source"], np.array(record["ids"]), cells)


def _tracked_json(tracked: Tracked) -> dict[str, Any]:
    """By component as in the schema: the embedding's course is a list of one."""
    return {
        "position": tracked.position,
        "ids": plain(tracked.ids),
        "p": {"embed": plain(tracked.p[:, :1]), "resid_post": plain(tracked.p[:, 1:])},
        "rank": {"embed": plain(tracked.rank[:, :1]), "resid_post": plain(tracked.rank[:, 1:])},
    }


def _read_tracked(record: Mapping[str, Any]) -> Tracked:
    def join(values: Mapping[str, Any], dtype: Any) -> np.ndarray:
        sides = [np.array(values[name], dtype=dtype) for name in ("embed", "resid_post")]
        return np.concatenate(sides, axis=1)

    return Tracked(
        record["position"],
        np.array(record["ids"]),
        join(record["p"], np.float32),
        join(record["rank"], np.int64),
    )


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "position": step.position,
        "id": step.id,
        "p": plain(step.p),
        "rank": plain(step.rank),
        "final_p": plain(step.final_p),
        "important_layers": fields_to_json(step.important_layers),
    }


def _read_step(record: Mapping[str, Any]) -> Step:
    return Step(
        record["position"],
        record["id"],
        np.array(record["p"], dtype=np.float32),
        np.array(record["rank"]),
        record["final_p"],
        _read_important(record["important_layers"]),
    )


def _read_important(record: Mapping[str, Any]) -> ImportantLayers:
    return ImportantLayers(
        record["criterion"], record["threshold"], record["position"], tuple(record["layers"])
    )
