"""Query parameters: a link brings back the bar, the tab and its options."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from tabs.viewers import drawn
from tabs.words import phrase

MAX_CHARS = 20_000
"""Longer texts in a link are not taken."""


def restored(
    query: Mapping[str, str], carried: Mapping[str, Component], tabs: Sequence[str]
) -> list[Any]:
    """The values of the carried components, the tab and the status that a link asks for."""
    values, problems = [], []
    for name, component in carried.items():
        if name not in query:
            values.append(gr.skip())
            continue
        try:
            values.append(accepted(component, query[name]))
        except ValueError as error:
            values.append(gr.skip())
            problems.append(f"{name}={query[name]!r:.60} ({error})")
    tab = query.get("tab")
    if tab is not None and tab not in tabs:
        problems.append(f"tab={tab!r:.60} (one of {', '.join(tabs)})")
    chosen = gr.Tabs(selected=tab) if tab in tabs else gr.skip()
    return [*values, chosen, _notice(problems)]


def accepted(component: Component, text: str) -> Any:
    """A text of a link as a value of the component.

    Raises:
        ValueError: it is none; the message says what is.
    """
    if isinstance(component, gr.Slider):
        return _number(text, component.minimum, component.maximum)
    if isinstance(component, gr.Number):
        return _number(text, component.minimum, component.maximum)
    if isinstance(component, gr.Checkbox):
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text == "true"
    if isinstance(component, gr.Radio | gr.Dropdown):
        names = [str(value) for _, value in component.choices]
        if text not in names and not getattr(component, "allow_custom_value", False):
            raise ValueError(f"one of {', '.join(names)}")
    if len(text) > MAX_CHARS:
        raise ValueError(f"{len(text)} characters; the limit is {MAX_CHARS}")
    return text


def _number(text: str, low: float | None, high: float | None) -> int | float:
    number = float(text)
    if (
        not math.isfinite(number)
        or not (low is None or number >= low)
        or not (high is None or number <= high)
    ):
        raise ValueError(f"{low} to {high}")
    return int(number) if number == int(number) else number


def _notice(problems: list[str]) -> Any:
    if not problems:
        return gr.skip()
    return drawn({"text": phrase("status.link", problems="; ".join(problems))})
