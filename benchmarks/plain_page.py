"""The smallest Gradio page that does what a viewer does; as a program, it serves it on a port.

One `gr.HTML` that draws its value in the next frame, and one event that is answered with a text.
"""

from __future__ import annotations

import sys

import gradio as gr

DRAW = """
const root = element.querySelector('.plain');
const draw = () => {
  root.lastChild.textContent = props.value;
  root.dataset.ready = String(Number(root.dataset.ready || 0) + 1);
};
watch('value', () => requestAnimationFrame(draw));
root.firstChild.addEventListener('click', () => trigger('choose', { at: root.dataset.ready }));
requestAnimationFrame(draw);
"""


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(analytics_enabled=False) as page:
        viewer = gr.HTML(
            "0",
            html_template='<div class="plain"><button>Choose</button><p></p></div>',
            js_on_load=DRAW,
            apply_default_css=False,
        )
        viewer.choose(echo, outputs=[viewer], show_progress="hidden", trigger_mode="always_last")
    return page


def echo(event: gr.EventData) -> str:
    """What the event said, and something new, so that it is drawn."""
    return f"after {event._data['at']}"


if __name__ == "__main__":
    build().launch(server_port=int(sys.argv[1]), ssr_mode=False, enable_monitoring=False)
