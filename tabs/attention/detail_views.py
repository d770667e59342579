"""Every token with all that is known of it, the tokenizer, and the matrix of one head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.tokens import label
from tabs.attention.needs_views import importance_at
from tabs.attention.reading import FORMATS, Reading, reading
from tabs.attention.session import Session
from tabs.attention.stacks import column, view
from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.words import phrase

if TYPE_CHECKING:
    from lens_core.attention import AttentionMatrix

MAX_MAP = 256
"""Tokens of a matrix that are drawn, the last ones up to the query."""
MAX_LABELLED = 48
"""Tokens of a matrix that are written along its sides."""
LONGEST = 9
"""Characters of a token beside its row."""
MAX_ROWS = 1024


def details_stack(session: Session) -> dict[str, Any]:
    """All tokens in a table, the tokenizer, and how long it took."""
    return {
        "views": [
            view("tokens", "table", tokens_table(session)),
            view("tokenizer", "facts", tokenizer(session)),
            view("run", "facts", conditions(session)),
        ],
        "of": None,
    }


def tokens_table(session: Session) -> dict[str, Any]:
    """One row a token: place, id, bytes, kind, what it gives, what the prediction loses."""
    found, measure = reading(session, session.shown), session.look.measure
    kind = "percent" if FORMATS[measure] == "percent" else "number"
    columns = [
        column("place", "number", digits=0, phone=True),
        column("token", "place", phone=True),
        column("id", "number", digits=0),
        column("bytes", "mono"),
        column("kind", "text"),
        {**column("value", kind, phone=True), "label": phrase(f"attention.quantity_{measure}")},
        {**column("importance", "signed", digits=3), "label": _importance_name(session)},
    ]
    rows = [_row(session, found, token) for token in session.tokens[:MAX_ROWS]]
    title = phrase("attention.tokens", n=len(session.tokens))
    return table(title, _sums(session, found), columns, rows)


def _importance_name(session: Session) -> dict[str, Any]:
    """What the numbers of importance are, with their unit."""
    attributed = session.shown.attributed
    if attributed is None:
        return phrase("attention.column_importance")
    return phrase(f"attention.score_{attributed.found.score}")


def _row(session: Session, found: Reading, token: dict[str, Any]) -> list[Any]:
    at = token["i"]
    value = None
    if found.values is not None and at <= session.query and np.isfinite(found.values[at]):
        value = short(float(found.values[at]))
    scored = importance_at(session.shown.attributed, [at])
    return [
        at,
        {"label": "", "token": token},
        token["id"],
        (token["bytes_hex"] or "").upper() or None,
        phrase(f"attention.kind_{token['kind']}"),
        value,
        None if scored is None or at > session.query else short(scored[0][0]),
    ]


def _sums(session: Session, found: Reading) -> dict[str, Any]:
    """What the values sum to: a check for weights, a number for others."""
    if found.values is None:
        return phrase("attention.tokens_how")
    total = float(np.nansum(found.values[: session.query + 1], dtype=np.float64))
    measure = session.look.measure
    if FORMATS[measure] != "percent" or measure == "flow":
        return phrase("attention.tokens_how")
    if session.look.head == "max" or session.look.layers == "max":
        return phrase("attention.tokens_largest", sum=f"{100 * total:.1f}%")
    return phrase("attention.tokens_sum", sum=f"{100 * total:.2f}%")


def tokenizer(session: Session) -> dict[str, Any]:
    """What the tokenizer is, counted right."""
    found = session.after.looked.tokenizer
    if found is None:
        return {
            "title": phrase("attention.tokenizer"),
            "rows": [],
            "note": phrase("attention.no_tokenizer"),
        }
    found = {**found, "unused_rows": len(session.after.looked.next.unused)}
    names = ("class", "length", "vocab_size", "special", "rows", "unused_rows")
    rows = [
        {
            "label": phrase(f"attention.tokenizer_{name}"),
            "value": found[name] if name == "class" else f"{found[name]:,}",
        }
        for name in names
    ]
    return {"title": phrase("attention.tokenizer"), "rows": rows, "note": None}


def conditions(session: Session) -> dict[str, Any]:
    """How the numbers came about, and how long it took."""
    side = session.shown
    header = side.looked.header
    timing = [
        f"{name.removesuffix('_s')} {seconds:.3f} s" for name, seconds in header["timing"].items()
    ]
    if side.attributed is not None:
        seconds = sum(side.attributed.found.header["timing"].values())
        timing.append(f"{side.attributed.found.method} {seconds:.3f} s")
    views = side.looked.views
    rows = [
        *([] if views is None else [("mode", phrase(f"attention.mode_{views.rows.mode}"))]),
        ("attn", str(header["model"]["attn_impl"])),
        ("dtype", str(header["model"]["dtype"])),
        ("time", " · ".join(timing)),
    ]
    shown = [{"label": phrase(f"attention.run_{name}"), "value": value} for name, value in rows]
    return {"title": phrase("attention.conditions"), "rows": shown, "note": None}


def matrix_start(session: Session) -> int:
    """The first token of the matrix: all, or those up to the query."""
    length = len(session.tokens)
    stop = length if length <= MAX_MAP else max(session.query + 1, MAX_MAP)
    return max(0, stop - MAX_MAP)


def matrix_stack(session: Session) -> dict[str, Any]:
    """Where one head, or all heads of a layer on average, look from every position."""
    if session.matrix is None:
        note = {"title": None, "rows": [], "note": session.shown.looked.reason}
        return {"views": [view("none", "facts", note)], "of": None}
    found: AttentionMatrix = session.matrix[-1]
    start = matrix_start(session)
    stop = min(len(session.tokens), start + MAX_MAP)
    part = np.asarray(found.matrix, np.float32)[start:stop, start:stop]
    name = "attention.matrix_mean" if found.head is None else "attention.matrix_head"
    named = {"layer": found.layer} | ({} if found.head is None else {"head": found.head})
    heading = {"title": phrase(name, **named), "how": phrase("attention.matrix_how")}
    draw = _labelled if stop - start <= MAX_LABELLED else _small
    key, value = draw(session, part, start)
    return {"views": [view("head", "heading", heading), view("matrix", key, value)], "of": None}


def _labelled(session: Session, part: np.ndarray, start: int) -> tuple[str, dict[str, Any]]:
    """A matrix with its tokens along both sides; later tokens are not there."""
    tokens = session.tokens[start : start + len(part)]
    rows = [_until(row, at) for at, row in enumerate(part)]
    quantity = {
        "key": "weight", "label": phrase("attention.quantity_weight"), "low": 0, "high": 1.0,
        "title": phrase("attention.legend_weight"), "scale": "attention", "format": "percent",
        "values": rows,
    }  # fmt: skip
    fact = {
        "label": phrase("attention.quantity_weight"), "unit": None, "format": "percent",
        "quantity": "weight",
    }  # fmt: skip
    inside = start <= session.source <= session.query < start + len(part)
    return "heatmap", {
        "state": "done",
        "name": "attention-matrix",
        "files": ["png", "html"],
        "title": phrase("attention.part_matrix"),
        "card": "attention.matrix_card",
        "rows": [{"label": _written(token), "title": token["text"]} for token in tokens],
        "columns": [{"token": token, "position": token["i"]} for token in tokens],
        "vocab": {},
        "tokens": [[None] * len(tokens) for _ in tokens],
        "quantities": [quantity],
        "quantity": "weight",
        "facts": [fact],
        "selected": [session.query - start, session.source - start] if inside else None,
        "notes": [],
        "earlier": 0,
        "later": 0,
    }


def _written(token: dict[str, Any]) -> str:
    """A token beside its row: short, with visible spaces, special ones as on their chips."""
    text = label(token["text"])
    if token["kind"] in ("special", "pad"):
        return f"⟨{text.strip('<|>')}⟩"[:LONGEST]
    return text[:LONGEST] or "∅"


def _until(row: np.ndarray, at: int) -> list[Any]:
    values: list[Any] = [short(float(value), digits=4) for value in row[: at + 1]]
    return [*values, *[None] * (len(row) - at - 1)]


def _small(session: Session, part: np.ndarray, start: int) -> tuple[str, dict[str, Any]]:
    """A large matrix, whose tokens are told of the cell that is pointed at."""
    stop = start + len(part)
    inside = start <= session.source <= session.query < stop
    cut = phrase("graph.maps_cut", first=start, last=stop - 1)
    one = {
        "label": phrase("attention.quantity_weight"),
        "scale": "attention",
        "high": 1.0,
        "values": [[v for v in _until(row, at) if v is not None] for at, row in enumerate(part)],
    }
    return "maps", {
        "title": phrase("attention.part_matrix"),
        "how": None,
        "tokens": session.tokens[start:stop],
        "maps": [one],
        "cell": [session.query - start, session.source - start] if inside else None,
        "note": cut if len(part) < len(session.tokens) else None,
    }
