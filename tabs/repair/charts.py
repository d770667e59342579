"""The charts of a repair: how it ran, what each layer would say, and what its strength does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lens_core.figures.labels import COLUMNS, SIZE, end_labels
from lens_core.figures.style import DASHES, MARKERS, Palette, axis, frame, palette
from lens_core.figures.text import cut, escape, number, shown, width
from tabs.logit_lens.views import short
from tabs.repair.views import own_tokens
from tabs.words import phrase

HEIGHT, LENS_HEIGHT = 300, 300
"""Pixels of the charts."""
LOWER = (0.0, 0.24)
"""Where the second quantity stands below the first, as shares of the height."""
UPPER = (0.34, 1.0)
LINES = 24
"""So many tokens are drawn, those that are furthest away at the start."""
TOP, BOTTOM, LEFT = 12, 30, 52
KL, MARGIN = "KL", "margin"
"""Names that are the same in every language: a figure cannot be translated."""


@dataclass(frozen=True)
class Course:
    """One line: what it is called, and its values."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    series: int | None
    """Its colour, dash and marker, 1 to 4; grey where None."""


# ---- as it runs


def run_chart(steps: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The margin of every token after every update, and the divergence elsewhere below it.

    Args:
        steps: the JSON of the steps so far.
        names: the tokens as text; margins beyond them are of rewordings and not drawn.
    """
    if not steps:
        return _chart(None, "repair-run", "repair.run_summary")
    x = [step["epoch"] for step in steps]
    first = steps[0]["margins"]
    furthest = sorted(range(len(names)), key=lambda row: first[row])[:LINES]
    lines = [
        Course(
            names[row],
            x,
            [step["margins"][row] for step in steps],
            index + 1 if index < len(DASHES) else None,
        )
        for index, row in enumerate(sorted(furthest))
    ]
    known = [step for step in steps if step.get("kl") is not None]
    below = None
    if known:
        values = [step["kl"] for step in known]
        below = Course(KL, [step["epoch"] for step in known], values, 4)
    return _chart(_panels(lines, below), "repair-run", "repair.run_summary")


def names_of(record: Mapping[str, Any]) -> list[str]:
    """The target tokens as a person reads them."""
    vocab = record["vocab"]
    return [shown(vocab[str(token["target"])]) for token in own_tokens(dict(record))]


# ---- what its strength does


def strength_chart(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Margin and divergence over the strength of an edit."""
    x = [point["strength"] for point in points]
    margin = Course(MARGIN, x, [point["margin"] for point in points], 1)
    below = Course(KL, x, [point["kl"] for point in points], 4)
    figure = _panels([margin], below, markers=True)
    return _chart(figure, "repair-strength", "repair.strength_summary")


# ---- what each layer would say


def lens_chart(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first repaired token through the layers, dashed before the repair."""
    from lens_core.figures import figure_json, lens_trajectories

    found = record["lens"]
    if found is None:
        return None
    tokens = list(dict.fromkeys([found["target"], found["said"]]))
    before, after = (_lens_record(record, found, side, tokens) for side in ("before", "after"))
    figure = lens_trajectories(
        after, tokens, before=before, shaded=found["edited"], height=LENS_HEIGHT
    )
    return _chart(figure_json(figure), "repair-lens", "repair.lens_summary")


def lens_head(record: Mapping[str, Any]) -> dict[str, Any]:
    """The title above it, which says whether there is anything to see."""
    known = record["lens"] is not None
    how = phrase("repair.lens_how" if known else "repair.no_lens")
    return {"title": phrase("repair.lens"), "how": how}


def _lens_record(
    record: Mapping[str, Any], found: Mapping[str, Any], side: str, tokens: Sequence[int]
) -> dict[str, Any]:
    """One side as a record of the logit lens, which its figure draws."""
    courses = [found[side][name] for name in ("target", "said")][: len(tokens)]
    n_layers = len(found["places"]) - 1
    return {
        "schema": "lens_core/logit_lens/1",
        "vocab": record["vocab"],
        "tracked": [
            {
                "position": 0,
                "ids": list(tokens),
                "p": {
                    "embed": [[course[0]] for course in courses],
                    "resid_post": [course[1:] for course in courses],
                },
                "rank": {
                    "embed": [[None] for _ in courses],
                    "resid_post": [[None] * n_layers for _ in courses],
                },
            }
        ],
    }


# ---- lines above one another


def _chart(figure: dict[str, Any] | None, name: str, summary: str) -> dict[str, Any]:
    height = LENS_HEIGHT if name == "repair-lens" else HEIGHT
    return {
        "figure": figure,
        "name": name,
        "summary": phrase(summary),
        "height": height,
        "empty": None,
    }


def _panels(
    lines: Sequence[Course], below: Course | None, *, markers: bool = False
) -> dict[str, Any]:
    """Lines around zero, and another quantity from zero upwards below them."""
    colours = palette()
    values = [y for line in lines for y in line.y if y is not None]
    x = lines[0].x
    share = 1.0 if below is None else UPPER[1] - UPPER[0]
    ends = [(line.name, line.series, line.y[-1] or 0.0) for line in lines]
    # Grey lines are too many to be named.
    ends = [end for end in ends if end[1] is not None]
    span = _span(values)
    room = round(share * (HEIGHT - TOP - BOTTOM))
    notes = end_labels(ends, 0, room, span, colours)
    traces = [_trace(line, index, colours, markers=markers) for index, line in enumerate(lines)]
    layout = _layout(colours, x, span, ends, split=below is not None)
    if below is not None:
        index = len(lines)
        traces.append({**_trace(below, index, colours, markers=markers), "yaxis": "y2"})
        high = max([y for y in below.y if y is not None], default=0.0)
        layout["yaxis2"] = _lower(colours, high)
        last = (KL, below.series, below.y[-1] or 0.0)
        own = end_labels([last], 0, round(LOWER[1] * (HEIGHT - TOP - BOTTOM)), (0.0, 1.0), colours)
        notes += [{**own[0], "yref": "y2", "yshift": 0}]
    right = {"x": 1, "xref": "paper"}
    layout["annotations"] = [{**note, **right} for note in notes]
    return {"data": traces[::-1], "layout": layout}


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis around the values and zero."""
    low, high = min([0.0, *values]), max([0.0, *values])
    pad = 0.06 * ((high - low) or 1.0)
    return low - pad, high + pad


def _trace(course: Course, index: int, colours: Palette, *, markers: bool) -> dict[str, Any]:
    series = course.series
    name = escape(cut(course.name, 3 * COLUMNS))
    shade = colours.stream if series is None else colours.series[series - 1]
    digits = 4 if course.name == KL else 2
    texts = [escape(number(y, digits, signed=course.name != KL)) for y in course.y]
    marker = {"symbol": MARKERS[(series or 1) - 1], "size": 6, "color": shade}
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers or len(course.x) == 1 else "lines",
        "name": name,
        "x": list(course.x),
        "y": short(list(course.y)),
        "text": texts,
        "hovertext": [
            f"<b>{name}</b><br>{x:g} · {text}" for x, text in zip(course.x, texts, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "opacity": 1 if series else 0.55,
        "meta": {"role": "only", "line": index, **({} if series is None else {"series": series})},
        "cliponaxis": False,
        "line": {
            "color": shade,
            "width": 1 if series is None else 2.5 if series == 1 else 2,
            "dash": DASHES[(series or 1) - 1] if series else "solid",
        },
        "marker": marker,
    }


def _layout(
    colours: Palette,
    x: Sequence[float],
    span: tuple[float, float],
    ends: Sequence[tuple[str, int | None, float]],
    *,
    split: bool,
) -> dict[str, Any]:
    columns = max([width(cut(name, COLUMNS)) for name, *_ in ends] + [len(KL)])
    return frame(
        colours,
        height=HEIGHT,
        # A bold fixed-width letter is 0.62 of its size wide.
        margin={"l": LEFT, "r": 16 + round(0.62 * SIZE * columns), "t": TOP, "b": BOTTOM},
        xaxis=axis(
            colours,
            range=[min(x), max(x)] if max(x) > min(x) else [-0.5, 1],
            anchor="y2" if split else "y",
            **_ticks(x),
            ticklabelstandoff=4,
        ),
        yaxis=axis(
            colours,
            range=list(span),
            domain=list(UPPER if split else (0, 1)),
            tickformat="~g",
            nticks=6,
            fixedrange=True,
            ticklabelstandoff=8,
            showgrid=True,
            gridcolor=colours.rule,
            zeroline=True,
            zerolinecolor=colours.stream,
            zerolinewidth=1.5,
        ),
        uirevision="repair",
    )


def _ticks(x: Sequence[float]) -> dict[str, Any]:
    """Half an update is none."""
    whole = all(isinstance(place, int) for place in x)
    return {"tick0": 0, "dtick": 1} if whole and max(x) <= 8 else {"nticks": 8}


def _lower(colours: Palette, high: float) -> dict[str, Any]:
    """The axis of the quantity below."""
    return axis(
        colours,
        range=[0, 1.1 * high or 1.0],
        domain=list(LOWER),
        rangemode="tozero",
        tickformat="~g",
        nticks=3,
        fixedrange=True,
        ticklabelstandoff=8,
        showgrid=True,
        gridcolor=colours.rule,
        zeroline=True,
        zerolinecolor=colours.stream,
        zerolinewidth=1,
    )
