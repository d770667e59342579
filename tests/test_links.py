"""Links: what a page writes into its address, the next one takes; anything else is refused."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import pytest
from gradio.components import Component

from lens_core.settings import Settings
from tabs import graph, logit_lens
from tabs.links import MAX_CHARS, MAX_PROBLEMS, RefusedError, accepted, restored
from tabs.runtime import Runtime
from tabs.shell import build_shell
from tabs.words import words

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "${HOME} {{value}} `ls`",
    "a&b=c#d?e%41+ ",
    "two\nlines\t",
    "首都 は 🐛",
    "\u202eevil\u0000",
]


@pytest.fixture(scope="module")
def carried() -> dict[str, Component]:
    """What links of the whole page carry: the bar and the options of every tab."""
    with gr.Blocks():
        shell = build_shell(Runtime(Settings(models={"own": None})))
        graph.build(shell)
        logit_lens.build(shell)
    bar = {"model": shell.model, "prompt": shell.prompt, "template": shell.template}
    return {**bar, **shell._options}


def written(value: Any) -> str:
    """A value as the browser writes it into an address."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def samples(component: Component) -> list[Any]:
    """Values that the component can have."""
    if isinstance(component, gr.Slider):
        assert component.step
        half = component.step * round((component.maximum + component.minimum) / component.step / 2)
        return [component.minimum, component.maximum, round(half, 6)]
    if isinstance(component, gr.HTML):
        return ["0.001", "0.04", "0.2"]
    if isinstance(component, gr.Number):
        return [0, 1, 2**31]
    if isinstance(component, gr.Checkbox):
        return [True, False]
    if isinstance(component, gr.Radio | gr.Dropdown):
        return [value for _, value in component.choices]
    return ["", "The capital of France is", *HOSTILE]


def test_every_option_of_the_tabs_can_be_in_a_link(carried: dict[str, Component]) -> None:
    assert {type(component).__name__ for component in carried.values()} == {
        "Slider",
        "Number",
        "Checkbox",
        "Radio",
        "Dropdown",
        "Textbox",
        "HTML",
    }
    assert {"view", "colour", "read_at", "k", "seed", "generate", "only_important"} <= set(carried)


def test_what_a_link_says_comes_back(carried: dict[str, Component]) -> None:
    for name, component in carried.items():
        for value in samples(component):
            found = accepted(component, written(value))
            assert found == value, name
            assert type(found) is type(value) or isinstance(component, gr.Slider), name


def test_the_value_a_page_opens_with_can_be_in_a_link(carried: dict[str, Component]) -> None:
    for name, component in carried.items():
        assert accepted(component, written(component.value)) == component.value, name


BAD = {
    "k": ["abc", "", "0", "21", "nan", "inf", "-inf", "1e999", "2.5", "<b>1</b>"],
    "seed": ["-1", "abc", "nan", "0.5"],
    "temperature": ["-0.1", "2.1", "NaN"],
    "only_important": ["1", "True", "yes", ""],
    "view": ["", "grid ", "nope", "<img onerror>"],
    "template": ["poem", "Plain text"],
    "stride": ["3", "0", "-1"],
    "prompt": ["x" * (MAX_CHARS + 1)],
    "target": ["x" * (MAX_CHARS + 1)],
    "model": ["x" * (MAX_CHARS + 1)],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in BAD for text in BAD[name]])
def test_what_a_component_cannot_say_is_refused(
    carried: dict[str, Component], name: str, text: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        accepted(carried[name], text)
    wanted = refused.value.wanted
    assert wanted["key"] in words()["en"]
    assert "None" not in wanted["values"].values(), "what is said must be what is allowed"


def test_a_public_page_takes_its_own_models_only() -> None:
    with gr.Blocks():
        shell = build_shell(Runtime(Settings(public=True, models={"own": None})))
    assert accepted(shell.model, "own") == "own"
    with pytest.raises(RefusedError, match="demo, own"):
        accepted(shell.model, "gpt2")


def said(notice: Any) -> list[dict[str, Any]]:
    """The problems that a notice names: name, value, and what is wanted."""
    if not isinstance(notice, str):
        return []
    return [item["values"] for item in json.loads(notice)["items"]]


def test_what_is_right_in_a_link_is_taken_and_the_rest_is_named(
    carried: dict[str, Component],
) -> None:
    query = {"prompt": "7+5=", "k": "abc", "seed": "7", "tab": "nope", "unknown": "1"}
    *values, notice = restored(query, carried, ["logit_lens"])
    taken = dict(zip(carried, values, strict=True))
    assert taken["prompt"] == "7+5="
    assert taken["seed"] == 7
    assert taken["k"] == gr.skip()
    k, tab_problem = said(notice)
    assert (k["name"], k["value"]) == ("k", "abc")
    assert k["wanted"]["values"] == {"low": "1", "high": "20"}
    assert (tab_problem["name"], tab_problem["value"]) == ("tab", "nope")
    assert tab_problem["wanted"]["values"] == {"names": "logit_lens"}


def test_an_address_without_anything_of_ours_changes_nothing(
    carried: dict[str, Component],
) -> None:
    values = restored({"__theme": "dark", "lang": "ja"}, carried, ["logit_lens"])
    assert values == [gr.skip()] * (len(carried) + 1)


def test_a_known_tab_is_no_problem(carried: dict[str, Component]) -> None:
    *_, notice = restored({"tab": "logit_lens"}, carried, ["logit_lens"])
    assert said(notice) == []


def test_a_notice_stays_short_and_is_no_markup(carried: dict[str, Component]) -> None:
    query = dict.fromkeys(BAD, "<b>" * 999)
    *_, notice = restored(query, carried, ["logit_lens"])
    assert 0 < len(said(notice)) <= MAX_PROBLEMS
    assert all(len(one["value"]) < 100 for one in said(notice))
    assert "<" not in notice
