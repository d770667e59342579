"""The table in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from detail_cases import LINKS, column, links, tokens
from viewer_stage import HOSTILE, SMALLEST_TARGET, Open, Stage, Visit, entry, records
from visits import PALE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    stage = Stage(
        first=lambda: {"links": links(), "tokens": tokens()},
        viewers={"links": "table", "tokens": "table"},
    )
    with stage.launched():
        yield stage


def column_texts(visit: Visit, number: int, name: str = "links") -> list[str]:
    cells = visit.page.locator(f"#{name} tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_cells_are_drawn_by_their_kind(visit: Visit) -> None:
    first = visit.page.locator("#links tbody tr").first.locator("th, td")
    assert [text.replace("\u00a0", " ") for text in first.all_text_contents()] == [
        *("L0 MLP  tree", "L0 out  tree", "MLP", "layer 0", "0.981", "83.8%")
    ]
    assert column_texts(visit, 5)[-1] == ""
    assert column_texts(visit, 6)[-1] == "<0.1%"
    assert column_texts(visit, 4, "tokens") == ["=", "=", "▲ 3", "▼ 1", "=", ""]
    assert column_texts(visit, 3, "tokens")[-1] == "12,345"
    assert visit.page.locator("#links .chip.special").text_content() == "<|start|>"
    said = visit.page.locator("#tokens span.change").evaluate_all(
        "all => all.map(e => e.ariaLabel)"
    )
    assert said == ["unchanged", "unchanged", "up 3", "down 1", "unchanged"]
    style = visit.page.evaluate(
        "getComputedStyle(document.querySelector('#links td.figure')).fontVariantNumeric"
    )
    assert style == "tabular-nums"


def test_signed_figures_have_a_real_minus_and_their_digits(visit: Visit) -> None:
    kinds = [column("a", "signed", digits=3), column("b", "percent", digits=0)]
    columns = [column("name", "text"), *kinds, column("c", "number")]
    rows = [["x", -0.5, -0.25, -2.0], ["y", 0.5, 0.071, None]]
    visit.show(links=links(columns=columns, rows=rows, sort=None))
    cells = visit.page.locator("#links td").all_inner_texts()
    assert cells == ["−0.500", "−25%", "−2.00", "+0.500", "7%", ""]


def test_tokens_stand_side_by_side_and_states_are_pills(visit: Visit) -> None:
    kinds = [column("writes", "tokens"), column("prompt", "mono"), column("state", "text")]
    columns = [column("name", "text"), *kinds]
    rows = [
        ["a", [entry(" st"), entry("tta")], "def f():\n    x", {"text": "good", "tone": "good"}],
        ["b", [entry(" of"), entry(":")], "7 + 5 =", {"text": "check", "tone": "check"}],
        ["c", [], "", {"text": "poor", "tone": "poor"}],
    ]
    visit.show(links=links(columns=columns, rows=rows, sort=None))
    assert visit.page.locator("#links tbody tr").first.locator(".chip").count() == 2
    assert column_texts(visit, 4) == ["✓ good", "▲ check", "✕ poor"]
    assert visit.page.locator("#links .pill.check > [aria-hidden]").inner_text().strip() == "▲"
    assert column_texts(visit, 3)[0] == "def f():\n    x"
    visit.page.get_by_role("button", name="Writes").click()
    assert column_texts(visit, 1) == ["b", "a", "c"], "by the first token; none comes last"


def test_a_head_sorts_and_says_so(visit: Visit) -> None:
    head = visit.page.locator("#links thead th")
    assert head.nth(5).get_attribute("aria-sort") == "descending"
    visit.page.get_by_role("button", name="Weight").click()
    assert column_texts(visit, 5) == ["0.981", "0.449", "0.197", "0.115", "0.082", ""]
    assert head.nth(4).get_attribute("aria-sort") == "descending"
    assert head.nth(5).get_attribute("aria-sort") == "none"
    assert visit.page.locator("#links .spoken").inner_text() == "Sorted by Weight, descending"
    assert visit.focused() == "sort-weight"
    visit.page.keyboard.press("Enter")
    assert column_texts(visit, 5) == ["0.082", "0.115", "0.197", "0.449", "0.981", ""]
    visit.page.get_by_role("button", name="To").click()
    firsts = [text.split(" ·")[0] for text in column_texts(visit, 2)]
    assert [text.split()[0] for text in firsts] == ["L0", "L0", "L0", "L0", "L3", "L10"]
    visit.page.get_by_role("button", name="Kind").click()
    assert column_texts(visit, 3) == ["Attention"] * 4 + ["MLP", "Stream"]
    assert visit.page.locator("#tokens thead button").count() == 3


def test_a_row_is_chosen_by_its_place_in_the_value(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Weight").dblclick()
    visit.page.locator("#links tbody tr").first.click()
    assert visit.event("links", "choose") == {"index": 4}
    marked = visit.page.locator("#links tr[aria-selected=true]")
    assert marked.get_attribute("data-index") == "4"
    assert visit.page.locator("#tokens [aria-selected]").count() == 0
    visit.page.locator("#tokens tbody tr").first.click()
    visit.page.locator("#links tbody tr").nth(1).click()
    visit.event("links", "choose", number=1)
    assert [name for name, *_ in visit.stage.events] == ["links", "links"]


def test_rows_are_one_tab_stop_with_arrows_and_enter(visit: Visit) -> None:
    assert visit.page.locator("#links tbody tr[tabindex='0']").count() == 1
    visit.page.get_by_role("button", name="Influence").focus()
    visit.page.keyboard.press("Tab")
    assert visit.focused() == "row-0"
    for key, name in (
        ("ArrowDown", 1),
        ("End", 5),
        ("ArrowDown", 5),
        ("PageUp", 0),
        ("ArrowDown", 1),
    ):
        visit.page.keyboard.press(key)
        assert visit.focused() == f"row-{name}"
    visit.page.keyboard.press("Enter")
    assert visit.event("links", "choose") == {"index": 1}
    visit.page.keyboard.press("Tab")
    assert visit.focused() == "sort-probability", "the rows are one stop"
    grid = visit.page.get_by_role("grid", name="The links of the graph")
    assert "arrows" in str(grid.get_attribute("aria-description"))


def test_the_focus_and_the_order_stay_when_the_value_changes(visit: Visit) -> None:
    visit.stage.answers[("links", "choose")] = links(selected=3)
    visit.page.get_by_role("button", name="Weight").click()
    visit.page.locator("#links [data-focus=row-3]").focus()
    visit.act(lambda: visit.page.keyboard.press("Enter"), "links")
    assert visit.focused() == "row-3"
    assert visit.page.locator("#links thead th").nth(4).get_attribute("aria-sort") == "descending"
    assert visit.page.locator("#links tr[aria-selected=true]").get_attribute("data-index") == "3"
    visit.stage.answers[("links", "choose")] = links(rows=LINKS[:2])
    visit.act(lambda: visit.page.keyboard.press("Enter"), "links")
    assert visit.focused() == "row-0", "its row is gone, the first one takes the focus"
    visit.show(links=links(sort={"key": "influence", "down": False}))
    assert column_texts(visit, 6)[0] == "<0.1%"


def test_a_long_table_is_folded_and_says_what_is_not_there(visit: Visit) -> None:
    rows = [[*LINKS[0][:3], f"head {n}", n / 100, n / 1000] for n in range(100)]
    visit.show(links=links(rows=rows, page=10, more=1234))
    assert visit.page.locator("#links tbody tr").count() == 10
    assert column_texts(visit, 4)[0] == "head 99"
    assert visit.page.get_by_text("1,234 more are not listed.").is_visible()
    visit.page.get_by_role("button", name="Show all 100").focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#links tbody tr").count() == 100
    assert visit.focused() == "all"
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#links tbody tr").count() == 10
    visit.show(links=links(rows=rows, page=10, selected=0))
    assert visit.page.locator("#links tr[aria-selected=true]").count() == 1, "never folded away"
    visit.show(links=links(rows=[], empty="No link is above 0.40."))
    assert visit.page.locator("#links .empty").inner_text() == "No link is above 0.40."


def test_text_can_be_copied_without_choosing_its_row(visit: Visit) -> None:
    texts = "tr => { const range = document.createRange(); range.selectNodeContents(tr);"
    texts += "document.getSelection().removeAllRanges(); document.getSelection().addRange(range);"
    visit.page.locator("#links tbody tr").nth(1).evaluate(texts + "}")
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.keyboard.press("Control+c")
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    assert [part.strip() for part in copied.split("\t")] == [
        *("blue", "L0 mid  tree", "Attention", "head 3, head 2", "0.449", "39.0%")
    ]
    word = visit.page.locator("#links .tone").first.bounding_box()
    assert word is not None
    visit.page.mouse.move(word["x"] + 1, word["y"] + 8)
    visit.page.mouse.down()
    visit.page.mouse.move(word["x"] + word["width"], word["y"] + 8, steps=3)
    visit.page.mouse.up()
    visit.page.locator("#links tbody tr").nth(1).click()
    visit.event("links", "choose")
    assert len(visit.stage.events) == 1, "only the click, not the drag"


def test_a_phone_shows_three_columns_and_all_on_demand(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    shown = visit.page.locator("#links thead th:visible").all_inner_texts()
    assert shown == ["From", "To", "Influence"]
    visit.page.locator("#links tbody tr").nth(1).tap()
    assert visit.event("links", "choose") == {"index": 1}
    visit.page.locator("#links").get_by_role("button", name="All columns").tap()
    assert visit.page.locator("#links thead th:visible").count() == 6
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 420
    plain = [{**one, "phone": False} for one in links()["columns"]]
    visit.show(links=links(columns=plain))
    visit.page.locator("#links").get_by_role("button", name="All columns").tap()
    assert visit.page.locator("#links thead th:visible").all_inner_texts() == ["From", "To", "Kind"]


def test_another_order_needs_no_new_rows(visit: Visit) -> None:
    """Drawing is what a long table costs: sorting one must only move its rows."""
    rows = [[*LINKS[n % 5][:3], f"head {n}", n / 500, 1 - n / 500] for n in range(400)]
    visit.show(links=links(rows=rows, page=0))
    visit.page.evaluate(
        "() => { window.kept = [...document.querySelectorAll('#links tbody tr')]; }"
    )
    visit.page.get_by_role("button", name="Weight").click()
    assert column_texts(visit, 4)[0] == "head 399"
    moved = "[...document.querySelectorAll('#links tbody tr')].map(row => kept.indexOf(row))"
    assert visit.page.evaluate(moved) == list(range(399, -1, -1))


def test_no_text_is_executed(visit: Visit) -> None:
    for text in HOSTILE:
        where = {"label": text, "token": records(text)[0]}
        columns = [column("a", "place", label=text), column("b", "token"), column("c", "text")]
        rows = [[where, entry(text), {"text": text, "tone": "ffn"}]]
        visit.show(
            links=links(title=text, caption=text, columns=columns, rows=rows, sort=None),
            tokens=tokens(rows=[], empty=text),
        )
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        assert visit.page.locator("#links td.token .chip").text_content() == text
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_and_fits(visits: Open, theme: str, width: int) -> None:
    visit = visits(width=width, theme=theme, touch=width == 420)
    long = [[entry("x" * 200), 0.1, 1, 2], [entry(" " * 90), 0.1, 1, 2]]
    visit.show(links=links(selected=4, more=3, page=3), tokens=tokens(rows=tokens()["rows"] + long))
    assert visit.page.evaluate(PALE) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    if width == 420:
        assert visit.page.evaluate(SMALLEST_TARGET) >= 40
        rows = visit.page.locator("#links tbody tr")
        heights = rows.evaluate_all("all => all.map(row => row.offsetHeight)")
        assert min(heights) >= 40


@pytest.mark.parametrize(
    ("language", "said"),
    [("zh", ["显示全部 6 行"]), ("ja", ["6 行すべてを表示"])],
)
def test_the_viewers_speak_the_language_of_the_page(
    visits: Open, language: str, said: list[str]
) -> None:
    visit = visits(language=language)
    visit.show(links=links(page=3))
    text = visit.page.locator("body").inner_text()
    for part in said:
        assert part in text
