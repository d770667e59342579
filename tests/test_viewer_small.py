"""The small viewers in a real browser: bars, followed tokens, the token strip, saved files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from viewer_stage import (
    HOSTILE,
    PARTS,
    SMALLEST_TARGET,
    Open,
    Stage,
    Visit,
    entry,
    followed,
    records,
    share,
    signed,
    strip,
)
from visits import PALE

from tabs.viewers import drawn
from tabs.words import LANGUAGES, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    with Stage().launched() as stage:
        yield stage


@pytest.fixture
def visit(visits: Open) -> Visit:
    visit = visits()
    visit.page.evaluate("() => { lens.shell.tab = 'graph'; }")  # the strip tells the open tab
    return visit


def test_every_word_of_the_viewers_is_there_in_all_languages() -> None:
    small = ("bars", "followed", "token_strip")
    details = ("table", "log_slider", "pushed", "maps", "selection")
    keys = [key for key in words()["en"] if key.split(".")[0] in small + details]
    assert len(keys) > 40
    for key in keys:
        texts = [words()[language][key] for language in LANGUAGES]
        assert all(texts)
        assert len({tuple(sorted(_names(text))) for text in texts}) == 1, f"{key}: other values"


def _names(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]


# ---- bars


def test_a_prediction_is_drawn_as_chips_rails_and_per_cent(visit: Visit) -> None:
    rows = visit.page.locator("#share .row")
    assert rows.count() == 4
    assert rows.first.locator(".value").inner_text() == "99.6%"
    assert rows.first.locator(".chip").text_content() == " Paris"
    share_of_rail = rows.first.evaluate(
        "row => row.querySelector('.bar').clientWidth / row.querySelector('.plot').clientWidth"
    )
    assert share_of_rail == pytest.approx(0.9955, abs=0.01)


def test_signed_values_stand_on_their_side_of_zero_and_say_their_sign(visit: Visit) -> None:
    visit.page.locator("#signed").scroll_into_view_if_needed()
    found = visit.page.evaluate(
        """() => [...document.querySelectorAll('#signed .row')].map(row => {
          const box = e => e.getBoundingClientRect();
          const plot = box(row.querySelector('.plot'));
          const zero = plot.left + plot.width * parseFloat(
            row.querySelector('.plot').style.getPropertyValue('--zero')) / 100;
          const [bar, text] = [box(row.querySelector('.bar')), box(row.querySelector('.value'))];
          return [row.querySelector('.value').textContent, bar.left - zero, bar.right - zero,
                  text.left - bar.right, bar.left - text.right,
                  box(row.querySelector('.label')).right];
        })"""
    )
    assert len(found) == 13
    for (text, left, right, after, before, _), value in zip(found, PARTS, strict=True):
        assert text == f"{'+' if value > 0 else '−'}{abs(value):.2f}"
        assert (left if value > 0 else right) == pytest.approx(0, abs=1)
        assert 0 < (after if value > 0 else before) < 12, "the value stands at the tip"
    assert len({round(row[-1]) for row in found}) == 1, "labels end on one line"
    assert visit.page.locator("#signed h2").text_content() == "Who pushed  Paris up"
    assert visit.page.locator("#signed dt").all_inner_texts()[1] == "Logit of the model"
    assert visit.page.locator("#signed dd").all_inner_texts() == ["14.98", "14.98"]
    assert "Adds up" in visit.page.locator("#signed .badge").inner_text()


def test_small_signed_values_keep_their_digits(visit: Visit) -> None:
    rows = [{"label": "L0", "value": 0.00412}, {"label": "L1", "value": None}]
    visit.show(signed=signed(rows=rows))
    assert visit.page.locator("#signed .value").all_inner_texts() == ["+0.0041", "–"]


def test_the_value_before_an_edit_is_a_dashed_hollow_bar(visit: Visit) -> None:
    rows = [{**row, "before": row["value"] / 2} for row in share()["rows"]]
    visit.show(share=share(rows=rows))
    style = visit.page.locator("#share .bar.before").first.evaluate(
        "bar => [getComputedStyle(bar).borderTopStyle, getComputedStyle(bar).backgroundColor]"
    )
    assert style == ["dashed", "rgba(0, 0, 0, 0)"]
    assert visit.page.locator("#share .value").first.inner_text() == "49.8% → 99.6%"
    assert "Dashed" in visit.page.locator("#share .legend").inner_text()


def test_a_long_list_keeps_the_largest_and_says_what_is_left_out(visit: Visit) -> None:
    values = [(-1) ** n * (n * 17 % 49 + 1) / 10 for n in range(49)]
    rows = [{"label": f"part {n}", "value": value} for n, value in enumerate(values)]
    visit.show(signed=signed(rows=rows))
    kept = sorted(sorted(range(49), key=lambda n: -abs(values[n]))[:26])
    labels = visit.page.locator("#signed .label").all_inner_texts()
    assert labels == [f"part {n}" for n in kept]
    rest = sum(value for n, value in enumerate(values) if n not in kept)
    said = visit.page.locator("#signed .left").inner_text()
    assert "23 smaller" in said
    assert f"{abs(rest):.2f}" in said
    button = visit.page.get_by_role("button", name="Show all 49")
    button.focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#signed .row").count() == 49
    assert visit.focused() == "fold"
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#signed .row").count() == 26


def test_a_row_is_chosen_by_click_and_key(visit: Visit) -> None:
    visit.page.locator("#share button.row").nth(2).click()
    assert visit.event("share", "choose") == {"index": 2}
    visit.stage.events.clear()
    visit.page.locator("#share button.row").nth(1).focus()
    visit.page.keyboard.press("Enter")
    assert visit.event("share", "choose") == {"index": 1}
    name = visit.page.locator("#share button.row").first.get_attribute("aria-label")
    assert name == "Choose ·Paris, 99.6%"
    assert visit.page.locator("#signed button.row").count() == 0


def test_no_rows_say_why(visit: Visit) -> None:
    visit.show(share=share(rows=[], empty="Press Run."))
    assert visit.page.locator("#share .empty").inner_text() == "Press Run."
    visit.show(share=share())
    assert visit.page.locator("#share .row").count() == 4


# ---- followed


def test_each_line_shows_its_mark_its_tokens_and_what_can_be_done(visit: Visit) -> None:
    lines = visit.page.locator("#followed .line")
    assert lines.count() == 3
    assert lines.nth(1).locator(".chip").count() == 2
    dashes = [
        lines.nth(n).locator(".series path").first.get_attribute("stroke-dasharray")
        for n in range(3)
    ]
    assert len(set(dashes)) == 3
    visit.show(followed=followed(*[(f"t{n}",) for n in range(5)]))
    assert visit.page.locator("#followed .series-0").count() == 1
    assert visit.page.locator("#followed .marker").count() == 4
    visit.show(followed=followed())
    assert [lines.nth(n).get_by_role("button").count() for n in range(3)] == [1, 3, 2]
    names = (
        lines.nth(1)
        .get_by_role("button")
        .evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    )
    assert names == [
        "Join ·Vientiane + ·Hanoi with ·Paris: one line, their sum",
        "Split ·Vientiane + ·Hanoi into single lines",
        "Stop following ·Vientiane + ·Hanoi",
    ]


@pytest.mark.parametrize(
    ("control", "event", "data"),
    [
        ("remove-2", "remove", {"index": 2}),
        ("join-1", "join", {"index": 1}),
        ("split-1", "split", {"index": 1}),
        ("pin-8", "pin", {"id": 8}),
    ],
)
def test_the_buttons_of_followed_reach_python(
    visit: Visit, control: str, event: str, data: dict[str, int]
) -> None:
    visit.page.locator(f"#followed [data-focus={control}]").focus()
    visit.page.keyboard.press("Enter")
    assert visit.event("followed", event) == data


def test_the_focus_stays_when_lines_come_and_go(visit: Visit) -> None:
    visit.stage.answers[("followed", "remove")] = followed((" Paris",))
    visit.page.locator("#followed [data-focus=remove-2]").focus()
    visit.act(lambda: visit.page.keyboard.press("Enter"), "followed")
    assert visit.focused() == "remove-0"
    visit.stage.answers[("followed", "remove")] = {**followed(), "lines": []}
    visit.act(lambda: visit.page.keyboard.press("Enter"), "followed")
    assert visit.page.evaluate("document.activeElement.className") == "field"


def test_a_button_says_on_focus_what_it_does(visit: Visit) -> None:
    visit.page.locator("#followed .field").focus()
    visit.page.keyboard.press("Shift+Tab")
    visit.page.keyboard.press("Shift+Tab")
    visit.page.keyboard.press("Shift+Tab")
    assert visit.page.locator("#followed .hint").inner_text() == "Stop following ·called"


def test_a_token_is_added_as_typed_and_an_error_keeps_what_was_typed(visit: Visit) -> None:
    typed = "·<b>${x}</b>"
    visit.stage.answers[("followed", "follow")] = {**followed(), "error": "That is 5 tokens"}
    field = visit.page.get_by_label("Add a token")
    field.fill(typed)
    visit.act(lambda: field.press("Enter"), "followed")
    assert visit.event("followed", "follow") == {"text": typed}
    assert "That is 5 tokens" in visit.page.get_by_role("alert").inner_text()
    assert field.input_value() == typed
    assert field.get_attribute("aria-invalid") == "true"
    visit.stage.answers[("followed", "follow")] = followed()
    visit.act(lambda: field.press("Enter"), "followed")
    assert field.input_value() == ""
    assert visit.page.locator("#followed .error").inner_text() == ""
    assert visit.page.evaluate("document.activeElement.className") == "field"


def test_a_new_value_leaves_what_is_being_typed(visit: Visit) -> None:
    field = visit.page.get_by_label("Add a token")
    field.fill("half a wo")
    visit.act(lambda: visit.page.evaluate("document.body.classList.add('dark')"), "followed")
    assert field.input_value() == "half a wo"
    assert visit.page.evaluate("document.activeElement.className") == "field"


# ---- token strip

SPLIT = records("<|start|>", "a", ("龘", "E9 BE", "98"), " b", special=(0,))


def test_the_strip_shows_tokens_prediction_count_and_facts(visit: Visit) -> None:
    box = visit.page.locator("#token_strip")
    assert box.locator(".chip:not(.prediction)").count() == 6
    assert box.locator(".chip.prediction").text_content() == " Paris"
    assert box.locator(".p").inner_text() == "99.6%"
    assert box.locator(".count").inner_text() == "6 / 512 tokens"
    assert box.locator(".facts").inner_text() == "float32 · CPU · 0.08 s"
    special = box.locator(".chip.special")
    assert special.text_content() == "<|start|>"
    assert special.locator(".lens-mark").evaluate_all("all => all.map(m => m.dataset.mark)") == [
        "⟨",
        "⟩",
    ]
    assert "<|start|>" in str(special.get_attribute("title"))


def test_a_split_character_shows_its_bytes_and_each_token_can_be_selected(visit: Visit) -> None:
    visit.show(token_strip=strip(tokens=SPLIT, n_prompt=5))
    box = visit.page.locator("#token_strip")
    cells = box.locator(".cell")
    assert cells.evaluate_all("all => all.map(one => one.dataset.bytes)") == ["E9 BE", "98"]
    assert box.locator(".chips").text_content() == "<|start|>a龘 b"
    cells.nth(1).click()
    assert visit.event("token_strip", "graph") == {"position": 3}
    assert box.locator("[aria-selected=true]").get_attribute("data-position") == "3"


def test_the_strip_is_one_tab_stop_with_arrows_and_enter(visit: Visit) -> None:
    chips = visit.page.locator("#token_strip [role=option]")
    assert visit.page.locator("#token_strip [role=option][tabindex='0']").count() == 1
    chips.last.focus()
    visit.page.keyboard.press("ArrowLeft")
    assert visit.focused() == "token-4"
    tip = visit.page.locator("#token_strip .tip")
    assert "position 4" in tip.inner_text()
    visit.page.keyboard.press("Escape")
    assert tip.is_hidden()
    visit.page.keyboard.press("Home")
    visit.page.keyboard.press("Enter")
    assert visit.event("token_strip", "graph") == {"position": 0}
    assert visit.page.locator("#token_strip [role=option][tabindex='0']").count() == 1


def test_a_selected_chip_wears_a_ring_and_keeps_focus_and_place(visit: Visit) -> None:
    visit.stage.answers[("token_strip", "graph")] = strip(selected=4)
    chip = visit.page.locator("#token_strip [data-position='4']")
    visit.act(lambda: chip.click(), "token_strip")
    assert visit.focused() == "token-4"
    ring = chip.evaluate("chip => getComputedStyle(chip).boxShadow")
    assert "2.5px" in ring
    assert chip.get_attribute("tabindex") == "0"


def test_generated_tokens_are_underlined_after_an_arrow(visit: Visit) -> None:
    visit.show(token_strip=strip(n_prompt=4))
    generated = visit.page.locator("#token_strip .generated")
    assert generated.count() == 2
    assert "generated" in str(generated.first.get_attribute("aria-label"))
    style = generated.first.evaluate("chip => getComputedStyle(chip).borderBottomStyle")
    assert style == "solid"
    assert visit.page.locator("#token_strip .chips .arrow").count() == 1
    assert visit.page.locator("#token_strip .chips > *").nth(4).get_attribute("class") == "arrow"


@pytest.mark.parametrize(
    ("limit", "state", "said"), [(6, "check", "Close to the limit"), (4, "poor", "2 tokens over")]
)
def test_the_count_warns_near_and_over_the_limit(
    visit: Visit, limit: int, state: str, said: str
) -> None:
    visit.show(token_strip=strip(limit=limit))
    count = visit.page.locator("#token_strip .count")
    assert state in str(count.get_attribute("class"))
    assert said in count.inner_text()


def test_the_badge_opens_its_details_and_escape_gives_the_focus_back(visit: Visit) -> None:
    badge = visit.page.get_by_role("button", name="Exact decomposition")
    badge.focus()
    visit.page.keyboard.press("Enter")
    detail = visit.page.get_by_role("dialog")
    detail.wait_for()
    assert "States read back" in detail.inner_text()
    expect(badge).to_have_attribute("aria-expanded", "true")
    visit.page.keyboard.press("Escape")
    detail.wait_for(state="hidden")
    assert visit.focused() == "badge"
    expect(badge).to_have_attribute("aria-expanded", "false")
    badge.click()
    detail.wait_for()
    visit.page.mouse.click(700, 880)
    detail.wait_for(state="hidden")


COPY = """(from) => {
  const strip = document.querySelector('#token_strip .strip');
  const range = document.createRange();
  range.selectNodeContents(from ? strip.querySelector(from) : strip);
  document.getSelection().removeAllRanges();
  document.getSelection().addRange(range);
  const data = new DataTransfer();
  strip.dispatchEvent(new ClipboardEvent('copy', {clipboardData: data, cancelable: true}));
  return data.getData('text/plain');
}"""


def test_copying_gives_the_true_text(visit: Visit) -> None:
    pieces = ["<|start|>", *HOSTILE, "  ", "\n", "\u0301", "e\u0301"]
    visit.show(token_strip=strip(tokens=records(*pieces, special=(0,)), n_prompt=99))
    true = "".join(pieces)
    assert visit.page.locator("#token_strip .chips").text_content() == true
    assert visit.page.evaluate(COPY, None) == true
    assert visit.page.evaluate(COPY, "[data-position='2']") == pieces[2]
    selected = visit.page.evaluate("document.getSelection().toString()")
    assert selected == pieces[2]


def test_a_drag_over_the_text_copies_it_and_selects_no_token(visit: Visit) -> None:
    first = visit.page.locator("#token_strip [data-position='1']").bounding_box()
    last = visit.page.locator("#token_strip [data-position='4']").bounding_box()
    assert first is not None
    assert last is not None
    visit.page.mouse.move(first["x"] + 2, first["y"] + 12)
    visit.page.mouse.down()
    visit.page.mouse.move(last["x"] + last["width"] - 2, last["y"] + 12, steps=4)
    visit.page.mouse.up()
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.keyboard.press("Control+c")
    assert visit.page.evaluate("navigator.clipboard.readText()") == "The capital of France"
    assert visit.stage.events == []


LABELS = {
    "\U000e0041": ["U+E0041"],
    "\u3164": ["U+3164"],
    "\u00a0": ["U+00A0"],
    "\u2003\u115f": ["U+2003", "U+115F"],
    "\u0301": ["U+0301"],
    "\u093f": ["◌\u093f"],
    " \u0301": ["·", "U+0301"],
    "e\u0301": [],
    "\ufe0f": ["U+FE0F"],
    "❤\ufe0f": [],
    "\ue000": ["U+E000"],
    "\u202ex": ["U+202E"],
    "\t\r\n": ["⇥", "␍", "⏎"],
}


def test_what_cannot_be_seen_has_a_label(visit: Visit) -> None:
    found = visit.page.evaluate(
        "texts => texts.map(text => { const box = lens.tokenText(text); return [box.textContent, "
        "[...box.querySelectorAll('.lens-mark')].map(mark => mark.dataset.mark)]; })",
        list(LABELS),
    )
    assert found == [[text, marks] for text, marks in LABELS.items()]


SPECIAL = {
    "<|start|>": "⟨start⟩",
    "<s>": "⟨s⟩",
    "</s>": "⟨/s⟩",
    "<｜begin｜>": "⟨begin⟩",
    "<|a<|b|>": "⟨a<|b⟩",
    "[CLS]": "[CLS]",
    "<>": "<>",
}


def test_only_the_outer_brackets_of_a_special_token_change(visit: Visit) -> None:
    found = visit.page.evaluate(
        "texts => texts.map(text => { const box = lens.vocabText({text, bytes: null}); "
        "return [box.textContent, lens.seen(box)]; })",
        list(SPECIAL),
    )
    assert found == [[text, shown] for text, shown in SPECIAL.items()]


def test_a_long_prompt_starts_at_its_end_and_is_drawn_at_once(visit: Visit) -> None:
    tokens = records("<|start|>", *(f" word{n}" for n in range(1023)), special=(0,))
    value = strip(tokens=tokens, limit=1024, n_prompt=1024)
    visit.show(token_strip=value)
    box = visit.page.locator("#token_strip .strip")
    assert box.locator("[role=option]").count() == 1024
    assert box.evaluate("s => s.scrollLeft + s.clientWidth >= s.scrollWidth - 2")
    assert "more-before" in str(box.get_attribute("class"))
    assert "more-after" not in str(box.get_attribute("class"))
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400
    took = visit.page.evaluate(DRAWING_TIME, drawn(value))
    assert took < 300, f"1,024 tokens took {took:.0f} ms"
    visit.page.keyboard.press("Tab")
    box.locator("[tabindex='0']").focus()
    visit.page.keyboard.press("Home")
    assert box.evaluate("s => s.scrollLeft") < 30


DRAWING_TIME = """async value => {
  const times = [];
  for (let n = 0; n < 5; n++) {
    const element = lens.make('div', '', lens.make('div', 'lens-viewer lens-token-strip'));
    document.querySelector('#token_strip').append(element);
    element.getBoundingClientRect();
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    lens.viewers.token_strip({element, props: {value}, watch: () => {}, trigger: () => {}});
    while (!element.firstChild.dataset.ready) await new Promise(requestAnimationFrame);
    element.getBoundingClientRect();
    times.push(performance.now() - start);
    element.remove();
  }
  return Math.min(...times);
}"""
"""The time in ms to draw a value and lay it out; the least of five, as other work only adds."""


# ---- saved


def test_a_new_file_is_saved_once_and_the_first_one_is_not(visit: Visit, tmp_path: Path) -> None:
    downloads: list[Any] = []
    visit.page.on("download", lambda file: downloads.append(file))
    visit.page.wait_for_timeout(300)
    file = {"name": "lens.csv", "type": "text/csv", "text": "a,b\n<1>,é\n", "serial": 2}
    with visit.page.expect_download() as download:
        visit.show(saved=file)
    assert download.value.suggested_filename == "lens.csv"
    download.value.save_as(tmp_path / "lens.csv")
    assert (tmp_path / "lens.csv").read_bytes() == "a,b\n<1>,é\n".encode()
    visit.show(saved=file, share=share(title="again"))
    visit.page.wait_for_timeout(300)
    assert len(downloads) == 1
    assert visit.page.locator("#saved .block").is_hidden()


# ---- all of them


def test_no_text_is_executed(visit: Visit) -> None:
    for text in HOSTILE:
        visit.show(
            token_strip=strip(
                tokens=records(text, text),
                prediction={"text": text, "p": 0.1},
                badge={"state": "poor", "text": text, "detail": [text]},
                facts=[text],
            ),
            share=share(title=text, rows=[{"entry": entry(text), "value": 0.5}]),
            signed=signed(
                title={"key": text, "entry": entry(text)}, rows=[{"label": text, "value": -1.0}]
            ),
            followed=followed((text,), (text, text), title=text, error=text),
        )
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        assert visit.page.locator("#share .chip").text_content() == text
        assert visit.page.locator("#followed .chip").first.text_content() == text
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_and_fits(visits: Open, theme: str, width: int) -> None:
    visit = visits(width=width, theme=theme, touch=width == 420)
    rows = [{**row, "before": 0.3} for row in share()["rows"]]
    visit.show(
        token_strip=strip(tokens=SPLIT, limit=4, n_prompt=4),
        share=share(rows=[*rows, {"entry": entry("x" * 200), "value": 0.1}]),
        followed=followed((" Paris", "x" * 200), ("y",), error="No such token"),
    )
    assert visit.page.evaluate(PALE) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.locator("#token_strip button.badge").click()
    box = visit.page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    if width == 420:
        visit.page.keyboard.press("Escape")
        assert visit.page.evaluate(SMALLEST_TARGET) >= 40


def test_a_tap_on_a_chip_shows_what_is_known_of_it(visits: Open) -> None:
    visit = visits(width=420, touch=True)
    visit.page.evaluate("() => { lens.shell.tab = 'graph'; }")
    visit.page.locator("#token_strip [data-position='4']").tap()
    assert "position 4" in visit.page.locator("#token_strip .tip").inner_text()
    assert visit.event("token_strip", "graph") == {"position": 4}


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("zh", ["6 / 512 个 token", "怎么看：", "添加 token"]),
        ("ja", ["6 / 512 トークン", "読み方：", "トークンを追加"]),
    ],
)
def test_the_viewers_speak_the_language_of_the_page(
    visits: Open, language: str, said: list[str]
) -> None:
    visit = visits(language=language)
    text = visit.page.locator("body").inner_text()
    for part in said:
        assert part in text
