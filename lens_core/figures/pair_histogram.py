"""How the dims of one place are distributed: how many of them differ by how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.figures.pair_dims import VALUES
from lens_core.figures.pairs_record import DIFFERENCE, Differences, check_known, dims_of, record_of
from lens_core.figures.record import in_words
from lens_core.figures.style import figure, frame, palette
from lens_core.figures.text import escape, number
from lens_core.figures.ticks import number_axis, round_ticks

if TYPE_CHECKING:
    import plotly.graph_objects as go

WORDS = {
    "histogram_title": "How many dims differ by how much, {site}",
    "dims": "Dims",
    "bin": "{low} to {high}",
    "count": "{count} dims",
    "mean_abs": "Mean difference",
    "median_abs": "Median difference",
    "mean_diff": "Mean signed difference",
    "scale": "Difference of mismatched pairs",
    "size": "Size of the state",
}
"""The words in the histogram; the function takes others for some or all of them."""
HEIGHT, LEFT, RIGHT, FOOT = 260, 64, 20, 58
MOST_BINS = 40


def histogram(
    result: Differences,
    site: str,
    *,
    value: str = "mean_abs",
    words: Mapping[str, str] | None = None,
    title: str | None = None,
    dark: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """How many dims of a site have a value in each of up to 40 equal bins.

    The bins are those of Freedman and Diaconis (1981). `customdata` is [from, to, count].

    Args:
        result: a comparison of pairs, or its JSON form.
        site: such as "layer_3", see `PairDifference.sites`.
        value: mean_abs, median_abs, mean_diff, scale or size, see `Dimensions`.
        words: other words, see `figures.pair_histogram.WORDS`.
        title: plain text above the figure; None names the site, "" leaves it out.
        dark: the dark theme.
        height: pixels.

    Raises:
        InputError: another schema, an unknown site or value.
    """
    check_known("value", value, VALUES)
    record, said, colours = (
        record_of(result, DIFFERENCE),
        in_words(words, WORDS),
        palette(dark=dark),
    )
    known = [one for one in dims_of(record, site)[value] if one is not None]
    counts, edges = binned(known)
    middles = (edges[:-1] + edges[1:]) / 2
    yticks = round_ticks(0.0, max(1.0, float(counts.max(initial=0))))
    xticks = round_ticks(float(edges[0]), float(edges[-1]))
    if title is None:
        title = said["histogram_title"].format(site=site)
    bins = list(
        zip(edges[:-1].tolist(), edges[1:].tolist(), map(int, counts.tolist()), strict=True)
    )
    trace: dict[str, Any] = {
        "type": "bar",
        "name": escape(said["dims"]),
        "x": middles.tolist(),
        "y": counts.tolist(),
        "width": (0.94 * np.diff(edges)).tolist(),
        "text": [escape(str(count)) for count in counts.tolist()],
        "textposition": "none",
        "hovertext": [_hover(*one, said) for one in bins],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [list(one) for one in bins],
        "marker": {"color": colours.series[0]},
        "meta": {"role": "only", "series": 1},
    }
    layout = frame(
        colours,
        title=escape(title) if title else None,
        height=height + FOOT,
        margin={"l": LEFT, "r": RIGHT, "t": 44 if title else 16, "b": FOOT},
        xaxis=number_axis(colours, xticks, title=said[value], zero=False),
        yaxis=number_axis(
            colours, yticks, title=said["dims"], side="left", showgrid=True, gridcolor=colours.rule
        ),
        bargap=0,
        uirevision=f"pair histogram {value}",
    )
    return figure([trace], layout)


def binned(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges of the bins; one bin where all values are alike or there are none."""
    if not values:
        return np.zeros(1, np.int64), np.array([0.0, 1.0])
    edges = np.histogram_bin_edges(values, "fd")
    bins = min(MOST_BINS, max(1, len(edges) - 1))
    return np.histogram(values, bins)


def _hover(low: float, high: float, count: int, said: Mapping[str, str]) -> str:
    where = said["bin"].format(low=number(low, 3), high=number(high, 3))
    told = said["count"].format(count=count)
    return f"<b>{escape(where)}</b><br>{escape(told)}"
