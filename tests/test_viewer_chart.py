"""The chart viewer in a real browser: when plotly.js is fetched, colours, clicks, table, texts."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from families import IDS, loaded
from playwright.sync_api import Browser, Page, expect

from lens_core import logit_lens
from lens_core.figures import (
    figure_json,
    lens_attribution,
    lens_heatmap,
    lens_trajectories,
    style,
)
from lens_core.settings import Settings
from tabs.page import PLOTLY, app_options
from tabs.theme import theme
from tabs.viewers import drawn, viewer
from tabs.words import LANGUAGES, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = [
    '<a href="javascript:document.body.dataset.pwned=1">x</a>',
    "<img src=x onerror='document.body.dataset.pwned=1'>",
    "%{x} $x$ ${HOME} {{value}}",
]
NAMES = ("lines", "grid", "bars", "hidden")
SUMMARY = "Probability of each candidate by layer"


def record(texts: list[str] | None = None) -> dict[str, Any]:
    """A lens of a tiny model, whose tokens may be given other texts."""
    found = logit_lens(loaded("llama"), IDS, components=["embed", "resid_post"], k=4).to_json()
    tracked = [str(token) for token in found["tracked"][0]["ids"]]
    for i, token in enumerate(dict.fromkeys([*tracked, *found["vocab"]])):
        found["vocab"][token].update(text=texts[i % len(texts)] if texts else f" t{i}", bytes=None)
    for i, token in enumerate(found["input"]["tokens"]):
        token["text"] = texts[i % len(texts)] if texts else token["text"]
    return found


def lines(found: dict[str, Any], **options: Any) -> Any:
    ids = found["tracked"][0]["ids"]
    return lens_trajectories(found, [ids[0], ids[1:3], ids[3], ids[4], ids[5]], **options)


def chart(figure: Any, **changes: Any) -> dict[str, Any]:
    return {
        "figure": None if figure is None else figure_json(figure),
        "name": "chart",
        "summary": SUMMARY,
        "height": None,
        "empty": "Nothing is followed yet.",
        **changes,
    }


def first_values() -> dict[str, dict[str, Any]]:
    found = record()
    return {
        "lines": chart(lines(found)),
        "grid": chart(lens_heatmap(found)),
        "bars": chart(lens_attribution(found)),
        "hidden": chart(lines(found)),
    }


@dataclass
class Stage:
    """A page with charts, one of them in a second tab; `values` is what Send shows."""

    url: str = ""
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def page(self) -> gr.Blocks:
        with gr.Blocks() as page:
            made = {}
            send = gr.Button("Send")
            with gr.Tabs():
                with gr.Tab("One"):
                    gr.HTML("<div id='far' style='height: 1600px'></div>")
                    for name in NAMES[:-1]:
                        with gr.Column(elem_classes="lens-panel", elem_id=name):
                            made[name] = viewer("chart")
                with gr.Tab("Two"), gr.Column(elem_classes="lens-panel", elem_id="hidden"):
                    made["hidden"] = viewer("chart")
            for name, component in made.items():
                component.point(self.taker(name))
            send.click(lambda: [drawn(self.values[name]) for name in NAMES], None, [*made.values()])
        return page

    def taker(self, name: str) -> Any:
        def take(data: gr.EventData) -> None:
            self.events.append((name, dict(data._data)))

        return take


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    stage = Stage()
    page = stage.page()
    options = app_options(Settings())
    _, stage.url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, ssr_mode=False, theme=theme(), app_kwargs=options
    )
    yield stage
    page.close()


@pytest.fixture
def stage(running: Stage) -> Stage:
    running.values = first_values()
    running.events.clear()
    return running


class Visit:
    """One page of charts, with the errors it raised and what it fetched."""

    def __init__(
        self,
        browser: Browser,
        stage: Stage,
        *,
        width: int = 1400,
        theme: str = "light",
        language: str = "en",
        far: bool = False,
        **options: Any,
    ) -> None:
        self.stage = stage
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.fetched: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.goto(f"{stage.url}?__theme={theme}&lang={language}")
        expect(self.page.get_by_role("button", name="Send")).to_be_visible(timeout=30_000)
        self.page.locator("#far").wait_for()
        if not far:
            self.page.evaluate("document.getElementById('far').style.height = '1px'")

    def send(self, **values: dict[str, Any]) -> None:
        self.stage.values |= values
        self.page.get_by_role("button", name="Send").click()

    def draw(self, **values: dict[str, Any]) -> None:
        """Let Python send these values and wait until the lines are drawn."""
        count = self.drawings("lines")
        self.send(**values)
        self.wait("lines", count)

    def drawings(self, name: str) -> int:
        frame = self.page.locator(f"#{name} .frame[data-drawn]")
        return int(frame.get_attribute("data-drawn") or 0) if frame.count() else 0

    def wait(self, name: str, count: int = 0) -> None:
        self.page.wait_for_function(
            "([name, count]) => +(document.querySelector(`#${name} .frame`)?.dataset.drawn ?? 0)"
            " > count",
            arg=[name, count],
            timeout=30_000,
        )

    def scripts(self) -> int:
        """How often plotly.js was asked for."""
        return sum(PLOTLY in url for url in self.fetched)

    def event(self) -> dict[str, Any]:
        """The data of the first event that reaches Python."""
        until = time.monotonic() + 10
        while not self.stage.events and time.monotonic() < until:
            self.page.wait_for_timeout(50)
        return self.stage.events[0][1]

    def of(self, what: str, name: str = "lines") -> Any:
        """Something of the Plotly chart."""
        return self.page.evaluate(f"document.querySelector('#{name} .plot').{what}")

    def close(self) -> None:
        assert self.errors == []
        self.context.close()


@pytest.fixture
def visit(browser: Browser, stage: Stage) -> Iterator[Visit]:
    visit = Visit(browser, stage)
    visit.draw()
    yield visit
    visit.close()


def test_plotly_is_fetched_once_and_only_when_a_chart_comes_into_view(
    browser: Browser, stage: Stage
) -> None:
    visit = Visit(browser, stage, far=True)
    visit.send()
    expect(visit.page.locator("#lines .frame")).to_have_count(1)
    visit.page.wait_for_timeout(500)
    assert visit.scripts() == 0
    height = visit.page.locator("#lines .frame").bounding_box()
    assert height is not None
    assert height["height"] == stage.values["lines"]["figure"]["layout"]["height"]
    visit.page.locator("#lines").scroll_into_view_if_needed()
    visit.wait("lines")
    visit.page.locator("#bars").scroll_into_view_if_needed()
    visit.wait("bars")
    visit.send()
    visit.page.wait_for_timeout(300)
    assert visit.scripts() == 1
    visit.close()


def test_a_page_without_a_figure_fetches_nothing_and_says_why(
    browser: Browser, stage: Stage
) -> None:
    visit = Visit(browser, stage)
    visit.send(**{name: chart(None) for name in NAMES})
    expect(visit.page.locator("#lines .empty")).to_have_text("Nothing is followed yet.")
    visit.page.wait_for_timeout(300)
    assert visit.scripts() == 0
    visit.draw(lines=chart(lines(record())))
    assert visit.scripts() == 1
    visit.send(lines=chart(None))
    expect(visit.page.locator("#lines .frame")).to_be_hidden()
    expect(visit.page.locator("#lines .tools")).to_be_hidden()
    visit.close()


def test_plotly_travels_compressed_and_is_kept(stage: Stage) -> None:
    url = stage.url.rstrip("/") + PLOTLY
    sizes = {}
    for coding in ("br", "gzip", "identity"):
        with httpx.stream("GET", url, headers={"accept-encoding": coding}) as answer:
            sizes[coding] = sum(map(len, answer.iter_raw()))
        assert answer.headers.get("content-encoding", "identity") == coding
        assert "max-age" in answer.headers["cache-control"]
        known = {"accept-encoding": coding, "if-none-match": answer.headers["etag"]}
        assert httpx.get(url, headers=known).status_code == 304
    assert sizes["br"] < sizes["gzip"] < 0.35 * sizes["identity"]


def test_a_failed_load_says_so_and_can_be_tried_again(browser: Browser, stage: Stage) -> None:
    visit = Visit(browser, stage)
    visit.page.route(f"**{PLOTLY}", lambda route: route.abort())
    visit.send()
    alert = visit.page.locator("#lines [role=alert]")
    expect(alert).to_have_text("The chart could not be loaded.")
    visit.page.unroute(f"**{PLOTLY}")
    visit.page.locator("#lines").get_by_role("button", name="Try again").click()
    visit.wait("lines")
    expect(visit.page.locator("#lines .wait")).to_be_hidden()
    visit.close()


def test_the_numbers_drawn_are_those_of_the_figure(visit: Visit) -> None:
    sent = visit.stage.values["lines"]["figure"]["data"]
    shown = json.loads(visit.page.evaluate("JSON.stringify(document.querySelector('.plot').data)"))
    assert [trace["y"] for trace in shown] == [trace["y"] for trace in sent]
    assert visit.page.locator("#lines .annotation-text").count() == len(sent)
    ends = visit.page.locator("#lines .annotation-text").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().y).sort((a, b) => a - b)"
    )
    assert all(b - a >= 14 for a, b in itertools.pairwise(ends))


def test_a_theme_change_recolours_without_remounting(visit: Visit) -> None:
    visit.page.evaluate("document.querySelector('#lines .main-svg').dataset.same = 1")
    first = visit.of("data.at(-1).line.color")
    assert first == style.LIGHT.series[0]
    count = visit.drawings("lines")
    visit.page.evaluate("document.body.classList.toggle('dark')")
    visit.wait("lines", count)
    assert visit.of("data.at(-1).line.color") == style.DARK.series[0]
    assert visit.of("layout.font.color") == style.DARK.text
    assert visit.of("layout.xaxis.tickfont.color") == style.DARK.subdued
    assert visit.of("layout.paper_bgcolor") == "rgba(0,0,0,0)"
    assert visit.page.locator("#lines .main-svg[data-same]").count() == 1


def test_cells_take_the_scale_and_the_text_colour_of_the_theme(visit: Visit) -> None:
    visit.page.locator("#grid").scroll_into_view_if_needed()
    visit.wait("grid")
    count = visit.drawings("grid")
    light = visit.of("data[0].colorscale[0][1]", "grid")
    visit.page.evaluate("document.body.classList.add('dark')")
    visit.wait("grid", count)
    assert light == "rgb(243,247,251)"
    assert visit.of("data[0].colorscale[0][1]", "grid") == "rgb(23,32,43)"
    assert set(visit.of("data[1].textfont.color", "grid")) <= {"#000", "#fff"}


def test_a_click_on_a_point_reaches_python(visit: Visit) -> None:
    trace = len(visit.of("data")) - 1
    marker = visit.page.locator("#lines .trace").last.locator(".point").nth(2)
    box = marker.bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(visit.page.locator("#lines .hovertext")).to_be_visible()
    visit.page.mouse.down()
    visit.page.mouse.up()
    found = visit.event()
    sent = visit.stage.values["lines"]["figure"]["data"][trace]
    assert (found["curve"], found["index"]) == (trace, 2)
    assert (found["x"], found["y"]) == ("L1", sent["y"][2])
    assert found["customdata"] == 1


def test_cells_of_a_grid_are_clicked_with_their_data(visit: Visit) -> None:
    visit.page.locator("#grid").scroll_into_view_if_needed()
    visit.wait("grid")
    box = visit.page.locator("#grid .nsewdrag").bounding_box()
    assert box is not None
    visit.page.mouse.click(box["x"] + 10, box["y"] + box["height"] - 10)
    found = visit.event()
    assert found["index"] == [0, 0]
    assert (
        found["customdata"] == visit.stage.values["grid"]["figure"]["data"][0]["customdata"][0][0]
    )


def test_points_are_visited_with_the_keyboard(visit: Visit) -> None:
    visit.page.locator("#lines .plot").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        visit.page.keyboard.press(key)
    expect(visit.page.locator("#lines .hovertext")).to_be_visible()
    second = visit.stage.values["lines"]["figure"]["data"][-2]
    said = visit.page.locator("#lines [aria-live]").text_content()
    assert said is not None
    assert said.startswith("·t1 + ·t2, L0 · ") or second["name"] in said
    visit.page.keyboard.press("Enter")
    assert visit.event()["curve"] == 3
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator("#lines .hovertext")).to_have_count(0)
    outline = visit.page.locator("#lines .plot").evaluate("e => getComputedStyle(e).outlineWidth")
    assert outline == "2px"


def test_zoom_survives_new_numbers_and_can_be_reset(visit: Visit) -> None:
    reset = visit.page.locator("#lines").get_by_role("button", name="Reset zoom")
    expect(reset).to_be_hidden()
    box = visit.page.locator("#lines .nsewdrag").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=5)
    visit.page.mouse.up()
    expect(reset).to_be_visible()
    zoomed = visit.of("layout.xaxis.range")
    assert zoomed[0] > 1
    changed = record()
    changed["tracked"][0]["p"]["resid_post"][0] = [0.1, 0.2, 0.3]
    visit.draw(lines=chart(lines(changed)))
    assert visit.of("layout.xaxis.range") == zoomed
    reset.click()
    visit.page.wait_for_function("document.querySelector('.plot').layout.xaxis.range[0] === 0")
    expect(reset).to_be_hidden()


def test_the_table_has_every_number(visit: Visit) -> None:
    panel = visit.page.locator("#lines")
    expect(panel.locator(".plot")).to_have_attribute("role", "img")
    expect(panel.locator(".plot")).to_have_attribute("aria-label", SUMMARY)
    toggle = panel.get_by_role("button", name="Show as a table")
    toggle.click()
    table = panel.locator("table")
    sent = visit.stage.values["lines"]["figure"]["data"][::-1]
    assert table.locator("thead th").all_inner_texts()[0] == "·t0"
    assert table.locator("tbody th").all_inner_texts() == sent[0]["x"]
    cells = table.locator("tbody tr").nth(1).locator("td").all_inner_texts()
    assert len(cells) == len(sent)
    for cell, trace in zip(cells, sent, strict=True):
        share = trace["y"][1]
        expected = "<0.1%" if 0 < share < 0.001 else f"{100 * share:.1f}%"
        assert cell.startswith(expected)
    panel.get_by_role("button", name="Hide the table").click()
    expect(table).to_be_hidden()


def test_grids_and_bars_have_tables_too(visit: Visit) -> None:
    for name, row, count in (("grid", "L2", 4), ("bars", "Embedding", 9)):
        panel = visit.page.locator(f"#{name}")
        panel.get_by_role("button", name="Show as a table").click()
        assert panel.locator("tbody th").first.inner_text() == row
        assert panel.locator("tbody tr").count() >= count
        assert all(panel.locator("tbody td").all_inner_texts())


def test_hostile_tokens_are_text_in_chart_hover_table_and_picture(
    browser: Browser, stage: Stage, tmp_path: Path
) -> None:
    visit = Visit(browser, stage)
    found = record(HOSTILE)
    visit.draw(lines=chart(lines(found)), grid=chart(lens_heatmap(found)))
    panel = visit.page.locator("#lines")
    assert any("<a·href" in text for text in panel.locator(".annotation-text").all_text_contents())
    visit.page.locator("#lines .plot").focus()
    visit.page.keyboard.press("ArrowRight")
    expect(panel.locator(".hovertext")).to_contain_text(HOSTILE[0].replace(" ", "·")[:30])
    for _ in range(4):
        visit.page.keyboard.press("ArrowDown")
    expect(panel.locator(".hovertext")).to_contain_text(HOSTILE[2].replace(" ", "·"))
    panel.get_by_role("button", name="Show as a table").click()
    assert "javascript:" in panel.locator("table").inner_text()
    assert visit.page.locator(".lens-chart :is(a, img, script)").count() == 0
    with visit.page.expect_download() as download:
        panel.get_by_role("button", name="Save as SVG").click()
    download.value.save_as(tmp_path / "chart.svg")
    picture = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert "<a " not in picture
    assert "<img" not in picture
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
    visit.close()


def test_a_chart_in_a_hidden_tab_is_drawn_when_the_tab_opens(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Two").click()
    visit.wait("hidden")
    width = visit.of("layout.width", "hidden")
    assert width > 800
    visit.page.get_by_role("tab", name="One").click()
    expect(visit.page.locator("#hidden")).to_be_hidden()
    count = visit.drawings("hidden")
    changed = record()
    changed["tracked"][0]["p"]["resid_post"][0] = [0.1, 0.2, 0.3]
    visit.draw(lines=chart(lines(changed)), hidden=chart(lines(changed)))
    visit.page.wait_for_timeout(300)
    assert visit.drawings("hidden") == count, "not while hidden"
    visit.page.get_by_role("tab", name="Two").click()
    visit.wait("hidden", count)
    assert visit.of("data.at(-1).y", "hidden")[1:] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("theme_name", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_charts_fit_the_page_and_buttons_the_finger(
    browser: Browser, stage: Stage, width: int, theme_name: str
) -> None:
    phone: dict[str, Any] = {"has_touch": True, "is_mobile": True} if width == 420 else {}
    visit = Visit(browser, stage, width=width, theme=theme_name, **phone)
    visit.draw()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    assert visit.of("layout.width") <= width
    tools = visit.page.locator("#lines .tools button:visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(tools) >= (40 if width == 420 else 24)
    if width == 420:
        assert visit.of("layout.dragmode") is False, "a finger scrolls the page"
        assert (
            visit.page.locator("#lines .quiet").evaluate("e => getComputedStyle(e).opacity") == "1"
        )
    visit.close()


def test_the_width_follows_the_window(visit: Visit) -> None:
    before = visit.of("layout.width")
    visit.page.set_viewport_size({"width": 900, "height": 900})
    visit.page.wait_for_function(
        "before => document.querySelector('.plot').layout.width < before", arg=before
    )


@pytest.mark.parametrize("format", ["PNG", "SVG"])
def test_pictures_are_saved_with_a_background(visit: Visit, tmp_path: Path, format: str) -> None:
    with visit.page.expect_download() as download:
        visit.page.locator("#lines").get_by_role("button", name=f"Save as {format}").click()
    assert download.value.suggested_filename == f"chart.{format.lower()}"
    download.value.save_as(tmp_path / "chart")
    content = (tmp_path / "chart").read_bytes()
    assert content.startswith(b"\x89PNG" if format == "PNG" else b"<svg")
    assert len(content) > 4000


def test_nothing_moves_by_itself(browser: Browser, stage: Stage) -> None:
    visit = Visit(browser, stage, reduced_motion="reduce")
    visit.draw()
    style_of = "e => getComputedStyle(e).transitionDuration"
    assert visit.page.locator("#lines .quiet").evaluate(style_of) == "0s"
    assert visit.of("layout.transition") is None
    visit.close()


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_it_speaks_the_language_of_the_page(browser: Browser, stage: Stage, language: str) -> None:
    visit = Visit(browser, stage, language=language)
    said = words()[language]
    visit.draw(lines=chart(lines(record(), before=record())))
    panel = visit.page.locator("#lines")
    panel.get_by_role("button", name=said["chart.table"]).click()
    heads = panel.locator("thead th").all_inner_texts()
    assert heads[:2] == [f"·t0 ({said['chart.before']})", f"·t0 ({said['chart.after']})"]
    visit.page.locator("#lines .plot").focus()
    visit.page.keyboard.press("ArrowRight")
    expect(panel.locator(".hovertext")).to_contain_text(said["chart.before"])
    visit.close()
