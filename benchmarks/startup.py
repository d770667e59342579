"""Seconds until the page answers, against importing Gradio alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from benchmarks.measure import Spread

ROOT = Path(__file__).parents[1]
_LONGEST = 120.0
"""Seconds after which a page that does not answer counts as broken."""


def startup_ratio(repeats: int) -> dict[str, object]:
    """The page's start against the import, each in a fresh process, in turns; wall time."""
    import_gradio()  # once, so that its files are in the disk cache
    imports, pages = [import_gradio()], []
    for _ in range(repeats):
        pages.append(start_page())
        imports.append(import_gradio())
    sides = pairwise(imports)
    ratios = [2 * page / sum(around) for page, around in zip(pages, sides, strict=True)]
    return {
        "wall": Spread.of(ratios).to_json(),
        "import_s": Spread.of(imports).to_json(),
        "page_s": Spread.of(pages).to_json(),
    }


@contextmanager
def serving(command: Callable[[int], list[str]]) -> Iterator[tuple[str, int]]:
    """A page for the length of a block: its address and its process.

    Args:
        command: port -> what serves the page there.
    """
    port = _free_port()
    with _process(command(port)) as process:
        _wait_for_page(port, process)
        yield f"http://127.0.0.1:{port}/", process.pid


def import_gradio() -> float:
    """Seconds of a process that imports Gradio and ends."""
    with _process([sys.executable, "-c", "import gradio"]) as process:
        start = time.perf_counter()
        process.wait()
        return time.perf_counter() - start


def start_page() -> float:
    """Seconds from the start of `python app.py` until its page is answered."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings.yaml"
        settings.write_text(f"port: {port}\n", encoding="utf-8")
        with _process([sys.executable, "app.py", "--settings", str(settings)]) as process:
            start = time.perf_counter()
            _wait_for_page(port, process)
            return time.perf_counter() - start


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of a block."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for_page(port: int, process: subprocess.Popen[bytes]) -> None:
    # Not through a proxy that the environment may name.
    opener = build_opener(ProxyHandler({}))
    end = time.perf_counter() + _LONGEST
    while time.perf_counter() < end:
        if process.poll() is not None:
            raise RuntimeError(f"app.py ended with code {process.returncode}")
        try:
            with opener.open(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                answer.read()
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise TimeoutError(f"the page did not answer within {_LONGEST} seconds")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
