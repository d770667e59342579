"""The repair tab in a real browser, as somebody meets it who has never seen it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from visits import PALE, SMALL, Visit

from lens_core.weight_edit import load_edit
from tabs.repair.choices import EXAMPLES

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT, TARGET = EXAMPLES[0].prompt, EXAMPLES[0].target


@pytest.fixture
def visit(visits: Callable[..., Visit]) -> Visit:
    return visits(tab="repair")


def example(visit: Visit, index: int = 0) -> None:
    """Press a prepared example and wait for its repair."""
    with visit.running():
        visit.page.locator(".lens-repair-examples button").nth(index).click()
    expect(outcome(visit).locator(".actions")).to_be_visible()


def outcome(visit: Visit) -> Locator:
    return visit.page.locator("#lens-outcome")


def press(visit: Visit, name: str) -> None:
    """Press a button below the outcome."""
    outcome(visit).get_by_role("button", name=name).click()


def test_opening_the_tab_repairs_nothing(visits: Callable[..., Visit]) -> None:
    visit = visits(tab="repair", wanted=TARGET, prompt=PROMPT)
    expect(visit.target).to_have_value(TARGET)
    expect(outcome(visit)).to_contain_text("press Repair")
    visit.page.wait_for_timeout(500)
    assert "busy" not in visit.states


def test_an_example_fills_the_form_and_is_repaired(visit: Visit) -> None:
    example(visit)
    assert visit.prompt.input_value() == PROMPT
    assert visit.target.input_value() == TARGET
    expect(outcome(visit)).to_contain_text("Repaired")
    expect(outcome(visit).locator(".side.before")).to_contain_text("Almaty")
    expect(outcome(visit).locator(".side.after")).to_contain_text("Astana")
    for text in ("Did anything else change?", "The repair as it ran", "Which neurons were changed"):
        expect(visit.page.get_by_text(text)).to_be_visible()


def test_the_edit_is_off_until_it_is_used_and_then_holds_in_every_tab(visit: Visit) -> None:
    example(visit)
    toggle = visit.edits.get_by_role("switch")
    expect(toggle).to_have_attribute("aria-checked", "false")
    press(visit, "Use in every tab")
    expect(toggle).to_have_attribute("aria-checked", "true")
    expect(visit.page.locator(".lens-edit input")).to_have_value(re.compile("^Astana"))
    with visit.running():
        visit.page.get_by_role("tab", name="Logit lens").click()
    expect(visit.prediction).to_contain_text("A<0.1% → ")
    expect(visit.page.get_by_text("Before", exact=True).first).to_be_visible()


def test_undo_leaves_nothing_behind(visit: Visit) -> None:
    example(visit)
    press(visit, "Undo")
    expect(visit.edits.get_by_role("switch")).to_have_count(0)
    expect(outcome(visit).locator(".actions")).to_have_count(0)
    example(visit)
    expect(visit.edits.get_by_role("switch")).to_have_count(1)


def test_a_missing_space_is_noticed_and_added(visit: Visit) -> None:
    visit.type(PROMPT)
    visit.target.fill("Astana")
    visit.page.get_by_role("button", name="Add a space").click()
    expect(visit.target).to_have_value(" Astana")
    with visit.running():
        visit.page.locator("button.lens-repair").click()
    expect(outcome(visit)).to_contain_text("Repaired")


def test_without_a_target_it_says_so(visit: Visit) -> None:
    visit.run("error")
    expect(visit.status).to_contain_text("target is empty (0 characters)")


def test_a_saved_edit_opens_again(
    visit: Visit, visits: Callable[..., Visit], tmp_path: Path
) -> None:
    example(visit)
    with visit.page.expect_download() as download:
        press(visit, "Save")
    path = tmp_path / "astana.safetensors"
    download.value.save_as(path)
    assert load_edit(path).notes["method"] == "me-batch"
    other = visits(tab="repair")
    with other.page.expect_file_chooser() as chooser:
        other.edits.get_by_role("button", name="Open an edit file").click()
    chooser.value.set_files(path)
    expect(other.edits.get_by_role("switch")).to_have_attribute("aria-checked", "true")
    expect(other.edits).to_contain_text("astana")


def test_a_file_of_pairs_takes_the_place_of_the_form(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps({"prompt": PROMPT, "target": TARGET}) + "\n")
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_role("button", name="Pairs from a file").click()
    chooser.value.set_files(path)
    expect(visit.page.get_by_text("Pairs from facts.jsonl (1)").first).to_be_visible()
    with visit.running():
        visit.page.locator("button.lens-repair").click()
    expect(outcome(visit)).to_contain_text("Repaired")
    visit.page.get_by_role("button", name="Use the form again").click()
    expect(visit.page.get_by_text("Pairs from facts.jsonl (1)")).to_have_count(0)


def test_more_is_measured_when_it_is_asked_for(visit: Visit) -> None:
    example(visit)
    for button, text in (
        ("Try strengths", "the model says every target."),
        ("Compare the methods", "me-sgd, rate 0.01"),
    ):
        with visit.running():
            visit.page.get_by_role("button", name=button).click()
        expect(visit.page.get_by_text(text).last).to_be_visible()


def test_what_edits_do_together_is_said_in_their_list(visit: Visit) -> None:
    example(visit)
    expect(visit.edits).to_contain_text("Still says 100% of its targets")
    visit.edits.get_by_role("slider").press("Home")
    expect(visit.edits).to_contain_text("0%")
    visit.edits.get_by_role("switch").click()
    expect(visit.page.locator(".lens-edit input")).to_have_value(re.compile("^Astana"))
    with visit.running():
        visit.page.get_by_role("button", name="Check all edits in use").click()
    expect(visit.edits).to_contain_text("Still says 0% of its targets")


def test_a_repair_that_is_stopped_leaves_no_edit(visit: Visit) -> None:
    visit.type(PROMPT)
    visit.target.fill(" the city of Astana, in the north of the country, on the river" * 2)
    visit.page.locator(".lens-choose-method label").filter(has_text="me-iter").click()
    with visit.running("stopped"):
        visit.page.locator("button.lens-repair").click()
        expect(visit.page.locator(".lens-live")).to_contain_text("target tokens")
        visit.status.get_by_role("button", name="Stop").click()
    expect(outcome(visit)).to_contain_text("press Repair")
    expect(visit.edits.get_by_role("switch")).to_have_count(0)


def test_another_prompt_makes_the_outcome_one_of_before(visit: Visit) -> None:
    example(visit)
    visit.type("The capital of France is")
    expect(visit.status).to_contain_text("Run again")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_it_can_be_read_and_pressed(visits: Callable[..., Visit], theme: str, width: int) -> None:
    visit = visits(tab="repair", theme=theme, width=width, touch=width < 1000)
    example(visit)
    assert visit.page.evaluate(PALE) == []
    assert visit.sideways() == 0
    if width < 1000:
        assert visit.page.evaluate(SMALL) == []
