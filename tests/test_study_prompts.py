"""Prompts of a study: what a model is given, and that it is never told the answer."""

from __future__ import annotations

import random
from typing import Any

import pytest
from families import build
from test_tokens import byte_level

from lens_core import load_model, wrap_model
from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel
from lens_core.study.prompts import check_no_answer, checked_template, render_prompt
from lens_core.study.rows import Row

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT
)


def chatting(template: str | None) -> LoadedModel:
    """A model with a chat template; its vocabulary plays no part here."""
    tokenizer = byte_level(400)
    tokenizer.chat_template = template
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    return wrap_model(build("llama"), tokenizer, weights_sha256="0" * 64)


def row(query: str, answer: str | None = None) -> Row:
    return Row(0, "r", query, answer)


def test_plain_prompts() -> None:
    demo = load_model("demo")
    braces = row("3 + {4} = {system}\n")
    prompt = render_prompt(demo, braces)
    assert prompt.text == "Query: 3 + {4} = {system}\n\nAnswer:"
    assert prompt.joint == " "
    assert prompt.ids.tolist() == demo.tokenize(prompt.text).tolist()
    assert demo.tokenizer is not None
    assert demo.tokenizer.decode(prompt.ids) == "<|start|>" + prompt.text
    prompt = render_prompt(demo, braces, template="bare", system="Be brief.")
    assert prompt.text == "Be brief.\n\n3 + {4} = {system}\n"
    assert prompt.joint == ""
    assert render_prompt(demo, row("a"), template="Q: {query} = ?\n").text == "Q: a = ?\n"


def test_chat_prompts() -> None:
    loaded = chatting(CHAT)
    prompt = render_prompt(loaded, row("How?"), template="chat")
    assert prompt.text == "<|user|>How?<|assistant|>"
    assert prompt.joint == ""
    assert prompt.ids.tolist() == loaded.tokenize("How?", template="chat").tolist()
    prompt = render_prompt(loaded, row("How?"), template="chat", system="Be brief.")
    assert prompt.text == "<|system|>Be brief.<|user|>How?<|assistant|>"
    # Only what the template writes: no start token is put before it.
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.decode(prompt.ids) == prompt.text


def test_what_a_model_cannot_do_is_said() -> None:
    with pytest.raises(InputError, match="chat, or a text with"):
        render_prompt(load_model("demo"), row("a"), template="fancy")
    with pytest.raises(PromptError, match="no chat template"):
        render_prompt(chatting(None), row("a"), template="chat")
    assert render_prompt(chatting(NO_SYSTEM), row("a"), template="chat").ids.tolist()
    with pytest.raises(PromptError, match="leave the system text out"):
        render_prompt(chatting(NO_SYSTEM), row("a"), template="chat", system="b")
    with pytest.raises(PromptError, match="half a character"):
        render_prompt(chatting(CHAT), row("\ud83d"), template="chat")
    with pytest.raises(PromptError, match="half a character"):
        render_prompt(load_model("demo"), row("\ud83d"))
    bare = wrap_model(build("llama"), None, weights_sha256="0" * 64)
    for template in ("plain", "chat"):
        with pytest.raises(PromptError, match="tokenizer"):
            render_prompt(bare, row("a"), template=template)
    assert checked_template("bare") == "{query}"


def test_the_prompt_of_the_original_is_refused() -> None:
    """It ended in the right answer."""
    demo = load_model("demo")
    told = "Query: {query}\nAnswer: 165种"
    for answer in ("165", "165种", "$165$", "\\boxed{165}", "１６５", "1.65e2 ", "一百六十五"):
        with pytest.raises(PromptError, match="165"):
            render_prompt(demo, row("How many?", answer), template=told)
    with pytest.raises(PromptError, match="r"):
        render_prompt(demo, row("How many?", "165"), system="It is 165.")


@pytest.mark.parametrize(
    ("prompt", "query", "answer"),
    [
        ("Q: 165 + 0\nA:", "165 + 0", "165"),  # the query holds it
        ("Q: 1\nA: 12", "1", "12"),  # too short to say anything
        ("within 1000 words: 1", "1", "100"),  # another number
        ("1.1005 or 3100: 1", "1", "100"),
        ("by category: 1", "1", "cat"),
        ("Q: 1\nA:", "1", None),
        ("Q: $\\dfrac{3}{4}$ of it", "$\\frac{3}{4}$ of it", "\\tfrac{3}{4}"),
        ("", "1", "100"),
    ],
)
def test_what_is_no_leak(prompt: str, query: str, answer: str | None) -> None:
    check_no_answer(prompt, row(query, answer))


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("it is 100.", "100"),
        ("(100)", "100"),
        ("it is1000", "1,000"),
        ("it is 1,000", "1,000"),
        ("3/4 of it", "\\frac{3}{4}"),
        ("it is $\\frac{3}{4}$", "\\dfrac{3}{4}"),
        ("答案是无实数解。", "无实数解"),
        ("the cat sat", "cat"),
        ("−25%", "-25%"),
        ("2√2", "2 √ 2"),
        ("x" * 10 + " " + "very long " * 300, "very long " * 300),
    ],
)
def test_what_is_a_leak(prompt: str, answer: str) -> None:
    with pytest.raises(PromptError, match="tells the answer"):
        check_no_answer(prompt, row("How many?", answer))


def test_a_leak_is_found_wherever_it_stands() -> None:
    """I-37, with random texts: the reference is found exactly if it was put in."""
    draw = random.Random(0)
    words = ["the", "of", "and", "so", "is", "if,", "we", "(now)", "12", "7.5", "=", "+", "\n", ""]
    for _ in range(200):
        number = str(draw.randint(100, 99999))
        text = [draw.choice(words) for _ in range(12)]
        system = " ".join(text)
        check_no_answer(f"{system} question", row("question", number))
        text.insert(draw.randrange(13), draw.choice([number, f"${number}$", f"{number}。"]))
        told = " ".join(text)
        with pytest.raises(PromptError) as caught:
            check_no_answer(f"{told} question", row("question", number))
        remedy: dict[str, Any] | None = caught.value.remedy
        assert remedy == {"action": "change_template", "row": "r"}
        check_no_answer(f"{told} question {number}", row(f"question {number}", number))
