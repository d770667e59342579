"""The measurements of the page in a browser: `python -m benchmarks.page`.

Writes its part of RESULTS.md and results.json beside this file. The page is `python app.py` with
default settings. What a click costs is told in units of the smallest Gradio page that does the
same (`plain_page.py`), in the same browser and in turns with it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import brotli  # with Gradio

from benchmarks.browser import SETTLE_MS, Traffic, Visit, browser, in_turns
from benchmarks.foundation import keep
from benchmarks.measure import Seconds, Spread
from benchmarks.startup import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GRAPH = "#lens-graph .lens-viewer"
MAP = ".lens-view-grid .lens-heatmap"
_DRAWN = f"document.querySelector('{MAP}')?.dataset.ready"
READY = f"document.body.dataset.lensState === 'ready' && {_DRAWN}"
DONE = f"document.body.dataset.lensState === 'done' && {_DRAWN}"
_GRAPH_DRAWN = f"document.querySelector('{GRAPH}')?.dataset.ready"
GRAPH_READY = f"document.body.dataset.lensState === 'ready' && {_GRAPH_DRAWN}"
GRAPH_DONE = f"document.body.dataset.lensState === 'done' && {_GRAPH_DRAWN}"
INSPECTOR = tuple(
    f".lens-inspector .lens-panel:nth-child({place}) .lens-bars:not(.lens-stack *)"
    for place in (1, 2)
)
STACK = ".lens-inspector .lens-stack"
EDGE_CLICK = """const rows = document.querySelectorAll('.lens-main .lens-table tbody tr');
window.turn = 1 - (window.turn ?? 0);
rows[1 + window.turn].click();"""
"""Another edge every time, from the table: what a click in the picture does."""
CHART = ".lens-chart .frame"
PLAIN = ".plain"
LENS = "tab=logit_lens"
LONG = "one two three four five six seven eight nine ten " * 12
PLAIN_CLICK = "document.querySelector('.plain button').click()"
CELL_CLICK = """const cells = document.querySelectorAll('.lens-view-grid tbody tr:nth-child(3) td');
window.turn = 1 - (window.turn ?? 0);
cells[cells.length - 2 - window.turn].click();"""
"""Another cell every time, at another position; never at the last one, which a run has shown."""
RUN_CLICK = "document.querySelector('button.lens-run').click();"
SIZES = {"table": (32, 64), "canvas": (48, 64)}
"""Layers and tokens of the maps that are drawn; more than 3,000 cells are drawn on a canvas."""
PARTS: tuple[str, ...] = ("page", "ours", "fonts", "plotly.js", "gradio", "events")
"""What a page loads, by what it is for."""
SESSIONS, RUNS = 10, 5


@dataclass(frozen=True)
class Pages:
    """Where the two pages are, and the process of ours."""

    app: str
    plain: str
    pid: int


def page(repeats: int) -> dict[str, Any]:
    """Everything that is measured in a browser."""
    with pages() as served, browser() as running:
        return {
            "load": load(running, served),
            "opening": opening(running, served, repeats),
            "events": events(running, served, 3 * repeats),
            "draws": draws(running, served, repeats),
            "graph": graph_draws(running, served, repeats),
            "visits": visits(running, served),
        }


@contextmanager
def pages() -> Iterator[Pages]:
    """Both pages, with the demo model loaded behind ours."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        settings = Path(folder) / "settings.yaml"

        def ours(port: int) -> list[str]:
            settings.write_text(f"port: {port}\n", encoding="utf-8")
            return [sys.executable, "app.py", "--settings", str(settings)]

        def plain(port: int) -> list[str]:
            return [sys.executable, "-m", "benchmarks.plain_page", str(port)]

        address, pid = stack.enter_context(serving(ours))
        smallest, _ = stack.enter_context(serving(plain))
        yield Pages(address, smallest, pid)


def load(running: Browser, served: Pages) -> dict[str, Any]:
    """What the first visit loads, in KiB over the network."""
    visit = Visit(running)
    first = visit.load(served.app, GRAPH_READY)
    visit.close()
    visit = Visit(running, height=2000)
    chart = visit.load(f"{served.app}?{LENS}", f"document.querySelector('{CHART}')?.dataset.drawn")
    visit.close()
    visit = Visit(running)
    plain = visit.load(served.plain, f"document.querySelector('{PLAIN}')?.dataset.ready")
    visit.close()
    parts = in_parts(first)
    return {
        "kib": {name: size / 1024 for name, size in parts.items()},
        "plotly_kib": in_parts(chart)["plotly.js"] / 1024,
        "plain_kib": sum(in_parts(plain).values()) / 1024,
    }


def in_parts(traffic: Traffic) -> dict[str, int]:
    """Bytes by what they are for; our scripts and styles are the head of the page."""
    parts: dict[str, int] = dict.fromkeys(PARTS, 0)
    for address, size in traffic.sizes.items():
        parts[_part(urlsplit(address).path)] += size
    bare = re.sub(r'<script id="lens-scripts">.*?</style>', "", traffic.page, flags=re.DOTALL)
    if bare != traffic.page:
        kept = len(brotli.compress(bare.encode())) / len(brotli.compress(traffic.page.encode()))
        parts["ours"] = round(parts["page"] * (1 - kept))
        parts["page"] -= parts["ours"]
    return parts


def _part(path: str) -> str:
    if path == "/":
        return "page"
    if "plotly" in path:
        return "plotly.js"
    if path.endswith((".woff2", ".woff", ".ttf")):
        return "fonts"
    return "events" if path.startswith("/gradio_api/") else "gradio"


def opening(running: Browser, served: Pages, repeats: int) -> dict[str, Any]:
    """How long a visit takes to show something, and to show its first drawing."""
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, url, drawn in (("plain", served.plain, PLAIN), ("app", served.app, GRAPH)):
            visit = Visit(running)
            for what, seconds in visit.open(url, drawn).items():
                found.setdefault(f"{name} {what}", []).append(seconds)
            visit.close()
    ratios = {
        what: [a / b for a, b in zip(found[f"app {what}"], found[f"plain {what}"], strict=True)]
        for what in ("paint", "drawn")
    }
    return {
        "ratios": {what: Spread.of(values).to_json() for what, values in ratios.items()},
        "seconds": {what: Spread.of(values).to_json() for what, values in found.items()},
    }


def events(running: Browser, served: Pages, repeats: int) -> list[dict[str, Any]]:
    """What is done on the page, in units of the event of the plain page."""
    lens = f"{served.app}?{LENS}"
    long = f"prompt={quote(LONG)}"
    visits = {
        "plain": _opened(
            running, served.plain, f"document.querySelector('{PLAIN}')?.dataset.ready"
        ),
        "short": _opened(running, lens, READY),
        "long": _opened(running, f"{lens}&{long}", DONE),
        "chart": _opened(running, lens, READY, height=2000),
        "graph": _opened(running, served.app, GRAPH_READY),
        "long graph": _opened(running, f"{served.app}?{long}", GRAPH_DONE),
    }
    prompts = (f"The capital of France, number {n}, is" for n in count())
    cases = {
        "click on a cell, 6 tokens": partial(visits["short"].act, CELL_CLICK, *INSPECTOR),
        "click on a cell, 64 positions": partial(visits["long"].act, CELL_CLICK, *INSPECTOR),
        "click on a cell, 6 tokens, chart in view": partial(
            visits["chart"].act, CELL_CLICK, *INSPECTOR, ".lens-chart"
        ),
        "Run on another prompt": lambda: _run(visits["short"], next(prompts), MAP),
        "click on an edge, 6 tokens": partial(visits["graph"].act, EDGE_CLICK, STACK),
        "click on an edge, 122 tokens": partial(visits["long graph"].act, EDGE_CLICK, STACK),
        "graph of another prompt": lambda: _run(visits["graph"], next(prompts), GRAPH),
    }
    ratios, seconds = in_turns(
        partial(visits["plain"].act, PLAIN_CLICK, PLAIN), cases, repeats=repeats
    )
    for visit in visits.values():
        visit.close()
    return [
        {
            "case": name,
            **ratio.to_json(),
            "seconds": _json(seconds[name]),
            "plain_s": _json(seconds["reference"]),
        }
        for name, ratio in ratios.items()
    ]


def _json(spreads: dict[str, Spread]) -> dict[str, Any]:
    return {name: spread.to_json() for name, spread in spreads.items()}


def _opened(running: Browser, url: str, ready: str, *, height: int = 900) -> Visit:
    visit = Visit(running, height=height)
    visit.page.goto(url)
    visit.page.wait_for_function(ready, timeout=60_000)
    visit.page.wait_for_timeout(500)
    return visit


def _run(visit: Visit, prompt: str, drawn: str) -> Seconds:
    """Press Run on a prompt that is typed already, until the result is drawn."""
    visit.page.locator(".lens-prompt textarea").fill(prompt)
    visit.page.wait_for_function("document.body.dataset.lensStale !== ''")
    return visit.act(RUN_CLICK, drawn)


def draws(running: Browser, served: Pages, repeats: int) -> list[dict[str, Any]]:
    """CPU seconds of the main thread for one drawing of a large heat map with text."""
    found = []
    visit = _opened(running, f"{served.app}?{LENS}", READY)
    for name, (layers, tokens) in SIZES.items():
        visit.page.evaluate("value => { window.value = value; }", deep_map(layers, tokens))
        spent = []
        for _ in range(repeats + 1):
            before = visit.busy()
            visit.page.evaluate(DRAW)
            spent.append(visit.busy() - before)
            visit.page.evaluate("document.getElementById('another').remove()")
            visit.page.wait_for_timeout(SETTLE_MS)
        found.append(
            {
                "case": name,
                "layers": layers,
                "tokens": tokens,
                "cpu_s": Spread.of(spent[1:]).to_json(),
            }
        )
    visit.close()
    return found


def graph_draws(running: Browser, served: Pages, repeats: int) -> dict[str, Any]:
    """CPU seconds of the main thread for drawing 1,500 links, and for one frame of moving them."""
    from graph_cases import CASES  # of the tests, which `benchmarks.browser` puts on the path

    visit = _opened(running, f"{served.app}?{LENS}", READY)
    visit.page.evaluate("value => { window.value = value; }", json.dumps(CASES["large"]()))

    def spent(script: str) -> float:
        before = visit.busy()
        visit.page.evaluate(script)
        return visit.busy() - before

    draw = DRAW.replace("heatmap", "graph")
    found = {"drawn once": [spent(draw) for _ in range(repeats + 1)][1:]}
    for case, zooms in (("a frame of scrolling", "false"), ("a frame of zooming", "true")):
        move = MOVE.replace("ZOOMS", zooms)
        found[case] = [spent(move) / FRAMES for _ in range(repeats)]
    visit.close()
    return {case: Spread.of(values).to_json() for case, values in found.items()}


FRAMES = 30
MOVE = f"""() => new Promise((done) => {{
  const stage = document.querySelector('#another .stage');
  const box = stage.getBoundingClientRect();
  let frames = {FRAMES};
  const step = () => {{
    stage.dispatchEvent(new WheelEvent('wheel', {{ ctrlKey: ZOOMS, bubbles: true,
      cancelable: true, deltaX: 20 * (frames % 2 ? 1 : -1), deltaY: frames % 2 ? -9 : 9,
      clientX: box.left + 400, clientY: box.top + 300 }}));
    frames -= 1;
    requestAnimationFrame(frames ? step : done);
  }};
  step();
}})"""

DRAW = """() => new Promise((done) => {
  document.getElementById('another')?.remove();
  const root = lens.make('div', 'lens-viewer lens-heatmap');
  const element = lens.make('div', '', root);
  element.id = 'another';
  document.querySelector('#lens-panel-map').append(element);
  lens.viewers.heatmap({ element, props: { value }, watch() {}, trigger() {} });
  // Four frames: drawn, styled, laid out, painted.
  const frame = (left) => requestAnimationFrame(() => (left ? frame(left - 1) : done()));
  frame(4);
})"""


def deep_map(layers: int, tokens: int) -> str:
    """What the heat map takes for a random model with so many layers, as the tab makes it."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from benchmarks.subjects import DEMO, subject
    from lens_core import logit_lens, wrap_model
    from tabs.logit_lens.views import heatmap
    from tabs.viewers import drawn

    demo = subject(DEMO)
    config = Qwen2Config(
        vocab_size=demo.facts.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    loaded = wrap_model(Qwen2ForCausalLM(config), demo.tokenizer, name=f"{layers} layers")
    ids = loaded.tokenize(LONG)[:tokens]
    result = logit_lens(loaded, ids, components=["embed", "resid_post"]).to_json()
    return drawn(heatmap(result, "resid_post", "probability"))


def visits(running: Browser, served: Pages) -> dict[str, Any]:
    """The server's memory before and after each of some visits that run several prompts."""

    def visit(number: int) -> None:
        one = _opened(running, served.app, GRAPH_READY)
        for run in range(RUNS):
            prompt = f"Visitor {number} asks {run} things about the capital of France, which is"
            _run(one, prompt, GRAPH)
        one.close()

    for number in range(2):
        visit(number)
    levels = [resident_mib(served.pid)]
    for number in range(2, 2 + SESSIONS):
        visit(number)
        levels.append(resident_mib(served.pid))
    return {"sessions": SESSIONS, "runs": RUNS, "levels_mib": levels}


def resident_mib(pid: int) -> float:
    """Memory that a process holds."""
    text = Path(f"/proc/{pid}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """Measure all of it, or print one part of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7, help="5 to 9 are sensible")
    keep("page", page, parser.parse_args().repeats)


if __name__ == "__main__":
    main()
