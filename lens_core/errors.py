"""The errors a user can fix: each message names the value, the limit and the remedy."""


class LensError(Exception):
    """Something the user can put right; anything else is a bug and keeps its traceback."""


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
