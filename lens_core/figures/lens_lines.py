"""Lines of the logit lens: how candidates rise and fall from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures import labels
from lens_core.figures.labels import end_labels
from lens_core.figures.record import Result, as_record, in_words, token_text
from lens_core.figures.style import BEFORE, DASHES, MARKERS, Palette, axis, figure, frame, palette
from lens_core.figures.text import cut, escape, percent, width

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEIGHT = 260
TOP, BOTTOM, LEFT = 12, 30, 52
"""Pixels around the lines."""
LOW, HIGH = -0.025, 1.03
"""The ends of the y axis: 0 to 100 %, and room for half a marker."""
CROWDED = 24
"""Depths above which markers are small."""


@dataclass(frozen=True)
class Line:
    """One line of the trajectories: a token, or several whose probabilities are summed."""

    ids: tuple[int, ...]
    series: int | None = None
    """Colour, dash and marker 1 to 4; None draws a thin grey line, for context."""


@dataclass(frozen=True)
class _Course:
    """One line through all depths."""

    name: str
    p: list[float | None]
    """The sum over the tokens; None where the lens has no number."""
    notes: list[str]
    """Probability and rank of every token, by depth."""


def trajectories(
    result: Result,
    lines: Sequence[Line | Sequence[int] | int],
    *,
    before: Result | None = None,
    position: int | None = None,
    shaded: Sequence[int] = (),
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """The probability of each line after the embedding and after every layer, 0 to 100 %.

    The names stand at the ends of the lines, at least 15 pixels apart. `text` of a point is its
    probability and rank, `customdata` its layer (-1 for the embedding); `meta` of a trace is the
    index of its line, its series and its role (before, after or only).

    Args:
        result: a logit lens with a tracked position, or its JSON form.
        lines: token ids, groups of ids whose probabilities are summed ("A + B"), or `Line`s. Ids
            take series 1 to 4 in their order, the rest is grey.
        before: the same without an edit; drawn dashed and hollow, `result` solid and filled.
        position: the tracked position; None takes the first.
        shaded: layers with another background, such as those an edit changed.
        words: other words, see `figures.record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.
        height: in pixels.

    Raises:
        InputError: a token that was not tracked, a group without tokens, or no tracked position.
    """
    record, said, colours = as_record(result), in_words(words), palette(dark=dark)
    earlier = None if before is None else as_record(before)
    chosen = _with_series(lines)
    traces: list[dict[str, Any]] = []
    ends: list[tuple[str, int | None, float]] = []
    role = "only" if earlier is None else "after"
    for i, line in enumerate(chosen):
        course = _course(record, line.ids, position, said)
        traces.append(_trace(course, line.series, (i, role), colours, said))
        if earlier is not None:
            past = _course(earlier, line.ids, position, said)
            traces.append(_trace(past, line.series, (i, "before"), colours, said))
        known = [p for p in course.p if p is not None]
        if known:
            ends.append((course.name, line.series, known[-1]))
    depths = len(traces[0]["x"]) if traces else 1
    room = height - TOP - BOTTOM - (0 if title is None else 28)
    layout = _layout(depths, colours, ends, height=height, title=title)
    layout["annotations"] = end_labels(ends, depths - 1, room, (LOW, HIGH), colours)
    layout["shapes"] = [_shade(layer, colours) for layer in shaded]
    # The first line is drawn last, over the others (`zorder` would clip its end markers).
    return figure(traces[::-1], layout)


def _with_series(lines: Sequence[Line | Sequence[int] | int]) -> list[Line]:
    found = []
    for i, line in enumerate(lines):
        if not isinstance(line, Line):
            # A token given twice is not said twice as often.
            ids = (line,) if isinstance(line, int) else tuple(dict.fromkeys(line))
            line = Line(ids, i + 1 if i < len(DASHES) else None)
        if not line.ids:
            raise InputError(f"Line {i} has no token (0 ids); give it at least one.")
        if line.series is not None and not 1 <= line.series <= len(DASHES):
            raise InputError(f"Line {i} has series {line.series}; it can be 1 to {len(DASHES)}.")
        found.append(line)
    return found


def _tracked(record: Mapping[str, Any], position: int | None) -> Mapping[str, Any]:
    every = record["tracked"]
    if position is not None:
        count = len(record["input"]["ids"])
        wanted = position + count if position < 0 else position
        every = [tracked for tracked in every if tracked["position"] == wanted]
    if not every:
        which = "position" if position is None else f"position {position}"
        raise InputError(f"No {which} was tracked; run the lens with track_position.")
    return every[0]


def _course(
    record: Mapping[str, Any], ids: tuple[int, ...], position: int | None, words: Mapping[str, str]
) -> _Course:
    """The sum of some tokens through all depths."""
    tracked = _tracked(record, position)
    rows = []
    for token in ids:
        if token not in tracked["ids"]:
            raise InputError(
                f"Token {token} is not among the {len(tracked['ids'])} tokens tracked at position "
                f"{tracked['position']}; run the lens with it among the targets."
            )
        rows.append(tracked["ids"].index(token))
    courses = [_joined(tracked["p"], row) for row in rows]
    ranks = [_joined(tracked["rank"], row) for row in rows]
    names = [token_text(record, token) for token in ids]
    sums = [None if None in values else math.fsum(values) for values in zip(*courses, strict=True)]
    notes = []
    for depth, p in enumerate(sums):
        each = [(courses[i][depth], ranks[i][depth]) for i in range(len(ids))]
        notes.append(_note(p, names, each, words))
    return _Course(" + ".join(names), sums, notes)


def _joined(values: Mapping[str, Any], row: int) -> list[Any]:
    """One token by depth: the embedding, then the block outputs."""
    return [*values["embed"][row], *values["resid_post"][row]]


def _note(
    p: float | None, names: list[str], each: list[tuple[Any, Any]], words: Mapping[str, str]
) -> str:
    def rank(value: int | None) -> str:
        # The record counts the tokens above; people count from 1.
        return "–" if value is None or value < 0 else words["rank"].format(rank=value + 1)

    if len(names) == 1:
        return f"{percent(p)} · {rank(each[0][1])}"
    members = [
        f"{name} {percent(member)} · {rank(place)}"
        for name, (member, place) in zip(names, each, strict=True)
    ]
    return "\n".join([percent(p), *members])


def _trace(
    course: _Course,
    series: int | None,
    place: tuple[int, str],
    colours: Palette,
    words: Mapping[str, str],
) -> dict[str, Any]:
    """One line; `place` is its index among the lines, and before, after or only."""
    (index, role), depths = place, len(course.p)
    x = [words["embed"], *(f"L{layer}" for layer in range(depths - 1))]
    notes = [escape(note).replace("\n", "<br>") for note in course.notes]
    name = escape(cut(course.name, 3 * labels.COLUMNS))
    meta: dict[str, Any] = {"role": role, "line": index}
    if series is not None:
        meta["series"] = series
    after = ""
    if role != "only":
        meta["word"] = escape(words[role])
        after = "<br>%{meta.word}"
    return {
        "type": "scatter",
        "mode": "lines" if series is None else "lines+markers",
        "name": name,
        "x": [escape(label) for label in x],
        "y": course.p,
        "text": notes,
        "hovertext": [
            f"<b>{name}</b><br>{escape(label)} · {note}"
            for label, note in zip(x, notes, strict=True)
        ],
        "hovertemplate": f"%{{hovertext}}{after}<extra></extra>",
        "customdata": list(range(-1, depths - 1)),
        "meta": meta,
        "cliponaxis": False,
        "connectgaps": False,
        **_drawn(series, role, depths, colours),
    }


def _drawn(series: int | None, role: str, depths: int, colours: Palette) -> dict[str, Any]:
    """Line and marker: before = dashed and hollow, after = solid and filled."""
    small = 4 if depths > CROWDED else 6
    if series is None:
        dash = BEFORE if role == "before" else DASHES[2]
        line = {"color": colours.stream, "width": 1.5, "dash": dash}
        return {"line": line, "marker": {"color": colours.stream, "size": small}}
    shade = colours.series[series - 1]
    dash = {"only": DASHES[series - 1], "before": BEFORE, "after": "solid"}[role]
    strong = series == 1 and role != "before"
    marker = {
        "symbol": MARKERS[series - 1],
        "size": small + 2 * (strong and depths <= CROWDED),
        "color": colours.panel if role == "before" else shade,
        "line": {"color": shade, "width": 1.5 if role == "before" else 0},
    }
    line = {"color": shade, "width": 2.5 if strong else 2 if role != "before" else 1.5}
    return {"line": {**line, "dash": dash}, "marker": marker}


def _layout(
    depths: int,
    colours: Palette,
    ends: Sequence[tuple[str, int | None, float]],
    *,
    height: int,
    title: str | None,
) -> dict[str, Any]:
    columns = max((width(cut(name, labels.COLUMNS)) for name, *_ in ends), default=0)
    # A bold fixed-width letter is 0.62 of its size wide.
    right = 16 + round(0.62 * labels.SIZE * columns)
    return frame(
        colours,
        title=None if title is None else escape(title),
        height=height,
        margin={"l": LEFT, "r": right, "t": TOP + (0 if title is None else 28), "b": BOTTOM},
        xaxis=axis(
            colours,
            type="category",
            # One depth alone stands in the middle.
            range=[0, depths - 1] if depths > 1 else [-1, 1],
            ticklabelstandoff=4,
        ),
        yaxis=axis(
            colours,
            range=[LOW, HIGH],
            tickformat=".0%",
            dtick=0.25,
            # Probabilities are always shown from 0 to 100 %; zooming is along the layers.
            fixedrange=True,
            ticklabelstandoff=8,
            showgrid=True,
            gridcolor=colours.rule,
            zeroline=True,
            zerolinecolor=colours.stream,
            zerolinewidth=1,
        ),
        # Zoom survives new numbers, not another depth of the model.
        uirevision=f"trajectories {depths}",
    )


def _shade(layer: int, colours: Palette) -> dict[str, Any]:
    return {
        "type": "rect",
        "name": "accent-soft",
        "layer": "below",
        "x0": layer + 0.5,
        "x1": layer + 1.5,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"width": 0},
        "fillcolor": colours.accent_soft,
    }
