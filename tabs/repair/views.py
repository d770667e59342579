"""What the page says of a repair itself: the form's preview, the outcome, and the tokens."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from tabs.graph.views import PAGE, table
from tabs.logit_lens.views import short
from tabs.words import phrase

PAIRS = 5
"""So many prompts are shown before and after."""
LISTED = 300
"""So many tokens are listed."""
TONES = {"already_correct": "good", "repaired": "good", "partial": "check", "failed": "poor"}
"""What became of a repair, or of a token."""
TOKEN_TONES = {**TONES, "regressed": "poor"}
LIGHTS = {"green": "good", "amber": "check", "red": "poor"}


def column(
    key: str, kind: str, *, digits: int | None = None, phone: bool = False, sortable: bool = True
) -> dict[str, Any]:
    """A column of a table of this tab."""
    label = phrase(f"repair.column_{key}")
    return {
        "key": key,
        "label": label,
        "kind": kind,
        "digits": digits,
        "sortable": sortable,
        "phone": phone,
    }


def said(text: dict[str, Any] | str, tone: str) -> dict[str, Any]:
    """A text with a tone: good, check or poor."""
    return {"text": text, "tone": tone}


# ---- the form


def preview(found: dict[str, Any]) -> dict[str, Any]:
    """How prompt and target will be read."""
    return {
        "prompt": found["prompt_tokens"],
        "target": found["target_tokens"],
        "as_written": found["as_written"],
        "add_space": found["add_space"],
        "text": None,
        "tone": None,
    }


def hint(text: dict[str, Any] | str, tone: str | None = None) -> dict[str, Any]:
    """What stands there instead of the tokens."""
    return {
        "prompt": None, "target": [], "as_written": True, "add_space": False,
        "text": text, "tone": tone,
    }  # fmt: skip


# ---- the outcome


def empty_outcome() -> dict[str, Any]:
    """Before the first run."""
    return {"state": "empty", "how": phrase("repair.empty")}


def running_outcome(step: dict[str, Any] | None, names: Sequence[Any]) -> dict[str, Any]:
    """While it runs: how many tokens are said already."""
    shown = {"state": "running", "how": phrase("repair.running"), "facts": []}
    if step is not None and names:
        n_said = sum(margin > 0 for margin in step["margins"][: len(names)])
        shown["facts"] = [
            _tokens(n_said, len(names)),
            _updates(step["epoch"]),
        ]
    return shown


def outcome(record: dict[str, Any], *, max_bytes: int) -> dict[str, Any]:
    """The head line, what the model said before and says now, and what can be done with it."""
    status, found = record["status"], record["evaluation"]
    pairs, kept = _pairs(record), record["weight_edit"] is not None
    # Of one pair more nobody would say "and 1 more pairs": it is shown.
    most = PAIRS + 1 if len(pairs) == PAIRS + 1 else PAIRS
    return {
        "state": "done",
        "how": phrase("repair.outcome_how") if status == "repaired" and kept else None,
        "pill": said(phrase(f"repair.status_{status}"), TONES[status]),
        "facts": _facts(record),
        "notes": _notes(record, max_bytes=max_bytes),
        "pairs": pairs[:most],
        "more_pairs": max(0, record["input"]["pairs"] - most),
        "actions": [],
        "light": _light(found) if status == "repaired" and found is not None else None,
    }


def with_edit(outcome: dict[str, Any], *, kept: bool, on: bool) -> dict[str, Any]:
    """A drawn outcome with what has become of its edit since, and what can be done with that."""
    state = phrase("repair.kept")
    notes = [note for note in outcome["notes"] if note["text"] != state]
    if kept and not on:
        notes.append(said(state, ""))
    return {**outcome, "notes": notes, "actions": _actions(kept=kept, on=on)}


def _actions(*, kept: bool, on: bool) -> list[dict[str, Any]]:
    if not kept:
        return []
    use = phrase("repair.leave" if on else "repair.use")
    return [
        {"name": "use", "text": use, "primary": not on},
        {"name": "save", "text": phrase("repair.save"), "primary": False},
        {"name": "undo", "text": phrase("repair.undo"), "primary": False},
    ]


def _facts(record: dict[str, Any]) -> list[dict[str, Any]]:
    cost, tokens = record["cost"], own_tokens(record)
    n_said = sum(token["after"]["margin"] > 0 for token in tokens)
    facts = [_tokens(n_said, len(tokens))]
    if record["input"]["pairs"] > 1:
        exact = sum(pair["after"]["greedy_exact"] for pair in own_pairs(record))
        facts.insert(0, phrase("repair.fact_pairs", n=exact, of=record["input"]["pairs"]))
    if cost["columns"]:
        facts.append(_updates(cost["epochs"]))
        facts.append(_neurons(cost["columns"], cost["layers"]))
    return [*facts, phrase("repair.fact_seconds", n=f"{cost['seconds']:.1f}")]


def _tokens(n: int, of: int) -> dict[str, Any]:
    if of == 1:
        return phrase("repair.fact_token", n=n)
    return phrase("repair.fact_tokens", n=n, of=of)


def _neurons(n: int, layers: int) -> dict[str, Any]:
    if n == 1:
        return phrase("repair.fact_neuron")
    if layers == 1:
        return phrase("repair.fact_neurons_layer", n=n)
    return phrase("repair.fact_neurons", n=n, layers=layers)


def _updates(n: int) -> dict[str, Any]:
    return phrase("repair.fact_update") if n == 1 else phrase("repair.fact_updates", n=n)


def _notes(record: dict[str, Any], *, max_bytes: int) -> list[dict[str, Any]]:
    """What has to be known of it, the gravest first."""
    notes = []
    stack, found = record["stack"], record["evaluation"]
    if stack is not None and stack["collapse"] is not None:
        notes.append(said(phrase("repair.collapse_with"), "poor"))
    if record["status"] in ("partial", "failed"):
        notes.append(said(phrase(f"repair.advice_{record['status']}"), "check"))
    if record["weight_edit"] is None and record["cost"]["columns"]:
        size = phrase(
            "repair.too_large", size=in_bytes(record["cost"]["bytes"]), limit=in_bytes(max_bytes)
        )
        notes.append(said(size, "check"))
    asked, least = (
        record["options"]["margin"],
        min(t["after"]["margin"] for t in own_tokens(record)),
    )
    if record["status"] == "repaired" and least < asked:
        missed = phrase("repair.margin_missed", margin=f"{least:.2g}", asked=f"{asked:g}")
        notes.append(said(missed, "check"))
    if record["status"] == "already_correct":
        notes.append(said(phrase("repair.nothing_to_do"), "good"))
    if (
        found is not None
        and found["fluency"]["repeated_after"] > found["fluency"]["repeated_before"]
    ):
        notes.append(said(phrase("repair.repeats"), "check"))
    if record["made_on"]:
        notes.append(said(phrase("repair.on_top", n=len(record["made_on"])), ""))
    return notes


def _light(found: dict[str, Any]) -> dict[str, Any]:
    return said(phrase(f"repair.light_{found['light']}"), LIGHTS[found["light"]])


def _pairs(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What was said and is said for every prompt, with the words that follow it."""
    if record["evaluation"] is None:
        return [_pair(pair, record["vocab"]) for pair in own_pairs(record)]
    return [
        {
            "prompt": one["prompt_text"],
            "before": {"said": one["before_text"], "more": one.get("before_more", "")},
            "after": {"said": one["after_text"], "more": one.get("after_more", "")},
            "tone": "good" if one["after"]["greedy_exact"] else "poor",
        }
        for one in record["evaluation"]["wanted"]
    ]


def _pair(pair: dict[str, Any], vocab: dict[str, Any]) -> dict[str, Any]:
    """The same where nothing was measured, because nothing was changed."""
    prompt = pair["prompt"]
    if prompt is None:
        prompt = spelled(pair["prompt_ids"], vocab)
    states = {
        name: {"said": spelled(pair[name]["greedy"], vocab), "more": ""}
        for name in ("before", "after")
    }
    tone = "good" if pair["after"]["greedy_exact"] else "poor"
    return {"prompt": prompt, **states, "tone": tone}


def own_pairs(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The pairs that were asked for, without automatic rewordings of them."""
    return [pair for pair in record["pairs"] if pair["view_of"] is None]


def own_tokens(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The tokens of these pairs."""
    own = {index for index, pair in enumerate(record["pairs"]) if pair["view_of"] is None}
    return [token for token in record["tokens"] if token["pair"] in own]


def spelled(ids: Iterable[int], vocab: dict[str, Any]) -> str:
    """Tokens as one text: a character may be spread over several of them."""
    entries = (vocab[str(token)] for token in ids)
    raw = (
        base64.b64decode(entry["bytes"]) if entry.get("bytes") else entry["text"].encode()
        for entry in entries
    )
    return b"".join(raw).decode(errors="replace")


def in_bytes(size: float) -> str:
    """A size as a person reads it."""
    for unit in ("B", "kB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} MB"


# ---- the tokens


def tokens_table(record: dict[str, Any]) -> dict[str, Any]:
    """Every token of the targets, before and after."""
    vocab, tokens = record["vocab"], own_tokens(record)
    columns = [
        column("token", "token", phone=True),
        column("before", "token"),
        column("after", "token", phone=True),
        column("p_before", "percent"),
        column("p_after", "percent"),
        column("rank", "text"),
        column("margin_before", "signed", digits=2),
        column("margin_after", "signed", digits=2),
        column("result", "text", phone=True),
    ]
    rows = [_token_row(token, vocab) for token in tokens[:LISTED]]
    if record["input"]["pairs"] > 1:
        columns.insert(0, column("pair", "rank"))
        for row, token in zip(rows, tokens, strict=False):
            row.insert(0, token["pair"] + 1)
    return table(
        phrase("repair.tokens"),
        phrase("repair.tokens_how"),
        columns,
        rows,
        more=max(0, len(tokens) - LISTED),
        page=PAGE,
    )


def _token_row(token: dict[str, Any], vocab: dict[str, Any]) -> list[Any]:
    before, after = token["before"], token["after"]
    ranks = [before["rank"] + 1, after["rank"] + 1]
    return [
        vocab[str(token["target"])],
        vocab[str(before["said"])],
        vocab[str(after["said"])],
        short(before["p"]),
        short(after["p"]),
        f"{ranks[0]:,} → {ranks[1]:,}",
        short(before["margin"]),
        short(after["margin"]),
        said(phrase(f"repair.token_{token['action']}"), TOKEN_TONES[token["action"]]),
    ]


def wordings_table(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The target in other words: what was said there, and what is said now."""
    if found is None or not found["reworded"]:
        return None
    rows = [
        [
            visible(one["prompt_text"]),
            visible(one["before_text"]),
            visible(one["after_text"]),
            _carried(one),
        ]
        for one in found["reworded"][:LISTED]
    ]
    columns = [
        column("wording", "mono", phone=True),
        column("before", "mono"),
        column("after", "mono", phone=True),
        column("result", "text", phone=True),
    ]
    how = phrase("repair.wordings_how")
    return table(phrase("repair.wordings"), how, columns, rows, page=6)


def _carried(one: dict[str, Any]) -> dict[str, Any]:
    if one["after"]["greedy_exact"]:
        return said(phrase("repair.says_it"), "good")
    return said(phrase("repair.says_other"), "check")


def visible(text: str) -> str:
    """A text on one line, with marks for the ends of its own lines."""
    return text.replace("\n", "⏎").replace("\t", "⇥")
