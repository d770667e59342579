"""Causal tracing on the page: one grid a component and direction, heads as layers x heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.figures.text import shown
from tabs.difference.pair_views import SIDES, effect_quantity
from tabs.difference.parts import column, short, table, view
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core import AttributionPatching, CausalTrace
    from lens_core.patching.grids import Grid

    Traced = CausalTrace | AttributionPatching


def trace_stack(
    found: CausalTrace | AttributionPatching, before: CausalTrace | AttributionPatching | None
) -> dict[str, Any]:
    """What each activation restores; without the edit below it where there is one."""
    views = _views(found, "after" if before is not None else None)
    if before is not None:
        views += _views(before, "before")
    return {"views": views, "of": None}


def _views(found: Traced, side: str | None) -> list[dict[str, Any]]:
    name = side or "only"
    views = [view(f"said_{name}", "facts", summary(found, side))]
    for component in dict.fromkeys(grid.component for grid in found.grids):
        # What restores stands beside what breaks.
        for at, map_ in enumerate(_maps(found, component)):
            views.append(view(f"{name}_{component}_{at}", "heatmap", map_))
    if checks := getattr(found, "checks", ()):
        views.append(view(f"checks_{name}", "table", checks_table(found, checks)))
    return views


def _maps(found: Traced, component: str) -> list[dict[str, Any]]:
    """The maps of one component: of each column where it has heads, in each direction."""
    grids = [grid for grid in found.grids if grid.component == component]
    if component != "heads":
        return [grid_map(found, grid) for grid in grids]
    columns = range(grids[0].effect.shape[-1])
    return [heads_map(found, grid, at) for at in columns for grid in grids]


def summary(found: Traced, side: str | None) -> dict[str, Any]:
    """What was measured in both runs, and with what error where it is an estimate."""
    contrast = found.contrast
    texts = [
        "".join(
            token["text"] for token in found.header["input"][name] if token["kind"] != "special"
        )
        for name in ("clean", "corrupt")
    ]
    rows = [
        {"label": phrase("pairs.trace_pair"), "value": " | ".join(texts)},
        {"label": phrase("pairs.trace_metric"),
         "value": phrase(f"pairs.trace_metric_{contrast.metric}")},
        {"label": phrase("pairs.trace_clean", side=SIDES[contrast.clean_side - 1]),
         "value": f"{contrast.clean_value:.3f}"},
        {"label": phrase("pairs.trace_corrupt", side=SIDES[2 - contrast.clean_side]),
         "value": f"{contrast.corrupt_value:.3f}"},
    ]  # fmt: skip
    answers = [shown(found.vocab[str(i)]) for ids in (contrast.wanted, contrast.other) for i in ids]
    if answers:
        rows.append({"label": phrase("pairs.trace_answers"), "value": " | ".join(answers)})
    rows += [
        {"label": phrase(f"pairs.place_{name}"), "value": reason}
        for name, reason in found.left_out.items()
    ]
    title = phrase("pairs.trace" if side is None else f"pairs.trace_{side}")
    return {
        "title": title,
        "rows": rows,
        "badge": error_badge(found),
        "buttons": [],
        "note": " ".join(found.header["warnings"]) or None,
    }


def error_badge(found: Traced) -> dict[str, Any] | None:
    """How far estimates are from true patches; nothing where every patch was really made."""
    worst = getattr(found, "worst_error", None)
    if worst is None:
        return None
    mean = found.mean_error  # type: ignore[union-attr]
    text = phrase("pairs.estimate_error", worst=f"{worst:.0%}", mean=f"{mean:.0%}")
    return {"state": "good" if worst < 0.1 else "poor", "text": text}


def grid_map(found: Traced, grid: Grid) -> dict[str, Any]:
    """Layers x columns of one component."""
    kept = [at for at, one in enumerate(grid.columns) if _own(found, one)]
    table_ = grid.effect[..., kept]
    columns = [_column(found, grid.columns[at]) for at in kept]
    return _map(found, grid, table_, columns, phrase(f"pairs.place_{grid.component}"))


def heads_map(found: Traced, grid: Grid, at: int) -> dict[str, Any]:
    """Layers x heads at one column."""
    heads = range(grid.effect.shape[1])
    columns = [{"label": f"H{head}", "title": f"H{head}"} for head in heads]
    where = _column(found, grid.columns[at])
    label = where.get("label") or where["token"]["text"]
    title = phrase("pairs.place_heads_at", token=label)
    return _map(found, grid, grid.effect[..., at], columns, title)


def _map(
    found: Traced,
    grid: Grid,
    values: np.ndarray,
    columns: list[dict[str, Any]],
    what: dict[str, Any],
) -> dict[str, Any]:
    names = [f"L{layer}" for layer in range(len(values))][::-1]
    quantity = effect_quantity(grid.direction, values)
    notes = [phrase("pairs.trace_window", n=grid.window)] if grid.window > 1 else []
    if not found.contrast.defined:
        notes.append(phrase("pairs.trace_undefined"))
    return {
        "state": "done",
        "name": f"trace-{grid.component}-{grid.direction}",
        "title": phrase(f"pairs.trace_map_{grid.direction}", what=what),
        "how": phrase(f"pairs.trace_how_{grid.direction}"),
        "card": "pairs.restored_card",
        "rows": [{"label": name, "title": name} for name in names],
        "columns": columns,
        "tokens": [[None] * len(columns) for _ in names],
        "vocab": {},
        "quantities": [quantity],
        "quantity": grid.direction,
        "facts": [
            {"label": phrase(f"pairs.effect_{grid.direction}"), "unit": None,
             "format": "percent", "quantity": grid.direction},
        ],
        "notes": notes,
        "earlier": 0,
        "later": 0,
        "files": ["png", "html"],
        "selected": None,
        "undefined": phrase("pairs.undefined"),
    }  # fmt: skip


def _own(found: Traced, at: int) -> bool:
    return found.contrast.columns[at].kind != "answer" or found.contrast.metric != "kl"


def _column(found: Traced, at: int) -> dict[str, Any]:
    """The token of a column, or both where it is an edit."""
    column_ = found.contrast.columns[at]
    sides = [found.header["input"][name] for name in ("clean", "corrupt")]
    if column_.kind != "edit":
        position = column_.clean[0]
        return {"token": sides[0][position], "position": position}
    spans = (column_.clean, column_.corrupt)
    texts = [
        "".join(record["text"] for record in side[start:stop]) or "∅"
        for side, (start, stop) in zip(sides, spans, strict=True)
    ]
    label = "|".join(text.strip()[:9] for text in texts)
    return {"label": label, "title": phrase("pairs.edit_column", a=texts[0], b=texts[1])}


def checks_table(found: Traced, checks: tuple[Any, ...]) -> dict[str, Any]:
    """Estimates beside the effects of true patches."""
    columns = [
        column("place", "text", phone=True),
        column("where", "text"),
        column("estimate", "percent", digits=1, phone=True),
        column("true", "percent", digits=1, phone=True),
        column("error", "percent", digits=1),
    ]
    rows = [_check_row(found, check) for check in checks]
    return table(phrase("pairs.checks"), phrase("pairs.checks_how"), columns, rows, page=10)


def _check_row(found: Traced, check: Any) -> list[Any]:
    grid = found.grids[check.grid]
    layer, *rest = check.index
    head = f" H{rest[0]}" if len(rest) == 2 else ""
    where = _column(found, grid.columns[rest[-1]])
    return [
        f"{grid.component} L{layer}{head}",
        where.get("label") or where["token"]["text"],
        short(check.estimate, 4),
        short(check.true, 4),
        short(check.estimate - check.true, 4),
    ]
