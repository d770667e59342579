"""Pairs that are made: from templates, by a loaded model, and by one behind an API."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
from fake_endpoint import Body, Refusal, Served, chat, serving, user_text
from families import loaded as family

from lens_core import Endpoint, load_model
from lens_core.errors import InputError, ModelError, PromptError
from lens_core.models import LoadedModel
from lens_core.pairs import (
    Pair,
    PairFile,
    ask_pairs,
    known_categories,
    make_pairs,
    propose_pairs,
    with_edit,
)
from lens_core.pairs.asking import sentence_pairs
from lens_core.pairs.checks import is_in, reason_against
from lens_core.pairs.proposing import CANDIDATES, word_class
from lens_core.pairs.templates import LANGS, capacity, note
from lens_core.tokens import token_records

ORIGINAL = {
    "meaning_differences": ["subject", "location", "adjective"],
    "grammatical_errors": ["tense", "article", "preposition"],
}
SIX = [f"{name}_{kind.split('_')[1]}" for kind, names in ORIGINAL.items() for name in names]
SENTENCES = ["The cat sat on the mat.", "The capital of France is Paris.", "We saw the old house."]


def both(pair: Pair) -> frozenset[str]:
    return frozenset((pair.sentence1, pair.sentence2))


# Templates


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", list(known_categories()))
def test_templates_give_distinct_pairs(name: str, lang: str) -> None:
    most = capacity(name, lang)
    assert most >= (50 if name in SIX else 40)
    pairs = make_pairs([name], n=most, lang=lang)
    assert len({both(pair) for pair in pairs}) == most
    uses = Counter(frozenset(pair.edit or ()) for pair in pairs)
    assert max(uses.values()) <= 2
    assert len(uses) >= 20, "a unit of the statistics is an edit, and it takes twenty"
    for pair in pairs:
        assert (pair.subtype, pair.lang, pair.source) == (name, lang, "template")
        assert (pair.correct == 1) == pair.oriented == known_categories()[name].oriented
        assert pair.edit is not None
        assert pair.carrier is not None
        sides = tuple(pair.carrier.replace("{}", text) for text in pair.edit)
        assert sides == (pair.sentence1, pair.sentence2)
        assert name == "identity" or reason_against(pair) is None, pair
        assert (pair.sentence1 == pair.sentence2) == (name == "identity")


def test_the_six_of_the_original_come_first() -> None:
    assert list(known_categories())[:6] == SIX
    assert [known_categories()[name].type for name in SIX] == [
        kind for kind, names in ORIGINAL.items() for _ in names
    ]


def test_a_seed_gives_the_same_pairs_whatever_else_is_asked() -> None:
    one = make_pairs(["negation"], n=20, lang="zh", seed=3)
    assert make_pairs(["typo", "negation"], n=20, lang="zh", seed=3)[20:] == one
    assert make_pairs(["negation"], n=20, lang="zh", seed=4) != one
    assert make_pairs("negation", n=10, lang="zh", seed=3) == one[:10]


def test_edits_come_again_only_after_all_others() -> None:
    pairs = make_pairs(["typo"], n=capacity("typo", "en"))
    half = len(pairs) // 2
    assert len({pair.edit for pair in pairs[:half]}) == half
    once = make_pairs(["typo"], n=half, uses_per_edit=1)
    assert len({pair.edit for pair in once}) == half


def test_a_language_without_articles_says_what_it_has() -> None:
    assert "measure word" in note("article_errors", "zh")
    assert "counter" in note("article_errors", "ja")
    assert note("subject_differences", "ja") == ""


def test_templates_refuse_what_they_do_not_have() -> None:
    with pytest.raises(InputError, match=r"n is 9999.*1 to \d+ distinct pairs"):
        make_pairs(["typo"], n=9999)
    with pytest.raises(InputError, match='"fr"; templates exist in en, ja, zh'):
        make_pairs(["typo"], n=1, lang="fr")
    with pytest.raises(InputError, match='no templates for "weather"'):
        make_pairs(["weather"], n=1)


# A loaded model


@cache
def demo() -> LoadedModel:
    return load_model("demo")


def test_a_model_proposes_words_of_its_own() -> None:
    found = propose_pairs(demo(), SENTENCES, n=5, seed=1, lang="en")
    assert len(found.pairs) == 5
    assert found == propose_pairs(demo(), SENTENCES, n=5, seed=1, lang="en")
    assert found.pairs != propose_pairs(demo(), SENTENCES, n=5, seed=2, lang="en").pairs
    for pair in found.pairs:
        assert pair.sentence1 in SENTENCES
        assert reason_against(pair) is None
        assert pair.edit is not None
        first, second = pair.edit
        assert word_class(first) == word_class(second) is not None
        assert second in candidates(pair)


def candidates(pair: Pair) -> list[str]:
    """The model's own words where the pair differs, by a plain forward pass."""
    from lens_core.network import run

    assert pair.carrier is not None
    before = pair.carrier.split("{}")[0].rstrip() or " "
    ids = demo().tokenize(before) if before.strip() else demo().tokenize("x")[:1]
    top = run(demo().model, ids[None]).logits[0, -1].topk(CANDIDATES).indices.tolist()
    return [record["text"].strip() for record in token_records(demo().tokenizer, top)]


def test_sentences_that_give_too_few_pairs_say_so() -> None:
    found = propose_pairs(demo(), ["It is. 1", SENTENCES[1]], n=50)
    assert 0 < len(found.pairs) < 50
    assert f"{len(found.pairs)} of 50 pairs" in str(found.problems[-1])


def test_proposals_without_any_pair_are_an_error() -> None:
    with pytest.raises(InputError, match=r"no pair for 1 sentences.*no word"):
        propose_pairs(demo(), ["?!"], n=1)
    with pytest.raises(InputError, match="0 sentences"):
        propose_pairs(demo(), [], n=1)
    with pytest.raises(InputError, match="n is 0"):
        propose_pairs(demo(), SENTENCES, n=0)
    with pytest.raises(PromptError, match="without a tokenizer"):
        propose_pairs(family("llama"), SENTENCES, n=1)


# A model behind an API

Model = Callable[[str, Body], Any]
ANIMALS = [f"beast{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)]


def row(number: int) -> dict[str, str]:
    one, other = ANIMALS[2 * number : 2 * number + 2]
    return {"sentence1": f"The {one} is here.", "sentence2": f"The {other} is here."}


def writer(*, at_most: int = 20, around: str = "{}", plain: bool = True) -> Model:
    """Writes as many new pairs as it is asked for, up to a number a reply."""
    written = [0]

    def model(path: str, body: Body) -> Body:
        if "response_format" in body and plain:
            raise Refusal(400, "response_format is not supported")
        count = min(int(user_text(body).split()[1]), at_most)
        rows = [row(written[0] + index) for index in range(count)]
        written[0] += count
        return chat(around.replace("{}", json.dumps({"pairs": rows}, indent=1)))

    return model


def asked(model: Model, categories: Any, **options: Any) -> tuple[PairFile, Served]:
    with serving(model) as served:
        endpoint = Endpoint(served.url, "m")
        found = ask_pairs(endpoint, categories, first_wait_s=0.001, **options)
    return found, served


def test_pairs_come_in_batches_that_do_not_repeat() -> None:
    found, served = asked(writer(plain=False), ["subject_differences"], n=45)
    assert (len(found.pairs), found.problems, len(served.asked)) == (45, (), 3)
    counts = [user_text(body).split()[1] for _, body in served.asked]
    assert counts == ["20", "20", "5"]
    assert "Do not repeat" not in user_text(served.asked[0][1])
    assert repr(ANIMALS[0]) in user_text(served.asked[1][1])
    for pair in found.pairs:
        assert (pair.source, pair.type, pair.lang) == ("llm", "meaning_differences", "en")
        assert with_edit(pair) == pair
    schema = served.asked[0][1]["response_format"]["json_schema"]
    assert schema["schema"]["required"] == ["pairs"]


def test_formats_that_are_refused_are_left_out_from_then_on() -> None:
    found, served = asked(writer(), ["subject_differences"], n=25)
    forms = [body.get("response_format", {}).get("type") for _, body in served.asked]
    assert forms == ["json_schema", "json_object", None, None]
    assert len(found.pairs) == 25


@pytest.mark.parametrize(
    "around",
    [
        "Sure! Here are [some] pairs {as asked}:\n```json\n{}\n```\nEnjoy.",
        '<think>perhaps {"sentence1": "a", "sentence2": "b"}</think>{}',
        "{} and {",
    ],
)
def test_words_around_the_json_do_no_harm(around: str) -> None:
    found, _ = asked(writer(around=around), ["subject_differences"], n=4)
    assert (len(found.pairs), found.problems) == (4, ())


def test_short_replies_are_filled_up_five_times_at_most() -> None:
    found, served = asked(writer(at_most=2, plain=False), ["typo"], n=12)
    assert (len(found.pairs), len(served.asked)) == (12, 6)
    found, served = asked(writer(at_most=2, plain=False), ["typo"], n=13)
    assert (len(found.pairs), len(served.asked)) == (12, 6)
    assert "12 of 13 pairs after 6 requests" in str(found.problems[-1])


def test_the_same_again_is_no_new_pair() -> None:
    def model(path: str, body: Body) -> Body:
        swapped = {"sentence1": row(0)["sentence2"], "sentence2": row(0)["sentence1"]}
        return chat(json.dumps([row(0), swapped]))

    found, served = asked(model, ["typo"], n=2)
    assert (len(found.pairs), len(served.asked)) == (1, 6)
    assert "there before" in str(found.problems[0])
    assert len({body["seed"] for _, body in served.asked}) == 6


def test_a_refusal_is_shown() -> None:
    said = "I cannot help with that."
    with pytest.raises(ModelError, match=rf'no pair for "typo" in 6 replies.*{said}'):
        asked(lambda path, body: chat(said), ["typo"], n=2)


def test_pairs_that_are_none_are_shown() -> None:
    rows = [{"sentence1": "Same.", "sentence2": "Same."}]
    with pytest.raises(ModelError, match=r"both sides are the same: 'Same\.'"):
        asked(lambda path, body: chat(json.dumps(rows)), ["typo"], n=2)


def test_other_errors_of_the_endpoint_are_told() -> None:
    def model(path: str, body: Body) -> Body:
        raise Refusal(404, "no such model")

    with pytest.raises(ModelError, match="no such model"):
        asked(model, ["typo"], n=2)


def test_a_cache_makes_the_second_run_free() -> None:
    cache: dict[str, Any] = {}
    model = writer(at_most=3)
    with serving(model) as served:
        endpoint = Endpoint(served.url, "m")
        first = ask_pairs(endpoint, ["typo", "negation"], n=5, cache=cache)
        sent = len(served.asked)
        again = ask_pairs(endpoint, ["typo", "negation"], n=5, cache=cache)
        # The formats that it refuses are refused again: a refusal is no answer to keep.
        assert len(served.asked) == sent + 2
    assert again == first


def test_categories_of_ones_own_are_free_text() -> None:
    found, served = asked(writer(plain=False), ["the weather changes"], n=1)
    assert "the weather changes" in user_text(served.asked[0][1])
    assert (found.pairs[0].type, found.pairs[0].oriented) == ("user", False)
    described: Mapping[str, str] = {"weather": "it rains in one of them"}
    found, served = asked(writer(plain=False), described, n=1)
    assert "it rains in one of them" in user_text(served.asked[0][1])
    assert found.pairs[0].subtype == "weather"


def test_what_cannot_be_asked_is_named() -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m")
    with pytest.raises(InputError, match="identity"):
        ask_pairs(endpoint, ["identity"], n=1)
    with pytest.raises(InputError, match="no categories"):
        ask_pairs(endpoint, [], n=1)
    with pytest.raises(InputError, match="n is 0"):
        ask_pairs(endpoint, ["typo"], n=0)


def test_a_reply_that_was_cut_off_keeps_what_is_whole() -> None:
    text = json.dumps({"pairs": [row(0), row(1)]})[:-30]
    assert list(sentence_pairs(text)) == [tuple(row(0).values())]
    assert list(sentence_pairs("{" * 5000)) == []


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (Pair("", "a"), "empty"),
        (Pair("A cat sat.", "A cat sat."), "same"),
        (Pair("A cat.", "A cat that nobody had seen before."), "too long"),
        (Pair("A cat sat on a bed.", "A dog sat on a rug."), "2 places"),
        (Pair("Birds fly.", "Fish swim."), "no word in common"),
        (Pair("猫が来た。", "犬が来た。", lang="zh"), "language"),
        (Pair("猫来了。", "狗来了。", lang="ja"), "language"),
        (Pair("猫来了。", "狗来了。", lang="en"), "language"),
    ],
)
def test_what_a_proposed_pair_must_be(pair: Pair, reason: str) -> None:
    assert reason in (reason_against(pair) or "")


def test_scripts_of_languages() -> None:
    assert is_in("咖啡 USB", "zh")
    assert is_in("コーヒー", "ja")
    assert is_in("naïve café α", "en")
    assert is_in("что угодно", "ru")
