"""Several models on one sheet: step 3 of llm-layer-exchange-analysis."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.file_names import file_name
from lens_core.figures.original_layer_sheets import (
    COLUMNS,
    MARKS,
    PANEL,
    tag_value,
    verdict_of,
)
from lens_core.figures.original_layers import EXPERIMENTS, check_languages
from lens_core.figures.original_words import LANGUAGES, WORDS, layer_label, tag_label
from lens_core.figures.pairs_record import check_known
from lens_core.figures.sheet import (
    captions,
    log_scale,
    named_ticks,
    panel,
    save_sheet,
    sheet,
    short,
)
from lens_core.figures.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_MODELS = 8
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "D", "s", "v")
_SHADES = (*LIGHT.series, LIGHT.attention, LIGHT.lowers, LIGHT.raises, LIGHT.stream)


def write_comparison(
    files: Sequence[str | Path],
    folder: str | Path,
    experiment: str = "removal",
    *,
    langs: Sequence[str] = LANGUAGES,
) -> list[Path]:
    """Write `pos_tag_comparison_EXPERIMENT_MODELS_LANG.png`, one figure a language.

    The files are the `pos_tag_ppl_analysis.json` of several models. A model is called as its file
    says, and by its folder where the file does not (the original's own files) or where two would
    be called alike. Marks are of significant changes; files of the original call a change of 10 %
    significant.

    Args:
        files: of up to eight models.
        folder: to write to; made where it is missing.
        experiment: removal, exchange, or another operation.
        langs: en, ja or both.

    Raises:
        InputError: a file that is no such analysis or is of another experiment, too many of them,
            or a folder that cannot be written to.
    """
    from lens_core.patching.operations import KINDS

    check_languages(langs)
    by_name = {EXPERIMENTS.get(kind, kind): kind for kind in KINDS}
    check_known("experiment", experiment, by_name)
    kind = by_name[experiment]
    if isinstance(files, (str, Path)) or not 1 <= len(files) <= MAX_MODELS:
        raise InputError(f"files is {files!r:.200}; give a list of 1 to {MAX_MODELS} files.")
    paths = [Path(file) for file in files]
    models = dict(
        zip(_names(paths, found := [_read(one, kind) for one in paths]), found, strict=True)
    )
    name = file_name("_".join(models))
    return [
        save_sheet(
            comparison_sheet(models, kind, lang),
            Path(folder) / f"pos_tag_comparison_{experiment}_{name}_{lang}.png",
        )
        for lang in langs
    ]


def comparison_sheet(models: Mapping[str, Mapping[str, Any]], kind: str, lang: str) -> Figure:
    """A panel for all tokens and one for every tag, a line a model."""
    words = WORDS[lang]
    tags = dict.fromkeys(tag for one in models.values() for tag in one["original"]["pos_tags"])
    cells, keys = [None, *tags], _keys(models)
    rows = math.ceil(len(cells) / COLUMNS)
    made = sheet(COLUMNS * PANEL[0], 90 + 22 * len(models) + rows * PANEL[1])
    made.suptitle(words[_title(models)], fontsize=14, color=LIGHT.text, x=0.01, ha="left")
    seen: dict[str, Any] = {}
    for place, tag in enumerate(cells, 1):
        axes = panel(made, rows, COLUMNS, place)
        shown = []
        for at, (name, record) in enumerate(models.items()):
            seen |= _course(axes, (at, name), record, (tag, keys), words)
            shown += [
                tag_value(one, tag) for one in (record["original"], *record["layers"].values())
            ]
        log_scale(axes, shown)
        axes.set_xlim(-0.5, len(keys) - 0.5)
        named_ticks(axes, list(range(len(keys))), [layer_label(key) for key in keys], most=12)
        captions(axes, _panel_title(models, tag, lang), words[kind], words["perplexity"])
    made.legend(
        list(seen.values()), list(seen), loc="outside lower left", frameon=False,
        ncols=2, fontsize=10, labelcolor=LIGHT.text,
    )  # fmt: skip
    return made


def _course(
    axes: Axes,
    model: tuple[int, str],
    record: Mapping[str, Any],
    what: tuple[str | None, Sequence[str]],
    words: Mapping[str, str],
) -> dict[str, Any]:
    """One model in one panel; what was drawn, by its name."""
    (at, name), (tag, keys) = model, what
    shade, drawn = _SHADES[at % len(_SHADES)], {}
    layers = record["layers"]
    values = [tag_value(layers[key], tag) if key in layers else math.nan for key in keys]
    style = _LINES[at % len(_LINES)]
    (drawn[name],) = axes.plot(
        range(len(keys)), values, color=shade, linestyle=style,
        marker=_MARKERS[at % len(_MARKERS)], markersize=5,
    )  # fmt: skip
    before = tag_value(record["original"], tag)
    if math.isfinite(before):
        line = axes.axhline(before, color=shade, linestyle=style, linewidth=0.9, alpha=0.6)
        if tag is None:
            drawn[f"{name}: {words['original'].format(value=short(before))}"] = line
    verdicts = [verdict_of(layers[key], tag) if key in layers else None for key in keys]
    for word, (marker, face, edge) in MARKS.items():
        places = [place for place, verdict in enumerate(verdicts) if verdict == word]
        if places:
            (drawn[words[word]],) = axes.plot(
                places, [values[place] for place in places], linestyle="", marker=marker,
                markersize=10, markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.5,
            )  # fmt: skip
    return drawn


def _read(path: Path, kind: str) -> Mapping[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = {"total", "pos_tags"}
        parts = [record["original"], *record["layers"].values()]
        whole = all(known <= set(part) for part in parts) and len(parts) > 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'"{path}" is no pos_tag_ppl_analysis.json ({type(error).__name__}: {error}).'
        ) from error
    if not whole:
        raise InputError(f'"{path}" is no pos_tag_ppl_analysis.json: perplexities are missing.')
    said = record.get("meta", {}).get("experiment", kind)
    if said != kind:
        raise InputError(f'"{path}" is of the operation "{said}", not of "{kind}".')
    return record


def _names(paths: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for every file, no two alike."""
    folders = [path.resolve().parent.name for path in paths]
    names = [
        str(record.get("meta", {}).get("model", folder))
        for record, folder in zip(records, folders, strict=True)
    ]
    counts = Counter(names)
    names = [
        name if counts[name] == 1 else f"{name} ({folder})"
        for name, folder in zip(names, folders, strict=True)
    ]
    found: list[str] = []
    for name in names:
        again = next(i for i in range(1, len(names) + 1) if _numbered(name, i) not in found)
        found.append(_numbered(name, again))
    return found


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} #{number}"


def _keys(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The operations of all models, in the order of their layers."""
    keys = {key for record in models.values() for key in record["layers"]}
    return sorted(keys, key=lambda key: [int(part) for part in key.split("_") if part.isdigit()])


def _title(models: Mapping[str, Mapping[str, Any]]) -> str:
    sources = {one.get("meta", {}).get("tags", "parts_of_speech") for one in models.values()}
    if len(sources) > 1:
        return "mixed_title"
    return "comparison_kinds_title" if sources == {"token_kinds"} else "comparison_title"


def _panel_title(models: Mapping[str, Mapping[str, Any]], tag: str | None, lang: str) -> str:
    """The tag, with the counts of all models where their files have them."""
    found = [one.get("meta", {}) for one in models.values()]
    counts = [one.get("tokens") if tag is None else one.get("counts", {}).get(tag) for one in found]
    said = ", ".join("–" if count is None else str(count) for count in counts)
    word = WORDS[lang]["all_tokens" if tag is None else "tag_of_any"]
    return word.format(tag=tag_label(tag or "", lang), count=said)
