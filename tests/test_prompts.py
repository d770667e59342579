"""Prompts that are too long: the remedy is named, and the longest end that fits is found."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
import regex
import torch
from families import IDS, build, loaded
from test_tokens import TEXTS, Slow, byte_fallback, byte_level
from tokenizers import normalizers, pre_tokenizers

from lens_core import LensError, PromptError, load_model, logit_lens, wrap_model
from lens_core.models import LoadedModel, check_ids
from lens_core.prompts import shortened

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MIXED = " ".join(TEXTS.values())


def with_tokenizer(tokenizer: Any) -> LoadedModel:
    """A model that reads text; its vocabulary plays no part here."""
    return wrap_model(build("llama"), tokenizer, weights_sha256="0" * 64)


def prefixed() -> Any:
    """A SentencePiece-like tokenizer that puts a space before the text."""
    tokenizer = byte_fallback()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme="always", split=False
    )
    return tokenizer


def normalising() -> Any:
    """A tokenizer that composes accents first, so that its text is not the prompt."""
    tokenizer = byte_fallback()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def chatting() -> Any:
    tokenizer = byte_level(400)
    tokenizer.chat_template = CHAT
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    return tokenizer


def demo() -> Any:
    return load_model("demo").tokenizer


MAKERS = {
    "byte_level": byte_level,
    "byte_fallback": byte_fallback,
    "prefixed": prefixed,
    "normalising": normalising,
    "slow": Slow,
    "demo": demo,
}


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS), scope="module")
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return with_tokenizer(request.param())


def check_end(model: LoadedModel, text: str, limit: int, **options: Any) -> str:
    """The end that was found; it fits, it is an end, and it cuts no character."""
    end = shortened(model, text, limit=limit, **options)
    assert len(model.tokenize(end, **options)) <= limit
    assert text.endswith(end)
    starts = {match.start() for match in regex.finditer(r"\X", text)}
    assert len(text) - len(end) in starts
    return end


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_ends_of_every_script_fit(model: LoadedModel, text: str) -> None:
    whole = len(model.tokenize(text))
    assert shortened(model, text, limit=whole) == text
    most = max(len(model.tokenize(char)) for char in regex.findall(r"\X", text))
    for limit in {most, (most + whole) // 2, whole - 1}:
        if most <= limit < whole:
            assert 0 < len(check_end(model, text, limit)) < len(text)


def test_no_longer_end_from_a_token_on_would_fit(model: LoadedModel) -> None:
    characters = [match.start() for match in regex.finditer(r"\X", MIXED)]
    whole = model.tokenize(MIXED)
    for limit in (len(whole) // 3, len(whole) - 5):
        end = check_end(model, MIXED, limit)
        longer = [MIXED[start:] for start in characters if len(MIXED) - start > len(end)]
        for other in longer:
            ids = model.tokenize(other)
            # What ends as the whole prompt does starts where one of its tokens starts.
            own = torch.equal(ids, whole[-len(ids) :])
            assert len(ids) > limit or not own


def test_the_demo_keeps_the_end_of_its_tokens() -> None:
    model = load_model("demo")
    text = "The capital of France is Paris. 日本の首都は東京です。" * 40
    ids = model.tokenize(text)
    for limit in (64, 100, len(ids) - 1):
        end = check_end(model, text, limit)
        cut = model.tokenize(end)
        assert len(cut) >= limit - 4
        assert torch.equal(cut[1:], ids[-len(cut) + 1 :])


def test_special_tokens_and_template_count() -> None:
    model = with_tokenizer(chatting())
    text = "Hello world, it's me. " * 20
    sizes = {}
    for name, options in {
        "plain": {},
        "bos": {"special": "bos"},
        "chat": {"template": "chat"},
    }.items():
        sizes[name] = len(check_end(model, text, 60, **options))
    assert sizes["plain"] >= sizes["bos"] > sizes["chat"]
    with pytest.raises(PromptError, match="even its last character has"):
        shortened(model, text, limit=3, template="chat")
    with pytest.raises(PromptError, match="it cannot be cut"):
        shortened(model, "我", limit=0)


def test_random_prompts_are_cut_between_characters() -> None:
    chosen = random.Random(0)
    pieces = [*"aé我😀 \n", "e\u0301", "🏳️‍🌈", "👍🏽", "🇩🇪", "क्षि", "\r\n", "<think>", " world"]
    for tokenizer in (byte_level(), byte_fallback(), prefixed()):
        model = with_tokenizer(tokenizer)
        for _ in range(15):
            text = "".join(chosen.choice(pieces) for _ in range(60))
            check_end(model, text, chosen.randint(40, 80))


def test_a_prompt_that_is_too_long_names_its_remedy() -> None:
    model = loaded("llama")
    with pytest.raises(PromptError) as too_long:
        check_ids(model, torch.ones(70, dtype=torch.long))
    assert too_long.value.remedy == {"action": "shorten", "tokens": 70, "limit": 64}
    with pytest.raises(PromptError) as too_long:
        check_ids(model, IDS, max_tokens=5)
    assert too_long.value.remedy == {"action": "shorten", "tokens": 7, "limit": 5}
    with pytest.raises(PromptError) as too_long:
        logit_lens(model, IDS, generate=60)
    assert too_long.value.remedy == {"action": "shorten", "tokens": 7, "limit": 4}
    with pytest.raises(PromptError) as too_long:
        logit_lens(model, IDS, generate=10, max_tokens=10)
    assert too_long.value.remedy == {"action": "generate", "tokens": 10, "limit": 3}
    with pytest.raises(PromptError) as other:
        check_ids(model, torch.tensor([-1]))
    assert other.value.remedy is None


def test_errors_keep_their_remedy_between_processes() -> None:
    error = PromptError("Too long.", remedy={"action": "shorten", "tokens": 7, "limit": 5})
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, LensError)
    assert str(again) == "Too long."
    assert again.remedy == error.remedy


def test_a_remedy_that_is_followed_helps() -> None:
    model = load_model("demo")
    text = "One and two make three. " * 400
    ids = model.tokenize(text)
    with pytest.raises(PromptError) as too_long:
        logit_lens(model, ids, max_tokens=100, generate=4)
    remedy = too_long.value.remedy
    assert remedy is not None
    end = shortened(model, text, limit=remedy["limit"])
    lens = logit_lens(model, model.tokenize(end), max_tokens=100, generate=4)
    assert 90 < len(lens.header["input"]["ids"]) <= 100
