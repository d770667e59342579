"""A causal trace, or its estimate, as lines for a terminal and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typer import style

from lens_core.cli.pairs_report import in_columns
from lens_core.cli.record_text import token_of
from lens_core.cli.terminal import harmless, padded, shortened, token_label

MOST_LAYERS = 24
"""Rows of the grid."""
_STRONGEST = 5
_CELL, _LABEL = 6, 14
_METRICS = {
    "logit_difference": "logits of the wanted answer minus those of the other",
    "log_p": "log-probability of the wanted answer, nats",
    "kl": "minus the divergence from the clean run, nats",
}
_DIRECTIONS = {
    "denoise": "clean activations in the corrupt run",
    "noise": "corrupt activations in the clean run",
}
CSV_COLUMNS = (
    *("component", "direction", "window", "layer", "head", "kind"),
    *("clean_start", "clean_stop", "corrupt_start", "corrupt_stop", "clean", "corrupt", "effect"),
)


def trace_report(record: Mapping[str, Any], *, columns: int) -> Iterator[str]:
    """The JSON record of a trace as lines: both runs, a grid, the strongest of the rest."""
    contrast = record["contrast"]
    yield style(f"Clean:   {_text(record, 'clean', columns - 9)}", bold=True)
    yield f"Corrupt: {_text(record, 'corrupt', columns - 9)}"
    answers = [
        " ".join(token_of(record, token) for token in contrast[name])
        for name in ("wanted", "other")
    ]
    if any(answers):
        yield f"Answers: {' / '.join(answer for answer in answers if answer)}"
    yield (
        f"{contrast['metric']} ({_METRICS[contrast['metric']]}): {_number(contrast['clean_value'])}"
        f" clean, {_number(contrast['corrupt_value'])} corrupt"
    )
    for warning in record["warnings"]:
        yield f"Note: {harmless(warning)}"
    for component, reason in record["left_out"].items():
        yield f"Left out: {component}. {harmless(reason)}"
    if contrast["defined"]:
        for grid in record["grids"]:
            yield ""
            yield from _shown(record, grid, columns)


def _shown(record: Mapping[str, Any], grid: Mapping[str, Any], columns: int) -> Iterator[str]:
    """The stream as a grid, other components by their strongest patches."""
    window = f", {grid['window']} layers together" if grid["window"] > 1 else ""
    estimated = " (estimates)" if record.get("approximate") else ""
    yield f"{grid['component']}: {_DIRECTIONS[grid['direction']]}{window}{estimated}"
    if grid["component"] == "resid_post":
        yield from _grid(record, grid, columns)
    else:
        yield from _strongest(record, grid)


def _grid(record: Mapping[str, Any], grid: Mapping[str, Any], columns: int) -> Iterator[str]:
    """Layers from the last to the first, by places of the text; the prefix, which is 0, is out."""
    places = [record["contrast"]["columns"][at] for at in grid["columns"]]
    told = [at for at, place in enumerate(places) if place["kind"] != "prefix"]
    told = told or list(range(len(places)))
    labels = [shortened(_place(record, place), _LABEL) for place in places]
    room = [max(_CELL, len(padded(label, _LABEL).rstrip())) for label in labels]
    chosen: list[int] = []
    # Edits first, then from the end, where the answer is read.
    for at in sorted(told, key=lambda at: (places[at]["kind"] != "edit", -at)):
        if sum(room[i] + 2 for i in (*chosen, at)) <= columns - 6:
            chosen.append(at)
    chosen = sorted(chosen or told[-1:])
    yield "      " + "  ".join(padded(labels[at], room[at]) for at in chosen).rstrip()
    layers = len(grid["effect"])
    step = -(-layers // MOST_LAYERS)
    for layer in range(layers - 1, -1, -step):
        values = [_effect(grid["effect"][layer][at]) for at in chosen]
        cells = [
            f"{value:>{_CELL}}" + " " * (room[at] - _CELL)
            for value, at in zip(values, chosen, strict=True)
        ]
        yield f"  L{layer:<3} " + "  ".join(cells).rstrip()
    if len(chosen) < len(told) or step > 1:
        every = f" and every {step}th layer" if step > 1 else ""
        yield f"  {len(chosen)} of {len(told)} places{every}; --csv and --html have all."


def _strongest(record: Mapping[str, Any], grid: Mapping[str, Any]) -> Iterator[str]:
    # What changes nothing leaves the run as it was: at 1 in the clean one.
    without = 1.0 if grid["direction"] == "noise" else 0.0
    known = [one for one in cells(grid) if one[-1] is not None]
    known.sort(key=lambda one: -abs(one[-1] - without))
    rows = [
        (
            f"L{layer}" if head is None else f"L{layer} H{head}",
            _effect(value),
            f"at {_place(record, record['contrast']['columns'][column])}",
        )
        for layer, head, column, value in known[:_STRONGEST]
    ]
    yield from in_columns(rows)


def cells(grid: Mapping[str, Any]) -> Iterator[tuple[int, int | None, int, Any]]:
    """Layer, head, column of the trace and effect of every patch."""
    for layer, row in enumerate(grid["effect"]):
        heads: Sequence[tuple[int | None, Any]] = [(None, row)]
        if grid["component"] == "heads":
            heads = list(enumerate(row))
        for head, values in heads:
            for column, value in zip(grid["columns"], values, strict=True):
                yield layer, head, column, value


def trace_csv(record: Mapping[str, Any]) -> str:
    """Every patch of every grid: a row each, texts as JSON strings, undefined effects empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for grid in record["grids"]:
        own = (grid["component"], grid["direction"], grid["window"])
        for layer, head, at, value in cells(grid):
            place = record["contrast"]["columns"][at]
            spans = (*place["clean"], *place["corrupt"])
            texts = [
                json.dumps(_span(record, side, place[side], exact=True), ensure_ascii=False)
                for side in ("clean", "corrupt")
            ]
            shown = "" if value is None else repr(float(value))
            head_name = "" if head is None else head
            writer.writerow([*own, layer, head_name, place["kind"], *spans, *texts, shown])
    return out.getvalue()


def _place(record: Mapping[str, Any], place: Mapping[str, Any]) -> str:
    """The tokens of a column; both sides of an edit, the clean one first."""
    sides = [_span(record, side, place[side]) or "nothing" for side in ("clean", "corrupt")]
    return sides[0] if sides[0] == sides[1] else "|".join(sides)


def _span(record: Mapping[str, Any], side: str, span: Sequence[int], *, exact: bool = False) -> str:
    tokens = record["input"][side][slice(*span)]
    text = "".join(token["text"] for token in tokens)
    return text if exact else token_label({"text": text, "bytes": None})


def _text(record: Mapping[str, Any], side: str, columns: int) -> str:
    tokens = record["input"][side]
    text = "".join(token["text"] for token in tokens if token["kind"] not in ("special", "pad"))
    return shortened(harmless(text.replace("\n", "\u23ce")), max(columns, 20))


def _effect(value: float | None) -> str:
    return _number(value, 2)


def _number(value: float | None, digits: int = 3) -> str:
    # Rounded first, so that no zero has a minus.
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"
