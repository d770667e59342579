"""LM Lens in a browser: settings, tabs, queue, launch."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any

# Spinning OpenMP threads take the core that serves the page; read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401 - on ZeroGPU it must come before anything that looks for a GPU

import gradio as gr

from lens_core.errors import SettingsError
from lens_core.settings import Settings, load_settings
from tabs import attention, difference, graph, logit_lens, repair
from tabs.api import Endpoints
from tabs.page import app_options
from tabs.runtime import Runtime
from tabs.shell import build_shell
from tabs.theme import theme
from tabs.words import text, translations

TABS = (graph, logit_lens, attention, difference, repair)
ZERO_GPU = os.environ.get("SPACES_ZERO_GPU") == "true"
ON_SPACE = "SPACE_ID" in os.environ
SETTINGS = Path(__file__).with_name("settings.yaml")


def build(settings: Settings) -> tuple[gr.Blocks, Runtime]:
    """The page and what runs its models."""
    runtime = Runtime(settings, zero_gpu=ZERO_GPU)
    with gr.Blocks(title="LM Lens", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        shell = build_shell(runtime)
        with gr.Tabs() as tabs:
            for tab in TABS:
                with gr.Tab(text(tab.TITLE), id=tab.NAME) as page_tab:
                    tab.build(shell)
                shell.on_open(page_tab, tab.NAME)
        shell.finish(tabs, [tab.NAME for tab in TABS])
        Endpoints(runtime).register()
    page.queue(max_size=256, default_concurrency_limit=1)
    return page, runtime


def launch_options(settings: Settings) -> dict[str, Any]:
    """The arguments of `launch`: nothing stored, nothing monitored, small uploads."""
    return {
        "server_name": None if ON_SPACE else settings.host,
        "server_port": settings.port,
        "show_error": settings.debug,
        "theme": theme(),
        "i18n": translations(),
        "app_kwargs": app_options(settings),
        "ssr_mode": False,  # the page must come from here, with our head
        "run_history": False,
        "state_session_capacity": 200,
        "max_file_size": "16mb",
        "enable_monitoring": False,
        "footer_links": ["api", "gradio", "settings"],
    }


def main() -> None:
    """Serve the page at once; PyTorch and the first model load behind it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", metavar="FILE", default=SETTINGS, help="a YAML file")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.settings)
    except SettingsError as error:
        raise SystemExit(str(error)) from error
    if ON_SPACE:
        settings = settings.model_copy(update={"public": True})
    page, runtime = build(settings)
    if ZERO_GPU:
        runtime.stack.load_now()
    try:
        page.launch(prevent_thread_lock=True, **launch_options(settings))
    except OSError as error:
        raise SystemExit(
            f"Port {settings.port} cannot be used ({error}). Choose another one as `port` in "
            f"{arguments.settings}, or null for any free one."
        ) from error
    runtime.stack.start(after=0.5)  # importing PyTorch at once would hold up the first page
    page.block_thread()


if __name__ == "__main__":
    main()
