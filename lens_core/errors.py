"""The errors a user can fix: each message names the value, the limit and the remedy."""

from __future__ import annotations

from typing import Any


class LensError(Exception):
    """Something the user can put right; anything else is a bug and keeps its traceback."""

    remedy: dict[str, Any] | None
    """The remedy as plain values where a program can offer it, such as
    {"action": "shorten", "tokens": 741, "limit": 512}."""

    def __init__(self, message: str, *, remedy: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.remedy = None if remedy is None else dict(remedy)


class InputError(LensError):
    """An argument has the wrong type or lies outside its range."""


class PromptError(LensError):
    """The prompt cannot be read: empty, too long, or ids outside the vocabulary."""


class ModelError(LensError):
    """A model cannot be found, loaded or understood."""


class NotExactError(LensError):
    """A feature is switched off for a model because it would not be exact there."""


class EditError(LensError):
    """A weight edit does not fit the model, or its file is damaged."""


class SettingsError(LensError):
    """The settings file has an unknown key or a value of the wrong type."""
