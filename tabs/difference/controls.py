"""The controls of the tab, in the order in which handlers take their values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component

from lens_core.pairs import known_categories
from tabs.difference import choices as offered
from tabs.difference.choices import Asked, Look, Made, Operated, Traced
from tabs.shell import Shell
from tabs.words import text

LOOK, ASKED, TRACED, OPERATED, MADE = Look(), Asked(), Traced(), Operated(), Made()
SITES = tuple(f"layer_{layer}" for layer in range(6))
"""Of the embedded model, until a run says which there are."""
TEXTS = (
    "The capital of France is Paris.",
    "The opposite of hot is cold.",
    "When Mary and John went to the store, John gave a drink to Mary.",
    "red blue green red blue green",
    "The language of Japan is Japanese.",
)


@dataclass(frozen=True)
class Controls:
    """What a run reads: the fields of `Look`, then those of `Asked`."""

    part: gr.Radio
    metric: gr.Dropdown
    by: gr.Dropdown
    site: gr.Dropdown
    order: gr.Dropdown
    grid: gr.Dropdown
    direction: gr.Radio
    side: gr.Radio
    readout: gr.Dropdown
    components: gr.Dropdown
    lens: gr.Checkbox
    correction: gr.Dropdown
    q: gr.Slider
    alpha: gr.Slider
    seed: gr.Number
    same_positions: gr.Checkbox

    def all(self) -> list[Component]:
        """Every control."""
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def looks(self) -> list[Any]:
        """Events after which the same result is shown otherwise."""
        names = ("metric", "by", "site", "order", "grid", "direction", "side")
        return [getattr(self, name).input for name in names]


def linked(shell: Shell, found: dict[str, Component]) -> dict[str, Any]:
    """Put the controls into links, under names of this tab."""
    for name, component in found.items():
        if name not in ("side", "site"):
            shell.option(f"pairs_{name}", component)
    return found


def above_pair() -> dict[str, Component]:
    """Which side of an edit is looked at."""
    return {
        "side": gr.Radio(
            [(text(f"pairs.side_{name}"), name) for name in offered.SIDES],
            value=LOOK.side, label=text("pairs.side"), visible=False,
            elem_classes="lens-segments",
        )
    }  # fmt: skip


def above_grid() -> dict[str, Component]:
    """What the grid of one pair shows."""
    known = [(text(f"pairs.metric_{value}"), value) for value in offered.GRID_METRICS]
    label = text("pairs.metric")
    return {"grid": gr.Dropdown(known, value=LOOK.grid, label=label, elem_classes="lens-inline")}


def above_restored() -> dict[str, Component]:
    """Which way states are copied."""
    return {
        "direction": gr.Radio(
            [(text(f"pairs.direction_{name}"), name) for name in ("denoise", "noise")],
            value=LOOK.direction, label=text("pairs.direction"), elem_classes="lens-segments",
        )
    }  # fmt: skip


def part_picker() -> dict[str, Component]:
    """What is shown below the pair."""
    return {
        "part": gr.Radio(
            [(text(f"pairs.part_{name}"), name) for name in offered.PARTS],
            value=LOOK.part, label=text("pairs.part"), show_label=False,
            elem_classes="lens-segments lens-part-picker",
        )
    }  # fmt: skip


def above_layers() -> dict[str, Component]:
    """Which number is drawn, for which groups."""
    with gr.Row(elem_classes="lens-toolbar"):
        return {
            "metric": _picker("metric", offered.METRICS, LOOK.metric),
            "by": _picker("by", offered.GROUPINGS, LOOK.by),
        }


def above_dimensions() -> dict[str, Component]:
    """Whose dims, in which order."""
    with gr.Row(elem_classes="lens-toolbar"):
        return {
            "site": gr.Dropdown(
                [*SITES], value=LOOK.site, label=text("pairs.site"), allow_custom_value=True
            ),
            "order": _picker("order", offered.ORDERS, LOOK.order),
        }


def how_compared() -> dict[str, Component]:
    """How pairs are compared; read at the next run."""
    with gr.Accordion(text("pairs.more_compare"), open=False, elem_classes="lens-more"):
        with gr.Row():
            found: dict[str, Component] = {
                "readout": _picker("readout", offered.READOUTS, ASKED.readout),
                "components": _several("components", offered.PLACES, ASKED.components, "place"),
                "correction": _picker("correction", offered.CORRECTIONS, ASKED.correction),
            }
        with gr.Row():
            found["q"] = gr.Slider(0.01, 0.45, ASKED.q, step=0.01, label=text("pairs.q"))
            found["alpha"] = gr.Slider(0.01, 0.5, ASKED.alpha, step=0.01, label=text("pairs.alpha"))
            found["seed"] = _seed(ASKED.seed)
            for name in ("lens", "same_positions"):
                found[name] = gr.Checkbox(
                    getattr(ASKED, name), label=text(f"pairs.{name}"), elem_classes="lens-check"
                )
    return found


def trace_form() -> list[Component]:
    """The fields of `Traced`."""
    with gr.Row(elem_classes="lens-form"):
        found: list[Component] = [
            _picker("trace_metric", offered.TRACE_METRICS, TRACED.metric),
            _several("trace_components", offered.PATCHED, TRACED.components, "place"),
            _picker("direction", offered.DIRECTIONS, TRACED.direction),
            gr.Dropdown([*offered.WINDOWS], value=TRACED.window, label=text("pairs.window")),
        ]
    with gr.Accordion(text("pairs.more_trace"), open=False, elem_classes="lens-more"), gr.Row():
        noise, label = TRACED.noise, text("pairs.approximate")
        return [
            *found,
            gr.Slider(0, 5, noise, step=0.5, label=text("pairs.noise")),
            gr.Checkbox(TRACED.approximate, label=label, elem_classes="lens-check"),
        ]


def operations_form() -> list[Component]:
    """The fields of `Operated`."""
    found: list[Component] = [
        gr.Textbox(
            "\n".join(TEXTS), label=text("pairs.texts"), lines=5, max_lines=12,
            elem_classes="lens-mono",
        )
    ]  # fmt: skip
    with gr.Row(elem_classes="lens-form"):
        several = _several("what_done", offered.OPERATIONS, OPERATED.operations, "operation")
        return [*found, several, _typed("layers", OPERATED.layers)]


def pairs_form() -> list[Component]:
    """The fields of `Made`."""
    with gr.Row(elem_classes="lens-form"):
        found: list[Component] = [
            _picker("source", offered.SOURCES, MADE.source),
            gr.Dropdown(
                [*known_categories()], value=list(MADE.categories), multiselect=True,
                label=text("pairs.categories"), allow_custom_value=True,
            ),
            gr.Slider(1, 250, MADE.n, step=1, label=text("pairs.n")),
            gr.Dropdown([("English", "en"), ("中文", "zh"), ("日本語", "ja")],
                        value=MADE.lang, label=text("pairs.lang")),
        ]  # fmt: skip
    with gr.Accordion(text("pairs.more_make"), open=False, elem_classes="lens-more"):
        with gr.Row():
            found.append(_seed(MADE.seed))
            label = text("pairs.same_length")
            found.append(gr.Checkbox(MADE.same_length, label=label, elem_classes="lens-check"))
        hint = text("pairs.sentences_hint")
        found.append(
            gr.Textbox("", label=text("pairs.sentences"), placeholder=hint, lines=2, max_lines=8)
        )
        with gr.Row():
            found += [_typed("base_url"), _typed("remote_model"), _key()]
    return found


def _key() -> gr.Textbox:
    hint = text("remote.api_key_hint")
    label = text("remote.api_key")
    return gr.Textbox("", label=label, placeholder=hint, type="password", max_lines=1)


def _picker(name: str, values: tuple[str, ...], first: str) -> gr.Dropdown:
    known = [(text(f"pairs.{name}_{value}"), value) for value in values]
    return gr.Dropdown(known, value=first, label=text(f"pairs.{name}"))


def _several(name: str, values: tuple[str, ...], first: tuple[str, ...], words: str) -> gr.Dropdown:
    known = [(text(f"pairs.{words}_{value}"), value) for value in values]
    label = text(f"pairs.{name}")
    return gr.Dropdown(known, value=list(first), label=label, multiselect=True)


def _typed(name: str, first: str = "") -> gr.Textbox:
    label, hint = text(f"pairs.{name}"), text(f"pairs.{name}_hint")
    return gr.Textbox(first, label=label, placeholder=hint, max_lines=1, elem_classes="lens-mono")


def _seed(first: int | None) -> gr.Number:
    return gr.Number(first, label=text("pairs.seed"), precision=0, minimum=0)
