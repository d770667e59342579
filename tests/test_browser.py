"""The page in a real browser: what a person does there, and what a hostile prompt tries."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import Served
from playwright.sync_api import Browser, Page, expect
from visits import LONGEST, PALE, SMALL, Visit

import app
from lens_core.progress import Stopped, tick
from tabs import operations
from tabs.background import Progress
from tabs.page import page_head
from tabs.runtime import Stack
from tabs.words import LANGUAGES, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "The capital of France is"
OTHER = "The capital of Japan is"
HOSTILE = [
    "<img src=x onerror=\"document.body.dataset.pwned='img'\">",
    "<script>document.body.dataset.pwned='script'</script>",
    "${HOME} `ls` ${document.body.setAttribute('data-pwned', 'template')}",
    "{{value}} {{#each value}}x{{/each}} @children {token} {n}",
    '"><svg onload="document.body.dataset.pwned=1">',
    "C:\\temp\\new \\u003cb\\u003e </style></textarea>",
    "שלום \u202eevil\u202c עולם",
    "a\u200bb\u2060c\ufeffd \u00ad",
    "\u0000\u0007bell",
    "🐛👩‍👩‍👧🎉",
    "  two\n\tlines  ",
]


class Slow:
    """An operation that ticks until it is let go on, and keeps how it ended."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.began = threading.Event()
        self.go = threading.Event()
        self.stopped = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.began.set()
        done = 0
        try:
            while not self.go.wait(0.02):
                done += 1
                tick("layer", done, 1_000_000)
        except Stopped:
            self.stopped.set()
            raise
        return self._real(*arguments)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, served: Served) -> Iterator[Slow]:
    """Runs of the page wait for the test."""
    slow = Slow(operations.OPS["logit_lens"])
    monkeypatch.setitem(operations.OPS, "logit_lens", slow)
    yield slow
    slow.go.set()


# ---- the first visit


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch, served: Served) -> Iterator[threading.Event]:
    """The model stack comes up when the test says so."""
    go = threading.Event()

    def load() -> Iterator[Progress]:
        yield Progress("status.stack", {})
        assert go.wait(LONGEST / 1000)
        yield from served.runtime._load_stack()

    monkeypatch.setattr(served.runtime, "stack", Stack(load))
    yield go
    go.set()


def test_a_first_visit_shows_a_finished_example_before_a_model_is_there(
    visits: Callable[..., Visit], starting: threading.Event
) -> None:
    visit = visits(wait=False)
    visit.map.wait_for()
    assert visit.states[-1] == "loading"
    assert "done" not in visit.states
    expect(visit.status).to_contain_text("Loading PyTorch and transformers")
    assert visit.prompt_read() == visit.prompt.input_value() == PROMPT
    expect(visit.cell(0, -1)).to_contain_text("Paris")
    expect(visit.prediction).to_contain_text("Paris")
    expect(visit.attribution).to_contain_text("Adds up")
    assert len(visit.lines()) > 1
    expect(visit.page.locator("#lens-strip")).to_contain_text("prepared example")
    expect(visit.result).to_have_css("opacity", "1")
    visit.cell(2, -1).hover()
    expect(visit.card).to_contain_text("KL to the final prediction")
    visit.cell(6, 1).click()
    starting.set()
    visit.wait("ready")
    expect(visit.attribution.locator("h2")).to_contain_text("The")
    assert "busy" not in visit.states, "the example is not run again"


def test_a_run_that_was_asked_for_early_is_not_called_ready_before_it_is_done(
    visits: Callable[..., Visit], starting: threading.Event, slow: Slow
) -> None:
    visit = visits(wait=False)
    visit.map.wait_for()
    visit.page.wait_for_function("states.includes('loading')")
    visit.page.locator("button.lens-run").click()
    visit.wait("busy")
    starting.set()
    expect(visit.status).to_contain_text("Reading layer", timeout=LONGEST)
    expect(visit.status.get_by_role("button", name="Stop")).to_be_visible()
    with visit.running():
        slow.go.set()
    assert "ready" not in visit.states


# ---- running


def test_a_run_shows_every_layer_and_position(visit: Visit) -> None:
    visit.run()
    labels = visit.map.locator("tbody th").all_inner_texts()
    assert labels == ["L5", "L4", "L3", "L2", "L1", "L0", "embed"]
    assert [len(row) for row in visit.table()] == [6] * 7
    expect(visit.cell(0, -1)).to_contain_text("Paris")
    expect(visit.page.locator("#lens-strip .prediction")).to_contain_text("Paris")
    side = visit.page.locator("#lens-strip .side")
    expect(side.locator(".badge")).to_contain_text("Exact decomposition")
    expect(side.locator(".count")).to_have_text("6 / 512 tokens")
    expect(side.locator(".facts")).to_have_text(re.compile(r"float32 · CPU · .* s"))


@pytest.mark.parametrize("modifier", ["Control", "Meta"])
def test_ctrl_or_cmd_enter_runs_what_was_just_typed(visit: Visit, modifier: str) -> None:
    visit.prompt.click()
    visit.page.keyboard.press("Control+a")
    visit.page.keyboard.type(OTHER)
    with visit.running():
        visit.page.keyboard.press(f"{modifier}+Enter")
    assert visit.prompt_read() == OTHER
    assert visit.prompt.input_value() == OTHER, "Enter adds no line"


def test_a_run_says_from_the_first_moment_what_it_does_and_how_long_it_takes(
    visit: Visit, slow: Slow
) -> None:
    with visit.running():
        visit.page.locator("button.lens-run").click()
        assert visit.page.evaluate("document.body.dataset.lensState") == "busy"
        expect(visit.status).to_contain_text("Reading layer")
        expect(visit.status.locator(".clock")).to_contain_text(re.compile(r"\d s"))
        expect(visit.result).to_have_css("opacity", "0.45")
        slow.go.set()
    expect(visit.result).to_have_css("opacity", "1")


def test_stop_ends_the_work_and_the_page_goes_on(visit: Visit, slow: Slow) -> None:
    shown = visit.table()
    visit.type(OTHER)
    visit.page.locator("button.lens-run").click()
    expect(visit.status).to_contain_text("Reading layer")
    visit.status.get_by_role("button", name="Stop").click()
    expect(visit.status).to_contain_text("Stopped")
    assert slow.stopped.wait(20), "the work itself must end, not only what is shown of it"
    assert visit.table() == shown
    slow.go.set()
    visit.cell(6, 1).click()
    expect(visit.attribution.locator("h2")).to_contain_text("The")
    assert "error" not in visit.states
    expect(visit.status).to_contain_text("Stopped")
    visit.run()
    assert visit.prompt_read() == OTHER


def test_stop_can_be_pressed_while_the_words_beside_it_change(visit: Visit, slow: Slow) -> None:
    """A press takes longer than a redrawing; so does the way of the Tab key to the button."""
    page = visit.page
    page.locator("button.lens-run").click()
    expect(visit.status).to_contain_text("Reading layer")
    visit.status.get_by_role("button", name="Stop").focus()
    another_word(visit)
    expect(visit.status.get_by_role("button", name="Stop")).to_be_focused()
    visit.status.get_by_role("button", name="Stop").hover()
    page.mouse.down()
    another_word(visit)
    page.mouse.up()
    expect(visit.status).to_contain_text("Stopped")


def another_word(visit: Visit) -> None:
    """Wait until the status says something else."""
    visit.page.wait_for_function(
        "said => document.querySelector('.status .text').textContent !== said",
        arg=visit.status.locator(".text").inner_text(),
    )


def test_stop_ends_a_real_run_of_many_tokens(visit: Visit, served: Served) -> None:
    visit.open_options()
    visit.set("generate", "64")
    visit.type("one two three four five six seven eight nine ten " * 8)
    visit.page.locator("button.lens-run").click()
    visit.wait("busy")
    ended = visit.page.wait_for_function(
        """() => {
          const stop = document.querySelector(".status .stop");
          if (!stop || !/\\d of \\d/.test(stop.closest(".status").textContent))
            return states.at(-1) === "done" && "done";
          stop.click();
          return "stopped";
        }"""
    )
    if ended.json_value() == "stopped":
        expect(visit.status).to_contain_text("Stopped")
    visit.set("generate", "0")
    visit.run(prompt=OTHER)
    assert visit.prompt_read() == OTHER
    demo = served.runtime.pool.get("demo")
    assert demo.lock.acquire(timeout=20), "no run may keep the model"
    demo.lock.release()


def test_an_example_fills_the_prompt_and_runs(visit: Visit) -> None:
    with visit.running():
        visit.page.locator(".lens-examples select").select_option(label="法国的首都是")
    assert visit.prompt.input_value() == "法国的首都是"
    assert visit.prompt_read() == "法国的首都是"


def test_a_run_after_an_earlier_window_shows_the_end_again(visit: Visit) -> None:
    many = "one two three four five six seven eight nine ten " * 12
    visit.run(prompt=many)
    with visit.running():
        visit.page.locator("#lens-heatmap .earlier").click()
    visit.run(prompt=f"zero {many}")
    expect(visit.page.locator("#lens-heatmap .later")).to_have_count(0)


# ---- what the bar says, and what is shown


def test_a_result_of_another_prompt_is_veiled_until_it_is_run(visit: Visit) -> None:
    visit.type(OTHER)
    expect(visit.status).to_contain_text("The prompt changed")
    expect(visit.result).to_have_css("opacity", "0.45")
    with visit.running():
        visit.status.get_by_role("button", name="Run again").click()
    expect(visit.result).to_have_css("opacity", "1")
    assert visit.prompt_read() == OTHER


def test_the_veil_goes_when_the_prompt_is_put_back(visit: Visit) -> None:
    visit.type(OTHER)
    expect(visit.status).to_contain_text("The prompt changed")
    visit.type(PROMPT)
    expect(visit.page.locator("body")).to_have_attribute("data-lens-stale", "")
    expect(visit.result).to_have_css("opacity", "1")


def test_another_template_veils_and_run_again_reads_with_it(visit: Visit) -> None:
    pick(visit.page, "lens-template", "Plain, no special tokens")
    expect(visit.status).to_contain_text("The template changed")
    with visit.running():
        visit.status.get_by_role("button", name="Run again").click()
    expect(visit.page.locator("#lens-strip .count")).to_have_text("5 / 512 tokens")
    assert visit.page.locator("#lens-strip .chip.special").count() == 0


def test_another_model_veils_and_one_that_is_not_there_is_answered_in_place(visit: Visit) -> None:
    model = visit.page.locator(".lens-model input")
    model.fill("<b>no</b>/such-model")
    model.press("Enter")
    expect(visit.status).to_contain_text("The model changed")
    visit.run("error")
    expect(visit.status).to_contain_text("This model cannot be used")
    expect(visit.status).to_contain_text("<b>no</b>/such-model")
    expect(visit.status.locator("b")).to_have_count(0)
    model.fill("demo")
    model.press("Enter")
    visit.run()


def test_two_changes_are_said_together(visit: Visit) -> None:
    visit.type(OTHER)
    pick(visit.page, "lens-template", "Plain, with start token")
    expect(visit.status).to_contain_text("The bar above changed")


def pick(page: Page, name: str, choice: str) -> None:
    """Choose from one of the bar's lists."""
    page.locator(f".{name} input").click()
    page.get_by_role("option", name=choice, exact=True).click()


def test_of_clicks_made_while_one_is_answered_the_last_counts(visit: Visit, slow: Slow) -> None:
    tokens = visit.page.locator("#lens-strip [role=option]")
    tokens.nth(1).click()
    assert slow.began.wait(20)
    for position in (2, 3, 4):
        tokens.nth(position).click()
    slow.go.set()
    expect(visit.prediction.locator("h2")).to_have_text("Prediction after  France")


# ---- errors


def test_an_empty_prompt_is_answered_in_place(visit: Visit) -> None:
    visit.run("error", prompt="")
    expect(visit.status).to_contain_text("This prompt cannot be read")
    expect(visit.status).to_contain_text("type at least one character")
    expect(visit.status).to_have_attribute("role", "alert")
    visit.status.get_by_role("button", name="Edit the prompt").click()
    expect(visit.prompt).to_be_focused()
    visit.run(prompt=PROMPT)


@pytest.mark.parametrize("new_tokens", [0, 8])
def test_a_prompt_that_is_too_long_is_shortened_on_a_click(visit: Visit, new_tokens: int) -> None:
    visit.open_options()
    visit.set("generate", str(new_tokens))
    visit.run("error", prompt="word " * 700)
    for part in ("tokens", "512", "Shorten"):
        expect(visit.status).to_contain_text(part)
    expect(visit.result).to_have_css("opacity", "0.45")
    keep = visit.status.get_by_role("button", name="Keep the last")
    limit = int(re.findall(r"\d+", keep.inner_text())[0])
    assert limit == 512 - new_tokens
    with visit.running():
        keep.click()
    assert visit.prompt.input_value().endswith("word word ")
    count = int(visit.page.locator("#lens-strip .count").inner_text().replace("▲", "").split()[0])
    assert limit - 2 <= count <= 512


def test_a_bad_choice_is_answered_in_place_and_the_next_run_works(visit: Visit) -> None:
    visit.open_options()
    visit.set("target", " no such token <b>at</b> all")
    visit.run("error")
    expect(visit.status).to_contain_text("This value cannot be used")
    expect(visit.status).to_contain_text("no such token <b>at</b> all")
    visit.set("target", "")
    visit.run()


# ---- languages


LOCALES = {"en": "en", "zh": "zh-CN", "ja": "ja"}


@pytest.mark.parametrize(
    ("locale", "language"), [("zh-CN", "zh"), ("ja-JP", "ja"), ("de-DE", "en")]
)
def test_the_page_speaks_the_browsers_language(
    visits: Callable[..., Visit], locale: str, language: str
) -> None:
    visit = visits(context={"locale": locale})
    expect(visit.page.locator("button.lens-run")).to_contain_text(words()[language]["bar.run"])
    expect(visit.page.locator("#lens-panel-map h2").first).to_have_text(
        words()[language]["lens.title"]
    )
    expect(visit.page.locator("html")).to_have_attribute("lang", LOCALES[language])


def test_what_the_address_says_counts_more_than_the_browser(visits: Callable[..., Visit]) -> None:
    visit = visits(context={"locale": "ja-JP"}, lang="zh")
    expect(visit.page.locator("button.lens-run")).to_contain_text("运行")


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_the_picker_changes_the_language_and_nothing_else(visit: Visit, language: str) -> None:
    visit.open_options()
    visit.set("seed", "7")
    visit.set("generate", "2")
    visit.choose("colour", "Entropy")
    visit.choose("view", "One position")
    visit.run(prompt=OTHER)
    shown = visit.table(visit.ranks)
    with visit.page.expect_navigation():
        visit.page.locator(".lens-header select").select_option(language)
    visit.wait("done")
    said = words()[language]
    expect(visit.page.locator("html")).to_have_attribute("lang", LOCALES[language])
    expect(visit.page.locator("button.lens-run")).to_contain_text(said["bar.run"])
    assert visit.prompt.input_value() == visit.prompt_read() == OTHER
    expect(visit.ranks).to_be_visible()
    assert visit.table(visit.ranks) == shown
    expect(visit.page.locator(".lens-choose-colour .selected")).to_have_text(
        said["lens.colour_entropy"]
    )
    visit.page.locator(".lens-more > button:visible").click()
    expect(visit.page.get_by_label(said["lens.seed"], exact=True)).to_have_value("7")


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_every_word_that_can_be_seen_is_translated(
    visits: Callable[..., Visit], language: str
) -> None:
    visit = visits(lang=language)
    visit.page.locator(".lens-more > button:visible").click()
    visit.page.locator("#lens-heatmap .export").click()
    visit.cell(2, 3).click()
    visit.page.locator("#lens-strip .badge").click()
    english = left_in_english(visit.page, language)
    visit.page.keyboard.press("Escape")
    visit.choose("read_at", words()[language]["lens.read_at_attn_out"])
    visit.wait("done")
    visit.choose("view", words()[language]["lens.view_ranks"])
    expect(visit.ranks).to_be_visible()
    english |= left_in_english(visit.page, language)
    after = len(visit.states)
    visit.run("error", prompt="")
    assert len(visit.states) > after
    title = words()[language]["error.Prompt"]
    expect(visit.status.locator("strong")).to_have_text(title)
    assert not english


def left_in_english(page: Page, language: str) -> set[str]:
    """What can be seen and is a key, an English text of ours, or Latin letters of nobody's."""
    ours, english = words()[language], words()["en"]
    untranslated = {english[key] for key in english if english[key] != ours[key]}
    known = [re.sub(r"\\\{\w+\\\}", ".*", re.escape(text)) for text in ours.values()]
    known += [re.escape(name) for name in LANGUAGES.values()]
    known += ["LM Lens", "demo", "float32 · CPU · .*", "PNG", "SVG", ".*Gradio.*", ".*API.*"]
    known += [r".*LlamaForCausalLM.*", r"L\d"]
    allowed = re.compile("|".join(f"(?:{one})" for one in known))
    return {
        text
        for text in page.evaluate(SEEN)
        if text in english
        or text in untranslated
        or (re.search(r"[A-Za-z]{3}", text) and not allowed.fullmatch(text))
    }


SEEN = """() => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement: box } = walker.currentNode;
    const isToken = box.closest(
      'script, style, textarea, caption, svg, .lens-text, #lens-heatmap td, #lens-ranks td, tfoot');
    if (data.trim() && !isToken && box.checkVisibility()) texts.push(data.trim());
  }
  for (const field of document.querySelectorAll('[placeholder]')) {
    if (field.checkVisibility()) texts.push(field.placeholder.replace('·Paris', ''));
  }
  return texts;
}"""


# ---- links


def test_a_shared_link_brings_everything_back(visits: Callable[..., Visit]) -> None:
    may = {"permissions": ["clipboard-read", "clipboard-write"]}
    visit = visits(context=may)
    visit.open_options()
    visit.set("k", "3")
    visit.set("target", " Tokyo")
    visit.choose("colour", "Rank")
    visit.choose("read_at", "After attention")
    visit.wait("done")
    pick(visit.page, "lens-template", "Plain, no special tokens")
    visit.run(prompt=f"{OTHER} <img onerror=1> & + % #")
    visit.page.get_by_role("button", name="Share link").click()
    expect(visit.page.locator(".lens-header .said")).to_have_text("Link copied")
    address = visit.page.evaluate("navigator.clipboard.readText()")
    query = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
    assert query["k"] == "3"
    assert "seed" not in query, "what is as usual is left out"
    query.pop("__theme")
    other = visits(wait=False, **query)
    other.wait("done")
    assert other.prompt.input_value() == other.prompt_read() == visit.prompt_read()
    assert other.table() == visit.table()
    expect(other.page.locator(".lens-choose-colour .selected")).to_have_text("Rank")
    expect(other.page.locator(".lens-choose-read_at .selected")).to_have_text("After attention")
    expect(other.page.locator("#lens-heatmap .legend")).to_contain_text("Rank of the target")
    other.cell(0, -1).hover()
    assert other.card.locator(".bars li").count() == 3
    other.open_options()
    expect(other.option("target")).to_have_value(" Tokyo")
    expect(other.notice).to_have_count(0)


def test_a_link_that_may_not_be_copied_is_shown(visits: Callable[..., Visit]) -> None:
    visit = visits()
    visit.page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
    )
    visit.run(prompt=OTHER)
    visit.page.get_by_role("button", name="Share link").click()
    field = visit.page.locator(".lens-header .address")
    expect(field).to_be_focused()
    assert parse_qs(urlsplit(field.input_value()).query)["prompt"] == [OTHER]


def test_a_link_with_wrong_values_says_so_and_the_page_works(visits: Callable[..., Visit]) -> None:
    evil = "<img src=x onerror=\"document.body.dataset.pwned='link'\">"
    visit = visits(
        wait=False, k="abc", tab="nope", read_at="evil", view=evil, seed="7", prompt=OTHER
    )
    visit.wait("done")
    visit.page.get_by_role("tab", name="Logit lens").click()
    for part in ("k = abc", "tab = nope", "read_at = evil", "view = <img src=x"):
        expect(visit.notice).to_contain_text(part)
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
    assert visit.prompt_read() == OTHER
    visit.open_options()
    expect(visit.option("seed")).to_have_value("7")
    visit.notice.get_by_role("button", name="Close").click()
    visit.run(prompt=PROMPT)
    expect(visit.notice).to_have_count(0)


ARRIVE = """(ran) => {
  const bar = ["demo", "7+5=", "plain", "none"];
  let runs = 0;
  lens.arrive(["prompt"], bar);
  const start = () => { runs += 1; };
  lens.register("logit_lens", { start, ran: ran ? bar : null, reads: ["prompt"], asks: false });
  return runs;
}"""


@pytest.mark.parametrize(("shows", "runs"), [(False, 1), (True, 0)])
def test_a_page_that_arrives_before_its_tab_runs_what_the_tab_does_not_show(
    browser: Browser, shows: bool, runs: int
) -> None:
    page = browser.new_page()
    page.set_content(f"<html><head>{page_head({})}</head><body></body></html>")
    assert page.evaluate(ARRIVE, shows) == runs
    page.close()


# ---- prompts that attack, visitors that meet


def test_nothing_in_a_prompt_is_executed(visit: Visit) -> None:
    for prompt in HOSTILE:
        visit.run(prompt=prompt)
        visit.cell(2, -1).hover()
        expect(visit.card).to_be_visible()
        assert visit.prompt_read() == prompt
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        visit.page.mouse.move(0, 0)


def test_two_visitors_do_not_see_each_others_prompts_or_choices(
    visits: Callable[..., Visit],
) -> None:
    one, other = visits(), visits()
    one.run(prompt="A secret of the first visitor is")
    other.run(prompt="7+5=")
    one.cell(0, 2).click()
    expect(one.attribution.locator("h2")).to_contain_text("Who pushed")
    other.cell(6, 1).click()
    expect(other.attribution.locator("h2")).to_contain_text("7")
    assert other.prompt_read() == "7+5="
    assert one.prompt_read() == "A secret of the first visitor is"
    assert "secret" not in other.page.content()
    late = visits()
    assert late.prompt_read() == PROMPT
    assert "secret" not in late.page.content()


# ---- keyboard


AREAS = {
    "share": ".lens-header .share",
    "language": ".lens-header select",
    "model": ".lens-model",
    "prompt": ".lens-prompt",
    "template": ".lens-template",
    "edit": ".lens-edit",
    "run": ".lens-run",
    "strip": "#lens-strip .strip",
    "badge": "#lens-strip .badge",
    "tab": "[role=tab]",
    "view": ".lens-choose-view",
    "colour": ".lens-choose-colour",
    "read at": ".lens-choose-read_at",
    "heat map": "#lens-heatmap table",
    "export": "#lens-heatmap .export",
    "options": ".lens-more",
    "followed": ".lens-followed",
    "chart": ".lens-chart",
    "inspector": ".lens-inspector",
}
"""The page in the order of the Tab key, by what it is found with."""


def tab_order(page: Page, presses: int = 90) -> list[str]:
    """The areas that Tab goes through from the top, one entry for every stop."""
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    found: list[str] = []
    for _ in range(presses):
        page.keyboard.press("Tab")
        area = page.evaluate(
            "(areas) => Object.entries(areas).find(([, selector]) =>"
            " document.activeElement.closest(selector))?.[0] ?? null",
            AREAS,
        )
        if area is not None:
            found.append(area)
        if found and found[-1] != "inspector" and "inspector" in found:
            break
    return found


def test_tab_goes_through_the_whole_page_in_the_order_it_is_read(visit: Visit) -> None:
    stops = tab_order(visit.page)
    in_order = [area for i, area in enumerate(stops) if i == 0 or stops[i - 1] != area]
    first = in_order.index("share")
    assert in_order[first : first + len(AREAS)] == list(AREAS)
    for area in ("strip", "heat map", "prompt", "run"):
        assert stops.count(area) == 1, area


def test_everything_can_be_done_with_the_keyboard(visit: Visit) -> None:
    page = visit.page
    visit.map.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(visit.card).to_contain_text("position 4")
    page.keyboard.press("Enter")
    expect(visit.prediction.locator("h2")).to_contain_text("France")
    page.keyboard.press("Escape")
    expect(visit.card).to_have_count(0)
    page.locator("#lens-strip .strip [tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(visit.prediction.locator("h2")).to_contain_text("The")
    page.locator(".lens-choose-colour input").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("#lens-heatmap .legend")).to_contain_text("Probability of the target")
    page.locator("button.lens-run").focus()
    with visit.running():
        page.keyboard.press("Enter")


def test_what_has_the_focus_has_a_ring(visit: Visit) -> None:
    page = visit.page
    for selector in (".lens-header .share", "#lens-heatmap .export", ".lens-inspector .row"):
        page.locator(selector).first.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        ring = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return s.outlineStyle === 'none' ? 0 : parseFloat(s.outlineWidth); })()"
        )
        assert ring >= 2, selector


# ---- phone, themes, motion


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_a_phone_nothing_is_wider_than_the_page(
    visits: Callable[..., Visit], language: str
) -> None:
    visit = visits(width=420, touch=True, lang=language)
    assert visit.sideways() == 0
    visit.page.locator(".lens-more > button:visible").click()
    assert visit.sideways() == 0
    visit.run(prompt="one two three four five six seven eight nine ten " * 12)
    assert visit.sideways() == 0
    fold = visit.page.locator(".lens-fold button")
    expect(fold).to_have_text(re.compile(f"demo · {words()[language]['template.plain']}"))


def test_on_a_phone_the_bar_is_one_line_that_unfolds(visits: Callable[..., Visit]) -> None:
    visit = visits(width=420, touch=True)
    fold = visit.page.locator(".lens-fold button")
    expect(fold).to_contain_text("demo · Plain text · None (original)")
    expect(visit.page.locator(".lens-model")).to_be_hidden()
    fold.tap()
    expect(visit.page.locator(".lens-model")).to_be_visible()
    pick(visit.page, "lens-template", "Plain, no special tokens")
    fold.tap()
    expect(visit.page.locator(".lens-model")).to_be_hidden()
    expect(fold).to_contain_text("demo · Plain, no special tokens")


@pytest.mark.parametrize("close", ["Escape", "×"])
def test_on_a_phone_the_inspector_rises_when_something_is_selected(
    visits: Callable[..., Visit], close: str
) -> None:
    visit = visits(width=420, touch=True)
    body = visit.page.locator("body")
    assert body.get_attribute("data-lens-sheet") is None
    visit.page.locator("#lens-strip [role=option]").nth(2).tap()
    expect(body).to_have_attribute("data-lens-sheet", "open")
    sheet = visit.page.locator(".lens-inspector:visible")
    expect(sheet).to_have_css("position", "fixed")
    expect(visit.prediction.locator("h2")).to_contain_text("capital")
    box = sheet.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] == pytest.approx(900, abs=1)
    if close == "Escape":
        visit.page.keyboard.press("Escape")
    else:
        visit.page.locator(".lens-sheet-close:visible").tap()
    expect(body).not_to_have_attribute("data-lens-sheet", "open")
    expect(sheet).not_to_have_css("position", "fixed")


def test_on_a_phone_a_tap_shows_the_card_and_a_second_one_selects(
    visits: Callable[..., Visit],
) -> None:
    visit = visits(width=420, touch=True)
    visit.cell(3, -1).tap()
    expect(visit.card).to_contain_text("position 5")
    assert visit.page.locator("body").get_attribute("data-lens-sheet") is None
    visit.cell(3, -1).tap()
    expect(visit.page.locator("body")).to_have_attribute("data-lens-sheet", "open")
    visit.page.locator(".lens-sheet-close:visible").tap()
    expect(visit.page.locator("body")).not_to_have_attribute("data-lens-sheet", "open")


def test_on_a_phone_everything_is_large_enough_for_a_finger(visits: Callable[..., Visit]) -> None:
    visit = visits(width=420, touch=True)
    assert visit.page.evaluate(SMALL) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_can_be_read_at_every_width_in_both_themes(
    visits: Callable[..., Visit], theme: str, width: int
) -> None:
    visit = visits(width=width, theme=theme)
    visit.page.locator(".lens-more > button:visible").click()
    visit.cell(2, -1).hover()
    expect(visit.card).to_be_visible()
    card = visit.card.bounding_box()
    assert card is not None
    assert card["x"] >= 0
    assert card["x"] + card["width"] <= width
    assert visit.sideways() == 0
    assert visit.page.evaluate(PALE) == []
    visit.run("error", prompt="")
    assert visit.page.evaluate(PALE) == []


def test_nothing_moves_where_motion_is_not_wanted(visits: Callable[..., Visit], slow: Slow) -> None:
    visit = visits(context={"reduced_motion": "reduce"})
    with visit.running():
        visit.page.locator("button.lens-run").click()
        expect(visit.status).to_contain_text("Reading layer")
        moving = visit.page.evaluate(
            """() => [...document.querySelectorAll('.lens-viewer, .lens-viewer *, .lens-result')]
              .filter((e) => {
                const { animationName, transitionDuration } = getComputedStyle(e);
                return animationName !== 'none' || parseFloat(transitionDuration) > 0;
              }).map((e) => e.className)"""
        )
        slow.go.set()
    assert moving == []


# ---- other settings


def test_a_public_page_opens_with_its_own_sentence_and_offers_its_models_only(
    browser: Browser, tmp_path: Path
) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("7+5=\nred blue red\n", encoding="utf-8")
    settings = app.Settings(demo_mode=True, sentences_file=str(sentences))
    blocks, _ = app.build(settings)
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(settings))
    visit = Visit(browser, url, wait=False)
    visit.wait("done")
    assert visit.prompt_read() == "7+5="
    expect(visit.page.get_by_text("About", exact=True)).to_be_visible()
    model = visit.page.locator(".lens-model input")
    model.fill("gpt2")
    model.press("Tab")
    expect(model).to_have_value("demo")
    visit.close()
    blocks.close()
