"""Target words: what counts as an occurrence, where it stands, and which ids a group has."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from families import loaded
from test_tokens import byte_fallback, byte_level, ids_of

from lens_core.errors import InputError
from lens_core.loading import load_model
from lens_core.study.occurrences import Occurrence, occurrence_logprobs, occurrences
from lens_core.study.target_files import read_groups
from lens_core.study.target_groups import DEFAULT_GROUPS, MAX_FORM_CHARS, TargetGroup, Variants
from lens_core.study.targets import TargetTable
from lens_core.tokens import token_records

TOKENIZERS = {
    "bytes": lambda: byte_level(258),  # no merges: three tokens a Chinese character
    "merged": lambda: byte_level(600),  # merges cut characters anywhere
    "fallback": byte_fallback,
    "demo": lambda: load_model("demo").tokenizer,
}
PAUSE = TargetGroup.of("等", "等", "等一下", "等等")


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest):
    return TOKENIZERS[request.param]()


def found(tokenizer, text: str, groups=DEFAULT_GROUPS) -> list[Occurrence]:
    records = token_records(tokenizer, ids_of(tokenizer, text))
    return occurrences("".join(record["text"] for record in records), records, groups)


def counts(tokenizer, text: str, groups=DEFAULT_GROUPS) -> dict[str, int]:
    return dict(Counter(one.group for one in found(tokenizer, text, groups)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wait, let me check that.", {"wait": 1, "let": 1, "check": 1}),
        ("await in the Bahamas while checking the paycheck", {}),
        ("await … Bahamas … checking … paycheck", {}),
        ("等等，让我检查一下", {"等等": 1, "检查": 1}),
        ("等一下，等等", {"等一下": 1, "等等": 1}),
        ("WAIT wait. Wait!wait?(wait)\nwait_wait wait2", {"wait": 8}),
        ("wAit waité waite\u0301", {}),
        ("⌛\ufe0fwait\ufe0f 3\u20e3check", {"wait": 1, "check": 1}),
        ("我check一下，so很好", {"check": 1, "so": 1}),
        ("thinking rethink Soß also therefores", {}),
        ("", {}),
    ],
)
def test_the_probes_are_counted_exactly(tokenizer, text: str, expected: dict[str, int]) -> None:
    assert counts(tokenizer, text) == expected


def test_the_longest_form_wins_inside_a_group(tokenizer) -> None:
    spans = [(one.form, one.chars) for one in found(tokenizer, "等一下等等等", [PAUSE])]
    assert spans == [("等一下", (0, 3)), ("等等", (3, 5)), ("等", (5, 6))]


def test_tokens_of_an_occurrence_hold_exactly_its_bytes(tokenizer) -> None:
    text = "So 等一下，let me check: 我知道了 — aha, 𠮷 actually wait"
    records = token_records(tokenizer, ids_of(tokenizer, text))
    joined = "".join(record["text"] for record in records)
    raw = [bytes.fromhex(record["bytes_hex"]) for record in records]
    assert b"".join(raw) == joined.encode()
    for one in occurrences(joined, records, DEFAULT_GROUPS):
        first, end = one.tokens
        form = joined[slice(*one.chars)].encode()
        assert form in b"".join(raw[first:end])
        assert form not in b"".join(raw[first + 1 : end])
        assert form not in b"".join(raw[first : end - 1])
        start = len(joined[: one.chars[0]].encode())
        assert sum(map(len, raw[:first])) <= start < sum(map(len, raw[: first + 1]))
    assert counts(tokenizer, text) == dict.fromkeys(
        ("so", "等一下", "let", "check", "我知道了", "aha", "actually", "wait"), 1
    )


def test_tokens_that_share_a_character_with_the_next_word_are_told_apart() -> None:
    # The middle token ends the first character and begins the third.
    tokenizer = byte_level(258)
    second = found(tokenizer, "等等等等", [TargetGroup.of("等")])[1]
    assert second.tokens == (3, 6)


def test_bytes_that_are_no_characters_move_nothing() -> None:
    tokenizer = byte_level(258)
    cut = ids_of(tokenizer, "我")[:2]
    records = token_records(tokenizer, [*cut, *ids_of(tokenizer, " wait "), *cut])
    (one,) = occurrences("".join(r["text"] for r in records), records, DEFAULT_GROUPS)
    assert one.tokens == (3, 7)


def test_markup_is_not_searched_but_has_its_place() -> None:
    tokenizer = byte_level()  # <think> is an added token there, and no special one
    (one,) = found(tokenizer, "<think>think</think><|endoftext|>thinks")
    assert (one.group, one.chars) == ("think", (7, 12))
    assert found(byte_fallback(), "<think></think>") == []  # written in plain characters


def test_accents_may_be_written_in_two_ways() -> None:
    group = TargetGroup.of("voilà")
    for normal in ("NFC", "NFD"):
        text = unicodedata.normalize(normal, "Voilà voila VOILÀ")
        assert counts(byte_level(), text, [group]) == {"voilà": 2}


def test_user_text_is_no_pattern() -> None:
    group = TargetGroup.of("odd", ".*", "(a+)+$", "[x", "hmm...")
    assert counts(byte_level(), "a aa (a+)+$ b .* [x hmm...so", [group]) == {"odd": 4}


def test_long_texts_of_near_misses_are_searched_in_linear_time() -> None:
    tokenizer, group = byte_level(258), TargetGroup.of("a", "a" * MAX_FORM_CHARS, "a a a b")
    records = token_records(tokenizer, ids_of(tokenizer, "a " * 15_000 + "a" * 15_000))
    text = "".join(record["text"] for record in records)
    assert occurrences(text, records, [group]) == []


def test_the_text_must_be_that_of_the_tokens() -> None:
    records = token_records(tokenizer := byte_level(), ids_of(tokenizer, "wait"))
    with pytest.raises(InputError, match="give the decoded text"):
        occurrences("wait!", records, DEFAULT_GROUPS)
    assert occurrences("12", token_records(None, [1, 2]), [TargetGroup.of("12")]) == []


def test_the_log_probability_of_an_occurrence_is_the_sum_over_its_tokens(tokenizer) -> None:
    some = found(tokenizer, " wait 我知道了")
    logprob = -np.arange(100, dtype=np.float32)
    values = occurrence_logprobs(some, logprob)
    assert values.tolist() == [-sum(range(*one.tokens)) for one in some]
    logprob[some[0].tokens[0]] = np.nan
    assert np.isnan(occurrence_logprobs(some, logprob)).tolist() == [True, False]


def test_variants_are_what_the_tokenizer_writes(tokenizer) -> None:
    table = TargetTable.of_tokenizer(tokenizer)
    assert table.names == tuple(group.name for group in DEFAULT_GROUPS)
    for group in table.groups:
        variants = table.of_group(group.name)
        assert len({one.ids for one in variants}) == len(variants) > 0
        assert {one.text.strip() for one in variants} == set(group.spellings())
        assert any(one.text.startswith(" ") for one in variants) == group.variants.space
        for one in variants:
            assert "".join(r["text"] for r in token_records(tokenizer, one.ids)) == one.text
    assert table.problems == ()
    json.dumps(table.to_json(), allow_nan=False)


def test_single_ids_are_first_ids_and_first_ids_are_of_all() -> None:
    table = TargetTable.of(load_model("demo"))
    by_name = dict(zip(table.names, table.single_ids, strict=True))
    assert by_name["wait"], "a word that the demo's tokenizer knows"
    assert by_name["等等"] == ()
    for name, single, first in zip(table.names, table.single_ids, table.first_ids, strict=True):
        assert set(single) <= set(first)
        assert set(first) == {one.ids[0] for one in table.of_group(name)}


def test_a_table_knows_what_it_was_made_of() -> None:
    tokenizer = byte_level()
    one = TargetTable.of_tokenizer(tokenizer)
    assert one.sha256 == TargetTable.of_tokenizer(byte_level()).sha256
    assert one.sha256 != TargetTable.of_tokenizer(tokenizer, DEFAULT_GROUPS[1:]).sha256
    assert one.sha256 != TargetTable.of_tokenizer(byte_level(600)).sha256


def test_a_word_that_the_tokenizer_cannot_write_is_said() -> None:
    tokenizer = byte_fallback()
    tokenizer.backend_tokenizer.model.byte_fallback = False
    table = TargetTable.of_tokenizer(tokenizer, [TargetGroup.of("我"), TargetGroup.of("等")])
    assert [one.text for one in table.variants] == ["我"]
    assert len(table.problems) == 1
    assert table.single_ids[1] == ()


def test_a_model_without_a_tokenizer_has_no_targets() -> None:
    with pytest.raises(InputError, match="without a tokenizer"):
        TargetTable.of(loaded("llama"))


def test_options_follow_from_the_script() -> None:
    assert TargetGroup.of("等等") == DEFAULT_GROUPS[10]
    assert TargetGroup.of("ちょっと").lang == "ja"
    assert TargetGroup.of("wait").boundary
    assert TargetGroup.of("let me").spellings() == dict.fromkeys(
        ("let me", "Let me", "LET ME"), "let me"
    )


LINES = "# pauses\nwait\nstop: stop, hold on\n\n等，等一下\nno\n"


def test_groups_are_read_from_lines_yaml_and_json(tmp_path: Path) -> None:
    lines = read_groups(LINES)
    assert [(one.name, one.forms) for one in lines] == [
        ("wait", ("wait",)),
        ("stop", ("stop", "hold on")),
        ("等", ("等", "等一下")),
        ("no", ("no",)),
    ]
    assert read_groups("- wait\n- name: stop\n  forms: [stop, hold on]\n- no") == (
        *lines[:2],
        lines[3],
    )
    assert read_groups("wait:\n  - wait\nstop: [stop, hold on]") == lines[:2]
    assert read_groups('["wait", {"name": "stop", "forms": ["stop", "hold on"]}]') == lines[:2]
    assert read_groups("  wait\n  no") == (lines[0], lines[3])
    for groups in (DEFAULT_GROUPS, lines):
        text = json.dumps({"targets": [group.to_json() for group in groups]}, ensure_ascii=False)
        assert read_groups(text) == tuple(groups)
        path = tmp_path / "targets.json"
        path.write_text(text, encoding="utf-8-sig")
        assert read_groups(path) == tuple(groups)


def test_options_of_a_group_are_read() -> None:
    record = {"forms": ["Ok"], "variants": {"space": False, "case": []}, "boundary": False}
    (group,) = read_groups(json.dumps([record]))
    assert group == TargetGroup("Ok", ("Ok",), Variants(space=False, case=()), boundary=False)
    assert counts(byte_level(), "Okay ok", [group]) == {"Ok": 1}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "0 targets"),
        ("[]", "0 targets"),
        ("[1]", "Target 1 is 1"),
        ('["ok", {"form": ["a"]}]', 'Target 2 has the unknown field "form"; did you mean "forms"'),
        ('[{"forms": []}]', "give a list of words"),
        ('[{"forms": ["a", 3]}]', "form 3"),
        ('[{"name": 3, "forms": ["a"]}]', "name 3"),
        ('[{"name": "a", "boundary": "yes"}]', "boundary is 'yes'"),
        ('[{"name": "a", "variants": {"case": ["lowr"]}}]', "case has 'lowr'"),
        ('[{"name": "a", "variants": 3}]', "variants is 3"),
        ('[{"name": "a", "lang": 3}]', "lang is 3"),
        ("[,", "line 1, column 2"),
        ("[" * 90_000, "nested too deep"),
        ("- a\n- [b", "no YAML"),
        ("- &a [*a]", "a list of 1"),
        ("wait\nwait", 'Two targets are called "wait"'),
        ("ok\n" + "w" * 65, "Line 2: .* 65 characters; the limit is 64"),
        ("\n".join(map(str, range(65))), "65 targets"),
        ("a: " + ", ".join(map(str, range(65))), "65 forms"),
        ("a\x00b", "U\\+0000"),
        ("x" * 100_001, "100000 characters"),
        (Path("nowhere.json"), "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(source: str | Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_groups(source)
