"""The results as a page of Markdown, and the targets they are held against."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from benchmarks.subjects import BIG

TARGETS = {
    ("capture: streams", 32): (1.05, 1.05),
    ("capture: streams", 128): (1.05, 1.05),
    ("capture: five points", 32): (1.05, 1.05),
    ("capture: five points", 128): (1.05, 1.05),
    ("capture: streams, last logits", 32): (0.80, 0.80),
    ("capture: streams, last logits", 128): (0.80, 0.80),
    ("capture: five points, last logits", 32): (0.80, 0.80),
    ("capture: five points, last logits", 128): (0.80, 0.80),
    ("lens: all layers and positions", 32): (4.5, 4.0),
    ("lens: all layers and positions", 128): (6.5, 5.5),
    ("lens: last position", 32): (0.4, 0.4),
    ("lens: last position", 128): (0.4, 0.4),
    ("graph: all rows of all layers", 32): (0.45, 0.3),
    ("graph: all rows of all layers", 128): (3.5, 2.0),
    ("graph: tree of the last token, 0.04", 32): (0.25, 0.25),
    ("graph: tree of the last token, 0.04", 128): (0.25, 0.25),
    ("attention: rows of the last token", 128): (1.05, 1.05),
    ("attention: rows of the last token", 512): (1.05, 1.05),
    ("attribution: occlusion of all tokens", 32): (9.0, 9.0),
}
"""On the big model, by case and tokens: the ratio that must hold, and the one to aim for."""

PEAK_TARGETS = {
    "lens: all layers and positions": (150.0, 100.0),
    "graph: all rows of all layers": (40.0, 20.0),
    "graph: tree of the last token, 0.04": (40.0, 20.0),
}
"""MiB on the big model, likewise."""

PAIR_TARGETS = {"pairs: metrics and dims": (0.5, 0.4), "pairs: with the lens": (0.6, 0.4)}
"""On the big model, likewise."""

PAGE_TARGETS = {"load": 600.0, "click": 1.5, "draw": 0.3, "frame": 0.02}
"""KiB of a first visit without a chart; a click in units of the smallest Gradio page's event;
renderer seconds of drawing a large heat map or graph, and of a frame of moving the graph."""

HEAD = """# Measured speed and memory

Written by `python -m benchmarks.foundation`, `python -m benchmarks.graph`,
`python -m benchmarks.attention`, `python -m benchmarks.attribution`, `python -m benchmarks.pairs`
and `python -m benchmarks.page`; do not edit.

Speed is a multiple of one plain forward `model(ids, use_cache=False)` with all logits, timed
right before and right after each case in the same process; what is done on the page, likewise of
the event of the smallest Gradio page (`plain_page.py`). Ratios are medians with least..most in
brackets; `cpu` is the time of all threads. Models: `{big}` is a random Qwen2 of 24 layers x 896,
14/2 heads, MLP 4864, vocabulary 151,936, tied, float32; `demo` is the embedded model. Lens cases
start from a captured trace, so the forward is not in them, except for `logit_lens() as called`;
graph cases from a captured pass without rows, except for the capture and `contribution_graph() as
called`, and the moved threshold, which has the rows of the graph before it.
Peers are the usual ways to write it, run here on the same tensors. Targets are for `{big}`: the
first must hold, the second is a goal.
"""


def machine() -> dict[str, Any]:
    """What the numbers depend on, in neutral words."""
    return {
        "processor": f"{os.cpu_count()} cores, {platform.machine().replace('_', '-')}",
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "gradio")},
    }


def markdown(results: Mapping[str, Any]) -> str:
    """All sections that were measured."""
    parts = [HEAD.format(big=BIG)]
    for name, write in WRITERS.items():
        if name in results:
            section = results[name]
            about = section["machine"]
            where = ", ".join(f"{key} {value}" for key, value in about.items() if key != "system")
            parts.append(
                f"## {name.capitalize()}\n\n{section['measured']}: {where}; load before "
                f"{section['load_before']:.1f}; {section['repeats']} repeats.\n\n"
                + "\n".join(write(section["results"]))
                + "\n"
            )
    return "\n".join(parts)


def _speed(results: list[dict[str, Any]]) -> list[str]:
    rows = []
    for one in results:
        limits = TARGETS.get((one["case"], one["tokens"])) if one["subject"] == BIG else None
        rows.append(
            (
                one["subject"],
                str(one["tokens"]),
                one["case"],
                _spread(one["wall"]),
                _spread(one["cpu"]),
                _judged(limits, one["wall"]["median"]),
            )
        )
    seen = {(one["subject"], one["tokens"]): one["forward_s"] for one in results}
    forwards = [
        f"{name}, {tokens} tokens: {_seconds(spread['wall'])} wall, {_seconds(spread['cpu'])} cpu"
        for (name, tokens), spread in seen.items()
    ]
    head = ("model", "tokens", "case", "wall", "cpu", "target, goal")
    return [*_table(head, rows), "", "The forward itself: " + "; ".join(forwards) + "."]


def _memory(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            one["subject"],
            str(one["tokens"]),
            one["case"],
            "-" if one["mib"] is None else f"{one['mib']:.0f}",
            _judged(PEAK_TARGETS.get(one["case"]), one["mib"]),
        )
        for one in results
    ]
    head = ("model", "tokens", "case", "peak above the level before, MiB", "target, goal")
    return _table(head, rows)


def _occlusion(results: list[dict[str, Any]]) -> list[str]:
    apart = {one["subject"]: one["apart"] for one in results}
    said = "; ".join(f"{name} {value:.0e} nats" for name, value in apart.items())
    return [*_speed(results), "", f"Scores of both ways differ by at most: {said} (limit 1e-5)."]


def _kept(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            one["subject"],
            str(one["tokens"]),
            f"{one['rows'] / 2**20:.2f}",
            f"{one['matrices'] / 2**20:.1f}",
            f"{100 * one['rows'] / one['matrices']:.2f} %",
            _judged((1.0, 1.0), 100 * one["rows"] / one["matrices"]),
        )
        for one in results
    ]
    head = ("model", "tokens", "rows, MiB", "all matrices, MiB", "share", "target, goal (%)")
    return _table(head, rows)


def _waiting(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            one["subject"],
            str(one["tokens"]),
            one["case"],
            "one busy process" if one["busy"] else "nothing",
            _spread(one["wall"]),
            _spread(one["cpu"]),
            f"{_seconds(one['default_s']['wall'])}, {_seconds(one['default_s']['cpu'])}",
            f"{_seconds(one['passive_s']['wall'])}, {_seconds(one['passive_s']['cpu'])}",
        )
        for one in results
    ]
    head = (
        *("model", "tokens", "case", "beside"),
        *("PASSIVE / default, wall", "PASSIVE / default, cpu"),
        *("default: wall, cpu", "PASSIVE: wall, cpu"),
    )
    return _table(head, rows)


def _pairs(results: list[dict[str, Any]]) -> list[str]:
    rows = []
    for one in results:
        limits = PAIR_TARGETS.get(one["case"]) if one["subject"] == BIG else None
        wall = one["wall"]
        judged = _judged(limits, wall["median"])
        rows.append(
            (
                one["subject"],
                str(one["pairs"]),
                one["case"],
                _spread(wall),
                _spread(one["cpu"]),
                judged,
            )
        )
    head = ("model", "pairs", "case", "wall", "cpu", "target, goal")
    told = [
        f"{one['subject']}: {_seconds(one['reference_s']['wall'])} wall"
        for one in {one["subject"]: one for one in results}.values()
    ]
    about = "Multiples of the blocks run on every text alone, without the head: " + "; ".join(told)
    return [*_table(head, rows), "", f"{about}."]


def _pairs_memory(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        (one["subject"], str(one["pairs"]), "-" if one["mib"] is None else f"{one['mib']:.1f}")
        for one in results
    ]
    return _table(("model", "pairs", "peak above the level before, MiB"), rows)


def _pairs_found(results: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            one["set"],
            *(str(one[name]) for name in ("pairs", "left_out", "units", "dims")),
            *(str(one[name]) for name in ("found", "control")),
        )
        for one in results
    ]
    head = ("pairs of", "compared", "left out", "units", "dims tested", "found", "in the control")
    said = [f"- {one['set']}: {one['said']} On the page: {one['page']}" for one in results]
    return [*_table(head, rows), "", *said]


def _pairs_page(result: dict[str, Any]) -> list[str]:
    rows = [
        (name, f"{size / 2**20:.2f}", f"{result['seconds'][name]:.3f}")
        for name, size in result["bytes"].items()
    ]
    total = sum(result["bytes"].values()) / 2**20
    told = (
        f"{result['pairs']} pairs on {result['subject']}: {total:.2f} MiB in all; the limit is 5."
    )
    return [*_table(("part", "MiB", "seconds on the server"), rows), "", told]


def _startup(result: dict[str, Any]) -> list[str]:
    return [
        f"`python app.py` answers its page after {_spread(result['wall'])} times `import gradio` "
        f"alone (goal 1.2): {_seconds(result['page_s'])} against {_seconds(result['import_s'])}."
    ]


def _page(result: dict[str, Any]) -> list[str]:
    return [
        *_load(result["load"]),
        "",
        *_opening(result["opening"]),
        "",
        *_events(result["events"]),
        "",
        *_draws(result["draws"]),
        "",
        *_graph_draws(result["graph"]),
        "",
        *_visits(result["visits"]),
    ]


def _load(load: dict[str, Any]) -> list[str]:
    parts = {name: kib for name, kib in load["kib"].items() if kib}
    total = sum(parts.values())
    said = ", ".join(f"{name} {kib:.0f}" for name, kib in parts.items())
    limit = PAGE_TARGETS["load"]
    return [
        f"First load: {total:.0f} KiB over the network, nothing cached, no chart in view ({said}); "
        f"limit {limit:g}: {_held(limit, total)}. A chart in view loads plotly.js once, "
        f"{load['plotly_kib']:.0f} KiB more. The smallest Gradio page loads "
        f"{load['plain_kib']:.0f}."
    ]


def _opening(opening: dict[str, Any]) -> list[str]:
    words = {"paint": "first content painted", "drawn": "first drawing (here the finished example)"}
    rows = [
        (
            words[what],
            _spread(ratio),
            _seconds(opening["seconds"][f"app {what}"]),
            _seconds(opening["seconds"][f"plain {what}"]),
        )
        for what, ratio in opening["ratios"].items()
    ]
    return _table(("opening the page", "ratio to the smallest page", "this page", "smallest"), rows)


def _events(events: list[dict[str, Any]]) -> list[str]:
    limit = PAGE_TARGETS["click"]
    rows = [
        (
            one["case"],
            _spread(one["wall"]),
            _spread(one["cpu"]),
            _held(limit, one["wall"]["median"]) if one["case"].startswith("click") else "",
            f"{_seconds(one['seconds']['wall'])}, {_seconds(one['seconds']['cpu'])}",
        )
        for one in events
    ]
    plain = events[0]["plain_s"]
    return [
        *_table(("event", "wall", "renderer cpu", f"limit {limit:g}", "wall, renderer cpu"), rows),
        "",
        f"The event of the smallest page itself: {_seconds(plain['wall'])} wall, "
        f"{_seconds(plain['cpu'])} renderer cpu.",
    ]


def _draws(draws: list[dict[str, Any]]) -> list[str]:
    limit = PAGE_TARGETS["draw"]
    rows = [
        (
            f"{one['layers']} layers x {one['tokens']} positions, {one['case']}",
            _spread(one["cpu_s"]),
            _held(limit, one["cpu_s"]["median"]),
        )
        for one in draws
    ]
    return _table(("heat map with text, drawn once", "renderer cpu, s", f"limit {limit:g}"), rows)


def _graph_draws(cases: dict[str, Any]) -> list[str]:
    limits = {"drawn once": PAGE_TARGETS["draw"]}
    rows = [
        (case, f"{1000 * one['median']:.1f} ms", _held(limit, one["median"]))
        for case, one in cases.items()
        for limit in [limits.get(case, PAGE_TARGETS["frame"])]
    ]
    heads = ("graph with 1,500 links", "renderer cpu", "limit 0.3 s, 20 ms a frame")
    return _table(heads, rows)


def _visits(visits: dict[str, Any]) -> list[str]:
    levels = visits["levels_mib"]
    grown = levels[-1] - levels[0]
    return [
        f"The server's memory over {visits['sessions']} visits of {visits['runs']} different "
        f"prompts each: {levels[0]:.0f} MiB before, {levels[-1]:.0f} after, "
        f"{grown / visits['sessions']:.1f} a visit (with forward passes that are held)."
    ]


def _held(limit: float, value: float) -> str:
    return "missed" if value > limit else "holds"


WRITERS = {
    "speed": _speed,
    "memory": _memory,
    "graph speed": _speed,
    "graph memory": _memory,
    "attention speed": _speed,
    "attention memory": _memory,
    "attention kept": _kept,
    "attribution speed": _occlusion,
    "pairs speed": _pairs,
    "pairs memory": _pairs_memory,
    "pairs found": _pairs_found,
    "pairs page": _pairs_page,
    "waiting": _waiting,
    "startup": _startup,
    "page": _page,
}


def _judged(limits: tuple[float, float] | None, value: float | None) -> str:
    """The limits of a value, and which of them hold."""
    if limits is None or value is None:
        return ""
    must, goal = limits
    found = "missed" if value > must else "both hold" if value <= goal else "the first holds"
    return f"{must:g}, {goal:g}: {found}"


def _spread(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} [{spread['least']:.2f}..{spread['most']:.2f}]"


def _seconds(spread: Mapping[str, float]) -> str:
    value = spread["median"]
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.1f} ms"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
