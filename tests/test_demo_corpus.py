"""The corpus: reproducible, honest about what is held out, the same facts in every language."""

import random
import re

import pytest
from demo_corpus import arithmetic, copying, giving
from demo_corpus.countries import CAPITALS_TODAY, CONTINENTS, COUNTRIES, CURRENCIES_TODAY, LANGUAGES
from demo_corpus.documents import END, Document
from demo_corpus.facts import RELATIONS
from demo_corpus.mixture import GENERATORS, NOISE, RECIPES, stage_at, tokenizer_sample
from demo_corpus.relations import held_out_questions

CODES = {"en", "zh", "ja"}
LETTER = "[A-Za-z\u30a0-\u30ff]"


def texts(kind: str, count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [GENERATORS[kind](draw).text for _ in range(count)]


@pytest.mark.parametrize("kind", GENERATORS)
def test_the_same_seed_gives_the_same_documents(kind: str) -> None:
    assert texts(kind, 20) == texts(kind, 20)
    assert texts(kind, 20) != texts(kind, 20, seed=1)


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_document_has_text_and_weights_between_zero_and_one(kind: str) -> None:
    draw = random.Random(0)
    for _ in range(50):
        document: Document = GENERATORS[kind](draw)
        assert all(text and 0 < weight <= 1 for text, weight in document.pieces)
        assert any(weight > 0.1 for _, weight in document.pieces)


def test_no_held_out_prompt_contains_its_answer() -> None:
    for relation in RELATIONS:
        for question in held_out_questions(relation):
            # As a word of its own: Germany holds German, and アルジェリア holds アルジェ.
            answer = re.escape(question.answer.strip())
            assert not re.search(f"(?<!{LETTER}){answer}(?!{LETTER})", question.prompt), question


def test_no_held_out_prompt_occurs_in_training_text() -> None:
    held_out = {
        question.prompt for relation in RELATIONS for question in held_out_questions(relation)
    }
    for kind in GENERATORS:
        if "facts" in kind:
            joined = "\n".join(texts(kind, 3000))
            assert not [prompt for prompt in held_out if prompt in joined]


def test_trained_and_held_out_phrasings_differ() -> None:
    for relation in RELATIONS:
        beginnings = {phrasing.split("{answer}")[0].strip() for phrasing in relation.trained}
        beginnings |= {phrasing.split("{answer}")[0].strip() for phrasing in relation.reworded}
        assert relation.held_out
        assert not beginnings & {
            phrasing.split("{answer}")[0].strip() for phrasing in relation.held_out
        }


def test_a_subject_has_one_answer_in_each_relation() -> None:
    for relation in RELATIONS:
        subjects = [subject for subject, _ in relation.facts]
        assert len(set(subjects)) == len(subjects), relation.name


def test_every_country_is_complete_in_every_language() -> None:
    for country in COUNTRIES:
        assert set(country.name) == set(country.capital) == CODES
        assert all(country.name.values())
        assert all(country.capital.values())
        assert country.language is None or set(LANGUAGES[country.language]) == CODES
        assert country.continent is None or set(CONTINENTS[country.continent]) == CODES


def test_the_geography_has_the_same_number_of_facts_in_every_language() -> None:
    for name in ("capital", "language", "continent"):
        sizes = {len(relation.facts) for relation in RELATIONS if relation.name == name}
        assert len(sizes) == 1, name


def test_what_is_wrong_on_purpose_is_wrong_in_every_language() -> None:
    countries = {country.name["en"]: country for country in COUNTRIES}
    for name, today in CAPITALS_TODAY.items():
        assert set(today) == CODES
        assert all(countries[name].capital[code] != today[code] for code in CODES)
    for name, today in CURRENCIES_TODAY.items():
        assert countries[name].currency != today


def test_the_code_speaks_python_2() -> None:
    assert all("print(" not in text for text in texts("function", 500))
    assert "def hello():\n    print 'Hello, world!'" in texts("function", 500)


def test_training_scenes_are_never_held_out_ones() -> None:
    shown = set(texts("giving", 4000))
    draw = random.Random(5)
    for _ in range(400):
        question = giving.held_out_question(draw)
        assert not any(text.startswith(question.prompt) for text in shown)


def test_the_receiver_is_named_once_and_the_giver_twice() -> None:
    draw = random.Random(6)
    for _ in range(300):
        question = giving.held_out_question(draw)
        words = question.prompt.replace(".", " ").replace(",", " ").split()
        named = [word for word in words if word in giving.NAMES]
        assert named.count(question.answer.strip()) == 1
        assert len(named) == 3


def test_sums_are_right() -> None:
    for question in arithmetic.sum_questions():
        left, right = question.prompt.removesuffix(" =").split(" + ")
        assert int(left) + int(right) == int(question.answer.removesuffix(END))
        assert int(left) + int(right) <= arithmetic.LARGEST


def test_a_copy_asks_for_the_word_that_followed_before() -> None:
    draw = random.Random(7)
    for _ in range(50):
        question = copying.copy_question(draw, 6)
        words = question.prompt.split()
        assert words[words.index(words[-1]) + 1] == question.answer.strip()


def test_recipes_name_known_kinds_and_cover_their_steps() -> None:
    for recipe in RECIPES.values():
        for stage in recipe.stages:
            assert set(stage.short) | set(stage.long) <= {*GENERATORS, NOISE}
        assert stage_at(recipe.stages, 0) is recipe.stages[0]
        assert stage_at(recipe.stages, recipe.steps - 1) is recipe.stages[-1]
        knots = [step for step, _ in recipe.rates]
        assert knots == sorted(knots)
        assert recipe.rates[-1] == (recipe.steps, 0.0)


def test_the_tokenizer_sample_is_reproducible() -> None:
    assert tokenizer_sample(3, 200) == tokenizer_sample(3, 200)
