"""The viewer of a minimal pair in a real browser: its alignment, its keys, its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Locator, expect
from viewer_stage import HOSTILE, SMALLEST_TARGET, Open, Stage, Visit, entry, records
from visits import PALE

from tabs.words import LANGUAGES, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Part = tuple[str, str | tuple[str, ...], int | None]
"""What a token is part of, its text, and its column."""


def side(name: str, *parts: Part, special: tuple[int, ...] = (), **changes: Any) -> dict[str, Any]:
    """A side of these tokens; a tuple is one character and the bytes of each of its tokens."""
    tokens = records(*(text for _, text, _ in parts), special=special)
    for token in tokens:
        token["part"], _, token["column"] = parts[token["cluster"]]
    return {"name": name, "tokens": tokens, "prediction": None, "correct": False, **changes}


def parts_of(texts: Sequence[str], edit: int) -> list[Part]:
    """Tokens of which one is changed."""
    return [
        ("edit" if i == edit else "prefix" if i < edit else "common", text, i)
        for i, text in enumerate(texts)
    ]


def pair(*sides: dict[str, Any], **changes: Any) -> dict[str, Any]:
    if not sides:
        start = ("<|start|>", "The", " capital", " of")
        sides = tuple(
            side(
                name,
                *parts_of([*start, country, " is"], 4),
                special=(0,),
                prediction={"entry": entry(city), "p": p},
                correct=name == "A",
            )
            for name, country, city, p in (
                ("A", " France", " Paris", 0.995),
                ("B", " Liechtenstein", " Vaduz", 0.9964),
            )
        )
    return {
        "state": "ready",
        "title": None,
        "sides": list(sides),
        "facts": ["fact", "4 tokens shared, 1 changed, 1 after"],
        "index": 0,
        "count": 15,
        "buttons": True,
        "note": None,
        "examples": [],
        **changes,
    }


def unequal(**changes: Any) -> dict[str, Any]:
    """One token against three: what follows stands at other positions."""
    last: list[Part] = [("common", " is", 3), ("common", " the", 4), ("rest", " x", None)]
    left = side("A", ("prefix", "In", 0), ("prefix", " the", 1), ("edit", " UK", 2), *last)
    right = side(
        "B",
        ("prefix", "In", 0),
        ("prefix", " the", 1),
        *(("edit", text, 2) for text in (" United", " States", " here")),
        *last[:2],
    )
    return pair(left, right, **changes)


def inserted() -> dict[str, Any]:
    """Something that only A has."""
    both: list[Part] = [("prefix", "It", 0), ("common", " is", 2), ("common", " good", 3)]
    return pair(side("A", both[0], ("edit", " never", 1), *both[1:]), side("B", *both))


def chinese(**changes: Any) -> dict[str, Any]:
    """The second side has a character of two tokens."""
    return pair(
        side("A", *parts_of(["法国", "的", "首都", "是"], 0)),
        side(
            "B",
            ("edit", ("龘", "E9 BE", "98"), 0),
            *parts_of(["", "的", "首都", "是"], 0)[1:],
            prediction={"entry": entry("罗马"), "p": 0.5},
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    with Stage(first=lambda: {"pair": pair()}, viewers={"pair": "pair_lines"}).launched() as stage:
        yield stage


def option(visit: Visit, number: int, position: int) -> Locator:
    """The token at a position of side 0 or 1."""
    return visit.page.locator(
        f"#pair .list.{'ab'[number]} [role=option][data-position='{position}']"
    )


PLACES = """() => ['a', 'b'].map((side) => [...document.querySelectorAll(
  `#pair .list.${side} .cell`)].map((cell) => [...cell.querySelectorAll('.chip')]
    .map((chip) => chip.getBoundingClientRect())).filter((boxes) => boxes.length)
  .map((boxes) => [boxes[0].left, boxes.at(-1).right, boxes[0].top]))"""
"""Where each column starts and ends on both sides, and how far down."""


# ---- alignment


def test_shared_tokens_stand_under_each_other(visit: Visit) -> None:
    left, right = visit.page.evaluate(PLACES)
    assert len(left) == len(right) == 6
    for (x, end, y), (other, other_end, below) in zip(left, right, strict=True):
        assert x == pytest.approx(other, abs=0.5)
        assert end == pytest.approx(other_end, abs=0.5), "also where one text is wider"
        assert below > y + 20
    assert [x for x, _, _ in left] == sorted(x for x, _, _ in left)
    texts = visit.page.locator("#pair .list.b .chip").all_text_contents()
    assert texts == ["<|start|>", "The", " capital", " of", " Liechtenstein", " is"]


def test_the_letters_and_predictions_stand_beside_their_tokens(visit: Visit) -> None:
    middles = visit.page.evaluate(
        """() => ['a', 'b'].map((side) => [`.pair > .letter.${side}`, `.list.${side} .chip`,
          `.end.${side} .chip`].map((name) => document.querySelector(`#pair ${name}`)
          .getBoundingClientRect()).map(({ top, bottom }) => (top + bottom) / 2))"""
    )
    for letter, token, prediction in middles:
        assert letter == pytest.approx(token, abs=1.5)
        assert prediction == pytest.approx(token, abs=1.5)


def test_an_edit_of_another_length_is_one_block(visit: Visit) -> None:
    visit.show(pair=unequal())
    left, right = visit.page.evaluate(PLACES)
    for (x, end, _), (other, other_end, _) in zip(left, right, strict=False):
        assert x == pytest.approx(other, abs=0.5)
        assert end == pytest.approx(other_end, abs=0.5)
    assert visit.page.locator("#pair .list.b .edit").count() == 3
    assert visit.page.locator("#pair .list.a .rest").text_content() == " x"
    assert len(left) == len(right) + 1


def test_what_stands_at_another_position_is_marked_and_says_where(visit: Visit) -> None:
    assert visit.page.locator("#pair .moved").count() == 0
    visit.show(pair=unequal())
    assert visit.page.locator("#pair .chip.moved").all_text_contents() == [" is", " the"] * 2
    assert "the same token in B: position 5" in tip_of(visit, 0, 3)
    assert "the same token in A: position 4" in tip_of(visit, 1, 6)
    assert "same token" not in tip_of(visit, 0, 1)
    legend = visit.page.locator("#pair .legend").inner_text()
    assert "the same token at another position" in legend
    assert "not aligned" in legend


def test_what_a_side_lacks_is_said(visit: Visit) -> None:
    visit.show(pair=inserted())
    gap = visit.page.locator("#pair .list.b .gap")
    assert gap.count() == 1
    assert gap.get_attribute("role") is None, "it cannot be chosen"
    assert "no token here" in visit.page.locator("#pair .legend").inner_text()
    left, right = visit.page.evaluate(PLACES)
    assert [x for x, _, _ in left] == pytest.approx([x for x, _, _ in right], abs=0.5)


def test_a_character_of_several_tokens_shows_the_bytes_of_each(visit: Visit) -> None:
    visit.show(pair=chinese())
    split = visit.page.locator("#pair .split")
    assert split.locator(".lens-text").text_content() == "龘"
    bytes_of = "all => all.map(one => one.dataset.bytes)"
    assert split.locator("[role=option]").evaluate_all(bytes_of) == ["E9 BE", "98"]
    assert "part of 龘" in tip_of(visit, 1, 1)


# ---- what is said


def tip_of(visit: Visit, number: int, position: int) -> str:
    """What is said of a token that is pointed at."""
    option(visit, number, position).hover()
    return visit.page.locator("#pair .tip").inner_text()


def test_the_predictions_and_the_correct_side_are_said(visit: Visit) -> None:
    ends = visit.page.locator("#pair .end")
    assert ends.locator(".next .chip").all_text_contents() == [" Paris", " Vaduz"]
    assert ends.locator(".p").all_inner_texts() == ["99.5%", "99.6%"]
    assert ends.nth(0).locator(".correct").inner_text() == "✓ correct side"
    assert ends.nth(1).locator(".correct").count() == 0
    said = ends.nth(0).locator(".next").get_attribute("aria-label")
    assert said == "Most likely next token: ·Paris, 99.5%"
    visit.show(pair=unequal())
    assert ends.locator(".next").count() == 0


def test_changed_tokens_differ_in_more_than_colour(visit: Visit) -> None:
    look = "chip => getComputedStyle(chip).backgroundImage"
    images = visit.page.locator("#pair .edit[role=option]").evaluate_all(f"all => all.map({look})")
    assert len({*images}) == 2, "one line is solid, the other one dashed"
    assert all("gradient" in image for image in images)
    assert option(visit, 0, 1).evaluate(look) == "none"
    assert "changed in A" in tip_of(visit, 0, 4)
    special = "chip => getComputedStyle(chip).borderTopStyle"
    assert option(visit, 0, 0).evaluate(special) == "dashed"
    legend = visit.page.locator("#pair .legend").inner_text()
    for words_of in ("changed in A", "changed in B", "special token"):
        assert words_of in legend


CONTRAST = """() => {
  const lin = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const lum = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number)
    .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * lin(v), 0);
  const ratio = (one, other) => {
    const [a, b] = [lum(one), lum(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const ground = getComputedStyle(document.querySelector('#pair')).backgroundColor;
  return [...document.querySelectorAll('#pair :is(.chip.edit, .pair > .letter)')].map((e) => {
    const { backgroundColor, borderTopColor, color, borderTopWidth } = getComputedStyle(e);
    const edge = borderTopWidth === '0px' ? backgroundColor : borderTopColor;
    return [color, ratio(color, backgroundColor), ratio(edge, ground)];
  });
}"""
"""Of every mark of a side: the colour and contrast of its text, and the contrast of its edge."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_white_on_the_colour_of_a_side_can_be_read(visits: Open, theme: str) -> None:
    found = visits(theme=theme).page.evaluate(CONTRAST)
    assert len(found) == 4
    for colour, text, edge in found:
        assert colour == "rgb(255, 255, 255)"
        assert text >= 4.5
        assert edge >= 2.7
    edits = [edge for _, _, edge in found[2:]]
    assert min(edits) >= 3


def test_the_whole_is_said_in_sentences(visit: Visit) -> None:
    said = visit.page.locator("#pair .spoken").text_content() or ""
    for part in (
        "Pair 1 of 15 · fact · 4 tokens shared, 1 changed, 1 after.",
        "Text A as tokens: The·capital·of·France·is.",
        "changed in A: ·France.",
        "changed in B: ·Liechtenstein.",
        "Most likely next token: ·Vaduz, 99.6%.",
        "correct side.",
    ):
        assert part in said
    assert said.count("correct side") == 1
    names = visit.page.locator("#pair [role=listbox]").evaluate_all(
        "all => all.map(e => e.ariaLabel)"
    )
    assert names == ["Text A as tokens", "Text B as tokens"]


def test_title_note_and_buttons_are_there_when_asked_for(visit: Visit) -> None:
    assert visit.page.locator("#pair :is(h2, .note)").count() == 0
    visit.show(pair=pair(title="A pair", note="Not read yet.", buttons=False))
    assert visit.page.locator("#pair h2").inner_text() == "A pair"
    assert visit.page.locator("#pair .note").inner_text() == "Not read yet."
    assert visit.page.locator("#pair button").count() == 0


# ---- events


def test_a_click_chooses_a_token_of_its_side(visit: Visit) -> None:
    option(visit, 1, 4).click()
    assert visit.event("pair", "choose") == {"side": 1, "position": 4}
    option(visit, 0, 2).click()
    assert visit.event("pair", "choose", number=1) == {"side": 0, "position": 2}
    chosen = visit.page.locator("#pair [aria-selected=true]")
    assert chosen.count() == 1, "one of both sides"
    assert "2.5px" in chosen.evaluate("chip => getComputedStyle(chip).boxShadow")


def test_arrows_move_along_a_side_and_to_the_other(visit: Visit) -> None:
    assert visit.page.locator("#pair [role=option][tabindex='0']").count() == 2, "one a side"
    visit.page.locator("#pair .list.a [tabindex='0']").focus()
    found = []
    keys = (
        "Home",
        "ArrowRight",
        "ArrowDown",
        "ArrowLeft",
        "ArrowDown",
        "ArrowUp",
        "ArrowUp",
        "End",
    )
    for key in keys:
        visit.page.keyboard.press(key)
        found.append(visit.focused())
    places = [(0, 0), (0, 1), (1, 1), (1, 0), (1, 0), (0, 0), (0, 0), (0, 5)]
    assert found == [f"pair-{number}-{position}" for number, position in places]
    assert visit.stage.events == []
    visit.page.keyboard.press("Enter")
    assert visit.event("pair", "choose") == {"side": 0, "position": 5}
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Space")
    assert visit.event("pair", "choose", number=1) == {"side": 1, "position": 5}


def test_up_and_down_stay_in_the_column_of_an_unequal_edit(visit: Visit) -> None:
    visit.show(pair=unequal())
    option(visit, 0, 3).focus()
    visit.page.keyboard.press("ArrowDown")
    assert visit.focused() == "pair-1-5"
    visit.page.keyboard.press("ArrowLeft")
    visit.page.keyboard.press("ArrowUp")
    assert visit.focused() == "pair-0-2"


def test_focus_and_choice_survive_an_answer(visit: Visit) -> None:
    visit.stage.answers[("pair", "choose")] = pair(note="Chosen.")
    visit.act(option(visit, 1, 2).click, "pair")
    assert visit.focused() == "pair-1-2"
    assert option(visit, 1, 2).get_attribute("aria-selected") == "true"
    visit.show(pair=pair(selected={"side": 0, "position": 3}))
    assert option(visit, 0, 3).get_attribute("aria-selected") == "true"
    assert visit.page.locator("#pair [aria-selected=true]").count() == 1


def test_a_focused_token_says_what_is_known_of_it(visit: Visit) -> None:
    visit.page.keyboard.press("Shift")
    option(visit, 0, 4).focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowLeft")
    tip = visit.page.locator("#pair .tip")
    for part in ("changed in A", "position 4", "id 104"):
        assert part in tip.inner_text()
    visit.page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_another_pair_is_asked_for_and_there_is_none_before_the_first(visit: Visit) -> None:
    visit.stage.answers[("pair", "step")] = pair(index=14)
    before = visit.page.get_by_role("button", name="‹ Previous")
    after = visit.page.get_by_role("button", name="Next ›")
    expect(before).to_have_attribute("aria-disabled", "true")
    before.click(force=True)
    visit.act(after.click, "pair")
    assert visit.event("pair", "step") == {"by": 1}
    assert "Pair 15 of 15" in visit.page.locator("#pair .facts").inner_text()
    assert visit.focused() == "following", "also now that it leads nowhere"
    expect(after).to_have_attribute("aria-disabled", "true")
    before.focus()
    visit.page.keyboard.press("Enter")
    assert visit.event("pair", "step", number=1) == {"by": -1}
    assert len(visit.stage.events) == 2


def test_an_example_can_be_taken_before_the_first_run(visit: Visit) -> None:
    examples = ["The capital of {} is", "<b>x</b>"]
    visit.show(pair={"state": "empty", "title": "A pair", "note": None, "examples": examples})
    buttons = visit.page.locator("#pair button.example")
    assert buttons.all_text_contents() == examples
    buttons.nth(1).click()
    assert visit.event("pair", "example") == {"index": 1}


# ---- texts of all kinds


SELECTED = """(box) => {
  document.getSelection().selectAllChildren(box);
  const data = new DataTransfer();
  const options = { clipboardData: data, cancelable: true, bubbles: true };
  box.dispatchEvent(new ClipboardEvent("copy", options));
  document.getSelection().removeAllRanges();
  return data.getData("text/plain");
}"""
"""What copying gives."""


def test_no_text_is_executed_and_copying_gives_it(visit: Visit) -> None:
    for text in HOSTILE:
        told = {"prediction": {"entry": entry(text), "p": 0.5}}
        sides = [
            side(name, *parts_of([text, text, text], 1), special=(0,), **told)
            for name in ("A", text)
        ]
        visit.show(pair=pair(*sides, title={"key": text}, note=text, facts=[text]))
        option(visit, 1, 1).hover()
        assert visit.page.locator("#pair .tip").is_visible()
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        assert visit.page.locator("#pair .list .chip").all_text_contents() == [text] * 6
        assert visit.page.locator("#pair .end .next .chip").all_text_contents() == [text] * 2
        assert visit.page.locator("#pair .strip").evaluate(SELECTED) == f"{text * 3}\n{text * 3}"
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize(
    ("text", "page", "language"),
    [("首都", "en", "zh"), ("首都", "ja", "ja"), ("首都は", "zh", "ja"), ("수도", "en", "ko")],
)
def test_east_asian_text_says_its_language(
    visits: Open, text: str, page: str, language: str
) -> None:
    visit = visits(language=page)
    sides = [
        side(name, *parts_of(["The", text], 1), prediction={"entry": entry("東京"), "p": 0.5})
        for name in ("A", "B")
    ]
    visit.show(pair=pair(*sides))
    assert option(visit, 0, 1).get_attribute("lang") == language
    assert option(visit, 0, 0).get_attribute("lang") is None
    assert visit.page.locator("#pair .next .chip").first.get_attribute("lang") == language
    assert visit.page.locator("#pair .spoken bdi").first.get_attribute("lang") == language


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_and_fits(visits: Open, theme: str, width: int) -> None:
    visit = visits(width=width, theme=theme, touch=width == 420)
    long = pair(
        *(
            side(
                name,
                *parts_of([f" word{i}{name * i}" for i in range(40)], 30),
                prediction={"entry": entry("x" * 200), "p": 0.5},
                correct=True,
            )
            for name in ("A", "B")
        ),
        title="title " * 60,
        note="note " * 60,
        facts=["fact " * 60],
    )
    empty = {"state": "empty", "title": "Pairs", "note": None, "examples": ["x " * 200]}
    for value in (pair(), unequal(), inserted(), chinese(), long, empty):
        visit.show(pair=value)
        assert visit.page.evaluate(PALE) == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        if width == 420:
            assert visit.page.evaluate(SMALLEST_TARGET) >= 40


def test_a_long_pair_scrolls_to_its_change(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    texts = [f" word{i}" for i in range(40)]
    sides = [side(name, *parts_of(texts, 30)) for name in ("A", "B")]
    visit.show(pair=pair(*sides))
    strip = visit.page.locator("#pair .strip")
    off_centre = """(strip) => {
      const [chip, outer] = [strip.querySelector('.edit'), strip]
        .map((e) => e.getBoundingClientRect());
      return (chip.left + chip.right - outer.left - outer.right) / 2;
    }"""
    visit.page.wait_for_function(f"Math.abs(({off_centre})(document.querySelector('.strip'))) < 2")
    assert "more-before" in str(strip.get_attribute("class"))
    strip.dispatch_event("wheel")
    strip.evaluate("s => s.scrollLeft = 0")
    visit.page.wait_for_function("!document.querySelector('.strip.more-before')")
    visit.show(pair=pair(*sides, note="The same tokens."))
    assert strip.evaluate("s => s.scrollLeft") == 0, "as the person left it"
    visit.show(pair=pair(*sides, selected={"side": 0, "position": 20}))
    visit.page.wait_for_function("document.querySelector('.strip').scrollLeft > 500")


def test_on_a_phone_the_predictions_stand_below(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    tops = visit.page.evaluate(
        """() => ['.list.b .chip', '.end.a .letter', '.end.b .letter'].map((name) =>
          document.querySelector(`#pair ${name}`).getBoundingClientRect().top)"""
    )
    assert tops == sorted(tops)
    assert len({*tops}) == 3
    option(visit, 0, 1).tap()
    assert visit.event("pair", "choose") == {"side": 0, "position": 1}
    assert "position 1" in visit.page.locator("#pair .tip").inner_text()


def test_every_word_of_the_viewer_is_there_in_all_languages() -> None:
    keys = [key for key in words()["en"] if key.startswith("pair_lines.")]
    assert len(keys) > 8
    for key in keys:
        texts = [words()[language][key] for language in LANGUAGES]
        assert len({tuple(sorted(re.findall(r"\{\w+\}", text))) for text in texts}) == 1, key


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_it_speaks_the_language_of_the_page(visits: Open, language: str) -> None:
    visit, said = visits(language=language), words()[language]
    shown = visit.page.locator("#pair").inner_text()
    for key in ("previous", "following", "correct"):
        assert said[f"pair_lines.{key}"] in shown
    assert said["pair_lines.changed"].replace("{side}", "A") in tip_of(visit, 0, 4)
