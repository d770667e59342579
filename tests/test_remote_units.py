"""The parts of a prompt that are masked, and how far answers and distributions are apart."""

from __future__ import annotations

import math
import random

import pytest

from lens_core.remote.distances import (
    answer_distances,
    chrf,
    cosine_distance,
    edit_distance,
    js_bounds,
    unlisted_log_p,
)
from lens_core.remote.estimate import remote_estimate
from lens_core.remote.units import Unit, masked, own_units, sentences, unprotected, words

TEXTS = {
    "Don't mother-in-law, x_1 (3.5)!": ["Don't", "mother-in-law", "x_1", "3", "5"],
    "2+2=4, €5": ["2", "+", "2", "=", "4", "€", "5"],
    "日本の首都は東京です。": list("日本の首都は東京です"),
    "コーヒー ok": ["コ", "ー", "ヒ", "ー", "ok"],
    "가나 naïve e\u0301té": ["가나", "naïve", "e\u0301té"],
    "👨‍👩‍👧 🇫🇷👍🏽!": ["👨‍👩‍👧", "🇫🇷", "👍🏽"],
    "?! ...": [],
}


@pytest.mark.parametrize("text", TEXTS)
def test_words(text: str) -> None:
    found = words(text)
    assert [unit.text for unit in found] == TEXTS[text]
    assert all(text[unit.start : unit.end] == unit.text for unit in found)


def test_pairs_of_characters() -> None:
    assert [u.text for u in words("我爱中国x。人", cjk="bigram")] == ["我爱", "中国", "x", "人"]
    assert [u.text for u in words("日本の", cjk="bigram")] == ["日本", "の"]


def test_sentences() -> None:
    text = 'One. Two is 3.5!  "Three?" four\nFive\n\n六。七！「八。」九'
    found = [unit.text for unit in sentences(text)]
    assert found == [
        "One.",
        "Two is 3.5!",
        '"Three?"',
        "four",
        "Five",
        "六。",
        "七！",
        "「八。」",
        "九",
    ]
    assert all(text[unit.start : unit.end] == unit.text for unit in sentences(text))
    assert sentences(" \n ") == []


def test_masking_touches_nothing_else() -> None:
    text = "The  capital, of\nFrance"
    for unit in words(text):
        assert masked(text, unit, "…") == text[: unit.start] + "…" + text[unit.end :]
        without = masked(text, unit, "")
        assert len(text) - len(without) - len(unit.text) in (0, 1)
        assert without.replace(" ", "") == masked(text, unit, "\0").replace("\0", "").replace(
            " ", ""
        )
    assert [masked("a b c", unit, "") for unit in words("a b c")] == [" b c", "a c", "a b"]
    assert [masked("我爱", unit, "") for unit in words("我爱")] == ["爱", "我"]


def test_own_and_protected_parts() -> None:
    text = "red red blue"
    assert own_units(text, [(4, 7), (0, 3)]) == [Unit("red", 0, 3), Unit("red", 4, 7)]
    left = unprotected(words(text), text, ["red"])
    assert [unit.text for unit in left] == ["blue"]
    assert [u.start for u in unprotected(words(text), text, [(3, 5)])] == [0, 8]


def test_the_estimate_counts_words_of_sentences() -> None:
    text = "One two. Three four five."
    flat, deep = (remote_estimate(text, units=units, tier=3) for units in ("words", "hierarchical"))
    assert (flat.features, deep.features) == (5, 7)
    assert deep.requests == flat.requests + 2
    assert remote_estimate("我" * 30, tier=3).prompt_tokens == 30 * (30 + 3 + 5)


def test_edit_distance_is_a_distance() -> None:
    draw = random.Random(0)
    texts = ["".join(draw.choices("ab", k=draw.randrange(6))) for _ in range(12)]
    for a in texts:
        for b in texts:
            found = edit_distance(a, b)
            assert found == edit_distance(b, a)
            assert (found == 0) == (a == b)
            assert abs(len(a) - len(b)) <= found * max(len(a), len(b), 1) <= max(len(a), len(b))
    assert edit_distance("kitten", "sitting") == pytest.approx(3 / 7)


def test_answers_are_compared() -> None:
    same = answer_distances("It is Paris. ", " It is Paris.")
    assert same == {"exact": 0.0, "edit": 0.0, "chrf": 0.0}
    other = answer_distances("It is Paris.", "")
    assert other == {"exact": 1.0, "edit": 1.0, "chrf": 1.0}
    near, far = (answer_distances("It is Paris.", text) for text in ("It is Parma.", "No way."))
    assert all(near[name] < far[name] for name in ("edit", "chrf"))
    assert answer_distances("…", "?")["edit"] == 1.0


def test_chrf_by_hand() -> None:
    """Of abcd and abxd: 3 of 4 letters and 1 of 3 pairs are common, no longer run is."""
    assert chrf("abcd", "abxd") == pytest.approx((3 / 4 + 1 / 3 + 0 + 0) / 4)
    assert chrf("a b c d", "abcd") == 1.0


def test_cosine() -> None:
    assert cosine_distance([1.0, 0.0], [0.0, 1.0]) == pytest.approx(1)
    assert cosine_distance([1.0, 2.0], [2.0, 4.0]) == pytest.approx(0)
    assert cosine_distance([1.0, 2.0], [-1.0, -2.0]) == pytest.approx(2)
    assert cosine_distance([0.0, 0.0], [1.0, 1.0]) == 1


def distribution(draw: random.Random, size: int) -> dict[str, float]:
    raw = {f"t{n}": draw.expovariate(1.0) ** 3 + 1e-6 for n in range(size)}
    total = sum(raw.values())
    return {token: value / total for token, value in raw.items()}


def test_bounds_hold_the_true_divergence() -> None:
    draw = random.Random(0)
    for size in (2, 5, 12, 40):
        for count in (1, 3, 10):
            p, q = distribution(draw, size), distribution(draw, size)
            first, second = (top(one, count) for one in (p, q))
            low, high = js_bounds(first, second)
            assert low - 1e-9 <= divergence(p, q) <= high + 1e-9
            assert js_bounds(second, first) == pytest.approx((low, high), abs=1e-7)
            unlisted = [p[token] for token in p if token not in first]
            assert all(math.log(value) <= unlisted_log_p(first) + 1e-9 for value in unlisted)
            if count >= size:
                assert low == pytest.approx(high, abs=1e-6)


def top(one: dict[str, float], count: int) -> dict[str, float]:
    best = sorted(one.items(), key=lambda item: -item[1])[:count]
    return {token: math.log(value) for token, value in best}


def divergence(p: dict[str, float], q: dict[str, float]) -> float:
    middle = {token: (p[token] + q[token]) / 2 for token in p}
    return sum(0.5 * x[t] * math.log(x[t] / middle[t]) for x in (p, q) for t in p)


def test_bounds_of_what_is_not_known() -> None:
    sure = {"a": 0.0}
    assert js_bounds(sure, sure) == (0.0, 0.0)
    low, high = js_bounds(sure, {"b": 0.0})
    assert (low, high) == pytest.approx((math.log(2), math.log(2)), abs=1e-6)
    assert js_bounds(sure, {}) == pytest.approx((0.0, math.log(2)))
    # What both leave out may be the same, or not.
    low, high = js_bounds({"a": math.log(0.5)}, {"a": math.log(0.5)})
    assert (low, high) == pytest.approx((0.0, 0.5 * math.log(2)))
