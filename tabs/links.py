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
MAX_SHOWN = 60
"""Of a value that cannot be used, so many characters are shown."""
MAX_PROBLEMS = 5


class RefusedError(ValueError):
    """A text is no value of a component."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        """What would be one, as a phrase."""


def restored(
    query: Mapping[str, str], carried: Mapping[str, Component], tabs: Sequence[str]
) -> list[Any]:
    """The values of the carried components, and what is said of those that cannot be used."""
    values, problems = [], []
    for name, component in carried.items():
        if name not in query:
            values.append(gr.skip())
            continue
        try:
            values.append(accepted(component, query[name]))
        except RefusedError as error:
            values.append(gr.skip())
            problems.append(_problem(name, query[name], error.wanted))
    tab = query.get("tab")
    if tab is not None and tab not in tabs:
        problems.append(_problem("tab", tab, _one_of(tabs)))
    return [*values, _notice(problems)]


def accepted(component: Component, text: str) -> Any:
    """A text of a link as a value of the component.

    Raises:
        RefusedError: it is none.
    """
    if isinstance(component, gr.Slider):
        # How many layers there are is only known once the model is.
        high = None if "lens-layer" in component.elem_classes else component.maximum
        return _number(text, component.minimum, high, step=component.step)
    if isinstance(component, gr.Number):
        step = 1 if component.precision == 0 else None
        return _number(text, component.minimum, component.maximum, step=step)
    if isinstance(component, gr.HTML):
        return drawn(_number(text, component.props["low"], component.props["high"], step=None))
    if isinstance(component, gr.Checkbox):
        if text not in ("true", "false"):
            raise RefusedError(_one_of(["true", "false"]))
        return text == "true"
    if isinstance(component, gr.Radio | gr.Dropdown):
        names = [str(value) for _, value in component.choices]
        if text not in names and not getattr(component, "allow_custom_value", False):
            raise RefusedError(_one_of(names))
    if len(text) > MAX_CHARS:
        raise RefusedError(phrase("link.shorter", limit=MAX_CHARS))
    return text


def _number(text: str, low: float | None, high: float | None, *, step: float | None) -> int | float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    steps = (number - (low or 0)) / step if step else 0.0
    fits = math.isfinite(number) and least <= number <= most
    if not fits or abs(steps - round(steps)) > 1e-6:
        names = ["∞" if end is None else str(end) for end in (low, high)]
        raise RefusedError(phrase("link.range", low=names[0], high=names[1]))
    return int(number) if number == int(number) else number


def _one_of(names: Sequence[str]) -> dict[str, Any]:
    return phrase("link.one_of", names=", ".join(names))


def _problem(name: str, text: str, wanted: dict[str, Any]) -> dict[str, Any]:
    return phrase("link.problem", name=name, value=text[:MAX_SHOWN], wanted=wanted)


def _notice(problems: list[dict[str, Any]]) -> Any:
    """The first few of what could not be used."""
    if not problems:
        return gr.skip()
    said = {"text": phrase("status.link"), "items": problems[:MAX_PROBLEMS]}
    return drawn(said)
