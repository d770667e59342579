"""What events of the page share."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Not an endpoint, and no veil of Gradio's own over what is drawn."""

RUN = "(...bar) => { lens.setBar(bar); lens.run(); }"
"""Run the open tab; its inputs are the bar, so that a prompt just filled in is there."""

AGAIN = "(...bar) => { lens.setBar(bar); lens.runAgain(); }"
"""The same for a choice that was made: while something runs, it is run afterwards."""
