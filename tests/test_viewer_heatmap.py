"""The heat map in a real browser: what is drawn, pointed at, chosen, saved, and how fast."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from heatmap_cases import CASES, HOSTILE, WORDS, attention, edited, lens, table, wave
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from visits import PALE

from lens_core.settings import Settings
from tabs.page import app_options
from tabs.theme import theme
from tabs.viewers import EVENTS, drawn, viewer
from tabs.words import words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCALES = ["probability", "amount", "signed"]

UNDEFINED = "undefined: one side has no token"


def pairs(columns: int = 6, **quantity: Any) -> dict[str, Any]:
    """Layers x tokens of two texts; what differs between them is a column with a label."""
    value = attention(columns)
    changed = columns - 2
    value["rows"] = [{"label": f"L{r}", "title": f"Layer {r}"} for r in range(5, -1, -1)]
    value["columns"][changed] = {
        "label": "France|Italy",
        "title": "A: France, B: Italy",
        "position": changed,
    }
    value["tokens"] = table(6, columns, lambda r, c: None)
    shown = {"key": "shown", "label": "Shown", "title": "What is shown", **quantity}
    return {**value, "quantities": [shown], "quantity": "shown"}


def apart(columns: int = 6) -> dict[str, Any]:
    """How far two states are apart: nothing before the change."""
    values = table(6, columns, lambda r, c: 0.25 * (r + 1) if c >= columns - 2 else 0.0)
    return pairs(columns, scale="amount", format="number", low=0, high=1.5, values=values)


def restored(columns: int = 6, **changes: Any) -> dict[str, Any]:
    """Shares that a patch restores; one column cannot be patched."""

    def share(r: int, c: int) -> float | None:
        return None if c == 2 else 0.0 if c < columns - 2 else 1.03 - 0.4 * r

    values = table(6, columns, share)
    value = pairs(columns, scale="signed", format="percent", low=-1, high=1, values=values)
    return {**value, "selected": [3, columns - 1], "undefined": UNDEFINED, **changes}


SHOWN = {
    **CASES,
    "apart": apart,
    "restored": restored,
    "nowhere": lambda: restored(quantities=[{**restored()["quantities"][0], "values": [[]] * 6}]),
    "many": lambda: apart(40),
    "wide": lambda: restored(600),
}
"""The cases by name, with those of pairs."""


class Site:
    """A page with one heat map, whose value the address names."""

    url: str

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        """What reached Python: the name of each event and its data."""

    def case(self, request: gr.Request) -> str:
        return drawn(SHOWN[request.query_params["case"]]())

    def keep(self, name: str) -> Callable[[gr.EventData], str]:
        def kept(event: gr.EventData) -> str:
            self.events.append((name, event._data))
            return str(len(self.events))

        return kept

    def page(self) -> gr.Blocks:
        with gr.Blocks() as page:
            with gr.Column(elem_classes="lens-panel"):
                heatmap = viewer("heatmap", elem_id="map")
            count = gr.Textbox(label="Events")
            page.load(self.case, outputs=[heatmap])
            for name in EVENTS["heatmap"]:
                getattr(heatmap, name)(self.keep(name), outputs=[count], queue=False)
        return page


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    page = site.page()
    _, site.url, _ = page.launch(
        theme=theme(),
        app_kwargs=app_options(Settings()),
        ssr_mode=False,
        prevent_thread_lock=True,
        quiet=True,
    )
    yield site
    page.close()


class Visit:
    """A page that shows one case, with the errors it raised and the events it sent."""

    def __init__(self, browser: Browser, site: Site, case: str, query: str, **options: Any):
        options = {"viewport": {"width": options.pop("width", 1400), "height": 900}, **options}
        self.page: Page = browser.new_page(**options)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._events, self._first = site.events, len(site.events)
        self.page.goto(f"{site.url}?case={case}&{query}")
        self.page.wait_for_selector(".lens-heatmap[data-ready]")

    def cell(self, row: int, column: int) -> Locator:
        return self.page.locator(".scroller tbody tr").nth(row).locator("td").nth(column)

    @property
    def card(self) -> Locator:
        return self.page.locator(".lens-heatmap .card")

    def expect_event(self, name: str, data: dict[str, Any]) -> None:
        """The event is the newest, within two seconds."""
        for _ in range(40):
            if self._events[self._first :][-1:] == [(name, data)]:
                return
            self.page.wait_for_timeout(50)
        assert self._events[self._first :][-1:] == [(name, data)]

    @property
    def n_events(self) -> int:
        return len(self._events) - self._first

    def focus(self) -> None:
        """As the Tab key does."""
        self.page.keyboard.press("Shift")
        self.page.locator(".scroller table, .scroller .surface").focus()

    def tell(self, key: str) -> None:
        self.page.evaluate("key => lens.tell('map', 'quantity', key)", key)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visit]]:
    """Open a case; nothing may go wrong in any page."""
    opened: list[Visit] = []

    def open_case(case: str, query: str = "__theme=light", **options: Any) -> Visit:
        opened.append(Visit(browser, site, case, query, **options))
        return opened[-1]

    yield open_case
    for one in opened:
        assert one.errors == []
        assert one.page.evaluate("document.body.dataset.pwned ?? null") is None
        one.page.close()


Open = Callable[..., Visit]


def test_every_cell_says_its_token_and_its_number(visit: Open) -> None:
    page = visit("lens").page
    assert page.locator(".scroller tbody td").count() == 7 * 6
    labels = page.locator(".scroller tbody th").all_inner_texts()
    assert labels == ["L5", "L4", "L3", "L2", "L1", "L0", "embed"]
    value = lens()
    texts = page.locator(".scroller tbody td").all_text_contents()
    expected = [
        f"{100 * wave(r, c):.0f}{WORDS[value['tokens'][r][c]]}" for r in range(7) for c in range(6)
    ]
    assert texts == expected
    ends = page.locator(".legend span").all_inner_texts()
    assert [text for text in ends if text] == ["0%", "100%"]


def test_text_is_beside_its_number_and_the_last_token_has_the_accent(visit: Open) -> None:
    page = visit("lens").page
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.scroller tbody td')].map(td => {
          const range = document.createRange();
          range.selectNodeContents(td);
          range.setStartAfter(td.firstChild);
          const [cell, text, figure] = [td, range, td.querySelector('.number')]
            .map(e => e.getBoundingClientRect());
          return [text.left - cell.left, figure.left - text.right, cell.right - figure.right];
        })"""
    )
    assert all(left >= 0 and gap >= 0 and 0 <= right < 10 for left, gap, right in boxes)
    colours = page.locator(".scroller tfoot th").evaluate_all(
        "heads => heads.map(head => getComputedStyle(head).color)"
    )
    assert len(set(colours[:-1])) == 1
    assert colours[-1] != colours[0]


@pytest.mark.parametrize("width", [1400, 700])
def test_pointing_at_a_cell_opens_its_card_beside_it(visit: Open, width: int) -> None:
    page = visit("lens", width=width)
    for row, column in [(0, 0), (6, 5), (3, 2)]:
        page.cell(row, column).hover()
        expect(page.card).to_contain_text(f"position {column}")
        assert page.card.locator("li").count() == 5
        expect(page.card).to_contain_text("nats")
        inside = page.card.evaluate(
            """(card, [row, column]) => {
              const [one, cell] = [card, document.querySelector('.scroller tbody').rows[row]
                .cells[column + 1]].map(e => e.getBoundingClientRect());
              const apart = one.left >= cell.right || one.right <= cell.left;
              return apart && one.left >= 0 && one.top >= 0
                && one.right <= innerWidth && one.bottom <= innerHeight;
            }""",
            [row, column],
        )
        assert inside
    page.page.mouse.move(350, 880)
    expect(page.card).to_have_count(0)


def test_a_pinned_card_gives_way_only_to_a_pointer_that_stays(visit: Open) -> None:
    page = visit("lens")
    page.cell(2, 1).click()
    page.cell(5, 1).hover()
    expect(page.card).to_contain_text("L0")
    page.page.mouse.move(350, 880)
    expect(page.card).to_contain_text("L3")
    page.page.keyboard.press("Escape")
    expect(page.card).to_have_count(0)


def test_a_click_selects_with_a_ring_and_tells_python(visit: Open) -> None:
    page = visit("lens")
    fill = page.cell(2, 4).evaluate("td => getComputedStyle(td).backgroundColor")
    page.cell(2, 4).click()
    page.expect_event("select", {"row": 2, "column": 4})
    style = "td => [getComputedStyle(td).boxShadow, getComputedStyle(td).backgroundColor]"
    shadow, background = page.cell(2, 4).evaluate(style)
    assert shadow.startswith("rgb(194, 65, 12) 0px 0px 0px 2.5px"), "the accent, around the cell"
    assert background == fill
    page.page.mouse.move(700, 880)
    expect(page.card).to_contain_text("position 4")
    page.card.locator("button.chip").nth(1).click()
    page.expect_event("token", {"id": (3 * 2 + 4 + 1) % len(WORDS)})
    page.cell(2, 4).click()
    expect(page.card).to_have_count(0)
    assert page.page.locator(".scroller td.selected").count() == 1


def test_tokens_of_a_passing_card_cannot_be_clicked(visit: Open) -> None:
    page = visit("lens")
    page.cell(1, 1).hover()
    assert page.card.locator("button").count() == 0
    assert page.card.evaluate("card => getComputedStyle(card).pointerEvents") == "none"


def test_the_keyboard_reaches_everything_from_one_tab_stop(visit: Open) -> None:
    page = visit("lens")
    assert page.page.locator(".scroller [tabindex='0']").count() == 1
    page.focus()
    expect(page.card).to_contain_text("position 5")
    for key in ("ArrowDown", "ArrowLeft", "ArrowDown"):
        page.page.keyboard.press(key)
    active = page.page.locator(".scroller table").get_attribute("aria-activedescendant")
    label = page.page.locator(f"#{active}").get_attribute("aria-label") or ""
    assert label.startswith("Layer 3,  France, position 4:")
    page.page.keyboard.press("Home")
    expect(page.card).to_contain_text("position 0")
    page.page.keyboard.press("End")
    expect(page.card).to_contain_text("position 5")
    page.page.keyboard.press("Enter")
    page.expect_event("select", {"row": 2, "column": 5})
    page.page.keyboard.press("Tab")
    expect(page.card.locator("button.chip").first).to_be_focused()
    page.page.keyboard.press("Enter")
    page.expect_event("token", {"id": (3 * 2 + 5) % len(WORDS)})
    page.page.keyboard.press("Escape")
    expect(page.card).to_have_count(0)
    expect(page.page.locator(".scroller table")).to_be_focused()


def test_focus_and_card_survive_a_redraw(visit: Open) -> None:
    page = visit("lens")
    page.focus()
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    drawn_before = page.page.locator(".lens-heatmap").get_attribute("data-ready")
    page.page.evaluate("document.body.classList.toggle('dark')")
    page.page.wait_for_function(
        "before => document.querySelector('.lens-heatmap').dataset.ready !== before",
        arg=drawn_before,
    )
    expect(page.page.locator(".scroller table")).to_be_focused()
    expect(page.card).to_contain_text("L4")
    page.page.keyboard.press("ArrowDown")
    expect(page.card).to_contain_text("L3")


def test_another_quantity_is_shown_at_once(visit: Open) -> None:
    page = visit("lens")
    page.focus()
    before = page.n_events
    numbers = page.page.locator(".scroller td .number")
    page.tell("entropy")
    assert numbers.first.inner_text() == f"{4 * wave(0, 0):.1f}"
    expect(page.page.locator(".legend")).to_contain_text("Entropy of the top token")
    expect(page.page.locator(".scroller table")).to_be_focused()
    page.tell("rank")
    assert numbers.nth(1).inner_text() == str(int(4096 ** wave(0, 1)))
    expect(page.page.locator(".legend .low")).to_have_text("4097")
    page.tell("added")
    assert numbers.nth(1).inner_text() == f"{6 * wave(0, 1) - 3:+.1f}".replace("-", "−")
    expect(page.page.locator(".legend .low")).to_have_text("−3.00")
    page.tell("no such quantity")
    expect(page.page.locator(".legend .low")).to_have_text("−3.00")
    assert page.n_events == before


def test_masked_cells_are_absent_and_skipped(visit: Open) -> None:
    page = visit("attention")
    assert page.page.locator(".scroller td.absent").count() == 12 * 11 / 2
    assert page.cell(0, 3).text_content() == ""
    page.cell(0, 3).hover()
    page.page.wait_for_timeout(250)
    expect(page.card).to_have_count(0)
    page.cell(0, 3).click()
    assert page.n_events == 0
    page.focus()
    expect(page.card).to_contain_text("L10")
    expect(page.card).to_contain_text("position 0")
    page.page.keyboard.press("ArrowRight")
    expect(page.card).to_contain_text("position 0")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("End")
    expect(page.card).to_contain_text("position 1")
    page.page.keyboard.press("ArrowUp")
    expect(page.card).to_contain_text("position 1")


def test_differences_of_a_pair_have_a_column_for_what_differs(visit: Open) -> None:
    page = visit("apart")
    assert page.page.locator(".scroller tbody th").all_inner_texts()[-1] == "L0"
    first = page.page.locator(".scroller tbody tr").first.locator("td").all_inner_texts()
    assert first == ["0", "0", "0", "0", "0.25", "0.25"]
    head = page.page.locator(".scroller tfoot th").nth(4)
    assert head.inner_text() == "France|Italy"
    assert head.get_attribute("title") == "A: France, B: Italy"
    assert page.page.locator(".legend span").all_inner_texts() == ["0", "", "1.50"]
    page.cell(5, 4).hover()
    for part in ("L0", "A: France, B: Italy", "position 4", "1.50"):
        expect(page.card).to_contain_text(part)
    page.focus()
    active = page.page.locator(".scroller table").get_attribute("aria-activedescendant")
    label = page.page.locator(f"#{active}").get_attribute("aria-label") or ""
    assert label.startswith("Layer 5,  t5, position 5:")
    page.page.keyboard.press("ArrowLeft")
    active = page.page.locator(".scroller table").get_attribute("aria-activedescendant")
    label = page.page.locator(f"#{active}").get_attribute("aria-label") or ""
    assert label.startswith("Layer 5, A: France, B: Italy:")


def test_shares_go_from_purple_over_the_middle_to_green(visit: Open) -> None:
    page = visit("restored")
    column = [page.cell(r, 5) for r in range(6)]
    assert [cell.inner_text() for cell in column] == ["103%", "63%", "23%", "−17%", "−57%", "−97%"]
    colours = [cell.evaluate("td => getComputedStyle(td).backgroundColor") for cell in column]
    parts = [[int(part) for part in re.findall(r"\d+", colour)] for colour in colours]
    assert parts[0] == [15, 98, 49], "more than all is the end of the scale"
    assert all(green > red for red, green, _ in parts[:3])
    assert all(red > green and blue > green for red, green, blue in parts[3:])
    none = page.cell(0, 0)
    assert none.inner_text() == "0%"
    middle = none.evaluate("td => getComputedStyle(td).backgroundColor")
    assert middle == "rgb(245, 245, 246)"
    assert page.page.locator(".legend .low").inner_text() == "−100%"
    ring = page.page.locator(".scroller td.selected")
    assert ring.count() == 1
    assert ring.inner_text() == "−17%"


def test_a_cell_without_a_value_is_there_when_it_is_said_what_it_is(visit: Open) -> None:
    page = visit("restored")
    assert page.page.locator(".scroller td.absent").count() == 0
    hatched = page.page.locator(".scroller td.undefined")
    assert hatched.all_inner_texts() == ["–"] * 6
    image = "td => getComputedStyle(td).backgroundImage"
    assert "repeating-linear-gradient" in hatched.first.evaluate(image)
    assert page.cell(0, 1).evaluate(image) == "none"
    assert UNDEFINED in page.page.locator(".legends").inner_text()
    assert UNDEFINED in (page.page.locator("caption").text_content() or "")
    page.cell(1, 2).hover()
    expect(page.card).to_contain_text(UNDEFINED)
    page.cell(1, 2).click()
    page.expect_event("select", {"row": 1, "column": 2})
    page.cell(1, 1).hover()
    expect(page.card).not_to_contain_text(UNDEFINED)


def test_a_map_on_which_nothing_is_defined_says_so(visit: Open) -> None:
    page = visit("nowhere")
    assert page.page.locator(".scroller td.undefined").count() == 36
    assert UNDEFINED in (page.page.locator("caption").text_content() or "")
    page = visit("apart")
    assert page.page.locator(".swatch").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_undefined_cells_are_hatched_on_a_canvas_too(visit: Open, theme: str) -> None:
    page = visit("wide", f"__theme={theme}")
    surface = page.page.locator(".surface canvas")
    assert UNDEFINED in page.page.locator(".legends").inner_text()
    count = """(canvas, [x, y, w, h]) => {
      const scale = window.devicePixelRatio;
      const { data } = canvas.getContext('2d').getImageData(x * scale, y * scale, w, h);
      const found = new Set();
      for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
      return found.size;
    }"""
    page.page.locator(".scroller").evaluate("s => s.scrollLeft = 0")
    page.page.wait_for_timeout(200)
    layout = page.page.evaluate(
        """value => {
          const { fonts, gridOf, layoutOf } = lens.heat;
          const root = document.querySelector('.lens-heatmap');
          return layoutOf(gridOf(value), root.parentNode.clientWidth, fonts(root));
        }""",
        restored(600),
    )
    size = [layout["cell"] - 1, layout["row"] - 2]
    places = [[layout["left"] + c * layout["pitch"], layout["rowGap"] + 1, *size] for c in (1, 2)]
    plain, hatched = (surface.evaluate(count, place) for place in places)
    assert plain == 1
    assert hatched > 1


@pytest.mark.parametrize(("case", "width"), [("apart", 420), ("many", 420), ("many", 800)])
def test_the_column_that_differs_keeps_its_label(visit: Open, case: str, width: int) -> None:
    page = visit(case, width=width)
    heads = page.page.locator(".scroller tfoot th")
    texts = heads.all_inner_texts()
    assert texts[-2] == "France|Italy"
    assert heads.nth(len(texts) - 2).is_visible()
    boxes = page.page.locator(".scroller tfoot th > span").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    if case == "many":
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(boxes))
    else:
        assert all(texts)


def test_an_edit_is_marked_and_its_card_says_before_and_after(visit: Open) -> None:
    page = visit("edited")
    assert page.page.locator(".scroller td.changed").count() == 2
    page.cell(0, 5).hover()
    old = page.card.locator(".old")
    expect(old).to_contain_text("Vientiane")
    assert "line-through" in old.evaluate("e => getComputedStyle(e).textDecorationLine")
    expect(page.card.locator(".changed-token")).to_contain_text("−1.25")
    expect(page.card).to_contain_text("Lowered most")
    assert page.card.locator(".bar.lowers").count() == 2


def test_a_long_prompt_scrolls_within_the_viewer_and_starts_at_its_end(visit: Open) -> None:
    page = visit("long")
    scroller = page.page.locator(".scroller")
    assert scroller.evaluate(
        "s => s.scrollLeft > 0 && s.scrollLeft + s.clientWidth >= s.scrollWidth - 2"
    )
    assert page.page.evaluate("document.documentElement.scrollWidth") == 1400
    label = page.page.locator(".scroller tbody th").first
    left = scroller.evaluate("s => s.getBoundingClientRect().left")
    assert label.evaluate("th => th.getBoundingClientRect().left") == pytest.approx(left, abs=1)
    page.page.get_by_role("button", name="‹ 960 earlier").click()
    page.expect_event("window", {"to": "earlier"})
    page.page.get_by_role("button", name="40 later ›").click()
    page.expect_event("window", {"to": "later"})


def test_the_arrows_scroll_and_the_card_stays_in_view(visit: Open) -> None:
    page = visit("long")
    page.focus()
    page.page.keyboard.press("Home")
    expect(page.card).to_contain_text("position 0")
    assert page.page.locator(".scroller").evaluate("s => s.scrollLeft") < 60
    box = page.card.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1400


def test_all_columns_fit_on_request(visit: Open) -> None:
    page = visit("long")
    fit = page.page.get_by_role("button", name="Fit to width")
    fit.click()
    expect(fit).to_have_attribute("aria-pressed", "true")
    expect(fit).to_be_focused()
    assert page.page.locator(".scroller").evaluate("s => s.scrollWidth <= s.clientWidth")
    assert page.cell(0, 63).text_content() == "", "narrower than 28 px"
    fit.click()
    assert "·" not in (page.cell(0, 63).text_content() or "·")


@pytest.mark.parametrize(("cell", "parts"), [(60, 2), (56, 2), (55, 1), (28, 1), (27, 0)])
def test_narrow_cells_drop_the_number_then_the_token(visit: Open, cell: int, parts: int) -> None:
    layout = visit("lens").page.evaluate(
        """([value, cell]) => {
          const { fonts, gridOf, layoutOf } = lens.heat;
          const [grid, face] = [gridOf(value), fonts(document.body)];
          const { label } = layoutOf(grid, 2000, face);
          const width = label + 8 + value.columns.length * (cell + 2);
          return layoutOf(grid, width, face, { fit: true, phone: false });
        }""",
        [lens(), cell],
    )
    assert layout["cell"] == cell
    assert layout["showNumber"] + layout["showToken"] == parts


def test_a_canvas_writes_what_the_table_writes_where_the_table_has_it(visit: Open) -> None:
    visited = visit("edited").page
    table_says = visited.evaluate(
        """() => {
          const origin = document.querySelector('.scroller table').getBoundingClientRect();
          return [...document.querySelectorAll('.scroller tbody td')].map(td => {
            const box = td.getBoundingClientRect();
            const [figure, ...token] = lens.heat.runsOf(td);
            return [token.map(run => run.text).join(''), figure.text, box.width, box.height,
              box.left - origin.left, box.top - origin.top, getComputedStyle(td).backgroundColor];
          });
        }"""
    )
    canvas_says = visited.evaluate(
        """value => {
          const { gridOf, layoutOf, lookOf, painter } = lens.heat;
          const root = document.querySelector('.lens-heatmap');
          const [grid, look] = [gridOf(value, value.quantity), lookOf(root)];
          const layout = layoutOf(grid, root.parentNode.clientWidth, look.fonts);
          const context = document.createElement('canvas').getContext('2d');
          const [cells, write] = [[], context.fillText.bind(context)];
          context.roundRect = (x, y, width, height) => cells.push(
            { token: '', figure: '', fill: context.fillStyle, box: [width, height, x, y] });
          context.fillText = (text, x, y) => {
            const cell = cells.at(-1);
            const inside = cell && x >= layout.left && y < cell.box[3] + cell.box[1];
            if (inside) cell[context.textAlign === 'right' ? 'figure' : 'token'] += text;
          };
          painter(grid, layout, look)(context, { width: layout.total });
          return cells.map(({ token, figure, fill, box }) => [token, figure, ...box, fill]);
        }""",
        edited(),
    )

    def colour(text: str) -> list[int]:
        if text.startswith("#"):
            return [int(text[i : i + 2], 16) for i in (1, 3, 5)]
        return [int(part) for part in re.findall(r"\d+", text)]

    n = 7 * 6
    assert len(canvas_says) == len(table_says) == n
    # The canvas goes column by column, the table row by row.
    for (r, c), expected in zip(itertools.product(range(7), range(6)), table_says, strict=True):
        found = canvas_says[7 * c + r]
        assert found[:2] == expected[:2]
        assert found[2:6] == pytest.approx(expected[2:6], abs=0.6)
        assert colour(found[6]) == colour(expected[6])


def test_a_large_map_is_a_canvas_with_cards_and_keys(visit: Open) -> None:
    page = visit("canvas")
    assert page.page.locator(".scroller table").count() == 0
    surface = page.page.locator(".surface")
    assert "7 rows and 480 columns" in (surface.get_attribute("aria-label") or "")
    box = surface.locator("canvas").bounding_box()
    assert box is not None
    shown = surface.locator("canvas").evaluate(
        "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert shown > 50, "drawn"
    pitch = 96 + 2
    last = box["x"] + box["width"] - pitch / 2
    for row, back in [(0, 0), (3, 2), (6, 9)]:
        page.page.mouse.move(last - back * pitch, box["y"] + 2 + (row + 0.5) * 38)
        expect(page.card).to_contain_text(f"position {479 - back}")
        expect(page.card.locator("strong")).to_contain_text("embed" if row == 6 else f"L{5 - row}")
    page.page.mouse.click(last, box["y"] + 2 + 2.5 * 38)
    page.expect_event("select", {"row": 2, "column": 479})
    page.page.keyboard.press("ArrowLeft")
    expect(page.page.locator(".scroller [aria-live]")).to_contain_text("position 478")
    page.page.keyboard.press("Home")
    expect(page.card).to_contain_text("position 0")
    assert page.page.locator(".scroller").evaluate("s => s.scrollLeft") < 60
    page.page.keyboard.press("Enter")
    page.expect_event("select", {"row": 2, "column": 0})
    page.tell("entropy")
    expect(page.page.locator(".legend")).to_contain_text("Entropy of the top token")
    assert page.page.evaluate("document.documentElement.scrollWidth") == 1400


def test_masked_cells_of_a_canvas_cannot_be_hit(visit: Open) -> None:
    page = visit("pattern")
    box = page.page.locator(".surface canvas").bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + box["width"] - 100, box["y"] + 20)
    page.page.wait_for_timeout(250)
    expect(page.card).to_have_count(0)
    page.page.mouse.move(box["x"] + 80, box["y"] + box["height"] - 60)
    expect(page.card).to_be_visible()


@pytest.mark.parametrize("case", ["hostile", "empty"])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_nothing_in_a_token_is_executed_or_lost(visit: Open, case: str, language: str) -> None:
    page = visit(case, f"lang={language}")
    made = ".lens-viewer :is(img, script, svg)"
    if case == "empty":
        assert page.page.locator(".example").last.text_content() == HOSTILE[0]
        assert page.page.locator(made).count() == 0
        return
    tokens = page.page.locator(".scroller tbody tr").first.locator("td")
    texts = tokens.evaluate_all(
        """cells => cells.map(td => [...td.childNodes].slice(1).map(n => n.textContent).join(''))"""
    )
    assert texts == HOSTILE
    heads = page.page.locator(".scroller tfoot th").all_text_contents()
    assert heads == HOSTILE
    for column in range(len(HOSTILE)):
        page.cell(1, column).hover()
        expect(page.card).to_be_visible()
    page.cell(1, 0).click()
    assert page.page.locator(made).count() == 0


def test_an_example_is_chosen_from_the_empty_state(visit: Open) -> None:
    page = visit("empty")
    expect(page.page.locator(".empty p")).to_have_text("Press Run, or start from an example.")
    page.page.locator(".example").nth(1).click()
    page.expect_event("example", {"index": 1})


def export(page: Visit, item: str) -> None:
    page.page.get_by_role("button", name="Export").click()
    page.page.get_by_role("menuitem", name=item).click()


def test_the_export_menu_works_by_keyboard_and_asks_python_for_data(visit: Open) -> None:
    page = visit("lens")
    button = page.page.get_by_role("button", name="Export")
    button.focus()
    page.page.keyboard.press("Enter")
    expect(page.page.get_by_role("menuitem").first).to_be_focused()
    page.page.keyboard.press("ArrowUp")
    expect(page.page.get_by_role("menuitem", name="JSON")).to_be_focused()
    page.page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "false")
    for form in ("json", "csv"):
        export(page, form.upper())
        page.expect_event("export", {"format": form})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_has_its_size_and_is_light(visit: Open, theme: str, tmp_path: Path) -> None:
    page = visit("selected", f"__theme={theme}")
    with page.page.expect_download() as download:
        export(page, "PNG")
    assert download.value.suggested_filename == "logit-lens.png"
    download.value.save_as(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    assert width > 3 * 6 * 124
    assert height > 3 * 7 * 36
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200
    # The cell of L5 and the first token is half as probable: the middle of the light scale.
    assert page.page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    darkest = pixels.min(axis=2)[:, : width // 2].min(axis=1)
    assert (darkest < 120).mean() > 0.5, "text and cells from top to bottom"


@pytest.mark.parametrize("case", ["hostile", "canvas", "edited", "restored"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_saved_page_opens_without_network(
    visit: Open, browser: Browser, case: str, scheme: Any, tmp_path: Path
) -> None:
    page = visit(case, "lang=zh")
    with page.page.expect_download() as download:
        page.page.locator("button.export").click()
        page.page.get_by_role("menuitem", name="HTML").click()
    saved = tmp_path / "map.html"
    download.value.save_as(saved)
    context = browser.new_context(offline=True, color_scheme=scheme)
    alone = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("pageerror", lambda error: errors.append(str(error)))
    alone.on("console", lambda message: errors.append(message.text))
    alone.goto(saved.as_uri())
    alone.wait_for_selector(".lens-heatmap[data-ready]")
    assert alone.locator("h1").inner_text() == SHOWN[case]()["title"]
    assert alone.evaluate("document.documentElement.lang") == "zh-CN"
    dark = scheme == "dark"
    text = alone.locator("h1").evaluate("e => getComputedStyle(e).color")
    assert text == ("rgb(236, 238, 241)" if dark else "rgb(31, 35, 40)")
    if case == "canvas":
        box = alone.locator(".surface canvas").bounding_box()
        assert box is not None
        alone.mouse.move(box["x"] + box["width"] - 40, box["y"] + 60)
    else:
        cells = page.page.locator(".scroller tbody td").all_text_contents()
        assert alone.locator(".scroller tbody td").all_text_contents() == cells
        alone.locator(".scroller tbody td").last.hover()
    expect(alone.locator(".card")).to_contain_text("位置")
    assert alone.locator("button:is(.export, .earlier)").count() == 0
    alone.keyboard.press("Tab")
    assert alone.evaluate("document.body.dataset.pwned ?? null") is None
    assert asked == [saved.as_uri()]
    assert errors == []
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_on_every_colour_of_every_scale(visit: Open, theme: str) -> None:
    ratios = visit("lens", f"__theme={theme}").page.evaluate(
        """scales => {
          const lin = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          const lum = c => c.match(/[\\d.]+/g).map(Number)
            .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * lin(v), 0);
          const ratio = ({ fill, text }) => {
            const [a, b] = [lum(fill), text === '#000' ? 0 : 1].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
          };
          return scales.map(scale => Math.min(...Array.from({ length: 257 },
            (_, i) => ratio(lens.colour(scale, i / 256)))));
        }""",
        SCALES,
    )
    assert min(ratios) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_words_around_the_cells_are_readable(visit: Open, theme: str, width: int) -> None:
    page = visit("long", f"__theme={theme}", width=width)
    page.page.locator("button.export").click()
    assert page.page.evaluate(PALE) == []


def test_on_a_phone_four_columns_are_in_view(visit: Open) -> None:
    page = visit("lens", width=420, has_touch=True)
    seen = page.page.evaluate(
        """() => {
          const view = document.querySelector('.scroller').getBoundingClientRect();
          const label = document.querySelector('.scroller tbody th').getBoundingClientRect();
          return [...document.querySelector('.scroller tbody').rows[0].cells].slice(1).map(td => {
            const box = td.getBoundingClientRect();
            const width = Math.min(box.right, view.right) - Math.max(box.left, label.right);
            return [Math.round(100 * Math.max(0, width) / box.width), box.height];
          });
        }"""
    )
    assert [share for share, _ in seen] == [0, 0, 100, 100, 100, 100]
    assert seen[0][1] >= 40
    assert page.page.locator(".scroller .number").count() == 0
    assert page.page.evaluate("document.documentElement.scrollWidth") == 420
    heights = page.page.locator(".lens-heatmap button:visible").evaluate_all(
        "buttons => buttons.map(button => button.getBoundingClientRect().height)"
    )
    assert min(heights) >= 40


def test_on_a_phone_a_tap_shows_and_a_second_one_selects(visit: Open) -> None:
    page = visit("lens", width=420, has_touch=True)
    page.cell(2, 4).tap()
    expect(page.card).to_contain_text("position 4")
    box = page.card.bounding_box()
    assert box is not None
    assert (box["x"], box["width"], round(box["y"] + box["height"])) == (0, 420, 900)
    assert page.n_events == 0
    page.cell(1, 3).tap()
    expect(page.card).to_contain_text("position 3")
    page.cell(1, 3).tap()
    page.expect_event("select", {"row": 1, "column": 3})
    page.card.locator("button.chip").first.tap()
    page.expect_event("token", {"id": (3 * 1 + 3) % len(WORDS)})
    page.card.get_by_role("button", name="Close").tap()
    expect(page.card).to_have_count(0)


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_every_word_is_in_the_language_of_the_page(visit: Open, language: str) -> None:
    page = visit("long", f"lang={language}")
    text = page.page.locator(".lens-heatmap").inner_text()
    for key in ("heatmap.fit", "heatmap.export"):
        assert words()[language][key] in text
    summary = page.page.locator("caption").text_content() or ""
    assert "heatmap." not in summary + text
    assert words()[language]["heatmap.size"].split("{rows}")[1][:3] in summary
