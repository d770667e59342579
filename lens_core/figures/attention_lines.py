"""Lines of attention: how much is paid to one token from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures import labels
from lens_core.figures.attention_record import (
    WORDS,
    Views,
    as_views,
    measured,
    source_of,
    token_name,
)
from lens_core.figures.labels import end_labels
from lens_core.figures.lens_lines import CROWDED
from lens_core.figures.record import in_words
from lens_core.figures.style import BEFORE, DASHES, FONT, Palette, axis, figure, frame, palette
from lens_core.figures.text import cut, escape, number, percent, width

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEIGHT = 220
TOP, BOTTOM, LEFT = 12, 28, 44
"""Pixels around the lines."""
LOW, HIGH = -0.025, 1.03
"""The ends of the y axis in units of its last tick: room for half a marker."""
LINES = ("mean", "strongest")


@dataclass(frozen=True)
class _Course:
    """What is paid to one token by layer; None where a layer has no number."""

    mean: list[float | None]
    strongest: list[float | None]
    heads: list[int | None]
    """The strongest head of every layer."""


def course(
    views: Views,
    source: int | Sequence[int],
    *,
    measure: str = "weight",
    before: Views | None = None,
    shaded: Sequence[int] = (),
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """What the query pays to one token in every layer: the mean of heads and the strongest head.

    The mean is solid with circles, the strongest head dashed with diamonds. The scale goes from 0
    to a round number above the largest value, at most 100 % for weights. `customdata` is [layer,
    head, source], head being None for the mean; `meta` is the index of the line and its role
    (before, after or only).

    Args:
        views: of attention from one position, or their JSON form.
        source: the token that is looked at; negative ones count from the end of the text. Of
            several, such as the tokens of one character, the numbers are summed.
        measure: weight (0 to 1) or norm (length of what is moved).
        before: the same without an edit; drawn dashed and hollow.
        shaded: layers with another background, such as those an edit changed.
        words: other words, see `figures.attention_record.WORDS`.
        title: plain text above the figure.
        dark: the dark theme.
        height: in pixels.

    Raises:
        InputError: a source after the query, norms that were left out, or a `before` of another
            text, query or layers.
    """
    record, said, colours = as_views(views), in_words(words, WORDS), palette(dark=dark)
    sources = [source] if isinstance(source, int) else source
    at = [source_of(record, one) for one in sources]
    courses = {"only" if before is None else "after": _course(record, at, measure)}
    if before is not None:
        earlier = as_views(before)
        _check_alike(record, earlier)
        courses["before"] = _course(earlier, at, measure)
    name = escape(cut(_name(record["input"]["tokens"], at), 3 * labels.COLUMNS))
    made = [
        _trace(record["layers"], found, line, (name, at[-1], role), (colours, said, measure))
        for role, found in courses.items()
        for line in LINES
    ]
    top = _top([y for trace in made for y in trace["y"] if y is not None], measure)
    ends = [(said[line], _last(getattr(next(iter(courses.values())), line))) for line in LINES]
    layout = _layout(record["layers"], top, ends, (colours, measure), height=height, title=title)
    kept = [record["layers"].index(layer) for layer in shaded if layer in record["layers"]]
    layout["shapes"] = [_shade(place, colours) for place in kept]
    # The first line is drawn last, over the others.
    return figure(made[::-1], layout)


def _check_alike(record: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    for name, own, other in (
        ("text", record["input"]["ids"], earlier["input"]["ids"]),
        ("query", record["queries"], earlier["queries"]),
        ("layers", record["layers"], earlier["layers"]),
    ):
        if own != other:
            raise InputError(
                f"`before` has another {name}: {other} instead of {own}. Compare two results of "
                "the same question."
            )


def _name(tokens: Sequence[Mapping[str, Any]], at: Sequence[int]) -> str:
    """The token, or the character that several make up."""
    return token_name(tokens[at[0]]) if len(at) == 1 else str(tokens[at[0]]["cluster_text"])


def _course(record: Mapping[str, Any], at: Sequence[int], measure: str) -> _Course:
    found = _Course([], [], [])
    for heads in measured(record, measure):
        values = [_sum([head[one] for one in at]) for head in heads]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values) and bool(known)
        found.mean.append(math.fsum(known) / len(known) if whole else None)
        found.strongest.append(max(known) if whole else None)
        found.heads.append(known.index(max(known)) if whole else None)
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _trace(
    layers: Sequence[int],
    found: _Course,
    line: str,
    place: tuple[str, int, str],
    look: tuple[Palette, Mapping[str, str], str],
) -> dict[str, Any]:
    """One line; `place` is the name and position of its token, and before, after or only."""
    (name, at, role), (colours, said, measure) = place, look
    values = getattr(found, line)
    heads = [None] * len(layers) if line == "mean" else found.heads
    notes = [
        f"{_written(value, measure)} · {said[line] if head is None else f'H{head}'}"
        for value, head in zip(values, heads, strict=True)
    ]
    meta: dict[str, Any] = {"role": role, "line": LINES.index(line), "series": "attention"}
    after = ""
    if role != "only":
        meta["word"] = escape(said[role])
        after = "<br>%{meta.word}"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(said[line]),
        "x": [f"L{layer}" for layer in layers],
        "y": values,
        "text": [escape(note) for note in notes],
        "hovertext": [
            f"<b>{name}</b><br>L{layer} · {escape(note)}"
            for layer, note in zip(layers, notes, strict=True)
        ],
        "hovertemplate": f"%{{hovertext}}{after}<extra></extra>",
        "customdata": [[layer, head, at] for layer, head in zip(layers, heads, strict=True)],
        "meta": meta,
        "cliponaxis": False,
        "connectgaps": False,
        **_drawn(line, role, len(layers), colours),
    }


def _drawn(line: str, role: str, depths: int, colours: Palette) -> dict[str, Any]:
    """The mean is solid and strong; before an edit everything is dashed and hollow."""
    mean, past = line == "mean", role == "before"
    small = 3 if depths > CROWDED else 5
    marker = {
        "symbol": "circle" if mean else "diamond",
        "size": small + mean,
        "color": colours.panel if past else colours.attention,
        "line": {"color": colours.attention, "width": 1.5 if past else 0},
    }
    dash = BEFORE if past else "solid" if mean else DASHES[1]
    width = 2.5 if mean and not past else 1.5
    return {"line": {"color": colours.attention, "width": width, "dash": dash}, "marker": marker}


def _top(values: Sequence[float], measure: str) -> float:
    """A round number that is not below the largest value: 1, 2 or 5 of a power of ten."""
    high = max(values, default=0.0)
    if high <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(high))
    found = next(step * unit for step in (1, 2, 5, 10) if step * unit >= high * (1 - 1e-9))
    return min(1.0, max(0.01, found)) if measure == "weight" else found


def _last(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return known[-1] if known else None


def _written(value: float | None, measure: str) -> str:
    return percent(value) if measure == "weight" else number(value, 3)


def _layout(
    layers: Sequence[int],
    top: float,
    ends: Sequence[tuple[str, float | None]],
    look: tuple[Palette, str],
    *,
    height: int,
    title: str | None,
) -> dict[str, Any]:
    colours, measure = look
    above = TOP + (0 if title is None else 28)
    texts = [f"{100 * v:g}%" if measure == "weight" else f"{v:g}" for v in (0, top / 2, top)]
    layout = frame(
        colours,
        title=None if title is None else escape(title),
        height=height,
        margin={
            "l": LEFT,
            "r": 16 + round(0.6 * labels.SIZE * max(width(name) for name, _ in ends)),
            "t": above,
            "b": BOTTOM,
        },
        # One layer alone stands in the middle.
        xaxis=axis(
            colours,
            type="category",
            range=[0, len(layers) - 1] if len(layers) > 1 else [-1, 1],
            ticklabelstandoff=4,
        ),
        yaxis=axis(
            colours,
            range=[LOW * top, HIGH * top],
            tickmode="array",
            tickvals=[0, top / 2, top],
            ticktext=[escape(text) for text in texts],
            fixedrange=True,
            ticklabelstandoff=8,
            showgrid=True,
            gridcolor=colours.rule,
            zeroline=True,
            zerolinecolor=colours.stream,
            zerolinewidth=1,
        ),
        uirevision=f"course {len(layers)}",
    )
    known = [(name, None, value) for name, value in ends if value is not None]
    scale = (LOW * top, HIGH * top)
    notes = end_labels(known, len(layers) - 1, height - above - BOTTOM, scale, colours)
    font = {"family": FONT, "size": labels.SIZE, "color": colours.attention}
    layout["annotations"] = [{**note, "name": "attention", "font": font} for note in notes]
    return layout


def _shade(place: int, colours: Palette) -> dict[str, Any]:
    return {
        "type": "rect",
        "name": "accent-soft",
        "layer": "below",
        "x0": place - 0.5,
        "x1": place + 0.5,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"width": 0},
        "fillcolor": colours.accent_soft,
    }
