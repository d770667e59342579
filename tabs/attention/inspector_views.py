"""Beside the row of tokens: what comes next, and one token in detail."""

from __future__ import annotations

import math
from typing import Any

from tabs.attention.needs_views import importance_at
from tabs.attention.reading import FORMATS, reading
from tabs.attention.session import Session
from tabs.attention.stacks import view
from tabs.attention.strip_views import asked_entry, entry_at
from tabs.logit_lens.views import short
from tabs.words import phrase

SHORT = {"mean": "Ø", "strongest": "max"}
"""What stands at the lines of a chart, which is drawn before the visitor's language is known."""


def next_stack(session: Session) -> dict[str, Any]:
    """The most likely next tokens, how sure the model is, and what can be done with one."""
    views = [view("bars", "bars", next_bars(session)), view("facts", "facts", next_facts(session))]
    return {"views": views, "of": None}


def next_bars(session: Session) -> dict[str, Any]:
    """The candidates as bars; each can be chosen."""
    look = session.look
    following = session.shown.looked.next.at(look.temperature)
    ids = following.top.ids[: look.k].tolist()
    was: dict[int, float] = {}
    if session.before is not None and session.shown is session.after:
        old = session.before.looked.next.at(look.temperature).top
        was = dict(zip(old.ids.tolist(), map(float, old.p), strict=True))
    rows = [
        {
            "entry": following.vocab[str(token)],
            "value": short(float(p)),
            **({"before": short(was[token])} if token in was else {}),
        }
        for token, p in zip(ids, following.top.p, strict=False)
    ]
    at_end = session.query == len(session.tokens) - 1
    title = phrase("attention.next" if at_end else "attention.next_after", n=len(rows))
    if not at_end:
        title["entry"] = entry_at(session, session.query)
    return {
        "title": title,
        "how": None,
        "kind": "share",
        "rows": rows,
        "high": None,
        "format": "percent",
        "sums": [],
        "badge": None,
        "empty": None,
        "chooses": True,
        "selected": session.candidate,
    }


def next_facts(session: Session) -> dict[str, Any]:
    """Entropy, sums, what was appended; and the buttons of the chosen candidate."""
    look = session.look
    following = session.shown.looked.next.at(look.temperature)
    top = following.top
    entropy = phrase(
        "attention.entropy", nats=f"{top.entropy:.2f}", bits=f"{following.entropy_bits:.2f}"
    )
    shown = float(top.cumulative[min(look.k, len(top.ids)) - 1])
    rows: list[dict[str, Any]] = [
        {"label": phrase("attention.fact_entropy"), "value": entropy},
        {"label": phrase("attention.fact_shown", n=look.k), "value": f"{100 * shown:.1f}%"},
        {
            "label": phrase("attention.fact_nucleus", share=f"{100 * following.nucleus:.0f}%"),
            "value": phrase(
                "attention.one_token" if top.nucleus_size == 1 else "attention.n_tokens",
                n=f"{top.nucleus_size:,}",
            ),
        },
    ]
    if len(following.unused):
        unused = phrase("attention.unused", n=f"{len(following.unused):,}")
        rows.append({"label": unused, "value": f"{top.unused_p:.1e}".replace("-", "−")})
    if session.wish.append:
        vocab = session.after.looked.next.vocab
        entries = [vocab[str(token)] for token in session.wish.append]
        rows.append({"label": phrase("attention.fact_appended"), "value": {"entries": entries}})
    return {"title": None, "rows": rows, "buttons": next_buttons(session), "note": None}


def next_buttons(session: Session) -> list[dict[str, Any]]:
    """What can be done with the chosen candidate, and taken back."""
    found = []
    if session.candidate is not None:
        following = session.shown.looked.next
        entry = following.vocab[str(int(following.top.ids[session.candidate]))]
        if session.query == len(session.tokens) - 1:
            found.append({"name": "append", "label": phrase("attention.append"), "entry": entry})
        found.append({"name": "target", "label": phrase("attention.explain"), "entry": entry})
    if session.wish.target:
        found.append({"name": "untarget", "label": phrase("attention.explain_own")})
    if session.wish.append:
        found.append({"name": "undo", "label": phrase("attention.undo")})
    return found


def token_stack(session: Session) -> dict[str, Any]:
    """The selected token: what it is, what it gets, and that layer by layer."""
    views = [view("token", "facts", token_facts(session))]
    if session.source <= session.query and session.shown.looked.views is not None:
        entry = asked_entry(session)
        how = phrase("attention.course_how")
        head = {"title": {**phrase("attention.course"), "entry": entry}, "how": how}
        views += [view("head", "heading", head), view("course", "chart", course(session))]
    return {"views": views, "of": None}


def token_facts(session: Session) -> dict[str, Any]:
    """Everything about the selected token and the tokens of its character."""
    at = session.group
    tokens = [session.tokens[i] for i in at]
    own = session.tokens[session.source]
    rows: list[tuple[str, Any]] = [
        ("text", {"entries": [asked_entry(session)], "token": own if len(at) == 1 else None}),
        ("position", ", ".join(f"#{token['i']}" for token in tokens)),
        ("id", " · ".join(str(token["id"]) for token in tokens)),
    ]
    if any(token["bytes_hex"] for token in tokens):
        rows.append(("bytes", " · ".join((t["bytes_hex"] or "–").upper() for t in tokens)))
    rows.append(("kind", phrase(f"attention.kind_{own['kind']}")))
    rows += _values(session, at)
    looked = session.source <= session.query
    buttons = []
    if session.source != session.query:
        buttons.append({"name": "query", "label": phrase("attention.look_from")})
    return {
        "title": phrase("attention.token"),
        "rows": [{"label": phrase(f"attention.fact_{k}"), "value": v} for k, v in rows],
        "buttons": buttons,
        "note": None if looked else phrase("attention.behind"),
    }


def _values(session: Session, at: list[int]) -> list[tuple[str, Any]]:
    """What the query takes from it, and what the prediction loses without it."""
    found, measure = reading(session, session.shown), session.look.measure
    rows: list[tuple[str, Any]] = []
    if found.values is not None and session.source <= session.query:
        known = [float(found.values[i]) for i in at if i <= session.query]
        parts = [amount(value, FORMATS[measure]) for value in known]
        rows.append((measure, " + ".join(parts) if found.divisor is None else " · ".join(parts)))
    scored = importance_at(session.shown.attributed, at)
    if scored is not None and session.source <= session.query:
        scores, name = scored
        text = " · ".join(f"{score:+.3f}" for score in scores).replace("-", "−")
        value = phrase("attention.with_unit", value=text, unit=phrase(f"attention.unit_{name}"))
        rows.append(("importance", value))
    return rows


def amount(value: float, kind: str) -> str:
    """A number as a person reads it."""
    if value != value:
        return "–"
    if kind == "percent":
        return "<0.1%" if 0 < value < 0.001 else f"{100 * value:.1f}%"
    return f"{value:.2f}×" if kind == "times" else f"{value:.2f}"


def course(session: Session) -> dict[str, Any]:
    """What the query pays to the token, layer by layer."""
    from lens_core.figures import attention_course, figure_json

    measure = "norm" if session.look.measure == "norm" else "weight"
    views = session.shown.looked.views
    before = None if session.before is None else session.before.looked.views
    assert views is not None
    if measure == "norm" and views.norms is None:
        measure = "weight"
    if session.shown is session.before:
        before = None
    figure = attention_course(views, session.group, measure=measure, before=before, words=SHORT)
    return {
        "figure": figure_json(figure),
        "name": "attention-by-layer",
        "summary": phrase("attention.course_summary"),
        "height": 220,
        "empty": None,
    }


def string_stack(record: dict[str, Any]) -> dict[str, Any]:
    """The probability of a string, and of each of its tokens after those before it."""
    tokens, vocab = record["tokens"], record["vocab"]
    total = record["total"]
    rows: list[dict[str, Any]] = [
        {
            "label": phrase("attention.fact_string"),
            "value": phrase(
                "attention.string_p", p=_probability(total["p"]), log_p=_nats(total["log_p"])
            ),
        }
    ]
    for token, log_p, rank in zip(tokens["ids"], tokens["log_p"], tokens["rank"], strict=True):
        p = 0.0 if log_p is None else math.exp(log_p)
        value = phrase("attention.string_token", p=_probability(p), rank=f"{rank + 1:,}")
        rows.append({"label": None, "entry": vocab[str(token)], "value": value})
    facts = {"title": None, "rows": rows, "note": None}
    return {"views": [view("string", "facts", facts)], "of": None}


def _probability(p: float) -> str:
    if p >= 0.001:
        return f"{100 * p:.1f}%"
    return "0" if p == 0 else f"{p:.1e}".replace("e-0", "e-").replace("-", "−")


def _nats(log_p: float | None) -> str:
    return "−∞" if log_p is None else f"{log_p:.2f}".replace("-", "−")
