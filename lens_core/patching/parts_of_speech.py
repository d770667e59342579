"""Parts of speech of tokens, from a tagger that reads whole sentences.

The tag of a word depends on those around it, so no token is tagged by itself: sentences are cut
into words, words are tagged, and a token has the tag of the word that its first visible character
belongs to. The tags are those of the tagger: the Penn Treebank's of NLTK's averaged perceptron
(Honnibal, 2013), or the fine-grained ones of a model of spaCy. Nothing is downloaded: without NLTK
and its data, and without spaCy and a model, there are no tags.

NLTK's tagger knows English. Words in another script than its own have no tag from it, and words of
other languages in that script have English ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lens_core.patching.token_classes import script_of
from lens_core.tokens import token_records

if TYPE_CHECKING:
    from lens_core.models import LoadedModel
    from lens_core.patching.corpus import CorpusText

Word = tuple[int, int, str]
"""Where a word starts and ends in its text, and its tag."""
Offsets = Sequence[tuple[int, int]]
"""Where every token of a text starts and ends in it; an empty span for one without text."""


@dataclass(frozen=True)
class Tagger:
    """A tagger that is installed."""

    name: str
    """nltk, or the name of a model of spaCy."""
    words: Callable[[Sequence[str]], list[list[Word]]]
    """The words of every text with their tags, in order."""


def part_of_speech(texts: Sequence[str], offsets: Sequence[Offsets]) -> list[list[str]] | None:
    """The tag of every token of every text, "" for one that is no part of a word.

    None where no tagger is installed.

    Args:
        texts: whole texts; see `tagged_text` for those of a tokenizer.
        offsets: the characters of every token of every text.
    """
    tagger = installed_tagger()
    return None if tagger is None else tags_of(tagger, texts, offsets)


def installed_tagger() -> Tagger | None:
    """NLTK's where it is installed with its data, else the first model of spaCy that tags."""
    return _nltk() or _spacy()


def tags_of(tagger: Tagger, texts: Sequence[str], offsets: Sequence[Offsets]) -> list[list[str]]:
    """`part_of_speech` by one tagger."""
    words = tagger.words(texts)
    return [
        _of_tokens(text, found, spans)
        for text, found, spans in zip(texts, words, offsets, strict=True)
    ]


def tagged_text(records: Sequence[dict[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
    """The text of some tokens without special ones, and the span of every token in it.

    Tokens that share a character share its span.
    """
    text, spans, cluster = "", [], None
    for record in records:
        if record["kind"] in ("special", "pad"):
            spans.append((len(text), len(text)))
            continue
        if record["cluster"] != cluster:
            cluster, text = record["cluster"], text + record["cluster_text"]
        spans.append((len(text) - len(record["cluster_text"]), len(text)))
    return text, spans


def corpus_tags(
    loaded: LoadedModel, corpus: Sequence[CorpusText]
) -> tuple[str | None, tuple[str, ...] | None]:
    """The name of the tagger and the tags of all targets; None where there is no tagger."""
    tagger = None if loaded.tokenizer is None else installed_tagger()
    if tagger is None:
        return None, None
    read = [tagged_text(token_records(loaded.tokenizer, text.ids.tolist())) for text in corpus]
    found = tags_of(tagger, [text for text, _ in read], [spans for _, spans in read])
    return tagger.name, tuple(tag for tags in found for tag in tags[1:])


def _of_tokens(text: str, words: Sequence[Word], spans: Offsets) -> list[str]:
    """The tags of the words that tokens start in; both stand in the order of the text."""
    found, at = [], 0
    for start, end in spans:
        first = start + len(text[start:end]) - len(text[start:end].lstrip())
        while at < len(words) and words[at][1] <= first:
            at += 1
        inside = first < end and at < len(words) and words[at][0] <= first
        found.append(words[at][2] if inside else "")
    return found


def _nltk() -> Tagger | None:
    try:
        import nltk  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    try:
        # The library may be there without the weights, which are a download of their own.
        nltk.pos_tag_sents([["word"]])
    except LookupError:
        return None
    return Tagger("nltk", lambda texts: _nltk_words(nltk, texts))


def _nltk_words(nltk: Any, texts: Sequence[str]) -> list[list[Word]]:
    sentences: list[list[tuple[int, int]]] = []
    owners: list[int] = []
    for owner, text in enumerate(texts):
        for spans in _sentences(nltk, text):
            sentences.append(spans)
            owners.append(owner)
    words = [
        [texts[owner][a:b] for a, b in spans]
        for owner, spans in zip(owners, sentences, strict=True)
    ]
    found: list[list[Word]] = [[] for _ in texts]
    # All sentences at once: every call reads the tagger's weights again.
    for owner, spans, tagged in zip(owners, sentences, nltk.pos_tag_sents(words), strict=True):
        for (start, end), (word, tag) in zip(spans, tagged, strict=True):
            found[owner].append((start, end, tag if _is_latin(word) else ""))
    return found


def _sentences(nltk: Any, text: str) -> Iterator[list[tuple[int, int]]]:
    """The words of every sentence; both cutters come with NLTK itself, without data."""
    cutter = nltk.tokenize.NLTKWordTokenizer()
    for start, end in nltk.tokenize.PunktSentenceTokenizer().span_tokenize(text):
        spans = [(start + a, start + b) for a, b in cutter.span_tokenize(text[start:end])]
        if spans:
            yield spans


def _is_latin(word: str) -> bool:
    letter = next((char for char in word if char.isalpha()), "a")
    return script_of(letter) == "Latin"


def _spacy() -> Tagger | None:
    try:
        import spacy  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    # English ones first, whose tags are NLTK's.
    names = sorted(spacy.util.get_installed_models(), key=lambda n: (not n.startswith("en_"), n))
    for name in names:
        try:
            model = spacy.load(name)
        except OSError:
            continue
        if {"tagger", "morphologizer"} & set(model.pipe_names):
            return Tagger(name, lambda texts, model=model: _spacy_words(model, texts))
    return None


def _spacy_words(model: Any, texts: Sequence[str]) -> list[list[Word]]:
    return [
        [
            (token.idx, token.idx + len(token.text), token.tag_ or token.pos_)
            for token in document
            if not token.is_space
        ]
        for document in model.pipe(texts)
    ]
