"""The prepared prompts: our own, those of the settings, or those of a visitor's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from lens_core.errors import InputError
from lens_core.settings import Settings
from tabs import said
from tabs.first_example import FIRST_PROMPT
from tabs.runtime import UserError, user_errors
from tabs.viewers import drawn, viewer
from tabs.wiring import PRIVATE
from tabs.words import text

EXAMPLES = (
    FIRST_PROMPT,
    "When Mary and John went to the store, John gave a drink to",
    "red blue green red blue",
    "7+5=",
    "def hello():\n    ",
    "法国的首都是",
    "フランスの首都は",
)
MAX_EXAMPLES = 1000


def prepared(settings: Settings) -> list[str]:
    """The prompts that the page offers at first."""
    return settings.sentences or list(EXAMPLES)


def example_picker(settings: Settings, prompt: gr.Textbox, notice: gr.HTML) -> Dependency:
    """Lay the list of prompts out and wire it; returns the event that fills the prompt."""
    examples = gr.State(prepared(settings))
    may_open = settings.allow_dataset_files or not settings.public
    value = {"examples": examples.value, "open": may_open}
    picker = viewer("examples", value, elem_classes="lens-examples-block")
    filled = picker.example(_chosen, inputs=[examples], outputs=[prompt], **PRIVATE)
    if not may_open:
        return filled
    file = gr.File(
        label=text("bar.open_examples"),
        file_types=[".txt"],
        elem_classes="lens-unseen lens-examples-file",
    )

    def opened(path: str) -> tuple[Any, Any, Any, None]:
        try:
            with user_errors():
                found = read_prompts(path, settings.max_prompt_chars)
        except UserError as error:
            return gr.skip(), gr.skip(), drawn(said.remark(error)), None
        return found, drawn({"examples": found, "open": True}), drawn({}), None

    file.upload(opened, inputs=[file], outputs=[examples, picker, notice, file], **PRIVATE)
    return filled


def _chosen(event: gr.EventData, examples: list[str]) -> str:
    return examples[said.index_of(event, "index", len(examples))]


def read_prompts(path: str | Path, max_chars: int) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        InputError: it is no text, has no or too many lines, or one that is too long.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is none of it"
        raise InputError(f"The file is not UTF-8 text: {place}. Save it as UTF-8.") from error
    found = [line.rstrip("\r") for line in lines if line.strip()]
    if not 0 < len(found) <= MAX_EXAMPLES:
        raise InputError(
            f"The file has {len(found)} prompts; it must have 1 to {MAX_EXAMPLES}, one a line."
        )
    longest = max(map(len, found))
    if longest > max_chars:
        raise InputError(
            f"The longest line has {longest} characters; the limit is {max_chars}. Shorten it."
        )
    return found
