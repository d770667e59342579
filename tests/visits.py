"""Visits to the page in a real browser: what a person does there, and what can be asked of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlencode

import chromium
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tabs.words import words

LONGEST = 60_000
"""Milliseconds after which a test gives up; the first visit waits for PyTorch."""

SLIDERS = ("k", "generate", "temperature", "top_p")

WATCH = """
window.states = [];
new MutationObserver((changes) => {
  for (const { target } of changes) window.states.push(target.dataset.lensState);
}).observe(document, { subtree: true, attributeFilter: ["data-lens-state"] });
"""
"""Keeps every state of the page, also one that lasts for less than a frame."""


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    """The browser of a module's tests; skipped where there is none, but not in CI."""
    path = chromium.find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the browser tests. {chromium.MISSING}")
        pytest.skip(chromium.MISSING)
    expect.set_options(timeout=15_000)  # a busy machine is no failure
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield running
        running.close()


PALE = """() => {
  const parts = (c) => c.match(/[\\d.]+/g).map(Number);
  const lin = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const weights = [0.2126, 0.7152, 0.0722];
  const lum = (c) => parts(c).slice(0, 3).reduce((sum, v, i) => sum + weights[i] * lin(v), 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor, p = parts(c);
      if (p.length < 4 || p[3] > 0.5) return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = new Set();
  const own = (e) => [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE);
  for (const e of document.body.querySelectorAll('*')) {
    const text = e.dataset.bytes || own(e).map((n) => n.data).join('').trim();
    if (!text || !e.checkVisibility({ visibilityProperty: true })) continue;
    if (e.closest('script, style, svg, .lens-mark, footer, [disabled]')) continue;
    const [a, b] = [lum(getComputedStyle(e).color), lum(ground(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.add(`${text.slice(0, 30)} ${contrast.toFixed(2)}`);
  }
  return [...found];
}"""
"""The texts whose contrast with their background is below 4.5."""

SMALL = """() => [...document.querySelectorAll(
  '.lens-viewer :is(button, select, [role=option]), button.lens-run, .lens-segments label')]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 39.5)
  .map((e) => `${e.className} ${e.getBoundingClientRect().height}`)"""
"""What is pressed and lower than 40 px."""


class Visit:
    """One page of a visitor of its own, with the errors it raised."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = 1400,
        theme: str = "light",
        touch: bool = False,
        context: dict[str, Any] | None = None,
        wait: bool = True,
        tab: str = "logit_lens",
        **query: str,
    ) -> None:
        size: Any = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, has_touch=touch, **(context or {}))
        self.context.set_default_timeout(20_000)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        asked = {"__theme": theme, "tab": tab, **query}
        self.page.goto(f"{url}?{urlencode(asked)}")
        if wait:
            self.wait("ready")
            shown = {"graph": self.graph, "repair": self.outcome, "attention": self.looked}
            shown["difference"] = self.pair
            shown.get(tab, self.map).wait_for()
            self.page.wait_for_function("lens.shell.bar")  # what was asked for is there

    # What is there

    @property
    def prompt(self) -> Locator:
        return self.page.locator(".lens-prompt textarea")

    @property
    def status(self) -> Locator:
        return self.page.locator(".status")

    @property
    def notice(self) -> Locator:
        return self.page.locator(".notice")

    @property
    def strip(self) -> Locator:
        return self.page.locator("#lens-strip .strip")

    @property
    def map(self) -> Locator:
        """The heat map of all positions."""
        return self.page.locator("#lens-heatmap table")

    @property
    def graph(self) -> Locator:
        """The contribution graph."""
        return self.page.locator("#lens-graph .stage")

    @property
    def looked(self) -> Locator:
        """The first of the tokens that attention is drawn on."""
        return self.page.locator("#lens-attention-tokens [role=option]").first

    @property
    def pair(self) -> Locator:
        """The first of the tokens of a pair."""
        return self.page.locator("#lens-pair-lines [role=option]").first

    @property
    def outcome(self) -> Locator:
        """What a repair did, or the invitation to make one."""
        return self.page.locator("#lens-outcome .lens-viewer > *").first

    @property
    def target(self) -> Locator:
        """What the model should say."""
        return self.page.locator(".lens-repair-target textarea")

    @property
    def edits(self) -> Locator:
        """The list of the session's edits."""
        return self.page.locator(".lens-edit-list")

    @property
    def links(self) -> Locator:
        """The table of the graph's links."""
        return self.page.locator(".lens-main:visible .lens-table").first

    @property
    def inspector(self) -> Locator:
        """What is beside the graph: the selection, then the root."""
        return self.page.locator(".lens-inspector:visible .lens-stack")

    @property
    def result(self) -> Locator:
        """What is veiled when it belongs to another run."""
        return self.page.locator("#lens-heatmap .lens-viewer")

    @property
    def ranks(self) -> Locator:
        """The heat map of one position."""
        return self.page.locator("#lens-ranks table")

    @property
    def card(self) -> Locator:
        return self.page.locator(".card")

    @property
    def prediction(self) -> Locator:
        return self.page.locator(".lens-inspector:visible .lens-bars").first

    @property
    def attribution(self) -> Locator:
        return self.page.locator(".lens-inspector:visible .lens-bars").nth(1)

    @property
    def followed(self) -> Locator:
        return self.page.locator(".lens-followed")

    @property
    def states(self) -> list[str]:
        return self.page.evaluate("states")

    def cell(self, row: int, column: int) -> Locator:
        """A cell of the heat map, the top row first; a negative column counts from the end."""
        cells = self.map.locator("tbody tr").nth(row).locator("td")
        return cells.last if column == -1 else cells.nth(column)

    def prompt_read(self) -> str:
        """The prompt as the strip shows it, without special and generated tokens."""
        return self.strip.evaluate(
            "strip => [...strip.querySelectorAll("
            "'.chips > .chip:not(.special, .generated, :has(.generated))')]"
            ".map(chip => chip.querySelector('.lens-text').textContent).join('')"
        )

    def lines(self) -> list[str]:
        """The followed lines, their tokens joined by +."""
        return self.followed.evaluate(
            "box => [...box.querySelectorAll('.line .group')].map(group => group.textContent)"
        )

    def table(self, of: Locator | None = None) -> list[list[str]]:
        """The texts of the cells of a heat map that can be seen."""
        return (of or self.map).evaluate(
            "table => [...table.tBodies[0].rows].map(row => [...row.cells].slice(1)"
            ".map(cell => cell.textContent))"
        )

    def sideways(self) -> int:
        """How many pixels of the page lie to the right of the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    # What is done

    def wait(self, state: str, *, after: int = 0) -> None:
        """Wait until the page has been in a state; `after` so many earlier ones."""
        self.page.wait_for_function(
            "([state, after]) => window.states?.slice(after).includes(state)",
            arg=[state, after],
            timeout=LONGEST,
        )

    def type(self, prompt: str) -> None:
        self.prompt.fill(prompt)

    @contextmanager
    def running(self, state: str = "done") -> Iterator[None]:
        """What starts a run, and the state that the run ends in."""
        after = len(self.states)
        yield
        self.wait(state, after=after)

    def run(self, state: str = "done", *, prompt: str | None = None) -> None:
        """Press Run and wait for what the run ends in."""
        if prompt is not None:
            self.type(prompt)
        with self.running(state):
            self.page.locator("button.lens-run").click()

    def choose(self, name: str, label: str) -> None:
        """Choose one of the segments above the heat map."""
        self.page.locator(f".lens-choose-{name} label").filter(has_text=label).click()

    def open_options(self) -> None:
        """Unfold the options of the tab."""
        if not self.option("seed").is_visible():
            self.page.locator(".lens-more > button:visible").click()
        expect(self.option("seed")).to_be_visible()

    def option(self, name: str) -> Locator:
        """The field of an option of the tab, of a slider its number."""
        label = words()["en"][f"lens.{name}"]
        number = self.page.get_by_label(f"number input for {label}", exact=True)
        return self.page.get_by_label(label, exact=True).or_(number).first

    def set(self, name: str, value: str) -> None:
        """Type the value of an option; a slider runs at once."""
        field = self.option(name)
        if field.input_value() == value:
            return
        with self.running() if name in SLIDERS else nullcontext():
            field.fill(value)
            field.press("Tab")

    def close(self) -> None:
        """End the visit; no script of the page may have failed."""
        errors = self.errors
        self.context.close()
        assert errors == []
