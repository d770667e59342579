"""Groups of target words from JSON, YAML or plain lines.

A plain line is one group: `wait`, or `wait, hold on` (the first form names it), or
`pause: wait, hold on`. JSON and YAML hold a list of words and groups, or an object from names to
forms; a group may have every field of `TargetGroup.to_json`, and what it leaves out follows from
the script of its forms.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from lens_core.errors import InputError
from lens_core.study.target_groups import CASES, TargetGroup, Variants, check_groups

FORMATS = ("json", "yaml", "lines")
MAX_CHARS = 100_000
_FIELDS = ("name", "forms", "variants", "boundary", "lang")
_ENDED = 'List the groups, as in ["wait", {"name": "stop", "forms": ["stop", "hold on"]}].'
_YAML_LINE = re.compile(r"\s*- |---|[^#\n]*:\s*($|[\[{|>])|\s+\S")
"""What only YAML has: an item, a key without a word behind it, an indented line."""


class _Loader(yaml.SafeLoader):
    """Words stay words: `no`, `on` and `1` are text, only true and false are not."""


_Loader.yaml_implicit_resolvers = {
    letter: [(f"tag:yaml.org,2002:{kind}", re.compile(pattern))]
    for letters, kind, pattern in (("tf", "bool", "true|false"), ("n", "null", "null"))
    for letter in letters
}


def read_groups(source: str | Path, *, format: str | None = None) -> tuple[TargetGroup, ...]:
    """The groups of a file or a text.

    Args:
        source: a `Path` is a file; a `str` is the content itself, so that what a visitor types
            never names a file.
        format: json, yaml or lines; None tells it by the content.

    Raises:
        InputError: no such file, none of the formats, a group that is none, no groups at all or
            too many.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f'format is "{format}"; it can be {", ".join(FORMATS)}.')
    text = _content(source)
    kind = format or _format_of(text)
    read = {"json": _from_json, "yaml": _from_yaml, "lines": _from_lines}[kind]
    groups = tuple(read(text))
    check_groups(groups)
    return groups


def group_from_record(record: Any, *, place: str = "The target") -> TargetGroup:
    """A group from a word, or from an object with the fields of `TargetGroup.to_json`.

    Raises:
        InputError: what is wrong with it, after its place.
    """
    if isinstance(record, str):
        record = {"forms": [record]}
    if not isinstance(record, Mapping):
        raise InputError(f"{place} is {_shown(record)}; give a word, or an object with forms.")
    _check_names(place, record, _FIELDS)
    forms = record.get("forms", record.get("name"))
    forms = [forms] if isinstance(forms, str) else forms
    if not isinstance(forms, list) or not forms:
        raise InputError(f"{place} has the forms {_shown(forms)}; give a list of words.")
    if wrong := [form for form in forms if not isinstance(form, str)]:
        raise InputError(f"{place} has the form {_shown(wrong[0])}; every form is text.")
    name = record.get("name", forms[0])
    if not isinstance(name, str):
        raise InputError(f"{place} has the name {_shown(name)}; give text.")
    try:
        return _with_options(TargetGroup.of(name, *forms), record)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _with_options(group: TargetGroup, record: Mapping[str, Any]) -> TargetGroup:
    """The group with what the record says of its options."""
    variants = record.get("variants", {})
    if not isinstance(variants, Mapping):
        raise InputError(f"variants is {_shown(variants)}; give an object with space and case.")
    _check_names("variants", variants, ("space", "case"))
    space = variants.get("space", group.variants.space)
    case = variants.get("case", list(group.variants.case))
    boundary, lang = record.get("boundary", group.boundary), record.get("lang", group.lang)
    for name, value in (("space", space), ("boundary", boundary)):
        if not isinstance(value, bool):
            raise InputError(f"{name} is {_shown(value)}; it can be true or false.")
    wrong = [one for one in case if one not in CASES] if isinstance(case, list) else [case]
    if wrong:
        raise InputError(f"case has {_shown(wrong[0])}; it is a list of {', '.join(CASES)}.")
    if not isinstance(lang, str) or len(lang) > 16:
        raise InputError(f'lang is {_shown(lang)}; give a code such as "en".')
    return replace(group, variants=Variants(space, tuple(case)), boundary=boundary, lang=lang)


def _content(source: str | Path) -> str:
    if isinstance(source, Path):
        try:
            with source.open(encoding="utf-8-sig") as file:
                source = file.read(MAX_CHARS + 1)
        except OSError as error:
            raise InputError(f'The file "{source}" cannot be read: {error.strerror}.') from error
        except UnicodeDecodeError as error:
            raise InputError(f'The file "{source}" is not UTF-8; save it as UTF-8.') from error
    if len(source) > MAX_CHARS:
        raise InputError(
            f"The targets have more than {MAX_CHARS} characters; that is the limit. Leave out "
            "what is not looked for."
        )
    return source.removeprefix("\ufeff")


def _format_of(text: str) -> str:
    if text.lstrip()[:1] in ("[", "{"):
        return "json"
    return "yaml" if any(_YAML_LINE.match(line) for line in text.splitlines()) else "lines"


def _from_json(text: str) -> list[TargetGroup]:
    try:
        return _from_document(json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError(
            f"The targets are no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise InputError(f"The JSON of the targets is nested too deep. {_ENDED}") from error


def _from_yaml(text: str) -> list[TargetGroup]:
    try:
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"The targets are no YAML: {what}{where}.") from error
    except RecursionError as error:
        raise InputError(f"The YAML of the targets is nested too deep. {_ENDED}") from error
    # Indented words are one long scalar to YAML.
    return _from_lines(text) if isinstance(document, str) else _from_document(document)


def _from_document(document: Any) -> list[TargetGroup]:
    if isinstance(document, Mapping) and isinstance(document.get("targets"), (list, Mapping)):
        document = document["targets"]
    if isinstance(document, Mapping):
        if "forms" in document:
            return [group_from_record(document)]
        # A value with fields of its own is a group, otherwise the forms.
        document = [
            {"name": name, **(own if isinstance(own, Mapping) else {"forms": own})}
            for name, own in document.items()
        ]
    if not isinstance(document, list):
        raise InputError(f"The targets are {_shown(document)}. {_ENDED}")
    return [
        group_from_record(record, place=f"Target {number}")
        for number, record in enumerate(document, 1)
    ]


def _from_lines(text: str) -> list[TargetGroup]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, rest = re.sub("：", ":", line).partition(":")
        words = [word.strip() for word in re.split("[,，、]", rest if colon else name)]
        record = {"forms": [word for word in words if word]}
        record |= {"name": name} if colon else {}
        found.append(group_from_record(record, place=f"Line {number}"))
    return found


def _check_names(place: str, record: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    for name in record:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f'; did you mean "{close[0]}"?' if close else "."
            raise InputError(
                f'{place} has the unknown field "{str(name)[:60]}"{hint} It can have '
                f"{', '.join(known)}."
            )


def _shown(value: Any) -> str:
    """A value in an error; never the inside of a container, which YAML can make endless."""
    if isinstance(value, (list, Mapping)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    return "missing" if value is None else repr(value)[:60]
