"""Rows of a study: every format by its content, bad rows with their place, constant memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lens_core.errors import InputError
from lens_core.study import sources
from lens_core.study.reading import read_rows, rows_from_dataset
from lens_core.study.rows import Row, RowProblem
from lens_core.study.sources import list_items

RECORDS: list[dict[str, Any]] = [
    {"id": "a", "query": "3 + 4 =", "answer": "7", "level": 1, "lang": "en"},
    {"id": "b", "query": '"[1, {2}]" 等于?\n', "answer": "\\{1\\}", "level": 2, "lang": "zh"},
    {
        "id": "c",
        "query": "🙂 last\\",
        "answer": "x",
        "level": 2,
        "response": "ok",
        "is_correct": True,
    },
]


def jsonl(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def table(records: list[dict[str, Any]], delimiter: str = ",") -> str:
    names = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def good(source: str | Path, **options: Any) -> list[Row]:
    found = list(read_rows(source, **options))
    assert all(isinstance(one, Row) for one in found), found
    return [one for one in found if isinstance(one, Row)]


def problems(source: str | Path, **options: Any) -> dict[str, str]:
    return {
        one.place: one.what for one in read_rows(source, **options) if isinstance(one, RowProblem)
    }


def test_every_format_gives_the_same_rows() -> None:
    expected = [
        Row(0, "a", "3 + 4 =", "7", None, 1, None, {"lang": "en"}),
        Row(1, "b", '"[1, {2}]" 等于?\n', "\\{1\\}", None, 2, None, {"lang": "zh"}),
        Row(2, "c", "🙂 last\\", "x", "ok", 2, True, {}),
    ]
    assert good(jsonl(RECORDS)) == expected
    for text in (json.dumps(RECORDS), json.dumps(RECORDS, indent=1, ensure_ascii=False)):
        assert good(text) == expected
    for delimiter in ",;\t":
        rows = good(table(RECORDS, delimiter))
        # A table has every column in every row.
        assert [row.fields.pop("lang") for row in rows] == ["en", "zh", ""]
        assert [{**row.to_json(), "fields": {}} for row in rows] == [
            {**row.to_json(), "fields": {}} for row in expected
        ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gzip"])
def test_files_in_every_dress(tmp_path: Path, encoding: str) -> None:
    text = jsonl(RECORDS)
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
    assert good(path) == good(text)


def test_a_row_reads_back() -> None:
    for row in good(jsonl(RECORDS)):
        assert Row.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False))) == row


def test_fields_are_mapped() -> None:
    record = {
        "question": "q",
        "solution": 42,
        "difficulty": "Level 3",
        "query": "old",
        "answer": "A",
    }
    (row,) = good(
        json.dumps(record),
        fields={"query": "question", "answer": "solution", "level": "difficulty"},
    )
    assert (row.query, row.answer, row.level) == ("q", "42", "Level 3")
    # What lost its name to the mapping is still there.
    assert row.fields == {"query": "old", "answer": "A"}
    (row,) = good(json.dumps({"query": "q", "answer": "a"}), fields={"response": "answer"})
    assert (row.answer, row.response) == (None, "a")


def test_values_are_read_as_what_they_are() -> None:
    lines = [
        '{"query": "q", "answer": 0.5, "level": 3.0, "is_correct": 1}',
        '{"query": "q", "answer": "  ", "level": NaN, "is_correct": 0.0, "x": [1, Infinity]}',
        '{"query": "q", "level": "3", "is_correct": "False", "id": 17, "y": 1e999}',
    ]
    rows = good("\n".join(lines))
    assert [row.answer for row in rows] == ["0.5", None, None]
    assert [row.level for row in rows] == [3, None, "3"]
    assert [row.is_correct for row in rows] == [True, False, False]
    assert [row.id for row in rows] == ["0", "1", "17"]
    assert [row.fields for row in rows] == [{}, {"x": [1, None]}, {}]
    cells = good("query,level\nq,3\nq,\nq,2.50\nq,hard\nq,nan\nq,3.0\nq,1_0\nq,²\n")
    assert [row.level for row in cells] == [3, None, 2.5, "hard", None, 3, "1_0", "²"]


def test_bad_rows_are_named_by_their_line_and_not_fatal() -> None:
    content = "\n".join(
        [
            '{"query": "good"}',
            "",
            '{"query": ""}',
            '{"question": "q"}',
            '{"query": 5}',
            "[1]",
            '{"query": "q"',
            '{"query": "q", "level": [1]}',
            '{"query": "q", "is_correct": "perhaps"}',
            '{"query": "q", "answer": {"a": 1}}',
            '{"query": "\\ud83d"}',
            '{"query": "q", "level": ' + "[" * 100_000 + "}",
            '{"query": "q", "level": ' + "9" * 5000 + "}",
            '{"query": "good again"}',
        ]
    )
    found = list(read_rows(content))
    assert [row.query for row in found if isinstance(row, Row)] == ["good", "good again"]
    # The place among the rows counts the bad ones, so that it does not move when they are mended.
    assert [row.index for row in found if isinstance(row, Row)] == [0, 12]
    said = problems(content)
    assert list(said) == [f"line {number}" for number in range(3, 14)]
    assert "question" in said["line 4"]
    assert "fields=" in said["line 4"]
    assert "half a character" in said["line 11"]


def test_bytes_that_are_no_text_spoil_their_row_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"query": "\xff"}\n{"query": "good"}\n')
    assert list(problems(path)) == ["line 1"]


def test_a_damaged_item_of_a_list_does_not_hide_the_next() -> None:
    content = '[{"query": "a"},\n {"query": b},\n\n {"query": "c"}, , 7,\n{"query": "d"}]\n'
    found = list(read_rows(content))
    assert [row.query for row in found if isinstance(row, Row)] == ["a", "c", "d"]
    assert list(problems(content)) == ["line 2, item 2", "line 4, item 4", "line 4, item 5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 rows"),
        (" \n\n", "0 rows"),
        ("[]", "0 rows"),
        ("query\n", "0 rows"),
        ('{\n "query": "q"\n}', "list"),
        ('[{"query": "q"}', "stops in line 1"),
        ('[{"query": "q}]', "stops"),
        ('[{"query": "q"}] [2]', "behind the list"),
        ("a,b\n1,2\n", 'query" is none'),
    ],
)
def test_what_is_no_file_of_rows_is_refused(content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_rows(content))


def test_a_list_is_cut_alike_in_pieces_of_any_size() -> None:
    records = [*RECORDS, {"query": '\\"\\\\', "x": [[{}], "]}", "\\\\\\"]}, {"query": "]"}]
    text = "\n " + json.dumps(records, indent=2) + "\n"
    expected = [json.loads(item) for _, item in list_items([text])]
    assert expected == records
    lines = [line for line, _ in list_items([text])]
    for size in range(1, 40):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert [json.loads(item) for _, item in list_items(pieces)] == records
        assert [line for line, _ in list_items(pieces)] == lines
    for line, record in zip(lines, records, strict=True):
        assert text.split("\n")[line - 1].strip() == "{"
        assert record["query"]


def test_other_lists_in_pieces_of_any_size() -> None:
    draw = random.Random(0)
    for _ in range(300):
        items = [
            json.dumps("".join(draw.choices('a"\\[]{},\n', k=draw.randrange(12))))
            for _ in range(draw.randrange(1, 5))
        ]
        text = "[" + ",".join(items) + "]"
        cuts = sorted(draw.choices(range(len(text) + 1), k=4))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert [item for _, item in list_items(pieces)] == items


def test_a_table_tells_where_it_is_damaged() -> None:
    content = 'query,answer\n"two\nlines",1\n"bad"x,2\na,b,c\n\nlast,3\n'
    found = list(read_rows(content))
    assert [row.query for row in found if isinstance(row, Row)] == ["two\nlines", "last"]
    assert list(problems(content)) == ["line 4", "line 5"]


def test_a_cell_may_be_long() -> None:
    long = "x" * 300_000
    (row,) = good(table([{"query": "q", "response": long}]))
    assert row.response == long


def test_arguments_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    for options in (
        {"fields": {"quest": "a"}},
        {"fields": {"query": ""}},
        {"format": "xml"},
        {"limit": 0},
        {"per_level": 0},
        {"per_level": True},
        {"max_rows": 0},
        {"max_chars": 0},
        {"seed": 0.5},
    ):
        with pytest.raises((InputError, TypeError)) as caught:
            read_rows(tmp_path / "absent", **options)  # pyright: ignore[reportArgumentType]
        # beartype, which tests run with, is first where even the type is wrong.
        assert isinstance(caught.value, InputError) or options == {"seed": 0.5}


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = jsonl([{"query": f"q{i}"} for i in range(10)])
    with pytest.raises(InputError, match="more than 9 rows"):
        list(read_rows(text, max_rows=9))
    assert len(good(text, max_rows=10)) == 10
    assert len(good(text, max_rows=3, limit=3)) == 3
    with pytest.raises(InputError, match="more than 50 characters"):
        list(read_rows(text, max_chars=50))
    with pytest.raises(InputError, match="absent"):
        list(read_rows(tmp_path / "absent"))
    monkeypatch.setattr(sources, "MAX_ROW_CHARS", 100)
    with pytest.raises(InputError, match="Line 2 has more than 100"):
        list(read_rows('{"query": "a"}\n' + '{"query": "' + "a" * 200 + '"}'))
    with pytest.raises(InputError, match="more than 100"):
        list(read_rows('[{"query": "a"}, {"query": "' + "a" * 200 + '"}]'))


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(jsonl(RECORDS * 100).encode())[:-100])
    with pytest.raises(InputError, match="to its end"):
        list(read_rows(path))


def test_a_limit_stops_reading() -> None:
    """What stands behind the last row that is wanted is not even looked at."""

    def records() -> Iterator[dict[str, str]]:
        yield {"query": ""}
        yield {"query": "one"}
        yield {"query": "two"}
        raise AssertionError("read too far")

    found = list(rows_from_dataset(records(), limit=2))
    assert [type(one).__name__ for one in found] == ["RowProblem", "Row", "Row"]


def test_a_sample_has_n_of_every_level_and_is_even() -> None:
    text = jsonl([{"query": f"q{i}", "level": i % 3 or None} for i in range(30)])
    seen: Counter[int] = Counter()
    for seed in range(100):
        rows = good(text, per_level=2, seed=seed)
        assert Counter(row.level for row in rows) == {None: 2, 1: 2, 2: 2}
        assert [row.index for row in rows] == sorted(row.index for row in rows)
        seen.update(row.index for row in rows)
    # 100 draws of 2 out of 10: 20 times each, with a standard deviation of 4.
    assert all(4 < seen[index] < 40 for index in range(30)), seen
    assert good(text, per_level=2, seed=7) == good(text, per_level=2, seed=7)
    assert len(good(text, per_level=99)) == 30


def test_a_sample_of_a_level_does_not_depend_on_other_levels() -> None:
    records = [{"query": f"q{i}", "level": i % 2, "id": str(i)} for i in range(60)]
    both = good(jsonl(records), per_level=3, seed=1)
    alone = good(jsonl([record for record in records if record["level"]]), per_level=3, seed=1)
    assert [row.id for row in both if row.level] == [row.id for row in alone]


def test_equal_looking_levels_are_kept_apart() -> None:
    records = [{"query": "q", "level": level} for level in (1, True, "1", 1.0, None, "None")]
    assert len(good(jsonl(records), per_level=1)) == 5


MEASURED = """
import sys, tracemalloc
from pathlib import Path
from lens_core.study.reading import read_rows
tracemalloc.start()
rows = bad = 0
for one in read_rows(Path(sys.argv[1]), per_level=int(sys.argv[2]) or None):
    bad += type(one).__name__ == "RowProblem"
    rows += type(one).__name__ == "Row"
print(rows, bad, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gz", "json", "csv", "sample"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    """C-3: 100 000 rows; the peak is that of a few rows, and bad ones are reported."""
    path = tmp_path / "rows"
    n, level, per_level = 100_000, 5, 10 if kind == "sample" else 0
    record = {"query": "How many? " * 10, "answer": "12", "response": "Wait, let me check. " * 5}
    with gzip.open(path, "wt") if kind == "gz" else path.open("w") as file:
        file.write({"json": "[", "csv": "query,answer,response,level\n"}.get(kind, ""))
        for i in range(n):
            row = {**record, "level": i % level} if i % 1000 else {"answer": "no question"}
            if kind == "csv":
                file.write(",".join(f'"{row.get(k, "")}"' for k in (*record, "level")) + "\n")
            else:
                file.write(("," if kind == "json" and i else "") + json.dumps(row) + "\n")
        file.write("]" if kind == "json" else "")
    # A fresh process: checking types at run time, as the tests do, takes time and memory.
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path), str(per_level)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, bad, peak = map(int, done.stdout.split())
    assert (rows, bad) == (level * per_level or n - 100, 100)
    assert peak < 10 * 2**20


def test_rows_of_a_data_set() -> None:
    import datasets

    columns = {
        name: [record.get(name) for record in RECORDS] for name in ("query", "level", "lang")
    }
    whole = datasets.Dataset.from_dict({**columns, "when": [date(2026, 1, 1)] * 3})
    for dataset in (whole, whole.to_iterable_dataset()):
        rows = list(rows_from_dataset(dataset, fields={"id": "level"}))
        assert [(row.index, row.id) for row in rows if isinstance(row, Row)] == [
            (0, "1"),
            (1, "2"),
            (2, "2"),
        ]
        assert all(
            row.fields == {"lang": lang}
            for row, lang in zip(rows, columns["lang"], strict=True)
            if isinstance(row, Row)
        )
    with pytest.raises(InputError, match="train"):
        rows_from_dataset(datasets.DatasetDict({"train": whole}))
    with pytest.raises(InputError, match="read_rows"):
        rows_from_dataset("squad")  # pyright: ignore[reportArgumentType]
    found = list(rows_from_dataset([{"query": "a"}, {"x": 1}]))
    assert isinstance(found[1], RowProblem)
    assert found[1].place == "row 1"
