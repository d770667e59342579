"""The graph tab in a real browser, as somebody meets it who has never seen it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Served
from playwright.sync_api import expect
from visits import PALE, SMALL, Visit

from lens_core.edits import make_edit, save_edit
from tabs.runtime import result_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "The capital of France is"
OBJECT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture
def visit(visits: Callable[..., Visit]) -> Visit:
    return visits(tab="graph")


def chip(visit: Visit) -> str:
    """The prediction above the root."""
    return visit.page.locator("#lens-graph .prediction").text_content() or ""


def n_links(visit: Visit) -> int:
    return visit.page.locator("#lens-graph .links > [data-id]").count()


def kicker(visit: Visit) -> str:
    return visit.inspector.first.locator(".kicker").inner_text()


def test_a_first_visit_shows_a_finished_graph(visits: Callable[..., Visit]) -> None:
    visit = visits(wait=False, tab="graph")
    visit.graph.wait_for()
    assert "Paris" in chip(visit)
    expect(visit.links.locator("tbody tr").first).to_contain_text("Attention")
    expect(visit.inspector.first).to_contain_text("Which heads carry it")
    expect(visit.inspector.last).to_contain_text("Paris")
    expect(visit.page.locator("#lens-strip")).to_contain_text("prepared example")
    visit.wait("ready")
    assert "busy" not in visit.states, "the example is not run again"


def test_the_graph_is_what_the_page_opens_with(browser: Any, served: Served) -> None:
    page = browser.new_page()
    page.goto(served.url)
    expect(page.get_by_role("tab", selected=True)).to_have_text("Graph")
    page.close()


def test_a_prompt_is_drawn_and_its_links_are_in_words(visit: Visit) -> None:
    visit.run(prompt=OBJECT)
    assert "Mary" in chip(visit)
    assert visit.page.locator("#lens-graph .spoken").first.inner_text()
    assert n_links(visit) > 10
    total = sum(
        int(text.rstrip("%"))
        for text in visit.page.locator("#lens-graph .share text").all_text_contents()
    )
    assert abs(total - 100) <= 8, "each is rounded"


def test_another_token_becomes_the_root(visit: Visit) -> None:
    before = chip(visit)
    with visit.running():
        visit.page.locator("#lens-strip [data-position='3']").click()
    assert chip(visit) != before
    with visit.running():
        visit.page.locator("#lens-strip [data-position='5']").click()
    assert chip(visit) == before


def test_a_new_prompt_starts_at_its_end_again(visit: Visit) -> None:
    with visit.running():
        visit.page.locator("#lens-strip [data-position='2']").click()
    visit.run(prompt=OBJECT)
    assert "Mary" in chip(visit)


def test_the_threshold_hides_links_and_stays_in_the_address(
    visit: Visit, visits: Callable[..., Visit]
) -> None:
    whole = n_links(visit)
    field = visit.page.locator(".lens-threshold input[type=text]")
    with visit.running():
        field.fill("0.15")
        field.press("Enter")
    fewer = n_links(visit)
    assert fewer < whole
    visit.page.wait_for_url("**hide_below=0.15**")
    query = dict(re.findall(r"[?&](\w+)=([^&]*)", visit.page.url))
    again = visits(tab="graph", wait=False, hide_below=query["hide_below"])
    again.wait("done")
    assert n_links(again) == fewer


def test_what_is_selected_stays_when_the_threshold_moves(visit: Visit) -> None:
    visit.links.locator("tbody tr").nth(1).click()
    said = visit.inspector.first.locator(".subject").inner_text()
    field = visit.page.locator(".lens-threshold input[type=text]")
    with visit.running():
        field.fill("0.03")
        field.press("Enter")
    assert visit.inspector.first.locator(".subject").inner_text() == said


def test_a_row_of_the_table_opens_its_link(visit: Visit) -> None:
    row = visit.links.locator("tbody tr").nth(2)
    row.click()
    expect(visit.inspector.first.locator(".kicker")).to_contain_text("Selected link: MLP")
    expect(visit.page.locator("#lens-graph .outline").first).to_be_attached()


def test_the_picture_opens_what_the_keyboard_chooses(visit: Visit) -> None:
    visit.graph.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        visit.page.keyboard.press(key)
    expect(visit.inspector.first.locator(".kicker")).to_contain_text("Selected")
    visit.page.keyboard.press("Escape")
    assert visit.page.locator("#lens-graph .card:visible").count() == 0


def test_a_link_is_knocked_out_and_so_is_one_head(visit: Visit) -> None:
    actions = visit.inspector.first.locator(".action")
    actions.first.click()
    measured = visit.inspector.first.locator(".measured")
    expect(measured).to_contain_text("All of it was taken out")
    expect(measured).to_contain_text("→")
    actions.nth(1).click()
    expect(measured).to_contain_text(re.compile(r"Head \d alone was taken out"))


def test_another_head_is_looked_at(visit: Visit) -> None:
    heads = visit.inspector.first.locator(".lens-bars button.row")
    heads.nth(2).click()
    expect(heads.nth(2)).to_have_attribute("aria-pressed", "true")
    name = heads.nth(2).locator(".label").inner_text().split(" ·")[0]
    expect(visit.inspector.first.locator(".lens-maps")).to_contain_text(f"{name}: where it looks")


def test_the_strongest_links_are_measured_and_judged(visit: Visit) -> None:
    with visit.running():
        visit.page.get_by_role("button", name="Measure the 20 strongest").click()
    expect(visit.links.locator("thead")).to_contain_text("Measured")
    expect(visit.page.locator(".lens-main:visible")).to_contain_text("Spearman")


def test_heads_are_counted_over_many_sentences(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Over many sentences").click()
    box = visit.page.get_by_label("Sentences, one a line")
    box.fill(f"{PROMPT}\n{OBJECT}\n\n")
    with visit.running():
        visit.page.get_by_role("button", name="Count").click()
    counted = visit.page.locator("#lens-graph-statistics")
    expect(counted).to_contain_text("2 sentences")
    assert counted.locator("tbody td").count() == 6 * 5


def test_the_first_token_can_be_hidden(visit: Visit) -> None:
    columns = visit.page.locator("#lens-graph .token-column")
    before = columns.count()
    visit.page.get_by_label("Hide the first token").check()
    expect(columns).to_have_count(before - 1)


def test_two_prompts_are_subtracted(visit: Visit) -> None:
    visit.page.locator(".lens-more > button:visible").click()
    box = visit.page.get_by_label("Compare with another prompt")
    box.press_sequentially("The capital of Nigeria is")  # Gradio keeps what is typed, key by key
    with visit.running():
        box.press("Enter")
    expect(visit.page.locator("#lens-graph")).to_contain_text("Nigeria")
    expect(visit.links).to_contain_text("Change")
    visit.links.locator("tbody tr").first.click()
    expect(visit.inspector.first.locator(".kicker")).to_contain_text("Selected link")


def test_an_edit_is_seen_before_after_and_as_a_difference(
    visit: Visit, served: Served, tmp_path: Path
) -> None:
    result_of(served.runtime.stack.steps())
    demo = served.runtime.pool.get("demo")
    edit = make_edit(demo, {4: (torch.arange(64), torch.zeros(64, demo.facts.d_model))})
    path = tmp_path / "quiet.safetensors"
    save_edit(edit, path)
    visit.page.locator(".lens-edit-file input[type=file]").set_input_files(path)
    visit.page.wait_for_function("() => document.body.dataset.lensStale === 'edit'")
    visit.run()
    side = visit.page.get_by_role("radio", name="Difference")
    with visit.running():
        side.check(force=True)
    expect(visit.links).to_contain_text("Change")
    with visit.running():
        visit.page.get_by_role("radio", name="Before").check(force=True)
    expect(visit.links).not_to_contain_text("Change")


@pytest.mark.parametrize("kind", ["JSON", "GraphML", "CSV", "SVG", "PNG"])
def test_the_graph_is_saved(visit: Visit, tmp_path: Path, kind: str) -> None:
    visit.page.locator("#lens-graph [data-focus=export]").click()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("menuitem", name=kind).click()
    path = tmp_path / f"graph.{kind}"
    download.value.save_as(path)
    starts = {
        "JSON": b"{",
        "GraphML": b"<?xml",
        "CSV": b"src,dst,kind",
        "SVG": b"<svg",
        "PNG": b"\x89PNG",
    }
    assert path.read_bytes().startswith(starts[kind])
    if kind == "JSON":
        assert json.loads(path.read_text())["schema"] == "lens_core/contribution_graph/1"


def test_the_other_tab_runs_what_this_one_ran(visit: Visit) -> None:
    visit.run(prompt=OBJECT)
    with visit.running():
        visit.page.get_by_role("tab", name="Logit lens").click()
    expect(visit.cell(0, -1)).to_contain_text("Mary")
    graph = chip(visit)
    visit.page.locator("#lens-strip [data-position='2']").click()
    expect(visit.attribution.locator("h2")).to_contain_text("Who pushed")
    visit.page.get_by_role("tab", name="Graph").click()
    assert chip(visit) == graph, "a token chosen there is no root here"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_can_be_read_at_every_width_in_both_themes(
    visits: Callable[..., Visit], theme: str, width: int
) -> None:
    visit = visits(tab="graph", width=width, theme=theme)
    visit.page.locator(".lens-more > button:visible").click()
    assert visit.sideways() == 0
    assert visit.page.evaluate(PALE) == []


def test_on_a_phone_everything_is_large_enough_for_a_finger(visits: Callable[..., Visit]) -> None:
    visit = visits(tab="graph", width=420, touch=True)
    assert visit.page.evaluate(SMALL) == []


def test_on_a_phone_the_inspector_rises_when_a_row_is_chosen(visits: Callable[..., Visit]) -> None:
    visit = visits(tab="graph", width=420, touch=True)
    visit.links.locator("tbody tr").nth(1).tap()
    expect(visit.page.locator("body")).to_have_attribute("data-lens-sheet", "open")
    visit.page.locator(".lens-sheet-close:visible").tap()
    expect(visit.page.locator("body")).not_to_have_attribute("data-lens-sheet", "open")


def test_hostile_tokens_are_only_text(visit: Visit) -> None:
    visit.run(prompt="<img src=x onerror=\"document.body.dataset.pwned='1'\"> ${1+1} {{x}}")
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
    assert n_links(visit) > 0
