"""The logit lens tab in a real browser: what is pointed at, chosen, generated, edited and saved."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Served
from PIL import Image
from playwright.sync_api import Browser, expect
from visits import Visit

import lens_core
from lens_core.edits import make_edit, save_edit
from tabs.runtime import result_of
from tabs.words import words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "The capital of France is"
COLOURS = "red blue green red blue green red blue"
"""Goes on for some tokens."""
LONG = "one two three four five six seven eight nine ten " * 12


# ---- cells


def test_pointing_at_a_cell_shows_what_is_known_of_it(visit: Visit) -> None:
    visit.cell(2, -1).hover()
    expect(visit.card).to_contain_text("L3 after")
    expect(visit.card).to_contain_text("position 5")
    assert visit.card.locator(".bars li").count() == 5
    for fact in ("Entropy", "KL to the final prediction", "probability here", "rank here"):
        expect(visit.card).to_contain_text(fact)
    visit.page.mouse.move(0, 0)
    expect(visit.card).to_have_count(0)


def test_a_cell_that_is_clicked_pins_its_token_in_every_view(visit: Visit) -> None:
    drawn = visit.page.locator(".lens-chart [data-drawn]")
    visit.page.locator(".lens-chart").scroll_into_view_if_needed()
    drawn.wait_for()
    before = drawn.get_attribute("data-drawn")
    visit.cell(4, -1).click()
    expect(visit.cell(4, -1)).to_have_class(re.compile("selected"))
    expect(visit.attribution.locator("h2")).to_have_text("Who pushed  France up")
    assert " France" in visit.lines()
    expect(drawn).not_to_have_attribute("data-drawn", before or "")
    visit.page.locator(".lens-chart").get_by_role("button", name="Show as a table").click()
    heads = visit.page.locator(".lens-chart table thead th").all_inner_texts()
    assert {head.replace("·", " ").strip() for head in heads} >= {"Paris", "France"}
    expect(visit.card).to_be_visible()


def test_a_token_of_the_pinned_card_can_be_followed(visit: Visit) -> None:
    visit.cell(0, -1).click()
    chip = visit.card.locator("button.chip").nth(3)
    token = chip.locator(".lens-text").text_content()
    assert token not in visit.lines()
    chip.click()
    expect(visit.attribution.locator("h2 .lens-text")).to_have_text(str(token))
    assert visit.lines() == [" Paris", token], "compared with the answer"


def test_another_position_is_looked_at_from_a_cell_the_strip_and_back(visit: Visit) -> None:
    visit.cell(0, 2).click()
    expect(visit.prediction.locator("h2")).to_have_text("Prediction after  capital")
    visit.page.locator("#lens-strip [role=option]").nth(4).click()
    expect(visit.prediction.locator("h2")).to_have_text("Prediction after  France")
    visit.page.locator("#lens-strip [role=option]").last.click()
    expect(visit.prediction.locator("h2")).to_have_text("Prediction after the prompt")


def test_lines_are_joined_taken_apart_and_away(visit: Visit) -> None:
    first, second, *rest = visit.lines()
    visit.followed.locator(".join").first.click()
    expect(visit.followed.locator(".line")).to_have_count(1 + len(rest))
    assert visit.lines() == [f"{first}+{second}", *rest]
    visit.followed.locator(".split").click()
    expect(visit.followed.locator(".line")).to_have_count(2 + len(rest))
    assert visit.lines() == [first, second, *rest]
    visit.followed.locator(".remove").nth(1).click()
    expect(visit.followed.locator(".line")).to_have_count(1 + len(rest))
    assert visit.lines() == [first, *rest]


def test_a_token_that_is_typed_is_followed_and_one_that_is_none_is_answered(visit: Visit) -> None:
    field = visit.followed.locator("input")
    field.fill("·Rome")
    field.press("Enter")
    expect(visit.attribution.locator("h2")).to_contain_text("Rome")
    assert " Rome" in visit.lines()
    field.fill(" <b>no</b> token")
    field.press("Enter")
    expect(visit.followed.get_by_role("alert")).to_contain_text("<b>no</b>")
    expect(field).to_have_value(" <b>no</b> token")


def test_one_of_the_predictions_can_be_taken_apart(visit: Visit) -> None:
    visit.prediction.locator("button.row").nth(1).click()
    expect(visit.attribution.locator("h2")).to_have_text("Who pushed  the up")


# ---- views


@pytest.mark.parametrize(
    ("place", "row", "fact"),
    [
        ("Block output", "L3", "Entropy"),
        ("After attention", "L3", "Entropy"),
        ("Attention adds", "L3", "Added to the logit of the target"),
        ("MLP adds", "L3", "Added to the logit of the target"),
    ],
)
def test_every_place_is_read_on_choice(visit: Visit, place: str, row: str, fact: str) -> None:
    if place != "Block output":
        with visit.running():
            visit.choose("read_at", place)
    expect(visit.map.locator("tbody tr")).to_have_count(7 if place == "Block output" else 6)
    visit.cell(2, 3).hover()
    expect(visit.card).to_contain_text(row)
    expect(visit.card).to_contain_text(fact)
    lowered = visit.card.get_by_text("Lowered most")
    expect(lowered).to_have_count(1 if place.endswith("adds") else 0)


def test_a_colour_is_changed_in_the_browser_alone(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    for name, legend in (
        ("Entropy", "Entropy (nats)"),
        ("KL to final", "KL to the final prediction (nats)"),
        ("Rank", "Rank of the target"),
        ("Target", "Probability of the target"),
        ("Probability", "Probability of the top token"),
    ):
        visit.choose("colour", name)
        expect(visit.page.locator("#lens-heatmap .legend")).to_contain_text(legend)
    assert asked == []


def test_a_colour_stays_when_the_prompt_is_run_again(visit: Visit) -> None:
    visit.choose("colour", "Entropy")
    visit.run(prompt=COLOURS)
    expect(visit.page.locator("#lens-heatmap .legend")).to_contain_text("Entropy (nats)")


def test_one_position_shows_every_place_of_every_layer(visit: Visit) -> None:
    visit.choose("view", "One position")
    expect(visit.ranks.locator("tbody tr")).to_have_count(24)
    expect(visit.map).to_be_hidden()
    labels = visit.ranks.locator("tbody th").all_inner_texts()
    assert labels[:4] == ["L5 block", "L5 MLP +", "L5 mid", "L5 attn +"]
    expect(visit.ranks.locator("tbody tr").first.locator("td").first).to_contain_text("Paris")
    visit.ranks.locator("tbody tr").first.locator("td").nth(1).click()
    expect(visit.attribution.locator("h2")).to_have_text("Who pushed  the up")


def test_important_layers_only_and_what_is_said_where_there_is_none(visit: Visit) -> None:
    visit.choose("view", "One position")
    visit.open_options()
    visit.option("only_important").check()
    rows = visit.ranks.locator("tbody tr")
    expect(rows).not_to_have_count(24)
    note = visit.page.locator("#lens-ranks .note").inner_text()
    important = set(re.findall(r"L\d", note.rsplit(":", 1)[1]))
    shown = {label.split()[0] for label in visit.ranks.locator("tbody th").all_inner_texts()}
    assert shown == important
    visit.option("threshold").fill("100")
    visit.option("threshold").press("Enter")
    expect(visit.page.locator("#lens-ranks")).to_contain_text(words()["en"]["lens.none_important"])
    visit.option("threshold").fill("abc")
    visit.option("threshold").press("Enter")
    expect(visit.page.locator("#lens-ranks")).to_contain_text("abc")


def test_every_n_th_layer_and_fewer_tokens_are_read_on_choice(visit: Visit) -> None:
    visit.open_options()
    visit.set("k", "3")
    visit.cell(0, -1).hover()
    expect(visit.card.locator(".bars li")).to_have_count(3)
    visit.page.mouse.move(0, 0)
    with visit.running():
        visit.option("stride").click()
        visit.page.get_by_role("option", name="2", exact=True).click()
    expect(visit.map.locator("tbody th")).to_have_text(["L5", "L3", "L1", "embed"])


def test_no_text_was_left_without_its_values(visit: Visit) -> None:
    for view in ("One position", "All positions"):
        visit.choose("view", view)
        visit.cell(0, -1).wait_for(state="visible" if view == "All positions" else "hidden")
        assert not re.findall(r"\{\w+\}", visit.page.locator(".gradio-container").inner_text())
        captions = visit.page.locator("caption").all_text_contents()
        assert not re.findall(r"\{\w+\}", " ".join(captions))


# ---- generated tokens, long prompts


def generated(visit: Visit) -> str:
    """The text that the model went on with."""
    return visit.strip.evaluate(
        "strip => [...strip.querySelectorAll('.generated')].map(chip => chip.textContent).join('')"
    )


def test_the_same_seed_writes_the_same_text_and_each_token_can_be_looked_at(visit: Visit) -> None:
    visit.open_options()
    for name, value in (("generate", "5"), ("temperature", "1.5"), ("seed", "7")):
        visit.set(name, value)
    visit.run(prompt=COLOURS)
    text = generated(visit)
    assert text
    step = visit.page.get_by_label("number input for Generated token")
    expect(step).to_be_visible()
    assert int(step.input_value()) == visit.strip.locator(".generated").count()
    step.fill("1")
    step.press("Tab")
    expect(visit.prediction.locator("h2")).to_have_text("Prediction after  blue")
    visit.set("seed", "8")
    visit.run()
    visit.set("seed", "7")
    visit.run()
    assert generated(visit) == text
    visit.set("generate", "0")
    visit.run()
    expect(step).to_be_hidden()
    assert visit.prompt_read() == COLOURS


def test_a_long_prompt_starts_at_its_end_and_its_windows_lead_through_it(visit: Visit) -> None:
    visit.run(prompt=LONG)
    cells = visit.map.locator("tbody tr").first.locator("td")
    expect(cells).to_have_count(64)
    scroller = visit.page.locator("#lens-heatmap .scroller")
    assert scroller.evaluate("s => s.scrollLeft + s.clientWidth >= s.scrollWidth - 2")
    assert visit.sideways() == 0
    end = visit.table()
    left = int(re.findall(r"\d+", visit.page.locator("#lens-heatmap .earlier").inner_text())[0])
    with visit.running():
        visit.page.locator("#lens-heatmap .earlier").click()
    expect(visit.page.locator("#lens-heatmap .later")).to_have_text("64 later ›")
    expect(cells).to_have_count(min(left, 64))
    with visit.running():
        visit.page.locator("#lens-heatmap .later").click()
    expect(visit.page.locator("#lens-heatmap .later")).to_have_count(0)
    assert visit.table() == end


# ---- an edit


@pytest.fixture(scope="module")
def edit_file(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit of the demo model that silences neurons of one layer."""
    result_of(served.runtime.stack.steps())
    demo = served.runtime.pool.get("demo")
    neurons = torch.arange(demo.facts.d_model)
    edit = make_edit(demo, {1: (neurons, torch.zeros(len(neurons), demo.facts.d_model))})
    path = tmp_path_factory.mktemp("edits") / "silenced.safetensors"
    save_edit(edit, path)
    return path


def open_edit(visit: Visit, path: Path) -> None:
    """Choose an edit file in the bar."""
    with visit.page.expect_file_chooser() as chooser:
        visit.page.locator(".lens-edit input").click()
        visit.page.get_by_role("option", name="Open a file …").click()
    chooser.value.set_files(path)


def test_before_and_after_an_edit_that_was_opened_from_a_file(
    visit: Visit, edit_file: Path, served: Served
) -> None:
    visit.run(prompt=PROMPT)
    original = visit.table()
    open_edit(visit, edit_file)
    expect(visit.page.locator(".lens-edit input")).to_have_value(re.compile("silenced"))
    expect(visit.status).to_contain_text("The active edit changed")
    with visit.running():
        visit.status.get_by_role("button", name="Run again").click()
    edited = visit.table()
    assert edited != original
    changed = visit.map.locator("td.changed")
    assert changed.count() > 0
    changed.first.hover()
    expect(visit.card.locator(".old")).to_be_visible()
    expect(visit.card).to_contain_text("Before")
    visit.page.mouse.move(0, 0)
    expect(visit.prediction).to_contain_text("Dashed: before the edit")
    with visit.running():
        visit.choose("side", "Before")
    assert visit.table() == original
    visit.page.locator(".lens-edit input").click()
    visit.page.get_by_role("option", name="None (original)").click()
    visit.run()
    assert visit.table() == original
    expect(visit.page.locator(".lens-choose-side")).to_be_hidden()
    direct = lens_core.logit_lens(
        served.runtime.pool.get("demo"), served.runtime.pool.get("demo").tokenize(PROMPT)
    )
    assert direct.to_json()["edit"] is None, "no visitor's edit stays in the model"


def test_a_file_that_is_no_edit_is_answered_in_place(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "not-an-edit.safetensors"
    path.write_bytes(b"<b>nothing</b>")
    expect(visit.notice).to_have_count(0)
    open_edit(visit, path)
    expect(visit.notice).to_contain_text("safetensors")
    expect(visit.page.locator(".lens-edit input")).to_have_value("None (original)")
    visit.run()


def test_the_edit_of_one_visitor_is_not_offered_to_another(
    visits: Callable[..., Visit], edit_file: Path
) -> None:
    one, other = visits(), visits()
    open_edit(one, edit_file)
    expect(one.page.locator(".lens-edit input")).to_have_value(re.compile("silenced"))
    other.page.locator(".lens-edit input").click()
    assert other.page.get_by_role("option").filter(has_text="silenced").count() == 0
    other.run(prompt=PROMPT)
    expect(other.cell(0, -1)).to_contain_text("Paris")


# ---- files


def saved(visit: Visit, kind: str, folder: Path) -> Path:
    """The file that an entry of the export menu saves."""
    with visit.page.expect_download() as download:
        visit.page.locator("#lens-heatmap .export").click()
        visit.page.locator(f"#lens-heatmap [data-item={kind}]").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_everything_is_saved_as_json(visit: Visit, tmp_path: Path) -> None:
    visit.run(prompt=LONG)
    path = saved(visit, "json", tmp_path)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "logit-lens.json"
    assert record["schema"] == "lens_core/logit_lens/1"
    assert len(record["positions"]) > 64, "also what the page does not draw"
    assert len(record["cells"]["resid_post"]["top_ids"][0]) == len(record["positions"])


def test_the_table_is_saved_as_csv(visit: Visit, tmp_path: Path) -> None:
    path = saved(visit, "csv", tmp_path)
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert path.name == "logit-lens.csv"
    assert len({len(row) for row in rows}) == 1
    assert any("Paris" in cell for row in rows for cell in row)


def test_the_picture_is_saved_as_png(visit: Visit, tmp_path: Path) -> None:
    with Image.open(saved(visit, "png", tmp_path)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 50


def test_a_page_is_saved_that_opens_offline(
    visits: Callable[..., Visit], browser: Browser, tmp_path: Path
) -> None:
    visit = visits(lang="ja")
    path = saved(visit, "html", tmp_path)
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.locator("tbody tr").first.locator("td").last.hover()
    expect(page.locator(".card")).to_contain_text("Paris")
    expect(page.locator("h1")).to_have_text(words()["ja"]["lens.title"])
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def test_a_second_file_of_the_same_kind_is_saved_too(visit: Visit, tmp_path: Path) -> None:
    texts = [saved(visit, "csv", tmp_path).read_text(encoding="utf-8-sig") for _ in range(2)]
    assert texts[0] == texts[1]
