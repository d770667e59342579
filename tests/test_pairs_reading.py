"""Files of pairs: every format by its content, round trips, and bad rows with their place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lens_core.errors import InputError
from lens_core.pairs import (
    Pair,
    PairFile,
    Problem,
    iter_pairs,
    jsonl,
    make_pairs,
    original_json,
    read_pairs,
    write_original,
    write_pairs,
)

DATA = Path(__file__).parent / "data"
ROW = '{"sentence1": "a cat", "sentence2": "a dog"}'


def places(found: PairFile) -> list[str]:
    return [problem.place for problem in found.problems]


def test_the_original_comes_back_without_loss(tmp_path: Path) -> None:
    source = DATA / "original_pairs.json"
    found = read_pairs(source)
    assert (found.format, len(found.pairs), found.problems) == ("original", 4, ())
    again = write_original(found.pairs, tmp_path / "again.json", metadata=found.metadata)
    assert json.loads(again.read_text("utf-8")) == json.loads(source.read_text("utf-8"))
    assert read_pairs(again) == found


def test_the_original_may_be_one_line() -> None:
    document = json.loads((DATA / "original_pairs.json").read_text("utf-8"))
    assert read_pairs(json.dumps(document)) == read_pairs(DATA / "original_pairs.json")


def test_the_original_of_pairs_that_were_made() -> None:
    pairs = make_pairs(["article_errors", "typo"], n=2)
    document = original_json(pairs)
    rows = document["diff_token_type"]["grammatical_errors"]["article_errors"]["sentence_pairs"]
    assert rows == [{"sentence1": p.sentence1, "sentence2": p.sentence2} for p in pairs[:2]]
    assert document["metadata"]["num_pairs_per_type"] == 2


def test_bad_places_in_the_original_are_named() -> None:
    subtypes = {
        "s": {"sentence_pairs": [{"sentence1": "a"}, {"sentence1": "a", "sentence2": "b"}]},
        "t": {"pairs": []},
    }
    found = read_pairs(json.dumps({"diff_token_type": {"k": subtypes, "l": 3}}))
    assert [pair.pair_id for pair in found.pairs] == ["s_1"]
    assert places(found) == ["k/s, pair 0", "k/t", "l"]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_lines_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    pairs = [
        Pair("Il dit «\u2028oui».", 'a "b"\n', oriented=True, correct=2, answer1=" x"),
        *make_pairs(["article_errors", "identity"], n=3, lang="ja"),
    ]
    path = write_pairs(pairs, tmp_path / name)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")
    found = read_pairs(path)
    assert (found.pairs, found.problems, found.format) == (tuple(pairs), (), "jsonl")
    assert list(iter_pairs(path)) == pairs
    assert read_pairs(jsonl(pairs)) == found
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["pairs"]


def test_every_row_of_blimp_loads() -> None:
    path = DATA / "blimp_sample.jsonl"
    found = read_pairs(path)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert (found.format, found.problems, len(found.pairs)) == ("blimp", (), len(rows))
    for pair, row in zip(found.pairs, rows, strict=True):
        assert (pair.sentence1, pair.sentence2) == (row["sentence_good"], row["sentence_bad"])
        assert (pair.type, pair.subtype) == (row["field"], row["UID"])
        assert (pair.oriented, pair.correct, pair.source) == (True, 1, "blimp")
    assert len({pair.pair_id for pair in found.pairs}) == len(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_every_kind(delimiter: str) -> None:
    head = ["Sentence1", "sentence2", "subtype", "oriented", "correct", "mood"]
    rows = [['"one, two; \tthree"', "four", "s", "yes", "2", "x"], ["a", "b", "", "", "", ""]]
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in [head, *rows])
    found = read_pairs(text)
    first = Pair("one, two; \tthree", "four", subtype="s", oriented=True, correct=2)
    assert (found.pairs, found.format) == ((first, Pair("a", "b")), "csv")


def test_bad_rows_of_a_table_are_named() -> None:
    text = (
        "sentence1,sentence2,correct\n"
        "a,b,1\n"
        '"two\nlines",x,\n'
        "a,,\n"
        "same,same,\n"
        "a,b,3\n"
        "a,b,1,left over\n"
        'a,"b" c,\n'
        "\n"
        "last,one,2\n"
    )
    found = read_pairs(text)
    assert [pair.sentence2 for pair in found.pairs] == ["b", "x", "one"]
    assert places(found) == [f"line {number}" for number in (5, 6, 7, 8, 9)]
    said = " ".join(map(str, found.problems))
    for word in ("sentence2 is empty", "identical", "correct is '3'", "4 cells", "damaged"):
        assert word in said


BAD = {
    '{"sentence1": "a", "sent': "no JSON",
    "[1, 2]": "an object",
    '{"sentence1": "a"}': "sentence2 is missing",
    '{"sentence1": "a", "sentence2": null}': "sentence2 is missing",
    '{"sentence1": "a", "sentence2": 5}': "sentence2 is 5",
    '{"sentence1": "a", "sentence2": "  "}': "sentence2 is empty",
    '{"sentence1": "a", "sentence2": "a"}': "both sides",
    '{"sentence1": "a", "sentence2": "\\ud800"}': "half a character",
    '{"sentence1": "a", "sentence2": "b", "correct": true}': "correct is True",
    '{"sentence1": "a", "sentence2": "b", "oriented": "yes"}': "oriented is 'yes'",
    '{"sentence1": "a", "sentence2": "b", "edit": "ab"}': "edit is 'ab'",
    '{"sentence1": "a", "sentence2": "b", "type": 7}': "type is 7",
    "[" * 100_000: "no JSON",
}


@pytest.mark.parametrize("bad", BAD, ids=[text[:60] for text in BAD])
def test_bad_lines_are_named_and_the_rest_is_read(bad: str) -> None:
    found = read_pairs(f"{ROW}\n\n{bad}\n{ROW}\n")
    assert len(found.pairs) == 2
    (problem,) = found.problems
    assert problem.place == "line 3"
    assert BAD[bad] in problem.what


def test_a_bad_first_line_does_not_hide_the_format() -> None:
    assert places(read_pairs(f'{{"sentence1": "a", "sent\n{ROW}\n')) == ["line 1"]
    assert places(read_pairs(f'{{"sentence1": "a"}}\n{ROW}\n')) == ["line 1"]


def test_bytes_that_are_no_utf8_are_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(ROW.encode() + b"\n" + ROW.replace("cat", "Käfer").encode("latin-1"))
    found = read_pairs(path)
    assert len(found.pairs) == 1
    assert places(found) == ["line 2"]


def test_utf16_tables_are_read(tmp_path: Path) -> None:
    path = tmp_path / "excel.txt"
    path.write_bytes("sentence1\tsentence2\n猫\t犬\n".encode("utf-16"))
    assert read_pairs(path).pairs == (Pair("猫", "犬"),)


def test_a_list_of_pairs_is_read() -> None:
    found = read_pairs(f"[\n {ROW},\n {{}}\n]")
    assert (len(found.pairs), places(found)) == (1, ["pair 1"])


def test_identical_sides_only_for_the_control() -> None:
    pair = Pair("same", "same", subtype="identity")
    assert read_pairs(jsonl([pair])).pairs == (pair,)


@pytest.mark.parametrize("text", ["", " \n\n", "sentence1,sentence2\n", "[]", "\ufeff"])
def test_nothing_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pairs"):
        read_pairs(text)
    path = tmp_path / "nothing"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match="pairs"):
        list(iter_pairs(path))


def test_limits_are_named() -> None:
    with pytest.raises(InputError, match=r"more than 2 rows.*max_pairs"):
        read_pairs(f"{ROW}\n" * 3, max_pairs=2)
    with pytest.raises(InputError, match=r"more than 50 characters.*max_chars"):
        read_pairs(f"{ROW}\n" * 3, max_chars=50)


def test_rows_before_a_limit_are_streamed() -> None:
    rows = iter_pairs(f"{ROW}\n" * 3, max_pairs=2)
    assert [next(rows), next(rows)] == [Pair("a cat", "a dog")] * 2
    with pytest.raises(InputError):
        next(rows)


def test_other_contents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"columns sentence1 and sentence2.*pathlib"):
        read_pairs(str(DATA / "original_pairs.json"))
    with pytest.raises(InputError, match="diff_token_type"):
        read_pairs('{\n "a": 1\n}')
    with pytest.raises(InputError, match='format is "xml"'):
        read_pairs(ROW, format="xml")
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        read_pairs(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be written"):
        write_pairs([], tmp_path / "none" / "pairs.jsonl")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress((ROW + "\n").encode() * 1000)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read to its end"):
        read_pairs(path)


def test_a_wanted_format_is_taken() -> None:
    found = read_pairs(ROW, format="blimp")
    assert found.problems == (Problem("line 1", "sentence_good is missing."),)
