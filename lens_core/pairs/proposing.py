"""Pairs that a loaded model proposes: one word of a sentence gives way to another of its own.

The model is asked for the next token where a word of the sentence begins. Of its most likely
tokens one is drawn that is a word of the same class of characters (small letters, a capital in
front, digits, or one script), begins with the same space, and that the model itself ends there:
what it expects next begins no new part of that word. Words that carry grammar rather than meaning
stay, and are not proposed. A word that a tokenizer always splits is replaced, but never proposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from lens_core.errors import InputError, PromptError
from lens_core.pairs.aligning import borders_of_tokens, with_edit
from lens_core.pairs.checks import reason_against
from lens_core.pairs.record import Pair, PairFile, Problem
from lens_core.pairs.templates import function_words
from lens_core.tokens import token_records

if TYPE_CHECKING:
    from lens_core.models import LoadedModel

CANDIDATES = 50
_TRIES = 4
"""Candidates whose end is looked at before another word of the sentence is taken."""
# Hiragana spells the grammar of Japanese: particles and endings.
_SCRIPTS = ("Han", "Katakana", "Hangul", "Thai", "Cyrillic", "Greek", "Arabic")
_CLASSES = (
    ("small", r"\p{Ll}[\p{Ll}\p{M}]+"),
    ("capital", r"\p{Lu}[\p{Ll}\p{M}]+"),
    ("digits", r"\p{N}+"),
    *((script, rf"\p{{{script}}}+") for script in _SCRIPTS),
)


@dataclass(frozen=True)
class Spot:
    """A word of a sentence that can be replaced."""

    position: int
    """Of its first token; the model has read what stands before it."""
    start: int
    """Of the word in the sentence, in characters, the space before it included."""
    end: int


def propose_pairs(
    loaded: LoadedModel,
    sentences: Sequence[str],
    *,
    n: int,
    seed: int = 0,
    lang: str = "",
    uses_per_edit: int = 2,
) -> PairFile:
    """Up to `n` pairs whose first side is a sentence and whose second has one word of the model.

    The sentences take turns. Where they give fewer pairs, `problems` says so.

    Args:
        loaded: the model, run as it is.
        sentences: what is changed, one side each.
        n: how many pairs, 1 to 10000.
        seed: of the words and candidates that are drawn.
        lang: of the sentences, for the record and the check of the script.
        uses_per_edit: how many pairs may exchange the same two words.

    Raises:
        InputError: no sentences, `n` out of range, or no pair at all.
        PromptError: a sentence that the model cannot take.
    """
    if not sentences:
        raise InputError("There are 0 sentences; give at least one.")
    if not 1 <= n <= 10_000:
        raise InputError(f"n is {n}; it can be 1 to 10000.")
    drawing = _Drawing(loaded, Random(seed), lang, uses_per_edit)
    turns = [drawing.from_sentence(sentence) for sentence in sentences]
    while turns and len(drawing.pairs) < n:
        # A sentence that has no pair left drops out.
        turns = [turn for turn in turns if len(drawing.pairs) >= n or next(turn, False)]
    if not drawing.pairs:
        why = "; ".join(map(str, drawing.problems)) or "no candidate was a word of the same class"
        raise InputError(
            f"{loaded.facts.id} proposed no pair for {len(sentences)} sentences ({why}). Give "
            "longer sentences, or take another model."
        )
    if len(drawing.pairs) < n:
        short = f"{len(drawing.pairs)} of {n} pairs; give more sentences."
        drawing.problems.append(Problem("all sentences", short))
    return PairFile(tuple(drawing.pairs), tuple(drawing.problems))


class _Drawing:
    """The pairs of one call, and how often each edit was used."""

    def __init__(self, loaded: LoadedModel, random: Random, lang: str, uses: int) -> None:
        self.loaded = loaded
        self.random = random
        self.lang = lang
        self.uses = uses
        self.pairs: list[Pair] = []
        self.problems: list[Problem] = []
        self._used: dict[frozenset[str], int] = {}

    def from_sentence(self, sentence: str) -> Iterator[bool]:
        """Adds one pair a step, and yields True for it, until no word of the sentence is left."""
        if not sentence.strip():
            raise PromptError("A sentence is empty; leave it out.")
        ids = self.loaded.tokenize(sentence)
        spots = spots_of(self.loaded, sentence, ids.tolist())
        if not spots:
            shown = sentence if len(sentence) <= 40 else sentence[:39] + "…"
            self.problems.append(Problem(shown, "it has no word that can be replaced."))
        for spot in self.random.sample(spots, len(spots)):
            pair = self._replaced(sentence, ids, spot)
            if pair is not None:
                self.pairs.append(pair)
                yield True

    def _replaced(self, sentence: str, ids: Any, spot: Spot) -> Pair | None:
        """A pair that replaces this word; None where the model has no other that fits."""
        word = sentence[spot.start : spot.end]
        words = self._candidates(ids, spot.position, word)
        self.random.shuffle(words)
        for other in words[:_TRIES]:
            pair = self._pair(sentence, spot, other)
            edit = frozenset(pair.edit or ())
            if reason_against(pair) or self._used.get(edit, 0) >= self.uses:
                continue
            if self._ends(sentence[: spot.start] + other, other):
                self._used[edit] = self._used.get(edit, 0) + 1
                return pair
        return None

    def _pair(self, sentence: str, spot: Spot, other: str) -> Pair:
        pair = Pair(
            sentence1=sentence,
            sentence2=sentence[: spot.start] + other + sentence[spot.end :],
            pair_id=f"local_{len(self.pairs)}",
            type="proposed",
            subtype="mask_and_propose",
            lang=self.lang,
            source="local",
        )
        return with_edit(pair)

    def _candidates(self, ids: Any, position: int, word: str) -> list[str]:
        """Other words of the same class among the model's most likely tokens."""
        texts = self._likely(ids[:position], CANDIDATES)
        space = word[: len(word) - len(word.lstrip())]
        wanted = word_class(word.strip())
        fitting = [text for text in texts if text[: len(text) - len(text.lstrip())] == space]
        others = [text for text in fitting if text.strip().lower() != word.strip().lower()]
        return [text for text in others if word_class(text.strip()) == wanted]

    def _ends(self, text: str, word: str) -> bool:
        """Whether the model sees the word as whole: what follows begins no part of the same."""
        likely = self._likely(self.loaded.tokenize(text), 1)[0]
        return not (likely[:1].isalpha() and word_class(word.strip()) in ("small", "capital"))

    def _likely(self, ids: Any, k: int) -> list[str]:
        # Here, since pairs from files and templates need no torch.
        from lens_core.next_token_prediction import next_token

        found = next_token(self.loaded, ids, k=min(k, self.loaded.facts.vocab_size))
        return [found.vocab[str(token)]["text"] for token in found.top.ids.tolist()]


def spots_of(loaded: LoadedModel, sentence: str, ids: list[int]) -> list[Spot]:
    """The words of a sentence that can be replaced: whole tokens of one class of characters.

    The first token has nothing before it. Where the tokens spell another text, there are none.
    """
    records = token_records(loaded.tokenizer, ids)
    texts = [record["text"] for record in records]
    whole = "".join(texts)
    at = whole.find(sentence)
    if at < 0:
        return []
    borders = sorted(borders_of_tokens(records) | {len(records)})
    places = [sum(map(len, texts[:border])) - at for border in borders]
    spots = []
    for index, position in enumerate(borders[:-1]):
        start, end = places[index], places[index + 1]
        inside = position > 0 and 0 <= start < end <= len(sentence)
        if inside and word_class(sentence[start:end].strip()):
            spots.append(Spot(position, start, end))
    return spots


def word_class(word: str) -> str | None:
    """The class of characters that a word is made of.

    None for a mixture, for one letter, and for words that carry grammar rather than meaning.
    """
    import regex

    if word.lower() in function_words():
        return None

    for name, pattern in _CLASSES:
        if regex.fullmatch(pattern, word):
            return name
    return None
