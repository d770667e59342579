"""The sample set: every answer is computed here, and the embedded model can do the first level."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations, product
from pathlib import Path

import pytest
import torch

from lens_core import load_model
from lens_core.errors import InputError
from lens_core.study.answer_forms import read_form
from lens_core.study.answers import check_answer, extract_answer
from lens_core.study.prompts import render_prompt
from lens_core.study.reading import read_rows
from lens_core.study.rows import Row
from lens_core.study.sample_set import sample_rows, write_sample

DICE = list(product(range(1, 7), repeat=2))
THREE_DIGITS = [n for n in range(100, 1000)]

COMPUTED: dict[str, Fraction | float | int | tuple[int, ...]] = {
    "en-1-1": 3 + 4,
    "en-1-2": 6 + 2,
    "en-1-3": 9 - 4,
    "en-1-4": 5 + 5,
    "zh-1-1": 7 + 2,
    "zh-1-2": 8 - 3,
    "zh-1-3": 4 + 4,
    "zh-1-4": 1 + 6,
    "en-2-1": 48 + 76,
    "en-2-2": 12 * 15,
    "en-2-3": 17 * 6 - 40,
    "en-2-4": 50 - 18 + 7,
    "zh-2-1": 305 - 128,
    "zh-2-2": 24 * 6,
    "zh-2-3": 96 // 8 + 13,
    "zh-2-4": 35 // 5,
    "en-3-1": Fraction(2, 3) + Fraction(1, 6),
    "en-3-2": next(x for x in range(100) if 3 * x + 7 == 31),
    "en-3-3": Fraction(15, 100) * 240,
    "en-3-4": 180 / Fraction(5, 2),
    "zh-3-1": next(x for x in range(100) if 5 * x - 9 == 2 * x + 12),
    "zh-3-2": 200 * Fraction(85, 100),
    "zh-3-3": Fraction(3, 2) * Fraction(4, 5),
    "zh-3-4": 84 * Fraction(4, 3 + 4),
    "en-4-1": next(x for x in range(1, 100) if x * x - 5 * x - 14 == 0),
    "en-4-2": len(list(combinations(range(8), 3))),
    "en-4-3": math.sqrt(50) + math.sqrt(18),
    "en-4-4": sum(3 + 4 * i for i in range(20)),
    "zh-4-1": next((x, 10 - x) for x in range(11) if 2 * x - (10 - x) == 5),
    "zh-4-2": len(list(permutations(range(1, 6), 3))),
    "zh-4-3": sum(2 * x - 3 < 7 for x in range(1, 100)),
    "zh-4-4": math.isqrt(5**2 + 12**2),
    "en-5-1": pow(7, 100, 13),
    "en-5-2": Fraction(sum(a + b >= 10 for a, b in DICE), len(DICE)),
    "en-5-3": math.pi * 3**2,
    "en-5-4": sum(720 % d == 0 for d in range(1, 721)),
    "zh-5-1": sum(n % 3 == 0 or n % 5 == 0 for n in range(1, 101)),
    "zh-5-2": sum(order.index(0) not in (0, 4) for order in permutations(range(5))),
    "zh-5-3": sum((Fraction(1, n * (n + 1)) for n in range(1, 100)), Fraction(0)),
    "zh-5-4": sum(sum(map(int, str(n))) == 25 for n in THREE_DIGITS),
}
WRONG = {"en-3-4", "zh-3-4", "en-4-4", "zh-4-3", "en-5-4", "zh-5-4"}
"""Rows whose response is wrong on purpose."""
ROWS = sample_rows()


def test_five_levels_in_two_languages() -> None:
    counted = Counter((row.level, row.fields["lang"]) for row in ROWS)
    assert counted == {(level, lang): 4 for level in range(1, 6) for lang in ("en", "zh")}
    assert len({row.id for row in ROWS}) == len({row.query for row in ROWS}) == 40
    assert all(row.answer and len(row.answer) < 20 and row.response for row in ROWS)
    assert all(any("一" <= c <= "鿿" for c in row.query) for row in ROWS if row.id[:2] == "zh")


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_every_answer_is_right(row: Row) -> None:
    expected = COMPUTED[row.id]
    form = read_form(row.answer or "")
    if isinstance(expected, tuple):
        assert tuple(item.value for item in form.items) == expected
    elif isinstance(expected, float):
        assert form.value == pytest.approx(expected, rel=1e-12)
    else:
        assert form.value == expected


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_responses_say_what_they_should(row: Row) -> None:
    verdict = check_answer(extract_answer(row.response or ""), row.answer)
    assert verdict.state == ("false" if row.id in WRONG else "true"), verdict


@pytest.mark.parametrize("template", ["plain", "bare"])
def test_no_prompt_tells_the_answer(template: str) -> None:
    loaded = load_model("demo")
    for row in ROWS:
        assert row.query in render_prompt(loaded, row, template=template).text


def test_the_embedded_model_does_the_first_level() -> None:
    loaded = load_model("demo")
    assert loaded.tokenizer is not None
    for row in (row for row in ROWS if row.level == 1):
        ids = render_prompt(loaded, row, template="bare").ids
        with torch.no_grad():
            for _ in range(4):
                logits = loaded.model(ids[None]).logits[0, -1]
                ids = torch.cat([ids, logits.argmax()[None]])
        said = loaded.tokenizer.decode(ids, skip_special_tokens=False).removeprefix("<|start|>")
        said = said.removeprefix(row.query).partition("<|end|>")[0].partition("。")[0]
        assert check_answer(said, row.answer).state == "true", (row.id, said)


def test_the_sample_is_written_as_it_is(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "sample.jsonl")
    assert tuple(read_rows(path)) == ROWS
    with pytest.raises(InputError, match="exists"):
        write_sample(path)
    with pytest.raises(InputError, match="cannot be written"):
        write_sample(tmp_path / "absent" / "sample.jsonl")
