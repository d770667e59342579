"""How the figures of llm-layer-exchange-analysis are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lens_core.figures.original_words import WORDS, layer_label, tag_label
from lens_core.figures.sheet import captions, legend, log_scale, named_ticks, panel, sheet, short
from lens_core.figures.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lens_core.patching import Score

COLUMNS = 3
"""Panels side by side."""
PANEL = (460, 330)
"""Pixels of one of several panels."""
MARKS = {
    "improved": ("v", "none", "#12703a"),
    "degraded": ("^", "none", "#b42318"),
    "largely_improved": ("v", "#12703a", "#12703a"),
    "largely_degraded": ("^", "#b42318", "#b42318"),
}
"""Of significant changes: shape, filling and edge. The shape says the direction, the filling that
the change is large."""


def lines_sheet(export: Mapping[str, Any], kind: str, lang: str) -> Figure:
    """The mean perplexity of a text after every operation, on a logarithmic scale."""
    words = WORDS[lang]
    group = next(name for name in export if name != "original")
    values = [one["avg_ppl"] for one in export[group].values()]
    made = sheet(_wide(len(values)), 480)
    axes = panel(made)
    _course(axes, list(export[group]), values, export["original"]["avg_ppl"], words)
    captions(axes, words["text_perplexity_title"], words[kind], words["text_perplexity"])
    legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made


def overall_sheet(original: Score, scores: Mapping[str, Score], kind: str, lang: str) -> Figure:
    """Perplexity of the corpus and share of wrong tokens, one panel above the other."""
    words, keys = WORDS[lang], list(scores)
    made = sheet(_wide(len(keys)), 800)
    above, below = panel(made, 2, 1, 1), panel(made, 2, 1, 2)
    _course(above, keys, [one.perplexity for one in scores.values()], original.perplexity, words)
    captions(above, words["perplexity_title"], words[kind], words["perplexity"])
    rates = [100 * (1 - one.accuracy) for one in scores.values()]
    _course(below, keys, rates, 100 * (1 - original.accuracy), words, log=False)
    captions(below, words["error_rate_title"], words[kind], words["error_rate"])
    for axes in (above, below):
        legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made


def tags_sheet(analysis: Mapping[str, Any], lang: str, *, marks: bool = False) -> Figure:
    """A panel for all tokens and one for every tag: perplexity after every operation."""
    words, meta = WORDS[lang], analysis["meta"]
    layers, original = analysis["layers"], analysis["original"]
    cells = [None, *original["pos_tags"]]
    made = _panels_sheet(len(cells))
    kinds = meta["tags"] == "token_kinds"
    _heading(made, words["kinds_title" if kinds else "tags_title"])
    seen = {}
    for place, tag in enumerate(cells, 1):
        axes = panel(made, math.ceil(len(cells) / COLUMNS), COLUMNS, place)
        values = [tag_value(layer, tag) for layer in layers.values()]
        _course(axes, list(layers), values, tag_value(original, tag), words, most=12)
        if marks:
            seen |= _mark(
                axes, [verdict_of(layer, tag) for layer in layers.values()], values, words
            )
        captions(axes, _tag_title(meta, tag, lang), words[meta["experiment"]], words["perplexity"])
        legend(axes, loc="best")
    if seen:
        made.legend(
            list(seen.values()), list(seen), loc="outside lower center", frameon=False,
            ncols=len(seen), fontsize=10, labelcolor=LIGHT.text,
        )  # fmt: skip
    return made


def transitions_sheet(transitions: Mapping[str, Any], lang: str) -> Figure:
    """A panel for the model as it is and one for every operation: perplexity, tag by tag."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, NullLocator

    words, meta, layers = WORDS[lang], transitions["meta"], transitions["layers"]
    current, following = meta["current_pos_tags"], meta["next_pos_tags"]
    made = _panels_sheet(len(layers), height=120 + max(200, 22 * len(current)))
    kinds = meta["tags"] == "token_kinds"
    _heading(made, words["kind_transitions_title" if kinds else "transitions_title"])
    # Perplexities begin at 1, and a few large ones would leave the others dark.
    norm = LogNorm(1.0, max(meta["scale"]["vmax"], 1.1))
    drawn, every = None, []
    for place, (key, layer) in enumerate(layers.items(), 1):
        axes = panel(made, math.ceil(len(layers) / COLUMNS), COLUMNS, place)
        every.append(axes)
        name = words["original_model"]
        if key != "original":
            name = f"{words[meta['experiment']]} {layer_label(key)}"
        rows = [[layer["ppl_matrix"][a][b] for b in following] for a in current]
        cells = np.array(rows, dtype=float).reshape(len(current), len(following))
        axes.grid(visible=False)
        axes.set_facecolor(LIGHT.rule)
        drawn = axes.pcolormesh(np.ma.masked_invalid(cells), cmap="plasma", norm=norm)
        axes.invert_yaxis()
        axes.set_yticks(np.arange(len(current)) + 0.5, [tag_label(t, lang) for t in current])
        names = [tag_label(tag, lang) for tag in following]
        axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=45, ha="right")
        captions(axes, name, words["following"], words["current"])
    if drawn is not None:
        form = FuncFormatter(lambda value, _: short(value))
        bar = made.colorbar(drawn, ax=every, extend="max", shrink=0.6, aspect=30, format=form)
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.outline.set_visible(False)
        bar.set_label(words["perplexity"], fontsize=10, color=LIGHT.subdued)
        bar.ax.tick_params(length=0, labelsize=9, labelcolor=LIGHT.subdued)
    return made


def new_errors_sheet(scores: Mapping[str, Score], kind: str, langs: Sequence[str]) -> Figure:
    """How many tokens are no longer predicted rightly, a bar an operation, in all languages."""
    from matplotlib.ticker import MaxNLocator

    def said(word: str) -> str:
        return " / ".join(WORDS[lang][word] for lang in langs)

    counts = [one.change.new_errors if one.change else 0 for one in scores.values()]
    places = list(range(len(counts)))
    made = sheet(_wide(len(counts)), 440)
    axes = panel(made)
    bars = axes.bar(places, counts, 0.7, color=LIGHT.series[0])
    axes.bar_label(bars, padding=2, fontsize=9, color=LIGHT.text)
    axes.set_ylim(0, 1.12 * max([1, *counts]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    captions(axes, said("new_errors_title"), said(kind), said("new_errors"))
    named_ticks(axes, places, [layer_label(key) for key in scores], most=40)
    return made


def tag_value(record: Mapping[str, Any], tag: str | None) -> float:
    """The perplexity of a tag, or of all tokens; NaN where there is none."""
    value = record["total"] if tag is None else record["pos_tags"].get(tag)
    return math.nan if value is None else value


def verdict_of(layer: Mapping[str, Any], tag: str | None) -> str | None:
    """What the test says of a tag, or of all tokens."""
    if tag is None:
        return layer.get("total_verdict")
    return next((word for word in MARKS if tag in layer["significant"][word]), None)


def _tag_title(meta: Mapping[str, Any], tag: str | None, lang: str) -> str:
    if tag is None:
        return WORDS[lang]["all_tokens"].format(count=meta["tokens"])
    return WORDS[lang][meta["tags"]].format(tag=tag_label(tag, lang), count=meta["counts"][tag])


def _course(
    axes: Axes,
    keys: Sequence[str],
    values: Sequence[float | None],
    original: float | None,
    words: Mapping[str, str],
    *,
    log: bool = True,
    most: int = 40,
) -> None:
    """The values of all operations as a line, and that of the model as it is as a dashed one."""
    known = [math.nan if value is None else value for value in values]
    before = math.nan if original is None else original
    axes.plot(range(len(known)), known, marker="o", markersize=5, color=LIGHT.series[0])
    if math.isfinite(before):
        label = words["original"].format(value=short(before))
        axes.axhline(before, color=LIGHT.subdued, linestyle="--", linewidth=1.5, label=label)
    if log:
        log_scale(axes, [*known, before])
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5, max(len(known) - 0.5, 0.5))
    named_ticks(axes, list(range(len(keys))), [layer_label(key) for key in keys], most=most)


def _mark(
    axes: Axes,
    verdicts: Sequence[str | None],
    values: Sequence[float],
    words: Mapping[str, str],
) -> dict[str, Any]:
    """A mark over every significant change; what was drawn, by its name."""
    drawn = {}
    for word, (marker, face, edge) in MARKS.items():
        places = [place for place, verdict in enumerate(verdicts) if verdict == word]
        if not places:
            continue
        (drawn[words[word]],) = axes.plot(
            places, [values[place] for place in places], linestyle="", marker=marker, markersize=11,
            markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.8, zorder=3,
        )  # fmt: skip
    return drawn


def _wide(count: int) -> int:
    """Pixels of a sheet with so many operations."""
    return max(860, 34 * count + 240)


def _panels_sheet(count: int, *, height: int = PANEL[1]) -> Figure:
    return sheet(COLUMNS * PANEL[0], 60 + math.ceil(count / COLUMNS) * height)


def _heading(made: Figure, text: str) -> None:
    made.suptitle(text, fontsize=14, color=LIGHT.text, x=0.01, ha="left")
