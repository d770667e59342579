"""What a command opens before it works: settings, the model, and the edits that hold for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.settings import Settings

SETTINGS = Path(__file__).parents[2] / "settings.yaml"
"""The settings of the app, which the command line reads too."""
LOADING = ("revision", "dtype", "device", "quantization", "trust_remote_code")
"""The arguments of a command that say how its model is loaded, by their names in `load_model`."""


def picked(arguments: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Some of a command's arguments, to be handed on by name."""
    return {name: arguments[name] for name in names}


def read_settings(path: str | None) -> Settings:
    """The settings of a file, or the app's, or the defaults."""
    from lens_core.settings import Settings, load_settings

    if path is None and not SETTINGS.exists():
        return Settings()
    return load_settings(path or SETTINGS)


def load(settings: Settings, name: str, options: dict[str, Any]) -> LoadedModel:
    """The model of a name, by the settings."""
    from lens_core import load_model

    return load_model(settings.models.get(name) or name, **options)


def edited(loaded: LoadedModel, files: Sequence[str] | None, strength: float) -> ExitStack:
    """The edits of files, to be held for a block."""
    stack = ExitStack()
    if files:
        from lens_core.edits import applied, load_edit

        edits = [load_edit(file) for file in files]
        stack.enter_context(applied(loaded, *edits, strength=strength))
    return stack


@contextmanager
def opened(
    model: str,
    loading: dict[str, Any],
    *,
    settings: str | None,
    edits: Sequence[str] | None = None,
    strength: float = 1.0,
) -> Iterator[tuple[LoadedModel, Settings]]:
    """A model by the settings of a file, under the edits of files, for a block."""
    chosen = read_settings(settings)
    loaded = load(chosen, model, loading)
    with edited(loaded, edits, strength):
        yield loaded, chosen
