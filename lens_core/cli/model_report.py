"""Models as text: what is known of those in the settings, and the facts of one that is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import style

from lens_core.checkpoints import EMBEDDED, find_checkpoint, stored_sizes
from lens_core.cli.terminal import harmless, table
from lens_core.errors import ModelError

if TYPE_CHECKING:
    from lens_core.settings import Settings

FEATURES = {
    "states": None,
    "readout": "readout_rel_err",
    "streams": "streams_rel_err",
    "attribution": "attribution_rel_err",
    "heads": "heads_rel_err",
    "neurons": "neurons_rel_err",
}
"""The features that the self-check allows, each with the error that decides."""


def listed_models(settings: Settings) -> list[dict[str, Any]]:
    """One record a model of the settings; nothing is downloaded and no weights are read."""
    return [_listed(name, settings) for name in settings.model_names]


def _listed(name: str, settings: Settings) -> dict[str, Any]:
    source = settings.models.get(name) or name
    record: dict[str, Any] = {
        "name": name,
        "source": source,
        "default": name == settings.default_model,
        "class": None,
        "parameters": None,
        "stored": None,
        "problem": None,
    }
    folder = EMBEDDED.get(source) or _folder(source)
    if folder is None:
        return {**record, "where": "hub"}
    try:
        checkpoint = find_checkpoint(source if source in EMBEDDED else str(folder))
        sizes = stored_sizes(checkpoint)
    except ModelError as error:
        return {**record, "where": _where(source), "problem": str(error)}
    classes = checkpoint.config.get("architectures") or ["unknown class"]
    return {
        **record,
        "where": _where(source),
        "class": str(classes[0]),
        "parameters": sizes.parameters,
        "stored": dict(sizes.by_dtype),
    }


def _where(source: str) -> str:
    if source in EMBEDDED:
        return "embedded"
    return "folder" if Path(source).is_dir() else "cache"


def _folder(source: str) -> Path | None:
    """The folder of a model that is on this machine: a local one, or a download of the Hub's."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(source).is_dir():
        return Path(source)
    try:
        config = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return Path(source)  # a path, whose absence find_checkpoint explains
    return Path(config).parent if isinstance(config, str) else None


def model_list(records: list[dict[str, Any]]) -> Iterator[str]:
    """The lines that list models."""
    for record in records:
        default = " (default)" if record["default"] else ""
        yield style(f"{harmless(record['name'])}{default}", bold=True)
        yield f"  {harmless(_about(record))}"


def _about(record: Mapping[str, Any]) -> str:
    where = {
        "embedded": "comes with the repository",
        "folder": f"folder {record['source']}",
        "cache": "Hugging Face Hub, downloaded",
        "hub": "Hugging Face Hub, not downloaded",
    }[record["where"]]
    if record["problem"]:
        return f"{where}; cannot be loaded: {record['problem']}"
    if record["parameters"] is None:
        return where
    stored = ", ".join(sorted(record["stored"]))
    return (
        f"{where}; {record['class']}, {record['parameters']:,} weights stored as {stored}, "
        f"{4 * record['parameters'] / 1e9:.2f} GB in float32"
    )


def facts_report(facts: Mapping[str, Any], check: Mapping[str, Any]) -> Iterator[str]:
    """The lines about one loaded model: facts, then what was measured."""
    yield style(harmless(str(facts["id"])), bold=True)
    yield from table((name.replace("_", " "), _shown(value)) for name, value in facts.items())
    yield style("Self-check: errors relative to the largest entry, on one short prompt", bold=True)
    rest = ("bound", "capture_vs_default_rel_err", "layers_without_attention")
    measured = [_checked(name, check) for name in FEATURES]
    yield from table([*measured, *((name.replace("_", " "), _shown(check[name])) for name in rest)])


def _checked(feature: str, check: Mapping[str, Any]) -> tuple[str, str]:
    reason = check["off"].get(feature)
    if reason is not None:
        return feature, f"off: {harmless(reason)}"
    key = FEATURES[feature]
    error = None if key is None else check[key]
    return feature, "exact" if error is None else f"exact, off by {error:.1e}"


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return harmless(value if isinstance(value, str) else json.dumps(value))
