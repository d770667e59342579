"""The finished example that a first visit shows, before any model is there.

`scripts/record_first_example.py` records it with the embedded model, and a test runs it again.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_core.settings import EMBEDDED_MODEL

if TYPE_CHECKING:
    from lens_core.settings import Settings

FILE = Path(__file__).with_name("first_example.json")
FIRST_PROMPT = "The capital of France is"


def first_example(settings: Settings) -> dict[str, Any]:
    """{"bar", "strip"} and {"viewers", "session"} by tab; empty where the page opens otherwise."""
    own = settings.default_model != EMBEDDED_MODEL or settings.models.get(EMBEDDED_MODEL)
    if own or settings.sentences or not FILE.is_file():
        return {}
    return _recorded()


@cache
def _recorded() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))
