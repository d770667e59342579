"""The page in a real browser: what a person does, and what a hostile prompt tries."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from conftest import Served
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "The capital of France is"
HOSTILE = [
    "<img src=x onerror=\"document.body.dataset.pwned='img'\">",
    "<script>document.body.dataset.pwned='script'</script>",
    "${HOME} `ls` ${document.body.setAttribute('data-pwned', 'template')}",
    "{{value}} {{#each value}}x{{/each}} @children",
    '"><svg onload="document.body.dataset.pwned=1">',
    "C:\\temp\\new \\u003cb\\u003e </style></textarea>",
    "שלום \u202eevil\u202c עולם",
    "a\u200bb\u2060c\ufeffd \u00ad",
    "\u0000\u0007bell",
    "🐛👩‍👩‍👧🎉",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the browser tests. {chromium.MISSING}")
        pytest.skip(chromium.MISSING)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield running
        running.close()


class Visit:
    """One page, with the errors it raised."""

    def __init__(self, browser: Browser, url: str, *, width: int = 1400, theme: str = "light"):
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900})
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{url}?__theme={theme}")
        self.wait("ready")

    def wait(self, state: str) -> None:
        self.page.wait_for_function(
            "state => document.body.dataset.lensState === state", arg=state, timeout=60_000
        )

    def type(self, prompt: str) -> None:
        self.page.get_by_label("Prompt", exact=True).fill(prompt)

    def run(self, state: str = "done") -> None:
        """Press Run and wait for what the run ends in."""
        self.page.evaluate("document.body.dataset.lensState = 'asked'")
        self.page.get_by_role("button", name="Run").click()
        self.wait(state)

    @property
    def status(self) -> str:
        return self.page.locator(".status").inner_text()


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    visit = Visit(browser, served.url)
    yield visit
    assert visit.errors == []
    visit.page.close()


def test_run_shows_every_layer_and_position(visit: Visit, served: Served) -> None:
    visit.type(PROMPT)
    visit.run()
    n_tokens = visit.page.locator(".chip:not(.prediction)").count()
    assert visit.page.locator("td").count() == 7 * n_tokens, "six layers and the embedding"
    labels = visit.page.locator("tbody th").all_inner_texts()
    assert labels == ["L5", "L4", "L3", "L2", "L1", "L0", "embed"]
    expect(visit.page.locator("tbody tr").first.locator("td").last).to_contain_text("Paris")
    expect(visit.page.locator(".chip.prediction")).to_contain_text("Paris")
    expect(visit.page.locator(".badge")).to_contain_text("Exact decomposition")
    expect(visit.page.locator(".count")).to_have_text(f"{n_tokens} / 512 tokens")


def test_the_status_says_what_is_loading_from_the_first_second(
    browser: Browser, served: Served
) -> None:
    page = browser.new_page()
    page.goto(served.url)
    expect(page.locator(".status")).not_to_be_empty(timeout=5000)
    page.close()


def test_hovering_shows_a_cell_and_escape_closes_it(visit: Visit) -> None:
    visit.run()
    visit.page.locator("tbody tr").nth(2).locator("td").last.hover()
    card = visit.page.locator(".card")
    expect(card).to_contain_text("L3 after")
    assert card.locator("li").count() == 5
    for fact in ("Entropy", "KL to the final answer", "Final token, rank here"):
        expect(card).to_contain_text(fact)
    visit.page.mouse.move(0, 0)
    expect(card).to_have_count(0)


def test_the_heat_map_is_one_tab_stop_with_arrows(visit: Visit) -> None:
    visit.run()
    assert visit.page.locator("td[tabindex='0']").count() == 1
    visit.page.locator("td[tabindex='0']").focus()
    expect(visit.page.locator(".card")).to_contain_text("L5 after")
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("ArrowLeft")
    expect(visit.page.locator(".card")).to_contain_text("L4 after")
    assert visit.page.locator("td[tabindex='0']").count() == 1
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator(".card")).to_have_count(0)


@pytest.mark.parametrize("modifier", ["Control", "Meta"])
def test_ctrl_or_cmd_enter_runs_what_was_just_typed(visit: Visit, modifier: str) -> None:
    visit.page.get_by_label("Prompt", exact=True).click()
    visit.page.keyboard.press("Control+a")
    visit.page.keyboard.type("The capital of Japan is")
    visit.page.keyboard.press(f"{modifier}+Enter")
    visit.wait("done")
    expect(visit.page.locator(".strip")).to_contain_text("Japan")


def test_an_example_fills_the_prompt_and_runs(visit: Visit) -> None:
    visit.page.locator(".example").nth(1).click()
    visit.wait("done")
    assert visit.page.get_by_label("Prompt", exact=True).input_value() == "法国的首都是"
    expect(visit.page.locator(".strip")).to_contain_text("法")


@pytest.mark.parametrize("place", ["After attention", "Attention adds", "MLP adds"])
def test_other_places_are_read_on_choice(visit: Visit, place: str) -> None:
    visit.run()
    visit.page.evaluate("document.body.dataset.lensState = 'asked'")
    visit.page.get_by_label(place).check()
    visit.wait("done")
    assert visit.page.locator("tbody tr").count() == 6
    visit.page.locator("td").last.hover()
    expected = "Added to the logit" if place.endswith("adds") else "Entropy"
    expect(visit.page.locator(".card")).to_contain_text(expected)


def test_colour_can_show_entropy_and_kl(visit: Visit) -> None:
    visit.run()
    for name, unit in (
        ("Entropy", "Entropy (nats)"),
        ("KL to final", "KL to the final answer (nats)"),
    ):
        visit.page.get_by_role("button", name=name).click()
        expect(visit.page.locator(".legend")).to_contain_text(unit)


def test_the_result_downloads_as_json(visit: Visit, tmp_path: Path) -> None:
    visit.run()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download JSON").click()
    download.value.save_as(tmp_path / "lens.json")
    record = json.loads((tmp_path / "lens.json").read_text(encoding="utf-8"))
    assert record["schema"] == "lens_core/logit_lens/1"
    assert record["cells"]["resid_post"]["top_ids"]


@pytest.mark.parametrize("prompt", HOSTILE)
def test_nothing_in_a_prompt_is_executed(visit: Visit, prompt: str) -> None:
    visit.type(prompt)
    visit.run()
    visit.page.locator("td").last.hover()
    shown = visit.page.locator(".strip").evaluate(
        "strip => [...strip.querySelectorAll('.chip:not(.special):not(.prediction)')]"
        ".map(chip => chip.querySelector('.lens-text').textContent).join('')"
    )
    assert shown == prompt
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
    assert (
        visit.page.locator(".lens-viewer img, .lens-viewer script, .lens-viewer svg").count() == 0
    )


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("", ["empty", "type at least one character"]),
        ("x" * 10_240, ["tokens", "limit is 512", "Shorten"]),
    ],
)
def test_a_prompt_that_cannot_be_read_is_answered_in_place(
    visit: Visit, prompt: str, parts: list[str]
) -> None:
    visit.type(prompt)
    visit.run("error")
    for part in parts:
        assert part in visit.status
    visit.type(PROMPT)
    visit.run()


def test_an_unknown_model_is_answered_in_place(visit: Visit) -> None:
    visit.page.get_by_label("Model", exact=False).first.fill("<b>no</b>/such-model")
    visit.page.keyboard.press("Enter")
    visit.run("error")
    assert "<b>no</b>/such-model" in visit.status


def test_a_long_prompt_scrolls_and_starts_at_its_end(visit: Visit) -> None:
    visit.type("one two three four five six seven eight nine ten " * 12)
    visit.run()
    assert visit.page.locator("tbody tr").first.locator("td").count() == 64
    expect(visit.page.locator(".notes")).to_contain_text("The last 64 of")
    scroller = visit.page.locator(".scroller")
    assert scroller.evaluate("s => s.scrollLeft + s.clientWidth >= s.scrollWidth - 2")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_at_every_width_in_both_themes(
    browser: Browser, served: Served, theme: str, width: int
) -> None:
    visit = Visit(browser, served.url, width=width, theme=theme)
    visit.run()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    assert visit.page.evaluate(CONTRAST) >= 4.5
    visit.page.locator("tbody tr").first.locator("td").last.hover()
    card = visit.page.locator(".card").bounding_box()
    assert card is not None
    assert card["x"] >= 0
    assert card["x"] + card["width"] <= width
    assert visit.errors == []
    visit.page.close()


CONTRAST = """() => {
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
  const texts = document.querySelectorAll(
    '.lens-viewer td, .lens-viewer th, .lens-viewer button, .chip, .badge, .count, .facts, '
    + '.status .text, .legend, label span');
  return Math.min(...[...texts].filter((e) => e.textContent.trim()).map((e) => {
    const [a, b] = [lum(getComputedStyle(e).color), lum(ground(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
}"""
"""The smallest contrast of text on its background."""
