"""The viewers of the repair in a real browser: its target, what became of it, neurons, edits."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from viewer_stage import HOSTILE, SMALLEST_TARGET, Open, Stage, Visit, records
from visits import PALE

from tabs.words import LANGUAGES, words

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPT = records("<|start|>", "The", " capital", " of", " Kazakhstan", " is", special=(0,))
CHANGED = {5: (12, 18), 4: (47, 17), 3: (138, 18)}
"""Layer -> the neuron that changed most, and how many were changed."""


def target(**changes: Any) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "target": records(" A", "st", "ana"),
        "as_written": True,
        "add_space": False,
        "text": None,
        "tone": None,
        **changes,
    }


def pair(prompt: str = "The capital of Kazakhstan is", tone: str = "good") -> dict[str, Any]:
    after = {"said": " Astana", "more": ". The"}
    before = {"said": " Nur-Sultan", "more": "."}
    return {
        "prompt": prompt,
        "before": before,
        "after": before if tone == "poor" else after,
        "tone": tone,
    }


def outcome(**changes: Any) -> dict[str, Any]:
    return {
        "state": "done",
        "how": "the words in bold are what the model says itself, without help.",
        "pill": {"tone": "good", "text": "Repaired"},
        "facts": ["3 of 3 target tokens", "51 updates", "53 neurons in 3 layers", "4.1 s"],
        "notes": [
            {"tone": "check", "text": "The text after the target repeats itself."},
            {"tone": "", "text": "Made on top of 1 other edit."},
        ],
        "pairs": [pair()],
        "more_pairs": 0,
        "actions": [
            {"name": "use", "text": "Use in every tab", "primary": True},
            {"name": "save", "text": "Save", "primary": False},
            {"name": "undo", "text": "Undo", "primary": False},
        ],
        "light": {"tone": "good", "text": "Nothing else changed"},
        **changes,
    }


def neuron_map(
    n_layers: int = 6, n_neurons: int = 384, changed: dict[int, tuple[int, int]] | None = None
) -> dict[str, Any]:
    """`changed`: of a layer the neuron that changed most, and how many did."""
    changed = CHANGED if changed is None else changed
    bins = min(n_neurons, 256)
    layers = []
    for layer in range(n_layers):
        first, count = changed.get(layer, (0, 0))
        values = [0.0] * bins
        for k in range(count):
            at = (first + k * 37) % n_neurons * bins // n_neurons
            values[at] = max(values[at], round(3.5 / (1 + k / 4), 3))
        layers.append({"layer": layer, "columns": count, "values": values})
    return {
        "title": "Which neurons were changed",
        "how": "each cell stands for a few neurons; darker ones changed more.",
        "n_neurons": n_neurons,
        "bins": bins,
        "layers": layers,
        "high": max(max(layer["values"]) for layer in layers),
        "selected": None,
        "marks": [[layer, first] for layer, (first, _) in changed.items()],
    }


def edit(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "facts": ["54 kB", "53 neurons in L3, L4, L5"],
        "pill": {"tone": "good", "text": "repaired"},
        "on": False,
        "strength": 1.0,
        "holds": "3 of 3 prompts still come out",
        "new": False,
        **changes,
    }


EDITS = [
    edit("Kazakhstan → Astana", new=True),
    edit("Egypt → New Cairo", pill={"tone": "check", "text": "partial"}, strength=0.8, on=True),
    edit("7 + 5 = 12", facts=["12 kB", "6 neurons in L2"], holds=None, pill=None),
]


def edits(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "title": "Edits of this session",
        "how": "an edit that is on is used in every tab; the model itself is never changed.",
        "items": list(items or EDITS),
        "total": "1 of 3 edits is on",
        "banner": None,
        "empty": "No edits yet. A repair adds one.",
        **changes,
    }


def first_values() -> dict[str, dict[str, Any]]:
    old = {"name": "old.json", "type": "application/json", "text": "{}", "serial": 1}
    return {
        "target": target(),
        "outcome": outcome(),
        "map": neuron_map(),
        "edits": edits(),
        "saved": old,
    }


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    viewers = {
        "target": "target",
        "outcome": "outcome",
        "map": "neuron_map",
        "edits": "edit_list",
        "saved": "saved",
    }
    with Stage(first=first_values, viewers=viewers).launched() as stage:
        yield stage


def test_every_word_of_the_viewers_is_there_in_all_languages() -> None:
    areas = ("target", "outcome", "neuron_map", "edit_list")
    keys = [key for key in words()["en"] if key.split(".")[0] in areas]
    assert len(keys) > 20
    assert all(words()[language][key] for key in keys for language in LANGUAGES)


# ---- target


def test_a_target_is_read_as_chips_with_their_number(visit: Visit) -> None:
    chips = visit.page.locator("#target .target .chip")
    assert chips.all_text_contents() == [" A", "st", "ana"]
    assert visit.page.locator("#target .target").inner_text().endswith("3 target tokens")
    assert visit.page.locator("#target .prompt .chip.special").count() == 1
    assert visit.page.locator("#target button").count() == 0
    visit.show(target=target(target=records(("😀", "F0 9F", "98 80"))))
    shown = chips.evaluate_all("all => all.map(e => e.querySelector('.lens-code').dataset.mark)")
    assert shown == ["F0 9F", "98 80"]
    visit.show(target=target(target=records(" A"), prompt=records(*[" word"] * 60)))
    assert visit.page.locator("#target .target").inner_text().endswith("1 target token")
    assert visit.page.locator("#target .prompt .chip").count() == 16
    assert "44 earlier" in visit.page.locator("#target .prompt").inner_text()
    visit.show(target=target(target=records(*["a"] * 100)))
    assert "52 more" in visit.page.locator("#target .behind").inner_text()


def test_a_missing_space_is_mended_by_its_button(visit: Visit) -> None:
    visit.show(target=target(add_space=True, as_written=False))
    assert "space is probably missing" in visit.page.locator("#target .spoken").inner_text()
    visit.stage.answers[("target", "space")] = target()
    visit.act(lambda: visit.page.get_by_role("button", name="Add a space").click(), "target")
    assert visit.event("target", "space") == {}
    assert visit.page.locator("#target .remark").count() == 0


def test_other_tokens_and_errors_are_said(visit: Visit) -> None:
    visit.show(target=target(as_written=False))
    assert "other tokens" in visit.page.locator("#target .remark.quiet").inner_text()
    visit.show(target=target(prompt=None, text="The target is empty.", tone="poor"))
    assert visit.page.locator("#target .remark.poor").inner_text() == "✕The target is empty."
    assert visit.page.locator("#target .chip").count() == 0


# ---- outcome


def test_before_is_struck_and_after_is_bold(visit: Visit) -> None:
    sides = visit.page.locator("#outcome .side .text")
    assert sides.all_text_contents() == [
        "The capital of Kazakhstan is Nur-Sultan.",
        "The capital of Kazakhstan is Astana. The",
    ]
    assert visit.page.locator("#outcome del").text_content() == "Nur-Sultan"
    assert visit.page.locator("#outcome ins").text_content() == "Astana"
    head = visit.page.locator("#outcome .head").inner_text()
    assert "✓ Repaired" in head
    assert "✓ Nothing else changed" in head
    assert visit.page.locator("#outcome .spoken").inner_text() == "Repaired. Nothing else changed"
    assert visit.page.locator("#outcome .verdict").count() == 0, "one pair needs no mark of its own"


def test_several_pairs_say_which_of_them_are_repaired(visit: Visit) -> None:
    long = "x " * 300 + "the end of it is"
    visit.show(outcome=outcome(pairs=[pair(), pair(long, "poor")], more_pairs=1234))
    marks = visit.page.locator("#outcome .verdict").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert marks == ["repaired", "not repaired"]
    second = visit.page.locator("#outcome .pair").nth(1)
    assert second.locator("del, ins").count() == 0, "nothing changed there"
    shown = second.locator(".text").first
    assert shown.inner_text().startswith("…x x")
    assert shown.inner_text().endswith("the end of it is Nur-Sultan.")
    assert second.locator(".shortened").first.get_attribute("title") == long
    assert "and 1,234 more pairs" in visit.page.locator("#outcome").inner_text()


def test_blanks_that_were_said_are_seen(visit: Visit) -> None:
    blank = {**pair("def hello():\n    "), "before": {"said": "\n", "more": "pass\u202e"}}
    visit.show(outcome=outcome(pairs=[blank]))
    marks = "all => all.map(e => e.dataset.mark)"
    assert visit.page.locator("#outcome .lens-mark").evaluate_all(marks) == ["⏎", "U+202E"]
    assert (
        visit.page.locator("#outcome .text").first.text_content()
        == "def hello():\n    \npass\u202e"
    )


def test_a_repair_is_empty_then_on_its_way(visit: Visit) -> None:
    visit.show(outcome={"state": "empty", "how": "Say what should change."})
    assert visit.page.locator("#outcome").inner_text() == "Say what should change."
    assert visit.page.locator("#outcome .drawing").is_visible()
    waiting = {**pair(), "after": None}
    visit.show(
        outcome={"state": "running", "how": "It runs.", "facts": ["8 updates"], "pairs": [waiting]}
    )
    assert visit.page.locator("#outcome .ghost").is_visible()
    assert visit.page.locator("#outcome .how").inner_text() == "It runs."
    visit.show(outcome={"state": "running", "how": "It runs.", "facts": []})
    assert visit.page.locator("#outcome .pair").count() == 0


def test_the_actions_of_an_outcome(visit: Visit) -> None:
    gone = outcome(actions=[{"name": "save", "text": "Save", "primary": False}])
    for name, number in (("use", 0), ("save", 1), ("undo", 2)):
        if name == "undo":
            visit.stage.answers[("outcome", "undo")] = gone
        visit.page.locator("#outcome .action").nth(number).click()
        assert visit.event("outcome", name) == {}
    expect(visit.page.locator("#outcome .action")).to_have_count(1)
    assert visit.focused() == "save", "the button of the lost one takes the focus"


# ---- neuron map


def card(visit: Visit) -> str:
    return visit.page.locator("#map .card").inner_text()


def test_the_last_layer_is_on_top_with_its_count(visit: Visit) -> None:
    names = visit.page.locator("#map .names span").all_inner_texts()
    assert names == ["L5", "L4", "L3", "L2", "L1", "L0"]
    counts = visit.page.locator("#map .counts span").all_inner_texts()
    assert counts == ["18 of 384", "17 of 384", "18 of 384", "–", "–", "–"]
    legend = visit.page.locator("#map .legend").inner_text()
    assert "3.5×" in legend
    assert "in the table" in legend


def test_a_cell_of_the_map_is_pointed_at_and_chosen(visit: Visit) -> None:
    plot = visit.page.locator("#map .plot")
    box = plot.bounding_box()
    assert box is not None
    at: Any = {"x": 138 / 384 * box["width"], "y": 56}
    plot.hover(position=at)
    assert card(visit) == "L3, neurons 138–139: changed by up to 3.5×"
    plot.click(position=at)
    assert visit.event("map", "choose") == {"layer": 3, "bin": 138 * 256 // 384}
    assert visit.page.locator("#map .ring.selected").is_visible()
    plot.hover(position={"x": at["x"], "y": 120})
    assert visit.page.locator("#map .card").count() == 0, "nothing was changed in L0"


def test_arrow_keys_go_from_one_changed_neuron_to_the_next(visit: Visit) -> None:
    visit.page.locator("#map .surface").focus()
    seen = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "ArrowDown", "ArrowDown", "Home", "End"):
        visit.page.keyboard.press(key)
        seen.append(card(visit).split(":")[0])
    assert seen[0] != seen[1] == "L5, neurons 12–13"
    assert [text[:2] for text in seen[2:]] == ["L4", "L3", "L3", "L3", "L3"]
    assert visit.page.locator("#map .spoken").inner_text() == card(visit)
    visit.page.keyboard.press("Enter")
    assert visit.event("map", "choose")["layer"] == 3
    visit.page.keyboard.press("Escape")
    assert visit.page.locator("#map .card").count() == 0


SHAPES = [
    (2, 4, {1: (1, 3)}, "L1, neuron 1: changed by 3.5×", 2),
    (48, 60_000, {layer: (30_000, 40) for layer in range(30, 42)}, "neurons 30,000–30,234", 14),
    (48, 512, {layer: (7, 9) for layer in range(48)}, "neurons 6–7: changed by up to 3.5×", 48),
    (3, 384, {}, None, 3),
]


@pytest.mark.parametrize(("n_layers", "n_neurons", "changed", "said", "labels"), SHAPES)
def test_the_map_takes_every_shape(
    visits: Open, n_layers: int, n_neurons: int, changed: Any, said: str | None, labels: int
) -> None:
    visit = visits(width=420)
    visit.show(map=neuron_map(n_layers, n_neurons, changed))
    assert visit.page.locator("#map .names span").count() == labels
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 420
    assert (visit.page.locator("#map .surface").bounding_box() or {})["height"] < 800
    visit.page.locator("#map .surface").focus()
    visit.page.keyboard.press("Home")
    if said is None:
        assert visit.page.locator("#map .card").count() == 0
        assert "no neuron" in str(visit.page.locator("#map .surface").get_attribute("aria-label"))
    else:
        assert said in card(visit)


def test_a_selected_cell_is_kept_and_shown(visit: Visit) -> None:
    visit.show(map={**neuron_map(), "selected": {"layer": 4, "bin": 47 * 256 // 384}})
    assert visit.page.locator("#map .ring.selected").is_visible()
    visit.page.locator("#map .surface").focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowLeft")
    assert card(visit) == "L4, neuron 47: changed by 3.5×"


# ---- edits


def test_an_edit_is_a_card_with_its_state(visit: Visit) -> None:
    cards = visit.page.locator("#edits .edit")
    assert cards.count() == 3
    assert "✓ repaired" in cards.first.inner_text()
    assert "new" in cards.first.inner_text()
    states = visit.page.get_by_role("switch").evaluate_all("all => all.map(e => e.ariaChecked)")
    assert states == ["false", "true", "false"]
    values = visit.page.locator("#edits .value").all_inner_texts()
    assert values == ["100%", "80%", "100%"]
    visit.show(edits=edits(banner={"tone": "poor", "text": "Together they do damage."}))
    assert visit.page.locator("#edits .banner").inner_text().startswith("✕")
    visit.show(edits={**edits(), "items": []})
    assert "No edits yet." in visit.page.locator("#edits").inner_text()
    assert visit.page.get_by_role("button", name="Open an edit file").is_visible()


def test_a_switch_answers_at_once_and_the_server_has_the_last_word(visit: Visit) -> None:
    visit.stage.answers[("edits", "switch")] = edits()
    switch = visit.page.get_by_role("switch").first
    visit.act(lambda: switch.press("Space"), "edits")
    assert visit.event("edits", "switch") == {"index": 0, "name": EDITS[0]["name"], "on": True}
    assert switch.get_attribute("aria-checked") == "false", "it was refused"
    assert visit.focused() == "switch-Kazakhstan → Astana"
    visit.page.get_by_role("switch").nth(1).click()
    sent = {"index": 1, "name": EDITS[1]["name"], "on": False}
    assert visit.event("edits", "switch", number=1) == sent


def test_the_keys_of_a_slider_are_one_event(visit: Visit) -> None:
    track = visit.page.locator("#edits .track").first
    track.focus()
    for _ in range(3):
        visit.page.keyboard.press("ArrowLeft")
    assert track.get_attribute("aria-valuetext") == "85%"
    sent = {"index": 0, "name": EDITS[0]["name"], "value": pytest.approx(0.85)}
    assert visit.event("edits", "strength") == sent
    assert len(visit.stage.events) == 1
    visit.stage.answers[("edits", "strength")] = edits(edit(EDITS[0]["name"], strength=0.9))
    visit.act(lambda: visit.page.keyboard.press("ArrowRight"), "edits")
    assert visit.focused() == f"strength-{EDITS[0]['name']}"
    assert visit.page.locator("#edits .value").all_inner_texts() == ["90%"]


def test_a_value_that_comes_during_a_drag_waits(visit: Visit) -> None:
    track = visit.page.locator("#edits .track").first
    track.scroll_into_view_if_needed()
    box = track.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + box["width"] * 2 / 3, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 8, middle, steps=4)
    visit.stage.values["edits"] = edits(total="Another total")
    count = visit.drawings("edits")
    visit.page.get_by_role("button", name="Send").dispatch_event("click")
    visit.page.wait_for_function(
        "count => +document.querySelector('#edits .lens-viewer').dataset.ready > count", arg=count
    )
    assert "Another total" not in visit.page.locator("#edits").inner_text()
    visit.page.mouse.up()
    assert visit.event("edits", "strength") == {"index": 0, "name": EDITS[0]["name"], "value": 0}
    expect(visit.page.locator("#edits .total")).to_have_text("Another total")


def test_saving_undoing_and_opening(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Save").nth(1).click()
    assert visit.event("edits", "save") == {"index": 0, "name": EDITS[0]["name"]}
    visit.stage.answers[("edits", "undo")] = edits(*EDITS[1:])
    undo = visit.page.locator("#edits").get_by_role("button", name="Undo").first
    visit.act(lambda: undo.press("Enter"), "edits")
    assert visit.event("edits", "undo") == {"index": 0, "name": EDITS[0]["name"]}
    assert visit.focused() == "undo-Egypt → New Cairo"
    visit.stage.answers[("edits", "undo")] = {**edits(), "items": []}
    visit.act(lambda: visit.page.keyboard.press("Enter"), "edits")
    assert visit.focused() == "open"
    visit.page.keyboard.press("Enter")
    assert visit.event("edits", "open") == {}


def test_bytes_are_saved_as_they_are(visit: Visit, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 3
    file = {"name": "astana.safetensors", "type": "application/octet-stream", "serial": 2}
    with visit.page.expect_download() as found:
        visit.show(saved={**file, "base64": base64.b64encode(raw).decode()})
    found.value.save_as(tmp_path / "saved")
    assert found.value.suggested_filename == "astana.safetensors"
    assert (tmp_path / "saved").read_bytes() == raw


# ---- all of them


def test_no_text_is_executed(visit: Visit) -> None:
    for text in HOSTILE:
        side = {"said": text, "more": text}
        visit.show(
            target=target(prompt=records(text), target=records(text)),
            outcome=outcome(
                how=text,
                pill={"tone": "good", "text": text},
                pairs=[{"prompt": text, "before": side, "after": side, "tone": "good"}],
            ),
            map={**neuron_map(), "title": text, "how": text},
            edits=edits(edit(text, facts=[text], holds=text), total=text),
        )
        assert visit.page.evaluate("document.body.dataset.pwned ?? null") is None
        assert visit.page.locator(".lens-viewer :is(img, script, iframe)").count() == 0
        assert visit.page.locator("#target .target .chip").text_content() == text
        assert visit.page.locator("#outcome .text").first.text_content() == text * 3
        assert visit.page.locator("#edits h3").text_content() == text
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 1400


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_text_is_readable_and_fits(visits: Open, theme: str, width: int) -> None:
    visit = visits(width=width, theme=theme, touch=width == 420)
    long = edit("x" * 200, pill={"tone": "poor", "text": "failed"}, on=True)
    visit.show(
        target=target(add_space=True, target=records("y" * 90)),
        outcome=outcome(pairs=[pair("z" * 400), pair(tone="poor")], more_pairs=2),
        edits=edits(long, *EDITS, banner={"tone": "check", "text": "Together they do damage."}),
    )
    assert visit.page.evaluate(PALE) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    if width == 420:
        assert visit.page.evaluate(SMALLEST_TARGET) >= 40


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("zh", ["3 个目标 token", "修复前", "用于所有标签页", "18 / 384"]),
        ("ja", ["目標 3 トークン", "修復後", "全タブで使う", "編集ファイルを開く"]),
    ],
)
def test_the_viewers_speak_the_language_of_the_page(
    visits: Open, language: str, said: list[str]
) -> None:
    text = visits(language=language).page.locator("body").inner_text()
    for part in said:
        assert part in text
