"""Parts of speech: whole texts are tagged by what is installed, and tokens find their words."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from families import loaded
from test_layer_operations import TEXTS

from lens_core import LoadedModel, load_model
from lens_core.patching import LayerOperations, layer_operations
from lens_core.patching.parts_of_speech import (
    corpus_tags,
    installed_tagger,
    part_of_speech,
    tagged_text,
)
from lens_core.tokens import token_records

TAGS = {"The": "DT", "dog": "NN", "runs": "VBZ", "n't": "RB", ".": ".", "A": "DT", "我": "NN"}


def spans_of(text: str, pieces: Sequence[str]) -> list[tuple[int, int]]:
    found, at = [], 0
    for piece in pieces:
        at = text.index(piece, at)
        found.append((at, at + len(piece)))
        at += len(piece)
    return found


class Sentences:
    """Sentences end at full stops."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        ends = [at + 1 for at, char in enumerate(text) if char == "."]
        ends += [len(text)] if text and not text.endswith(".") else []
        return list(zip([0, *ends], ends, strict=False))


class Words:
    """Words are what lies between spaces, full stops and n't apart."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        pieces = text.replace(".", " .").replace("n't", " n't").split()
        return spans_of(text, pieces)


class FakeNltk(ModuleType):
    """What is asked of NLTK, and what it was asked."""

    def __init__(self, *, has_data: bool = True) -> None:
        super().__init__("nltk")
        self.tokenize = SimpleNamespace(NLTKWordTokenizer=Words, PunktSentenceTokenizer=Sentences)
        self.has_data = has_data
        self.asked: list[list[list[str]]] = []

    def pos_tag_sents(self, sentences: list[list[str]]) -> list[list[tuple[str, str]]]:
        if not self.has_data:
            raise LookupError("averaged_perceptron_tagger_eng")
        self.asked.append(sentences)
        return [[(word, TAGS.get(word, "XX")) for word in words] for words in sentences]


class FakeSpacy(ModuleType):
    """spaCy with some models, by the parts of each."""

    def __init__(self, models: dict[str, list[str]]) -> None:
        super().__init__("spacy")
        self.util = SimpleNamespace(get_installed_models=lambda: list(models))
        self.models = models

    def load(self, name: str) -> Any:
        if name == "broken":
            raise OSError("broken")

        def pipe(texts: Sequence[str]) -> list[list[Any]]:
            return [
                [
                    SimpleNamespace(
                        idx=a,
                        text=text[a:b],
                        tag_=TAGS.get(text[a:b], ""),
                        pos_="X",
                        is_space=False,
                    )
                    for a, b in Words().span_tokenize(text)
                ]
                for text in texts
            ]

        return SimpleNamespace(pipe_names=self.models[name], pipe=pipe)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nltk", "spacy"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def nltk(monkeypatch: pytest.MonkeyPatch) -> FakeNltk:
    fake = FakeNltk()
    monkeypatch.setitem(sys.modules, "nltk", fake)
    return fake


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_model("demo")


def test_sentences_are_tagged_as_a_whole_and_tokens_have_the_tags_of_their_words(
    nltk: FakeNltk,
) -> None:
    text = "The dog runn't. A  我"
    offsets = spans_of(text, ["The", " d", "og", " runn", "'t", ". ", "A", " ", " 我", ""])
    assert part_of_speech([text, ""], [offsets, []]) == [
        ["DT", "NN", "NN", "XX", "RB", ".", "DT", "", "", ""],
        [],
    ]
    assert nltk.asked[-1] == [["The", "dog", "run", "n't", "."], ["A", "我"]]


def test_without_a_tagger_there_are_no_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert part_of_speech(["The dog"], [[(0, 3), (3, 7)]]) is None
    monkeypatch.setitem(sys.modules, "nltk", FakeNltk(has_data=False))
    assert installed_tagger() is None
    monkeypatch.setitem(sys.modules, "spacy", FakeSpacy({}))
    assert installed_tagger() is None
    monkeypatch.setitem(sys.modules, "spacy", FakeSpacy({"broken": [], "de_blank": ["parser"]}))
    assert installed_tagger() is None


def test_spacy_tags_where_nltk_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", FakeNltk(has_data=False))
    models = {"broken": [], "de_core": ["tagger"], "en_core": ["tok2vec", "tagger"]}
    monkeypatch.setitem(sys.modules, "spacy", FakeSpacy(models))
    tagger = installed_tagger()
    assert tagger is not None
    assert tagger.name == "en_core"
    assert part_of_speech(["The 我 b"], [[(0, 3), (3, 5), (5, 7)]]) == [["DT", "NN", "X"]]
    monkeypatch.setitem(sys.modules, "nltk", FakeNltk())
    found = installed_tagger()
    assert found is not None
    assert found.name == "nltk"


def test_special_tokens_are_no_words(demo: LoadedModel) -> None:
    for text in ("The capital of France is Paris.", "我在他家。 👩‍👩‍👧 x"):
        records = token_records(demo.tokenizer, demo.tokenize(text).tolist())
        special = [record["kind"] == "special" for record in records]
        assert any(special)
        found, spans = tagged_text(records)
        assert found.strip() == text
        for record, (start, end), none in zip(records, spans, special, strict=True):
            assert found[start:end] == ("" if none else record["cluster_text"])


def test_layer_operations_have_classes_by_part_of_speech(demo: LoadedModel, nltk: FakeNltk) -> None:
    texts = ["The dog runs. The dog runs.", "A dog."]
    result = layer_operations(demo, texts, operations=["remove"], layers=[0, 1])
    table = result.tokens
    assert table is not None
    assert table.tags is not None
    assert result.header["input"]["tagger"] == "nltk"
    assert len(table.tags) == result.n_targets
    change = result.score("remove", 1).change
    assert change is not None
    classes = {one.name: one for one in change.classes if one.group == "pos"}
    assert set(classes) == {tag for tag in table.tags if tag} >= {"DT", "NN", "VBZ", "."}
    for name, one in classes.items():
        members = np.array(table.tags) == name
        assert one.tokens == members.sum()
        assert one.nll_after == pytest.approx(table.nll[2][members].mean(), rel=1e-5)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    again = LayerOperations.from_json(record)
    assert again.tokens is not None
    assert again.tokens.tags == table.tags
    assert json.dumps(again.to_json()) == json.dumps(record)
    del record["tokens"]["tags"]
    older = LayerOperations.from_json(record)
    assert older.tokens is not None
    assert older.tokens.tags is None
    quiet = layer_operations(demo, texts, operations=["remove"], layers=[0], parts_of_speech=False)
    assert quiet.tokens is not None
    assert quiet.tokens.tags is None


def test_layer_operations_without_a_tagger_say_so(demo: LoadedModel) -> None:
    result = layer_operations(demo, ["The dog runs."], operations=["remove"], layers=[0])
    assert result.header["input"]["tagger"] is None
    assert result.tokens is not None
    assert result.tokens.tags is None
    change = result.score("remove", 0).change
    assert change is not None
    assert {one.group for one in change.classes} == {"kind", "script"}
    assert LayerOperations.from_json(result.to_json()).tokens is not None


def test_rows_of_ids_without_a_tokenizer_have_no_words(nltk: FakeNltk) -> None:
    result = layer_operations(loaded("llama"), TEXTS, operations=["remove"], layers=[0])
    assert result.tokens is not None
    assert result.tokens.tags is None
    assert corpus_tags(loaded("llama"), []) == (None, None)
    assert not nltk.asked
