"""Alignment: every token is in one part of its side, and the mirror image of a pair mirrors it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from families import loaded as family
from test_tokens import Slow, byte_fallback, byte_level
from transformers import AutoTokenizer

from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel
from lens_core.pairs import Alignment, Pair, aligned, make_pairs, with_edit
from lens_core.pairs.words import borders, pieces
from lens_core.tokens import token_records

TOKENIZERS: dict[str, Callable[[], object]] = {
    "demo": lambda: AutoTokenizer.from_pretrained(Path(__file__).parents[1] / "demo_models/base"),
    "byte_level": byte_level,
    "byte_fallback": byte_fallback,
    "slow": Slow,
}
CASES = {
    "word": ("The cat sat on the mat.", "The dog sat on the mat."),
    "longer": ("He saw a cat there.", "He saw a hippopotamus there."),
    "inflected": ("They walk lower down.", "They walked lowest down."),
    "inserted": ("He is here.", "He is not here."),
    "removed": ("very very good", "very good"),
    "phrase": ("I live in New York now.", "I live in Los Angeles now."),
    "order": ("the cat chased the dog", "the dog chased the cat"),
    "several": ("A red car, a blue bus.", "A tall car, a short bus."),
    "at_end": ("She likes tea", "She likes coffee"),
    "at_start": ("Tea is good", "Coffee is good"),
    "nothing": ("abc", "我"),
    "chinese": ("我爱中国的猫。", "我恨中国的狗狗。"),
    "one_byte": ("我在他家。", "我在她家。"),
    "japanese": ("猫が魚を食べた。", "犬が肉を食べました。"),
    "katakana": ("コーヒーを飲む", "コーラを飲む"),
    "emoji": ("a 👩‍👩‍👧 b", "a 👩‍👩‍👦 b"),
    "combining": ("e\u0301tude", "e\u0300tude"),
    "spaces": ("a  b\tc", "a b\tc"),
}


@cache
def reading(name: str) -> LoadedModel:
    """A model with this tokenizer; alignment does not run it."""
    return replace(family("llama"), tokenizer=TOKENIZERS[name]())


def align(name: str, first: str, second: str) -> Alignment:
    return aligned(reading(name), Pair(first, second))


def mirrored(alignment: Alignment) -> Alignment:
    return Alignment(
        ids1=alignment.ids2,
        ids2=alignment.ids1,
        prefix=alignment.prefix,
        edits=tuple((second, first) for first, second in alignment.edits),
        common=tuple((j, i) for i, j in alignment.common),
        flags=alignment.flags,
    )


def check_parts(alignment: Alignment) -> None:
    """Each position once, equal parts equal and in order, edits between them."""
    for side, ids in enumerate((alignment.ids1, alignment.ids2)):
        parts = [*range(alignment.prefix), *(places[side] for places in alignment.common)]
        for edit in alignment.edits:
            parts += range(*edit[side])
        assert sorted(parts) == list(range(len(ids)))
        common = [places[side] for places in alignment.common]
        assert common == sorted(common)
    same = [(i, i) for i in range(alignment.prefix)] + list(alignment.common)
    assert all(alignment.ids1[i] == alignment.ids2[j] for i, j in same)
    if alignment.common and alignment.common[-1] == alignment.last:
        i, j = alignment.common[-1]
        assert j - i == alignment.shift


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_every_token_is_in_one_part(name: str, case: str) -> None:
    first, second = CASES[case]
    alignment = align(name, first, second)
    check_parts(alignment)
    assert align(name, second, first) == mirrored(alignment)


@pytest.mark.parametrize("lang", ["en", "ja", "zh"])
def test_template_pairs_align(lang: str) -> None:
    names = ["subject_differences", "tense_errors", "article_errors", "typo", "word_order"]
    for pair in make_pairs(names, n=6, lang=lang):
        for name in ("demo", "byte_level"):
            alignment = aligned(reading(name), pair)
            check_parts(alignment)
            assert aligned(reading(name), pair.swapped()) == mirrored(alignment)


def test_one_token_of_equal_texts_is_one_edit() -> None:
    alignment = align("demo", *CASES["word"])
    start = alignment.prefix
    assert alignment.edits == (((start, start + 1), (start, start + 1)),)
    assert alignment.shift == 0
    assert alignment.flags == ()
    assert alignment.common == tuple((i, i) for i in range(start + 1, len(alignment.ids1)))


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_rows_that_differ_in_one_token_have_one_edit_of_one_token(name: str) -> None:
    for first, second in CASES.values():
        alignment = align(name, first, second)
        ids = zip(alignment.ids1, alignment.ids2, strict=False)
        one = sum(i != j for i, j in ids) == 1 and alignment.shift == 0
        if one:
            (((start, end), other),) = alignment.edits
            assert (end - start, other) == (1, (start, end))


@pytest.mark.parametrize("case", ["inflected", "chinese", "japanese", "emoji", "katakana"])
def test_edits_are_whole_words(case: str) -> None:
    """Unless one token alone differs: its position is known without words."""
    for name in ("demo", "byte_level"):
        alignment = align(name, *CASES[case])
        differing = zip(alignment.ids1, alignment.ids2, strict=False)
        if alignment.shift == 0 and sum(i != j for i, j in differing) == 1:
            continue
        for side, ids in enumerate((alignment.ids1, alignment.ids2)):
            texts = [record["text"] for record in token_records(reading(name).tokenizer, ids)]
            special = len(texts[0]) if texts[0].startswith("<|") else 0
            words = borders("".join(texts)[special:])
            for edit in alignment.edits:
                for place in edit[side]:
                    assert len("".join(texts[:place])) - special in words


def test_neighbours_cut_in_another_way_are_widened() -> None:
    """Byte by byte, "walking" and "walked" share letters that belong to the changed word."""
    alignment = align("byte_fallback", "he walking on", "he walkeded on")
    (((start, end), _),) = alignment.edits
    assert end - start == len("walking")
    assert "widened" in alignment.flags
    assert alignment.prefix == start == len("he ")


def test_several_edits_leave_what_is_between_them() -> None:
    alignment = align("demo", *CASES["order"])
    assert len(alignment.edits) == 2
    assert {"several_edits", "at_end"} <= set(alignment.flags)


def test_a_phrase_is_one_edit() -> None:
    for name in TOKENIZERS:
        assert len(align(name, *CASES["phrase"]).edits) == 1


def test_identical_sides_have_no_edit() -> None:
    alignment = align("demo", "The cat", "The cat")
    assert alignment.flags == ("identical",)
    assert (alignment.edits, alignment.common) == ((), ())
    assert alignment.prefix == len(alignment.ids1)
    check_parts(alignment)


def test_start_tokens_count_and_the_end_is_flagged() -> None:
    pair = Pair("Tea is good", "Coffee is good")
    with_start = aligned(reading("demo"), pair)
    without = aligned(reading("demo"), pair, special="none")
    assert (with_start.prefix, without.prefix) == (1, 0)
    assert "at_end" in align("demo", *CASES["at_end"]).flags
    assert "at_end" not in with_start.flags


def test_a_chat_template_stands_on_both_sides() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = "user: {{ messages[0].content }}\nbot:"
    loaded = replace(family("llama"), tokenizer=tokenizer)
    alignment = aligned(loaded, Pair("tea", "milk"), template="chat")
    check_parts(alignment)
    assert alignment.prefix > 0
    assert "at_end" not in alignment.flags


def test_what_cannot_be_aligned_is_named() -> None:
    with pytest.raises(PromptError, match="sentence2 is empty"):
        align("demo", "a", "")
    with pytest.raises(PromptError, match="without a tokenizer"):
        aligned(family("llama"), Pair("a", "b"))
    with pytest.raises(InputError, match="special"):
        aligned(reading("demo"), Pair("a", "b"), special="some")


@pytest.mark.parametrize("case", sorted(CASES))
def test_edit_and_carrier_give_both_sides_back(case: str) -> None:
    pair = with_edit(Pair(*CASES[case]))
    assert pair.edit is not None
    assert pair.carrier is not None
    assert tuple(pair.carrier.replace("{}", side, 1) for side in pair.edit) == CASES[case]
    assert with_edit(pair) == pair
    first, second = CASES[case]
    swapped = with_edit(Pair(second, first))
    assert (swapped.edit, swapped.carrier) == (pair.edit[::-1], pair.carrier)


def test_edits_in_words() -> None:
    assert with_edit(Pair(*CASES["phrase"])).edit == ("New York", "Los Angeles")
    assert with_edit(Pair(*CASES["katakana"])).edit == ("コーヒー", "コーラ")
    assert with_edit(Pair(*CASES["one_byte"])).edit == ("他", "她")
    assert with_edit(Pair("the same", "the same")).edit is None


def test_a_given_edit_is_kept() -> None:
    given = Pair("She drew an egg.", "She drew a egg.", edit=("an egg", "a egg"))
    assert with_edit(given) == replace(given, carrier="She drew {}.")
    elsewhere = Pair("a cat", "a dog", edit=("x", "y"))
    assert with_edit(elsewhere).carrier == "a {}"


def test_pieces_spell_the_text() -> None:
    text = "Don't say コーヒー or 咖啡, Ёж's 3_a! e\u0301 👨‍👩‍👧 สวัสดี"
    assert "".join(pieces(text)) == text
    assert {"Don't", "コーヒー", "咖", "啡", "e\u0301", "👨‍👩‍👧", "Ёж's"} <= set(pieces(text))
