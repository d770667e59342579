"""What the page says of everything that a repair was not about."""

from __future__ import annotations

from typing import Any

from tabs.graph.views import table
from tabs.repair.views import column, said, visible
from tabs.words import phrase

GOOD = {"kl": 0.02, "same": 0.99, "ratio": 1.01}
FAIR = {"kl": 0.1, "same": 0.95, "ratio": 1.05}
"""The bounds of the core's traffic light: green within the first, amber within the second."""
LARGEST_KL = 0.5
"""A larger divergence at a single position is worth a look."""
PROBES = 5
TONE_WORDS = ("good", "check", "poor")


def effects_table(record: dict[str, Any]) -> dict[str, Any] | None:
    """Every measure with its value and its limit; None where nothing was measured."""
    found = record["evaluation"]
    if found is None:
        return None
    rows = [*_wish(found), *_unrelated(found["locality"]), *_text(found)]
    columns = [
        column("state", "text", phone=True, sortable=False),
        column("measure", "text", phone=True, sortable=False),
        column("value", "text", phone=True, sortable=False),
        column("limit", "text", sortable=False),
    ]
    n = len(found["locality"]["probes"])
    title = phrase("repair.effects")
    return table(title, phrase("repair.effects_how", n=n), columns, rows, page=len(rows))


def _row(key: str, value: Any, limit: Any, tone: str) -> list[Any]:
    return [
        None if tone == "none" else said(phrase(f"repair.tone_{tone}"), tone),
        phrase(f"repair.measure_{key}"),
        value,
        limit,
    ]


def _wish(found: dict[str, Any]) -> list[list[Any]]:
    """What should have changed, in the words that were given and in others."""
    rows = [_said("target", found["wanted"], phrase("repair.limit_all"), worst="poor")]
    for key, automatic in (("paraphrases", False), ("rewordings", True)):
        ones = [one for one in found["reworded"] if one["automatic"] is automatic]
        if ones:
            rows.append(_said(key, ones, phrase("repair.limit_most"), worst="check", least=0.5))
    return rows


def _said(
    key: str, ones: list[dict[str, Any]], limit: Any, *, worst: str, least: float = 1.0
) -> list[Any]:
    n_said = sum(one["after"]["greedy_exact"] for one in ones)
    fine = n_said == len(ones) or n_said / len(ones) > least
    return _row(key, f"{n_said} / {len(ones)}", limit, "good" if fine else worst)


def _unrelated(locality: dict[str, Any]) -> list[list[Any]]:
    """What should have stayed as it was, on neutral texts."""
    n, changed = len(locality["probes"]), locality["changed_continuations"]
    largest = "good" if locality["kl_max"] <= LARGEST_KL else "check"
    return [
        _kl("kl", locality["kl"]),
        _row("kl_max", _nats(locality["kl_max"]), f"≤ {LARGEST_KL}", largest),
        _row(
            "same",
            _percent(locality["same"]),
            f"≥ {_percent(GOOD['same'])}",
            _tone(locality["same"], "same", more=True),
        ),
        _row("continuations", f"{changed} / {n}", "0", "check" if changed else "good"),
    ]


def _text(found: dict[str, Any]) -> list[list[Any]]:
    """Prompts near the repaired one, ordinary text, and the words behind the target."""
    near, fluency = found["near"], found["fluency"]
    rows = []
    if near is not None:
        rows.append(_kl("near", near["kl"]))
    ratio = fluency["ratio"]
    limit: Any = f"≤ {GOOD['ratio']}"
    tone = _tone(ratio, "ratio")
    if not fluency["telling"]:
        limit, tone = phrase("repair.not_telling", n=f"{fluency['perplexity_before']:,.0f}"), "none"
    rows.append(_row("perplexity", f"{ratio:.3f}", limit, tone))
    before, after = fluency["repeated_before"], fluency["repeated_after"]
    tone = "good" if after <= before else "check"
    rows.append(_row("repeats", str(after), f"≤ {before}", tone))
    return rows


def _kl(key: str, value: float) -> list[Any]:
    return _row(key, _nats(value), f"≤ {GOOD['kl']}", _tone(value, "kl"))


def _tone(value: float, name: str, *, more: bool = False) -> str:
    """Good, check or poor by the limits of the traffic light."""
    for tone, limits in (("good", GOOD), ("check", FAIR)):
        if (value >= limits[name]) if more else (value <= limits[name]):
            return tone
    return "poor"


def _nats(value: float) -> dict[str, Any]:
    return phrase("repair.nats", n=f"{value:#.2g}" if value < 0.1 else f"{value:.2f}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%".replace(".0%", "%")


def probes_table(record: dict[str, Any]) -> dict[str, Any] | None:
    """The texts that were disturbed most, with what follows them before and after."""
    found = record["evaluation"]
    if found is None:
        return None
    probes = found["locality"]["probes"]
    rows = [
        [
            visible(one["prompt_text"]),
            visible(one["before_text"]),
            visible(one["after_text"]),
            one["kl"],
        ]
        for one in probes[:PROBES]
    ]
    columns = [
        column("probe", "mono", phone=True),
        column("went_on", "mono"),
        column("goes_on", "mono", phone=True),
        column("kl", "number", digits=4, phone=True),
    ]
    title = phrase("repair.worst", n=len(probes))
    return table(title, phrase("repair.worst_how"), columns, rows)
