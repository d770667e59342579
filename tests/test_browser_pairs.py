"""The tab of pairs in a real browser: what a visitor can do there, and that it is the core's."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Served
from playwright.sync_api import Locator, expect
from viewer_stage import HOSTILE
from visits import PALE, Visit

import lens_core
from lens_core import Pair
from lens_core.models import LoadedModel
from lens_core.patching.pair_grid import pair_grid
from tabs.difference.choices import PARTS
from tabs.difference.prepared import prepared_pairs
from tabs.runtime import result_of
from tabs.words import words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COUNT = len(prepared_pairs())


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    """The model of the page."""
    result_of(served.runtime.stack.steps())
    return served.runtime.pool.get("demo")


@pytest.fixture
def open_tab(visits: Callable[..., Visit]) -> Callable[..., Visit]:
    """Opens the tab, and waits for its first run."""

    def opened(**options: Any) -> Visit:
        visit = visits(tab="difference", **options)
        visit.wait("done")
        return visit

    return opened


@pytest.fixture
def visit(open_tab: Callable[..., Visit]) -> Visit:
    return open_tab()


def facts(visit: Visit) -> Locator:
    return visit.page.locator("#lens-pair-lines .facts")


def cells(visit: Visit, grid: str = "grid") -> list[list[str]]:
    """What stands in the cells of a grid, from the top row down."""
    rows = visit.page.locator(f"#lens-pair-{grid} tbody tr")
    return [rows.nth(at).locator("td").all_inner_texts() for at in range(rows.count())]


def show(visit: Visit, part: str) -> Locator:
    """Choose a part, and give its panel."""
    label = words()["en"][f"pairs.part_{part}"]
    visit.page.locator(".lens-part-picker:visible label", has_text=label).click()
    panel = visit.page.locator(f".lens-part-{part}:visible")
    panel.wait_for()
    return panel


def press(visit: Visit, button: Locator) -> None:
    with visit.running():
        button.click()


def own_pair(visit: Visit, *texts: str) -> None:
    """Type a pair, and add it."""
    panel = show(visit, "data")
    panel.get_by_text("A pair of your own").click()
    for place, typed in enumerate(texts):
        name = ("A", "B", "Answer of A (may be empty)", "Answer of B (may be empty)")[place]
        panel.get_by_label(name, exact=True).fill(typed)
    panel.get_by_role("button", name="Add this pair").click()


def test_the_tab_opens_with_a_pair_as_the_core_sees_it(visit: Visit, demo: LoadedModel) -> None:
    grid = pair_grid(demo, prepared_pairs()[0], max_tokens=512)
    shown = cells(visit)
    assert len(shown) == len(grid.sites)
    for row, values in zip(shown, grid.values["rel_l2"][::-1], strict=True):
        assert [float(text) for text in row] == pytest.approx(values.tolist(), abs=0.0051)
    trace = lens_core.causal_trace(demo, prepared_pairs()[0], components=["resid_post"])
    effects = trace.grid("resid_post").effect[::-1]
    for row, values in zip(cells(visit, "restored"), effects, strict=True):
        found = [float(text.replace("−", "-").rstrip("%")) for text in row]
        assert found == pytest.approx([100 * float(one) for one in values], abs=0.51)
    expect(facts(visit)).to_contain_text(f"1 of {COUNT}")
    assert visit.errors == []


def test_the_next_pair_is_one_click_away(visit: Visit) -> None:
    before = cells(visit)
    visit.page.get_by_role("button", name="Next ›").click()
    expect(facts(visit)).to_contain_text(f"2 of {COUNT}")
    assert cells(visit) != before
    visit.page.get_by_role("button", name="‹ Previous").click()
    expect(facts(visit)).to_contain_text(f"1 of {COUNT}")
    assert cells(visit) == before


def test_a_cell_is_selected_in_both_grids(visit: Visit) -> None:
    visit.page.locator("#lens-pair-restored tbody tr").nth(2).locator("td").nth(5).click()
    other = visit.page.locator("#lens-pair-grid tbody tr").nth(2).locator("td").nth(5)
    expect(other).to_have_class(re.compile(r"\bselected\b"))


def test_every_part_has_something_to_read(visit: Visit) -> None:
    for part in PARTS:
        panel = show(visit, part)
        expect(panel.locator("h2, strong").first).to_be_visible()
    assert visit.errors == []


def test_other_choices_need_no_run(visit: Visit) -> None:
    states = visit.page.evaluate("window.states.length")
    visit.page.get_by_label("Break (noise)").first.check()
    expect(visit.page.locator("#lens-pair-restored .legend")).to_contain_text("Answer kept")
    panel = show(visit, "layers")
    panel.get_by_label("Lines").click()
    visit.page.get_by_role("option", name="All pairs").click()
    expect(panel.locator("#lens-pair-layers table").first.locator("tbody tr")).to_have_count(1)
    assert visit.page.evaluate("window.states.length") == states


def test_a_trace_of_all_components_is_drawn(visit: Visit) -> None:
    panel = show(visit, "trace")
    press(visit, panel.get_by_role("button", name="Trace this pair"))
    titles = panel.locator("#lens-pair-trace .lens-heatmap h2")
    expect(titles.first).to_contain_text("tate after each block")
    assert titles.count() == 10  # three components and heads at two places, both ways


def test_layers_are_measured_on_typed_texts(visit: Visit) -> None:
    panel = show(visit, "operations")
    panel.get_by_label("Texts, one a line").fill("The capital of France is Paris.")
    panel.get_by_label("Layers", exact=True).fill("0, 3")
    press(visit, panel.get_by_role("button", name="Measure the layers"))
    expect(panel.locator("table").first).to_contain_text("L3 removed")
    panel.get_by_label("Layers", exact=True).fill("x")
    panel.get_by_role("button", name="Measure the layers").click()
    expect(visit.status).to_contain_text('layers is "x"')
    expect(panel.locator("table").first).to_contain_text("L3 removed")


def test_a_typed_pair_comes_first_and_markup_is_text(visit: Visit) -> None:
    hostile = HOSTILE[0]
    own_pair(visit, f"{hostile} one", f"{hostile} two")
    expect(facts(visit)).to_contain_text(f"1 of {COUNT + 1}")
    expect(visit.page.locator("#lens-pair-lines")).to_contain_text("onerror")
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None


def test_an_empty_side_is_said_and_nothing_is_lost(visit: Visit) -> None:
    own_pair(visit, "only one side")
    expect(visit.status).to_contain_text("A side of the pair is empty")
    expect(facts(visit)).to_contain_text(f"1 of {COUNT}")


def test_made_pairs_take_the_place_of_the_prepared_ones(visit: Visit) -> None:
    panel = show(visit, "data")
    panel.get_by_role("button", name="Make pairs").click()
    expect(facts(visit)).to_contain_text("1 of 40")
    expect(panel.locator("#lens-pair-data")).to_contain_text("Pairs of templates")
    panel.get_by_role("button", name="Prepared pairs").click()
    expect(facts(visit)).to_contain_text(f"1 of {COUNT}")


def test_a_file_is_opened_and_its_bad_row_is_named(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("sentence1,sentence2\nthe cat,the dog\nalone\n", encoding="utf-8")
    panel = show(visit, "data")
    with visit.page.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Open a file…").click()
    chooser.value.set_files(path)
    expect(facts(visit)).to_contain_text("1 of 1")
    expect(panel.locator("#lens-pair-data")).to_contain_text("line 3")


def test_everything_can_be_saved(visit: Visit) -> None:
    panel = show(visit, "export")
    for name, check in (
        ("Result (JSON)", lambda data: json.loads(data)["schema"] == "lens_core/pair_difference/1"),
        ("Groups (CSV)", lambda data: data.startswith(b"site,")),
        ("Pairs (JSONL)", lambda data: len(data.splitlines()) == COUNT),
        ("Everything with figures (zip)", holds_figures),
    ):
        with visit.page.expect_download(timeout=90_000) as download:
            panel.get_by_role("button", name=name).click()
        assert check(Path(download.value.path()).read_bytes()), name


def holds_figures(data: bytes) -> bool:
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    return any(name.endswith("_heatmap.png") for name in names) and "json" in names[0] + names[-1]


@pytest.mark.parametrize(("theme", "lang"), [("light", "zh"), ("dark", "ja")])
def test_a_phone_shows_all_of_it(open_tab: Callable[..., Visit], theme: str, lang: str) -> None:
    visit = open_tab(width=420, touch=True, theme=theme, lang=lang)
    wide = visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    title = words()[lang]["pairs.grid"]
    expect(visit.page.locator("#lens-pair-grid h2")).to_have_text(title)
    assert [one for one in visit.page.evaluate(PALE) if "%" not in one] == []


def test_a_link_brings_the_part_and_the_measure_back(open_tab: Callable[..., Visit]) -> None:
    visit = open_tab(pairs_part="dimensions", pairs_order="descending")
    panel = visit.page.locator(".lens-part-dimensions:visible")
    panel.wait_for()
    expect(panel).to_contain_text("from the largest to the smallest")


def test_a_pair_without_answers_says_what_was_taken(visit: Visit, demo: LoadedModel) -> None:
    own_pair(visit, "The capital of Japan is", "The capital of Peru is")
    expect(facts(visit)).to_contain_text(f"1 of {COUNT + 1}")
    note = visit.page.locator("#lens-pair-restored .foot")
    expect(note).to_contain_text("names no answers")
    grid = pair_grid(demo, Pair("The capital of Japan is", "The capital of Peru is"))
    for side in grid.following:
        text = grid.vocab[str(int(side.ids[0]))]["text"].strip()
        expect(note).to_contain_text(text)
