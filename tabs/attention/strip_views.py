"""The row of tokens, coloured by what the query takes from them, and its prediction."""

from __future__ import annotations

import base64
from typing import Any

from tabs.attention.choices import THROUGH
from tabs.attention.reading import FORMATS, Reading, groups, largest, reading, sinks_of
from tabs.attention.session import Session, Side
from tabs.logit_lens.views import short
from tabs.words import phrase

NOTED = 0.1
"""A sink is only spoken of where it holds so much of the row."""
LISTED = 10
"""Candidates that the predicted token shows on hover and focus."""


def strip(session: Session) -> dict[str, Any]:
    """Where the query looks, and what the model predicts there."""
    side = session.shown
    found = reading(session, side)
    if found.values is None:
        return {**_frame(session, side), "missing": found.reason, "boxes": _plain(session)}
    boxes = groups(session.tokens, join=session.look.join)
    other = None if session.other is None else reading(session, session.other)
    return {
        **_frame(session, side),
        "boxes": [_box(session, found, other, at) for at in boxes],
        "high": short(largest(session, found, boxes) or 1.0),
        "sink": None if found.sink is None else short(found.sink),
        "notes": notes(session, side, found),
    }


def _frame(session: Session, side: Side) -> dict[str, Any]:
    look = session.look
    return {
        "state": "done",
        "title": title(session),
        "how": phrase(f"attention.how_{look.measure}"),
        "tokens": session.tokens,
        "n_prompt": side.looked.header["input"]["n_prompt"],
        "scale": "attention",
        "curve": look.curve,
        "format": FORMATS[look.measure],
        "legend": phrase(f"attention.legend_{look.measure}"),
        "query": session.query,
        "selected": session.source,
        "sinks": sorted(sinks_of(side)),
        "prediction": prediction(side, LISTED),
        "high": 1.0,
        "sink": None,
        "notes": [],
        "exports": True,
    }


def title(session: Session) -> dict[str, Any]:
    """Which position looks."""
    if session.query == len(session.tokens) - 1:
        return phrase("attention.title")
    entry = entry_at(session, session.query)
    return {**phrase("attention.title_from"), "entry": entry}


def entry_at(session: Session, position: int) -> dict[str, Any]:
    """The vocabulary entry of the token at a position."""
    return session.after.looked.next.vocab[str(session.tokens[position]["id"])]


def asked_entry(session: Session) -> dict[str, Any]:
    """The selected token, or the character that it is a part of, as a vocabulary entry."""
    if len(session.group) == 1:
        return entry_at(session, session.source)
    text = session.tokens[session.source]["cluster_text"]
    return {"text": text, "bytes": base64.b64encode(text.encode()).decode()}


def prediction(side: Side, count: int) -> dict[str, Any]:
    """The most likely next token with those that follow it."""
    following = side.looked.next
    top = [
        {"entry": following.vocab[str(token)], "p": short(float(p))}
        for token, p in zip(following.top.ids[:count].tolist(), following.top.p, strict=False)
    ]
    return {**top[0], "top": top}


def _plain(session: Session) -> list[dict[str, Any]]:
    return [{"at": at, "value": None} for at in groups(session.tokens, join=session.look.join)]


def _box(session: Session, found: Reading, other: Reading | None, at: list[int]) -> dict[str, Any]:
    """One box: the tokens of it, their value, and the value on the other side of an edit."""
    if at[0] > session.query:
        return {"at": at, "value": None}
    value = found.joined(at)
    assert found.values is not None
    parts = [float(found.values[i]) for i in at]
    box: dict[str, Any] = {
        "at": at,
        "value": None if value is None else short(value),
        "parts": [short(part) if part == part else None for part in parts],
    }
    if other is not None and other.values is not None:
        was = other.joined(at)
        box["before"] = None if was is None else short(was)
    return box


def notes(session: Session, side: Side, found: Reading) -> list[Any]:
    """What has to be known to read the numbers; findings only where the result has them."""
    look, views = session.look, side.looked.views
    assert views is not None
    assert found.values is not None
    said: list[Any] = [phrase("attention.caveat")]
    if found.removed is not None:
        said.append(phrase("attention.removed", share=_percent(found.removed)))
    elif look.measure == "weight":
        held = [at for at in views.sinks.positions if found.values[at] >= NOTED]
        said += [_sink_note(found, at) for at in held[:2]]
    if found.sink is not None:
        said.append(phrase("attention.learned_sink", share=_percent(found.sink)))
    if look.measure in THROUGH and look.one_head is not None:
        said.append(phrase("attention.no_head_here"))
    without = views.rows.layers_without_attention
    if without:
        said.append(phrase("attention.without_layers", layers=", ".join(map(str, without))))
    return [*said, *side.looked.header["warnings"]]


def _sink_note(found: Reading, at: int) -> dict[str, Any]:
    assert found.values is not None
    value = float(found.values[at])
    where = phrase("attention.first_token" if at == 0 else "attention.token_at", position=at)
    return phrase("attention.sink", token=where, share=_percent(value))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def result(session: Session) -> dict[str, Any]:
    """What the status line and the token strip read of a run."""
    side = session.after
    following = side.looked.next
    return {
        **side.looked.header,
        "vocab": following.vocab,
        "positions": [session.query],
        "final": {"ids": following.top.ids[:1].tolist(), "p": [float(following.top.p[0])]},
    }
