"""The files and figures of llm-layer-exchange-analysis, under its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError
from lens_core.figures.file_names import file_name
from lens_core.figures.original_layer_sheets import (
    lines_sheet,
    new_errors_sheet,
    overall_sheet,
    tags_sheet,
    transitions_sheet,
)
from lens_core.figures.original_words import LANGUAGES
from lens_core.figures.pairs_record import check_known
from lens_core.figures.sheet import save_sheet
from lens_core.records import dumps

if TYPE_CHECKING:
    from lens_core.patching import LayerOperations, Score

EXPERIMENTS = {"remove": "removal"}
"""What the original calls an operation; others keep their names."""


def write_layer_figures(
    result: LayerOperations,
    folder: str | Path,
    *,
    langs: Sequence[str] = LANGUAGES,
    pos: Sequence[Sequence[str]] | None = None,
    data: str = "texts",
) -> list[Path]:
    """Write `results/{removal,exchange,...}/MODEL_DATA_nN/` for every kind of operation.

    `ppl.json`, `pos_tag_ppl_analysis.json` and `pos_transition_data.json` have the original's
    keys. In every language: `ppl_LANG.png`, `overall_metrics_LANG.png`,
    `pos_tag_ppl_analysis_LANG.png`, `pos_tag_ppl_analysis_significant_LANG.png` (with marks where
    a paired test finds a change) and `pos_transition_heatmap_LANG.png`; and
    `new_errors_by_layer.png`. Operations that the original does not have get folders of their own.

    Args:
        result: layer operations with the losses of their tokens.
        folder: to write to; made where it is missing.
        langs: en, ja or both.
        pos: a part of speech for every token of every text that was scored, see
            `patching.parts_of_speech`; None takes the kinds of tokens, and says so in the files.
        data: what the texts are called in the name of the folder.

    Raises:
        InputError: a language that there is none of, tags for other tokens, a record without its
            tokens, or a folder that cannot be written to.
    """
    from lens_core.patching.token_tags import tag_analysis, token_tags, transition_data, variants_of

    check_languages(langs)
    tags, export = token_tags(result, pos), result.to_original()
    model = file_name(str(result.header["model"]["id"]).replace("/", "_").replace("-", "_"))
    name = f"{model}_{file_name(data.replace(' ', '_'), empty='texts')}_n{len(result.texts)}"
    kinds = dict.fromkeys(s.operation.kind for s in result.scores if s.operation is not None)
    written = []
    for kind in kinds:
        place = Path(folder) / "results" / EXPERIMENTS.get(kind, kind) / name
        variants = variants_of(result, kind)
        scores = {key: result.scores[at] for key, at in variants.items()}
        analysis = tag_analysis(result, kind, tags)
        transitions = transition_data(result, kind, tags)
        files = {
            "ppl.json": _export(export, scores),
            "pos_tag_ppl_analysis.json": analysis,
            "pos_transition_data.json": transitions,
        }
        written += [_written(record, place / file) for file, record in files.items()]
        for lang in langs:
            sheets = {
                f"ppl_{lang}": lines_sheet(files["ppl.json"], kind, lang),
                f"overall_metrics_{lang}": overall_sheet(result.scores[0], scores, kind, lang),
                f"pos_tag_ppl_analysis_{lang}": tags_sheet(analysis, lang),
                f"pos_tag_ppl_analysis_significant_{lang}": tags_sheet(analysis, lang, marks=True),
                f"pos_transition_heatmap_{lang}": transitions_sheet(transitions, lang),
            }
            written += [save_sheet(one, place / f"{file}.png") for file, one in sheets.items()]
        errors = new_errors_sheet(scores, kind, langs)
        written.append(save_sheet(errors, place / "new_errors_by_layer.png"))
    return written


def check_languages(langs: Sequence[str]) -> None:
    """Refuse what figures are not written in.

    Raises:
        InputError: none, or another one.
    """
    if isinstance(langs, str) or not langs:
        raise InputError(f"langs is {langs!r}; give a list of {', '.join(LANGUAGES)}.")
    for lang in langs:
        check_known("lang", lang, LANGUAGES)


def _export(export: Mapping[str, Any], scores: Mapping[str, Score]) -> dict[str, Any]:
    """The part of the export that is about one kind of operation."""
    from lens_core.patching.original_export import place_of

    operation = next(score.operation for score in scores.values())
    assert operation is not None
    group = place_of(operation)[0]
    return {"original": export["original"], group: {key: export[group][key] for key in scores}}


def _written(record: Mapping[str, Any], path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(record), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f'The file "{path}" cannot be written: {error.strerror}. Give another place.'
        ) from error
    return path
