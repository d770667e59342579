"""What events of the page share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Not an endpoint, and no veil of Gradio's own over what is drawn."""

RUN = "(...bar) => { lens.setBar(bar); lens.run(); }"
"""Run the open tab; its inputs are the bar, so that a prompt just filled in is there."""

AGAIN = "(...bar) => { lens.setBar(bar); lens.runAgain(); }"
"""The same for a choice that was made: while something runs, it is run afterwards."""


def with_session(
    handler: Callable[..., tuple[Any, ...]], n_outputs: int
) -> Callable[..., tuple[Any, ...]]:
    """The handler of (event, session, *values), which answers nothing before the first run."""

    def answered(event: gr.EventData, session: Any, *values: Any) -> tuple[Any, ...]:
        if session is None:
            return (gr.skip(),) * n_outputs
        return handler(event, session, *values)

    return answered
