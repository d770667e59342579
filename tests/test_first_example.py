"""The recorded first example is what a run gives today."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import record_first_example

from lens_core.settings import Settings
from tabs.first_example import FILE, FIRST_PROMPT, first_example
from tabs.graph.session import Session as GraphSession
from tabs.logit_lens.controls import FIRST
from tabs.logit_lens.session import Session
from tabs.viewers import drawn
from tabs.words import words

pytestmark = pytest.mark.slow

NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e-?\d+)?")
DIGIT = 0.11
"""Numbers within texts are rounded: their last digit may turn."""
TABS = ("graph", "logit_lens")
SCALARS = 1e-3
IDS = {"ids", "id", "tokens", "columns", "session"}
"""Names of values that must be equal, not close."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    return json.loads(json.dumps(record_first_example.recorded()))


def differences(old: Any, new: Any, where: str = "", *, ids: bool = False) -> Iterator[str]:
    """Where two records say different things."""
    if isinstance(old, dict) and isinstance(new, dict):
        if set(old) != set(new):
            yield f"{where}: the keys {sorted(set(old) ^ set(new))}"
        for key in set(old) & set(new):
            yield from differences(old[key], new[key], f"{where}.{key}", ids=ids or key in IDS)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{where}: {len(old)} and {len(new)} values"
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from differences(one, other, f"{where}[{index}]", ids=ids)
    elif not same(old, new, ids=ids):
        yield f"{where}: {old!r:.60} and {new!r:.60}"


def same(old: Any, new: Any, *, ids: bool) -> bool:
    if isinstance(old, str) and isinstance(new, str):
        numbers = zip(NUMBER.findall(old), NUMBER.findall(new), strict=False)
        close = all(math.isclose(of(a), of(b), abs_tol=DIGIT) for a, b in numbers)
        return old == new if ids else NUMBER.sub("#", old) == NUMBER.sub("#", new) and close
    if isinstance(old, float) and isinstance(new, float | int):
        return math.isclose(old, new, rel_tol=SCALARS, abs_tol=SCALARS)
    return old == new


def of(number: str) -> float:
    return float(number.replace("−", "-"))


def test_the_recorded_example_is_what_a_run_gives(
    recorded: dict[str, Any], fresh: dict[str, Any]
) -> None:
    found = list(differences(recorded, fresh))
    assert not found, "run scripts/record_first_example.py"


def test_the_comparison_sees_another_token_and_another_number() -> None:
    old = {"ids": [1, 2], "p": 0.5, "text": "p 50.0%"}
    assert list(differences(old, {"ids": [1, 3], "p": 0.5, "text": "p 50.0%"}))
    assert list(differences(old, {"ids": [1, 2], "p": 0.502, "text": "p 50.0%"}))
    assert list(differences(old, {"ids": [1, 2], "p": 0.5, "text": "p 50.3%"}))
    assert not list(differences(old, {"ids": [1, 2], "p": 0.5004, "text": "p 50.1%"}))


def test_it_is_what_the_bar_and_the_controls_say_at_first(recorded: dict[str, Any]) -> None:
    assert recorded["bar"] == ["demo", FIRST_PROMPT, "plain", "none"]
    assert "".join(t["text"] for t in recorded["strip"]["tokens"][1:]) == FIRST_PROMPT
    assert recorded["logit_lens"]["viewers"]["heatmap"]["quantity"] == FIRST.colour


def test_it_says_that_it_was_prepared_and_no_time(recorded: dict[str, Any]) -> None:
    assert recorded["strip"]["facts"][-1] == {"key": "status.recorded"}
    assert not any(re.search(r"\d s$", str(fact)) for fact in recorded["strip"]["facts"])


def test_its_session_answers_clicks(recorded: dict[str, Any]) -> None:
    session = Session.from_json(recorded["logit_lens"]["session"])
    heatmap = recorded["logit_lens"]["viewers"]["heatmap"]
    assert [list(row) for row in session.cells] == heatmap["tokens"]
    assert [column["position"] for column in heatmap["columns"]] == list(session.columns)
    assert session.pin(session.cells[0][-1]).target == heatmap["tokens"][0][-1]
    hash(session.pinned + session.lines + session.ranks)


def test_its_words_exist(recorded: dict[str, Any]) -> None:
    asked = set(re.findall(r'"key": ?"([\w]+\.[\w]+)"', json.dumps(recorded)))
    assert len(asked) > 10
    assert asked <= set(words()["en"])


def test_it_is_small_and_cannot_end_the_page(recorded: dict[str, Any]) -> None:
    assert FILE.stat().st_size < 100_000
    for tab in TABS:
        for value in recorded[tab]["viewers"].values():
            assert "<" not in drawn(value)


def test_its_graph_answers_clicks(recorded: dict[str, Any]) -> None:
    session = GraphSession.from_json(recorded["graph"]["session"])
    viewers = recorded["graph"]["viewers"]
    assert len(session.links) == len(viewers["links"]["rows"])
    assert len(session.weights) == len(viewers["graph"]["edges"]["w"])
    assert session.selected == viewers["graph"]["selected"]
    assert session.root == viewers["graph"]["roots"][0]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(models={"own": None}, default_model="own"),
        Settings(models={"demo": "/some/folder"}),
    ],
)
def test_a_page_that_opens_with_another_model_shows_none(settings: Settings) -> None:
    assert first_example(settings) == {}


def test_a_page_with_its_own_sentences_shows_none(tmp_path: Any) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text("One sentence\n", encoding="utf-8")
    assert first_example(Settings(sentences_file=str(path))) == {}
