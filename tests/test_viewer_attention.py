"""The viewers of the attention tab in a real browser: tokens, looking beside needing, facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect
from viewer_stage import HOSTILE, SMALLEST_TARGET, Open, Stage, Visit, entry, records
from visits import PALE

from tabs.words import LANGUAGES, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKENS = records("<|start|>", "The", " capital", ("龘", "E9 BE", "98"), " of", " is", special=(0,))
VALUES = {(0,): 0.5, (1,): 0.05, (2,): 0.2, (3, 4): 0.1, (5,): 0.0, (6,): None}
"""Position -> value; the last one is behind the query."""
HIGH = 0.2
TOP = {" Paris": 0.81, " Rome": 0.0951, " Lyon": 0.03, **{f" t{n}": 0.004 for n in range(7)}}


def tokens(**changes: Any) -> dict[str, Any]:
    boxes = [{"at": list(at), "value": value} for at, value in VALUES.items()]
    boxes[3]["parts"] = [0.07, 0.03]
    top = [{"entry": entry(text), "p": p} for text, p in TOP.items()]
    return {
        "state": "done",
        "title": "Where the last token looks",
        "how": "the deeper the pink, the more attention is paid there.",
        "tokens": TOKENS,
        "n_prompt": 7,
        "boxes": boxes,
        "scale": "attention",
        "high": HIGH,
        "curve": "linear",
        "format": "percent",
        "legend": "Attention",
        "query": 5,
        "selected": 2,
        "sinks": [0],
        "sink": None,
        "prediction": {**top[0], "top": top},
        "missing": None,
        "notes": ["Attention is not why the model answers."],
        "exports": True,
        **changes,
    }


def plain(*texts: str, **changes: Any) -> dict[str, Any]:
    """Tokens of these texts, each with half of the largest value; the last one looks."""
    found = records(*texts)
    boxes = [{"at": [token["i"]], "value": HIGH / 2} for token in found]
    last = {"query": len(found) - 1, "selected": len(found) - 1, "n_prompt": len(found)}
    return tokens(tokens=found, boxes=boxes, sinks=[], **{**last, **changes})


def row(at: int, left: float | None, right: float | None, **more: Any) -> dict[str, Any]:
    return {"at": [at], "left": left, "right": right, "flip": False, **more}


def needs(**changes: Any) -> dict[str, Any]:
    rows = [row(0, 0.6, 0.5), row(1, 0.15, -2.0), row(2, 0.3, 4.0, flip=True), row(6, None, None)]
    rows[2]["at"] = [3, 4]
    return {
        "title": "Looking is not the same as needing",
        "how": "left, what is looked at; right, what is needed.",
        "tokens": TOKENS,
        "rows": rows,
        "missing": None,
        "left": "Attention",
        "left_format": "percent",
        "right": "Log-probability lost, nats",
        "target": entry(" Paris"),
        "badge": {"state": "check", "text": "Does not add up: 12.0%"},
        "notes": ["Rank correlation: 0.50"],
        **changes,
    }


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Token detail",
        "rows": [
            {"label": "Text", "value": {"entries": [], "token": TOKENS[2]}},
            {"label": "ID", "value": "102"},
            {"label": "Appended", "value": {"entries": [entry(" a"), entry(" b")]}},
            {"entry": entry(" Rome"), "value": "9.5%, rank 2"},
        ],
        "badge": {"state": "good", "text": "Adds up"},
        "buttons": [
            {"name": "append", "label": "Append", "entry": entry(" Paris")},
            {"name": "undo", "label": "Take the last one back"},
        ],
        "note": "Nothing else is known.",
        **changes,
    }


def first_values() -> dict[str, dict[str, Any]]:
    return {"tokens": tokens(), "needs": needs(), "facts": facts()}


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    viewers = {"tokens": "attention_tokens", "needs": "needs", "facts": "facts"}
    with Stage(first=first_values, viewers=viewers).launched() as stage:
        yield stage


def option(visit: Visit, position: int) -> Locator:
    """The box that holds a position last."""
    return visit.page.locator(f"#tokens [role=option][data-position='{position}']")


def tip(visit: Visit) -> Locator:
    return visit.page.locator("#tokens .tip")


def fills(visit: Visit) -> list[tuple[int, ...]]:
    """The colours of the boxes."""
    found = visit.page.locator("#tokens [role=option] .fill").evaluate_all(
        "all => all.map(one => getComputedStyle(one).backgroundColor.match(/\\d+/g).map(Number))"
    )
    return [tuple(colour) for colour in found]


def hex_of(code: str) -> Any:
    """A colour, give or take what rounding takes."""
    return pytest.approx([int(code[at : at + 2], 16) for at in (1, 3, 5)], abs=1)


# ---- tokens: colours and numbers


def test_a_box_is_filled_by_its_share_of_the_largest_value(visit: Visit) -> None:
    sink, quarter, whole, half, none, _ = fills(visit)
    assert list(whole) == hex_of("#7f0f3b")
    assert list(half) == hex_of("#ec86a5")
    assert list(quarter) == hex_of("#f8cad7")
    assert list(none) == hex_of("#fdf3f6")
    assert sink == whole, "what is larger than the end of the scale is at its end"
    amounts = visit.page.locator("#tokens [role=option] .amount").all_inner_texts()
    assert amounts == ["50.0", "5.0", "20.0", "10.0", "0.0%", ""]


@pytest.mark.parametrize(
    ("curve", "value"), [("linear", 0.1), ("sqrt", 0.05), ("log", HIGH * 9 / 99)]
)
def test_a_curve_moves_the_middle_of_the_scale(visit: Visit, curve: str, value: float) -> None:
    boxes = [{"at": [1], "value": value}]
    visit.show(tokens=tokens(curve=curve, boxes=boxes))
    assert list(fills(visit)[0]) == hex_of("#ec86a5")
    legend = visit.page.locator("#tokens .legend").inner_text()
    assert ("colours)" in legend) == (curve != "linear")


def test_signed_values_go_to_both_ends(visit: Visit) -> None:
    boxes = [{"at": [at], "value": value} for at, value in enumerate((-2.0, 0.0, 2.0, 0.5))]
    changes = {"scale": "signed", "format": "signed", "high": 2.0, "boxes": boxes, "sinks": []}
    visit.show(tokens=tokens(**changes))
    low, none, high, _ = fills(visit)
    assert list(low) == hex_of("#532585")
    assert list(none) == hex_of("#f5f5f6")
    assert list(high) == hex_of("#0f6231")
    amounts = visit.page.locator("#tokens [role=option] .amount").all_inner_texts()
    assert amounts == ["−2.000", "0.000", "+2.000", "+0.500"]
    assert "−2.000" in visit.page.locator("#tokens .legend").inner_text()
    assert visit.page.locator("#tokens .arcs").count() == 0, "nothing is looked at"


@pytest.mark.parametrize(
    ("kind", "said"), [("number", "1.250"), ("times", "1.25×"), ("percent", "125.0")]
)
def test_numbers_are_written_as_what_they_are(visit: Visit, kind: str, said: str) -> None:
    visit.show(tokens=tokens(format=kind, high=2.5, boxes=[{"at": [1], "value": 1.25}]))
    assert visit.page.locator("#tokens [role=option] .amount").inner_text() == said
    assert said in tip_of(visit, 1)


def tip_of(visit: Visit, position: int) -> str:
    """What is said of a token that is pointed at."""
    option(visit, position).hover()
    return tip(visit).inner_text()


def test_the_tokens_of_a_split_character_are_one_box_with_their_bytes(visit: Visit) -> None:
    box = option(visit, 4)
    assert box.locator(".fill > .lens-text").text_content() == "龘"
    assert box.locator(".cell").all_inner_texts() == ["E9 BE", "98"]
    assert "2 tokens" in box.locator(".place").inner_text()
    said = tip_of(visit, 4)
    for part in ("Attention: 10.0%", "#3: 7.0%", "#4: 3.0%", "bytes E9 BE", "bytes 98"):
        assert part in said
    boxes = [{"at": [3], "value": 0.07}, {"at": [4], "value": 0.03}]
    visit.show(tokens=tokens(boxes=boxes))
    marks = visit.page.locator("#tokens [role=option] .fill .lens-mark")
    assert marks.evaluate_all("all => all.map(one => one.dataset.mark)") == ["E9 BE", "98"]


def test_the_query_the_selected_token_and_sinks_are_told_apart(visit: Visit) -> None:
    def look(position: int, name: str) -> str:
        style = f"fill => getComputedStyle(fill).{name}"
        return str(option(visit, position).locator(".fill").evaluate(style))

    accent, ink, plain = (look(at, "boxShadow") for at in (5, 2, 1))
    assert "2.5px" in accent
    assert "2.5px" in ink
    assert plain == "none"
    assert accent != ink
    assert option(visit, 5).locator(".place").inner_text() == "query"
    assert "repeating-linear-gradient" in look(0, "backgroundImage")
    assert look(1, "backgroundImage") == "none"
    assert "sink" in tip_of(visit, 0)
    assert "special token" in tip_of(visit, 0)
    visit.show(tokens=tokens(selected=5))
    assert look(5, "boxShadow").count("rgb") == 3, "both rings with a gap between them"


def test_a_token_behind_the_query_has_no_number_and_says_why(visit: Visit) -> None:
    last = option(visit, 6)
    assert last.locator(".amount").inner_text() == ""
    assert last.locator(".fill").evaluate("f => getComputedStyle(f).borderTopStyle") == "dashed"
    assert "after the query: cannot be looked at" in tip_of(visit, 6)
    assert "%" not in tip_of(visit, 6)
    assert "after the query" not in tip_of(visit, 5)


FAINT = """() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const lin = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const lum = (c) => 0.2126 * lin(c[0]) + 0.7152 * lin(c[1]) + 0.0722 * lin(c[2]);
  const fill = document.querySelector("#tokens .off .fill");
  const { color, opacity } = getComputedStyle(fill);
  const ground = rgb(getComputedStyle(fill.closest(".lens-panel")).backgroundColor);
  const seen = rgb(color).slice(0, 3).map((c, i) => c * opacity + ground[i] * (1 - opacity));
  const [a, b] = [lum(seen), lum(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
"""The contrast of a token behind the query, as it is seen through its transparency."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_token_behind_the_query_can_still_be_read(visits: Open, theme: str) -> None:
    assert visits(theme=theme).page.evaluate(FAINT) >= 4.5


def test_what_was_there_before_the_edit_is_a_dashed_number(visit: Visit) -> None:
    boxes = [{"at": [1], "value": 0.1, "before": 0.0235}]
    visit.show(tokens=tokens(boxes=boxes))
    was = visit.page.locator("#tokens .was")
    assert was.inner_text() == "2.4"
    assert was.evaluate("one => getComputedStyle(one).borderTopStyle") == "dashed"
    assert "Before the edit: 2.4%" in tip_of(visit, 1)


def test_generated_tokens_are_underlined(visit: Visit) -> None:
    visit.show(tokens=tokens(n_prompt=5))
    generated = visit.page.locator("#tokens .generated")
    assert generated.evaluate_all("all => all.map(one => one.dataset.position)") == ["5", "6"]
    assert "generated" in tip_of(visit, 5)
    assert "generated" not in tip_of(visit, 4)


def test_what_goes_to_no_token_has_a_box_of_its_own(visit: Visit) -> None:
    assert visit.page.locator("#tokens .nowhere").count() == 0
    visit.show(tokens=tokens(sink=0.1))
    box = visit.page.locator("#tokens .nowhere")
    assert box.locator(".amount").inner_text() == "10.0"
    assert box.get_attribute("role") is None, "it is no token and cannot be chosen"
    assert "no token" in box.inner_text()


def test_why_there_are_no_values_is_said(visit: Visit) -> None:
    boxes = [{"at": [at], "value": None} for at in range(7)]
    visit.show(tokens=tokens(missing="This model has no attention.", boxes=boxes))
    box = visit.page.locator("#tokens")
    assert "This model has no attention." in box.locator(".notes").inner_text()
    assert box.locator(".legend").count() == 0
    assert box.locator("[role=option] .amount").all_inner_texts() == [""] * 7
    assert "cannot be looked at" not in tip_of(visit, 1)
    option(visit, 1).click()
    assert visit.event("tokens", "choose") == {"position": 1}


def test_before_the_first_run_an_example_can_be_taken(visit: Visit) -> None:
    examples = ["7+5=", "<b>x</b>"]
    visit.show(tokens={"state": "empty", "title": "Where it looks", "examples": examples})
    buttons = visit.page.locator("#tokens button.example")
    assert buttons.all_text_contents() == examples
    buttons.nth(1).click()
    assert visit.event("tokens", "example") == {"index": 1}


# ---- tokens: choosing


def test_a_click_chooses_the_last_token_of_a_box(visit: Visit) -> None:
    option(visit, 4).click()
    assert visit.event("tokens", "choose") == {"position": 4}
    assert option(visit, 4).get_attribute("aria-selected") == "true"
    assert visit.page.locator("#tokens [aria-selected=true]").count() == 1


def test_arrows_move_the_focus_and_enter_chooses(visit: Visit) -> None:
    one = visit.page.locator("#tokens [role=option][tabindex='0']")
    assert one.get_attribute("data-position") == "2", "one Tab stop, at the selected token"
    one.focus()
    found = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"):
        visit.page.keyboard.press(key)
        found.append(visit.focused())
    assert found == [f"token-{at}" for at in (3, 5, 3, 6, 6, 0, 0)]
    assert visit.stage.events == []
    visit.page.keyboard.press("End")
    visit.page.keyboard.press("Enter")
    assert visit.event("tokens", "choose") == {"position": 6}
    visit.page.keyboard.press("Home")
    visit.page.keyboard.press("Space")
    assert visit.event("tokens", "choose", number=1) == {"position": 0}
    assert visit.page.locator("#tokens [role=option][tabindex='0']").count() == 1
    assert visit.page.locator("#tokens [role=listbox]").get_attribute("aria-label") == (
        "Where the last token looks"
    )


def test_the_focus_stays_where_it_is_when_python_answers(visit: Visit) -> None:
    visit.stage.answers[("tokens", "choose")] = tokens(selected=1, high=0.5)
    option(visit, 2).focus()
    visit.page.keyboard.press("ArrowLeft")
    visit.act(lambda: visit.page.keyboard.press("Enter"), "tokens")
    assert visit.focused() == "token-1"
    assert option(visit, 1).get_attribute("tabindex") == "0"


def test_a_token_says_on_hover_and_on_focus_what_is_known_of_it(visit: Visit) -> None:
    assert tip(visit).is_hidden()
    pointed = tip_of(visit, 2)
    for part in (" capital".replace(" ", "·"), "Attention: 20.0%", "position 2", "id 102"):
        assert part in seen(visit, pointed)
    assert f"bytes {b' capital'.hex(' ').upper()}" in pointed
    visit.page.mouse.move(0, 0)
    assert tip(visit).is_hidden()
    visit.page.locator("#tokens [role=option][tabindex='0']").focus()
    visit.page.keyboard.press("ArrowLeft")
    visit.page.keyboard.press("ArrowRight")
    assert tip(visit).inner_text() == pointed
    label = str(option(visit, 2).get_attribute("aria-label"))
    for part in ("Attention: 20.0%", "position 2", "id 102"):
        assert part in label
    visit.page.keyboard.press("Escape")
    assert tip(visit).is_hidden()
    assert visit.focused() == "token-2"


def seen(visit: Visit, said: str) -> str:
    """What is said with its marks, which are no text of the page."""
    marks = visit.page.locator("#tokens .tip .lens-mark").evaluate_all(
        "all => all.map(one => one.dataset.mark)"
    )
    return f"{''.join(marks)}{said.lstrip()}"


# ---- tokens: the prediction


@pytest.fixture
def predicted(visit: Visit) -> Locator:
    return visit.page.locator("#tokens .next")


def candidates(visit: Visit) -> list[tuple[str, str]]:
    rows = tip(visit).locator(".candidate")
    texts = rows.locator(".chip").all_text_contents()
    return list(zip(texts, rows.locator("> :last-child").all_inner_texts(), strict=True))


LISTED = [
    (" Paris", "81.0%"),
    (" Rome", "9.5%"),
    (" Lyon", "3.0%"),
    *((f" t{n}", "0.4%") for n in range(7)),
]


def test_the_prediction_follows_an_arrow_with_its_probability(
    visit: Visit, predicted: Locator
) -> None:
    assert predicted.locator(".fill").text_content() == " Paris"
    assert predicted.locator(".amount").inner_text() == "81.0%"
    order = visit.page.locator("#tokens .row").evaluate(
        "row => [...row.querySelectorAll('[role=option]:last-child, .arrow, .next')]"
        ".map(e => e.getBoundingClientRect().left)"
    )
    assert order == sorted(order)
    assert len(order) == 3
    visit.show(tokens=tokens(prediction=None))
    assert predicted.count() == 0


def test_the_prediction_lists_the_most_likely_tokens_on_hover(
    visit: Visit, predicted: Locator
) -> None:
    predicted.hover()
    assert candidates(visit) == LISTED
    shares = tip(visit).evaluate(
        "tip => [...tip.querySelectorAll('.candidate')].map(one =>"
        " one.querySelector('.bar').clientWidth / one.querySelector('.rail').clientWidth)"
    )
    assert shares[:3] == pytest.approx([0.81, 0.0951, 0.03], abs=0.012)
    visit.page.mouse.move(0, 0)
    assert tip(visit).is_hidden()


def test_the_prediction_lists_them_on_focus_until_escape(visit: Visit, predicted: Locator) -> None:
    visit.page.locator("#tokens [role=option][tabindex='0']").focus()
    visit.page.keyboard.press("Tab")
    assert visit.focused() == "prediction"
    assert candidates(visit) == LISTED
    label = str(predicted.get_attribute("aria-label"))
    assert all(f"{text} {share}" in label for text, share in LISTED)
    visit.page.keyboard.press("Escape")
    assert tip(visit).is_hidden()
    assert visit.focused() == "prediction"
    visit.page.keyboard.press("Shift+Tab")
    visit.page.keyboard.press("Tab")
    assert candidates(visit) == LISTED
    visit.page.keyboard.press("Tab")
    assert tip(visit).is_hidden()


def test_a_tap_on_the_prediction_lists_them_too(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    visit.page.locator("#tokens .next").tap()
    assert candidates(visit) == LISTED
    box = tip(visit).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 420


def test_a_long_candidate_leaves_the_probabilities_in_sight(visits: Open) -> None:
    for width in (1400, 420):
        visit = visits(width=width)
        top = [{"entry": entry("long " * 60), "p": 0.5}, {"entry": entry(" b"), "p": 0.25}]
        visit.show(tokens=tokens(prediction={**top[0], "top": top}))
        visit.page.locator("#tokens .next").hover()
        ends = tip(visit).evaluate(
            "tip => [tip, ...tip.querySelectorAll('.candidate > :last-child')]"
            ".map(e => e.getBoundingClientRect().right)"
        )
        assert all(end <= ends[0] for end in ends[1:]), width
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width


# ---- tokens: lines, menu, many tokens


ARCS = """() => [...document.querySelectorAll("#tokens .arcs path")].map((path) => {
  const [start, end] = [path.getPointAtLength(0), path.getPointAtLength(path.getTotalLength())];
  const { left } = path.ownerSVGElement.getBoundingClientRect();
  return [left + start.x, left + end.x, parseFloat(path.getAttribute("stroke-width")),
    path.getAttribute("stroke-dasharray") ?? ""];
})"""


def middles(visit: Visit) -> list[float]:
    return visit.page.locator("#tokens [role=option]").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(r => (r.left + r.right) / 2)"
    )


def test_lines_lead_from_what_is_looked_at_to_the_query(visit: Visit) -> None:
    lines = visit.page.evaluate(ARCS)
    at = middles(visit)
    starts, ends, widths, dashes = zip(*lines, strict=True)
    assert list(starts) == pytest.approx(at[:4], abs=1), "nothing of the query and behind it"
    assert list(ends) == pytest.approx([at[4]] * 4, abs=1)
    sink, quarter, whole, half = widths
    assert sink == whole > half > quarter
    assert [bool(dash) for dash in dashes] == [True, False, False, False]
    top = visit.page.evaluate(
        "() => [document.querySelector('#tokens .arcs').getBoundingClientRect().bottom,"
        " document.querySelector('#tokens .fill').getBoundingClientRect().top]"
    )
    assert top[0] <= top[1], "the lines cross no token"


def test_no_line_is_drawn_where_the_boxes_need_several_rows(visits: Open) -> None:
    visit = visits(width=420)
    texts = [f" word{n}" for n in range(12)]
    visit.show(tokens=plain(*texts))
    tops = visit.page.locator("#tokens [role=option]").evaluate_all(
        "all => new Set(all.map(e => Math.round(e.getBoundingClientRect().top))).size"
    )
    assert tops > 1
    assert visit.page.locator("#tokens .arcs").count() == 0
    visit.show(tokens=plain("a", "b", "c"))
    assert visit.page.locator("#tokens .arcs path").count() == 2


def test_the_menu_saves_every_kind(visit: Visit) -> None:
    for number, kind in enumerate(("json", "csv", "html", "png")):
        opener = visit.page.locator("#tokens button.export")
        opener.focus()
        visit.page.keyboard.press("Enter")
        expect(opener).to_have_attribute("aria-expanded", "true")
        for _ in range(number):
            visit.page.keyboard.press("ArrowDown")
        visit.page.keyboard.press("Enter")
        assert visit.event("tokens", "export", number=number) == {"format": kind}
        assert visit.page.locator("#tokens .menu").is_hidden()
    visit.show(tokens=tokens(exports=False))
    assert visit.page.locator("#tokens button.export").count() == 0


def many() -> dict[str, Any]:
    texts = [f" word{n % 97}" for n in range(300)]
    return plain(*texts)


@pytest.mark.parametrize("width", [1400, 420])
def test_many_tokens_stay_within_the_page(visits: Open, width: int) -> None:
    visit = visits(width=width, touch=width == 420)
    visit.show(tokens=many())
    assert visit.page.locator("#tokens [role=option]").count() == 300
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    row = visit.page.locator("#tokens .row")
    assert "dense" in str(row.get_attribute("class"))
    height = row.evaluate("row => row.clientHeight")
    assert height <= 480, "a long prompt leaves room for the rest of the page"
    assert visit.page.locator("#tokens .arcs").count() == 0
    visit.page.locator("#tokens [role=option]").nth(7).click()
    assert visit.event("tokens", "choose") == {"position": 7}
    if width == 420:
        assert visit.page.evaluate(SMALLEST_TARGET) >= 40


INSIDE = """(option) => {
  const row = option.closest(".row").getBoundingClientRect(), box = option.getBoundingClientRect();
  return box.top >= row.top - 1 && box.bottom <= row.bottom + 1;
}"""


def test_of_many_tokens_the_one_with_the_focus_is_in_sight(visits: Open) -> None:
    visit = visits(width=420)
    visit.show(tokens=many())
    visit.page.locator("#tokens [role=option][tabindex='0']").focus()
    for key, at in (("Home", 0), ("End", 299)):
        visit.page.keyboard.press(key)
        assert visit.focused() == f"token-{at}"
        assert option(visit, at).evaluate(INSIDE), f"{key} leads out of sight"


def test_of_many_tokens_a_chosen_one_stays_in_sight(visits: Open) -> None:
    visit = visits(width=420)
    visit.show(tokens=many())
    visit.stage.answers[("tokens", "choose")] = {**many(), "selected": 290, "high": 0.3}
    row = visit.page.locator("#tokens .row")
    row.evaluate("row => { row.scrollTop = row.scrollHeight; }")
    visit.act(lambda: option(visit, 290).click(), "tokens")
    assert option(visit, 290).get_attribute("aria-selected") == "true"
    assert option(visit, 290).evaluate(INSIDE)


# ---- looking beside needing


BARS = """() => [...document.querySelectorAll("#needs button.need")].map((need) =>
  Object.fromEntries(["left", "right"].map((side) => {
    const half = need.querySelector(`.half.${side}`);
    const bar = half.querySelector(".bar:not(.before)");
    const box = bar?.getBoundingClientRect();
    return [side, {
      text: half.querySelector(".value").textContent,
      width: box?.width ?? 0, from: box?.left ?? null, to: box?.right ?? null,
      hatched: bar ? getComputedStyle(bar).backgroundImage.includes("repeating") : false,
      fits: half.querySelector(".value").getBoundingClientRect().right
        <= half.getBoundingClientRect().right + 1,
    }];
  })))"""


def test_bars_are_as_long_as_their_values_on_each_side(visit: Visit) -> None:
    rows = visit.page.evaluate(BARS)
    left = [one["left"]["width"] for one in rows]
    assert left == pytest.approx([left[0] * share for share in (1, 0.25, 0.5, 0)], abs=1)
    right = [one["right"]["width"] for one in rows]
    assert right == pytest.approx([right[2] * share for share in (0.125, 0.5, 1, 0)], abs=1)
    assert min(left[0], right[2]) > 80
    assert [one["left"]["text"] for one in rows] == ["60.0%", "15.0%", "30.0%", "–"]
    assert [one["right"]["text"] for one in rows] == ["+0.50", "−2.00", "+4.00", "–"]
    assert [one["right"]["hatched"] for one in rows] == [False, True, False, False]
    inner = {round(one["left"]["to"]) for one in rows[:3]}
    assert len(inner) == 1, "the left bars start at the tokens"
    assert len({round(one["right"]["from"]) for one in rows[:3]}) == 1


def test_a_part_says_its_token_and_whether_the_prediction_changes(visit: Visit) -> None:
    box = visit.page.locator("#needs button.need")
    assert box.locator(".chip").all_text_contents() == ["<|start|>", "The", "龘", " is"]
    assert box.locator(".flip").all_inner_texts() == ["", "", "⇄", ""]
    notes = visit.page.locator("#needs .notes").inner_text()
    assert "⇄ without it, another token is predicted." in notes
    assert "Rank correlation: 0.50" in notes
    name = str(box.nth(2).get_attribute("aria-label"))
    for part in ("龘", "Attention 30.0%", "Log-probability lost, nats +4.00", "another token"):
        assert part in name
    assert "Does not add up: 12.0%" in visit.page.locator("#needs .badge").inner_text()
    assert visit.page.locator("#needs .ends .chip").text_content() == " Paris"
    visit.show(needs=needs(rows=[row(1, 0.2, 1.0)]))
    assert "⇄" not in visit.page.locator("#needs").inner_text()


def test_a_row_is_chosen_by_click_and_key(visit: Visit) -> None:
    rows = visit.page.locator("#needs button.need")
    rows.nth(2).click()
    assert visit.event("needs", "choose") == {"position": 4}, "the last token of the character"
    rows.nth(1).focus()
    visit.page.keyboard.press("Enter")
    assert visit.event("needs", "choose", number=1) == {"position": 1}
    assert visit.focused() == "need-1"


def test_errors_and_what_was_there_before_have_room(visits: Open) -> None:
    for width in (1400, 420):
        visit = visits(width=width)
        rows = [row(1, 0.7, -12.34, error=0.12, before=-20.0), row(2, 0.2, 3.0, error=0.012)]
        visit.show(needs=needs(rows=rows))
        first, second = visit.page.evaluate(BARS)
        assert first["right"]["text"] == "−12.34 ± 0.12"
        assert second["right"]["text"] == "+3.00 ± 0.01"
        before = visit.page.locator("#needs .bar.before")
        assert before.count() == 1
        ratio = before.evaluate("bar => bar.getBoundingClientRect().width")
        # A hollow bar is measured with its frame.
        assert first["right"]["width"] / ratio == pytest.approx(12.34 / 20, abs=0.08)
        style = before.evaluate("bar => getComputedStyle(bar).borderTopStyle")
        assert style == "dashed"
        assert first["right"]["fits"], width
        assert second["right"]["fits"], width
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width


def test_of_many_parts_the_largest_of_either_side_are_drawn(visit: Visit) -> None:
    n = 60
    texts = records(*(f" w{i}" for i in range(n)))
    # Large on the left at the start, large on the right at the end.
    rows = [row(i, (n - i) / 100, float(i - n // 2)) for i in range(n)]
    visit.show(needs=needs(tokens=texts, rows=rows))
    drawn = visit.page.locator("#needs button.need .chip").all_text_contents()
    left = sorted(range(n), key=lambda i: -(n - i))[:20]
    right = sorted(range(n), key=lambda i: -abs(i - n // 2))[:20]
    assert drawn == [f" w{i}" for i in sorted({*left, *right})]
    said = visit.page.locator("#needs .notes").inner_text()
    assert f"{n - len(drawn)} parts with smaller numbers" in said


def test_what_was_not_measured_can_be_measured(visit: Visit) -> None:
    visit.show(needs=needs(rows=[], missing="Importance was not measured."))
    box = visit.page.locator("#needs")
    assert "Importance was not measured." in box.inner_text()
    assert box.locator("button.need").count() == 0
    box.get_by_role("button", name="Measure importance").focus()
    visit.page.keyboard.press("Enter")
    assert visit.event("needs", "measure") == {}


# ---- facts


def test_facts_are_lines_of_a_name_and_a_value(visit: Visit) -> None:
    box = visit.page.locator("#facts")
    assert box.locator("h2").inner_text() == "Token detail"
    assert box.locator("dt").all_text_contents() == ["Text", "ID", "Appended", " Rome"]
    values = box.locator("dd")
    assert values.nth(0).locator(".chip").text_content() == " capital"
    assert values.nth(1).inner_text() == "102"
    assert values.nth(2).locator(".chip").all_text_contents() == [" a", " b"]
    assert "Adds up" in box.locator(".badge").inner_text()
    assert box.locator(".note").inner_text() == "Nothing else is known."
    visit.show(facts=facts(title=None, rows=[], badge=None, buttons=[], note=None))
    assert box.locator("h2, dl, .badge, .note, button").count() == 0


def test_a_button_of_facts_says_what_is_to_be_done(visit: Visit) -> None:
    buttons = visit.page.locator("#facts button")
    assert buttons.all_text_contents() == ["Append  Paris", "Take the last one back"]
    buttons.first.click()
    assert visit.event("facts", "act") == {"name": "append"}
    buttons.last.focus()
    visit.page.keyboard.press("Enter")
    assert visit.event("facts", "act", number=1) == {"name": "undo"}
    assert visit.focused() == "undo"


# ---- all of them


def evil(text: str) -> dict[str, dict[str, Any]]:
    """Values that say it everywhere."""
    token, told = records(text, text, special=(0,)), entry(text)
    top = [{"entry": told, "p": 0.5}, {"entry": told, "p": 0.1}]
    boxes = [{"at": [at], "value": 0.1} for at in range(2)]
    title = {"key": text, "entry": told}
    texts = {"title": title, "how": text, "notes": [text], "tokens": token}
    return {
        "tokens": tokens(
            **texts,
            boxes=boxes,
            legend=text,
            query=1,
            selected=1,
            prediction={**top[0], "top": top},
        ),
        "needs": needs(
            **texts,
            rows=[row(1, 0.1, 1.0)],
            left=text,
            right=text,
            target=told,
            badge={"state": "poor", "text": text},
        ),
        "facts": facts(
            title=title,
            rows=[
                {"label": text, "value": text},
                {"entry": told, "value": {"entries": [told], "token": None}},
                {"label": text, "value": {"entries": [], "token": token[1]}},
            ],
            buttons=[{"name": "append", "label": text, "entry": told}],
            badge={"state": "poor", "text": text},
            note=text,
        ),
    }


SELECTED = """(fill) => {
  document.getSelection().selectAllChildren(fill);
  const data = new DataTransfer();
  const options = { clipboardData: data, cancelable: true, bubbles: true };
  fill.dispatchEvent(new ClipboardEvent("copy", options));
  const text = data.getData("text/plain") || document.getSelection().toString();
  document.getSelection().removeAllRanges();
  return text;
}"""
"""What copying a box gives."""


def test_no_text_is_executed_and_copying_gives_it(visit: Visit) -> None:
    page = visit.page
    for text in HOSTILE:
        visit.show(**evil(text))
        option(visit, 1).hover()
        assert tip(visit).is_visible()
        page.locator("#tokens .next").hover()
        assert tip(visit).locator(".chip").all_text_contents() == [text, text]
        assert page.evaluate("document.body.dataset.pwned ?? null") is None
        assert page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        filled = page.locator("#tokens .fill")
        assert filled.all_text_contents() == [text] * 3
        assert filled.nth(1).evaluate(SELECTED) == text
        assert page.locator("#needs .chip").all_text_contents() == [text, text]
        assert page.locator("#facts .chip").all_text_contents() == [text] * 4
        assert page.locator("#facts dd").first.text_content() == text
        assert page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_and_fits(visits: Open, theme: str, width: int) -> None:
    visit = visits(width=width, theme=theme, touch=width == 420)
    long = entry("x" * 200)
    rows = [{**one, "before": 1.0} for one in needs()["rows"][:3]]
    boxes = [{"at": [at], "value": HIGH * at / 5, "before": 0.01} for at in range(6)]
    buttons = [{"name": "append", "label": "Append", "entry": long}]
    visit.show(
        tokens=tokens(boxes=boxes, sink=0.1, notes=["note " * 60]),
        needs=needs(rows=rows, target=long),
        facts=facts(buttons=buttons, note="note " * 60),
    )
    visit.page.locator("#tokens .next").hover()
    assert visit.page.evaluate(PALE) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    signed = [{"at": [at], "value": x} for at, x in enumerate((-1, -0.6, -0.2, 0.2, 0.6, 1))]
    both = {"scale": "signed", "format": "signed", "high": 1.0, "sinks": []}
    visit.show(tokens=tokens(boxes=signed, **both))
    assert visit.page.evaluate(PALE) == []
    if width == 420:
        visit.page.locator("#tokens button.export").tap()
        assert visit.page.evaluate(SMALLEST_TARGET) >= 40


def test_a_tap_on_a_token_shows_what_is_known_of_it_and_chooses_it(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    option(visit, 2).tap()
    assert "position 2" in tip(visit).inner_text()
    assert visit.event("tokens", "choose") == {"position": 2}


def test_a_drag_over_a_token_chooses_nothing(visit: Visit) -> None:
    box = option(visit, 2).locator(".fill").bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + 12, box["y"] + 20)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 22, steps=4)
    visit.page.mouse.up()
    assert visit.page.evaluate("document.getSelection().toString()")
    visit.page.wait_for_timeout(200)
    assert visit.stage.events == []


def test_every_word_of_the_viewers_is_there_in_all_languages() -> None:
    keys = [key for key in words()["en"] if key.split(".")[0] in ("attention_tokens", "needs")]
    assert len(keys) > 12
    for key in keys:
        texts = [words()[language][key] for language in LANGUAGES]
        assert all(texts)
        names = {tuple(sorted(re.findall(r"\{\w+\}", text))) for text in texts}
        assert len(names) == 1, f"{key}: other values"


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_the_viewers_speak_the_language_of_the_page(visits: Open, language: str) -> None:
    visit, said = visits(language=language), words()[language]
    assert said["attention_tokens.behind"] in tip_of(visit, 6)
    assert said["attention_tokens.query"] in visit.page.locator("#tokens").inner_text()
    assert said["needs.flips"] in visit.page.locator("#needs").inner_text()
