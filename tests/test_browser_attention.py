"""The attention tab in a real browser: the core's numbers, and what a click does to them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from conftest import Served
from fake_endpoint import capital_model, serving
from PIL import Image
from playwright.sync_api import Locator, expect
from viewer_stage import HOSTILE
from visits import PALE, SMALL, Visit

import lens_core
from lens_core.attention import AttentionViews
from lens_core.edits import applied, make_edit, save_edit
from lens_core.models import LoadedModel
from lens_core.weight_edit import load_edit
from tabs import operations
from tabs.attention.choices import PARTS
from tabs.runtime import result_of
from tabs.words import words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = "The capital of France is"
SPLIT = "我爱中国🐉，他的首都在于"
"""Its emoji is several tokens."""
LAYER = 5
STRIP = "#lens-attention-tokens"


@pytest.fixture(scope="module")
def demo(served: Served) -> LoadedModel:
    """The model of the page."""
    result_of(served.runtime.stack.steps())
    return served.runtime.pool.get("demo")


@pytest.fixture
def open_tab(visits: Callable[..., Visit]) -> Callable[..., Visit]:
    """Opens the tab, and waits for its first run."""

    def opened(**options: Any) -> Visit:
        visit = visits(tab="attention", **options)
        visit.wait("done")
        return visit

    return opened


@pytest.fixture
def visit(open_tab: Callable[..., Visit]) -> Visit:
    return open_tab()


# ---- what is read of the page


def number(text: str) -> float | None:
    """A number as the page writes it; a share in per cent."""
    text = text.replace("−", "-").rstrip("%×")
    if not text or text == "–":
        return None
    return 0.0 if text.startswith("<") else float(text)


def numbers(visit: Visit, of: str = STRIP, line: str = "amount") -> list[float | None]:
    """The numbers below the tokens."""
    texts = visit.page.locator(f"{of} [role=option] .{line}").all_inner_texts()
    return [number(text) for text in texts]


def shares(values: Any) -> Any:
    """What these shares are when they are written with one digit; the smallest are only "<0.1%"."""
    written = [100 * float(value) if value >= 0.001 else 0.0 for value in values]
    return pytest.approx(written, abs=0.0501)


def until(visit: Visit, read: Callable[[], Any], wanted: Any) -> None:
    """Wait until the page shows it."""
    end = time.monotonic() + 15
    while (found := read()) != wanted and time.monotonic() < end:
        visit.page.wait_for_timeout(50)
    assert found == wanted


def title(visit: Visit) -> Locator:
    return visit.page.locator(f"{STRIP} h2")


def text_of(visit: Visit) -> str:
    """The prompt as the boxes show it."""
    fills = visit.page.locator(f"{STRIP} [role=option]:not(.special) .fill > .lens-text")
    return "".join(fills.all_text_contents())


def box(visit: Visit, position: int) -> Locator:
    return visit.page.locator(f"{STRIP} [role=option][data-position='{position}']")


def facts(visit: Visit, of: str) -> dict[str, str]:
    """The lines of facts there, by their names."""
    return visit.page.locator(of).evaluate(
        "box => Object.fromEntries([...box.querySelectorAll('.lens-facts dt')]"
        ".map(name => [name.textContent, name.nextElementSibling.textContent]))"
    )


def detail(visit: Visit) -> dict[str, str]:
    """What is said of the selected token."""
    return facts(visit, "#lens-attention-token")


def most_likely(following: Any, rank: int = 0) -> str:
    """The text of a next token."""
    return following.vocab[str(following.top.ids[rank])]["text"]


def rows(visit: Visit, of: str) -> list[list[str]]:
    """The cells of a table."""
    return visit.page.locator(of).evaluate(
        "box => [...box.querySelector('table').tBodies[0].rows]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )


def heads(visit: Visit) -> list[list[float | None]]:
    """The map of heads in whole per cent, the first layer first."""
    cells = visit.table(visit.page.locator("#lens-attention-grid table"))
    return [[number(text) for text in row] for row in cells[::-1]]


def whole(values: Any) -> Any:
    return [pytest.approx([100 * float(v) for v in row], abs=0.501) for row in values]


def candidates(visit: Visit) -> list[tuple[str, float | None]]:
    """The next tokens and what they have, now where an edit is shown: "before → now"."""
    shown = visit.page.locator("#lens-attention-next").evaluate(
        "box => [...box.querySelectorAll('.lens-bars button.row')].map(row =>"
        " ['.chip', '.value'].map(name => row.querySelector(name).textContent))"
    )
    return [(text, number(value.split("→")[-1].strip())) for text, value in shown]


# ---- what is done


def part(visit: Visit, name: str, language: str = "en") -> None:
    label = words()[language][f"attention.part_{name}"]
    exactly = re.compile(rf"^\s*{re.escape(label)}\s*$")
    visit.page.locator(".lens-part-picker label").filter(has_text=exactly).click()
    expect(visit.page.locator(f".lens-part-{name}")).to_be_visible()


def pick(visit: Visit, name: str, choice: str) -> None:
    """Choose from a list of the tab."""
    visit.page.locator(f"input[aria-label='{words()['en'][name]}']:visible").click()
    visit.page.get_by_role("option", name=choice, exact=True).click()


def slide(visit: Visit, name: str, value: float) -> None:
    """Type the value of a slider."""
    field = visit.page.get_by_label(f"number input for {words()['en'][name]}", exact=True)
    field.fill(str(value))
    field.press("Tab")


def layer_shown(visit: Visit) -> str:
    return visit.page.get_by_label("number input for Layer", exact=True).input_value()


def head_shown(visit: Visit) -> str:
    return visit.page.locator(".lens-attention-bar input[aria-label='Head']").input_value()


def button(visit: Visit, of: str, name: str) -> Locator:
    return visit.page.locator(f"{of} .lens-facts button").filter(has_text=name)


# ---- looking


def test_the_tokens_show_the_core_s_numbers_and_a_click_asks_about_one(
    visit: Visit, demo: LoadedModel
) -> None:
    ids = demo.tokenize(PROMPT)
    views = lens_core.attention_views(demo, ids)
    assert numbers(visit) == shares(views.head_mean[LAYER])
    following = lens_core.next_token(demo, ids)
    predicted = visit.page.locator(f"{STRIP} .next")
    expect(predicted.locator(".fill")).to_have_text(most_likely(following))
    expect(predicted.locator(".amount")).to_have_text(f"{100 * following.top.p[0]:.1f}%")
    expect(visit.page.locator(f"{STRIP} .notes")).to_contain_text("not why the model answers")

    for position, text in ((4, " France"), (2, " capital")):
        box(visit, position).click()
        until(visit, lambda: heads(visit), whole(views.rows.rows[:, 0, :, position]))
        named = visit.page.locator(".lens-part-heads h2").filter(has_text=f"look at {text}")
        expect(named).to_be_visible()
        said = detail(visit)
        assert said["Position"] == f"#{position}"
        assert said["ID"] == str(int(ids[position]))
        assert [number(said["Attention"])] == shares([views.head_mean[LAYER, position]])
        chart = visit.page.locator("#lens-attention-token .lens-chart")
        chart.scroll_into_view_if_needed()  # plotly.js is loaded when the first chart is seen
        chart.locator("[data-drawn]").wait_for()
    captions = visit.page.locator(".lens-part-heads caption").all_text_contents()
    everything = f"{visit.page.locator('.gradio-container').inner_text()} {captions}"
    assert not re.findall(r"\{\w+\}", everything), "a text was left without its values"


def test_layers_heads_and_measures_change_the_numbers(visit: Visit, demo: LoadedModel) -> None:
    views = lens_core.attention_views(demo, demo.tokenize(PROMPT), flow=True)
    page, read = visit.page, partial(numbers, visit)
    grid = page.locator("#lens-attention-grid table tbody tr")
    grid.nth(5 - 3).locator("td").nth(1).click()
    until(visit, read, shares(views.rows.rows[3, 0, 1]))
    assert (layer_shown(visit), head_shown(visit)) == ("3", "H1")
    slide(visit, "attention.layer", 1)
    until(visit, read, shares(views.rows.rows[1, 0, 1]))
    pick(visit, "attention.head_choice", "Strongest")
    until(visit, read, shares(views.head_max[1]))
    pick(visit, "attention.head_choice", "Mean of all")
    until(visit, read, shares(views.head_mean[1]))

    assert views.norms is not None
    assert views.rollout is not None
    assert views.flow is not None
    pick(visit, "attention.measure", "What is moved (norm-weighted)")
    until(visit, read, pytest.approx(views.norms[1].mean(0).tolist(), abs=6e-4))
    pick(visit, "attention.measure", "Rollout, all layers")
    until(visit, read, shares(views.rollout.shares["mean"]))
    pick(visit, "attention.measure", "Rollout ÷ even attention")
    until(visit, read, pytest.approx(views.rollout.ratio["mean"].tolist(), abs=6e-3))
    pick(visit, "attention.measure", "Flow, up to 32 tokens")
    until(visit, read, shares(views.flow))

    pick(visit, "attention.measure", "Attention")
    page.locator(".lens-panel:has(#lens-attention-tokens) .lens-more > button").click()
    pick(visit, "attention.layers", "mean of all")
    until(visit, read, shares(views.head_mean.mean(0)))
    pick(visit, "attention.layers", "largest of all")
    until(visit, read, shares(views.head_mean.max(0)))
    pick(visit, "attention.curve", "logarithmic")
    expect(page.locator(f"{STRIP} .legend")).to_contain_text("logarithmic")
    assert visit.states.count("done") == 1, "no run was needed"


def test_another_token_looks_and_those_behind_it_have_no_number(
    visit: Visit, demo: LoadedModel
) -> None:
    ids = demo.tokenize(PROMPT)
    first = numbers(visit)
    with visit.running():
        visit.page.locator("#lens-strip [data-position='3']").click()
    expect(title(visit)).to_have_text("Where  of looks")
    views = lens_core.attention_views(demo, ids, query=3)
    assert numbers(visit)[:4] == shares(views.head_mean[LAYER][:4])
    assert numbers(visit)[4:] == [None, None]
    off = visit.page.locator(f"{STRIP} .off")
    assert off.evaluate_all("all => all.map(one => one.dataset.position)") == ["4", "5"]
    following = lens_core.next_token(demo, ids, position=3)
    best = most_likely(following)
    expect(visit.page.locator(f"{STRIP} .next .fill")).to_have_text(best)
    expect(visit.page.locator("#lens-attention-next h2")).to_contain_text("after  of")

    box(visit, 5).click()
    expect(visit.page.locator("#lens-attention-token")).to_contain_text("comes after the query")
    with visit.running():
        button(visit, "#lens-attention-token", "Look from here").click()
    expect(title(visit)).to_have_text("Where the last token looks")
    assert numbers(visit) == first


def test_a_candidate_is_appended_taken_back_and_explained(visit: Visit, demo: LoadedModel) -> None:
    ids = demo.tokenize(PROMPT)
    first, shown = numbers(visit), candidates(visit)
    following = lens_core.next_token(demo, ids)
    assert [text for text, _ in shown] == [
        following.vocab[str(token)]["text"] for token in following.top.ids
    ]
    assert [p for _, p in shown][:2] == shares(following.top.p[:2])
    bars = visit.page.locator("#lens-attention-next .lens-bars button.row")
    bars.nth(1).click()
    expect(bars.nth(1)).to_have_attribute("aria-pressed", "true")
    with visit.running():
        button(visit, "#lens-attention-next", "Append").click()
    token = int(following.top.ids[1])
    longer = torch.cat([ids, ids.new_tensor([token])])
    views = lens_core.attention_views(demo, longer)
    assert numbers(visit) == shares(views.head_mean[LAYER])
    expect(box(visit, 6).locator(".fill")).to_have_text(following.vocab[str(token)]["text"])
    expect(box(visit, 6)).to_have_class(re.compile("generated"))
    after = lens_core.next_token(demo, longer)
    assert candidates(visit)[0][0] == most_likely(after)
    assert candidates(visit) != shown

    with visit.running():
        button(visit, "#lens-attention-next", "Take the last one back").click()
    assert (numbers(visit), candidates(visit)) == (first, shown)

    bars.nth(5).click()
    with visit.running():
        button(visit, "#lens-attention-next", "Explain").click()
    other = int(following.top.ids[5])
    expect(visit.page.locator("#lens-attention-needs .ends .chip")).to_have_text(shown[5][0])
    explained = lens_core.attribute(demo, ids, target=[other], features="cluster")
    part(visit, "importance")
    visit.page.locator("#lens-attention-importance [role=option]").first.wait_for()
    scored = [value for value in numbers(visit, "#lens-attention-importance") if value is not None]
    assert scored == pytest.approx(explained.scores.tolist(), abs=6e-4)
    with visit.running():
        button(visit, "#lens-attention-next", "Explain the model's own").click()
    expect(visit.page.locator("#lens-attention-importance h2").first).to_have_text(
        f"What {shown[0][0]} rests on"
    )


def test_the_bytes_of_a_character_are_joined_by_their_sum(
    open_tab: Callable[..., Visit], demo: LoadedModel
) -> None:
    visit = open_tab(prompt=SPLIT)
    weights = lens_core.attention_views(demo, demo.tokenize(SPLIT)).head_mean[LAYER]
    boxes = visit.page.locator(f"{STRIP} [role=option]")
    ends = [int(at) for at in boxes.evaluate_all("all => all.map(one => one.dataset.position)")]
    starts = [0, *(at + 1 for at in ends[:-1])]
    assert len(ends) < len(weights), "a character is several tokens"
    sums = [weights[a : b + 1].sum() for a, b in zip(starts, ends, strict=True)]
    assert numbers(visit) == shares(sums)
    assert text_of(visit) == SPLIT
    dragon = boxes.filter(has_text="🐉")
    cells = dragon.locator(".cell").all_inner_texts()
    assert " ".join(cells) == "🐉".encode().hex(" ").upper()
    dragon.click()
    until(visit, lambda: detail(visit).get("Bytes"), " · ".join(cells))
    assert detail(visit)["Attention"].count("+") == len(cells) - 1
    visit.page.get_by_label("Join split bytes").uncheck()
    until(visit, partial(numbers, visit), shares(weights))


# ---- the parts


def test_importance_by_another_method_with_how_far_to_trust_it(
    visit: Visit, demo: LoadedModel
) -> None:
    ids, of = demo.tokenize(PROMPT), "#lens-attention-importance"
    occluded = lens_core.attribute(demo, ids, features="cluster")
    needs = visit.page.locator("#lens-attention-needs button.need .half.right .value")
    assert [number(text) for text in needs.all_inner_texts()] == pytest.approx(
        occluded.scores.tolist(), abs=6e-3
    )
    part(visit, "importance")
    pick(visit, "attention.method", "Integrated gradients")
    with visit.running():
        visit.page.get_by_role("button", name="Measure importance").click()
    found = lens_core.attribute(demo, ids, method="integrated_gradients", features="cluster")
    scored = [value for value in numbers(visit, of) if value is not None]
    assert scored == pytest.approx(found.scores.tolist(), abs=2e-3)
    said = facts(visit, of)
    assert int(said["Steps"]) > 0
    assert said["Baseline"]
    assert "gap" in said["Exactness"]
    trust = rows(visit, f"{of} .lens-table >> nth=0")
    assert trust[0][0] == "Integrated gradients"
    assert "20 random orders" in trust[-1][0]
    assert all(re.search("chance|too few", row[-1]) for row in trust[:-1])
    numbers_table = rows(visit, f"{of} .lens-table >> nth=1")
    assert len(numbers_table) == len(found.scores)
    boxes = visit.page.locator(f"{of} [role=option]")
    boxes.nth(4).click()
    until(visit, lambda: detail(visit)["Position"], "#4")


def test_prompts_are_compared_on_one_scale(visit: Visit, demo: LoadedModel) -> None:
    others = ["The capital of Japan is", "法国的首都是"]
    of = "#lens-attention-compare .lens-attention-tokens"
    part(visit, "compare")
    compare = visit.page.get_by_role("button", name="Compare", exact=True)
    field = visit.page.get_by_label("Other prompts")
    with visit.running("error"):
        compare.click()
    expect(visit.status).to_contain_text("different prompts")
    field.fill("\n".join([*others, HOSTILE[0]]))
    with visit.running():
        compare.click()
    strips = visit.page.locator(of)
    expect(strips).to_have_count(4)
    painted: list[tuple[float, float]] = []
    for index, prompt in enumerate([PROMPT, *others, HOSTILE[0]]):
        ids = demo.tokenize(prompt)
        views = lens_core.attention_views(demo, ids)
        assert numbers(visit, f"{of} >> nth={index} >>") == shares(views.head_mean[LAYER])
        best = lens_core.next_token(demo, ids)
        expect(strips.nth(index).locator(".next .fill")).to_have_text(most_likely(best))
        painted += strips.nth(index).evaluate(DARKNESS)
    by_value = [darkness for _, darkness in sorted(painted)]
    assert by_value == sorted(by_value), "the same value has the same colour everywhere"
    assert visit.page.locator(f"{of} .legend").count() == 1
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None


DARKNESS = """(strip) => [...strip.querySelectorAll("[role=option]:not(.sink)")].map((box) => {
  const [r, g, b] = getComputedStyle(box.querySelector(".fill")).backgroundColor.match(/\\d+/g);
  return [parseFloat(box.querySelector(".amount").textContent.replace("<", "")), -r - g - b];
}).filter(([value]) => value >= 0.1)"""
"""The value of every box, and how dark it is."""


def test_the_details_and_the_whole_matrix(visit: Visit, demo: LoadedModel) -> None:
    ids = demo.tokenize(PROMPT)
    part(visit, "details")
    of = "#lens-attention-details"
    expect(visit.page.locator(of)).to_contain_text("sum to 100.00%")
    table = rows(visit, f"{of} .lens-table")
    assert [int(row[2].replace(",", "")) for row in table] == ids.tolist()
    assert table[4][3] == b" France".hex(" ").upper()
    said = facts(visit, of)
    assert demo.tokenizer is not None
    assert said["Class"] == type(demo.tokenizer).__name__
    assert said["Tokens, added ones counted"] == f"{len(demo.tokenizer):,}"
    pick(visit, "attention.head_choice", "Strongest")
    expect(visit.page.locator(of)).to_contain_text("need not sum to 100%")

    part(visit, "matrix")
    pick(visit, "attention.head_choice", "H2")
    matrix = visit.page.locator("#lens-attention-matrix")
    expect(matrix.locator("h2").first).to_have_text(re.compile("Layer 5, head 2"))
    expected = lens_core.attention_matrix(demo, ids, LAYER, 2).matrix
    shown = [[number(text) for text in row] for row in visit.table(matrix.locator("table"))]
    for at, (row, wanted) in enumerate(zip(shown, expected, strict=True)):
        assert row[: at + 1] == pytest.approx([100 * float(w) for w in wanted[: at + 1]], abs=0.501)
        assert row[at + 1 :] == [None] * (len(ids) - at - 1)
    with visit.running():
        matrix.locator("tbody tr").nth(3).locator("td").nth(1).click()
    expect(title(visit)).to_have_text("Where  of looks")
    assert detail(visit)["Position"] == "#1"
    until(visit, lambda: numbers(visit)[:4], shares(expected[3][:4]))


def test_the_temperature_and_the_probability_of_a_string_run_nothing(
    visit: Visit, demo: LoadedModel
) -> None:
    ids = demo.tokenize(PROMPT)
    visit.page.locator(".lens-inspector:visible .lens-more > button").click()
    slide(visit, "attention.temperature", 2)
    warm = lens_core.next_token(demo, ids, temperature=2.0)
    until(visit, lambda: [p for _, p in candidates(visit)][:3], shares(warm.top.p[:3]))
    entropy = f"{warm.top.entropy:.2f} nats · {warm.entropy_bits:.2f} bits"
    assert facts(visit, "#lens-attention-next")["Entropy"] == entropy
    slide(visit, "attention.k", 3)
    until(visit, lambda: len(candidates(visit)), 3)
    assert visit.states.count("busy") == visit.states[: visit.states.index("done")].count("busy")

    text = " Paris is"
    field = visit.page.get_by_label("Probability of a string")
    field.fill(text.replace(" ", "·", 1))
    field.press("Enter")
    told = lens_core.string_probability(demo, ids, text)
    whole_string = "#lens-attention-string"
    nats = f"({told.log_p:.2f} nats)".replace("-", "−")
    until(visit, lambda: nats in facts(visit, whole_string).get("The whole string", ""), True)
    said = facts(visit, whole_string)
    assert list(said)[1:] == [told.vocab[str(token)]["text"] for token in told.tokens.ids]
    for p, line in zip(np.exp(told.tokens.log_p), list(said.values())[1:], strict=True):
        if p >= 0.001:
            assert line.startswith(f"{100 * p:.1f}%")
    evil = f"<b>{HOSTILE[1]}"
    field.fill(evil)
    field.press("Enter")
    tokens = visit.page.locator(f"{whole_string} dt .chip")
    until(visit, lambda: "".join(tokens.all_text_contents()), evil)
    assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None


# ---- files


def saved(visit: Visit, kind: str, folder: Path) -> Path:
    """The file that an entry of the export menu saves."""
    with visit.page.expect_download() as download:
        visit.page.locator(f"{STRIP} button.export").click()
        visit.page.locator(f"{STRIP} [data-item={kind}]").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_everything_is_saved_in_four_kinds(visit: Visit, demo: LoadedModel, tmp_path: Path) -> None:
    views = lens_core.attention_views(demo, demo.tokenize(PROMPT))
    record = json.loads(saved(visit, "json", tmp_path).read_text(encoding="utf-8"))
    again = AttentionViews.from_json(record)
    np.testing.assert_allclose(again.rows.rows, views.rows.rows, atol=1e-5)
    assert again.norms is not None
    assert views.norms is not None
    np.testing.assert_allclose(again.norms, views.norms, rtol=1e-4)
    assert again.sinks.positions == views.sinks.positions
    occluded = lens_core.attribute(demo, demo.tokenize(PROMPT), features="cluster")
    assert record["importance"]["scores"] == pytest.approx(occluded.scores.tolist(), abs=1e-4)
    assert record["faithfulness"]["rankings"]
    assert record["next_token"]["top"]["ids"]

    table = saved(visit, "csv", tmp_path).read_text(encoding="utf-8-sig")
    lines = list(csv.reader(io.StringIO(table)))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert any("France" in cell for line in lines for cell in line)

    page = saved(visit, "html", tmp_path).read_text(encoding="utf-8")
    assert "France" in page
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:", page)
    with Image.open(saved(visit, "png", tmp_path)) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 50
    assert saved(visit, "csv", tmp_path).read_text(encoding="utf-8-sig") == table


def test_what_a_map_offers_to_save_is_saved(visit: Visit, tmp_path: Path) -> None:
    for name, of in (("heads", "#lens-attention-grid"), ("matrix", "#lens-attention-matrix")):
        part(visit, name)
        opener = visit.page.locator(f"{of} button.export")
        opener.wait_for()
        items = visit.page.locator(f"{of} .menu [data-item]")
        kinds = items.evaluate_all("all => all.map(one => one.dataset.item)")
        assert {"png", "html"} <= set(kinds)
        for kind in kinds:
            opener.click()
            with visit.page.expect_download(timeout=5000) as download:
                visit.page.locator(f"{of} [data-item={kind}]").click()
            path = tmp_path / f"{name}.{kind}"
            download.value.save_as(path)
            assert path.stat().st_size > 100
            if kind == "html":
                assert not re.search(r"<h1>[^<]*\{\w+\}", path.read_text(encoding="utf-8"))


# ---- the keyboard, links


class Counted:
    """An operation that counts how often it is asked."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.prompts: list[str] = []

    def __call__(self, bench: Any, request: Any, *more: Any) -> Any:
        self.prompts.append(request.prompt)
        return self._real(bench, request, *more)


def test_ctrl_enter_runs_once_even_when_it_is_held(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(operations.OPS["attention_view"])
    monkeypatch.setitem(operations.OPS, "attention_view", counted)
    visit.type("The capital of Japan is")
    keyboard = visit.page.keyboard
    with visit.running():
        keyboard.down("Control")
        for _ in range(40):  # the key repeats while it is down
            keyboard.down("Enter")
            visit.page.wait_for_timeout(33)
        keyboard.up("Enter")
        keyboard.up("Control")
    visit.page.wait_for_timeout(1000)
    assert counted.prompts == ["The capital of Japan is"]
    with visit.running():
        keyboard.press("Control+Enter")
    assert len(counted.prompts) == 2, "pressed again, it runs again"


def test_a_link_brings_the_view_back(
    visits: Callable[..., Visit], open_tab: Callable[..., Visit], demo: LoadedModel
) -> None:
    prompt = "The capital of Japan is"
    may = {"permissions": ["clipboard-read", "clipboard-write"]}
    visit = open_tab(
        context=may,
        prompt=prompt,
        attention_layer="2",
        attention_part="details",
        attention_head="1",
        attention_measure="norm",
        attention_k="4",
    )
    views = lens_core.attention_views(demo, demo.tokenize(prompt))
    assert views.norms is not None
    wanted = pytest.approx(views.norms[2, 1].tolist(), abs=6e-4)
    assert numbers(visit) == wanted
    expect(visit.page.locator("#lens-attention-details")).to_be_visible()
    expect(visit.page.locator("#lens-attention-grid")).to_be_hidden()
    assert (layer_shown(visit), head_shown(visit)) == ("2", "H1")
    assert len(candidates(visit)) == 4
    visit.page.get_by_role("button", name="Share link").click()
    expect(visit.page.locator(".lens-header .said")).to_have_text("Link copied")
    address = visit.page.evaluate("navigator.clipboard.readText()")
    query = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
    query.pop("__theme")
    other = visits(wait=False, **query)
    other.wait("done")
    assert numbers(other) == wanted
    expect(other.page.locator("#lens-attention-details")).to_be_visible()
    expect(other.notice).to_have_count(0)


# ---- an edit


@pytest.fixture(scope="module")
def edit_file(demo: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An edit of the demo model that silences neurons of one layer."""
    neurons = torch.arange(demo.facts.d_model)
    edit = make_edit(demo, {1: (neurons, torch.zeros(len(neurons), demo.facts.d_model))})
    path = tmp_path_factory.mktemp("edits") / "silenced.safetensors"
    save_edit(edit, path)
    return path


def choose_edit(visit: Visit, path: Path | None) -> None:
    """Open an edit file in the bar, or take the original model."""
    visit.page.locator(".lens-edit input").click()
    if path is None:
        visit.page.get_by_role("option", name="None (original)").click()
        return
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_role("option", name="Open a file …").click()
    chooser.value.set_files(path)
    expect(visit.page.locator(".lens-edit input")).to_have_value(re.compile("silenced"))


def test_an_edit_is_shown_beside_the_model_before_it(
    visit: Visit, edit_file: Path, demo: LoadedModel
) -> None:
    ids = demo.tokenize(PROMPT)
    original = numbers(visit)
    sides = visit.page.locator(".lens-attention-bar .lens-segments label")
    assert sides.count() == 0 or sides.first.is_hidden()
    choose_edit(visit, edit_file)
    with visit.running():
        visit.status.get_by_role("button", name="Run again").click()
    with applied(demo, load_edit(edit_file)):
        edited = lens_core.attention_views(demo, ids)
        scores = lens_core.attribute(demo, ids, features="cluster").scores
        best = lens_core.next_token(demo, ids)
    assert numbers(visit) == shares(edited.head_mean[LAYER])
    assert numbers(visit, line="was") == original
    assert numbers(visit) != original
    expect(visit.page.locator("#lens-attention-next")).to_contain_text("Dashed: before the edit")
    assert candidates(visit)[0][0] == most_likely(best)
    needs = visit.page.locator("#lens-attention-needs")
    expect(needs.locator(".bar.before")).to_have_count(len(scores))
    right = needs.locator("button.need .half.right .value").all_inner_texts()
    assert [number(text) for text in right] == pytest.approx(scores.tolist(), abs=6e-3)

    sides.filter(has_text="Before").click()
    until(visit, partial(numbers, visit), original)
    assert numbers(visit, line="was") == shares(edited.head_mean[LAYER])
    sides.filter(has_text="After the edit").click()
    until(visit, partial(numbers, visit), shares(edited.head_mean[LAYER]))

    choose_edit(visit, None)
    visit.run()
    assert numbers(visit) == original
    assert numbers(visit, line="was") == []
    expect(sides.first).to_be_hidden()


# ---- over an API

KEY = "sk-a-secret-of-the-visitor"


def test_importance_over_an_api_says_first_what_it_costs_and_keeps_the_key(
    open_tab: Callable[..., Visit],
) -> None:
    visit = open_tab(context={"permissions": ["clipboard-read", "clipboard-write"]})
    part(visit, "remote")
    of, page = "#lens-attention-remote", visit.page
    with serving(capital_model) as api:
        page.get_by_label("Address of the API").fill(api.url)
        page.get_by_label("Model, as the API names it").fill("m")
        page.get_by_label("Key", exact=True).fill(KEY)
        page.get_by_role("button", name="How many requests?").click()
        until(visit, lambda: facts(visit, of).get("Parts"), "5")
        said = facts(visit, of)["Requests"]
        most = int(re.findall(r"\d+", said)[0])
        assert said == f"{most} requests at most"
        assert api.asked == [], "counting sends nothing"
        with visit.running():
            page.get_by_role("button", name="Ask the API").click()
        sent = len(api.asked)
        assert sent <= most
        assert set(api.keys) == {f"Bearer {KEY}"}
        with visit.running():
            page.get_by_role("button", name="Ask the API").click()
        again = [path for path, _ in api.asked[sent:]]
        assert again == ["completions"], "only what the API refused is asked again"
    table = {row[0].strip(): row for row in rows(visit, f"{of} .lens-table")}
    assert set(table) == set(PROMPT.split())
    for word, row in table.items():
        needed = word in ("France", "capital")
        assert (float(number(row[1]) or 0) > 0.3) == needed, row
        assert ("changes" in row[4]) == needed, row
    boxes = page.locator(f"{of} [role=option]")
    assert "".join(boxes.locator(".fill").all_text_contents()) == PROMPT
    assert "Paris, surely" in facts(visit, of)["Answer to the whole prompt"]
    assert facts(visit, of)["Sent"].startswith(f"1 requests; {sent - 1} answers")

    with visit.running():
        page.locator("button.lens-run").click()
    page.wait_for_url("**remote_model=m**")
    assert "base_url" not in page.url, "an address may be a secret, too"
    assert KEY not in page.url
    page.get_by_role("button", name="Share link").click()
    expect(page.locator(".lens-header .said")).to_have_text("Link copied")
    assert KEY not in page.evaluate("navigator.clipboard.readText()")
    assert KEY not in page.content()
    assert page.get_by_label("Key", exact=True).get_attribute("type") == "password"


# ---- languages, phone, themes, hostile prompts


SAID = """() => {
  const where = ":is(.lens-main, .lens-inspector)";
  const what = ":is(h2, p, dt, dd, th, button, label span, strong, .note, .legend span, .place)";
  const found = [];
  for (const e of document.querySelectorAll(`${where} ${what}`)) {
    if (!e.checkVisibility() || e.closest("svg, table tbody, .lens-text, select")) continue;
    const copy = e.cloneNode(true);
    for (const token of copy.querySelectorAll(".lens-text, .chip, svg")) token.remove();
    if (copy.textContent.trim()) found.push(copy.textContent.trim());
  }
  return found;
}"""
"""What is said on the tab, without tokens."""

ALLOWED = re.compile(r"[\w.]*Tokenizer\w*|sdpa|float32|(forward|occlusion) [\d.]+ s.*|PNG|SVG")


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_every_part_speaks_the_language_of_the_page(
    open_tab: Callable[..., Visit], language: str
) -> None:
    visit = open_tab(lang=language, prompt=SPLIT)
    ours, english = words()[language], words()["en"]
    untranslated = {english[key] for key in english if english[key] != ours[key]}
    for name in PARTS:
        part(visit, name, language)
        visit.page.wait_for_timeout(150)
        said = visit.page.evaluate(SAID)
        assert len(said) > 15
        left = [
            text
            for text in said
            if text in untranslated
            or text in english
            or (re.search(r"[A-Za-z]{3,}[ ,]+[A-Za-z]{3,}", text) and not ALLOWED.search(text))
        ]
        assert left == [], name
    titles = visit.page.locator(f"{STRIP} h2").all_text_contents()
    assert titles == [ours["attention.title"]]


LOW = """() => [...document.querySelectorAll('.lens-main button.lens-small')]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 39.5)
  .map((e) => `${e.textContent.trim()} ${e.getBoundingClientRect().height}`)"""
"""Buttons of the tab that are lower than 40 px."""


@pytest.mark.parametrize(("width", "theme"), [(420, "light"), (420, "dark"), (1400, "dark")])
def test_every_part_fits_and_can_be_read(
    open_tab: Callable[..., Visit], width: int, theme: str
) -> None:
    visit = open_tab(width=width, theme=theme, touch=width == 420, prompt=SPLIT)
    problems: dict[str, list[str]] = {}
    for name in PARTS:
        part(visit, name)
        visit.page.wait_for_timeout(200)
        found = [f"pale: {one}" for one in visit.page.evaluate(PALE)]
        if visit.sideways():
            found.append(f"{visit.sideways()} px to the right of the page")
        if width == 420:
            found += [f"low: {one}" for one in visit.page.evaluate(SMALL)]
            found += [f"low: {one}" for one in visit.page.evaluate(LOW)]
        if found:
            problems[name] = found
    assert problems == {}
    visit.page.locator(f"{STRIP} .next").hover()
    assert visit.page.evaluate(PALE) == []
    if width == 420:
        visit.run(prompt="one two three four five six seven eight nine ten " * 20)
        assert visit.sideways() == 0
        visit.page.locator(f"{STRIP} [role=option]").nth(3).tap()
        expect(visit.page.locator("body")).to_have_attribute("data-lens-sheet", "open")
        expect(visit.page.locator(".lens-inspector:visible")).to_have_css("position", "fixed")


def test_nothing_in_a_prompt_is_executed(visit: Visit) -> None:
    for text in (HOSTILE[0], HOSTILE[1], "".join(HOSTILE[2:])):
        visit.run(prompt=text)
        assert text_of(visit) == text.replace("\r", ""), "a text box drops the return"
        visit.page.locator(f"{STRIP} .next").hover()
        for name in ("importance", "matrix", "details", "heads"):
            part(visit, name)
            visit.page.wait_for_timeout(100)
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
    visit.run("error", prompt="")
    expect(visit.status).to_contain_text("This prompt cannot be read")
    visit.run(prompt=PROMPT)
    assert math.isclose(sum(one or 0 for one in numbers(visit)), 100, abs_tol=0.4)
