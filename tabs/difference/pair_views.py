"""One pair on the page: its two lines, how far they are apart, and what restores the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.figures.text import cut, shown
from tabs.difference.choices import GRID_METRICS
from tabs.difference.parts import cells, site_name
from tabs.difference.session import Session
from tabs.said import scientific
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core.patching.columns import Column
    from lens_core.patching.pair_grid import PairGrid
    from tabs.pairs_operations import PairView

SIDES = ("A", "B")
LABEL = 9
"""Characters of a token in the label of a column."""
EMPTY_LINES: dict[str, Any] = {"state": "empty", "title": None, "sides": [], "note": None}


def lines(session: Session) -> dict[str, Any]:
    """Both sides, aligned, with what each goes on with."""
    view = session.shown_view
    if view is None:
        return EMPTY_LINES
    grid = view.grid
    return {
        "state": "ready",
        "title": None,
        "sides": [_side(grid, number) for number in (0, 1)],
        "facts": facts(grid),
        "index": session.index,
        "count": len(session.pairs),
        "buttons": len(session.pairs) > 1,
        "note": phrase("pairs.lines_note"),
        "examples": [],
    }


def facts(grid: PairGrid) -> list[Any]:
    """What kind of pair it is, and how its sides align."""
    pair, found = grid.pair, grid.alignment
    kind = " · ".join(part for part in (pair.type, pair.subtype) if part)
    edited = [_length(found.edits, side) for side in (0, 1)]
    changed = str(edited[0]) if edited[0] == edited[1] else f"{edited[0]} | {edited[1]}"
    counts = {"shared": found.prefix, "changed": changed, "after": len(found.common)}
    said = [*([kind] if kind else []), phrase("pairs.aligned", **counts)]
    if found.shift:
        said.append(phrase("pairs.shifted", n=abs(found.shift)))
    return said


def _length(edits: tuple[Any, ...], side: int) -> int:
    return sum(edit[side][1] - edit[side][0] for edit in edits)


def _side(grid: PairGrid, number: int) -> dict[str, Any]:
    records = grid.header["input"]["sides"][number]
    name = ("clean", "corrupt")[number]
    parts = ["rest"] * len(records)
    columns: list[int | None] = [None] * len(records)
    for at, column in enumerate(grid.columns):
        for position in range(*getattr(column, name)):
            parts[position] = "common" if column.kind == "suffix" else column.kind
            columns[position] = at
    tokens = [
        {**record, "part": part, "column": column}
        for record, part, column in zip(records, parts, columns, strict=True)
    ]
    following = grid.following[number]
    entry = grid.vocab[str(int(following.ids[0]))]
    return {
        "name": SIDES[number],
        "tokens": tokens,
        "prediction": {"entry": entry, "p": float(following.p[0])},
        "correct": grid.pair.oriented and (grid.pair.correct or 1) == number + 1,
    }


def difference_map(session: Session) -> dict[str, Any]:
    """How far the sides are apart, layers x aligned tokens."""
    view = session.shown_view
    if view is None:
        return {"state": "empty", "title": phrase("pairs.grid")}
    grid = view.grid
    known = [name for name in GRID_METRICS if np.isfinite(grid.values[name]).any()]
    name = session.look.grid if session.look.grid in known else known[0]
    return {
        **_frame(grid.columns, grid.sites, "pair-difference", session),
        "title": phrase("pairs.grid"),
        "how": phrase("pairs.grid_how"),
        "card": "pairs.grid_card",
        "columns": [_column(grid, at) for at in range(len(grid.columns))],
        "quantities": [_amount(one, grid.values[one]) for one in known],
        "quantity": name,
        "facts": [_fact(f"pairs.metric_{one}", one, "number") for one in known],
        "notes": _grid_notes(grid),
    }


def restored_map(session: Session) -> dict[str, Any]:
    """What copying one state of A into the run of B restores of A's answer, and the other way."""
    view = session.shown_view
    if view is None or view.trace is None:
        text = None if view is None else view.reason or phrase("pairs.restored_waiting")
        return {"state": "empty", "title": phrase("pairs.restored"), "text": text}
    trace, grid = view.trace, view.grid
    kept = [at for at, one in enumerate(trace.contrast.columns) if one.kind != "answer"]
    tables = {
        direction: trace.grid("resid_post", direction).effect[:, kept]
        for direction in ("denoise", "noise")
    }
    sites = tuple(f"layer_{layer}" for layer in range(len(tables["denoise"])))
    columns = tuple(trace.contrast.columns[at] for at in kept)
    return {
        **_frame(columns, sites, "pair-restored", session),
        "title": phrase("pairs.restored"),
        "how": restored_how(view, session.look.direction),
        "card": "pairs.restored_card",
        "columns": [_column(grid, at, columns=columns, view=view) for at in range(len(columns))],
        "quantities": [effect_quantity(name, table) for name, table in tables.items()],
        "quantity": session.look.direction,
        "facts": [_fact(f"pairs.effect_{name}", name, "percent") for name in tables],
        "notes": trace_notes(view),
        "selected": _selected(session, len(sites)),
    }


def restored_how(view: PairView, direction: str) -> dict[str, Any]:
    """How to read it, by what is copied where and by the number that is measured."""
    contrast = view.trace.contrast if view.trace else None
    if direction == "noise":
        return phrase("pairs.trace_how_noise")
    if contrast is None or contrast.metric == "kl":
        return phrase("pairs.restored_how_kl")
    return phrase("pairs.restored_how", clean=SIDES[contrast.clean_side - 1])


def trace_notes(view: PairView) -> list[Any]:
    """What the answers are, and what a reader of the effects should know."""
    trace = view.trace
    assert trace is not None
    said: list[Any] = []
    contrast = trace.contrast
    if contrast.metric != "kl":
        tokens = [
            shown(trace.vocab[str(ids[0])]) for ids in (contrast.wanted, contrast.other) if ids
        ]
        key = "pairs.answers_own" if view.answers_own else "pairs.answers"
        said.append(phrase(key, answers=" | ".join(tokens), change=f"{contrast.change:.2f}"))
    return [*said, *trace.header["warnings"]]


def effect_quantity(name: str, table: np.ndarray) -> dict[str, Any]:
    """Effects of patches, -100 % to 100 % or as far as they go."""
    known = table[np.isfinite(table)]
    high = max(1.0, float(np.abs(known).max())) if known.size else 1.0
    return {
        "key": name,
        "label": phrase(f"pairs.effect_{name}"),
        "title": phrase(f"pairs.effect_{name}_legend"),
        "scale": "signed",
        "low": -high,
        "high": high,
        "format": "percent",
        "values": cells(table),
    }


def _frame(
    columns: tuple[Column, ...], sites: tuple[str, ...], name: str, session: Session
) -> dict[str, Any]:
    names = [site_name(site) for site in sites[::-1]]
    return {
        "state": "done",
        "name": name,
        "rows": [{"label": label, "title": label} for label in names],
        "tokens": [[None] * len(columns) for _ in names],
        "vocab": {},
        "earlier": 0,
        "later": 0,
        "files": ["png", "html"],
        "undefined": phrase("pairs.undefined"),
        "selected": _selected(session, len(names)),
    }


def _selected(session: Session, n_rows: int) -> list[int] | None:
    """The cell that was clicked, counted from the last layer in both grids."""
    if session.cell is None or session.cell[0] >= n_rows:
        return None
    return list(session.cell)


def _column(
    grid: PairGrid,
    at: int,
    *,
    columns: tuple[Column, ...] | None = None,
    view: PairView | None = None,
) -> dict[str, Any]:
    """The token of a column, or both where it is an edit."""
    column = (grid.columns if columns is None else columns)[at]
    turned = view is not None and view.trace is not None and view.trace.contrast.clean_side == 2
    spans = (column.corrupt, column.clean) if turned else (column.clean, column.corrupt)
    sides = grid.header["input"]["sides"]
    if column.kind != "edit":
        position = spans[0][0]
        return {"token": sides[0][position], "position": position}
    texts = [
        "".join(record["text"] for record in side[start:stop])
        for side, (start, stop) in zip(sides, spans, strict=True)
    ]
    label = "|".join(cut(text.strip() or "∅", LABEL) for text in texts)
    return {"label": label, "title": phrase("pairs.edit_column", a=texts[0], b=texts[1])}


def _amount(name: str, table: np.ndarray) -> dict[str, Any]:
    known = table[np.isfinite(table)]
    return {
        "key": name,
        "label": phrase(f"pairs.metric_{name}"),
        "title": phrase(f"pairs.metric_{name}"),
        "scale": "amount",
        "low": 0,
        "high": float(known.max()) or 1.0,
        "format": "number",
        "values": cells(table),
    }


def _fact(key: str, name: str, kind: str) -> dict[str, Any]:
    unit = phrase("lens.nats") if name == "js_lens" else None
    return {"label": phrase(key), "unit": unit, "format": kind, "quantity": name}


def _grid_notes(grid: PairGrid) -> list[Any]:
    """That states before the edit are equal, as measured."""
    first = min((column.clean[0] for column in grid.columns if column.kind == "edit"), default=0)
    before = [at for at, one in enumerate(grid.columns) if one.kind == "prefix"]
    if not before or not first:
        return list(grid.header["warnings"])
    worst = float(np.nanmax(grid.values["rel_l2"][:, before]))
    return [phrase("pairs.prefix_equal", error=scientific(worst)), *grid.header["warnings"]]
