"""The words of the page in English, Chinese and Japanese.

Every YAML file here maps a key to its three texts. `{name}` in a text is filled in by the browser.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import yaml
from gradio.i18n import I18nData

LANGUAGES = {"en": "English", "zh": "中文", "ja": "日本語"}


@cache
def words() -> dict[str, dict[str, str]]:
    """Language -> key -> text."""
    found: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        for key, texts in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            assert set(texts) == set(LANGUAGES), f"{path.name}: {key} needs {', '.join(LANGUAGES)}"
            for language in LANGUAGES:
                found[language][key] = texts[language]
    return found


def text(key: str) -> Any:
    """A label of a Gradio component in the visitor's language."""
    assert key in words()["en"], f"no words for {key}"
    return I18nData(key)


def phrase(key: str, **values: Any) -> dict[str, Any]:
    """A text of a viewer, which the browser puts in the visitor's language."""
    assert key in words()["en"], f"no words for {key}"
    return {"key": key, "values": values} if values else {"key": key}


def translations() -> gr.I18n:
    """What Gradio needs to translate labels."""
    return gr.I18n(**words())


def panel_head(title: str, how: str, **options: Any) -> gr.HTML:
    """The title of a panel, and the sentence that says how to read it."""
    from tabs.viewers import viewer

    return viewer("heading", {"title": phrase(title), "how": phrase(how)}, **options)
