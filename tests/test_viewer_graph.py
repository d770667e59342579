"""The contribution graph in a real browser: what is drawn, pointed at, moved, chosen and saved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from graph_cases import CASES, HOSTILE
from PIL import Image
from playwright.sync_api import Browser, Locator, expect
from viewer_stage import SMALLEST_TARGET, Stage, Visit
from visits import PALE

from tabs.words import words

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    stage = Stage(first=lambda: {"graph": CASES["capital"]()}, viewers={"graph": "graph"})
    with stage.launched():
        yield stage


class Graph(Visit):
    """A page with one graph."""

    def draw(self, case: str, **changes: Any) -> dict[str, Any]:
        value = {**CASES[case](), **changes}
        self.show(graph=value)
        return value

    @property
    def card(self) -> Locator:
        return self.page.locator(".lens-graph .card")

    @property
    def stage_box(self) -> Locator:
        return self.page.locator(".stage")

    def node(self, name: str) -> tuple[float, float]:
        """The middle of a node on the screen."""
        return self.middle(self.page.locator(f'.nodes [data-id="{name}"]'))

    def middle(self, mark: Locator) -> tuple[float, float]:
        box = mark.bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def link(self, name: str, share: float = 0.6) -> tuple[float, float]:
        """A point of a link on the screen."""
        path = self.page.locator(f'.links [data-id="{name}"]')
        x, y = path.evaluate(
            """(path, share) => {
              const at = path.getPointAtLength(share * path.getTotalLength());
              const { x, y } = at.matrixTransform(path.getScreenCTM());
              return [x, y];
            }""",
            share,
        )
        return x, y

    def focus(self) -> None:
        """As the Tab key does."""
        self.page.keyboard.press("Shift")
        self.stage_box.focus()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tell(self, topic: str, data: Any) -> None:
        self.page.evaluate("([topic, data]) => lens.tell('graph', topic, data)", [topic, data])

    def transform(self) -> list[float]:
        """x, y and scale of the columns, after what waits for the next frame."""
        self.page.evaluate(
            "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
        )
        text = self.page.locator(".world").get_attribute("transform") or ""
        return [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)]

    def said(self) -> str:
        return self.page.locator(".said").text_content() or ""


Open = Callable[..., Graph]


@pytest.fixture
def opened(browser: Browser, running: Stage) -> Iterator[Open]:
    """Open the page with a case; nothing may go wrong in any page."""
    running.reset()
    pages: list[Graph] = []

    def open_case(case: str = "capital", **options: Any) -> Graph:
        pages.append(Graph(browser, running, **options))
        if case != "capital":
            pages[-1].draw(case)
        return pages[-1]

    yield open_case
    for page in pages:
        assert page.page.evaluate("document.body.dataset.pwned ?? null") is None
        page.close()


# ---- what is drawn


@pytest.mark.parametrize("case", ["capital", "object", "parallel", "biases", "mixer", "middle"])
def test_every_link_and_node_is_drawn_as_wide_as_it_weighs(opened: Open, case: str) -> None:
    page = opened(case)
    value = CASES[case]()
    edges, ids = value["edges"], value["nodes"]["ids"]
    expected = {
        f"{ids[src]} {ids[dst]} {('residual', 'attention', 'ffn', 'bias', 'mixer')[kind]}": w
        for src, dst, kind, w in zip(
            edges["src"], edges["dst"], edges["kind"], edges["w"], strict=True
        )
    }
    found = page.page.locator(".links path").evaluate_all(
        "all => all.map(e => [e.dataset.id, +e.getAttribute('stroke-width')])"
    )
    assert {name: width for name, width in found} == pytest.approx(
        {name: 1 + 6 * w for name, w in expected.items()}, abs=0.006
    )
    nodes = page.page.locator(".nodes [data-id]").evaluate_all("all => all.map(e => e.dataset.id)")
    assert set(nodes) == {name for name in ids if name[0] != "X"}
    assert page.page.locator(".ring").count() == len(value["roots"])


def test_attention_is_drawn_over_the_mlp_and_that_over_the_stream(opened: Open) -> None:
    kinds = (
        opened("copy")
        .page.locator(".links path")
        .evaluate_all("all => all.map(e => e.getAttribute('class'))")
    )
    order = ["residual", "ffn", "attention"]
    assert [order.index(kind) for kind in kinds] == sorted(order.index(kind) for kind in kinds)


@pytest.mark.parametrize("case", ["capital", "fine", "all", "large"])
def test_marks_do_not_cover_each_other(opened: Open, case: str) -> None:
    boxes = (
        opened(case)
        .page.locator(".weights text")
        .evaluate_all(
            """all => all.map(e => e.getBoundingClientRect())
          .map(({ left, right, top, bottom }) => [left, right, top + 2, bottom - 2])"""
        )
    )
    assert boxes
    for i, (left, right, top, bottom) in enumerate(boxes):
        for a, b, c, d in boxes[:i]:
            assert left >= b or right <= a or top >= d or bottom <= c


def test_weights_are_written_where_they_matter(opened: Open) -> None:
    value = CASES["capital"]()
    texts = opened().page.locator(".weights text").all_text_contents()
    edges = value["edges"]
    wanted = {
        f"{w:.2f}"
        for w, flow, kind in zip(edges["w"], edges["influence"], edges["kind"], strict=True)
        if kind != 0 and w >= 0.1 and flow >= 0.05
    }
    assert set(texts) == wanted


@pytest.mark.parametrize("case", ["capital", "object", "fine", "biases", "parallel"])
def test_the_shares_sum_to_a_hundred(opened: Open, case: str) -> None:
    page = opened(case)
    value = CASES[case]()
    shares = [int(text[:-1]) for text in page.page.locator(".share text").all_text_contents()]
    ended = sum(share for share in value["rest"].values() if abs(share) > 0.005)
    assert sum(shares) == round(100 * (1 - ended))
    assert all(abs(a - 100 * b) < 1 for a, b in zip(shares, value["share"], strict=True))
    strip = page.page.locator(".strip").inner_text()
    assert ("biases" in strip) == (value["rest"]["bias"] > 0.005)


def test_counts_and_hidden_links_are_said_in_words(opened: Open) -> None:
    page = opened()
    expect(page.page.locator(".counts")).to_have_text("30 links above 0.04")
    page.draw("large")
    expect(page.page.locator(".counts")).to_have_text(
        re.compile("1,500 links shown; 1,303 more are above")
    )


def test_the_prediction_stands_above_its_root(opened: Open) -> None:
    page = opened()
    chip = page.page.locator(".prediction")
    assert chip.locator("text").text_content() == "·Paris 98%"
    box = chip.locator("rect").bounding_box()
    assert box is not None
    x, y = page.node("I5_5")
    assert box["x"] < x < box["x"] + box["width"]
    assert box["y"] < y
    page.draw("middle")
    assert page.page.locator(".prediction rect").count() == 0


def test_a_summary_says_what_the_picture_shows(opened: Open) -> None:
    page = opened()
    stage = page.stage_box
    assert stage.get_attribute("role") == "application"
    assert page.page.locator("svg.picture").get_attribute("role") == "img"
    said = page.page.locator(f"#{stage.get_attribute('aria-describedby')}").text_content() or ""
    for part in (
        "Output of L5 at ·is",
        "predicts ·Paris with 97",
        "Attention: from Output of L0 at ·is (position 5)",
        "weight 0.951",
        "·France 5",
    ):
        assert part in said, said


def test_text_of_tokens_is_never_markup(opened: Open) -> None:
    page = opened("hostile")
    assert page.page.locator(".lens-graph :is(img, script, style)").count() == 0
    notes = page.page.locator(".note").all_text_contents()
    assert notes == HOSTILE[:2]
    assert page.stage_box.get_attribute("aria-label") == HOSTILE[0]


def test_signs_are_colours_and_dashes(opened: Open) -> None:
    page = opened("difference")
    styles = page.page.locator(".links path").evaluate_all(
        "all => all.map(e => [e.getAttribute('class'), getComputedStyle(e).strokeDasharray])"
    )
    assert {tuple(style) for style in styles} == {("raises", "none"), ("lowers", "5px, 3px")}
    legend = page.page.locator(".legend").inner_text()
    assert "More in the second" in legend
    assert "Token of the first" in legend
    assert page.page.locator(".token.side-b").count() == 2
    assert page.page.locator(".share text").all_text_contents()[0] == "−4%"


# ---- pointing and choosing


def test_pointing_at_a_link_shows_its_card_and_fades_the_others(opened: Open) -> None:
    page = opened()
    page.page.mouse.move(*page.link("X0_4 A0_5 attention"))
    for text in ("Attention", "0.551", "%", "Head 0", "Click for details"):
        expect(page.card).to_contain_text(text)
    expect(page.page.locator(".links")).to_have_css("opacity", "0.25")
    assert page.page.locator(".front path").count() == 1
    page.page.mouse.move(300, 890)
    expect(page.card).to_have_count(0)
    expect(page.page.locator(".links")).to_have_css("opacity", "1")


def test_a_click_on_a_link_selects_it_without_another_colour(opened: Open) -> None:
    page = opened()
    before = page.page.locator(".links").inner_html()
    page.page.mouse.click(*page.link("X0_4 A0_5 attention"))
    data = {"src": "X0_4", "dst": "A0_5", "kind": "attention"}
    assert page.event("graph", "edge") == data
    assert page.page.locator(".outline.selected .line").count() == 1
    colour = page.page.locator(".outline.selected .line").evaluate(
        "e => getComputedStyle(e).stroke"
    )
    assert colour == "rgb(194, 65, 12)"
    assert page.page.locator(".links").inner_html() == before
    page.page.mouse.move(300, 890)
    expect(page.card).to_contain_text("Attention")
    page.focus()
    page.press("Escape")
    expect(page.page.locator(".outline.selected")).to_have_count(0)
    expect(page.card).to_have_count(0)


@pytest.mark.parametrize("name", ["A2_5", "M4_5", "I3_5"])
def test_a_click_on_a_node_tells_its_name(opened: Open, name: str) -> None:
    page = opened()
    page.page.mouse.click(*page.node(name))
    assert page.event("graph", "node") == {"id": name}
    page.card.get_by_role("button", name="Use as root").click()
    assert page.event("graph", "root") == {"id": name}


def test_dots_tokens_and_triangles_can_be_pressed(opened: Open) -> None:
    page = opened()
    x, y = page.middle(page.page.locator(".triangle").nth(2))
    page.page.mouse.click(x, page.node("I3_5")[1])
    assert page.event("graph", "node") == {"id": "I3_2"}
    expect(page.card).to_contain_text("Nothing above the threshold")
    page.page.mouse.click(x, y)
    assert page.event("graph", "root") == {"id": "I5_2"}
    page.stage.events.clear()
    page.page.mouse.click(*page.middle(page.page.locator(".token").nth(4)))
    assert page.event("graph", "node") == {"id": "X0_4"}


@pytest.mark.parametrize(("case", "name"), [("biases", "B2_6"), ("mixer", "S0_6")])
def test_biases_and_mixers_are_places_of_their_own(opened: Open, case: str, name: str) -> None:
    page = opened(case)
    page.page.mouse.click(*page.node(name))
    assert page.event("graph", "node") == {"id": name}
    assert page.card.get_by_role("button").count() == 0


def test_a_selection_from_elsewhere_is_shown_and_moved_into_sight(opened: Open) -> None:
    page = opened("large", width=900)
    value = CASES["large"]()
    edges, ids = value["edges"], value["nodes"]["ids"]
    index = max(
        (i for i, kind in enumerate(edges["kind"]) if kind == 1),
        key=lambda i: -int(ids[edges["dst"][i]].split("_")[1]),
    )
    data = {"src": ids[edges["src"][index]], "dst": ids[edges["dst"][index]], "kind": "attention"}
    before = page.transform()
    page.tell("select", data)
    after = page.transform()
    assert after[0] > before[0]
    assert page.page.locator(".outline.selected").count() == 1
    page.tell("select", {"node": value["roots"][0]})
    assert page.transform()[0] < after[0]
    page.tell("select", None)
    assert page.page.locator(".outline.selected").count() == 0
    assert page.stage.events == []


# ---- the keyboard


def test_arrows_move_along_links_from_one_tab_stop(opened: Open) -> None:
    page = opened()
    assert page.page.locator(".stage, .stage [tabindex]").count() == 1
    page.focus()
    expect(page.card).to_contain_text("Output of L5")
    page.press("ArrowDown")
    assert page.said().startswith("Stream, carried on: from L5, after attention")
    page.press("ArrowDown", "ArrowDown", "ArrowDown")
    assert page.said().startswith("Output of L4")
    page.press("ArrowDown", "ArrowRight")
    assert page.said().startswith("MLP: from MLP of L4")
    page.press("ArrowLeft", "ArrowUp")
    assert page.said().startswith("Output of L4")
    page.press("Home")
    assert page.said().startswith("Output of L5 at ·is")
    page.press("ArrowLeft")
    assert page.said() == "Output of L5 at ·France (position 4), not part of this graph"


def test_enter_opens_and_escape_clears(opened: Open) -> None:
    page = opened()
    page.focus()
    page.press("ArrowDown", "Enter")
    assert page.event("graph", "edge") == {"src": "A5_5", "dst": "I5_5", "kind": "residual"}
    page.press("ArrowDown", "Enter")
    assert page.event("graph", "node") == {"id": "A5_5"}
    page.press("Tab")
    expect(page.card.get_by_role("button", name="Use as root")).to_be_focused()
    page.press("Escape")
    expect(page.card).to_have_count(0)
    expect(page.stage_box).to_be_focused()


def test_plus_minus_and_zero_zoom(opened: Open) -> None:
    page = opened()
    page.focus()
    page.press("+")
    assert page.transform()[2] == pytest.approx(1.3)
    page.press("-", "-")
    assert page.transform()[2] == 1
    page.press("+", "+", "0")
    assert page.transform() == [0, 0, 1]
    expect(page.stage_box).to_be_focused()


def test_the_focus_survives_a_redraw(opened: Open) -> None:
    page = opened()
    page.focus()
    page.press("ArrowDown")
    page.act(lambda: page.page.evaluate("document.body.classList.toggle('dark')"), "graph")
    expect(page.stage_box).to_be_focused()
    page.press("ArrowDown")
    assert page.said().startswith("L5, after attention")


# ---- moving


def test_a_drag_moves_the_columns_and_selects_nothing(opened: Open) -> None:
    page = opened("large")
    before = page.transform()
    page.page.mouse.move(500, 400)
    page.page.mouse.down()
    page.page.mouse.move(700, 400, steps=4)
    page.page.mouse.up()
    assert page.transform()[0] == pytest.approx(before[0] + 200, abs=2)
    assert page.stage.events == []
    labels = page.page.locator(".labels text").first.bounding_box()
    outer = page.stage_box.bounding_box()
    assert labels is not None
    assert outer is not None
    assert 0 <= labels["x"] - outer["x"] < 58, "the layers stay at the left"


def test_the_page_scrolls_over_the_graph_and_ctrl_zooms(opened: Open) -> None:
    page = opened()
    page.page.set_viewport_size({"width": 1400, "height": 500})
    page.page.mouse.move(500, 300)
    page.page.mouse.wheel(0, 200)
    page.page.wait_for_function("scrollY > 0")
    assert page.transform()[2] == 1
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, -100)
    page.page.keyboard.up("Control")
    assert page.transform()[2] > 1.2


def test_a_long_prompt_starts_at_its_root_and_fits_on_request(opened: Open) -> None:
    page = opened("large")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 1400
    outer = page.stage_box.bounding_box()
    assert outer is not None
    assert page.node("I23_63")[0] < outer["x"] + outer["width"]
    edges = page.page.locator(".edge").evaluate_all("all => all.map(e => e.style.opacity)")
    assert edges == ["1", "0"], "there are more columns at the left"
    page.page.get_by_role("button", name="Fit").click()
    assert page.page.get_by_role("button", name="Fit").get_attribute("aria-pressed") == "true"
    shown = page.page.locator(".token").evaluate_all(
        "all => all.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().x)"
    )
    assert len(shown) == 64
    assert min(shown) >= outer["x"]
    assert max(shown) <= outer["x"] + outer["width"]


def test_a_threshold_leaves_the_view_where_it_was(opened: Open) -> None:
    page = opened("large")
    page.page.mouse.move(500, 400)
    page.page.mouse.down()
    page.page.mouse.move(640, 400, steps=3)
    page.page.mouse.up()
    before = page.transform()
    page.draw("large", threshold=0.05)
    assert page.transform() == before


def test_full_screen_and_back(opened: Open) -> None:
    page = opened()
    page.page.get_by_role("button", name="Full screen").click()
    page.page.wait_for_function("document.querySelector('.lens-graph').clientWidth === innerWidth")
    expect(page.page.get_by_role("button", name="Leave full screen")).to_be_visible()
    box = page.page.locator("svg.picture").bounding_box()
    assert box is not None
    assert box["width"] > 1300
    page.page.get_by_role("button", name="Leave full screen").click()
    page.page.wait_for_function("!document.querySelector('.lens-graph.full')")


# ---- topics and states


def test_the_first_column_can_be_hidden(opened: Open) -> None:
    page = opened("all")
    page.tell("hide_first", True)
    assert page.page.locator(".token").count() == 6, "it is a root here"
    expect(page.page.locator(".note")).to_contain_text("is the root and stays")
    page.draw("copy")
    value = CASES["copy"]()
    names = value["nodes"]["ids"]
    edges = value["edges"]
    ends = [(names[a], names[b]) for a, b in zip(edges["src"], edges["dst"], strict=True)]
    gone = [i for i, pair in enumerate(ends) if any(name.endswith("_0") for name in pair)]
    assert page.page.locator(".token").count() == len(value["tokens"]) - 1
    assert page.page.locator(".links path").count() == len(ends) - len(gone)
    expect(page.page.locator(".note")).to_contain_text(f"with its {len(gone)} links")
    page.tell("hide_first", False)
    assert page.page.locator(".links path").count() == len(ends)


def test_layers_that_only_carry_on_fold(opened: Open) -> None:
    page = opened("object")
    before = page.page.locator("svg.picture").bounding_box()
    page.tell("collapse", True)
    after = page.page.locator("svg.picture").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] < before["height"] - 30
    expect(page.page.locator(".note")).to_contain_text("L3 carried on")
    assert page.page.locator(".nodes [data-id$='3_14']").count() == 0


def test_nothing_above_the_threshold_offers_a_lower_one(opened: Open) -> None:
    page = opened("nothing")
    expect(page.page.locator(".nothing")).to_contain_text(
        "No link is above 0.40. The strongest is 0.38."
    )
    page.page.get_by_role("button", name="Hide links below 0.38").click()
    assert page.event("graph", "threshold") == {"value": 0.38}
    page.draw("nothing", strongest=0.04)
    assert page.page.get_by_role("button", name="Hide links below 0.039").count() == 1


def test_examples_start_a_run(opened: Open) -> None:
    page = opened("empty")
    examples = page.page.locator("button.example")
    assert examples.all_text_contents() == CASES["empty"]()["examples"]
    examples.nth(1).click()
    assert page.event("graph", "example") == {"index": 1}


# ---- a phone


def test_on_a_phone_columns_are_42_px_and_a_tap_shows(opened: Open) -> None:
    page = opened("object", width=420, touch=True)
    columns = page.page.locator(".token-column").evaluate_all(
        "all => all.map(e => new DOMMatrix(getComputedStyle(e).transform).e)"
    )
    assert np.diff(columns) == pytest.approx(42)
    assert page.page.evaluate("document.documentElement.scrollWidth") == 420
    assert page.page.evaluate(SMALLEST_TARGET) >= 40
    page.page.touchscreen.tap(*page.node("A4_14"))
    expect(page.card).to_contain_text("L4, after attention")
    assert page.stage.events == []
    box = page.card.bounding_box()
    assert box is not None
    assert (box["x"], box["width"], round(box["y"] + box["height"])) == (0, 420, 900)
    page.page.touchscreen.tap(*page.node("A4_14"))
    assert page.event("graph", "node") == {"id": "A4_14"}
    expect(page.card).to_have_count(0)


def test_two_fingers_zoom(opened: Open) -> None:
    page = opened("object", width=420, touch=True)
    client = page.context.new_cdp_session(page.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    touch("touchStart", (180, 300), (220, 300))
    for apart in range(20, 60, 10):
        touch("touchMove", (200 - apart, 300), (200 + apart, 300))
    touch("touchEnd")
    assert page.transform()[2] > 1.5
    assert page.stage.events == []


# ---- looks


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_words_around_the_graph_are_readable(opened: Open, theme: str, width: int) -> None:
    page = opened("copy", theme=theme, width=width)
    page.page.locator("button.export").click()
    assert page.page.evaluate(PALE) == []


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_every_word_is_in_the_language_of_the_page(opened: Open, language: str) -> None:
    page = opened("biases", language=language)
    page.page.mouse.move(*page.node("A1_6"))
    text = page.page.locator(".lens-graph").inner_text()
    assert "graph_view." not in text
    own = [key for key in words()[language] if key.startswith("graph_view.legend_b")]
    assert words()[language][own[0]] in text
    assert not re.search(r"[a-z]{6,}", text.replace("MLP", ""))


# ---- taking it away


@pytest.mark.parametrize("name", ["JSON", "GraphML", "CSV"])
def test_python_writes_the_data(opened: Open, name: str) -> None:
    page = opened()
    page.page.locator("button.export").click()
    items = page.page.get_by_role("menu", name="Export").get_by_role("menuitem")
    for key, place in (("End", 4), ("ArrowDown", 0), ("ArrowUp", 4), ("Home", 0)):
        page.press(key)
        expect(items.nth(place)).to_be_focused()
    page.page.get_by_role("menuitem", name=name).click()
    assert page.event("graph", "export") == {"format": name.lower()}
    expect(page.page.locator("button.export")).to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_drawing_stands_alone(opened: Open, theme: str, tmp_path: Path) -> None:
    page = opened("hostile", theme=theme)
    page.page.locator("button.export").click()
    with page.page.expect_download() as saving:
        page.page.get_by_role("menuitem", name="Drawing").click()
    assert saving.value.suggested_filename == "large.svg"
    path = tmp_path / "graph.svg"
    saving.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text)
    assert "var(" not in text
    assert re.findall(r"url\((?!\"data:font/woff2)", text) == []
    assert text.count("data:font/woff2") == 3
    texts = ["".join(one.itertext()) for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "".join(texts).startswith(HOSTILE[0][:20])
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}path"))) > 25
    assert page.page.locator(".picture-box").count() == 0


@pytest.mark.parametrize(("theme", "ground"), [("light", 255), ("dark", 23)])
def test_a_picture_has_the_whole_graph(
    opened: Open, theme: str, ground: int, tmp_path: Path
) -> None:
    page = opened("large", theme=theme)
    page.page.locator("button.export").click()
    with page.page.expect_download() as saving:
        page.page.get_by_role("menuitem", name="Picture").click()
    path = tmp_path / "graph.png"
    saving.value.save_as(path)
    picture = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    assert picture.shape[1] > 64 * 48 * 2
    assert picture[3, 3].tolist()[0] == ground
    # Something is drawn in the first and in the last column.
    for part in (picture[:, : 300 * 2], picture[:, -200 * 2 :]):
        assert (np.abs(part - picture[3, 3]).sum(2) > 200).any()


# ---- speed


@pytest.mark.parametrize("zooms", ["false", "true"])
def test_moving_1500_links_makes_no_link_again(opened: Open, zooms: str) -> None:
    page = opened("large").page
    made = page.evaluate(MOVE.replace("ZOOMS", zooms))
    assert made["moved"]
    assert made["nodes"] < 1500


MOVE = """() => new Promise(done => {
  const stage = document.querySelector('.lens-graph .stage');
  const look = () => stage.parentElement.innerHTML;
  const before = look();
  let nodes = 0;
  const observer = new MutationObserver(records => {
    for (const { addedNodes } of records) nodes += addedNodes.length;
  });
  observer.observe(stage.parentElement, { subtree: true, childList: true });
  const box = stage.getBoundingClientRect();
  let frames = 30;
  const step = () => {
    stage.dispatchEvent(new WheelEvent('wheel', { ctrlKey: ZOOMS, bubbles: true,
      cancelable: true, deltaX: 20 * (frames > 15 ? 1 : -1), deltaY: frames > 10 ? -9 : 9,
      clientX: box.left + 400, clientY: box.top + 300 }));
    frames -= 1;
    if (frames) requestAnimationFrame(step);
    else setTimeout(() => done({ nodes, moved: look() !== before }), 100);
  };
  step();
})"""
"""Thirty frames of scrolling sideways, or of zooming: what they made and whether they moved it."""
