"""What is shown of importance over an API: its cost first, then every part with its noise."""

from __future__ import annotations

from typing import Any

from tabs.attention.stacks import view
from tabs.graph.views import table
from tabs.logit_lens.views import short
from tabs.words import phrase

SURE = 2.0
"""Standard errors that a sampled value must be away from 0."""

Features = list[dict[str, Any]]


def estimate_stack(step: dict[str, Any]) -> dict[str, Any]:
    """What a run would send, or what it has sent so far; the parts that are known."""
    estimate = step["estimate"]
    rows = [
        _row("features", f"{estimate['features']:,}"),
        _row("estimate", phrase("remote.at_most", n=f"{estimate['requests']:,}")),
        _row("prompt_tokens", phrase("remote.about", n=f"{estimate['prompt_tokens']:,}")),
    ]
    if step["stage"] != "estimate":
        rows.append(_row("sent", f"{step['requests']:,}"))
    facts = {"title": phrase("remote.cost"), "rows": rows, "note": None}
    views = [view("facts", "facts", facts)]
    if step["features"]:
        views.append(view("table", "table", features_table(step["features"])))
    return {"views": views, "of": None}


def result_stack(found: dict[str, Any]) -> dict[str, Any]:
    """The prompt coloured by what matters, what the numbers are, and all of them."""
    views = [
        view("strip", "attention_tokens", strip(found)),
        view("facts", "facts", facts(found)),
        view("table", "table", features_table(found["features"], judged=_judged(found))),
    ]
    return {"views": views, "of": None}


def _judged(found: dict[str, Any]) -> bool:
    """Whether it can be said what is more than noise."""
    return found["noise"]["n"] > 0 or found["tier"] == 1


def strip(found: dict[str, Any]) -> dict[str, Any]:
    """The parts of the prompt as boxes; what was not masked stays grey."""
    text, features = found["input"]["prompt"], _outer(found["features"])
    pieces: list[tuple[str, float | None]] = []
    end = 0
    for one in features:
        between = text[end : one["char_start"]]
        if between.strip():
            pieces.append((between, None))
            between = ""
        pieces.append((between + text[one["char_start"] : one["char_end"]], one["importance"]))
        end = one["char_end"]
    if end < len(text):
        pieces.append((text[end:], None))
    values = [abs(value) for _, value in pieces if value is not None]
    return {
        "state": "done",
        "title": phrase("remote.strip"),
        "how": phrase(f"remote.strip_how_{_kind(found)}"),
        "tokens": [_record(i, piece) for i, (piece, _) in enumerate(pieces)],
        "n_prompt": None,
        "boxes": [{"at": [i], "value": _short(value)} for i, (_, value) in enumerate(pieces)],
        "scale": "signed",
        "curve": "linear",
        "format": "signed",
        "legend": phrase("attention.fact_importance"),
        "query": -1,
        "selected": -1,
        "sinks": [],
        "prediction": None,
        "high": max(values, default=1.0) or 1.0,
        "sink": None,
        "notes": found["warnings"],
        "exports": False,
    }


def _kind(found: dict[str, Any]) -> str:
    """What the numbers are."""
    if found["sharing"] is not None:
        return "shares"
    return "nats" if found["tier"] < 3 else "distance"


def _outer(features: Features) -> Features:
    """The parts that do not overlap: the words of a sentence that was looked into, not itself."""
    inner = {one["parent"] for one in features if one["parent"] is not None}
    return [one for index, one in enumerate(features) if index not in inner]


def _record(i: int, text: str) -> dict[str, Any]:
    plain = {"i": i, "id": None, "piece": text, "text": text, "bytes_hex": None}
    return {**plain, "cluster": i, "cluster_text": text, "kind": "normal"}


def facts(found: dict[str, Any]) -> dict[str, Any]:
    """Which tier, what the unmasked prompt answers, how large the noise is, what it cost."""
    noise = found["noise"]
    rows = [
        _row("model", found["model"]["id"]),
        _row("tier", phrase(f"remote.tier_{found['tier']}")),
        _row("answer", found["answer"]["text"]),
        _row(
            "sent",
            phrase("remote.with_cache", n=f"{found['requests']:,}", kept=f"{found['cached']:,}"),
        ),
    ]
    if noise["n"]:
        said = {"n": noise["n"], "mean": f"{noise['mean']:.3f}", "most": f"{noise['max']:.3f}"}
        rows.insert(3, _row("noise", phrase("remote.noise_of", **said)))
    sharing = found["sharing"]
    if sharing is not None:
        name = "remote.exact_sets" if sharing["orders"] is None else "remote.orders"
        sets = phrase(name, sets=f"{sharing['sets']:,}", orders=sharing["orders"])
        rows.append(_row("sets", sets))
        rows.append(_row("gap", f"{sharing['completeness_gap']:+.3g}".replace("-", "−")))
    return {"title": phrase("remote.measured"), "rows": rows, "note": _note(found)}


def _note(found: dict[str, Any]) -> dict[str, Any]:
    """What was done about the noise."""
    if found["noise"]["n"]:
        return phrase("remote.noise_note")
    return phrase("remote.exact_note" if found["tier"] == 1 else "remote.no_noise_note")


def features_table(features: Features, *, judged: bool = True) -> dict[str, Any]:
    """Every part with its importance, its interval, and whether it is more than noise."""
    sampled = any(one["standard_error"] is not None for one in features)
    error = [_column("error", "number", digits=3, phone=True)] if sampled else []
    columns = [
        _column("part", "mono", phone=True),
        _column("importance", "signed", digits=3, phone=True),
        *error,
        _column("low", "number", digits=3),
        _column("high", "number", digits=3),
        _column("verdict", "text", phone=True),
        _column("answer", "mono"),
    ]
    rows = [
        [
            ("  " if one["parent"] is not None else "") + one["text"],
            _short(one["importance"]),
            *([_short(one["standard_error"])] if sampled else []),
            _short(one["low"]),
            _short(one["high"]),
            _verdict(one) if judged else None,
            one["answer"],
        ]
        for one in features
    ]
    sort = {"key": "importance", "down": True}
    return table(phrase("remote.parts"), phrase("remote.parts_how"), columns, rows, sort=sort)


def _verdict(one: dict[str, Any]) -> dict[str, Any]:
    error = one["standard_error"]
    if error is not None and abs(one["importance"]) <= SURE * error:
        return {"text": phrase("remote.within_error"), "tone": "check"}
    if not one["above_noise"]:
        return {"text": phrase("remote.within_noise"), "tone": "plain"}
    name = "remote.changes" if one["flip"] else "remote.above_noise"
    return {"text": phrase(name), "tone": "good"}


def _short(value: float | None) -> float | None:
    return None if value is None else short(float(value))


def _row(name: str, value: Any) -> dict[str, Any]:
    return {"label": phrase(f"remote.fact_{name}"), "value": value}


def _column(key: str, kind: str, *, phone: bool = False, **more: Any) -> dict[str, Any]:
    label = phrase(f"remote.column_{key}")
    return {"key": key, "label": label, "kind": kind, "sortable": True, "phone": phone, **more}
