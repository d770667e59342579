"""The prompt that a row becomes, plain or by the chat template of a model, without its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from lens_core.errors import InputError, PromptError
from lens_core.models import LoadedModel
from lens_core.prompts import check_whole
from lens_core.study.answer_extracting import innermost
from lens_core.study.answer_forms import MAX_ANSWER, bare, normalise
from lens_core.study.answer_signs import plain
from lens_core.study.rows import Row

TEMPLATES = {"plain": "Query: {query}\nAnswer:", "bare": "{query}"}
"""Plain texts by name; any other text with {query} in it is one as well."""
CHAT = "chat"
MIN_LEAK = 3
"""Shorter references are found everywhere by chance: 7, (a)."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """What a model is given for a row."""

    text: str
    """With the template, without special tokens that the tokenizer adds by itself."""
    ids: Int[Tensor, " position"]
    """On the CPU, special tokens included."""
    joint: str
    """What stands between it and a response that is given: a space behind a plain text."""


def render_prompt(
    loaded: LoadedModel, row: Row, *, template: str = "plain", system: str | None = None
) -> Prompt:
    """The prompt of a row, which does not hold its answer.

    Args:
        loaded: the model whose tokenizer and chat template are used.
        row: its query goes in, exactly as it is.
        template: "plain" ("Query: ...⏎Answer:"), "bare" (the query alone), "chat" (the chat
            template of the model), or a text with {query} in it.
        system: what the model is told first; plain templates begin with it as a paragraph.

    Raises:
        InputError: an unknown template.
        PromptError: no tokenizer, no chat template or none that takes `system`, half a character,
            or the answer is in the prompt and not in the query.
    """
    template = checked_template(template)
    if template == CHAT:
        text = _chat(loaded, row.query, system)
        ids = loaded.tokenize(text, special="none")
    else:
        # Not str.format: braces are common in formulas.
        text = template.replace("{query}", row.query)
        text = text if system is None else f"{system}\n\n{text}"
        ids = loaded.tokenize(text)
    check_no_answer(text, row)
    spaced = template == CHAT or text[-1].isspace()
    return Prompt(text, ids, "" if spaced else " ")


def checked_template(template: str) -> str:
    """The text of a plain template, or "chat".

    Raises:
        InputError: it is no name of one, and has no {query}.
    """
    if template == CHAT:
        return template
    text = TEMPLATES.get(template, template)
    if "{query}" not in text:
        names = ", ".join([*TEMPLATES, CHAT])
        raise InputError(f"template is {template!r}; it can be {names}, or a text with {{query}}.")
    return text


def check_no_answer(prompt_text: str, row: Row) -> None:
    """Refuse a prompt that tells the answer.

    The reference counts from three characters on, in any of its spellings (`plain` signs, without
    $, box or unit, in lowest terms), as a whole number or word; one that the query itself holds is
    no leak. What is too long to be an answer is looked for as it is.

    Raises:
        PromptError: the reference is in the prompt and not in the query.
    """
    prompt, query = plain(prompt_text), plain(row.query)
    for spelling in _spellings(row.answer or ""):
        if _stands_in(spelling, prompt) and not _stands_in(spelling, query):
            raise PromptError(
                f'The prompt of row "{row.id}" tells the answer, {spelling[:60]!r}, which is not '
                "in its query; take it out of the template or the system text.",
                remedy={"action": "change_template", "row": row.id},
            )


def _spellings(answer: str) -> list[str]:
    """How a reference may be written in a prompt, the longest first."""
    answer = innermost(answer)
    found = {plain(answer)}
    if len(answer) <= MAX_ANSWER:
        found |= {bare(answer), plain(normalise(answer))}
    return sorted((text for text in found if len(text) >= MIN_LEAK), key=lambda s: (-len(s), s))


def _stands_in(spelling: str, text: str) -> bool:
    """Whether it stands there by itself: 100 is not in 1000, and cat not in category."""
    before = _no_more_of(spelling[0], "<!")
    after = _no_more_of(spelling[-1], "!")
    return re.search(before + re.escape(spelling) + after, text) is not None


def _no_more_of(char: str, sign: str) -> str:
    """A look to the side: no further digit beside a digit, and no letter beside a letter."""
    if not char.isascii() or not char.isalnum():
        return ""
    if not char.isdecimal():
        return f"(?{sign}[A-Za-z])"
    return r"(?<![0-9])(?<![0-9]\.)" if sign == "<!" else r"(?![0-9]|\.[0-9])"


def _chat(loaded: LoadedModel, query: str, system: str | None) -> str:
    """The text that the model's chat template makes of the query, up to where it answers."""
    from jinja2 import TemplateError

    tokenizer = loaded.tokenizer
    if tokenizer is None or not tokenizer.chat_template:
        lacks = "no tokenizer" if tokenizer is None else "no chat template"
        raise PromptError(f'{loaded.facts.id} has {lacks}; use template="plain".')
    for name, text in (("query", query), ("system text", system or "")):
        check_whole(text, name)
    turns = [{"role": "user", "content": query}]
    if system is not None:
        turns.insert(0, {"role": "system", "content": system})
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise PromptError(
            f"The chat template of {loaded.facts.id} refuses these turns ({error})"
            f"{'; leave the system text out' if system is not None else ''}."
        ) from error
