"""What a settings file may say, and what is wrong with one that says something else.

A YAML (or JSON) file of the original LM Lens or LM Transparency Tool is read as it is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lens_core.errors import SettingsError

EMBEDDED_MODEL = "demo"

REMOTE_HOSTS = (
    "api.openai.com",
    "openrouter.ai",
    "api.deepseek.com",
    "api.mistral.ai",
    "api.together.xyz",
    "router.huggingface.co",
    "dashscope.aliyuncs.com",
)
"""Well-known APIs, which nobody inside a page's own network can be behind."""

_CHOICES = ("int", "str", "float", "bool")
"""What pydantic adds to the place of a value that may be one of several types."""


class TokenLimits(BaseModel):
    """The longest prompt that each analysis takes, in tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    attention: int = Field(default=1024, ge=1)
    difference: int = Field(default=512, ge=1)
    graph: int = Field(default=256, ge=1)
    logit_lens: int = Field(default=1024, ge=1)
    repair: int = Field(default=512, ge=1)


class Settings(BaseModel):
    """Everything that can be set before the app starts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: dict[str, str | None] = Field(default_factory=dict)
    """Name shown -> local folder; null means that the name is a hub id (or "demo")."""
    default_model: str = EMBEDDED_MODEL
    """The model selected at first; one of `models`, or "demo"."""
    demo_mode: bool = False
    """Show the About box, and open with the first prepared sentence."""
    public: bool = Field(default_factory=lambda data: data["demo_mode"])
    """Visitors choose from `models` only; otherwise any hub id or folder can be typed."""
    debug: bool = False
    """Send the text of unexpected errors to the browser."""
    sentences_file: str | None = Field(
        default=None, validation_alias=AliasChoices("sentences_file", "preloaded_dataset_filename")
    )
    """Text file of prepared prompts, one a line; relative to the settings file."""
    allow_dataset_files: bool = Field(
        default=False,
        validation_alias=AliasChoices("allow_dataset_files", "allow_loading_dataset_files"),
    )
    """Let users open a file of prompts of their own."""
    max_prompt_chars: int = Field(
        default=20_000,
        ge=1,
        validation_alias=AliasChoices("max_prompt_chars", "max_user_string_length"),
    )
    max_tokens: TokenLimits = TokenLimits()
    remote_hosts: list[str] = Field(default_factory=lambda: list(REMOTE_HOSTS))
    """Hosts of OpenAI-compatible APIs that a public page may ask for its visitors, over https."""
    pool_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Memory that loaded models may hold together; null lets the pool decide."""
    language: Literal["auto", "en", "zh", "ja"] = "auto"
    """Language of the page; auto follows the browser."""
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535)
    """null takes the first free port from 7860."""

    @property
    def model_names(self) -> list[str]:
        """What the model picker lists: the embedded model, then `models` in their order."""
        return list(dict.fromkeys([EMBEDDED_MODEL, *self.models]))

    @property
    def sentences(self) -> list[str]:
        """The prepared prompts, in file order, without empty lines."""
        if self.sentences_file is None:
            return []
        lines = _text(Path(self.sentences_file)).splitlines()
        return [line for line in lines if line.strip()]

    @field_validator("sentences_file")
    @classmethod
    def _found(cls, name: str | None, info: ValidationInfo) -> str | None:
        """Where the file is: beside the settings, or where the app was started."""
        if name is None:
            return None
        beside = (info.context or {}).get("folder", Path())
        candidates = [Path(beside) / name, Path(name)]
        for path in candidates:
            if path.is_file():
                return str(path)
        raise ValueError(f"no such file, looked for {' and '.join(map(str, candidates))}")

    @field_validator("remote_hosts")
    @classmethod
    def _plain_hosts(cls, hosts: list[str]) -> list[str]:
        """Names alone, in lower case, as they are compared."""
        for host in hosts:
            if not re.fullmatch(r"(?i)[a-z0-9-]+(\.[a-z0-9-]+)+", host):
                raise ValueError(f'"{host}" is no name of a host; write one such as api.openai.com')
        return [host.lower() for host in hosts]

    @field_validator("models")
    @classmethod
    def _folders(cls, models: dict[str, str | None], info: ValidationInfo) -> dict[str, str | None]:
        """Local folders, relative ones taken from where the settings file is."""
        beside = Path((info.context or {}).get("folder", Path()))
        return {
            name: None if folder is None else str(beside / Path(folder).expanduser())
            for name, folder in models.items()
        }

    @model_validator(mode="after")
    def _default_is_listed(self) -> Settings:
        if self.public and self.default_model not in self.model_names:
            raise ValueError(
                f'default_model is "{self.default_model}"; '
                f"it must be one of {_listed(self.model_names)}"
            )
        return self


def load_settings(path: str | Path) -> Settings:
    """The settings that a YAML or JSON file gives; what it leaves out has its default.

    Raises:
        SettingsError: the file cannot be read, or has an unknown key or a wrong value.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {error}. Correct that line.") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise SettingsError(
            f"{path} holds a {type(content).__name__}; it must hold `key: value` lines."
        )
    try:
        return Settings.model_validate(content, context={"folder": path.parent})
    except ValidationError as error:
        raise SettingsError(f"{path}: {complaint(error, Settings)}") from error


def complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """Every fault of a validation in one text: the key, its value, and what is allowed."""
    faults = [f for f in error.errors() if f["type"] != "default_factory_not_called"]
    return " ".join(_fault(fault, model) for fault in _merged(faults))


def _merged(faults: Iterable[Any]) -> list[Any]:
    """One fault for a value that may be of several types, where pydantic has one for each."""
    merged: list[Any] = []
    for fault in faults:
        place = fault["loc"][:-1]
        if not place or not _is_choice(fault["loc"][-1]):
            merged.append(fault)
        elif merged and merged[-1]["loc"] == place:
            merged[-1]["msg"] += f" or {fault['msg'].removeprefix('Input should be ')}"
        else:
            merged.append({**fault, "loc": place})
    return merged


def _is_choice(part: int | str) -> bool:
    """Whether a part of a place names one of several types, and no field."""
    return part in _CHOICES or str(part).startswith(("literal[", "list["))


def _fault(fault: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ").replace(" after validation", "")
    message = message.replace("Input should", "it must")
    if fault["type"] == "extra_forbidden":
        keys = _keys(model, fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), keys, n=1, cutoff=0.5)
        hint = f'Did you mean "{near[0]}"?' if near else f"Known keys: {', '.join(keys)}."
        return f'Unknown key "{key}". {hint}'
    if not key:
        return f"{message}."
    if fault["type"] == "missing":
        return f"{key} is missing."
    return f"{key} is {_shown(fault['input'])}: {message[0].lower()}{message[1:]}."


def _keys(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """The keys that `model` knows at `path`, with the originals' names for them."""
    for part in path:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        model = inner
    keys = []
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        keys += [str(k) for k in alias.choices] if isinstance(alias, AliasChoices) else [name]
    return keys


def _shown(value: Any) -> str:
    """A value as a short piece of text for a message."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from error
