"""What the inspector shows of a link in a real browser: its head, its maps, what it pushes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from detail_cases import TOKENS, maps, pushed, selection
from playwright.sync_api import Locator, Position
from viewer_stage import HOSTILE, SMALLEST_TARGET, Open, Stage, Visit, entry, records
from visits import PALE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def first_values() -> dict[str, object]:
    return {"selection": selection(), "maps": maps(), "pushed": pushed()}


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    names = first_values()
    with Stage(first=first_values, viewers={name: name for name in names}).launched() as stage:
        yield stage


def plot(visit: Visit, number: int = 0) -> Locator:
    return visit.page.locator("#maps .plot").nth(number)


def pitch(visit: Visit, n: int = 8) -> float:
    return float(plot(visit).evaluate("plot => plot.clientWidth")) / n


def over(visit: Visit, query: int, key: int) -> Position:
    size = pitch(visit)
    return {"x": (key + 0.4) * size, "y": (query + 0.4) * size}


# ---- selection


def test_a_link_shows_its_ends_figures_and_what_was_measured(visit: Visit) -> None:
    box = visit.page.locator("#selection")
    assert box.locator(".kicker").inner_text() == "Selected link"
    assert "layer 3, attention" in box.locator(".subject").inner_text()
    assert box.locator(".chip").all_text_contents() == ["<|start|>", " tree"]
    assert box.locator(".arrow").get_attribute("aria-label") == "to"
    assert box.locator("dd").all_inner_texts() == ["0.082", "7.8%", "50.8% → 12.4%"]
    assert "another one" in box.locator(".measured .text").inner_text()
    assert "another one" in box.get_by_role("status").inner_text()


def test_a_node_has_no_arrow_and_no_more_than_it_is_given(visit: Visit) -> None:
    node = {"token": None, "label": "Output of layer 5"}
    bare = {"to": None, "facts": [], "measured": None, "actions": [], "note": "Not exact here."}
    visit.show(selection=selection(**{"from": node}, **bare))
    box = visit.page.locator("#selection")
    assert box.locator(".subject").inner_text() == "Output of layer 5"
    assert box.locator(".arrow, .chip, .measured, button, dl").count() == 0
    assert box.locator(".note").inner_text() == "Not exact here."


def test_the_actions_reach_python_and_keep_the_focus(visit: Visit) -> None:
    one = [{"name": "root", "label": "Use as root"}]
    visit.stage.answers[("selection", "verify")] = selection(actions=one)
    visit.page.get_by_role("button", name="Check by knock-out").focus()
    visit.act(lambda: visit.page.keyboard.press("Enter"), "selection")
    assert visit.event("selection", "verify") == {}
    assert visit.focused() == "root", "its own button is gone"
    visit.page.keyboard.press("Enter")
    assert visit.event("selection", "root") == {}


# ---- maps


def test_maps_are_lower_triangles_on_whole_pixels(visit: Visit) -> None:
    read = """plot => {
      const canvas = plot.querySelector('canvas');
      const size = canvas.width / 8;
      const at = (row, column) => [...canvas.getContext('2d')
        .getImageData((column + 0.4) * size, (row + 0.4) * size, 1, 1).data];
      return [size, at(7, 0), at(0, 7), at(3, 3)];
    }"""
    size, high, absent, other = plot(visit).evaluate(read)
    assert size == int(size)
    assert high == [127, 15, 59, 255], "the end of the scale"
    assert absent[3] == 0
    assert other[3] == 255
    ends = visit.page.locator("#maps .legend").all_inner_texts()
    assert [text.split() for text in ends] == [["0", "1"], ["0", "0.1"]]
    assert "Attention, highest: ⟨start⟩" in str(
        visit.page.get_by_role("application").get_attribute("aria-label")
    )


def test_a_cell_shows_both_tokens_and_the_value_of_every_map(visit: Visit) -> None:
    plot(visit, 1).hover(position=over(visit, 4, 1))
    card = visit.page.locator("#maps .card")
    assert card.locator(".chip").all_text_contents() == ["seed", " stone"]
    assert card.locator(".position").all_inner_texts() == ["position 1", "position 4"]
    assert card.locator("dd").all_inner_texts() == ["0.333", "0.033"]
    assert visit.page.locator("#maps .ring.active:visible").count() == 2
    plot(visit, 1).hover(position=over(visit, 0, 6))
    assert card.count() == 0, "nothing is read from later tokens"
    plot(visit, 1).click(position=over(visit, 4, 1))
    assert visit.event("maps", "choose") == {"query": 4, "key": 1}


def test_the_marked_cell_has_a_ring_in_both_maps(visit: Visit) -> None:
    ring = visit.page.locator("#maps .ring.selected")
    size = pitch(visit)
    for number in range(2):
        style = ring.nth(number).evaluate("r => [r.offsetLeft, r.offsetTop, r.hidden]")
        assert style == [pytest.approx(2 * size, abs=1), pytest.approx(5 * size, abs=1), False]
    assert "2.5px" in ring.first.evaluate("r => getComputedStyle(r).boxShadow")
    visit.show(maps=maps(cell=None))
    assert visit.page.locator("#maps .ring:visible").count() == 0


def test_the_maps_are_one_tab_stop_with_arrows_enter_and_escape(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Use as root").focus()
    visit.page.keyboard.press("Tab")
    assert visit.focused() == "maps"
    card = visit.page.locator("#maps .card")
    assert card.locator(".position").all_inner_texts() == ["position 2", "position 5"]
    for key in ("ArrowUp", "End", "ArrowRight", "ArrowDown", "ArrowRight"):
        visit.page.keyboard.press(key)
    assert card.locator(".position").all_inner_texts() == ["position 5", "position 5"]
    said = visit.page.locator("#maps .spoken").inner_text()
    assert said.startswith("·seed, position 5 reads from ·seed, position 5: Attention 0.")
    visit.page.keyboard.press("Home")
    visit.page.keyboard.press("Enter")
    assert visit.event("maps", "choose") == {"query": 5, "key": 0}
    visit.page.keyboard.press("Escape")
    assert card.count() == 0
    assert visit.focused() == "maps"


@pytest.mark.parametrize(("width", "per_row"), [(1400, 2), (360, 1)])
def test_128_tokens_stay_sharp(visits: Open, width: int, per_row: int) -> None:
    visit = visits(width=width)
    if width == 1400:
        narrow = "#maps { max-width: 392px }"
        visit.act(lambda: visit.page.add_style_tag(content=narrow), "maps")
    visit.show(maps=maps(128 if per_row == 2 else 200, cell=[100, 3]))
    sizes = visit.page.locator("#maps canvas").evaluate_all("all => all.map(c => c.width)")
    assert sizes == ([128, 128] if per_row == 2 else [200, 200])
    tops = visit.page.locator("#maps .plot").evaluate_all(
        "all => all.map(p => p.getBoundingClientRect().top)"
    )
    assert len(set(tops)) == 3 - per_row
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    ring = visit.page.locator("#maps .ring.selected").first.bounding_box()
    assert ring is not None
    assert ring["width"] >= 4, "a ring around one pixel is still seen"


def test_a_signed_map_says_both_ends(visit: Visit) -> None:
    one = {"label": "Effect", "scale": "signed", "high": 0.25}
    rows = [[-0.25], [0.25, 0.0]]
    tokens = TOKENS[:2]
    visit.show(maps=maps(tokens=tokens, maps=[{**one, "values": rows}], cell=None))
    assert visit.page.locator("#maps .legend").inner_text().split() == ["−0.25", "0.25"]
    plot(visit).hover(position={"x": 6, "y": 6})
    assert visit.page.locator("#maps .card dd").inner_text() == "−0.250"


def test_a_tap_shows_a_cell_and_a_second_one_chooses_it(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    plot(visit).scroll_into_view_if_needed()
    plot(visit).tap(position=over(visit, 6, 2))
    card = visit.page.locator("#maps .card")
    card.wait_for()
    box = card.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 420
    plot(visit).tap(position=over(visit, 6, 2))
    assert visit.event("maps", "choose") == {"query": 6, "key": 2}
    assert len(visit.stage.events) == 1, "the first tap chose nothing"


# ---- pushed


def test_both_sides_share_one_scale(visit: Visit) -> None:
    box = visit.page.locator("#pushed")
    assert box.locator("h3").all_inner_texts() == ["▲ Promotes", "▼ Suppresses"]
    assert box.locator(".promoted .value").first.inner_text() == "+0.69"
    assert box.locator(".suppressed .value").first.inner_text() == "−0.90"
    widths = box.locator(".bar").evaluate_all("all => all.map(bar => parseFloat(bar.style.width))")
    assert widths[5] == 100
    assert widths[0] == pytest.approx(100 * 0.69 / 0.9)
    lists = box.get_by_role("list").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert lists == ["Promotes, logit", "Suppresses, logit"]


def test_small_values_keep_their_digits_and_an_empty_side_is_left_out(visit: Visit) -> None:
    visit.show(pushed=pushed(promoted=[{"entry": entry("a"), "value": 0.0041}], suppressed=[]))
    assert visit.page.locator("#pushed .value").all_inner_texts() == ["+0.0041"]
    assert visit.page.locator("#pushed .side").count() == 1
    title = {"key": "What {token} adds", "entry": entry(" Paris")}
    visit.show(pushed=pushed(title=title, promoted=[], suppressed=[]))
    assert visit.page.locator("#pushed h2").text_content() == "What  Paris adds"


# ---- all of them


def test_no_text_is_executed(visit: Visit) -> None:
    for text in HOSTILE:
        (token,) = records(text)
        row = {"label": text, "value": text}
        end = {"token": token, "label": text}
        more = {"facts": [row], "measured": {"rows": [row], "text": text}, "note": text}
        visit.show(
            selection=selection(kicker=text, to=end, **{"from": end}, **more),
            maps=maps(tokens=[token] * 8, title=text, note=text),
            pushed=pushed(promoted=[{"entry": entry(text), "value": 1.0}], unit=text),
        )
        plot(visit).hover(position=over(visit, 4, 1))
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        assert visit.page.locator("#maps .card .chip").first.text_content() == text
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_and_fits(visits: Open, theme: str, width: int) -> None:
    visit = visits(width=width, theme=theme, touch=width == 420)
    long = [{"entry": entry("x" * 200), "value": 0.7}]
    (token,) = records("y" * 120)
    end = {"token": token, "label": "layer 3, attention"}
    visit.show(pushed=pushed(promoted=long), selection=selection(**{"from": end}, to=end))
    assert visit.page.evaluate(PALE) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    if width == 420:
        assert visit.page.evaluate(SMALLEST_TARGET) >= 40


@pytest.mark.parametrize(
    ("language", "said"),
    [("zh", ["提升", "抑制", "移除后的实测"]), ("ja", ["促進", "抑制", "取り除いて測った結果"])],
)
def test_the_viewers_speak_the_language_of_the_page(
    visits: Open, language: str, said: list[str]
) -> None:
    visit = visits(language=language)
    text = visit.page.locator("body").inner_text()
    for part in said:
        assert part in text
