"""The logarithmic slider in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from viewer_stage import SMALLEST_TARGET, Open, Stage, Visit
from visits import PALE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OPTIONS = {"label": "lens.threshold", "low": 0.001, "high": 0.2, "digits": 2}


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    stage = Stage(
        first=lambda: {"slider": 0.04},
        viewers={"slider": "log_slider"},
        options={"slider": OPTIONS},
    )
    with stage.launched():
        yield stage


def test_a_key_moves_the_slider_and_python_gets_the_number(visit: Visit) -> None:
    track = visit.page.locator("#slider .track")
    assert visit.page.get_by_label("Threshold", exact=True).count() == 1, "a key of our words"
    track.evaluate("track => { window.kept = track; }")
    track.focus()
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    assert visit.event("slider", "release") == {"value": 0.043}
    assert json.loads(visit.stage.received["slider"]) == 0.043
    assert visit.page.evaluate("document.activeElement === kept && kept.isConnected")
    assert track.get_attribute("aria-valuetext") == "0.043"
    assert len(visit.stage.events) == 1, "the keys of one movement are one event"


KEYS = [
    (0.1, "ArrowLeft", "0.099"),
    (0.04, "PageUp", "0.068"),
    (0.099, "ArrowRight", "0.1"),
    (0.041, "PageDown", "0.024"),
    (0.1, "ArrowRight", "0.11"),
    (0.001, "ArrowLeft", "0.001"),
    (0.041, "End", "0.2"),
    (0.04, "Home", "0.001"),
    (0.2, "ArrowUp", "0.2"),  # changes nothing, so that no event is left for the next test
]


def test_the_keys_of_the_slider(visit: Visit) -> None:
    visit.show(slider=0.05)
    for first, key, value in KEYS:
        visit.show(slider=first)
        visit.page.locator("#slider .track").focus()
        visit.page.keyboard.press(key)
        assert visit.page.locator("#slider .number").input_value() == value, (first, key)


def test_a_drag_is_one_event_and_the_track_is_logarithmic(visit: Visit) -> None:
    box = visit.page.locator("#slider .track").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + 20, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] / 2, middle, steps=6)
    assert visit.stage.events == []
    visit.page.mouse.up()
    # The middle between 0.001 and 0.2 is the root of their product.
    assert visit.event("slider", "release")["value"] == pytest.approx(0.0141, rel=0.08)
    assert len(visit.stage.events) == 1


def test_a_server_value_moves_the_slider(visit: Visit) -> None:
    visit.show(slider=0.1)
    assert visit.page.locator("#slider .number").input_value() == "0.1"
    assert float(visit.page.locator("#slider .track").input_value()) == pytest.approx(
        0.869, abs=0.001
    )
    assert visit.stage.events == []


TYPED = [
    ("many", "0.04", "“many” is not a number."),
    ("", "0.04", "“” is not a number."),
    ("0.05", "0.05", ""),
    ("0,0234", "0.023", ""),
    ("0.5", "0.2", "0.5 is too large; the most is 0.2."),
    ("-1", "0.001", "-1 is too small; the least is 0.001."),
]


def test_a_typed_number_is_taken_or_said_to_be_wrong(visit: Visit) -> None:
    field = visit.page.get_by_label("Threshold, as a number")
    for typed, value, said in TYPED:
        visit.stage.events.clear()
        field.fill(typed)
        field.press("Enter")
        assert field.input_value() == value
        assert visit.page.locator("#slider .said").inner_text() == said
        assert field.get_attribute("aria-invalid") == str(bool(said)).lower()
        if value == "0.04":
            assert visit.stage.events == []
        else:
            assert visit.event("slider", "release") == {"value": float(value)}


def test_leaving_the_field_takes_the_number_and_escape_does_not(visit: Visit) -> None:
    field = visit.page.locator("#slider .number")
    field.fill("0.07")
    field.press("Escape")
    assert field.input_value() == "0.04"
    field.fill("0.08")
    field.press("Tab")
    assert visit.event("slider", "release") == {"value": 0.08}


@pytest.mark.parametrize(
    ("theme", "language", "said"), [("light", "zh", "太大"), ("dark", "ja", "大きすぎます")]
)
def test_it_fits_a_phone_in_every_language(
    visits: Open, theme: str, language: str, said: str
) -> None:
    visit = visits(width=420, theme=theme, language=language, touch=True)
    field = visit.page.locator("#slider .number")
    field.fill("7")
    field.press("Enter")
    assert said in visit.page.locator("#slider .said").inner_text()
    assert visit.page.evaluate(PALE) == []
    assert visit.page.evaluate(SMALLEST_TARGET) >= 40
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 420
