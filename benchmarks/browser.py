"""Pages in a headless browser: what they load, and how long what is done there takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.measure import Ratio, Seconds, Spread, between, ratio_of

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import chromium

Action = Callable[[], Seconds]
"""Something done on a page: its wall time, and the CPU time of the page's main thread."""

SETTLE_MS = 150
"""What comes after an answer, such as closing its stream, counts as its CPU time too."""


QUIET_MS = 2000
"""A page that has loaded nothing for so long has loaded all."""


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium for the length of a block."""
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MISSING)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield running
        running.close()


@dataclass
class Traffic:
    """What a page loaded, in bytes as they came over the network, heads of answers included."""

    sizes: dict[str, int] = field(default_factory=dict)
    """By address, without the query."""
    page: str = ""
    """The text of the document."""


class Visit:
    """One page in a context of its own: nothing cached, its network and its CPU time watched."""

    def __init__(self, browser: Browser, *, height: int = 900) -> None:
        self._context = browser.new_context(viewport={"width": 1400, "height": height})
        self._context.add_init_script(FIRST_DRAWN)
        self.page: Page = self._context.new_page()
        self._cdp = self._context.new_cdp_session(self.page)
        self._cdp.send("Performance.enable", {"timeDomain": "threadTicks"})

    def open(self, url: str, drawn: str) -> dict[str, float]:
        """Seconds until the first content was painted, and until `drawn` was drawn."""
        self.page.goto(url)
        return self._opened(drawn)

    def load(self, url: str, ready: str) -> Traffic:
        """Open a page and wait for the expression `ready`; answers all that it loaded by then."""
        traffic, names = Traffic(), {}

        def took(event: dict[str, Any]) -> None:
            name = names.get(event["requestId"])
            if name is not None:
                size = int(event["encodedDataLength"])
                traffic.sizes[name] = traffic.sizes.get(name, 0) + size

        self._cdp.on(
            "Network.responseReceived",
            lambda event: names.update({event["requestId"]: event["response"]["url"]}),
        )
        self._cdp.on("Network.loadingFinished", took)
        self._cdp.send("Network.enable")
        answer = self.page.goto(url)
        assert answer is not None
        self.page.wait_for_function(ready, timeout=60_000)
        seen = -1
        while seen != (seen := len(traffic.sizes)):  # the event streams never end
            self.page.wait_for_timeout(QUIET_MS)
        self._cdp.send("Network.disable")
        traffic.page = answer.text()
        return traffic

    def act(self, do: str, *watched: str) -> Seconds:
        """Run a piece of JavaScript, and wait until the viewers at `watched` have drawn again."""
        before = self.busy()
        wall = self.page.evaluate(ACT, [do, watched]) / 1000
        self.page.wait_for_timeout(SETTLE_MS)
        return Seconds(wall, self.busy() - before)

    def busy(self) -> float:
        """CPU seconds of the page's main thread so far."""
        found = self._cdp.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in found if metric["name"] == "TaskDuration")

    def close(self) -> None:
        """Leave the page."""
        self._context.close()

    def _opened(self, drawn: str) -> dict[str, float]:
        self.page.wait_for_selector(f"{drawn}[data-first]", state="attached", timeout=60_000)
        self.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        found: list[float] = self.page.evaluate(
            """drawn => [performance.getEntriesByName('first-contentful-paint')[0].startTime,
                Number(document.querySelector(drawn).dataset.first)]""",
            drawn,
        )
        return {"paint": found[0] / 1000, "drawn": found[1] / 1000}


FIRST_DRAWN = """new MutationObserver((records) => {
  for (const { target } of records) target.dataset.first ??= String(performance.now());
}).observe(document, { subtree: true, attributeFilter: ['data-ready'] });"""
"""When each viewer drew for the first time, kept as an attribute of its own."""

ACT = """([act, watched]) => new Promise((done, fail) => {
  setTimeout(() => fail(new Error(`${watched} did not draw again`)), 60000);
  const roots = watched.map((name) => document.querySelector(name));
  const before = roots.map((root) => root.dataset.ready);
  const look = () => {
    if (roots.some((root, i) => root.dataset.ready === before[i])) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
  };
  const observer = new MutationObserver(look);
  for (const root of roots) observer.observe(root, { attributeFilter: ['data-ready'] });
  const start = performance.now();
  new Function(act)();
})"""


def in_turns(
    reference: Action, cases: Mapping[str, Action], *, repeats: int
) -> tuple[dict[str, Ratio], dict[str, dict[str, Spread]]]:
    """Each case as a ratio to the reference around it, and the seconds of all of them."""
    for act in (reference, *cases.values()):
        act()
    ratios: dict[str, list[Seconds]] = {name: [] for name in cases}
    seconds: dict[str, list[Seconds]] = {name: [] for name in ("reference", *cases)}
    for _ in range(repeats):
        before = reference()
        seconds["reference"].append(before)
        for name, act in cases.items():
            case, after = act(), reference()
            seconds[name].append(case)
            seconds["reference"].append(after)
            ratios[name].append(between(before, case, after))
            before = after
    spreads = {
        name: {
            "wall": Spread.of(one.wall for one in found),
            "cpu": Spread.of(one.cpu for one in found),
        }
        for name, found in seconds.items()
    }
    return {name: ratio_of(found) for name, found in ratios.items()}, spreads
